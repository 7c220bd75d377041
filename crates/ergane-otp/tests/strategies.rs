//! one_for_all and rest_for_one: who is ended with a child that crashes, and in which order all come back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use ergane_otp::*;
use ractor::ActorCell;
use tokio::sync::Semaphore;

async fn start(namespace: &Namespace, strategy: Strategy, specs: Vec<ChildSpec>) -> SupervisorRef {
    let builder = Supervisor::builder().strategy(strategy).intensity(plenty()).children(specs);
    soon(builder.start(namespace, "root")).await.unwrap()
}

fn three(world: &Arc<World>) -> Vec<ChildSpec> {
    ["a", "b", "c"].map(|name| world.child(name)).into()
}

async fn kill(namespace: &Namespace, name: &str) -> ActorCell {
    let cell = find(namespace, name).await;
    cell.kill();
    successor(namespace, name, &cell).await
}

/// Waits until the supervisor is not in the middle of anything: a commanded start comes after every round.
async fn settled(root: &SupervisorRef, world: &Arc<World>) {
    soon(root.start_child(world.child("last"), LONG)).await.unwrap();
    soon(root.terminate_child("last", LONG)).await.unwrap();
    soon(root.delete_child("last")).await.unwrap();
}

/// The log without the child of [`settled`].
fn log(world: &Arc<World>) -> Vec<String> {
    world.take_lines().into_iter().filter(|line| !line.ends_with("last")).collect()
}

#[tokio::test]
async fn one_for_all_stops_all_in_reverse_order_and_starts_all_in_order() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, Strategy::OneForAll, three(&world)).await;
    world.take_lines();
    kill(&namespace, "b").await;
    settled(&root, &world).await;
    assert_eq!(
        log(&world),
        ["drop b", "stop c", "drop c", "stop a", "drop a", "start a", "start b", "start c"]
    );
    let children = soon(root.which_children()).await.unwrap();
    assert!(children.iter().all(|child| child.restarts == 1 && child.status == EntryStatus::Live));
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test]
async fn rest_for_one_stops_and_starts_only_the_later_ones() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, Strategy::RestForOne, three(&world)).await;
    let a = find(&namespace, "a").await;
    world.take_lines();
    kill(&namespace, "b").await;
    settled(&root, &world).await;
    assert_eq!(log(&world), ["drop b", "stop c", "drop c", "start b", "start c"]);
    assert_eq!(find(&namespace, "a").await, a);
    let children = soon(root.which_children()).await.unwrap();
    assert_eq!(children.iter().map(|child| child.restarts).collect::<Vec<_>>(), [0, 1, 1]);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test]
async fn the_last_child_of_rest_for_one_comes_back_alone_and_the_first_one_with_all() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, Strategy::RestForOne, three(&world)).await;
    world.take_lines();
    kill(&namespace, "c").await;
    settled(&root, &world).await;
    assert_eq!(log(&world), ["drop c", "start c"]);
    kill(&namespace, "a").await;
    settled(&root, &world).await;
    assert_eq!(
        log(&world)[..],
        ["drop a", "stop c", "drop c", "stop b", "drop b", "start a", "start b", "start c"]
    );
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_temporary_sibling_is_stopped_and_not_restarted() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let (namespace, world) = (namespace(), World::new());
        let mut specs = three(&world);
        specs[1].restart = Restart::Temporary;
        let root = start(&namespace, strategy, specs).await;
        world.take_lines();
        kill(&namespace, "a").await;
        settled(&root, &world).await;
        assert_eq!(log(&world), ["drop a", "stop c", "drop c", "stop b", "drop b", "start a", "start c"]);
        assert_eq!(namespace.status("b"), None);
        let children = soon(root.which_children()).await.unwrap();
        assert_eq!(children.iter().map(|child| &*child.id).collect::<Vec<_>>(), ["a", "c"]);
        soon(root.shutdown(LONG)).await.unwrap();
    }
}

#[tokio::test]
async fn a_child_that_may_end_takes_no_sibling_with_it() {
    let (namespace, world) = (namespace(), World::new());
    let mut specs = three(&world);
    specs[1].restart = Restart::Transient;
    specs[2].restart = Restart::Temporary;
    let root = start(&namespace, Strategy::OneForAll, specs).await;
    let a = find(&namespace, "a").await;
    find(&namespace, "b").await.stop(None);
    find(&namespace, "c").await.kill();
    eventually(|| namespace.status("b").is_none() && namespace.status("c").is_none()).await;
    settled(&root, &world).await;
    assert_eq!(find(&namespace, "a").await, a);
    // As in OTP, a round starts also those that had come to rest.
    kill(&namespace, "a").await;
    settled(&root, &world).await;
    assert_eq!(world.count("start b"), 2);
    assert_eq!(world.count("start c"), 1);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_crash_of_a_sibling_that_the_round_would_have_ended_anyway_counts_as_no_restart() {
    let (namespace, world) = (namespace(), World::new());
    let once = Intensity { max_restarts: 1, within: Duration::from_secs(600) };
    let builder = Supervisor::builder().strategy(Strategy::OneForAll).intensity(once).children(three(&world));
    let root = soon(builder.start(&namespace, "root")).await.unwrap();
    let [a, b, c] = [find(&namespace, "a").await, find(&namespace, "b").await, find(&namespace, "c").await];
    // The round asks `c` first, whose cleanup lasts; meanwhile `a` crashes too.
    let gate = Arc::new(Semaphore::new(0));
    let (tell, ready) = tokio::sync::oneshot::channel();
    let wait = gate.clone();
    order(&c, move |_, context| async move {
        tell.send(context.scope.on_drain("slow", move || async move { drop(wait.acquire().await) })).ok();
        Ok(())
    });
    let guard = soon(ready).await.unwrap();
    b.kill();
    eventually(|| world.count("drop c") == 1).await;
    a.kill();
    eventually(|| world.count("drop a") == 1).await;
    gate.add_permits(1);
    for (name, cell) in [("a", a), ("b", b), ("c", c)] {
        successor(&namespace, name, &cell).await;
    }
    settled(&root, &world).await;
    drop(guard);
    assert_eq!((world.count("start a"), world.count("stop a")), (2, 0));
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test]
async fn a_sibling_already_restarted_is_stopped_again_when_another_fails_its_restart() {
    let (namespace, world) = (namespace(), World::new());
    let failed = Arc::new(AtomicBool::new(false));
    let b = {
        let (world, failed) = (world.clone(), failed.clone());
        ChildSpec::new("b", move |context: StartContext| {
            let (world, failed) = (world.clone(), failed.clone());
            async move {
                if context.incarnation > 1 && !failed.swap(true, Ordering::SeqCst) {
                    world.log("fail b");
                    return Err(StartError::Failed { reason: ExitReason::Error("told to fail".into()) });
                }
                context.spawn(Probe, (world, context.clone())).await
            }
        })
    };
    let root = start(&namespace, Strategy::OneForAll, vec![world.child("a"), b, world.child("c")]).await;
    world.take_lines();
    find(&namespace, "c").await.kill();
    eventually(|| world.count("start c") == 1).await;
    settled(&root, &world).await;
    assert_eq!(
        log(&world),
        [
            "drop c", "stop b", "drop b", "stop a", "drop a", "start a", "fail b", "stop a", "drop a",
            "start a", "start b", "start c"
        ]
    );
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test]
async fn a_failed_restart_of_rest_for_one_is_tried_again_with_the_later_ones_and_touches_no_earlier_one() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, Strategy::RestForOne, three(&world)).await;
    world.break_starts("b", true);
    let a = find(&namespace, "a").await;
    find(&namespace, "b").await.kill();
    eventually(|| world.count("fail b") > 2).await;
    assert_eq!(world.count("start c"), 1);
    world.break_starts("b", false);
    settled(&root, &world).await;
    find(&namespace, "c").await;
    assert_eq!((world.count("start b"), world.count("start c")), (2, 2));
    assert_eq!(find(&namespace, "a").await, a);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test]
async fn restarts_of_a_round_that_fail_count_and_end_the_supervisor_with_all_that_is_up() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let (namespace, world) = (namespace(), World::new());
        let intensity = Intensity { max_restarts: 3, within: Duration::from_secs(600) };
        let builder = Supervisor::builder().strategy(strategy).intensity(intensity).children(three(&world));
        let root = soon(builder.start(&namespace, "root")).await.unwrap();
        world.break_starts("b", true);
        find(&namespace, "b").await.kill();
        let reason = soon(root.wait()).await;
        assert!(reason.to_string().contains("too many restarts"), "{reason}");
        assert_eq!(world.count("fail b"), 3);
        assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
    }
}

#[tokio::test]
async fn a_crash_in_a_round_is_dealt_with_after_it() {
    let (namespace, world) = (namespace(), World::new());
    let gate = Arc::new(Semaphore::new(1));
    let slow = {
        let (world, gate) = (world.clone(), gate.clone());
        ChildSpec::new("slow", move |context: StartContext| {
            let (world, gate) = (world.clone(), gate.clone());
            async move {
                gate.acquire().await.unwrap().forget();
                context.spawn(Probe, (world, context.clone())).await
            }
        })
    };
    let root = start(&namespace, Strategy::OneForAll, vec![world.child("a"), slow]).await;
    kill(&namespace, "a").await;
    eventually(|| namespace.status("slow") == Some(EntryStatus::Starting)).await;
    // `a` is up again, and crashes while the round waits for the other one. The list is answered meanwhile.
    let a = find(&namespace, "a").await;
    a.kill();
    eventually(|| world.count("drop a") == 2).await;
    assert_eq!(soon(root.which_children()).await.unwrap().len(), 2);
    assert_eq!(world.count("start a"), 2);
    gate.add_permits(2);
    successor(&namespace, "a", &a).await;
    settled(&root, &world).await;
    assert_eq!((world.count("start a"), world.count("start slow")), (3, 3));
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test]
async fn a_shutdown_in_the_middle_of_a_round_ends_all_and_cancels_a_start_that_hangs() {
    let (namespace, world) = (namespace(), World::new());
    let hangs = {
        let world = world.clone();
        ChildSpec::new("hangs", move |context: StartContext| {
            let world = world.clone();
            async move {
                if context.incarnation > 1 {
                    std::future::pending::<()>().await;
                }
                context.spawn(Probe, (world, context.clone())).await
            }
        })
    };
    let root = start(&namespace, Strategy::OneForAll, vec![world.child("a"), hangs, world.child("c")]).await;
    find(&namespace, "c").await.kill();
    eventually(|| namespace.status("hangs") == Some(EntryStatus::Starting)).await;
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_round_waits_for_a_sibling_that_does_not_end_and_commands_are_told_so() {
    let (namespace, world) = (namespace(), World::new());
    let grace = Duration::from_millis(50);
    let spec = |name: &str| world.child(name).grace(grace).shutdown(Shutdown::Timeout(grace));
    let root = start(&namespace, Strategy::OneForAll, vec![spec("a"), spec("b")]).await;
    let (a, b) = (find(&namespace, "a").await, find(&namespace, "b").await);
    let release = block(&b).await;
    a.kill();
    eventually(|| matches!(namespace.status("b"), Some(EntryStatus::Stuck { .. }))).await;
    let refused = soon(root.terminate_child("a", LONG)).await;
    assert!(matches!(refused, Err(ChildError::Stuck { .. })), "{refused:?}");
    let refused = soon(root.start_child(world.child("c"), LONG)).await;
    assert!(matches!(refused, Err(StartError::Stuck { .. })), "{refused:?}");
    assert_eq!((world.count("start a"), world.count("start b")), (1, 1));
    drop(release);
    soon(namespace.wait_for_owner("b", LONG)).await.unwrap();
    successor(&namespace, "a", &a).await;
    successor(&namespace, "b", &b).await;
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rounds_by_the_hundred_overlap_nowhere() {
    for strategy in [Strategy::OneForAll, Strategy::RestForOne] {
        let (namespace, world) = (namespace(), World::new());
        let root = start(&namespace, strategy, three(&world)).await;
        let mut hit = Vec::new();
        for n in 0..100 {
            for (index, name) in ["a", "b", "c"].iter().enumerate() {
                if n % (index + 2) == 0
                    && let Some(cell) = namespace.whereis(name)
                {
                    hit.push(Monitor::of(&cell));
                    cell.kill();
                }
            }
            for name in ["a", "b", "c"] {
                find(&namespace, name).await;
            }
        }
        for monitor in hit {
            soon(monitor).await;
        }
        // Whoever ended is told as ended by now, so all that live in this order are the last ones.
        eventually(|| ["a", "b", "c"].iter().all(|name| namespace.whereis(name).is_some())).await;
        eventually(|| world.alive() == 3).await;
        assert_eq!((world.overlaps(), world.alive()), (0, 3));
        soon(root.shutdown(LONG)).await.unwrap();
        assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_failed_start_that_leaves_something_behind_keeps_nobody_waiting_without_a_word() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, Strategy::OneForAll, vec![world.child("a")]).await;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(std::sync::Mutex::new(Some(wait)));
    let messy = ChildSpec::new("messy", move |context: StartContext| {
        let wait = wait.lock().unwrap().take();
        async move {
            let (tell, blocks) = tokio::sync::oneshot::channel();
            context.scope.spawn("busy loop", async move {
                tell.send(()).unwrap();
                tokio::task::block_in_place(|| wait.unwrap().recv_timeout(LONG)).ok();
            });
            blocks.await.unwrap();
            Err(StartError::Failed { reason: ExitReason::Error("told to fail".into()) })
        }
    })
    .grace(Duration::from_millis(50));
    let starting = tokio::spawn({
        let root = root.clone();
        async move { root.start_child(messy, LONG).await }
    });
    eventually(|| matches!(namespace.status("messy"), Some(EntryStatus::Stuck { .. }))).await;
    let refused = soon(root.start_child(world.child("b"), LONG)).await;
    assert!(
        matches!(&refused, Err(StartError::Stuck { reason }) if reason.contains("busy loop")),
        "{refused:?}"
    );
    drop(go);
    assert!(matches!(soon(starting).await.unwrap(), Err(StartError::Failed { .. })));
    soon(root.start_child(world.child("b"), LONG)).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}
