//! The main line: answers from real files, on stdout; everything else on stderr.

use std::process::Stdio;

use serde_json::json;

use crate::harness::{Home, Running, finish};

const QUESTION: &str = "What does this project depend on?";

/// A copy of a small project.
fn project(home: &Home) {
    home.write(
        "project/Cargo.toml",
        "[package]\nname = \"small\"\n\n[dependencies]\nserde = \"1.0\"\nureq = \"2\"\n",
    );
    home.write("project/src/lib.rs", "//! Small.\n");
    home.write("project/web/package.json", "{\"dependencies\": {\"left-pad\": \"1.3.0\"}}");
}

fn ask(home: &Home, args: &[&str]) -> crate::harness::Output {
    let mut command = home.command(args);
    command.current_dir(home.path("project"));
    finish(command)
}

#[test]
fn send_answers_from_the_files_of_the_folder_and_says_who_served() {
    let home = Home::new();
    project(&home);
    let output = ask(&home, &["send", "demo", QUESTION]).expect(0);
    for name in ["serde", "ureq", "left-pad"] {
        assert!(output.stdout.contains(name), "{name}: {output:?}");
    }
    assert!(!output.stdout.contains("anyhow"), "{output:?}");
    assert!(output.stdout.ends_with('\n') && !output.stdout.ends_with("\n\n"), "{output:?}");
    for told in [
        "scripted",
        "ANTHROPIC_API_KEY",
        "OPENAI_API_KEY",
        "GEMINI_API_KEY",
        "Ollama",
        "tool glob",
        "tool read",
    ] {
        assert!(output.stderr.contains(told), "{told}: {output:?}");
    }
    assert!(!output.stdout.contains("tool "), "{output:?}");
    assert!(home.journal().exists());

    // The answer comes from the files and from nowhere else.
    let manifest = std::fs::read_to_string(home.path("project/Cargo.toml")).unwrap();
    home.write("project/Cargo.toml", format!("{manifest}anyhow = \"1\"\n"));
    let output = ask(&home, &["send", "demo", QUESTION]).expect(0);
    assert!(output.stdout.contains("anyhow"), "{output:?}");
}

#[test]
fn without_tools_the_built_in_conversation_says_that_it_cannot_know() {
    let home = Home::new();
    project(&home);
    for args in [&["query", QUESTION][..], &["run", QUESTION, "--tools", "none"]] {
        let output = ask(&home, args).expect(0);
        assert!(output.stdout.contains("cannot know"), "{output:?}");
        assert!(!output.stdout.contains("ureq"), "{output:?}");
    }
    let output = ask(&home, &["run", QUESTION]).expect(0);
    assert!(output.stdout.contains("ureq"), "{output:?}");
    assert!(!home.journal().exists(), "query and run keep nothing");
}

#[test]
fn another_folder_is_named_by_cwd() {
    let home = Home::new();
    project(&home);
    let output = home.run(&["run", QUESTION, "--cwd", "project/web"]).expect(0);
    assert!(output.stdout.contains("left-pad") && !output.stdout.contains("ureq"), "{output:?}");
}

#[test]
fn stdout_of_a_pipe_is_the_answer_alone_without_escape_codes() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "first line\nsecond line"})]);
    let output = home.run(&["run", "hi", "--script", &script]).expect(0);
    assert_eq!(output.stdout, "first line\nsecond line\n");
    assert!(!output.stderr.contains('\u{1b}'), "{output:?}");
    let quiet = home.run(&["run", "hi", "--script", &script, "-q"]).expect(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("first line\nsecond line\n", ""));
}

#[test]
fn an_answer_that_was_cut_and_asked_again_is_printed_once() {
    let home = Home::new();
    let cut = json!({"errors": [{"kind": "stream_cut", "after_text": "half an ans", "retry_after_ms": 1}],
                     "text": "the whole answer"});
    let script = home.script("s", &[cut]);
    let output = home.run(&["run", "hi", "--script", &script]).expect(0);
    assert_eq!(output.stdout, "the whole answer\n");
    assert!(output.stderr.contains("asked again"), "{output:?}");
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "x".repeat(1 << 20)})]);
    for extra in [&[][..], &["--json"], &["--stream-json"]] {
        let mut command = home.command(&[&["send", "a", "hi", "--script", &script], extra].concat());
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        command.stdout(writer);
        command.stderr(Stdio::piped());
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panic"), "{stderr}");
        // The first send has a reply in the script; of the others it is only asked that they end by themselves.
        assert!(output.status.code().is_some_and(|code| code < 100), "{stderr}");
    }
    let list = home.run(&["sessions", "--json"]).expect(0).json();
    assert_eq!(list["sessions"][0]["turns"], 3);
}

#[test]
fn a_later_send_knows_what_was_said_before() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "two"})]);
    let first = home.run(&["send", "a", "hi", "--script", &script, "--json"]).expect(0).json();
    let second = home.run(&["send", "a", "again", "--script", &script, "--json"]).expect(0).json();
    // The script's line is chosen by the answers in the request's history.
    assert_eq!((&first["text"], &first["turn"]), (&json!("one"), &json!(1)));
    assert_eq!((&second["text"], &second["turn"]), (&json!("two"), &json!(2)));
}

#[test]
fn a_journal_in_memory_leaves_nothing() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"})]);
    let args = ["send", "a", "hi", "--script", &script, "--journal", ":memory:", "--json"];
    assert_eq!(home.run(&args).expect(0).json()["turn"], 1);
    assert_eq!(home.run(&args).expect(0).json()["turn"], 1);
    assert!(!home.journal().exists());
}

#[test]
fn the_journal_is_where_the_flag_or_the_environment_says() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"})]);
    home.run(&["send", "a", "hi", "--script", &script, "--journal", "deep/er/flag.db"]).expect(0);
    assert!(home.path("deep/er/flag.db").exists());
    let mut command = home.command(&["send", "a", "hi", "--script", &script]);
    command.env("ERGANE_JOURNAL", home.path("env.db"));
    Running::of(command).output().expect(0);
    assert!(home.path("env.db").exists());
    assert!(!home.journal().exists());
}

#[test]
fn logs_go_to_stderr_when_they_are_asked_for() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"})]);
    let mut command = home.command(&["run", "hi", "--script", &script]);
    command.env("RUST_LOG", "ergane=debug,ergane_session=debug");
    let logged = finish(command).expect(0);
    assert_eq!(logged.stdout, "one\n");
    assert!(logged.stderr.contains("DEBUG"), "{logged:?}");
    let verbose = home.run(&["-vv", "run", "hi", "--script", &script]).expect(0);
    assert!(verbose.stderr.contains("DEBUG"), "{verbose:?}");
    assert!(!home.run(&["run", "hi", "--script", &script]).expect(0).stderr.contains("DEBUG"));
}
