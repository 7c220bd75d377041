//! A turn for another process: accepted, told as it happens, and its end.
//!
//! Whoever asked may go away: what was accepted goes on all the same, and the next one who asks with its key is told.

use std::io;
use std::time::Duration;

use ergane::System;
use ergane::session::{Activity, Session, SessionError, SessionEvent, TurnStream};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::server::problem;
use super::wire::{self, Answer, Ask, Problem};
use crate::follow::parked;
use crate::outcome::Failure;
use crate::report::Report;
use crate::workshop::seen;

/// How often it is looked whether the turn waits for nothing but a decision.
const TICK: Duration = Duration::from_millis(100);
/// How long whoever asked may take to hear a line.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is said of a turn that is not begun why it is not: before whoever asked takes this process for a stopped one.
const AGAIN: Duration = Duration::from_secs(3);

pub(super) async fn run(mut stream: UnixStream, ask: Ask, system: &System) -> io::Result<()> {
    let last = match begun(&mut stream, ask, system).await? {
        Ok((session, turn, parking)) => {
            say(&mut stream, &Ok(Answer::Accepted { accepted: true })).await?;
            follow(&mut stream, &session, turn, parking).await?
        }
        Err(error) => Err(problem(error)),
    };
    say(&mut stream, &last).await?;
    stream.shutdown().await
}

/// What whoever asked was told last of the journal: why it takes nothing, if it does not.
#[derive(Debug, Default)]
struct Parking(Option<String>);

impl Parking {
    /// Tells when that has changed.
    async fn tell(&mut self, stream: &mut UnixStream, now: Option<String>) -> io::Result<()> {
        if self.0 == now {
            return Ok(());
        }
        self.0 = now;
        self.tell_again(stream).await
    }

    async fn tell_again(&self, stream: &mut UnixStream) -> io::Result<()> {
        let answer = match &self.0 {
            Some(reason) => Answer::Parked { parked: reason.clone() },
            None => Answer::GoesOn { goes_on: true },
        };
        say(stream, &Ok(answer)).await
    }
}

async fn say(stream: &mut UnixStream, answer: &Result<Answer, Problem>) -> io::Result<()> {
    write(stream, &wire::answer(answer), PATIENCE).await
}

/// One that does not listen, a stopped one say, gives its place to others.
async fn write(stream: &mut (impl AsyncWrite + Unpin), line: &[u8], patience: Duration) -> io::Result<()> {
    timeout(patience, stream.write_all(line)).await.unwrap_or_else(|late| Err(late.into()))
}

/// The turn, once the session takes it. While the journal takes nothing, that is told, and it is waited like at home.
async fn begun(
    stream: &mut UnixStream,
    ask: Ask,
    system: &System,
) -> io::Result<Result<(Session, TurnStream, Parking), SessionError>> {
    let Ask::Send { session, input, key, settings } = ask else {
        return Ok(Err(SessionError::System("only a turn is run here".to_owned())));
    };
    let seen = seen(system, session.clone());
    let begin = async {
        let session = system.session(session.as_str()).settings(*settings).start().await?;
        let turn = session.send_message(&*input).key(&*key).stream().await?;
        Ok((session, turn))
    };
    let (mut begin, mut parking) = (std::pin::pin!(begin), Parking::default());
    loop {
        tokio::select! {
            biased;
            begun = &mut begin => return Ok(begun.map(|(session, turn)| (session, turn, parking))),
            () = sleep(AGAIN) => match parked(&seen).await {
                None => parking.tell(stream, None).await?,
                reason => {
                    parking.0 = reason;
                    parking.tell_again(stream).await?;
                }
            },
        }
    }
}

/// Tells what happens; what the last line is.
async fn follow(
    stream: &mut UnixStream,
    session: &Session,
    mut turn: TurnStream,
    mut parking: Parking,
) -> io::Result<Result<Answer, Problem>> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting = None;
    loop {
        tokio::select! {
            biased;
            event = turn.next() => {
                let Some(event) = event else { break };
                waiting = None;
                // That has a line of its own, which also tells when it is over.
                if let SessionEvent::Parked { reason } = &event {
                    parking.tell(stream, Some(reason.to_string())).await?;
                    continue;
                }
                let event = serde_json::to_value(&event).map_err(io::Error::other)?;
                say(stream, &Ok(Answer::Event { event })).await?;
            }
            // What happened before it waited has been told.
            () = std::future::ready(()), if waiting.is_some() => break,
            // Asked and not counted: what was requested before, by this turn or one that is before it, is no event here.
            _ = ticks.tick() => match session.status().await.map(|status| status.activity) {
                Ok(Activity::AwaitingApproval { .. }) => waiting = waits(session).await,
                Ok(Activity::Parked { reason }) => parking.tell(stream, Some(reason)).await?,
                Ok(_) => parking.tell(stream, None).await?,
                Err(_) => {}
            },
        }
    }
    if let Some(failure) = waiting {
        return Ok(ended(&Report::of_failure(Some(session.name()), &failure, Duration::ZERO)));
    }
    Ok(match turn.result().await {
        Ok(result) => ended(&Report::of_turn(&result)),
        Err(error) => Err(problem(error)),
    })
}

/// What it waits for: somebody, who is not here.
async fn waits(session: &Session) -> Option<Failure> {
    let pending = session.approvals().await.ok().filter(|pending| !pending.is_empty())?;
    Some(Failure::waiting(session.name(), &pending))
}

fn ended(report: &Report) -> Result<Answer, Problem> {
    let value = serde_json::to_value(report).map_err(|error| Problem::new("internal", error.to_string()))?;
    Ok(Answer::Ended { report: value, exit: report.exit, waiting: report.waiting.clone() })
}

#[cfg(test)]
mod tests;
