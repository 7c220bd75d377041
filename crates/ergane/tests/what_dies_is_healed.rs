//! One actor after the other is killed in the middle of a turn, and the turn ends as if nothing had happened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::time::Duration;

use common::*;
use ergane::core::ErrorKind;
use ergane::prelude::*;
use serde_json::json;

#[tokio::test]
async fn a_killed_session_comes_back_under_its_name_in_the_middle_of_its_turn() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let system = system_with(&model, tools).await;
    let alice = system.session("alice").start().await.unwrap();
    let send = sending(&alice, "one");
    questions.next().await.answer("first");
    result(send).await;

    let send = sending(&alice, "two");
    questions.next().await.call(&[("look", json!({}))]);
    calls.next().await.give("seen");
    let mut asked = questions.next().await;
    let monitor = alice.monitor();
    let before = alice.actor_ref().unwrap();
    before.kill();
    assert_eq!(soon("the monitor tells", monitor.down()).await.reason, ExitReason::Killed);
    asked.given_up().await;

    let asked = questions.next().await;
    assert_eq!(asked.results(), ["look: seen"], "the tool is not run again");
    assert!(calls.is_empty());
    asked.answer("second");
    let second = result(send).await;
    assert_eq!((&*second.text, second.ordinal, second.recovered), ("second", 2, true));
    assert_ne!(alice.actor_ref().unwrap().get_id(), before.get_id());
    assert_eq!(alice.messages().await.unwrap().len(), 6);
    assert!(kinds(&system, &alice).await.contains(&"recovered".to_owned()));
}

#[tokio::test]
async fn a_session_killed_between_any_two_of_its_turns_has_its_whole_history() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let mut watch = alice.watch();
    for n in 0..4 {
        let send = sending(&alice, &format!("q{n}"));
        let asked = questions.next().await;
        assert_eq!(asked.texts().len(), 2 * n + 1);
        asked.answer(&format!("a{n}"));
        result(send).await;
        alice.actor_ref().unwrap().kill();
        // Down, then up again, before the next: the budget has room for all of these.
        while !matches!(soon("it ends", watch.next()).await, Some(ergane::otp::Incarnation::Down { .. })) {}
        while !matches!(soon("it lives", watch.next()).await, Some(ergane::otp::Incarnation::Up { .. })) {}
    }
    assert_eq!(alice.messages().await.unwrap().len(), 8);
}

#[tokio::test]
async fn a_killed_loop_is_replaced_and_the_session_stays() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let before = alice.actor_ref().unwrap().get_id();
    let turn = alice.send_message("go").key("k").accepted().await.unwrap();
    let mut asked = questions.next().await;
    raw_actor(&system, &format!("session/alice#turn/{turn}")).await.kill();
    asked.given_up().await;
    questions.next().await.answer("done");
    assert_eq!(&*soon("the turn ends", async { alice.turn(turn).await }).await.unwrap().text, "done");
    assert_eq!(alice.actor_ref().unwrap().get_id(), before);
}

#[tokio::test]
async fn a_killed_loop_leaves_running_tools_alone() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    let system = system_with(&model, tools).await;
    let alice = system.session("alice").start().await.unwrap();
    let turn = alice.send_message("go").accepted().await.unwrap();
    questions.next().await.call(&[("change", json!({}))]);
    let call = calls.next().await;
    let worker = raw_actor(&system, &format!("session/alice#turn/{turn}")).await;
    worker.kill();
    soon("the loop is gone", worker.wait(None)).await.unwrap();
    call.give("changed");
    let asked = questions.next().await;
    assert_eq!(asked.results(), ["change: changed"]);
    assert!(calls.is_empty());
    asked.answer("done");
    assert_eq!(alice.turn(turn).await.unwrap().finish_reason, FinishReason::Stop);
}

#[tokio::test]
async fn a_loop_that_keeps_dying_ends_the_turn_and_not_the_session() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let turn = alice.send_message("go").accepted().await.unwrap();
    for name in ["", "/restart/1", "/restart/2"] {
        let mut asked = questions.next().await;
        raw_actor(&system, &format!("session/alice#turn/{turn}{name}")).await.kill();
        asked.given_up().await;
    }
    let ended = soon("the turn ends", async { alice.turn(turn).await }).await.unwrap();
    assert_eq!(ended.finish_reason, FinishReason::DuringExecution);
    assert_eq!(ended.error.unwrap().kind, ErrorKind::Internal);
    let send = sending(&alice, "again");
    questions.next().await.answer("fine");
    assert_eq!(&*result(send).await.text, "fine");
}

#[tokio::test]
async fn a_fact_between_two_deaths_of_the_loop_begins_their_count_anew() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let system = system_with(&model, tools).await;
    let alice = system.session("alice").start().await.unwrap();
    let turn = alice.send_message("go").accepted().await.unwrap();
    questions.next().await.call(&[("look", json!({}))]);
    let call = calls.next().await;
    let worker = raw_actor(&system, &format!("session/alice#turn/{turn}")).await;
    worker.kill();
    soon("the loop is gone", worker.wait(None)).await.unwrap();
    call.give("seen"); // a fact
    for name in ["/restart/1", "/restart/2"] {
        let mut asked = questions.next().await;
        raw_actor(&system, &format!("session/alice#turn/{turn}{name}")).await.kill();
        asked.given_up().await;
    }
    questions.next().await.answer("done");
    let ended = soon("the turn ends", async { alice.turn(turn).await }).await.unwrap();
    assert_eq!((ended.finish_reason, &*ended.text), (FinishReason::Stop, "done"));
}

#[tokio::test]
async fn a_killed_tool_is_an_error_result_and_the_turn_goes_on() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let system = system_with(&model, tools).await;
    let alice = system.session("alice").start().await.unwrap();
    let send = sending(&alice, "go");
    questions.next().await.call(&[("look", json!({})), ("look", json!({}))]);
    let (one, two) = (calls.next().await, calls.next().await);
    let (id, call) = (one.context.call_id(), one);
    raw_actor(&system, &format!("session/alice#tool/{id}")).await.kill();
    call.dropped().await;
    two.give("seen");
    let asked = questions.next().await;
    let results = asked.results();
    assert_eq!(results.iter().filter(|result| result.contains("killed")).count(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|result| result.contains("seen")).count(), 1, "{results:?}");
    asked.answer("done");
    assert_eq!(result(send).await.finish_reason, FinishReason::Stop);
}

#[tokio::test]
async fn a_killed_request_is_an_attempt_that_failed_and_is_tried_again() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let send = sending(&alice, "go");
    let mut asked = questions.next().await;
    only_request(&system).await.kill();
    asked.given_up().await;
    questions.next().await.answer("done");
    assert_eq!(&*result(send).await.text, "done");
    assert!(log(&system, &alice).await.iter().any(|event| event["attempts"] == 2));
}

#[tokio::test]
async fn a_killed_provider_loses_no_call_in_flight() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let send = sending(&alice, "go");
    let asked = questions.next().await;
    let names = system.context().namespace();
    let mut watch = names.watch("provider/test");
    actor(&system, "provider/test").await.kill();
    while !matches!(soon("it ends", watch.next()).await, Some(ergane::otp::Incarnation::Down { .. })) {}
    asked.answer("done all the same");
    assert_eq!(&*result(send).await.text, "done all the same");
    let send = sending(&alice, "again");
    questions.next().await.answer("by the new one");
    assert_eq!(&*result(send).await.text, "by the new one");
}

#[tokio::test]
async fn a_killed_journal_actor_is_no_crash_of_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let (model, mut questions) = model();
    let sqlite = Sqlite::open(folder.path().join("j.db")).unwrap();
    let system = System::builder().provider("test", model).journal(sqlite).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let before = alice.actor_ref().unwrap().get_id();
    for n in 0..3 {
        let send = sending(&alice, &format!("q{n}"));
        let asked = questions.next().await;
        actor(&system, "journal").await.kill();
        asked.answer(&format!("a{n}"));
        assert_eq!(&*result(send).await.text, format!("a{n}"));
        actor(&system, "journal").await;
    }
    assert_eq!(alice.actor_ref().unwrap().get_id(), before, "no restart was spent");
    assert_eq!(alice.messages().await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_session_over_its_budget_is_quarantined_the_others_do_not_notice_and_start_lifts_it() {
    let (model, mut questions) = model();
    let system = System::builder()
        .provider("test", model)
        .restart_budget(1, Duration::from_secs(3600))
        .start()
        .await
        .unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let bob = system.session("bob").start().await.unwrap();
    let bobs = bob.actor_ref().unwrap().get_id();
    let mut watch = alice.watch();
    for _ in 0..2 {
        actor(&system, "session/alice").await.kill();
        while !matches!(soon("it ends", watch.next()).await, Some(ergane::otp::Incarnation::Down { .. })) {}
    }
    while !matches!(
        soon("quarantine", watch.next()).await,
        Some(ergane::otp::Incarnation::Quarantined { .. })
    ) {}
    let error = alice.send_message("hello").await.unwrap_err();
    assert!(matches!(error, SessionError::Quarantined { .. }), "{error}");
    assert!(matches!(alice.status().await.unwrap().activity, Activity::Quarantined { .. }));
    let listed = system.sessions().await.unwrap();
    let alices = listed.iter().find(|info| info.name.as_str() == "alice").unwrap();
    assert_eq!(alices.status, "quarantined");
    assert_eq!(bob.actor_ref().unwrap().get_id(), bobs);

    alice.start().await.unwrap();
    let send = sending(&alice, "hello");
    questions.next().await.answer("back");
    assert_eq!(&*result(send).await.text, "back");
}

#[tokio::test]
async fn a_subscriber_gets_a_snapshot_then_every_fact_once_over_a_restart() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let send = sending(&alice, "one");
    questions.next().await.answer("first");
    result(send).await;
    let mut events = alice.subscribe(None).await.unwrap();
    assert_eq!(events.snapshot().messages.len(), 2);
    assert_eq!(events.snapshot().status.turns, 1);
    let read = tokio::spawn(async move {
        let mut seen = Vec::new();
        loop {
            let event = soon("an event", events.next()).await.expect("more").expect("readable");
            let done = matches!(event, SessionEvent::Done { .. });
            seen.push(serde_json::to_value(event).unwrap());
            if done {
                return seen;
            }
        }
    });
    let send = sending(&alice, "two");
    let asked = questions.next().await;
    asked.show("half");
    until("it is shown", || async {
        // The session has folded the delta once it can tell it to a newcomer.
        alice.subscribe(None).await.unwrap().snapshot().partial.as_ref() == "half"
    })
    .await;
    alice.actor_ref().unwrap().kill();
    questions.next().await.answer("second");
    result(send).await;
    let seen = read.await.unwrap();
    let types: Vec<&str> = seen.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["turn_started", "content", "stream_reset", "recovered", "reply", "usage", "done"]);
}

#[tokio::test]
async fn a_piece_of_an_answer_that_died_is_announced_as_void_also_to_who_reads_after_the_turn() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let mut stream = alice.send_message("go").stream().await.unwrap();
    // Only now is the send on its way: reading begins it, and the first thing told is its start.
    assert!(matches!(soon("the start", stream.next()).await, Some(SessionEvent::TurnStarted { .. })));
    let asked = questions.next().await;
    asked.show("half");
    until("it is shown", || async {
        alice.subscribe(None).await.unwrap().snapshot().partial.as_ref() == "half"
    })
    .await;
    alice.actor_ref().unwrap().kill();
    questions.next().await.answer("whole");
    until("the turn ended", || async { alice.status().await.unwrap().activity == Activity::Idle }).await;
    let mut seen = Vec::new();
    while let Some(event) = soon("an event", stream.next()).await {
        seen.push(serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen, ["content", "stream_reset", "recovered", "reply", "usage", "done"]);
    assert_eq!(&*stream.result().await.unwrap().text, "whole");
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_slows_nobody_and_misses_no_fact() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let mut events = alice.subscribe(None).await.unwrap();
    let send = sending(&alice, "go");
    let asked = questions.next().await;
    for _ in 0..5000 {
        asked.show("x");
    }
    asked.answer("done");
    assert_eq!(&*result(send).await.text, "done");
    let (mut pieces, mut lost, mut facts) = (0, 0, Vec::new());
    loop {
        match soon("an event", events.next()).await.unwrap().unwrap() {
            SessionEvent::Content { .. } => pieces += 1,
            SessionEvent::Lagged { missed } => lost += missed,
            SessionEvent::Done { .. } => break,
            other => facts.push(serde_json::to_value(other).unwrap()["type"].as_str().unwrap().to_owned()),
        }
    }
    assert_eq!(facts, ["turn_started", "reply", "usage"]);
    assert!(pieces > 0 && pieces + lost <= 5000, "{pieces} + {lost}");
}

fn model_of_nobody() -> Model {
    model().0
}

#[tokio::test]
async fn an_anchor_ends_with_its_session_and_its_end_ends_the_session() {
    use ergane::ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

    struct Yours(tokio::sync::mpsc::UnboundedSender<String>);
    impl Actor for Yours {
        type Msg = ();
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
        async fn handle_supervisor_evt(
            &self,
            _: ActorRef<()>,
            event: SupervisionEvent,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            match event {
                SupervisionEvent::ActorTerminated(_, _, reason) => {
                    self.0.send(format!("ended {reason:?}"))?
                }
                SupervisionEvent::ActorFailed(_, error) => self.0.send(format!("failed {error}"))?,
                _ => {}
            }
            Ok(())
        }
    }

    let (model, mut questions) = model();
    let system = system(&model).await;
    let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
    let (yours, _) = Actor::spawn(None, Yours(told), ()).await.unwrap();

    let (alice, anchor) = system.session("alice").start_link(&yours.get_cell()).await.unwrap();
    alice.actor_ref().unwrap().kill();
    let send = sending(&alice, "still there?");
    questions.next().await.answer("yes");
    assert_eq!(&*result(send).await.text, "yes");
    assert!(hears.try_recv().is_err(), "a restart that healed ends no anchor");
    alice.stop().await.unwrap();
    assert!(soon("the anchor ends", hears.recv()).await.unwrap().starts_with("ended"));
    soon("it is gone", anchor.wait(None)).await.unwrap();

    let budget =
        System::builder().provider("test", model_of_nobody()).restart_budget(0, LONG).start().await.unwrap();
    let (carol, anchor) = budget.session("carol").start_link(&yours.get_cell()).await.unwrap();
    carol.actor_ref().unwrap().kill();
    let told = soon("the anchor ends", hears.recv()).await.unwrap();
    assert!(told.starts_with("failed"), "{told}");
    soon("it is gone", anchor.wait(None)).await.unwrap();
    let status = carol.status().await.unwrap();
    assert!(matches!(status.activity, Activity::Quarantined { .. }), "its end lifts nothing: {status:?}");

    let (bob, anchor) = system.session("bob").start_link(&yours.get_cell()).await.unwrap();
    let monitor = bob.monitor();
    anchor.kill();
    soon("the session ends with its anchor", monitor.down()).await;
    until("it is only stored", || async { bob.status().await.unwrap().activity == Activity::Stored }).await;
}
