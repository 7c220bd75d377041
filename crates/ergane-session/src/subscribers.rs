//! Who is told what happens, and how a slow one slows nobody.
//!
//! Each subscriber has a bounded channel. A delta that does not fit is lost and counted; a fact that does not fit is
//! only left out, because the subscriber sees by the durable head that it misses one and reads it from the journal.
//!
//! What can be seen of an answer under way does not pass the session's mailbox: the task that reads the answer tells it here
//! itself. A lock keeps the order. It is held for as long as it takes to offer one thing to each subscriber, and what comes of
//! a step that is not the one under way any more is dropped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ergane_core::{Envelope, Seq, TurnId};
use ergane_loop::StepId;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;

use crate::message::{Item, Live};

/// How much of an answer under way is kept for a turn that is interrupted.
const PARTIAL_LIMIT: usize = 1024 * 1024;

/// Everybody who listens to a session. Dropped with its state, which they hear.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Arc<Shared>);

/// What a step tells those who listen, for as long as its session lives.
#[derive(Debug, Clone)]
pub(crate) struct Stage(Weak<Shared>);

#[derive(Debug, Default)]
struct Shared {
    room: Mutex<Room>,
    /// Whether pieces of the answer under way were shown, reasoning too. To be asked without a wait, as the next.
    shown: AtomicBool,
    /// Whether the model is being asked now, and the call does not wait to be made, or made once more.
    asked: AtomicBool,
}

#[derive(Debug)]
struct Room {
    list: Vec<Subscriber>,
    head: watch::Sender<Seq>,
    /// The model call under way.
    step: Option<StepId>,
    /// What was shown so far of its answer.
    partial: String,
}

#[derive(Debug)]
struct Subscriber {
    sink: mpsc::Sender<Item>,
    /// Shared with the reader, who looks when it has read all: there may be no further item to tell it by.
    lost: Arc<AtomicU64>,
}

/// What a new subscriber gets: the durable head, the count of what it loses, and what was shown of the answer under way.
pub(crate) type Seat = (watch::Receiver<Seq>, Arc<AtomicU64>, String);

impl Default for Room {
    fn default() -> Self {
        Self { list: Vec::new(), head: watch::Sender::new(Seq(0)), step: None, partial: String::new() }
    }
}

impl Subscribers {
    /// A panic under the lock is none of a store's: what stands there is changed in steps that cannot panic half-way.
    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, sink: mpsc::Sender<Item>) -> Seat {
        let mut room = self.room();
        room.list.retain(|subscriber| !subscriber.sink.is_closed());
        let lost = Arc::<AtomicU64>::default();
        room.list.push(Subscriber { sink, lost: lost.clone() });
        (room.head.subscribe(), lost, room.partial.clone())
    }

    /// Whether anybody listens.
    pub(crate) fn is_listened_to(&self) -> bool {
        self.room().list.iter().any(|subscriber| !subscriber.sink.is_closed())
    }

    /// These facts are durable now.
    pub(crate) fn facts(&self, facts: &[Arc<Envelope>]) {
        let mut room = self.room();
        for fact in facts {
            room.offer(0, || Item::Fact(Arc::clone(fact)));
        }
        if let Some(last) = facts.last() {
            room.head.send_replace(last.seq);
        }
    }

    /// This happens now, and is no fact.
    pub(crate) fn live(&self, turn: impl Into<Option<TurnId>>, live: &Live) {
        self.room().live(turn, live);
    }

    /// The durable head, after a load.
    pub(crate) fn set_head(&self, head: Seq) {
        self.room().head.send_replace(head);
    }

    /// This model call is made now: of its answer everything is shown from here on.
    pub(crate) fn expect(&self, step: StepId) {
        self.forget(&mut self.room(), Some(step));
    }

    /// Nothing more is shown of the answer under way; what was shown stays, for the turn's end.
    pub(crate) fn hush(&self) {
        self.room().step = None;
    }

    /// The answer is complete, or nothing of it is wanted any more.
    pub(crate) fn answered(&self) {
        self.forget(&mut self.room(), None);
    }

    /// The answer is given up in the middle. What was shown of it is void.
    pub(crate) fn give_up(&self, turn: TurnId) {
        let mut room = self.room();
        let shown = self.is_shown();
        self.forget(&mut room, None);
        if shown {
            room.live(turn, &Live::StreamReset);
        }
    }

    /// For those who tell what happens in a step.
    pub(crate) fn stage(&self) -> Stage {
        Stage(Arc::downgrade(&self.0))
    }

    fn of_step(&self, step: StepId, live: &Live) {
        let mut room = self.room();
        if room.step != Some(step) {
            return;
        }
        match live {
            Live::Content(text) => {
                self.0.shown.store(true, Ordering::Relaxed);
                if room.partial.len() + text.len() <= PARTIAL_LIMIT {
                    room.partial.push_str(text);
                }
            }
            Live::Thinking(_) => self.0.shown.store(true, Ordering::Relaxed),
            Live::StreamReset => self.forget(&mut room, Some(step)),
            // Pieces of the answer come by a shorter way than what is said of the wait before them.
            Live::Waiting { .. } if self.is_shown() => return,
            // That call is over.
            Live::Retrying { .. } | Live::Fallback { .. } => self.0.asked.store(false, Ordering::Relaxed),
            _ => {}
        }
        room.live(step.turn, live);
    }

    /// Whether the model is being asked, as far as is known to the task that asks it. Other than what comes by the mailbox, it is
    /// known before anything comes of the call.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    /// Whether pieces of the answer under way were shown, reasoning too.
    pub(crate) fn is_shown(&self) -> bool {
        self.0.shown.load(Ordering::Relaxed)
    }

    /// What was shown so far of the answer under way.
    pub(crate) fn partial(&self) -> String {
        self.room().partial.clone()
    }

    /// Begins anew, with the lock held.
    fn forget(&self, room: &mut Room, step: Option<StepId>) {
        self.0.shown.store(false, Ordering::Relaxed);
        self.0.asked.store(false, Ordering::Relaxed);
        room.step = step;
        room.partial.clear();
    }
}

impl Stage {
    /// Tells what happens in a step, if it is the one under way.
    pub(crate) fn tell(&self, step: StepId, live: &Live) {
        if let Some(shared) = self.0.upgrade() {
            Subscribers(shared).of_step(step, live);
        }
    }

    /// The model is asked in a step, if it is the one under way.
    pub(crate) fn asked(&self, step: StepId) {
        if let Some(shared) = self.0.upgrade() {
            let subscribers = Subscribers(shared);
            let room = subscribers.room();
            if room.step == Some(step) {
                subscribers.0.asked.store(true, Ordering::Relaxed);
            }
        }
    }
}

impl Room {
    fn live(&mut self, turn: impl Into<Option<TurnId>>, live: &Live) {
        if self.list.is_empty() {
            return;
        }
        let (turn, after) = (turn.into(), *self.head.borrow());
        self.offer(1, || Item::Live(turn, live.clone(), after));
    }

    fn offer(&mut self, cost: u64, item: impl Fn() -> Item) {
        self.list.retain_mut(|subscriber| subscriber.offer(item(), cost));
    }
}

impl Subscriber {
    /// Offers `item`; when there is no room, `cost` counts as lost. False when nobody listens any more.
    fn offer(&mut self, item: Item, cost: u64) -> bool {
        let lost = self.lost.swap(0, Ordering::AcqRel);
        if lost > 0 {
            match self.sink.try_send(Item::Lagged(lost)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    self.lost.fetch_add(lost.saturating_add(cost), Ordering::AcqRel);
                    return true;
                }
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        match self.sink.try_send(item) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.lost.fetch_add(cost, Ordering::AcqRel);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}
