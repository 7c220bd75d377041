//! Following a turn to its end, with one eye on the clock and one on Ctrl-C.

use std::time::Duration;

use ergane::OneShotStream;
use ergane::core::TurnId;
use ergane::session::{Session, SessionError, SessionEvent, Subscription, TurnResult, TurnStream};
use tokio::time::Instant;

use crate::outcome::Failure;
use crate::screen::Screen;
use crate::signals::{Signal, Signals, ended_by};

/// A pause before an interrupt that found no open turn is asked for again.
const AGAIN: Duration = Duration::from_millis(20);

/// A turn whose events can be told and whose result will come.
#[derive(Debug)]
pub(crate) enum Following {
    /// Of a question of which nothing is kept.
    OneShot(OneShotStream),
    /// Of a send.
    Send(TurnStream),
    /// One that was open before.
    Open { session: Session, turn: TurnId, events: Subscription },
}

impl Following {
    /// The next event; `None` when no more come and the result tells.
    async fn next(&mut self) -> Option<SessionEvent> {
        match self {
            Self::OneShot(stream) => stream.next().await,
            Self::Send(stream) => stream.next().await,
            Self::Open { events, .. } => loop {
                match events.next().await? {
                    Ok(event) => return Some(event),
                    Err(error) => tracing::debug!(%error, "events could not be read; trying again"),
                }
            },
        }
    }

    fn is_end(&self, event: &SessionEvent) -> bool {
        matches!((self, event), (Self::Open { turn, .. }, SessionEvent::Done { turn: ended, .. }) if turn == ended)
    }

    async fn result(self) -> Result<TurnResult, SessionError> {
        match self {
            Self::OneShot(stream) => stream.result().await,
            Self::Send(stream) => stream.result().await,
            Self::Open { session, turn, .. } => session.turn(turn).await,
        }
    }

    async fn run(mut self, screen: &mut Screen) -> Result<TurnResult, SessionError> {
        while let Some(event) = self.next().await {
            screen.event(&event);
            if self.is_end(&event) {
                break;
            }
        }
        self.result().await
    }
}

/// Shows the turn as it happens, until it ends, `until` comes, or somebody wants it to stop.
pub(crate) async fn follow(
    following: Following,
    session: &Session,
    screen: &mut Screen,
    signals: &mut Signals,
    until: Option<Instant>,
) -> Result<TurnResult, Failure> {
    let notes = screen.notes;
    let mut result = std::pin::pin!(following.run(screen));
    let mut interrupting = None;
    loop {
        let interrupted = async {
            match interrupting.as_mut() {
                Some(asking) => std::pin::Pin::as_mut(asking).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Signal::Interrupt => {
                    notes.say("interrupting; Ctrl-C again quits at once");
                    interrupting = Some(Box::pin(interrupt(session)));
                }
                Signal::Quit | Signal::Terminate => return Err(ended_by(signal)),
            },
            ended = &mut result => return Ok(ended?),
            asked = interrupted => {
                interrupting = None;
                asked?; // the turn is on its way to its end
            }
            () = passed(until) => return Err(too_late()),
        }
    }
}

/// Ends the turn, once there is one to end.
async fn interrupt(session: &Session) -> Result<(), SessionError> {
    while !session.interrupt("Ctrl-C").await? {
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}

async fn passed(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

pub(crate) fn too_late() -> Failure {
    Failure::timeout("the turn did not end within --timeout")
}

/// Waits for `work`, but not past `until`.
pub(crate) async fn within<T>(
    until: Option<Instant>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        done = work => done,
        () = passed(until) => Err(too_late()),
    }
}
