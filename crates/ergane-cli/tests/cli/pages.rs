//! The shell lines of the pages are run as they stand, those that need no model and no network.

use crate::harness::{Home, Output, finish};

#[path = "../../../../tests/snippets.rs"]
mod snippets;

/// A small project to ask about, in a home of its own.
fn project() -> Home {
    let home = Home::new();
    home.write(
        "project/Cargo.toml",
        "[package]\nname = \"small\"\n\n[dependencies]\nractor = \"0.16\"\n\n[dev-dependencies]\nproptest = \"1\"\n",
    );
    home
}

/// Runs the lines of a page that call the command, those of its first blocks, one after the other in a home.
fn run(home: &Home, page: &str, blocks: usize) -> Vec<Output> {
    let root = snippets::root(env!("CARGO_MANIFEST_DIR"));
    let (_, text) = snippets::pages(&root).into_iter().find(|(name, _)| name == page).unwrap();
    let lines = snippets::blocks(page, &text).into_iter().take(blocks).flatten();
    let mut outputs = Vec::new();
    for line in lines {
        let Some(arguments) = line.arguments_of("ergane", None) else { continue };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = home.command(&arguments);
        command.current_dir(home.path("project"));
        let output = finish(command);
        assert_eq!(output.code, Some(0), "{}: {:?}: {output:?}", line.place, line.words);
        outputs.push(output);
    }
    outputs
}

#[test]
fn getting_started_prints_what_it_says() {
    let outputs = run(&project(), "docs/getting-started.md", usize::MAX);
    let [first, second, show] = &outputs[..] else { panic!("three lines: {outputs:?}") };
    assert!(first.stdout.contains("ractor 0.16") && first.stdout.contains("proptest 1"), "{first:?}");
    assert!(first.stderr.contains("tool read"), "{first:?}");
    assert!(second.stdout.contains("only for tests") && second.stdout.contains("proptest 1"), "{second:?}");
    assert!(
        !second.stdout.contains("ractor") && !second.stderr.contains("tool "),
        "nothing is read again: {second:?}"
    );
    for told in [
        "2 turns",
        "What does this project depend on?",
        "And which of these are only for tests?",
        "proptest 1",
    ] {
        assert!(show.stdout.contains(told), "{told}: {show:?}");
    }
}

#[test]
fn the_readmes_first_line_answers_and_said_again_is_the_second_turn() {
    let home = project();
    for turn in 1..=2 {
        let outputs = run(&home, "README.md", usize::MAX);
        let [answer] = &outputs[..] else { panic!("one line: {outputs:?}") };
        assert!(answer.stdout.contains("ractor 0.16"), "{answer:?}");
        let sessions = home.run(&["sessions", "--json"]).expect(0).json();
        assert_eq!(
            (&sessions["sessions"][0]["name"], &sessions["sessions"][0]["turns"]),
            (&"demo".into(), &turn.into())
        );
    }
}

#[test]
fn the_first_lines_of_the_page_of_the_command_work_without_a_model() {
    let outputs = run(&project(), "docs/command.md", 1);
    let [_, tests, list, show, fork, doctor] = &outputs[..] else { panic!("six lines: {outputs:?}") };
    assert!(tests.stdout.contains("proptest 1"), "{tests:?}");
    assert!(list.stdout.lines().any(|row| row.starts_with("demo ")), "{list:?}");
    assert!(show.stdout.contains("And which of these are only for tests?"), "{show:?}");
    assert_eq!(fork.stdout, "other: a fork of demo\n");
    assert!(doctor.stdout.contains("journal: "), "{doctor:?}");
}
