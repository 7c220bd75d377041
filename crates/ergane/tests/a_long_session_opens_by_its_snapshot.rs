//! A long session has a snapshot made of its log, in time and out of the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::path::Path;
use std::sync::Arc;

use common::*;
use ergane::prelude::*;
use ergane_testkit::FaultPlan;

/// A system whose store tells the plan of its snapshots.
async fn system_on(dir: &Path, plan: &FaultPlan) -> System {
    let journal = plan.journal(Arc::new(Sqlite::open(dir.join("j.db")).unwrap()));
    System::builder().provider("scripted", Scripted::builtin()).journal(journal).start().await.unwrap()
}

/// So many turns of four facts each, behind the one that begins the session.
async fn talk(session: &Session, turns: usize) {
    for turn in 0..turns {
        session.send_message(turn.to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_has_a_snapshot_made_when_it_has_grown_long_and_goes_on_from_it_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let plan = FaultPlan::none();
    let system = system_on(dir.path(), &plan).await;
    let alice = system.session("alice").start().await.unwrap();
    talk(&alice, 100).await;
    assert!(plan.told().is_empty(), "401 facts are not many");
    talk(&alice, 40).await;
    until("a snapshot is made", || async { !plan.told().is_empty() }).await;
    let (said, usage) = (alice.messages().await.unwrap(), alice.usage().await.unwrap());
    assert_eq!(plan.told(), ["snapshot of alice: 512"], "and no other so soon");

    alice.stop().await.unwrap();
    assert_eq!(alice.messages().await.unwrap(), said);
    assert_eq!(alice.usage().await.unwrap(), usage);
    until("the next is looked for", || async { plan.told().len() == 2 }).await;
    let next = alice.send_message("and on").await.unwrap();
    assert_eq!((next.ordinal, alice.messages().await.unwrap().len()), (141, said.len() + 2));
    assert_eq!(plan.told(), ["snapshot of alice: 512"; 2], "and again no other");
    assert_eq!(
        alice.fork("bob", ergane::core::Point::Now).await.unwrap().messages().await.unwrap().len(),
        282
    );
}

#[tokio::test]
async fn a_session_of_which_no_snapshot_can_be_made_is_none_the_worse_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let plan = FaultPlan::none();
    plan.break_snapshots();
    let system = system_on(dir.path(), &plan).await;
    let alice = system.session("alice").start().await.unwrap();
    talk(&alice, 130).await;
    until("it was asked for", || async { plan.told() == ["snapshot of alice: none"] }).await;
    talk(&alice, 2).await;
    alice.stop().await.unwrap();
    assert_eq!(alice.messages().await.unwrap().len(), 264);
}
