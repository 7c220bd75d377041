//! `glob` and `grep` on real trees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod common;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use common::Folder;
use ergane_tool::{ContextParts, Effect, Tool, ToolContext, ToolError};
use ergane_tools::{edit, glob, grep, read, write};
use serde_json::json;

fn tree() -> Folder {
    let folder = Folder::with(&[
        ("Cargo.toml", "[package]\nname = \"x\"\n"),
        ("src/main.rs", "fn main() {\n    helper();\n}\n"),
        ("src/deep/helper.rs", "pub fn helper() {}\nfn other() {}\n"),
        (".gitignore", "target/\n*.log\n"),
        ("target/built.rs", "fn helper() {}\n"),
        ("noise.log", "helper\n"),
        (".hidden/secret.rs", "fn helper() {}\n"),
        (".git/config.rs", "fn helper() {}\n"),
        ("README.md", "Helper of the house.\n"),
    ]);
    for (age, name) in ["Cargo.toml", "src/main.rs", "README.md", "src/deep/helper.rs"].iter().enumerate() {
        folder.date(name, age as u64);
    }
    folder
}

async fn lines(folder: &Folder, tool: &dyn Tool, arguments: serde_json::Value) -> Vec<String> {
    folder.text(tool, arguments).await.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn glob_lists_the_newest_first_and_leaves_out_what_git_ignores() {
    let folder = tree();
    let all = lines(&folder, &glob, json!({ "pattern": "**/*" })).await;
    assert_eq!(all, ["src/deep/helper.rs", "README.md", "src/main.rs", "Cargo.toml"]);
    assert_eq!(
        lines(&folder, &glob, json!({ "pattern": "**/*.rs" })).await,
        ["src/deep/helper.rs", "src/main.rs"]
    );
    assert_eq!(lines(&folder, &glob, json!({ "pattern": "*.toml" })).await, ["Cargo.toml"]);
    assert_eq!(lines(&folder, &glob, json!({ "pattern": "src/*.rs" })).await, ["src/main.rs"]);
    assert_eq!(lines(&folder, &glob, json!({ "pattern": "./src/*.rs" })).await, ["src/main.rs"]);
    assert_eq!(lines(&folder, &glob, json!({ "pattern": "Cargo.toml" })).await, ["Cargo.toml"]);
    let either = lines(&folder, &glob, json!({ "pattern": "{README.md,src/*.rs}" })).await;
    assert_eq!(either, ["README.md", "src/main.rs"]);
    assert_eq!((glob.effect(), grep.effect()), (Effect::Read, Effect::Read));
}

#[tokio::test]
async fn glob_shows_hidden_files_only_when_the_pattern_names_them() {
    let folder = tree();
    assert_eq!(lines(&folder, &glob, json!({ "pattern": ".hidden/*" })).await, [".hidden/secret.rs"]);
    assert_eq!(lines(&folder, &glob, json!({ "pattern": "**/.gitignore" })).await, [".gitignore"]);
    assert_eq!(lines(&folder, &glob, json!({ "pattern": ".git/*" })).await, [".git/config.rs"]);
    assert_eq!(folder.text(&glob, json!({ "pattern": "**/secret.rs" })).await, "(no matches)");
}

#[tokio::test]
async fn glob_says_when_there_is_nothing_and_when_there_is_more() {
    let folder = tree();
    assert_eq!(folder.text(&glob, json!({ "pattern": "*.py" })).await, "(no matches)");
    assert_eq!(folder.text(&glob, json!({ "pattern": "nowhere/*.py" })).await, "(no matches)");
    let hint = folder.text(&glob, json!({ "pattern": "src" })).await;
    assert_eq!(hint, "(no matches) src is a folder: list it with src/*");
    let cut = lines(&folder, &glob, json!({ "pattern": "**/*", "max_results": 2 })).await;
    assert_eq!(cut[..2], ["src/deep/helper.rs", "README.md"]);
    assert!(cut[2].starts_with("[the newest 2 of 4 matches"), "{cut:?}");
    for max in [0, 5_001] {
        let error = folder.error(&glob, json!({ "pattern": "*", "max_results": max })).await;
        assert!(error.starts_with("bad arguments at `max_results`: it must be 1 to 5000"), "{error}");
    }
}

#[tokio::test]
async fn a_pattern_does_not_lead_out_of_the_folder() {
    let folder = tree();
    std::fs::write(folder.outside().join("secret.rs"), "fn helper() {}").unwrap();
    symlink(folder.outside(), folder.path.join("out")).unwrap();
    symlink(folder.outside().join("secret.rs"), folder.path.join("link.rs")).unwrap();
    symlink(folder.path.join("src/main.rs"), folder.path.join("inner.rs")).unwrap();
    for pattern in ["../*.rs", "/etc/*", "out/*", "src/../../*.rs"] {
        for (tool, arguments) in [
            (&glob as &dyn Tool, json!({ "pattern": pattern })),
            (&grep, json!({ "pattern": "x", "path_glob": pattern })),
        ] {
            let error = folder.error(tool, arguments).await;
            assert!(error.contains("outside of the folders"), "{pattern}: {error}");
        }
    }
    let error = folder.error(&glob, json!({ "pattern": "*/../../*.rs" })).await;
    assert!(error.contains("`..` cannot come after a wildcard"), "{error}");
    assert_eq!(lines(&folder, &glob, json!({ "pattern": "*.rs" })).await, ["inner.rs"]);
    let found = folder.text(&grep, json!({ "pattern": "helper" })).await;
    assert!(!found.contains("secret") && !found.contains("link.rs"), "{found}");
}

#[tokio::test]
async fn grep_lists_path_line_and_text_in_the_order_of_paths() {
    let folder = tree();
    let found = lines(&folder, &grep, json!({ "pattern": "helper" })).await;
    assert_eq!(found, ["src/deep/helper.rs:1:pub fn helper() {}", "src/main.rs:2:    helper();"]);
    let found =
        lines(&folder, &grep, json!({ "pattern": "HELPER", "ignore_case": true, "path_glob": "*.md" })).await;
    assert_eq!(found, ["README.md:1:Helper of the house."]);
    assert_eq!(folder.text(&grep, json!({ "pattern": "nothing like it" })).await, "(no matches)");
    let error = folder.error(&grep, json!({ "pattern": "(" })).await;
    assert!(error.starts_with("bad arguments at `pattern`:") && error.contains("unclosed"), "{error}");
}

#[tokio::test]
async fn grep_searches_a_file_a_folder_or_a_pattern_of_files() {
    let folder = tree();
    for (path, expected) in [
        ("src/main.rs", vec!["src/main.rs:1:fn main() {"]),
        ("src/deep", vec!["src/deep/helper.rs:1:pub fn helper() {}", "src/deep/helper.rs:2:fn other() {}"]),
        (
            "*.rs",
            vec![
                "src/deep/helper.rs:1:pub fn helper() {}",
                "src/deep/helper.rs:2:fn other() {}",
                "src/main.rs:1:fn main() {",
            ],
        ),
        ("src/*.rs", vec!["src/main.rs:1:fn main() {"]),
        ("target", vec!["target/built.rs:1:fn helper() {}"]),
    ] {
        let found = lines(&folder, &grep, json!({ "pattern": r"fn \w+\(", "path_glob": path })).await;
        assert_eq!(found, expected, "{path}");
    }
    let error = folder.error(&grep, json!({ "pattern": "x", "path_glob": "nowhere" })).await;
    assert_eq!(error, "there is no file or folder nowhere");
}

#[tokio::test]
async fn grep_shows_lines_around_a_match_and_where_they_break() {
    let folder = Folder::with(&[("a", "1\nx\n3\n4\n5\n6\nx\n8\n")]);
    let found = lines(&folder, &grep, json!({ "pattern": "x", "context": 1 })).await;
    assert_eq!(found, ["a-1-1", "a:2:x", "a-3-3", "--", "a-6-6", "a:7:x", "a-8-8"]);
    let error = folder.error(&grep, json!({ "pattern": "x", "context": 21 })).await;
    assert!(error.contains("it must be 1 to 20"), "{error}");
}

#[tokio::test]
async fn grep_stops_at_its_limit_and_says_so() {
    let folder = Folder::with(&[("a", &"x\n".repeat(10)), ("b", "x\n")]);
    let found = lines(&folder, &grep, json!({ "pattern": "x", "max_results": 3 })).await;
    assert_eq!(found[..3], ["a:1:x", "a:2:x", "a:3:x"]);
    assert!(found.len() == 4 && found[3].starts_with("[stopped after 3 matches"), "{found:?}");
    folder.write("wide", format!("x{}\n", "é".repeat(600)).repeat(1_000));
    let text = folder.text(&grep, json!({ "pattern": "x", "path_glob": "wide", "max_results": 2000 })).await;
    assert!(text.len() < 260_000 && text.ends_with("too much text; narrow the search]"), "{}", text.len());
    assert!(text.starts_with(&format!("wide:1:x{}…\n", "é".repeat(499))));
}

#[tokio::test]
async fn grep_skips_binary_files_and_replaces_what_is_no_utf8() {
    let folder = Folder::new();
    folder.write("binary", b"x\0x\nx\n");
    folder.write("latin1", b"caf\xe9 x\n");
    let found = folder.text(&grep, json!({ "pattern": "x" })).await;
    assert!(found.starts_with("latin1:1:caf\u{fffd} x\n[a line here is not valid UTF-8"), "{found}");
}

#[tokio::test]
async fn a_name_that_is_no_utf8_is_shown_and_said_so() {
    let folder = Folder::new();
    std::fs::write(folder.path.join(std::ffi::OsStr::from_bytes(b"caf\xe9.txt")), "x").unwrap();
    let found = folder.text(&glob, json!({ "pattern": "*.txt" })).await;
    assert!(found.starts_with("caf\u{fffd}.txt\n[a name here is not valid UTF-8"), "{found}");
}

#[tokio::test]
async fn an_interrupted_search_stops() {
    let folder = tree();
    folder.ctx.cancel_token().cancel();
    for tool in [&glob as &dyn Tool, &grep] {
        let result = folder.call(tool, json!({ "pattern": "x" })).await;
        assert_eq!(result.unwrap_err(), ToolError::Cancelled, "{}", tool.name());
    }
}

#[tokio::test]
async fn people_see_how_much_was_found() {
    let folder = tree();
    let ui = async |tool: &dyn Tool, arguments: serde_json::Value| {
        folder.call(tool, arguments).await.unwrap().ui.unwrap()
    };
    let found = ui(&glob, json!({ "pattern": "**/*", "max_results": 2 })).await;
    let expected = json!({ "pattern": "**/*", "shown": 2, "total": 4 });
    assert_eq!(found, json!({ "kind": "files", "data": expected }));
    let found = ui(&grep, json!({ "pattern": "helper" })).await;
    let expected = json!({ "pattern": "helper", "matches": 2, "complete": true, "unread": 0 });
    assert_eq!(found, json!({ "kind": "matches", "data": expected }));
}

#[tokio::test]
async fn no_tool_opens_the_files_of_the_journal() {
    let mut folder = Folder::with(&[
        ("notes.txt", "a word\n"),
        ("j.db", "a word\n"),
        ("j.db-wal", "a word\n"),
        ("j.db.owners/1-1", "a word\n"),
    ]);
    symlink("j.db", folder.path.join("link")).unwrap();
    let mut parts = ContextParts::for_test(&folder.path);
    parts.private = ["j.db", "j.db-wal", "j.db.owners"].map(|name| folder.path.join(name)).into();
    folder.ctx = ToolContext::new(parts);
    assert_eq!(lines(&folder, &glob, json!({ "pattern": "**/*" })).await, ["notes.txt"]);
    assert_eq!(lines(&folder, &grep, json!({ "pattern": "word" })).await, ["notes.txt:1:a word"]);
    for path in ["j.db", "j.db-wal", "j.db.owners/1-1", "j.db.owners/new", "link"] {
        let edit_it = json!({ "path": path, "old_string": "word", "new_string": "deed" });
        for (tool, arguments) in [
            (&read as &dyn Tool, json!({ "path": path })),
            (&write, json!({ "path": path, "content": "" })),
            (&edit, edit_it),
        ] {
            let error = folder.call(tool, arguments).await.unwrap_err().to_string();
            assert!(error.contains("belongs to the journal"), "{path}: {error}");
        }
    }
    assert_eq!(std::fs::read_to_string(folder.path.join("j.db")).unwrap(), "a word\n");
}

#[tokio::test]
async fn what_is_ignored_by_a_folder_outside_of_the_session_is_seen_unless_both_are_of_one_repository() {
    let folder = Folder::with(&[
        (".gitignore", "*\n"),
        ("work/.gitignore", "*.log\n"),
        ("work/src/.gitignore", "!keep.log\n"),
        ("work/src/keep.log", "fn main() {}\n"),
        ("work/src/main.rs", "fn main() {}\n"),
        ("work/src/noise.log", "fn main() {}\n"),
    ]);
    let work = folder.path.join("work");
    let seen = |ctx: ToolContext, pattern: &'static str| async move {
        let arguments = json!({ "pattern": pattern }).as_object().unwrap().clone();
        let text = common::text(&glob.call(ctx, arguments).await.unwrap());
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    let inside = || ToolContext::for_test(&work);
    for pattern in ["**/*", "src/*"] {
        assert_eq!(
            seen(inside(), pattern).await,
            "src/keep.log\nsrc/main.rs",
            "without a repository, {pattern}"
        );
    }
    std::fs::create_dir(work.join(".git")).unwrap();
    for pattern in ["**/*", "src/*"] {
        assert_eq!(seen(inside(), pattern).await, "src/keep.log\nsrc/main.rs", "in a repository, {pattern}");
    }
    let deeper = || ToolContext::for_test(work.join("src"));
    assert_eq!(seen(deeper(), "*").await, "keep.log\nmain.rs", "of a repository all is known up to its top");
}

#[tokio::test]
async fn a_file_that_is_taken_back_is_not_counted() {
    let long = format!("needle\n{}\n", "x".repeat(17 * 1024 * 1024));
    let folder = Folder::with(&[("a.txt", "needle\n"), ("b.txt", &long), ("c.txt", "needle\n")]);
    let found = folder.text(&grep, json!({ "pattern": "needle", "max_results": 3 })).await;
    assert_eq!(found, "a.txt:1:needle\nc.txt:1:needle\n[files that could not be read: 1]");
    let alone = folder.text(&grep, json!({ "pattern": "needle", "path_glob": "b.txt" })).await;
    assert_eq!(alone, "(no matches)\n[files that could not be read: 1]");
}
