//! Ctrl-C ends the turn and keeps the session; SIGTERM ends the process and keeps the turn.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Home, Running};

fn hanging(home: &Home, name: &str, format: &str) -> Running {
    let script = home.script("hangs", &[json!({"text": "half of it", "hang": true})]);
    home.start(&["send", name, "go", "--script", &script, format])
}

#[test]
fn ctrl_c_interrupts_the_turn_and_keeps_the_session() {
    let home = Home::new();
    let mut running = hanging(&home, "a", "--stream-json");
    running.wait_for(r#""type":"content""#);
    running.signal(Signal::INT);
    let output = running.output().expect(130);
    let lines = output.lines();
    let last = lines.last().unwrap();
    assert_eq!((&last["type"], &last["finish_reason"]), (&json!("result"), &json!("interrupted")));
    assert_eq!((&last["turn"], &last["error"]), (&json!(1), &Value::Null));
    // Nothing is open, and the session goes on.
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "two"})]);
    let object = home.run(&["send", "a", "more", "--script", &script, "--json"]).expect(0).json();
    assert_eq!((&object["turn"], &object["recovered"]), (&json!(2), &json!(false)));
}

#[test]
fn ctrl_c_ends_a_running_tool_too() {
    let home = Home::new();
    let call = json!({"name": "bash", "arguments": {"command": "echo $$ > pid; echo started; sleep 600"}});
    let script = home.script("s", &[json!({"tool_calls": [call]}), json!({"text": "never"})]);
    let mut running = home.start(&["run", "go", "--script", &script, "--allow", "bash", "--stream-json"]);
    running.wait_for(r#""type":"tool_progress""#);
    running.signal(Signal::INT);
    let lines = running.output().expect(130).lines();
    assert_eq!(lines.last().unwrap()["finish_reason"], "interrupted");
    let group = std::fs::read_to_string(home.path("pid")).unwrap();
    let started = Instant::now();
    // A process that was killed takes a moment to be gone, and nobody tells when.
    while !living_members_of(group.trim()).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "the shell is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn sigterm_writes_no_fact_and_leaves_the_turn_open() {
    let home = Home::new();
    let mut running = hanging(&home, "a", "--stream-json");
    running.wait_for(r#""type":"content""#);
    running.signal(Signal::TERM);
    let output = running.output().expect(1);
    let last = output.lines().pop().unwrap();
    assert_eq!((&last["type"], &last["finish_reason"]), (&json!("result"), &Value::Null));
    assert_eq!((&last["error"]["kind"], &last["turn"]), (&json!("internal"), &json!(1)));
    let log = home.run(&["sessions", "events", "a", "--json"]).expect(0).json();
    assert_eq!(log["events"].as_array().unwrap().last().unwrap()["type"], "turn_started");
    let script = home.script("s", &[json!({"text": "whole"})]);
    let object = home.run(&["resume", "a", "--script", &script, "--json"]).expect(0).json();
    assert_eq!((&object["text"], &object["recovered"]), (&json!("whole"), &json!(true)));
}

#[test]
fn when_the_terminal_is_gone_the_shell_is_too_and_the_turn_stays_open() {
    for kept in [true, false] {
        let home = Home::new();
        let call =
            json!({"name": "bash", "arguments": {"command": "echo $$ > pid; echo started; sleep 600"}});
        let script = home.script("s", &[json!({"tool_calls": [call]}), json!({"text": "never"})]);
        let what: &[&str] = if kept { &["send", "a"] } else { &["run"] };
        let more = ["go", "--script", &script, "--allow", "bash", "--stream-json"];
        let mut running = home.start(&[what, &more].concat());
        running.wait_for(r#""type":"tool_progress""#);
        running.signal(Signal::HUP);
        let last = running.output().expect(1).lines().pop().unwrap();
        assert_eq!((&last["type"], &last["finish_reason"]), (&json!("result"), &Value::Null));
        let group = std::fs::read_to_string(home.path("pid")).unwrap();
        let started = Instant::now();
        while !living_members_of(group.trim()).is_empty() {
            assert!(started.elapsed() < Duration::from_secs(60), "the shell is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
        if kept {
            let log = home.run(&["sessions", "events", "a", "--json"]).expect(0).json();
            assert_eq!(log["events"].as_array().unwrap().last().unwrap()["type"], "tool_process");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_started_to_outlive_its_terminal_does() {
    let home = Home::new();
    let script = home.script("hangs", &[json!({"text": "half of it", "hang": true})]);
    let command = home.command(&["send", "a", "go", "--script", &script, "--stream-json"]);
    let mut nohup = std::process::Command::new("nohup");
    nohup.arg(command.get_program()).args(command.get_args()).env_clear();
    nohup.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    nohup.current_dir(command.get_current_dir().unwrap()).stdin(std::process::Stdio::null());
    nohup.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut running = Running::of(nohup);
    running.wait_for(r#""type":"content""#);
    running.signal(Signal::HUP);
    running.signal(Signal::INT);
    let last = running.output().expect(130).lines().pop().unwrap();
    assert_eq!(last["finish_reason"], "interrupted");
}

#[test]
fn a_second_ctrl_c_quits_and_says_that_the_turn_stays_open() {
    let home = Home::new();
    let mut send = hanging(&home, "a", "--stream-json");
    send.wait_for(r#""type":"content""#);
    // The wish to end the turn is a fact, and that cannot be written now: so the first one takes its time.
    let writer = rusqlite::Connection::open(home.journal()).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    send.signal(Signal::INT);
    send.wait_for_note("Ctrl-C again quits at once");
    send.signal(Signal::INT);
    let output = send.output().expect(130);
    assert!(output.stderr.contains("interrupted; the turn stays open"), "{output:?}");
    writer.execute_batch("ROLLBACK").unwrap();
    let script = home.script("s", &[json!({"text": "whole"})]);
    let object = home.run(&["resume", "a", "--script", &script, "--json"]).expect(0).json();
    assert_eq!((&object["text"], &object["turn"]), (&json!("whole"), &json!(1)));
}

/// The processes of that group, the dead ones that nobody has collected left out.
fn living_members_of(group: &str) -> Vec<String> {
    let stats = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
    let is_living_member = |stat: &String| {
        // pid (name) state parent group …; the name may have spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.get(2) == Some(&group) && fields.first() != Some(&"Z")
    };
    stats.filter(is_living_member).collect()
}
