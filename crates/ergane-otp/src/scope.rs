//! All that one incarnation of an actor started: tasks, timers, child actors, and whatever else has to be cleaned up.
//!
//! Why it is not part of the actor's state: a kill drops the state at an await, but not the tasks a handler spawned
//! (ractor stops neither). So the scope belongs to the child's entry with its supervisor. When the actor is gone,
//! however it went, the scope is drained and *awaited*, and only then may a successor take the name.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use ractor::ActorCell;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};

use crate::lock::lock;
use crate::pids::NumberMap;

/// What an actor started. Cheap to clone; all clones are the same scope.
#[derive(Clone, Default)]
pub struct Scope {
    inner: Arc<Inner>,
    /// Whether what comes in by this clone may be abandoned.
    loose: bool,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    idle: Notify,
}

#[derive(Default)]
struct State {
    draining: bool,
    next: u64,
    held: NumberMap<Held>,
    /// How many of them may not be abandoned.
    firm: usize,
    cleanups: NumberMap<Cleanup>,
}

impl State {
    fn insert(&mut self, held: Held) -> u64 {
        let id = self.next;
        self.next += 1;
        self.firm += usize::from(!held.loose);
        self.held.insert(id, held);
        id
    }

    fn remove(&mut self, id: u64) -> Option<Held> {
        let held = self.held.remove(&id)?;
        self.firm -= usize::from(!held.loose);
        Some(held)
    }
}

struct Held {
    /// Of a task or a cleanup; an actor has its name.
    label: &'static str,
    stop: Stop,
    loose: bool,
}

impl Held {
    fn label(&self) -> String {
        match &self.stop {
            Stop::Kill(cell, _) => cell.get_name().unwrap_or_else(|| format!("actor {}", cell.get_id())),
            Stop::Nothing | Stop::Abort(_) => self.label.to_owned(),
        }
    }
}

#[derive(Clone)]
enum Stop {
    /// A task not spawned yet, or a cleanup under way, which is never interrupted.
    Nothing,
    Abort(AbortHandle),
    /// An actor, and when it came.
    Kill(ActorCell, SystemTime),
}

impl Stop {
    fn now(&self) {
        match self {
            Self::Nothing => {}
            Self::Abort(task) => task.abort(),
            Self::Kill(cell, _) => cell.kill(),
        }
    }
}

struct Cleanup {
    label: &'static str,
    runtime: Handle,
    run: Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>,
}

impl Scope {
    /// An empty scope.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same scope, for what may be abandoned: it is ended and waited for like all else, but past the grace of a drain it is
    /// counted and no longer waited for. For work that changes nothing, of which a successor takes no harm.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use std::time::Duration;
    /// use ergane_otp::Scope;
    ///
    /// let scope = Scope::new();
    /// let reading = scope.loose().keep("reading a slow disk");
    /// let left = scope.drain(Duration::ZERO).await;
    /// assert!(left.is_empty() && left.abandoned() == 1);
    /// # drop(reading);
    /// # }
    /// ```
    pub fn loose(&self) -> Self {
        Self { inner: self.inner.clone(), loose: true }
    }

    /// A place without a task, kept until the guard is dropped: for work on another thread, which nothing here can stop and
    /// which a drain waits for all the same. After the drain began, too.
    pub fn keep(&self, label: &'static str) -> Hold {
        Hold(self.enter_late(label, Stop::Nothing).0)
    }

    /// Runs `future` as a task of this scope. It ends by itself, by [`TaskHandle::abort`], or at the drain.
    ///
    /// After the drain began nothing is started: the future is dropped and the handle says finished.
    /// `label` names the task in [`Leftovers`] and logs. Must be called within a tokio runtime.
    pub fn spawn<F>(&self, label: &'static str, future: F) -> TaskHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(leave) = self.enter(label) else {
            return TaskHandle { task: None };
        };
        let id = leave.id;
        let task = tokio::spawn(async move {
            // Both orders of dropping end the future before the scope is told: locals drop in reverse, captures of a
            // task that never ran drop in the order they are first named here.
            let future = future;
            let leave = leave;
            future.await;
            drop(leave);
        })
        .abort_handle();
        self.set_stop(id, Stop::Abort(task.clone()));
        TaskHandle { task: Some(task) }
    }

    /// Takes a child actor into the scope: at the drain it is killed and its `join` awaited. It leaves the scope when it
    /// ends by itself. After the drain began it is killed at once (and still awaited).
    pub fn adopt(&self, cell: ActorCell, join: JoinHandle<()>) {
        let hold = self.hold(cell);
        tokio::spawn(async move {
            if let Err(error) = join.await {
                tracing::warn!(label = %hold.0.label(), %error, "an adopted actor's task was aborted");
            }
            drop(hold);
        });
    }

    /// Takes an actor into the scope until the guard is dropped: at the drain the actor is killed and the guard waited for.
    /// For an actor that takes itself in, and keeps the guard in the value that implements [`ractor::Actor`], which ractor drops
    /// last (its state may travel in an event): so no task is needed that waits for its end. After the drain began the actor is killed at once.
    pub fn hold(&self, cell: ActorCell) -> Hold {
        let (leave, draining) = self.enter_late("", Stop::Kill(cell.clone(), SystemTime::now()));
        if draining {
            cell.kill();
        }
        Hold(leave)
    }

    /// Runs `act` after `delay`, unless aborted or drained before. `act` must be quick: send a message.
    pub fn send_after<F>(&self, delay: Duration, act: F) -> TaskHandle
    where
        F: FnOnce() + Send + 'static,
    {
        self.spawn("timer", async move {
            tokio::time::sleep(delay).await;
            act();
        })
    }

    /// Registers a cleanup, as for a process group: it runs at the drain, *or as soon as the guard is dropped*, since a
    /// guard that is dropped tells that its owner was cancelled, killed or has panicked. [`DrainGuard::release`] says
    /// that all went well and nothing is left to clean up. Either way it runs at most once, and the drain waits for it.
    /// It must bear that what it cleans up is gone already. After the drain began it runs at once.
    ///
    /// Must be called within a tokio runtime.
    pub fn on_drain<C, F>(&self, label: &'static str, cleanup: C) -> DrainGuard
    where
        C: FnOnce() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let cleanup =
            Cleanup { label, runtime: Handle::current(), run: Box::new(move || Box::pin(cleanup())) };
        let mut state = lock(&self.inner.state);
        let id = state.next;
        state.next += 1;
        if state.draining {
            drop(state);
            self.run_cleanup(cleanup);
        } else {
            state.cleanups.insert(id, cleanup);
        }
        DrainGuard { scope: self.clone(), id }
    }

    /// Ends everything and waits for it, at most `grace`: tasks are aborted, adopted actors killed, cleanups run, all at
    /// once. Returns what is still there after `grace`; [`Scope::drained`] waits for that too. Nothing can be started in
    /// the scope from here on.
    pub async fn drain(&self, grace: Duration) -> Leftovers {
        let cleanups: Vec<Cleanup> = {
            let mut state = lock(&self.inner.state);
            state.draining = true;
            if state.held.is_empty() && state.cleanups.is_empty() {
                return Leftovers::default();
            }
            // Taken before any task is aborted: a guard in an aborted task must find its cleanup on the way already.
            state.cleanups.drain().map(|(_, cleanup)| cleanup).collect()
        };
        for cleanup in cleanups {
            self.run_cleanup(cleanup);
        }
        // Not under the lock: a task that a runtime in shutdown drops on the spot leaves the scope from within `abort`.
        let stops: Vec<Stop> = lock(&self.inner.state).held.values().map(|held| held.stop.clone()).collect();
        for stop in stops {
            stop.now();
        }
        if tokio::time::timeout(grace, self.until(|state| state.held.is_empty())).await.is_ok() {
            return Leftovers::default();
        }
        let state = lock(&self.inner.state);
        let (loose, firm): (Vec<_>, Vec<_>) = state.held.values().partition(|held| held.loose);
        Leftovers { labels: firm.into_iter().map(Held::label).collect(), abandoned: loose.len() }
    }

    /// Waits until nothing of the scope is alive but what may be abandoned. Without a drain that is whenever it happens to be idle.
    pub async fn drained(&self) {
        self.until(|state| state.firm == 0).await;
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let idle = self.inner.idle.notified();
            if is_so(&lock(&self.inner.state)) {
                return;
            }
            idle.await;
        }
    }

    /// The actors that are alive in it, and since when.
    pub(crate) fn actors(&self) -> Vec<(ActorCell, SystemTime)> {
        let actor = |held: &Held| match &held.stop {
            Stop::Kill(cell, since) => Some((cell.clone(), *since)),
            Stop::Nothing | Stop::Abort(_) => None,
        };
        lock(&self.inner.state).held.values().filter_map(actor).collect()
    }

    /// How many tasks, timers, adopted actors and running cleanups are alive now.
    pub fn alive(&self) -> usize {
        lock(&self.inner.state).held.len()
    }

    /// Whether the drain began.
    pub fn is_draining(&self) -> bool {
        lock(&self.inner.state).draining
    }

    /// A place for a task that is not spawned yet; none after the drain began.
    fn enter(&self, label: &'static str) -> Option<Leave> {
        let mut state = lock(&self.inner.state);
        if state.draining {
            return None;
        }
        let id = state.insert(Held { label, stop: Stop::Nothing, loose: self.loose });
        Some(Leave { scope: self.clone(), id })
    }

    /// A place, also after the drain began; says whether it has.
    fn enter_late(&self, label: &'static str, stop: Stop) -> (Leave, bool) {
        let mut state = lock(&self.inner.state);
        let id = state.insert(Held { label, stop, loose: self.loose });
        (Leave { scope: self.clone(), id }, state.draining)
    }

    fn set_stop(&self, id: u64, stop: Stop) {
        let draining = {
            let mut state = lock(&self.inner.state);
            if let Some(held) = state.held.get_mut(&id) {
                held.stop = stop.clone();
            }
            state.draining
        };
        if draining {
            stop.now();
        }
    }

    fn run_cleanup(&self, cleanup: Cleanup) {
        let Cleanup { label, runtime, run } = cleanup;
        let (leave, _) = self.enter_late(label, Stop::Nothing);
        runtime.spawn(async move {
            let leave = leave;
            run().await;
            drop(leave);
        });
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.inner.state);
        f.debug_struct("Scope")
            .field("alive", &state.held.len())
            .field("cleanups", &state.cleanups.len())
            .field("draining", &state.draining)
            .finish()
    }
}

/// Takes its holder off the scope when dropped, however that came about.
struct Leave {
    scope: Scope,
    id: u64,
}

impl Leave {
    fn label(&self) -> String {
        lock(&self.scope.inner.state).held.get(&self.id).map(Held::label).unwrap_or_default()
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let (left, idle) = {
            let mut state = lock(&self.scope.inner.state);
            (state.remove(self.id), state.firm == 0)
        };
        if std::thread::panicking()
            && let Some(held) = left
        {
            tracing::warn!(label = %held.label(), "a task of a scope panicked");
        }
        if idle {
            self.scope.inner.idle.notify_waiters();
        }
    }
}

/// A place in a [`Scope`], of an actor ([`Scope::hold`]) or of work on another thread ([`Scope::keep`]). Dropping it says that that
/// is gone.
#[must_use = "dropped, it says that what has this place is gone"]
pub struct Hold(Leave);

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}

/// A task of a [`Scope`]. Dropping the handle leaves the task running.
#[derive(Clone, Debug)]
pub struct TaskHandle {
    task: Option<AbortHandle>,
}

impl TaskHandle {
    /// Ends the task at its next await. Without effect on one that has ended.
    pub fn abort(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }

    /// Whether the task has ended (or was refused by a draining scope).
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_none_or(AbortHandle::is_finished)
    }
}

/// Holds a cleanup of [`Scope::on_drain`]. Dropping it runs the cleanup; [`DrainGuard::release`] removes it.
#[must_use = "a dropped guard runs its cleanup at once"]
pub struct DrainGuard {
    scope: Scope,
    id: u64,
}

impl DrainGuard {
    /// Nothing is left to clean up: removes the cleanup without running it.
    pub fn release(self) {
        // The drop that follows finds nothing to run. The closure is dropped outside the lock: it may hold anything.
        let cleanup = lock(&self.scope.inner.state).cleanups.remove(&self.id);
        drop(cleanup);
    }
}

impl Drop for DrainGuard {
    fn drop(&mut self) {
        let cleanup = lock(&self.scope.inner.state).cleanups.remove(&self.id);
        if let Some(cleanup) = cleanup {
            self.scope.run_cleanup(cleanup);
        }
    }
}

impl fmt::Debug for DrainGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainGuard").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What was still alive when a drain's grace ran out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    labels: Vec<String>,
    abandoned: usize,
}

impl Leftovers {
    /// Whether all was gone in time, but for what is abandoned.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// How much is left that may be ([`Scope::loose`]), and is no longer waited for.
    pub fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// The labels of what is left, in no order.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.labels.is_empty() { f.write_str("nothing") } else { f.write_str(&self.labels.join(", ")) }
    }
}
