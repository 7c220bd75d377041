//! What slow readers and callers of a locked journal are told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane::core::Seq;
use ergane::journal::JournalError;
use ergane::prelude::*;
use ergane::session::Subscription;
use ergane_testkit::{FaultPlan, JournalFault};
use serde_json::json;
use tokio::time::Instant;

/// More pieces than a reader has room for.
const PIECES: usize = 1_200;

async fn next(events: &mut Subscription) -> SessionEvent {
    soon("an event", events.next()).await.expect("the session lives").expect("readable")
}

/// Reads until `wanted`, and returns how many pieces came, how many were lost, and everything.
async fn read(
    events: &mut Subscription,
    wanted: impl Fn(&SessionEvent) -> bool,
) -> (usize, usize, Vec<SessionEvent>) {
    let mut all = Vec::new();
    loop {
        all.push(next(events).await);
        if wanted(all.last().unwrap()) {
            break;
        }
    }
    let pieces = all.iter().filter(|event| matches!(event, SessionEvent::Content { .. })).count();
    let lost = all.iter().map(|event| match event {
        SessionEvent::Lagged { missed } => usize::try_from(*missed).unwrap(),
        _ => 0,
    });
    let lost = lost.sum();
    (pieces, lost, all)
}

fn is_piece(wanted: &'static str) -> impl Fn(&SessionEvent) -> bool {
    move |event| matches!(event, SessionEvent::Content { text } if &**text == wanted)
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_lost_also_when_nothing_more_happens() {
    let (model, mut asked) = model();
    let system = system(&model).await;
    let session = system.session("a").start().await.unwrap();
    let mut slow = session.subscribe(None).await.unwrap();
    let mut quick = session.subscribe(None).await.unwrap();
    let send = sending(&session, "go");
    let question = asked.next().await;
    let reader = tokio::spawn(async move { read(&mut quick, is_piece("last")).await });
    for _ in 1..PIECES {
        question.show("x");
        tokio::task::yield_now().await;
    }
    question.show("last");
    let (pieces, lost, _) = soon("the quick one reads", reader).await.unwrap();
    assert_eq!(pieces + lost, PIECES);
    // Nothing more happens, and the slow one learns of its loss all the same.
    let (pieces, lost, _) = read(&mut slow, |event| matches!(event, SessionEvent::Lagged { .. })).await;
    assert!(lost > 0 && pieces + lost == PIECES, "{pieces} + {lost}");
    question.answer("done");
    result(send).await;
}

#[tokio::test]
async fn a_slow_reader_is_told_a_missed_fact_before_what_happened_after_it() {
    let (model, mut asked) = model();
    let (tools, mut calls) = hand_tools(&[("read", Effect::Read)]);
    let system = system_with(&model, tools).await;
    let session = system.session("a").start().await.unwrap();
    let mut slow = session.subscribe(None).await.unwrap();
    let send = sending(&session, "go");
    let question = asked.next().await;
    let pieces_are_in = |wanted: &'static str| {
        let session = session.clone();
        async move {
            until("the pieces are in", || async {
                session.subscribe(None).await.unwrap().snapshot().partial.ends_with(wanted)
            })
            .await;
        }
    };
    (1..PIECES).for_each(|_| question.show("x"));
    question.show("last");
    pieces_are_in("last").await;
    question.call(&[("read", json!({}))]);
    calls.next().await.give("text");
    let question = asked.next().await;
    // Room again, with the reply and the result unread.
    for _ in 0..100 {
        next(&mut slow).await;
    }
    question.show("later");
    pieces_are_in("later").await;
    let (_, lost, all) = read(&mut slow, is_piece("later")).await;
    assert!(lost > 0);
    let at = |wanted: &dyn Fn(&SessionEvent) -> bool| all.iter().position(wanted);
    let reply = at(&|event| matches!(event, SessionEvent::Reply { .. }));
    let result_at = at(&|event| matches!(event, SessionEvent::ToolResult { .. }));
    assert!(reply.is_some() && result_at.is_some(), "the facts come first");
    question.answer("done");
    result(send).await;
}

#[tokio::test]
async fn progress_that_was_lost_is_counted() {
    let (model, mut asked) = model();
    let (tools, mut calls) = hand_tools(&[("bash", Effect::Write)]);
    let system = system_with(&model, tools).await;
    let session = system.session("a").start().await.unwrap();
    let mut events = session.subscribe(None).await.unwrap();
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({}))]);
    let call = calls.next().await;
    // On this one thread nobody reads in between.
    for n in 0..40 {
        call.context.progress(n.to_string());
    }
    let mut seen = 0;
    while seen < 32 {
        seen += usize::from(matches!(next(&mut events).await, SessionEvent::ToolProgress { skipped: 0, .. }));
    }
    call.context.progress("more");
    let (_, _, all) = read(&mut events, |event| matches!(event, SessionEvent::ToolProgress { .. })).await;
    assert!(matches!(all.last(), Some(SessionEvent::ToolProgress { skipped: 8, .. })), "{all:?}");
    call.give("ok");
    asked.next().await.answer("done");
    result(send).await;
}

#[tokio::test(start_paused = true)]
async fn a_locked_journal_is_told_at_once_and_the_session_comes_up_when_it_is_free() {
    let (model, mut asked) = model();
    let plan = FaultPlan::none();
    plan.lock_journal();
    let journal = plan.journal(Arc::new(Memory::new()));
    let system = System::builder().provider("test", model).journal(journal).start().await.unwrap();
    let asked_at = Instant::now();
    let told = system.session("a").start().await.unwrap_err();
    assert_eq!(told.code(), "journal_locked", "{told}");
    assert!(asked_at.elapsed() < Duration::from_secs(1), "{:?}", asked_at.elapsed());
    let told = system.session("a").start().await.unwrap_err();
    assert_eq!(told.code(), "journal_locked", "{told}");
    assert!(asked_at.elapsed() < Duration::from_secs(1), "{:?}", asked_at.elapsed());
    plan.heal();
    let free = || async { system.session("a").start().await.is_ok() };
    until("it comes up", free).await;
    let session = system.whereis("a").await.unwrap();
    let send = tokio::spawn(session.send_message("go").into_future());
    asked.next().await.answer("done");
    result(send).await;
}

/// Alice, of whom one turn is told in a journal that goes wrong by the plan.
async fn told(plan: &FaultPlan) -> (System, Session) {
    let script = Scripted::from_fn(|_, _| ScriptedReply::text("done"));
    let journal = plan.journal(Arc::new(Memory::new()));
    let system = System::builder().provider("scripted", script).journal(journal).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    soon("a turn", alice.send_message("go").into_future()).await.unwrap();
    (system, alice)
}

#[tokio::test(start_paused = true)]
async fn who_takes_no_note_of_errors_goes_round_in_no_hot_circle_and_misses_nothing() {
    let plan = FaultPlan::none();
    let (_system, alice) = told(&plan).await;
    let mut events = alice.subscribe(Some(Seq(0))).await.unwrap();
    plan.break_reads(JournalError::Locked { path: "j.db".into() });
    let begin = Instant::now();
    let mut errors = 0;
    let first = loop {
        match events.next().await.expect("it is not over") {
            Ok(event) => break event,
            Err(error) => {
                assert_eq!(error.code(), "journal_locked", "{error}");
                errors += 1;
            }
        }
        if errors == 5 {
            assert_eq!(plan.told().len(), errors, "one look for each");
            assert_eq!(begin.elapsed().as_millis() / 10, 1 + 2 + 4 + 8);
        }
        if errors == 20 {
            // By then they come once a second.
            assert!(begin.elapsed() > Duration::from_secs(12), "{:?}", begin.elapsed());
            plan.heal();
        }
    };
    assert!(matches!(first, SessionEvent::TurnStarted { .. }), "{first:?}");
    let (_, _, all) = read(&mut events, |event| matches!(event, SessionEvent::Done { .. })).await;
    assert!(all.iter().any(|event| matches!(event, SessionEvent::Reply { .. })), "{all:?}");
    assert_eq!(events.cursor(), alice.status().await.unwrap().durable);
}

#[tokio::test]
async fn an_error_that_nothing_mends_is_the_last_word() {
    let plan = FaultPlan::none();
    let (_system, alice) = told(&plan).await;
    plan.break_journal(JournalFault::Corrupt);
    alice.checkpoint("damaged").await.unwrap();
    let mut events = alice.subscribe(Some(Seq(0))).await.unwrap();
    let mut errors = Vec::new();
    // As those do who only want to see what can be seen.
    while let Some(event) = soon("an event, or the end", events.next()).await {
        errors.extend(event.err());
        assert!(errors.len() < 3, "it does not end: {errors:?}");
    }
    assert!(matches!(errors.as_slice(), [SessionError::Journal(_)]), "{errors:?}");
    assert!(soon("the end", events.next()).await.is_none(), "and it stays so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_shown_of_an_answer_is_told_before_the_answer() {
    const TURNS: usize = 2_000;
    let script = Scripted::from_fn(|_, _| ScriptedReply::text("a piece"));
    let system = System::builder().provider("scripted", script).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let mut events = alice.subscribe(None).await.unwrap();
    for turn in 0..TURNS {
        // Read on another thread than the session's, and turn by turn: so nothing is left out for want of room.
        let send = tokio::spawn(alice.send_message("go").into_future());
        let mut shown = String::new();
        loop {
            match next(&mut events).await {
                SessionEvent::Content { text } => shown.push_str(&text),
                SessionEvent::Reply { .. } => assert_eq!(shown, "a piece", "turn {turn}"),
                SessionEvent::Done { .. } => break,
                _ => {}
            }
        }
        soon("the result", send).await.unwrap().unwrap();
    }
}
