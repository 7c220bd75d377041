//! `--key`: the same key again is the same turn.

use serde_json::{Value, json};

use crate::harness::Home;

#[test]
fn a_key_that_was_seen_returns_the_stored_result_and_asks_no_model() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one", "cost_usd": 0.5}), json!({"text": "two"})]);
    let args = ["send", "a", "hi", "--key", "k1", "--script", &script, "--json"];
    let first = home.run(&args).expect(0).json();
    let again = home.run(&args).expect(0).json();
    for field in ["text", "turn", "cost_usd", "usage", "finish_reason", "provider", "model"] {
        assert_eq!(first[field], again[field], "{field}");
    }
    assert_eq!(first["text"], "one");
    // In the other formats as well.
    let plain = home.run(&["send", "a", "hi", "--key", "k1", "--script", &script]).expect(0);
    assert_eq!(plain.stdout, "one\n");
    let lines =
        home.run(&["send", "a", "hi", "--key", "k1", "--script", &script, "--stream-json"]).expect(0).lines();
    assert_eq!(lines.last().unwrap()["text"], "one");
    let other = home.run(&["send", "a", "hi", "--key", "k2", "--script", &script, "--json"]).expect(0).json();
    assert_eq!((&other["text"], &other["turn"]), (&json!("two"), &json!(2)));
}

#[test]
fn a_key_with_another_input_is_a_bad_request() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "two"})]);
    home.run(&["send", "a", "hi", "--key", "k", "--script", &script]).expect(0);
    let object =
        home.run(&["send", "a", "other", "--key", "k", "--script", &script, "--json"]).expect(2).json();
    assert_eq!((&object["error"]["kind"], &object["finish_reason"]), (&json!("bad_request"), &Value::Null));
    // Keys are a session's own.
    home.run(&["send", "b", "other", "--key", "k", "--script", &script]).expect(0);
    home.run(&["send", "a", "hi", "--key", " ", "--script", &script]).expect(2);
}

#[test]
fn a_key_whose_turn_is_open_finishes_that_turn() {
    let home = Home::new();
    let hangs = home.script("hangs", &[json!({"text": "half", "hang": true})]);
    let mut running = home.start(&["send", "a", "hi", "--key", "k", "--script", &hangs, "--stream-json"]);
    running.wait_for(r#""type":"content""#);
    running.kill();
    let script = home.script("s", &[json!({"text": "whole"})]);
    let output = home.run(&["send", "a", "hi", "--key", "k", "--script", &script, "--json"]).expect(0);
    let object = output.json();
    assert_eq!(
        (&object["text"], &object["turn"], &object["recovered"]),
        (&json!("whole"), &json!(1), &json!(true))
    );
    assert_eq!(home.run(&["sessions", "--json"]).json()["sessions"][0]["turns"], 1);
}

#[test]
fn a_send_that_is_refused_or_only_looked_up_changes_no_settings() {
    let home = Home::new();
    let call = json!({"tool_calls": [{"name": "bash", "arguments": {"command": "touch done"}}]});
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "two"}), call]);
    let send = |prompt: &str, more: &[&str]| {
        home.run(&[&["send", "a", prompt, "--script", &script, "--json"], more].concat())
    };
    let changes = || {
        let log = home.run(&["sessions", "events", "a", "--json"]).expect(0).json();
        let of = |event: &&Value| event["type"] == "settings_changed";
        log["events"].as_array().unwrap().iter().filter(of).cloned().collect::<Vec<_>>()
    };
    send("hi", &["--key", "k"]).expect(0);
    send("other", &["--key", "k", "--model", "m2", "--max-iterations", "3"]).expect(2);
    assert_eq!(changes(), Vec::<Value>::new(), "it was refused");
    assert_eq!(send("hi", &["--key", "k", "--permissions", "bypass"]).expect(0).json()["text"], "one");
    assert_eq!(changes(), Vec::<Value>::new(), "it was looked up");
    // One that is taken does, once.
    assert_eq!(send("more", &["--key", "l", "--model", "m2"]).expect(0).json()["model"], "m2");
    send("more", &["--key", "l", "--model", "m3"]).expect(0);
    assert_eq!(changes().len(), 1);
    // One that is not taken, because another turn waits for somebody, allows nothing.
    send("go on", &[]).expect(5);
    send("at last", &["--permissions", "bypass"]).expect(5);
    assert_eq!(changes().len(), 1);
    assert!(!home.path("done").exists());
}
