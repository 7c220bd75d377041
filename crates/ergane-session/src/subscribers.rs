//! Who is told what happens, and how a slow one slows nobody.
//!
//! Each subscriber has a bounded channel. A delta that does not fit is lost and counted; a fact that does not fit is
//! only left out, because the subscriber sees by the durable head that it misses one and reads it from the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ergane_core::{Envelope, Seq, TurnId};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;

use crate::message::{Item, Live};

#[derive(Debug)]
pub(crate) struct Subscribers {
    list: Vec<Subscriber>,
    head: watch::Sender<Seq>,
}

#[derive(Debug)]
struct Subscriber {
    sink: mpsc::Sender<Item>,
    /// Shared with the reader, who looks when it has read all: there may be no further item to tell it by.
    lost: Arc<AtomicU64>,
}

impl Default for Subscribers {
    fn default() -> Self {
        Self { list: Vec::new(), head: watch::Sender::new(Seq(0)) }
    }
}

impl Subscribers {
    pub(crate) fn add(&mut self, sink: mpsc::Sender<Item>) -> (watch::Receiver<Seq>, Arc<AtomicU64>) {
        self.list.retain(|subscriber| !subscriber.sink.is_closed());
        let lost = Arc::<AtomicU64>::default();
        self.list.push(Subscriber { sink, lost: lost.clone() });
        (self.head.subscribe(), lost)
    }

    /// Whether anybody listens.
    pub(crate) fn is_listened_to(&self) -> bool {
        self.list.iter().any(|subscriber| !subscriber.sink.is_closed())
    }

    /// These facts are durable now.
    pub(crate) fn facts(&mut self, facts: &[Arc<Envelope>]) {
        for fact in facts {
            self.list.retain_mut(|subscriber| subscriber.offer(Item::Fact(Arc::clone(fact)), 0));
        }
        if let Some(last) = facts.last() {
            self.head.send_replace(last.seq);
        }
    }

    /// This happens now, and is no fact.
    pub(crate) fn live(&mut self, turn: TurnId, live: &Live) {
        let after = *self.head.borrow();
        self.list.retain_mut(|subscriber| subscriber.offer(Item::Live(turn, live.clone(), after), 1));
    }

    /// The durable head, after a load.
    pub(crate) fn set_head(&mut self, head: Seq) {
        self.head.send_replace(head);
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
