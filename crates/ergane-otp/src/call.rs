//! Calls with a deadline and an honest error.
//!
//! ractor's `call!` has no deadline, and a callee's death looks like a sender error. Here the error tells a callee that
//! was never there, one that died in mid-call (at once, not at the deadline) and one that is only slow apart. Every call
//! has a reply channel of its own, so a late reply reaches nobody. The request of a caller that gave up stays in the
//! mailbox and is still handled: look at `reply.is_closed()` before dear work.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorRef, Message, MessagingErr, RpcReplyPort};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::events;
use crate::exit::ExitReason;
use crate::life::{Life, life_of};
use crate::names::Namespace;
use crate::supervised::is_current;
use crate::until::until;

/// Why a call has no reply.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
/// use std::time::Duration;
///
/// use ergane_otp::CallError;
///
/// # let names = Namespace::new("kitchen-docs");
/// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
/// let nobody = names.wait_for("nobody", Duration::from_secs(1)).await;
/// assert_eq!(nobody, Err(CallError::NoProc));
/// let late = names.wait_for_owner("nobody", Duration::from_millis(10)).await;
/// assert_eq!(late, Err(CallError::Timeout));
/// # root.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody is there to be called. The message was not delivered.
    #[error("nobody is there to be called")]
    NoProc,
    /// The callee ended before it replied. Whether it did the work is unknown. The reason is
    /// [`ExitReason::NoProc`] if the callee is not a child of a supervisor of this crate.
    #[error("the callee ended before it replied: {0}")]
    Down(ExitReason),
    /// The deadline passed. The callee may still do the work.
    #[error("no reply came before the deadline")]
    Timeout,
    /// An actor called itself from its own handler, and would have waited for itself.
    #[error("an actor cannot call itself from its own handler")]
    CallingSelf,
    /// The callee takes messages of another type.
    #[error("the callee takes messages of another type")]
    WrongMessageType,
}

/// Who can be called with an `M`: an [`ActorRef<M>`](ActorRef), or an [`ActorCell`] (its type is then checked at run time).
pub trait Callee<M> {
    /// The actor to call.
    fn callee(&self) -> &ActorCell;
}

impl<M: Message> Callee<M> for ActorRef<M> {
    fn callee(&self) -> &ActorCell {
        self
    }
}

impl<M: Message> Callee<M> for ActorCell {
    fn callee(&self) -> &ActorCell {
        self
    }
}

/// Sends the message that `build` makes with a reply port, and waits for the reply.
///
/// The reply may be sent later and from elsewhere; but if the callee ends first, the call ends too.
///
/// # Errors
/// See [`CallError`]. A callee that drops the port without a reply and lives on is a [`CallError::Timeout`], as in OTP.
pub async fn call<M, R>(
    target: &impl Callee<M>,
    build: impl FnOnce(RpcReplyPort<R>) -> M,
    deadline: Duration,
) -> Result<R, CallError>
where
    M: Message,
    R: Send + 'static,
{
    let cell = target.callee();
    if is_current(cell.get_id()) {
        return Err(CallError::CallingSelf);
    }
    // Looked up before sending: afterwards the callee may be gone, and its reason with it.
    let life = life_of(cell.get_id());
    let (port, reply) = oneshot::channel();
    cell.send_message(build(port.into())).map_err(|error| match error {
        MessagingErr::InvalidActorType => CallError::WrongMessageType,
        MessagingErr::SendErr(_) | MessagingErr::ChannelClosed => CallError::NoProc,
    })?;
    let answer = answer(cell, life, reply);
    tokio::time::timeout(deadline, answer).await.unwrap_or(Err(CallError::Timeout))
}

/// Calls whoever lives under `name`, waiting while it starts or restarts; the deadline covers both.
///
/// A callee that dies in mid-call is not called again: whether it did the work is not known here.
///
/// # Errors
/// As [`call`], and [`CallError::NoProc`] if nobody holds the name, or it is quarantined or stuck.
pub async fn call_name<M, R>(
    namespace: &Namespace,
    name: &str,
    build: impl FnOnce(RpcReplyPort<R>) -> M,
    deadline: Duration,
) -> Result<R, CallError>
where
    M: Message,
    R: Send + 'static,
{
    let until = until(deadline);
    let (port, reply) = oneshot::channel();
    let mut message = build(port.into());
    loop {
        let cell = namespace.wait_for(name, until.saturating_duration_since(Instant::now())).await?;
        if is_current(cell.get_id()) {
            return Err(CallError::CallingSelf);
        }
        let life = life_of(cell.get_id());
        message = match cell.send_message(message) {
            Ok(()) => {
                let answer = answer(&cell, life, reply);
                return tokio::time::timeout_at(until, answer).await.unwrap_or(Err(CallError::Timeout));
            }
            // It ended between the look-up and the send, so it has not seen the message: its successor may have it.
            Err(MessagingErr::SendErr(message)) => message,
            Err(MessagingErr::InvalidActorType) => return Err(CallError::WrongMessageType),
            Err(MessagingErr::ChannelClosed) => return Err(CallError::NoProc),
        };
    }
}

/// Sends a message and asks for nothing, as OTP's `cast`: to the dead, or to one that takes other messages, it is dropped
/// without an error, and an event of level `debug` says so. Whoever must know calls instead.
pub fn cast<M: Message>(target: &impl Callee<M>, message: M) {
    let cell = target.callee();
    if let Err(error) = cell.send_message(message) {
        dropped(&cell.get_name().unwrap_or_else(|| cell.get_id().to_string()), &error);
    }
}

/// As [`cast`], to whoever lives under `name` now. It does not wait for one that is being started: then it is dropped.
pub fn cast_name<M: Message>(namespace: &Namespace, name: &str, message: M) {
    let outcome = match namespace.whereis(name) {
        Some(cell) => cell.send_message(message),
        None => Err(MessagingErr::SendErr(message)),
    };
    if let Err(error) = outcome {
        dropped(name, &error);
    }
}

fn dropped<M>(to: &str, error: &MessagingErr<M>) {
    let reason = match error {
        MessagingErr::InvalidActorType => "it takes messages of another type",
        MessagingErr::SendErr(_) | MessagingErr::ChannelClosed => "it is not alive",
    };
    events::dropped_cast(to, reason);
}

async fn answer<R>(
    cell: &ActorCell,
    life: Option<Arc<Life>>,
    mut reply: oneshot::Receiver<R>,
) -> Result<R, CallError> {
    let death = async {
        match &life {
            Some(life) => life.ended().await,
            None => {
                // Without a deadline the wait cannot fail.
                if cell.wait(None).await.is_err() {
                    tracing::debug!(pid = %cell.get_id(), "the wait for a callee ended early");
                }
                ExitReason::NoProc
            }
        }
    };
    tokio::pin!(death);
    tokio::select! {
        biased;
        answer = &mut reply => match answer {
            Ok(answer) => Ok(answer),
            // The port was dropped: most likely because the callee is just dying. Its end tells.
            Err(_) => Err(CallError::Down(death.await)),
        },
        reason = &mut death => reply.try_recv().map_err(|_| CallError::Down(reason)),
    }
}
