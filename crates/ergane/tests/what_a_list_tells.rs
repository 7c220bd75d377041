//! A list of sessions tells what the journal has, and what only the live ones know.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::Arc;

use common::*;
use ergane::core::{Envelope, Event, Seq, Settings, Timestamp};
use ergane::journal::{Append, Journal};
use ergane::prelude::*;
use serde_json::json;

/// Stores a session whose events are whole, but the last of them cannot follow the others.
fn damaged(store: &Memory, name: &str, open: bool) {
    let session: SessionName = name.parse().unwrap();
    let opened = store.open_session(&session).unwrap();
    let settings = Arc::new(Settings::new("test", "m", "/"));
    let mut log = vec![Event::SessionStarted { settings, id: None }];
    // A turn begins without a send, or is recovered without one.
    log.push(match open {
        true => Event::TurnStarted { send: "nobody's".into() },
        false => Event::Recovered { cause: "nonsense".into() },
    });
    let envelope = |(n, event)| {
        let seq = Seq(n as u64 + 1);
        Arc::new(Envelope { v: 1, seq, epoch: opened.epoch, at: Timestamp(1), event })
    };
    let events = log.into_iter().enumerate().map(envelope).collect();
    let append = Append { session, epoch: opened.epoch, expected: Seq(1), events };
    store.append(&[append]).pop().unwrap().unwrap();
}

async fn listed(system: &System, name: &str) -> (&'static str, Option<String>) {
    let list = soon("a list", system.sessions()).await.unwrap();
    let info = list.into_iter().find(|info| info.name.as_str() == name).unwrap();
    (info.status, info.reason)
}

#[tokio::test]
async fn a_session_that_waits_for_a_decision_is_listed_so_live_and_stored_until_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("bash", Effect::Write)]);
    let start = |tools| {
        let journal = Sqlite::open(dir.path().join("j.db")).unwrap();
        System::builder().provider("test", model.clone()).tools(tools).journal(journal).start()
    };
    let system = start(tools).await.unwrap();
    let alice = system.session("alice").ungranted(Ungranted::Ask).start().await.unwrap();
    alice.send_message("go").accepted().await.unwrap();
    questions.next().await.call(&[("bash", json!({}))]);
    until("it is asked", || async { !alice.approvals().await.unwrap().is_empty() }).await;
    assert_eq!(listed(&system, "alice").await, ("awaiting_approval", None));
    system.shutdown(LONG).await.unwrap();
    drop((alice, system));

    // Another process looks.
    let stored = Sqlite::open(dir.path().join("j.db")).unwrap();
    let summary = stored.summary(&"alice".parse().unwrap()).unwrap().unwrap();
    assert_eq!(summary.status.as_str(), "awaiting_approval");
    drop(stored);
    let system = start(hand_tools(&[("bash", Effect::Write)]).0).await.unwrap();
    let alice = system.whereis("alice").await.unwrap();
    let call = alice.approvals().await.unwrap()[0].call;
    alice.approve(call, Decision::Deny { reason: "no".into() }).await.unwrap();
    let asked = questions.next().await;
    assert_eq!(listed(&system, "alice").await, ("open_turn", None));
    asked.answer("then not");
    until("it has ended", || async { listed(&system, "alice").await == ("idle", None) }).await;
    assert!(calls.is_empty());
}

#[tokio::test]
async fn a_damaged_session_is_listed_as_quarantined_with_the_reason() {
    let store = Memory::new();
    damaged(&store, "idle", false);
    damaged(&store, "open", true);
    let (model, mut questions) = model();
    let system = System::builder()
        .provider("test", model)
        .journal(store)
        .recovery(Recovery::Lazy)
        .start()
        .await
        .unwrap();
    let bob = system.session("bob").start().await.unwrap();
    let send = sending(&bob, "hello");
    let asked = questions.next().await;

    assert_eq!(listed(&system, "idle").await, ("idle", None), "nobody has read its log");
    assert_eq!(listed(&system, "open").await, ("open_turn", None));
    for name in ["idle", "open"] {
        let session = system.whereis(name).await.unwrap();
        let error = session.messages().await.unwrap_err();
        let SessionError::Quarantined { reason, .. } = error else { panic!("{error}") };
        assert_eq!(listed(&system, name).await, ("quarantined", Some(reason)));
    }
    assert_eq!(listed(&system, "bob").await, ("open_turn", None), "it lives and is well");
    asked.answer("hi");
    result(send).await;
    assert_eq!(listed(&system, "bob").await, ("idle", None));
}
