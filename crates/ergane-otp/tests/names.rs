//! Names: held from the first moment of a start to the last drop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane_otp::*;
use tokio::sync::Semaphore;

#[tokio::test]
async fn two_systems_in_one_process_have_names_of_their_own() {
    let (one, two, world) = (namespace(), namespace(), World::new());
    let mut roots = Vec::new();
    for namespace in [&one, &two] {
        let specs = vec![world.child("a")];
        roots.push(soon(Supervisor::start(namespace, "root", plenty(), specs, None)).await.unwrap());
    }
    let (a1, a2) = (find(&one, "a").await, find(&two, "a").await);
    assert_ne!(a1, a2);
    assert_eq!(a1.get_name(), Some(format!("{}/a", one.prefix())));
    assert_eq!(one.names().len(), 2);
    for root in roots {
        soon(root.shutdown(LONG)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lookup_after_the_death_finds_nothing_or_the_new_one_never_the_dead_one() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![world.child("a")];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    for _ in 0..100 {
        let cell = find(&namespace, "a").await;
        let monitor = namespace.monitor("a");
        cell.kill();
        assert_eq!(soon(monitor).await.pid, Some(cell.get_id()));
        // From the moment the end is known, the dead one is never found again.
        assert!(namespace.whereis("a").is_none_or(|found| found != cell));
        assert_ne!(find(&namespace, "a").await, cell);
    }
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn waiting_for_a_name_that_nobody_holds_is_no_proc_at_once() {
    let namespace = namespace();
    assert_eq!(
        soon(namespace.wait_for("nobody", Duration::from_secs(1 << 30))).await,
        Err(CallError::NoProc)
    );
    assert_eq!((namespace.whereis("nobody"), namespace.status("nobody")), (None, None));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_name_that_starts_lasts_until_it_lives_or_the_deadline() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(generous())).await;
    let gate = Arc::new(Semaphore::new(0));
    let spec = {
        let (world, gate) = (world.clone(), gate.clone());
        ChildSpec::new("a", move |context: StartContext| {
            let (world, gate) = (world.clone(), gate.clone());
            async move {
                gate.acquire().await.unwrap().forget();
                context.spawn(Probe, (world, context.clone())).await
            }
        })
    };
    pool.start_child_with_reply(spec, |_| {});
    eventually(|| namespace.status("a") == Some(EntryStatus::Starting)).await;
    assert_eq!(namespace.whereis("a"), None);
    assert_eq!(namespace.wait_for("a", Duration::from_secs(1)).await, Err(CallError::Timeout));
    let (found, ()) = tokio::join!(find(&namespace, "a"), async { gate.add_permits(1) });
    assert_eq!(namespace.whereis("a"), Some(found));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_name_held_by_one_supervisor_is_refused_to_another() {
    let (namespace, world) = (namespace(), World::new());
    let specs = ["one", "two"].map(|name| DynamicSupervisor::child_spec(name, DynamicOptions::new())).into();
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let [one, two] = ["one", "two"].map(|name| DynamicSupervisorRef::new(&namespace, name));
    let child = soon(one.start_child(world.child("a"), LONG)).await.unwrap();
    let refused = soon(two.start_child(world.child("a"), LONG)).await;
    assert!(matches!(refused, Err(StartError::AlreadyStarted(cell)) if cell == child));
    assert_eq!(soon(two.children()).await.unwrap(), []);
    soon(one.terminate_child("a", LONG)).await.unwrap();
    soon(two.start_child(world.child("a"), LONG)).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_name_that_ractor_gave_to_a_stranger_fails_the_start_and_is_not_kept() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new()).await;
    struct Stranger;
    impl ractor::Actor for Stranger {
        type Msg = ();
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ractor::ActorRef<()>, (): ()) -> Result<(), ractor::ActorProcessingErr> {
            Ok(())
        }
    }
    let name = Some(namespace.full_name("a"));
    let (stranger, join) = ractor::Actor::spawn(name, Stranger, ()).await.unwrap();
    let refused = soon(pool.start_child(world.child("a"), LONG)).await;
    assert!(matches!(refused, Err(StartError::Failed { .. })));
    assert_eq!(namespace.status("a"), None);
    stranger.stop(None);
    soon(join).await.unwrap();
    soon(pool.start_child(world.child("a"), LONG)).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
}
