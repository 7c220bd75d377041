//! What is asked of a session that another living process owns: that process does it.
//!
//! Nobody else may write to such a session, so there is no other way. For whoever asks it differs in this: the owner's
//! files, keys and tools are used; of its turn the final text is shown and not what leads to it, but for `--stream-json`,
//! which has every event; and what it asks is decided with `ergane approve`.

use std::path::Path;
use std::time::Duration;

use ergane::core::{SessionName, SettingsPatch};
use ergane::session::SessionEvent;
use tokio::time::timeout;

use super::Job;
use crate::follow::{AGAIN, guide, within};
use crate::outcome::Failure;
use crate::report::Report;
use crate::screen::Screen;
use crate::socket::client::Owner;
use crate::socket::wire::{Ask, Heard, IDLE};

/// How long the owner may take to say that it has understood; one that is stopped never does.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whose a session is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elsewhere<'a> {
    pub(super) journal: &'a Path,
    pub(super) session: &'a SessionName,
    pub(super) pid: u32,
}

impl Elsewhere<'_> {
    async fn open(&self, ask: Ask) -> Result<Owner, Failure> {
        let why = "which has no socket beside the journal: wait for its end, or ask it itself";
        self.reach(ask).await?.ok_or_else(|| Failure::owned(self.session, self.pid, why))
    }

    /// `None` when it is dead, or has no socket.
    async fn reach(&self, ask: Ask) -> Result<Option<Owner>, Failure> {
        let unreachable = |why: &str| Failure::owned(self.session, self.pid, why);
        match timeout(PATIENCE, Owner::ask(self.journal, self.pid, ask)).await {
            Ok(Ok(owner)) => Ok(owner),
            Ok(Err(error)) => Err(unreachable(&format!("which cannot be asked: {error}"))),
            Err(_) => Err(unreachable("which does not answer")),
        }
    }

    async fn hear_soon(&self, owner: &mut Owner) -> Result<Option<Heard>, Failure> {
        match timeout(PATIENCE, owner.hear()).await {
            Ok(heard) => heard.map_err(|problem| Failure::of_another(&problem)),
            Err(_) => {
                let why = format!(
                    "which did not answer within {} s; it may be stopped: `ergane top` tells",
                    PATIENCE.as_secs()
                );
                Err(Failure::owned(self.session, self.pid, &why))
            }
        }
    }

    /// Asks for something that is done at once; what came of it, in a word.
    pub(super) async fn ask(&self, ask: Ask) -> Result<String, Failure> {
        let mut owner = self.open(ask).await?;
        match self.hear_soon(&mut owner).await? {
            Some(Heard::Done { done }) => Ok(done),
            Some(Heard::Failed { error }) => Err(Failure::of_another(&error)),
            Some(_) => Err(self.otherwise()),
            None => Err(Failure::owned(self.session, self.pid, "which ended just now; ask again")),
        }
    }

    fn otherwise(&self) -> Failure {
        Failure::owned(self.session, self.pid, "which says something else than was asked")
    }

    /// Runs a turn there. `None` when the process died meanwhile: the turn is in the journal, if it was accepted, and is
    /// gone on with by whoever sends the same key.
    pub(super) async fn send(
        &self,
        input: &str,
        key: &str,
        settings: SettingsPatch,
        job: &mut Job<'_>,
    ) -> Result<Option<Report>, Failure> {
        let ask = Ask::Send {
            session: self.session.clone(),
            input: input.into(),
            key: key.into(),
            settings: Box::new(settings),
        };
        let until = job.until();
        let mut owner = within(until, job.signals.guard(self.open(ask))).await?;
        let Job { screen, signals, .. } = job;
        let notes = screen.notes;
        let mut parking = Parking { screen, reason: None };
        let accepted = signals.guard(self.accepted(&mut owner, &mut parking));
        match within(until, accepted).await {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(failure) => return Err(failure.or_parked(parking.reason)),
        }
        notes.say(&format!("process {} owns session {} and runs the turn", self.pid, self.session));
        let told = tell(&mut owner, &mut parking);
        let told = guide(told, || self.interrupt(), notes, signals, until).await;
        told.map_err(|failure| failure.or_parked(parking.reason))
    }

    /// Waits until the owner has begun with it. False when that died.
    async fn accepted(&self, owner: &mut Owner, parking: &mut Parking<'_>) -> Result<bool, Failure> {
        loop {
            match self.hear_soon(owner).await? {
                Some(Heard::Accepted { accepted: true }) => return Ok(true),
                Some(Heard::Parked { parked }) => parking.is(Some(parked)),
                Some(Heard::GoesOn { .. }) => parking.is(None),
                Some(Heard::Failed { error }) => return Err(Failure::of_another(&error)),
                Some(_) => {
                    return Err(Failure::owned(self.session, self.pid, "which did not accept the turn"));
                }
                None => return Ok(false),
            }
        }
    }

    /// Asks for the end of the turn there, until there is one to end. An owner that is dead by now has nothing to end.
    async fn interrupt(&self) -> Result<(), Failure> {
        loop {
            let ask = Ask::Interrupt { session: self.session.clone(), reason: "Ctrl-C".into() };
            let Some(mut owner) = self.reach(ask).await? else { return Ok(()) };
            match self.hear_soon(&mut owner).await? {
                Some(Heard::Done { done }) if done == IDLE => tokio::time::sleep(AGAIN).await,
                // The turn is on its way to its end: at once, or when the disk can take it.
                Some(Heard::Done { .. }) | None => return Ok(()),
                Some(Heard::Failed { error }) if error.kind == "journal" => return Ok(()),
                Some(Heard::Failed { error }) => return Err(Failure::of_another(&error)),
                Some(_) => return Err(self.otherwise()),
            }
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
    /// Tells it when it is something else than before: for people, and as the event that it is in a turn of one's own.
    fn is(&mut self, reason: Option<String>) {
        if let Some(reason) = reason.as_ref().filter(|_| reason != self.reason) {
            self.screen.notes.say(&format!("waiting: {reason}"));
            self.screen.event(&SessionEvent::Parked { reason: reason.as_str().into() });
        }
        self.reason = reason;
    }
}

/// Tells what happens there until it ends.
async fn tell(owner: &mut Owner, parking: &mut Parking<'_>) -> Result<Option<Report>, Failure> {
    loop {
        match owner.hear().await.map_err(|problem| Failure::of_another(&problem))? {
            Some(Heard::Event { event }) => parking.screen.raw_event(event),
            Some(Heard::Parked { parked }) => parking.is(Some(parked)),
            Some(Heard::GoesOn { .. }) => parking.is(None),
            Some(Heard::Ended { report, exit, waiting }) => {
                let report: Report = serde_json::from_value(report)
                    .map_err(|error| Failure::internal(format!("the owner's report is garbled: {error}")))?;
                return Ok(Some(Report { exit, waiting, ..report }));
            }
            Some(Heard::Failed { error }) => return Err(Failure::of_another(&error)),
            Some(_) => {}
            None => return Ok(None),
        }
    }
}
