//! Monitors tell once; watches follow a name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use common::*;
use ergane_otp::*;
use ractor::ActorCell;

async fn tree(namespace: &Namespace, world: &Arc<World>) -> (SupervisorRef, ActorCell) {
    let root =
        soon(Supervisor::start(namespace, "root", plenty(), vec![world.child("a")], None)).await.unwrap();
    let cell = find(namespace, "a").await;
    (root, cell)
}

#[tokio::test]
async fn the_reason_is_the_real_one() {
    let (namespace, world) = (namespace(), World::new());
    let (root, mut cell) = tree(&namespace, &world).await;
    let panic = ExitReason::Panic { message: "told to panic".into(), location: None };
    let endings: [(Ending, ExitReason); 6] = [
        (|cell| cell.stop(None), ExitReason::Normal),
        (|cell| cell.stop(Some("shutdown".into())), ExitReason::shutdown()),
        (|cell| cell.stop(Some("enough".into())), ExitReason::Shutdown("enough".into())),
        (|cell| cell.kill(), ExitReason::Killed),
        (order_error, ExitReason::Error("told to fail".into())),
        (order_panic, panic),
    ];
    for (end, reason) in endings {
        let monitor = namespace.monitor("a");
        let pid = Some(cell.get_id());
        assert_eq!((monitor.name(), monitor.pid()), ("a", pid));
        end(&cell);
        assert_eq!(soon(monitor.down()).await, Down { name: "a".into(), pid, reason });
        cell = successor(&namespace, "a", &cell).await;
    }
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_handler_may_say_its_own_reason() {
    let (namespace, world) = (namespace(), World::new());
    let (root, cell) = tree(&namespace, &world).await;
    let monitor = namespace.monitor("a");
    let reason = ExitReason::Shutdown("by itself".into());
    let said = reason.clone();
    order(&cell, move |_, _| async move { Err(Box::new(said) as ractor::ActorProcessingErr) });
    assert_eq!(soon(monitor).await.reason, reason);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn twice_monitored_is_twice_told_and_each_but_once() {
    let (namespace, world) = (namespace(), World::new());
    let (root, cell) = tree(&namespace, &world).await;
    let (one, two, by_cell) = (namespace.monitor("a"), namespace.monitor("a"), Monitor::of(&cell));
    order_error(&cell);
    let down = soon(one).await;
    assert_eq!(soon(two).await, down);
    assert_eq!(soon(by_cell).await.reason, down.reason);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_monitor_of_the_dead_or_unknown_tells_no_proc_at_once() {
    let (namespace, world) = (namespace(), World::new());
    let (root, cell) = tree(&namespace, &world).await;
    let down = soon(namespace.monitor("nobody")).await;
    assert_eq!(down, Down { name: "nobody".into(), pid: None, reason: ExitReason::NoProc });
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(soon(namespace.monitor("a")).await.reason, ExitReason::NoProc);
    assert_eq!(soon(Monitor::of(&cell)).await.reason, ExitReason::NoProc);
}

#[tokio::test]
async fn a_monitor_waits_while_its_actor_lives_and_a_dropped_one_leaves_nothing_behind() {
    let (namespace, world) = (namespace(), World::new());
    let (root, cell) = tree(&namespace, &world).await;
    let mut monitor = namespace.monitor("a");
    std::future::poll_fn(|context| {
        assert!(std::pin::Pin::new(&mut monitor).poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    assert_eq!(ping(&namespace, "a").await, Ok(1));
    drop(monitor);
    cell.kill();
    successor(&namespace, "a", &cell).await;
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_monitor_is_over_with_the_incarnation_it_watched() {
    let (namespace, world) = (namespace(), World::new());
    let (root, cell) = tree(&namespace, &world).await;
    let monitor = namespace.monitor("a");
    cell.kill();
    let next = successor(&namespace, "a", &cell).await;
    order_error(&next);
    let next = successor(&namespace, "a", &next).await;
    let down = soon(monitor).await;
    assert_eq!((down.pid, down.reason), (Some(cell.get_id()), ExitReason::Killed));
    drop(next);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_monitor_of_a_start_that_fails_tells_of_it() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new()).await;
    world.break_starts("a", true);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let spec = {
        let gate = gate.clone();
        ChildSpec::new("a", move |_| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Err(StartError::Failed { reason: ExitReason::Error("told to fail".into()) })
            }
        })
    };
    pool.start_child_with_reply(spec, |_| {});
    eventually(|| namespace.status("a") == Some(EntryStatus::Starting)).await;
    // The status is there a moment before the start is.
    let mut monitor = namespace.monitor("a");
    std::future::poll_fn(|context| match std::pin::Pin::new(&mut monitor).poll(context) {
        Poll::Pending => Poll::Ready(()),
        Poll::Ready(_) => {
            monitor = namespace.monitor("a");
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
    gate.add_permits(1);
    let reason = soon(monitor).await.reason;
    assert!(reason.to_string().contains("told to fail"), "{reason}");
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn an_actor_of_somebody_else_can_be_monitored_by_reference() {
    struct Stranger;
    impl ractor::Actor for Stranger {
        type Msg = ();
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ractor::ActorRef<()>, (): ()) -> Result<(), ractor::ActorProcessingErr> {
            Ok(())
        }
    }
    let (stranger, join) = ractor::Actor::spawn(None, Stranger, ()).await.unwrap();
    let monitor = Monitor::of(&stranger);
    stranger.stop(None);
    let down = soon(monitor).await;
    assert_eq!((down.pid, down.reason), (Some(stranger.get_id()), ExitReason::NoProc));
    soon(join).await.unwrap();
}

#[tokio::test]
async fn a_watch_tells_every_incarnation_in_order() {
    let (namespace, world) = (namespace(), World::new());
    let mut watch = namespace.watch("a");
    assert_eq!(soon(watch.next()).await, Some(Incarnation::Gone));
    let (root, mut cell) = tree(&namespace, &world).await;
    for _ in 0..5 {
        let pid = cell.get_id();
        cell.kill();
        cell = successor(&namespace, "a", &cell).await;
        assert_eq!(soon(watch.next()).await, Some(Incarnation::Up { pid }));
        assert_eq!(soon(watch.next()).await, Some(Incarnation::Down { pid, reason: ExitReason::Killed }));
    }
    let pid = cell.get_id();
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(soon(watch.next()).await, Some(Incarnation::Up { pid }));
    assert_eq!(soon(watch.next()).await, Some(Incarnation::Down { pid, reason: ExitReason::shutdown() }));
    assert_eq!(soon(watch.next()).await, Some(Incarnation::Gone));
    // The name may be taken again, and the watch goes on.
    let (root, cell) = tree(&namespace, &world).await;
    assert_eq!(soon(watch.next()).await, Some(Incarnation::Up { pid: cell.get_id() }));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_late_watch_begins_with_where_the_name_stands() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) =
        pool(&namespace, DynamicOptions::new().budget(RestartBudget { max_restarts: 0, ..generous() })).await;
    let cell = soon(pool.start_child(world.child("a"), LONG)).await.unwrap();
    let mut watch = namespace.watch("a");
    assert_eq!(soon(watch.next()).await, Some(Incarnation::Up { pid: cell.get_id() }));
    cell.kill();
    assert!(matches!(soon(watch.next()).await, Some(Incarnation::Down { .. })));
    let Some(Incarnation::Quarantined { reason }) = soon(watch.next()).await else { panic!() };
    assert_eq!(soon(namespace.watch("a").next()).await, Some(Incarnation::Quarantined { reason }));
    soon(pool.release("a")).await.unwrap();
    assert_eq!(soon(watch.next()).await, Some(Incarnation::Gone));
    assert_eq!(soon(namespace.watch("a").next()).await, Some(Incarnation::Gone));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_watch_ends_with_its_namespace() {
    let namespace = namespace();
    let mut watch = namespace.watch("a");
    assert_eq!(soon(watch.next()).await, Some(Incarnation::Gone));
    drop(namespace);
    assert_eq!(soon(watch.next()).await, None);
}

#[tokio::test]
async fn a_watch_that_nobody_reads_is_bounded_and_loses_the_oldest() {
    let (namespace, world) = (namespace(), World::new());
    let (root, mut cell) = tree(&namespace, &world).await;
    let mut watch = namespace.watch("a");
    for _ in 0..WATCH_CAPACITY {
        cell.kill();
        cell = successor(&namespace, "a", &cell).await;
    }
    soon(root.shutdown(LONG)).await.unwrap();
    let mut events = Vec::new();
    loop {
        events.push(soon(watch.next()).await.unwrap());
        if events.last() == Some(&Incarnation::Gone) {
            break;
        }
    }
    assert_eq!(events.len(), WATCH_CAPACITY);
    assert!(events.contains(&Incarnation::Up { pid: cell.get_id() }));
}

/// Runs in the handler of `b`, who watches `a`, and gives the test what it needs.
async fn two(namespace: &Namespace, world: &Arc<World>) -> (SupervisorRef, ActorCell, ActorCell) {
    let specs = vec![world.child("a"), world.child("b")];
    let root = soon(Supervisor::start(namespace, "root", plenty(), specs, None)).await.unwrap();
    (root, find(namespace, "a").await, find(namespace, "b").await)
}

/// A message that hands the note to the test.
fn tells(tell: tokio::sync::mpsc::UnboundedSender<Option<Down>>) -> impl FnOnce(DownNote) -> Msg + Send {
    move |note| {
        Msg::Do(Box::new(move |_, _| {
            tell.send(note.take()).unwrap();
            Box::pin(async { Ok(()) })
        }))
    }
}

#[tokio::test]
async fn an_actor_is_told_by_a_message_and_lives_on_once_for_each_monitor() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a, b) = two(&namespace, &world).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let names = namespace.clone();
    let (ready, set) = tokio::sync::oneshot::channel();
    order(&b, move |myself, context| async move {
        for _ in 0..2 {
            names.monitor("a").notify(&context.scope, &myself, tells(tell.clone()));
        }
        names.monitor("nobody").notify(&context.scope, &myself, tells(tell));
        ready.send(context.scope).unwrap();
        Ok(())
    });
    let scope = soon(set).await.unwrap();
    let nobody = Down { name: "nobody".into(), pid: None, reason: ExitReason::NoProc };
    assert_eq!(soon(told.recv()).await.unwrap(), Some(nobody));
    order_error(&a);
    let down =
        Down { name: "a".into(), pid: Some(a.get_id()), reason: ExitReason::Error("told to fail".into()) };
    for _ in 0..2 {
        assert_eq!(soon(told.recv()).await.unwrap(), Some(down.clone()));
    }
    // No third word comes, nothing is left in the watcher's scope, and the watcher is none the worse for it.
    assert_eq!(soon(told.recv()).await, None);
    soon(scope.drained()).await;
    assert_eq!(find(&namespace, "b").await, b);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn demonitor_with_flush_leaves_nothing_behind() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a, b) = two(&namespace, &world).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let names = namespace.clone();
    let (ready, set) = tokio::sync::oneshot::channel();
    let (go, sent) = tokio::sync::oneshot::channel::<()>();
    let (done, scope) = tokio::sync::oneshot::channel();
    order(&b, move |myself, context| async move {
        let late = names.monitor("a").notify(&context.scope, &myself, tells(tell.clone()));
        let early = names.monitor("b").notify(&context.scope, &myself, tells(tell));
        ready.send(context.scope.clone()).unwrap();
        // By now the word of the end of `a` lies in the mailbox, behind this message.
        sent.await.unwrap();
        late.demonitor();
        early.demonitor();
        done.send(context.scope).unwrap();
        Ok(())
    });
    let watching = soon(set).await.unwrap();
    assert_eq!(watching.alive(), 2);
    a.kill();
    eventually(|| watching.alive() == 1).await;
    go.send(()).unwrap();
    assert_eq!(soon(told.recv()).await.unwrap(), None, "flushed out of the mailbox");
    assert_eq!(soon(told.recv()).await, None, "and the other never tells");
    soon(soon(scope).await.unwrap().drained()).await;
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_monitor_by_name_says_the_name_and_one_by_reference_the_registered_name() {
    let (namespace, world) = (namespace(), World::new());
    let (root, cell) = tree(&namespace, &world).await;
    let (by_name, by_cell) = (namespace.monitor("a"), Monitor::of(&cell));
    cell.kill();
    assert_eq!(soon(by_name).await.name, "a");
    assert_eq!(soon(by_cell).await.name, namespace.full_name("a"));
    soon(root.shutdown(LONG)).await.unwrap();
}
