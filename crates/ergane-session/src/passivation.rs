//! Stopping when there has been nothing to do for a time.
//!
//! # Why nothing can be lost by it
//!
//! A session that passivates has no fact on its way and nobody who waits for it. Its name stays findable, because the
//! journal has it, and who asks next starts the next incarnation. A request that reaches it on its way out is dropped
//! unread; its caller learns of the end and asks again, and as a send carries an id, asking twice is asking once.

use ergane_core::Next;
use ergane_otp::IdleToken;

use crate::actor::{Phase, State, tell};
use crate::message::{Internal, SessionMsg};

impl State {
    /// Counts the quiet from now on, when there is nothing to do; not at all while there is.
    pub(crate) fn count_quiet(&mut self) {
        if self.idle.is_none() {
            return;
        }
        let rests = self.rests();
        if let Some(idle) = &mut self.idle {
            if rests {
                idle.touch(&self.scope, &self.me, |token| SessionMsg::Internal(Internal::Idle(token)));
            } else {
                idle.disarm();
            }
        }
    }

    /// Whether there is nothing to do: no turn that goes on, no fact on its way, and nobody who waits or listens.
    fn rests(&self) -> bool {
        let conversation = self.facts.conversation();
        let nothing_goes_on = match conversation.next() {
            Next::Idle => true,
            Next::AwaitApproval { .. } => self.drive.is_at_rest(),
            _ => false,
        };
        matches!(self.phase, Phase::Live)
            && nothing_goes_on
            && self.facts.durable() == self.facts.accepted()
            && self.drive.left_over.is_empty()
            && self.drive.unwanted.is_empty()
            && self.waiters.is_empty()
            && !self.subscribers.is_listened_to()
    }

    pub(crate) fn on_idle(&mut self, token: IdleToken) {
        let due = self.idle.as_ref().is_some_and(|idle| idle.is_due(token));
        if !due || !self.rests() || self.context.is_anchored(&self.name) {
            return; // what follows every message counts anew
        }
        tracing::debug!(session = %self.name, "session passivates");
        self.phase = Phase::Passivating;
        let (me, port, name) = (self.me.clone(), self.port().clone(), self.name.clone());
        // Another process may have it meanwhile.
        self.scope.spawn("release the session", async move {
            if let Err(error) = port.release(&name).await {
                tracing::debug!(session = %name, %error, "a session passivates, and its owner could not be cleared");
            }
            tell(&me, Internal::Released);
        });
    }
}
