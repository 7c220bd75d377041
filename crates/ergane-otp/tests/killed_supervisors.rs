//! A supervisor that is killed takes its children with it, unawaited (T3); their names are theirs until they are gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::*;
use ergane_otp::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_children_of_a_killed_supervisor_are_gone_before_its_successor_starts_them_again() {
    let (namespace, world) = (namespace(), World::new());
    let children = || (0..20).map(|n| world.child(&format!("c{n}"))).collect();
    let inner = Supervisor::child_spec("inner", plenty(), children());
    let root = soon(Supervisor::start(&namespace, "root", plenty(), vec![inner], None)).await.unwrap();
    for round in 1..=30 {
        let inner = find(&namespace, "inner").await;
        inner.kill();
        successor(&namespace, "inner", &inner).await;
        for n in 0..20 {
            assert!(ping(&namespace, &format!("c{n}")).await.is_ok(), "in round {round}");
        }
    }
    assert_eq!((world.overlaps(), world.alive()), (0, 20));
    assert_eq!(world.count("start c7"), 31);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dynamic_supervisor_starts_empty_after_a_kill_and_the_names_are_waited_for() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(generous())).await;
    for round in 0..30 {
        for n in 0..10 {
            let name = format!("c{n}");
            soon(pool.start_child(world.child(&name), LONG)).await.unwrap();
        }
        let cell = find(&namespace, "pool").await;
        cell.kill();
        successor(&namespace, "pool", &cell).await;
        assert_eq!(soon(pool.children()).await.unwrap(), [], "in round {round}");
    }
    assert_eq!(world.overlaps(), 0);
    soon(root.shutdown(LONG)).await.unwrap();
    eventually(|| namespace.names().is_empty()).await;
    assert_eq!(world.alive(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_child_that_outlives_its_killed_supervisor_keeps_its_name_until_it_is_gone() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(generous())).await;
    let child = soon(pool.start_child(world.child("a"), LONG)).await.unwrap();
    let release = block(&child).await;
    let monitor = namespace.monitor("a");
    let cell = find(&namespace, "pool").await;
    cell.kill();
    successor(&namespace, "pool", &cell).await;
    assert_eq!(world.alive(), 1);
    let next = tokio::spawn({
        let (pool, spec) = (pool.clone(), world.child("a"));
        async move { pool.start_child(spec, LONG).await }
    });
    // The new start is taken in, and waits for the name.
    while soon(pool.children()).await.unwrap().is_empty() {}
    assert_eq!(world.count("start a"), 1);
    drop(release);
    let next = soon(next).await.unwrap().unwrap();
    assert_ne!(next, child);
    assert_eq!(soon(monitor).await.reason, ExitReason::Killed);
    assert_eq!(world.overlaps(), 0);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_start_under_way_at_a_killed_supervisor_is_told_that_there_is_none() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(generous())).await;
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
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
    let (tell, told) = tokio::sync::oneshot::channel();
    pool.start_child_with_reply(spec, move |outcome| tell.send(outcome).unwrap());
    eventually(|| namespace.status("a") == Some(EntryStatus::Starting)).await;
    let cell = find(&namespace, "pool").await;
    cell.kill();
    successor(&namespace, "pool", &cell).await;
    gate.add_permits(1);
    assert!(matches!(soon(told).await.unwrap(), Err(StartError::NoSupervisor)));
    assert_eq!((world.alive(), namespace.status("a")), (0, None));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_killed_root_leaves_no_name_and_no_actor() {
    let (namespace, world) = (namespace(), World::new());
    let inner = Supervisor::child_spec("inner", plenty(), vec![world.child("b")]);
    let pool_spec = DynamicSupervisor::child_spec("pool", DynamicOptions::new());
    let specs = vec![world.child("a"), inner, pool_spec];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let pool = DynamicSupervisorRef::new(&namespace, "pool");
    soon(pool.start_child(world.child("c"), LONG)).await.unwrap();
    root.cell().kill();
    assert_eq!(soon(root.wait()).await, ExitReason::Killed);
    eventually(|| namespace.names().is_empty()).await;
    assert_eq!(world.alive(), 0);
}
