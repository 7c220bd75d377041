//! `send`: one turn on a durable session.

#[cfg(unix)]
use std::time::Duration;

use ergane::core::{SessionName, SettingsPatch, Text};
#[cfg(unix)]
use ergane::journal::SessionSummary;
#[cfg(unix)]
use ergane::otp::Backoff;
use ergane::session::{Session, SessionError, TurnResult};
#[cfg(unix)]
use ergane::socket::{RemoteSession, new_key};
use ergane::tools::Tools;
#[cfg(unix)]
use tokio::time::{Instant, sleep};

#[cfg(unix)]
use super::elsewhere::{self, Asked};
use super::resume::{self, Pending};
use super::{Home, Job, check_prompt, session_name};
use crate::args::SendArgs;
#[cfg(unix)]
use crate::follow::within;
use crate::follow::{Following, accepted, follow};
use crate::outcome::{FAILED, Failure, INTERRUPTED};
use crate::provider::SCRIPTED;
use crate::report::Report;
use crate::screen::Screen;
use crate::workshop::{Place, Workshop};

pub(crate) async fn run(args: &SendArgs, home: Result<Home, Failure>, screen: Screen) -> u8 {
    let name = match session_name(&args.session) {
        Ok(name) => name,
        Err(failure) => return end_early(screen, None, &failure),
    };
    let home = match home {
        Ok(home) => home,
        Err(failure) => return end_early(screen, Some(&name), &failure),
    };
    let mut job = match Job::new(&args.flags, home.config, screen) {
        Ok(job) => job,
        Err((screen, failure)) => return end_early(screen, Some(&name), &failure),
    };
    let (mut turn, mut workshop) = (None, None);
    let sent = match home.place {
        Ok(place) => send(args, &name, &place, &mut job, &mut turn, &mut workshop).await,
        Err(failure) => Err(failure),
    };
    let is_done = sent.as_ref().is_ok_and(|report| report.exit != INTERRUPTED);
    let report = match sent {
        Ok(report) => report,
        Err(failure) => Report { turn, ..Report::of_failure(Some(&name), &failure, job.started.elapsed()) },
    };
    // Told first: whoever waits for it is not to wait for the turn of somebody else.
    job.screen.finish(&report);
    if let Some(workshop) = workshop {
        job.leave(workshop, is_done, job.until()).await;
    }
    if job.screen.stdout.has_failed() { report.exit.max(FAILED) } else { report.exit }
}

/// Reports a command that could not even begin.
pub(crate) fn end_early(mut screen: Screen, name: Option<&SessionName>, failure: &Failure) -> u8 {
    let report = Report::of_failure(name, failure, std::time::Duration::ZERO);
    screen.finish(&report);
    report.exit
}

/// `turn` becomes the number of a turn that is left open, `opened` what is to be closed.
async fn send(
    args: &SendArgs,
    name: &SessionName,
    place: &Place,
    job: &mut Job<'_>,
    turn: &mut Option<u32>,
    opened: &mut Option<Workshop>,
) -> Result<Report, Failure> {
    check_prompt(&args.prompt)?;
    if args.key.as_deref().is_some_and(|key| key.trim().is_empty()) {
        return Err(Failure::bad_request("--key is empty"));
    }
    let mut key = args.key.clone();
    #[cfg(unix)]
    if let Some(report) = by_its_owner(args, name, place, &mut key, job).await? {
        return Ok(report);
    }
    let workshop = opened.insert(job.workshop(place).await?);
    let answer = answer(args, key.as_deref(), name, job, workshop, turn).await;
    answer.map(|result| Report::of_turn(&result))
}

/// How long a process that has heard us may take to hear us again, or to end: it closes its socket first, and lets its locks go
/// a moment later.
#[cfg(unix)]
const DYING: Duration = Duration::from_secs(10);
/// How long one that has not may take: it may end just now, or have no socket at all.
#[cfg(unix)]
const DEAF: Duration = Duration::from_secs(3);
/// So often a conversation may break off with nobody dead.
#[cfg(unix)]
const TIMES: u32 = 8;
/// How long it is waited before it is asked again.
#[cfg(unix)]
const PAUSES: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_millis(500) };

/// Has the owner run the turn, if there is one. `None` when there is none any more: one that dies leaves the turn to us, or to the
/// next owner. One whose conversation broke off is asked again, with the same key, which is a no-op where it had been heard.
#[cfg(unix)]
async fn by_its_owner(
    args: &SendArgs,
    name: &SessionName,
    place: &Place,
    key: &mut Option<String>,
    job: &mut Job<'_>,
) -> Result<Option<Report>, Failure> {
    let Place::File(journal) = place else { return Ok(None) };
    if !ergane::socket::is_anybody_there(journal) {
        return Ok(None);
    }
    let owner = || RemoteSession::find(journal, name.as_str());
    let Some(mut session) = owner().await? else { return Ok(None) };
    let key = &*key.get_or_insert_with(|| new_key().to_string());
    let (mut since, mut asked, mut broke_off) = (Instant::now(), 0, 0);
    loop {
        match there(args, &session, place, key, job).await? {
            Asked::Ended(report) => return Ok(Some(*report)),
            Asked::BrokeOff if broke_off < TIMES => (since, broke_off) = (Instant::now(), broke_off + 1),
            Asked::BrokeOff | Asked::NotReached => {}
        }
        if since.elapsed() >= if broke_off > 0 { DYING } else { DEAF } {
            let why = "whose socket beside the journal does not answer, or which has none: wait for its end, or ask it itself";
            return Err(Failure::owned(name, session.pid(), why).or_again(key));
        }
        asked += 1;
        let until = job.until();
        let waits = job.signals.guard(async {
            sleep(PAUSES.after(asked)).await;
            Ok(owner().await?)
        });
        match within(until, waits).await.map_err(|failure| failure.or_again(key))? {
            None => {
                job.screen.notes.say(&format!("process {} has ended; going on here", session.pid()));
                return Ok(None);
            }
            Some(next) if next.pid() != session.pid() => {
                (session, since, asked, broke_off) = (next, Instant::now(), 0, 0);
            }
            Some(_) => {}
        }
    }
}

/// What the journal tells of the session, whoever owns it.
#[cfg(unix)]
async fn summary(place: &Place, name: &SessionName) -> Result<Option<SessionSummary>, Failure> {
    let (place, name) = (place.clone(), name.clone());
    let look = move || {
        let Some(store) = place.look()? else { return Ok(None) };
        Ok(ergane::journal::Journal::summary(&store, &name)?)
    };
    let looked: Result<Option<SessionSummary>, Failure> =
        tokio::task::spawn_blocking(look).await.map_err(|error| Failure::internal(error.to_string()))?;
    looked
}

/// Lets the owner run the turn.
#[cfg(unix)]
async fn there(
    args: &SendArgs,
    session: &RemoteSession,
    place: &Place,
    key: &str,
    job: &mut Job<'_>,
) -> Result<Asked, Failure> {
    if args.flags.script.is_some() {
        let (pid, name) = (session.pid(), session.name());
        let why = format!("process {pid} owns session {name} and plays its own script: leave --script away");
        return Err(Failure::config(why));
    }
    let known: Vec<Text> = Tools::all().into_iter().map(|tool| tool.name().into()).collect();
    let mut patch = crate::settings::patch(&args.flags, &known)?;
    let stored = summary(place, session.name()).await?.and_then(|summary| summary.provider);
    // The one that it has keeps its model too; another one begins with its own.
    if let Some(provider) = args.flags.provider.as_ref().filter(|named| stored.as_deref() != Some(named)) {
        patch.provider = Some(provider.as_str().into());
        patch.model = Some(patch.model.take().unwrap_or_default());
    }
    elsewhere::send(session, &args.prompt, key, patch, job).await
}

async fn answer(
    args: &SendArgs,
    key: Option<&str>,
    name: &SessionName,
    job: &mut Job<'_>,
    workshop: &Workshop,
    turn: &mut Option<u32>,
) -> Result<TurnResult, Failure> {
    let stored = resume::stored(workshop, name).await?;
    let (provider, is_new) = (stored.as_ref().map(|stored| &*stored.provider), stored.is_none());
    if let Some(provider) = provider.filter(|provider| *provider != SCRIPTED)
        && args.flags.provider.is_none()
        && args.flags.script.is_some()
    {
        let why = format!("--script is for the scripted provider, and session {name} has {provider}");
        return Err(Failure::config(format!("{why}; add --provider {SCRIPTED} to change that")));
    }
    let patch = job.patch(workshop, provider).await?;
    // What an existing session is told comes with the send: one that is refused, or only looked up, changes nothing.
    let (initial, patch) =
        if is_new { (patch, SettingsPatch::default()) } else { (SettingsPatch::default(), patch) };
    let session = job.start(workshop, name, initial).await?;
    let pending = stored.map(|stored| stored.pending).unwrap_or_default();
    let ours = |pending: &Pending| key.is_some_and(|key| *pending.send.0 == *key);
    job.screen.show_answers(false);
    for pending in pending.iter().take_while(|pending| !ours(pending)) {
        // Pressed while an owner was asked that is dead by now: what is before ours is somebody else's.
        if job.signals.interrupted() {
            return Err(Failure::interrupted());
        }
        let ended = resume::finish(pending, &session, job).await.map_err(Failure::leaving_it_open)?;
        let told = format!("turn {} was left open and is finished: {}", ended.ordinal, ended.finish_reason);
        job.screen.notes.say(&told);
        if job.signals.interrupted() {
            return Err(Failure::interrupted());
        }
    }
    job.screen.show_answers(true);
    let mut message = session.send_message(args.prompt.as_str()).settings(patch).keep_settings();
    if let Some(key) = key {
        message = message.key(key);
    }
    let until = job.until();
    let start = async { Ok(message.stream().await?) };
    let stream = job.signals.guard(accepted(&session, job.screen.notes, until, start)).await?;
    let followed = follow(Following::Send(stream), &session, &mut job.screen, &mut job.signals, until).await;
    if followed.is_err() {
        *turn = open_turn(&session).await;
    }
    if turn.is_some() { followed.map_err(Failure::leaving_it_open) } else { followed }
}

/// The number of the turn that is open now.
async fn open_turn(session: &Session) -> Option<u32> {
    let status: Result<_, SessionError> = session.status().await;
    let status = status.ok()?;
    status.turn?;
    u32::try_from(status.turns).ok()
}
