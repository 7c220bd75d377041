//! Sessions with nothing to do stop by themselves, and are there again when somebody asks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::IntoFuture;
use std::time::Duration;

use common::*;
use ergane::prelude::*;
use serde_json::json;
use tokio::time::Instant;

const IDLE: Duration = Duration::from_secs(300);

async fn passivating(model: &Model, tools: Vec<std::sync::Arc<dyn Tool>>) -> System {
    let system = System::builder().provider("test", model.clone()).tools(tools).passivate_after(IDLE);
    system.start().await.unwrap()
}

async fn activity(session: &Session) -> Activity {
    session.status().await.unwrap().activity
}

#[tokio::test(start_paused = true)]
async fn a_session_without_anything_to_do_stops_normally_and_the_next_touch_brings_it_back() {
    let (model, mut asked) = model();
    let system = passivating(&model, Vec::new()).await;
    let session = system.session("a").start().await.unwrap();
    let send = sending(&session, "one");
    asked.next().await.answer("1");
    result(send).await;
    let quiet = Instant::now();
    let down = session.monitor().await;
    assert_eq!(down.reason, ExitReason::Normal);
    assert!(quiet.elapsed() >= IDLE && quiet.elapsed() < IDLE * 2, "{:?}", quiet.elapsed());
    assert_eq!(activity(&session).await, Activity::Stored);
    assert!(session.actor_ref().is_none());
    let send = sending(&session, "two");
    let question = asked.next().await;
    assert_eq!(question.texts(), ["one", "1", "two"]);
    question.answer("2");
    assert_eq!(result(send).await.ordinal, 2);
}

#[tokio::test(start_paused = true)]
async fn a_time_without_end_is_never_over() {
    let (model, mut asked) = model();
    let system =
        System::builder().provider("test", model).passivate_after(Duration::MAX).start().await.unwrap();
    let session = system.session("a").start().await.unwrap();
    let before = session.actor_ref().unwrap().get_id();
    let send = {
        let session = session.clone();
        tokio::spawn(async move { session.send_message("one").deadline(Duration::MAX).await })
    };
    asked.next().await.answer("1");
    let first = soon("it ends", send).await.unwrap().unwrap();
    let again = soon("it is known", session.turn(first.turn).deadline(Duration::MAX).into_future()).await;
    assert_eq!(&*again.unwrap().text, "1");
    let mut turn = session.send_message("two").deadline(Duration::MAX).stream().await.unwrap();
    asked.next().await.answer("2");
    while turn.next().await.is_some() {}
    assert_eq!(&*turn.result().await.unwrap().text, "2");
    tokio::time::sleep(IDLE * 100).await;
    assert_eq!(activity(&session).await, Activity::Idle);
    assert_eq!(session.actor_ref().unwrap().get_id(), before);
    soon("it stops", session.stop().deadline(Duration::MAX).into_future()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_touch_begins_the_quiet_anew_and_who_only_looks_at_the_status_does_not() {
    let (model, _asked) = model();
    let system = passivating(&model, Vec::new()).await;
    let session = system.session("a").start().await.unwrap();
    let monitor = session.monitor();
    for _ in 0..3 {
        tokio::time::sleep(IDLE - Duration::from_secs(10)).await;
        session.messages().await.unwrap();
    }
    let quiet = Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(80)).await;
        assert_eq!(activity(&session).await, Activity::Idle);
    }
    assert_eq!(monitor.down().await.reason, ExitReason::Normal);
    assert!(quiet.elapsed() < IDLE * 2, "{:?}", quiet.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_session_at_work_or_listened_to_or_in_somebodys_tree_stays() {
    let (model, mut asked) = model();
    let system = passivating(&model, Vec::new()).await;
    let at_work = system.session("at work").start().await;
    assert!(at_work.is_err(), "a name has no spaces");
    let at_work = system.session("at-work").start().await.unwrap();
    let turn = at_work.send_message("one").accepted().await.unwrap();
    let question = asked.next().await;
    let listened_to = system.session("listened-to").start().await.unwrap();
    let subscription = listened_to.subscribe(None).await.unwrap();
    let root =
        ergane::otp::Supervisor::builder().start(system.context().namespace(), "my-tree").await.unwrap();
    let (in_a_tree, anchor) = system.session("in-a-tree").start_link(&root.cell()).await.unwrap();
    tokio::time::sleep(IDLE * 10).await;
    for session in [&at_work, &listened_to, &in_a_tree] {
        assert!(session.actor_ref().is_some(), "{}", session.name());
    }
    // Once the reason is gone, so are they.
    question.answer("1");
    at_work.turn(turn).await.unwrap();
    assert_eq!(at_work.monitor().await.reason, ExitReason::Normal);
    drop(subscription);
    listened_to.messages().await.unwrap();
    assert_eq!(listened_to.monitor().await.reason, ExitReason::Normal);
    assert!(in_a_tree.actor_ref().is_some());
    anchor.stop(None);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_decision_is_found_and_decided_after_its_session_has_passivated() {
    let (model, mut asked) = model();
    let (tools, mut calls) = hand_tools(&[("bash", Effect::Write)]);
    let system = passivating(&model, tools).await;
    let session = system.session("a").ungranted(Ungranted::Ask).start().await.unwrap();
    let turn = session.send_message("go").accepted().await.unwrap();
    asked.next().await.call(&[("bash", json!({}))]);
    until("it asks", || async { matches!(activity(&session).await, Activity::AwaitingApproval { .. }) })
        .await;
    assert_eq!(session.monitor().await.reason, ExitReason::Normal);
    assert_eq!(activity(&session).await, Activity::Stored);
    let waits = session.approvals().await.unwrap().remove(0);
    // Looked at and left alone, it passivates once more.
    assert_eq!(session.monitor().await.reason, ExitReason::Normal);
    session.approve(waits.call, Decision::Allow).await.unwrap();
    calls.next().await.give("ok");
    asked.next().await.answer("done");
    let result = session.turn(turn).await.unwrap();
    assert_eq!((&*result.text, result.recovered), ("done", true));
}

#[tokio::test(start_paused = true)]
async fn somebody_who_waits_for_the_result_of_a_turn_that_waits_keeps_its_session_up() {
    let (model, mut asked) = model();
    let (tools, _calls) = hand_tools(&[("bash", Effect::Write)]);
    let system = passivating(&model, tools).await;
    let session = system.session("a").ungranted(Ungranted::Ask).start().await.unwrap();
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({}))]);
    until("it asks", || async { matches!(activity(&session).await, Activity::AwaitingApproval { .. }) })
        .await;
    let before = session.actor_ref().unwrap().get_id();
    tokio::time::sleep(IDLE * 5).await;
    assert_eq!(session.actor_ref().unwrap().get_id(), before);
    let waits = session.approvals().await.unwrap().remove(0);
    session.approve(waits.call, Decision::deny("no")).await.unwrap();
    asked.next().await.answer("done");
    result(send).await;
}

/// Real time, a real file, and an idle time so short that sends meet sessions on their way out all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_races_a_passivation_is_neither_lost_nor_doubled() {
    const SENDS: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let (model, mut asked) = model();
    let system = System::builder()
        .provider("test", model)
        .journal(Sqlite::open(dir.path().join("j.db")).unwrap())
        .passivate_after(Duration::from_millis(1))
        .start()
        .await
        .unwrap();
    let answering = tokio::spawn(async move {
        for n in 0..SENDS {
            asked.next().await.answer(&n.to_string());
        }
        asked
    });
    let session = system.session("a").start().await.unwrap();
    for n in 0..SENDS {
        // From well before the end of the quiet to well after it.
        tokio::time::sleep(Duration::from_micros(61 * (n as u64))).await;
        let sent = result(sending(&session, "go")).await;
        assert_eq!((sent.ordinal as usize, &*sent.text), (n + 1, &*n.to_string()));
    }
    let mut asked = soon("all is answered", answering).await.unwrap();
    assert!(asked.is_empty(), "nothing was asked twice");
    let kinds = kinds(&system, &session).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "queued").count(), SENDS);
    assert_eq!(kinds.iter().filter(|kind| *kind == "recovered").count(), 0);
}
