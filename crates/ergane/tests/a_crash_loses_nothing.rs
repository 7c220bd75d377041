//! A process dies (its system is dropped without a word written) and the next one opens the same journal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane::core::{
    CallId, Conversation, Digest, Envelope, Epoch, Event, ModelReply, Origin, SendId, Seq, Settings,
    StopReason, Timestamp, ToolCall,
};
use ergane::journal::{Append, Journal};
use ergane::prelude::*;
use serde_json::json;

async fn open(path: &Path, model: &Model, tools: Vec<Arc<dyn Tool>>) -> System {
    System::builder()
        .provider("test", model.clone())
        .tools(tools)
        .journal(Sqlite::open(path).unwrap())
        .start()
        .await
        .unwrap()
}

/// Ends the system as a crash would: no fact is written, and nobody holds the journal any more.
async fn crash(system: System, session: Session) {
    drop(session);
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn the_next_process_finishes_an_open_turn_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let (model, mut questions) = model();
    let first = open(&path, &model, Vec::new()).await;
    let alice = first.session("alice").start().await.unwrap();
    let turn = alice.send_message("go").key("k").accepted().await.unwrap();
    let mut asked = questions.next().await;
    crash(first, alice).await;
    asked.given_up().await;

    let second = open(&path, &model, Vec::new()).await;
    questions.next().await.answer("done");
    let alice = second.whereis("alice").await.unwrap();
    let result = soon("the turn ends", async { alice.turn(turn).await }).await.unwrap();
    assert_eq!((&*result.text, result.recovered, result.ordinal), ("done", true, 1));
    let by_key = alice.send_message("go").key("k").await.unwrap();
    assert_eq!(by_key.turn, turn);
    let expected = ["session_started", "queued", "turn_started", "recovered", "model_replied", "turn_ended"];
    assert_eq!(kinds(&second, &alice).await, expected);
}

#[tokio::test]
async fn a_lazy_system_leaves_an_open_turn_until_it_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let (model, mut questions) = model();
    let first = open(&path, &model, Vec::new()).await;
    let alice = first.session("alice").start().await.unwrap();
    alice.send_message("go").accepted().await.unwrap();
    questions.next().await;
    crash(first, alice).await;
    let second = System::builder()
        .provider("test", model)
        .journal(Sqlite::open(&path).unwrap())
        .recovery(Recovery::Lazy)
        .start()
        .await
        .unwrap();
    let alice = second.whereis("alice").await.unwrap();
    assert_eq!(alice.status().await.unwrap().activity, Activity::Stored);
    assert!(questions.is_empty());
    alice.start().await.unwrap();
    questions.next().await.answer("done");
    until("it ends", || async {
        alice.status().await.unwrap().turns == 1 && alice.status().await.unwrap().turn.is_none()
    })
    .await;
}

#[tokio::test]
async fn sends_that_waited_run_in_order_in_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let (model, mut questions) = model();
    let first = open(&path, &model, Vec::new()).await;
    let alice = first.session("alice").start().await.unwrap();
    let _one = sending(&alice, "one");
    let _asked = questions.next().await;
    let _two = sending(&alice, "two");
    until("two waits", || async { alice.status().await.unwrap().queued == 1 }).await;
    until("two is durable", || async { kinds(&first, &alice).await.len() == 4 }).await;
    crash(first, alice).await;
    let second = open(&path, &model, Vec::new()).await;
    let asked = questions.next().await;
    assert_eq!(asked.texts(), ["one"]);
    asked.answer("1");
    let asked = questions.next().await;
    assert_eq!(asked.texts(), ["one", "1", "two"]);
    asked.answer("2");
    let alice = second.whereis("alice").await.unwrap();
    until("both ended", || async { alice.messages().await.unwrap().len() == 4 }).await;
}

/// A journal in which alice's model has asked for `calls`, and `then` followed; as a crash would leave it.
fn left_by_a_crash(path: &Path, calls: &[&str], then: impl Fn(&[CallId]) -> Vec<Event>) -> TurnId {
    let store = Sqlite::open(path).unwrap();
    let name: SessionName = "alice".parse().unwrap();
    let opened = store.open_session(&name).unwrap();
    let cwd = path.parent().unwrap().to_string_lossy().into_owned();
    let send = SendId::from("s1");
    let input = vec![Part::text("go")];
    let mut events = vec![
        Event::SessionStarted { settings: Arc::new(Settings::new("test", "m", cwd)), id: None },
        Event::Queued {
            send: send.clone(),
            hash: Digest::of(&serde_json::to_vec(&input).unwrap()),
            input,
            meta: None,
            settings: None,
        },
        Event::TurnStarted { send },
    ];
    let turn = TurnId(3);
    let parts = calls.iter().map(|name| {
        Part::ToolCall(ToolCall {
            id: CallId::UNNUMBERED,
            wire_id: None,
            name: (*name).into(),
            arguments: "{}".into(),
            complete: true,
            extra: serde_json::Map::new(),
        })
    });
    let origin = Origin {
        provider: "test".into(),
        api: "test".into(),
        model: "m".into(),
        response_id: None,
        stop: StopReason::ToolCalls,
    };
    let message = Message { role: Role::Assistant, parts: parts.collect(), origin: Some(origin) };
    let mut conversation = Conversation::default();
    let mut log: Vec<Arc<Envelope>> = Vec::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let at = Timestamp(now.as_millis() as i64);
    let mut record = |event: Event, conversation: &mut Conversation| {
        let seq = conversation.seq().next();
        let envelope = Envelope { v: 1, seq, epoch: Epoch(opened.epoch.0), at, event };
        conversation.apply(&envelope).unwrap();
        log.push(Arc::new(envelope));
    };
    for event in events.drain(..) {
        record(event, &mut conversation);
    }
    let reply = ModelReply { message, usage: None, cost: None };
    let replied = conversation.replied(reply, Seq(3), 1, None).unwrap();
    record(replied, &mut conversation);
    let ids: Vec<CallId> = (1..=calls.len()).map(|index| CallId { turn, index: index as u32 }).collect();
    for event in then(&ids) {
        record(event, &mut conversation);
    }
    let append = Append { session: name, epoch: opened.epoch, expected: Seq(1), events: log };
    store.append(&[append]).pop().unwrap().unwrap();
    turn
}

fn started(call: CallId, effect: Effect) -> Event {
    let key = call.idempotency_key(&"alice".parse().unwrap(), None);
    Event::ToolStarted { call, effect, key }
}

#[tokio::test]
async fn a_write_cut_off_by_a_crash_is_not_run_again_and_the_model_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let turn = left_by_a_crash(&path, &["change"], |ids| vec![started(ids[0], Effect::Write)]);
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    let system = open(&path, &model, tools).await;
    let asked = questions.next().await;
    let results = asked.results();
    assert!(results[0].contains("cut off") && results[0].contains("unknown"), "{results:?}");
    assert!(calls.is_empty());
    asked.answer("I see");
    let alice = system.whereis("alice").await.unwrap();
    assert_eq!(alice.turn(turn).await.unwrap().finish_reason, FinishReason::Stop);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_group_left_behind_is_gone_before_anything_is_said_of_its_call() {
    use std::os::unix::process::{CommandExt, ExitStatusExt};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let mut shell = std::process::Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    let group = i32::try_from(shell.id()).unwrap();
    let leader_started = ergane::tool_support::process_started(group).unwrap();
    left_by_a_crash(&path, &["change"], |ids| {
        vec![started(ids[0], Effect::Write), Event::ToolProcess { call: ids[0], group, leader_started }]
    });
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    let _system = open(&path, &model, tools).await;
    let asked = questions.next().await;
    assert!(asked.results()[0].contains("unknown"), "{:?}", asked.results());
    let status = shell.try_wait().unwrap().expect("it had ended before the model was told");
    assert_eq!(status.signal(), Some(9));
    assert!(calls.is_empty());
    asked.answer("I see");
}

#[tokio::test]
async fn an_idempotent_call_runs_again_with_the_same_key_and_a_read_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    // What was begun has the key that it was begun with, and what was not, in a log from before identities, one without.
    let begun = |call| Event::ToolStarted { call, effect: Effect::Idempotent, key: "the first one's".into() };
    let turn = left_by_a_crash(&path, &["keep", "look"], |ids| vec![begun(ids[0])]);
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("keep", Effect::Idempotent), ("look", Effect::Read)]);
    let system = open(&path, &model, tools).await;
    for _ in 0..2 {
        let call = calls.next().await;
        let (name, old) = (call.name, format!("alice#{}", call.context.call_id()));
        let due = if name == "keep" { "the first one's" } else { old.as_str() };
        assert_eq!(call.context.idempotency_key(), due);
        call.give(&format!("{name} done"));
    }
    let asked = questions.next().await;
    assert_eq!(asked.results(), ["keep: keep done", "look: look done"]);
    asked.answer("fine");
    let alice = system.whereis("alice").await.unwrap();
    assert!(alice.turn(turn).await.unwrap().recovered);
    let starts = kinds(&system, &alice).await.into_iter().filter(|kind| kind == "tool_started").count();
    assert_eq!(starts, 1, "its start is a fact already");
}

#[tokio::test]
async fn a_write_whose_start_is_no_fact_runs_now_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    left_by_a_crash(&path, &["change"], |_| Vec::new());
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    let system = open(&path, &model, tools).await;
    let call = calls.next().await;
    let alice = system.whereis("alice").await.unwrap();
    let kinds = kinds(&system, &alice).await;
    let order = ["model_replied", "recovered", "tool_started"];
    assert_eq!(&kinds[3..], order, "its start was durable before its body ran");
    call.give("changed");
    questions.next().await.answer("done");
    assert!(calls.is_empty());
}

#[tokio::test]
async fn a_call_that_becomes_due_in_a_shutdown_has_not_begun_and_is_run_once_by_the_next_process() {
    for effect in [Effect::Write, Effect::Idempotent] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.db");
        let (model, mut questions) = model();
        let (tools, mut calls) = hand_tools(&[("change", effect)]);
        let start = || {
            let builder = System::builder().drain(LONG).provider("test", model.clone()).tools(tools.clone());
            builder.journal(Sqlite::open(&path).unwrap()).start()
        };
        let system = start().await.unwrap();
        let alice = system.session("alice").start().await.unwrap();
        let bob = system.session("bob").start().await.unwrap();
        let turn = alice.send_message("go").accepted().await.unwrap();
        let asked = questions.next().await;
        let ending = tokio::spawn({
            let system = system.clone();
            async move { system.shutdown(LONG).await }
        });
        bob.send_message("and me").accepted().await.unwrap();
        until("no new model calls are made", || async {
            matches!(bob.status().await.map(|status| status.activity), Ok(Activity::Waiting { .. }))
        })
        .await;
        asked.call(&[("change", json!({}))]);
        soon("the end", ending).await.unwrap().unwrap();
        assert!(calls.is_empty(), "it would have been cut off");
        drop((alice, bob, system));

        let system = start().await.unwrap();
        calls.next().await.give("changed");
        let asked = loop {
            let asked = questions.next().await;
            match asked.results() {
                results if results.is_empty() => asked.answer("hello bob"),
                results => break (results, asked),
            }
        };
        assert_eq!(asked.0, ["change: changed"]);
        asked.1.answer("done");
        let alice = system.whereis("alice").await.unwrap();
        assert_eq!(alice.turn(turn).await.unwrap().finish_reason, FinishReason::Stop);
        let kinds = kinds(&system, &alice).await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "tool_started").count(), 1);
        assert!(calls.is_empty());
        system.shutdown(LONG).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_a_stored_session_begins_nothing_of_what_it_ends() {
    for round in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.db");
        // In one a call is due, in the other the model is to be asked.
        let tools: &[&str] = if round % 2 == 0 { &["change"] } else { &[] };
        let turn = left_by_a_crash(&path, tools, |_| Vec::new());
        let (model, mut questions) = model();
        let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
        let builder = System::builder().provider("test", model).tools(tools).recovery(Recovery::Lazy);
        let system = builder.journal(Sqlite::open(&path).unwrap()).start().await.unwrap();
        let alice = system.whereis("alice").await.unwrap();
        soon("it stops", async { alice.stop().await }).await.unwrap();
        assert_eq!(alice.turn(turn).await.unwrap().finish_reason, FinishReason::Interrupted);
        assert!(calls.is_empty() && questions.is_empty(), "in round {round}");
        system.shutdown(LONG).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_that_was_about_to_run_at_three_recoveries_is_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let recovered = || Event::Recovered { cause: "a test".into() };
    left_by_a_crash(&path, &["look"], |_| vec![recovered(), recovered()]);
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let _system = open(&path, &model, tools).await;
    let asked = questions.next().await;
    assert!(asked.results()[0].contains("three times"), "{:?}", asked.results());
    assert!(calls.is_empty());
    asked.answer("I see");
}

#[tokio::test]
async fn a_read_that_kills_the_process_is_not_run_a_fourth_time_whatever_ends_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let recovered = || Event::Recovered { cause: "a test".into() };
    left_by_a_crash(&path, &["look", "look", "look"], |ids| {
        let result = ergane::core::ToolResult {
            call: ids[1],
            name: "look".into(),
            content: vec!["seen".into()],
            is_error: false,
            synthetic: false,
        };
        let finished = Event::ToolFinished { result: Arc::new(result), denied: false, ui: None };
        vec![recovered(), finished, recovered()]
    });
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let _system = open(&path, &model, tools).await;
    let asked = questions.next().await;
    let results = asked.results();
    assert!(results[0].contains("three times") && results[2].contains("three times"), "{results:?}");
    assert_eq!(results[1], "look: seen");
    assert!(calls.is_empty());
    asked.answer("I see");
}

#[tokio::test]
async fn a_write_that_only_waited_behind_a_poisoned_call_is_not_poisoned_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let recovered = || Event::Recovered { cause: "a test".into() };
    left_by_a_crash(&path, &["look", "change"], |_| vec![recovered(), recovered()]);
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read), ("change", Effect::Write)]);
    let _system = open(&path, &model, tools).await;
    let call = calls.next().await;
    assert_eq!(call.name, "change");
    call.give("changed");
    let asked = questions.next().await;
    let results = asked.results();
    assert!(results[0].contains("three times") && results[1] == "change: changed", "{results:?}");
    asked.answer("I see");
}

#[tokio::test]
async fn an_open_turn_of_a_process_on_its_way_out_is_taken_over_once_that_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let (model, mut questions) = model();
    let first = open(&path, &model, Vec::new()).await;
    let alice = first.session("alice").start().await.unwrap();
    let turn = alice.send_message("go").accepted().await.unwrap();
    let mut asked = questions.next().await;
    let second = open(&path, &model, Vec::new()).await;
    let theirs = second.whereis("alice").await.unwrap();
    let refused = theirs.messages().await.unwrap_err();
    assert!(matches!(refused, SessionError::OwnedElsewhere { .. }), "{refused}");
    crash(first, alice).await;
    asked.given_up().await;
    questions.next().await.answer("done");
    let result = soon("the turn ends", async { theirs.turn(turn).await }).await.unwrap();
    assert!(result.recovered);
}

#[tokio::test]
async fn an_interrupt_that_was_a_fact_ends_the_turn_after_the_crash() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let interrupt = || Event::InterruptRequested { by: "user".into(), reason: "enough".into() };
    let turn = left_by_a_crash(&path, &["change"], |ids| vec![started(ids[0], Effect::Write), interrupt()]);
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    let system = open(&path, &model, tools).await;
    let alice = system.whereis("alice").await.unwrap();
    let ended = soon("the turn ends", async { alice.turn(turn).await }).await.unwrap();
    assert_eq!(ended.finish_reason, FinishReason::Interrupted);
    assert!(questions.is_empty() && calls.is_empty());
    let send = sending(&alice, "on");
    let asked = questions.next().await;
    assert_eq!(asked.results().len(), 1);
    asked.answer("ok");
    result(send).await;
}

#[tokio::test]
async fn a_turn_recovered_too_often_without_progress_ends_and_the_session_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let recovered = || Event::Recovered { cause: "a test".into() };
    let turn = left_by_a_crash(&path, &["look"], |_| (0..9).map(|_| recovered()).collect());
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let system = open(&path, &model, tools).await;
    let alice = system.whereis("alice").await.unwrap();
    let ended = soon("the turn ends", async { alice.turn(turn).await }).await.unwrap();
    assert_eq!(ended.finish_reason, FinishReason::DuringExecution);
    assert!(ended.error.unwrap().message.contains("10 times"));
    assert!(calls.is_empty());
    let send = sending(&alice, "on");
    questions.next().await.answer("ok");
    result(send).await;
}

#[tokio::test]
async fn a_session_that_needs_what_is_not_registered_is_listed_and_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let turn = left_by_a_crash(&path, &[], |_| Vec::new());
    let (model, _questions) = model();
    let system = System::builder()
        .provider("another", model)
        .journal(Sqlite::open(&path).unwrap())
        .start()
        .await
        .unwrap();
    let alice = system.whereis("alice").await.unwrap();
    let _ = turn; // it had answered without a call, so its turn only has to be ended
    let error = alice.send_message("hello").await.unwrap_err();
    assert!(
        matches!(&error, SessionError::Unresolved { missing, .. } if missing == &["provider test"]),
        "{error}"
    );
}

#[tokio::test]
async fn opening_a_turn_that_this_process_cannot_run_costs_it_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let turn = left_by_a_crash(&path, &["change"], |_| Vec::new());
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("change", Effect::Write)]);
    for _ in 0..4 {
        let elsewhere = System::builder()
            .provider("another", model.clone())
            .tools(tools.clone())
            .journal(Sqlite::open(&path).unwrap())
            .start()
            .await
            .unwrap();
        let alice = elsewhere.whereis("alice").await.unwrap();
        let error = alice.turn(turn).await.unwrap_err();
        assert!(matches!(error, SessionError::Unresolved { .. }), "{error}");
        let status = alice.status().await.unwrap();
        assert!(matches!(status.activity, Activity::Unresolved { .. }), "{status:?}");
        crash(elsewhere, alice).await;
    }
    let back = open(&path, &model, tools).await;
    calls.next().await.give("changed");
    questions.next().await.answer("done");
    let alice = back.whereis("alice").await.unwrap();
    assert_eq!(alice.turn(turn).await.unwrap().finish_reason, FinishReason::Stop);
    let recovered = kinds(&back, &alice).await.into_iter().filter(|kind| kind == "recovered").count();
    assert_eq!(recovered, 1, "by the process that could run it");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_interrupt_of_a_turn_that_cannot_go_on_here_ends_what_it_had_left_behind() {
    use std::os::unix::process::{CommandExt, ExitStatusExt};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let mut shell = std::process::Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    let group = i32::try_from(shell.id()).unwrap();
    let leader_started = ergane::tool_support::process_started(group).unwrap();
    let turn = left_by_a_crash(&path, &["change"], |ids| {
        vec![started(ids[0], Effect::Write), Event::ToolProcess { call: ids[0], group, leader_started }]
    });
    let (model, _questions) = model();
    let system = System::builder()
        .provider("another", model)
        .journal(Sqlite::open(&path).unwrap())
        .start()
        .await
        .unwrap();
    let alice = system.whereis("alice").await.unwrap();
    let error = alice.send_message("hello").await.unwrap_err();
    assert!(matches!(error, SessionError::Unresolved { .. }), "{error}");
    assert!(alice.interrupt("it cannot go on").await.unwrap());
    let ended = soon("the turn ends", async { alice.turn(turn).await }).await.unwrap();
    assert_eq!(ended.finish_reason, FinishReason::Interrupted);
    let status = shell.try_wait().unwrap().expect("it had ended before the turn did");
    assert_eq!(status.signal(), Some(9));
    let queued = kinds(&system, &alice).await.into_iter().filter(|kind| kind == "queued").count();
    assert_eq!(queued, 1, "what was refused is no fact");
}

#[tokio::test]
async fn an_unresolved_turn_that_only_has_to_be_ended_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let turn = left_by_a_crash(&path, &[], |_| Vec::new());
    let (model, _questions) = model();
    let system = System::builder()
        .provider("another", model)
        .journal(Sqlite::open(&path).unwrap())
        .start()
        .await
        .unwrap();
    let alice = system.whereis("alice").await.unwrap();
    let ended = soon("the turn ends", async { alice.turn(turn).await }).await.unwrap();
    assert_eq!(ended.finish_reason, FinishReason::Stop);
}

#[tokio::test]
async fn a_session_owned_by_another_process_is_refused_and_free_once_that_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let (model, mut questions) = model();
    let first = open(&path, &model, Vec::new()).await;
    let alice = first.session("alice").start().await.unwrap();
    let second = open(&path, &model, Vec::new()).await;
    let error = second.session("alice").start().await.unwrap_err();
    assert!(matches!(error, SessionError::OwnedElsewhere { .. }), "{error}");
    alice.stop().await.unwrap();
    let alice = second.session("alice").start().await.unwrap();
    let send = sending(&alice, "hello");
    questions.next().await.answer("hi");
    result(send).await;
}

#[tokio::test]
async fn a_log_that_does_not_fold_quarantines_that_session_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    {
        // A reply without a turn: each row is whole, but one cannot follow the other.
        let store = Sqlite::open(&path).unwrap();
        let name: SessionName = "alice".parse().unwrap();
        let opened = store.open_session(&name).unwrap();
        let settings = Arc::new(Settings::new("test", "m", "/"));
        let event = |seq, event| {
            Arc::new(Envelope { v: 1, seq: Seq(seq), epoch: opened.epoch, at: Timestamp(1), event })
        };
        let events = vec![
            event(1, Event::SessionStarted { settings, id: None }),
            event(2, Event::Recovered { cause: "nonsense".into() }),
        ];
        store
            .append(&[Append { session: name, epoch: opened.epoch, expected: Seq(1), events }])
            .pop()
            .unwrap()
            .unwrap();
    }
    let (model, mut questions) = model();
    let system = open(&path, &model, Vec::new()).await;
    let alice = system.whereis("alice").await.unwrap();
    let error = alice.send_message("hello").await.unwrap_err();
    assert!(
        matches!(&error, SessionError::Quarantined { reason, .. } if reason.contains("recovered")),
        "{error}"
    );
    assert!(matches!(alice.status().await.unwrap().activity, Activity::Quarantined { .. }));
    let bob = system.session("bob").start().await.unwrap();
    let send = sending(&bob, "hello");
    questions.next().await.answer("hi");
    result(send).await;
}

#[tokio::test]
async fn a_turn_waits_for_the_disk_as_often_as_promised() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Sqlite::open(folder.path().join("j.db")).unwrap());
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
    let before = store.commits();
    let send = sending(&alice, "text");
    questions.next().await.answer("done");
    result(send).await;
    assert_eq!(store.commits() - before, 2, "a text turn waits twice");
    let before = store.commits();
    let send = sending(&alice, "tool");
    questions.next().await.call(&[("change", json!({}))]);
    calls.next().await.give("changed");
    let asked = questions.next().await;
    until("the result is durable", || async {
        kinds(&system, &alice).await.last().unwrap() == "tool_finished"
    })
    .await;
    asked.answer("done");
    result(send).await;
    assert_eq!(store.commits() - before, 4, "a turn of one tool waits four times");
    system.shutdown(Duration::from_secs(30)).await.unwrap();
}
