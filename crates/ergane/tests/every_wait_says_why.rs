//! Whatever a session waits for is told with its reason: in an event, in its status, and in the tree, with the provider's
//! own state where it waits for that. (What `ergane top` shows is the tree: see the tests of `ergane-cli`.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{LONG, Model, Questions, hand_tools, model, result, sending, soon, until};
use ergane::core::{ErrorKind, ModelReply, ProviderError, Text, Usage};
use ergane::journal::JournalError;
use ergane::prelude::*;
use ergane::provider::wire::Head;
use ergane::provider::{
    BoxFuture, BreakerPolicy, Circuit, Endpoint, Limits, Provider, ProviderCall, ProviderStatus,
};
use ergane_testkit::{FaultPlan, JournalFault};
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);

/// A model that the test answers, within bounds, whose server tells of its limits.
#[derive(Debug)]
struct Bounded {
    model: Model,
    limits: Limits,
    headers: Vec<(String, String)>,
}

impl Provider for Bounded {
    fn api(&self) -> &'static str {
        self.model.api()
    }

    fn default_model(&self) -> Option<Text> {
        self.model.default_model()
    }

    fn endpoint(&self) -> String {
        self.model.endpoint()
    }

    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        self.model.with_endpoint(endpoint)
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        if !self.headers.is_empty() {
            let head = Head { status: 200, headers: self.headers.clone(), at: SystemTime::now() };
            call.deltas.heard(&head);
        }
        self.model.call(call)
    }
}

/// A system with the provider `p`, what it is asked, and a session that is told of.
struct House {
    system: System,
    questions: Questions,
    alice: Session,
    events: ergane::session::Subscription,
}

impl House {
    async fn new(limits: Limits, headers: &[(&str, &str)]) -> Self {
        let (model, questions) = model();
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let builder = System::builder().provider("p", Bounded { model, limits, headers });
        Self::with(builder.drain(Duration::ZERO).start().await.unwrap(), questions).await
    }

    async fn with(system: System, questions: Questions) -> Self {
        let alice = system.session("alice").ungranted(Ungranted::Ask).start().await.unwrap();
        let events = alice.subscribe(None).await.unwrap();
        Self { system, questions, alice, events }
    }

    /// Somebody else asks, and this is what is asked.
    async fn other(&mut self) -> common::Asked {
        let other = self.system.session("other").start().await.unwrap();
        other.send_message("me first").accepted().await.unwrap();
        self.questions.next().await
    }

    async fn send(&self) {
        self.alice.send_message("hello").accepted().await.unwrap();
    }

    /// The first event that tells of a wait.
    async fn told(&mut self) -> SessionEvent {
        loop {
            let event = soon("an event", self.events.next()).await.unwrap().unwrap();
            let is_wait = matches!(
                event,
                SessionEvent::Waiting { .. }
                    | SessionEvent::Retrying { .. }
                    | SessionEvent::Parked { .. }
                    | SessionEvent::ApprovalRequested { .. }
            );
            if is_wait {
                return event;
            }
        }
    }

    /// What the status says, which is what the tree says.
    async fn activity(&self) -> Activity {
        let activity = self.alice.status().await.unwrap().activity;
        let tree = self.system.tree().await.unwrap();
        let session = tree.find("session/alice").and_then(|node| node.session.clone()).unwrap();
        assert_eq!(session.activity, activity, "the tree and the status say the same");
        activity
    }

    /// How the provider stands, in the tree.
    async fn provider(&self) -> ProviderStatus {
        let tree = self.system.tree().await.unwrap();
        tree.find("provider/p").and_then(|node| node.provider.clone()).unwrap()
    }

    async fn shutdown(self) {
        self.system.shutdown(LONG).await.unwrap();
    }
}

/// What alice's model calls may have to wait for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum For {
    APlace,
    Requests,
    Tokens,
    WhatTheServerBears,
    AServerThatAsked,
    AServerThatFails,
    TheEnd,
}

impl For {
    fn limits(self) -> Limits {
        let failures = if self == Self::AServerThatFails { 1 } else { 5 };
        Limits {
            max_in_flight: if self == Self::APlace { 1 } else { 64 },
            requests_per_minute: (self == Self::Requests).then_some(1),
            tokens_per_minute: (self == Self::Tokens).then_some(5),
            breaker: Some(BreakerPolicy { failures, open_for: MINUTE, at_most: MINUTE }),
            ..Limits::default()
        }
    }

    fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::WhatTheServerBears => &[
                ("x-ratelimit-limit-requests", "100"),
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "30m"),
            ],
            _ => &[],
        }
    }

    /// What is to have happened before alice's turn; what must be kept for the wait to last.
    async fn set_up(self, house: &mut House) -> Option<common::Asked> {
        let asked = match self {
            Self::TheEnd => {
                assert_eq!(house.system.context().providers().drain(Duration::ZERO).await, 0);
                return None;
            }
            _ => house.other().await,
        };
        let hint = |kind, retry_after| ProviderError { retry_after, ..ProviderError::new(kind, "so it is") };
        match self {
            Self::APlace => return Some(asked),
            Self::Requests | Self::Tokens | Self::WhatTheServerBears => {
                asked.answer("ten tokens in, one out")
            }
            Self::AServerThatAsked => asked.fail_with(hint(ErrorKind::RateLimited, Some(MINUTE))),
            Self::AServerThatFails => asked.fail_with(hint(ErrorKind::Server, None)),
            Self::TheEnd => unreachable!(),
        }
        let other = house.system.whereis("other").await.unwrap();
        until("the other's call is over", || async {
            !matches!(other.status().await.unwrap().activity, Activity::CallingModel | Activity::Committing)
        })
        .await;
        None
    }

    fn says(self) -> &'static str {
        match self {
            Self::APlace => "1 calls run already",
            Self::Requests | Self::WhatTheServerBears => "the limit of requests a minute",
            Self::Tokens => "the limit of tokens a minute",
            Self::AServerThatAsked => "the server asked to wait",
            Self::AServerThatFails => "the server failed again and again, last: so it is",
            Self::TheEnd => "shutting down",
        }
    }

    fn check(self, stands: &ProviderStatus) {
        let is = |wait: Option<Duration>| wait.is_some_and(|wait| !wait.is_zero() && wait <= MINUTE);
        let circuit = if self == Self::AServerThatFails { Circuit::Open } else { Circuit::Closed };
        assert_eq!((stands.circuit, is(stands.circuit_for)), (circuit, circuit == Circuit::Open));
        assert_eq!(is(stands.asked_for), self == Self::AServerThatAsked);
        assert_eq!(stands.running, usize::from(self == Self::APlace));
        assert_eq!(stands.wait.is_none(), matches!(self, Self::APlace | Self::TheEnd));
        let told = stands.told.requests;
        assert_eq!(told.is_some(), self == Self::WhatTheServerBears, "{told:?}");
        assert!(told.is_none_or(|told| told.limit == Some(100) && told.remaining <= 1), "{told:?}");
    }
}

#[tokio::test]
async fn a_model_call_that_is_not_made_yet_says_why_in_the_event_the_status_and_the_tree() {
    for wait in [
        For::APlace,
        For::Requests,
        For::Tokens,
        For::WhatTheServerBears,
        For::AServerThatAsked,
        For::AServerThatFails,
        For::TheEnd,
    ] {
        let mut house = House::new(wait.limits(), wait.headers()).await;
        let held = wait.set_up(&mut house).await;
        house.send().await;
        let told = house.told().await;
        let SessionEvent::Waiting { reason } = told else { panic!("{wait:?}: {told:?}") };
        assert!(reason.contains(wait.says()), "{wait:?}: {reason}");
        assert_eq!(house.activity().await, Activity::Waiting { reason: reason.to_string() }, "{wait:?}");
        let stands = house.provider().await;
        assert!(stands.waiting >= 1, "{wait:?}: {stands:?}");
        assert_eq!(stands.reason.as_ref().map(ToString::to_string).as_deref(), Some(&*reason), "{wait:?}");
        wait.check(&stands);
        drop(held);
        house.shutdown().await;
    }
}

#[tokio::test]
async fn a_pause_before_the_next_attempt_says_why() {
    let mut house = House::new(Limits::default(), &[]).await;
    house.send().await;
    let error = ProviderError::new(ErrorKind::RateLimited, "too many of you");
    let asked = house.questions.next().await;
    asked.fail_with(ProviderError { retry_after: Some(MINUTE), ..error });
    let told = house.told().await;
    let SessionEvent::Retrying { attempt: 1, delay_ms: 60_000..=60_500, reason } = told else {
        panic!("{told:?}")
    };
    assert!(reason.contains("too many of you"), "{reason}");
    let activity = house.activity().await;
    assert!(matches!(&activity, Activity::Retrying { reason } if reason.contains("too many of you")));
    let asked_for = house.provider().await.asked_for;
    assert!(asked_for.is_some_and(|wait| wait <= MINUTE && wait > MINUTE / 2), "{asked_for:?}");
    house.shutdown().await;
}

#[tokio::test]
async fn a_call_that_somebody_must_decide_about_says_why() {
    let (model, questions) = model();
    let (tools, _calls) = hand_tools(&[("bash", Effect::Write)]);
    let builder = System::builder().provider("p", model).tools(tools).drain(Duration::ZERO);
    let mut house = House::with(builder.start().await.unwrap(), questions).await;
    house.send().await;
    house.questions.next().await.call(&[("bash", json!({"command": "ls"}))]);
    let told = house.told().await;
    let SessionEvent::ApprovalRequested { call, why, .. } = told else { panic!("{told:?}") };
    assert!(why.contains("`bash` changes things"), "{why}");
    let waits = Activity::AwaitingApproval { calls: vec![format!("bash ({call})")] };
    assert_eq!(house.activity().await, waits);
    house.shutdown().await;
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_told_of_once_for_each_reason_and_again_when_it_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let plan = FaultPlan::none();
    let journal = plan.journal(Arc::new(Sqlite::open(folder.path().join("journal.db")).unwrap()));
    let (model, questions) = model();
    let builder = System::builder().provider("p", model).journal(journal).drain(Duration::ZERO);
    let mut house = House::with(builder.start().await.unwrap(), questions).await;
    for _ in 0..2 {
        house.send().await;
        let asked = house.questions.next().await;
        let tries = plan.told().len();
        plan.break_journal(JournalFault::NotWritten);
        asked.answer("hi");
        let told = house.told().await;
        let SessionEvent::Parked { reason } = told else { panic!("{told:?}") };
        assert!(reason.contains("disk is full"), "{reason}");
        assert_eq!(house.activity().await, Activity::Parked { reason: reason.to_string() });
        until("it tried again", || async { plan.told().len() >= tries + 3 }).await;
        plan.heal();
        // The next event is the answer: it was told once, however often it was tried.
        let next = soon("the answer", house.events.next()).await.unwrap().unwrap();
        assert!(matches!(next, SessionEvent::Reply { .. }), "{next:?}");
    }
    house.shutdown().await;
}

/// Not only that of a turn: who listens is told too when an idle session has something to write.
#[tokio::test]
async fn a_session_without_a_turn_says_too_that_its_store_takes_nothing() {
    let plan = FaultPlan::none();
    let journal = plan.journal(Arc::new(Memory::new()));
    let (model, questions) = model();
    let builder = System::builder().provider("p", model).journal(journal).drain(Duration::ZERO);
    let mut house = House::with(builder.start().await.unwrap(), questions).await;
    plan.break_journal(JournalFault::NotWritten);
    let checkpoint = tokio::spawn({
        let alice = house.alice.clone();
        async move { alice.checkpoint("here").await }
    });
    let told = house.told().await;
    let SessionEvent::Parked { reason } = told else { panic!("{told:?}") };
    assert_eq!(house.activity().await, Activity::Parked { reason: reason.to_string() });
    plan.heal();
    drop(soon("its answer", checkpoint).await.unwrap());
    house.shutdown().await;
}

/// What runs is in the tree too, by the names that the pages give it.
#[tokio::test]
async fn the_tree_has_the_turn_its_tools_its_request_and_the_providers_calls() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let system = System::builder().provider("p", model).tools(tools).drain(Duration::ZERO);
    let system = system.start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let turn = alice.send_message("hello").accepted().await.unwrap();
    let asked = questions.next().await;
    let tree = system.tree().await.unwrap();
    let session = tree.find("session/alice").unwrap();
    assert_eq!(session.session.as_ref().map(|session| session.turn), Some(Some(turn)));
    assert!(session.find(&format!("turn/{turn}")).is_some(), "{session:#?}");
    assert_eq!(tree.find("requests").unwrap().children.len(), 1);
    assert_eq!(tree.find("provider/p").and_then(|node| node.provider.as_ref()).unwrap().running, 1);
    assert!(tree.find("session/nobody").is_none());
    asked.call(&[("look", json!({}))]);
    let called = calls.next().await;
    let tree = system.tree().await.unwrap();
    let tool = format!("tool/{turn}.1");
    assert!(tree.find("session/alice").unwrap().find(&tool).is_some(), "{tree:#?}");
    called.give("seen");
    let asked = questions.next().await;
    asked.fail_after(ErrorKind::Auth, Usage::default());
    system.shutdown(LONG).await.unwrap();
}

/// A session that no actor has, in a journal that does what the plan says.
async fn stored_only(model: Model) -> (FaultPlan, System, Session) {
    let plan = FaultPlan::none();
    let system = System::builder().provider("test", model).recovery(Recovery::Lazy);
    let system = system.journal(plan.journal(Arc::<Memory>::default())).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    alice.stop().await.unwrap();
    (plan, system, alice)
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_on_the_way_to_a_stored_session_too_and_without_one_the_disk_is_waited_for() {
    let (model, mut questions) = model();
    let (plan, _system, alice) = stored_only(model).await;
    // Far longer than anything here waits by itself.
    plan.slow_journal(Duration::from_secs(3600));
    let send = |text: &str| alice.send_message(text).deadline(Duration::from_secs(1));
    let began = tokio::time::Instant::now();
    for outcome in [
        send("one").await.map(drop),
        send("two").accepted().await.map(drop),
        send("three").stream().await.map(drop),
    ] {
        assert!(matches!(outcome, Err(SessionError::Deadline)), "{outcome:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    plan.slow_journal(Duration::ZERO);
    plan.break_positions(JournalError::Timeout { what: "find a session", after: Duration::from_secs(30) });
    let patient = sending(&alice, "four");
    tokio::time::sleep(Duration::from_secs(10 * 60)).await;
    assert!(!patient.is_finished() && questions.is_empty());
    plan.heal();
    let asked = questions.next().await;
    assert_eq!(asked.texts(), ["four"]);
    asked.answer("4");
    result(patient).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_journal_that_is_away_is_told_why_and_for_one_that_has_ended_nobody_waits() {
    let (model, _questions) = model();
    let (plan, system, alice) = stored_only(model).await;
    let away = JournalError::Timeout { what: "find a session", after: Duration::from_secs(30) };
    plan.break_positions(away.clone());
    let outcome = alice.messages().await.map(drop);
    let Err(SessionError::Journal(why)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(why.to_string(), away.to_string());
    plan.heal();
    system.shutdown(LONG).await.unwrap();
    plan.break_positions(away);
    let outcome = soon("an answer", alice.send_message("hello").into_future()).await;
    assert!(matches!(outcome, Err(SessionError::System(_))), "{outcome:?}");
}

/// It is away when it is to be read, and not before.
#[tokio::test(start_paused = true)]
async fn what_is_asked_of_a_session_that_cannot_be_loaded_is_answered_with_the_reason_and_a_send_waits() {
    let (model, mut questions) = model();
    let (plan, _system, alice) = stored_only(model).await;
    let away = JournalError::Timeout { what: "read a session", after: Duration::from_secs(30) };
    plan.break_reads(away.clone());
    let patient = sending(&alice, "hello");
    let begun = tokio::time::Instant::now();
    // One waits from the beginning on, the other comes when it is known.
    for _ in 0..2 {
        let outcome = alice.messages().await.map(drop);
        let Err(SessionError::Journal(why)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(why.to_string(), away.to_string());
    }
    assert!(matches!(alice.approvals().await, Err(SessionError::Journal(_))));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(!patient.is_finished() && questions.is_empty());
    plan.heal();
    questions.next().await.answer("hi");
    assert_eq!(&*result(patient).await.text, "hi");
}

/// It is away when it is looked for the session, and when that is to be read.
#[tokio::test(start_paused = true)]
async fn a_stream_to_a_session_whose_journal_is_away_tells_why_and_then_what_happens() {
    let away = JournalError::Timeout { what: "find a session", after: Duration::from_secs(30) };
    for breaks in [FaultPlan::break_positions, FaultPlan::break_reads] {
        let (model, mut questions) = model();
        let (plan, _system, alice) = stored_only(model).await;
        breaks(&plan, away.clone());
        let mut turn = soon("a stream", alice.send_message("hello").stream()).await.unwrap();
        let told = soon("an event", turn.next()).await;
        let Some(SessionEvent::Parked { reason }) = told else { panic!("{told:?}") };
        assert_eq!(*reason, *away.to_string());
        // It is told once, however often it is tried.
        assert!(tokio::time::timeout(MINUTE, turn.next()).await.is_err());
        assert!(questions.is_empty());
        plan.heal();
        questions.next().await.answer("hi");
        let mut all = Vec::new();
        while let Some(event) = soon("an event", turn.next()).await {
            all.push(event);
        }
        assert!(matches!(all.first(), Some(SessionEvent::TurnStarted { .. })), "{all:?}");
        assert!(matches!(all.last(), Some(SessionEvent::Done { .. })), "{all:?}");
        assert_eq!(&*turn.result().await.unwrap().text, "hi");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_before_its_session_could_be_brought_up_is_not_sent() {
    let (model, mut questions) = model();
    let (plan, _system, alice) = stored_only(model).await;
    plan.break_reads(JournalError::Timeout { what: "find a session", after: Duration::from_secs(30) });
    let send = alice.send_message("hello").taken();
    assert!(tokio::time::timeout(MINUTE, send).await.is_err(), "it waits for the journal");
    plan.heal();
    soon("she is there", alice.start()).await.unwrap();
    assert!(tokio::time::timeout(MINUTE / 2, questions.next()).await.is_err(), "nobody is asked");
    let status = alice.status().await.unwrap();
    assert_eq!((status.turns, status.queued), (0, 0));
}

/// Nobody needs to read, and the one who gave the stream away is not needed either.
#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_is_sent_all_the_same_when_the_journal_is_back() {
    let (model, mut questions) = model();
    let (plan, _system, alice) = stored_only(model).await;
    plan.break_positions(JournalError::Away);
    let turn = soon("a stream", alice.send_message("one").stream()).await.unwrap();
    drop(soon("a stream", alice.send_message("two").stream()).await.unwrap());
    plan.heal();
    for _ in 0..2 {
        let asked = questions.next().await;
        let text = asked.texts().last().unwrap().clone();
        asked.answer(&format!("{text}!"));
    }
    assert_eq!(&*soon("its result", turn.result()).await.unwrap().text, "one!");
}

#[tokio::test(start_paused = true)]
async fn whose_time_is_over_while_the_journal_is_away_is_told_that() {
    let (model, mut questions) = model();
    let (plan, system, alice) = stored_only(model).await;
    let away = JournalError::Timeout { what: "read a session", after: Duration::from_secs(30) };
    plan.break_reads(away.clone());
    let send = |text: &str| alice.send_message(text).deadline(MINUTE);
    let outcomes = [
        system.session("alice").start().await.map(drop),
        alice.subscribe(None).await.map(drop),
        alice.stop().await,
        send("one").await.map(drop),
        send("two").accepted().await.map(drop),
        send("three").stream().await.unwrap().result().await.map(drop),
        alice.turn(TurnId(3)).deadline(MINUTE).await.map(drop),
    ];
    for (at, outcome) in outcomes.into_iter().enumerate() {
        let Err(SessionError::Journal(why)) = outcome else { panic!("{at}: {outcome:?}") };
        assert_eq!(why.to_string(), away.to_string(), "{at}");
    }
    // Who is still there when it is back gets what he asked for, and nothing was sent of those who gave up.
    let start = tokio::spawn({
        let alice = system.session("alice");
        async move { alice.system_prompt("Be brief.").start().await }
    });
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!start.is_finished());
    plan.heal();
    soon("a session", start).await.unwrap().unwrap();
    let last = sending(&alice, "four");
    let asked = questions.next().await;
    assert_eq!(asked.texts(), ["four"]);
    asked.answer("4");
    result(last).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_session_died_and_cannot_be_read_says_so_once_and_goes_on() {
    let (model, mut questions) = model();
    let (plan, _system, alice) = stored_only(model).await;
    let mut turn = alice.send_message("hello").stream().await.unwrap();
    let asked = questions.next().await;
    asked.show("I thi");
    while !matches!(soon("an event", turn.next()).await.unwrap(), SessionEvent::Content { .. }) {}
    plan.break_reads(JournalError::Away);
    alice.actor_ref().unwrap().kill();
    let told = soon("an event", turn.next()).await;
    let Some(SessionEvent::Parked { reason }) = told else { panic!("{told:?}") };
    assert_eq!(*reason, *JournalError::Away.to_string());
    assert!(tokio::time::timeout(MINUTE, turn.next()).await.is_err(), "it is told once");
    plan.heal();
    questions.next().await.answer("hi");
    let again = soon("an event", turn.next()).await;
    assert!(matches!(again, Some(SessionEvent::StreamReset)), "{again:?}");
    assert_eq!(&*soon("its result", turn.result()).await.unwrap().text, "hi");
}
