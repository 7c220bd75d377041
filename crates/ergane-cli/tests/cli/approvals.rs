//! What waits for a decision: exit status 5, `approve`, and `resume`.

use std::sync::Arc;

use ergane::core::{
    ApprovalCause, CallId, Digest, Effect, Envelope, Event, FORMAT_VERSION, Seq, SessionName, Timestamp,
};
use ergane::journal::{Append, Journal, Sqlite};
use serde_json::{Value, json};

use crate::harness::{Home, Output, count_lines};
use crate::terminal::Terminal;

const RAN: &str = "echo ran >> effects";

fn bash(command: &str) -> Value {
    json!({"name": "bash", "arguments": {"command": command}})
}

/// A session whose turn waits for one call.
fn waiting(home: &Home) -> (String, Output) {
    let script = home.script("s", &[json!({"tool_calls": [bash(RAN)]}), json!({"text": "done"})]);
    let output = home.run(&["send", "a", "go", "--script", &script]).expect(5);
    (script, output)
}

/// The call that waits.
fn call(home: &Home) -> String {
    let list = home.run(&["approve", "a", "--json"]).expect(0).json();
    list["approvals"][0]["call"].as_str().unwrap_or_else(|| panic!("{list}")).to_owned()
}

#[test]
fn elsewhere_than_on_a_terminal_a_call_waits_with_status_5_and_says_how_to_decide() {
    let home = Home::new();
    let (_, output) = waiting(&home);
    assert_eq!(output.stdout, "");
    for told in ["waiting for an approval", "ergane approve a", "--allow", "ergane resume a"] {
        assert!(output.stderr.contains(told), "{told}: {output:?}");
    }
    let script = home.script("other", &[json!({"tool_calls": [bash(RAN)]}), json!({"text": "done"})]);
    let object = home.run(&["send", "b", "go", "--script", &script, "--json"]).expect(5).json();
    assert_eq!(
        (&object["turn"], &object["finish_reason"], &object["error"]),
        (&json!(1), &Value::Null, &Value::Null)
    );
    assert_eq!(count_lines(&home.path("effects"), "ran"), 0);
    // Of a run nothing is kept that could wait.
    let output = home.run(&["run", "go", "--script", &script, "-q"]).expect(5);
    assert!(output.stderr.contains("--allow") && !output.stderr.contains("ergane approve"), "{output:?}");
}

#[test]
fn what_waits_is_listed_with_all_that_it_would_do() {
    let home = Home::new();
    waiting(&home);
    let list = home.run(&["approve", "a", "--json"]).expect(0).json();
    let fields: Vec<&String> = list["approvals"][0].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["arguments", "call", "cause", "question", "since", "tool", "why"]);
    assert_eq!((&list["session"], &list["approvals"][0]["tool"]), (&json!("a"), &json!("bash")));
    let text = home.run(&["approve", "a"]).expect(0).stdout;
    assert!(text.contains("bash") && text.contains(RAN) && text.contains(&call(&home)), "{text}");
    assert_eq!(home.run(&["approve", "nobody", "--json"]).expect(1).json()["error"]["kind"], "not_found");
    assert_eq!(home.run(&["approve", "a", "x", "--json"]).expect(2).json()["error"]["kind"], "config");
}

#[test]
fn an_approved_call_runs_once_when_the_session_is_resumed_and_not_before() {
    let home = Home::new();
    let (script, _) = waiting(&home);
    // Resumed before the decision, it waits on.
    let again = home.run(&["resume", "a", "--script", &script, "--json"]).expect(5).json();
    assert_eq!((&again["finish_reason"], &again["session"]), (&Value::Null, &json!("a")));
    let decided = home.run(&["approve", "a", &call(&home), "--allow", "--json"]).expect(0).json();
    assert_eq!((&decided["session"], &decided["decision"]), (&json!("a"), &json!("allow")));
    assert_eq!(count_lines(&home.path("effects"), "ran"), 0, "to decide is not to run");
    assert_eq!(home.run(&["approve", "a"]).expect(0).stdout, "nothing waits for a decision\n");
    let object = home.run(&["resume", "a", "--script", &script, "--json"]).expect(0).json();
    assert_eq!((&object["text"], &object["turn"]), (&json!("done"), &json!(1)));
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1);
}

#[test]
fn a_send_of_a_turn_that_waits_already_says_so_again() {
    let home = Home::new();
    let script = home.script("s", &[json!({"tool_calls": [bash(RAN)]}), json!({"text": "done"})]);
    let line = ["send", "a", "go", "--key", "k", "--script", &script];
    home.run(&line).expect(5);
    let output = home.run(&line).expect(5);
    assert!(output.stderr.contains(&format!("ergane approve a {} --allow", call(&home))), "{output:?}");
    home.run(&["approve", "a", "--allow"]).expect(0);
    assert_eq!(home.run(&line).expect(0).stdout, "done\n");
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1);
}

#[test]
fn on_a_terminal_a_call_that_waits_already_is_asked_about_once() {
    let home = Home::new();
    let script = home.script("s", &[json!({"tool_calls": [bash(RAN)]}), json!({"text": "done"})]);
    let line = ["send", "a", "go", "--key", "k", "--script", &script];
    home.run(&line).expect(5);
    let mut terminal = Terminal::start(&home, &line, 80);
    terminal.wait_for("always?");
    terminal.type_in("y");
    let (code, screen) = terminal.end();
    assert_eq!((code, screen.matches("wants to run").count()), (Some(0), 1), "{screen}");
    assert!(screen.contains("done"), "{screen}");
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1);
}

#[test]
fn a_denied_call_does_not_run_and_the_model_is_told_why() {
    let home = Home::new();
    let (script, _) = waiting(&home);
    home.run(&["approve", "a", "--deny", "--reason", "not on a Sunday"]).expect(0);
    // The next send finishes the turn first.
    let replies = [json!({"tool_calls": [bash(RAN)]}), json!({"text": "done"}), json!({"text": "second"})];
    let script = { home.script(script.rsplit('/').next().unwrap(), &replies) };
    assert_eq!(home.run(&["send", "a", "next", "--script", &script]).expect(0).stdout, "second\n");
    assert_eq!(count_lines(&home.path("effects"), "ran"), 0);
    assert!(home.run(&["sessions", "export", "a"]).expect(0).stdout.contains("not on a Sunday"));
}

#[test]
fn the_same_decision_twice_is_one_and_another_one_names_the_first() {
    let home = Home::new();
    waiting(&home);
    let call = call(&home);
    home.run(&["approve", "a", &call, "--allow"]).expect(0);
    home.run(&["approve", "a", &call, "--allow"]).expect(0);
    let output = home.run(&["approve", "a", &call, "--deny", "--json"]).expect(2);
    assert_eq!(output.json()["error"]["kind"], "bad_request");
    assert!(output.stderr.contains("allow by user"), "{output:?}");
    let log = home.run(&["sessions", "events", "a", "--json"]).expect(0).json();
    let decided =
        log["events"].as_array().unwrap().iter().filter(|event| event["type"] == "approval_decided");
    assert_eq!(decided.count(), 1);
}

/// The call that was allowed began, a crash cut it off, and somebody is asked whether it is to run once more.
fn cut_off(home: &Home, call: &str) -> u64 {
    let store = Sqlite::open(home.journal()).unwrap();
    let name = SessionName::new("a").unwrap();
    let opened = store.open_session(&name).unwrap();
    let call: CallId = call.parse().unwrap();
    let facts = [
        Event::ToolStarted { call, effect: Effect::Write, key: "k".into() },
        Event::Recovered { cause: "a test".into() },
        Event::ApprovalRequested {
            call,
            arguments: Digest::of(b"{}"),
            cause: ApprovalCause::CutOff,
            why: "once more?".into(),
        },
    ];
    let (first, epoch) = (opened.next_seq, opened.epoch);
    let events: Vec<_> = (first.0..)
        .zip(facts)
        .map(|(seq, event)| Envelope { v: FORMAT_VERSION, seq: Seq(seq), epoch, at: Timestamp(1), event })
        .map(Arc::new)
        .collect();
    let last = events.last().unwrap().seq.0;
    assert_eq!(store.append(&[Append { session: name.clone(), epoch, expected: first, events }]), [Ok(())]);
    store.release(&name).unwrap();
    last
}

#[test]
fn what_was_said_to_one_question_about_a_call_is_no_answer_to_the_next_one() {
    let home = Home::new();
    waiting(&home);
    let call = call(&home);
    let asked = |home: &Home| {
        let list = home.run(&["approve", "a", "--json"]).expect(0).json();
        list["approvals"][0]["question"].as_u64().unwrap()
    };
    let first = asked(&home);
    home.run(&["approve", "a", "--allow"]).expect(0);
    let second = cut_off(&home, &call);
    assert_eq!(asked(&home), second);
    for line in [&["approve", "a", "--allow"][..], &["approve", "a", &call, "--deny"]] {
        let output = home.run(line).expect(2);
        assert!(output.stderr.contains(&format!("--question {second}")), "{output:?}");
    }
    let answer =
        |question: u64, word: &str| home.run(&["approve", "a", "--question", &question.to_string(), word]);
    answer(first, "--allow").expect(0);
    assert!(answer(first, "--deny").expect(2).stderr.contains("allow by user"));
    assert_eq!(asked(&home), second, "it still waits");
    answer(second, "--deny").expect(0);
    assert_eq!(home.run(&["approve", "a"]).expect(0).stdout, "nothing waits for a decision\n");
}

#[test]
fn where_the_configuration_says_so_somebody_tells_what_came_of_a_call_that_a_kill_cut_off() {
    let home = Home::new();
    let config = home.write("ergane.toml", "[permissions]\nallow = ['bash']\non_unknown = 'ask_human'\n");
    let call = bash("echo ran >> effects; sleep 600");
    let script = home.script("s", &[json!({"tool_calls": [call]}), json!({"text": "done"})]);
    let line = ["send", "a", "go", "--key", "k", "--config", &config, "--script", &script, "--stream-json"];
    let mut running = home.start(&line);
    running.wait_for(r#""type":"tool_started""#);
    running.kill();
    home.run(&line).expect(5);
    let list = home.run(&["approve", "a", "--json"]).expect(0).json();
    assert_eq!(list["approvals"][0]["cause"], "cut_off", "{list}");
    let decided = home.run(&["approve", "a", "--done", "it was done by hand", "--json"]).expect(0).json();
    assert_eq!(decided["decision"], "done");
    home.run(&line).expect(0);
    assert!(home.run(&["sessions", "show", "a"]).expect(0).stdout.contains("it was done by hand"));
    assert!(count_lines(&home.path("effects"), "ran") <= 1, "it did not run again");
}

#[test]
fn of_several_calls_each_is_decided_by_its_name() {
    let home = Home::new();
    let calls = json!({"tool_calls": [bash("echo one >> effects"), bash("echo two >> effects")]});
    let script = home.script("s", &[calls, json!({"text": "done"})]);
    home.run(&["send", "a", "go", "--script", &script]).expect(5);
    let mut decided = 0;
    // Writes are asked about one by one or together: whoever waits is decided about, until nobody does.
    loop {
        let list = home.run(&["approve", "a", "--json"]).expect(0).json();
        let waiting = list["approvals"].as_array().unwrap().clone();
        if waiting.is_empty() {
            break;
        }
        if waiting.len() > 1 {
            let output = home.run(&["approve", "a", "--allow"]).expect(2);
            assert!(output.stderr.contains("several calls wait"), "{output:?}");
        }
        for (nth, approval) in waiting.iter().enumerate() {
            let word = if decided + nth == 0 { "--deny" } else { "--allow" };
            home.run(&["approve", "a", approval["call"].as_str().unwrap(), word]).expect(0);
        }
        decided += waiting.len();
        let output = home.run(&["resume", "a", "--script", &script]);
        assert!(matches!(output.code, Some(0 | 5)), "{output:?}");
    }
    assert_eq!(decided, 2);
    assert_eq!(std::fs::read_to_string(home.path("effects")).unwrap(), "two\n");
}
