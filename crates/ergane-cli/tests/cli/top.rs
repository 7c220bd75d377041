//! A running process is seen from another one, through the socket beside the journal.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::{Value, json};

use crate::harness::{Home, Running};

/// Longer than anything takes on the slowest machine; only a hang meets it.
const DEADLINE: Duration = Duration::from_secs(60);

/// A `send` whose model has begun to answer and does not go on.
fn hanging(home: &Home, session: &str) -> Running {
    let script = home.script("hangs", &[json!({"text": "half of it", "hang": true})]);
    let mut running = home.start(&["send", session, "go", "--script", &script, "--stream-json"]);
    running.wait_for(r#""type":"content""#);
    running
}

fn socket(home: &Home, running: &Running) -> PathBuf {
    home.path(&format!(".local/share/ergane/ergane.db.sockets/{}.sock", running.pid()))
}

/// The processes that `top --json` tells of.
#[track_caller]
fn processes(home: &Home) -> Vec<Value> {
    let object = home.run(&["top", "--json"]).expect(0).json();
    object["processes"].as_array().unwrap_or_else(|| panic!("{object}")).clone()
}

fn child<'a>(node: &'a Value, id: &str) -> &'a Value {
    let children = node["children"].as_array().unwrap();
    children.iter().find(|child| child["id"] == id).unwrap_or_else(|| panic!("no {id} in {node:#}"))
}

#[test]
fn a_running_send_is_seen_with_its_tree_and_what_its_session_does() {
    let home = Home::new();
    let running = hanging(&home, "a");
    let processes = processes(&home);
    assert_eq!(processes.len(), 1, "{processes:#?}");
    let process = &processes[0];
    let journal = home.journal().canonicalize().unwrap();
    assert_eq!(process["pid"], running.pid());
    assert_eq!(process["journal"], journal.to_str().unwrap());
    assert_eq!((&process["system"], &process["error"]), (&json!("ergane"), &Value::Null));

    let tree = &process["tree"];
    assert_eq!((&tree["kind"], &tree["status"]), (&json!("supervisor"), &json!("live")));
    assert!(tree["uptime_ms"].is_u64(), "{tree:#}");
    let journal = child(tree, "journal");
    assert_eq!(
        (&journal["kind"], &journal["status"], &journal["restarts"]),
        (&json!("worker"), &json!("live"), &json!(0))
    );
    assert!(journal["pid"].is_string() && journal["uptime_ms"].is_u64(), "{journal:#}");
    assert_eq!(journal["activity"], Value::Null);
    assert_eq!(child(tree, "providers")["kind"], "supervisor");
    let requests = child(tree, "requests")["children"].as_array().unwrap();
    assert_eq!(requests.len(), 1, "the model call in flight: {requests:#?}");
    assert!(requests[0]["id"].as_str().unwrap().starts_with("request/"), "{requests:#?}");

    let session = child(child(tree, "sessions"), "session/a");
    assert_eq!(session["activity"], json!({"state": "calling_model"}));
    assert_eq!((&session["turn"], &session["queued"]), (&json!(1), &json!(0)));
    let below = session["children"].as_array().unwrap();
    assert_eq!(below.len(), 1, "the loop: {below:#?}");
    assert!(below[0]["id"].as_str().unwrap().starts_with("turn/"), "{below:#?}");
    running.kill();
}

#[test]
fn tools_that_run_are_told_by_name_and_are_actors_of_the_tree() {
    let home = Home::new();
    let wait = json!({"name": "bash", "arguments": {"command": "echo started; sleep 600"}});
    let script = home.script("s", &[json!({"tool_calls": [wait]}), json!({"text": "done"})]);
    let mut running =
        home.start(&["send", "a", "go", "--script", &script, "--allow", "bash", "--stream-json"]);
    running.wait_for(r#""type":"tool_progress""#);
    let processes = processes(&home);
    let session = child(child(&processes[0]["tree"], "sessions"), "session/a");
    assert_eq!(session["activity"]["state"], "running_tools");
    let calls = session["activity"]["calls"].as_array().unwrap();
    assert!(calls.len() == 1 && calls[0].as_str().unwrap().starts_with("bash"), "{session:#}");
    let below = session["children"].as_array().unwrap();
    let tools: Vec<&Value> =
        below.iter().filter(|actor| actor["id"].as_str().unwrap().starts_with("tool/")).collect();
    assert_eq!(tools.len(), 1, "{session:#}");
    assert_eq!(tools[0]["status"], "live", "{session:#}");
    running.signal(Signal::INT);
    running.output().expect(130);
}

#[test]
fn all_processes_of_the_journal_are_seen_and_no_others() {
    let home = Home::new();
    let (first, second) = (hanging(&home, "a"), hanging(&home, "b"));
    let mut expected = [first.pid(), second.pid()].map(u64::from);
    expected.sort_unstable();
    let seen: Vec<u64> = processes(&home).iter().map(|process| process["pid"].as_u64().unwrap()).collect();
    assert_eq!(seen, expected);
    let elsewhere = home.run(&["top", "--json", "--journal", "other.db"]).expect(0).json();
    assert_eq!(elsewhere, json!({"processes": []}));
    assert!(!home.path("other.db").exists(), "looking makes no journal");
    // A link to the journal is the journal.
    std::os::unix::fs::symlink(home.journal(), home.path("link.db")).unwrap();
    let linked = home.run(&["top", "--json", "--journal", "link.db"]).expect(0).json();
    assert_eq!(linked["processes"].as_array().unwrap().len(), 2, "{linked:#}");
}

#[test]
fn the_socket_is_its_users_alone_and_gone_with_the_process() {
    let home = Home::new();
    let running = hanging(&home, "a");
    let socket = socket(&home, &running);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(socket.parent().unwrap())), (0o600, 0o700));
    running.signal(Signal::INT);
    running.output().expect(130);
    assert_eq!(std::fs::read_dir(socket.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn what_a_killed_process_left_is_removed_and_nobody_runs() {
    let home = Home::new();
    assert_eq!(home.run(&["top", "--json"]).expect(0).stdout, "{\"processes\":[]}\n");
    let running = hanging(&home, "a");
    let socket = socket(&home, &running);
    running.kill();
    assert!(socket.exists(), "nobody was there to remove it");
    let journal = home.journal();
    let none = format!("no process with a socket runs on {}\n", journal.display());
    assert_eq!(home.run(&["top"]).expect(0).stdout, none);
    assert!(!socket.exists());
    assert_eq!(home.run(&["top", "--json"]).expect(0).stdout, "{\"processes\":[]}\n");
    let memory = home.run(&["top", "--journal", ":memory:"]).expect(0);
    assert_eq!(memory.stdout, "no process with a socket runs on :memory:\n");
}

#[test]
fn the_next_process_removes_it_too() {
    let home = Home::new();
    let running = hanging(&home, "a");
    let dead = socket(&home, &running);
    running.kill();
    let next = hanging(&home, "b");
    // It sweeps before it answers; `top` is not asked, because that would sweep too.
    assert_eq!(say(&socket(&home, &next), b"{\"v\":1,\"ask\":\"tree\"}\n")["pid"], next.pid());
    assert!(!dead.exists());
    next.kill();
}

/// Says `line` and hears what comes back.
fn say(socket: &PathBuf, line: &[u8]) -> Value {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(line).unwrap();
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[test]
fn a_request_that_is_none_gets_an_error_and_hurts_nothing() {
    let home = Home::new();
    let running = hanging(&home, "a");
    let socket = socket(&home, &running);
    let long = [vec![b'x'; 64 * 1024 + 1], b"\n".to_vec()].concat();
    for line in [
        &b"garbage\n"[..],
        b"{\"v\":1,\"ask\":\"dance\"}\n",
        b"{\"v\":2,\"ask\":\"tree\"}\n",
        b"\xff\0\n",
        &long,
    ] {
        let answer = say(&socket, line);
        assert_eq!(answer["error"]["kind"], "bad_request", "{answer}");
        assert!(answer["error"]["message"].is_string(), "{answer}");
    }
    // Neither do those who say nothing, or go away in the middle.
    let silent: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    UnixStream::connect(&socket).unwrap().write_all(b"{\"v\":1,").unwrap();
    let answer = say(&socket, b"{\"v\":1,\"ask\":\"tree\"}\n");
    assert_eq!((&answer["v"], &answer["pid"]), (&json!(1), &json!(running.pid())));
    assert_eq!(processes(&home).len(), 1);
    drop(silent);
    running.signal(Signal::INT);
    running.output().expect(130);
}

#[test]
fn a_process_that_does_not_answer_is_told_of() {
    let home = Home::new();
    let running = hanging(&home, "a");
    running.signal(Signal::STOP);
    let pid = Pid::from_raw(i32::try_from(running.pid()).unwrap()).unwrap();
    let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped(), "{status:?}");
    let processes = processes(&home);
    assert_eq!(processes.len(), 1, "{processes:#?}");
    assert_eq!((&processes[0]["pid"], &processes[0]["tree"]), (&json!(running.pid()), &Value::Null));
    assert_eq!(processes[0]["error"]["kind"], "timeout");
    running.signal(Signal::CONT);
    running.kill();
}

#[test]
fn a_journal_with_a_long_path_has_a_socket_too() {
    let home = Home::new();
    let folder = home.path(&"long/".repeat(60));
    std::fs::create_dir_all(&folder).unwrap();
    let journal = folder.join("j.db").to_str().unwrap().to_owned();
    let script = home.script("hangs", &[json!({"text": "half of it", "hang": true})]);
    let args = ["send", "a", "go", "--script", &script, "--stream-json", "--journal", &journal];
    let mut running = home.start(&args);
    running.wait_for(r#""type":"content""#);
    let object = home.run(&["top", "--json", "--journal", &journal]).expect(0).json();
    assert_eq!(object["processes"][0]["pid"], running.pid(), "{object:#}");
    running.kill();
}

#[test]
fn what_keeps_nothing_has_no_socket() {
    let home = Home::new();
    let script = home.script("hangs", &[json!({"text": "half of it", "hang": true})]);
    let args = ["run", "go", "--script", &script, "--stream-json"];
    let mut running = home.start(&args);
    running.wait_for(r#""type":"content""#);
    assert_eq!(processes(&home), Vec::<Value>::new());
    assert!(!home.path(".local").exists());
    running.kill();
}

#[test]
fn piped_it_prints_once_without_escape_codes() {
    let home = Home::new();
    let running = hanging(&home, "a");
    let output = home.run(&["top"]).expect(0);
    assert!(!output.stdout.contains('\u{1b}'), "{output:?}");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert!(lines[0].starts_with(&format!("process {}  ergane  ", running.pid())), "{output:?}");
    assert!(lines[1].starts_with("ID "), "{output:?}");
    let line =
        lines.iter().find(|line| line.contains("─ session/a ")).unwrap_or_else(|| panic!("{output:?}"));
    assert!(line.ends_with("  calling_model, turn 1"), "{line}");
    assert_eq!((output.stdout.matches("process ").count(), &*output.stderr), (1, ""));
    running.kill();
}

/// A terminal, and what was written on it.
struct Screen {
    keyboard: File,
    shown: Receiver<Vec<u8>>,
    seen: String,
}

impl Screen {
    /// And the end that a process takes for its terminal.
    fn new(columns: u16) -> (Self, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let path = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = open(path.as_c_str(), flags, Mode::empty()).unwrap();
        tcsetwinsize(&terminal, size).unwrap();
        let keyboard = File::from(master);
        let mut screen = keyboard.try_clone().unwrap();
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // When the last process has left the terminal, this is an error.
            while let Ok(read) = screen.read(&mut buffer) {
                if read == 0 || sender.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        (Self { keyboard, shown, seen: String::new() }, terminal)
    }

    /// Waits until `what` was shown `times` in all.
    #[track_caller]
    fn wait_for(&mut self, what: &str, times: usize) {
        while self.seen.matches(what).count() < times {
            match self.shown.recv_timeout(DEADLINE) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("{what:?} was not shown: {error}; there was {:?}", self.seen),
            }
        }
    }

    /// Everything until the process has ended.
    #[track_caller]
    fn rest(mut self) -> String {
        loop {
            match self.shown.recv_timeout(DEADLINE) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Disconnected) => return self.seen,
                Err(error) => panic!("it does not end: {error}; there was {:?}", self.seen),
            }
        }
    }
}

/// `top` on a terminal of its own. The command is dropped, so that the terminal is the process's alone.
fn on_terminal(home: &Home, columns: u16, no_colour: bool) -> (Screen, std::process::Child) {
    let (screen, terminal) = Screen::new(columns);
    let mut command = home.command(&["top"]);
    if no_colour {
        command.env("NO_COLOR", "1");
    }
    command.stdin(Stdio::from(terminal.try_clone().unwrap())).stdout(Stdio::from(terminal));
    let child = command.stderr(Stdio::null()).spawn().unwrap();
    (screen, child)
}

const PICTURE_ENDS: &str = "\u{1b}[J";

#[test]
fn on_a_terminal_it_is_drawn_anew_until_q_is_pressed() {
    let home = Home::new();
    let running = hanging(&home, "a");
    let (mut screen, mut top) = on_terminal(&home, 200, false);
    screen.wait_for(PICTURE_ENDS, 2);
    assert!(screen.seen.matches("\u{1b}[H").count() >= 2, "{:?}", screen.seen);
    assert_eq!(screen.seen.matches("\u{1b}[2J").count(), 1, "cleared once only: {:?}", screen.seen);
    assert!(screen.seen.contains("\u{1b}[1mprocess "), "{:?}", screen.seen);
    assert!(screen.seen.contains("calling_model, turn 1"), "{:?}", screen.seen);
    // It goes on when the process ends.
    running.signal(Signal::INT);
    running.output().expect(130);
    screen.wait_for("no process with a socket runs on", 1);
    screen.keyboard.write_all(b"xq").unwrap();
    let seen = screen.rest();
    assert!(!seen.contains("xq"), "keys are not echoed: {seen:?}");
    assert!(seen.ends_with("\u{1b}[0m\u{1b}[?7h\u{1b}[?25h\r\n"), "{seen:?}");
    assert_eq!(top.wait().unwrap().code(), Some(0));
}

#[test]
fn a_narrow_terminal_gets_cut_lines_no_color_gets_none_and_an_interrupt_ends_it() {
    let home = Home::new();
    let running = hanging(&home, "a");
    let (mut screen, mut top) = on_terminal(&home, 20, true);
    screen.wait_for(PICTURE_ENDS, 1);
    kill_process(Pid::from_child(&top), Signal::INT).unwrap();
    let seen = screen.rest();
    assert_eq!(top.wait().unwrap().code(), Some(0));
    let picture = seen.split_once("\u{1b}[H").unwrap().1.split_once(PICTURE_ENDS).unwrap().0;
    for line in picture.split("\r\n") {
        let line = line.strip_suffix("\u{1b}[K").unwrap_or_else(|| panic!("{line:?}"));
        assert!(line.chars().count() <= 20, "{line:?}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
    assert!(picture.contains('…'), "{picture:?}");
    running.kill();
}
