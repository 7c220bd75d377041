//! Who is let in and when: limits, the circuit, turns between sessions, and what a call that waits is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::gate::{gate, gate_of};
use common::*;
use ergane_core::{ErrorKind, ProviderError};
use ergane_otp::{ChildSpec, DynamicSupervisorRef};
use ergane_provider::{
    BreakerPolicy, Call, CallEvent, Circuit, EmbedRequest, Endpoint, Limits, OpenAi, Providers, WaitReason,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::Notify;

const MINUTE: Duration = Duration::from_secs(60);

fn asks(asker: &str, text: &str) -> Call {
    Call { asker: asker.into(), ..Call::new("g", request(text)) }
}

fn broken() -> ProviderError {
    ProviderError::new(ErrorKind::Server, "it is broken")
}

async fn tree_of(limits: Limits) -> (Tree, common::gate::Calls) {
    let (gate, calls) = gate_of(limits);
    (Tree::start(Providers::builder().register("g", gate)).await, calls)
}

#[tokio::test]
async fn a_session_with_a_thousand_calls_holds_nobody_up() {
    let (gate, mut calls) = gate(1);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    let first = tree.call("g", "first");
    let running = calls.next().await;
    let flood: Vec<Events> = (0..1000).map(|n| tree.make(asks("flood", &n.to_string()))).collect();
    let others: Vec<Events> = ["a", "b"].map(|name| tree.make(asks(name, name))).into();
    tree.queue_is_settled("g").await;
    running.answer();
    let mut order = Vec::new();
    for _ in 0..6 {
        let running = calls.next().await;
        order.push(running.text.clone());
        running.answer();
    }
    assert_eq!(order, ["0", "a", "b", "1", "2", "3"]);
    drop((first, flood, others));
    tree.shutdown().await;
}

#[tokio::test]
async fn of_one_session_no_more_than_1024_calls_wait_and_others_still_may() {
    let (tree, mut calls) = tree_of(Limits { max_in_flight: 1, ..Limits::default() }).await;
    let mut flood: Vec<Events> = (0..1026).map(|n| tree.make(asks("flood", &n.to_string()))).collect();
    let mut other = tree.make(asks("other", "other"));
    assert_eq!(other.waiting().await, WaitReason::Busy { running: 1 });
    let error = flood.pop().unwrap().done().await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Overloaded, true), "{error}");
    calls.next().await.answer();
    flood[0].done().await.unwrap();
    drop((flood, other));
    tree.shutdown().await;
}

#[tokio::test]
async fn a_call_that_waits_is_told_why_and_then_that_it_began() {
    let (gate, mut calls) = gate(1);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    let first = tree.call("g", "first");
    let running = calls.next().await;
    let mut second = tree.call("g", "second");
    let reason = second.waiting().await;
    assert_eq!(reason, WaitReason::Busy { running: 1 });
    assert!(reason.to_string().contains("1 calls run already"), "{reason}");
    let status = tree.providers.status();
    assert_eq!((status[0].running, status[0].waiting, &status[0].reason), (1, 1, &Some(reason)));
    assert_eq!((status[0].actor.as_str(), status[0].endpoint.as_str()), ("provider/g", "a test"));
    running.answer();
    second.started().await;
    calls.next().await.answer();
    second.done().await.unwrap();
    drop(first);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn requests_a_minute_are_kept_to_and_the_next_goes_when_there_is_room_again() {
    let (tree, mut calls) = tree_of(Limits { requests_per_minute: Some(12), ..Limits::default() }).await;
    for n in 0..12 {
        let mut call = tree.call("g", &n.to_string());
        calls.next().await.answer();
        call.done().await.unwrap();
    }
    let begin = tokio::time::Instant::now();
    let mut call = tree.call("g", "one too many");
    assert_eq!(call.waiting().await, WaitReason::Requests);
    calls.next().await.answer();
    let waited = begin.elapsed();
    assert!((MINUTE / 12 - Duration::from_secs(1)..=MINUTE / 10).contains(&waited), "{waited:?}");
    call.done().await.unwrap();
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn tokens_a_minute_are_counted_by_what_the_answers_took() {
    let (tree, mut calls) = tree_of(Limits { tokens_per_minute: Some(6000), ..Limits::default() }).await;
    let mut call = tree.call("g", "much");
    calls.next().await.answer_of(7000);
    call.done().await.unwrap();
    let begin = tokio::time::Instant::now();
    let mut call = tree.call("g", "more");
    assert_eq!(call.waiting().await, WaitReason::Tokens);
    calls.next().await.answer();
    assert!(begin.elapsed() >= MINUTE / 6, "a debt of 1000 tokens is paid first");
    call.done().await.unwrap();
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_wait_for_longer_than_it_can_is_refused_at_once_with_the_wait() {
    let (tree, mut calls) = tree_of(Limits { requests_per_minute: Some(1), ..Limits::default() }).await;
    let mut first = tree.call("g", "first");
    calls.next().await.answer();
    first.done().await.unwrap();
    let begin = tokio::time::Instant::now();
    let impatient = Call { max_wait: Some(Duration::from_secs(5)), ..asks("a", "impatient") };
    let error = tree.make(impatient).done().await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::RateLimited, true));
    assert!(error.retry_after.unwrap() > MINUTE - Duration::from_secs(1), "{error:?}");
    assert!(error.message.contains("requests a minute"), "{error}");
    assert_eq!(begin.elapsed(), Duration::ZERO, "nobody waited");
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_place_no_longer_than_it_may() {
    let (tree, mut calls) = tree_of(Limits { max_in_flight: 1, ..Limits::default() }).await;
    let first = tree.call("g", "first");
    let running = calls.next().await;
    let mut patient = tree.make(asks("b", "patient"));
    let impatient = Call { max_wait: Some(Duration::from_secs(5)), ..asks("a", "impatient") };
    let begin = tokio::time::Instant::now();
    let error = tree.make(impatient).done().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Overloaded);
    assert!(begin.elapsed() >= Duration::from_secs(5));
    running.answer();
    calls.next().await.answer();
    patient.done().await.unwrap();
    drop(first);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn after_failures_in_a_row_calls_wait_and_one_is_the_probe() {
    let (tree, mut calls) = tree_of(Limits::default()).await;
    for _ in 0..5 {
        let mut call = tree.call("g", "x");
        calls.next().await.fail(broken());
        call.done().await.unwrap_err();
    }
    let mut waiting: Vec<Events> = (0..3).map(|n| tree.call("g", &n.to_string())).collect();
    let open = WaitReason::CircuitOpen { last: "it is broken".into() };
    for call in &mut waiting {
        assert_eq!(call.waiting().await, open);
    }
    let stands = || {
        let status = tree.providers.status().remove(0);
        (status.circuit, status.wait)
    };
    assert_eq!(stands(), (Circuit::Open, Some(Duration::from_secs(1))));
    let probe = calls.next().await;
    assert_eq!(probe.text, "0");
    assert_eq!(stands().0, Circuit::Probing);
    // The probe fails: twice the wait, and then the next is the probe.
    let begin = tokio::time::Instant::now();
    probe.fail(broken());
    waiting[0].done().await.unwrap_err();
    let probe = calls.next().await;
    assert_eq!(probe.text, "1");
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(calls.none_runs(), "one probe at a time");
    probe.answer();
    waiting[1].done().await.unwrap();
    calls.next().await.answer();
    waiting[2].done().await.unwrap();
    assert_eq!(stands(), (Circuit::Closed, None));
    assert!(tree.providers.status()[0].reason.is_none());
    tree.shutdown().await;
}

/// A probe may be answered at any moment, whenever the next one would go.
#[tokio::test(start_paused = true)]
async fn who_could_go_elsewhere_waits_for_a_probe_as_long_as_he_may() {
    let (tree, mut calls) = tree_of(Limits::default()).await;
    for _ in 0..5 {
        let mut call = tree.call("g", "x");
        calls.next().await.fail(broken());
        call.done().await.unwrap_err();
    }
    let call = |n: usize| Call { max_wait: Some(Duration::from_secs(5)), ..asks("a", &n.to_string()) };
    let mut waiting: Vec<Events> = (0..3).map(|n| tree.make(call(n))).collect();
    for call in &mut waiting {
        assert!(matches!(call.waiting().await, WaitReason::CircuitOpen { .. }));
    }
    let probe = calls.next().await;
    assert_eq!(probe.text, "0");
    let mut late = tree.make(call(3));
    assert!(matches!(late.waiting().await, WaitReason::CircuitOpen { .. }));
    waiting.push(late);
    probe.answer();
    for text in ["1", "2", "3"] {
        let running = calls.next().await;
        assert_eq!(running.text, text);
        running.answer();
    }
    for call in &mut waiting {
        call.done().await.unwrap();
    }
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_probe_waits_no_longer_than_he_may() {
    let (tree, mut calls) = tree_of(Limits::default()).await;
    for _ in 0..5 {
        let mut call = tree.call("g", "x");
        calls.next().await.fail(broken());
        call.done().await.unwrap_err();
    }
    let probe_call = tree.call("g", "probe");
    let probe = calls.next().await;
    let begin = tokio::time::Instant::now();
    let mut other = tree.make(Call { max_wait: Some(Duration::from_secs(5)), ..asks("a", "other") });
    let error = other.done().await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Overloaded, None), "nobody knows how long");
    assert!((Duration::from_secs(5)..Duration::from_secs(6)).contains(&begin.elapsed()));
    drop((probe_call, probe));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_cancelled_leaves_its_place_to_the_next() {
    let (tree, mut calls) = tree_of(Limits::default()).await;
    for _ in 0..5 {
        let mut call = tree.call("g", "x");
        calls.next().await.fail(broken());
        call.done().await.unwrap_err();
    }
    let (probe_call, mut next) = (tree.call("g", "probe"), tree.call("g", "next"));
    let probe = calls.next().await;
    assert_eq!(probe.text, "probe");
    drop(probe_call);
    probe.cancelled().await;
    calls.next().await.answer();
    next.done().await.unwrap();
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_before_anything_is_sent_says_nothing_of_the_server() {
    let (tree, mut calls) = tree_of(Limits::default()).await;
    for _ in 0..5 {
        let mut call = tree.call("g", "x");
        calls.next().await.fail(broken());
        call.done().await.unwrap_err();
    }
    let (mut first, mut next) = (tree.call("g", "first"), tree.call("g", "next"));
    let probe = calls.next().await;
    assert_eq!(probe.text, "first");
    probe.fail(ProviderError::new(ErrorKind::Auth, "there is no key"));
    first.done().await.unwrap_err();
    let probe = calls.next().await;
    let open = WaitReason::CircuitOpen { last: "it is broken".into() };
    assert_eq!(tree.providers.status()[0].reason, Some(open), "the next is only the next probe");
    probe.answer();
    next.done().await.unwrap();
    assert_eq!(tree.providers.status()[0].reason, None);
    tree.shutdown().await;
}

#[tokio::test]
async fn a_server_that_refuses_a_call_is_one_that_works() {
    let server = TestServer::start(|request| {
        let status = request.json()["messages"][0]["content"].as_str().unwrap().to_owned();
        vec![send(head(&status, &["Content-Type: application/json"])), send("{}")]
    })
    .await;
    let policy = BreakerPolicy { failures: 2, open_for: MINUTE, at_most: MINUTE };
    let provider = OpenAi::new(&server.url).breaker(policy);
    let tree = Tree::start(Providers::builder().register("o", provider)).await;
    for status in ["500 Oh", "401 No", "500 Oh"] {
        tree.call("o", status).done().await.unwrap_err();
        assert_eq!(tree.providers.status()[0].reason, None, "no two failures in a row");
    }
    tree.call("o", "500 Oh").done().await.unwrap_err();
    let reason = tree.providers.status()[0].reason.clone();
    assert!(matches!(reason, Some(WaitReason::CircuitOpen { .. })), "{reason:?}");
    tree.shutdown().await;
}

/// One after another, so that each has begun well before the next is counted.
#[tokio::test]
async fn answers_that_begin_well_and_come_to_nothing_open_the_circuit() {
    let begun = || send(head("200 OK", &[SSE]));
    let ways = [
        ("cut", ErrorKind::StreamCut, vec![begun(), send(text_event("Well, "))]),
        ("silent", ErrorKind::Timeout, vec![begun(), send(text_event("Well, ")), Act::Stall]),
        ("a page", ErrorKind::Protocol, vec![answer("200 OK", &["content-type: text/html"], "<html>")]),
        ("no answer", ErrorKind::Protocol, vec![begun(), send("data: certainly\n\n")]),
    ];
    for (way, kind, acts) in ways {
        let server = TestServer::always(acts).await;
        let policy = BreakerPolicy { failures: 3, open_for: MINUTE, at_most: MINUTE };
        let tree =
            Tree::start(Providers::builder().register("o", OpenAi::new(&server.url).breaker(policy))).await;
        // Who waits for less time than a server may need says nothing of it, as long as he is the only one.
        let impatient: &[&str] = if kind == ErrorKind::Timeout { &["alice", "alice", "alice"] } else { &[] };
        for asker in impatient.iter().chain(&["bob", "carol", "dave"]) {
            assert_eq!(
                tree.providers.status().first().and_then(|status| status.reason.clone()),
                None,
                "{way}"
            );
            // Only where silence is what is waited for may a slow machine make a timeout of it.
            let idle_timeout = if kind == ErrorKind::Timeout { Duration::from_millis(200) } else { DEADLINE };
            let call = Call { idle_timeout, ..Call::new("o", request("x")) };
            let error = tree.make(Call { asker: (*asker).into(), ..call }).done().await.unwrap_err();
            assert_eq!(error.kind, kind, "{way}: {error}");
        }
        let reason = tree.providers.status()[0].reason.clone();
        assert!(matches!(reason, Some(WaitReason::CircuitOpen { .. })), "{way}: {reason:?}");
        tree.shutdown().await;
    }
}

#[tokio::test]
async fn a_killed_provider_actor_comes_back_with_its_circuit_as_it_was() {
    let (tree, mut calls) = tree_of(Limits::default()).await;
    for _ in 0..5 {
        let mut call = tree.call("g", "x");
        calls.next().await.fail(broken());
        call.done().await.unwrap_err();
    }
    let actor =
        within("the provider's actor", tree.namespace.wait_for("provider/g", DEADLINE)).await.unwrap();
    actor.kill();
    within("its death", actor.wait(None)).await.ok();
    let mut call = tree.call("g", "later");
    assert!(matches!(call.waiting().await, WaitReason::CircuitOpen { .. }));
    drop(call);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_wait_is_not_asked_by_anybody_meanwhile() {
    let (tree, mut calls) = tree_of(Limits::default()).await;
    let mut first = tree.call("g", "first");
    let hint = Duration::from_secs(7);
    let error = ProviderError::new(ErrorKind::RateLimited, "slow down");
    calls.next().await.fail(ProviderError { retry_after: Some(hint), ..error });
    first.done().await.unwrap_err();
    let begin = tokio::time::Instant::now();
    let mut other = tree.make(asks("other", "other"));
    assert_eq!(other.waiting().await, WaitReason::Asked);
    calls.next().await.answer();
    assert!(begin.elapsed() >= hint);
    other.done().await.unwrap();
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_server_that_asks_for_longer_is_refused_when_it_does() {
    let (tree, mut calls) = tree_of(Limits { max_in_flight: 2, ..Limits::default() }).await;
    let (mut first, mut second) = (tree.call("g", "first"), tree.call("g", "second"));
    let (one, other) = (calls.next().await, calls.next().await);
    let slow_down = |hint| {
        let error = ProviderError::new(ErrorKind::RateLimited, "slow down");
        ProviderError { retry_after: Some(Duration::from_secs(hint)), ..error }
    };
    one.fail(slow_down(5));
    first.done().await.unwrap_err();
    let begin = tokio::time::Instant::now();
    let mut waiting = tree.make(Call { max_wait: Some(Duration::from_secs(30)), ..asks("a", "waiting") });
    assert_eq!(waiting.waiting().await, WaitReason::Asked);
    other.fail(slow_down(60));
    second.done().await.unwrap_err();
    assert_eq!(waiting.done().await.unwrap_err().kind, ErrorKind::RateLimited);
    assert_eq!(begin.elapsed(), Duration::ZERO, "as soon as it is known");
    tree.shutdown().await;
}

#[tokio::test]
async fn what_a_servers_headers_say_of_its_limits_is_kept_to() {
    let headers = [
        SSE,
        "x-ratelimit-limit-requests: 10",
        "x-ratelimit-remaining-requests: 0",
        "x-ratelimit-reset-requests: 1h",
    ];
    let server =
        TestServer::always(vec![send(head("200 OK", &headers)), send(text_event("hi") + STOP_EVENTS)]).await;
    let tree = Tree::start(Providers::builder().register("o", OpenAi::new(&server.url))).await;
    let mut first = tree.call("o", "first");
    assert_eq!(first.done().await.unwrap().message.text(), "hi");
    let mut second = tree.call("o", "second");
    assert_eq!(second.waiting().await, WaitReason::Requests);
    drop(second);
    tree.shutdown().await;
}

#[tokio::test]
async fn a_model_whose_limit_is_used_up_holds_up_no_other_model() {
    let server = TestServer::start(|request| {
        let used_up = [SSE, "x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 1h"];
        let headers = if request.json()["model"] == "large" { &used_up[..] } else { &[SSE] };
        vec![send(head("200 OK", headers)), send(text_event("hi") + STOP_EVENTS)]
    })
    .await;
    let tree = Tree::start(Providers::builder().register("o", OpenAi::new(&server.url))).await;
    let of = |model: &str, asker: &str| {
        let call = Call::new("o", ergane_core::ModelRequest { model: model.into(), ..request("x") });
        tree.make(Call { asker: asker.into(), ..call })
    };
    of("large", "a").done().await.unwrap();
    // More than are looked at, if each of them had to be.
    let mut waiting: Vec<Events> = (0..70).map(|n| of("large", &format!("large {n}"))).collect();
    for call in &mut waiting {
        assert_eq!(call.waiting().await, WaitReason::Requests);
    }
    for asker in ["b", "c", "b"] {
        let mut small = of("small", asker);
        small.started().await;
        small.done().await.unwrap();
    }
    drop(waiting);
    tree.shutdown().await;
}

/// Alice waits for a model's limit, bob and carol for a place: carol could go elsewhere, and is not told of alice's limit.
#[tokio::test]
async fn who_waits_for_a_place_is_neither_refused_nor_told_for_the_limit_of_another_model() {
    let (begins, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let server = TestServer::start(move |request| {
        if request.json()["model"] == "large" {
            let used_up = [SSE, "x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 50s"];
            return vec![send(head("200 OK", &used_up)), send(text_event("hi") + STOP_EVENTS)];
        }
        let ends = Gate::new();
        begins.send(ends.clone()).unwrap();
        vec![send(head("200 OK", &[SSE])), Act::Wait(ends), send(text_event("hi") + STOP_EVENTS)]
    })
    .await;
    let provider = OpenAi::new(&server.url).max_in_flight(1);
    let tree = Tree::start(Providers::builder().register("o", provider)).await;
    let of = |model: &str, asker: &str, max_wait| {
        let call = Call::new("o", ergane_core::ModelRequest { model: model.into(), ..request("x") });
        tree.make(Call { asker: asker.into(), max_wait, ..call })
    };
    of("large", "first", None).done().await.unwrap();
    let mut running = of("small", "first", None);
    let mut begin = async || within("a call", begun.recv()).await.unwrap();
    let first = begin().await;
    let mut alice = of("large", "alice", None);
    assert_eq!(alice.waiting().await, WaitReason::Busy { running: 1 });
    let mut bob = of("small", "bob", None);
    assert_eq!(bob.waiting().await, WaitReason::Busy { running: 1 });
    let mut carol = of("small", "carol", Some(Duration::from_secs(40)));
    assert_eq!(carol.waiting().await, WaitReason::Busy { running: 1 });
    first.open();
    running.done().await.unwrap();
    begin().await.open();
    bob.started().await;
    bob.done().await.unwrap();
    begin().await.open();
    carol.started().await;
    carol.done().await.unwrap();
    drop(alice);
    tree.shutdown().await;
}

#[tokio::test]
async fn draining_lets_what_runs_end_and_lets_nothing_new_begin() {
    let (gate, mut calls) = gate(1);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    let mut running = tree.call("g", "running");
    let held = calls.next().await;
    let mut queued = tree.call("g", "queued");
    queued.waiting().await;
    let providers = tree.providers.clone();
    let drained = tokio::spawn(async move { providers.drain(DEADLINE).await });
    assert_eq!(queued.waiting().await, WaitReason::Draining);
    held.answer();
    running.done().await.unwrap();
    assert_eq!(within("the end of what ran", drained).await.unwrap(), 0);
    let mut late = tree.call("g", "late");
    assert_eq!(late.waiting().await, WaitReason::Draining);
    assert!(calls.none_runs());
    drop((queued, late));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn draining_ends_when_its_time_is_over_and_tells_what_still_runs() {
    let (gate, mut calls) = gate(2);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    let call = tree.call("g", "running");
    let held = calls.next().await;
    assert_eq!(tree.providers.drain(MINUTE).await, 1);
    drop((call, held));
    tree.shutdown().await;
}

/// Not even ready to start: a stand-in for a provider's actor that has not come back yet.
struct Slow(Arc<Notify>);

impl Actor for Slow {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        self.0.notified().await;
        Err("it was not meant to start".into())
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_providers_actor_itself_is_told_so() {
    let (tree, mut calls) = tree_of(Limits::default()).await;
    let go = Arc::new(Notify::new());
    let slow = go.clone();
    let spec = ChildSpec::actor("provider/g", move |_| (Slow(slow.clone()), ()));
    let providers = DynamicSupervisorRef::new(&tree.namespace, "providers");
    let starting = tokio::spawn(async move { providers.start_child(spec, DEADLINE).await });
    tokio::time::sleep(Duration::from_secs(1)).await; // the clock stands still, so it is being started by now
    let mut first = tree.call("g", "first");
    assert_eq!(first.waiting().await, WaitReason::Starting);
    let mut second = tree.call("g", "second");
    assert_eq!(second.waiting().await, WaitReason::Starting, "told at once, as it is known");
    go.notify_one();
    within("the start", starting).await.unwrap().unwrap_err();
    // The one that was waited for is started now.
    for call in [&mut first, &mut second] {
        call.started().await;
        calls.next().await.answer();
        call.done().await.unwrap();
    }
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_the_providers_actor_waits_no_longer_than_he_can() {
    let (tree, mut calls) = tree_of(Limits::default()).await;
    let go = Arc::new(Notify::new());
    let slow = go.clone();
    let spec = ChildSpec::actor("provider/g", move |_| (Slow(slow.clone()), ()));
    let providers = DynamicSupervisorRef::new(&tree.namespace, "providers");
    let starting = tokio::spawn(async move { providers.start_child(spec, DEADLINE).await });
    tokio::time::sleep(Duration::from_secs(1)).await; // the clock stands still, so it is being started by now
    let begin = tokio::time::Instant::now();
    let mut patient = tree.call("g", "patient");
    let impatient = Call { max_wait: Some(Duration::from_secs(5)), ..asks("a", "impatient") };
    let error = tree.make(impatient).done().await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Overloaded, true), "{error}");
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(6), "{waited:?}");
    go.notify_one();
    within("the start", starting).await.unwrap().unwrap_err();
    patient.started().await;
    calls.next().await.answer();
    patient.done().await.unwrap();
    tree.shutdown().await;
}

#[tokio::test]
async fn a_place_that_is_spelt_out_is_the_one_that_was_registered() {
    let go = Gate::new();
    let body = send(text_event("hi") + STOP_EVENTS);
    let server = TestServer::always(vec![Act::Wait(go.clone()), send(head("200 OK", &[SSE])), body]).await;
    let provider = OpenAi::new(&server.url).max_in_flight(1);
    let tree = Tree::start(Providers::builder().register("o", provider)).await;
    let spelt = Endpoint { base_url: Some(format!("{}/v1/", server.url).into()), api_key_env: None };
    let mut first = tree.call_at("o", spelt.clone(), "first");
    first.started().await;
    let mut second = tree.call("o", "second");
    assert_eq!(second.waiting().await, WaitReason::Busy { running: 1 });
    let mut third = tree.call_at("o", spelt, "third");
    assert_eq!(third.waiting().await, WaitReason::Busy { running: 1 });
    let actors: Vec<String> = tree.providers.status().into_iter().map(|status| status.actor).collect();
    assert_eq!(actors, ["provider/o"]);
    go.open();
    for call in [&mut first, &mut second, &mut third] {
        call.done().await.unwrap();
    }
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn vectors_are_asked_for_within_the_bounds_and_keep_nobody_from_the_models() {
    let (tree, _calls) = tree_of(Limits { requests_per_minute: Some(2), ..Limits::default() }).await;
    let providers = &tree.providers;
    let embed = || {
        let request = EmbedRequest::new("e", ["text"]);
        async move { providers.embed(&"g".into(), &Endpoint::default(), request, MINUTE * 60).await }
    };
    let begin = tokio::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(embed().await.unwrap_err().kind, ErrorKind::Unsupported, "it makes none, and was asked");
    }
    let took = begin.elapsed();
    assert!(took >= MINUTE * 4 - Duration::from_secs(1) && took < MINUTE * 5, "{took:?}");
    let request = EmbedRequest::new("e", ["text"]);
    let hasty = providers.embed(&"g".into(), &Endpoint::default(), request, Duration::from_secs(1)).await;
    assert_eq!(hasty.unwrap_err().kind, ErrorKind::RateLimited);
    tree.shutdown().await;
}

#[tokio::test]
async fn many_vectors_under_way_keep_nobody_from_asking_for_the_models() {
    let go = Gate::new();
    let held = go.clone();
    let server = TestServer::start(move |request| match request.path() {
        "/v1/models" => vec![answer("200 OK", &[JSON], r#"{"data":[{"id":"m"}]}"#)],
        _ => vec![
            Act::Wait(held.clone()),
            answer("200 OK", &[JSON], r#"{"data":[{"index":0,"embedding":[0.5]}]}"#),
        ],
    })
    .await;
    let tree = Tree::start(Providers::builder().register("o", OpenAi::new(&server.url))).await;
    let mut vectors = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let providers = tree.providers.clone();
        let request = EmbedRequest::new("e", ["text"]);
        vectors.spawn(
            async move { providers.embed(&"o".into(), &Endpoint::default(), request, DEADLINE).await },
        );
    }
    for _ in 0..8 {
        server.next_request().await;
    }
    let models = tree.providers.list_models(&"o".into(), &Endpoint::default(), DEADLINE).await.unwrap();
    assert_eq!(&*models[0].id, "m");
    go.open();
    for made in within("the vectors", vectors.join_all()).await {
        made.unwrap();
    }
    tree.shutdown().await;
}

#[tokio::test]
async fn a_server_that_asks_for_a_wait_when_it_is_asked_for_its_models_is_left_alone_by_calls_too() {
    let slow_down =
        answer("429 Too Many Requests", &[JSON, "retry-after: 7"], r#"{"error":{"message":"slow"}}"#);
    let server = TestServer::always(vec![slow_down]).await;
    let tree = Tree::start(Providers::builder().register("o", OpenAi::new(&server.url))).await;
    let error = tree.providers.list_models(&"o".into(), &Endpoint::default(), DEADLINE).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RateLimited);
    assert_eq!(tree.call("o", "hi").waiting().await, WaitReason::Asked);
    tree.shutdown().await;
}

#[tokio::test]
async fn a_drain_waits_for_lists_of_models_and_lets_no_further_one_begin() {
    let told = Gate::new();
    let body = answer("200 OK", &[JSON], r#"{"data":[{"id":"m"}]}"#);
    let server = TestServer::always(vec![Act::Wait(told.clone()), body]).await;
    let tree = Tree::start(Providers::builder().register("o", OpenAi::new(&server.url))).await;
    let list = |providers: Providers| async move {
        providers.list_models(&"o".into(), &Endpoint::default(), DEADLINE).await
    };
    let listing = tokio::spawn(list(tree.providers.clone()));
    server.next_request().await;
    assert_eq!(tree.providers.drain(Duration::from_millis(1)).await, 1);
    let late = list(tree.providers.clone()).await.unwrap_err();
    assert_eq!((late.kind, late.retryable), (ErrorKind::Overloaded, true), "{late}");
    let providers = tree.providers.clone();
    let drained = tokio::spawn(async move { providers.drain(DEADLINE).await });
    told.open();
    assert_eq!(within("the list", listing).await.unwrap().unwrap()[0].id.as_ref(), "m");
    assert_eq!(within("the drain", drained).await.unwrap(), 0);
    assert_eq!(server.requests(), 1);
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_of_models_keeps_to_what_a_server_asked_for_and_is_refused_when_that_is_too_long() {
    let (tree, mut calls) = tree_of(Limits::default()).await;
    let mut call = tree.call("g", "x");
    let slow_down = ProviderError::new(ErrorKind::Overloaded, "slow down");
    calls.next().await.fail(ProviderError { retry_after: Some(Duration::from_secs(20)), ..slow_down });
    call.done().await.unwrap_err();
    let list = async |deadline| tree.providers.list_models(&"g".into(), &Endpoint::default(), deadline).await;
    let begun = tokio::time::Instant::now();
    let error = list(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (ErrorKind::RateLimited, Some(Duration::from_secs(20))));
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited in vain");
    // With more time it waits, and then asks; this provider lists none.
    assert_eq!(list(MINUTE).await.unwrap_err().kind, ErrorKind::Unsupported);
    assert!(begun.elapsed() >= Duration::from_secs(20));
    tree.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_of_models_is_asked_of_no_server_whose_circuit_is_open_and_opens_and_closes_none() {
    let (tree, mut calls) = tree_of(Limits::default()).await;
    let list = async |deadline| tree.providers.list_models(&"g".into(), &Endpoint::default(), deadline).await;
    for _ in 0..5 {
        assert_eq!(list(MINUTE).await.unwrap_err().kind, ErrorKind::Unsupported, "it was asked");
        let mut call = tree.call("g", "x");
        calls.next().await.fail(broken());
        call.done().await.unwrap_err();
    }
    let begun = tokio::time::Instant::now();
    let error = list(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Overloaded, Some(Duration::from_secs(1))));
    assert!(error.message.contains("failed again and again"), "{error}");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(list(MINUTE).await.unwrap_err().kind, ErrorKind::Unsupported);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(tree.providers.status()[0].circuit, Circuit::Open, "a list is no probe");
    tree.shutdown().await;
}

/// One endpoint hangs, one floods, and one lies (a web page with a success, with nothing behind it); another answers while
/// they do, each call of its own.
#[tokio::test]
async fn an_endpoint_that_hangs_floods_or_lies_holds_no_other_up() {
    let hanging = TestServer::always(vec![send(head("200 OK", &[SSE])), Act::Stall]).await;
    let noise = ": keep-alive\n\n".repeat(512);
    let flooding =
        TestServer::always(vec![send(head("200 OK", &[SSE])), Act::SendForever(noise.into())]).await;
    let page = answer("200 OK", &["content-type: text/html"], "<html>All is well.</html>");
    let lying = TestServer::always(vec![page]).await;
    let good =
        TestServer::always(vec![send(head("200 OK", &[SSE])), send(text_event("fine") + STOP_EVENTS)]).await;
    let providers = Providers::builder()
        .register("lies", OpenAi::new(&lying.url).max_in_flight(2))
        .register("hangs", OpenAi::new(&hanging.url).max_in_flight(2))
        .register("floods", OpenAi::new(&flooding.url).max_in_flight(2))
        .register("works", OpenAi::new(&good.url));
    let tree = Tree::start(providers).await;
    // However long the others take on a busy machine, these do not run out of time meanwhile.
    let hang = |n: i32| Call { idle_timeout: 60 * MINUTE, ..Call::new("hangs", request(&n.to_string())) };
    let mut hung: Vec<Events> = (0..100).map(|n| tree.make(hang(n))).collect();
    let flooded: Vec<Events> = (0..100).map(|n| tree.call("floods", &n.to_string())).collect();
    let lied_to: Vec<Events> = (0..100).map(|n| tree.call("lies", &n.to_string())).collect();
    hanging.next_request().await;
    flooding.next_request().await;
    lying.next_request().await;
    for n in 0..20 {
        let reply = tree.call("works", &n.to_string()).done().await.unwrap();
        assert_eq!(reply.message.text(), "fine");
    }
    // Not one that hangs has ended meanwhile: what answered did not wait for them.
    for call in &mut hung {
        while let Ok(event) = call.events.try_recv() {
            assert!(matches!(event, CallEvent::Started { .. } | CallEvent::Waiting { .. }), "{event:?}");
        }
    }
    let status = tree.providers.status();
    let works = status.iter().find(|status| *status.provider == *"works").unwrap();
    assert_eq!((works.circuit, works.waiting, &works.reason), (Circuit::Closed, 0, &None));
    drop((hung, flooded, lied_to));
    tree.shutdown().await;
}
