//! A disk that is really full: a small file system of memory, in a namespace of its own, which needs no privileges where
//! the system lets its users have them. Where it does not, these tests say so and look at nothing.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Home, Output, Running, count_lines, finish};

/// Longer than anything takes on the slowest machine; only a hang meets it.
const DEADLINE: Duration = Duration::from_secs(60);

/// The journal's place on it.
const JOURNAL: &str = "disk/ergane.db";

/// A disk of 1 MiB at `disk` in a home, for processes that enter its namespace.
struct Disk<'a> {
    home: &'a Home,
    /// Keeps it for as long as its stdin is open.
    holder: Child,
}

impl<'a> Disk<'a> {
    /// `None`, and why on stderr, where a user can have no such disk.
    fn new(home: &'a Home) -> Option<Self> {
        let skip = |why: &str| eprintln!("skipped: this machine gives its users no disk of their own: {why}");
        std::fs::create_dir(home.path("disk")).unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["-Urm", "sh", "-c", "mount -t tmpfs -o size=1m none disk && echo mounted && exec cat"]);
        unshare
            .current_dir(home.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut holder = match unshare.spawn() {
            Ok(holder) => holder,
            Err(error) => {
                skip(&format!("unshare: {error}"));
                return None;
            }
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "mounted\n" {
            let output = holder.wait_with_output().unwrap();
            skip(String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        let disk = Self { home, holder };
        let entered = finish(disk.inside(&{
            let mut command = Command::new("true");
            command.current_dir(home.path(""));
            command
        }));
        if entered.code != Some(0) {
            skip(&entered.stderr);
            return None;
        }
        Some(disk)
    }

    /// The same command, but there.
    fn inside(&self, command: &Command) -> Command {
        let mut there = Command::new("nsenter");
        there.args(["-U", "-m", "-w", "--preserve-credentials", "-t", &self.holder.id().to_string(), "--"]);
        there.arg(command.get_program()).args(command.get_args()).env_clear();
        there.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        there.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        there
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.inside(&self.home.command(&[args, &["--journal", JOURNAL]].concat()));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        finish(self.command(args))
    }

    fn shell(&self, line: &str) -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]);
        let mut shell = self.inside(&shell);
        finish({
            shell.env("PATH", std::env::var_os("PATH").unwrap_or_default());
            shell
        })
    }

    /// Leaves no room for anything.
    fn fill(&self) {
        let full = self.shell("cat /dev/zero > disk/fill");
        assert!(full.stderr.contains("No space left"), "{full:?}");
    }

    fn make_room(&self) {
        self.shell("rm disk/fill").expect(0);
    }

    /// Waits until the session in the running process waits for the disk.
    #[track_caller]
    fn until_parked(&self, session: &str) {
        let begin = Instant::now();
        loop {
            let seen = self.run(&["top", "--json"]).expect(0).json();
            let id = format!("session/{session}");
            let parked = nodes(&seen["processes"][0]["tree"]).into_iter().find(|node| node["id"] == id);
            if parked.is_some_and(|node| node["activity"]["state"] == "parked") {
                return;
            }
            assert!(begin.elapsed() < DEADLINE, "{seen:#}");
            std::thread::sleep(Duration::from_millis(20)); // nobody announces it outside of the process
        }
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        drop(self.holder.wait());
    }
}

/// A node, and all below it.
fn nodes(node: &Value) -> Vec<&Value> {
    let below = node["children"].as_array().into_iter().flatten().flat_map(nodes);
    std::iter::once(node).chain(below).collect()
}

#[test]
fn on_a_full_disk_a_send_waits_and_says_so_and_goes_on_when_there_is_room() {
    let home = Home::new();
    let Some(disk) = Disk::new(&home) else { return };
    let script = home.script("s", &["one", "two", "three"].map(|text| json!({"text": text})));
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut chat = disk.command(&["chat", "a", "--json", "--script", &script]);
    chat.stdin(Stdio::from(reader));
    let mut owner = Running::of(chat);
    writer.write_all(b"first\n").unwrap();
    owner.wait_for(r#""text":"one""#);
    disk.fill();
    // A session of its own waits, for as long as it may; one of another process has its words told.
    let output = disk.run(&["send", "b", "go", "--script", &script, "--timeout", "5s", "--json"]).expect(4);
    assert_eq!(output.json()["error"]["kind"], "journal");
    assert!(
        output.stderr.contains("ergane: waiting: ") && output.stderr.contains("the disk is full"),
        "{output:?}"
    );
    let second = ["send", "a", "second", "--key", "k"];
    let output = disk.run(&[&second[..], &["--timeout", "5s"]].concat()).expect(4);
    assert!(
        output.stderr.contains("ergane: waiting: ") && output.stderr.contains("the disk is full"),
        "{output:?}"
    );
    disk.until_parked("a");
    // One more: nothing is begun there now, and it waits for that as it would for its own.
    let third = ["send", "a", "third", "--key", "l"];
    let output = disk.run(&[&third[..], &["--timeout", "5s", "--stream-json"]].concat()).expect(4);
    let lines = output.lines();
    let parked: Vec<&Value> = lines.iter().filter(|line| line["type"] == "parked").collect();
    assert!(
        matches!(parked.as_slice(), [line] if line["reason"].as_str().unwrap().contains("the disk is full")),
        "as in a turn of its own, and once: {lines:#?}"
    );
    assert_eq!(lines.last().unwrap()["error"]["kind"], "journal");
    assert!(output.stderr.contains("ergane: waiting: "), "{output:?}");
    assert!(disk.run(&["sessions", "show", "a"]).expect(0).stdout.contains("one"), "reading works");
    disk.make_room();
    assert_eq!(
        disk.run(&second).expect(0).stdout,
        "two\n",
        "the same turn, which went on when there was room"
    );
    assert_eq!(disk.run(&third).expect(0).stdout, "three\n");
    drop(writer);
    owner.output().expect(0);
    assert_eq!(disk.run(&["sessions", "--json"]).expect(0).json()["sessions"][0]["turns"], 3);
}

#[test]
fn a_turn_whose_tool_filled_the_disk_is_finished_by_the_next_process_and_the_tool_does_not_run_twice() {
    let home = Home::new();
    let Some(disk) = Disk::new(&home) else { return };
    let fill = "echo ran >> effects; cat /dev/zero > disk/fill";
    let call = json!({"name": "bash", "arguments": {"command": fill}});
    let script = home.script("s", &[json!({"tool_calls": [call]}), json!({"text": "done"})]);
    let running = Running::of(disk.command(&["send", "a", "go", "--script", &script, "--allow", "bash"]));
    disk.until_parked("a");
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1, "it did run, and its result is no fact yet");
    running.kill();
    // Nothing can be said before there is room, and nothing is lost for it.
    disk.run(&["resume", "a", "--script", &script, "--timeout", "5s"]).expect(4);
    disk.make_room();
    let output = disk.run(&["resume", "a", "--script", &script, "--json"]).expect(0);
    assert_eq!((&output.json()["text"], &output.json()["recovered"]), (&json!("done"), &json!(true)));
    assert_eq!(count_lines(&home.path("effects"), "ran"), 1);
    let log = disk.run(&["sessions", "export", "a"]).expect(0).stdout;
    assert!(log.contains("cut off by a crash"), "{log}");
}
