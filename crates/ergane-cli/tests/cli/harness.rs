//! Runs the real binary in a home of its own, with nothing of the tester's environment.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on the slowest machine; only a hang meets it.
const DEADLINE: Duration = Duration::from_secs(60);

/// A home folder, with a journal in it once there is one.
pub(crate) struct Home {
    folder: TempDir,
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The one JSON object on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "not one line: {self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Every line of stdout as JSON.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(parse).collect()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the journal is when nobody says otherwise.
    pub(crate) fn journal(&self) -> PathBuf {
        self.path(".local/share/ergane/ergane.db")
    }

    /// Writes a file; its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Writes a script: a reply a line.
    pub(crate) fn script(&self, name: &str, replies: &[Value]) -> String {
        let lines: Vec<String> = replies.iter().map(Value::to_string).collect();
        self.write(name, lines.join("\n"))
    }

    /// The command, in this home, with no Ollama and no keys.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ergane"));
        command
            .args(args)
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

    /// Runs to the end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        finish(self.command(args))
    }

    /// Starts and leaves it running.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::of(self.command(args))
    }
}

/// Runs a command to its end.
pub(crate) fn finish(command: Command) -> Output {
    Running::of(command).output()
}

/// What a process says on a pipe, line by line.
struct Lines {
    coming: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, coming) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { coming, seen: Vec::new() }
    }

    #[track_caller]
    fn wait_for(&mut self, what: &str) {
        loop {
            match self.coming.recv_timeout(DEADLINE) {
                Ok(line) => {
                    let found = line.contains(what);
                    self.seen.push(line);
                    if found {
                        return;
                    }
                }
                Err(error) => panic!("no line with {what}: {error}; there were {:#?}", self.seen),
            }
        }
    }

    /// Takes all that comes until the pipe is closed, which is when the process has ended. False when that does not happen.
    fn end(&mut self) -> bool {
        loop {
            match self.coming.recv_timeout(DEADLINE) {
                Ok(line) => self.seen.push(line),
                Err(error) => return error == RecvTimeoutError::Disconnected,
            }
        }
    }

    fn text(&self) -> String {
        self.seen.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// A process that runs. Its lines can be waited for.
pub(crate) struct Running {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Running {
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Waits until a line of stdout has `what` in it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str) {
        self.stdout.wait_for(what);
    }

    /// Waits until a line of stderr has `what` in it.
    #[track_caller]
    pub(crate) fn wait_for_note(&mut self, what: &str) {
        self.stderr.wait_for(what);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// SIGKILL, and the end of it.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.wait().code(), None, "it had ended before it was killed");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its end. Its lines up to then are kept.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        if !self.stdout.end() {
            self.child.kill().unwrap();
            panic!("it does not end; there was {:#?}", self.stdout.seen);
        }
        self.child.wait().unwrap()
    }

    /// What it left, after its end.
    #[track_caller]
    pub(crate) fn output(mut self) -> Output {
        let code = self.wait().code();
        assert!(self.stderr.end(), "somebody holds its stderr; there was {:#?}", self.stderr.seen);
        Output { code, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that failed must leave no process; one that passed has waited.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// How often `text` is a line of the file.
pub(crate) fn count_lines(path: &Path, text: &str) -> usize {
    std::fs::read_to_string(path).unwrap_or_default().lines().filter(|line| *line == text).count()
}
