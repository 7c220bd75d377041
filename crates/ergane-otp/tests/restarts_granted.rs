//! A supervisor that hears of an end grants the restart at once, and the child's task carries it out when the former
//! incarnation is gone. What comes in between must count all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane_otp::*;
use tokio::sync::Notify;

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
