//! Who is told what happens, and how a slow one slows nobody.
//!
//! Each subscriber has a bounded channel. A delta that does not fit is lost and counted; a fact that does not fit is
//! only left out, because the subscriber sees by the durable head that it misses one and reads it from the journal.

use std::sync::Arc;

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
    lost: u64,
}

impl Default for Subscribers {
    fn default() -> Self {
        Self { list: Vec::new(), head: watch::Sender::new(Seq(0)) }
    }
}

impl Subscribers {
    pub(crate) fn add(&mut self, sink: mpsc::Sender<Item>) -> watch::Receiver<Seq> {
        self.list.retain(|subscriber| !subscriber.sink.is_closed());
        self.list.push(Subscriber { sink, lost: 0 });
        self.head.subscribe()
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
        self.list.retain_mut(|subscriber| subscriber.offer(Item::Live(turn, live.clone()), 1));
    }

    /// The durable head, after a load.
    pub(crate) fn set_head(&mut self, head: Seq) {
        self.head.send_replace(head);
    }
}

impl Subscriber {
    /// Offers `item`; when there is no room, `cost` counts as lost. False when nobody listens any more.
    fn offer(&mut self, item: Item, cost: u64) -> bool {
        if self.lost > 0 {
            match self.sink.try_send(Item::Lagged(self.lost)) {
                Ok(()) => self.lost = 0,
                Err(TrySendError::Full(_)) => {
                    self.lost = self.lost.saturating_add(cost);
                    return true;
                }
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        match self.sink.try_send(item) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.lost = self.lost.saturating_add(cost);
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}
