//! Children of a supervisor added, ended, started again and deleted at run time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane_otp::*;
use tokio::sync::Semaphore;

const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

async fn start(namespace: &Namespace, strategy: Strategy, specs: Vec<ChildSpec>) -> SupervisorRef {
    let builder = Supervisor::builder().strategy(strategy).intensity(plenty()).children(specs);
    soon(builder.start(namespace, "root")).await.unwrap()
}

async fn ids(root: &SupervisorRef) -> Vec<String> {
    soon(root.which_children()).await.unwrap().into_iter().map(|child| child.id).collect()
}

/// A child whose every start waits for a permit.
fn gated(world: &Arc<World>, name: &str, gate: &Arc<Semaphore>) -> ChildSpec {
    let (world, gate) = (world.clone(), gate.clone());
    ChildSpec::new(name, move |context: StartContext| {
        let (world, gate) = (world.clone(), gate.clone());
        async move {
            gate.acquire().await.unwrap().forget();
            context.spawn(Probe, (world, context.clone())).await
        }
    })
}

/// A child that has a process only at its first start.
fn once(world: &Arc<World>, name: &str) -> ChildSpec {
    let world = world.clone();
    let first = Arc::new(std::sync::atomic::AtomicBool::new(true));
    ChildSpec::new(name, move |context: StartContext| {
        let world = world.clone();
        let first = first.swap(false, std::sync::atomic::Ordering::SeqCst);
        async move {
            if !first {
                return Err(StartError::Ignored);
            }
            context.spawn(Probe, (world, context.clone())).await
        }
    })
}

#[tokio::test]
async fn start_child_adds_a_child_as_the_last_and_it_is_supervised_as_the_others() {
    for strategy in STRATEGIES {
        let (namespace, world) = (namespace(), World::new());
        let root = start(&namespace, strategy, vec![world.child("a")]).await;
        let b = soon(root.start_child(world.child("b"), LONG)).await.unwrap();
        assert_eq!(namespace.whereis("b"), Some(b.clone()));
        assert_eq!(b.try_get_supervisor(), Some(root.cell()), "linked before the start returns");
        assert_eq!(ids(&root).await, ["a", "b"]);
        b.kill();
        successor(&namespace, "b", &b).await;
        soon(root.shutdown(LONG)).await.unwrap();
        let lines = world.lines();
        let first_stop = lines.iter().position(|line| line.starts_with("stop")).unwrap();
        if strategy != Strategy::OneForAll {
            assert_eq!(lines[first_stop..], ["stop b", "drop b", "stop a", "drop a"]);
        }
        assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
    }
}

#[tokio::test]
async fn start_child_refuses_a_duplicate_id_and_tells_a_living_child_from_one_at_rest() {
    for strategy in STRATEGIES {
        let (namespace, world) = (namespace(), World::new());
        let root = start(&namespace, strategy, vec![world.child("a")]).await;
        let a = find(&namespace, "a").await;
        let refused = soon(root.start_child(world.child("a"), LONG)).await;
        assert!(matches!(refused, Err(StartError::AlreadyStarted(cell)) if cell == a));
        soon(root.terminate_child("a", LONG)).await.unwrap();
        let refused = soon(root.start_child(world.child("a"), LONG)).await;
        assert!(matches!(refused, Err(StartError::AlreadyPresent { id }) if id == "a"));
        assert_eq!(world.count("start a"), 1);
        soon(root.shutdown(LONG)).await.unwrap();
    }
}

#[tokio::test]
async fn a_started_child_that_fails_says_why_and_its_spec_is_forgotten() {
    for strategy in STRATEGIES {
        let (namespace, world) = (namespace(), World::new());
        let root = start(&namespace, strategy, vec![world.child("a")]).await;
        let a = find(&namespace, "a").await;
        world.break_starts("b", true);
        let failed = soon(root.start_child(world.child("b"), LONG)).await;
        assert!(
            matches!(failed, Err(StartError::Failed { reason }) if reason.to_string().contains("told to fail"))
        );
        assert_eq!(namespace.status("b"), None, "a name is never left registered after a failed start");
        assert_eq!(ids(&root).await, ["a"]);
        assert_eq!(find(&namespace, "a").await, a);
        world.break_starts("b", false);
        soon(root.start_child(world.child("b"), LONG)).await.unwrap();
        soon(root.shutdown(LONG)).await.unwrap();
    }
}

#[tokio::test]
async fn terminate_child_ends_it_and_its_spec_stays_and_it_is_not_restarted() {
    for strategy in STRATEGIES {
        let (namespace, world) = (namespace(), World::new());
        let root = start(&namespace, strategy, ["a", "b"].map(|name| world.child(name)).into()).await;
        let b = find(&namespace, "b").await;
        soon(root.terminate_child("a", LONG)).await.unwrap();
        assert_eq!(world.lines(), ["start a", "start b", "stop a", "drop a"]);
        assert_eq!(namespace.status("a"), None);
        let children = soon(root.which_children()).await.unwrap();
        assert_eq!((&*children[0].id, children[0].pid), ("a", None));
        assert_eq!(children[0].status, EntryStatus::Ended { reason: ExitReason::shutdown() });
        // Again is no error; and it is at rest also for those that come after.
        soon(root.terminate_child("a", LONG)).await.unwrap();
        assert_eq!(find(&namespace, "b").await, b);
        assert_eq!(world.count("start a"), 1);
        soon(root.shutdown(LONG)).await.unwrap();
    }
}

#[tokio::test]
async fn terminate_of_a_temporary_child_forgets_its_spec() {
    let (namespace, world) = (namespace(), World::new());
    let root =
        start(&namespace, Strategy::OneForOne, vec![world.child("a").restart(Restart::Temporary)]).await;
    soon(root.terminate_child("a", LONG)).await.unwrap();
    assert_eq!(ids(&root).await, Vec::<String>::new());
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn terminate_keeps_to_the_childs_own_deadline() {
    let (namespace, world) = (namespace(), World::new());
    let limit = Duration::from_secs(7);
    let root =
        start(&namespace, Strategy::OneForAll, vec![world.child("a").shutdown(Shutdown::Timeout(limit))])
            .await;
    hang(&find(&namespace, "a").await).await;
    let before = tokio::time::Instant::now();
    soon(root.terminate_child("a", LONG)).await.unwrap();
    assert_eq!(before.elapsed(), limit);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn restart_child_starts_only_a_stopped_one() {
    for strategy in STRATEGIES {
        let (namespace, world) = (namespace(), World::new());
        let root = start(&namespace, strategy, ["a", "b"].map(|name| world.child(name)).into()).await;
        let (a, b) = (find(&namespace, "a").await, find(&namespace, "b").await);
        let refused = soon(root.restart_child("a", LONG)).await;
        assert!(matches!(refused, Err(StartError::AlreadyStarted(cell)) if cell == a));
        soon(root.terminate_child("a", LONG)).await.unwrap();
        let next = soon(root.restart_child("a", LONG)).await.unwrap();
        assert_ne!(next, a);
        assert_eq!(namespace.whereis("a"), Some(next.clone()));
        // It keeps its place: still started before `b`, and supervised.
        assert_eq!(ids(&root).await, ["a", "b"]);
        assert_eq!(find(&namespace, "b").await, b);
        next.kill();
        successor(&namespace, "a", &next).await;
        soon(root.shutdown(LONG)).await.unwrap();
        assert_eq!((world.overlaps(), world.alive()), (0, 0));
    }
}

#[tokio::test]
async fn a_restart_child_that_fails_says_why_and_leaves_the_child_at_rest() {
    for strategy in STRATEGIES {
        let (namespace, world) = (namespace(), World::new());
        let root = start(&namespace, strategy, vec![world.child("a")]).await;
        soon(root.terminate_child("a", LONG)).await.unwrap();
        world.break_starts("a", true);
        let failed = soon(root.restart_child("a", LONG)).await;
        assert!(matches!(failed, Err(StartError::Failed { .. })), "{failed:?}");
        assert_eq!(namespace.status("a"), None);
        let children = soon(root.which_children()).await.unwrap();
        assert!(matches!(children[0].status, EntryStatus::Ended { .. }));
        assert_eq!(world.count("fail a"), 1, "not tried again by itself");
        world.break_starts("a", false);
        soon(root.restart_child("a", LONG)).await.unwrap();
        soon(root.shutdown(LONG)).await.unwrap();
    }
}

#[tokio::test]
async fn delete_child_forgets_only_a_stopped_one() {
    for strategy in STRATEGIES {
        let (namespace, world) = (namespace(), World::new());
        let root = start(&namespace, strategy, ["a", "b"].map(|name| world.child(name)).into()).await;
        assert_eq!(soon(root.delete_child("a")).await, Err(ChildError::Running));
        soon(root.terminate_child("a", LONG)).await.unwrap();
        soon(root.delete_child("a")).await.unwrap();
        assert_eq!(ids(&root).await, ["b"]);
        assert_eq!(soon(root.delete_child("a")).await, Err(ChildError::NotFound));
        soon(root.start_child(world.child("a"), LONG)).await.unwrap();
        assert_eq!(ids(&root).await, ["b", "a"]);
        soon(root.shutdown(LONG)).await.unwrap();
    }
}

#[tokio::test]
async fn an_unknown_id_is_not_found() {
    let namespace = namespace();
    let root = start(&namespace, Strategy::OneForOne, vec![]).await;
    assert_eq!(soon(root.terminate_child("x", LONG)).await, Err(ChildError::NotFound));
    assert_eq!(soon(root.delete_child("x")).await, Err(ChildError::NotFound));
    let refused = soon(root.restart_child("x", LONG)).await;
    assert!(matches!(refused, Err(StartError::NotFound { id }) if id == "x"));
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(soon(root.terminate_child("x", LONG)).await, Err(ChildError::NoSupervisor));
    assert!(matches!(soon(root.restart_child("x", LONG)).await, Err(StartError::NoSupervisor)));
}

#[tokio::test]
async fn count_children_counts_specs_the_living_supervisors_and_workers() {
    let (namespace, world) = (namespace(), World::new());
    let inner = Supervisor::child_spec("inner", plenty(), vec![world.child("deep")]);
    let root = start(&namespace, Strategy::OneForOne, vec![world.child("a"), inner, world.child("b")]).await;
    let all = ChildCounts { specs: 3, active: 3, supervisors: 1, workers: 2 };
    assert_eq!(soon(root.count_children()).await, Ok(all));
    soon(root.terminate_child("b", LONG)).await.unwrap();
    assert_eq!(soon(root.count_children()).await, Ok(ChildCounts { active: 2, ..all }));
    soon(root.terminate_child("inner", LONG)).await.unwrap();
    assert_eq!(soon(root.count_children()).await, Ok(ChildCounts { active: 1, ..all }));
    assert_eq!(namespace.status("deep"), None);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_supervisor_within_a_tree_is_managed_by_its_name_over_its_incarnations() {
    let (namespace, world) = (namespace(), World::new());
    let inner =
        Supervisor::builder().strategy(Strategy::RestForOne).child(world.child("a")).child_spec("inner");
    let root = start(&namespace, Strategy::OneForOne, vec![inner]).await;
    let handle = SupervisorHandle::new(&namespace, "inner");
    soon(handle.start_child(world.child("b"), LONG)).await.unwrap();
    assert_eq!(soon(handle.count_children()).await.unwrap().active, 2);
    let first = find(&namespace, "inner").await;
    first.kill();
    successor(&namespace, "inner", &first).await;
    // The next incarnation begins with what its spec says; what was added at run time is gone, as in OTP.
    assert_eq!(soon(handle.which_children()).await.unwrap().len(), 1);
    eventually(|| namespace.status("b").is_none()).await;
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test]
async fn a_restart_that_keeps_failing_is_listed_and_is_called_off_by_terminate() {
    for strategy in STRATEGIES {
        let (namespace, world) = (namespace(), World::new());
        let root = start(&namespace, strategy, ["a", "b"].map(|name| world.child(name)).into()).await;
        world.break_starts("a", true);
        find(&namespace, "a").await.kill();
        eventually(|| world.count("fail a") > 3).await;
        let children = soon(root.which_children()).await.unwrap();
        assert!(matches!(children[0].status, EntryStatus::Starting | EntryStatus::Stopping), "{children:?}");
        assert_eq!(children[0].pid, None);
        assert!(matches!(soon(root.delete_child("a")).await, Err(ChildError::Restarting)));
        soon(root.terminate_child("a", LONG)).await.unwrap();
        let failures = world.count("fail a");
        assert_eq!(namespace.status("a"), None);
        // The answer to a later question shows that no retry came in between.
        let children = soon(root.which_children()).await.unwrap();
        assert!(matches!(children[0].status, EntryStatus::Ended { .. }), "{children:?}");
        assert_eq!(world.count("fail a"), failures);
        if strategy != Strategy::OneForOne {
            assert_eq!(namespace.status("b"), None, "a sibling of the round rests too, and holds no name");
        }
        world.break_starts("a", false);
        soon(root.restart_child("a", LONG)).await.unwrap();
        soon(root.shutdown(LONG)).await.unwrap();
        assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
    }
}

#[tokio::test]
async fn a_start_that_hangs_is_called_off_by_terminate() {
    for strategy in STRATEGIES {
        let (namespace, world) = (namespace(), World::new());
        let root = start(&namespace, strategy, vec![world.child("a")]).await;
        let gate = Arc::new(Semaphore::new(0));
        let starting = tokio::spawn({
            let (root, spec) = (root.clone(), gated(&world, "b", &gate));
            async move { root.start_child(spec, LONG).await }
        });
        eventually(|| namespace.status("b") == Some(EntryStatus::Starting)).await;
        soon(root.terminate_child("b", LONG)).await.unwrap();
        assert!(matches!(soon(starting).await.unwrap(), Err(StartError::Cancelled)));
        assert_eq!(ids(&root).await, ["a"]);
        assert_eq!(namespace.status("b"), None);
        soon(root.shutdown(LONG)).await.unwrap();
    }
}

#[tokio::test]
async fn a_start_that_says_ignore_keeps_the_spec_without_a_process() {
    for strategy in STRATEGIES {
        let (namespace, world) = (namespace(), World::new());
        let none = || ChildSpec::new("none", |_| async { Err(StartError::Ignored) });
        let root = start(&namespace, strategy, vec![world.child("a"), none(), world.child("b")]).await;
        assert_eq!(world.lines(), ["start a", "start b"]);
        assert_eq!(ids(&root).await, ["a", "none", "b"]);
        assert_eq!(namespace.status("none"), None);
        // At run time too: the caller is told, the spec stays.
        let mut later = none();
        later.id = "later".into();
        assert!(matches!(soon(root.start_child(later, LONG)).await, Err(StartError::Ignored)));
        assert_eq!(ids(&root).await, ["a", "none", "b", "later"]);
        assert!(matches!(soon(root.restart_child("later", LONG)).await, Err(StartError::Ignored)));
        let counts = soon(root.count_children()).await.unwrap();
        assert_eq!((counts.specs, counts.active), (4, 2));
        // A round asks it again, and goes on without it.
        let a = find(&namespace, "a").await;
        a.kill();
        successor(&namespace, "a", &a).await;
        find(&namespace, "b").await;
        soon(root.shutdown(LONG)).await.unwrap();
        assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
    }
}

#[tokio::test]
async fn a_temporary_child_that_says_ignore_is_forgotten() {
    let namespace = namespace();
    let none = ChildSpec::new("none", |_| async { Err(StartError::Ignored) }).restart(Restart::Temporary);
    let root = start(&namespace, Strategy::OneForOne, vec![none]).await;
    assert_eq!(ids(&root).await, Vec::<String>::new());
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_restart_that_says_ignore_is_no_failure() {
    let (namespace, world) = (namespace(), World::new());
    let intensity = Intensity { max_restarts: 1, within: Duration::from_secs(600) };
    let builder = Supervisor::builder().intensity(intensity).child(once(&world, "a"));
    let root = soon(builder.start(&namespace, "root")).await.unwrap();
    find(&namespace, "a").await.kill();
    eventually(|| namespace.status("a").is_none()).await;
    let children = soon(root.which_children()).await.unwrap();
    assert_eq!(children[0].status, EntryStatus::Ended { reason: ExitReason::Normal });
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn an_actor_may_say_ignore_in_its_pre_start() {
    struct Nobody;
    impl ractor::Actor for Nobody {
        type Msg = ();
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ractor::ActorRef<()>, (): ()) -> Result<(), ractor::ActorProcessingErr> {
            Err(Box::new(StartError::Ignored))
        }
    }
    let namespace = namespace();
    let root = start(&namespace, Strategy::OneForOne, vec![ChildSpec::actor("none", |_| (Nobody, ()))]).await;
    assert_eq!(ids(&root).await, ["none"]);
    let (pool_root, pool) = pool(&common::namespace(), DynamicOptions::new()).await;
    let ignored = soon(pool.start_child(ChildSpec::actor("none", |_| (Nobody, ())), LONG)).await;
    assert!(matches!(ignored, Err(StartError::Ignored)), "{ignored:?}");
    assert_eq!(soon(pool.children()).await.unwrap(), []);
    for root in [root, pool_root] {
        soon(root.shutdown(LONG)).await.unwrap();
    }
}

#[tokio::test]
async fn a_dynamic_child_whose_restart_says_ignore_is_forgotten() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(generous())).await;
    soon(pool.start_child(once(&world, "a"), LONG)).await.unwrap().kill();
    eventually(|| namespace.status("a").is_none()).await;
    assert_eq!(soon(pool.children()).await.unwrap(), []);
    soon(root.shutdown(LONG)).await.unwrap();
}
