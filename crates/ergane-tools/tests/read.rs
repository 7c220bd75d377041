//! `read` on real files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod common;

use std::os::unix::fs::symlink;
use std::process::Command;

use common::Folder;
use ergane_tool::{Effect, ImageSource, Part, Tool, ToolError};
use ergane_tools::read;
use serde_json::json;

#[tokio::test]
async fn lines_come_with_the_files_own_numbers() {
    let folder = Folder::with(&[("a/b.txt", "one\r\ntwo\n\nfour")]);
    assert_eq!(folder.text(&read, json!({ "path": "a/b.txt" })).await, "1\tone\n2\ttwo\n3\t\n4\tfour");
    let absolute = folder.path.join("a/b.txt");
    assert_eq!(folder.text(&read, json!({ "path": absolute, "offset": 4 })).await, "4\tfour");
    let part = folder.text(&read, json!({ "path": "a/b.txt", "offset": 2, "limit": 1 })).await;
    assert_eq!(part, "2\ttwo\n[more lines follow; go on with offset 3]");
    let ui = folder.call(&read, json!({ "path": "a/b.txt", "offset": 2, "limit": 1 })).await.unwrap().ui;
    let expected = json!({ "path": "a/b.txt", "first": 2, "last": 2, "more": true });
    assert_eq!(ui.unwrap(), json!({ "kind": "lines", "data": expected }));
    let last = folder.text(&read, json!({ "path": "a/b.txt", "offset": 3, "limit": 2 })).await;
    assert_eq!(last, "3\t\n4\tfour");
    assert_eq!((read.name(), read.effect()), ("read", Effect::Read));
}

#[tokio::test]
async fn an_empty_file_and_an_offset_past_the_end_are_said_in_words() {
    let folder = Folder::with(&[("empty", ""), ("two", "1\n2\n")]);
    assert_eq!(folder.text(&read, json!({ "path": "empty" })).await, "(empty is empty)");
    let error = folder.error(&read, json!({ "path": "two", "offset": 3 })).await;
    assert_eq!(error, "two has 2 lines; there is no line 3");
    let error = folder.error(&read, json!({ "path": "two", "limit": 0 })).await;
    assert_eq!(error, "bad arguments at `limit`: it must be 1 or more");
}

#[tokio::test]
async fn a_missing_file_is_an_error_that_names_the_nearest() {
    let folder = Folder::with(&[("src/main.rs", "x")]);
    let error = folder.error(&read, json!({ "path": "src/mian.rs" })).await;
    assert_eq!(error, "there is no file src/mian.rs; did you mean src/main.rs?");
    let error = folder.error(&read, json!({ "path": "no/where" })).await;
    assert_eq!(error, "there is no file no/where");
}

#[tokio::test]
async fn a_folder_and_what_is_no_file_are_refused_without_waiting() {
    let folder = Folder::with(&[("src/x", "")]);
    let error = folder.error(&read, json!({ "path": "src" })).await;
    assert_eq!(error, "src is a folder; list it with glob \"src/*\"");
    assert!(Command::new("mkfifo").arg(folder.path.join("pipe")).status().unwrap().success());
    let error = folder.error(&read, json!({ "path": "pipe" })).await;
    assert_eq!(error, "pipe is a named pipe, not a file");
    let error = folder.error(&read, json!({ "path": "src/x/y" })).await;
    assert_eq!(error, "src/x/y cannot be reached: a part of its path is no folder");
}

#[tokio::test]
async fn a_long_line_is_cut_with_a_mark() {
    let folder =
        Folder::with(&[("wide", &"é".repeat(2_000)), ("wider", &format!("{}\nnext", "é".repeat(3_000)))]);
    assert_eq!(folder.text(&read, json!({ "path": "wide" })).await, format!("1\t{}", "é".repeat(2_000)));
    let text = folder.text(&read, json!({ "path": "wider" })).await;
    assert_eq!(text, format!("1\t{}… [cut: the line has 3000 characters]\n2\tnext", "é".repeat(2_000)));
}

#[tokio::test]
async fn a_large_file_is_read_in_parts_only() {
    let folder = Folder::new();
    let line = format!("{}\n", "x".repeat(99));
    folder.write("fits", line.repeat(5_000));
    folder.write("large", line.repeat(20_001));
    let text = folder.text(&read, json!({ "path": "fits" })).await;
    assert_eq!(text.lines().count(), 5_000);
    let error = folder.error(&read, json!({ "path": "large" })).await;
    assert!(error.starts_with("large has 2000100 bytes") && error.contains("`offset`"), "{error}");
    let text = folder.text(&read, json!({ "path": "large", "offset": 20_001 })).await;
    assert!(text.starts_with("20001\txxx") && text.lines().count() == 1);
    let all = folder.text(&read, json!({ "path": "large", "offset": 1 })).await;
    assert!(all.len() < 1_001_000 && all.contains("[more lines follow; go on with offset "));
    let next = all.rsplit(' ').next().unwrap().trim_end_matches(']').parse::<u64>().unwrap();
    let last = all.lines().nth_back(1).unwrap().split('\t').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(next, last + 1);
}

#[tokio::test]
async fn bytes_that_are_no_utf8_are_replaced_and_said_so() {
    let folder = Folder::new();
    folder.write("latin1", b"caf\xe9\nplain\nna\xefve\n");
    let text = folder.text(&read, json!({ "path": "latin1" })).await;
    assert!(text.starts_with("1\tcaf\u{fffd}\n2\tplain\n3\tna\u{fffd}ve\n[2 of these lines"), "{text}");
}

#[tokio::test]
async fn binary_files_are_refused_with_their_kind() {
    let folder = Folder::new();
    for (name, bytes, kind) in [
        ("a.out", &b"\x7fELF\x02\x01\x01\0\0\0"[..], "an ELF executable"),
        ("a.zip", b"PK\x03\x04\x14\0\0\0", "a ZIP archive"),
        ("a.pdf", b"%PDF-1.7 text that looks harmless", "a PDF document"),
        ("a.bin", b"abc\0def", "binary data"),
    ] {
        folder.write(name, bytes);
        let error = folder.error(&read, json!({ "path": name })).await;
        assert!(error.starts_with(&format!("{name} is {kind}")), "{error}");
    }
}

#[tokio::test]
async fn an_image_comes_as_an_image_with_its_bytes() {
    let folder = Folder::new();
    let bytes = [&b"\x89PNG\r\n\x1a\n"[..], &vec![7; 20_000]].concat();
    folder.write("dot.png", &bytes);
    let output = folder.call(&read, json!({ "path": "dot.png" })).await.unwrap();
    assert_eq!(output.content[0], Part::text("dot.png (image/png, 20008 bytes)"));
    let Part::Image { mime, source: ImageSource::Base64(data) } = &output.content[1] else {
        panic!("{output:?}")
    };
    assert_eq!(mime.as_ref(), "image/png");
    let ui = output.ui.as_ref().unwrap();
    assert_eq!(ui["data"], json!({ "path": "dot.png", "mime": "image/png", "bytes": 20_008 }));
    use base64::Engine;
    assert_eq!(base64::prelude::BASE64_STANDARD.decode(data.as_bytes()).unwrap(), bytes);
    folder.write("huge.png", [&bytes[..], &vec![0; 2_000_000]].concat());
    assert!(folder.error(&read, json!({ "path": "huge.png" })).await.contains("an image of 2020008 bytes"));
}

#[tokio::test]
async fn nothing_outside_of_the_folder_is_read() {
    let folder = Folder::with(&[("a..b.txt", "fine")]);
    std::fs::write(folder.outside().join("secret"), "secret").unwrap();
    symlink(folder.outside().join("secret"), folder.path.join("link")).unwrap();
    assert_eq!(folder.text(&read, json!({ "path": "a..b.txt" })).await, "1\tfine");
    for path in ["../secret", "link", "/etc/passwd", "../in/../secret"] {
        let error = folder.error(&read, json!({ "path": path })).await;
        assert!(error.contains("outside of the folders this session is confined to"), "{path}: {error}");
    }
    assert!(folder.error(&read, json!({ "path": "a\0b" })).await.contains("NUL"));
}

#[tokio::test]
async fn an_interrupted_call_stops_reading() {
    let folder = Folder::with(&[("a", "x")]);
    folder.ctx.cancel_token().cancel();
    assert_eq!(folder.call(&read, json!({ "path": "a" })).await.unwrap_err(), ToolError::Cancelled);
}
