//! What a program does with a session that nothing bad happens to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane::core::ErrorKind;
use ergane::journal::{Journal, Memory};
use ergane::prelude::*;
use ergane::session::QUEUE_LIMIT;
use ergane_testkit::FaultPlan;
use serde_json::json;

#[tokio::test]
async fn a_send_waits_for_the_end_of_its_turn_and_later_ones_see_the_whole_history() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").system_prompt("be brief").start().await.unwrap();

    let send = sending(&alice, "hello");
    let asked = questions.next().await;
    assert_eq!(asked.request.system.as_deref(), Some("be brief"));
    assert_eq!(asked.texts(), ["hello"]);
    asked.answer("hi");
    let first = result(send).await;
    assert_eq!((&*first.text, first.iterations, first.ordinal), ("hi", 0, 1));
    assert_eq!((&*first.model, &*first.provider), ("m", "test"));
    assert_eq!(first.usage.input_tokens, 10);
    assert_eq!(first.cost, None);

    let send = sending(&alice, "and now?");
    let asked = questions.next().await;
    assert_eq!(asked.texts(), ["hello", "hi", "and now?"]);
    asked.answer("later");
    let second = result(send).await;
    assert_eq!(second.messages.len(), 2, "a result holds the messages of its own turn");
    assert_eq!(alice.messages().await.unwrap().len(), 4);
    assert_eq!(alice.usage().await.unwrap().0.input_tokens, 20);
}

#[tokio::test]
async fn what_a_session_asks_has_a_key_in_common_that_is_not_its_name() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let mut keys = Vec::new();
    for name in ["alice", "alice", "bob"] {
        let session = system.session(name).start().await.unwrap();
        let send = sending(&session, "hello");
        let asked = questions.next().await;
        keys.push(asked.request.cache_key.clone().unwrap());
        asked.answer("hi");
        result(send).await;
    }
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
    assert!(!keys[0].contains("alice") && keys[0].len() <= 64, "{keys:?}");
}

#[tokio::test]
async fn a_round_of_tools_reads_beside_each_other_writes_alone_and_answers_in_call_order() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read), ("change", Effect::Write)]);
    let system = system_with(&model, tools).await;
    let alice = system.session("alice").start().await.unwrap();

    let send = sending(&alice, "do it");
    let round = [
        ("look", json!({"n": 1})),
        ("look", json!({"n": 2})),
        ("change", json!({})),
        ("look", json!({"n": 3})),
    ];
    questions.next().await.call(&round);
    let first = calls.next().await;
    let second = calls.next().await;
    let (one, two) = if first.arguments["n"] == 1 { (first, second) } else { (second, first) };
    two.give("second");
    assert!(calls.is_empty(), "the write waits for both");
    one.give("first");
    let write = calls.next().await;
    assert_eq!(write.name, "change");
    let (key, call) = (write.context.idempotency_key(), write.context.call_id());
    assert!(key.starts_with("alice#") && key.ends_with(&format!("#{call}")) && key.len() < 256, "{key}");
    assert!(calls.is_empty(), "nothing passes a write");
    write.give("changed");
    calls.next().await.give("third");
    let asked = questions.next().await;
    assert_eq!(asked.results(), ["look: first", "look: second", "change: changed", "look: third"]);
    asked.answer("done");
    let result = result(send).await;
    assert_eq!((result.iterations, result.tool_calls_made), (1, 4));

    let kinds = kinds(&system, &alice).await;
    let expected = [
        "session_started",
        "queued",
        "turn_started",
        "model_replied",
        "tool_finished",
        "tool_finished",
        "tool_started",
        "tool_finished",
        "tool_finished",
        "model_replied",
        "turn_ended",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn messages_and_status_are_answered_while_a_turn_runs() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let system = system_with(&model, tools).await;
    let alice = system.session("alice").start().await.unwrap();
    assert_eq!(alice.status().await.unwrap().activity, Activity::Idle);

    let send = sending(&alice, "go");
    let asked = questions.next().await;
    assert_eq!(alice.status().await.unwrap().activity, Activity::CallingModel);
    asked.call(&[("look", json!({}))]);
    let call = calls.next().await;
    let status = alice.status().await.unwrap();
    let Activity::RunningTools { calls: running } = status.activity else { panic!("{status:?}") };
    assert_eq!(running.len(), 1);
    assert!(running[0].starts_with("look ("), "{running:?}");
    assert_eq!(alice.messages().await.unwrap().len(), 2);
    call.give("seen");
    questions.next().await.answer("done");
    result(send).await;
    assert_eq!(alice.status().await.unwrap().turns, 1);
}

#[tokio::test]
async fn sends_queue_in_order_up_to_the_limit_and_one_more_is_refused() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let first = sending(&alice, "0");
    let asked = questions.next().await;
    let mut sends = Vec::new();
    for n in 1..=QUEUE_LIMIT {
        sends.push(sending(&alice, &n.to_string()));
        until("it is queued", || async { alice.status().await.unwrap().queued == n }).await;
    }
    let refused = alice.send_message("one too many").await.unwrap_err();
    assert!(matches!(refused, SessionError::Busy { queued: QUEUE_LIMIT, .. }), "{refused}");
    let refused = alice.send_message("not now").when_busy(WhenBusy::Reject).await.unwrap_err();
    assert!(matches!(refused, SessionError::Busy { .. }), "{refused}");

    asked.answer("a0");
    assert_eq!(&*result(first).await.text, "a0");
    for (n, send) in (1..).zip(sends) {
        let asked = questions.next().await;
        assert_eq!(asked.texts().last().unwrap(), &n.to_string());
        asked.answer(&format!("a{n}"));
        assert_eq!(&*result(send).await.text, format!("a{n}"));
    }
}

#[tokio::test]
async fn the_same_key_is_the_same_turn_and_with_another_input_an_error() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let send = alice.send_message("pay").key("k1");
    let first = tokio::spawn(async move { send.await });
    let asked = questions.next().await;
    let again = alice.send_message("pay").key("k1");
    let second = tokio::spawn(async move { again.await });
    asked.answer("paid");
    let (first, second) = (result(first).await, result(second).await);
    assert_eq!(first, second);
    let third = alice.send_message("pay").key("k1").await.unwrap();
    assert_eq!(first, third);
    let error = alice.send_message("pay more").key("k1").await.unwrap_err();
    assert!(matches!(error, SessionError::KeyReused(_)), "{error}");
    assert!(questions.is_empty(), "the model was asked once");
}

#[tokio::test]
async fn a_deadline_gives_up_waiting_and_the_turn_is_picked_up_again() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let turn = alice.send_message("slow").key("slow").accepted().await.unwrap();
    let asked = questions.next().await;
    let late = alice.send_message("slow").key("slow").deadline(Duration::ZERO).await.unwrap_err();
    assert!(matches!(late, SessionError::Deadline), "{late}");
    let late = alice.turn(turn).deadline(Duration::ZERO).await.unwrap_err();
    assert!(matches!(late, SessionError::Deadline), "{late}");
    asked.answer("done");
    assert_eq!(&*alice.turn(turn).await.unwrap().text, "done");
    let unknown = alice.turn(TurnId(999)).await.unwrap_err();
    assert!(matches!(unknown, SessionError::NoSuchTurn { turn: 999, .. }), "{unknown}");
}

#[tokio::test]
async fn a_dropped_future_cancels_nothing() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let send = sending(&alice, "go");
    let asked = questions.next().await;
    send.abort();
    asked.answer("done all the same");
    until("the turn ends", || async { alice.status().await.unwrap().turns == 1 }).await;
    assert_eq!(alice.messages().await.unwrap().last().unwrap().text(), "done all the same");
}

#[tokio::test]
async fn a_stream_shows_the_turn_as_it_happens_and_then_its_result() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let system = system_with(&model, tools).await;
    let alice = system.session("alice").start().await.unwrap();
    let mut stream = alice.send_message("go").stream().await.unwrap();
    let read = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(event) = stream.next().await {
            seen.push(event);
        }
        (seen, stream.result().await)
    });
    questions.next().await.call(&[("look", json!({"at": "it"}))]);
    let call = calls.next().await;
    call.context.progress("half way");
    call.give("seen");
    let asked = questions.next().await;
    asked.show("do");
    asked.show("ne");
    asked.answer("done");
    let (seen, result) = soon("the stream ends", read).await.unwrap();
    assert_eq!(&*result.unwrap().text, "done");
    let types: Vec<String> = seen
        .iter()
        .map(|event| serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    let expected = [
        "turn_started",
        "reply",
        "tool_call",
        "usage",
        "tool_progress",
        "tool_result",
        "content",
        "content",
        "reply",
        "usage",
        "done",
    ];
    assert_eq!(types, expected);
    assert!(matches!(&seen[9 - 1], SessionEvent::Reply { text, .. } if &**text == "done"));
}

#[tokio::test]
async fn a_failed_call_is_tried_again_and_what_was_shown_is_announced_as_void() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let mut stream = alice.send_message("go").stream().await.unwrap();
    let read = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(event) = stream.next().await {
            seen.push(serde_json::to_value(&event).unwrap()["type"].as_str().unwrap().to_owned());
        }
        (seen, stream.result().await.unwrap())
    });
    let asked = questions.next().await;
    asked.show("half an ans");
    asked.fail(ErrorKind::StreamCut);
    questions.next().await.answer("whole");
    let (seen, result) = soon("the stream ends", read).await.unwrap();
    assert_eq!(&*result.text, "whole");
    assert_eq!(seen, ["turn_started", "content", "stream_reset", "retrying", "reply", "usage", "done"]);
}

#[tokio::test]
async fn a_call_that_cannot_succeed_ends_the_turn_with_its_kind_and_the_next_turn_goes_on() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let send = sending(&alice, "one");
    questions.next().await.fail(ErrorKind::Auth);
    let failed = result(send).await;
    assert_eq!(failed.finish_reason, FinishReason::ProviderAuth);
    assert_eq!(failed.error.unwrap().kind, ErrorKind::Auth);

    let send = sending(&alice, "two");
    let asked = questions.next().await;
    assert_eq!(asked.texts(), ["onetwo"], "users' messages that follow each other are merged");
    asked.answer("both");
    assert_eq!(&*result(send).await.text, "both");
}

#[tokio::test]
async fn an_interrupt_ends_a_model_call_at_once_and_keeps_what_was_shown() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    assert!(!alice.interrupt("nothing runs").await.unwrap());
    let mut events = alice.subscribe(None).await.unwrap();
    let send = sending(&alice, "go");
    let mut asked = questions.next().await;
    asked.show("half");
    while !matches!(soon("a delta", events.next()).await.unwrap().unwrap(), SessionEvent::Content { .. }) {}
    assert!(alice.interrupt("never mind").await.unwrap());
    asked.given_up().await;
    let result = result(send).await;
    assert_eq!((result.finish_reason, &*result.text), (FinishReason::Interrupted, "half"));
    assert_eq!(alice.status().await.unwrap().activity, Activity::Idle);
}

#[tokio::test]
async fn an_interrupt_ends_running_tools_and_leaves_a_valid_history() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read), ("change", Effect::Write)]);
    let system = system_with(&model, tools).await;
    let alice = system.session("alice").start().await.unwrap();
    let send = sending(&alice, "go");
    questions.next().await.call(&[("look", json!({})), ("look", json!({})), ("change", json!({}))]);
    let kept = calls.next().await;
    let hangs = calls.next().await;
    assert!(alice.interrupt("never mind").await.unwrap());
    soon("the tool is told", kept.context.cancelled()).await;
    kept.give("what there was");
    hangs.dropped().await;
    let ended = result(send).await;
    assert_eq!(ended.finish_reason, FinishReason::Interrupted);

    let send = sending(&alice, "again");
    let asked = questions.next().await;
    let results = asked.results();
    assert_eq!(results.len(), 3, "{results:?}");
    assert_eq!(results.iter().filter(|result| result.contains("what there was")).count(), 1);
    assert_eq!(results.iter().filter(|result| result.contains("interrupted")).count(), 2, "{results:?}");
    assert!(calls.is_empty(), "the write never began");
    asked.answer("ok");
    result(send).await;
    let wishes = kinds(&system, &alice).await.into_iter().filter(|kind| kind == "interrupt_requested");
    assert_eq!(wishes.count(), 1);
}

#[tokio::test]
async fn a_stop_ends_the_turn_and_the_queue_frees_the_name_and_the_session_stays_stored() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let monitor = alice.monitor();
    let (open, queued) = (sending(&alice, "one"), sending(&alice, "two"));
    let _asked = questions.next().await;
    until("both are accepted", || async { alice.status().await.unwrap().queued == 1 }).await;
    alice.stop().await.unwrap();
    for send in [open, queued] {
        assert_eq!(result(send).await.finish_reason, FinishReason::Interrupted);
    }
    let down = soon("the monitor tells", monitor.down()).await;
    assert_eq!(down.reason, ExitReason::Normal);
    assert!(alice.actor_ref().is_none());
    assert_eq!(alice.status().await.unwrap().activity, Activity::Stored);
    alice.stop().await.unwrap();

    let found = system.whereis("alice").await.expect("it is stored");
    assert_eq!(found.messages().await.unwrap().len(), 2);
    assert!(system.whereis("nobody").await.is_none());
    assert_eq!(system.sessions().await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_set_changes_and_what_is_left_unset_keeps_its_value() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").model("large").max_iterations(3).start().await.unwrap();
    let again = system.session("alice").start().await.unwrap();
    let settings = again.settings().await.unwrap();
    assert_eq!((&*settings.model, settings.limits.max_iterations), ("large", 3));
    system.session("alice").model("small").max_iterations(3).start().await.unwrap();
    let changes: Vec<_> =
        log(&system, &alice).await.into_iter().filter(|e| e["type"] == "settings_changed").collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0]["patch"], json!({"model": "small"}));
    let send = sending(&alice, "x");
    let asked = questions.next().await;
    assert_eq!(&*asked.request.model, "small");
    asked.answer("y");
    assert_eq!(&*result(send).await.model, "small");
}

#[tokio::test]
async fn bad_input_is_told_at_the_door_and_changes_nothing() {
    let (model, _questions) = model();
    let system = system(&model).await;
    let error = system.session("no spaces").start().await.unwrap_err();
    assert!(matches!(&error, SessionError::BadName(_)), "{error}");
    let error = system.session("x").provider("nobody").start().await.unwrap_err();
    assert!(
        matches!(&error, SessionError::Unresolved { missing, .. } if missing == &["provider nobody"]),
        "{error}"
    );
    let alice = system.session("alice").start().await.unwrap();
    for blank in ["", " \n\t"] {
        let error = alice.send_message(blank).await.unwrap_err();
        assert!(matches!(error, SessionError::EmptyPrompt), "{error}");
    }
    let refusal = vec![Part::Refusal { text: "no".into() }];
    let error = alice.send_message(refusal).await.unwrap_err();
    assert!(matches!(error, SessionError::NotSpeech), "{error}");
    let huge = "x".repeat(ergane::session::INPUT_LIMIT + 1);
    let error = alice.send_message(huge).await.unwrap_err();
    assert!(matches!(error, SessionError::InputTooLarge { .. }), "{error}");
    let odd = system.session("odd").tools(["no-such-tool"]).start().await.unwrap();
    let error = odd.send_message("hi").await.unwrap_err();
    assert!(
        matches!(&error, SessionError::Unresolved { missing, .. } if missing == &["tool no-such-tool"]),
        "{error}"
    );
    let empty = System::builder().start().await.unwrap();
    let error = empty.session("alice").start().await.unwrap_err();
    assert!(matches!(error, SessionError::NoProvider), "{error}");
    assert_eq!(kinds(&system, &alice).await, ["session_started"]);
}

#[tokio::test]
async fn a_send_whose_turn_cannot_run_is_refused_and_not_kept_waiting() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let first = sending(&alice, "one");
    let asked = questions.next().await;
    let queued = sending(&alice, "two");
    until("two waits", || async { alice.status().await.unwrap().queued == 1 }).await;
    system.session("alice").tools(["no-such-tool"]).start().await.unwrap();
    let error = alice.send_message("three").await.unwrap_err();
    assert!(matches!(error, SessionError::Unresolved { .. }), "{error}");
    asked.answer("done");
    assert_eq!(&*result(first).await.text, "done");
    let error = soon("two is refused", queued).await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::Unresolved { .. }), "{error}");
    // It was accepted, so it runs once it can.
    let none: [&str; 0] = [];
    system.session("alice").tools(none).start().await.unwrap();
    let asked = questions.next().await;
    assert_eq!(asked.texts().last().unwrap(), "two");
    asked.answer("now");
}

#[tokio::test]
async fn what_is_larger_than_an_event_is_refused_at_the_door() {
    let (model, _questions) = model();
    let store = Arc::new(Memory::new());
    let journal = FaultPlan::none().journal(store.clone());
    let system = System::builder().provider("test", model).journal(journal).start().await.unwrap();
    let large = "x".repeat(2 * 1024 * 1024);
    let error = system.session("alice").system_prompt(large.clone()).start().await.unwrap_err();
    assert!(matches!(error, SessionError::InputTooLarge { .. }), "{error}");
    assert_eq!(store.position(&"alice".parse().unwrap()), Ok(None), "and no name is taken by it");
    let alice = system.session("alice").start().await.unwrap();
    let error = alice.send_message("hi").key(&large).await.unwrap_err();
    assert!(matches!(error, SessionError::InputTooLarge { .. }), "{error}");
    assert_eq!(kinds(&system, &alice).await, ["session_started"]);
}

#[tokio::test]
async fn a_session_is_not_taken_for_one_of_another_durability() {
    let (model, _questions) = model();
    let system = system(&model).await;
    let _off = system.session("alice").durability(Durability::Off).start().await.unwrap();
    let error = system.session("alice").start().await.unwrap_err();
    assert!(matches!(error, SessionError::OtherDurability { running: Durability::Off, .. }), "{error}");
}

#[tokio::test]
async fn a_turn_ends_when_its_interrupted_tools_are_gone_and_not_before() {
    struct Stubborn(std::sync::Arc<std::sync::atomic::AtomicBool>);
    impl Tool for Stubborn {
        fn name(&self) -> &str {
            "stubborn"
        }
        fn description(&self) -> &str {
            "it does not listen"
        }
        fn parameters(&self) -> serde_json::Value {
            json!({"type": "object", "properties": {}})
        }
        fn effect(&self) -> Effect {
            Effect::Write
        }
        fn call(
            &self,
            context: ToolContext,
            _: serde_json::Map<String, serde_json::Value>,
        ) -> ergane::provider::BoxFuture<'static, Result<ToolOutput, ergane::tool_support::ToolError>>
        {
            struct Gone(std::sync::Arc<std::sync::atomic::AtomicBool>);
            impl Drop for Gone {
                fn drop(&mut self) {
                    self.0.store(true, std::sync::atomic::Ordering::SeqCst);
                }
            }
            let gone = Gone(self.0.clone());
            Box::pin(async move {
                context.progress("begun");
                std::future::pending::<()>().await;
                drop(gone);
                Ok(ToolOutput::from("never"))
            })
        }
    }

    let gone = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (model, mut questions) = model();
    let system =
        System::builder().provider("test", model).tool(Stubborn(gone.clone())).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let mut events = alice.subscribe(None).await.unwrap();
    let send = sending(&alice, "go");
    questions.next().await.call(&[("stubborn", json!({}))]);
    while !matches!(soon("it begins", events.next()).await, Some(Ok(SessionEvent::ToolProgress { .. }))) {}
    assert!(alice.interrupt("enough").await.unwrap());
    let ended = result(send).await;
    assert!(gone.load(std::sync::atomic::Ordering::SeqCst), "its body was gone before the turn ended");
    assert_eq!(ended.finish_reason, FinishReason::Interrupted);
}

#[tokio::test]
async fn a_call_that_may_not_run_is_an_error_result_with_the_reason() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read), ("change", Effect::Write)]);
    let system = system_with(&model, tools).await;
    let plan = system.session("plan").permissions(PermissionMode::Plan).deny(["look"]).start().await.unwrap();
    let send = sending(&plan, "go");
    questions.next().await.call(&[
        ("look", json!({})),
        ("change", json!({})),
        ("lok", json!({})),
        ("look", json!([1])),
    ]);
    let asked = questions.next().await;
    let results = asked.results();
    assert!(results[0].contains("deny"), "{results:?}");
    assert!(results[1].contains("plan"), "{results:?}");
    assert!(results[2].contains("look"), "the nearest name is told: {results:?}");
    assert!(results[3].contains("object") || results[3].contains("deny"), "{results:?}");
    asked.answer("so be it");
    result(send).await;
    assert!(calls.is_empty());
}

#[tokio::test]
async fn a_query_offers_no_tools_a_run_offers_all_and_neither_leaves_a_session() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let system = system_with(&model, tools).await;
    let query = tokio::spawn(system.query("what?").into_future_boxed());
    let asked = questions.next().await;
    assert!(asked.request.tools.is_empty());
    asked.answer("that");
    assert_eq!(&*soon("query", query).await.unwrap().unwrap().text, "that");

    let run = tokio::spawn(system.run("do").into_future_boxed());
    let asked = questions.next().await;
    assert_eq!(asked.request.tools.len(), 1);
    asked.call(&[("look", json!({}))]);
    calls.next().await.give("seen");
    questions.next().await.answer("done");
    assert_eq!(soon("run", run).await.unwrap().unwrap().iterations, 1);

    let names = system.context().namespace();
    let live = || names.names().into_iter().any(|(name, _)| name.starts_with("session/"));
    until("both sessions are gone", || async { !live() }).await;
    assert!(system.sessions().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_query_is_one_model_call_without_tools_whatever_the_model_and_the_settings_say() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let system = system_with(&model, tools).await;
    let all = SettingsPatch { tools: Some(vec!["look".into()]), ..SettingsPatch::default() };
    let query = tokio::spawn(system.query("what?").settings(all).into_future_boxed());
    let asked = questions.next().await;
    assert!(asked.request.tools.is_empty());
    asked.call(&[("look", json!({}))]);
    let result = soon("query", query).await.unwrap().unwrap();
    assert_eq!((result.finish_reason, result.iterations), (FinishReason::MaxTurns, 1));
    assert!(calls.is_empty(), "nothing ran");
}

#[tokio::test]
async fn no_tool_opens_the_journal_that_its_session_is_kept_in() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "a word").unwrap();
    let journal = Sqlite::open(folder.path().join("j.db")).unwrap();
    let script = Scripted::replies([
        ScriptedReply::call("grep", json!({ "pattern": "a word|session" })),
        ScriptedReply::call("read", json!({ "path": "j.db-shm" })),
        ScriptedReply::text("done"),
    ]);
    let system = System::builder().provider("scripted", script).tools(Tools::all()).journal(journal);
    let system = system.start().await.unwrap();
    let alice = system.session("alice").cwd(folder.path()).start().await.unwrap();
    let result = alice.send_message("search").await.unwrap();
    let told = serde_json::to_string(&result.messages).unwrap();
    assert!(told.contains("\"notes.txt:1:a word\""), "nothing else was searched: {told}");
    assert!(told.contains("j.db-shm belongs to the journal"), "{told}");
    system.shutdown(LONG).await.unwrap();
}

/// `IntoFuture` as a method, for `tokio::spawn`.
trait Boxed: std::future::IntoFuture + Sized {
    fn into_future_boxed(self) -> Self::IntoFuture {
        self.into_future()
    }
}

impl Boxed for ergane::OneShot {}

#[tokio::test]
async fn a_result_that_no_event_can_hold_is_replaced_by_one_that_says_how_large_it_was() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let system = system_with(&model, tools).await;
    let alice = system.session("alice").start().await.unwrap();
    let send = sending(&alice, "go");
    questions.next().await.call(&[("look", json!({}))]);
    let url = "x".repeat(ergane::journal::MAX_EVENT_BYTES);
    let source = ergane::core::ImageSource::Url(url.into());
    calls.next().await.give_parts(vec![Part::Image { mime: "image/png".into(), source }]);
    let asked = questions.next().await;
    let result = asked.results().remove(0);
    assert!(result.contains("it has 16777") && result.contains("may have 16777216"), "{result}");
    asked.answer("I see");
    common::result(send).await;
}

#[tokio::test]
async fn an_interrupt_of_a_send_that_waits_ends_its_turn_before_anything_is_done_in_it_and_no_other() {
    let (model, mut questions) = model();
    let system = System::builder().provider("test", model).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let first = alice.send_message("one").key("1").taken().await.unwrap();
    let asked = questions.next().await;
    let second = alice.send_message("two").key("2").taken().await.unwrap();
    let third = alice.send_message("three").key("3").taken().await.unwrap();
    assert!(!alice.interrupt_send("unheard of", "never mind").await.unwrap());
    assert!(alice.interrupt_send("2", "never mind").await.unwrap());
    assert!(alice.interrupt_send("2", "again").await.unwrap(), "it is known already");
    assert!(
        matches!(alice.status().await.unwrap().activity, Activity::CallingModel),
        "the first one goes on"
    );
    asked.answer("1");
    assert_eq!(first.result().await.unwrap().finish_reason, FinishReason::Stop);
    let second = soon("the second ends", second.result()).await.unwrap();
    assert_eq!((second.finish_reason, second.ordinal), (FinishReason::Interrupted, 2));
    let asked = questions.next().await;
    assert!(asked.texts().last().unwrap().ends_with("three"), "nobody was asked about the second");
    // Of a turn that has ended it says how; the one that is open goes on.
    assert!(alice.interrupt_turn(second.turn, "late").await.unwrap());
    assert!(!alice.interrupt_send("1", "late").await.unwrap());
    asked.answer("3");
    assert_eq!(third.result().await.unwrap().finish_reason, FinishReason::Stop);
    let log = kinds(&system, &alice).await;
    assert_eq!(log.iter().filter(|kind| *kind == "interrupt_requested").count(), 1, "{log:?}");
    system.shutdown(LONG).await.unwrap();
}
