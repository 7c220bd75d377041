//! A turn of a session that another living process owns: that process runs it.
//!
//! Nobody else may write to such a session, so there is no other way. For whoever asks it differs in this: the owner's
//! files, keys and tools are used; of its turn the final text is shown and not what leads to it, but for `--stream-json`,
//! which has every event; and what it asks is decided with `ergane approve`.

use ergane::core::SettingsPatch;
use ergane::session::SessionEvent;
use ergane::socket::{Outcome, RemoteError, RemoteSession, RemoteTurn, Told};

use super::Job;
use crate::follow::{AGAIN, guide, told, within};
use crate::outcome::Failure;
use crate::report::Report;
use crate::screen::Screen;

/// What came of asking the owner.
pub(super) enum Asked {
    /// The turn has ended there.
    Ended(Box<Report>),
    /// The owner died, or closed its socket, or this conversation. The turn is in the journal, if it was taken, and is gone on with
    /// by whoever sends the same key.
    BrokeOff,
    /// It has no socket, or none any more.
    NotReached,
}

/// Runs a turn there.
pub(super) async fn send(
    session: &RemoteSession,
    input: &str,
    key: &str,
    settings: SettingsPatch,
    job: &mut Job<'_>,
) -> Result<Asked, Failure> {
    let until = job.until();
    let message = session.send_message(input).key(key).settings(settings).keep_settings();
    let asking = async {
        match message.stream().await {
            Ok(turn) => Ok(Ok(turn)),
            Err(RemoteError::NoSocket { .. }) => Ok(Err(Asked::NotReached)),
            Err(RemoteError::OwnerEnded { .. }) => Ok(Err(Asked::BrokeOff)),
            Err(error) => Err(error.into()),
        }
    };
    let asked: Result<Result<RemoteTurn, Asked>, Failure> = within(until, job.signals.guard(asking)).await;
    let mut turn = match asked.map_err(|failure| failure.or_again(key))? {
        Ok(turn) => turn,
        Err(asked) => return Ok(asked),
    };
    let Job { screen, signals, .. } = job;
    let notes = screen.notes;
    let mut parking = Parking { screen, reason: None };
    let taken = signals.guard(taken(session, &mut turn, &mut parking));
    match within(until, taken).await {
        Ok(true) => {}
        Ok(false) => return Ok(Asked::BrokeOff),
        Err(failure) => return Err(failure.or_again(key).or_parked(parking.reason)),
    }
    notes.say(&format!("process {} owns session {} and runs the turn", session.pid(), session.name()));
    let told = tell(session, &mut turn, &mut parking);
    let told = guide(told, || interrupt(session, key), notes, signals, until).await;
    let told = told.map_err(|failure| failure.or_again(key).or_parked(parking.reason))?;
    Ok(told.map_or(Asked::BrokeOff, |report| Asked::Ended(Box::new(report))))
}

/// Waits until the owner has taken it. False when that died.
async fn taken(
    session: &RemoteSession,
    turn: &mut RemoteTurn,
    parking: &mut Parking<'_>,
) -> Result<bool, Failure> {
    loop {
        match turn.next().await {
            Ok(Some(Told::Taken)) => return Ok(true),
            Ok(Some(Told::Event(SessionEvent::Parked { reason }))) => parking.is(Some(reason.to_string())),
            Ok(Some(Told::GoesOn)) => parking.is(None),
            Ok(_) => {
                return Err(Failure::owned(session.name(), session.pid(), "which did not accept the turn"));
            }
            Err(RemoteError::OwnerEnded { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Asks for the end of the turn there, until there is one to end. An owner that is dead by now has nothing to end.
async fn interrupt(session: &RemoteSession, key: &str) -> Result<(), Failure> {
    loop {
        match session.interrupt_send(key, "Ctrl-C").await {
            Ok(false) => tokio::time::sleep(AGAIN).await,
            // The turn is on its way to its end: at once, or when the disk can take it.
            Ok(true) | Err(RemoteError::NoSocket { .. } | RemoteError::OwnerEnded { .. }) => {
                return told().await;
            }
            Err(error) if error.kind() == "journal" => return told().await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Why nothing happens there, for as long as the journal takes nothing.
#[derive(Debug)]
struct Parking<'a> {
    screen: &'a mut Screen,
    reason: Option<String>,
}

impl Parking<'_> {
    /// Tells it: for people, and as the event that it is in a turn of one's own.
    fn is(&mut self, reason: Option<String>) {
        if let Some(reason) = &reason {
            self.screen.notes.say(&format!("waiting: {reason}"));
            self.screen.event(&SessionEvent::Parked { reason: reason.as_str().into() });
        }
        self.reason = reason;
    }
}

/// Tells what happens there until it ends.
async fn tell(
    session: &RemoteSession,
    turn: &mut RemoteTurn,
    parking: &mut Parking<'_>,
) -> Result<Option<Report>, Failure> {
    loop {
        match turn.next().await {
            Ok(Some(Told::Event(SessionEvent::Parked { reason }))) => parking.is(Some(reason.to_string())),
            Ok(Some(Told::Event(event))) => parking.screen.raw_event(&event),
            Ok(Some(Told::Unknown(event))) => parking.screen.raw_event(&event),
            Ok(Some(Told::GoesOn)) => parking.is(None),
            Ok(Some(Told::Silent)) => parking.screen.notes.say(&format!(
                "process {} gives no sign of life; it may be stopped: `ergane top` tells",
                session.pid()
            )),
            Ok(Some(Told::Over(Outcome::Ended(result)))) => return Ok(Some(Report::of_turn(&result))),
            Ok(Some(Told::Over(Outcome::Waits { questions, .. }))) => {
                return Err(Failure::waiting(session.name(), &questions));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(RemoteError::OwnerEnded { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}
