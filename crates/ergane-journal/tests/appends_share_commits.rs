//! Group commit: one wait for the disk for all that gathered meanwhile; and the bounds of the queue.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;

use common::{Gated, append, name, queued, soon, submit, supervised};
use ergane_core::{Digest, Event, Part, Seq};
use ergane_journal::{Journal, JournalPort, Memory, Sqlite};

#[tokio::test]
async fn what_gathers_during_a_commit_is_committed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, mut gate) = Gated::new(Sqlite::open(dir.path().join("j.db")).unwrap());
    let port = JournalPort::new(store.clone());
    let (_namespace, root) = supervised(&port, "group").await;
    let mut opened = Vec::new();
    for n in 0..101 {
        opened.push((format!("s{n}"), port.open(&name(&format!("s{n}"))).await.unwrap()));
    }
    let before = store.inner.commits();
    let mut outcomes = Vec::new();
    for (session, opened) in &opened {
        outcomes.push(submit(&port, append(session, opened.epoch, Seq(1), vec![queued("x")])));
        if outcomes.len() == 1 {
            assert_eq!(gate.arrival().await, 1, "a lone append does not wait for others");
        }
    }
    gate.let_one_go();
    assert_eq!(gate.arrival().await, 100);
    gate.open();
    for outcome in outcomes {
        assert_eq!(soon(outcome).await.unwrap(), Some(Ok(())));
    }
    assert_eq!(store.inner.commits() - before, 2, "101 appends, two waits for the disk");
    root.shutdown(common::LONG).await.unwrap();
}

#[tokio::test]
async fn a_commit_has_at_most_512_records_and_a_mebibyte() {
    let (store, mut gate) = Gated::new(Memory::new());
    let port = JournalPort::new(store.clone());
    let (_namespace, root) = supervised(&port, "batch").await;
    // Behind a lone first one: 300 and 300 records do not fit into one commit, and three times 400 KB do not either.
    let sizes = [(1, 1), (300, 1), (300, 1), (1, 400 << 10), (1, 400 << 10), (1, 400 << 10), (1, 3 << 20)];
    let mut appends = Vec::new();
    for (count, bytes) in sizes {
        let session = format!("s{}", appends.len());
        let opened = port.open(&name(&session)).await.unwrap();
        let event = |n: usize| Event::Queued {
            send: n.to_string().as_str().into(),
            input: vec![Part::text("x".repeat(bytes))],
            hash: Digest::of(b""),
            meta: None,
            settings: None,
        };
        appends.push(append(&session, opened.epoch, Seq(1), (0..count).map(event).collect()));
    }
    let mut outcomes = Vec::new();
    for append in appends {
        let first = outcomes.is_empty();
        outcomes.push(submit(&port, append));
        if first {
            assert_eq!(gate.arrival().await, 1);
        }
    }
    let mut sizes = Vec::new();
    for _ in 0..4 {
        gate.let_one_go();
        sizes.push(gate.arrival().await);
    }
    assert_eq!(sizes, [1, 3, 1, 1], "300 | 300, 400 KB, 400 KB | 400 KB | 3 MB");
    gate.open();
    for outcome in outcomes {
        assert_eq!(soon(outcome).await.unwrap(), Some(Ok(())));
    }
    root.shutdown(common::LONG).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_makes_appends_wait_and_loses_none() {
    const SESSIONS: usize = 20_000;
    let (store, mut gate) = Gated::new(Memory::new());
    let port = JournalPort::new(store.clone());
    let (_namespace, root) = supervised(&port, "full").await;
    let mut outcomes = Vec::new();
    for n in 0..SESSIONS {
        let session = format!("s{n}");
        let opened = store.open_session(&name(&session)).unwrap();
        // Returns at once although the writer stands still and the queue holds 8,192.
        outcomes.push(submit(&port, append(&session, opened.epoch, Seq(1), vec![queued("x")])));
    }
    assert!(gate.arrival().await <= 512);
    let reads = soon(port.list(None, 10)).await.unwrap();
    assert!(reads.is_empty(), "reads do not wait in line");
    gate.open();
    for outcome in outcomes {
        assert_eq!(soon(outcome).await.unwrap(), Some(Ok(())));
    }
    let stored = Arc::clone(&store).list(None, SESSIONS + 1).unwrap();
    assert_eq!(stored.len(), SESSIONS);
    root.shutdown(common::LONG).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_one_session_holds_nobody_up() {
    let (store, mut gate) = Gated::new(Memory::new());
    let port = JournalPort::new(store.clone());
    let (_namespace, root) = supervised(&port, "flood").await;
    let (flood, other) = (port.open(&name("flood")).await.unwrap(), port.open(&name("other")).await.unwrap());
    // Far more than the whole queue may hold, in one append.
    let events = (0..30_000).map(|n| queued(&n.to_string())).collect();
    let flooding = submit(&port, append("flood", flood.epoch, Seq(1), events));
    assert_eq!(gate.arrival().await, 1);
    let quick = submit(&port, append("other", other.epoch, Seq(1), vec![queued("x")]));
    gate.open();
    assert_eq!(soon(quick).await.unwrap(), Some(Ok(())));
    assert_eq!(soon(flooding).await.unwrap(), Some(Ok(())));
    root.shutdown(common::LONG).await.unwrap();
}
