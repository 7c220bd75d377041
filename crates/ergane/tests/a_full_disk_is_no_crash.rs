//! The store cannot take facts for a while: the session waits, acts on nothing, and goes on when it can.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use common::*;
use ergane::SystemBuilder;
use ergane::core::{Seq, SettingsPatch};
use ergane::journal::{Journal, MAX_EVENT_BYTES};
use ergane::prelude::*;
use ergane_testkit::{FaultPlan, FaultyJournal, Gate, JournalFault};
use serde_json::json;
use tempfile::TempDir;

/// A store on a disk, whose commits fail as the plan says. The folder is to be kept for as long.
fn store(plan: &FaultPlan) -> (Arc<FaultyJournal>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(folder.path().join("journal.db")).unwrap();
    (Arc::new(plan.journal(Arc::new(sqlite))), folder)
}

/// Alice, in a system on such a disk.
async fn alice(plan: &FaultPlan, system: SystemBuilder) -> (Session, System, TempDir) {
    let (store, folder) = store(plan);
    let system = system.shared_journal(store).start().await.unwrap();
    (system.session("alice").start().await.unwrap(), system, folder)
}

#[tokio::test]
async fn a_tool_is_not_told_to_stop_before_the_wish_to_interrupt_is_durable() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    let (alice, _system, _folder) =
        alice(&plan, System::builder().provider("test", model).tools(tools)).await;
    let send = sending(&alice, "go");
    questions.next().await.call(&[("change", json!({})), ("change", json!({}))]);
    let call = calls.next().await;
    plan.break_journal(JournalFault::NotWritten);
    let wish = soon("it is told why", alice.interrupt("enough")).await;
    assert!(matches!(wish, Err(SessionError::Parked { .. })), "{wish:?}");
    until("it tried again", || async { plan.told().len() >= 3 }).await;
    assert!(!call.context.is_cancelled(), "after a crash nobody would know that the turn was to end");
    plan.heal();
    soon("it is told", call.context.cancelled()).await;
    call.give("what there was");
    assert_eq!(result(send).await.finish_reason, FinishReason::Interrupted);
    assert!(calls.is_empty(), "and the next one never ran");
    let said: Vec<String> = alice
        .messages()
        .await
        .unwrap()
        .iter()
        .flat_map(|m| m.results().map(|r| r.text()).collect::<Vec<_>>())
        .collect();
    assert_eq!(said[0], "what there was");
}

#[tokio::test]
async fn a_tool_that_fills_the_disk_is_told_to_stop_although_the_wish_cannot_be_written() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    let (alice, system, _folder) = alice(&plan, System::builder().provider("test", model).tools(tools)).await;
    let send = sending(&alice, "go");
    questions.next().await.call(&[("change", json!({}))]);
    let call = calls.next().await;
    plan.break_journal(JournalFault::NotWritten);
    let wish = soon("it is told why", alice.interrupt("enough")).await;
    assert!(matches!(wish, Err(SessionError::Parked { .. })), "{wish:?}");
    soon("it is told", call.context.cancelled()).await;
    assert!(!kinds(&system, &alice).await.contains(&"interrupt_requested".to_owned()), "it is no fact");
    call.give("what there was");
    until("the tool is gone", || async {
        let status = alice.status().await.unwrap();
        status.accepted.0 >= status.durable.0 + 3 // the wish, the result and the end of the turn
    })
    .await;
    assert!(!send.is_finished(), "nobody is told what is not durable");
    plan.heal();
    assert_eq!(result(send).await.finish_reason, FinishReason::Interrupted);
}

#[tokio::test]
async fn a_process_that_had_not_begun_when_the_user_interrupted_never_begins() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let (alice, _system, _folder) =
        alice(&plan, System::builder().provider("test", model).tools(tools)).await;
    let send = sending(&alice, "go");
    questions.next().await.call(&[("look", json!({})), ("look", json!({}))]);
    let (first, second) = (calls.next().await, calls.next().await);
    plan.break_journal(JournalFault::NotWritten);
    let mut begins = Box::pin(first.context.record_process(1, 1));
    assert!(is_pending(&mut begins));
    until("its group is on its way to the disk", || async { !plan.told().is_empty() }).await;
    assert!(is_pending(&mut begins), "its group is no fact yet");
    let wish = soon("it is told why", alice.interrupt("enough")).await;
    assert!(matches!(wish, Err(SessionError::Parked { .. })), "{wish:?}");
    soon("it is told", begins).await.expect_err("it must not begin any more");
    soon("it is told", second.context.record_process(1, 1)).await.expect_err("nor may any other");
    plan.heal();
    first.give("not run");
    second.give("not run");
    assert_eq!(result(send).await.finish_reason, FinishReason::Interrupted);
}

#[tokio::test]
async fn a_full_disk_parks_the_session_and_it_goes_on_when_there_is_room() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    let (alice, _system, _folder) =
        alice(&plan, System::builder().provider("test", model).tools(tools)).await;
    let before = alice.actor_ref().unwrap().get_id();
    let send = sending(&alice, "go");
    let asked = questions.next().await;
    let mut listening = alice.subscribe(None).await.unwrap();
    plan.break_journal(JournalFault::NotWritten);
    asked.call(&[("change", json!({}))]);
    until("it is parked", || async {
        matches!(alice.status().await.unwrap().activity, Activity::Parked { reason } if reason.contains("disk is full"))
    })
    .await;
    until("it tried again", || async { plan.told().len() >= 3 }).await;
    assert!(calls.is_empty(), "nothing runs whose start is no fact");
    assert_eq!(
        alice.messages().await.unwrap().len(),
        1,
        "reads work, and show nothing that may still be lost"
    );
    assert_eq!(alice.subscribe(None).await.unwrap().snapshot().messages.len(), 1);
    let parked = soon("it is told why", listening.next()).await;
    assert!(matches!(parked, Some(Ok(SessionEvent::Parked { .. }))), "{parked:?}");
    let mut told = Box::pin(async { listening.next().await });
    assert!(is_pending(&mut told), "and nobody is told of the answer");
    plan.heal();
    assert!(matches!(told.await, Some(Ok(SessionEvent::Reply { .. }))));
    calls.next().await.give("changed");
    questions.next().await.answer("done");
    assert_eq!(&*result(send).await.text, "done");
    assert_eq!(alice.actor_ref().unwrap().get_id(), before, "no restart was spent");
}

#[tokio::test]
async fn a_send_is_not_accepted_and_no_model_is_asked_before_it_is_durable() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (alice, _system, _folder) = alice(&plan, System::builder().provider("test", model)).await;
    plan.break_journal(JournalFault::NotWritten);
    let mut accepted = Box::pin(alice.send_message("go").accepted());
    assert!(is_pending(&mut accepted));
    until("it tried again", || async { plan.told().len() >= 2 }).await;
    assert!(is_pending(&mut accepted) && questions.is_empty());
    plan.heal();
    let turn = soon("accepted", accepted).await.unwrap();
    questions.next().await.answer("done");
    assert_eq!(&*soon("the result", alice.turn(turn).into_future()).await.unwrap().text, "done");
    assert!(questions.is_empty(), "it is asked once");
}

#[tokio::test]
async fn who_reads_his_turn_is_told_that_it_is_parked_while_it_is_and_not_afterwards() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (alice, _system, _folder) = alice(&plan, System::builder().provider("test", model)).await;
    plan.break_journal(JournalFault::NotWritten);
    let mut turn = alice.send_message("go").stream().await.unwrap();
    // Which turn is his, nobody can tell him before the disk has room.
    let told = soon("it is told", turn.next()).await;
    assert!(matches!(told, Some(SessionEvent::Parked { .. })), "{told:?}");
    plan.heal();
    questions.next().await.answer("done");
    let told = soon("its start", turn.next()).await;
    assert!(matches!(told, Some(SessionEvent::TurnStarted { .. })), "{told:?}");
    while let Some(event) = soon("its end", turn.next()).await {
        assert!(!matches!(event, SessionEvent::Parked { .. }), "it goes on");
    }
    assert_eq!(&*turn.result().await.unwrap().text, "done");
    // Who has not looked meanwhile is not told of it.
    plan.break_journal(JournalFault::NotWritten);
    let before = plan.told().len();
    let mut turn = alice.send_message("again").stream().await.unwrap();
    until("it tried again", || async { plan.told().len() >= before + 2 }).await;
    plan.heal();
    questions.next().await.answer("done again");
    until("it has ended", || async { alice.messages().await.unwrap().len() == 4 }).await;
    let told = soon("its start", turn.next()).await;
    assert!(matches!(told, Some(SessionEvent::TurnStarted { .. })), "{told:?}");
}

#[tokio::test]
async fn who_begins_to_listen_to_a_parked_session_is_told_so_first_and_once() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (alice, _system, _folder) = alice(&plan, System::builder().provider("test", model)).await;
    plan.break_journal(JournalFault::NotWritten);
    let send = sending(&alice, "go");
    until("it tried again", || async { plan.told().len() >= 2 }).await;
    let mut late = alice.subscribe(None).await.unwrap();
    let mut from_the_beginning = alice.subscribe(Some(Seq(0))).await.unwrap();
    let mut turn = alice.send_message("again").stream().await.unwrap();
    // Each further try fails for the same reason, which is no news.
    let tried = plan.told().len();
    until("it tried again", || async { plan.told().len() >= tried + 2 }).await;
    let is_parked = |event: &SessionEvent| matches!(event, SessionEvent::Parked { reason } if reason.contains("disk is full"));
    assert!(is_parked(&soon("it is told", turn.next()).await.unwrap()));
    assert!(is_parked(&soon("it is told", late.next()).await.unwrap().unwrap()));
    assert!(is_parked(&soon("it is told", from_the_beginning.next()).await.unwrap().unwrap()));
    assert!(is_pending(&mut Box::pin(late.next())), "once");
    plan.heal();
    questions.next().await.answer("done");
    assert_eq!(&*result(send).await.text, "done");
    questions.next().await.answer("done again");
    for mut events in [late, from_the_beginning] {
        let (mut ends, mut last) = (0, Seq(0));
        while ends < 2 {
            let event = soon("an event", events.next()).await.unwrap().unwrap();
            assert!(!is_parked(&event), "it goes on");
            assert!(events.cursor() >= last, "facts come in order");
            last = events.cursor();
            ends += usize::from(matches!(event, SessionEvent::Done { .. }));
        }
    }
    // Who comes now is told nothing of it.
    let mut now = alice.subscribe(None).await.unwrap();
    assert!(is_pending(&mut Box::pin(now.next())));
}

/// What the system itself would tell of a process that it cannot end, for no test can make one.
#[tokio::test]
async fn what_is_left_behind_is_told_also_after_a_fact_was_written_and_a_full_disk_once_although_it_is_gone()
{
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (alice, _system, _folder) = alice(&plan, System::builder().provider("test", model)).await;
    let left_behind = |gone: bool| {
        let call = "3.1".parse().unwrap();
        alice
            .actor_ref()
            .unwrap()
            .cast(SessionMsg::Internal(ergane_session::Internal::LeftBehindGone { call, gone }))
            .unwrap();
    };
    let parked = |event: Option<Result<SessionEvent, SessionError>>| match event {
        Some(Ok(SessionEvent::Parked { reason })) => reason.to_string(),
        other => panic!("{other:?}"),
    };
    left_behind(false);
    soon("a fact", alice.checkpoint("here")).await.unwrap();
    let mut late = alice.subscribe(None).await.unwrap();
    assert!(parked(soon("it is told", late.next()).await).contains("does not end"));
    plan.break_journal(JournalFault::NotWritten);
    let wish = soon("it is told why", alice.checkpoint("there")).await;
    assert!(matches!(wish, Err(SessionError::Parked { .. })), "{wish:?}");
    assert!(parked(soon("it is told", late.next()).await).contains("disk is full"));
    left_behind(true);
    let tried = plan.told().len();
    until("it tried again", || async { plan.told().len() >= tried + 2 }).await;
    assert!(is_pending(&mut Box::pin(late.next())), "that is no news");
    plan.heal();
    let told = soon("it goes on", late.next()).await;
    assert!(matches!(told, Some(Ok(SessionEvent::Checkpointed { .. }))), "{told:?}");
    assert!(questions.is_empty());
}

/// A fact that no store takes would park its session for good.
#[tokio::test]
async fn an_input_that_fits_no_event_together_with_its_settings_is_refused() {
    let (model, mut questions) = model();
    let (alice, _system, _folder) =
        alice(&FaultPlan::none(), System::builder().provider("test", model)).await;
    let system_prompt = Some("p".repeat(1_000_000).into());
    let settings = SettingsPatch { system_prompt, ..SettingsPatch::default() };
    let send = |bytes: usize| alice.send_message("x".repeat(bytes)).settings(settings.clone());
    let large = MAX_EVENT_BYTES - 200_000;
    let refused = soon("an answer", send(large).accepted()).await;
    let Err(SessionError::InputTooLarge { bytes, limit }) = refused else { panic!("{refused:?}") };
    assert!(bytes > large + 1_000_000 && limit < MAX_EVENT_BYTES);
    // Up to the last byte of that limit it is taken, and written.
    let turn = soon("an answer", send(large - (bytes - limit)).accepted()).await.unwrap();
    questions.next().await.answer("done");
    assert_eq!(&*soon("the result", alice.turn(turn).into_future()).await.unwrap().text, "done");
}

#[tokio::test]
async fn an_input_that_fits_no_event_together_with_what_the_session_adds_to_its_settings_is_refused() {
    let (model, mut questions) = model();
    let system = System::builder().provider("test", model);
    let (alice, system, _folder) = alice(&FaultPlan::none(), system).await;
    // The send names a model alone; where that is asked is the session's word, and a fact with the send.
    let base_url = format!("http://127.0.0.1/{}", "p".repeat(500_000));
    let bob = system.session("bob").base_url(base_url).start().await.unwrap();
    let settings = SettingsPatch { model: Some("other".into()), ..SettingsPatch::default() };
    let send = |session: &Session| {
        session.send_message("x".repeat(MAX_EVENT_BYTES - 200_000)).settings(settings.clone()).accepted()
    };
    let refused = soon("an answer", send(&bob)).await;
    assert!(
        matches!(refused, Err(SessionError::InputTooLarge { bytes, limit }) if bytes > limit),
        "{refused:?}"
    );
    // Nothing of it is kept, and the same is no matter for a session with little to add.
    assert_eq!(kinds(&system, &bob).await, ["session_started"]);
    soon("an answer", send(&alice)).await.unwrap();
    questions.next().await.answer("done");
}

#[tokio::test]
async fn no_call_runs_before_the_answer_it_is_of_and_no_write_before_its_own_start_is_durable() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read), ("change", Effect::Write)]);
    let (alice, _system, _folder) =
        alice(&plan, System::builder().provider("test", model).tools(tools)).await;
    let send = sending(&alice, "go");
    let asked = questions.next().await;
    plan.break_journal(JournalFault::NotWritten);
    asked.call(&[("look", json!({})), ("change", json!({"n": 1})), ("change", json!({"n": 2}))]);
    until("it tried again", || async { plan.told().len() >= 2 }).await;
    assert!(calls.is_empty(), "the answer may still be lost");
    plan.heal();
    calls.next().await.give("seen");
    let first = calls.next().await;
    let before = plan.told().len();
    plan.break_journal(JournalFault::NotWritten);
    first.give("changed");
    until("it tried again", || async { plan.told().len() >= before + 2 }).await;
    assert!(calls.is_empty(), "the start of the second may still be lost");
    plan.heal();
    calls.next().await.give("changed again");
    let asked = questions.next().await;
    assert_eq!(asked.results(), ["look: seen", "change: changed", "change: changed again"]);
    asked.answer("done");
    assert_eq!(&*result(send).await.text, "done");
}

/// Calls are allowed once the gate is open.
fn allowed_when(decided: &Gate, builder: SystemBuilder) -> SystemBuilder {
    let gate = decided.clone();
    builder.can_use_tool(move |_| {
        let gate = gate.clone();
        async move {
            gate.passed().await;
            Permission::Allow
        }
    })
}

#[tokio::test]
async fn a_write_that_a_callback_allows_does_not_run_before_its_start_is_durable() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    let decided = Gate::new();
    let builder = System::builder().provider("test", model).tools(tools);
    let (alice, system, _folder) = alice(&plan, allowed_when(&decided, builder)).await;
    let send = sending(&alice, "go");
    questions.next().await.call(&[("change", json!({}))]);
    until("the answer is durable", || async { kinds(&system, &alice).await.len() == 4 }).await;
    // Its start is an append of its own: there is nothing else to share it with.
    plan.break_journal(JournalFault::NotWritten);
    decided.open();
    until("it tried again", || async { plan.told().len() >= 2 }).await;
    assert!(calls.is_empty(), "its start may still be lost");
    plan.heal();
    calls.next().await.give("changed");
    questions.next().await.answer("done");
    assert_eq!(&*result(send).await.text, "done");
}

#[tokio::test]
async fn a_write_whose_start_becomes_durable_in_a_shutdown_does_not_begin() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    let decided = Gate::new();
    let builder = System::builder().drain(LONG).provider("test", model).tools(tools);
    let (alice, system, _folder) = alice(&plan, allowed_when(&decided, builder)).await;
    alice.send_message("go").accepted().await.unwrap();
    questions.next().await.call(&[("change", json!({}))]);
    until("the answer is durable", || async { kinds(&system, &alice).await.len() == 4 }).await;
    // Long enough for the shutdown to begin meanwhile, however busy the machine is.
    plan.break_journal(JournalFault::Delay(std::time::Duration::from_secs(5)));
    decided.open();
    until("its start is accepted", || async {
        let status = alice.status().await.unwrap();
        status.accepted > status.durable
    })
    .await;
    soon("the end", system.shutdown(LONG)).await.unwrap();
    assert!(calls.is_empty(), "it would have been cut off as soon as it had begun");
}

#[tokio::test]
async fn no_result_is_told_before_the_end_of_its_turn_is_durable() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (alice, system, _folder) = alice(&plan, System::builder().provider("test", model)).await;
    let first = alice.send_message("one").accepted().await.unwrap();
    let asked = questions.next().await;
    let second = sending(&alice, "two");
    until("two waits", || async { alice.status().await.unwrap().queued == 1 }).await;
    until("two is durable", || async { kinds(&system, &alice).await.len() == 4 }).await;
    plan.break_journal(JournalFault::NotWritten);
    asked.answer("done");
    until("the first end is not written", || async { !plan.told().is_empty() }).await;
    // Both turns have ended now, as far as the session knows; none of it is durable.
    let stop = {
        let alice = alice.clone();
        tokio::spawn(async move { alice.stop().await })
    };
    let early = alice.turn(first).deadline(std::time::Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(early, SessionError::Deadline), "{early}");
    assert!(!second.is_finished() && !stop.is_finished());
    plan.heal();
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
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (alice, _system, _folder) = alice(&plan, System::builder().provider("test", model)).await;
    let first = sending(&alice, "hello");
    let asked = questions.next().await;
    let steering = || alice.send_message("in French").key("k").when_busy(WhenBusy::Steer);
    let turn = soon("accepted", steering().accepted()).await.unwrap();
    asked.answer("hi");
    let asked = questions.next().await;
    plan.break_journal(JournalFault::NotWritten);
    asked.answer("salut");
    until("the end is not written", || async { !plan.told().is_empty() }).await;
    let mut again = Box::pin(steering().into_future());
    assert!(is_pending(&mut again), "the end is not durable");
    alice.status().await.unwrap(); // after that it has been taken
    plan.heal();
    let again = soon("the result", again).await.unwrap();
    assert_eq!((again.turn, &*again.text), (turn, "salut"));
    assert_eq!(result(first).await.turn, turn);
}

#[tokio::test]
async fn a_word_put_in_is_not_told_to_be_accepted_before_it_is_durable_also_when_its_turn_has_ended() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (alice, _system, _folder) = alice(&plan, System::builder().provider("test", model)).await;
    let first = sending(&alice, "hello");
    let asked = questions.next().await;
    plan.break_journal(JournalFault::NotWritten);
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
    plan.heal();
    let turn = result(first).await.turn;
    assert_eq!(soon("accepted", accepted).await.unwrap(), turn);
    assert_eq!(soon("accepted", again).await.unwrap(), turn);
}

#[tokio::test]
async fn a_send_that_is_known_and_durable_is_told_to_be_accepted_also_when_the_disk_is_full_now() {
    let plan = FaultPlan::none();
    let (model, mut questions) = model();
    let (alice, _system, _folder) = alice(&plan, System::builder().provider("test", model)).await;
    let send = || alice.send_message("hello").key("k");
    let word = || alice.send_message("in French").key("w").when_busy(WhenBusy::Steer);
    let steer = || alice.steer("or in Welsh").key("s");
    let first = sending(&alice, "hello");
    questions.next().await.answer("hi");
    result(first).await;
    let turn = soon("accepted", send().accepted()).await.unwrap();
    let asked = questions.next().await;
    assert_eq!(soon("accepted", word().accepted()).await.unwrap(), turn);
    assert_eq!(soon("put in", steer().into_future()).await.unwrap(), Steered::Entered);
    plan.break_journal(JournalFault::NotWritten);
    asked.answer("salut");
    until("it tried again", || async { plan.told().len() >= 2 }).await;
    // What was accepted since is not durable, which is no concern of these.
    assert_eq!(soon("accepted", send().accepted()).await.unwrap(), turn);
    assert_eq!(soon("accepted", word().accepted()).await.unwrap(), turn);
    assert_eq!(soon("put in", steer().into_future()).await.unwrap(), Steered::Entered);
    let mut new = Box::pin(alice.send_message("new").key("n").when_busy(WhenBusy::Steer).accepted());
    assert!(is_pending(&mut new));
    alice.status().await.unwrap(); // after that it has been looked at
    assert!(is_pending(&mut new), "what is not durable is not accepted");
    plan.heal();
    soon("accepted", new).await.unwrap();
}

#[tokio::test]
async fn who_wants_a_fact_of_a_parked_session_is_told_so_and_it_becomes_one_later() {
    let plan = FaultPlan::none();
    let (store, _folder) = store(&plan);
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

    plan.break_journal(JournalFault::NotWritten);
    // This one waits already when the store fails.
    let first = soon("an answer", alice.checkpoint("empty")).await;
    is_parked("checkpoint", first.err());
    is_parked("rewind", soon("an answer", alice.rewind("empty")).await.err());
    is_parked("grant", soon("an answer", alice.grant("read")).await.err());
    is_parked("steer", soon("an answer", alice.steer("no turn is open").into_future()).await.err());
    plan.heal();
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
    plan.break_journal(JournalFault::NotWritten);
    let deny = || alice.approve(call, Decision::Deny { reason: "no".into() }).into_future();
    is_parked("approve", soon("an answer", deny()).await.err());
    is_parked("interrupt", soon("an answer", alice.interrupt("enough")).await.err());
    plan.heal();
    assert_eq!(result(send).await.finish_reason, FinishReason::Interrupted);
    soon("an answer", deny()).await.unwrap(); // it was decided so
}

#[tokio::test]
async fn what_is_accepted_while_an_append_is_under_way_is_not_durable_with_it() {
    let plan = FaultPlan::none();
    let (model, _questions) = model();
    let (alice, system, _folder) = alice(&plan, System::builder().provider("test", model)).await;
    // The next append takes long enough for another fact to be accepted meanwhile, and the one after it fails.
    plan.break_next_append(JournalFault::Delay(std::time::Duration::from_millis(300)));
    plan.break_journal(JournalFault::NotWritten);
    let (mut first, mut second) = (Box::pin(alice.checkpoint("a")), Box::pin(alice.checkpoint("b")));
    assert!(is_pending(&mut first) && is_pending(&mut second));
    soon("the first", first).await.unwrap();
    let second = soon("the second", second).await;
    assert!(matches!(second, Err(SessionError::Parked { .. })), "{second:?}");
    plan.heal();
    until("all is kept", || async {
        let status = alice.status().await.unwrap();
        status.accepted == status.durable
    })
    .await;
    assert_eq!(kinds(&system, &alice).await, ["session_started", "checkpointed", "checkpointed"]);
}

#[tokio::test]
async fn an_append_of_unknown_outcome_is_read_back_and_neither_lost_nor_doubled() {
    for fault in [JournalFault::Lost, JournalFault::Unsure] {
        let plan = FaultPlan::none();
        let (store, _folder) = store(&plan);
        let (model, mut questions) = model();
        let system =
            System::builder().provider("test", model).shared_journal(store.clone()).start().await.unwrap();
        let alice = system.session("alice").start().await.unwrap();
        let send = sending(&alice, "go");
        let asked = questions.next().await;
        plan.break_next_append(fault);
        asked.answer("done");
        assert_eq!(&*result(send).await.text, "done");
        assert_eq!(plan.told().len(), 1);
        let expected = ["session_started", "queued", "turn_started", "model_replied", "turn_ended"];
        assert_eq!(kinds(&system, &alice).await, expected);
    }
}

#[tokio::test]
async fn an_incarnation_that_was_fenced_off_ends_and_writes_nothing() {
    let plan = FaultPlan::none();
    let (store, _folder) = store(&plan);
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
    let plan = FaultPlan::none();
    let (model, _questions) = model();
    let (alice, _system, _folder) = alice(&plan, System::builder().provider("test", model)).await;
    plan.hold_sessions();
    let fork = alice.fork("bob", ergane::core::Point::Now).await.unwrap();
    assert!(fork.messages().await.unwrap().is_empty());
}
