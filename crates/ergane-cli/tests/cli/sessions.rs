//! `sessions`: what is stored.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::Home;

fn two_sessions(home: &Home) {
    home.write("a.txt", "hello\nworld\n");
    let script = home.script(
        "s",
        &[
            json!({"tool_calls": [{"name": "read", "arguments": {"path": "a.txt"}}],
                   "usage": {"input_tokens": 100, "output_tokens": 10}, "cost_usd": 0.001}),
            json!({"text": "line one\nline two", "usage": {"input_tokens": 200, "output_tokens": 20}, "cost_usd": 0.002}),
            json!({"text": "again"}),
        ],
    );
    home.run(&["send", "proj/alpha", "what is in it?", "--script", &script]).expect(0);
    home.run(&["send", "beta", "what is in it?", "--script", &script]).expect(0);
    home.run(&["send", "beta", "and now?", "--script", &script]).expect(0);
}

#[test]
fn looking_at_a_journal_that_is_not_there_makes_none() {
    let home = Home::new();
    assert_eq!(home.run(&["sessions"]).expect(0).stdout, "no sessions\n");
    assert_eq!(home.run(&["sessions", "list", "--json"]).expect(0).json(), json!({"sessions": []}));
    for command in ["show", "events", "export", "delete"] {
        let output = home.run(&["sessions", command, "a"]).expect(1);
        assert_eq!(output.stdout, "");
        assert!(output.stderr.contains("no session a"), "{output:?}");
        let object = home.run(&["sessions", command, "a", "--json"]).expect(1).json();
        assert_eq!(object["error"]["kind"], "not_found");
    }
    assert!(!home.journal().exists());
}

#[test]
fn the_list_is_a_table_and_an_object() {
    let home = Home::new();
    two_sessions(&home);
    let table = home.run(&["sessions"]).expect(0).stdout;
    assert_eq!(table, home.run(&["sessions", "list"]).expect(0).stdout);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    let columns: Vec<Vec<&str>> = lines.iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(columns[1][..3], ["beta", "idle", "2"]);
    assert_eq!(columns[2][..3], ["proj/alpha", "idle", "1"]);
    assert_eq!(columns[2][4..], ["330", "$0.003"]);
    assert_eq!(columns[1][5], "-", "an unknown cost is not zero");
    let place = lines[0].find("STATUS").unwrap();
    assert!(lines[1..].iter().all(|line| line[place..].starts_with("idle")), "{table}");

    let list = home.run(&["sessions", "--json"]).expect(0).json();
    let alpha = &list["sessions"][1];
    let fields: Vec<&String> = alpha.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["cost_usd", "last_activity", "name", "status", "turns", "usage"]);
    assert_eq!((&alpha["name"], &alpha["turns"]), (&json!("proj/alpha"), &json!(1)));
    assert_eq!((&alpha["cost_usd"], &alpha["usage"]["input_tokens"]), (&json!(0.003), &json!(300)));
    assert_eq!(list["sessions"][0]["cost_usd"], Value::Null);
    let time: jiff::Timestamp = alpha["last_activity"].as_str().unwrap().parse().unwrap();
    assert!(time.duration_until(jiff::Timestamp::now()).as_secs() < 3600);
}

#[test]
fn show_tells_the_settings_and_the_whole_conversation() {
    let home = Home::new();
    two_sessions(&home);
    let text = home.run(&["sessions", "show", "beta"]).expect(0).stdout;
    let mut from = 0;
    let order = [
        "beta",
        "idle",
        "scripted",
        "what is in it?",
        "read {\"path\":\"a.txt\"}",
        "read done",
        "line one\nline two",
        "and now?",
        "again",
    ];
    for expected in order {
        let found =
            text[from..].find(expected).unwrap_or_else(|| panic!("{expected} is not in its place: {text}"));
        from += found + expected.len();
    }
    assert!(!text.contains('\u{1b}'));

    let object = home.run(&["sessions", "show", "beta", "--json"]).expect(0).json();
    let fields: Vec<&String> = object.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["messages", "session", "settings", "status"]);
    assert_eq!((&object["session"], &object["status"]), (&json!("beta"), &json!("idle")));
    let roles: Vec<&Value> =
        object["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant", "user", "assistant"]);
}

#[test]
fn events_and_export_tell_every_fact_in_order() {
    let home = Home::new();
    two_sessions(&home);
    let object = home.run(&["sessions", "events", "beta", "--json"]).expect(0).json();
    let events = object["events"].as_array().unwrap();
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    assert_eq!((&events[0]["type"], &events[0]["v"]), (&json!("session_started"), &json!(1)));
    let text = home.run(&["sessions", "events", "beta"]).expect(0).stdout;
    assert_eq!(text.lines().count(), events.len());
    for (line, event) in text.lines().zip(events) {
        assert!(line.contains(event["type"].as_str().unwrap()), "{line}");
    }
    let exported = home.run(&["sessions", "export", "beta"]).expect(0).lines();
    assert_eq!(&exported, events);
    let whole = home.run(&["sessions", "export", "beta", "--json"]).expect(0).json();
    assert_eq!((&whole["session"], &whole["events"]), (&json!("beta"), &object["events"]));
}

#[test]
fn a_deleted_session_is_gone_and_others_stay() {
    let home = Home::new();
    two_sessions(&home);
    assert_eq!(home.run(&["sessions", "delete", "beta"]).expect(0).stdout, "beta: deleted\n");
    home.run(&["sessions", "delete", "beta"]).expect(1);
    home.run(&["sessions", "show", "beta"]).expect(1);
    let deleted = home.run(&["sessions", "delete", "proj/alpha", "--json"]).expect(0).json();
    assert_eq!(deleted, json!({"session": "proj/alpha", "deleted": true}));
    // Its name is free, and nothing of it comes back.
    let script = home.script("s", &[json!({"text": "new"})]);
    let object = home.run(&["send", "beta", "hi", "--script", &script, "--json"]).expect(0).json();
    assert_eq!((&object["turn"], &object["text"]), (&json!(1), &json!("new")));
}

#[test]
fn a_session_that_a_process_works_on_is_busy_for_others_and_can_be_looked_at() {
    let home = Home::new();
    let script = home.script("hangs", &[json!({"text": "half", "hang": true})]);
    let mut running = home.start(&["send", "a", "hi", "--script", &script, "--stream-json"]);
    running.wait_for(r#""type":"content""#);
    let pid = running.pid().to_string();
    for args in [&["resume", "a"][..], &["sessions", "delete", "a"]] {
        let object = home.run(&[args, &["--json"]].concat()).expect(1).json();
        assert_eq!(object["error"]["kind"], "busy", "{args:?}");
        assert!(object["error"]["message"].as_str().unwrap().contains(&pid), "{object}");
    }
    let all = home.run(&["resume", "--all"]).expect(0);
    assert_eq!(all.stdout, "nothing to resume\n");
    assert!(all.stderr.contains(&pid), "{all:?}");
    assert!(home.run(&["sessions"]).expect(0).stdout.contains("open_turn"));
    assert!(home.run(&["sessions", "show", "a"]).expect(0).stdout.contains(&pid));
    let other = home.script("s", &[json!({"text": "one"})]);
    assert_eq!(home.run(&["send", "b", "hi", "--script", &other]).expect(0).stdout, "one\n");
    running.kill();
    // Who is dead owns nothing.
    home.run(&["sessions", "delete", "a"]).expect(0);
}

#[test]
fn looking_does_not_wait_for_a_writer() {
    let home = Home::new();
    two_sessions(&home);
    let writer = Connection::open(home.journal()).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; UPDATE session SET epoch = epoch + 1").unwrap();
    assert!(home.run(&["sessions"]).expect(0).stdout.contains("beta"));
    assert!(home.run(&["sessions", "show", "beta"]).expect(0).stdout.contains("again"));
    home.run(&["sessions", "export", "beta"]).expect(0);
    writer.execute_batch("ROLLBACK").unwrap();
}
