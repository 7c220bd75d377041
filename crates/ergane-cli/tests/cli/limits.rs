//! Permissions, limits and settings.

use serde_json::{Value, json};

use crate::harness::{Home, Output, finish};

fn touches(home: &Home) -> String {
    let call = json!({"name": "bash", "arguments": {"command": "echo ran > effect"}});
    home.script("touches", &[json!({"tool_calls": [call]}), json!({"text": "done"})])
}

fn result(output: &Output) -> Value {
    output.lines().into_iter().find(|line| line["type"] == "tool_result").unwrap()
}

#[test]
fn what_nobody_granted_waits_and_does_not_run() {
    let home = Home::new();
    let script = touches(&home);
    for mode in ["default", "accept-edits"] {
        let args = ["send", mode, "go", "--script", &script, "--permissions", mode, "--stream-json"];
        let lines = home.run(&args).expect(5).lines();
        assert!(lines.iter().any(|line| line["type"] == "approval_requested"), "{lines:#?}");
        assert!(!lines.iter().any(|line| line["type"] == "tool_result"), "{lines:#?}");
        let last = lines.last().unwrap();
        assert_eq!((&last["type"], &last["error"]), (&json!("result"), &Value::Null));
    }
    assert!(!home.path("effect").exists());
}

#[test]
fn a_grant_or_bypass_lets_it_run_and_the_deny_list_beats_both() {
    let home = Home::new();
    let script = touches(&home);
    for (args, runs) in [
        (&["--allow", "bash"][..], true),
        (&["--permissions", "bypass"], true),
        (&["--permissions", "bypass", "--deny", "bash"], false),
        (&["--allow", "bash", "--deny", "bash"], false),
        (&["--permissions", "plan"], false),
        (&["--permissions", "bypass", "--allow", "read,glob"], false),
    ] {
        let output =
            home.run(&[&["run", "go", "--script", &script, "--stream-json"], args].concat()).expect(0);
        assert_eq!(result(&output)["denied"], !runs, "{args:?}");
        assert_eq!(std::fs::remove_file(home.path("effect")).is_ok(), runs, "{args:?}");
    }
}

#[test]
fn a_tool_that_is_not_offered_is_not_there() {
    let home = Home::new();
    let script = touches(&home);
    let args = [
        "run",
        "go",
        "--script",
        &script,
        "--permissions",
        "bypass",
        "--tools",
        "read,glob",
        "--stream-json",
    ];
    let output = home.run(&args).expect(0);
    let refused = result(&output);
    assert!(refused["text"].as_str().unwrap().contains("no tool named"), "{refused}");
    assert!(!home.path("effect").exists());
}

#[test]
fn settings_are_kept_and_an_equal_one_writes_nothing() {
    let home = Home::new();
    let replies: Vec<Value> = (0..6).map(|n| json!({"text": n.to_string()})).collect();
    let script = home.script("s", &replies);
    std::fs::create_dir(home.path("sub")).unwrap();
    let flags = [
        "--system",
        "Be brief.",
        "--tools",
        "read,glob",
        "--cwd",
        "sub",
        "--permissions",
        "plan",
        "--deny",
        "glob",
        "--max-iterations",
        "7",
        "--max-budget-usd",
        "1.5",
        "--retries",
        "2",
        "--idle-timeout",
        "5s",
        "--model",
        "m",
        "--no-stream",
    ];
    let send = |flags: &[&str]| {
        home.run(&[&["send", "a", "hi", "--script", &script], flags].concat()).expect(0);
        home.run(&["sessions", "show", "a", "--json"]).expect(0).json()["settings"].clone()
    };
    let settings = send(&flags);
    let cwd = home.path("sub").canonicalize().unwrap();
    let expected = json!({
        "provider": "scripted", "model": "m", "system_prompt": "Be brief.", "tools": ["read", "glob"],
        "cwd": cwd.to_str().unwrap(), "stream": false,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&settings[field], value, "{field}");
    }
    assert_eq!(settings["permissions"], json!({"mode": "plan", "deny": ["glob"], "ungranted": "ask"}));
    let limits = &settings["limits"];
    assert_eq!((&limits["max_iterations"], &limits["turn_budget"]), (&json!(7), &json!(1_500_000)));
    assert_eq!((&limits["max_retries"], &limits["idle_timeout_ms"]), (&json!(2), &json!(5000)));

    assert_eq!(send(&[]), settings, "what is not given keeps its value");
    assert_eq!(send(&flags), settings);
    let changes = || {
        let log = home.run(&["sessions", "events", "a", "--json"]).expect(0).json();
        let events = log["events"].as_array().unwrap().clone();
        events.into_iter().filter(|event| event["type"] == "settings_changed").count()
    };
    assert_eq!(changes(), 0, "an equal setting is no fact");
    assert_eq!(send(&["--tools", "all", "--max-iterations", "8"])["limits"]["max_iterations"], 8);
    assert_eq!(changes(), 1);
    assert_eq!(
        send(&["--no-stream=false"])["stream"],
        true,
        "what was switched off can be switched on again"
    );
    // A session keeps its provider, whatever there is in the environment.
    let mut command = home.command(&["send", "a", "hi", "--script", &script, "--json"]);
    command.env("OPENAI_API_KEY", "k");
    assert_eq!(crate::harness::finish(command).expect(0).json()["provider"], "scripted");
}

#[test]
fn rounds_and_money_are_limits() {
    let home = Home::new();
    home.write("a.txt", "hello");
    let read = json!({"tool_calls": [{"name": "read", "arguments": {"path": "a.txt"}}], "cost_usd": 0.5});
    let script = home.script("s", &[read.clone(), read, json!({"text": "done", "cost_usd": 0.5})]);
    let object =
        home.run(&["run", "go", "--script", &script, "--max-iterations", "1", "--json"]).expect(1).json();
    assert_eq!((&object["finish_reason"], &object["iterations"]), (&json!("max_turns"), &json!(1)));
    let object =
        home.run(&["run", "go", "--script", &script, "--max-budget-usd", "0.75", "--json"]).expect(1).json();
    assert_eq!((&object["finish_reason"], &object["cost_usd"]), (&json!("max_budget_usd"), &json!(1.0)));
    assert_eq!(object["error"], Value::Null);
    home.run(&["run", "go", "--script", &script, "--max-budget-usd", "2"]).expect(0);
}

#[test]
fn silence_on_a_stream_is_a_timeout_of_the_provider() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "half", "hang": true})]);
    let args = ["run", "go", "--script", &script, "--idle-timeout", "50ms", "--retries", "0", "--json"];
    let object = home.run(&args).expect(3).json();
    assert_eq!(
        (&object["error"]["kind"], &object["finish_reason"]),
        (&json!("timeout"), &json!("during_execution"))
    );
}

#[test]
fn a_deadline_ends_the_waiting_and_the_turn_stays_open() {
    let home = Home::new();
    let hangs = home.script("hangs", &[json!({"hang": true})]);
    // On a machine that is so loaded that the turn has not even begun, more time is needed.
    let (name, output) = ["1s", "5s", "25s"]
        .iter()
        .map(|time| (time, home.run(&["send", time, "go", "--script", &hangs, "--timeout", time, "--json"])))
        .find(|(_, output)| output.json()["turn"] == 1)
        .expect("no turn began");
    let output = output.expect(3);
    let object = output.json();
    assert_eq!((&object["error"]["kind"], &object["finish_reason"]), (&json!("timeout"), &Value::Null));
    assert_eq!(object["session"], **name);
    assert!(output.stderr.contains("resume"), "{output:?}");
    let script = home.script("s", &[json!({"text": "first"}), json!({"text": "second"})]);
    let output = home.run(&["send", name, "next", "--script", &script]).expect(0);
    assert_eq!(output.stdout, "second\n");
    assert!(output.stderr.contains("turn 1 was left open and is finished: stop"), "{output:?}");
    let object = home.run(&["run", "go", "--script", &hangs, "--timeout", "1s", "--json"]).expect(3).json();
    assert_eq!(object["error"]["kind"], "timeout");
}

#[test]
fn a_command_of_the_model_does_not_see_the_keys_of_the_providers() {
    let home = Home::new();
    let call = json!({"name": "bash", "arguments": {"command": "env; echo the end"}});
    let script = home.script("s", &[json!({"tool_calls": [call]}), json!({"text": "done"})]);
    let mut command =
        home.command(&["send", "a", "go", "--script", &script, "--allow", "bash", "--provider", "scripted"]);
    home.write(".config/ergane/ergane.toml", "[providers.mine]\nkind = \"openai\"\napi_key_env = \"MINE\"\n");
    command
        .env("OPENAI_API_KEY", "planted-secret")
        .env("OTHER", "not a secret")
        .env("MINE", "planted-secret-2");
    finish(command).expect(0);
    let log = home.run(&["sessions", "export", "a"]).expect(0).stdout;
    assert!(log.contains("the end") && log.contains("not a secret"), "{log}");
    assert!(!log.contains("planted-secret"), "{log}");
}
