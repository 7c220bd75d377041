//! The port outlives its actor: appends are answered truthfully, and go on when the actor is back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use common::{Gated, append, fill, name, queued, soon, stored, submit, supervised};
use ergane_core::{Epoch, Seq};
use ergane_journal::{AppendError, Journal, JournalError, JournalPort, Memory, Position, Sqlite};
use ergane_otp::Incarnation;

/// Kills the journal actor many times while a session appends. The session does what sessions do: when an append has no
/// answer or was not written, it waits for the journal, reads back where it stands, and submits again.
async fn appends_go_on_over_kills(store: Arc<dyn Journal>, system: &str) {
    let port = JournalPort::new(store);
    let (namespace, root) = supervised(&port, system).await;
    let opened = port.open(&name("a")).await.unwrap();
    let mut expected = opened.next_seq;
    for n in 0..50_u64 {
        let killed = n % 2 == 0;
        let before = namespace.whereis("journal");
        let mut watch = namespace.watch("journal");
        let sent = append("a", opened.epoch, expected, vec![queued(&format!("s{n}"))]);
        let mut outcome = submit(&port, sent.clone());
        if killed {
            before.expect("it lives").kill();
            // A death that nobody has noticed yet is not over: only then is the next one another actor.
            soon(async { while !matches!(watch.next().await, Some(Incarnation::Down { .. })) {} }).await;
            soon(namespace.wait_for("journal", common::LONG)).await.expect("it comes back");
        }
        while soon(outcome).await.unwrap() != Some(Ok(())) {
            soon(port.alive()).await;
            let position = port.position(&name("a")).await.unwrap().unwrap();
            assert_eq!(position.epoch, opened.epoch);
            if position.next_seq == sent.next_seq() {
                break;
            }
            assert_eq!(position.next_seq, expected, "nothing but this append was in flight");
            outcome = submit(&port, sent.clone());
        }
        expected = sent.next_seq();
    }
    let all: Vec<String> = (0..50).map(|n| format!("s{n}")).collect();
    assert_eq!(stored(port.store().as_ref(), "a"), all);
    root.shutdown(common::LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_memory_appends_go_on_over_kills() {
    appends_go_on_over_kills(Arc::new(Memory::new()), "kills-memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sqlite_appends_go_on_over_kills() {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path().join("j.db")).unwrap();
    appends_go_on_over_kills(Arc::new(store), "kills-sqlite").await;
}

#[tokio::test]
async fn a_successor_waits_for_the_commit_of_its_predecessor_and_what_was_queued_has_no_answer() {
    let (store, mut gate) = Gated::new(Memory::new());
    let port = JournalPort::new(store);
    let (namespace, root) = supervised(&port, "in-flight").await;
    let (a, b) = (port.open(&name("a")).await.unwrap(), port.open(&name("b")).await.unwrap());
    let committing = submit(&port, append("a", a.epoch, Seq(1), vec![queued("a1")]));
    assert_eq!(gate.arrival().await, 1);
    let waiting = append("b", b.epoch, Seq(1), vec![queued("b1")]);
    let queued_up = submit(&port, waiting.clone());

    namespace.whereis("journal").unwrap().kill();
    assert_eq!(soon(queued_up).await.unwrap(), None, "it never began");
    soon(async {
        while port.is_alive() {
            tokio::task::yield_now().await
        }
    })
    .await;
    let away = submit(&port, waiting.clone());
    assert!(matches!(soon(away).await.unwrap(), Some(Err(AppendError::NotWritten { .. }))));
    assert!(matches!(port.position(&name("b")).await, Ok(Some(_))), "reads need no writer");
    // Not a wait for something: it must not come, however long one waits.
    let successor = tokio::time::timeout(Duration::from_millis(300), port.alive()).await;
    assert!(successor.is_err(), "a successor started while the commit is under way");

    gate.let_one_go();
    assert_eq!(soon(committing).await.unwrap(), Some(Ok(())), "what is committed is told so");
    soon(port.alive()).await;
    gate.let_one_go();
    assert_eq!(soon(submit(&port, waiting)).await.unwrap(), Some(Ok(())));
    gate.open();
    root.shutdown(common::LONG).await.unwrap();
}

#[tokio::test]
async fn an_opening_waits_for_a_journal_that_is_away_and_is_answered_by_the_next_one() {
    let (store, mut gate) = Gated::new(Memory::new());
    let port = JournalPort::new(store);
    let (namespace, root) = supervised(&port, "opening").await;
    let a = port.open(&name("a")).await.unwrap();
    let committing = submit(&port, append("a", a.epoch, Seq(1), vec![queued("a1")]));
    gate.arrival().await;
    // Behind the append; its place in the queue dies with the actor.
    let session = name("a");
    let mut opening = pin!(port.open(&session));
    let asked = poll_fn(|context| Poll::Ready(opening.as_mut().poll(context).is_pending())).await;
    assert!(asked);
    namespace.whereis("journal").unwrap().kill();
    gate.let_one_go();
    assert_eq!(soon(committing).await.unwrap(), Some(Ok(())));
    let opened = soon(opening).await.unwrap();
    assert_eq!(opened.next_seq, Seq(2), "it sees all that was appended before");
    assert!(opened.epoch > a.epoch);
    gate.open();
    root.shutdown(common::LONG).await.unwrap();
}

#[tokio::test]
async fn an_opening_is_done_after_the_appends_submitted_before_it() {
    let (store, mut gate) = Gated::new(Memory::new());
    let port = JournalPort::new(store);
    let (_namespace, root) = supervised(&port, "order").await;
    let (a, b) = (port.open(&name("a")).await.unwrap(), port.open(&name("b")).await.unwrap());
    let first = submit(&port, append("b", b.epoch, Seq(1), vec![queued("b1")]));
    gate.arrival().await;
    let second = submit(&port, append("a", a.epoch, Seq(1), vec![queued("a1")]));
    gate.open();
    let opened = soon(port.open(&name("a"))).await.unwrap();
    assert_eq!(opened.next_seq, Seq(2));
    assert_eq!(soon(first).await.unwrap(), Some(Ok(())));
    assert_eq!(soon(second).await.unwrap(), Some(Ok(())));
    root.shutdown(common::LONG).await.unwrap();
}

#[tokio::test]
async fn a_store_that_panics_takes_only_its_actor_with_it() {
    let (store, gate) = Gated::new(Memory::new());
    let port = JournalPort::new(store.clone());
    let (namespace, root) = supervised(&port, "panic").await;
    let a = port.open(&name("a")).await.unwrap();
    let mut watch = namespace.watch("journal");
    store.panic_next();
    gate.let_one_go();
    let sent = append("a", a.epoch, Seq(1), vec![queued("a1")]);
    assert_eq!(soon(submit(&port, sent.clone())).await.unwrap(), None);
    soon(async { while !matches!(watch.next().await, Some(Incarnation::Down { .. })) {} }).await;
    soon(namespace.wait_for("journal", common::LONG)).await.unwrap();
    gate.open();
    assert_eq!(soon(submit(&port, sent)).await.unwrap(), Some(Ok(())));
    root.shutdown(common::LONG).await.unwrap();
}

#[tokio::test]
async fn a_call_gives_up_at_its_deadline_and_is_then_not_done_any_more() {
    let (store, mut gate) = Gated::new(Memory::new());
    let port = JournalPort::new(store);
    let hasty = port.clone().with_deadline(Duration::from_millis(5));
    let (_namespace, root) = supervised(&port, "deadline").await;
    let a = port.open(&name("a")).await.unwrap();
    let committing = submit(&port, append("a", a.epoch, Seq(1), vec![queued("a1")]));
    gate.arrival().await;
    for error in [hasty.open(&name("a")).await.unwrap_err(), hasty.delete(&name("a")).await.unwrap_err()] {
        assert!(matches!(error, JournalError::Timeout { .. }), "{error:?}");
        assert_eq!((error.kind(), error.is_retryable()), ("journal", true), "{error}");
    }
    gate.open();
    assert_eq!(soon(committing).await.unwrap(), Some(Ok(())));
    let opened = soon(port.open(&name("a"))).await.unwrap();
    assert_eq!(
        (opened.epoch.0, opened.next_seq),
        (a.epoch.0 + 1, Seq(2)),
        "neither opened nor deleted between"
    );
    root.shutdown(common::LONG).await.unwrap();
}

#[tokio::test]
async fn without_its_actor_a_port_reads_and_refuses_to_write() {
    let store = Arc::new(Memory::new());
    let opened = fill(store.as_ref(), "a", &["s"]);
    let port = JournalPort::new(store).with_deadline(Duration::from_millis(5));
    assert_eq!(port.load(&name("a"), Seq(0), Seq(9)).await.unwrap().len(), 1);
    let position = Position { epoch: opened.epoch, next_seq: Seq(2) };
    assert_eq!(port.position(&name("a")).await, Ok(Some(position)));
    let outcome = submit(&port, append("a", Epoch(1), Seq(2), vec![queued("t")]));
    assert!(matches!(outcome.await.unwrap(), Some(Err(AppendError::NotWritten { .. }))));
    let error = port.open(&name("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), ("journal", true), "{error}");
    assert_eq!(stored(port.store().as_ref(), "a"), ["s"]);
}
