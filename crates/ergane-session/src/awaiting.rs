//! Things to await on a session that have a deadline of their own: a turn's result, the end of the process.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use ergane_core::TurnId;
use ergane_otp::{CallError, call};
use ractor::ActorRef;
use tokio::time::Instant;

use crate::error::SessionError;
use crate::handle::{FOREVER, Session, left, not_found_is_fine, pause};
use crate::message::SessionMsg;
use crate::result::TurnResult;

type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, SessionError>> + Send>>;

/// The result of a turn, to be awaited.
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
            session.request(deadline, |reply| SessionMsg::Await(turn, reply)).await
        })
    }
}

/// The end of a session's process, to be awaited.
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
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    async fn run(self) -> Result<(), SessionError> {
        let until = Instant::now() + self.deadline;
        let session = &self.session;
        let asked = loop {
            let Some(cell) = session.cell() else {
                if session.context().namespace().status(&session.process_name()).is_none() {
                    break Ok(());
                }
                match session.context().namespace().wait_for(&session.process_name(), left(until)).await {
                    Ok(_) => continue,
                    Err(CallError::Timeout) => break Err(SessionError::Deadline),
                    Err(_) => break Ok(()), // quarantined, or gone meanwhile
                }
            };
            match call(&ActorRef::from(cell), SessionMsg::Stop, left(until)).await {
                Ok(answer) => break answer,
                Err(CallError::Timeout) => break Err(SessionError::Deadline),
                Err(_) => pause().await,
            }
        };
        // Whether or not it was ready: its supervisor ends it and waits until it is gone.
        let grace = left(until).max(Duration::from_secs(10));
        let ended = session.context().sessions().terminate_child(&session.process_name(), grace).await;
        ended.or_else(not_found_is_fine).map_err(|error| SessionError::System(error.to_string()))?;
        match asked {
            Err(SessionError::Quarantined { .. } | SessionError::Stopped(_)) => Ok(()),
            other => other,
        }
    }
}

impl IntoFuture for Stop {
    type Output = Result<(), SessionError>;
    type IntoFuture = Boxed<()>;

    fn into_future(self) -> Boxed<()> {
        Box::pin(self.run())
    }
}
