//! One name's entry in a namespace, and the claim that owns it.
//!
//! The claim is the whole safety of restarts: whoever holds it owns the name, and it is dropped only after the actor's
//! join handle was awaited and its scope drained. It travels by value: from a supervisor into the task that starts and
//! reaps the child, back with that task's report, and again into the next start. Wherever something dies, the claim
//! dies with it and the name is free; there is no moment in which a name is held by nobody and its actor still lives.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex};

use ractor::{ActorCell, ActorId, ActorStatus};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::events;
use crate::exit::ExitReason;
use crate::life::Life;
use crate::lock::lock;
use crate::names::Namespace;
use crate::watch::Incarnation;

/// Where the actor of a name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryStatus {
    /// Its start has begun and not ended.
    Starting,
    /// It runs and can be called.
    Live,
    /// It ends, or has ended and is being cleaned up, or is about to be started again.
    Stopping,
    /// It has ended too often and waits before its next start.
    Backoff {
        /// When the next start is due, on tokio's clock.
        until: Instant,
    },
    /// It used up its restarts and is not started again by itself.
    Quarantined {
        /// What happened.
        reason: String,
    },
    /// It does not end, although asked and killed; its name is held until it does.
    Stuck {
        /// What is left of it.
        reason: String,
    },
    /// It has ended and is not to come back; only supervisors list this.
    Ended {
        /// How it ended.
        reason: ExitReason,
    },
}

impl fmt::Display for EntryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Live => f.write_str("live"),
            Self::Stopping => f.write_str("stopping"),
            Self::Backoff { until } => {
                write!(f, "backoff ({} ms left)", until.saturating_duration_since(Instant::now()).as_millis())
            }
            Self::Quarantined { reason } => write!(f, "quarantined: {reason}"),
            Self::Stuck { reason } => write!(f, "stuck: {reason}"),
            Self::Ended { reason } => write!(f, "ended: {reason}"),
        }
    }
}

pub(crate) struct Entry {
    pub(crate) name: Arc<str>,
    namespace: Namespace,
    /// Who starts and ends the actor. A dead owner's children are doomed, whatever they look like.
    owner: Option<ActorCell>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    phase: Phase,
    life: Option<Arc<Life>>,
    incarnation: u64,
    /// Whether this incarnation was told as `Up`. One that never came up is not told as having gone down.
    up: bool,
    /// What the living incarnation says of itself.
    value: Option<Value>,
}

pub(crate) type Value = Arc<dyn Any + Send + Sync>;

enum Phase {
    Starting,
    Live(ActorCell),
    Stopping,
    Backoff(Instant),
    Quarantined(String),
    Stuck(String),
    /// No longer in the namespace; whoever still holds the entry must look the name up again.
    Released,
}

/// What somebody who wants the actor finds.
pub(crate) enum Found {
    Live(ActorCell),
    /// Not now, but it may come (back).
    Wait,
    /// Not now, and not by itself.
    Never,
    Released,
}

/// What somebody who wants the *name* finds.
pub(crate) enum Held {
    ByLiving(ActorCell),
    ByQuarantine(String),
    ByStuck(String),
    /// Its owner is gone, or it is ending: the name will be free.
    ForAMoment,
    /// By an owner that will not give it up soon.
    Otherwise,
    Released,
}

pub(crate) fn is_alive(cell: &ActorCell) -> bool {
    matches!(cell.get_status(), ActorStatus::Starting | ActorStatus::Running | ActorStatus::Upgrading)
}

impl Entry {
    pub(crate) fn new(name: Arc<str>, namespace: Namespace, owner: Option<ActorCell>) -> Arc<Self> {
        let state = State { phase: Phase::Starting, life: None, incarnation: 0, up: false, value: None };
        Arc::new(Self { name, namespace, owner, state: Mutex::new(state), changed: Notify::new() })
    }

    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    pub(crate) fn find(&self) -> Found {
        match &lock(&self.state).phase {
            Phase::Live(cell) if is_alive(cell) => Found::Live(cell.clone()),
            Phase::Starting | Phase::Live(_) | Phase::Stopping | Phase::Backoff(_) => Found::Wait,
            Phase::Quarantined(_) | Phase::Stuck(_) => Found::Never,
            Phase::Released => Found::Released,
        }
    }

    pub(crate) fn held(&self) -> Held {
        let orphaned = self.owner.as_ref().is_some_and(|owner| !is_alive(owner));
        match &lock(&self.state).phase {
            Phase::Stuck(reason) => Held::ByStuck(reason.clone()),
            Phase::Released => Held::Released,
            _ if orphaned => Held::ForAMoment,
            Phase::Live(cell) if is_alive(cell) => Held::ByLiving(cell.clone()),
            Phase::Live(_) | Phase::Stopping | Phase::Starting => Held::ForAMoment,
            Phase::Quarantined(reason) => Held::ByQuarantine(reason.clone()),
            Phase::Backoff(_) => Held::Otherwise,
        }
    }

    /// `None` once released.
    pub(crate) fn status(&self) -> Option<EntryStatus> {
        Some(match &lock(&self.state).phase {
            Phase::Starting => EntryStatus::Starting,
            Phase::Live(cell) if is_alive(cell) => EntryStatus::Live,
            Phase::Live(_) | Phase::Stopping => EntryStatus::Stopping,
            Phase::Backoff(until) => EntryStatus::Backoff { until: *until },
            Phase::Quarantined(reason) => EntryStatus::Quarantined { reason: reason.clone() },
            Phase::Stuck(reason) => EntryStatus::Stuck { reason: reason.clone() },
            Phase::Released => return None,
        })
    }

    pub(crate) fn cell(&self) -> Option<ActorCell> {
        match &lock(&self.state).phase {
            Phase::Live(cell) => Some(cell.clone()),
            _ => None,
        }
    }

    /// The living actor and what it says of itself.
    pub(crate) fn living_value(&self) -> Option<(ActorCell, Value)> {
        let state = lock(&self.state);
        match &state.phase {
            Phase::Live(cell) if is_alive(cell) => Some((cell.clone(), state.value.clone()?)),
            _ => None,
        }
    }

    /// Only the incarnation of now may say something of itself; gives back the value of another.
    pub(crate) fn set_value(&self, life: &Arc<Life>, value: Value) -> Result<(), Value> {
        let mut state = lock(&self.state);
        if !state.life.as_ref().is_some_and(|now| Arc::ptr_eq(now, life) && now.reason().is_none()) {
            return Err(value);
        }
        let former = state.value.replace(value);
        drop(state);
        // Outside the lock: it may be anything.
        drop(former);
        Ok(())
    }

    /// The life that a monitor would watch: the one being born, alive or ending now.
    pub(crate) fn present_life(&self) -> Option<Arc<Life>> {
        lock(&self.state).life.clone().filter(|life| life.reason().is_none())
    }

    /// What a new watcher is told first. Runs `register` under the lock, so that no change falls in between.
    pub(crate) fn introduce(&self, register: impl FnOnce(Option<Incarnation>)) {
        let state = lock(&self.state);
        register(match &state.phase {
            Phase::Live(cell) if is_alive(cell) => Some(Incarnation::Up { pid: cell.get_id() }),
            Phase::Quarantined(reason) => Some(Incarnation::Quarantined { reason: reason.clone() }),
            Phase::Released => Some(Incarnation::Gone),
            _ => None,
        });
    }

    /// The actor ended so: tells its callers, monitors and watchers. A second word is ignored.
    pub(crate) fn down(&self, pid: Option<ActorId>, reason: ExitReason) {
        self.settle(|life| pid.is_none_or(|pid| life.pid() == Some(pid)) && life.end(reason));
    }

    /// As [`Entry::down`] for when nobody heard how it ended: what the actor left as a hint, else `fallback`.
    fn down_or(&self, fallback: ExitReason) {
        self.settle(|life| life.end_or_hint(fallback));
    }

    fn settle(&self, end: impl FnOnce(&Life) -> bool) {
        let mut state = lock(&self.state);
        let Some(life) = state.life.clone() else { return };
        if !end(&life) {
            return;
        }
        let asked = !matches!(state.phase, Phase::Live(_));
        if matches!(state.phase, Phase::Live(_) | Phase::Starting) {
            state.phase = Phase::Stopping;
        }
        let gone = life.pid().filter(|_| state.up).zip(life.reason());
        let value = state.value.take();
        if let Some((pid, reason)) = gone.clone() {
            self.namespace.publish(&self.name, Incarnation::Down { pid, reason });
        }
        drop(state);
        drop(value);
        self.changed.notify_waiters();
        if let Some((pid, reason)) = gone {
            events::exit(|| self.owner_name(), &self.name, pid, &reason, asked);
        }
    }

    /// Its supervisor's name in the namespace; empty for a root.
    fn owner_name(&self) -> String {
        let name = self.owner.as_ref().and_then(ActorCell::get_name).unwrap_or_default();
        let own = name.strip_prefix(self.namespace.prefix()).and_then(|rest| rest.strip_prefix('/'));
        own.map_or_else(|| name.clone(), str::to_owned)
    }

    fn enter(&self, phase: Phase, event: Option<Incarnation>) {
        let mut state = lock(&self.state);
        state.phase = phase;
        if let Some(event) = event {
            self.namespace.publish(&self.name, event);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// To be called when the entry was taken out of its namespace.
    pub(crate) fn released(&self) {
        self.enter(Phase::Released, Some(Incarnation::Gone));
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).field("status", &self.status()).finish()
    }
}

/// Owns a name. Dropping it tells the end of the actor, if that was not told, and frees the name.
#[derive(Debug)]
pub(crate) struct Claim {
    entry: Arc<Entry>,
}

impl Claim {
    pub(crate) fn new(entry: Arc<Entry>) -> Self {
        Self { entry }
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// A new incarnation begins to start.
    pub(crate) fn begin(&self) -> (u64, Arc<Life>) {
        let life = Life::new();
        let mut state = lock(&self.entry.state);
        state.phase = Phase::Starting;
        state.incarnation += 1;
        state.life = Some(life.clone());
        state.up = false;
        let incarnation = state.incarnation;
        drop(state);
        self.entry.changed.notify_waiters();
        (incarnation, life)
    }

    /// The start succeeded.
    pub(crate) fn live(&self, cell: ActorCell) {
        let mut state = lock(&self.entry.state);
        let Some(life) = state.life.clone() else { return };
        life.born(cell.get_id());
        if life.reason().is_none() {
            self.entry.namespace.publish(&self.entry.name, Incarnation::Up { pid: cell.get_id() });
            state.phase = Phase::Live(cell);
            state.up = true;
        }
        let up = life.pid().filter(|_| state.up).map(|pid| (pid, state.incarnation));
        drop(state);
        self.entry.changed.notify_waiters();
        if let Some((pid, incarnation)) = up {
            events::start(|| self.entry.owner_name(), &self.entry.name, pid, incarnation);
        }
    }

    /// It was asked to end: no longer to be found, and its reference dropped.
    pub(crate) fn stopping(&self) {
        self.entry.enter(Phase::Stopping, None);
    }

    pub(crate) fn backoff(&self, until: Instant) {
        self.entry.enter(Phase::Backoff(until), None);
    }

    pub(crate) fn quarantine(&self, reason: String) {
        self.entry.enter(Phase::Quarantined(reason.clone()), Some(Incarnation::Quarantined { reason }));
    }

    pub(crate) fn stuck(&self, reason: String) {
        self.entry.enter(Phase::Stuck(reason), None);
    }

    /// The actor is gone: settles how it ended (if nobody did) and returns it.
    pub(crate) fn conclude(&self, fallback: ExitReason) -> ExitReason {
        self.entry.down_or(fallback.clone());
        lock(&self.entry.state).life.as_ref().and_then(|life| life.reason()).unwrap_or(fallback)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.entry.down_or(ExitReason::Killed);
        self.entry.namespace.release(&self.entry);
    }
}
