//! What is asked of a session that another living process owns: that process does it.
//!
//! Nobody else may write to such a session, so there is no other way; and for whoever asks it makes no difference, but
//! that the owner's files, keys and tools are used.

use std::path::Path;
use std::time::Duration;

use ergane::core::{SessionName, SettingsPatch};
use tokio::time::timeout;

use super::Job;
use crate::outcome::Failure;
use crate::report::Report;
use crate::screen::Screen;
use crate::signals::{Signal, ended_by};
use crate::socket::client::Owner;
use crate::socket::wire::{Ask, Heard};

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
        let unreachable = |why: &str| Failure::owned(self.session, self.pid, why);
        match timeout(PATIENCE, Owner::ask(self.journal, self.pid, ask)).await {
            Ok(Ok(Some(owner))) => Ok(owner),
            Ok(Ok(None)) => {
                Err(unreachable("which has no socket beside the journal: wait for its end, or ask it itself"))
            }
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
            Some(_) => {
                Err(Failure::owned(self.session, self.pid, "which says something else than was asked"))
            }
            None => Err(Failure::owned(self.session, self.pid, "which ended just now; ask again")),
        }
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
        let mut owner = job.signals.guard(self.open(ask)).await?;
        let until = job.until();
        match job.signals.guard(self.hear_soon(&mut owner)).await? {
            Some(Heard::Accepted { accepted: true }) => {}
            Some(Heard::Failed { error }) => return Err(Failure::of_another(&error)),
            Some(_) => return Err(Failure::owned(self.session, self.pid, "which did not accept the turn")),
            None => return Ok(None),
        }
        let Job { screen, signals, .. } = job;
        screen.notes.say(&format!("process {} owns session {} and runs the turn", self.pid, self.session));
        let mut telling = std::pin::pin!(tell(&mut owner, screen));
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signal::Interrupt => {
                        let ask = Ask::Interrupt { session: self.session.clone(), reason: "Ctrl-C".into() };
                        self.ask(ask).await?;
                    }
                    Signal::Quit | Signal::Terminate => return Err(ended_by(signal)),
                },
                ended = &mut telling => return ended,
                () = crate::follow::passed(until) => return Err(crate::follow::too_late()),
            }
        }
    }
}

/// Tells what happens there until it ends.
async fn tell(owner: &mut Owner, screen: &mut Screen) -> Result<Option<Report>, Failure> {
    loop {
        match owner.hear().await.map_err(|problem| Failure::of_another(&problem))? {
            Some(Heard::Event { event }) => screen.raw_event(event),
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
