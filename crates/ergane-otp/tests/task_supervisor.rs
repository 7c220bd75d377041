//! Work that is done once: an actor that ends with it, and the supervisor of such actors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::future::pending;
use std::task::Poll;

use common::*;
use ergane_otp::*;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr};
use tokio::sync::oneshot;

async fn pool() -> (Namespace, SupervisorRef, TaskSupervisorRef) {
    let namespace = namespace();
    let root = Supervisor::builder().child(TaskSupervisor::child_spec("pool")).start(&namespace, "root");
    let root = soon(root).await.unwrap();
    let pool = TaskSupervisorRef::new(&namespace, "pool");
    (namespace, root, pool)
}

/// Work without an end, and what tells when it is dropped.
fn endless(pool: &TaskSupervisorRef, id: &str) -> (ractor::ActorCell, oneshot::Receiver<()>) {
    let (guard, dropped) = oneshot::channel::<()>();
    let cell = pool.start_child(id, move |_| async move {
        let _guard = guard;
        pending::<()>().await;
    });
    (cell.unwrap(), dropped)
}

#[tokio::test]
async fn work_is_done_in_an_actor_of_its_own_that_ends_with_it() {
    let (names, root, pool) = pool().await;
    let (go, told) = oneshot::channel::<()>();
    let (say, said) = oneshot::channel();
    let worker = pool.start_child("work/1", move |me| async move {
        told.await.unwrap();
        say.send(me.get_id()).unwrap();
    });
    let worker = worker.unwrap();
    assert_eq!(worker.get_name(), Some(names.full_name("work/1")));
    let monitor = Monitor::of(&worker);
    go.send(()).unwrap();
    assert_eq!(soon(said).await.unwrap(), worker.get_id());
    let down = soon(monitor).await;
    assert_eq!((down.pid, down.reason), (Some(worker.get_id()), ExitReason::Normal));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_kill_drops_the_work_and_is_told_as_a_kill() {
    let (_, root, pool) = pool().await;
    let (worker, dropped) = endless(&pool, "work");
    let monitor = Monitor::of(&worker);
    worker.kill();
    assert!(soon(dropped).await.is_err(), "dropped, not kept");
    assert_eq!(soon(monitor).await.reason, ExitReason::Killed);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_panic_is_told_as_a_panic_and_harms_nobody_else() {
    let (_, root, pool) = pool().await;
    let (other, _dropped) = endless(&pool, "other");
    let (go, told) = oneshot::channel::<()>();
    let worker = pool.start_child("work", |_| async move {
        told.await.unwrap();
        panic!("out of paper");
    });
    let monitor = Monitor::of(&worker.unwrap());
    go.send(()).unwrap();
    let reason = soon(monitor).await.reason;
    assert!(matches!(&reason, ExitReason::Panic { message, .. } if message == "out of paper"), "{reason:?}");
    let left = soon(pool.children()).await.unwrap();
    assert_eq!(left.iter().map(|child| &*child.id).collect::<Vec<_>>(), ["other"]);
    assert_eq!(left[0].pid, Some(other.get_id()));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn work_is_listed_with_its_age_and_stands_in_the_tree() {
    let (_, root, pool) = pool().await;
    let before = std::time::SystemTime::now();
    let (b, _b) = endless(&pool, "work/b");
    let (a, _a) = endless(&pool, "work/a");
    let tree = soon(tree(&root.cell(), LONG)).await.unwrap();
    let below = &tree.children[0].children;
    let seen: Vec<_> = below.iter().map(|node| (&*node.id, node.pid, node.kind)).collect();
    assert_eq!(
        seen,
        [("work/a", Some(a.get_id()), ChildKind::Worker), ("work/b", Some(b.get_id()), ChildKind::Worker)]
    );
    assert!(below.iter().all(|node| node.started_at.is_some_and(|since| since >= before)));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn the_end_of_the_supervisor_waits_until_all_work_is_dropped() {
    let (_, root, pool) = pool().await;
    let (_, mut one) = endless(&pool, "one");
    let (_, mut two) = endless(&pool, "two");
    soon(root.shutdown(LONG)).await.unwrap();
    let gone =
        |dropped: &mut oneshot::Receiver<()>| dropped.try_recv() == Err(oneshot::error::TryRecvError::Closed);
    assert!(gone(&mut one) && gone(&mut two));
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_work_with_it_and_its_successor_takes_new_work() {
    let (names, root, pool) = pool().await;
    let (_, dropped) = endless(&pool, "work");
    let monitor = names.monitor("pool");
    names.whereis("pool").unwrap().kill();
    soon(monitor).await;
    soon(names.wait_for("pool", LONG)).await.unwrap();
    assert!(soon(dropped).await.is_err());
    // The same name: it is free, since its former holder is gone.
    let (again, _dropped) = endless(&pool, "work");
    let left = soon(pool.children()).await.unwrap();
    assert_eq!(left.iter().map(|child| child.pid).collect::<Vec<_>>(), [Some(again.get_id())]);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn without_a_supervisor_work_is_refused_and_dropped() {
    let pool = TaskSupervisorRef::new(&namespace(), "pool");
    let (guard, mut dropped) = oneshot::channel::<()>();
    let refused = pool.start_child("work", move |_| async move { drop(guard) });
    assert!(matches!(refused, Err(StartError::NoSupervisor)), "{refused:?}");
    assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed));
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_and_its_holder_stays() {
    let (_, root, pool) = pool().await;
    let (holder, _dropped) = endless(&pool, "work");
    let refused = pool.start_child("work", |_| async {});
    assert!(matches!(refused, Err(StartError::Failed { .. })), "{refused:?}");
    let left = soon(pool.children()).await.unwrap();
    assert_eq!(left.iter().map(|child| child.pid).collect::<Vec<_>>(), [Some(holder.get_id())]);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn work_given_to_a_scope_that_is_drained_is_dropped() {
    let (names, root, _pool) = pool().await;
    let scope = Scope::new();
    soon(scope.drain(LONG)).await;
    let (guard, dropped) = oneshot::channel::<()>();
    let late =
        scope.spawn_actor(names.full_name("late"), names.whereis("pool").unwrap(), move |_| async move {
            let _guard = guard;
            pending::<()>().await;
        });
    late.unwrap();
    assert!(soon(dropped).await.is_err());
    soon(scope.drained()).await;
    soon(root.shutdown(LONG)).await.unwrap();
}

struct Sleeper;

impl Actor for Sleeper {
    type Msg = ();
    type State = ();
    type Arguments = bool;

    async fn pre_start(&self, _: ActorRef<()>, waits: bool) -> Result<(), ActorProcessingErr> {
        if waits {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn spawn_now_refuses_an_actor_whose_pre_start_waits() {
    let (names, root, _pool) = pool().await;
    let supervisor = names.whereis("pool").unwrap();
    let name = names.full_name("sleeper");
    let refused = spawn_now(Some(name.clone()), Sleeper, true, supervisor.clone());
    assert!(matches!(refused, Err(SpawnErr::StartupFailed(_))));
    // Nothing is left of it: its name is free.
    let (sleeper, join) = spawn_now(Some(name), Sleeper, false, supervisor).unwrap();
    sleeper.stop(None);
    soon(join).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn spawn_now_starts_also_in_a_task_that_has_used_up_its_share() {
    let (names, root, _pool) = pool().await;
    let supervisor = names.whereis("pool").unwrap();
    let started = std::future::poll_fn(|context| {
        // Takes from the task's share until there is none.
        while std::pin::pin!(tokio::task::consume_budget()).poll(context).is_ready() {}
        Poll::Ready(spawn_now(None, Sleeper, false, supervisor.clone()))
    });
    let (sleeper, join) = soon(started).await.unwrap();
    sleeper.stop(None);
    soon(join).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_hears_of_the_end_of_work_finds_its_name_free() {
    let (_, root, pool) = pool().await;
    for _ in 0..500 {
        let worker = pool.start_child("work", |_| async {}).unwrap();
        soon_here(Monitor::of(&worker)).await;
    }
    soon(root.shutdown(LONG)).await.unwrap();
}

/// As `soon`, without a thread for each.
async fn soon_here<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("nothing happened for 30 s")
}
