//! Several providers behind each other: who is asked when, who answered, and what is told when none did.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{LONG, model, raw_actor, result, sending, soon};
use ergane::core::{ErrorKind, MicroUsd, SettingsPatch, StopReason, Usage};
use ergane::prelude::*;
use ergane::provider::{Price, ScriptedError, ScriptedUsage};

fn fails(kind: ErrorKind, message: &str) -> Scripted {
    let message = Some(message.to_owned());
    let error = ScriptedError { kind, message, status: None, retry_after_ms: None, after_text: None };
    Scripted::from_fn(move |_, _| ScriptedReply::failing(error.clone()))
}

fn answers(text: &'static str) -> Scripted {
    Scripted::from_fn(move |_, _| ScriptedReply::text(text))
}

fn no_retries() -> SettingsPatch {
    SettingsPatch { max_retries: Some(0), ..SettingsPatch::default() }
}

async fn events_and_result(session: &Session) -> (Vec<SessionEvent>, TurnResult) {
    let mut stream = session.send_message("hello").stream().await.unwrap();
    let mut events = Vec::new();
    while let Some(event) = soon("an event", stream.next()).await {
        events.push(event);
    }
    (events, soon("the result", stream.result()).await.unwrap())
}

#[tokio::test]
async fn the_next_provider_answers_when_the_first_fails_for_good_and_everybody_is_told_who_did() {
    let system = System::builder()
        .provider("a", fails(ErrorKind::Auth, "the key is wrong"))
        .provider("b", answers("from b"))
        .start()
        .await
        .unwrap();
    let alice = system.session("alice").provider("a").or("b").start().await.unwrap();
    let (events, result) = events_and_result(&alice).await;
    assert_eq!((&*result.text, &*result.provider, &*result.model), ("from b", "b", "scripted"));
    let fallback = events.iter().find_map(|event| match event {
        SessionEvent::Fallback { from, to, reason } => Some((&**from, &**to, &**reason)),
        _ => None,
    });
    assert_eq!(fallback, Some(("a", "b", "the key is wrong")));
    let answered = events.iter().find_map(|event| match event {
        SessionEvent::Reply { provider, model, .. } => Some((provider.clone(), model.clone())),
        _ => None,
    });
    assert_eq!(answered, Some((Some("b".into()), Some("scripted".into()))));
    system.shutdown(LONG).await.unwrap();
}

/// Of a hundred and twenty seconds, which is what a server may say nothing: once, and not until the time for the turn is
/// over.
#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_waited_for_once_and_then_the_next_one_answers() {
    let hangs = Scripted::from_fn(|_, _| ScriptedReply { hang: true, ..ScriptedReply::text("Let me") });
    let system =
        System::builder().provider("a", hangs).provider("b", answers("from b")).start().await.unwrap();
    let alice = system.session("alice").provider("a").or("b").start().await.unwrap();
    let begin = tokio::time::Instant::now();
    // The clock goes on by itself, and the deadlines of the other tests are shorter than what is waited for here.
    let result = alice.send_message("hello").await.unwrap();
    assert_eq!((&*result.text, &*result.provider), ("from b", "b"));
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_secs(120) && waited < Duration::from_secs(130), "{waited:?}");
    system.shutdown(LONG).await.unwrap();
}

/// Every provider of the chain is asked, also when one takes all the time there is for attempts and then fails.
#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_all_the_time_and_breaks_off_does_not_end_the_chain() {
    let (model, mut questions) = model();
    let b = answers("from b");
    let system = System::builder().provider("a", model).provider("b", b).start().await.unwrap();
    let alice = system.session("alice").provider("a").or("b").start().await.unwrap();
    let turn = tokio::spawn(alice.send_message("hello").into_future());
    let asked = questions.next().await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    asked.fail(ErrorKind::StreamCut);
    let result = turn.await.unwrap().unwrap();
    assert_eq!((&*result.text, &*result.provider), ("from b", "b"));
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn when_all_have_failed_the_error_names_each_with_its_reason() {
    let system = System::builder()
        .provider("a", fails(ErrorKind::Server, "a is broken"))
        .provider("b", fails(ErrorKind::Auth, "b has no key"))
        .provider("c", fails(ErrorKind::Quota, "c has no money"))
        .start()
        .await
        .unwrap();
    let chain = system.session("alice").provider("a").or("b").or("c").settings(no_retries());
    let alice = chain.start().await.unwrap();
    let (_, result) = events_and_result(&alice).await;
    let error = result.error.unwrap();
    assert_eq!(error.kind, ErrorKind::Quota);
    for part in ["a: a is broken", "b: b has no key", "c: c has no money"] {
        assert!(error.message.contains(part), "{error}");
    }
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_carried_to_no_other_provider() {
    let system = System::builder()
        .provider("a", fails(ErrorKind::ContextOverflow, "too long"))
        .provider("b", answers("from b"))
        .start()
        .await
        .unwrap();
    let alice = system.session("alice").provider("a").or("b").start().await.unwrap();
    let (_, result) = events_and_result(&alice).await;
    assert_eq!(result.finish_reason, FinishReason::PromptTooLong);
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn what_was_shown_before_the_fallback_is_void_and_said_to_be() {
    let (model, mut questions) = model();
    let system =
        System::builder().provider("a", model).provider("b", answers("from b")).start().await.unwrap();
    let chain = system.session("alice").provider("a").or("b").settings(no_retries());
    let alice = chain.start().await.unwrap();
    let mut stream = alice.send_message("hello").stream().await.unwrap();
    let asked = questions.next().await;
    asked.show("half an ans");
    drop(asked);
    let mut seen = Vec::new();
    while let Some(event) = soon("an event", stream.next()).await {
        match event {
            SessionEvent::Content { text } => seen.push(text.to_string()),
            SessionEvent::StreamReset => seen.push("reset".into()),
            SessionEvent::Fallback { .. } => seen.push("fallback".into()),
            _ => {}
        }
    }
    assert_eq!(seen, ["half an ans", "reset", "fallback", "from b"]);
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn the_chain_is_a_setting_that_is_kept_and_another_provider_begins_without() {
    let store: Arc<dyn ergane::journal::Journal> = Arc::new(Memory::new());
    let start = || async {
        System::builder()
            .shared_journal(store.clone())
            .provider("a", fails(ErrorKind::Auth, "the key is wrong"))
            .provider("b", answers("from b"))
            .start()
            .await
            .unwrap()
    };
    let system = start().await;
    system.session("alice").provider("a").or("b").start().await.unwrap();
    system.shutdown(LONG).await.unwrap();
    let system = start().await;
    let alice = system.session("alice").start().await.unwrap();
    assert_eq!(&*events_and_result(&alice).await.1.text, "from b");
    let alice = system.session("alice").provider("b").start().await.unwrap();
    assert!(alice.settings().await.unwrap().fallbacks.is_empty());
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_chain_with_a_provider_that_is_not_registered_is_refused() {
    let system = System::builder().provider("a", answers("from a")).start().await.unwrap();
    let error = system.session("alice").provider("a").or("zeta").start().await.unwrap_err();
    assert!(error.to_string().contains("provider zeta"), "{error}");
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_question_takes_a_chain_too() {
    let system = System::builder()
        .provider("a", fails(ErrorKind::ModelNotFound, "no such model"))
        .provider("b", answers("from b"))
        .start()
        .await
        .unwrap();
    let result = soon("the answer", system.query("hello").or("b").into_future()).await.unwrap();
    assert_eq!((&*result.text, &*result.provider), ("from b", "b"));
    system.shutdown(LONG).await.unwrap();
}

/// Two iterations cost more than the budget; the third call is not made.
#[tokio::test]
async fn a_price_that_was_set_makes_the_cost_and_the_budget_of_a_turn() {
    let looped = Scripted::from_fn(|request, _| {
        let usage = Some(ScriptedUsage { input_tokens: 1_000_000, ..ScriptedUsage::default() });
        let pattern = request.messages.len().to_string();
        let reply = ScriptedReply::call("glob", serde_json::json!({ "pattern": pattern }));
        ScriptedReply { usage, ..reply }
    });
    let system = System::builder()
        .provider("s", looped)
        .price("s", "scripted", Price::per_million(2_000_000, 8_000_000))
        .tools(Tools::all())
        .start()
        .await
        .unwrap();
    let budget = SettingsPatch { turn_budget: Some(MicroUsd(3_000_000)), ..SettingsPatch::default() };
    let alice = system.session("alice").tools(["glob"]).settings(budget).start().await.unwrap();
    let result = soon("the turn", alice.send_message("go").into_future()).await.unwrap();
    assert_eq!(result.finish_reason, FinishReason::MaxBudgetUsd);
    assert_eq!(result.cost, Some(MicroUsd(4_000_000)));
    system.shutdown(LONG).await.unwrap();
}

/// The first `bad` answers hold a call that the provider could not read; 1 cent and 10 tokens each.
fn stutters(bad: u32) -> (Scripted, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let model = Scripted::from_fn(move |_, _| {
        let is_bad = counted.fetch_add(1, Ordering::SeqCst) < bad;
        let usage = Some(ScriptedUsage { input_tokens: 7, output_tokens: 3, ..ScriptedUsage::default() });
        let (text, stop) =
            if is_bad { ("half", Some(StopReason::MalformedToolCall)) } else { ("whole", None) };
        ScriptedReply { stop, usage, cost_usd: Some(0.01), ..ScriptedReply::text(text) }
    });
    (model, asked)
}

fn told(events: &[SessionEvent]) -> Vec<String> {
    let words = events.iter().filter_map(|event| match event {
        SessionEvent::Content { text } => Some(text.to_string()),
        SessionEvent::StreamReset => Some("reset".into()),
        SessionEvent::Retrying { .. } => Some("again".into()),
        SessionEvent::Fallback { from, to, .. } => Some(format!("{from} to {to}")),
        _ => None,
    });
    words.collect()
}

#[tokio::test]
async fn a_tool_call_that_cannot_be_read_is_asked_for_once_more_and_both_answers_are_counted() {
    let (model, asked) = stutters(1);
    let system = System::builder().provider("a", model).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let (events, result) = events_and_result(&alice).await;
    assert_eq!(told(&events), ["half", "reset", "again", "whole"]);
    assert_eq!((&*result.text, result.finish_reason), ("whole", FinishReason::Stop));
    assert_eq!(result.messages.len(), 2, "what could not be read is no part of the conversation");
    assert_eq!((result.usage.input_tokens, result.usage.output_tokens), (14, 6));
    assert_eq!(result.cost, Some(MicroUsd(20_000)));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    system.shutdown(LONG).await.unwrap();
}

/// Refuses the second question, and all after it.
#[tokio::test]
async fn an_answer_that_could_not_be_read_is_counted_also_when_the_next_attempt_fails_for_good() {
    let asked = AtomicU32::new(0);
    let model = Scripted::from_fn(move |_, _| {
        if asked.fetch_add(1, Ordering::SeqCst) > 0 {
            let message = Some("the key is wrong now".to_owned());
            let kind = ErrorKind::Auth;
            let error = ScriptedError { kind, message, status: None, retry_after_ms: None, after_text: None };
            return ScriptedReply::failing(error);
        }
        let usage = Some(ScriptedUsage { input_tokens: 7, output_tokens: 3, ..ScriptedUsage::default() });
        let stop = Some(StopReason::MalformedToolCall);
        ScriptedReply { stop, usage, cost_usd: Some(0.01), ..ScriptedReply::text("half") }
    });
    let store: Arc<dyn ergane::journal::Journal> = Arc::new(Memory::new());
    let system =
        System::builder().shared_journal(store.clone()).provider("a", model.clone()).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let (events, result) = events_and_result(&alice).await;
    assert_eq!(result.finish_reason, FinishReason::ProviderAuth);
    assert_eq!((result.usage.input_tokens, result.usage.output_tokens), (7, 3));
    assert_eq!(result.cost, Some(MicroUsd(10_000)));
    let told = |event: &SessionEvent| match event {
        SessionEvent::Usage { usage, cost, .. } => Some((usage.map(|usage| usage.input_tokens), *cost)),
        _ => None,
    };
    assert_eq!(events.iter().find_map(told), Some((Some(7), Some(MicroUsd(10_000)))));
    // The session's sums have it too, before a restart and after, and so has the list.
    let sums = async |system: &System| {
        let (usage, cost) = system.whereis("alice").await.unwrap().usage().await.unwrap();
        let listed = system.sessions().await.unwrap().remove(0);
        assert_eq!((listed.usage.input_tokens, listed.cost), (usage.input_tokens, cost));
        (usage.input_tokens, cost.total())
    };
    assert_eq!(sums(&system).await, (7, Some(MicroUsd(10_000))));
    system.shutdown(LONG).await.unwrap();
    let system = System::builder().shared_journal(store).provider("a", model).start().await.unwrap();
    system.session("alice").start().await.unwrap();
    assert_eq!(sums(&system).await, (7, Some(MicroUsd(10_000))));
    system.shutdown(LONG).await.unwrap();
}

/// By attempts that broke off, by a provider that is fallen back from, and by the last failure.
#[tokio::test(start_paused = true)]
async fn what_attempts_took_before_they_failed_is_in_the_usage_and_the_cost_of_the_turn() {
    let (model, mut questions) = model();
    let took = |input_tokens| Usage { input_tokens, ..Usage::default() };
    let price = Price::per_million(1_000_000, 0);
    let start = System::builder().provider("a", model.clone()).provider("b", model.clone());
    let system = start.price("a", "m", price).price("b", "m", price).start().await.unwrap();
    let (alice, bob) =
        (system.session("alice").provider("a").or("b"), system.session("bob").provider("a").or("b"));
    let (alice, bob) = (alice.start().await.unwrap(), bob.start().await.unwrap());
    let turn = tokio::spawn(alice.send_message("hello").into_future());
    questions.next().await.fail_after(ErrorKind::StreamCut, took(100));
    questions.next().await.fail_after(ErrorKind::Auth, took(1_000));
    questions.next().await.answer("from b, for 10 more");
    let result = soon("the turn", turn).await.unwrap().unwrap();
    assert_eq!((&*result.text, result.usage.input_tokens), ("from b, for 10 more", 1_110));
    assert_eq!(result.cost, Some(MicroUsd(1_110)));

    let turn = tokio::spawn(bob.send_message("hello").into_future());
    questions.next().await.fail_after(ErrorKind::Auth, took(100));
    questions.next().await.fail_after(ErrorKind::Quota, took(1_000));
    let result = soon("the turn", turn).await.unwrap().unwrap();
    assert_eq!(result.error.map(|error| error.kind), Some(ErrorKind::Quota));
    assert_eq!((result.usage.input_tokens, result.cost), (1_100, Some(MicroUsd(1_100))));
    // What was not counted is not made up.
    let turn = tokio::spawn(bob.send_message("again").into_future());
    questions.next().await.fail(ErrorKind::Auth);
    questions.next().await.fail(ErrorKind::Quota);
    let result = soon("the turn", turn).await.unwrap().unwrap();
    assert_eq!((result.usage.input_tokens, result.cost), (0, Some(MicroUsd(0))));
    system.shutdown(LONG).await.unwrap();
}

/// So the budget holds, and the sums of the session and of the list have it, before a restart and after.
#[tokio::test]
async fn what_is_known_of_a_cost_stays_known_beside_an_attempt_without_a_price() {
    let (model, mut questions) = model();
    let store: Arc<dyn ergane::journal::Journal> = Arc::new(Memory::new());
    let start = async || {
        let start = System::builder().shared_journal(store.clone()).tools(Tools::all());
        let start = start.provider("lab", model.clone()).provider("b", model.clone());
        start.price("b", "m", Price::per_million(1_000_000, 0)).start().await.unwrap()
    };
    let system = start().await;
    let budget = SettingsPatch { turn_budget: Some(MicroUsd(10)), ..SettingsPatch::default() };
    let alice = system.session("alice").provider("lab").or("b").tools(["glob"]).settings(budget);
    let alice = alice.start().await.unwrap();
    let send = sending(&alice, "hello");
    let took = Usage { input_tokens: 100, ..Usage::default() };
    questions.next().await.fail_after(ErrorKind::Auth, took);
    questions.next().await.call(&[("glob", serde_json::json!({ "pattern": "none" }))]); // for 10
    let over = result(send).await;
    assert_eq!((over.finish_reason, over.usage.input_tokens), (FinishReason::MaxBudgetUsd, 110));
    assert_eq!(over.cost, None, "not all of it is known");
    let sums = async |system: &System| {
        let (usage, cost) = system.whereis("alice").await.unwrap().usage().await.unwrap();
        let listed = system.sessions().await.unwrap().remove(0);
        assert_eq!((listed.usage.input_tokens, listed.cost), (usage.input_tokens, cost));
        (usage.input_tokens, cost.known, cost.complete)
    };
    assert_eq!(sums(&system).await, (110, MicroUsd(10), false));
    system.shutdown(LONG).await.unwrap();
    let system = start().await;
    system.session("alice").start().await.unwrap();
    assert_eq!(sums(&system).await, (110, MicroUsd(10), false));
    system.shutdown(LONG).await.unwrap();
}

/// The attempt after it is interrupted, cut for a word, or lost with the loop.
#[tokio::test(start_paused = true)]
async fn what_an_attempt_took_is_counted_when_the_next_one_comes_to_nothing_for_another_reason() {
    let (model, mut questions) = model();
    let price = Price::per_million(1_000_000, 0);
    let system = System::builder().provider("a", model.clone()).price("a", "m", price).start().await.unwrap();
    let took = Usage { input_tokens: 100, ..Usage::default() };

    let alice = system.session("alice").start().await.unwrap();
    let send = sending(&alice, "in the pause");
    let mut events = alice.subscribe(None).await.unwrap();
    questions.next().await.fail_after(ErrorKind::StreamCut, took);
    while !matches!(soon("a pause", events.next()).await, Some(Ok(SessionEvent::Retrying { .. }))) {}
    alice.interrupt("enough").await.unwrap();
    let paused = result(send).await;
    assert_eq!((paused.usage.input_tokens, paused.cost), (100, Some(MicroUsd(100))));

    let send = sending(&alice, "in the next attempt");
    questions.next().await.fail_after(ErrorKind::StreamCut, took);
    let mut asked = questions.next().await;
    alice.steer("shorter").cut().await.unwrap();
    asked.given_up().await;
    questions.next().await.answer("short, for 10");
    let cut = result(send).await;
    assert_eq!((cut.usage.input_tokens, cut.cost), (110, Some(MicroUsd(110))));

    let turn = alice.send_message("without the loop").accepted().await.unwrap();
    questions.next().await.fail_after(ErrorKind::StreamCut, took);
    let mut asked = questions.next().await;
    raw_actor(&system, &format!("session/alice#turn/{turn}")).await.kill();
    asked.given_up().await;
    questions.next().await.fail_after(ErrorKind::StreamCut, took);
    questions.next().await.answer("done, for 10");
    let done = soon("the turn", async { alice.turn(turn).await }).await.unwrap();
    assert_eq!((done.usage.input_tokens, done.cost), (210, Some(MicroUsd(210))));
    let (usage, cost) = alice.usage().await.unwrap();
    assert_eq!((usage.input_tokens, cost.total()), (420, Some(MicroUsd(420))), "each once");
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_tool_call_that_cannot_be_read_twice_is_told_or_another_provider_is_asked() {
    let (model, asked) = stutters(u32::MAX);
    let system =
        System::builder().provider("a", model).provider("b", answers("from b")).start().await.unwrap();
    let alice = system.session("alice").provider("a").start().await.unwrap();
    let (events, result) = events_and_result(&alice).await;
    assert_eq!(told(&events), ["half", "reset", "again", "half"]);
    assert_eq!(result.finish_reason, FinishReason::DuringExecution);
    assert_eq!(result.error.map(|error| error.kind), Some(ErrorKind::ToolFormat));
    assert_eq!((result.usage.input_tokens, result.usage.output_tokens), (14, 6));
    assert_eq!(result.cost, Some(MicroUsd(20_000)));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let bob = system.session("bob").provider("a").or("b").start().await.unwrap();
    let (events, result) = events_and_result(&bob).await;
    assert_eq!(told(&events), ["half", "reset", "again", "half", "reset", "a to b", "from b"]);
    assert_eq!((&*result.text, asked.load(Ordering::SeqCst)), ("from b", 4));
    system.shutdown(LONG).await.unwrap();
}
