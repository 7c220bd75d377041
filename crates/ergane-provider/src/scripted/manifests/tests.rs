use super::*;

fn shown(path: &str, text: &str) -> Vec<String> {
    let groups = dependencies(path, text).unwrap();
    groups.iter().map(|group| format!("{}: {}", group.table, group.names.join(", "))).collect()
}

#[test]
fn the_tables_of_a_cargo_manifest_are_read_in_all_their_ways_of_writing() {
    let text = r##"
[package]
name = "x" # dependencies = "no"
description = """
[dependencies]
not = "this"
"""
[workspace.dependencies]
core = { path = "crates/core" }
tokio = { version = "1.54", features = [
    "macros", # with a comment ]
    "rt",
] }
[dependencies]
serde = "1.0"
core.workspace = true
"quoted-name" = '2'
[dependencies.big]
version = "3"
features = ["a"]
[dev-dependencies]
proptest.workspace = true
[build-dependencies]
cc = "1"
[target.'cfg(unix)'.dependencies]
rustix = "1"
[profile.release]
debug = true
"##;
    assert_eq!(
        shown("a/Cargo.toml", text),
        [
            "workspace.dependencies: core, tokio 1.54",
            "dependencies: serde 1.0, core, quoted-name 2, big",
            "dev-dependencies: proptest",
            "build-dependencies: cc 1",
            "target.cfg(unix).dependencies: rustix 1",
        ]
    );
}

#[test]
fn a_package_json_is_read_and_a_broken_one_is_an_error() {
    let text = r#"{"name":"x","dependencies":{"left-pad":"^1.0"},"devDependencies":{"jest":"29"}}"#;
    assert_eq!(shown("package.json", text), ["dependencies: left-pad ^1.0", "devDependencies: jest 29"]);
    assert!(dependencies("package.json", "{").unwrap_err().contains("not valid JSON"));
}

#[test]
fn python_and_go_manifests_are_read() {
    let pyproject = r#"
[project]
name = "x"
dependencies = [
  "requests>=2.0", # why
  "numpy; python_version < '4'",
]
[project.optional-dependencies]
dev = ["pytest"]
[tool.poetry.dependencies]
python = "^3.11"
"#;
    assert_eq!(
        shown("pyproject.toml", pyproject),
        [
            "project.dependencies: requests>=2.0, numpy; python_version < '4'",
            "project.optional-dependencies.dev: pytest",
            "tool.poetry.dependencies: python ^3.11",
        ]
    );
    assert_eq!(
        shown("requirements.txt", "# c\nflask==2 # pinned\n-r other.txt\n\nuvicorn\n"),
        ["requirements: flask==2, uvicorn"]
    );
    let go = "module x\n\nrequire a.b/c v1.0.0\nrequire (\n\td.e/f v2 // indirect\n)\n";
    assert_eq!(shown("go.mod", go), ["require: a.b/c v1.0.0, d.e/f v2"]);
}

#[test]
fn a_manifest_without_dependencies_has_none_and_nonsense_is_no_panic() {
    assert!(shown("Cargo.toml", "[package]\nname = \"x\"\n").is_empty());
    for text in [
        "[",
        "]",
        "[[",
        "=",
        "a = [",
        "'",
        "\"\"\"",
        "[dependencies]\n= 1\n.\n\"",
        "[dependencies]\na = {version",
    ] {
        for path in ["Cargo.toml", "pyproject.toml", "requirements.txt", "go.mod"] {
            assert!(dependencies(path, text).is_ok(), "{path}: {text:?}");
        }
    }
    assert!(dependencies("other", "").is_err());
}
