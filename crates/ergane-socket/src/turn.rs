//! A turn for another process: taken, told as it happens, and its end.
//!
//! Whoever asked may go away: what the session has been handed is done all the same, also when it is not durable yet, and the next
//! one who asks with its key is told. What waited for its session to be brought up is not sent.

use std::io;
use std::time::Duration;

use ergane_core::{Durability, PendingApproval};
use ergane_session::{Activity, Input, Session, SessionContext, SessionError, SessionEvent, TurnStream};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::answer::{Served, is_of_a_sibling, problem};
use crate::asker::Asker;
use crate::siblings;
use crate::tree::Problem;
use crate::wire::{Answer, Order};

/// How often it is looked whether the turn waits for nothing but a decision, or for the journal.
const TICK: Duration = Duration::from_millis(100);
/// How long the session may take to say what it waits for: one that takes longer is asked again.
const GLANCE: Duration = Duration::from_secs(1);

pub(crate) async fn run(mut asker: Asker, order: &Order, served: &Served) -> io::Result<()> {
    let last = match taken_somewhere(&mut asker, order, served).await? {
        Ok((session, turn)) => {
            asker.say(&Ok(Answer::Accepted { accepted: true })).await?;
            follow(&mut asker, &session, turn).await?
        }
        Err(error) => Err(problem(error)),
    };
    asker.say_at_last(&last).await
}

type Taken = Result<(Session, TurnStream), SessionError>;

/// The turn, taken by the system of this process that has the session.
async fn taken_somewhere(asker: &mut Asker, order: &Order, served: &Served) -> io::Result<Taken> {
    let mut refused = None;
    for context in siblings::of(&served.journal, &served.context, &order.session) {
        match taken(asker, order, &context).await? {
            Err(error) if is_of_a_sibling(&error) => refused = Some(error),
            taken => return Ok(taken),
        }
    }
    Ok(Err(refused.unwrap_or_else(|| SessionError::NotFound(order.session.clone()))))
}

/// The turn, once it is durable that it will be run. It is waited for as at home, and meanwhile told why.
async fn taken(asker: &mut Asker, order: &Order, context: &SessionContext) -> io::Result<Taken> {
    let session = Session::new(context.clone(), order.session.clone(), Durability::Strict);
    let message = session.send_message(Input::from(order.input.clone())).key(&order.key);
    let message = message.settings(order.settings.clone()).meta(order.meta.clone());
    asker.is_there()?;
    let message = if order.keep { message.keep_settings() } else { message };
    let (mut taken, mut ticks) = (std::pin::pin!(message.taken()), interval(TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            taken = &mut taken => return Ok(taken.map(|turn| (session, turn))),
            gone = asker.hung_up() => return Err(gone),
            waits = async { ticks.tick().await; glance(&session).await } => match waits {
                Some(Waits::For(parked)) => asker.is_waited_for(parked).await?,
                Some(Waits::ForSomebody) | None => asker.is_waited_for_still().await?,
            },
        }
    }
}

/// What a session waits for.
enum Waits {
    /// A decision.
    ForSomebody,
    /// Its journal, or what it told; or nothing of the kind.
    For(Option<String>),
}

/// What the session waits for, if that can be told at once.
async fn glance(session: &Session) -> Option<Waits> {
    match timeout(GLANCE, session.status()).await.ok()? {
        Ok(status) => Some(match status.activity {
            Activity::AwaitingApproval { .. } => Waits::ForSomebody,
            Activity::Parked { reason } => Waits::For(Some(reason)),
            _ => Waits::For(None),
        }),
        Err(error) => error.may_pass().then(|| Waits::For(Some(error.to_string()))),
    }
}

/// Tells what happens; what the last line is.
async fn follow(
    asker: &mut Asker,
    session: &Session,
    mut turn: TurnStream,
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
                match event {
                    // That has a line of its own, which also tells when it is over.
                    SessionEvent::Parked { reason } => asker.is_waited_for(Some(reason.to_string())).await?,
                    event => asker.say(&Ok(Answer::Event { event })).await?,
                }
            }
            gone = asker.hung_up() => return Err(gone),
            // What happened before it waited has been told.
            () = std::future::ready(()), if waiting.is_some() => break,
            // Asked and not counted: what was requested before, by this turn or one that is before it, is no event here.
            waits = async { ticks.tick().await; glance(session).await } => match waits {
                Some(Waits::ForSomebody) => waiting = questions(session).await,
                Some(Waits::For(parked)) => asker.is_waited_for(parked).await?,
                None => asker.is_waited_for_still().await?,
            },
        }
    }
    if let Some(waits) = waiting {
        return Ok(Ok(Answer::Waits { waits }));
    }
    let result = turn.result().await.map_err(problem);
    Ok(result.map(|result| Answer::Result { result: Box::new(result) }))
}

/// What somebody is to decide, who is not here.
async fn questions(session: &Session) -> Option<Vec<PendingApproval>> {
    session.approvals().await.ok().filter(|pending| !pending.is_empty())
}

#[cfg(test)]
mod tests;
