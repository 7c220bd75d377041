//! One module a command.

mod approve;
mod ask;
mod chat;
mod completions;
#[cfg(unix)]
mod control;
mod doctor;
#[cfg(unix)]
mod elsewhere;
mod inventory;
mod resume;
mod send;
mod sessions;
#[cfg(unix)]
mod top;

use std::time::Duration;

use ergane::core::{SessionName, SettingsPatch, Ungranted};
use ergane::session::{Session, SessionError};
use tokio::time::{Instant, sleep, sleep_until};

use crate::args::{Cli, Command, Global, TurnFlags};
use crate::config::Config;
use crate::follow::accepted;
use crate::outcome::Failure;
use crate::provider;
use crate::screen::{Format, Notes, Screen};
use crate::settings;
use crate::signals::Signals;
use crate::workshop::{Place, Workshop, seen};

/// How long a command that is done stays for turns that others have asked it for: as long as a shell may take.
const STAY: Duration = Duration::from_secs(600);
/// How often it looks whether they are over.
const LOOK: Duration = Duration::from_millis(50);

/// Does what the command line says; its exit status.
pub(crate) async fn run(cli: Cli) -> u8 {
    let Cli { global, command } = cli;
    let screen = |flags: &TurnFlags| Screen::new(format(global.json, flags.stream_json), global.quiet);
    let notes = Notes::new(global.quiet);
    let home = Home::find(&global);
    let place = |home: Result<Home, Failure>| home.and_then(|home| home.place);
    let json = global.json;
    match command {
        Command::Query(args) => ask::run(ask::Kind::Query, &args, home, screen(&args.flags)).await,
        Command::Run(args) => ask::run(ask::Kind::Run, &args, home, screen(&args.flags)).await,
        Command::Send(args) => send::run(&args, home, screen(&args.flags)).await,
        Command::Resume(args) => resume::run(&args, home, screen(&args.flags)).await,
        Command::Chat(args) => chat::run(&args, home, screen(&args.flags)).await,
        Command::Approve(args) => inventory::print(approve::run(args, place(home)), json, notes).await,
        #[cfg(unix)]
        Command::Steer(args) => inventory::print(control::steer(args, place(home)), json, notes).await,
        #[cfg(unix)]
        Command::Interrupt(args) => {
            inventory::print(control::interrupt(args, place(home)), json, notes).await
        }
        Command::Sessions(args) => sessions::run(args.command, place(home), json, notes).await,
        Command::Providers => inventory::print(inventory::providers(home), json, notes).await,
        Command::Models(args) => inventory::print(inventory::models(&args, home), json, notes).await,
        Command::Tools => inventory::print(inventory::tools(home), json, notes).await,
        Command::Doctor => inventory::print(doctor::examine(&global), json, notes).await,
        Command::Completions { shell } => completions::run(shell),
        #[cfg(unix)]
        Command::Top => top::run(place(home), json, notes).await,
    }
}

/// What holds for every command: the configuration, and where the journal is.
#[derive(Debug)]
struct Home {
    config: Config,
    /// A question of which nothing is kept does without.
    place: Result<Place, Failure>,
}

impl Home {
    fn find(global: &Global) -> Result<Self, Failure> {
        let config = Config::load(global.config.as_deref())?;
        let place = Place::find(global.journal.as_deref(), &config);
        Ok(Self { config, place })
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
    config: Config,
    flags: &'a TurnFlags,
    started: Instant,
    screen: Screen,
    signals: Signals,
}

impl<'a> Job<'a> {
    fn new(flags: &'a TurnFlags, config: Config, screen: Screen) -> Result<Self, (Screen, Failure)> {
        match Signals::listen() {
            Ok(signals) => Ok(Self { config, flags, started: Instant::now(), screen, signals }),
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
        self.signals.guard(Workshop::open(place, &self.config, self.flags.script.as_deref())).await
    }

    /// What the flags set, the provider of a new turn or session included.
    async fn patch(&mut self, workshop: &Workshop, stored: Option<&str>) -> Result<SettingsPatch, Failure> {
        let given = settings::patch(self.flags, &workshop.tools())?;
        let mut patch = if stored.is_none() { self.config.defaults().merged(given) } else { given };
        let providers = workshop.system.context().providers();
        let chosen =
            provider::choose(providers, &self.config, self.flags, stored, &mut patch, self.screen.notes);
        self.signals.guard(chosen).await?;
        if stored.is_none() {
            // What was not granted waits until somebody decides, here or elsewhere.
            patch.ungranted = Some(Ungranted::Ask);
        }
        Ok(patch)
    }

    /// Stays until no session has a turn that goes on, but not past `until`, not for ever, and not for somebody who wants the end.
    /// For a command whose own turns are over: what goes on was asked for by other processes, of this one because it owns their
    /// session, and its end would cut it off in the middle.
    async fn stay(&mut self, workshop: &Workshop, until: Option<Instant>) {
        let latest = Instant::now() + STAY;
        let until = until.map_or(latest, |until| until.min(latest));
        let mut told = false;
        loop {
            let is_at_work = tokio::select! {
                biased;
                _ = self.signals.next() => return,
                () = sleep_until(until) => return,
                is_at_work = workshop.is_at_work() => is_at_work,
            };
            if !is_at_work {
                return;
            }
            if !told {
                let what = "a turn that another process has asked for is not over";
                self.screen
                    .notes
                    .say(&format!("{what}: staying until it is; Ctrl-C leaves it to that process"));
                told = true;
            }
            tokio::select! {
                biased;
                _ = self.signals.next() => return,
                () = sleep_until(until) => return,
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Closes what was opened. One that `is_done` with what it was to do stays before that for what others have asked it for; whoever
    /// has pressed Ctrl-C is not kept.
    async fn leave(&mut self, workshop: Workshop, is_done: bool, until: Option<Instant>) {
        if is_done && !self.signals.is_over() && !self.signals.interrupted() {
            self.stay(&workshop, until).await;
        }
        workshop.close(self.shutdown()).await;
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
        let seen = seen(&workshop.system, name.clone());
        self.signals.guard(accepted(&seen, self.screen.notes, until, start)).await
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
