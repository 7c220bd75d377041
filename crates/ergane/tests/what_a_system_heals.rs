//! The supervisor of the sessions dies, or another process is slow to go: what is brought up by itself, and what is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane::SystemBuilder;
use ergane::journal::JournalError;
use ergane::otp::Watch;
use ergane::prelude::*;
use ergane_testkit::FaultPlan;

fn builder(path: &Path, model: &Model) -> SystemBuilder {
    System::builder().provider("test", model.clone()).journal(Sqlite::open(path).unwrap())
}

/// Kills the supervisor of the sessions in the middle of a turn; the turn must end, and a session without one must be
/// left alone.
async fn killed_in_mid_turn(recovery: Recovery) {
    let folder = tempfile::tempdir().unwrap();
    let (model, mut questions) = model();
    let system = builder(&folder.path().join("j.db"), &model).recovery(recovery).start().await.unwrap();
    let bob = system.session("bob").start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    for n in 0..2 {
        let turn = alice.send_message(format!("q{n}")).accepted().await.unwrap();
        let mut asked = questions.next().await;
        let before = actor(&system, "sessions").await;
        before.kill();
        asked.given_up().await;
        // Nobody touches alice before her turn goes on.
        let asked = questions.next().await;
        assert_ne!(actor(&system, "sessions").await.get_id(), before.get_id());
        asked.answer(&format!("a{n}"));
        let ended = soon("the turn ends", async { alice.turn(turn).await }).await.unwrap();
        assert_eq!((ended.text.to_string(), ended.recovered), (format!("a{n}"), true));
    }
    assert_eq!(
        bob.status().await.unwrap().activity,
        Activity::Stored,
        "an idle one comes when it is touched"
    );
    assert!(questions.is_empty());
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_killed_supervisor_of_sessions_heals_and_the_open_turn_goes_on() {
    killed_in_mid_turn(Recovery::Eager).await;
}

#[tokio::test]
async fn a_killed_supervisor_of_sessions_heals_in_a_lazy_system_too() {
    killed_in_mid_turn(Recovery::Lazy).await;
}

#[tokio::test]
async fn a_lazy_system_whose_supervisor_of_sessions_died_still_leaves_alone_what_it_never_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let (model, mut questions) = model();
    let first = builder(&path, &model).start().await.unwrap();
    let alice = first.session("alice").start().await.unwrap();
    alice.send_message("alice's").accepted().await.unwrap();
    let asked = questions.next().await;
    drop(alice); // what holds the journal holds the sessions
    asked.given_up_by(first).await;

    let second = builder(&path, &model).recovery(Recovery::Lazy).start().await.unwrap();
    let bob = second.session("bob").start().await.unwrap();
    bob.send_message("bob's").accepted().await.unwrap();
    let mut asked = questions.next().await;
    assert_eq!(asked.texts(), ["bob's"]);
    let mut alices = second.context().namespace().watch("session/alice");
    assert_eq!(soon("no alice", alices.next()).await, Some(Incarnation::Gone));
    // Names are looked at in order, and bob's is the second.
    actor(&second, "sessions").await.kill();
    asked.given_up().await;
    let asked = questions.next().await;
    assert_eq!(asked.texts(), ["bob's"]);
    asked.answer("done");
    until("bob's turn ends", || async { bob.status().await.unwrap().activity == Activity::Idle }).await;
    let alice = second.whereis("alice").await.unwrap();
    assert_eq!(alice.status().await.unwrap().activity, Activity::Stored);
    alice.start().await.unwrap();
    let asked = questions.next().await;
    assert_eq!(asked.texts(), ["alice's"]);
    asked.answer("done");
    until("alice's turn ends", || async { alice.status().await.unwrap().activity == Activity::Idle }).await;
    second.shutdown(LONG).await.unwrap();
}

/// Memory that is there at once, behind a plan that says when it can be read.
#[tokio::test(start_paused = true)]
async fn an_open_turn_that_the_journal_could_not_tell_of_for_a_while_is_gone_on_with_when_it_can() {
    let (model, mut questions) = model();
    let store: Arc<Memory> = Arc::default();
    let builder = || System::builder().provider("test", model.clone());
    let first = builder().shared_journal(store.clone()).start().await.unwrap();
    let alice = first.session("alice").start().await.unwrap();
    alice.send_message("go on").accepted().await.unwrap();
    questions.next().await.given_up_by(first).await;

    let error = JournalError::Timeout { what: "find a session", after: Duration::from_secs(30) };
    let plan = FaultPlan::none();
    plan.break_positions(error);
    let journal = plan.journal(store.clone());
    let second = builder().journal(journal).recovery(Recovery::Eager).start().await.unwrap();
    // Longer than anything here waits by itself.
    tokio::time::sleep(Duration::from_secs(10 * 60)).await;
    assert!(questions.is_empty() && !plan.told().is_empty());
    plan.heal();
    let asked = questions.next().await;
    assert_eq!(asked.texts(), ["go on"]);
    asked.given_up_by(second).await;
}

trait GivenUp {
    async fn given_up_by(self, system: System);
}

impl GivenUp for Asked {
    /// Ends the system as a crash would, in the middle of this call.
    async fn given_up_by(mut self, system: System) {
        system.shutdown(LONG).await.unwrap();
        drop(system);
        self.given_up().await;
    }
}

#[tokio::test]
async fn a_killed_healer_does_not_bring_up_what_it_had_brought_up_before() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    alice.send_message("go").accepted().await.unwrap();
    let mut asked = questions.next().await;
    system.context().sessions().terminate_child(&alice.process_name(), LONG).await.unwrap();
    asked.given_up().await;
    let names = system.context().namespace();
    let mut healers = names.watch("recovery");
    let mut alices = alice.watch();
    actor(&system, "recovery").await.kill();
    next_down(&mut healers).await;
    next_up(&mut healers).await;
    assert_eq!(soon("no alice", alices.next()).await, Some(Incarnation::Gone));
    // This runtime has one thread, and nothing here waits for a disk: the healer and all that it starts have their turns.
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert!(alice.actor_ref().is_none(), "it ended while its supervisor lived, so it stays so");
    assert!(questions.is_empty());
    actor(&system, "sessions").await.kill();
    questions.next().await.answer("done");
    until("the turn ends", || async { alice.status().await.unwrap().activity == Activity::Idle }).await;
}

/// Another process owns alice in mid-turn, so this system's healer keeps trying her. Returns both, and what follows
/// those tries.
async fn with_a_busy_healer(
    path: &Path,
    model: &Model,
    questions: &mut Questions,
) -> (System, System, Watch) {
    let other = builder(path, model).start().await.unwrap();
    let alice = other.session("alice").start().await.unwrap();
    alice.send_message("alice's").accepted().await.unwrap();
    // Her model call is never answered: the turn stays open.
    let held = questions.next().await;
    tokio::spawn(async move {
        let mut held = held;
        held.given_up().await;
    });
    let system = builder(path, model).restart_budget(0, Duration::from_secs(3600)).start().await.unwrap();
    let mut tries = system.context().namespace().watch("session/alice");
    next_up(&mut tries).await;
    (other, system, tries)
}

/// The healer has gone through all that it means to bring up, at least once, since this was called.
async fn next_round(tries: &mut Watch) {
    for _ in 0..3 {
        next_up(tries).await;
        next_down(tries).await;
    }
}

async fn next_up(watch: &mut Watch) {
    while !matches!(soon("it lives", watch.next()).await, Some(Incarnation::Up { .. })) {}
}

async fn next_down(watch: &mut Watch) {
    while !matches!(soon("it ends", watch.next()).await, Some(Incarnation::Down { .. })) {}
}

#[tokio::test]
async fn a_session_quarantined_in_mid_turn_is_not_lifted_by_the_healer() {
    let folder = tempfile::tempdir().unwrap();
    let (model, mut questions) = model();
    let (other, system, mut tries) =
        with_a_busy_healer(&folder.path().join("j.db"), &model, &mut questions).await;
    let bob = system.session("bob").start().await.unwrap();
    bob.send_message("bob's").accepted().await.unwrap();
    let mut asked = questions.next().await;
    let mut watch = bob.watch();
    bob.actor_ref().unwrap().kill();
    while !matches!(soon("quarantine", watch.next()).await, Some(Incarnation::Quarantined { .. })) {}
    asked.given_up().await;

    next_round(&mut tries).await;
    let status = bob.status().await.unwrap();
    assert!(matches!(status.activity, Activity::Quarantined { .. }), "{status:?}");
    assert!(status.turn.is_some());
    assert!(questions.is_empty());

    bob.start().await.unwrap();
    questions.next().await.answer("done");
    until("bob's turn ends", || async { bob.status().await.unwrap().activity == Activity::Idle }).await;
    system.shutdown(LONG).await.unwrap();
    other.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_session_that_was_let_go_in_mid_turn_is_not_brought_back_by_the_healer() {
    let folder = tempfile::tempdir().unwrap();
    let (model, mut questions) = model();
    let (other, system, mut tries) =
        with_a_busy_healer(&folder.path().join("j.db"), &model, &mut questions).await;
    let bob = system.session("bob").start().await.unwrap();
    bob.send_message("bob's").accepted().await.unwrap();
    let mut asked = questions.next().await;
    // As an anchor does when its tree ends it.
    system.context().sessions().terminate_child(&bob.process_name(), LONG).await.unwrap();
    asked.given_up().await;

    next_round(&mut tries).await;
    let status = bob.status().await.unwrap();
    assert_eq!(status.activity, Activity::Stored);
    assert!(status.turn.is_some());
    assert!(questions.is_empty());
    system.shutdown(LONG).await.unwrap();
    other.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn many_open_turns_are_brought_up_beside_each_other_and_every_one_ends() {
    const MANY: usize = 120;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let (model, mut questions) = model();
    let first = builder(&path, &model).start().await.unwrap();
    for n in 0..MANY {
        let session = first.session(&format!("s{n}")).start().await.unwrap();
        session.send_message("go").accepted().await.unwrap();
    }
    first.shutdown(LONG).await.unwrap();
    drop(first);
    while !questions.is_empty() {} // the calls that the first system made are given up
    let second = builder(&path, &model).start().await.unwrap();
    for _ in 0..MANY {
        questions.next().await.answer("done");
    }
    until("all are idle", || async {
        second.sessions().await.unwrap().iter().filter(|info| info.status == "idle").count() == MANY
    })
    .await;
    second.shutdown(LONG).await.unwrap();
}
