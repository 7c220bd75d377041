//! Children of a supervisor start in order and end in reverse, each awaited.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane_otp::*;
use tokio::sync::Notify;

async fn start(namespace: &Namespace, specs: Vec<ChildSpec>) -> Result<SupervisorRef, StartError> {
    soon(Supervisor::start(namespace, "root", Intensity::default(), specs, None)).await
}

#[tokio::test]
async fn children_start_in_order_and_end_in_reverse_each_gone_before_the_next_is_asked() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, ["a", "b", "c"].map(|name| world.child(name)).into()).await.unwrap();
    assert_eq!(world.take_lines(), ["start a", "start b", "start c"]);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(world.take_lines(), ["stop c", "drop c", "stop b", "drop b", "stop a", "drop a"]);
    assert_eq!(soon(root.wait()).await, ExitReason::shutdown());
    assert_eq!(namespace.names(), []);
}

#[tokio::test]
async fn a_childs_failed_start_rolls_the_others_back_in_reverse_and_fails_the_supervisors_start() {
    let (namespace, world) = (namespace(), World::new());
    world.break_starts("c", true);
    let specs = ["a", "b", "c", "d"].map(|name| world.child(name)).into();
    let error = start(&namespace, specs).await.unwrap_err();
    assert!(error.to_string().contains("\"c\""), "{error}");
    assert!(error.to_string().contains("told to fail"), "{error}");
    assert_eq!(world.take_lines(), ["start a", "start b", "fail c", "stop b", "drop b", "stop a", "drop a"]);
    assert_eq!(namespace.names(), []);
    // All names are free again.
    world.break_starts("c", false);
    let root = start(&namespace, vec![world.child("a"), world.child("c")]).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_panic_in_a_start_fails_the_supervisors_start_and_says_so() {
    let namespace = namespace();
    let spec = ChildSpec::new("x", |_| async { panic!("told to panic") });
    let error = start(&namespace, vec![spec]).await.unwrap_err();
    assert!(error.to_string().contains("panic: told to panic"), "{error}");
    assert_eq!(namespace.names(), []);
}

#[tokio::test]
async fn a_duplicate_id_is_refused() {
    let (namespace, world) = (namespace(), World::new());
    let error = start(&namespace, vec![world.child("a"), world.child("a")]).await.unwrap_err();
    assert!(matches!(error, StartError::DuplicateId { id } if id == "a"));
    assert_eq!(world.lines(), Vec::<String>::new());
    assert_eq!(namespace.names(), []);
}

#[tokio::test]
async fn a_supervisors_own_name_is_unique_too() {
    let namespace = namespace();
    let root = start(&namespace, vec![]).await.unwrap();
    let error = start(&namespace, vec![]).await.unwrap_err();
    assert!(matches!(error, StartError::AlreadyStarted(cell) if cell == root.cell()));
    soon(root.shutdown(LONG)).await.unwrap();
    let root = start(&namespace, vec![]).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_started_child_is_linked_before_the_start_returns_also_if_its_start_forgot_to() {
    let (namespace, world) = (namespace(), World::new());
    let forgetful = {
        let world = world.clone();
        ChildSpec::new("b", move |context: StartContext| {
            let world = world.clone();
            async move {
                let name = Some(context.full_name.clone());
                let (actor, join) = ractor::Actor::spawn(name, Probe, (world, context)).await?;
                Ok(Started { cell: actor.get_cell(), join })
            }
        })
    };
    let root = start(&namespace, vec![world.child("a"), forgetful]).await.unwrap();
    for name in ["a", "b"] {
        let child = find(&namespace, name).await;
        assert_eq!(child.try_get_supervisor(), Some(root.cell()));
    }
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(world.alive(), 0);
}

#[tokio::test]
async fn a_time_without_end_is_no_panic_and_a_child_that_has_one_is_ended_and_comes_back_as_any_other() {
    let (namespace, world) = (namespace(), World::new());
    let patient = world.child("a").shutdown(Shutdown::Timeout(Duration::MAX));
    let graced = world.child("b").grace(Duration::MAX).shutdown(Shutdown::Timeout(Duration::MAX));
    let specs = vec![patient, graced];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    for name in ["a", "b"] {
        let old = find(&namespace, name).await;
        old.kill();
        successor(&namespace, name, &old).await;
        soon(call_name(&namespace, name, Msg::Ping, Duration::MAX)).await.unwrap();
        soon(root.terminate_child(name, Duration::MAX)).await.unwrap();
        assert!(namespace.whereis(name).is_none());
        soon(root.restart_child(name, Duration::MAX)).await.unwrap();
    }
    assert_eq!(soon(tree(&root.cell(), Duration::MAX)).await.unwrap().children.len(), 2);
    soon(root.shutdown(Duration::MAX)).await.unwrap();
    assert_eq!((world.alive(), world.overlaps()), (0, 0));
    assert_eq!(namespace.names(), []);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ignores_shutdown_is_killed_at_its_deadline() {
    let (namespace, world) = (namespace(), World::new());
    let limit = Duration::from_secs(3);
    let specs = vec![world.child("a"), world.child("b").shutdown(Shutdown::Timeout(limit))];
    let root = start(&namespace, specs).await.unwrap();
    hang(&find(&namespace, "b").await).await;
    world.take_lines();
    let before = tokio::time::Instant::now();
    soon(root.shutdown(LONG)).await.unwrap();
    assert!(before.elapsed() >= limit && before.elapsed() < limit * 2, "{:?}", before.elapsed());
    assert_eq!(world.take_lines(), ["drop b", "stop a", "drop a"]);
}

#[tokio::test(start_paused = true)]
async fn brutal_kill_does_not_wait() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, vec![world.child("a").shutdown(Shutdown::BrutalKill)]).await.unwrap();
    hang(&find(&namespace, "a").await).await;
    let before = tokio::time::Instant::now();
    let monitor = namespace.monitor("a");
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(world.lines(), ["start a", "drop a"]);
    assert_eq!(soon(monitor).await.reason, ExitReason::Killed);
}

#[tokio::test(start_paused = true)]
async fn infinity_waits() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, vec![world.child("a").shutdown(Shutdown::Infinity)]).await.unwrap();
    let (go, (tell, waits)) = (Arc::new(Notify::new()), tokio::sync::oneshot::channel());
    let wait = go.clone();
    order(&find(&namespace, "a").await, move |_, _| async move {
        tell.send(()).unwrap();
        wait.notified().await;
        Ok(())
    });
    soon(waits).await.unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    let ended = tokio::spawn({
        let root = root.clone();
        async move { root.shutdown(day * 2).await }
    });
    tokio::time::sleep(day).await;
    assert!(!ended.is_finished());
    go.notify_one();
    soon(ended).await.unwrap().unwrap();
    assert_eq!(world.lines(), ["start a", "stop a", "drop a"]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_past_its_deadline_kills_and_says_timeout() {
    let (namespace, world) = (namespace(), World::new());
    let root = start(&namespace, vec![world.child("a").shutdown(Shutdown::Infinity)]).await.unwrap();
    hang(&find(&namespace, "a").await).await;
    let outcome = soon(root.shutdown(Duration::from_secs(1))).await;
    assert_eq!(outcome, Err(CallError::Timeout));
    assert_eq!(soon(root.wait()).await, ExitReason::Killed);
    eventually(|| namespace.names().is_empty()).await;
    assert_eq!(world.alive(), 0);
}

#[tokio::test]
async fn a_child_already_dead_is_no_error_at_shutdown() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![world.child("a").restart(Restart::Transient), world.child("b")];
    let root = start(&namespace, specs).await.unwrap();
    let monitor = namespace.monitor("a");
    find(&namespace, "a").await.stop(None);
    assert_eq!(soon(monitor).await.reason, ExitReason::Normal);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(world.alive(), 0);
}

#[tokio::test]
async fn an_unexpected_reason_at_shutdown_is_reported() {
    struct BadStop;
    impl ractor::Actor for BadStop {
        type Msg = ();
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ractor::ActorRef<()>, (): ()) -> Result<(), ractor::ActorProcessingErr> {
            Ok(())
        }
        async fn post_stop(
            &self,
            _: ractor::ActorRef<()>,
            (): &mut (),
        ) -> Result<(), ractor::ActorProcessingErr> {
            Err("could not close".into())
        }
    }
    let namespace = namespace();
    let root = start(&namespace, vec![ChildSpec::actor("a", |_| (BadStop, ()))]).await.unwrap();
    let monitor = namespace.monitor("a");
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(soon(monitor).await.reason, ExitReason::Error("could not close".into()));
}

#[tokio::test]
async fn nested_supervisors_end_their_children_before_they_end_themselves() {
    let (namespace, world) = (namespace(), World::new());
    let inner = Supervisor::child_spec("inner", plenty(), vec![world.child("b"), world.child("c")]);
    let root = start(&namespace, vec![world.child("a"), inner, world.child("d")]).await.unwrap();
    assert_eq!(world.take_lines(), ["start a", "start b", "start c", "start d"]);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(
        world.take_lines(),
        ["stop d", "drop d", "stop c", "drop c", "stop b", "drop b", "stop a", "drop a"]
    );
}

#[tokio::test]
async fn a_root_with_a_parent_tells_it_its_end() {
    let (namespace, world) = (namespace(), World::new());
    let parent_world = World::new();
    let outer = soon(Supervisor::start(&namespace, "outer", plenty(), vec![parent_world.child("p")], None))
        .await
        .unwrap();
    let parent = find(&namespace, "p").await;
    let inner =
        soon(Supervisor::start(&namespace, "in", plenty(), vec![world.child("a")], Some(parent.clone())))
            .await
            .unwrap();
    assert_eq!(inner.cell().try_get_supervisor(), Some(parent));
    soon(outer.shutdown(LONG)).await.unwrap();
    // Its parent's end has killed it, as ractor does.
    assert_eq!(soon(inner.wait()).await, ExitReason::Killed);
    eventually(|| namespace.names().is_empty()).await;
    assert_eq!(world.alive(), 0);
}
