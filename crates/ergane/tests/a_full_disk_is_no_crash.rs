//! The store cannot take facts for a while: the session waits, acts on nothing, and goes on when it can.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use common::*;
use ergane::core::{Envelope, SendId, Seq};
use ergane::journal::{Append, AppendError, Journal, JournalError, Opened, Position, Sent, SessionSummary};
use ergane::prelude::*;
use serde_json::json;

/// A store whose appends fail as the test says.
#[derive(Debug)]
struct Faulty {
    store: Memory,
    fault: AtomicU8,
    seen: Mutex<u32>,
}

const NONE: u8 = 0;
const FULL: u8 = 1;
/// The outcome is not known, and it was not written.
const LOST: u8 = 2;
/// The outcome is not known, and it was written.
const WRITTEN: u8 = 3;
/// Appends work; sessions are not given up.
const HELD: u8 = 4;

impl Faulty {
    fn new() -> Arc<Self> {
        Arc::new(Self { store: Memory::new(), fault: AtomicU8::new(NONE), seen: Mutex::new(0) })
    }

    fn set(&self, fault: u8) {
        self.fault.store(fault, Ordering::SeqCst);
    }

    fn failures(&self) -> u32 {
        *self.seen.lock().unwrap()
    }
}

impl Journal for Faulty {
    fn kind(&self) -> &'static str {
        "faulty"
    }

    fn open_session(&self, session: &SessionName) -> Result<Opened, JournalError> {
        self.store.open_session(session)
    }

    fn append(&self, batch: &[Append]) -> Vec<Result<(), AppendError>> {
        let fault = self.fault.load(Ordering::SeqCst);
        if fault != NONE {
            *self.seen.lock().unwrap() += 1;
        }
        let unknown = || Err(AppendError::Unknown { reason: "the test says so".into() });
        match fault {
            FULL => {
                let reason = "the disk is full, says the test".to_owned();
                batch.iter().map(|_| Err(AppendError::NotWritten { reason: reason.clone() })).collect()
            }
            LOST => {
                self.set(NONE);
                batch.iter().map(|_| unknown()).collect()
            }
            WRITTEN => {
                self.set(NONE);
                self.store.append(batch).into_iter().map(|_| unknown()).collect()
            }
            _ => self.store.append(batch),
        }
    }

    fn load(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
    ) -> Result<Vec<Arc<Envelope>>, JournalError> {
        self.store.load(session, after, below)
    }

    fn position(&self, session: &SessionName) -> Result<Option<Position>, JournalError> {
        self.store.position(session)
    }

    fn summary(&self, session: &SessionName) -> Result<Option<SessionSummary>, JournalError> {
        self.store.summary(session)
    }

    fn list(&self, after: Option<&SessionName>, limit: usize) -> Result<Vec<SessionSummary>, JournalError> {
        self.store.list(after, limit)
    }

    fn open_turns(&self) -> Result<Vec<SessionName>, JournalError> {
        self.store.open_turns()
    }

    fn sent(&self, session: &SessionName, send: &SendId) -> Result<Option<Sent>, JournalError> {
        self.store.sent(session, send)
    }

    fn delete(&self, session: &SessionName) -> Result<bool, JournalError> {
        self.store.delete(session)
    }

    fn release(&self, session: &SessionName) -> Result<(), JournalError> {
        match self.fault.load(Ordering::SeqCst) {
            HELD => Err(JournalError::Away),
            _ => self.store.release(session),
        }
    }
}

#[tokio::test]
async fn a_full_disk_parks_the_session_and_it_goes_on_when_there_is_room() {
    let store = Faulty::new();
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    let system = System::builder()
        .provider("test", model)
        .tools(tools)
        .shared_journal(store.clone())
        .start()
        .await
        .unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let before = alice.actor_ref().unwrap().get_id();
    let send = sending(&alice, "go");
    let asked = questions.next().await;
    store.set(FULL);
    asked.call(&[("change", json!({}))]);
    until("it is parked", || async {
        matches!(alice.status().await.unwrap().activity, Activity::Parked { reason } if reason.contains("disk is full"))
    })
    .await;
    until("it tried again", || async { store.failures() >= 3 }).await;
    assert!(calls.is_empty(), "nothing runs whose start is no fact");
    assert_eq!(
        alice.messages().await.unwrap().len(),
        1,
        "reads work, and show nothing that may still be lost"
    );
    assert_eq!(alice.subscribe(None).await.unwrap().snapshot().messages.len(), 1);
    store.set(NONE);
    calls.next().await.give("changed");
    questions.next().await.answer("done");
    assert_eq!(&*result(send).await.text, "done");
    assert_eq!(alice.actor_ref().unwrap().get_id(), before, "no restart was spent");
}

#[tokio::test]
async fn no_result_is_told_before_the_end_of_its_turn_is_durable() {
    let store = Faulty::new();
    let (model, mut questions) = model();
    let system =
        System::builder().provider("test", model).shared_journal(store.clone()).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let first = alice.send_message("one").accepted().await.unwrap();
    let asked = questions.next().await;
    let second = sending(&alice, "two");
    until("two waits", || async { alice.status().await.unwrap().queued == 1 }).await;
    until("two is durable", || async { kinds(&system, &alice).await.len() == 4 }).await;
    store.set(FULL);
    asked.answer("done");
    until("the first end is not written", || async { store.failures() >= 1 }).await;
    // Both turns have ended now, as far as the session knows; none of it is durable.
    let stop = {
        let alice = alice.clone();
        tokio::spawn(async move { alice.stop().await })
    };
    let early = alice.turn(first).deadline(std::time::Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(early, SessionError::Deadline), "{early}");
    assert!(!second.is_finished() && !stop.is_finished());
    store.set(NONE);
    soon("the stop ends", stop).await.unwrap().unwrap();
    assert_eq!(result(second).await.finish_reason, FinishReason::Interrupted);
    assert_eq!(alice.turn(first).await.unwrap().text.as_ref(), "done");
}

/// Polls once. What is asked of a live session is in its mailbox after the first time.
fn is_pending<F: Future>(asking: &mut Pin<Box<F>>) -> bool {
    asking.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn a_word_put_in_is_asked_for_again_while_the_end_of_its_turn_is_not_durable_and_has_its_result() {
    let store = Faulty::new();
    let (model, mut questions) = model();
    let system =
        System::builder().provider("test", model).shared_journal(store.clone()).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let first = sending(&alice, "hello");
    let asked = questions.next().await;
    let steering = || alice.send_message("in French").key("k").when_busy(WhenBusy::Steer);
    let turn = soon("accepted", steering().accepted()).await.unwrap();
    asked.answer("hi");
    let asked = questions.next().await;
    store.set(FULL);
    asked.answer("salut");
    until("the end is not written", || async { store.failures() >= 1 }).await;
    let mut again = Box::pin(steering().into_future());
    assert!(is_pending(&mut again), "the end is not durable");
    alice.status().await.unwrap(); // after that it has been taken
    store.set(NONE);
    let again = soon("the result", again).await.unwrap();
    assert_eq!((again.turn, &*again.text), (turn, "salut"));
    assert_eq!(result(first).await.turn, turn);
}

#[tokio::test]
async fn a_word_put_in_is_not_told_to_be_accepted_before_it_is_durable_also_when_its_turn_has_ended() {
    let store = Faulty::new();
    let (model, mut questions) = model();
    let system =
        System::builder().provider("test", model).shared_journal(store.clone()).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let first = sending(&alice, "hello");
    let asked = questions.next().await;
    store.set(FULL);
    let steering =
        || Box::pin(alice.send_message("in French").key("k").when_busy(WhenBusy::Steer).accepted());
    let mut accepted = steering();
    assert!(is_pending(&mut accepted));
    asked.answer("hi");
    questions.next().await.answer("salut");
    until("the turn has ended as far as the session knows", || async {
        matches!(alice.rewind(ergane::core::Seq(9_999)).await, Err(SessionError::NoSuchPoint { .. }))
    })
    .await;
    let mut again = steering();
    assert!(is_pending(&mut again));
    alice.status().await.unwrap(); // after that both have been looked at
    assert!(is_pending(&mut accepted) && is_pending(&mut again), "nothing of it is durable");
    store.set(NONE);
    let turn = result(first).await.turn;
    assert_eq!(soon("accepted", accepted).await.unwrap(), turn);
    assert_eq!(soon("accepted", again).await.unwrap(), turn);
}

#[tokio::test]
async fn who_wants_a_fact_of_a_parked_session_is_told_so_and_it_becomes_one_later() {
    let store = Faulty::new();
    let (model, mut asked) = model();
    let (tools, _calls) = hand_tools(&[("bash", Effect::Write)]);
    let system = System::builder()
        .provider("test", model)
        .tools(tools)
        .shared_journal(store.clone())
        .start()
        .await
        .unwrap();
    let alice = system.session("alice").ungranted(Ungranted::Ask).start().await.unwrap();
    let is_parked = |what: &str, answer: Option<SessionError>| {
        assert!(matches!(&answer, Some(SessionError::Parked { .. })), "{what}: {answer:?}");
    };

    store.set(FULL);
    // This one waits already when the store fails.
    let first = soon("an answer", alice.checkpoint("empty")).await;
    is_parked("checkpoint", first.err());
    is_parked("rewind", soon("an answer", alice.rewind("empty")).await.err());
    is_parked("grant", soon("an answer", alice.grant("read")).await.err());
    is_parked("steer", soon("an answer", alice.steer("no turn is open").into_future()).await.err());
    store.set(NONE);
    until("all is kept", || async {
        let status = alice.status().await.unwrap();
        status.accepted == status.durable
    })
    .await;
    assert_eq!(&*alice.settings().await.unwrap().permissions.granted, ["read".into()]);
    alice.rewind("empty").await.unwrap();

    let send = sending(&alice, "go");
    asked.next().await.call(&[("bash", json!({}))]);
    until("it is asked", || async { !alice.approvals().await.unwrap().is_empty() }).await;
    let call = alice.approvals().await.unwrap()[0].call;
    store.set(FULL);
    let deny = || alice.approve(call, Decision::Deny { reason: "no".into() }).into_future();
    is_parked("approve", soon("an answer", deny()).await.err());
    is_parked("interrupt", soon("an answer", alice.interrupt("enough")).await.err());
    store.set(NONE);
    assert_eq!(result(send).await.finish_reason, FinishReason::Interrupted);
    soon("an answer", deny()).await.unwrap(); // it was decided so
}

#[tokio::test]
async fn an_append_of_unknown_outcome_is_read_back_and_neither_lost_nor_doubled() {
    for fault in [LOST, WRITTEN] {
        let store = Faulty::new();
        let (model, mut questions) = model();
        let system =
            System::builder().provider("test", model).shared_journal(store.clone()).start().await.unwrap();
        let alice = system.session("alice").start().await.unwrap();
        let send = sending(&alice, "go");
        let asked = questions.next().await;
        store.set(fault);
        asked.answer("done");
        assert_eq!(&*result(send).await.text, "done");
        assert_eq!(store.failures(), 1);
        let expected = ["session_started", "queued", "turn_started", "model_replied", "turn_ended"];
        assert_eq!(kinds(&system, &alice).await, expected);
    }
}

#[tokio::test]
async fn an_incarnation_that_was_fenced_off_ends_and_writes_nothing() {
    let store = Faulty::new();
    let (model, mut questions) = model();
    let system =
        System::builder().provider("test", model).shared_journal(store.clone()).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let send = sending(&alice, "go");
    let asked = questions.next().await;
    let monitor = alice.monitor();
    // Somebody else opens the session behind its back.
    store.open_session(alice.name()).unwrap();
    asked.answer("too late");
    assert_eq!(soon("it ends", monitor.down()).await.reason, ExitReason::Normal);
    // The caller still waits, so it asks the next incarnation, which owns the session again and asks the model anew.
    questions.next().await.answer("in time");
    assert_eq!(&*result(send).await.text, "in time");
    assert!(!log(&system, &alice).await.iter().any(|event| event.to_string().contains("too late")));
}

#[tokio::test]
async fn a_fork_that_is_written_is_made_also_when_its_owner_cannot_be_cleared() {
    let store = Faulty::new();
    let (model, _questions) = model();
    let system =
        System::builder().provider("test", model).shared_journal(store.clone()).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    store.set(HELD);
    let fork = alice.fork("bob", ergane::core::Point::Now).await.unwrap();
    assert!(fork.messages().await.unwrap().is_empty());
}
