//! A program of somebody's own, which runs a system of the library, and the command beside it.
//!
//! The program is this very binary, run once more and told by its environment to be one: it has a provider and tools that the
//! command has not, and a session of which a call waits for somebody's yes.

use std::env;
use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ergane::core::ModelRequest;
use ergane::prelude::*;
use ergane::socket::{Outcome, RemoteError, RemoteSession};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Home, Running};

/// Where the program keeps its journal; without it this is no program.
const JOURNAL: &str = "A_PROGRAM_WITH_ITS_JOURNAL_AT";
/// Whether it serves a socket.
const SOCKET: &str = "A_PROGRAM_WITH_A_SOCKET";
/// Makes its model answer that visitors came.
const ASKED: &str = "How many came?";

/// Pays somebody.
#[tool(effect = "write")]
async fn pay(to: String, euros: u32) -> String {
    format!("paid {euros} euros to {to}")
}

/// How many visitors came today.
#[tool(effect = "read")]
async fn visitors() -> String {
    format!("17 visitors of process {}", std::process::id())
}

fn model(request: &ModelRequest, _attempt: u32) -> ScriptedReply {
    let last = request.messages.last();
    if let Some(result) = last.and_then(|last| last.results().next()) {
        return ScriptedReply::text(format!("Done: {}.", result.text()));
    }
    match last.map(|last| last.text()).unwrap_or_default().as_str() {
        "Pay the plumber." => ScriptedReply::call("pay", json!({"to": "the plumber", "euros": 120})),
        ASKED => ScriptedReply::call("visitors", json!({})),
        "Think." => ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") },
        other => ScriptedReply::text(format!("You said: {other}")),
    }
}

async fn program(journal: std::ffi::OsString) {
    let system = System::builder()
        .name("shop")
        .provider("scripted", Scripted::from_fn(model))
        .tool(pay)
        .tool(visitors)
        .journal(Sqlite::open(journal).unwrap())
        .socket(env::var_os(SOCKET).is_some_and(|on| on == "on"))
        .start()
        .await
        .unwrap();
    let alice = system.session("alice").ungranted(Ungranted::Ask).start().await.unwrap();
    let mut turn = alice.send_message("Pay the plumber.").stream().await.unwrap();
    while !matches!(turn.next().await, Some(SessionEvent::ApprovalRequested { .. })) {}
    println!("the plumber waits");
    println!("the turn ended: {}", turn.result().await.unwrap().text);
    // It serves until nobody holds its stdin any more.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    system.shutdown(std::time::Duration::from_secs(30)).await.unwrap();
    println!("the program ends");
}

/// No test, but the program that the tests run.
#[test]
fn the_program() {
    let Some(journal) = env::var_os(JOURNAL) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(program(journal));
}

/// The program, when its call waits, and the end of its stdin.
fn start(home: &Home, socket: &str) -> (Running, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "a_program::the_program", "--nocapture"])
        .env(JOURNAL, home.journal())
        .env(SOCKET, socket)
        .stdin(Stdio::from(reader))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = Running::of(command);
    running.wait_for("the plumber waits");
    (running, writer)
}

/// The same when the call was allowed and the turn has ended.
fn start_and_allow(home: &Home) -> (Running, PipeWriter) {
    let (mut running, stdin) = start(home, "on");
    home.run(&["approve", "alice", "--allow"]).expect(0);
    running.wait_for("the turn ended: Done: paid 120 euros to the plumber.");
    (running, stdin)
}

#[track_caller]
fn end(mut running: Running, stdin: PipeWriter) {
    drop(stdin);
    running.wait_for("the program ends");
    running.output().expect(0);
}

#[test]
fn a_call_that_waits_in_a_program_of_ones_own_is_listed_and_decided_by_the_command() {
    let home = Home::new();
    let (mut running, stdin) = start(&home, "on");
    let list = home.run(&["approve", "alice", "--json"]).expect(0).json();
    let waits = &list["approvals"][0];
    assert_eq!((&waits["tool"], &waits["cause"]), (&json!("pay"), &json!("permission")), "{list:#}");
    let call = waits["call"].as_str().unwrap();
    let output = home.run(&["approve", "alice", call, "--allow"]).expect(0);
    assert!(output.stderr.contains(&format!("process {}, which owns", running.pid())), "{output:?}");
    running.wait_for("the turn ended: Done: paid 120 euros to the plumber.");
    // The same again changes nothing, another decision comes too late.
    home.run(&["approve", "alice", call, "--allow"]).expect(0);
    let late = home.run(&["approve", "alice", call, "--deny", "--json"]).expect(2).json();
    assert_eq!(late["error"]["kind"], "bad_request", "{late}");
    end(running, stdin);
}

#[test]
fn a_send_of_the_command_is_run_by_the_program_with_its_own_tool() {
    let home = Home::new();
    let (running, stdin) = start_and_allow(&home);
    let object = home.run(&["send", "alice", ASKED, "--json"]).expect(0).json();
    let text = format!("Done: 17 visitors of process {}.", running.pid());
    assert_eq!(
        (&object["text"], &object["turn"], &object["tool_calls_made"]),
        (&json!(text), &json!(2), &json!(1))
    );
    // Settings that are given hold from then on, as they do without an owner, and the same again is no fact.
    for _ in 0..2 {
        home.run(&["send", "alice", "hello", "--max-iterations", "7"]).expect(0);
    }
    let shown = home.run(&["sessions", "show", "alice", "--json"]).expect(0).json();
    assert_eq!(shown["settings"]["limits"]["max_iterations"], 7, "{:#}", shown["settings"]);
    let events = home.run(&["sessions", "events", "alice", "--json"]).expect(0).json();
    let changes = events["events"].as_array().unwrap().iter();
    let changes = changes.filter(|event| event["type"] == "settings_changed").count();
    assert_eq!(changes, 1, "{events:#}");
    // Of a call that nobody has granted it says so, and the same send is told the end when somebody has.
    let line = ["send", "alice", "Pay the plumber.", "--key", "k"];
    let waits = home.run(&line).expect(5);
    assert!(waits.stderr.contains("ergane approve alice"), "{waits:?}");
    home.run(&["approve", "alice", "--allow"]).expect(0);
    assert_eq!(home.run(&line).expect(0).stdout, "Done: paid 120 euros to the plumber.\n");
    end(running, stdin);
}

#[test]
fn a_turn_of_the_program_is_steered_interrupted_and_seen_by_the_command() {
    let home = Home::new();
    let (running, stdin) = start_and_allow(&home);
    let mut send = home.start(&["send", "alice", "Think.", "--stream-json"]);
    send.wait_for(r#""type":"content""#);

    let top = home.run(&["top", "--json"]).expect(0).json();
    let [process] = top["processes"].as_array().unwrap().as_slice() else { panic!("{top:#}") };
    assert_eq!((&process["pid"], &process["system"]), (&json!(running.pid()), &json!("shop")));
    let child = |node: &Value, id: &str| {
        let children = node["children"].as_array().unwrap().iter();
        children
            .clone()
            .find(|child| child["id"] == id)
            .unwrap_or_else(|| panic!("no {id}: {node:#}"))
            .clone()
    };
    assert_eq!(child(&process["tree"], "socket")["status"], "live");
    let alice = child(&child(&process["tree"], "sessions"), "session/alice");
    assert_eq!(
        (&alice["activity"]["state"], &alice["turn"]),
        (&json!("calling_model"), &json!(2)),
        "{alice:#}"
    );

    home.run(&["steer", "alice", "Be brief.", "--cut"]).expect(0);
    let object = send.output().expect(0).lines().pop().unwrap();
    assert_eq!((&object["text"], &object["turn"]), (&json!("You said: Think.Be brief."), &json!(2)));

    let mut send = home.start(&["send", "alice", "Think.", "--stream-json"]);
    send.wait_for(r#""type":"content""#);
    let done = home.run(&["interrupt", "alice", "--json"]).expect(0).json();
    assert_eq!(done["interrupted"], true);
    let object = send.output().expect(130).lines().pop().unwrap();
    assert_eq!(object["finish_reason"], "interrupted");
    end(running, stdin);
}

fn socket_of(home: &Home, running: &Running) -> PathBuf {
    let socket = format!(".local/share/ergane/ergane.db.sockets/{}.sock", running.pid());
    home.path(&socket).canonicalize().unwrap()
}

#[test]
fn a_send_to_an_owner_that_nobody_reaches_ends_in_time_and_names_its_key() {
    let home = Home::new();
    let (running, stdin) = start_and_allow(&home);
    // Somebody has a socket there, and it is not the owner.
    let socket = socket_of(&home, &running);
    let another = socket.with_file_name("1.sock");
    std::fs::rename(&socket, &another).unwrap();
    for (more, exit, kind, says) in
        [(&["--timeout", "1s"][..], 3, "timeout", "--timeout"), (&[], 1, "busy", "does not answer")]
    {
        let line = [&["send", "alice", "hello", "--json"], more].concat();
        let object = home.run(&line).expect(exit).json();
        let why = object["error"]["message"].as_str().unwrap();
        assert_eq!(object["error"]["kind"], kind, "{object}");
        assert!(why.contains(says) && why.contains("with --key "), "{line:?}: {why}");
    }
    std::fs::rename(&another, &socket).unwrap();
    let object = home.run(&["send", "alice", "hello", "--json"]).expect(0).json();
    assert_eq!(object["turn"], 2, "nothing of it had been sent: {object}");
    end(running, stdin);
}

#[test]
fn a_send_whose_conversation_breaks_off_though_the_owner_lives_is_asked_for_again_and_done_once() {
    let home = Home::new();
    let (running, stdin) = start_and_allow(&home);
    let socket = socket_of(&home, &running);
    let aside = socket.with_extension("aside");
    std::fs::rename(&socket, &aside).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let send = home.start(&["send", "alice", "hello", "--json"]);
    let (mut stream, _) = listener.accept().unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    assert!(line.contains(r#""ask":"turn""#), "{line}");
    stream.write_all(b"{\"v\":1,\"accepted\":true}\n").unwrap();
    std::fs::rename(&aside, &socket).unwrap();
    drop((stream, listener));
    let object = send.output().expect(0).json();
    assert_eq!((&object["turn"], &object["finish_reason"]), (&json!(2), &json!("stop")), "{object}");
    end(running, stdin);
}

#[test]
fn ctrl_c_ends_a_send_that_asks_again_and_names_its_key() {
    let home = Home::new();
    let (running, stdin) = start_and_allow(&home);
    let socket = socket_of(&home, &running);
    let aside = socket.with_extension("aside");
    std::fs::rename(&socket, &aside).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let send = home.start(&["send", "alice", "hello", "--json"]);
    let asked: Vec<Value> = (0..2)
        .map(|_| {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            serde_json::from_str(&line).unwrap()
        })
        .collect();
    assert_eq!(asked[0], asked[1], "broken off, it asks again for the same");
    // Now nobody answers, and the owner lives: it would be asked for ten seconds.
    drop(listener);
    send.signal(Signal::INT);
    let output = send.output().expect(130);
    let key = asked[0]["key"].as_str().unwrap();
    assert!(output.stderr.contains(&format!("with --key {key} it can be said again")), "{output:?}");
    std::fs::rename(&aside, &socket).unwrap();
    let object = home.run(&["send", "alice", "hello", "--key", key, "--json"]).expect(0).json();
    assert_eq!(object["turn"], 2, "nobody had it: {object}");
    end(running, stdin);
}

#[test]
fn a_session_of_a_killed_program_is_taken_over_by_the_next_command() {
    let home = Home::new();
    let (running, _stdin) = start_and_allow(&home);
    // Killed in the middle of a turn that somebody elsewhere listens to, who then goes on with it.
    let mut send = home.start(&["send", "alice", "Think.", "--stream-json"]);
    send.wait_for(r#""type":"content""#);
    running.signal(Signal::KILL);
    let output = send.output().expect(0);
    assert!(output.stderr.contains("going on here"), "{output:?}");
    let object = output.lines().pop().unwrap();
    assert_eq!((&object["turn"], &object["recovered"]), (&json!(2), &json!(true)), "{object}");
    let object = home.run(&["send", "alice", "hello", "--json"]).expect(0).json();
    assert_eq!((&object["turn"], &object["finish_reason"]), (&json!(3), &json!("stop")), "{object}");
}

#[test]
fn a_program_whose_socket_is_turned_off_keeps_its_sessions_to_itself_and_that_is_said() {
    let home = Home::new();
    let (mut running, stdin) = start(&home, "off");
    for line in [
        &["send", "alice", "hello", "--json"][..],
        &["approve", "alice", "--allow", "--json"],
        &["interrupt", "alice", "--json"],
        &["sessions", "checkpoint", "alice", "here", "--json"],
    ] {
        let object = home.run(line).expect(1).json();
        let why = object["error"]["message"].as_str().unwrap();
        assert_eq!(object["error"]["kind"], "busy", "{object}");
        let says = format!("owned by the running process {}", running.pid());
        assert!(
            why.contains(&says) && why.contains("socket") && why.contains("wait for its end"),
            "{line:?}: {why}"
        );
    }
    // What waits is read in the journal, also now.
    let list = home.run(&["approve", "alice", "--json"]).expect(0).json();
    assert_eq!(list["approvals"][0]["tool"], "pay");
    assert_eq!(home.run(&["top", "--json"]).expect(0).json(), json!({"processes": []}));
    let socket = format!(".local/share/ergane/ergane.db.sockets/{}.sock", running.pid());
    assert!(!home.path(&socket).exists());
    running.signal(Signal::KILL);
    drop(stdin);
    running.wait();
}

#[tokio::test]
async fn a_program_reaches_the_session_of_another_one() {
    let home = Home::new();
    let (mut running, mut stdin) = start(&home, "on");
    stdin.write_all(b"it is not read\n").unwrap();
    let alice = RemoteSession::find(home.journal(), "alice").await.unwrap().expect("the program runs her");
    assert_eq!(alice.pid(), running.pid());
    alice.checkpoint("asked").await.unwrap();
    let busy = alice.rewind("asked").await.unwrap_err();
    assert_eq!((busy.kind(), busy.may_pass()), ("busy", false), "in the middle of a turn: {busy}");

    let question = alice.approvals().await.unwrap().remove(0);
    assert_eq!((&*question.tool, &*question.arguments), ("pay", r#"{"euros":120,"to":"the plumber"}"#));
    alice.approve(&question, Decision::Allow).by("ann").await.unwrap();
    running.wait_for("the turn ended: Done: paid 120 euros to the plumber.");
    let late = alice.approve(&question, Decision::deny("too dear")).await.unwrap_err();
    assert!(late.to_string().contains("allow by ann"), "{late}");

    let begun = alice.checkpoint("begun").await.unwrap();
    let Outcome::Ended(result) = alice.send_message(ASKED).await.unwrap() else { panic!("it waits") };
    assert_eq!(&*result.text, format!("Done: 17 visitors of process {}.", running.pid()));
    assert_eq!(result.messages.len(), 4, "what was said, the call, its result, the answer");
    assert_eq!(alice.rewind("begun").await.unwrap(), begun);
    assert!(!alice.interrupt("enough").await.unwrap());

    let mut turn = alice.send_message("Think.").stream().await.unwrap();
    running.signal(Signal::KILL);
    let ended = loop {
        match turn.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it does not end by itself"),
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, RemoteError::OwnerEnded { .. }), "{ended}");
    running.wait();
    let nobody = RemoteSession::find(home.journal(), "alice").await.unwrap();
    assert!(nobody.is_none(), "who is dead owns nothing: {nobody:?}");
}
