//! One incarnation of an actor: its pid, and how it ended.
//!
//! A `Life` is made before the actor is, and is told once how it ended. Whoever waits for that end (a monitor, a caller
//! in mid-call) holds the `Life` itself and looks, instead of being entered in a list of subscribers: so a forgotten
//! waiter costs nothing, and nobody can be told twice or not at all.
//!
//! A process-wide board finds the `Life` of an `ActorId`, because a caller holds an `ActorRef` and not a name. An entry
//! is there from birth to the end; the board is not tied to a runtime.

use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use ractor::ActorId;
use tokio::sync::Notify;

use crate::exit::ExitReason;
use crate::lock::lock;
use crate::pids::PidMap;

#[derive(Debug, Default)]
pub(crate) struct Life {
    pid: OnceLock<ActorId>,
    /// What the actor itself knew of its end (its error, its panic), for when nobody receives ractor's event.
    hint: OnceLock<ExitReason>,
    reason: OnceLock<ExitReason>,
    over: Notify,
}

impl Life {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) fn pid(&self) -> Option<ActorId> {
        self.pid.get().copied()
    }

    /// The actor exists and has this id. Told twice (by the wrapper first, by the starter later) it is a no-op.
    pub(crate) fn born(self: &Arc<Self>, pid: ActorId) {
        if self.pid.set(pid).is_ok() {
            lock(shard(pid)).insert(pid, self.clone());
            if self.reason.get().is_some() {
                lock(shard(pid)).remove(&pid);
            }
        }
    }

    pub(crate) fn hint(&self, reason: ExitReason) {
        // The first failure is the cause; what follows from it is not.
        self.hint.get_or_init(|| reason);
    }

    /// Settles how it ended; the first word wins. `fallback` is used when the actor left no hint. True if this was it.
    pub(crate) fn end(&self, reason: ExitReason) -> bool {
        let first = self.reason.set(reason).is_ok();
        if first {
            if let Some(pid) = self.pid() {
                lock(shard(pid)).remove(&pid);
            }
            self.over.notify_waiters();
        }
        first
    }

    /// As [`Life::end`], but prefers what the actor itself said.
    pub(crate) fn end_or_hint(&self, fallback: ExitReason) -> bool {
        self.end(self.hint.get().cloned().unwrap_or(fallback))
    }

    pub(crate) fn reason(&self) -> Option<ExitReason> {
        self.reason.get().cloned()
    }

    pub(crate) async fn ended(&self) -> ExitReason {
        loop {
            let over = self.over.notified();
            if let Some(reason) = self.reason() {
                return reason;
            }
            over.await;
        }
    }
}

type Shard = Mutex<PidMap<Arc<Life>>>;

const SHARDS: usize = 32;

static BOARD: LazyLock<Vec<Shard>> = LazyLock::new(|| (0..SHARDS).map(|_| Mutex::default()).collect());

fn shard(pid: ActorId) -> &'static Shard {
    // Ids are counted up, so neighbours in time sit in different shards.
    static NEVER: LazyLock<Shard> = LazyLock::new(Mutex::default);
    BOARD.get(pid.pid() as usize % SHARDS).unwrap_or(&NEVER)
}

/// The life of a living actor that a supervisor of this crate started.
pub(crate) fn life_of(pid: ActorId) -> Option<Arc<Life>> {
    lock(shard(pid)).get(&pid).cloned()
}
