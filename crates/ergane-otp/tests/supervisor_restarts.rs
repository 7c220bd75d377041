//! When a child of a supervisor comes back, and when its supervisor gives up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::*;
use ergane_otp::*;

async fn start(namespace: &Namespace, intensity: Intensity, specs: Vec<ChildSpec>) -> SupervisorRef {
    soon(Supervisor::start(namespace, "root", intensity, specs, None)).await.unwrap()
}

#[tokio::test]
async fn a_killed_child_comes_back_under_its_name() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, plenty(), vec![world.child("a")]).await;
    let first = find(&namespace, "a").await;
    assert_eq!(ping(&namespace, "a").await, Ok(1));
    first.kill();
    let second = successor(&namespace, "a", &first).await;
    assert_eq!(second.get_name(), Some(namespace.full_name("a")));
    assert_eq!(ping(&namespace, "a").await, Ok(2));
    assert_eq!(world.overlaps(), 0);
    let children = soon(root.which_children()).await.unwrap();
    assert_eq!((children[0].restarts, children[0].pid), (1, Some(second.get_id())));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn one_for_one_touches_no_sibling() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, plenty(), ["a", "b", "c"].map(|name| world.child(name)).into()).await;
    let (a, b, c) = (find(&namespace, "a").await, find(&namespace, "b").await, find(&namespace, "c").await);
    order_panic(&b);
    successor(&namespace, "b", &b).await;
    assert_eq!(find(&namespace, "a").await, a);
    assert_eq!(find(&namespace, "c").await, c);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn permanent_comes_back_after_normal_shutdown_and_crash() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, plenty(), vec![world.child("a")]).await;
    let mut cell = find(&namespace, "a").await;
    let ends: [Ending; 5] = [
        |cell| cell.stop(None),
        |cell| cell.stop(ExitReason::shutdown().to_stop_reason()),
        |cell| cell.kill(),
        order_error,
        order_panic,
    ];
    for end in ends {
        end(&cell);
        cell = successor(&namespace, "a", &cell).await;
    }
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn transient_comes_back_after_crash_and_kill_only() {
    let (namespace, world) = (namespace(), World::new());
    for (name, reason) in
        [("a", ExitReason::Normal), ("b", ExitReason::shutdown()), ("c", ExitReason::Shutdown("term".into()))]
    {
        let spec = world.child(name).restart(Restart::Transient);
        let root = start(&namespace, plenty(), vec![spec]).await;
        let mut cell = find(&namespace, name).await;
        let crashes: [Ending; 3] = [|cell| cell.kill(), order_error, order_panic];
        for crash in crashes {
            crash(&cell);
            cell = successor(&namespace, name, &cell).await;
        }
        let mut watch = namespace.watch(name);
        cell.stop(reason.to_stop_reason());
        let pid = cell.get_id();
        assert_eq!(soon(watch.next()).await, Some(Incarnation::Up { pid }));
        assert_eq!(soon(watch.next()).await, Some(Incarnation::Down { pid, reason: reason.clone() }));
        assert_eq!(soon(watch.next()).await, Some(Incarnation::Gone));
        // Its spec stays, without a process.
        let children = soon(root.which_children()).await.unwrap();
        assert_eq!(children[0].status, EntryStatus::Ended { reason });
        soon(root.shutdown(LONG)).await.unwrap();
    }
}

#[tokio::test]
async fn temporary_never_comes_back_and_its_spec_is_forgotten() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![world.child("a").restart(Restart::Temporary), world.child("b")];
    let root = start(&namespace, plenty(), specs).await;
    let mut watch = namespace.watch("a");
    find(&namespace, "a").await.kill();
    assert!(matches!(soon(watch.next()).await, Some(Incarnation::Up { .. })));
    assert!(matches!(soon(watch.next()).await, Some(Incarnation::Down { reason: ExitReason::Killed, .. })));
    assert_eq!(soon(watch.next()).await, Some(Incarnation::Gone));
    let children = soon(root.which_children()).await.unwrap();
    assert_eq!(children.iter().map(|child| &*child.id).collect::<Vec<_>>(), ["b"]);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn exactly_max_restarts_are_allowed_and_one_more_ends_the_supervisor_after_its_children_in_reverse() {
    let (namespace, world) = (namespace(), World::new());
    let intensity = Intensity { max_restarts: 2, within: Duration::from_secs(5) };
    let specs = ["a", "b", "c"].map(|name| world.child(name)).into();
    let root = start(&namespace, intensity, specs).await;
    let mut b = find(&namespace, "b").await;
    for _ in 0..2 {
        b.kill();
        b = successor(&namespace, "b", &b).await;
    }
    world.take_lines();
    b.kill();
    let reason = soon(root.wait()).await;
    let ExitReason::Shutdown(why) = reason else { panic!("{reason}") };
    assert!(why.contains("too many restarts") && why.contains('b') && why.contains("killed"), "{why}");
    assert_eq!(world.take_lines(), ["drop b", "stop c", "drop c", "stop a", "drop a"]);
    assert_eq!(namespace.names(), []);
}

#[tokio::test]
async fn an_intensity_of_0_means_that_the_first_crash_ends_it() {
    let (namespace, world) = (namespace(), World::new());
    let intensity = Intensity { max_restarts: 0, within: Duration::from_secs(5) };
    let root = start(&namespace, intensity, vec![world.child("a")]).await;
    find(&namespace, "a").await.kill();
    assert!(matches!(soon(root.wait()).await, ExitReason::Shutdown(_)));
}

#[tokio::test(start_paused = true)]
async fn the_window_slides() {
    let (namespace, world) = (namespace(), World::new());
    let intensity = Intensity { max_restarts: 1, within: Duration::from_secs(5) };
    let root = start(&namespace, intensity, vec![world.child("a")]).await;
    let mut cell = find(&namespace, "a").await;
    for _ in 0..5 {
        cell.kill();
        cell = successor(&namespace, "a", &cell).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
    }
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn several_crashes_at_once_count_as_the_restarts_they_cause() {
    let (namespace, world) = (namespace(), World::new());
    let names: Vec<String> = (0..5).map(|n| format!("c{n}")).collect();
    let intensity = Intensity { max_restarts: 5, within: Duration::from_secs(600) };
    let root = start(&namespace, intensity, names.iter().map(|name| world.child(name)).collect()).await;
    let mut cells = Vec::new();
    for name in &names {
        cells.push(find(&namespace, name).await);
    }
    cells.iter().for_each(|cell| cell.kill());
    for (name, cell) in names.iter().zip(&cells) {
        successor(&namespace, name, cell).await;
    }
    find(&namespace, "c3").await.kill();
    assert!(matches!(soon(root.wait()).await, ExitReason::Shutdown(_)));
}

#[tokio::test]
async fn restarts_that_fail_count_too_and_are_tried_again() {
    let (namespace, world) = (namespace(), World::new());
    let intensity = Intensity { max_restarts: 4, within: Duration::from_secs(600) };
    let root = start(&namespace, intensity, vec![world.child("a"), world.child("b")]).await;
    world.break_starts("a", true);
    find(&namespace, "a").await.kill();
    let reason = soon(root.wait()).await;
    assert!(reason.to_string().contains("told to fail"), "{reason}");
    assert_eq!(world.count("fail a"), 4);
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

#[tokio::test]
async fn a_restart_that_keeps_failing_does_not_block_the_supervisors_other_work() {
    let (namespace, world) = (namespace(), World::new());
    let intensity = Intensity { max_restarts: u32::MAX, within: Duration::from_secs(600) };
    let root = start(&namespace, intensity, vec![world.child("a"), world.child("b")]).await;
    world.break_starts("a", true);
    find(&namespace, "a").await.kill();
    eventually(|| world.count("fail a") > 3).await;
    let b = find(&namespace, "b").await;
    b.kill();
    successor(&namespace, "b", &b).await;
    assert_eq!(soon(root.which_children()).await.unwrap().len(), 2);
    world.break_starts("a", false);
    assert!(ping(&namespace, "a").await.is_ok());
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_slow_start_at_a_restart_does_not_hold_the_supervisor_up() {
    let (namespace, world) = (namespace(), World::new());
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
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
    let root = start(&namespace, plenty(), vec![slow, world.child("b")]).await;
    find(&namespace, "slow").await.kill();
    eventually(|| namespace.status("slow") == Some(EntryStatus::Starting)).await;
    let b = find(&namespace, "b").await;
    b.kill();
    successor(&namespace, "b", &b).await;
    assert_eq!(soon(root.which_children()).await.unwrap()[0].status, EntryStatus::Starting);
    gate.add_permits(1);
    assert_eq!(ping(&namespace, "slow").await, Ok(2));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_cancels_a_start_that_hangs() {
    let (namespace, world) = (namespace(), World::new());
    let spec = {
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
    let root = start(&namespace, plenty(), vec![spec]).await;
    find(&namespace, "hangs").await.kill();
    eventually(|| namespace.status("hangs") == Some(EntryStatus::Starting)).await;
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(namespace.names(), []);
}

#[tokio::test]
async fn the_parent_of_a_supervisor_that_gave_up_counts_one_crash() {
    let (namespace, world) = (namespace(), World::new());
    let once = Intensity { max_restarts: 1, within: Duration::from_secs(600) };
    let none = Intensity { max_restarts: 0, within: Duration::from_secs(600) };
    let inner = Supervisor::child_spec("inner", none, vec![world.child("a"), world.child("b")]);
    let root = start(&namespace, once, vec![inner]).await;
    let a = find(&namespace, "a").await;
    a.kill();
    // Its whole supervisor was started again, with fresh incarnations of both.
    let a = soon(async {
        loop {
            if let Some(cell) = namespace.whereis("a").filter(|cell| *cell != a) {
                return cell;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    eventually(|| namespace.whereis("b").is_some() && namespace.whereis("inner").is_some()).await;
    assert_eq!(world.count("start b"), 2);
    assert_eq!(world.overlaps(), 0);
    a.kill();
    assert!(matches!(soon(root.wait()).await, ExitReason::Shutdown(_)));
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}
