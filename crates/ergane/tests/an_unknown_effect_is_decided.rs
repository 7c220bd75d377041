//! What happens to a `Write` that a crash cut off: the model is told, somebody is asked, or it runs again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use common::*;
use ergane::core::ApprovalCause;
use ergane::prelude::*;
use serde_json::json;

/// A session whose `bash` call was cut off by a kill, and what it says then.
struct CutOff {
    session: Session,
    asked: Questions,
    calls: Calls,
    send: tokio::task::JoinHandle<Result<TurnResult, SessionError>>,
    key: String,
    system: System,
}

async fn cut_off(on_unknown: OnUnknown) -> CutOff {
    let (model, mut asked) = model();
    let (tools, mut calls) = hand_tools(&[("bash", Effect::Write)]);
    let system = system_with(&model, tools).await;
    let session = system.session("a").on_unknown(on_unknown).start().await.unwrap();
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({}))]);
    let call = calls.next().await;
    let key = call.context.idempotency_key().to_owned();
    kill(&system, &session).await;
    call.dropped().await;
    CutOff { session, asked, calls, send, key, system }
}

async fn kill(system: &System, session: &Session) {
    let mut watch = session.watch();
    actor(system, "session/a").await.kill();
    soon("it ends", async { while !matches!(watch.next().await, Some(Incarnation::Down { .. })) {} }).await;
}

async fn pending(session: &Session) -> PendingApproval {
    until("a call waits", || async { !session.approvals().await.unwrap().is_empty() }).await;
    session.approvals().await.unwrap().remove(0)
}

#[tokio::test]
async fn by_default_the_model_is_told_and_nothing_runs_again() {
    let CutOff { mut asked, mut calls, send, .. } = cut_off(OnUnknown::TellModel).await;
    let next = asked.next().await;
    assert!(next.results()[0].contains("Its effect is unknown"), "{:?}", next.results());
    next.answer("I see");
    result(send).await;
    assert!(calls.is_empty());
}

#[tokio::test]
async fn a_human_has_it_run_once_more_with_the_same_key() {
    let CutOff { session, mut asked, mut calls, send, key, .. } = cut_off(OnUnknown::AskHuman).await;
    let waits = pending(&session).await;
    assert_eq!(waits.cause, ApprovalCause::CutOff);
    assert!(waits.why.contains("its effect is unknown"), "{}", waits.why);
    assert!(calls.is_empty());
    session.approve(waits.call, Decision::Allow).await.unwrap();
    let again = calls.next().await;
    assert_eq!(again.context.idempotency_key(), key);
    again.give("ok");
    asked.next().await.answer("done");
    result(send).await;
}

#[tokio::test]
async fn a_human_tells_the_result_of_what_was_done_or_gives_it_up() {
    for (decision, words) in [
        (Decision::Done { result: "it was done".into() }, "bash: it was done"),
        (Decision::deny("leave it"), "bash: this call was cut off"),
    ] {
        let CutOff { session, mut asked, mut calls, send, .. } = cut_off(OnUnknown::AskHuman).await;
        let waits = pending(&session).await;
        session.approve(waits.call, decision).await.unwrap();
        let next = asked.next().await;
        assert!(next.results()[0].starts_with(words), "{:?}", next.results());
        next.answer("done");
        result(send).await;
        assert!(calls.is_empty());
    }
}

#[tokio::test]
async fn cut_off_once_more_it_is_asked_about_once_more() {
    let CutOff { session, mut asked, mut calls, send, system, .. } = cut_off(OnUnknown::AskHuman).await;
    let first = pending(&session).await;
    session.approve(first.call, Decision::Allow).await.unwrap();
    let again = calls.next().await;
    kill(&system, &session).await;
    again.dropped().await;
    let second = pending(&session).await;
    assert_eq!((second.call, second.cause), (first.call, ApprovalCause::CutOff));
    session.approve(second.call, Decision::deny("")).question(second.question).await.unwrap();
    asked.next().await.answer("done");
    result(send).await;
    assert!(calls.is_empty());
}

#[tokio::test]
async fn a_decision_that_comes_late_is_no_answer_to_what_is_asked_since() {
    let (model, mut asked) = model();
    let (tools, mut calls) = hand_tools(&[("bash", Effect::Write)]);
    let system = system_with(&model, tools).await;
    let session = system.session("a").ungranted(Ungranted::Ask).on_unknown(OnUnknown::AskHuman);
    let session = session.start().await.unwrap();
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({}))]);
    // Ann and Bob both see the question. Ann is faster; the call runs, and is cut off.
    let first = pending(&session).await;
    session.approve(first.call, Decision::Allow).by("ann").question(first.question).await.unwrap();
    let call = calls.next().await;
    kill(&system, &session).await;
    call.dropped().await;
    let second = pending(&session).await;
    assert_eq!((second.call, second.cause), (first.call, ApprovalCause::CutOff));
    assert_eq!((second.digest, second.question > first.question), (first.digest, true));
    let bob = |decision| session.approve(first.call, decision).by("bob").arguments(first.digest);
    // What Bob said to the first question changes nothing, or is told who was faster.
    bob(Decision::Allow).question(first.question).await.unwrap();
    match bob(Decision::deny("no")).question(first.question).await {
        Err(SessionError::AlreadyDecided { first, .. }) => assert_eq!(&*first.by, "ann"),
        other => panic!("{other:?}"),
    }
    // Who does not say which of the two he answers has answered neither.
    for decision in [Decision::Allow, Decision::deny("no")] {
        match bob(decision).await {
            Err(SessionError::AskedAgain { question, .. }) => assert_eq!(question, second.question),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(session.approvals().await.unwrap(), std::slice::from_ref(&second));
    assert!(calls.is_empty(), "nobody has said that it may run once more");
    session.approve(second.call, Decision::Allow).by("bob").question(second.question).await.unwrap();
    calls.next().await.give("ok");
    asked.next().await.answer("done");
    result(send).await;
    // Each question keeps its own first answer.
    let late = |question| session.approve(second.call, Decision::deny("no")).question(question);
    for (question, by) in [(first.question, "ann"), (second.question, "bob")] {
        match late(question).await {
            Err(SessionError::AlreadyDecided { first, .. }) => assert_eq!(&*first.by, by),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn where_the_session_says_so_it_runs_again_with_the_same_key_until_it_is_poison() {
    let CutOff { session, mut asked, mut calls, send, key, system } = cut_off(OnUnknown::Retry).await;
    for _ in 0..2 {
        let again = calls.next().await;
        assert_eq!(again.context.idempotency_key(), key);
        kill(&system, &session).await;
        again.dropped().await;
    }
    let next = asked.next().await;
    assert!(next.results()[0].contains("three times in a row"), "{:?}", next.results());
    next.answer("done");
    result(send).await;
    assert!(calls.is_empty());
}
