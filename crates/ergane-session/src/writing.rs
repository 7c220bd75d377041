//! How what was accepted becomes durable, and what follows when it does or does not.
//!
//! There is one append under way at a time. It was written, and then whoever waited for its facts is told; or it was not, and the
//! session parks and sends the same again; or nobody knows, and then where the log stands tells which of the two it was. A log that
//! another incarnation has meanwhile ends this one.

use std::time::Duration;

use ergane_core::{Epoch, Event};
use ergane_journal::{AppendError, JournalError};
use ergane_otp::Promise;
use ractor::ActorProcessingErr;

use crate::actor::{State, tell};
use crate::message::Internal;

impl State {
    /// Hands over what was accepted, if nothing else is under way. True as for [`submit`](Self::submit).
    pub(crate) fn submit_accepted(&mut self) -> Result<bool, ActorProcessingErr> {
        self.facts.take_append(&self.name).map_or(Ok(false), |append| self.submit(append))
    }

    /// Hands an append over. True if its outcome is here already, as it is of an instant store; else it comes as a message.
    pub(crate) fn submit(&mut self, append: ergane_journal::Append) -> Result<bool, ActorProcessingErr> {
        match self.port().append_now(append) {
            Ok(outcome) => self.on_appended(Some(outcome)).map(|()| true),
            Err(append) => {
                let me = self.me.clone();
                let done = Promise::new(move |outcome| tell(&me, Internal::Appended(outcome)));
                self.port().submit(append, done);
                Ok(false)
            }
        }
    }

    pub(crate) fn on_appended(
        &mut self,
        outcome: Option<Result<(), AppendError>>,
    ) -> Result<(), ActorProcessingErr> {
        match outcome {
            Some(Ok(())) => self.on_written(),
            Some(Err(AppendError::NotWritten { reason })) => self.park(reason),
            Some(Err(AppendError::Fenced { epoch })) => self.fenced(epoch),
            Some(Err(AppendError::Unknown { reason })) => self.read_back(reason),
            None => self.read_back("the journal died with the append".into()),
        }
        Ok(())
    }

    fn on_written(&mut self) {
        let (written, due) = self.facts.written();
        self.subscribers.facts(&written);
        // What was left behind may still hold everything up.
        self.retell_parked();
        for action in due {
            action();
        }
        for envelope in &written {
            match &envelope.event {
                Event::TurnStarted { send } => {
                    self.waiters.started(send, ergane_core::TurnId(envelope.seq.0))
                }
                Event::TurnEnded { turn, .. } => self.answer_turn(*turn),
                Event::ToolProcess { call, .. } => {
                    if let Some(recorded) = self.drive.to_begin.remove(call) {
                        recorded.keep(());
                    }
                }
                _ => {}
            }
        }
        self.snapshot_when_due();
    }

    fn park(&mut self, reason: String) {
        tracing::warn!(session = %self.name, %reason, "session parked: the journal cannot take its facts");
        let delay = self.park_facts(reason);
        let me = self.me.clone();
        self.scope.send_after(delay, move || tell(&me, Internal::Resubmit));
    }

    /// The store cannot take facts: how long until the next try.
    fn park_facts(&mut self, reason: String) -> Duration {
        let delay = self.facts.park(reason);
        self.retell_parked();
        delay
    }

    /// Asks where the log stands: that tells whether the append under way was written.
    fn read_back(&mut self, reason: String) {
        tracing::warn!(session = %self.name, %reason, "append of unknown outcome, reading back");
        let (me, port, name) = (self.me.clone(), self.port().clone(), self.name.clone());
        self.scope.spawn("read back", async move {
            tell(&me, Internal::ReadBack(port.position(&name).await));
        });
    }

    pub(crate) fn on_read_back(
        &mut self,
        position: Result<Option<ergane_journal::Position>, JournalError>,
    ) -> Result<(), ActorProcessingErr> {
        let Some((epoch, first, end)) = self.facts.in_flight() else { return Ok(()) };
        match position {
            Ok(Some(found)) if found.epoch > epoch => self.fenced(found.epoch),
            Ok(Some(found)) if found.next_seq == end => self.on_written(),
            Ok(Some(found)) if found.next_seq == first => self.park("the append was not written".into()),
            Ok(found) => {
                return Err(format!(
                    "the log does not continue where it should: {found:?}, expected {first} or {end}"
                )
                .into());
            }
            Err(error) => {
                // Still unknown; nothing is acted on meanwhile.
                let (delay, me) = (self.park_facts(error.to_string()), self.me.clone());
                self.scope.send_after(delay, move || tell(&me, Internal::Appended(None)));
            }
        }
        Ok(())
    }

    /// Another incarnation, here or in another process, owns the session now: this one ends, and is not restarted.
    fn fenced(&mut self, epoch: Epoch) {
        tracing::warn!(session = %self.name, epoch = epoch.0, "session fenced off by a later incarnation");
        self.me.stop(None);
    }
}
