//! The mutations that show that the proofs can fail are patches, and a patch whose place has changed shows nothing any more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::fs;
use std::path::PathBuf;

use ergane_tests::root;

/// What a hunk of a patch expects to find, and in which file.
fn hunks(patch: &str) -> Vec<(&str, Vec<&str>)> {
    let (mut hunks, mut file) = (Vec::<(&str, Vec<&str>)>::new(), "");
    for line in patch.lines() {
        if let Some(path) = line.strip_prefix("+++ b/") {
            file = path;
        } else if line.starts_with("@@ ") {
            hunks.push((file, Vec::new()));
        } else if let Some((_, expected)) = hunks.last_mut() {
            // An empty line of the context may have lost its space.
            match line.strip_prefix([' ', '-']) {
                Some(kept) if !line.starts_with("---") => expected.push(kept),
                None if line.is_empty() => expected.push(""),
                _ => {}
            }
        }
    }
    hunks
}

#[test]
fn every_mutation_still_finds_its_place() {
    let root = root();
    let folder = fs::read_dir(root.join("tests/mutations")).unwrap();
    let patches = folder.map(|entry| entry.unwrap().path());
    let patches: Vec<PathBuf> =
        patches.filter(|path| path.extension().is_some_and(|ending| ending == "patch")).collect();
    assert!(patches.len() > 40, "only {} patches were found", patches.len());
    let mut lost = Vec::new();
    for path in patches {
        let patch = fs::read_to_string(&path).unwrap();
        let hunks = hunks(&patch);
        assert!(!hunks.is_empty(), "{} changes nothing", path.display());
        for (file, mut expected) in hunks {
            while expected.last() == Some(&"") {
                expected.pop(); // the end of the patch, not of the hunk
            }
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            if !lines.windows(expected.len().max(1)).any(|window| window == expected) {
                lost.push(format!("{}: in {file}:\n{}", path.display(), expected.join("\n")));
            }
        }
    }
    assert!(lost.is_empty(), "these patches do not apply any more:\n{}", lost.join("\n\n"));
}
