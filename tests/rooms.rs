//! Lower rooms know nothing of upper ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may use of ours, directly; and with it, what those may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ergane-core", &[]),
    ("ergane-otp", &[]),
    ("ergane-macros", &[]),
    ("ergane-journal", &["ergane-core", "ergane-otp"]),
    ("ergane-provider", &["ergane-core", "ergane-otp"]),
    ("ergane-tool", &["ergane-core", "ergane-otp", "ergane-macros"]),
    ("ergane-tools", &["ergane-tool"]),
    ("ergane-loop", &["ergane-provider", "ergane-tool"]),
    ("ergane-session", &["ergane-loop", "ergane-journal"]),
    ("ergane-socket", &["ergane-session"]),
    ("ergane", &["ergane-socket", "ergane-tools"]),
    ("ergane-testkit", &["ergane-session"]),
    ("ergane-cli", &["ergane"]),
    ("ergane-bench", &["ergane"]),
    ("ergane-examples", &["ergane", "ergane-testkit"]),
    ("ergane-tests", &[]),
];

/// What the lowest rooms may use of others.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("ergane-core", &["serde", "serde_json", "thiserror"]),
    ("ergane-otp", &["ractor", "tokio", "tracing", "thiserror"]),
];

fn normal_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata");
    let packages = metadata.workspace_packages();
    assert!(packages.len() >= MAY_USE.len(), "the workspace lost a crate: {}", packages.len());
    let normal = |package: &cargo_metadata::Package| {
        let of_build = |kind| matches!(kind, DependencyKind::Normal | DependencyKind::Build);
        package.dependencies.iter().filter(|d| of_build(d.kind)).map(|d| d.name.clone()).collect()
    };
    packages.into_iter().map(|package| (package.name.to_string(), normal(package))).collect()
}

fn reachable(name: &str) -> BTreeSet<&'static str> {
    let direct = MAY_USE.iter().find(|(crate_name, _)| *crate_name == name).map_or(&[][..], |(_, uses)| uses);
    direct.iter().flat_map(|below| reachable(below).into_iter().chain([*below])).collect()
}

#[test]
fn no_crate_uses_a_crate_above_it() {
    for (name, dependencies) in normal_dependencies() {
        assert!(MAY_USE.iter().any(|(known, _)| *known == name), "{name} is not in the plan of the house");
        let allowed = reachable(&name);
        for dependency in dependencies.iter().filter(|dependency| dependency.starts_with("ergane")) {
            assert!(allowed.contains(dependency.as_str()), "{name} must not use {dependency}");
        }
    }
}

#[test]
fn the_kernel_uses_nothing_but_serde_serde_json_and_thiserror() {
    let dependencies = normal_dependencies();
    for (name, allowed) in OUTSIDE {
        for dependency in &dependencies[*name] {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not use {dependency}");
        }
    }
}
