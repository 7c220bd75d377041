//! `sessions fork` and `sessions rewind`.

use serde_json::{Value, json};

use crate::harness::Home;

/// Three turns, each with its answer.
fn three_turns(home: &Home) -> String {
    let replies = ["one", "two", "three", "four"].map(|text| json!({"text": text}));
    let script = home.script("s", &replies);
    for prompt in ["first", "second", "third"] {
        home.run(&["send", "a", prompt, "--script", &script]).expect(0);
    }
    script
}

/// Where the nth turn ended.
fn end_of_turn(home: &Home, nth: usize) -> String {
    let log = home.run(&["sessions", "events", "a", "--json"]).expect(0).json();
    let ends: Vec<&Value> =
        log["events"].as_array().unwrap().iter().filter(|event| event["type"] == "turn_ended").collect();
    ends[nth - 1]["seq"].to_string()
}

fn said(home: &Home, name: &str) -> String {
    home.run(&["sessions", "show", name]).expect(0).stdout
}

#[test]
fn a_fork_has_the_history_up_to_its_point_and_goes_its_own_way() {
    let home = Home::new();
    let script = three_turns(&home);
    let at = end_of_turn(&home, 1);
    let made = home.run(&["sessions", "fork", "a", "b", "--at", &at, "--json"]).expect(0).json();
    assert_eq!(made, json!({"session": "b", "parent": "a"}));
    assert!(said(&home, "b").contains("first") && !said(&home, "b").contains("second"));
    assert_eq!(home.run(&["send", "b", "another", "--script", &script]).expect(0).stdout, "two\n");
    assert!(!said(&home, "a").contains("another"), "the parent is as it was");
    home.run(&["sessions", "fork", "a", "whole"]).expect(0);
    assert!(said(&home, "whole").contains("third"));
    for (args, code) in [
        (&["a", "b"][..], 1),
        (&["nobody", "c"], 1),
        (&["a", "c d"], 2),
        (&["a", "c", "--at", "4711"], 1),
        (&["a", "c", "--at", "no such label"], 1),
    ] {
        let output = home.run(&[&["sessions", "fork", "--json"], args].concat()).expect(code);
        assert!(output.json()["error"]["message"].is_string(), "{output:?}");
    }
}

#[test]
fn a_rewound_session_goes_on_from_there_and_nothing_is_erased() {
    let home = Home::new();
    let script = three_turns(&home);
    let to = end_of_turn(&home, 2);
    let before = home.run(&["sessions", "export", "a"]).expect(0).lines().len();
    let object = home.run(&["sessions", "rewind", "a", "--to", &to, "--json"]).expect(0).json();
    assert_eq!(object, json!({"session": "a", "rewound_to": to.parse::<u64>().unwrap()}));
    assert!(said(&home, "a").contains("second") && !said(&home, "a").contains("third"));
    assert_eq!(home.run(&["sessions", "export", "a"]).expect(0).lines().len(), before + 1);
    assert_eq!(home.run(&["send", "a", "other third", "--script", &script]).expect(0).stdout, "three\n");
    let object = home.run(&["sessions", "rewind", "a", "--to", "4711", "--json"]).expect(1).json();
    assert_eq!(object["error"]["kind"], "bad_request", "{object}");
}

#[test]
fn an_open_turn_is_not_rewound_and_not_gone_on_with() {
    let home = Home::new();
    let script = home.script("hangs", &[json!({"text": "half", "hang": true})]);
    let mut running = home.start(&["send", "a", "go", "--script", &script, "--stream-json"]);
    running.wait_for(r#""type":"content""#);
    // While its owner lives, that one is asked, which says the same.
    let object = home.run(&["sessions", "rewind", "a", "--to", "1", "--json"]).expect(1).json();
    assert_eq!(object["error"]["kind"], "busy", "{object}");
    running.kill();
    let before = home.run(&["sessions", "export", "a"]).expect(0).stdout;
    let output = home.run(&["sessions", "rewind", "a", "--to", "1"]).expect(1);
    assert!(output.stderr.contains("ergane resume a"), "{output:?}");
    assert_eq!(home.run(&["sessions", "export", "a"]).expect(0).stdout, before);
    // To fork it is fine: the fork's turn is interrupted, and the parent's stays open.
    home.run(&["sessions", "fork", "a", "b"]).expect(0);
    assert_eq!(home.run(&["resume", "b"]).expect(0).stdout, "b: nothing to resume\n");
}
