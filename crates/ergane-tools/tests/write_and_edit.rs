//! `write` and `edit` on real files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use common::{Folder, text};
use ergane_tool::{ContextParts, Effect, Reach, Tool, ToolContext, ToolError};
use ergane_tools::{edit, write};
use serde_json::{Value, json};

impl Folder {
    fn content(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path.join(name)).unwrap().mode() & 0o7777
    }

    fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The names in the folder itself.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[tokio::test]
async fn a_file_is_written_to_the_byte_with_its_folders_and_nothing_is_left_beside_it() {
    let folder = Folder::new();
    let content = "é\r\nno end";
    let said = folder.text(&write, json!({ "path": "a/b/c.txt", "content": content })).await;
    assert_eq!(said, "wrote 10 bytes to a/b/c.txt");
    assert_eq!(folder.content("a/b/c.txt"), content);
    let absolute = folder.path.join("top");
    assert_eq!(folder.text(&write, json!({ "path": absolute, "content": "" })).await, "wrote 0 bytes to top");
    assert_eq!(folder.names(), ["a", "top"]);
    assert_eq!((write.effect(), edit.effect()), (Effect::Write, Effect::Write));
    assert_eq!((write.reach(), edit.reach()), (Reach::Files, Reach::Files));
    assert_eq!((write.name(), edit.name()), ("write", "edit"));
}

#[tokio::test]
async fn what_is_replaced_keeps_its_mode_and_a_new_file_has_that_of_new_files() {
    let folder = Folder::with(&[("run.sh", "echo old\n"), ("plain", "x")]);
    for mode in [0o755, 0o640, 0o600] {
        folder.set_mode("run.sh", mode);
        folder.text(&write, json!({ "path": "run.sh", "content": "echo old\n" })).await;
        assert_eq!(folder.mode("run.sh"), mode);
        let change = json!({ "path": "run.sh", "old_string": "old", "new_string": "new" });
        folder.text(&edit, change).await;
        assert_eq!((folder.mode("run.sh"), folder.content("run.sh").as_str()), (mode, "echo new\n"));
    }
    folder.text(&write, json!({ "path": "new", "content": "x" })).await;
    assert_eq!(folder.mode("new"), folder.mode("plain"));
}

#[tokio::test]
async fn a_read_only_file_is_left_alone() {
    let folder = Folder::with(&[("fixed", "old")]);
    folder.set_mode("fixed", 0o444);
    let error = folder.error(&write, json!({ "path": "fixed", "content": "new" })).await;
    assert!(error.starts_with("fixed is read-only (mode 444)"), "{error}");
    let change = json!({ "path": "fixed", "old_string": "old", "new_string": "new" });
    assert!(folder.error(&edit, change).await.starts_with("fixed is read-only"));
    assert_eq!((folder.content("fixed").as_str(), folder.names().len()), ("old", 1));
}

#[tokio::test]
async fn a_link_stays_a_link_and_the_file_it_leads_to_is_written() {
    let folder = Folder::with(&[("real/file", "old\n")]);
    symlink("real/file", folder.path.join("link")).unwrap();
    symlink("real", folder.path.join("folder")).unwrap();
    assert_eq!(
        folder.text(&write, json!({ "path": "link", "content": "new\n" })).await,
        "wrote 4 bytes to real/file"
    );
    let change = json!({ "path": "link", "old_string": "new", "new_string": "newer" });
    folder.text(&edit, change).await;
    assert!(folder.path.join("link").symlink_metadata().unwrap().is_symlink());
    assert_eq!(folder.content("real/file"), "newer\n");
    folder.text(&write, json!({ "path": "folder/other", "content": "x" })).await;
    assert_eq!(folder.content("real/other"), "x");
}

#[tokio::test]
async fn nothing_outside_of_the_folder_is_written() {
    let folder = Folder::new();
    let secret = folder.outside().join("secret");
    fs::write(&secret, "secret").unwrap();
    symlink(&secret, folder.path.join("file")).unwrap();
    symlink(folder.outside(), folder.path.join("out")).unwrap();
    symlink(folder.outside().join("nothing"), folder.path.join("dangling")).unwrap();
    let far = folder.outside().join("new");
    for path in ["../new", "file", "out/new", "out/more/new", "a/../../new", far.to_str().unwrap()] {
        let error = folder.error(&write, json!({ "path": path, "content": "x" })).await;
        assert!(
            error.contains("outside of the folders") || error.contains("`..` after a folder"),
            "{path}: {error}"
        );
        let change = json!({ "path": path, "old_string": "secret", "new_string": "x" });
        let error = folder.error(&edit, change).await;
        assert!(
            error.contains("outside of the folders") || error.contains("`..` after a folder"),
            "{path}: {error}"
        );
    }
    let error = folder.error(&write, json!({ "path": "dangling", "content": "x" })).await;
    assert!(error.contains("leads nowhere"), "{error}");
    let error = folder.error(&write, json!({ "path": "a\0b", "content": "x" })).await;
    assert!(error.contains("NUL"), "{error}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(fs::read_dir(folder.outside()).unwrap().count(), 2, "the folder, and the secret");
}

#[tokio::test]
async fn what_is_no_file_is_not_written() {
    let folder = Folder::with(&[("sub/x", "y")]);
    for (path, words) in [
        ("sub", "sub is a folder; list it with glob \"sub/*\""),
        (".", ". is a folder"),
        ("", ". is a folder"),
        ("new/", "new/ names a folder"),
        ("sub/x/y", "sub/x/y cannot be reached: a part of its path is no folder"),
    ] {
        let error = folder.error(&write, json!({ "path": path, "content": "x" })).await;
        assert!(error.starts_with(words), "{path}: {error}");
    }
    let made = std::process::Command::new("mkfifo").arg(folder.path.join("pipe")).status().unwrap();
    assert!(made.success());
    let error = folder.error(&write, json!({ "path": "pipe", "content": "x" })).await;
    assert_eq!(error, "pipe is a named pipe, not a file");
    assert_eq!(folder.content("sub/x"), "y");
}

#[tokio::test]
async fn a_further_root_is_written_to_and_shown_by_its_whole_path() {
    let folder = Folder::new();
    let more = folder.outside().join("more");
    fs::create_dir(&more).unwrap();
    let mut parts = ContextParts::for_test(&folder.path);
    parts.extra_roots = vec![more.clone()];
    let Value::Object(arguments) = json!({ "path": "../more/x", "content": "y" }) else { unreachable!() };
    let output = write.call(ToolContext::new(parts), arguments).await.unwrap();
    assert_eq!(text(&output), format!("wrote 1 bytes to {}", more.join("x").display()));
    assert_eq!(fs::read_to_string(more.join("x")).unwrap(), "y");
}

#[tokio::test]
async fn people_see_the_change_as_a_diff() {
    let folder = Folder::with(&[("a", "1\n2\n3\n"), ("photo", "")]);
    let output = folder.call(&write, json!({ "path": "a", "content": "1\ntwo\n3\n" })).await.unwrap();
    let ui = output.ui.unwrap();
    assert_eq!((&ui["kind"], &ui["data"]["path"]), (&json!("diff"), &json!("a")));
    assert_eq!(ui["data"]["diff"], "--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n");
    assert_eq!((&ui["data"]["added"], &ui["data"]["removed"]), (&json!(1), &json!(1)));
    let output = folder.call(&write, json!({ "path": "b", "content": "x\n" })).await.unwrap();
    let data = output.ui.unwrap()["data"].clone();
    assert_eq!(
        (&data["created"], &data["diff"]),
        (&json!(true), &json!("--- /dev/null\n+++ b/b\n@@ -0,0 +1 @@\n+x\n"))
    );
    folder.write("photo", b"\x89PNG\r\n\x1a\n\0\0");
    let output = folder.call(&write, json!({ "path": "photo", "content": "x" })).await.unwrap();
    assert!(output.ui.unwrap()["data"]["diff"].is_null());
    let change = json!({ "path": "a", "old_string": "two", "new_string": "2" });
    let ui = folder.call(&edit, change).await.unwrap().ui.unwrap();
    assert!(ui["data"]["diff"].as_str().unwrap().contains("\n-two\n+2\n"), "{ui}");
}

#[tokio::test]
async fn a_text_is_replaced_where_it_is_and_the_line_is_told() {
    let folder = Folder::with(&[("a.rs", "fn one() {}\nfn two() {}\n")]);
    let change = json!({ "path": "a.rs", "old_string": "fn two", "new_string": "fn three" });
    assert_eq!(folder.text(&edit, change).await, "replaced 1 occurrence in a.rs, at line 2");
    assert_eq!(folder.content("a.rs"), "fn one() {}\nfn three() {}\n");
    let change = json!({ "path": "a.rs", "old_string": "fn", "new_string": "pub fn", "replace_all": true });
    assert_eq!(folder.text(&edit, change).await, "replaced 2 occurrences in a.rs, at lines 1 and 2");
    assert_eq!(folder.content("a.rs"), "pub fn one() {}\npub fn three() {}\n");
    assert_eq!(folder.names(), ["a.rs"]);
}

#[tokio::test]
async fn line_ends_a_missing_last_one_and_a_byte_order_mark_stay() {
    let folder = Folder::new();
    folder.write("dos.txt", "\u{feff}one\r\ntwo\r\nthree");
    let change = json!({ "path": "dos.txt", "old_string": "one\ntwo", "new_string": "1\n1½\n2" });
    folder.text(&edit, change).await;
    assert_eq!(folder.content("dos.txt"), "\u{feff}1\r\n1½\r\n2\r\nthree");
}

#[tokio::test]
async fn a_text_that_is_not_there_or_there_twice_changes_nothing() {
    let folder = Folder::with(&[("a", "x\ny\nx\n"), ("fmt", "if a {\n\tb();\n}\n")]);
    let run = async |path: &str, old: &str| {
        folder.error(&edit, json!({ "path": path, "old_string": old, "new_string": "new" })).await
    };
    let error = run("a", "x").await;
    assert!(error.starts_with("a contains `old_string` 2 times, at lines 1 and 3;"), "{error}");
    let error = run("a", "z").await;
    assert!(error.starts_with("a does not contain `old_string`"), "{error}");
    let error = run("fmt", "if a {\n    b();").await;
    assert!(error.contains("at line 1 differs from it in white space only"), "{error}");
    assert_eq!(run("fmtt", "x").await, "there is no file fmtt; did you mean fmt?");
    assert_eq!(run(".", "x").await, ". is a folder; list it with glob \"*\"");
    assert!(run("a", "").await.contains("`old_string` is empty"));
    assert_eq!(folder.content("a"), "x\ny\nx\n");
}

#[tokio::test]
async fn what_is_no_text_is_not_edited() {
    let folder = Folder::new();
    folder.write("latin1", b"caf\xe9 x");
    folder.write("binary", b"x\0y");
    folder.write("large", vec![b'x'; 16 * 1024 * 1024 + 1]);
    let run = async |path: &str| {
        folder.error(&edit, json!({ "path": path, "old_string": "x", "new_string": "y" })).await
    };
    assert!(run("latin1").await.starts_with("latin1 is not valid UTF-8"));
    assert_eq!(run("binary").await, "binary is binary data, not text");
    assert!(run("large").await.starts_with("large has 16777217 bytes, more than"));
    assert_eq!(fs::read(folder.path.join("latin1")).unwrap(), b"caf\xe9 x");
}

#[tokio::test]
async fn an_interrupted_call_writes_nothing() {
    let folder = Folder::with(&[("a", "x")]);
    folder.ctx.cancel_token().cancel();
    let error = folder.call(&write, json!({ "path": "a", "content": "y" })).await.unwrap_err();
    assert_eq!(error, ToolError::Cancelled);
    let change = json!({ "path": "a", "old_string": "x", "new_string": "y" });
    assert_eq!(folder.call(&edit, change).await.unwrap_err(), ToolError::Cancelled);
    assert_eq!((folder.content("a").as_str(), folder.names().len()), ("x", 1));
}
