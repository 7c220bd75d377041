//! Restarts never overlap: kills, errors, panics and stops by the hundred, on several threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use ergane_otp::*;

/// Ends the probe in one of several ways, some of them in mid-handler.
fn end(cell: &ractor::ActorCell, how: usize) {
    match how % 6 {
        0 => cell.kill(),
        1 => order_error(cell),
        2 => order_panic(cell),
        3 => cell.stop(None),
        4 => {
            let itself = cell.clone();
            order(cell, move |_, _| async move {
                itself.kill();
                std::future::pending().await
            });
        }
        _ => {
            order_error(cell);
            cell.kill();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_hundred_restarts_of_a_supervised_child_overlap_nowhere_and_conflict_never() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![world.child("a")];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let mut cell = find(&namespace, "a").await;
    for how in 0..300 {
        end(&cell, how);
        cell = successor(&namespace, "a", &cell).await;
    }
    let children = soon(root.which_children()).await.unwrap();
    // A name conflict would have failed a start, and counted as one more restart.
    assert_eq!(children[0].restarts, 300);
    assert_eq!((world.overlaps(), world.alive()), (0, 1));
    assert_eq!((world.count("start a"), world.count("drop a")), (301, 300));
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_children_restarted_at_once_overlap_nowhere_and_conflict_never() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(generous())).await;
    let restarts = Arc::new(AtomicUsize::new(0));
    let mut storms = tokio::task::JoinSet::new();
    for n in 0..16_usize {
        let (namespace, pool, restarts) = (namespace.clone(), pool.clone(), restarts.clone());
        let name = format!("c{n}");
        let spec = world.child(&name);
        storms.spawn(async move {
            let mut cell = pool.start_child(spec, LONG).await.unwrap();
            for how in 0..60 {
                end(&cell, n + how);
                cell = successor(&namespace, &name, &cell).await;
                restarts.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    soon(storms.join_all()).await;
    assert_eq!(restarts.load(Ordering::Relaxed), 960);
    assert_eq!((world.overlaps(), world.alive()), (0, 16));
    let children = soon(pool.children()).await.unwrap();
    assert_eq!(children.iter().map(|child| child.restarts).sum::<u32>(), 960);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}
