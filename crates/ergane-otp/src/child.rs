//! What a supervisor and a child's task (`child_task.rs`) say to each other: orders one way, reports the other.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use ractor::{ActorCell, ActorId, RpcReplyPort, SupervisionEvent};
use tokio::sync::Notify;

use crate::entry::{Claim, Entry};
use crate::error::{ChildError, StartError};
use crate::exit::ExitReason;
use crate::lock::lock;
use crate::pids::PidMap;
use crate::promise::Promise;
use crate::spec::Shutdown;

/// Which incarnation of which child a report speaks of. A report of another epoch than the record's is stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildKey {
    pub(crate) id: Arc<str>,
    pub(crate) epoch: u64,
}

/// What a child's task tells its supervisor. A report that is not received frees the name by itself: it holds the claim.
#[derive(Debug)]
pub(crate) enum ChildReport {
    Started {
        key: ChildKey,
        cell: ActorCell,
    },
    /// Without a claim it was a first start, and the name is free already.
    Failed {
        key: ChildKey,
        claim: Option<Claim>,
        error: StartError,
    },
    /// Awaited, drained: gone.
    Ended(Obituary),
    /// It does not end. `Ended` follows if it does after all.
    Stuck {
        key: ChildKey,
        reason: String,
    },
}

/// Gets the outcome of a first start; dropped unkept, it says that there is no supervisor.
pub(crate) type StartReply = Promise<Result<ActorCell, StartError>>;

pub(crate) fn start_reply(told: impl FnOnce(Result<ActorCell, StartError>) + Send + 'static) -> StartReply {
    Promise::new(move |outcome| {
        let outcome = outcome.unwrap_or(Err(StartError::NoSupervisor));
        if catch_unwind(AssertUnwindSafe(|| told(outcome))).is_err() {
            // A stranger's panic must not take a supervisor or a child's task with it.
            tracing::warn!("the receiver of a start's outcome panicked");
        }
    })
}

/// Gets the outcome of an order to end.
pub(crate) type EndReply = RpcReplyPort<Result<(), ChildError>>;

pub(crate) fn answer(reply: EndReply, outcome: Result<(), ChildError>) {
    if reply.send(outcome).is_err() {
        tracing::trace!("nobody waits for the end of a child any more");
    }
}

/// The supervisor's end of a child's task.
#[derive(Default)]
pub(crate) struct ChildHandle {
    control: Mutex<Control>,
    wake: Notify,
    entry: OnceLock<Arc<Entry>>,
    settled: Flag,
}

#[derive(Default)]
struct Control {
    news: News,
    /// The child may be started again as soon as it is gone, without asking its supervisor once more.
    again: bool,
    /// Its task has reported that it is gone, and starts nothing any more.
    over: bool,
    started_at: Option<SystemTime>,
}

/// What a child's task has not taken notice of yet.
#[derive(Default)]
pub(crate) struct News {
    pub(crate) order: Option<Shutdown>,
    pub(crate) died: bool,
    pub(crate) torn: Torn,
}

/// The state that ractor hands over with the event of an actor's end. Never reused, and never dropped by the supervisor
/// itself: a slow drop must not stall it.
pub(crate) type Torn = Option<Box<dyn Any + Send>>;

pub(crate) fn drop_torn(id: &str, torn: Torn) {
    if catch_unwind(AssertUnwindSafe(|| drop(torn))).is_err() {
        tracing::warn!(child = %id, "the drop of its state panicked");
    }
}

/// Ends of actors that a supervisor does not know yet: a child may end before its task has told of its start.
pub(crate) type Early = PidMap<(ExitReason, Torn)>;

/// That a child is gone: awaited, its state dropped, its scope drained.
#[derive(Debug)]
pub(crate) struct Obituary {
    pub(crate) key: ChildKey,
    pub(crate) claim: Claim,
    pub(crate) pid: ActorId,
    /// How it ended, if no event tells.
    pub(crate) fallback: ExitReason,
}

impl Obituary {
    /// Settles how the child ended, and returns its claim and that.
    pub(crate) fn conclude(self, handle: Option<&ChildHandle>, early: &mut Early) -> (Claim, ExitReason) {
        let (told, torn) = early.remove(&self.pid).unzip();
        // The child's task waits for the event, and drops the state that came with it, before it reports. Only of an event
        // that came very late is something left here; it must go before the name is used again.
        drop_torn(&self.key.id, torn.flatten());
        drop_torn(&self.key.id, handle.and_then(|handle| handle.news().torn));
        let reason = self.claim.conclude(told.unwrap_or(self.fallback));
        // If it was stuck, it is not any more, and whoever asks for the name may wait for what comes.
        self.claim.stopping();
        (self.claim, reason)
    }
}

/// Holds a child for its supervisor. When the supervisor is gone, however that came about, so is this, and the child's task
/// ends what is left: a start that hangs, a child that is not linked.
pub(crate) struct ChildOwner(Arc<ChildHandle>);

impl ChildOwner {
    pub(crate) fn new() -> (Self, Arc<ChildHandle>) {
        let handle = Arc::<ChildHandle>::default();
        (Self(handle.clone()), handle)
    }
}

impl std::ops::Deref for ChildOwner {
    type Target = ChildHandle;

    fn deref(&self) -> &ChildHandle {
        &self.0
    }
}

impl Drop for ChildOwner {
    fn drop(&mut self) {
        // Without effect on a child that is gone.
        self.0.order(Shutdown::BrutalKill);
    }
}

impl ChildHandle {
    /// Orders the child to end, and so not to start again. A second, stronger order overrides the first.
    pub(crate) fn order(&self, shutdown: Shutdown) {
        let mut control = lock(&self.control);
        control.news.order = Some(shutdown);
        control.again = false;
        drop(control);
        self.wake.notify_one();
    }

    /// ractor's event says that the actor ended: tells the world.
    pub(crate) fn down(&self, pid: ActorId, reason: ExitReason) {
        if let Some(entry) = self.entry.get() {
            entry.down(Some(pid), reason);
        }
    }

    /// After [`ChildHandle::down`]: hands its state over, and sets the clock for what is left of it. `grants` is asked whether
    /// it may be started again beforehand, which saves the way to the supervisor and back; it is not asked, so nothing is
    /// counted, of a child that was ordered to end, or whose report of its end is on its way. Says whether it was granted.
    pub(crate) fn died(&self, state: Torn, grants: impl FnOnce() -> bool) -> bool {
        let mut control = lock(&self.control);
        control.news.died = true;
        control.news.torn = state;
        // Under the lock: once its task sees that it died, it must see this too.
        let granted = !control.over && control.news.order.is_none() && grants();
        control.again = granted;
        drop(control);
        self.wake.notify_one();
        granted
    }

    /// A child that is stuck is not to be started again when it is gone. False if it is gone and being started already.
    pub(crate) fn revoke(&self) -> bool {
        let mut control = lock(&self.control);
        control.again = false;
        self.settled.is_set()
    }

    /// If a child that is gone is to be started again at once: what is left of it, to be dropped before that. From here on it
    /// is one to wait for again, also if it had been given up as stuck. An order comes either before, and calls the start
    /// off, or after, and ends the new incarnation. Not under a supervisor that is `ending`, which may not have come to
    /// this child yet. If `None`, its task is over, and its end is to be reported.
    pub(crate) fn goes_again(&self, ending: bool) -> Option<Torn> {
        let mut control = lock(&self.control);
        if !std::mem::take(&mut control.again) || ending {
            control.over = true;
            return None;
        }
        self.settled.unset();
        // No order is among it, since that would have called the start off.
        Some(std::mem::take(&mut control.news).torn)
    }

    pub(crate) fn set_entry(&self, entry: &Arc<Entry>) {
        self.entry.get_or_init(|| entry.clone());
    }

    pub(crate) fn entry(&self) -> Option<&Arc<Entry>> {
        self.entry.get()
    }

    pub(crate) fn set_started_at(&self, now: SystemTime) {
        lock(&self.control).started_at = Some(now);
    }

    pub(crate) fn started_at(&self) -> Option<SystemTime> {
        lock(&self.control).started_at
    }

    /// Waits until the child is gone, or given up as stuck.
    pub(crate) async fn settled(&self) {
        self.settled.wait().await;
    }

    pub(crate) fn settle(&self) {
        self.settled.set();
    }

    pub(crate) fn news(&self) -> News {
        std::mem::take(&mut lock(&self.control).news)
    }

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) async fn ordered(&self) {
        while lock(&self.control).news.order.is_none() {
            self.wake.notified().await;
        }
    }
}

/// Something that can be waited for.
#[derive(Debug, Default)]
pub(crate) struct Flag {
    set: AtomicBool,
    sets: Notify,
}

impl Flag {
    pub(crate) fn set(&self) {
        self.set.store(true, Ordering::SeqCst);
        self.sets.notify_waiters();
    }

    fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    fn unset(&self) {
        self.set.store(false, Ordering::SeqCst);
    }

    pub(crate) async fn wait(&self) {
        loop {
            let sets = self.sets.notified();
            if self.is_set() {
                return;
            }
            sets.await;
        }
    }
}

/// Says that the child is settled when its task ends, also when it panics or is dropped.
pub(crate) struct Settle(pub(crate) Arc<ChildHandle>);

impl Drop for Settle {
    fn drop(&mut self) {
        self.0.settle();
    }
}

/// Takes an event apart: who ended, how, and the state that came with it.
pub(crate) fn read_event(event: SupervisionEvent) -> Option<(ActorId, ExitReason, Torn)> {
    let (cell, reason) = ExitReason::from_event(&event)?;
    let state = match event {
        SupervisionEvent::ActorTerminated(_, state, _) => state.and_then(|boxed| boxed.msg),
        _ => None,
    };
    Some((cell.get_id(), reason, state))
}
