//! A supervisor that hears of an end grants the restart at once, and the child's task carries it out when the former
//! incarnation is gone. What comes in between must count all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane_otp::*;
use tokio::sync::{Notify, Semaphore};

/// Short, since it really passes: a blocked thread stops a paused clock.
const GRACE: Duration = Duration::from_millis(50);

/// Kills the child, whose scope is not drained before somebody says so.
async fn kill_slowly(namespace: &Namespace, name: &str) -> Arc<Notify> {
    let cell = find(namespace, name).await;
    let (go, waits) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (cleanup, tell) = (go.clone(), waits.clone());
    order(&cell, move |_, context| async move {
        // Held by nobody, so it runs at the drain; the guard itself must not run it before.
        std::mem::forget(context.scope.on_drain("slow", move || async move { cleanup.notified().await }));
        tell.notify_one();
        Ok(())
    });
    soon(waits.notified()).await;
    cell.kill();
    eventually(|| namespace.status(name) == Some(EntryStatus::Stopping)).await;
    go
}

#[tokio::test]
async fn a_granted_restart_of_a_dynamic_child_is_called_off_by_terminate() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new().max_children(1)).await;
    soon(pool.start_child(world.child("a"), LONG)).await.unwrap();
    let go = kill_slowly(&namespace, "a").await;
    let listed = soon(pool.children()).await.unwrap();
    assert_eq!((listed[0].restarts, &listed[0].status), (1, &EntryStatus::Stopping));
    let mut ended = Box::pin(pool.terminate_child("a", LONG));
    tokio::select! {
        biased;
        outcome = &mut ended => panic!("it is not gone: {outcome:?}"),
        // Answered after the order was taken in.
        children = pool.children() => assert_eq!(children.unwrap().len(), 1),
    }
    go.notify_one();
    soon(ended).await.unwrap();
    assert_eq!((world.count("start a"), namespace.status("a")), (1, None));
    soon(pool.start_child(world.child("a"), LONG)).await.unwrap();
    assert_eq!((world.count("start a"), world.overlaps()), (2, 0));
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

#[tokio::test]
async fn a_granted_restart_of_a_child_with_a_fixed_spec_is_called_off_by_terminate() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![world.child("a")];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let go = kill_slowly(&namespace, "a").await;
    assert!(matches!(soon(root.restart_child("a", LONG)).await, Err(StartError::Restarting { .. })));
    let mut ended = Box::pin(root.terminate_child("a", LONG));
    tokio::select! {
        biased;
        outcome = &mut ended => panic!("it is not gone: {outcome:?}"),
        children = root.which_children() => assert_eq!(children.unwrap()[0].restarts, 1),
    }
    go.notify_one();
    soon(ended).await.unwrap();
    assert_eq!((world.count("start a"), namespace.status("a")), (1, None));
    // Its spec stays, and it can be started again.
    soon(root.restart_child("a", LONG)).await.unwrap();
    assert_eq!((world.count("start a"), world.overlaps()), (2, 0));
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

#[tokio::test]
async fn a_shutdown_calls_off_a_granted_restart_and_waits_for_the_former_incarnation() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![world.child("a")];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let go = kill_slowly(&namespace, "a").await;
    let mut ended = Box::pin(root.shutdown(LONG));
    tokio::select! {
        biased;
        outcome = &mut ended => panic!("it is not gone: {outcome:?}"),
        () = tokio::task::yield_now() => {}
    }
    go.notify_one();
    soon(ended).await.unwrap();
    assert_eq!((world.count("start a"), world.alive(), namespace.names()), (1, 0, vec![]));
}

#[tokio::test]
async fn a_restart_granted_beforehand_and_failing_counts_as_any_other() {
    let (namespace, world) = (namespace(), World::new());
    let budget = RestartBudget { max_restarts: 2, ..generous() };
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(budget)).await;
    let cell = soon(pool.start_child(world.child("a"), LONG)).await.unwrap();
    world.break_starts("a", true);
    cell.kill();
    eventually(|| matches!(namespace.status("a"), Some(EntryStatus::Quarantined { .. }))).await;
    assert_eq!((world.count("start a"), world.count("fail a")), (1, 2));
    soon(root.shutdown(LONG)).await.unwrap();
}

/// Kills a child whose scope holds a task that blocks its thread, and waits until the child counts as stuck.
async fn kill_into_stuck(namespace: &Namespace, name: &str) -> std::sync::mpsc::Sender<()> {
    let cell = find(namespace, name).await;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (tell, blocks) = tokio::sync::oneshot::channel();
    order(&cell, move |_, context| async move {
        context.scope.spawn("busy loop", async move {
            tell.send(()).unwrap();
            tokio::task::block_in_place(|| wait.recv_timeout(LONG)).ok();
        });
        Ok(())
    });
    soon(blocks).await.unwrap();
    cell.kill();
    eventually(|| matches!(namespace.status(name), Some(EntryStatus::Stuck { .. }))).await;
    go
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stuck_child_that_was_terminated_is_not_started_again_when_it_is_gone() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new()).await;
    soon(pool.start_child(world.child("a").grace(GRACE), LONG)).await.unwrap();
    let go = kill_into_stuck(&namespace, "a").await;
    let outcome = soon(pool.terminate_child("a", LONG)).await;
    assert!(matches!(outcome, Err(ChildError::Stuck { .. })), "{outcome:?}");
    drop(go);
    eventually(|| namespace.status("a").is_none()).await;
    while !soon(pool.children()).await.unwrap().is_empty() {}
    assert_eq!((world.count("start a"), world.alive()), (1, 0));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_child_that_was_stuck_and_came_back_is_waited_for_at_shutdown() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new()).await;
    soon(pool.start_child(world.child("a").grace(GRACE), LONG)).await.unwrap();
    let former = find(&namespace, "a").await;
    drop(kill_into_stuck(&namespace, "a").await);
    // Not waited for by its name: a stuck one may not come back.
    eventually(|| namespace.whereis("a").is_some_and(|next| next != former)).await;
    let cell = find(&namespace, "a").await;
    while soon(pool.children()).await.unwrap()[0].status != EntryStatus::Live {}
    assert_eq!(soon(pool.children()).await.unwrap()[0].pid, Some(cell.get_id()));
    soon(root.shutdown(LONG)).await.unwrap();
    // Nothing may be left to happen: its `post_stop` ran, its state is dropped, its name is free.
    assert_eq!((world.count("stop a"), world.alive(), namespace.names()), (1, 0, vec![]));
    assert_eq!((world.count("start a"), world.overlaps()), (2, 0));
}

/// A probe each of whose starts takes a permit.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_terminate_of_a_child_that_was_stuck_and_is_being_started_again_ends_it() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new()).await;
    let gate = Arc::new(Semaphore::new(1));
    soon(pool.start_child(gated(&world, "a", &gate).grace(GRACE), LONG)).await.unwrap();
    drop(kill_into_stuck(&namespace, "a").await);
    // Its task has begun the start that was granted, and its supervisor has not heard of that.
    eventually(|| namespace.status("a") == Some(EntryStatus::Starting)).await;
    soon(pool.terminate_child("a", LONG)).await.unwrap();
    gate.add_permits(1);
    assert_eq!((world.count("start a"), namespace.status("a")), (1, None));
    soon(pool.start_child(world.child("a"), LONG)).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), world.overlaps(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_terminate_of_a_child_with_a_fixed_spec_waits_for_it_once_it_is_stuck_no_more() {
    let (namespace, world) = (namespace(), World::new());
    let gate = Arc::new(Semaphore::new(1));
    let specs = vec![gated(&world, "a", &gate).grace(GRACE)];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    drop(kill_into_stuck(&namespace, "a").await);
    eventually(|| namespace.status("a") == Some(EntryStatus::Starting)).await;
    soon(root.terminate_child("a", LONG)).await.unwrap();
    gate.add_permits(1);
    assert_eq!((world.count("start a"), namespace.status("a")), (1, None));
    soon(root.restart_child("a", LONG)).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), world.overlaps(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test]
async fn a_killed_supervisor_takes_the_restarts_that_it_granted_with_it() {
    let (namespace, world) = (namespace(), World::new());
    let inner = Supervisor::child_spec("inner", plenty(), vec![world.child("a")]);
    let root = soon(Supervisor::start(&namespace, "root", plenty(), vec![inner], None)).await.unwrap();
    let (inner, former) = (find(&namespace, "inner").await, find(&namespace, "a").await);
    let monitor = namespace.monitor("a");
    let go = kill_slowly(&namespace, "a").await;
    assert_eq!(soon(monitor).await.reason, ExitReason::Killed);
    inner.kill();
    // Its successor starts, and waits for the name that the former child still holds.
    eventually(|| namespace.status("inner") == Some(EntryStatus::Starting)).await;
    assert_eq!(namespace.status("a"), Some(EntryStatus::Stopping));
    go.notify_one();
    let next = successor(&namespace, "a", &former).await;
    let inner = find(&namespace, "inner").await;
    assert_eq!(next.try_get_supervisor().unwrap().get_id(), inner.get_id());
    assert_eq!(ping(&namespace, "a").await, Ok(1), "the first of a new name");
    assert_eq!((world.count("start a"), world.overlaps(), world.alive()), (2, 0, 1));
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

/// Starts "a" and "b", and lets "a" crash while its supervisor waits for the start of "b" and hears of no end: for so long
/// that the task of "a" does not wait for that any more.
#[tokio::test(start_paused = true)]
async fn a_crash_that_is_heard_of_late_counts_once() {
    let (namespace, world) = (namespace(), World::new());
    let gate = Arc::new(Semaphore::new(0));
    let specs = vec![world.child("a").grace(GRACE), gated(&world, "b", &gate)];
    let once = Intensity { max_restarts: 1, within: Duration::from_secs(1 << 20) };
    let starting = {
        let namespace = namespace.clone();
        tokio::spawn(async move { Supervisor::start(&namespace, "root", once, specs, None).await })
    };
    eventually(|| namespace.status("b") == Some(EntryStatus::Starting)).await;
    let former = find(&namespace, "a").await;
    former.kill();
    eventually(|| world.alive() == 0 || namespace.whereis("a").is_none()).await;
    tokio::time::sleep(GRACE * 4).await;
    gate.add_permits(1);
    let root = soon(starting).await.unwrap().unwrap();
    let next = successor(&namespace, "a", &former).await;
    while soon(root.which_children()).await.unwrap()[0].pid != Some(next.get_id()) {}
    let children = soon(root.which_children()).await.unwrap();
    assert_eq!((children[0].restarts, children[1].restarts), (1, 0));
    assert_eq!((world.count("start a"), world.overlaps()), (2, 0));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_supervisor_that_is_ending_starts_no_child_again_that_it_has_not_come_to_yet() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![world.child("a"), world.child("b").shutdown(Shutdown::Infinity)];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let b = find(&namespace, "b").await;
    hang(&b).await;
    let go = kill_slowly(&namespace, "a").await;
    let mut ended = Box::pin(root.shutdown(LONG));
    tokio::select! {
        biased;
        outcome = &mut ended => panic!("it is not gone: {outcome:?}"),
        // From the last to the first: it waits for "b".
        () = eventually(|| namespace.status("b") == Some(EntryStatus::Stopping)) => {}
    }
    go.notify_one();
    // Time enough for a start on the one thread that there is.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    b.kill();
    soon(ended).await.unwrap();
    assert_eq!((world.count("start a"), world.alive(), namespace.names()), (1, 0, vec![]));
}
