//! The traps of ractor that this crate is built around, each as a test: a new version of ractor that fails one of these
//! changes what our rules rest on, and they have to be read again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{LONG, eventually, soon};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorStatus, RpcReplyPort, SupervisionEvent};
use tokio::sync::{Notify, oneshot};

/// An actor whose pieces are given from outside.
#[derive(Default)]
struct Plain {
    /// `post_stop` waits for it, if given.
    slow_stop: Option<Arc<Notify>>,
    stopping: Option<Arc<Notify>>,
    stopped: Option<Arc<AtomicBool>>,
    /// Counts the states alive; a state waits to be dropped until it may, if given.
    states: Option<Arc<AtomicUsize>>,
    fail_start: bool,
    events: Option<tokio::sync::mpsc::UnboundedSender<String>>,
}

enum Do {
    Fail,
    Panic,
    Hang(oneshot::Sender<()>),
    Ask(RpcReplyPort<()>, Arc<AtomicUsize>),
    Wait(Arc<Notify>, oneshot::Sender<()>),
    Block(std::sync::mpsc::Receiver<()>, oneshot::Sender<()>),
}

struct Counted(Option<Arc<AtomicUsize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(states) = &self.0 {
            states.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Actor for Plain {
    type Msg = Do;
    type State = Counted;
    type Arguments = ();

    async fn pre_start(&self, _myself: ActorRef<Do>, (): ()) -> Result<Counted, ActorProcessingErr> {
        if self.fail_start {
            return Err("told to fail".into());
        }
        if let Some(states) = &self.states {
            states.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Counted(self.states.clone()))
    }

    async fn handle(&self, _: ActorRef<Do>, message: Do, _: &mut Counted) -> Result<(), ActorProcessingErr> {
        match message {
            Do::Fail => return Err("told to fail".into()),
            Do::Panic => panic!("told to panic"),
            Do::Hang(tell) => {
                tell.send(()).unwrap();
                std::future::pending::<()>().await;
            }
            Do::Ask(reply, done) => {
                done.fetch_add(1, Ordering::SeqCst);
                drop(reply.send(()));
            }
            Do::Wait(go, tell) => {
                tell.send(()).unwrap();
                go.notified().await;
            }
            Do::Block(go, tell) => {
                tell.send(()).unwrap();
                tokio::task::block_in_place(|| go.recv_timeout(LONG)).ok();
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Do>, _: &mut Counted) -> Result<(), ActorProcessingErr> {
        if let Some(stopping) = &self.stopping {
            stopping.notify_one();
        }
        if let Some(slow) = &self.slow_stop {
            slow.notified().await;
        }
        if let Some(stopped) = &self.stopped {
            stopped.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Do>,
        event: SupervisionEvent,
        _: &mut Counted,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(events) = &self.events {
            let kind = match &event {
                SupervisionEvent::ActorStarted(_) => "started".to_owned(),
                SupervisionEvent::ActorTerminated(_, state, reason) => {
                    format!("terminated state={} reason={reason:?}", state.is_some())
                }
                SupervisionEvent::ActorFailed(_, error) => format!("failed {error}"),
                _ => "other".to_owned(),
            };
            events.send(kind).unwrap();
        }
        Ok(())
    }
}

/// An actor that overrides nothing.
struct Default0;

impl Actor for Default0 {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

fn name(what: &str) -> String {
    format!("trap/{what}")
}

async fn running(cell: &ActorCell) {
    eventually(|| cell.get_status() == ActorStatus::Running).await;
}

#[tokio::test]
async fn t1_a_name_is_freed_before_post_stop_has_run() {
    let (go, stopping) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = Plain { slow_stop: Some(go.clone()), stopping: Some(stopping.clone()), ..Plain::default() };
    let (first, first_join) = Actor::spawn(Some(name("t1")), slow, ()).await.unwrap();
    first.stop(None);
    soon(stopping.notified()).await;
    // The first one is in its `post_stop`, and its name is already taken by a second one.
    let (second, second_join) = Actor::spawn(Some(name("t1")), Plain::default(), ()).await.unwrap();
    assert_eq!(first.get_status(), ActorStatus::Stopping);
    go.notify_one();
    soon(first_join).await.unwrap();
    second.stop(None);
    soon(second_join).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t2_the_state_of_a_failed_actor_outlives_its_supervision_event() {
    let states = Arc::new(AtomicUsize::new(0));
    let (tell, seen) = oneshot::channel();
    struct Watcher(std::sync::Mutex<Option<oneshot::Sender<usize>>>, Arc<AtomicUsize>);
    impl Actor for Watcher {
        type Msg = ();
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
        async fn handle_supervisor_evt(
            &self,
            _: ActorRef<()>,
            event: SupervisionEvent,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            if matches!(event, SupervisionEvent::ActorFailed(..)) {
                let tell = self.0.lock().unwrap().take().unwrap();
                tell.send(self.1.load(Ordering::SeqCst)).unwrap();
            }
            Ok(())
        }
    }
    /// Holds the actor's task, after its event was sent, until the supervisor has looked.
    struct SlowDrop(Arc<AtomicUsize>, std::sync::mpsc::Receiver<()>);
    impl Drop for SlowDrop {
        fn drop(&mut self) {
            tokio::task::block_in_place(|| self.1.recv_timeout(LONG)).ok();
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    struct Failing(Arc<AtomicUsize>);
    impl Actor for Failing {
        type Msg = ();
        type State = std::sync::Mutex<SlowDrop>;
        type Arguments = std::sync::mpsc::Receiver<()>;
        async fn pre_start(
            &self,
            _: ActorRef<()>,
            wait: std::sync::mpsc::Receiver<()>,
        ) -> Result<Self::State, ActorProcessingErr> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(std::sync::Mutex::new(SlowDrop(self.0.clone(), wait)))
        }
        async fn handle(
            &self,
            _: ActorRef<()>,
            (): (),
            _: &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            Err("told to fail".into())
        }
    }
    let watcher = Watcher(std::sync::Mutex::new(Some(tell)), states.clone());
    let (watcher, watcher_join) = Actor::spawn(None, watcher, ()).await.unwrap();
    let (release, wait) = std::sync::mpsc::channel();
    let (failing, join) =
        Actor::spawn_linked(None, Failing(states.clone()), wait, watcher.get_cell()).await.unwrap();
    failing.cast(()).unwrap();
    assert_eq!(soon(seen).await.unwrap(), 1, "alive at the event");
    eventually(|| failing.get_status() == ActorStatus::Stopped).await;
    assert_eq!(states.load(Ordering::SeqCst), 1, "alive when `Stopped`");
    drop(release);
    soon(join).await.unwrap();
    assert_eq!(states.load(Ordering::SeqCst), 0, "gone after the join");
    watcher.stop(None);
    soon(watcher_join).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t3_a_supervisor_that_ends_kills_its_children_without_post_stop_and_does_not_wait() {
    let stopped = Arc::new(AtomicBool::new(false));
    let (supervisor, supervisor_join) = Actor::spawn(None, Plain::default(), ()).await.unwrap();
    let plain = Plain { stopped: Some(stopped.clone()), ..Plain::default() };
    let (child, child_join) =
        Actor::spawn_linked(Some(name("t3")), plain, (), supervisor.get_cell()).await.unwrap();
    // A handler that blocks its thread makes the child's end wait for the test.
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (tell, blocks) = oneshot::channel();
    child.cast(Do::Block(wait, tell)).unwrap();
    soon(blocks).await.unwrap();
    supervisor.stop(None);
    soon(supervisor_join).await.unwrap();
    assert_eq!(child.get_status(), ActorStatus::Running);
    assert!(ractor::registry::where_is(name("t3")).is_some());
    drop(release);
    soon(child_join).await.unwrap();
    assert!(!stopped.load(Ordering::SeqCst), "a killed child has no `post_stop`");
}

#[tokio::test]
async fn t4_a_kill_does_not_free_the_name_and_a_kill_that_is_awaited_does() {
    let (first, first_join) = Actor::spawn(Some(name("t4")), Plain::default(), ()).await.unwrap();
    first.kill();
    let conflict = Actor::spawn(Some(name("t4")), Plain::default(), ()).await;
    assert!(matches!(conflict, Err(ractor::SpawnErr::ActorAlreadyRegistered(_))));
    soon(first_join).await.unwrap();
    let (second, second_join) = Actor::spawn(Some(name("t4")), Plain::default(), ()).await.unwrap();
    second.kill_and_wait(Some(LONG)).await.unwrap();
    soon(second_join).await.unwrap();
}

#[tokio::test]
async fn t5_a_failing_pre_start_sends_no_supervision_event() {
    let (events, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (supervisor, join) =
        Actor::spawn(None, Plain { events: Some(events), ..Plain::default() }, ()).await.unwrap();
    let failing = Plain { fail_start: true, ..Plain::default() };
    let outcome = Actor::spawn_linked(Some(name("t5")), failing, (), supervisor.get_cell()).await;
    assert!(matches!(outcome, Err(ractor::SpawnErr::StartupFailed(_))));
    assert!(ractor::registry::where_is(name("t5")).is_none());
    let (child, child_join) =
        Actor::spawn_linked(None, Plain::default(), (), supervisor.get_cell()).await.unwrap();
    child.stop(Some("bye".into()));
    soon(child_join).await.unwrap();
    // The first events are those of the child that started after the failure.
    assert_eq!(soon(seen.recv()).await.unwrap(), "started");
    assert_eq!(soon(seen.recv()).await.unwrap(), "terminated state=true reason=Some(\"bye\")");
    supervisor.stop(None);
    soon(join).await.unwrap();
}

#[tokio::test]
async fn t6_a_stop_waits_for_the_running_handler_and_a_kill_drops_it_at_its_await() {
    let (actor, join) = Actor::spawn(None, Plain::default(), ()).await.unwrap();
    let (go, (tell, waits)) = (Arc::new(Notify::new()), oneshot::channel());
    actor.cast(Do::Wait(go.clone(), tell)).unwrap();
    soon(waits).await.unwrap();
    actor.stop(None);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(actor.get_status(), ActorStatus::Running);
    go.notify_one();
    soon(join).await.unwrap();

    let (actor, join) = Actor::spawn(None, Plain::default(), ()).await.unwrap();
    let (tell, hangs) = oneshot::channel();
    actor.cast(Do::Hang(tell)).unwrap();
    soon(hangs).await.unwrap();
    actor.kill();
    soon(join).await.unwrap();
}

#[tokio::test]
async fn t7_a_second_stop_and_wait_returns_at_once_with_an_error() {
    let (go, stopping) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = Plain { slow_stop: Some(go.clone()), stopping: Some(stopping.clone()), ..Plain::default() };
    let (actor, join) = Actor::spawn(None, slow, ()).await.unwrap();
    actor.stop(None);
    soon(stopping.notified()).await;
    assert!(soon(actor.stop_and_wait(None, None)).await.is_err());
    assert_eq!(actor.get_status(), ActorStatus::Stopping);
    go.notify_one();
    soon(actor.wait(None)).await.unwrap();
    soon(join).await.unwrap();
}

#[tokio::test]
async fn t8_by_default_the_end_of_a_child_or_of_a_monitored_actor_stops_an_actor() {
    let (parent, parent_join) = Actor::spawn(None, Default0, ()).await.unwrap();
    let (child, child_join) = Actor::spawn_linked(None, Default0, (), parent.get_cell()).await.unwrap();
    child.stop(None);
    soon(child_join).await.unwrap();
    soon(parent_join).await.unwrap();

    let (watcher, watcher_join) = Actor::spawn(None, Default0, ()).await.unwrap();
    let (watched, watched_join) = Actor::spawn(None, Default0, ()).await.unwrap();
    watcher.monitor(watched.get_cell());
    watched.stop(None);
    soon(watched_join).await.unwrap();
    soon(watcher_join).await.unwrap();
}

#[tokio::test]
async fn t9_monitoring_the_dead_tells_nothing_and_monitoring_twice_tells_once() {
    let (events, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (watcher, join) =
        Actor::spawn(None, Plain { events: Some(events), ..Plain::default() }, ()).await.unwrap();
    let (dead, dead_join) = Actor::spawn(None, Plain::default(), ()).await.unwrap();
    dead.stop(Some("dead".into()));
    soon(dead_join).await.unwrap();
    watcher.monitor(dead.get_cell());

    let (twice, twice_join) = Actor::spawn(None, Plain::default(), ()).await.unwrap();
    running(&twice).await;
    watcher.monitor(twice.get_cell());
    watcher.monitor(twice.get_cell());
    twice.stop(Some("twice".into()));
    soon(twice_join).await.unwrap();

    let (last, last_join) = Actor::spawn(None, Plain::default(), ()).await.unwrap();
    running(&last).await;
    watcher.monitor(last.get_cell());
    last.stop(Some("last".into()));
    soon(last_join).await.unwrap();

    assert_eq!(soon(seen.recv()).await.unwrap(), "terminated state=false reason=Some(\"twice\")");
    assert_eq!(soon(seen.recv()).await.unwrap(), "terminated state=false reason=Some(\"last\")");
    watcher.stop(None);
    soon(join).await.unwrap();
}

#[tokio::test]
async fn t10_a_kill_in_mid_handler_hands_over_a_torn_state() {
    let (events, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (supervisor, join) =
        Actor::spawn(None, Plain { events: Some(events), ..Plain::default() }, ()).await.unwrap();
    let (child, child_join) =
        Actor::spawn_linked(None, Plain::default(), (), supervisor.get_cell()).await.unwrap();
    let (tell, hangs) = oneshot::channel();
    child.cast(Do::Hang(tell)).unwrap();
    soon(hangs).await.unwrap();
    child.kill();
    soon(child_join).await.unwrap();
    assert_eq!(soon(seen.recv()).await.unwrap(), "started");
    assert_eq!(soon(seen.recv()).await.unwrap(), "terminated state=true reason=Some(\"killed\")");
    supervisor.stop(None);
    soon(join).await.unwrap();
}

#[tokio::test]
async fn t11_a_link_changes_the_parent_silently() {
    let (events, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (first, first_join) = Actor::spawn(None, Plain::default(), ()).await.unwrap();
    let (second, second_join) =
        Actor::spawn(None, Plain { events: Some(events), ..Plain::default() }, ()).await.unwrap();
    let (child, child_join) =
        Actor::spawn_linked(None, Plain::default(), (), first.get_cell()).await.unwrap();
    running(&child).await;
    child.link(second.get_cell());
    assert_eq!(child.try_get_supervisor().unwrap().get_id(), second.get_id());
    assert!(first.get_children().is_empty());
    child.cast(Do::Fail).unwrap();
    soon(child_join).await.unwrap();
    assert_eq!(soon(seen.recv()).await.unwrap(), "failed told to fail");
    for (actor, join) in [(first, first_join), (second, second_join)] {
        actor.stop(None);
        soon(join).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn t12_the_request_of_a_caller_that_gave_up_is_still_done() {
    let (actor, join) = Actor::spawn(None, Plain::default(), ()).await.unwrap();
    let (go, (tell, waits)) = (Arc::new(Notify::new()), oneshot::channel());
    actor.cast(Do::Wait(go.clone(), tell)).unwrap();
    soon(waits).await.unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let asked = done.clone();
    let outcome = actor.call(move |reply| Do::Ask(reply, asked), Some(Duration::from_millis(5))).await;
    assert!(matches!(outcome, Ok(ractor::rpc::CallResult::Timeout)));
    assert_eq!(done.load(Ordering::SeqCst), 0);
    go.notify_one();
    eventually(|| done.load(Ordering::SeqCst) == 1).await;
    actor.stop(None);
    soon(join).await.unwrap();
}

#[tokio::test]
async fn t13_messages_queued_at_a_stop_vanish_and_their_callers_see_a_sender_error() {
    let (actor, join) = Actor::spawn(None, Plain::default(), ()).await.unwrap();
    let (go, (tell, waits)) = (Arc::new(Notify::new()), oneshot::channel());
    actor.cast(Do::Wait(go.clone(), tell)).unwrap();
    soon(waits).await.unwrap();
    let done = Arc::new(AtomicUsize::new(0));
    let asked = done.clone();
    let (port, reply) = oneshot::channel();
    actor.cast(Do::Ask(port.into(), asked)).unwrap();
    actor.stop(None);
    go.notify_one();
    assert!(soon(reply).await.is_err());
    soon(join).await.unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_panic_and_an_error_are_told_by_the_same_event() {
    let (events, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (supervisor, join) =
        Actor::spawn(None, Plain { events: Some(events), ..Plain::default() }, ()).await.unwrap();
    for (message, told) in [(Do::Fail, "failed told to fail"), (Do::Panic, "failed told to panic")] {
        let (child, child_join) =
            Actor::spawn_linked(None, Plain::default(), (), supervisor.get_cell()).await.unwrap();
        child.cast(message).unwrap();
        soon(child_join).await.unwrap();
        assert_eq!(soon(seen.recv()).await.unwrap(), "started");
        assert_eq!(soon(seen.recv()).await.unwrap(), told);
    }
    supervisor.stop(None);
    soon(join).await.unwrap();
}

#[tokio::test]
async fn t15_the_old_output_port_loses_most_of_a_burst_silently() {
    struct Sink(tokio::sync::mpsc::UnboundedSender<usize>);
    impl Actor for Sink {
        type Msg = usize;
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ActorRef<usize>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
        async fn handle(&self, _: ActorRef<usize>, n: usize, (): &mut ()) -> Result<(), ActorProcessingErr> {
            self.0.send(n).unwrap();
            Ok(())
        }
    }
    let (tell, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let (sink, join) = Actor::spawn(None, Sink(tell), ()).await.unwrap();
    let port = ractor::OutputPort::<usize>::default();
    port.subscribe(sink.clone(), Some);
    for n in 0..100 {
        // It returns nothing, so a sender cannot know.
        port.send(n);
    }
    let mut received = Vec::new();
    while received.last() != Some(&99) {
        received.push(soon(seen.recv()).await.unwrap());
    }
    assert_eq!(received, (84..100).collect::<Vec<_>>());
    sink.stop(None);
    soon(join).await.unwrap();
}

/// That a lock is shared by all cannot be seen without measuring time, which a loaded machine makes a lottery. So this trap
/// is looked up where it is written; a panic of ractor itself says where that is.
#[tokio::test]
async fn t16_one_lock_of_the_process_serialises_link_and_unlink() {
    ergane_otp::record_panic_locations();
    let (namespace, world) = (common::namespace(), common::World::new());
    let specs = vec![world.child("a").restart(ergane_otp::Restart::Temporary)];
    let root = ergane_otp::Supervisor::start(&namespace, "root", common::plenty(), specs, None);
    let root = soon(root).await.unwrap();
    let monitor = namespace.monitor("a");
    common::order(&common::find(&namespace, "a").await, |_, _| async {
        ractor::rpc::CallResult::<()>::Timeout.unwrap();
        Ok(())
    });
    let reason = soon(monitor).await.reason;
    let ergane_otp::ExitReason::Panic { location: Some(location), .. } = reason else { panic!("{reason}") };
    soon(root.shutdown(LONG)).await.unwrap();
    let directory = &location[..location.find("rpc/call_result.rs").expect("it panics there")];
    let read = |prefix: &str| std::fs::read_to_string(format!("{prefix}{directory}actor/supervision.rs"));
    let source = read("").or_else(|_| read("../../")).unwrap();
    assert!(source.contains("static TREE_MUTATION_LOCK: Mutex<()>"));
    for function in ["fn link(", "fn unlink(", "fn take_children("] {
        let body = &source[source.find(function).unwrap()..];
        let body = &body[..body.find("\n    }\n").unwrap()];
        assert!(body.contains("TREE_MUTATION_LOCK.lock()"), "{function} does not take it");
    }
}

/// Both would undo what the rules rest on: an abort leaves nothing to be restarted, and a chain of spans overflows the stack.
#[test]
fn no_profile_aborts_at_a_panic_and_ractor_is_pinned_without_its_default_features() {
    let workspace = include_str!("../../../Cargo.toml").replace(' ', "");
    assert!(!workspace.contains("panic=\"abort\""));
    let ractor = workspace.lines().find(|line| line.starts_with("ractor=")).unwrap();
    assert!(ractor.contains("version=\"=0.16.5\"") && ractor.contains("default-features=false"), "{ractor}");
    assert!(!ractor.contains("message_span_propogation"), "{ractor}");
}
