//! `chat`: a conversation with a person, turn by turn, on a durable session.
//!
//! A turn is run and shown as by `send`; what is here is what lies between turns: the prompt, the commands that begin
//! with a slash, and what Ctrl-C and Ctrl-D mean. Elsewhere than on a terminal each line of stdin is a prompt.

mod input;
mod slash;

use std::sync::atomic::{AtomicU64, Ordering};

use ergane::core::SessionName;
use ergane::session::Session;

use self::input::{Input, Said};
use self::slash::Next;
use super::resume::{self, Pending};
use super::{Home, Job, session_name};
use crate::args::ChatArgs;
use crate::follow::{Following, accepted, follow};
use crate::outcome::{FAILED, Failure, INTERRUPTED, OK};
use crate::report::Report;
use crate::screen::{Format, Screen};
use crate::signals::{Signal, ended_by};
use crate::workshop::{Place, Workshop};

pub(crate) async fn run(args: &ChatArgs, home: Result<Home, Failure>, screen: Screen) -> u8 {
    let name = match args.session.as_deref().map(session_name).transpose() {
        Ok(Some(name)) => Ok(name),
        Ok(None) => new_name(),
        Err(failure) => Err(failure),
    };
    let name = match name {
        Ok(name) => name,
        Err(failure) => return super::send::end_early(screen, None, &failure),
    };
    let home = match home {
        Ok(home) => home,
        Err(failure) => return super::send::end_early(screen, Some(&name), &failure),
    };
    let mut job = match Job::new(&args.flags, home.config, screen) {
        Ok(job) => job,
        Err((screen, failure)) => return super::send::end_early(screen, Some(&name), &failure),
    };
    let chatted = match home.place {
        Ok(place) => chat(name, &place, &mut job).await,
        Err(failure) => Err(failure),
    };
    let exit = chatted.unwrap_or_else(|failure| {
        job.screen.notes.failure(&failure);
        failure.exit
    });
    if job.screen.stdout.has_failed() { exit.max(FAILED) } else { exit }
}

/// A name that says when, and that nobody has: of this process there may be several within a second.
fn new_name() -> Result<SessionName, Failure> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d-%H%M%S");
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    session_name(&format!("chat-{now}-{}-{next}", std::process::id()))
}

async fn chat(name: SessionName, place: &Place, job: &mut Job<'_>) -> Result<u8, Failure> {
    let workshop = job.workshop(place).await?;
    let mut talk = Talk::begin(name, job, &workshop).await;
    let ended = match &mut talk {
        Ok(talk) => converse(talk, job, &workshop).await,
        Err(failure) => Err(failure.clone()),
    };
    // Who has pressed Ctrl-C, or has left a turn of his own open, is not kept.
    let is_done = matches!(&ended, Ok(exit) if *exit != INTERRUPTED);
    job.leave(workshop, is_done && talk.is_ok_and(|talk| !talk.leaves_open), None).await;
    ended
}

/// One session after another, until somebody has said enough.
async fn converse(talk: &mut Talk, job: &mut Job<'_>, workshop: &Workshop) -> Result<u8, Failure> {
    let mut input = Input::open(job.screen.format() == Format::Text);
    // A person saw how each turn ended; a script is told of the last one.
    let status = |exit: u8, input: &Input| if input.is_person() { OK } else { exit };
    let (mut exit, mut pressed) = (OK, false);
    loop {
        let said = tokio::select! {
            biased;
            signal = job.signals.next() => match signal {
                Signal::Interrupt => Said::Interrupted,
                Signal::Quit => return Ok(INTERRUPTED),
                Signal::Terminate => return Err(ended_by(signal)),
            },
            said = input.next() => said,
        };
        job.signals.forget();
        let line = match said {
            Said::End => return Ok(status(exit, &input)),
            Said::Failed(why) => return Err(Failure::internal(why)),
            Said::Interrupted if pressed || !input.is_person() => return Ok(INTERRUPTED),
            Said::Interrupted => {
                pressed = true;
                job.screen.notes.say("Ctrl-C again quits; so does Ctrl-D");
                continue;
            }
            Said::Line(line) => line,
        };
        pressed = false;
        if line.trim().is_empty() {
            continue;
        }
        if let Some(command) = line.trim_start().strip_prefix('/') {
            match slash::run(command, talk, job, workshop).await {
                Next::Go => {}
                Next::Exit => return Ok(status(exit, &input)),
                Next::Fresh => *talk = talk.fresh(job, workshop).await?,
            }
            continue;
        }
        exit = talk.turn(&line, job).await;
        if job.signals.is_over() {
            return Ok(exit);
        }
        // Nobody is there to decide, so whatever else is asked waits behind it.
        if exit == crate::outcome::WAITING && !input.is_person() {
            return Ok(exit);
        }
        job.signals.forget();
    }
}

/// The session that is talked with.
struct Talk {
    session: Session,
    /// Whether its last turn was given up before its end.
    leaves_open: bool,
}

impl Talk {
    /// Gets or makes the session, and finishes what a crash left open.
    async fn begin(name: SessionName, job: &mut Job<'_>, workshop: &Workshop) -> Result<Self, Failure> {
        let stored = resume::stored(workshop, &name).await?;
        let provider = stored.as_ref().map(|stored| &*stored.provider);
        let patch = job.patch(workshop, provider).await?;
        let session = job.start(workshop, &name, patch).await?;
        job.screen.notes.say(&format!("session {name}; /help tells what can be said beside prompts"));
        let pending: Vec<Pending> = stored.map(|stored| stored.pending).unwrap_or_default();
        for pending in &pending {
            let ended = resume::finish(pending, &session, job).await.map_err(Failure::leaving_it_open)?;
            job.screen.finish(&Report::of_turn(&ended));
            job.signals.forget();
        }
        Ok(Self { session, leaves_open: false })
    }

    /// Another session with the settings of this one.
    async fn fresh(&self, job: &mut Job<'_>, workshop: &Workshop) -> Result<Self, Failure> {
        let patch = self.session.settings().await?.as_patch();
        let session = job.start(workshop, &new_name()?, patch).await?;
        job.screen.notes.say(&format!("session {}; {} is kept", session.name(), self.session.name()));
        Ok(Self { session, leaves_open: false })
    }

    /// One turn, and the status it would have ended a command with.
    async fn turn(&mut self, prompt: &str, job: &mut Job<'_>) -> u8 {
        job.started = tokio::time::Instant::now();
        let until = job.until();
        let message = self.session.send_message(prompt);
        let start = async { Ok(message.stream().await?) };
        let followed = match job.signals.guard(accepted(&self.session, job.screen.notes, until, start)).await
        {
            Ok(stream) => {
                let following = Following::Send(stream);
                follow(following, &self.session, &mut job.screen, &mut job.signals, until).await
            }
            Err(failure) => Err(failure),
        };
        self.leaves_open = followed.is_err();
        let report = match &followed {
            Ok(result) => Report::of_turn(result),
            Err(failure) => Report::of_failure(Some(self.session.name()), failure, job.started.elapsed()),
        };
        job.screen.finish(&report);
        report.exit
    }
}
