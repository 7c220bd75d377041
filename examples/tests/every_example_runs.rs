//! Every example is run as its reader would run it: as a program, to its end, with what it prints.
//!
//! Cargo builds the examples of a package before it runs the package's tests, into a folder beside this test's own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

/// Each example, and the line without which it would have shown nothing.
const EXAMPLES: [(&str, &str); 12] = [
    ("hello", "- dependencies: ergane"),
    ("supervised_session", "the stream: alice answers: Well, here I am again."),
    ("embed_in_your_tree", "the office closed, and bob went with it: Stored"),
    ("crash_and_resume", "alice: It is in your diary."),
    ("approve_later", "alice: Done: paid 120 euros to the plumber."),
    ("approve_beside_a_server", "asked from here: Done: 380 euros."),
    ("tool_panics", "alice: The tool says: 3"),
    ("custom_tool", "ann: Your orders: a lamp, a chair."),
    ("permissions", "200: 200 dollars went back to ann"),
    ("stream_to_terminal", "It has 4 words, and I counted them one by one."),
    ("many_sessions", "10000 of them are live actors"),
    ("test_your_agent", "after a crash at each of "),
];

/// Only a hang meets it.
const DEADLINE: Duration = Duration::from_secs(120);

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo puts the program of an example, seen from this test's own.
fn program(name: &str) -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let built = test.parent()?.parent()?.join("examples");
    let program = built.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    program.exists().then_some(program)
}

#[tokio::test]
async fn every_example_ends_well_and_says_what_it_shows() {
    for (name, line) in EXAMPLES {
        let program = program(name).unwrap_or_else(|| {
            panic!("{name} is not built; run the tests of the whole package: `cargo test -p ergane-examples`")
        });
        let mut command = Command::new(program);
        let run = command.current_dir(folder()).kill_on_drop(true).output();
        let output = match tokio::time::timeout(DEADLINE, run).await {
            Ok(output) => output.unwrap(),
            Err(_) => panic!("{name} had not ended after {DEADLINE:?}"),
        };
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let told = format!("{name}: {}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", output.status);
        assert!(output.status.success(), "{told}");
        assert!(stdout.lines().any(|said| said.starts_with(line)), "no line `{line}`\n{told}");
    }
}

#[test]
fn every_example_in_the_folder_is_run_and_told_of_in_the_readme() {
    let files =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let sources =
        files.filter_map(|file| file.strip_suffix(".rs").map(str::to_owned)).filter(|name| name != "lib");
    let in_the_folder: BTreeSet<String> = sources.collect();
    let run: BTreeSet<String> = EXAMPLES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(in_the_folder, run, "what is in the folder, and what is run here");

    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for name in &run {
        let command = format!("`cargo run -p ergane-examples --example {name}`");
        let row = readme.lines().find(|row| row.starts_with(&format!("| [{name}]({name}.rs) |")));
        assert!(
            row.is_some_and(|row| row.contains(&command)),
            "README.md has no row for {name} with {command}"
        );
    }
}
