//! What a session shows while its model may not be asked yet, and what a shutdown does with calls under way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use common::{LONG, Model, hand_tools, kinds, model, soon, until};
use ergane::core::{ErrorKind, ModelReply, ProviderError, Text};
use ergane::prelude::*;
use ergane::provider::{BoxFuture, Endpoint, Limits, Provider, ProviderCall};
use ergane_testkit::{FaultPlan, JournalFault};
use serde_json::json;

/// A model that is asked one question at a time.
#[derive(Debug)]
struct Narrow(Model);

impl Provider for Narrow {
    fn api(&self) -> &'static str {
        self.0.api()
    }

    fn default_model(&self) -> Option<Text> {
        self.0.default_model()
    }

    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        self.0.with_endpoint(endpoint)
    }

    fn limits(&self) -> Limits {
        Limits { max_in_flight: 1, ..Limits::default() }
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        self.0.call(call)
    }
}

#[tokio::test]
async fn a_session_that_waits_for_its_model_says_so_in_its_events_and_its_status() {
    let (model, mut questions) = model();
    let system = System::builder().provider("narrow", Narrow(model)).start().await.unwrap();
    let first = system.session("first").start().await.unwrap();
    let first = tokio::spawn(async move { first.send_message("one").await });
    let asked = questions.next().await;
    let second = system.session("second").start().await.unwrap();
    let mut stream = second.send_message("two").stream().await.unwrap();
    let reason = loop {
        match soon("an event", stream.next()).await.unwrap() {
            SessionEvent::Waiting { reason } => break reason,
            event => assert!(matches!(event, SessionEvent::TurnStarted { .. }), "{event:?}"),
        }
    };
    assert!(reason.contains("1 calls run already"), "{reason}");
    let activity = second.status().await.unwrap().activity;
    assert_eq!(activity, Activity::Waiting { reason: reason.to_string() });
    asked.answer("1");
    let asked = questions.next().await;
    until("the second is asked", || async {
        second.status().await.unwrap().activity == Activity::CallingModel
    })
    .await;
    asked.answer("2");
    assert_eq!(&*soon("the answer", stream.result()).await.unwrap().text, "2");
    assert_eq!(&*soon("the first", first).await.unwrap().unwrap().text, "1");
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_waits_a_moment_for_an_answer_under_way_and_asks_nothing_new() {
    let (model, mut questions) = model();
    let store: Arc<dyn ergane::journal::Journal> = Arc::new(Memory::new());
    let builder = || System::builder().drain(LONG).shared_journal(store.clone());
    let system = builder().provider("m", model.clone()).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let turn = alice.send_message("hello").accepted().await.unwrap();
    let asked = questions.next().await;
    let ending = tokio::spawn({
        let system = system.clone();
        async move { system.shutdown(LONG).await }
    });
    let bob = system.session("bob").start().await.unwrap();
    bob.send_message("and me").accepted().await.unwrap();
    until("bob is told to wait", || async {
        matches!(bob.status().await.map(|status| status.activity), Ok(Activity::Waiting { .. }))
    })
    .await;
    asked.answer("hello yourself");
    soon("the end", ending).await.unwrap().unwrap();
    assert!(questions.is_empty(), "nobody was asked anew");

    // What was paid for is kept; what was not asked is asked now.
    let system = builder().provider("m", model).start().await.unwrap();
    let alice = system.whereis("alice").await.unwrap();
    let result = soon("the turn", alice.turn(turn).into_future()).await.unwrap();
    assert_eq!(&*result.text, "hello yourself");
    questions.next().await.answer("you too");
    until("bob has his answer", || async {
        system.whereis("bob").await.unwrap().status().await.unwrap().turns == 1
    })
    .await;
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_an_answer_that_does_not_come() {
    let (model, mut questions) = model();
    let builder = System::builder().provider("m", model).drain(Duration::ZERO);
    let system = builder.start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    alice.send_message("hello").accepted().await.unwrap();
    let _asked = questions.next().await;
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_waits_until_an_answer_with_calls_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("read", Effect::Read)]);
    let plan = FaultPlan::none();
    let start = || async {
        let journal = plan.journal(Arc::new(Sqlite::open(dir.path().join("j.db")).unwrap()));
        let builder = System::builder().drain(LONG).provider("m", model.clone()).tools(tools.clone());
        builder.journal(journal).start().await.unwrap()
    };
    let system = start().await;
    let alice = system.session("alice").start().await.unwrap();
    alice.send_message("hello").accepted().await.unwrap();
    let asked = questions.next().await;
    let ending = tokio::spawn({
        let system = system.clone();
        async move { system.shutdown(LONG).await }
    });
    let bob = system.session("bob").start().await.unwrap();
    bob.send_message("and me").accepted().await.unwrap();
    until("no new calls are made", || async {
        matches!(bob.status().await.map(|status| status.activity), Ok(Activity::Waiting { .. }))
    })
    .await;
    // The answer comes while another fact is on its way to a disk that takes its time.
    plan.break_journal(JournalFault::Delay(Duration::from_millis(300)));
    let steered = tokio::spawn(alice.steer("in French").into_future());
    until("the disk is busy", || async { plan.told().iter().any(|told| told.contains("Delay")) }).await;
    plan.heal();
    asked.call(&[("read", json!({}))]);
    soon("the end", ending).await.unwrap().unwrap();
    // Whatever it is told: until then its task holds the session.
    drop(soon("the word is answered", steered).await.unwrap());
    drop((alice, bob, system));

    let system = start().await;
    let alice = system.whereis("alice").await.unwrap();
    assert!(kinds(&system, &alice).await.contains(&"model_replied".to_owned()), "what was paid for is kept");
    drop(calls.next().await);
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_made_again_and_answers_is_no_pause_any_more_also_when_it_only_thinks() {
    let (model, mut questions) = model();
    let system = System::builder().provider("m", model).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let mut events = alice.subscribe(None).await.unwrap();
    let mut happens = async |what: &str, wanted: fn(&SessionEvent) -> bool| {
        while !wanted(&soon(what, events.next()).await.unwrap().unwrap()) {}
        alice.status().await.unwrap().activity
    };
    alice.send_message("hello").accepted().await.unwrap();
    questions.next().await.fail(ErrorKind::Overloaded);
    let pause = happens("a pause", |event| matches!(event, SessionEvent::Retrying { .. })).await;
    assert!(matches!(pause, Activity::Retrying { .. }), "{pause:?}");
    let asked = questions.next().await;
    asked.think("let me see");
    let thinks = happens("it thinks", |event| matches!(event, SessionEvent::Thinking { .. })).await;
    assert_eq!(thinks, Activity::CallingModel);
    asked.answer("hi");
}

/// What is shown of an answer is not needed for it: this one shows nothing before it is there.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_made_again_or_of_another_provider_is_told_as_one_that_is_made() {
    let (model, mut questions) = model();
    let system = System::builder().provider("a", model.clone()).provider("b", model).start().await.unwrap();
    let alice = system.session("alice").provider("a").or("b").start().await.unwrap();
    let mut events = alice.subscribe(None).await.unwrap();
    let turn = tokio::spawn(alice.send_message("hello").into_future());
    let asks = async |what: &str| {
        until(what, || async { alice.status().await.unwrap().activity == Activity::CallingModel }).await;
        let tree = system.tree().await.unwrap();
        let session = tree.find("session/alice").and_then(|node| node.session.clone()).unwrap();
        assert_eq!(session.activity, Activity::CallingModel, "{what}");
    };
    // A pause that is long enough to be seen, whatever is drawn to be added to it.
    let slow_down = ProviderError::new(ErrorKind::RateLimited, "slow down");
    questions
        .next()
        .await
        .fail_with(ProviderError { retry_after: Some(Duration::from_secs(2)), ..slow_down });
    while !matches!(soon("a pause", events.next()).await, Some(Ok(SessionEvent::Retrying { .. }))) {}
    let pause = alice.status().await.unwrap().activity;
    assert!(matches!(pause, Activity::Retrying { .. }), "{pause:?}");
    let asked = questions.next().await;
    asks("it is asked again").await;
    asked.fail(ErrorKind::Auth);
    let asked = questions.next().await;
    asks("the next one is asked").await;
    asked.answer("from b");
    assert_eq!(&*soon("the turn", turn).await.unwrap().unwrap().provider, "b");
    system.shutdown(LONG).await.unwrap();
}

/// Many times, for the answer and the end to meet in every way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_call_that_was_made_again_is_kept_by_a_shutdown_too() {
    for round in 0..60 {
        let (model, mut questions) = model();
        let store: Arc<dyn ergane::journal::Journal> = Arc::new(Memory::new());
        let start = async || {
            let builder = System::builder().drain(LONG).shared_journal(store.clone());
            builder.provider("a", model.clone()).provider("b", model.clone()).start().await.unwrap()
        };
        let system = start().await;
        let alice = system.session("alice").provider("a").or("b").start().await.unwrap();
        let turn = alice.send_message("hello").accepted().await.unwrap();
        questions.next().await.fail(ErrorKind::Auth);
        let asked = questions.next().await;
        let answer = tokio::spawn(async move { asked.answer("from b") });
        system.shutdown(LONG).await.unwrap();
        answer.await.unwrap();
        drop((alice, system));

        let system = start().await;
        let alice = system.whereis("alice").await.unwrap();
        let kept = tokio::select! {
            result = alice.turn(turn).into_future() => result.unwrap(),
            asked = questions.next() => panic!("in round {round} it is asked again: {:?}", asked.texts()),
        };
        assert_eq!((&*kept.text, &*kept.provider), ("from b", "b"));
        system.shutdown(LONG).await.unwrap();
    }
}
