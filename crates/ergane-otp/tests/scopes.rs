//! Scopes: nothing that an actor started outlives it unnoticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::*;
use ergane_otp::*;
use tokio::sync::oneshot;

/// Counts what is alive.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::SeqCst);
        One(self.clone())
    }
    fn now(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

struct One(Count);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_drain_ends_tasks_timers_and_actors_and_waits_for_them() {
    let (scope, count) = (Scope::new(), Count::default());
    for _ in 0..10 {
        let one = count.one();
        scope.spawn("endless", async move {
            let _one = one;
            std::future::pending::<()>().await;
        });
    }
    let one = count.one();
    scope.send_after(Duration::from_secs(3600), move || drop(one));
    let (namespace, world) = (namespace(), World::new());
    let root =
        soon(Supervisor::start(&namespace, "root", plenty(), vec![world.child("a")], None)).await.unwrap();
    let a = find(&namespace, "a").await;
    // A probe of the test's own, as a child of the one above.
    let (tell, told) = oneshot::channel();
    let (inner, one) = (scope.clone(), count.one());
    order(&a, move |myself, _| async move {
        let (child, join) = ractor::Actor::spawn_linked(None, Holder, one, myself.get_cell()).await.unwrap();
        inner.adopt(child.get_cell(), join);
        tell.send(child).unwrap();
        Ok(())
    });
    let child = soon(told).await.unwrap();
    assert_eq!((scope.alive(), count.now()), (12, 12));
    let left = soon(scope.drain(LONG)).await;
    assert!(left.is_empty(), "{left}");
    assert_eq!((scope.alive(), count.now()), (0, 0));
    assert_eq!(child.get_status(), ractor::ActorStatus::Stopped);
    soon(root.shutdown(LONG)).await.unwrap();
}

struct Holder;

impl ractor::Actor for Holder {
    type Msg = ();
    type State = One;
    type Arguments = One;
    async fn pre_start(&self, _: ractor::ActorRef<()>, one: One) -> Result<One, ractor::ActorProcessingErr> {
        Ok(one)
    }
}

#[tokio::test]
async fn what_has_ended_does_not_accumulate() {
    let scope = Scope::new();
    for round in 0..50 {
        for _ in 0..100 {
            scope.spawn("short", async {});
        }
        let (holder, join) = ractor::Actor::spawn(None, Holder, Count::default().one()).await.unwrap();
        scope.adopt(holder.get_cell(), join);
        holder.stop(None);
        drop(scope.on_drain("short", || async {}));
        scope.on_drain("none", || async {}).release();
        soon(scope.drained()).await;
        assert_eq!(scope.alive(), 0, "in round {round}");
    }
    assert!(format!("{scope:?}").contains("cleanups: 0"), "{scope:?}");
}

#[tokio::test]
async fn an_aborted_task_is_dropped_before_its_scope_counts_it_as_gone() {
    let (scope, count) = (Scope::new(), Count::default());
    for wait_first in [false, true] {
        let (tell, runs) = oneshot::channel();
        let one = count.one();
        let task = scope.spawn("endless", async move {
            let _one = one;
            tell.send(()).ok();
            std::future::pending::<()>().await;
        });
        if wait_first {
            soon(runs).await.unwrap();
        }
        // Otherwise it is aborted before it was polled at all.
        task.abort();
        soon(scope.drained()).await;
        assert_eq!(count.now(), 0);
        eventually(|| task.is_finished()).await;
    }
}

#[tokio::test]
async fn a_timer_acts_after_its_delay_and_not_when_aborted() {
    tokio::time::pause();
    let scope = Scope::new();
    let (tell, told) = oneshot::channel();
    let begin = tokio::time::Instant::now();
    scope.send_after(Duration::from_secs(7), move || tell.send(()).unwrap());
    let (never, aborted) = oneshot::channel();
    scope.send_after(Duration::from_secs(5), move || never.send(()).unwrap()).abort();
    soon(told).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 7);
    assert!(soon(aborted).await.is_err());
    assert_eq!(scope.alive(), 0);
}

#[tokio::test]
async fn after_the_drain_began_nothing_starts() {
    let (scope, count) = (Scope::new(), Count::default());
    assert!(soon(scope.drain(LONG)).await.is_empty());
    assert!(scope.is_draining());
    let one = count.one();
    let task = scope.spawn("late", async move { drop(one) });
    assert!(task.is_finished());
    assert_eq!((scope.alive(), count.now()), (0, 0));
    // An actor comes too late: it is killed.
    let (holder, join) = ractor::Actor::spawn(None, Holder, count.one()).await.unwrap();
    scope.adopt(holder.get_cell(), join);
    soon(scope.drained()).await;
    assert_eq!(count.now(), 0);
    // A cleanup comes too late: it runs.
    let (tell, told) = oneshot::channel();
    let guard = scope.on_drain("late", move || async move { tell.send(()).unwrap() });
    soon(told).await.unwrap();
    guard.release();
}

#[tokio::test]
async fn a_cleanup_runs_at_the_drain_and_is_waited_for() {
    let (scope, count) = (Scope::new(), Count::default());
    let one = count.one();
    let guard = scope.on_drain("group", move || async move {
        tokio::task::yield_now().await;
        drop(one);
    });
    assert_eq!((scope.alive(), count.now()), (0, 1));
    assert!(soon(scope.drain(LONG)).await.is_empty());
    assert_eq!(count.now(), 0);
    drop(guard);
}

#[tokio::test]
async fn a_cleanup_runs_when_the_task_that_holds_its_guard_is_aborted_or_drained() {
    for drained in [false, true] {
        let scope = Scope::new();
        let (tell, told) = oneshot::channel();
        let guard = scope.on_drain("group", move || async move { tell.send(()).unwrap() });
        let (running, runs) = oneshot::channel();
        let task = scope.spawn("holder", async move {
            let _guard = guard;
            running.send(()).unwrap();
            std::future::pending::<()>().await;
        });
        soon(runs).await.unwrap();
        if drained {
            assert!(soon(scope.drain(LONG)).await.is_empty());
        } else {
            task.abort();
        }
        soon(told).await.unwrap();
        soon(scope.drained()).await;
    }
}

#[tokio::test]
async fn a_released_cleanup_never_runs() {
    let (scope, count) = (Scope::new(), Count::default());
    let (tell, told) = oneshot::channel::<()>();
    let one = count.one();
    let guard = scope.on_drain("group", move || async move {
        let _one = one;
        tell.send(()).unwrap();
    });
    guard.release();
    assert_eq!(count.now(), 0);
    assert!(soon(scope.drain(LONG)).await.is_empty());
    assert!(soon(told).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_within_the_grace_is_named() {
    let scope = Scope::new();
    let (go, wait) = oneshot::channel::<()>();
    let guard = scope.on_drain("slow cleanup", move || async move { drop(wait.await) });
    scope.spawn("obedient", std::future::pending());
    let left = scope.drain(Duration::from_secs(5)).await;
    assert_eq!(left.labels(), ["slow cleanup"]);
    assert_eq!(left.to_string(), "slow cleanup");
    go.send(()).unwrap();
    soon(scope.drained()).await;
    drop(guard);
}

#[tokio::test]
async fn a_task_that_panics_leaves_its_scope() {
    let scope = Scope::new();
    scope.spawn("panics", async { panic!("told to panic") });
    soon(scope.drained()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn however_an_actor_ends_its_scope_is_drained_before_its_successor_starts() {
    let (namespace, world, count) = (namespace(), World::new(), Count::default());
    let spec = {
        let (world, count) = (world.clone(), count.clone());
        ChildSpec::actor("a", move |context| {
            world.log(format!("alive {}", count.now()));
            for _ in 0..5 {
                let one = count.one();
                context.scope.spawn("endless", async move {
                    let _one = one;
                    std::future::pending::<()>().await;
                });
            }
            (Probe, (world.clone(), context))
        })
    };
    let root = soon(Supervisor::start(&namespace, "root", plenty(), vec![spec], None)).await.unwrap();
    let mut cell = find(&namespace, "a").await;
    let ends: [Ending; 4] = [|cell| cell.stop(None), |cell| cell.kill(), order_error, order_panic];
    for end in ends.iter().cycle().take(40) {
        end(&cell);
        cell = successor(&namespace, "a", &cell).await;
    }
    assert_eq!(world.count("alive 0"), 41);
    assert_eq!(count.now(), 5);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(count.now(), 0);
}
