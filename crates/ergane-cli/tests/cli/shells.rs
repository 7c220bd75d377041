//! A shell and the process that started it: whatever becomes of the one, the other does not go on unseen.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::Home;

/// Waits for the world outside, which tells of itself only when asked.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The processes of a group that live; zombies do not.
fn alive(group: i32) -> Vec<i32> {
    let lives = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        fields.len() > 2 && fields[2].parse() == Ok(group) && !matches!(fields[0], "Z" | "X")
    };
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| lives(*pid)).collect()
}

/// The moments, in milliseconds since 1970, at which the shell wrote.
fn beats(path: &Path) -> Vec<i64> {
    fs::read_to_string(path).unwrap_or_default().lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_shell_that_writes_when_its_process_is_killed_is_gone_before_its_call_is_said_to_be_unknown() {
    let home = Home::new();
    let command = "trap '' TERM HUP INT PIPE; echo $TMPDIR > temp; touch $TMPDIR/x; echo $$ > shell; echo begun; \
         while :; do date +%s%3N >> beats; done";
    let call = json!({"tool_calls": [{"name": "bash", "arguments": {"command": command}}]});
    let script = home.script("s", &[call, json!({"text": "I will check first"})]);
    let args = ["send", "a", "go", "--script", &script, "--allow", "bash", "--stream-json"];
    let mut running = home.start(&args);
    running.wait_for(r#""type":"tool_progress""#);
    until("the shell writes", || !beats(&home.path("beats")).is_empty());
    running.kill();

    // Nobody is there, and the shell works on: what this is about.
    let group: i32 = fs::read_to_string(home.path("shell")).unwrap().trim().parse().unwrap();
    let before = beats(&home.path("beats")).len();
    until("the shell goes on without its process", || beats(&home.path("beats")).len() > before + 1);
    assert!(!alive(group).is_empty());
    let temp = fs::read_to_string(home.path("temp")).unwrap();
    let left = Path::new(temp.trim()).join("x");
    assert!(left.exists(), "{} is left behind, too", left.display());

    let mut resuming = home.start(&["resume", "a", "--script", &script, "--stream-json"]);
    resuming.wait_for(r#""type":"tool_result""#);
    assert_eq!(alive(group), Vec::<i32>::new(), "it is gone when that is told");
    assert!(!left.parent().unwrap().exists(), "and so is its temporary folder");
    let written = beats(&home.path("beats"));
    resuming.wait_for(r#""type":"result""#);
    assert_eq!(resuming.output().code, Some(0));

    let log = home.run(&["sessions", "events", "a", "--json"]).expect(0).json();
    let facts = log["events"].as_array().unwrap();
    let unknown: &Value = facts.iter().find(|fact| fact["type"] == "tool_finished").unwrap();
    assert!(unknown.to_string().contains("effect is unknown"), "{unknown}");
    let (last, said) = (written.last().unwrap(), unknown["at"].as_i64().unwrap());
    assert!(*last <= said, "it wrote at {last}, and had been said to be over at {said}");
    let recovered: &Value = facts.iter().find(|fact| fact["type"] == "recovered").unwrap();
    assert!(recovered["seq"].as_i64() < unknown["seq"].as_i64(), "{facts:#?}");
    assert_eq!(beats(&home.path("beats")), written, "and it never writes again");
}

#[test]
fn a_session_that_is_deleted_leaves_no_shell_behind_and_one_that_is_at_work_is_not_deleted() {
    let home = Home::new();
    let call = json!({"tool_calls": [{"name": "bash", "arguments": {"command": "echo $$ > shell; echo begun; sleep 600"}}]});
    let script = home.script("s", &[call, json!({"text": "never"})]);
    let mut running =
        home.start(&["send", "a", "go", "--script", &script, "--allow", "bash", "--stream-json"]);
    running.wait_for(r#""type":"tool_progress""#);
    let group: i32 = fs::read_to_string(home.path("shell")).unwrap().trim().parse().unwrap();
    home.run(&["sessions", "delete", "a"]).expect(1);
    assert!(!alive(group).is_empty(), "it is its process's, which lives");
    running.kill();
    assert!(!alive(group).is_empty(), "nobody is there to end it");
    home.run(&["sessions", "delete", "a"]).expect(0);
    until("the shell is gone", || alive(group).is_empty());
    home.run(&["sessions", "show", "a"]).expect(1);
}
