//! Bad input: a clear error, the right status, nothing lost, no panic.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{Home, Output};

#[track_caller]
fn refused(output: Output, code: i32, kind: &str, told: &str) -> Output {
    let output = output.expect(code);
    let object = output.json();
    assert_eq!(object["error"]["kind"], kind, "{output:?}");
    let message = object["error"]["message"].as_str().unwrap();
    assert!(message.contains(told), "{message}");
    assert!(output.stderr.contains(told), "people are told too: {output:?}");
    assert!(!output.stderr.contains("panicked"), "{output:?}");
    output
}

#[test]
fn an_unknown_provider_is_refused_with_the_known_ones() {
    let home = Home::new();
    let output = home.run(&["send", "a", "hi", "--provider", "nope", "--json"]);
    refused(output, 2, "config", "ollama, openai, openai_responses, anthropic, gemini, scripted");
    assert_eq!(home.run(&["sessions"]).expect(0).stdout, "no sessions\n");
}

#[test]
fn an_unreachable_server_is_a_transport_error() {
    let home = Home::new();
    let openai = ["--provider", "openai", "--base-url", "http://127.0.0.1:1/v1", "--model", "m"];
    let ollama = ["--provider", "ollama", "--model", "m"];
    for provider in [&openai[..], &ollama] {
        let args = [&["send", "a", "hi", "--retries", "0", "--json"][..], provider].concat();
        let output = refused(home.run(&args), 3, "transport", "127.0.0.1:1");
        assert_eq!(output.json()["finish_reason"], "during_execution");
    }
    // Nothing is lost: the turns are there.
    assert_eq!(home.run(&["sessions", "--json"]).json()["sessions"][0]["turns"], 2);
}

#[test]
fn usage_errors_go_to_stderr_alone() {
    let home = Home::new();
    for args in [
        &["frobnicate"][..],
        &["send", "a"],
        &["run", "hi", "--timeout", "soon", "--json"],
        &["run", "hi", "--json", "--stream-json"],
        &["run", "hi", "--mode", "react"],
        &["run", "hi", "--permissions", "everything"],
        &["sessions", "fork", "a"],
    ] {
        let output = home.run(args).expect(2);
        assert_eq!(output.stdout, "", "{args:?}");
        assert!(output.stderr.contains("error:"), "{output:?}");
    }
    home.run(&["--help"]).expect(0);
    home.run(&["--version"]).expect(0);
}

#[test]
fn values_that_only_the_system_can_judge_are_config_errors() {
    let home = Home::new();
    let bad_script = home.write("bad.jsonl", "{\"text\": \"ok\"}\n{\"texd\": 1}\n");
    let good_script = home.script("good.jsonl", &[json!({"text": "ok"})]);
    for (args, told) in [
        (&["--tools", "read,reed"][..], "reed"),
        (&["--allow", "bsah"], "bsah"),
        (&["--deny", "bsah"], "bsah"),
        (&["--cwd", "no/such/folder"], "no/such/folder"),
        (&["--cwd", "bad.jsonl"], "not a folder"),
        (&["--script", "no-script"], "no-script"),
        (&["--script", &bad_script], "line 2"),
        (&["--script", &good_script, "--provider", "ollama"], "--script"),
        (&["--provider", "scripted", "--base-url", "http://x"], "scripted"),
        (&["--provider", "openai", "--base-url", "ftp://x"], "ftp://x"),
        (&["--model", " "], "--model"),
        (&["--journal", "postgres://x/y"], "PostgreSQL"),
    ] {
        refused(home.run(&[&["send", "a", "hi", "--json"][..], args].concat()), 2, "config", told);
    }
    refused(home.run(&["query", "hi", "--tools", "read", "--json"]), 2, "config", "run");
}

#[test]
fn a_base_url_that_may_hold_a_key_is_refused_and_told_and_kept_nowhere() {
    let home = Home::new();
    let at = ["--provider", "openai", "--model", "m", "--json", "--base-url"];
    for url in [
        "http://127.0.0.1:1/v1?key=planted",
        "http://me:planted@127.0.0.1:1/v1",
        "http://127.0.0.1:1/v1#planted",
    ] {
        for command in [&["send", "a", "hi"][..], &["run", "hi"], &["query", "hi"]] {
            let output =
                refused(home.run(&[command, &at, &[url]].concat()), 2, "config", "configuration file");
            assert!(!output.stderr.contains("planted") && !output.stdout.contains("planted"), "{url}");
        }
    }
    home.run(&["sessions", "show", "a", "--json"]).expect(1);
}

#[test]
fn an_empty_prompt_is_refused() {
    let home = Home::new();
    for prompt in ["", "  \n\t "] {
        for args in [&["query", prompt][..], &["run", prompt], &["send", "a", prompt]] {
            refused(home.run(&[args, &["--json"]].concat()), 2, "bad_request", "empty");
        }
    }
}

#[test]
fn a_bad_session_name_is_refused_everywhere() {
    let home = Home::new();
    let long = "x".repeat(129);
    for name in ["a b", "é", "", long.as_str()] {
        for args in [&["send", name, "hi"][..], &["resume", name]] {
            let output = refused(home.run(&[args, &["--json"]].concat()), 2, "config", "session name");
            assert_eq!(output.json()["session"], Value::Null);
        }
        for command in ["show", "events", "export", "delete"] {
            refused(home.run(&["sessions", command, name, "--json"]), 2, "config", "session name");
        }
    }
    home.run(&["send", "-a", "hi"]).expect(2);
}

#[test]
fn a_journal_that_is_none_is_refused_and_left_alone() {
    let home = Home::new();
    std::fs::create_dir(home.path("folder")).unwrap();
    let garbage =
        home.write("garbage", "this is no database, and long enough to be taken for one".repeat(100));
    let before = std::fs::read(&garbage).unwrap();
    let foreign = home.path("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    for (path, told) in
        [("folder", "directory"), ("garbage", "not an ergane journal"), ("foreign.db", "another program")]
    {
        refused(home.run(&["send", "a", "hi", "--journal", path, "--json"]), 4, "journal", told);
        refused(home.run(&["sessions", "--journal", path, "--json"]), 4, "journal", told);
        refused(home.run(&["sessions", "show", "a", "--journal", path, "--json"]), 4, "journal", told);
        refused(home.run(&["resume", "a", "--journal", path, "--json"]), 4, "journal", told);
        refused(home.run(&["resume", "--all", "--journal", path, "--json"]), 4, "journal", told);
    }
    assert_eq!(std::fs::read(&garbage).unwrap(), before);
}

#[test]
fn a_journal_from_the_future_is_refused_with_both_versions() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "two"})]);
    home.run(&["send", "a", "hi", "--script", &script]).expect(0);
    let set = |version: u32| {
        let journal = Connection::open(home.journal()).unwrap();
        let before: u32 = journal.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        journal.pragma_update(None, "user_version", version).unwrap();
        before
    };
    let supported = set(4711);
    for args in [&["send", "a", "again"][..], &["sessions"], &["sessions", "show", "a"], &["resume"]] {
        let output = refused(home.run(&[args, &["--json"]].concat()), 4, "journal", "4711");
        assert!(output.stderr.contains(&supported.to_string()), "{output:?}");
    }
    // With the right binary everything is there.
    set(supported);
    let object = home.run(&["send", "a", "again", "--script", &script, "--json"]).expect(0).json();
    assert_eq!((&object["turn"], &object["text"]), (&json!(2), &json!("two")));
}

#[test]
fn a_command_that_only_looks_leaves_an_older_journal_as_it_is() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "two"})]);
    home.run(&["send", "a", "hi", "--script", &script]).expect(0);
    let old = "DROP TABLE snapshot; PRAGMA user_version = 1";
    Connection::open(home.journal()).unwrap().execute_batch(old).unwrap();
    let version = || -> u32 {
        let journal = Connection::open(home.journal()).unwrap();
        journal.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    };
    for args in [
        &["sessions"][..],
        &["sessions", "show", "a"],
        &["sessions", "events", "a"],
        &["sessions", "export", "a"],
        &["top"],
    ] {
        home.run(args).expect(0);
        assert_eq!(version(), 1, "{args:?}");
    }
    // Its exit status is the providers'.
    let output = home.run(&["doctor"]);
    assert!(output.stdout.contains("opens and can be written"), "{output:?}");
    assert_eq!(version(), 1);
    assert_eq!(home.run(&["send", "a", "again", "--script", &script]).expect(0).stdout, "two\n");
    assert_eq!(version(), 2);
}

#[test]
fn a_damaged_row_is_named_and_other_sessions_are_not_touched() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "two"})]);
    for name in ["good", "bad"] {
        home.run(&["send", name, "hi", "--script", &script]).expect(0);
    }
    let journal = Connection::open(home.journal()).unwrap();
    let damaged = journal
        .execute(
            "UPDATE event SET body = '{}' WHERE seq = 2 AND sid = (SELECT sid FROM session WHERE name = 'bad')",
            [],
        )
        .unwrap();
    assert_eq!(damaged, 1);
    drop(journal);
    for command in ["show", "events", "export"] {
        let output = home.run(&["sessions", command, "bad"]).expect(4);
        assert!(output.stderr.contains("event 2 of session bad is damaged"), "{output:?}");
    }
    let output = home.run(&["send", "bad", "again", "--script", &script, "--json"]).expect(1);
    assert!(output.json()["error"]["message"].as_str().unwrap().contains("damaged"), "{output:?}");
    assert_eq!(home.run(&["send", "good", "again", "--script", &script]).expect(0).stdout, "two\n");
}

#[test]
fn a_file_that_is_not_utf_8_does_no_harm() {
    let home = Home::new();
    home.write("latin.txt", b"caf\xe9 au lait\n");
    home.write("binary", [0u8, 159, 146, 150, 0, 1, 2, 3]);
    let read = |path: &str| json!({"name": "read", "arguments": {"path": path}});
    let script = home
        .script("s", &[json!({"tool_calls": [read("latin.txt"), read("binary")]}), json!({"text": "done"})]);
    let lines = home.run(&["send", "a", "go", "--script", &script, "--stream-json"]).expect(0).lines();
    let results: Vec<&Value> = lines.iter().filter(|line| line["type"] == "tool_result").collect();
    assert_eq!(results.len(), 2);
    assert!(
        results.iter().any(|result| result["text"].as_str().unwrap().contains("au lait")),
        "{results:#?}"
    );
    assert!(results.iter().any(|result| result["is_error"] == true), "binary is refused: {results:#?}");
    assert_eq!(lines.last().unwrap()["text"], "done");
    assert!(home.run(&["sessions", "show", "a"]).expect(0).stdout.contains("au lait"));
}

#[test]
fn what_a_model_gets_wrong_about_tools_is_told_to_it_and_the_turn_goes_on() {
    let home = Home::new();
    let call = |name: &str, arguments: Value| json!({"tool_calls": [{"name": name, "arguments": arguments}]});
    let script = home.script(
        "s",
        &[
            call("reed", json!({"path": "a"})),
            call("read", json!("{not json")),
            json!({"tool_calls": [{"name": "read", "arguments": {"path": "../../etc/passwd"}},
                                  {"name": "glob", "arguments": {"pattern": "*"}}]}),
            json!({"text": "done"}),
        ],
    );
    let lines = home.run(&["run", "go", "--script", &script, "--stream-json"]).expect(0).lines();
    let failed: Vec<&Value> = lines.iter().filter(|line| line["is_error"] == true).collect();
    assert_eq!(failed.len(), 3, "{lines:#?}");
    assert!(failed[0]["text"].as_str().unwrap().contains("read"), "{failed:#?}");
    assert_eq!(lines.last().unwrap()["finish_reason"], "stop");
}
