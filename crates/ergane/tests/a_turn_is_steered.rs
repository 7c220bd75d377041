//! Control while a turn runs: words put in, answers given up for them, interrupts that never wait.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::IntoFuture;
use std::time::Duration;

use common::*;
use ergane::core::ErrorKind;
use ergane::prelude::*;
use ergane::session::Subscription;
use serde_json::json;
use tokio::time::Instant;

/// Reads events until one is as wanted.
async fn event(
    events: &mut Subscription,
    what: &str,
    wanted: impl Fn(&SessionEvent) -> bool,
) -> SessionEvent {
    loop {
        let event = soon(what, events.next()).await.expect("the session lives").expect("readable");
        if wanted(&event) {
            return event;
        }
    }
}

#[tokio::test]
async fn a_word_put_in_while_the_model_answers_is_seen_by_its_next_request_in_the_same_turn() {
    let (model, mut asked) = model();
    let system = system(&model).await;
    let session = system.session("a").start().await.unwrap();
    let mut events = session.subscribe(None).await.unwrap();
    let send = sending(&session, "hello");
    let first = asked.next().await;
    assert_eq!(soon("steer", session.steer("in French").into_future()).await.unwrap(), Steered::Entered);
    let seen = event(&mut events, "steered", |event| matches!(event, SessionEvent::Steered { .. })).await;
    assert!(matches!(&seen, SessionEvent::Steered { text, .. } if &**text == "in French"), "{seen:?}");
    assert_eq!(session.messages().await.unwrap().last().unwrap().text(), "in French");
    first.answer("hi");
    let second = asked.next().await;
    assert_eq!(second.texts(), ["hello", "hi", "in French"]);
    second.answer("salut");
    let result = result(send).await;
    assert_eq!((&*result.text, result.finish_reason), ("salut", FinishReason::Stop));
    assert_eq!(result.messages.len(), 4);
}

#[tokio::test]
async fn a_word_put_in_while_tools_run_or_a_call_waits_for_a_decision_is_seen_after_their_results() {
    let (model, mut asked) = model();
    let (tools, mut calls) = hand_tools(&[("bash", Effect::Write), ("read", Effect::Read)]);
    let system = system_with(&model, tools).await;
    let session = system.session("a").ungranted(Ungranted::Ask).start().await.unwrap();
    let send = sending(&session, "hello");
    asked.next().await.call(&[("read", json!({})), ("bash", json!({}))]);
    let read = calls.next().await;
    assert_eq!(session.steer("one").await.unwrap(), Steered::Entered);
    read.give("text");
    until("a call waits", || async { !session.approvals().await.unwrap().is_empty() }).await;
    assert_eq!(session.steer("two").await.unwrap(), Steered::Entered);
    let waits = session.approvals().await.unwrap();
    session.approve(waits[0].call, Decision::deny("no")).await.unwrap();
    let next = asked.next().await;
    assert_eq!(next.texts(), ["hello", "", "", "onetwo"]);
    next.answer("done");
    result(send).await;
}

#[tokio::test]
async fn a_cut_gives_up_the_answer_under_way_and_asks_again_at_once() {
    let (model, mut asked) = model();
    let system = system(&model).await;
    let session = system.session("a").start().await.unwrap();
    let mut events = session.subscribe(None).await.unwrap();
    let send = sending(&session, "hello");
    let mut first = asked.next().await;
    first.show("Once upon a ti");
    event(&mut events, "a piece", |event| matches!(event, SessionEvent::Content { .. })).await;
    assert_eq!(session.steer("shorter").cut().await.unwrap(), Steered::Entered);
    first.given_up().await;
    event(&mut events, "void", |event| matches!(event, SessionEvent::StreamReset)).await;
    let second = asked.next().await;
    assert_eq!(second.texts(), ["helloshorter"]);
    second.answer("hi");
    let result = result(send).await;
    assert_eq!((&*result.text, result.messages.len()), ("hi", 3));
    let kinds = kinds(&system, &session).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "model_replied").count(), 1);
}

#[tokio::test]
async fn a_cut_that_meets_the_end_of_the_answer_is_asked_about_all_the_same() {
    let (model, mut asked) = model();
    let system = system(&model).await;
    let session = system.session("a").start().await.unwrap();
    let send = sending(&session, "hello");
    let first = asked.next().await;
    // On one thread what is woken runs in that order: the answer is with the loop, which ends with it, but the session hears
    // of the cut first, and gives that loop the next step.
    first.answer("too late");
    assert_eq!(session.steer("shorter").cut().await.unwrap(), Steered::Entered);
    let second = soon("the model is asked again", asked.next()).await;
    assert_eq!(second.texts(), ["helloshorter"]);
    second.answer("hi");
    let over = result(send).await;
    assert_eq!((&*over.text, over.usage.input_tokens), ("hi", 20), "both answers were counted");
}

#[tokio::test]
async fn a_word_with_no_turn_open_or_in_one_that_is_ending_is_told_so_and_leaves_nothing() {
    let (model, mut asked) = model();
    let (tools, mut calls) = hand_tools(&[("bash", Effect::Write)]);
    let system = system_with(&model, tools).await;
    let session = system.session("a").start().await.unwrap();
    assert_eq!(session.steer("anybody?").await.unwrap(), Steered::TurnOver);
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({}))]);
    let call = calls.next().await;
    assert!(session.interrupt("enough").await.unwrap());
    assert_eq!(session.steer("wait").await.unwrap(), Steered::TurnOver);
    call.give("late");
    result(send).await;
    assert!(!kinds(&system, &session).await.contains(&"steered".to_owned()));
    assert!(matches!(session.steer(" ").await, Err(SessionError::EmptyPrompt)));
}

#[tokio::test]
async fn a_word_put_in_twice_under_one_key_is_put_in_once_also_over_the_death_of_the_session() {
    let (model, mut asked) = model();
    let system = system(&model).await;
    let session = system.session("a").start().await.unwrap();
    let send = sending(&session, "hello");
    let first = asked.next().await;
    assert_eq!(session.steer("in French").key("k").await.unwrap(), Steered::Entered);
    assert_eq!(session.steer("in French").key("k").await.unwrap(), Steered::Entered);
    let other = session.steer("in Greek").key("k").await;
    assert!(matches!(other, Err(SessionError::KeyReused(_))), "{other:?}");
    let mut watch = session.watch();
    actor(&system, "session/a").await.kill();
    soon("it ends", async { while !matches!(watch.next().await, Some(Incarnation::Down { .. })) {} }).await;
    assert_eq!(session.steer("in French").key("k").await.unwrap(), Steered::Entered);
    drop(first);
    let again = asked.next().await;
    assert_eq!(again.texts(), ["helloin French"]);
    again.answer("salut");
    result(send).await;
}

#[tokio::test]
async fn a_send_that_steers_when_busy_has_the_open_turns_result_and_one_that_finds_none_its_own() {
    let (model, mut asked) = model();
    let system = system(&model).await;
    let session = system.session("a").start().await.unwrap();
    let steering = |text: &str| {
        let send = session.send_message(text).key(text).when_busy(WhenBusy::Steer);
        tokio::spawn(async move { send.await })
    };
    let first = steering("hello");
    let open = asked.next().await;
    let accepted = session.send_message("in French").key("in French").when_busy(WhenBusy::Steer).accepted();
    let turn = soon("accepted", accepted).await.unwrap();
    let second = steering("in French");
    open.answer("hi");
    asked.next().await.answer("salut");
    let (first, second) = (result(first).await, result(second).await);
    assert_eq!((first.turn, second.turn, &*second.text), (turn, turn, "salut"));
    // Asked for again when all is over, it is still the same.
    assert_eq!(result(steering("in French")).await.turn, turn);
    assert_eq!(session.status().await.unwrap().turns, 1);
}

#[tokio::test]
async fn a_send_for_the_tools_of_somebody_else_is_not_put_into_a_turn_that_is_not_theirs() {
    let (model, mut asked) = model();
    let (tools, mut calls) = hand_tools(&[("bash", Effect::Write)]);
    let system = system_with(&model, tools).await;
    let session = system.session("a").start().await.unwrap();
    let says = |text: &str, user: Option<&str>| {
        let send = session.send_message(text).when_busy(WhenBusy::Steer);
        let send = match user {
            Some(user) => send.meta(json!({ "user": user })),
            None => send,
        };
        tokio::spawn(async move { send.await })
    };
    let ann = says("one", Some("ann"));
    let open = asked.next().await;
    let bob = says("two", Some("bob"));
    until("it waits", || async { session.status().await.unwrap().queued == 1 }).await;
    let (hers, nobodys) = (says("three", Some("ann")), says("four", None));
    until("they are in", || async { session.messages().await.unwrap().len() == 3 }).await;
    open.call(&[("bash", json!({}))]);
    let call = calls.next().await;
    assert_eq!(call.context.meta()["user"], "ann");
    call.give("ok");
    asked.next().await.answer("done");
    let ann = result(ann).await;
    assert_eq!((result(hers).await.turn, result(nobodys).await.turn), (ann.turn, ann.turn));
    asked.next().await.call(&[("bash", json!({}))]);
    let call = calls.next().await;
    assert_eq!(call.context.meta()["user"], "bob");
    call.give("ok");
    asked.next().await.answer("done too");
    assert_eq!(result(bob).await.ordinal, 2);
}

#[tokio::test]
async fn a_stored_send_that_was_put_in_is_known_to_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let (model, mut asked) = model();
    let start = || async {
        let journal = Sqlite::open(dir.path().join("j.db")).unwrap();
        System::builder().provider("test", model.clone()).journal(journal).start().await.unwrap()
    };
    let system = start().await;
    let session = system.session("a").start().await.unwrap();
    let open = soon("accepted", session.send_message("hello").accepted()).await.unwrap();
    let unanswered = asked.next().await;
    session.steer("in French").key("k").await.unwrap();
    system.shutdown(LONG).await.unwrap();
    drop((session, system, unanswered));
    let system = start().await;
    let session = system.whereis("a").await.unwrap();
    let again = asked.next().await;
    assert_eq!(again.texts(), ["helloin French"]);
    again.answer("salut");
    let send = session.send_message("in French").key("k");
    assert_eq!(soon("the result", send.into_future()).await.unwrap().turn, open);
}

// Interrupts never wait. With a paused clock, "at once" is: before any time has passed.

async fn interrupts_at_once(session: &Session) {
    let asked = Instant::now();
    assert!(session.interrupt("enough").await.unwrap());
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_answers_at_once_in_the_middle_of_a_stream_and_in_the_pause_before_a_retry() {
    let (model, mut asked) = model();
    let system = system(&model).await;
    let session = system.session("a").start().await.unwrap();
    let mut events = session.subscribe(None).await.unwrap();
    let send = sending(&session, "one");
    let mut stream = asked.next().await;
    stream.show("a piece");
    event(&mut events, "a piece", |event| matches!(event, SessionEvent::Content { .. })).await;
    interrupts_at_once(&session).await;
    let result_of = result(send).await;
    assert_eq!((result_of.finish_reason, &*result_of.text), (FinishReason::Interrupted, "a piece"));
    stream.given_up().await;

    let send = sending(&session, "two");
    asked.next().await.fail(ErrorKind::Overloaded);
    event(&mut events, "a pause", |event| matches!(event, SessionEvent::Retrying { .. })).await;
    let paused = Instant::now();
    interrupts_at_once(&session).await;
    assert_eq!(result(send).await.finish_reason, FinishReason::Interrupted);
    assert_eq!(paused.elapsed(), Duration::ZERO, "the pause is not waited for");
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_answers_at_once_while_a_tool_does_not_listen_and_while_a_call_waits_for_a_decision() {
    let (model, mut asked) = model();
    let (tools, mut calls) = hand_tools(&[("bash", Effect::Write), ("todo", Effect::Idempotent)]);
    let system = system_with(&model, tools).await;
    let session = system.session("a").start().await.unwrap();
    let send = sending(&session, "one");
    asked.next().await.call(&[("bash", json!({}))]);
    let deaf = calls.next().await;
    interrupts_at_once(&session).await;
    deaf.dropped().await;
    assert_eq!(result(send).await.finish_reason, FinishReason::Interrupted);

    let session = system.session("b").ungranted(Ungranted::Ask).start().await.unwrap();
    let mut events = session.subscribe(None).await.unwrap();
    let send = sending(&session, "two");
    asked.next().await.call(&[("todo", json!({}))]);
    event(&mut events, "asked", |event| matches!(event, SessionEvent::ApprovalRequested { .. })).await;
    interrupts_at_once(&session).await;
    assert_eq!(result(send).await.finish_reason, FinishReason::Interrupted);
}

#[tokio::test]
async fn an_interrupt_of_a_parked_session_is_told_so_at_once_and_done_when_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let ((model, mut asked), (tools, mut calls)) = (model(), hand_tools(&[("bash", Effect::Write)]));
    let journal = Sqlite::options().max_bytes(64 * 8192).open(dir.path().join("j.db")).unwrap();
    let system =
        System::builder().provider("test", model).tools(tools).journal(journal).start().await.unwrap();
    let session = system.session("a").start().await.unwrap();
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({"filler": "x".repeat(600_000)}))]);
    let parked = || async { matches!(session.status().await.unwrap().activity, Activity::Parked { .. }) };
    until("the store is full", parked).await;
    let told = soon("an answer", session.interrupt("enough")).await;
    assert!(matches!(told, Err(SessionError::Parked { .. })), "{told:?}");
    assert!(calls.is_empty(), "nothing that is no fact was acted on");
    send.abort();
}
