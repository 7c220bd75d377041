//! Things to await on a session that have a deadline of their own: a turn's result, the end of the process.

use std::future::IntoFuture;
use std::time::Duration;

use ergane_core::TurnId;
use ergane_journal::StoredStatus;
use ergane_otp::{CallError, EntryStatus, Monitor, call, until};
use ractor::{ActorCell, ActorRef};
use tokio::time::{Instant, sleep};

use crate::error::SessionError;
use crate::handle::Session;
use crate::message::SessionMsg;
use crate::reach::{AGAIN, FOREVER, Missing, left, not_found_is_fine, pause};
use crate::result::TurnResult;
use crate::send::Boxed;

/// The result of a turn, to be awaited.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// let turn = alice.send_message("hello").accepted().await?; // to be kept, and asked for later
/// let result = alice.turn(turn).await?;
/// assert_eq!((result.turn, result.finish_reason), (turn, FinishReason::Stop));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Turn {
    session: Session,
    turn: TurnId,
    deadline: Duration,
}

impl Turn {
    pub(crate) fn new(session: Session, turn: TurnId) -> Self {
        Self { session, turn, deadline: FOREVER }
    }

    /// Gives up waiting after `deadline`; the turn goes on. Default: none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// # use std::time::Duration;
    /// let turn = alice.send_message("What is the answer?").accepted().await?;
    /// let early = alice.turn(turn).deadline(Duration::from_millis(20)).await;
    /// assert!(matches!(early, Err(SessionError::Deadline)), "the turn goes on");
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl IntoFuture for Turn {
    type Output = Result<TurnResult, SessionError>;
    type IntoFuture = Boxed<TurnResult>;

    fn into_future(self) -> Boxed<TurnResult> {
        Box::pin(async move {
            let Self { session, turn, deadline } = self;
            session.request_within(deadline, |reply| SessionMsg::Await(turn, reply)).await
        })
    }
}

/// The end of a session's process, to be awaited.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// alice.stop().await?;
/// assert!(alice.actor_ref().is_none());
/// assert_eq!(alice.status().await?.activity, Activity::Stored);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is stopped until it is awaited"]
pub struct Stop {
    session: Session,
    deadline: Duration,
}

impl Stop {
    pub(crate) fn new(session: Session) -> Self {
        Self { session, deadline: Duration::from_secs(30) }
    }

    /// After `deadline` the process is killed; what was not ended by then is finished when the session comes back.
    /// Default: 30 s.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// # use std::time::Duration;
    /// alice.stop().deadline(Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    async fn run(self) -> Result<(), SessionError> {
        let until = until(self.deadline);
        let session = &self.session;
        let mut late = SessionError::Deadline;
        let mut to_be_stopped = None;
        loop {
            let Some(cell) = session.cell() else {
                match session.context().namespace().status(&session.process_name()) {
                    // Nothing runs, and of what is damaged nothing can be ended.
                    Some(EntryStatus::Quarantined { .. }) => return Ok(()),
                    None | Some(EntryStatus::Ended { .. }) => match self.has_more_to_do().await {
                        Ok(false) => return Ok(()),
                        // It is ended as it would be if it ran: what was stopped does not begin again by itself.
                        Ok(true) => {
                            // It must not begin what it is to end, whoever is quicker: its log, or the word to stop.
                            to_be_stopped
                                .get_or_insert_with(|| session.context().to_be_stopped(session.name()));
                            session.bring_up(until, Missing::IsAnError).await?;
                            continue;
                        }
                        Err(error) if error.is_away() && Instant::now() < until => {
                            late = error;
                            sleep(AGAIN.min(left(until))).await;
                            continue;
                        }
                        Err(error) => return Err(error),
                    },
                    Some(_) if Instant::now() >= until => return Err(late),
                    Some(_) => {
                        pause().await;
                        continue;
                    }
                }
            };
            let asked = call(&ActorRef::from(cell.clone()), SessionMsg::Stop, left(until)).await;
            return match asked {
                Ok(Ok(()) | Err(SessionError::Stopped(_))) => self.gone(&cell, until).await,
                // It cannot end by itself: its supervisor ends it.
                Ok(Err(SessionError::Quarantined { .. })) => self.kill(&cell, Ok(())).await,
                // Whether a turn is open in it cannot be told now, and so not be ended.
                Ok(Err(error)) if error.is_away() && Instant::now() < until => {
                    late = error;
                    sleep(AGAIN.min(left(until))).await;
                    continue;
                }
                Ok(Err(error @ SessionError::Journal(_))) => self.kill(&cell, Err(error)).await,
                Ok(Err(error)) => Err(error),
                Err(CallError::Timeout) => self.kill(&cell, Err(late)).await,
                Err(_) => {
                    pause().await;
                    continue; // it died before it answered; a next incarnation is asked
                }
            };
        }
    }

    /// Whether a turn of the stored session is open, or a send waits for one, and no other process has it.
    async fn has_more_to_do(&self) -> Result<bool, SessionError> {
        // When the system has ended nothing begins here any more.
        if self.session.context().namespace().status("sessions").is_none() {
            return Ok(false);
        }
        let summary = self.session.port().summary(self.session.name()).await?;
        let is_ours = |owner: Option<u32>| owner.is_none_or(|pid| pid == std::process::id());
        Ok(summary.is_some_and(|found| is_ours(found.owner_pid) && found.status != StoredStatus::Idle))
    }

    /// Waits until this incarnation is gone and its name free, or somebody else's.
    async fn gone(&self, cell: &ActorCell, until: Instant) -> Result<(), SessionError> {
        let names = self.session.context().namespace();
        // All is durable: what is left is to see it end, which is worth a moment even when the deadline is near.
        let until = until.max(Instant::now() + Duration::from_secs(10));
        let ended = tokio::time::timeout(left(until), Monitor::of(cell).down()).await;
        if ended.is_err() {
            return self.kill(cell, Err(SessionError::Deadline)).await;
        }
        while Instant::now() < until {
            match names.status(&self.session.process_name()) {
                None | Some(EntryStatus::Ended { .. }) => return Ok(()),
                Some(EntryStatus::Stuck { reason }) => {
                    return Err(SessionError::Stuck { session: self.session.name().clone(), reason });
                }
                Some(EntryStatus::Live) if !self.is_still(cell) => return Ok(()),
                Some(_) => pause().await,
            }
        }
        Err(SessionError::Deadline)
    }

    fn is_still(&self, cell: &ActorCell) -> bool {
        self.session.cell().is_some_and(|present| present.get_id() == cell.get_id())
    }

    /// Has the supervisor end this incarnation, if it is still the one that runs.
    async fn kill(&self, cell: &ActorCell, outcome: Result<(), SessionError>) -> Result<(), SessionError> {
        if self.is_still(cell) {
            let (sessions, id) = (self.session.context().sessions(), self.session.process_name());
            let ended = sessions.terminate_child(&id, Duration::from_secs(10)).await;
            ended.or_else(not_found_is_fine).map_err(|error| SessionError::System(error.to_string()))?;
        }
        outcome
    }
}

impl IntoFuture for Stop {
    type Output = Result<(), SessionError>;
    type IntoFuture = Boxed<()>;

    fn into_future(self) -> Boxed<()> {
        Box::pin(self.run())
    }
}
