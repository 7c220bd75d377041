//! Reaching a session by its name: the actor that lives, the one that is on its way, or the one that a stored session is
//! brought back by.
//!
//! # Why the handle is patient, and the session is not
//!
//! A session whose log cannot be read now tells everybody why, before long. How long that is worth waiting for only those
//! know who ask, so patience is here, with their deadlines, and in one way: [`Session::request`] gives the reason to whoever
//! wants to know something; [`Session::request_patiently`] asks again until the deadline, says the reason meanwhile to whoever
//! wants to hear it, and gives it in the end to the one who cannot wait any longer.

use std::time::Duration;

use ergane_journal::JournalError;
use ergane_otp::{CallError, ChildError, EntryStatus, StartError, call, until};
use ractor::{ActorCell, ActorRef};
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{SessionError, is_away};
use crate::handle::Session;
use crate::message::{Reply, SessionMsg};

/// How long a question waits that a session answers at once: 30 s. Only a session that loads, or restarts, takes time.
pub(crate) const QUICK: Duration = Duration::from_secs(30);

/// "No deadline": about a hundred years.
pub(crate) const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 100);

/// A journal that failed so often in a row, with more than a second of pauses between, is not away for a moment only: who asks is
/// told why.
pub(crate) const FAILURES: u32 = 6;

/// How often somebody patient asks again while the journal is away.
pub(crate) const AGAIN: Duration = Duration::from_millis(250);

/// What it means that there is no log of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Somebody asks something of it.
    IsAnError,
    /// Somebody begins it.
    IsFine,
}

impl Session {
    /// Asks the session, through restarts: `build` may be asked for the message several times, so what it asks for
    /// must be the same when asked twice. (A send is: its id tells.) Whoever asks is told why it cannot be reached.
    pub(crate) async fn request<R: Send + 'static>(
        &self,
        deadline: Duration,
        build: impl Fn(Reply<R>) -> SessionMsg,
    ) -> Result<R, SessionError> {
        self.request_until(until(deadline), &build).await
    }

    /// The same, for whoever waits that long for a journal that is away, or for what an earlier incarnation had started.
    pub(crate) async fn request_within<R: Send + 'static>(
        &self,
        deadline: Duration,
        build: impl Fn(Reply<R>) -> SessionMsg,
    ) -> Result<R, SessionError> {
        self.request_patiently(until(deadline), |_| {}, build).await
    }

    /// The same until then. `held_up` is told why whenever it was asked in vain.
    pub(crate) async fn request_patiently<R: Send + 'static>(
        &self,
        until: Instant,
        held_up: impl Fn(&SessionError),
        build: impl Fn(Reply<R>) -> SessionMsg,
    ) -> Result<R, SessionError> {
        let mut why = SessionError::Deadline;
        loop {
            why = match self.request_until(until, &build).await {
                Err(SessionError::Deadline) => return Err(why),
                Err(error) if error.is_away() => error,
                outcome => return outcome,
            };
            held_up(&why);
            sleep(AGAIN.min(left(until))).await;
            if Instant::now() >= until {
                return Err(why);
            }
        }
    }

    async fn request_until<R: Send + 'static>(
        &self,
        until: Instant,
        build: &impl Fn(Reply<R>) -> SessionMsg,
    ) -> Result<R, SessionError> {
        let mut deaths = 0;
        loop {
            let actor = self.actor(until).await?;
            match call(&actor, build, left(until)).await {
                Ok(answer) => return answer,
                Err(CallError::Timeout) => return Err(SessionError::Deadline),
                Err(CallError::Down(_) | CallError::NoProc) if deaths < 3 => {
                    deaths += 1;
                    step_aside().await;
                }
                Err(CallError::Down(_) | CallError::NoProc) => pause().await,
                Err(error) => return Err(SessionError::System(error.to_string())),
            }
        }
    }

    /// The living actor; a stored session is brought up.
    pub(crate) async fn actor(&self, until: Instant) -> Result<ActorRef<SessionMsg>, SessionError> {
        match self.cell() {
            Some(cell) => Ok(cell.into()),
            // Seldom, and large: on the heap, so that the futures of all that is asked stay small.
            None => Box::pin(self.bring_up(until, Missing::IsAnError)).await,
        }
    }

    /// Starts the session's actor, whether or not there is a log, or waits for the one that is on its way.
    pub(crate) async fn bring_up(
        &self,
        until: Instant,
        missing: Missing,
    ) -> Result<ActorRef<SessionMsg>, SessionError> {
        let (context, session) = (self.context(), self.name());
        let (names, id) = (context.namespace(), self.process_name());
        loop {
            match names.status(&id) {
                Some(EntryStatus::Quarantined { reason }) => {
                    return Err(SessionError::Quarantined { session: session.clone(), reason });
                }
                Some(EntryStatus::Stuck { reason }) => {
                    return Err(SessionError::Stuck { session: session.clone(), reason });
                }
                None | Some(EntryStatus::Ended { .. }) => {
                    // It may have been deleted while this waited for its last incarnation to be gone.
                    if missing == Missing::IsAnError && !self.is_stored(until).await? {
                        return Err(SessionError::NotFound(session.clone()));
                    }
                    let spec = context.spec(session, self.durability());
                    match context.sessions().start_child(spec, left(until)).await {
                        Ok(cell) | Err(StartError::AlreadyStarted(cell)) => return Ok(cell.into()),
                        Err(StartError::Quarantined { reason }) => {
                            return Err(SessionError::Quarantined { session: session.clone(), reason });
                        }
                        Err(StartError::Timeout) => return Err(SessionError::Deadline),
                        // Between two incarnations; the next look waits for the second.
                        Err(StartError::NameTaken { .. } | StartError::Cancelled) => pause().await,
                        // Their supervisor is between two incarnations, unless the system has ended.
                        Err(StartError::NoSupervisor) if names.status("sessions").is_some() => pause().await,
                        Err(error) => return Err(SessionError::System(error.to_string())),
                    }
                }
                Some(_) => match names.wait_for(&id, left(until)).await {
                    Ok(cell) => return Ok(cell.into()),
                    Err(CallError::Timeout) => return Err(SessionError::Deadline),
                    Err(_) => pause().await,
                },
            }
            if Instant::now() >= until {
                return Err(SessionError::Deadline);
            }
        }
    }

    /// Whether there is a log of it. A store that is away for a moment is waited for, and no longer than a log that is to be
    /// loaded; one that another process has locked was waited for already.
    async fn is_stored(&self, until: Instant) -> Result<bool, SessionError> {
        let (mut failures, mut why) = (0, SessionError::Deadline);
        loop {
            let Ok(position) = timeout_at(until, self.port().position(self.name())).await else {
                return Err(why);
            };
            let error = match position {
                Ok(position) => return Ok(position.is_some()),
                Err(error) if !is_away(&error) => return Err(error.into()),
                Err(error) => error,
            };
            tracing::debug!(session = %self.name(), %error, "whether a session is stored cannot be told yet");
            // When the system has ended there is nothing to wait for.
            if self.context().namespace().status("sessions").is_none() {
                return Err(SessionError::System(StartError::NoSupervisor.to_string()));
            }
            failures += 1;
            why = error.into();
            if failures >= FAILURES {
                return Err(why);
            }
            sleep(JournalError::BACKOFF.after(failures).min(left(until))).await;
        }
    }

    /// Whether the session runs, or is about to run again. An error when that cannot be told yet: it does so once what its last
    /// incarnation had started has ended.
    pub(crate) async fn will_live(&self) -> Result<bool, SessionError> {
        let (names, id) = (self.context().namespace(), self.process_name());
        loop {
            if names.wait_for(&id, FOREVER).await.is_ok() {
                return Ok(true);
            }
            match names.status(&id) {
                // Of a system that has ended nothing comes back.
                Some(EntryStatus::Stuck { reason }) if names.status("sessions").is_some() => {
                    return Err(SessionError::Stuck { session: self.name().clone(), reason });
                }
                None
                | Some(
                    EntryStatus::Stuck { .. } | EntryStatus::Ended { .. } | EntryStatus::Quarantined { .. },
                ) => return Ok(false),
                Some(_) => pause().await, // it has just come about
            }
        }
    }

    pub(crate) fn cell(&self) -> Option<ActorCell> {
        self.context().namespace().whereis(&self.process_name())
    }
}

/// What is left until the deadline.
pub(crate) fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Lets others run: the supervisor of an actor that has just died takes note of it within microseconds, long before the
/// shortest sleep is over.
async fn step_aside() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

/// A moment for an actor that has just died: its supervisor takes note of it before anybody asks again.
pub(crate) async fn pause() {
    sleep(Duration::from_millis(1)).await;
}

pub(crate) fn not_found_is_fine(error: ChildError) -> Result<(), ChildError> {
    match error {
        ChildError::NotFound => Ok(()),
        other => Err(other),
    }
}
