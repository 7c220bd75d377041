//! Everything that a user of the facade touches shows how it is used: each type, and each of its public methods, has an
//! example in its documentation. That the examples are right, `cargo test` says; that there is one, this says.
//!
//! The sources are read line by line, which is enough because rustfmt writes them: an item of a file begins at the margin,
//! and a method of an `impl` four columns in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ergane_tests::{root, rust_files};

/// What a program meets beside the names of the prelude: what their methods take and return.
const BESIDE: &[(&str, &[&str])] = &[
    ("ergane", &["SystemBuilder", "OneShot", "OneShotStream", "ListModels", "Embed", "SessionInfo"]),
    (
        "ergane-session",
        &[
            "SendMessage",
            "TurnStream",
            "Turn",
            "Stop",
            "Steer",
            "Approve",
            "Subscription",
            "Snapshot",
            "Input",
        ],
    ),
    (
        "ergane-socket",
        &[
            "Node",
            "Outcome",
            "Problem",
            "Process",
            "RemoteApprove",
            "RemoteError",
            "RemoteSend",
            "RemoteSession",
            "RemoteSteer",
            "RemoteTurn",
            "Socket",
            "SocketStatus",
            "Told",
            "Trees",
            "is_anybody_there",
            "processes",
        ],
    ),
    (
        "ergane-core",
        &[
            "ApprovalCause",
            "Answering",
            "Cost",
            "Decided",
            "Digest",
            "History",
            "Mode",
            "Opaque",
            "Origin",
            "Reasoning",
            "StopReason",
            "ErrorKind",
            "FinishCategory",
            "ImageSource",
            "Limits",
            "MicroUsd",
            "Permissions",
            "Point",
            "ProviderError",
            "SendId",
            "Seq",
            "Settings",
            "SettingsPatch",
            "ToolCall",
            "ToolResult",
            "TurnError",
            "Usage",
        ],
    ),
    (
        "ergane-provider",
        &[
            "BreakerPolicy",
            "Compat",
            "EmbedRequest",
            "LongPrice",
            "SetupError",
            "Embeddings",
            "Endpoint",
            "ModelInfo",
            "Price",
            "ScriptedCall",
            "ScriptedError",
            "ScriptedUsage",
            "ToolCalls",
            "site_settings",
            "limit_setters",
        ],
    ),
    (
        "ergane-tool",
        &[
            "CanUseTool",
            "CancelToken",
            "ContextFn",
            "ContextParts",
            "Json",
            "ProcessGroup",
            "ProgressSink",
            "RegistryError",
        ],
    ),
    ("ergane-tools", &["read", "glob", "grep", "write", "edit", "bash"]),
    ("ergane-journal", &["JournalError", "SqliteOptions"]),
    ("ergane-otp", &["CallError", "ChildError", "Monitor", "Namespace", "StartError", "TreeNode", "Watch"]),
];

fn crates() -> PathBuf {
    root().join("crates")
}

/// The names of the facade's prelude, each with the crate that it comes from.
fn prelude() -> Vec<(String, String)> {
    let facade = fs::read_to_string(crates().join("ergane/src/lib.rs")).expect("the facade");
    let prelude =
        facade.split("pub mod prelude {").nth(1).expect("a prelude").split("\n}").next().unwrap_or_default();
    let mut names = Vec::new();
    for import in prelude.split("pub use ").skip(1) {
        let (import, _) = import.split_once(';').expect("an import");
        let (from, what) = import.split_once("::").expect("a path");
        let from = if from == "crate" { "ergane".to_owned() } else { from.replace('_', "-") };
        let what = what.trim_matches(['{', '}', ' ', '\n']);
        names.extend(what.split(',').map(str::trim).filter(|name| !name.is_empty()).map(|name| {
            // The attribute is written in a crate of its own.
            let from = if name == "tool" { "ergane-macros" } else { &from };
            (from.to_owned(), name.to_owned())
        }));
    }
    names.retain(|(from, _)| from.starts_with("ergane"));
    names
}

/// What has a documentation: `Type`, or `Type::method`.
struct Item {
    name: String,
    place: String,
    has_example: bool,
}

impl Item {
    /// What it belongs to: itself, or the type whose method it is.
    fn owner(&self) -> &str {
        self.name.split("::").next().unwrap_or_default()
    }
}

/// The name behind `keyword` when the line is a public item of that kind.
fn named<'a>(line: &'a str, keywords: &[&str]) -> Option<&'a str> {
    let rest = keywords.iter().find_map(|keyword| line.strip_prefix(keyword))?;
    Some(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
}

/// The public items of a file, and the public methods of its `impl` blocks (not those of a trait: it says what they do).
fn items(path: &Path) -> Vec<Item> {
    let source = fs::read_to_string(path).expect("a source");
    let mut items = Vec::new();
    let mut of_type: Option<String> = None;
    let (mut has_example, mut hidden) = (false, false);
    for (number, line) in source.lines().enumerate() {
        let text = line.trim_start();
        if text.starts_with("///") {
            has_example |= text.trim_start_matches('/').trim_start().starts_with("```");
            continue;
        }
        if text.starts_with("#[") {
            hidden |= text == "#[doc(hidden)]";
            continue;
        }
        if line.starts_with("impl") {
            let head = line.trim_end_matches('{').trim_end();
            let head = if head.starts_with("impl<") {
                head.split_once("> ").map_or("", |(_, rest)| rest)
            } else {
                &head[5..]
            };
            let is_own = !line.contains(" for ");
            of_type = is_own.then(|| head.split('<').next().unwrap_or_default().to_owned());
        } else if let Some(name) = line.strip_prefix("macro_rules! ") {
            // Methods that several types have in common; they are written four columns further in.
            of_type = Some(name.trim_end_matches(" {").to_owned());
        } else if line == "}" {
            of_type = None;
        }
        // An example of something may also stand where the crate gives it its public name.
        let given =
            line.strip_prefix("pub use ").and_then(|path| path.strip_suffix(';')).filter(|_| has_example);
        let item = match &of_type {
            None if given.is_some() => given.and_then(|path| path.rsplit("::").next()).map(str::to_owned),
            None => named(
                line,
                &["pub struct ", "pub enum ", "pub trait ", "pub type ", "pub fn ", "pub async fn "],
            )
            .map(str::to_owned),
            Some(of_type) => named(text, &["pub fn ", "pub async fn ", "pub const fn "])
                .map(|name| format!("{of_type}::{name}")),
        };
        if let Some(name) = item.filter(|_| !hidden) {
            let place = format!("{}:{}", path.strip_prefix(crates()).unwrap_or(path).display(), number + 1);
            items.push(Item { name, place, has_example });
        }
        (has_example, hidden) = (false, false);
    }
    items
}

#[test]
fn every_public_item_that_a_user_touches_has_an_example() {
    let mut touched: BTreeSet<(String, String)> = prelude().into_iter().collect();
    assert!(touched.len() > 50, "the prelude is read: {}", touched.len());
    for (from, names) in BESIDE {
        touched.extend(names.iter().map(|name| ((*from).to_owned(), (*name).to_owned())));
    }
    let (mut bare, mut shown, mut found) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for from in touched.iter().map(|(from, _)| from.clone()).collect::<BTreeSet<_>>() {
        let mut files = Vec::new();
        rust_files(&crates().join(&from).join("src"), &mut files);
        for item in files.iter().flat_map(|path| items(path)) {
            let owner = (from.clone(), item.owner().to_owned());
            if !touched.contains(&owner) {
                continue;
            }
            found.insert(owner);
            let key = (from.clone(), item.name);
            if item.has_example {
                shown.insert(key);
            } else {
                bare.insert(key, item.place);
            }
        }
    }
    bare.retain(|key, _| !shown.contains(key));
    let lost: Vec<_> = touched.difference(&found).collect();
    assert!(lost.is_empty(), "no source has these names: {lost:?}");
    let bare: Vec<String> = bare.iter().map(|((_, name), place)| format!("{name} ({place})")).collect();
    assert!(bare.is_empty(), "{} items have an example, these have none:\n{}", shown.len(), bare.join("\n"));
    assert!(shown.len() > 300, "the items are found: {}", shown.len());
    println!("{} items have an example", shown.len());
}
