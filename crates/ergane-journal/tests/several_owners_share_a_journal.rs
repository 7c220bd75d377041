//! Several processes on one file. Two stores opened in one process are two owners, as two processes would be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{append, fill, name, queued, stored};
use ergane_core::Seq;
use ergane_journal::{AppendError, Journal, JournalError, Sqlite};

#[test]
fn a_session_of_a_living_owner_is_busy_until_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let (first, second) = (Sqlite::open(&path).unwrap(), Sqlite::open(&path).unwrap());
    let opened = fill(&first, "a", &["1"]);
    let busy = JournalError::Busy { session: name("a"), pid: std::process::id() };
    assert_eq!(second.open_session(&name("a")), Err(busy.clone()));
    assert_eq!(second.delete(&name("a")), Err(busy.clone()));
    assert_eq!((busy.kind(), busy.is_retryable()), ("busy", true));
    let both = second.open_sessions(&[name("a"), name("b")]);
    assert!(
        matches!(&both[..], [Err(JournalError::Busy { .. }), Ok(_)]),
        "one refusal leaves the other: {both:?}"
    );
    assert_eq!(stored(&second, "a"), ["1"], "reading is always allowed");
    second.release(&name("a")).unwrap();
    assert_eq!(second.open_session(&name("a")), Err(busy), "only its owner can give it up");

    first.release(&name("a")).unwrap();
    let taken = second.open_session(&name("a")).unwrap();
    assert!(taken.epoch > opened.epoch);
    let late = first.append(&[append("a", opened.epoch, Seq(2), vec![queued("2")])]);
    assert_eq!(late, [Err(AppendError::Fenced { epoch: taken.epoch })]);
    assert_eq!(stored(&second, "a"), ["1"]);
}

#[test]
fn a_session_of_an_owner_that_is_gone_is_taken_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let first = Sqlite::open(&path).unwrap();
    let opened = fill(&first, "a", &["1"]);
    drop(first);
    let second = Sqlite::open(&path).unwrap();
    assert_eq!(second.summary(&name("a")).unwrap().unwrap().owner_pid, None, "its owner is dead");
    let taken = second.open_session(&name("a")).unwrap();
    assert_eq!((taken.epoch.0, taken.next_seq), (opened.epoch.0 + 1, Seq(2)));
}

#[test]
fn writers_of_two_owners_take_turns() {
    const APPENDS: u64 = 50;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    std::thread::scope(|threads| {
        for session in ["a", "b"] {
            let path = &path;
            threads.spawn(move || {
                // They also race to make the file.
                let store = Sqlite::options().busy_timeout(common::LONG).open(path).unwrap();
                let opened = store.open_session(&name(session)).unwrap();
                for seq in 1..=APPENDS {
                    let one = append(session, opened.epoch, Seq(seq), vec![queued(&seq.to_string())]);
                    assert_eq!(store.append(&[one]), [Ok(())]);
                }
            });
        }
    });
    let store = Sqlite::open(&path).unwrap();
    for session in ["a", "b"] {
        assert_eq!(stored(&store, session).len() as u64, APPENDS);
    }
}

#[test]
fn a_journal_that_is_being_written_for_too_long_is_locked_and_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let store = Sqlite::options().busy_timeout(std::time::Duration::from_millis(1)).open(&path).unwrap();
    let opened = fill(&store, "a", &["1"]);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.open_session(&name("b")).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), ("journal_locked", true), "{error}");
    let next = append("a", opened.epoch, Seq(2), vec![queued("2")]);
    let outcome = store.append(std::slice::from_ref(&next));
    assert!(matches!(outcome[..], [Err(AppendError::NotWritten { .. })]), "{outcome:?}");
    assert_eq!(stored(&store, "a"), ["1"], "readers do not wait");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.append(&[next]), [Ok(())]);
}

#[test]
fn reading_makes_no_owner_and_dead_owners_are_swept_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let owners = dir.path().canonicalize().unwrap().join("j.db.owners");
    let store = Sqlite::open(&path).unwrap();
    assert_eq!(store.list(None, 9).unwrap(), []);
    assert!(!owners.exists());
    store.open_session(&name("a")).unwrap();
    assert_eq!(std::fs::read_dir(&owners).unwrap().count(), 1);
    // What a killed process leaves: a file that nobody holds.
    std::fs::write(owners.join("4711-0123456789abcdef"), "").unwrap();
    let other = Sqlite::open(&path).unwrap();
    assert_eq!(std::fs::read_dir(&owners).unwrap().count(), 1, "the dead is gone, the living is not");
    drop((store, other));
    assert_eq!(std::fs::read_dir(&owners).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn owners_that_come_by_different_paths_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let first = Sqlite::open(&path).unwrap();
    fill(&first, "a", &["1"]);
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let second = Sqlite::open(&link).unwrap();
    assert_eq!(stored(&second, "a"), ["1"]);
    assert_eq!(second.open_session(&name("a")).unwrap_err().kind(), "busy");
}
