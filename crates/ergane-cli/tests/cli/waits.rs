//! Whatever a turn waits for is told with its reason: in the events of `--stream-json`, and in `ergane top`, as data and as
//! text. (Each wait by itself: `every_wait_says_why` of the crate `ergane`; a full disk: `full_disk`.)

use std::io::{PipeWriter, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Home, Running};
use crate::server::{Answer, Server};
use crate::terminal::Terminal;

const FILE: &str = ".config/ergane/ergane.toml";

/// Longer than anything takes on the slowest machine; only a hang meets it.
const DEADLINE: Duration = Duration::from_secs(60);

/// An answer that took a thousand tokens.
fn ok() -> Answer {
    let choice = json!({"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 900, "completion_tokens": 100});
    Answer::json(200, &json!({"choices": [choice], "usage": usage}))
}

/// A chat with a provider of these bounds whose server answers so; what is written is said.
fn chat(home: &Home, server: &Server, bounds: &str) -> (Running, PipeWriter) {
    let provider = format!("kind = 'openai'\nbase_url = '{}'\nmodel = 'm'\n{bounds}\n", server.url(""));
    home.write(FILE, format!("provider = 'mine'\n[providers.mine]\n{provider}"));
    let (reader, writer) = std::io::pipe().unwrap();
    let mut chat = home.command(&["chat", "a", "--no-stream", "--stream-json"]);
    chat.stdin(Stdio::from(reader));
    (Running::of(chat), writer)
}

/// What `top` tells of the session `a` and of the provider, as data and in its lines, once that is `wanted`.
#[track_caller]
fn top(home: &Home, wanted: impl Fn(&Value, &Value) -> bool) -> (Value, Value, String) {
    let begin = Instant::now();
    loop {
        let seen = home.run(&["top", "--json"]).expect(0).json();
        let text = home.run(&["top"]).expect(0).stdout;
        let tree = &seen["processes"][0]["tree"];
        let (session, provider) = (node(tree, "session/a"), node(tree, "provider/mine"));
        if let (Some(session), Some(provider)) = (session, provider)
            && wanted(session, &provider["provider"])
        {
            return (session["activity"].clone(), provider["provider"].clone(), text);
        }
        assert!(begin.elapsed() < DEADLINE, "{seen:#}\n{text}");
        std::thread::sleep(Duration::from_millis(20)); // nobody announces it outside of the process
    }
}

fn node<'a>(tree: &'a Value, id: &str) -> Option<&'a Value> {
    if tree["id"] == id {
        return Some(tree);
    }
    tree["children"].as_array()?.iter().find_map(|child| node(child, id))
}

/// The line of `top` that begins so, its tree drawn away.
#[track_caller]
fn line<'a>(text: &'a str, begins: &str) -> &'a str {
    let lines = text.lines().map(|line| line.trim_start_matches(['│', '├', '└', '─', ' ']));
    let mut found = lines.filter(|line| line.starts_with(begins));
    found.next().unwrap_or_else(|| panic!("no line begins with {begins}:\n{text}"))
}

#[test]
fn limits_a_minute_are_told_by_the_event_and_by_top() {
    for (bounds, says) in [
        ("requests_per_minute = 1", "the limit of requests a minute is used up"),
        ("tokens_per_minute = 500", "the limit of tokens a minute is used up"),
    ] {
        let (home, server) = (Home::new(), Server::start(|_| ok()));
        let (mut running, mut said) = chat(&home, &server, bounds);
        said.write_all(b"one\ntwo\n").unwrap();
        running.wait_for(&format!(r#""type":"waiting","reason":"{says}"#));
        let (activity, provider, text) = top(&home, |session, _| session["activity"]["state"] == "waiting");
        assert_eq!(activity["reason"], says);
        assert_eq!((&provider["reason"], &provider["waiting"]), (&json!(says), &json!(1)), "{provider:#}");
        assert!(line(&text, "session/a ").ends_with(&format!("waiting, turn 2: {says}")), "{text}");
        let row = line(&text, "mine ");
        assert!(row.contains(&format!("{says}; the next in ")), "{row}");
        running.kill();
    }
}

#[test]
fn a_server_that_asks_to_wait_and_what_it_tells_of_its_limits_are_told_by_the_event_and_by_top() {
    let server = Server::start(|_| {
        let error = json!({"error": {"message": "too many of you", "code": "rate_limit_exceeded"}});
        let limits = "x-ratelimit-limit-tokens: 5000\r\nx-ratelimit-remaining-tokens: 70\r\nx-ratelimit-reset-tokens: 1h\r\n";
        Answer::json(429, &error).with_headers(&format!("retry-after: 59\r\n{limits}"))
    });
    let home = Home::new();
    let (mut running, mut said) = chat(&home, &server, "");
    said.write_all(b"one\n").unwrap();
    running.wait_for(r#""type":"retrying""#);
    let (activity, provider, text) = top(&home, |session, _| session["activity"]["state"] == "retrying");
    assert!(activity["reason"].as_str().unwrap().contains("too many of you"), "{activity}");
    assert_eq!(provider["reason"], "the server asked to wait", "{provider:#}");
    assert!(provider["asked_for_ms"].as_u64().is_some_and(|wait| wait <= 59_000), "{provider:#}");
    let told = &provider["tokens"];
    assert_eq!((&told["limit"], provider["requests"].is_null()), (&json!(5000), true), "{provider:#}");
    assert!(told["remaining"].as_u64().is_some_and(|left| (70..5000).contains(&left)), "{told}");
    let row = line(&text, "session/a ");
    assert!(row.contains("retrying, turn 1: ") && row.contains("too many of you"), "{row}");
    let row = line(&text, "mine ");
    assert!(
        row.contains(" of 5000 tokens, all in ") && row.contains("the server asked to wait; the next in ")
    );
    running.kill();
}

#[test]
fn a_server_that_fails_again_and_again_is_told_by_the_event_and_by_top() {
    let server = Server::start(|_| {
        Answer::json(500, &json!({"error": {"message": "it burns"}})).with_headers("retry-after-ms: 1\r\n")
    });
    let home = Home::new();
    let (mut running, mut said) = chat(&home, &server, "");
    said.write_all(b"one\ntwo\n").unwrap();
    running.wait_for(r#""type":"waiting","reason":"the server failed again and again"#);
    // It is open for longer each time.
    let (activity, provider, text) = top(&home, |session, provider| {
        // A probe has a deadline too.
        let is_open = provider["circuit"] == "open" && provider["circuit_for_ms"].as_u64() > Some(1_000);
        session["activity"]["state"] == "waiting" && is_open
    });
    assert!(activity["reason"].as_str().unwrap().contains("it burns"), "{activity}");
    assert!(provider["reason"].as_str().unwrap().contains("it burns"), "{provider:#}");
    // The text was taken a moment later: it may be the next attempt's.
    assert!(line(&text, "mine ").contains("it burns") || text.contains("probing"), "{text}");
    running.kill();
}

#[test]
fn a_call_that_somebody_must_decide_about_is_told_by_top() {
    let home = Home::new();
    let call = json!({"name": "bash", "arguments": {"command": "true"}});
    let script = home.script("s", &[json!({"tool_calls": [call]}), json!({"text": "done"})]);
    let mut terminal = Terminal::start(&home, &["send", "a", "go", "--script", &script], 80);
    terminal.wait_for("always?");
    let seen = home.run(&["top", "--json"]).expect(0).json();
    let session = node(&seen["processes"][0]["tree"], "session/a").unwrap();
    assert_eq!(session["activity"]["state"], "awaiting_approval");
    let text = home.run(&["top"]).expect(0).stdout;
    assert!(line(&text, "session/a ").contains("awaiting_approval, turn 1: bash ("), "{text}");
    terminal.type_in("y");
    assert_eq!(terminal.end().0, Some(0));
}
