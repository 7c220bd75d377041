//! SIGKILL in the middle of a turn: nothing acknowledged is lost, and nothing is done twice.

use serde_json::{Value, json};

use crate::harness::{Home, count_lines};

fn bash(command: &str) -> Value {
    json!({"tool_calls": [{"name": "bash", "arguments": {"command": command}}]})
}

const RAN: &str = "echo ran >> effects; echo done";

/// A session that was killed after its tool had run and while the model was being asked again.
fn killed_after_its_tool(home: &Home, name: &str) {
    let script = home.script("hangs", &[bash(RAN), json!({"hang": true})]);
    let args = ["send", name, "go", "--script", &script, "--allow", "bash", "--stream-json"];
    let mut running = home.start(&args);
    running.wait_for(r#""type":"tool_result""#);
    running.kill();
}

#[test]
fn resume_finishes_the_turn_and_the_tool_does_not_run_again() {
    let home = Home::new();
    killed_after_its_tool(&home, "a");
    let list = home.run(&["sessions", "--json"]).expect(0).json();
    assert_eq!(list["sessions"][0]["status"], "open_turn");

    let script = home.script("ends", &[bash(RAN), json!({"text": "all done"})]);
    let object = home.run(&["resume", "a", "--script", &script, "--json"]).expect(0).json();
    let expected = json!({"session": "a", "turn": 1, "text": "all done", "finish_reason": "stop", "iterations": 1,
                          "tool_calls_made": 1, "recovered": true, "error": null});
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&object[field], value, "{field}: {object}");
    }
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1);

    // There is nothing more to do, and that is said.
    let again = home.run(&["resume", "a", "--json"]).expect(0).json();
    assert_eq!(
        (&again["finish_reason"], &again["turn"], &again["error"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(home.run(&["resume", "a"]).expect(0).stdout, "a: nothing to resume\n");
    assert_eq!(home.run(&["resume", "--all"]).expect(0).stdout, "nothing to resume\n");
    assert_eq!(home.run(&["resume", "--all", "--json"]).expect(0).json(), json!({"sessions": []}));
}

#[test]
fn resume_prints_how_each_ended() {
    let home = Home::new();
    killed_after_its_tool(&home, "a");
    killed_after_its_tool(&home, "b");
    let script = home.script("ends", &[bash(RAN), json!({"text": "all done"})]);
    assert_eq!(
        home.run(&["resume", "b", "--script", &script]).expect(0).stdout,
        "b: turn 1 ended: stop\nall done\n"
    );
    killed_after_its_tool(&home, "c");
    let all = home.run(&["resume", "--all", "--script", &script, "--json"]).expect(0).json();
    let ended: Vec<(&str, &str)> = all["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["session"].as_str().unwrap(), one["finish_reason"].as_str().unwrap()))
        .collect();
    assert_eq!(ended, [("a", "stop"), ("c", "stop")]);
}

#[test]
fn of_several_turns_of_a_session_the_object_is_the_one_whose_end_is_the_exit_status() {
    let home = Home::new();
    let hangs = home.script("hangs", &[json!({"hang": true})]);
    let mut owner = home.start(&["send", "a", "one", "--script", &hangs, "--stream-json"]);
    owner.wait_for(r#""type":"turn_started""#);
    let waits = home.start(&["send", "a", "two", "--stream-json"]);
    let queued =
        || home.run(&["sessions", "events", "a", "--json"]).expect(0).stdout.matches("\"two\"").count();
    let since = std::time::Instant::now();
    while queued() == 0 {
        assert!(since.elapsed() < std::time::Duration::from_secs(30), "the second one is never accepted");
    }
    waits.kill();
    owner.kill();

    let script =
        home.script("ends", &[json!({"text": "cut", "stop": "length"}), json!({"text": "all done"})]);
    let object = home.run(&["resume", "a", "--script", &script, "--json"]).expect(1).json();
    assert_eq!((&object["turn"], &object["finish_reason"]), (&json!(1), &json!("length")));
    let shown = home.run(&["sessions", "show", "a"]).expect(0).stdout;
    assert!(shown.contains("all done"), "{shown}");
}

#[test]
fn one_session_that_cannot_be_finished_does_not_keep_the_others_open() {
    let home = Home::new();
    killed_after_its_tool(&home, "a");
    killed_after_its_tool(&home, "b");
    // For a new session, that script is at an end.
    let short = home.script("short", &[bash(RAN)]);
    let all = home.run(&["resume", "--script", &short, "--json", "--retries", "0"]).expect(1).json();
    let kinds: Vec<&Value> =
        all["sessions"].as_array().unwrap().iter().map(|one| &one["error"]["kind"]).collect();
    assert_eq!(kinds, ["bad_request", "bad_request"]);
    killed_after_its_tool(&home, "c");
    let output = home.run(&["resume", "--script", &short]).expect(1);
    assert_eq!(output.stdout, "c: turn 1 ended: during_execution\n");
    assert_eq!(home.run(&["resume"]).expect(0).stdout, "nothing to resume\n");
}

#[test]
fn send_finishes_the_open_turn_first_and_says_so() {
    let home = Home::new();
    killed_after_its_tool(&home, "a");
    let script = home.script("ends", &[bash(RAN), json!({"text": "first"}), json!({"text": "second"})]);
    let output = home.run(&["send", "a", "and now?", "--script", &script]).expect(0);
    assert_eq!(output.stdout, "second\n");
    assert!(output.stderr.contains("turn 1 was left open and is finished: stop"), "{output:?}");
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1);
    let shown = home.run(&["sessions", "show", "a"]).expect(0).stdout;
    let place = |what: &str| shown.find(what).unwrap_or_else(|| panic!("no {what} in {shown}"));
    assert!(place("first") < place("and now?") && place("and now?") < place("second"), "{shown}");
}

#[test]
fn a_write_that_was_cut_off_is_not_run_again_and_the_model_is_told() {
    let home = Home::new();
    let command = "echo ran >> effects; echo started; sleep 600";
    let script = home.script("s", &[bash(command), json!({"text": "I will check first"})]);
    let args = ["send", "a", "go", "--script", &script, "--allow", "bash", "--stream-json"];
    let mut running = home.start(&args);
    running.wait_for(r#""type":"tool_progress""#);
    running.kill();

    let lines = home.run(&["resume", "a", "--script", &script, "--stream-json"]).expect(0).lines();
    let result = lines.iter().find(|line| line["type"] == "tool_result").unwrap();
    assert_eq!(result["is_error"], true, "{result}");
    assert!(lines.iter().any(|line| line["type"] == "recovered"), "{lines:#?}");
    let last = lines.last().unwrap();
    assert_eq!((&last["type"], &last["recovered"]), (&json!("result"), &json!(true)));
    assert_eq!(last["text"], "I will check first");
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1);
}

#[test]
fn a_second_crash_while_resuming_changes_nothing() {
    let home = Home::new();
    killed_after_its_tool(&home, "a");
    let hangs = home.path("hangs");
    let mut running = home.start(&["resume", "a", "--script", hangs.to_str().unwrap(), "--stream-json"]);
    running.wait_for(r#""type":"recovered""#);
    running.kill();
    let script = home.script("ends", &[bash(RAN), json!({"text": "all done"})]);
    let object = home.run(&["resume", "a", "--script", &script, "--json"]).expect(0).json();
    assert_eq!((&object["text"], &object["turn"]), (&json!("all done"), &json!(1)));
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1);
}

#[test]
fn a_session_that_is_not_there_cannot_be_resumed_and_no_journal_is_made() {
    let home = Home::new();
    let output = home.run(&["resume", "nobody", "--json"]).expect(1);
    assert_eq!(output.json()["error"]["kind"], "not_found");
    assert_eq!(home.run(&["resume"]).expect(0).stdout, "nothing to resume\n");
    assert!(!home.journal().exists());
    let script = home.script("s", &[json!({"text": "one"})]);
    home.run(&["send", "a", "hi", "--script", &script]).expect(0);
    assert_eq!(home.run(&["resume", "nobody", "--json"]).expect(1).json()["error"]["kind"], "not_found");
}
