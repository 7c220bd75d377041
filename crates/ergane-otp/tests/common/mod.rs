//! What the tests share: an actor that does as it is told and is counted.
#![allow(dead_code, missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ergane_otp::*;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

/// Long enough for a loaded machine; no test waits that long unless it fails.
pub const LONG: Duration = Duration::from_secs(30);

/// A namespace that no other test of the process has.
pub fn namespace() -> Namespace {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    Namespace::new(format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Awaits, and fails instead of hanging. By real time, so that a paused clock does not run ahead of it.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    let (alarm, mut rang) = tokio::sync::oneshot::channel::<()>();
    let clock = std::thread::spawn(move || {
        std::thread::park_timeout(LONG);
        drop(alarm);
    });
    let outcome = tokio::select! {
        biased;
        outcome = future => Some(outcome),
        _ = &mut rang => None,
    };
    clock.thread().unpark();
    outcome.expect("nothing happened for 30 s")
}

/// Waits for a condition that no event tells of, giving way to everybody else meanwhile.
pub async fn eventually(mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + LONG;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "it did not come about within 30 s");
        tokio::task::yield_now().await;
    }
}

pub type Work = Pin<Box<dyn Future<Output = Result<(), ActorProcessingErr>> + Send>>;
pub type Order = Box<dyn FnOnce(ActorRef<Msg>, StartContext) -> Work + Send>;

pub enum Msg {
    /// Answers with the incarnation.
    Ping(RpcReplyPort<u64>),
    /// Runs in the handler.
    Do(Order),
}

/// What all probes of a test share.
#[derive(Default)]
pub struct World {
    living: Mutex<HashMap<String, usize>>,
    log: Mutex<Vec<String>>,
    overlaps: AtomicUsize,
    /// Probes whose `pre_start` fails.
    broken: Mutex<Vec<String>>,
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// States alive now.
    pub fn alive(&self) -> usize {
        self.living.lock().unwrap().values().sum()
    }

    /// How often two incarnations of one name were alive at once.
    pub fn overlaps(&self) -> usize {
        self.overlaps.load(Ordering::SeqCst)
    }

    pub fn log(&self, line: impl Into<String>) {
        self.log.lock().unwrap().push(line.into());
    }

    pub fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    pub fn count(&self, line: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|other| *other == line).count()
    }

    pub fn break_starts(&self, name: &str, broken: bool) {
        let mut names = self.broken.lock().unwrap();
        names.retain(|other| other != name);
        if broken {
            names.push(name.to_owned());
        }
    }

    /// A permanent probe; its log says `start x`, `stop x` (in `post_stop`) and `drop x` (of its state).
    pub fn child(self: &Arc<Self>, name: &str) -> ChildSpec {
        let world = self.clone();
        ChildSpec::actor(name, move |context| (Probe, (world.clone(), context)))
    }
}

pub struct Probe;

pub struct Alive {
    world: Arc<World>,
    pub context: StartContext,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.world.log(format!("drop {}", self.context.name));
        *self.world.living.lock().unwrap().get_mut(&self.context.name).unwrap() -= 1;
    }
}

impl Actor for Probe {
    type Msg = Msg;
    type State = Alive;
    type Arguments = (Arc<World>, StartContext);

    async fn pre_start(
        &self,
        _myself: ActorRef<Msg>,
        (world, context): Self::Arguments,
    ) -> Result<Alive, ActorProcessingErr> {
        if world.broken.lock().unwrap().contains(&context.name) {
            world.log(format!("fail {}", context.name));
            return Err("told to fail".into());
        }
        world.log(format!("start {}", context.name));
        let mut living = world.living.lock().unwrap();
        let count = living.entry(context.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            world.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        drop(living);
        Ok(Alive { world, context })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        message: Msg,
        state: &mut Alive,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Ping(reply) => {
                // A caller that gave up is no fault of the probe.
                drop(reply.send(state.context.incarnation));
                Ok(())
            }
            Msg::Do(order) => order(myself, state.context.clone()).await,
        }
    }

    async fn post_stop(&self, _myself: ActorRef<Msg>, state: &mut Alive) -> Result<(), ActorProcessingErr> {
        state.world.log(format!("stop {}", state.context.name));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Msg>,
        _event: SupervisionEvent,
        _state: &mut Alive,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// Sends something to be done in the probe's handler.
pub fn order<F>(cell: &ActorCell, work: impl FnOnce(ActorRef<Msg>, StartContext) -> F + Send + 'static)
where
    F: Future<Output = Result<(), ActorProcessingErr>> + Send + 'static,
{
    let order: Order = Box::new(move |myself, context| Box::pin(work(myself, context)));
    cell.send_message(Msg::Do(order)).expect("the probe should live");
}

/// A way to end a probe.
pub type Ending = fn(&ActorCell);

pub fn order_error(cell: &ActorCell) {
    order(cell, |_, _| async { Err("told to fail".into()) });
}

pub fn order_panic(cell: &ActorCell) {
    order(cell, |_, _| async { panic!("told to panic") });
}

/// The handler waits for ever (and can be killed). Returns when it does.
pub async fn hang(cell: &ActorCell) {
    let (tell, hangs) = tokio::sync::oneshot::channel();
    order(cell, move |_, _| async move {
        tell.send(()).unwrap();
        std::future::pending().await
    });
    soon(hangs).await.unwrap();
}

/// The handler blocks its thread, so that nothing can end it, until the returned sender is dropped or used.
/// Needs a runtime with more than one thread. Returns when it blocks.
pub async fn block(cell: &ActorCell) -> std::sync::mpsc::Sender<()> {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let (tell, blocks) = tokio::sync::oneshot::channel();
    order(cell, move |_, _| async move {
        tell.send(()).unwrap();
        // In place, so that what this worker would have run next is run by another.
        tokio::task::block_in_place(|| wait.recv_timeout(LONG)).ok();
        Ok(())
    });
    soon(blocks).await.unwrap();
    release
}

pub async fn ping(namespace: &Namespace, name: &str) -> Result<u64, CallError> {
    soon(call_name(namespace, name, Msg::Ping, LONG)).await
}

/// The living actor of a name, waited for.
pub async fn find(namespace: &Namespace, name: &str) -> ActorCell {
    soon(namespace.wait_for(name, LONG)).await.expect("the name should be held by a living actor")
}

/// The next incarnation after `old`.
pub async fn successor(namespace: &Namespace, name: &str, old: &ActorCell) -> ActorCell {
    soon(async {
        loop {
            let cell = namespace.wait_for(name, LONG).await.expect("it should come back");
            if cell.get_id() != old.get_id() {
                return cell;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// Intensity that no test uses up unless it means to.
pub fn plenty() -> Intensity {
    Intensity { max_restarts: 10_000, within: Duration::from_secs(600) }
}

/// A budget without back-off that no test uses up unless it means to.
pub fn generous() -> RestartBudget {
    RestartBudget {
        max_restarts: 10_000,
        within: Duration::from_secs(600),
        backoff: Backoff { base: Duration::ZERO, max: Duration::ZERO },
    }
}

/// A root with one dynamic supervisor, "pool".
pub async fn pool(namespace: &Namespace, options: DynamicOptions) -> (SupervisorRef, DynamicSupervisorRef) {
    let specs = vec![DynamicSupervisor::child_spec("pool", options)];
    let root = soon(Supervisor::start(namespace, "root", plenty(), specs, None)).await.unwrap();
    (root, DynamicSupervisorRef::new(namespace, "pool"))
}
