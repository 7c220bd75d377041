//! What the documents say of the tests is true: every test that they name exists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::fs;

use ergane_tests::{root, rust_files};

#[test]
fn every_test_that_the_pages_name_exists() {
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    rust_files(&root().join("tests"), &mut files);
    let sources: String = files.iter().map(|path| fs::read_to_string(path).expect("source")).collect();
    for page in ["docs/guarantees.md", "docs/otp.md"] {
        let text = fs::read_to_string(root().join(page)).expect("the page");
        // A test's name is a sentence: it has several underscores. So has one word of OTP's own.
        let is_name = |word: &&str| word.matches('_').count() >= 3 && *word != "simple_one_for_one";
        let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(is_name).collect();
        assert!(named.len() > 20, "{page} names its tests: {}", named.len());
        for name in named {
            assert!(sources.contains(&format!("fn {name}(")), "{page}: no test is called {name}");
        }
    }
}

#[test]
fn every_mutation_stands_on_the_page_with_the_proof_that_it_turns_red() {
    let guarantees = fs::read_to_string(root().join("docs/guarantees.md")).expect("the page");
    let entries = fs::read_dir(root().join("tests/mutations")).expect("a folder");
    let patches = entries.map(|entry| entry.expect("an entry").path());
    let mut mutations = 0;
    for path in patches.filter(|path| path.extension().is_some_and(|kind| kind == "patch")) {
        let patch = fs::read_to_string(&path).expect("a patch");
        let proof = patch
            .lines()
            .find(|line| line.starts_with("Proof: "))
            .and_then(|line| line.split(' ').next_back());
        let proof = format!("`{}`", proof.expect("a proof"));
        let name = format!("`{}`:", path.file_stem().and_then(|name| name.to_str()).expect("a name"));
        let row = guarantees.lines().find(|line| line.contains(&name));
        assert!(row.is_some_and(|row| row.contains(&proof)), "no row has {name} and {proof}");
        mutations += 1;
    }
    assert!(mutations > 40, "the proofs are shown to be able to fail: {mutations}");
}

#[test]
fn nothing_is_promised_twice() {
    let guarantees = fs::read_to_string(root().join("docs/guarantees.md")).expect("the page");
    let cells =
        guarantees.lines().filter(|line| line.starts_with('|')).filter_map(|row| row.split('|').nth(1));
    let is_head = |cell: &&str| cell.starts_with("--") || ["promise", "rule", ""].contains(&cell.trim());
    let mut promises: Vec<&str> = cells.filter(|cell| !is_head(cell)).collect();
    let rows = promises.len();
    promises.sort_unstable();
    let twice = promises.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None, "it is promised twice, and one of the two is older");
    assert!(rows > 100, "the page has rows: {rows}");
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut pages =
        vec![root().join("README.md"), root().join("CHANGELOG.md"), root().join("examples/README.md")];
    for folder in ["docs", "docs/decisions"] {
        let entries =
            fs::read_dir(root().join(folder)).expect("a folder").map(|entry| entry.expect("an entry").path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|kind| kind == "md")));
    }
    let mut links = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            if path.starts_with("http") {
                continue;
            }
            links += 1;
            let here = page.parent().expect("a folder").join(path);
            let target = if path.is_empty() { page.clone() } else { here };
            assert!(target.exists(), "{} links to {link}, which does not exist", page.display());
            if !heading.is_empty() {
                let text = fs::read_to_string(&target).expect("a page");
                let found = text.lines().any(|line| line.starts_with('#') && anchor(line) == heading);
                assert!(found, "{} links to {link}, which has no such heading", page.display());
            }
        }
    }
    assert!(links > 10, "the documents link to each other: {links}");
}

#[test]
fn every_decision_has_a_number_of_its_own_and_stands_in_their_list() {
    let folder = root().join("docs/decisions");
    let list = fs::read_to_string(folder.join("README.md")).expect("the list");
    let entries = fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().expect("a name")).collect();
    names.retain(|name| name != "README.md");
    names.sort_unstable();
    for (number, name) in (1..).zip(&names) {
        assert!(name.starts_with(&format!("{number:04}-")), "decision {number} is called {name}");
        assert!(list.contains(&format!("[{number:04}: ")) && list.contains(&format!("({name})")), "{name}");
    }
}
