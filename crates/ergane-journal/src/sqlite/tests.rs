//! What only shows from within: commits that fail in every way that SQLite knows.

use std::path::Path;
use std::sync::Arc;

use ergane_core::{Digest, Envelope, Epoch, Event, FORMAT_VERSION, Part, Seq, SessionName, Timestamp};

use super::write::Fault;
use super::*;

fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}

fn append_at(session: &str, epoch: Epoch, seq: u64, text: &str) -> Append {
    let event = Event::Queued {
        send: format!("{seq}").as_str().into(),
        input: vec![Part::text(text)],
        hash: Digest::of(b""),
        meta: None,
        settings: None,
    };
    let event = Envelope { v: FORMAT_VERSION, seq: Seq(seq), epoch, at: Timestamp(0), event };
    Append { session: name(session), epoch, expected: Seq(seq), events: vec![Arc::new(event)] }
}

/// A store with the sessions a and b opened, both in their first epoch.
fn store(dir: &Path) -> Sqlite {
    let store = Sqlite::open(dir.join("j.db")).unwrap();
    for session in ["a", "b"] {
        assert_eq!(store.open_session(&name(session)).unwrap().epoch, Epoch(1));
    }
    store
}

fn next_seq(store: &Sqlite, session: &str) -> u64 {
    store.position(&name(session)).unwrap().unwrap().next_seq.0
}

fn log_len(store: &Sqlite) -> u64 {
    std::fs::metadata(store.disk.log()).unwrap().len()
}

fn with_faults(faults: &[Fault]) -> (tempfile::TempDir, Sqlite, Vec<Result<(), AppendError>>) {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    assert_eq!(next_seq(&store, "a"), 1, "there is a reading connection with a warm cache");
    lock(&store.writer).faults = faults.to_vec();
    let batch = [
        append_at("a", Epoch(1), 1, "x"),
        append_at("b", Epoch(7), 1, "of a ghost"),
        append_at("b", Epoch(1), 1, "y"),
    ];
    let outcomes = store.append(&batch);
    (dir, store, outcomes)
}

#[test]
fn a_commit_that_failed_and_wrote_nothing_is_told_so_and_can_be_done_again() {
    let (_dir, store, outcomes) = with_faults(&[Fault::CommitFails]);
    let fenced = Err(AppendError::Fenced { epoch: Epoch(1) });
    assert!(matches!(outcomes[0], Err(AppendError::NotWritten { .. })), "{outcomes:?}");
    assert_eq!(outcomes[1], fenced);
    assert!(matches!(outcomes[2], Err(AppendError::NotWritten { .. })), "{outcomes:?}");
    assert_eq!((next_seq(&store, "a"), next_seq(&store, "b"), store.commits()), (1, 1, 0));
    assert_eq!(store.append(&[append_at("a", Epoch(1), 1, "x")]), [Ok(())]);
    assert_eq!((next_seq(&store, "a"), store.commits()), (2, 1));
}

#[test]
fn a_commit_that_failed_and_wrote_all_the_same_is_told_as_written() {
    let (_dir, store, outcomes) = with_faults(&[Fault::CommitFailsLate]);
    assert_eq!(outcomes, [Ok(()), Err(AppendError::Fenced { epoch: Epoch(1) }), Ok(())]);
    assert_eq!((next_seq(&store, "a"), next_seq(&store, "b"), store.commits()), (2, 2, 1));
}

#[test]
fn after_a_failed_commit_the_file_itself_has_what_is_told_as_written() {
    let (_dir, store, outcomes) = with_faults(&[Fault::CommitFailsLate]);
    assert_eq!(outcomes[0], Ok(()));
    // What stood in the log alone may be a page that no sync ever brought to the disk: it is written anew, with a sync.
    assert_eq!(log_len(&store), 0);
}

#[test]
fn a_row_that_cannot_be_written_is_told_as_not_written_and_nothing_of_its_transaction_stays() {
    let (_dir, store, outcomes) = with_faults(&[Fault::WriteFails]);
    assert!(matches!(outcomes[0], Err(AppendError::NotWritten { .. })), "{outcomes:?}");
    assert_eq!(outcomes[1], Err(AppendError::Fenced { epoch: Epoch(1) }));
    assert!(matches!(outcomes[2], Err(AppendError::NotWritten { .. })), "{outcomes:?}");
    assert_eq!((next_seq(&store, "a"), next_seq(&store, "b"), store.commits()), (1, 1, 0));
    // Whatever the failure left in this connection is not believed: the next append has another one.
    assert!(lock(&store.writer).connection.is_none());
    assert_eq!(store.append(&[append_at("a", Epoch(1), 1, "x")]), [Ok(())]);
    assert_eq!(store.load(&name("a"), Seq(0), Seq(9)).unwrap().len(), 1);
}

#[test]
fn an_opening_or_a_deletion_whose_commit_failed_can_be_done_again_whatever_became_of_it() {
    for (fault, raised) in [(Fault::CommitFails, 2), (Fault::CommitFailsLate, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        assert_eq!(store.append(&[append_at("a", Epoch(1), 1, "x")]), [Ok(())]);
        lock(&store.writer).faults = vec![fault];
        let error = store.open_session(&name("a")).unwrap_err();
        assert!(error.is_retryable(), "{error}");
        let opened = store.open_session(&name("a")).unwrap();
        assert_eq!((opened.epoch, opened.next_seq), (Epoch(raised), Seq(2)), "{fault:?}");
        lock(&store.writer).faults = vec![fault];
        store.delete(&name("a")).unwrap_err();
        assert_eq!(store.delete(&name("a")).unwrap(), fault == Fault::CommitFails, "what is gone is gone");
        assert_eq!(store.position(&name("a")).unwrap(), None, "{fault:?}");
    }
}

#[test]
fn an_outcome_that_cannot_be_learned_is_unknown_and_read_back_later() {
    let (_dir, store, outcomes) =
        with_faults(&[Fault::CommitFailsLate, Fault::RecoveryFails, Fault::RecoveryFails]);
    assert!(matches!(outcomes[0], Err(AppendError::Unknown { .. })), "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(AppendError::Unknown { .. })), "{outcomes:?}");
    // The store is still not sure of itself: it writes nothing, and says so; an opening fails as well.
    let again = store.append(&[append_at("a", Epoch(1), 2, "z")]);
    assert!(matches!(again[..], [Err(AppendError::NotWritten { .. })]), "{again:?}");
    lock(&store.writer).faults = vec![Fault::RecoveryFails];
    let opening = store.open_session(&name("a")).unwrap_err();
    assert!(opening.is_retryable(), "{opening}");
    // Nor does it read: the commit is in the file for every new connection, and perhaps in its pages in memory alone.
    lock(&store.writer).faults = vec![Fault::RecoveryFails; 4];
    for refused in [
        store.position(&name("a")).map(drop),
        store.load(&name("a"), Seq(0), Seq(9)).map(drop),
        store.sent(&name("a"), &"1".into()).map(drop),
        store.list(None, 9).map(drop),
    ] {
        assert!(refused.as_ref().is_err_and(JournalError::is_retryable), "{refused:?}");
    }
    assert_eq!(lock(&store.writer).faults, [], "each of them has tried to make sure");
    // Now it can be made sure of, which whoever reads does, and what was unknown turns out to be written.
    assert_eq!((next_seq(&store, "a"), next_seq(&store, "b")), (2, 2));
    assert_eq!(log_len(&store), 0, "all is in the file proper, with a sync");
    assert_eq!(store.append(&[append_at("a", Epoch(1), 2, "z")]), [Ok(())]);
    assert_eq!(store.load(&name("a"), Seq(0), Seq(9)).unwrap().len(), 2);
}

#[test]
fn a_commit_that_failed_for_a_full_disk_says_what_to_do() {
    let (_dir, store, outcomes) = with_faults(&[Fault::DiskFull]);
    let Err(AppendError::NotWritten { reason }) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(reason.contains("free some space"), "{reason}");
    assert!(reason.contains(store.path().to_str().unwrap()), "{reason}");
    assert_eq!(next_seq(&store, "a"), 1);
}

/// A reader of another process that never ends, such as one that was stopped in the middle.
fn with_a_reader_at_its_head(
    fault: Fault,
) -> (tempfile::TempDir, Sqlite, Connection, Vec<Result<(), AppendError>>) {
    let dir = tempfile::tempdir().unwrap();
    drop(store(dir.path()));
    let store =
        Sqlite::options().busy_timeout(Duration::from_millis(20)).open(dir.path().join("j.db")).unwrap();
    assert_eq!(store.open_session(&name("a")).unwrap().epoch, Epoch(2));
    let reader = Connection::open(store.path()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM session").unwrap();
    lock(&store.writer).faults = vec![fault];
    let outcomes = store.append(&[append_at("a", Epoch(2), 1, "x")]);
    (dir, store, reader, outcomes)
}

#[test]
fn a_reader_that_does_not_end_keeps_nobody_from_writing_after_a_disk_that_was_full() {
    let (_dir, store, _reader, outcomes) = with_a_reader_at_its_head(Fault::DiskFull);
    assert!(matches!(outcomes[..], [Err(AppendError::NotWritten { .. })]), "{outcomes:?}");
    assert_eq!(store.append(&[append_at("a", Epoch(2), 1, "x")]), [Ok(())]);
    assert_eq!(next_seq(&store, "a"), 2);
}

#[test]
fn after_a_failed_sync_a_log_that_a_reader_keeps_from_being_emptied_is_not_believed_until_that_one_has_ended()
{
    let (_dir, store, reader, outcomes) = with_a_reader_at_its_head(Fault::CommitFailsLate);
    assert!(matches!(outcomes[..], [Err(AppendError::Unknown { .. })]), "{outcomes:?}");
    let error = store.position(&name("a")).unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("another process"), "{error}");
    drop(reader);
    assert_eq!((next_seq(&store, "a"), log_len(&store)), (2, 0));
}

#[test]
fn a_file_that_is_away_for_a_moment_says_so_and_is_read_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mounted, elsewhere) = (dir.path().join("mounted"), dir.path().join("elsewhere"));
    std::fs::create_dir(&mounted).unwrap();
    let store = store(&mounted);
    assert_eq!(store.append(&[append_at("a", Epoch(1), 1, "x")]), [Ok(())]);
    std::fs::rename(&mounted, &elsewhere).unwrap(); // before it is read for the first time
    for error in
        [store.position(&name("a")).unwrap_err(), store.load(&name("a"), Seq(0), Seq(9)).unwrap_err()]
    {
        assert!(error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains("check that it and its folder exist"), "{error}");
    }
    std::fs::rename(&elsewhere, &mounted).unwrap();
    assert_eq!(store.load(&name("a"), Seq(0), Seq(9)).unwrap().len(), 1);
}

#[test]
fn only_what_speaks_of_what_is_stored_is_no_reason_to_try_again() {
    use rusqlite::ffi;
    let retryable = |code| {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        schema::explain(Path::new("j.db"), &error).is_retryable()
    };
    for passing in [
        ffi::SQLITE_CANTOPEN,
        ffi::SQLITE_READONLY,
        ffi::SQLITE_PERM,
        ffi::SQLITE_IOERR,
        ffi::SQLITE_FULL,
        ffi::SQLITE_BUSY,
        ffi::SQLITE_NOMEM,
        ffi::SQLITE_PROTOCOL,
    ] {
        assert!(retryable(passing), "{passing}");
    }
    for lasting in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_ERROR, ffi::SQLITE_MISMATCH] {
        assert!(!retryable(lasting), "{lasting}");
    }
}

#[test]
fn a_failed_append_of_a_session_opened_elsewhere_since_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let connection = Connection::open(store.path()).unwrap();
    // The other owner comes between the failed commit and the reading back.
    let mut writer = lock(&store.writer);
    writer.faults = vec![Fault::CommitFails, Fault::RecoveryFails];
    drop(writer);
    let outcome = store.append(&[append_at("a", Epoch(1), 1, "x")]);
    assert!(matches!(outcome[..], [Err(AppendError::Unknown { .. })]), "{outcome:?}");
    connection.execute("UPDATE session SET epoch = 2 WHERE name = 'a'", []).unwrap();
    let again = store.append(&[append_at("a", Epoch(1), 1, "x")]);
    assert_eq!(again, [Err(AppendError::Fenced { epoch: Epoch(2) })]);
}

#[test]
fn a_file_at_its_limit_is_as_a_full_disk_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let small = Sqlite::options().max_bytes(64 * 8192).open(&path).unwrap();
    let epoch = small.open_session(&name("a")).unwrap().epoch;
    let large = "x".repeat(100_000);
    let mut written = 0;
    let reason = loop {
        match small.append(&[append_at("a", epoch, written + 1, &large)]).pop().unwrap() {
            Ok(()) => written += 1,
            Err(AppendError::NotWritten { reason }) => break reason,
            Err(other) => panic!("{other:?}"),
        }
        assert!(written < 10, "the limit is not kept");
    };
    assert!(written > 0, "the limit leaves no room at all");
    assert!(reason.contains("free some space"), "{reason}");
    // Small events still find room, in the same store; a batch with one too large for it is refused as a whole.
    assert_eq!(small.append(&[append_at("a", epoch, written + 1, "small")]), [Ok(())]);
    let opened = small.open_session(&name("b")).unwrap();
    let batch = [append_at("b", opened.epoch, 1, "s"), append_at("a", epoch, written + 2, &large)];
    let outcomes = small.append(&batch);
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Err(AppendError::NotWritten { .. }))),
        "{outcomes:?}"
    );
    assert_eq!(next_seq(&small, "b"), 1);
    drop(small);

    let roomy = Sqlite::open(&path).unwrap();
    let opened = roomy.open_session(&name("a")).unwrap();
    assert_eq!(opened.next_seq, Seq(written + 2), "nothing acknowledged is lost");
    assert_eq!(roomy.append(&[append_at("a", opened.epoch, written + 2, &large)]), [Ok(())]);
    assert_eq!(roomy.load(&name("a"), Seq(0), Seq(99)).unwrap().len() as u64, written + 2);
}

#[test]
fn after_a_snapshot_that_was_made_or_could_not_be_commits_are_synced_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let synchronous = || -> i64 {
        let writer = lock(&store.writer);
        let connection = writer.connection.as_ref().unwrap();
        connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap()
    };
    let full = synchronous();
    assert_eq!(full, 2);
    let events = (1..=600).map(|seq| append_at("a", Epoch(1), seq, "x").events.remove(0)).collect();
    let append = Append { events, ..append_at("a", Epoch(1), 1, "x") };
    assert_eq!(store.append(&[append]), [Ok(())]);
    let other = Connection::open(store.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(store.snapshot(&name("a")).is_err());
    assert_eq!(synchronous(), full);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.snapshot(&name("a")), Ok(Seq(512)));
    assert_eq!(synchronous(), full);
}

/// Appends facts to a file of 256 pages until there is no room; after `half` of them snapshots are made.
fn facts_that_fit(half: Option<u64>) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::options().max_bytes(256 * 8192).open(dir.path().join("j.db")).unwrap();
    let epoch = store.open_session(&name("a")).unwrap().epoch;
    let text = "x".repeat(1_000);
    let mut next = 1;
    loop {
        let events = (next..next + 16).flat_map(|seq| append_at("a", epoch, seq, &text).events).collect();
        match store.append(&[Append { events, ..append_at("a", epoch, next, "") }]).pop().unwrap() {
            Ok(()) => next += 16,
            Err(AppendError::NotWritten { .. }) => break,
            Err(other) => panic!("{other:?}"),
        }
        if half.is_some_and(|half| (half..half + 16).contains(&next)) {
            assert!(store.snapshot(&name("a")).unwrap() > Seq(0), "there are snapshots, which take room");
        }
    }
    assert_eq!(store.load(&name("a"), Seq(0), Seq(next)).unwrap().len() as u64, next - 1);
    next - 1
}

#[test]
fn snapshots_give_their_room_to_facts() {
    let alone = facts_that_fit(None);
    let beside = facts_that_fit(Some(alone / 2));
    // Pages given back are not as well filled as new ones.
    assert!(beside * 10 >= alone * 9, "{beside} of {alone} facts fit beside snapshots");
}
