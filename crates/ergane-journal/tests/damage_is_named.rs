//! A damaged row, a row or a file of the future: named, refused, and nothing else touched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{append, fill, name, queued, stored};
use ergane_core::{FORMAT_VERSION, Seq};
use ergane_journal::{AppendError, Journal, JournalError, Sqlite};
use rusqlite::Connection;

/// A journal with sessions a and b of four events each, after `sql` was done to it.
fn damaged(sql: &str) -> (tempfile::TempDir, Sqlite) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let store = Sqlite::open(&path).unwrap();
    for session in ["a", "b"] {
        fill(&store, session, &["1", "2", "3", "4"]);
    }
    drop(store);
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    let store = Sqlite::open(&path).unwrap();
    (dir, store)
}

fn load(store: &Sqlite, session: &str) -> Result<usize, JournalError> {
    store.load(&name(session), Seq(0), Seq(u64::MAX)).map(|events| events.len())
}

#[test]
fn a_damaged_row_is_named_and_other_sessions_load() {
    let third = "sid = (SELECT sid FROM session WHERE name = 'a') AND seq = 3";
    for damage in [
        "UPDATE event SET body = CAST(replace(body, 'text', 'texT') AS BLOB) WHERE",
        "UPDATE event SET body = substr(body, 2) WHERE",
        "UPDATE event SET body = 'a text' WHERE",
        "UPDATE event SET crc = crc + 1 WHERE",
        "UPDATE event SET epoch = 9 WHERE",
        "UPDATE event SET at = at + 1 WHERE",
        "UPDATE event SET kind = 4 WHERE",
        "UPDATE event SET ver = 0 WHERE",
        "UPDATE event SET kind = 'x' WHERE",
        "DELETE FROM event WHERE",
    ] {
        let (_dir, store) = damaged(&format!("{damage} {third}"));
        match load(&store, "a") {
            Err(JournalError::Corrupt { session, seq, .. }) => {
                assert_eq!((session, seq), (name("a"), Seq(3)), "{damage}");
            }
            other => panic!("{damage}: {other:?}"),
        }
        assert_eq!(load(&store, "b"), Ok(4), "{damage}");
        assert_eq!(store.list(None, 9).unwrap().len(), 2, "{damage}: it is still listed");
        let before = store.load(&name("a"), Seq(0), Seq(3)).unwrap();
        assert_eq!(before.len(), 2, "{damage}: what is whole can be read");
    }
}

#[test]
fn a_row_that_took_the_place_of_another_is_damage() {
    let (_dir, store) = damaged(
        "DELETE FROM event WHERE seq = 2 AND sid = (SELECT sid FROM session WHERE name = 'a');
         UPDATE event SET seq = 2 WHERE seq = 3 AND sid = (SELECT sid FROM session WHERE name = 'a');",
    );
    assert!(matches!(load(&store, "a"), Err(JournalError::Corrupt { seq: Seq(2), .. })));
}

/// An append of one event to each of the sessions, which are opened for it.
fn append_to_each(store: &Sqlite, sessions: &[&str]) -> Vec<Result<(), AppendError>> {
    let appends: Vec<_> = sessions
        .iter()
        .map(|session| {
            let opened = store.open_session(&name(session)).unwrap();
            append(session, opened.epoch, opened.next_seq, vec![queued("more")])
        })
        .collect();
    store.append(&appends)
}

#[test]
fn a_damaged_row_of_the_table_of_sessions_hurts_no_other_session() {
    let open = "UPDATE session SET open_turn = 1;";
    for damage in [
        "UPDATE session SET turns = -1 WHERE name = 'a'",
        "UPDATE session SET provider = x'ff' WHERE name = 'a'",
        "UPDATE session SET last_activity = 'yesterday' WHERE name = 'a'",
        "UPDATE session SET next_seq = 2 WHERE name = 'a'",
    ] {
        let (_dir, store) = damaged(&format!("{open} {damage}"));
        let listed = store.list(None, 9).unwrap();
        assert!(listed.iter().any(|summary| summary.name == name("b")), "{damage}: {listed:?}");
        assert!(store.open_turns().unwrap().contains(&name("b")), "{damage}");
        let outcomes = append_to_each(&store, &["b", "a", "c"]);
        assert_eq!((&outcomes[0], &outcomes[2]), (&Ok(()), &Ok(())), "{damage}");
        let refused = outcomes[1].clone().unwrap_err().to_string();
        assert!(refused.contains("session a is damaged") && refused.contains("not written"), "{refused}");
        assert_eq!((load(&store, "b"), load(&store, "c")), (Ok(5), Ok(1)), "{damage}");
    }
    let (_dir, store) = damaged(&format!("{open} UPDATE session SET name = 'a b' WHERE name = 'a'"));
    assert_eq!(store.list(None, 9).unwrap().len(), 1);
    assert_eq!(store.open_turns().unwrap(), [name("b")]);
}

#[test]
fn facts_that_the_row_of_their_session_knows_nothing_of_are_damage_and_not_gone() {
    let (_dir, store) = damaged("UPDATE session SET next_seq = 2 WHERE name = 'a'");
    let error = load(&store, "a").unwrap_err();
    assert!(matches!(error, JournalError::Corrupt { seq: Seq(2), .. }), "{error:?}");
    assert!(error.to_string().contains("up to 4"), "{error}");
}

#[test]
fn a_missing_end_is_damage() {
    let (_dir, store) =
        damaged("DELETE FROM event WHERE seq = 4 AND sid = (SELECT sid FROM session WHERE name = 'a')");
    let error = load(&store, "a").unwrap_err();
    assert!(matches!(error, JournalError::Corrupt { seq: Seq(4), .. }), "{error:?}");
    assert_eq!((error.kind(), error.is_retryable()), ("journal", false));
    let text = error.to_string();
    assert!(text.contains("event 4") && text.contains("session a"), "{text}");
}

#[test]
fn a_row_of_the_future_is_refused_with_both_versions_before_the_session_is_taken() {
    let newer = FORMAT_VERSION + 6;
    let (_dir, store) = damaged(&format!(
        "UPDATE event SET ver = {newer} WHERE seq = 4 AND sid = (SELECT sid FROM session WHERE name = 'a');
         UPDATE session SET fmt = {newer} WHERE name = 'a'"
    ));
    for error in [load(&store, "a").unwrap_err(), store.open_session(&name("a")).unwrap_err()] {
        let JournalError::Newer { place, found, supported } = &error else { panic!("{error:?}") };
        assert_eq!((*found, *supported), (newer, FORMAT_VERSION));
        assert!(place.contains("session a"), "{place}");
        let text = error.to_string();
        assert!(text.contains(&newer.to_string()) && text.contains("newer ergane"), "{text}");
    }
    assert_eq!(store.position(&name("a")).unwrap().unwrap().epoch.0, 1, "it was left as it was");
    assert_eq!(load(&store, "b"), Ok(4));
    store.open_session(&name("b")).unwrap();
}

#[test]
fn a_journal_of_the_future_is_refused_with_its_path_and_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let store = Sqlite::open(&path).unwrap();
    fill(&store, "a", &["1"]);
    drop(store);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 3).unwrap();
    let error = Sqlite::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::Newer { found: 3, supported: 2, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("j.db") && text.contains("version 3") && text.contains("up to 2"), "{text}");
    assert_eq!((error.kind(), error.is_retryable()), ("journal", false));

    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert_eq!(stored(&Sqlite::open(&path).unwrap(), "a"), ["1"], "and nothing was changed");
}
