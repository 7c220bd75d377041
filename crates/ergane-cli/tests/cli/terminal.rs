//! Runs the real binary on a terminal of its own, which is its controlling one, and looks at what that shows.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use vt100::Parser;

use crate::harness::Home;

/// Longer than anything takes on the slowest machine; only a hang meets it.
const DEADLINE: Duration = Duration::from_secs(60);
/// Tall, so that nothing that was said leaves the screen.
const ROWS: u16 = 120;

pub(crate) const CTRL_C: &str = "\u{3}";
pub(crate) const CTRL_D: &str = "\u{4}";

/// A process on its terminal.
pub(crate) struct Terminal {
    keyboard: File,
    shown: Receiver<Vec<u8>>,
    parser: Parser,
    raw: String,
    child: Child,
}

fn columns(columns: u16) -> NonZeroU16 {
    NonZeroU16::new(columns).unwrap()
}

impl Terminal {
    /// Starts `ergane ARGS` on a terminal of that width.
    pub(crate) fn start(home: &Home, args: &[&str], width: u16) -> Self {
        Self::of(home.command(args), width, &[])
    }

    pub(crate) fn without_colour(home: &Home, args: &[&str], width: u16) -> Self {
        Self::of(home.command(args), width, &[("NO_COLOR", "1")])
    }

    fn of(command: Command, width: u16, more: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal: OwnedFd = open(path.as_c_str(), flags, Mode::empty()).unwrap();
        tcsetwinsize(&terminal, size(width)).unwrap();
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
        // A session of its own, whose controlling terminal this is: so Ctrl-C is what it is for people. It becomes the
        // command, and keeps its process id.
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
        leader.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        leader.env("TERM", "xterm-256color").envs(more.iter().copied());
        leader.current_dir(command.get_current_dir().unwrap());
        leader.stdin(Stdio::from(terminal.try_clone().unwrap()));
        leader.stdout(Stdio::from(terminal.try_clone().unwrap())).stderr(Stdio::from(terminal));
        let child = leader.spawn().unwrap();
        let parser = Parser::new(columns(ROWS), columns(width), 0);
        Self { keyboard, shown, parser, raw: String::new(), child }
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Another width, as when somebody drags the window.
    pub(crate) fn resize(&mut self, width: u16) {
        self.parser.screen_mut().set_size(columns(ROWS), columns(width));
        tcsetwinsize(&self.keyboard, size(width)).unwrap();
    }

    /// What the screen shows.
    pub(crate) fn screen(&self) -> String {
        self.parser.screen().contents()
    }

    /// Everything that was ever written to it.
    pub(crate) fn raw(&self) -> &str {
        &self.raw
    }

    /// The row that begins with `what`, and whether it is broken by the terminal and not by us.
    pub(crate) fn is_broken(&self, what: &str) -> bool {
        let screen = self.parser.screen();
        let row = screen.rows(0, screen.size().1.get()).position(|row| row.starts_with(what)).unwrap();
        screen.row_wrapped(u16::try_from(row).unwrap())
    }

    /// Waits until the screen shows `what` so many times.
    #[track_caller]
    pub(crate) fn wait_for_times(&mut self, what: &str, times: usize) {
        while self.screen().matches(what).count() < times {
            match self.shown.recv_timeout(DEADLINE) {
                Ok(bytes) => self.take(&bytes),
                Err(error) => panic!("{what:?} is not shown: {error}; there is:\n{}", self.screen()),
            }
        }
    }

    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str) {
        self.wait_for_times(what, 1);
    }

    fn take(&mut self, bytes: &[u8]) {
        self.parser.process(bytes);
        self.raw.push_str(&String::from_utf8_lossy(bytes));
    }

    /// Its end: how it ended, and what the screen showed then.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        loop {
            match self.shown.recv_timeout(DEADLINE) {
                Ok(bytes) => self.take(&bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(error) => panic!("it does not end: {error}; there is:\n{}", self.screen()),
            }
        }
        (self.child.wait().unwrap().code(), self.screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed must leave no process; one that passed has waited.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn size(width: u16) -> Winsize {
    Winsize { ws_row: ROWS, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 }
}
