//! A child that cannot be ended is not started a second time beside itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::*;
use ergane_otp::*;
use ractor::{Actor, ActorProcessingErr, ActorRef};

/// Short, since it really passes: a blocked thread stops a paused clock.
const GRACE: Duration = Duration::from_millis(50);

fn spec(world: &Arc<World>, name: &str) -> ChildSpec {
    world.child(name).grace(GRACE).shutdown(Shutdown::Timeout(GRACE))
}

async fn stuck(namespace: &Namespace, name: &str) -> String {
    let mut reason = String::new();
    eventually(|| match namespace.status(name) {
        Some(EntryStatus::Stuck { reason: why }) => {
            reason = why;
            true
        }
        _ => false,
    })
    .await;
    reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blocked_handler_makes_a_terminated_child_stuck_until_it_ends() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(generous())).await;
    let child = soon(pool.start_child(spec(&world, "a"), LONG)).await.unwrap();
    let release = block(&child).await;
    let outcome = soon(pool.terminate_child("a", LONG)).await;
    let Err(ChildError::Stuck { reason }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(namespace.status("a"), Some(EntryStatus::Stuck { reason: reason.clone() }));
    let refused = soon(pool.start_child(spec(&world, "a"), LONG)).await;
    assert!(matches!(refused, Err(StartError::Stuck { reason: why }) if why == reason));
    assert_eq!(ping(&namespace, "a").await, Err(CallError::NoProc));
    // Others do not notice.
    soon(pool.start_child(spec(&world, "b"), LONG)).await.unwrap();
    drop(release);
    eventually(|| namespace.status("a").is_none()).await;
    while soon(pool.children()).await.unwrap().len() != 1 {}
    soon(pool.start_child(spec(&world, "a"), LONG)).await.unwrap();
    assert_eq!(world.overlaps(), 0);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leftover_of_a_crashed_childs_scope_delays_its_restart_until_it_is_gone() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![spec(&world, "a"), spec(&world, "b")];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let (a, b) = (find(&namespace, "a").await, find(&namespace, "b").await);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (tell, blocks) = tokio::sync::oneshot::channel();
    order(&a, move |_, context| async move {
        context.scope.spawn("busy loop", async move {
            tell.send(()).unwrap();
            tokio::task::block_in_place(|| wait.recv_timeout(LONG)).ok();
        });
        Ok(())
    });
    soon(blocks).await.unwrap();
    a.kill();
    let reason = stuck(&namespace, "a").await;
    assert!(reason.contains("busy loop"), "{reason}");
    assert_eq!((world.count("start a"), world.alive()), (1, 1));
    // The supervisor works on.
    b.kill();
    successor(&namespace, "b", &b).await;
    drop(go);
    eventually(|| namespace.whereis("a").is_some_and(|next| next != a)).await;
    assert_eq!(world.count("start a"), 2);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stuck_child_does_not_hold_a_shutdown_up_for_ever() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![spec(&world, "a"), spec(&world, "b")];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let release = block(&find(&namespace, "b").await).await;
    soon(root.shutdown(LONG)).await.unwrap();
    // Its name is still held: nobody can start a second one beside it.
    assert!(matches!(namespace.status("b"), Some(EntryStatus::Stuck { .. })));
    assert_eq!(namespace.status("a"), None);
    drop(release);
    eventually(|| namespace.names().is_empty()).await;
    assert_eq!(world.alive(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_drop_of_a_state_stalls_no_other_restart_and_no_successor_overlaps_it() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static LIVE: AtomicUsize = AtomicUsize::new(0);

    struct SlowDrop(Option<mpsc::Receiver<()>>);
    impl Drop for SlowDrop {
        fn drop(&mut self) {
            if let Some(wait) = self.0.take() {
                tokio::task::block_in_place(|| wait.recv_timeout(LONG)).ok();
            }
            LIVE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    struct Slow;
    impl ractor::Actor for Slow {
        type Msg = ();
        type State = Mutex<SlowDrop>;
        type Arguments = Option<mpsc::Receiver<()>>;
        async fn pre_start(
            &self,
            _: ractor::ActorRef<()>,
            wait: Option<mpsc::Receiver<()>>,
        ) -> Result<Self::State, ractor::ActorProcessingErr> {
            assert_eq!(LIVE.fetch_add(1, Ordering::SeqCst), 0, "two states at once");
            Ok(Mutex::new(SlowDrop(wait)))
        }
    }

    let (namespace, world) = (namespace(), World::new());
    let (release, wait) = mpsc::channel();
    let wait = Arc::new(Mutex::new(Some(wait)));
    let slow = ChildSpec::actor("slow", move |_| (Slow, wait.lock().unwrap().take())).grace(LONG);
    let specs = vec![slow, world.child("b")];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let first = find(&namespace, "slow").await;
    first.kill();
    eventually(|| namespace.status("slow") == Some(EntryStatus::Stopping)).await;
    for _ in 0..10 {
        let b = find(&namespace, "b").await;
        b.kill();
        successor(&namespace, "b", &b).await;
    }
    assert_eq!(namespace.status("slow"), Some(EntryStatus::Stopping));
    drop(release);
    successor(&namespace, "slow", &first).await;
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(LIVE.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_child_of_a_supervisor_that_does_not_end_is_told_as_stuck_and_is_at_rest_when_it_does() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![spec(&world, "a"), spec(&world, "b")];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let release = block(&find(&namespace, "a").await).await;
    for _ in 0..2 {
        let outcome = soon(root.terminate_child("a", LONG)).await;
        assert!(matches!(outcome, Err(ChildError::Stuck { .. })), "{outcome:?}");
    }
    let refused = soon(root.restart_child("a", LONG)).await;
    assert!(matches!(refused, Err(StartError::Restarting { .. })), "{refused:?}");
    assert_eq!(soon(root.delete_child("a")).await, Err(ChildError::Restarting));
    // Others do not notice.
    let b = find(&namespace, "b").await;
    b.kill();
    successor(&namespace, "b", &b).await;
    drop(release);
    eventually(|| namespace.status("a").is_none()).await;
    soon(root.restart_child("a", LONG)).await.unwrap();
    assert_eq!((world.count("start a"), world.overlaps()), (2, 0));
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

/// Does not drop, once it was let in, until the sender is dropped.
struct Blocks(Mutex<Option<mpsc::Receiver<()>>>);

impl Drop for Blocks {
    fn drop(&mut self) {
        if let Some(wait) = self.0.get_mut().unwrap().take() {
            tokio::task::block_in_place(|| wait.recv_timeout(LONG)).ok();
        }
    }
}

/// Fails at its first message.
struct Fails;

impl Actor for Fails {
    type Msg = ();
    type State = Blocks;
    type Arguments = Option<mpsc::Receiver<()>>;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        wait: Option<mpsc::Receiver<()>>,
    ) -> Result<Blocks, ActorProcessingErr> {
        Ok(Blocks(Mutex::new(wait)))
    }

    async fn handle(&self, _: ActorRef<()>, (): (), _: &mut Blocks) -> Result<(), ActorProcessingErr> {
        Err("told to fail".into())
    }
}

/// The state of its first incarnation does not drop before the sender.
fn fails(name: &str) -> (mpsc::Sender<()>, ChildSpec) {
    let (release, wait) = mpsc::channel();
    let wait = Arc::new(Mutex::new(Some(wait)));
    let spec = ChildSpec::actor(name, move |_| (Fails, wait.lock().unwrap().take()));
    (release, spec.grace(GRACE).shutdown(Shutdown::Timeout(GRACE)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_child_that_failed_and_whose_state_does_not_drop_stays_stuck_whatever_it_is_ordered() {
    let namespace = namespace();
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(generous())).await;
    let ((release_a, a), (release_b, b)) = (fails("a"), fails("b"));
    soon(root.start_child(a, LONG)).await.unwrap().send_message(()).unwrap();
    soon(pool.start_child(b, LONG)).await.unwrap().send_message(()).unwrap();
    let (of_a, of_b) = (stuck(&namespace, "a").await, stuck(&namespace, "b").await);
    let still_stuck = || {
        for (name, reason) in [("a", &of_a), ("b", &of_b)] {
            let status = namespace.status(name);
            assert_eq!(status, Some(EntryStatus::Stuck { reason: reason.clone() }), "{name}");
        }
    };
    for _ in 0..100 {
        let outcome = soon(root.terminate_child("a", LONG)).await;
        assert_eq!(outcome, Err(ChildError::Stuck { reason: of_a.clone() }));
        let outcome = soon(pool.terminate_child("b", LONG)).await;
        assert_eq!(outcome, Err(ChildError::Stuck { reason: of_b.clone() }));
        still_stuck();
    }
    soon(root.shutdown(LONG)).await.unwrap();
    for _ in 0..100 {
        still_stuck();
        tokio::task::yield_now().await;
    }
    drop((release_a, release_b));
    eventually(|| namespace.names().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_child_whose_state_does_not_drop_is_stuck_past_its_grace_and_comes_back_when_it_is_gone() {
    let namespace = namespace();
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(generous())).await;
    let ((release_a, a), (release_b, b), (release_c, c)) = (fails("a"), fails("b"), fails("c"));
    let a = soon(root.start_child(a, LONG)).await.unwrap();
    let b = soon(pool.start_child(b, LONG)).await.unwrap();
    let c = soon(root.start_child(c, LONG)).await.unwrap();
    for child in [&a, &b, &c] {
        child.kill();
    }
    for name in ["a", "b", "c"] {
        let reason = stuck(&namespace, name).await;
        assert!(reason.contains("the drop of its state"), "{reason}");
    }
    drop((release_a, release_b));
    for (name, old) in [("a", a), ("b", b)] {
        eventually(|| namespace.whereis(name).is_some_and(|next| next != old)).await;
    }
    // And a shutdown does not wait for it.
    soon(root.shutdown(LONG)).await.unwrap();
    assert!(matches!(namespace.status("c"), Some(EntryStatus::Stuck { .. })));
    drop(release_c);
    eventually(|| namespace.names().is_empty()).await;
}
