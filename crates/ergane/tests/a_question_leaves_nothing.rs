//! A question that is asked once and given up, at whatever moment and from wherever: nothing of it stays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::collections::BTreeSet;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use common::*;
use ergane::prelude::*;

/// Waits until no session lives or is listed, and nothing is stored of `seen`.
async fn nothing_is_left(system: &System, seen: &BTreeSet<SessionName>) {
    let context = system.context();
    // The supervisor hears this after every start and before it answers, so one that is on its way counts too.
    until("no session lives", || async { context.sessions().children().await.unwrap().is_empty() }).await;
    let memory = context.journal(Durability::Off);
    until("nothing is stored", || async {
        for name in seen {
            if memory.position(name).await.unwrap().is_some() {
                return false;
            }
        }
        memory.list(None, 10).await.unwrap().is_empty()
    })
    .await;
}

/// The sessions whose names are held now.
fn sessions(system: &System) -> BTreeSet<SessionName> {
    let names = system.context().namespace().names();
    names
        .iter()
        .filter_map(|(name, _)| name.strip_prefix("session/"))
        .map(|name| name.parse().unwrap())
        .collect()
}

/// Polls `times` times, each time when it is woken; its outcome, if it had one by then.
async fn polled<F: Future>(mut future: Pin<&mut F>, times: usize) -> Option<F::Output> {
    let mut left = times;
    poll_fn(|task| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(task) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            // With none left it need not be woken to be given up.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn a_question_given_up_while_it_starts_leaves_nothing_behind() {
    let (model, _questions) = model();
    let system = system(&model).await;
    let mut seen = BTreeSet::new();
    // Given up after the first time it waits, after the second, and so on, until it has started.
    for times in 1.. {
        let mut start = Box::pin(system.query("what?").stream());
        let started = soon("it waits", polled(start.as_mut(), times)).await.is_some();
        seen.extend(sessions(&system));
        drop(start);
        nothing_is_left(&system, &seen).await;
        if started {
            assert!(times > 3, "a start waits for its supervisor, its settings and its subscription");
            break;
        }
    }
    assert!(!seen.is_empty());
}

#[tokio::test]
async fn a_question_that_cannot_be_started_leaves_nothing_behind() {
    let (model, _questions) = model();
    let system = system(&model).await;
    let patch = serde_json::from_value(serde_json::json!({ "provider": "another" })).unwrap();
    let error = system.query("what?").settings(patch).await.unwrap_err();
    assert!(matches!(error, SessionError::Unresolved { .. }), "{error}");
    nothing_is_left(&system, &BTreeSet::new()).await;
    let error = system.query("  ").await.unwrap_err();
    assert!(matches!(error, SessionError::EmptyPrompt), "{error}");
    nothing_is_left(&system, &BTreeSet::new()).await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_question_covers_its_start() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let mut start = pin!(system.query("what?").deadline(Duration::from_secs(10)).stream());
    assert!(polled(start.as_mut(), 1).await.is_none(), "it waits for its session's start");
    tokio::time::advance(Duration::from_secs(11)).await;
    let error = start.await.unwrap_err();
    assert!(matches!(error, SessionError::Deadline), "{error}");
    nothing_is_left(&system, &BTreeSet::new()).await;
    assert!(questions.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_question_ends_its_turn() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let mut stream = system.query("what?").deadline(Duration::from_secs(10)).stream().await.unwrap();
    let seen: BTreeSet<_> = [stream.session().unwrap().name().clone()].into();
    assert!(matches!(stream.next().await, Some(SessionEvent::TurnStarted { .. })));
    let mut asked = questions.next().await;
    assert!(stream.next().await.is_none(), "nothing happens until the deadline, and nothing after it");
    let error = stream.result().await.unwrap_err();
    assert!(matches!(error, SessionError::Deadline), "{error}");
    asked.given_up().await;
    nothing_is_left(&system, &seen).await;
}

#[tokio::test]
async fn a_deadline_beyond_the_end_of_time_is_none() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let query = tokio::spawn(system.query("what?").deadline(Duration::MAX).into_future());
    questions.next().await.answer("that");
    assert_eq!(&*soon("query", query).await.unwrap().unwrap().text, "that");
    nothing_is_left(&system, &BTreeSet::new()).await;
}

#[tokio::test]
async fn a_question_dropped_outside_of_its_runtime_leaves_nothing_behind() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let mut stream = system.query("what?").stream().await.unwrap();
    assert!(matches!(soon("the start", stream.next()).await, Some(SessionEvent::TurnStarted { .. })));
    let mut asked = questions.next().await;
    let seen = sessions(&system);
    assert_eq!(seen.len(), 1);
    std::thread::spawn(move || drop(stream)).join().unwrap();
    asked.given_up().await;
    nothing_is_left(&system, &seen).await;
}
