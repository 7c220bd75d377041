//! The end of an incarnation that was asked to end: everything is brought to its end, the journal is told, and then it goes.

use std::time::Duration;

use ergane_core::SessionName;
use ergane_journal::JournalPort;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::actor::{Phase, State, tell};
use crate::error::SessionError;
use crate::message::Internal;
use crate::waiters::answer;

/// How long a journal may be away that is only being started again.
const AWAY: Duration = Duration::from_secs(2);

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
        let (port, name) = (self.port().clone(), self.name.clone());
        if let Some(at_work) = self.drive.at_work.take().filter(|at_work| at_work.receiver_count() > 0) {
            // A cleanup, which nothing ends but itself: until then this incarnation is not over either. It runs from now on.
            drop(self.scope.on_drain("release the session", || release_after(at_work, port, name)));
            self.leave();
            return;
        }
        let me = self.me.clone();
        self.scope.spawn("release the session", async move {
            release(&port, &name).await;
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

/// The session stays this process's until nothing of its calls is at work: another one would begin something beside it.
async fn release_after(at_work: watch::Sender<()>, port: JournalPort, name: SessionName) {
    at_work.closed().await;
    // Of a system that was shut down meanwhile the journal is closed, and nobody holds on to it but this: with that it is released.
    if timeout(AWAY, port.alive()).await.is_ok() {
        release(&port, &name).await;
    }
}

async fn release(port: &JournalPort, name: &SessionName) {
    if let Err(error) = port.release(name).await {
        tracing::warn!(session = %name, %error, "the session's owner could not be cleared; it ends with the process");
    }
}
