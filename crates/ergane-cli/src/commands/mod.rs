//! One module a command.

mod ask;
mod resume;
mod send;
mod sessions;
#[cfg(unix)]
mod top;

use std::time::Duration;

use ergane::core::{SessionName, SettingsPatch, Ungranted};
use ergane::session::{Session, SessionError};
use tokio::time::Instant;

use crate::args::{Cli, Command, TurnFlags};
use crate::follow::within;
use crate::outcome::Failure;
use crate::provider;
use crate::screen::{Format, Notes, Screen};
use crate::settings;
use crate::signals::Signals;
use crate::workshop::{Place, Workshop};

/// Does what the command line says; its exit status.
pub(crate) async fn run(cli: Cli) -> u8 {
    let Cli { global, command } = cli;
    let screen = |flags: &TurnFlags| Screen::new(format(global.json, flags.stream_json), global.quiet);
    let place = Place::find(global.journal.as_deref());
    match command {
        Command::Query(args) => ask::run(ask::Kind::Query, &args, screen(&args.flags)).await,
        Command::Run(args) => ask::run(ask::Kind::Run, &args, screen(&args.flags)).await,
        Command::Send(args) => send::run(&args, place, screen(&args.flags)).await,
        Command::Resume(args) => resume::run(&args, place, screen(&args.flags)).await,
        Command::Sessions(args) => {
            sessions::run(args.command, place, global.json, Notes::new(global.quiet)).await
        }
        #[cfg(unix)]
        Command::Top => top::run(place, global.json, Notes::new(global.quiet)).await,
    }
}

fn format(json: bool, stream_json: bool) -> Format {
    match (json, stream_json) {
        (_, true) => Format::StreamJson,
        (true, false) => Format::Json,
        (false, false) => Format::Text,
    }
}

/// What the commands that run turns work with.
#[derive(Debug)]
struct Job<'a> {
    flags: &'a TurnFlags,
    started: Instant,
    screen: Screen,
    signals: Signals,
}

impl<'a> Job<'a> {
    fn new(flags: &'a TurnFlags, screen: Screen) -> Result<Self, (Screen, Failure)> {
        match Signals::listen() {
            Ok(signals) => Ok(Self { flags, started: Instant::now(), screen, signals }),
            Err(failure) => Err((screen, failure)),
        }
    }

    /// When waiting ends.
    fn until(&self) -> Option<Instant> {
        self.flags.timeout.and_then(|timeout| self.started.checked_add(timeout))
    }

    /// How long the end may take, in which tools that run are ended and their process groups too: not long for somebody
    /// who pressed Ctrl-C twice.
    fn shutdown(&self) -> Duration {
        if self.signals.quit() { Duration::from_millis(300) } else { Duration::from_secs(5) }
    }

    /// The system.
    async fn workshop(&mut self, place: &Place) -> Result<Workshop, Failure> {
        self.signals.guard(Workshop::open(place, self.flags.script.as_deref())).await
    }

    /// What the flags set, the provider of a new turn or session included.
    async fn patch(&mut self, workshop: &Workshop, stored: Option<&str>) -> Result<SettingsPatch, Failure> {
        let mut patch = settings::patch(self.flags, &workshop.tools())?;
        let providers = workshop.system.context().providers();
        let chosen = provider::choose(providers, self.flags, stored, &mut patch, self.screen.notes);
        self.signals.guard(chosen).await?;
        if stored.is_none() {
            // Nobody can be asked here, so what was not granted does not run.
            patch.ungranted = Some(Ungranted::Deny);
        }
        Ok(patch)
    }

    /// Gets, starts or recovers the session.
    async fn start(
        &mut self,
        workshop: &Workshop,
        name: &SessionName,
        patch: SettingsPatch,
    ) -> Result<Session, Failure> {
        let until = self.until();
        let starting = workshop.system.session(name.as_str()).settings(patch).start();
        let start = async {
            match starting.await {
                Ok(session) => Ok(session),
                Err(SessionError::Deadline) => Err(stuck(workshop, name).await),
                Err(error) => Err(Failure::from(error)),
            }
        };
        self.signals.guard(within(until, start)).await
    }
}

/// A session that does not start in time waits for its journal; that says why.
async fn stuck(workshop: &Workshop, name: &SessionName) -> Failure {
    match workshop.journal().open(name).await {
        Err(error) => Failure::from(error),
        Ok(_) => Failure::from(SessionError::Deadline),
    }
}

/// The session's name, checked.
fn session_name(name: &str) -> Result<SessionName, Failure> {
    SessionName::new(name).map_err(|error| Failure::config(error.to_string()))
}

/// A prompt that says something.
fn check_prompt(prompt: &str) -> Result<(), Failure> {
    if prompt.trim().is_empty() { Err(SessionError::EmptyPrompt.into()) } else { Ok(()) }
}
