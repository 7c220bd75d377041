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

#[tokio::test]
async fn via_registry_entries_carry_a_value_as_long_as_its_actor_lives() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![world.child("a"), world.child("b")];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let a = find(&namespace, "a").await;
    assert!(namespace.lookup::<u32>("a").is_none());
    let (tell, told) = tokio::sync::oneshot::channel();
    order(&a, move |_, context| async move {
        assert!(context.set_value("first".to_owned()));
        assert!(context.set_value(7_u32));
        tell.send(context).unwrap();
        Ok(())
    });
    let first = soon(told).await.unwrap();
    let (cell, value) = namespace.lookup::<u32>("a").unwrap();
    assert_eq!((cell, *value), (a.clone(), 7));
    assert!(namespace.lookup::<String>("a").is_none(), "of another type, and replaced");
    assert!(namespace.lookup::<u32>("b").is_none() && namespace.lookup::<u32>("nobody").is_none());
    // It goes with its incarnation, and the former one has no say any more.
    let held = Arc::downgrade(&value);
    drop(value);
    a.kill();
    successor(&namespace, "a", &a).await;
    assert!(namespace.lookup::<u32>("a").is_none());
    assert!(held.upgrade().is_none(), "nothing keeps the value of a dead one");
    assert!(!first.set_value(8_u32));
    assert!(namespace.lookup::<u32>("a").is_none());
    soon(root.shutdown(LONG)).await.unwrap();
    assert!(!first.set_value(9_u32));
}

#[tokio::test]
async fn a_value_set_in_pre_start_is_there_when_the_start_returns() {
    struct Said;
    impl ractor::Actor for Said {
        type Msg = ();
        type State = ();
        type Arguments = StartContext;
        async fn pre_start(
            &self,
            _: ractor::ActorRef<()>,
            context: StartContext,
        ) -> Result<(), ractor::ActorProcessingErr> {
            assert!(context.set_value("from the start"));
            Ok(())
        }
    }
    let namespace = namespace();
    let specs = vec![ChildSpec::actor("a", |context| (Said, context))];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    assert_eq!(*namespace.lookup::<&str>("a").unwrap().1, "from the start");
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_name_may_wait_for_its_next_owner() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(generous())).await;
    let nobody = namespace.wait_for_owner("a", Duration::from_secs(3600)).await;
    assert_eq!(nobody, Err(CallError::Timeout));
    let waiting = tokio::spawn({
        let namespace = namespace.clone();
        async move { namespace.wait_for_owner("a", LONG).await }
    });
    let first = soon(pool.start_child(world.child("a"), LONG)).await.unwrap();
    assert_eq!(soon(waiting).await.unwrap(), Ok(first.clone()));
    assert_eq!(soon(namespace.wait_for_owner("a", LONG)).await, Ok(first));
    // Also over a time in which nobody holds it.
    soon(pool.terminate_child("a", LONG)).await.unwrap();
    let (next, started) = tokio::join!(
        soon(namespace.wait_for_owner("a", LONG)),
        soon(pool.start_child(world.child("a"), LONG))
    );
    assert_eq!(next.unwrap(), started.unwrap());
    soon(root.shutdown(LONG)).await.unwrap();
}
