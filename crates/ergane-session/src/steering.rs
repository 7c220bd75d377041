//! Taking a word into the open turn.

use ergane_core::{Digest, Event, Next, TurnId};
use ractor::ActorProcessingErr;

use crate::actor::{Phase, State};
use crate::error::SessionError;
use crate::message::{Reply, Send, Steered, WhenBusy};
use crate::requests::QUEUE_LIMIT;
use crate::waiters::answer;

impl State {
    pub(crate) fn on_steer(
        &mut self,
        send: &Send,
        cut: bool,
        reply: Reply<Steered>,
    ) -> Result<(), ActorProcessingErr> {
        let hash = send.measured().hash;
        // Asked again, after a death in between, it is answered from what is known of it.
        if let Some(known) = self.facts.conversation().send(&send.id) {
            if known.hash == hash && known.turn.is_some() {
                self.acknowledge_at(known.seq, reply, Steered::Entered);
            } else {
                answer(reply, Err(SessionError::KeyReused(send.id.clone())));
            }
            return Ok(());
        }
        if let Some(refusal) = self.refusal_of_input(send) {
            answer(reply, Err(refusal));
        } else if self.steerable().is_none() {
            self.acknowledge(reply, Steered::TurnOver);
        } else if let Some(refusal) = self.refusal_of_steer() {
            answer(reply, Err(refusal));
        } else {
            self.steer(send, hash)?;
            if cut {
                self.cut_model_call();
            }
            self.acknowledge(reply, Steered::Entered);
        }
        Ok(())
    }

    /// Whether that send goes into the open turn. One with a `meta` of its own does not: its tools would run with another;
    /// nor does one with settings of its own.
    pub(crate) fn steers(&self, send: &Send) -> bool {
        let open = self.facts.conversation().turn().and_then(|turn| turn.meta.as_ref());
        let fits = (send.meta.is_none() || send.meta.as_ref() == open) && send.settings.is_none();
        send.when_busy == WhenBusy::Steer && fits && self.steerable().is_some()
    }

    /// The open turn, when it takes something in.
    pub(crate) fn steerable(&self) -> Option<TurnId> {
        let conversation = self.facts.conversation();
        let turn = conversation.turn().filter(|turn| turn.interrupted.is_none())?;
        let goes_on =
            matches!(self.phase, Phase::Live) && !matches!(conversation.next(), Next::Finish { .. });
        goes_on.then_some(turn.id)
    }

    /// Why the open turn takes nothing more in now.
    pub(crate) fn refusal_of_steer(&self) -> Option<SessionError> {
        let waiting = self.facts.conversation().turn().map_or(0, |turn| turn.unseen_steers());
        if waiting >= QUEUE_LIMIT {
            return Some(SessionError::Busy { session: self.name.clone(), queued: waiting });
        }
        self.is_unresolved()
            .then(|| SessionError::Unresolved { session: self.name.clone(), missing: self.missing() })
    }

    pub(crate) fn steer(&mut self, send: &Send, hash: Digest) -> Result<(), ActorProcessingErr> {
        self.recover_at_last()?;
        let (id, input) = (send.id.clone(), send.input.clone());
        self.facts.record(Event::Steered { send: id, input, hash })?;
        Ok(())
    }
}
