//! Tells once when an actor ends.
//!
//! Unlike ractor's monitor it needs no actor to receive it, never stops who watches, tells every monitor once however
//! many there are, and tells of the dead at once. It holds the life it watches, so taking it back is dropping it and
//! leaves nothing behind.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use ractor::{ActorCell, ActorId};

use crate::entry::is_alive;
use crate::exit::ExitReason;
use crate::life::life_of;

/// An actor ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// The name it was watched by; for one watched by reference its registered name, or empty.
    pub name: String,
    /// Which incarnation; `None` if there was none, or its start failed.
    pub pid: Option<ActorId>,
    /// How it ended; [`ExitReason::NoProc`] if it was not alive when the monitor was made.
    pub reason: ExitReason,
}

/// Waits for the end of the incarnation that was alive when it was made: from [`Namespace::monitor`](crate::Namespace::monitor)
/// or [`Monitor::of`]. A future; dropping it takes the monitor back.
#[must_use = "a monitor tells nothing unless awaited"]
pub struct Monitor {
    name: String,
    pid: Option<ActorId>,
    down: Pin<Box<dyn Future<Output = Down> + Send>>,
}

impl Monitor {
    pub(crate) fn life(name: String, life: std::sync::Arc<crate::life::Life>) -> Self {
        let (told, pid) = (name.clone(), life.pid());
        let down = async move {
            let reason = life.ended().await;
            Down { name: told, pid: life.pid(), reason }
        };
        Self { name, pid, down: Box::pin(down) }
    }

    pub(crate) fn nobody(name: String, pid: Option<ActorId>) -> Self {
        let down = Down { name: name.clone(), pid, reason: ExitReason::NoProc };
        Self { name, pid, down: Box::pin(std::future::ready(down)) }
    }

    /// Watches an actor by reference. One that a supervisor of this crate started tells its real reason; of any other
    /// actor only the end is known, and the reason is [`ExitReason::NoProc`].
    pub fn of(actor: &ActorCell) -> Self {
        let (name, pid) = (actor.get_name().unwrap_or_default(), actor.get_id());
        if let Some(life) = life_of(pid) {
            return Self::life(name, life);
        }
        if !is_alive(actor) {
            return Self::nobody(name, Some(pid));
        }
        let (told, actor) = (name.clone(), actor.clone());
        let down = async move {
            // Without a deadline, the wait cannot fail.
            if actor.wait(None).await.is_err() {
                tracing::debug!(%pid, "the wait for an actor ended early");
            }
            Down { name: told, pid: Some(pid), reason: ExitReason::NoProc }
        };
        Self { name, pid: Some(pid), down: Box::pin(down) }
    }

    /// The name it watches.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The incarnation it watches; `None` if there was none, or it was still starting.
    pub fn pid(&self) -> Option<ActorId> {
        self.pid
    }

    /// Waits for the end; the same as awaiting the monitor itself.
    pub async fn down(self) -> Down {
        self.await
    }
}

impl Future for Monitor {
    type Output = Down;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Down> {
        self.down.as_mut().poll(context)
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("name", &self.name).field("pid", &self.pid).finish_non_exhaustive()
    }
}
