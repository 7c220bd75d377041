//! `kill -9`: every append that was acknowledged is there, and the session can be taken over at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use common::{append, name, queued, stored};
use ergane_core::Seq;
use ergane_journal::{Journal, JournalError, Sqlite};

const PATH: &str = "ERGANE_JOURNAL_TEST_CHILD";

/// The process to be killed: appends for ever, and prints the seq of each append once it is acknowledged.
#[test]
#[ignore = "started by the other tests of this file as a process of its own"]
fn child_that_appends_until_it_is_killed() {
    let store =
        Sqlite::options().busy_timeout(common::LONG).open(std::env::var(PATH).expect("started by a test"));
    let store = store.unwrap();
    let mut opened = store.open_session(&name("a")).unwrap();
    let mut out = std::io::stdout();
    loop {
        let next = opened.next_seq;
        let one = append("a", opened.epoch, next, vec![queued(&next.to_string())]);
        opened.next_seq = one.next_seq();
        assert_eq!(store.append(&[one]), [Ok(())]);
        writeln!(out, "\nack {next}").unwrap();
        out.flush().unwrap();
    }
}

struct Appender {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Appender {
    fn start(path: &std::path::Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends_until_it_is_killed", "--ignored", "--nocapture"])
            .env(PATH, path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next acknowledged seq; `None` when the process is gone and all that it said was read.
    fn ack(&mut self) -> Option<u64> {
        loop {
            let line = self.lines.next()?.unwrap();
            if let Some(seq) = line.strip_prefix("ack ") {
                // The very last line may be cut off by the kill; a cut number is a smaller one.
                return Some(seq.parse().unwrap());
            }
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        // When the test failed before it was killed; an error says that it was.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_process_killed_while_it_appends_has_lost_nothing_and_is_followed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let mut last = 0;
    // One after the other on the same file: each takes over from a killed one.
    for round in 1..=5_u64 {
        let mut appender = Appender::start(&path);
        for _ in 0..20 {
            last = appender.ack().expect("it goes on until it is killed");
        }
        if round == 3 {
            other_owners_stay_out(&path, appender.child.id());
        }
        appender.child.kill().unwrap();
        appender.child.wait().unwrap();
        while let Some(acknowledged) = appender.ack() {
            last = last.max(acknowledged);
        }
        let store = Sqlite::open(&path).unwrap();
        let opened = store.open_session(&name("a")).unwrap();
        assert!(opened.next_seq > Seq(last), "{last} was acknowledged, and {opened:?}");
        assert_eq!(opened.epoch.0, 2 * round, "the child's and ours, each round");
        let all: Vec<String> = (1..opened.next_seq.0).map(|seq| seq.to_string()).collect();
        assert_eq!(stored(&store, "a"), all);
    }
}

fn other_owners_stay_out(path: &std::path::Path, pid: u32) {
    // Beside one that writes without a pause, and on a machine that may be slow.
    let store = Sqlite::options().busy_timeout(common::LONG).open(path).unwrap();
    let busy = JournalError::Busy { session: name("a"), pid };
    assert_eq!(store.open_session(&name("a")), Err(busy.clone()));
    assert_eq!(store.delete(&name("a")), Err(busy));
    let summary = store.summary(&name("a")).unwrap().unwrap();
    assert_eq!(summary.owner_pid, Some(pid), "reading is always allowed");
    assert!(!stored(&store, "a").is_empty());
    assert_eq!(
        store.open_session(&name("other")).unwrap().next_seq,
        Seq(1),
        "it owns sessions, not the file"
    );
}
