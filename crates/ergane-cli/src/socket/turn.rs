//! A turn for another process: accepted, told as it happens, and its end.
//!
//! Whoever asked may go away: what was accepted goes on all the same, and the next one who asks with its key is told.

use std::io;
use std::time::Duration;

use ergane::System;
use ergane::session::{Activity, Session, SessionError, TurnStream};
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
/// A turn that is not accepted by then may wait for the journal.
const A_WHILE: Duration = Duration::from_secs(3);

pub(super) async fn run(mut stream: UnixStream, ask: Ask, system: &System) -> io::Result<()> {
    let last = match begin(ask, system).await {
        Ok((session, turn)) => {
            say(&mut stream, &Ok(Answer::Accepted { accepted: true })).await?;
            follow(&mut stream, &session, turn).await?
        }
        Err(SessionError::Parked { session, reason }) => {
            let what =
                format!("session {session} is parked: {reason}; the turn is not begun, so send it again");
            Err(Problem::new("journal", what))
        }
        Err(error) => Err(problem(error)),
    };
    say(&mut stream, &last).await?;
    stream.shutdown().await
}

async fn say(stream: &mut UnixStream, answer: &Result<Answer, Problem>) -> io::Result<()> {
    write(stream, &wire::answer(answer), PATIENCE).await
}

/// One that does not listen, a stopped one say, gives its place to others.
async fn write(stream: &mut (impl AsyncWrite + Unpin), line: &[u8], patience: Duration) -> io::Result<()> {
    timeout(patience, stream.write_all(line)).await.unwrap_or_else(|late| Err(late.into()))
}

async fn begin(ask: Ask, system: &System) -> Result<(Session, TurnStream), SessionError> {
    let Ask::Send { session, input, key, settings } = ask else {
        return Err(SessionError::System("only a turn is run here".to_owned()));
    };
    let begun = async {
        let session = system.session(session.as_str()).settings(*settings).start().await?;
        let turn = session.send_message(&*input).key(&*key).stream().await?;
        Ok((session, turn))
    };
    let seen = seen(system, session.clone());
    tokio::select! {
        biased;
        begun = begun => begun,
        reason = cannot_begin(&seen) => Err(SessionError::Parked { session: session.clone(), reason }),
    }
}

/// Why nothing begins, when it has not for a while: who asked is told before his patience ends.
async fn cannot_begin(session: &Session) -> String {
    loop {
        sleep(A_WHILE).await;
        if let Some(reason) = parked(session).await {
            return reason;
        }
    }
}

/// Tells what happens; what the last line is.
async fn follow(
    stream: &mut UnixStream,
    session: &Session,
    mut turn: TurnStream,
) -> io::Result<Result<Answer, Problem>> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut waiting, mut told) = (None, None);
    loop {
        tokio::select! {
            biased;
            event = turn.next() => {
                let Some(event) = event else { break };
                waiting = None;
                let event = serde_json::to_value(&event).map_err(io::Error::other)?;
                say(stream, &Ok(Answer::Event { event })).await?;
            }
            // What happened before it waited has been told.
            () = std::future::ready(()), if waiting.is_some() => break,
            // Asked and not counted: what was requested before, by this turn or one that is before it, is no event here.
            _ = ticks.tick() => match session.status().await.map(|status| status.activity) {
                Ok(Activity::AwaitingApproval { .. }) => waiting = waits(session).await,
                Ok(Activity::Parked { reason }) if told.as_ref() != Some(&reason) => {
                    say(stream, &Ok(Answer::Parked { parked: reason.clone() })).await?;
                    told = Some(reason);
                }
                _ => {}
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
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_does_not_listen_is_not_told_for_ever() {
        let (mut here, _there) = tokio::io::duplex(4);
        let written = write(&mut here, b"longer than that", Duration::from_millis(10)).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (mut here, _there) = tokio::io::duplex(64);
        write(&mut here, b"shorter than that", PATIENCE).await.unwrap();
    }
}
