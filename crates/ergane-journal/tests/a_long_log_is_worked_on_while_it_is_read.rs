//! A log is read in pieces, and worked on meanwhile; and who reads does not wait for who makes snapshots.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::Arc;

use common::{Gated, append, fill, name, queued, soon};
use ergane_core::{Envelope, Epoch, Seq};
use ergane_journal::{Journal, JournalError, JournalPort, Memory, Sqlite};
use rusqlite::Connection;

/// So many events have two full rows of snapshots, and a rest.
const EVENTS: u64 = 1_300;

fn long(path: &std::path::Path) -> Arc<Sqlite> {
    let store = Arc::new(Sqlite::open(path).unwrap());
    let opened = store.open_session(&name("a")).unwrap();
    let events = (0..EVENTS).map(|n| queued(&n.to_string())).collect();
    assert_eq!(store.append(&[append("a", opened.epoch, Seq(1), events)]), [Ok(())]);
    assert_eq!(store.snapshot(&name("a")), Ok(Seq(1_024)));
    store
}

#[tokio::test]
async fn what_is_made_of_a_long_log_is_made_of_all_of_it_piece_by_piece() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j.db");
    let store = long(&path);
    let port = JournalPort::new(store.clone());
    let whole = port.load(&name("a"), Seq(0), Seq(u64::MAX)).await.unwrap();
    let all = |pieces: &mut dyn Iterator<Item = Vec<Envelope>>| pieces.collect::<Vec<_>>();
    let pieces = soon(port.work_on(&name("a"), Seq(0), Seq(u64::MAX), all)).await.unwrap();
    assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [512, 512, 276]);
    assert!(pieces.iter().flatten().eq(whole.iter().map(Arc::as_ref)));
    let some = soon(port.work_on(&name("a"), Seq(1_000), Seq(1_010), all)).await.unwrap();
    assert!(some.iter().flatten().eq(whole[1_000..1_009].iter().map(Arc::as_ref)));

    // Who has heard enough is not made to hear all, and who panics takes nobody with him.
    let first = |pieces: &mut dyn Iterator<Item = Vec<Envelope>>| pieces.next().map(|piece| piece.len());
    assert_eq!(soon(port.work_on(&name("a"), Seq(0), Seq(u64::MAX), first)).await, Ok(Some(512)));
    let panics = |_: &mut dyn Iterator<Item = Vec<Envelope>>| panic!("of the test");
    let panicked: Result<(), _> = soon(port.work_on(&name("a"), Seq(0), Seq(u64::MAX), panics)).await;
    assert_eq!(panicked, Err(JournalError::Away));

    // What was made of the pieces before a damaged row does not count.
    let damage = "UPDATE event SET crc = crc + 1 WHERE seq = 1200";
    Connection::open(&path).unwrap().execute_batch(damage).unwrap();
    let damaged = soon(port.work_on(&name("a"), Seq(0), Seq(u64::MAX), all)).await;
    assert!(matches!(damaged, Err(JournalError::Corrupt { seq: Seq(1_200), .. })), "{damaged:?}");
    let nobody = soon(port.work_on(&name("nobody"), Seq(0), Seq(u64::MAX), all)).await;
    assert!(matches!(nobody, Err(JournalError::NotFound { .. })), "{nobody:?}");
}

#[tokio::test]
async fn who_makes_snapshots_of_many_sessions_leaves_room_for_who_reads() {
    let memory = Memory::new();
    fill(&memory, "a", &["s"]);
    let (store, mut gate) = Gated::new(memory);
    let port = JournalPort::new(store);
    let making: Vec<_> = (0..10)
        .map(|_| {
            let port = port.clone();
            tokio::spawn(async move { port.snapshot(&name("a")).await })
        })
        .collect();
    gate.arrival().await;
    for _ in 0..10 {
        let position = soon(port.position(&name("a"))).await.unwrap().unwrap();
        assert_eq!((position.epoch, position.next_seq), (Epoch(1), Seq(2)));
    }
    gate.open();
    for made in making {
        assert_eq!(soon(made).await.unwrap(), Ok(Seq(0)));
    }
}
