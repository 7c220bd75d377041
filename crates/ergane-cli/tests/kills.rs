//! kill -9 at random instants: the real binary dies hundreds of times, often twice in a row, and nothing is lost or done twice.
//!
//! `ERGANE_KILLS=5000 cargo test -p ergane-cli --test kills` kills more often. What was done is counted by a log outside:
//! each command of a tool appends a line to a file of its own home and syncs it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
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

/// A home folder with a journal in it.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let call = |name: &str| json!({"name": "bash", "arguments": {"command": format!("echo {name} >> \"$PWD/effects\" && sync effects && echo {name} is done")}});
        let replies = [
            json!({"tool_calls": [call("one"), call("two")]}),
            json!({"tool_calls": [call("three")]}),
            json!({"text": "all is done"}),
        ];
        let lines: Vec<String> = replies.iter().map(Value::to_string).collect();
        std::fs::write(folder.path().join("script"), lines.join("\n")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The conversation, asked for under one key: the first time it is held, later it is gone on with or told again.
    fn send(&self) -> Command {
        let script = self.path("script");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ergane"));
        command
            .args(["send", "a", "go", "--key", "k", "--allow", "bash", "--json", "--script"])
            .arg(script)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("OLLAMA_HOST", "127.0.0.1:1") // a port that nobody listens on
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it and kills it after `time`. Whether it was still alive.
    fn kill_after(&self, time: Duration) -> bool {
        let mut child = self.send().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The instant is drawn, so there is nothing to wait for but the time.
        std::thread::sleep(time);
        kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
        let status: ExitStatus = child.wait().unwrap();
        status.code().is_none()
    }

    /// Lets it come to its end.
    fn finish(&self, what: &str) -> Value {
        let mut child = self.send().spawn().unwrap();
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > DEADLINE {
                child.kill().unwrap();
                panic!("{what}: it does not end: {:?}", child.wait_with_output());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{what}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{what}: {error}: {output:?}"))
    }
}

fn effects(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn check(home: &Home, result: &Value, what: &str) {
    assert_eq!(
        (&result["finish_reason"], &result["text"]),
        (&json!("stop"), &json!("all is done")),
        "{what}: {result}"
    );
    assert_eq!(result["tool_calls_made"], 3, "{what}: {result}");
    let done = effects(&home.path("effects"));
    for command in COMMANDS {
        let times = done.iter().filter(|line| *line == command).count();
        assert!(times <= 1, "{what}: {command} was done {times} times: {done:?}");
    }
    let again = home.finish(what);
    assert_eq!(again["text"], "all is done", "{what}");
    assert_eq!(again["turn"], result["turn"], "{what}: the same key is the same turn");
    assert_eq!(effects(&home.path("effects")), done, "{what}: asking again does nothing");
    // What the model was told of each call is what happened: done, or that nobody knows.
    let shown = Command::new(env!("CARGO_BIN_EXE_ergane"))
        .args(["sessions", "show", "a"])
        .env_clear()
        .env("HOME", home.folder.path())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("all is done"), "{what}: {shown}");
    for command in COMMANDS {
        let said =
            shown.contains(&format!("{command} is done\n")) || shown.contains(&format!("{command} is done"));
        let was = done.iter().any(|line| line == command);
        assert!(was || shown.contains("cut off") || !said, "{what}: {command} was not done: {shown}");
    }
}

/// SplitMix64, so that nothing has to be asked for a random number.
fn random(state: &AtomicU64) -> u64 {
    let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn a_process_killed_at_any_instant_loses_nothing_and_does_nothing_twice() {
    let wanted: u64 = std::env::var("ERGANE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let began = Instant::now();
    let calm = Home::new();
    let result = calm.finish("without a kill");
    let whole = began.elapsed();
    assert_eq!(effects(&calm.path("effects")), COMMANDS);
    check(&calm, &result, "without a kill");

    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (state, killed, homes) = (AtomicU64::new(seed), AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while killed.load(Ordering::Relaxed) < wanted {
            let number = homes.fetch_add(1, Ordering::Relaxed);
            assert!(
                number < wanted * 20,
                "of {number} only {} were killed in time",
                killed.load(Ordering::Relaxed)
            );
            let home = Home::new();
            // Once, twice or three times in a row, at instants over the whole of its life.
            let mut instants = Vec::new();
            for _ in 0..=random(&state) % 3 {
                let instant = whole.mul_f64((random(&state) % 1000) as f64 / 1000.0);
                instants.push(instant);
                killed.fetch_add(u64::from(home.kill_after(instant)), Ordering::Relaxed);
            }
            let what = format!("killed after {instants:?} of {whole:?}, home {number}");
            check(&home, &home.finish(&what), &what);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    println!("{} kills in {} homes, {:?}", killed.into_inner(), homes.into_inner(), began.elapsed());
}
