//! The end of an incarnation that was asked to end: everything is brought to its end, the journal is told, and then it goes.

use crate::actor::{Phase, State, tell};
use crate::error::SessionError;
use crate::message::Internal;
use crate::waiters::answer;

impl State {
    pub(crate) fn leave_when_done(&mut self) {
        let Phase::Stopping(replies) = &mut self.phase else { return };
        let conversation = self.facts.conversation();
        let done = conversation.turn().is_none()
            && conversation.queue().is_empty()
            && self.facts.durable() == conversation.seq();
        if !done {
            return;
        }
        self.phase = Phase::Leaving(std::mem::take(replies));
        self.waiters.refuse_all(&SessionError::Stopped(self.name.clone()));
        if !self.drive.left_over.is_empty() {
            // It stays this process's: another one would begin something beside what is still at work.
            tell(&self.me, Internal::Released);
            return;
        }
        let (me, port, name) = (self.me.clone(), self.port().clone(), self.name.clone());
        self.scope.spawn("release the session", async move {
            if let Err(error) = port.release(&name).await {
                tracing::warn!(session = %name, %error, "the session's owner could not be cleared; it ends with the process");
            }
            tell(&me, Internal::Released);
        });
    }

    pub(crate) fn leave(&mut self) {
        if matches!(self.phase, Phase::Passivating) {
            self.me.stop(None);
        }
        if let Phase::Leaving(replies) = &mut self.phase {
            for reply in std::mem::take(replies) {
                answer(reply, Ok(()));
            }
            self.me.stop(None);
        }
    }
}
