//! Forking: another session with the history of this one up to a point.
//!
//! # Why it is one append, and no work of the session's
//!
//! What is durable can be read by anybody, so a fork asks nothing of its parent, which may run, wait or be stored. The
//! copy, the end of a turn that was open at that point, and the fact that it is a fork are written together or not at
//! all: half of a fork would be a session with an open turn, which somebody would go on with.

use std::collections::BTreeMap;
use std::sync::Arc;

use ergane_core::{
    Conversation, Envelope, Epoch, Event, FORMAT_VERSION, FinishReason, FoldError, Point, Seq, SessionName,
    Text, Timestamp,
};
use ergane_journal::{Append, AppendError, JournalError, JournalPort, Position};
use ergane_otp::Promise;
use tokio::sync::oneshot;

use crate::error::SessionError;
use crate::facts::now;
use crate::handle::Session;
use crate::requests::identity;

/// What the result of a call says that was open at the point of the fork.
const NOT_HERE: &str = "this call belongs to the session that this one was forked from; it was not run here";

pub(crate) async fn fork(parent: &Session, name: &str, at: Point) -> Result<Session, SessionError> {
    let name = SessionName::new(name).map_err(|error| SessionError::BadName(error.to_string()))?;
    let port = parent.port();
    let position = port.position(parent.name()).await?.filter(|position| position.next_seq > Seq(1));
    let position = position.ok_or_else(|| SessionError::NotFound(parent.name().clone()))?;
    let log = port.load(parent.name(), Seq(0), position.next_seq).await?;
    let source = parent.name().clone();
    let copied = tokio::task::spawn_blocking(move || copy(&source, &log, at, now()));
    let copied = copied.await.map_err(|error| SessionError::System(error.to_string()))??;
    if port.position(&name).await?.is_some_and(|position| position.next_seq > Seq(1)) {
        return Err(SessionError::Exists(name));
    }
    let fork = Session::new(parent.context().clone(), name, parent.durability());
    // In a task of its own: what has begun here is ended, also when nobody waits for it any more, or the name would stay taken.
    let made = {
        let fork = fork.clone();
        tokio::spawn(async move { make(fork.port(), fork.name(), copied).await })
    };
    made.await.map_err(|error| SessionError::System(error.to_string()))??;
    Ok(fork)
}

/// Writes the fork, if there is nothing of its name.
async fn make(
    port: &JournalPort,
    name: &SessionName,
    copied: Vec<(Timestamp, Event)>,
) -> Result<(), SessionError> {
    let opened = port.open(name).await?;
    if opened.next_seq != Seq(1) {
        return Err(SessionError::Exists(name.clone()));
    }
    let at = |next_seq| Position { epoch: opened.epoch, next_seq };
    let (empty, whole) = (at(Seq(1)), at(Seq(1 + copied.len() as u64)));
    if let Err(error) = write(port, name, opened.epoch, copied).await {
        match port.position(name).await {
            Ok(Some(found)) if found == whole => {} // it was written after all
            Ok(Some(found)) if found == empty => {
                // No name is taken by what does not exist. Through the writer, so after whatever was still on its way, and
                // only as this opening left it: somebody may have begun a session of that name since.
                if let Err(error) = port.delete_at(name, empty).await {
                    tracing::warn!(session = %name, %error, "what a failed fork left could not be deleted");
                }
                return Err(error);
            }
            // Somebody else's by now, or not to be known.
            _ => return Err(error),
        }
    }
    if let Err(error) = port.release(name).await {
        tracing::warn!(session = %name, %error, "the fork's owner could not be cleared; it ends with the process");
    }
    Ok(())
}

/// The facts of the fork: the parent's up to the point, the end of what is open there, and that it is a fork.
fn copy(
    parent: &SessionName,
    log: &[Arc<Envelope>],
    at: Point,
    now: Timestamp,
) -> Result<Vec<(Timestamp, Event)>, SessionError> {
    let damaged =
        |error: FoldError| SessionError::Quarantined { session: parent.clone(), reason: error.to_string() };
    let missing = || SessionError::NoSuchPoint { session: parent.clone(), point: at.clone() };
    let end = match &at {
        Point::Now => log.last().map_or(Seq(0), |last| last.seq),
        Point::At(seq) => *seq,
        // Of all that was ever called so, also of what was rewound, the last.
        Point::Label(label) => labels(log).remove(label).ok_or_else(missing)?,
    };
    if end < Seq(1) || log.last().is_none_or(|last| last.seq < end) {
        return Err(missing());
    }
    let prefix = || log.iter().take_while(|envelope| envelope.seq <= end);
    let mut conversation = Conversation::fold(prefix().map(Arc::as_ref)).map_err(damaged)?;
    let mut facts: Vec<_> = prefix().map(|envelope| (envelope.at, envelope.event.clone())).collect();
    let mut close = |conversation: &mut Conversation, event: Event| {
        let envelope = Envelope {
            v: FORMAT_VERSION,
            seq: conversation.seq().next(),
            epoch: Epoch(u64::MAX),
            at: now,
            event,
        };
        conversation.apply(&envelope).map_err(damaged)?;
        facts.push((now, envelope.event));
        Ok::<(), SessionError>(())
    };
    for event in conversation.close_calls(NOT_HERE) {
        close(&mut conversation, event)?;
    }
    if let Some(ended) = conversation.ended_now(FinishReason::Interrupted, None, None, None, now) {
        close(&mut conversation, ended)?;
    }
    close(&mut conversation, Event::Forked { parent: parent.clone(), at: end, id: Some(identity()) })?;
    Ok(facts)
}

fn labels(log: &[Arc<Envelope>]) -> BTreeMap<Text, Seq> {
    let label = |envelope: &Arc<Envelope>| match &envelope.event {
        Event::Checkpointed { label } => Some((label.clone(), envelope.seq)),
        _ => None,
    };
    log.iter().filter_map(label).collect()
}

async fn write(
    port: &JournalPort,
    session: &SessionName,
    epoch: Epoch,
    facts: Vec<(Timestamp, Event)>,
) -> Result<(), SessionError> {
    let events = (1..)
        .zip(facts)
        .map(|(seq, (at, event))| Arc::new(Envelope { v: FORMAT_VERSION, seq: Seq(seq), epoch, at, event }));
    let append = Append { session: session.clone(), epoch, expected: Seq(1), events: events.collect() };
    let (reply, outcome) = oneshot::channel();
    // Nobody listens any more when the caller has left; the fork is written or not.
    let done = Promise::new(move |outcome| drop(reply.send(outcome)));
    port.submit(append, done);
    match outcome.await.ok().flatten() {
        Some(Ok(())) => Ok(()),
        Some(Err(AppendError::Fenced { .. })) => Err(SessionError::Exists(session.clone())),
        Some(Err(AppendError::NotWritten { reason } | AppendError::Unknown { reason })) => {
            tracing::warn!(%session, %reason, "a fork was not written");
            Err(SessionError::NotForked { session: session.clone(), reason })
        }
        None => Err(JournalError::Away.into()),
    }
}
