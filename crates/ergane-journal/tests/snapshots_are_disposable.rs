//! A snapshot is a help and no more: what is read is the same with it, without it, and beside one that is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::{append, name, queued};
use ergane_core::{Digest, Envelope, Epoch, Event, Part, Seq};
use ergane_journal::{Journal, JournalError, Opened, Sqlite};
use rusqlite::Connection;

/// So many events have two full rows of snapshots, and some have none.
const EVENTS: usize = 1_300;

/// A journal with sessions a and b, and where it is.
struct Place {
    path: PathBuf,
    store: Sqlite,
    _dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j.db");
        let store = Sqlite::open(&path).unwrap();
        let place = Self { path, store, _dir: dir };
        place.fill("a", EVENTS);
        place.fill("b", 1);
        place
    }

    fn fill(&self, session: &str, events: usize) {
        let Opened { epoch, next_seq } = self.store.open_session(&name(session)).unwrap();
        let first = usize::try_from(next_seq.0).unwrap();
        let sends = (first..=events).map(|n| queued(&format!("{session}{n}")));
        assert_eq!(self.store.append(&[append(session, epoch, next_seq, sends.collect())]), [Ok(())]);
    }

    /// Does something that only somebody with the file in his hands can do.
    fn sql(&self, sql: &str) {
        Connection::open(&self.path).unwrap().execute_batch(sql).unwrap();
    }

    fn count(&self, sql: &str) -> i64 {
        Connection::open(&self.path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn load(&self) -> Result<Vec<Arc<Envelope>>, JournalError> {
        self.store.load(&name("a"), Seq(0), Seq(u64::MAX))
    }

    fn snapshot(&self) -> Seq {
        self.store.snapshot(&name("a")).unwrap()
    }

    /// Whether the events are read from a snapshot: then damage of the log below it is not met.
    /// One that has a snapshot, and the log that it is of.
    fn with_snapshot() -> (Self, Vec<Arc<Envelope>>) {
        let place = Self::new();
        let log = place.load().unwrap();
        assert_eq!(place.snapshot(), Seq(1_024));
        (place, log)
    }

    fn is_used(&self) -> bool {
        let row = "sid = (SELECT sid FROM session WHERE name = 'a') AND seq = 700";
        self.sql(&format!("UPDATE event SET crc = crc + 1 WHERE {row}"));
        let used = match self.load() {
            Ok(_) => true,
            Err(JournalError::Corrupt { seq: Seq(700), .. }) => false,
            Err(other) => panic!("{other:?}"),
        };
        self.sql(&format!("UPDATE event SET crc = crc - 1 WHERE {row}"));
        used
    }
}

const OF_A: &str = "sid = (SELECT sid FROM session WHERE name = 'a')";

#[test]
fn a_long_log_is_read_from_its_snapshot_and_the_rest_from_its_rows() {
    let place = Place::new();
    let log = place.load().unwrap();
    assert!(!place.is_used());
    assert_eq!(place.snapshot(), Seq(1_024));
    assert_eq!(place.count("SELECT count(*) FROM snapshot"), 2, "only of that session, 512 events each");
    assert_eq!(place.load().unwrap(), log);
    assert!(place.is_used());

    let last = "seq = 1299";
    place.sql(&format!("UPDATE event SET crc = crc + 1 WHERE {OF_A} AND {last}"));
    assert!(matches!(place.load(), Err(JournalError::Corrupt { seq: Seq(1_299), .. })));
}

#[test]
fn a_snapshot_that_is_wrong_in_any_way_is_dropped_and_made_anew() {
    for damage in [
        "UPDATE snapshot SET body = CAST(replace(body, 'a600', 'a6OO') AS BLOB) WHERE first = 513",
        "UPDATE snapshot SET body = substr(body, 1, 100) WHERE first = 513",
        "UPDATE snapshot SET body = 'a text' WHERE first = 513",
        "UPDATE snapshot SET body = zeroblob(100000) WHERE first = 513",
        "UPDATE snapshot SET crc = crc + 1 WHERE first = 513",
        "UPDATE snapshot SET crc = 'x' WHERE first = 513",
        // Of an older version of this program, and of a newer one.
        "UPDATE snapshot SET ver = ver - 1",
        "UPDATE snapshot SET ver = ver + 1 WHERE first = 513",
        // One that says something else of events that the log has: every one of its rows is sound in itself.
        "UPDATE snapshot SET anchor = anchor + 1 WHERE first = 513",
        "UPDATE snapshot SET body = (SELECT body FROM snapshot WHERE first = 1) WHERE first = 513",
        "UPDATE snapshot SET sid = (SELECT sid FROM session WHERE name = 'b');
         UPDATE snapshot SET sid = (SELECT sid FROM session WHERE name = 'a') WHERE first = 513",
        "UPDATE snapshot SET first = 514 WHERE first = 513",
        "UPDATE snapshot SET upto = 1023 WHERE first = 513",
        // A part of it is missing.
        "DELETE FROM snapshot WHERE first = 1",
    ] {
        let (place, log) = Place::with_snapshot();
        place.sql(damage);
        assert_eq!(place.load().unwrap(), log, "{damage}");
        assert!(!place.is_used(), "{damage}");
        assert_eq!(place.snapshot(), Seq(1_024), "{damage}");
        assert_eq!(place.load().unwrap(), log, "{damage}");
        assert!(place.is_used(), "{damage}: it was made anew");
    }
}

#[test]
fn a_snapshot_that_is_wrong_is_still_known_as_that_when_it_could_not_be_made_anew() {
    let (place, log) = Place::with_snapshot();
    place.sql("UPDATE snapshot SET crc = crc + 1 WHERE first = 513");
    assert_eq!(place.load().unwrap(), log);
    let other = Connection::open(&place.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = place.store.snapshot(&name("a"));
    assert!(matches!(refused, Err(JournalError::Locked { .. })), "{refused:?}");
    other.execute_batch("ROLLBACK").unwrap();
    // Nobody has read it since, and so nobody has found it wrong once more.
    assert_eq!(place.snapshot(), Seq(1_024));
    assert_eq!(place.load().unwrap(), log);
    assert!(place.is_used());
}

#[test]
fn a_snapshot_that_is_missing_is_nothing_and_may_be_made_again() {
    let (place, log) = Place::with_snapshot();
    place.sql("DELETE FROM snapshot");
    assert_eq!(place.load().unwrap(), log);
    assert!(!place.is_used());
    assert_eq!(place.snapshot(), Seq(1_024));
    assert!(place.is_used());
}

#[test]
fn a_snapshot_of_another_history_is_not_believed() {
    let place = Place::new();
    place.fill("b", EVENTS);
    assert_eq!(place.snapshot(), Seq(1_024));
    // The log of b takes the place of the log of a, in every row as sound as before.
    place.sql(
        "UPDATE event SET sid = -1 WHERE sid = (SELECT sid FROM session WHERE name = 'a');
         UPDATE event SET sid = (SELECT sid FROM session WHERE name = 'a') WHERE sid = (SELECT sid FROM session WHERE name = 'b')",
    );
    let read = place.load().unwrap();
    let is_of_b =
        |event: &Arc<Envelope>| matches!(&event.event, Event::Queued { send, .. } if send.0.starts_with('b'));
    assert_eq!(read.len(), EVENTS);
    assert!(read.iter().all(is_of_b));
}

#[test]
fn a_deleted_session_takes_its_snapshots_along() {
    let place = Place::new();
    assert_eq!(place.snapshot(), Seq(1_024));
    assert_eq!(place.store.delete(&name("a")), Ok(true));
    assert_eq!(place.count("SELECT count(*) FROM snapshot"), 0);
    assert!(matches!(place.store.snapshot(&name("a")), Err(JournalError::NotFound { .. })));
}

#[test]
fn snapshots_are_written_once_and_are_smaller_than_their_log() {
    let place = Place::new();
    place.snapshot();
    let rowids = "SELECT sum(rowid) * 1000 + count(*) FROM snapshot";
    let before = place.count(rowids);
    let more = (0..700).map(|n| queued(&format!("more{n}"))).collect();
    assert_eq!(place.store.append(&[append("a", Epoch(1), Seq(EVENTS as u64 + 1), more)]), [Ok(())]);
    assert_eq!(place.snapshot(), Seq(1_536));
    assert!(place.count(rowids) > before);
    assert_eq!(place.count("SELECT count(*) FROM snapshot"), 3, "those that were there are still there");
    let bytes = |table: &str, upto: &str| {
        place.count(&format!("SELECT sum(length(body)) FROM {table} WHERE {OF_A} AND {upto} <= 1536"))
    };
    assert!(bytes("snapshot", "upto") < bytes("event", "seq"));
}

#[test]
fn large_events_make_small_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let store = Sqlite::open(&path).unwrap();
    let opened = store.open_session(&name("a")).unwrap();
    let large = |n: usize| Event::Queued {
        send: n.to_string().as_str().into(),
        input: vec![Part::text("x".repeat(700_000))],
        hash: Digest::of(b"x"),
        meta: None,
        settings: None,
    };
    let events = (0..5).map(large).chain((5..600).map(|n| queued(&n.to_string())));
    assert_eq!(store.append(&[append("a", opened.epoch, Seq(1), events.collect())]), [Ok(())]);
    let log = store.load(&name("a"), Seq(0), Seq(u64::MAX)).unwrap();
    let upto = store.snapshot(&name("a")).unwrap();
    assert!(upto.0 > 0 && 600 - upto.0 < 512, "{upto}");
    let largest: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT max(length(body)) FROM snapshot", [], |row| row.get(0))
        .unwrap();
    assert!(largest < 3 << 20, "{largest}");
    assert_eq!(store.load(&name("a"), Seq(0), Seq(u64::MAX)).unwrap(), log);
}

#[test]
fn a_snapshot_waits_for_no_other_process_and_is_no_commit_of_events() {
    let place = Place::new();
    let commits = place.store.commits();
    let other = Connection::open(&place.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = place.store.snapshot(&name("a"));
    assert!(matches!(refused, Err(JournalError::Locked { .. })), "{refused:?}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(place.snapshot(), Seq(1_024));
    assert_eq!(place.store.commits(), commits);
    let next = append("a", Epoch(1), Seq(EVENTS as u64 + 1), vec![queued("one more")]);
    assert_eq!(place.store.append(&[next]), [Ok(())]);
    assert_eq!(place.store.commits(), commits + 1);
}

const VERSION: &str = "PRAGMA user_version";

/// Makes it a journal of the version before there were snapshots.
fn as_before_snapshots(place: Place) -> Place {
    let Place { path, store, _dir } = place;
    drop(store);
    Connection::open(&path).unwrap().execute_batch("DROP TABLE snapshot; PRAGMA user_version = 1").unwrap();
    Place { store: Sqlite::open(&path).unwrap(), path, _dir }
}

#[test]
fn a_journal_from_before_snapshots_is_brought_up_and_loses_nothing() {
    let place = Place::new();
    let log = place.load().unwrap();
    let place = as_before_snapshots(place);
    assert_eq!(place.load().unwrap(), log);
    assert_eq!(place.snapshot(), Seq(1_024));
    assert_eq!(place.count(VERSION), 2);
    assert!(place.is_used());
}

#[test]
fn a_journal_from_before_snapshots_is_left_as_it_is_by_whoever_writes_no_fact() {
    let place = Place::new();
    place.store.release(&name("a")).unwrap();
    let (log, summary) = (place.load().unwrap(), place.store.summary(&name("a")));
    let place = as_before_snapshots(place);
    assert_eq!(place.load().unwrap(), log);
    assert_eq!(place.store.summary(&name("a")), summary);
    assert_eq!(place.store.list(None, 9).unwrap().len(), 2);
    place.store.open_turns().unwrap();
    place.store.position(&name("a")).unwrap();
    // What `doctor` does: a session that is made and forgotten.
    let opened = place.store.open_session(&name("probe")).unwrap();
    assert_eq!(place.store.delete(&name("probe")), Ok(true));
    assert_eq!(place.count(VERSION), 1);
    let again = place.store.open_session(&name("probe")).unwrap();
    assert!(again.epoch > opened.epoch);
    assert_eq!(place.count(VERSION), 1, "an opening writes no fact");
    let begun = append("probe", again.epoch, Seq(1), vec![queued("one")]);
    assert_eq!(place.store.append(&[begun]), [Ok(())]);
    assert_eq!(place.count(VERSION), 2);
    assert_eq!(place.load().unwrap(), log);
}

#[test]
fn a_snapshot_that_a_deletion_from_before_snapshots_left_behind_is_not_believed() {
    let place = Place::new();
    place.snapshot();
    // As an older program deletes: it knows nothing of snapshots, and the next session gets the number of this one.
    let old = Connection::open(&place.path).unwrap();
    old.execute_batch("DELETE FROM event; DELETE FROM dedupe; DELETE FROM session").unwrap();
    let opened = place.store.open_session(&name("a")).unwrap();
    let others = (0..EVENTS).map(|n| queued(&format!("other {n}"))).collect();
    assert_eq!(place.store.append(&[append("a", opened.epoch, Seq(1), others)]), [Ok(())]);
    let stored = place.load().unwrap();
    assert_eq!(stored.len(), EVENTS);
    assert!(stored.iter().all(|envelope| {
        matches!(&envelope.event, Event::Queued { send, .. } if send.0.starts_with("other"))
    }));
}
