//! A turn for another process: accepted, told as it happens, and its end.
//!
//! Whoever asked may go away: what was accepted goes on all the same, and the next one who asks with its key is told.

use std::io;
use std::time::Duration;

use ergane_core::{Durability, Part, PendingApproval, SessionName, SettingsPatch, Text};
use ergane_session::{
    Activity, Input, Session, SessionBuilder, SessionContext, SessionError, SessionEvent, TurnStream,
};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::answer::{Served, is_of_a_sibling, problem};
use crate::siblings;
use crate::tree::Problem;
use crate::wire::{self, Answer};

/// How often it is looked whether the turn waits for nothing but a decision.
const TICK: Duration = Duration::from_millis(100);
/// How long whoever asked may take to hear a line.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is said of a turn that is not begun why it is not: before whoever asked takes this process for a stopped one.
const AGAIN: Duration = Duration::from_secs(3);

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) session: SessionName,
    pub(crate) input: Vec<Part>,
    pub(crate) key: Text,
    pub(crate) settings: SettingsPatch,
}

pub(crate) async fn run(mut stream: UnixStream, order: Order, served: &Served) -> io::Result<()> {
    let last = match begun_somewhere(&mut stream, &order, served).await? {
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

/// Waits until whoever asked has gone away, and says how. In a turn in which nothing happens nothing is written that would tell,
/// and a place among those who are answered is not to be held for nobody.
async fn hung_up(stream: &UnixStream) -> io::Error {
    loop {
        let read = match stream.readable().await {
            Ok(()) => stream.try_read(&mut [0; 64]),
            Err(error) => return error,
        };
        match read {
            Ok(0) => return io::ErrorKind::BrokenPipe.into(),
            Ok(_) => {} // all was said in the first line
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return error,
        }
    }
}

type Begun = Result<(Session, TurnStream, Parking), SessionError>;

/// The turn, begun by the system of this process that has the session.
async fn begun_somewhere(stream: &mut UnixStream, order: &Order, served: &Served) -> io::Result<Begun> {
    let mut refused = None;
    for context in siblings::of(&served.journal, &served.context, &order.session) {
        match begun(stream, order, &context).await? {
            Err(error) if is_of_a_sibling(&error) => refused = Some(error),
            begun => return Ok(begun),
        }
    }
    Ok(Err(refused.unwrap_or_else(|| SessionError::NotFound(order.session.clone()))))
}

/// The turn, once the session takes it. While the journal takes nothing, that is told, and it is waited like at home.
async fn begun(stream: &mut UnixStream, order: &Order, context: &SessionContext) -> io::Result<Begun> {
    let Order { session, input, key, settings } = order;
    let seen = Session::new(context.clone(), session.clone(), Durability::Strict);
    let begin = async {
        let builder = SessionBuilder::new(context.clone(), session.as_str());
        let session = builder.settings(settings.clone()).start().await?;
        let turn = session.send_message(Input::from(input.clone())).key(key).stream().await?;
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

/// Why the session's facts cannot be written now, if they cannot.
async fn parked(session: &Session) -> Option<String> {
    match session.status().await.ok()?.activity {
        Activity::Parked { reason } => Some(reason),
        _ => None,
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
                say(stream, &Ok(Answer::Event { event })).await?;
            }
            gone = hung_up(stream) => return Err(gone),
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
    if let Some(waits) = waiting {
        return Ok(Ok(Answer::Waits { waits }));
    }
    let result = turn.result().await.map_err(problem);
    Ok(result.map(|result| Answer::Result { result: Box::new(result) }))
}

/// What it waits for: somebody, who is not here.
async fn waits(session: &Session) -> Option<Vec<PendingApproval>> {
    session.approvals().await.ok().filter(|pending| !pending.is_empty())
}

#[cfg(test)]
mod tests;
