//! Why nothing goes on: reckoned in one place, and told to whoever listens once for each reason, first of all to who begins to
//! listen meanwhile.

use ergane_core::Text;
use tokio::sync::mpsc;

use crate::actor::State;
use crate::message::{Item, Live};

impl State {
    /// Why nothing goes on: a store that takes nothing, also while that is tried once more; else what is still at work.
    pub(crate) fn parked(&self) -> Option<&str> {
        self.facts.failing().or_else(|| self.drive.parked())
    }

    /// That has changed, perhaps: tells whoever listens of another reason than the one told last.
    pub(crate) fn retell_parked(&mut self) {
        if self.parked() == self.told_parked.as_deref() {
            return;
        }
        self.told_parked = self.parked().map(Text::from);
        if let Some(reason) = self.told_parked.clone() {
            let turn = self.facts.conversation().turn().map(|turn| turn.id);
            self.subscribers.live(turn, &Live::Parked { reason });
        }
    }

    /// Tells somebody who begins to listen what the others know.
    pub(crate) fn tell_if_parked(&self, sink: &mpsc::Sender<Item>) {
        if let Some(reason) = &self.told_parked {
            let turn = self.facts.conversation().turn().map(|turn| turn.id);
            let parked = Live::Parked { reason: reason.clone() };
            if sink.try_send(Item::Live(turn, parked, self.facts.durable())).is_err() {
                tracing::trace!(session = %self.name, "who began to listen is gone");
            }
        }
    }
}
