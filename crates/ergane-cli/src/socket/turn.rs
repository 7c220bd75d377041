//! A turn for another process: accepted, told as it happens, and its end.
//!
//! Whoever asked may go away: what was accepted goes on all the same, and the next one who asks with its key is told.

use std::io;
use std::time::Duration;

use ergane::System;
use ergane::session::{Activity, Session, SessionError, SessionEvent, TurnStream};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval};

use super::server::problem;
use super::wire::{self, Answer, Ask, Problem};
use crate::outcome::Failure;
use crate::report::Report;

/// How often it is looked whether the turn waits for nothing but a decision.
const TICK: Duration = Duration::from_millis(100);

pub(super) async fn run(mut stream: UnixStream, ask: Ask, system: &System) -> io::Result<()> {
    let last = match begin(ask, system).await {
        Ok((session, turn)) => {
            say(&mut stream, &Ok(Answer::Accepted { accepted: true })).await?;
            follow(&mut stream, &session, turn).await?
        }
        Err(error) => Err(problem(error)),
    };
    say(&mut stream, &last).await?;
    stream.shutdown().await
}

async fn say(stream: &mut UnixStream, answer: &Result<Answer, Problem>) -> io::Result<()> {
    stream.write_all(&wire::answer(answer)).await
}

async fn begin(ask: Ask, system: &System) -> Result<(Session, TurnStream), SessionError> {
    let Ask::Send { session, input, key, settings } = ask else {
        return Err(SessionError::System("only a turn is run here".to_owned()));
    };
    let session = system.session(session.as_str()).settings(*settings).start().await?;
    let turn = session.send_message(&*input).key(&*key).stream().await?;
    Ok((session, turn))
}

/// Tells what happens; what the last line is.
async fn follow(
    stream: &mut UnixStream,
    session: &Session,
    mut turn: TurnStream,
) -> io::Result<Result<Answer, Problem>> {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut undecided = 0_usize;
    loop {
        tokio::select! {
            biased;
            event = turn.next() => {
                let Some(event) = event else { break };
                match &event {
                    SessionEvent::ApprovalRequested { .. } => undecided = undecided.saturating_add(1),
                    SessionEvent::ApprovalDecided { .. } => undecided = undecided.saturating_sub(1),
                    _ => {}
                }
                let event = serde_json::to_value(&event).map_err(io::Error::other)?;
                say(stream, &Ok(Answer::Event { event })).await?;
            }
            _ = ticks.tick(), if undecided > 0 => {
                if let Some(failure) = waits(session).await {
                    return Ok(ended(&Report::of_failure(Some(session.name()), &failure, Duration::ZERO)));
                }
            }
        }
    }
    Ok(match turn.result().await {
        Ok(result) => ended(&Report::of_turn(&result)),
        Err(error) => Err(problem(error)),
    })
}

/// Whether it waits for somebody, who is not here.
async fn waits(session: &Session) -> Option<Failure> {
    let status = session.status().await.ok()?;
    let pending = session.approvals().await.ok().filter(|pending| !pending.is_empty())?;
    let waits = matches!(status.activity, Activity::AwaitingApproval { .. });
    waits.then(|| Failure::waiting(session.name(), &pending))
}

fn ended(report: &Report) -> Result<Answer, Problem> {
    let value = serde_json::to_value(report).map_err(|error| Problem::new("internal", error.to_string()))?;
    Ok(Answer::Ended { report: value, exit: report.exit, waiting: report.waiting.clone() })
}
