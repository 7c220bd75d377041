//! When a system has ended, no thread of its own holds the store: the next one that opens the file owns its sessions at
//! once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use common::{Gated, LONG, append, name, queued, soon, submit, supervised};
use ergane_journal::{JournalPort, Memory};

/// Those of the test and of the port.
const HOLDERS: usize = 2;

#[tokio::test]
async fn at_rest_not_even_a_read_that_was_given_up_holds_the_store() {
    let (store, mut gate) = Gated::new(Memory::new());
    let port = JournalPort::new(store.clone());
    let reader = port.clone();
    let reading = tokio::spawn(async move { reader.open_turns().await });
    gate.arrival().await;
    reading.abort();
    assert!(soon(reading).await.unwrap_err().is_cancelled());
    let mut rest = pin!(port.at_rest(LONG));
    let waits = poll_fn(|context| Poll::Ready(rest.as_mut().poll(context).is_pending())).await;
    assert!(waits, "the read goes on");
    gate.let_one_go();
    assert!(soon(rest).await);
    assert_eq!(Arc::strong_count(&store), HOLDERS);
}

#[tokio::test]
async fn when_the_actor_has_ended_no_commit_holds_the_store() {
    let (store, gate) = Gated::new(Memory::new());
    gate.open();
    for round in 0..100 {
        let port = JournalPort::new(store.clone());
        let (_, root) = supervised(&port, &format!("let-go-{round}")).await;
        let opened = port.open(&name("a")).await.unwrap();
        let outcome = submit(&port, append("a", opened.epoch, opened.next_seq, vec![queued("s")]));
        if round % 2 == 0 {
            assert!(soon(outcome).await.unwrap().is_some_and(|outcome| outcome.is_ok()));
        }
        root.shutdown(LONG).await.unwrap();
        assert_eq!(Arc::strong_count(&store), HOLDERS, "round {round}");
    }
}
