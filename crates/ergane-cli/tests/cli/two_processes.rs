//! Two processes on one journal: what is asked of a session that the other one owns is done by it.

use std::io::{PipeWriter, Write};
use std::process::Stdio;

use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use serde_json::{Value, json};

use crate::harness::{Home, Running, count_lines};
use crate::terminal::{CTRL_D, Terminal};

/// A chat that owns the session and waits for its next line.
fn owner(home: &Home, args: &[&str]) -> (Running, PipeWriter) {
    let mut command = home.command(&[&["chat", "a", "--json"], args].concat());
    let (reader, mut writer) = std::io::pipe().unwrap();
    command.stdin(Stdio::from(reader));
    let mut running = Running::of(command);
    writer.write_all(b"first\n").unwrap();
    running.wait_for(r#""turn":1"#);
    (running, writer)
}

/// Stops it, and waits until it stands still.
fn freeze(running: &Running) -> Pid {
    running.signal(Signal::STOP);
    let pid = Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap();
    let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped(), "{status:?}");
    pid
}

fn events(home: &Home) -> Vec<Value> {
    let log = home.run(&["sessions", "events", "a", "--json"]).expect(0).json();
    log["events"].as_array().unwrap().clone()
}

/// Of each kind one after the other, without gaps, and never an older incarnation after a newer one.
#[track_caller]
fn sound(events: &[Value]) {
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    let epochs: Vec<u64> = events.iter().map(|event| event["epoch"].as_u64().unwrap()).collect();
    assert!(epochs.is_sorted(), "{epochs:?}");
}

#[test]
fn a_send_to_a_session_of_another_process_is_run_there_and_told_here() {
    let home = Home::new();
    let replies = ["one", "two", "three", "four"].map(|text| json!({"text": text}));
    let script = home.script("s", &replies);
    let (running, stdin) = owner(&home, &["--script", &script]);
    // This one has no script: that the answer is the script's shows who gave it.
    let output = home.run(&["send", "a", "second", "--json"]).expect(0);
    let object = output.json();
    assert_eq!(
        (&object["text"], &object["turn"], &object["session"]),
        (&json!("two"), &json!(2), &json!("a"))
    );
    assert!(output.stderr.contains(&format!("process {} owns session a", running.pid())), "{output:?}");
    assert_eq!(home.run(&["send", "a", "third"]).expect(0).stdout, "three\n");
    let keyed = ["send", "a", "fourth", "--key", "k", "--model", "m7", "--stream-json"];
    let lines = home.run(&keyed).expect(0).lines();
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["type"], &last["text"], &last["model"]),
        (&json!("result"), &json!("four"), &json!("m7"))
    );
    assert!(lines.iter().any(|line| line["type"] == "content" && line["v"] == 1), "{lines:#?}");
    // The same key is the same turn; with another input it is refused.
    assert_eq!(home.run(&keyed).expect(0).lines().last().unwrap()["turn"], 4);
    let object = home.run(&["send", "a", "other", "--key", "k", "--json"]).expect(2).json();
    assert_eq!(object["error"]["kind"], "bad_request");
    drop(stdin);
    running.output().expect(0);
    sound(&events(&home));
    assert_eq!(home.run(&["sessions", "--json"]).json()["sessions"][0]["turns"], 4);
}

#[test]
fn ctrl_c_ends_a_turn_that_another_process_runs() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "half", "hang": true})]);
    let (running, stdin) = owner(&home, &["--script", &script]);
    let mut send = home.start(&["send", "a", "second", "--stream-json"]);
    send.wait_for(r#""type":"content""#);
    send.signal(Signal::INT);
    let lines = send.output().expect(130).lines();
    let last = lines.last().unwrap();
    assert_eq!((&last["turn"], &last["finish_reason"]), (&json!(2), &json!("interrupted")));
    drop(stdin);
    running.output().expect(0);
    sound(&events(&home));
}

#[test]
fn ctrl_c_of_a_send_that_waits_ends_its_own_turn_and_no_other() {
    let home = Home::new();
    let call = |command: &str| json!({"tool_calls": [{"name": "bash", "arguments": {"command": command}}]});
    let script = home.script(
        "s",
        &[
            call("echo begun; until test -e go; do sleep 0.01; done"),
            json!({"text": "one"}),
            call("touch done"),
        ],
    );
    let mut first =
        home.start(&["send", "a", "first", "--script", &script, "--allow", "bash", "--stream-json"]);
    first.wait_for(r#""type":"tool_progress""#);
    let mut second = home.start(&["send", "a", "second", "--stream-json"]);
    second.wait_for_note("owns session a and runs the turn");
    second.signal(Signal::INT);
    second.wait_for_note("Ctrl-C again quits at once");
    // The first turn is let go when that is known there, and not before.
    second.wait_for_note("it is to end, and waits for");
    home.write("go", "");
    let last = second.output().expect(130).lines().pop().unwrap();
    assert_eq!((&last["turn"], &last["finish_reason"]), (&json!(2), &json!("interrupted")));
    let last = first.output().expect(0).lines().pop().unwrap();
    assert_eq!((&last["turn"], &last["text"]), (&json!(1), &json!("one")));
    assert!(!home.path("done").exists(), "nothing of the second was done");
    sound(&events(&home));
}

#[test]
fn a_command_that_is_done_stays_for_the_turn_that_another_one_has_asked_it_for() {
    let home = Home::new();
    let events = stays(&home, &["send", "a", "first", "--allow", "bash"]);
    assert!(!events.iter().any(|event| event["type"] == "recovered"), "one owner has run both: {events:#?}");
}

#[test]
fn so_does_one_that_has_finished_what_a_crash_left_open() {
    let home = Home::new();
    let hangs = home.script("hangs", &[json!({"hang": true})]);
    let mut killed =
        home.start(&["send", "a", "first", "--allow", "bash", "--script", &hangs, "--stream-json"]);
    killed.wait_for(r#""type":"turn_started""#);
    killed.kill();
    let events = stays(&home, &["resume", "a"]);
    let recovered = events.iter().filter(|event| event["type"] == "recovered").count();
    assert_eq!(recovered, 1, "one owner has run both since: {events:#?}");
}

/// The command runs a turn of its own, and is asked for another one meanwhile: it tells the first, and stays for the second.
fn stays(home: &Home, command: &[&str]) -> Vec<Value> {
    let call = |command: &str| json!({"tool_calls": [{"name": "bash", "arguments": {"command": command}}]});
    let wait = |file: &str| format!("echo begun; until test -e {file}; do sleep 0.01; done");
    let replies = [
        call(&wait("first")),
        json!({"text": "one"}),
        call(&format!("{}; echo x >> effects", wait("second"))),
        json!({"text": "two"}),
    ];
    let script = home.script("s", &replies);
    let mut first = home.start(&[command, &["--script", &script, "--stream-json"]].concat());
    first.wait_for(r#""type":"tool_progress""#);
    let mut second = home.start(&["send", "a", "second", "--stream-json"]);
    second.wait_for_note("owns session a and runs the turn");
    home.write("first", "");
    first.wait_for_note("staying until it is");
    // What it was asked for itself is told before that.
    first.wait_for(r#""type":"result""#);
    second.wait_for(r#""type":"tool_progress""#);
    home.write("second", "");
    let last = second.output().expect(0).lines().pop().unwrap();
    assert_eq!((&last["turn"], &last["text"]), (&json!(2), &json!("two")));
    let last = first.output().expect(0).lines().pop().unwrap();
    assert_eq!((&last["turn"], &last["text"]), (&json!(1), &json!("one")));
    assert_eq!(std::fs::read_to_string(home.path("effects")).unwrap(), "x\n");
    let events = events(home);
    sound(&events);
    events
}

#[test]
fn a_turn_whose_owner_is_killed_is_finished_by_the_one_who_asked() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "half", "hang": true})]);
    let (running, _stdin) = owner(&home, &["--script", &script]);
    let mut send = home.start(&["send", "a", "second", "--stream-json"]);
    send.wait_for(r#""type":"content""#);
    running.kill();
    let output = send.output().expect(0);
    let last = output.lines().pop().unwrap();
    assert_eq!(
        (&last["turn"], &last["recovered"], &last["finish_reason"]),
        (&json!(2), &json!(true), &json!("stop"))
    );
    assert!(output.stderr.contains("going on here"), "{output:?}");
    let events = events(&home);
    sound(&events);
    let begun = events.iter().filter(|event| event["type"] == "turn_started").count();
    assert_eq!(begun, 2, "nothing is done twice");
}

#[test]
fn a_frozen_owner_keeps_its_session_and_thawed_it_goes_on() {
    let home = Home::new();
    let script = home.script("s", &["one", "two", "three"].map(|text| json!({"text": text})));
    let (running, stdin) = owner(&home, &["--script", &script]);
    let pid = freeze(&running);
    let before = events(&home);
    let output = home.run(&["send", "a", "second", "--key", "k", "--json"]).expect(1);
    assert_eq!(output.json()["error"]["kind"], "busy");
    assert!(
        output.stderr.contains("did not answer") && output.stderr.contains(&pid.as_raw_pid().to_string()),
        "{output:?}"
    );
    assert!(output.stderr.contains("with --key k it can be said again"), "{output:?}");
    assert_eq!(events(&home), before, "one owner at any time: nobody else writes");
    running.signal(Signal::CONT);
    // Asked again it does it, and once in any case: the key is the same.
    let object = home.run(&["send", "a", "second", "--key", "k", "--json"]).expect(0).json();
    assert_eq!((&object["text"], &object["turn"]), (&json!("two"), &json!(2)));
    drop(stdin);
    running.output().expect(0);
    let events = events(&home);
    sound(&events);
    assert_eq!(events.iter().filter(|event| event["type"] == "turn_started").count(), 2);
}

#[test]
fn what_a_frozen_owner_was_asked_and_was_said_to_have_failed_is_not_done_when_it_is_thawed() {
    let home = Home::new();
    let script = home.script("s", &["one", "two", "three"].map(|text| json!({"text": text})));
    let (running, stdin) = owner(&home, &["--script", &script]);
    freeze(&running);
    let asked = [
        &["send", "a", "pay the plumber", "--json"][..],
        &["steer", "a", "pay the plumber", "--json"],
        &["sessions", "checkpoint", "a", "late", "--json"],
        &["interrupt", "a", "--json"],
    ];
    // All at once, for each takes its 10 s.
    let asking = asked.map(|line| home.start(line));
    for (line, asking) in asked.iter().zip(asking) {
        let output = asking.output().expect(1);
        assert_eq!(output.json()["error"]["kind"], "busy", "{output:?}");
        let has_key = ["send", "steer"].contains(&line[0]);
        assert_eq!(output.stderr.contains("with --key "), has_key, "its key can be said again: {output:?}");
    }
    running.signal(Signal::CONT);
    let object = home.run(&["send", "a", "second", "--json"]).expect(0).json();
    assert_eq!((&object["text"], &object["turn"]), (&json!("two"), &json!(2)));
    drop(stdin);
    running.output().expect(0);
    let events = events(&home);
    sound(&events);
    let log = json!(events).to_string();
    assert!(!log.contains("plumber") && !log.contains("late"), "{log}");
}

#[test]
fn a_call_that_waits_in_one_terminal_is_approved_from_another() {
    let home = Home::new();
    let call = json!({"name": "bash", "arguments": {"command": "echo ran >> effects"}});
    let script = home.script("s", &[json!({"tool_calls": [call]}), json!({"text": "all done"})]);
    let mut chat = Terminal::start(&home, &["chat", "a", "--script", &script], 80);
    chat.wait_for("› ");
    chat.type_in("go\r");
    chat.wait_for("always?");
    let list = home.run(&["approve", "a", "--json"]).expect(0).json();
    let call = list["approvals"][0]["call"].as_str().unwrap();
    let output = home.run(&["approve", "a", call, "--allow"]).expect(0);
    assert!(output.stderr.contains("goes on"), "{output:?}");
    chat.wait_for("all done");
    chat.wait_for_times("› ", 2);
    let object = home.run(&["approve", "a", call, "--deny", "--json"]).expect(2).json();
    assert_eq!(object["error"]["kind"], "bad_request");
    chat.type_in(CTRL_D);
    assert_eq!(chat.end().0, Some(0));
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1);
    sound(&events(&home));
}

#[test]
fn a_send_whose_turn_waits_in_its_owner_says_how_to_decide() {
    let home = Home::new();
    let call = json!({"name": "bash", "arguments": {"command": "echo ran >> effects"}});
    let script =
        home.script("s", &[json!({"text": "one"}), json!({"tool_calls": [call]}), json!({"text": "done"})]);
    let (running, stdin) = owner(&home, &["--script", &script]);
    let output = home.run(&["send", "a", "second", "--key", "k", "--json"]).expect(5);
    assert!(output.stderr.contains("ergane approve a"), "{output:?}");
    home.run(&["approve", "a", "--allow"]).expect(0);
    assert_eq!(home.run(&["send", "a", "second", "--key", "k"]).expect(0).stdout, "done\n");
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1);
    drop(stdin);
    running.output().expect(0);
}

#[test]
fn a_send_to_an_owner_whose_turn_waits_already_says_so_at_once_the_same_one_and_another() {
    let home = Home::new();
    let call = json!({"name": "bash", "arguments": {"command": "echo ran >> effects"}});
    let replies = [
        json!({"text": "one"}),
        json!({"tool_calls": [call]}),
        json!({"text": "two"}),
        json!({"text": "three"}),
    ];
    let script = home.script("s", &replies);
    let (running, stdin) = owner(&home, &["--script", &script]);
    let (second, third) = (["send", "a", "second", "--key", "k"], ["send", "a", "third", "--key", "l"]);
    for line in [&second, &second, &third, &third] {
        let output = home.run(line).expect(5);
        assert!(output.stderr.contains("ergane approve a"), "{output:?}");
    }
    home.run(&["approve", "a", "--allow"]).expect(0);
    assert_eq!(home.run(&third).expect(0).stdout, "three\n");
    assert_eq!(home.run(&second).expect(0).stdout, "two\n");
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1);
    drop(stdin);
    running.output().expect(0);
    sound(&events(&home));
}

#[test]
fn a_send_that_names_the_provider_that_the_session_has_leaves_its_model_alone() {
    let home = Home::new();
    let script = home.script("s", &["one", "two", "three"].map(|text| json!({"text": text})));
    let (running, stdin) = owner(&home, &["--script", &script, "--model", "m7"]);
    let send = |more: &[&str]| home.run(&[&["send", "a", "go", "--json"], more].concat()).expect(0).json();
    assert_eq!(send(&["--provider", "scripted"])["model"], "m7");
    assert_eq!(send(&["--provider", "scripted", "--model", "m8"])["model"], "m8");
    drop(stdin);
    running.output().expect(0);
}

#[test]
fn a_timeout_holds_though_the_owner_is_frozen() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"})]);
    let (running, _stdin) = owner(&home, &["--script", &script]);
    freeze(&running);
    let output = home.run(&["send", "a", "second", "--timeout", "1s", "--json"]).expect(3);
    assert_eq!(output.json()["error"]["kind"], "timeout");
    running.signal(Signal::CONT);
    running.kill();
}

#[test]
fn a_second_ctrl_c_quits_though_the_owner_is_frozen() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "half", "hang": true})]);
    let (running, _stdin) = owner(&home, &["--script", &script]);
    let mut send = home.start(&["send", "a", "second"]);
    send.wait_for_note("runs the turn");
    freeze(&running);
    send.signal(Signal::INT);
    send.wait_for_note("Ctrl-C again quits");
    send.signal(Signal::INT);
    let output = send.output().expect(130);
    assert!(output.stderr.contains("with --key "), "its key can be said again: {output:?}");
    running.signal(Signal::CONT);
    running.kill();
}

#[test]
fn a_quarantine_is_lifted_by_the_owner_and_else_there_is_none() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"})]);
    let (running, stdin) = owner(&home, &["--script", &script]);
    let lifted = home.run(&["sessions", "quarantine-lift", "a", "--json"]).expect(0).json();
    assert_eq!(lifted, json!({"session": "a", "lifted": true}));
    drop(stdin);
    running.output().expect(0);
    let lifted = home.run(&["sessions", "quarantine-lift", "a", "--json"]).expect(0).json();
    assert_eq!(lifted, json!({"session": "a", "lifted": false}));
    home.run(&["sessions", "quarantine-lift", "b"]).expect(1);
}

#[test]
fn a_word_is_put_into_the_turn_of_another_process_once_and_that_turn_is_interrupted_from_elsewhere() {
    let home = Home::new();
    let script = home.script(
        "s",
        &[
            json!({"text": "first"}),
            json!({"text": "half", "hang": true}),
            json!({"text": "half", "hang": true}),
        ],
    );
    let object = home.run(&["steer", "a", "hello", "--json"]).expect(1).json();
    assert_eq!(object["error"]["kind"], "not_found", "{object}");
    home.run(&["send", "a", "first", "--script", &script]).expect(0);
    for line in [&["steer", "a", "hello", "--json"][..], &["interrupt", "a", "--json"]] {
        let object = home.run(line).expect(1).json();
        let why = object["error"]["message"].as_str().unwrap();
        assert!(why.contains("no process runs session a"), "{object}");
    }
    let mut running = home.start(&["send", "a", "second", "--script", &script, "--stream-json"]);
    running.wait_for(r#""type":"content""#);
    // An answer that never ends is given up for it, and the same word under its key is no second one.
    for _ in 0..2 {
        let object = home.run(&["steer", "a", "be brief", "--key", "w", "--cut", "--json"]).expect(0).json();
        assert_eq!(object, json!({"session": "a", "steered": true}));
    }
    assert_eq!(home.run(&["steer", "a", " "]).expect(2).stdout, "");
    let object = home.run(&["interrupt", "a", "--reason", "enough", "--json"]).expect(0).json();
    assert_eq!(object, json!({"session": "a", "interrupted": true}));
    running.wait_for(r#""finish_reason":"interrupted""#);
    running.wait();
    let events = events(&home);
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
    assert_eq!((of("steered").len(), &of("interrupt_requested")[0]["reason"]), (1, &json!("enough")));
    sound(&events);
}

#[test]
fn a_checkpoint_is_made_by_the_owner_or_here_and_is_a_point_to_fork_and_to_rewind_to() {
    let home = Home::new();
    let script = home.script("s", &["one", "two", "three"].map(|text| json!({"text": text})));
    let (mut running, mut line) = owner(&home, &["--script", &script]);
    let made = home.run(&["sessions", "checkpoint", "a", "begun", "--json"]).expect(0).json();
    assert_eq!((&made["session"], &made["checkpoint"]), (&json!("a"), &json!("begun")));
    assert_eq!(home.run(&["interrupt", "a", "--json"]).expect(0).json()["interrupted"], false);
    line.write_all(b"second\n").unwrap();
    running.wait_for(r#""turn":2"#);
    drop(line);
    running.wait();
    let stored = home.run(&["sessions", "checkpoint", "a", "later"]).expect(0);
    assert!(stored.stdout.contains("later is event"), "{stored:?}");
    let object = home.run(&["sessions", "checkpoint", "a", "7", "--json"]).expect(1).json();
    assert_eq!(object["error"]["kind"], "bad_request", "{object}");
    home.run(&["sessions", "fork", "a", "b", "--at", "begun"]).expect(0);
    home.run(&["sessions", "rewind", "a", "--to", "begun"]).expect(0);
    for name in ["a", "b"] {
        let shown = home.run(&["sessions", "show", name]).expect(0).stdout;
        assert!(shown.contains("first") && !shown.contains("second"), "{shown}");
    }
}
