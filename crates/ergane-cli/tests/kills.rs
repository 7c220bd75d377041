//! kill -9 at random instants: the real binary dies hundreds of times, often twice in a row, and nothing is lost or done twice.
//!
//! `ERGANE_KILLS=5000 cargo test -p ergane-cli --test kills` kills more often, `ERGANE_SEED=N` draws what was drawn before
//! (when a process is hit by it is up to the machine). What was done is counted by a log outside: each command of a tool
//! appends a line to a file of its own home and syncs it. What was acknowledged is what a process had printed when it died.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// So many kills when nobody says otherwise.
const KILLS: u64 = 200;

/// Nothing takes so long.
const DEADLINE: Duration = Duration::from_secs(120);

/// The commands of the conversation, each of which is a write of its own.
const COMMANDS: [&str; 3] = ["one", "two", "three"];

/// What happens beside the kills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// The tools may run.
    Allowed,
    /// Each write waits until somebody allows it, in a process of its own.
    Decided,
    /// The tools may run, and then the history is forked.
    Forked,
    /// Somebody interrupts the turn.
    Interrupted,
}

impl Course {
    const ALL: [Self; 4] = [Self::Allowed, Self::Decided, Self::Forked, Self::Interrupted];
}

/// What befalls a process.
#[derive(Debug, Clone, Copy)]
struct Blow {
    /// When it is asked to interrupt its turn.
    interrupt: Option<Duration>,
    /// When it is killed.
    kill: Option<Duration>,
}

impl Blow {
    const NONE: Self = Self { interrupt: None, kill: None };
}

/// Where blows come from.
trait Blows: FnMut(&'static str) -> Blow {}
impl<F: FnMut(&'static str) -> Blow> Blows for F {}

/// A home folder with a journal in it.
struct Home {
    folder: tempfile::TempDir,
    course: Course,
    /// What processes had told of a fact, when they died or ended.
    shown: Mutex<Vec<Value>>,
    /// How long the calls of each kind took that nothing befell.
    times: Mutex<BTreeMap<&'static str, Duration>>,
    killed: AtomicU64,
}

impl Home {
    fn new(course: Course) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let call = |name: &str| json!({"name": "bash", "arguments": {"command": format!("echo {name} >> \"$PWD/effects\" && sync effects && echo {name} is done")}});
        let read = json!({"name": "read", "arguments": {"path": "known"}});
        let replies = [
            json!({"tool_calls": [call("one"), call("two")]}),
            json!({"tool_calls": [read, call("three")]}),
            json!({"text": "all is done"}),
            json!({"text": "and once more"}),
        ];
        let lines: Vec<String> = replies.iter().map(Value::to_string).collect();
        std::fs::write(folder.path().join("script"), lines.join("\n")).unwrap();
        std::fs::write(folder.path().join("known"), "well known\n").unwrap();
        let (shown, times, killed) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        Self { folder, course, shown, times, killed }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a line. Its exit status, unless it was killed, and what it printed.
    fn run(&self, line: &[&str], blow: Blow) -> (Option<i32>, String) {
        let (out, err) = (self.path("stdout"), self.path("stderr"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_ergane"))
            .args(line)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("OLLAMA_HOST", "127.0.0.1:1") // a port that nobody listens on
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        let (began, pid) = (Instant::now(), Pid::from_raw(child.id().try_into().unwrap()).unwrap());
        // The instants are drawn, so there is nothing to wait for but the time.
        let at = |instant: Duration, signal| {
            std::thread::sleep(instant.saturating_sub(began.elapsed()));
            kill_process(pid, signal).unwrap();
        };
        if let Some(instant) = blow.interrupt {
            at(instant, Signal::INT);
        }
        if let Some(instant) = blow.kill {
            at(instant, Signal::KILL);
        }
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > DEADLINE {
                child.kill().unwrap();
                panic!("{line:?} does not end: {}", std::fs::read_to_string(err).unwrap());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let code = child.wait().unwrap().code();
        self.killed.fetch_add(u64::from(code.is_none()), Ordering::Relaxed);
        let printed = std::fs::read_to_string(out).unwrap();
        // Of a line that was cut off nothing was told.
        let whole = printed.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let told = whole.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        self.shown.lock().unwrap().extend(told.filter(|told| told["type"].is_string()));
        assert!(
            matches!(code, None | Some(0 | 1 | 5 | 130)),
            "{line:?} ended with {code:?}: {}",
            std::fs::read_to_string(err).unwrap()
        );
        (code, printed)
    }

    /// Runs a line again and again, until it comes to its end.
    fn insist(&self, kind: &'static str, line: &[&str], blows: &mut impl Blows) -> (i32, String) {
        loop {
            let (blow, began) = (blows(kind), Instant::now());
            if let (Some(code), printed) = self.run(line, blow) {
                if blow.kill.is_none() && blow.interrupt.is_none() {
                    self.times.lock().unwrap().insert(kind, began.elapsed());
                }
                return (code, printed);
            }
        }
    }

    fn ask(&self, line: &[&str]) -> Value {
        let (code, printed) = self.run(line, Blow::NONE);
        assert_eq!(code, Some(0), "{line:?}: {printed}");
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{line:?}: {error}: {printed}"))
    }

    /// The conversation, asked for under one key: the first time it is held, later it is gone on with or told again.
    fn hold(&self, blows: &mut impl Blows) -> Value {
        let mut line = vec!["send", "a", "go", "--key", "k", "--stream-json", "--script", "script"];
        if self.course != Course::Decided {
            line.extend(["--allow", "bash"]);
        }
        loop {
            let (code, printed) = self.insist("send", &line, blows);
            match code {
                5 => self.decide(blows),
                // Status 130 of who was interrupted before he had a turn: there is none to tell of.
                _ if printed.contains("\"turn\":null") => {}
                _ => return serde_json::from_str(printed.lines().last().unwrap()).unwrap(),
            }
        }
    }

    fn decide(&self, blows: &mut impl Blows) {
        let waiting = self.ask(&["approve", "a", "--json"]);
        for pending in waiting["approvals"].as_array().unwrap() {
            let (call, question) = (pending["call"].as_str().unwrap(), pending["question"].to_string());
            let line = ["approve", "a", call, "--question", &question, "--allow", "--json"];
            assert_eq!(self.insist("approve", &line, blows).0, 0, "{pending}");
        }
    }

    /// A fork is whole or not there, however often it was begun.
    fn fork(&self, blows: &mut impl Blows, what: &str) {
        let line = ["sessions", "fork", "a", "b", "--json"];
        // Who was killed may have been done, and is told so by the next one.
        let (code, printed) = self.insist("fork", &line, blows);
        assert!(code == 0 || printed.contains("there is a session b already"), "{what}: {printed}");
        let messages = |name| self.ask(&["sessions", "show", name, "--json"])["messages"].clone();
        assert_eq!(messages("b"), messages("a"), "{what}");
        let line = ["send", "b", "more", "--key", "k", "--json", "--script", "script"];
        let (code, printed) = self.insist("send", &line, blows);
        assert!(code == 0 && printed.contains("and once more"), "{what}: {printed}");
    }

    fn effects(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.path("effects")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn check(&self, result: &Value, what: &str) {
        let interrupted = result["finish_reason"] == "interrupted";
        assert!(!interrupted || self.course == Course::Interrupted, "{what}: {result}");
        if !interrupted {
            assert_eq!(
                (&result["finish_reason"], &result["text"], &result["tool_calls_made"]),
                (&json!("stop"), &json!("all is done"), &json!(4)),
                "{what}: {result}"
            );
        }
        let done = self.effects();
        for command in COMMANDS {
            let times = done.iter().filter(|line| *line == command).count();
            assert!(times <= 1, "{what}: {command} was done {times} times: {done:?}");
        }
        let again = self.hold(&mut |_| Blow::NONE);
        for field in ["turn", "text", "finish_reason", "tool_calls_made"] {
            assert_eq!(again[field], result[field], "{what}: the same key is the same turn");
        }
        assert_eq!(self.effects(), done, "{what}: asking again does nothing");
        let log = self.ask(&["sessions", "events", "a", "--json"]);
        let log = log["events"].as_array().unwrap();
        self.what_was_said_of_a_call_is_what_happened(log, &done, what);
        self.what_was_told_is_kept(log, what);
    }

    /// A result that says that something was done is of something that was, and none of what was not run has an effect.
    fn what_was_said_of_a_call_is_what_happened(&self, log: &[Value], done: &[String], what: &str) {
        let calls = log.iter().filter(|event| event["type"] == "model_replied");
        let calls = calls.flat_map(|event| event["message"]["parts"].as_array().unwrap());
        for call in calls.filter(|part| part["type"] == "tool_call" && part["name"] == "bash") {
            let arguments = call["arguments"].as_str().unwrap();
            let command =
                COMMANDS.iter().find(|name| arguments.contains(&format!("echo {name} >>"))).unwrap();
            let results: Vec<String> = log
                .iter()
                .filter(|event| event["type"] == "tool_finished" && event["result"]["call"] == call["id"])
                .map(|event| event["result"].to_string())
                .collect();
            let [result] = results.as_slice() else { panic!("{what}: {command} has {results:?}") };
            let was = done.iter().any(|line| line == command);
            let said = result.contains(&format!("{command} is done"));
            let started = |event: &&Value| event["type"] == "tool_started" && event["call"] == call["id"];
            assert!(was || !said, "{what}: {command} was not done: {result}");
            assert!(
                !was || log.iter().any(|event| started(&event)),
                "{what}: {command} never began: {result}"
            );
            let cut = ["cut off", "interrupted"].iter().any(|word| result.contains(word));
            assert!(said || cut, "{what}: nothing is told of {command}: {result}");
        }
    }

    /// Whatever a process had told of a fact is in the log, as it was told.
    fn what_was_told_is_kept(&self, log: &[Value], what: &str) {
        for told in self.shown.lock().unwrap().iter().filter(|told| told["seq"].is_u64()) {
            let fact = log.iter().find(|event| event["seq"] == told["seq"]);
            let fact = fact.unwrap_or_else(|| panic!("{what}: {told} was told, and is no fact"));
            let kind = match told["type"].as_str().unwrap() {
                "reply" | "tool_call" | "usage" => "model_replied",
                "tool_result" | "tool_ui" => "tool_finished",
                "interrupting" => "interrupt_requested",
                "done" => "turn_ended",
                same => same,
            };
            assert_eq!(fact["type"], kind, "{what}: {told}");
            if told["type"] == "tool_result" {
                assert_eq!(fact["result"]["content"][0]["text"], told["text"], "{what}");
            }
        }
        let shown = self.shown.lock().unwrap();
        let ends: Vec<_> = shown
            .iter()
            .filter(|told| {
                told["type"] == "result" && told["turn"].is_u64() && told["finish_reason"].is_string()
            })
            .collect();
        for end in &ends {
            assert_eq!(
                (&end["text"], &end["turn"]),
                (&ends[0]["text"], &ends[0]["turn"]),
                "{what}: {ends:#?}"
            );
        }
    }
}

/// SplitMix64, so that nothing has to be asked for a random number.
fn random(state: &AtomicU64) -> u64 {
    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How long each kind of line takes that nothing befalls.
fn calm() -> BTreeMap<&'static str, Duration> {
    let mut times = BTreeMap::new();
    for course in Course::ALL {
        let home = Home::new(course);
        let result = home.hold(&mut |_| Blow::NONE);
        assert_eq!(home.effects(), COMMANDS, "{course:?}");
        if course == Course::Forked {
            home.fork(&mut |_| Blow::NONE, "without a kill");
        }
        times.extend(home.times.lock().unwrap().clone());
        home.check(&result, "without a kill");
    }
    times
}

#[test]
fn a_process_killed_at_any_instant_loses_nothing_and_does_nothing_twice() {
    let number = |variable: &str| std::env::var(variable).ok().map(|text| text.parse::<u64>().unwrap());
    let wanted = number("ERGANE_KILLS").unwrap_or(KILLS);
    let began = Instant::now();
    let times = calm();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("ERGANE_SEED").unwrap_or(now.as_nanos() as u64);
    println!("ERGANE_SEED={seed}; without a kill it takes {times:?}");
    let (killed, homes) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while killed.load(Ordering::Relaxed) < wanted {
            let number = homes.fetch_add(1, Ordering::Relaxed);
            assert!(
                number < wanted * 20,
                "of {number} only {} were killed in time",
                killed.load(Ordering::Relaxed)
            );
            let state = AtomicU64::new(seed.wrapping_add(number << 32));
            let course = Course::ALL[(random(&state) % 4) as usize];
            let home = Home::new(course);
            // Up to three times in a row, at instants over the whole of a process's life.
            let mut left = 1 + random(&state) % 3;
            let mut befell = Vec::new();
            let mut blows = |kind: &'static str| {
                let instant = || times[kind].mul_f64((random(&state) % 1000) as f64 / 1000.0);
                if left == 0 || (kind != "send" && random(&state).is_multiple_of(2)) {
                    return Blow::NONE;
                }
                left -= 1;
                let interrupt = (course == Course::Interrupted && kind == "send").then(instant);
                let kill = interrupt.map_or_else(instant, |at| at + instant().div_f64(4.0));
                befell.push((kind, interrupt, kill));
                Blow { interrupt, kill: Some(kill) }
            };
            let result = home.hold(&mut blows);
            if course == Course::Forked {
                home.fork(&mut blows, &format!("home {number} of seed {seed}"));
            }
            let what = format!("{course:?}, home {number} of seed {seed}, {befell:?} of {times:?}");
            home.check(&result, &what);
            killed.fetch_add(home.killed.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    println!("{} kills in {} homes, {:?}", killed.into_inner(), homes.into_inner(), began.elapsed());
}
