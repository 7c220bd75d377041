//! `--json` and `--stream-json`: the fields are a contract.

use serde_json::{Value, json};

use crate::harness::Home;

const FIELDS: [&str; 13] = [
    "cost_usd",
    "duration_ms",
    "error",
    "finish_reason",
    "iterations",
    "model",
    "provider",
    "recovered",
    "session",
    "text",
    "tool_calls_made",
    "turn",
    "usage",
];

fn fields(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_turn_is_one_object_with_exactly_the_contracts_fields() {
    let home = Home::new();
    home.write("a.txt", "hello");
    let usage = json!({"input_tokens": 10, "output_tokens": 3, "cached_tokens": 2, "reasoning_tokens": 1});
    let script = home.script(
        "s",
        &[
            json!({"tool_calls": [{"name": "read", "arguments": {"path": "a.txt"}}], "usage": usage, "cost_usd": 0.01}),
            json!({"text": "done", "usage": usage, "cost_usd": 0.02}),
        ],
    );
    let args = ["send", "demo", "go", "--script", &script, "--model", "m1", "--json"];
    let output = home.run(&args).expect(0);
    let mut object = output.json();
    assert_eq!(fields(&object), FIELDS);
    assert!(object["duration_ms"].is_u64());
    object["duration_ms"] = json!(0);
    let expected = json!({
        "session": "demo", "turn": 1, "text": "done", "finish_reason": "stop", "iterations": 1,
        "tool_calls_made": 1,
        "usage": {"input_tokens": 20, "output_tokens": 6, "cached_tokens": 4, "reasoning_tokens": 2},
        "cost_usd": 0.03, "duration_ms": 0, "provider": "scripted", "model": "m1", "recovered": false,
        "error": null,
    });
    assert_eq!(object, expected);
}

#[test]
fn a_question_of_which_nothing_is_kept_has_no_session_and_no_turn() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "done"})]);
    for command in ["query", "run"] {
        let object = home.run(&[command, "go", "--script", &script, "--json"]).expect(0).json();
        assert_eq!(fields(&object), FIELDS);
        assert_eq!((&object["session"], &object["turn"]), (&Value::Null, &Value::Null));
        // The script tells no cost and no tokens: an unknown cost is null, tokens are numbers all the same.
        assert_eq!(object["cost_usd"], Value::Null);
        assert_eq!(object["usage"]["input_tokens"], 0);
    }
}

#[test]
fn a_failed_call_is_an_object_too_and_its_kind_decides_the_status() {
    let home = Home::new();
    let table = [
        ("auth", "auth", "provider_auth", 3),
        ("permission", "auth", "provider_auth", 3),
        ("quota", "quota", "during_execution", 3),
        ("rate_limited", "rate_limited", "during_execution", 3),
        ("model_not_found", "not_found", "during_execution", 3),
        ("overloaded", "overloaded", "during_execution", 3),
        ("server", "server", "during_execution", 3),
        ("timeout", "timeout", "during_execution", 3),
        ("network", "transport", "during_execution", 3),
        ("stream_cut", "stream_cut", "during_execution", 3),
        ("protocol", "protocol", "during_execution", 3),
        ("context_overflow", "context_length", "prompt_too_long", 1),
        ("invalid_request", "bad_request", "during_execution", 1),
        ("too_large", "bad_request", "during_execution", 1),
        ("content_blocked", "refused", "refused", 1),
        ("unsupported", "unsupported", "during_execution", 1),
    ];
    for (scripted, kind, finish, exit) in table {
        let script = home.script("s", &[json!({"errors": [{"kind": scripted, "message": "it says no"}]})]);
        let args = ["send", scripted, "go", "--script", &script, "--retries", "0", "--json"];
        let output = home.run(&args).expect(exit);
        let object = output.json();
        assert_eq!(fields(&object), FIELDS, "{scripted}");
        assert_eq!(object["error"], json!({"kind": kind, "message": "it says no"}), "{scripted}");
        assert_eq!(object["finish_reason"], finish, "{scripted}");
        assert_eq!(object["turn"], 1, "{scripted}");
        assert!(output.stderr.contains("it says no"), "{output:?}");
    }
}

#[test]
fn an_event_names_an_error_by_the_same_word_as_the_result() {
    let home = Home::new();
    let script = home.script("s", &[json!({"errors": [{"kind": "network", "message": "it is gone"}]})]);
    let lines =
        home.run(&["run", "go", "--script", &script, "--retries", "0", "--stream-json"]).expect(3).lines();
    let [.., done, result] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&done["type"], &result["type"]), (&json!("done"), &json!("result")));
    assert_eq!(result["error"]["kind"], "transport");
    assert_eq!(done["error"], result["error"]);
}

#[test]
fn an_end_that_is_no_error_of_the_provider_has_no_error_and_status_1() {
    let home = Home::new();
    for (stop, finish) in [("length", "length"), ("refusal", "refused"), ("content_filter", "refused")] {
        let script = home.script("s", &[json!({"text": "so far", "stop": stop})]);
        let object = home.run(&["run", "go", "--script", &script, "--json"]).expect(1).json();
        assert_eq!((&object["finish_reason"], &object["text"]), (&json!(finish), &json!("so far")));
        // People are told why.
        let output = home.run(&["run", "go", "--script", &script]).expect(1);
        assert_eq!(output.stdout, "so far\n");
        assert!(output.stderr.contains(finish), "{output:?}");
    }
}

#[test]
fn stream_json_is_a_line_an_event_and_the_result_at_the_end() {
    let home = Home::new();
    home.write("a.txt", "hello");
    let script = home.script(
        "s",
        &[
            json!({"tool_calls": [{"name": "read", "arguments": {"path": "a.txt"}}]}),
            json!({"errors": [{"kind": "server", "retry_after_ms": 1}], "text": "done"}),
        ],
    );
    let lines = home.run(&["send", "demo", "go", "--script", &script, "--stream-json"]).expect(0).lines();
    for line in &lines {
        assert_eq!(line["v"], 1, "{line}");
        assert!(line["type"].is_string(), "{line}");
    }
    let types: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    for expected in
        ["turn_started", "tool_call", "tool_result", "retrying", "content", "reply", "usage", "done"]
    {
        assert!(types.contains(&expected), "{expected}: {types:?}");
    }
    let place = |wanted: &str| types.iter().position(|found| *found == wanted).unwrap();
    assert!(place("tool_call") < place("tool_result") && place("tool_result") < place("done"), "{types:?}");
    let result = lines.last().unwrap();
    let mut with_type = [&FIELDS[..], &["type", "v"]].concat();
    with_type.sort_unstable();
    assert_eq!(fields(result), with_type);
    assert_eq!((&result["type"], &result["text"]), (&json!("result"), &json!("done")));
    assert_eq!(types.iter().filter(|found| **found == "result").count(), 1);
    let content: String = lines
        .iter()
        .filter(|line| line["type"] == "content")
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    assert_eq!(content, "done");
}

#[test]
fn no_stream_asks_for_whole_answers() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "done"})]);
    let lines =
        home.run(&["run", "go", "--script", &script, "--stream-json", "--no-stream"]).expect(0).lines();
    let types: Vec<&Value> = lines.iter().map(|line| &line["type"]).collect();
    assert!(!types.contains(&&json!("content")), "{types:?}");
    assert_eq!(lines.last().unwrap()["text"], "done");
}

#[test]
fn stream_json_ends_with_a_result_also_when_nothing_ran() {
    let home = Home::new();
    let lines = home.run(&["send", "demo", "go", "--provider", "nope", "--stream-json"]).expect(2).lines();
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["type"], &lines[0]["error"]["kind"]), (&json!("result"), &json!("config")));
}
