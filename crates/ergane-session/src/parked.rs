//! Telling whoever listens why nothing goes on: once for each reason, and to who begins to listen meanwhile first of all.

use tokio::sync::mpsc;

use crate::actor::State;
use crate::message::{Item, Live};

impl State {
    /// Tells whoever listens why nothing goes on, when that is another reason than the one told last.
    pub(crate) fn tell_parked(&mut self, reason: &str) {
        if self.told_parked.as_deref() != Some(reason) {
            let turn = self.facts.conversation().turn().map(|turn| turn.id);
            self.subscribers.live(turn, &Live::Parked { reason: reason.into() });
            self.told_parked = Some(reason.into());
        }
    }

    /// What was left behind is gone. A store that takes nothing has been told of, and that holds.
    pub(crate) fn told_parked_is_over(&mut self) {
        if self.drive.parked().is_none() && !self.facts.is_failing() {
            self.told_parked = None;
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
