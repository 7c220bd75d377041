//! `resume`: finishing what a crash left open.

use ergane::core::{Conversation, Part, SendId, Seq, SessionName, SettingsPatch, Text, TurnId};
use ergane::journal::StoredStatus;
use ergane::session::{Session, TurnResult};
use serde::Serialize;

use super::{Home, Job, session_name};
use crate::args::ResumeArgs;
use crate::follow::{Following, accepted, follow, within};
use crate::outcome::{FAILED, Failure, INTERRUPTED};
use crate::report::{ErrorObject, LastLine, Report};
use crate::screen::{Format, Screen, Stdout};
use crate::workshop::{Place, Workshop};

/// What is stored of a session.
#[derive(Debug)]
pub(super) struct Stored {
    /// Its provider's name.
    pub(super) provider: Text,
    /// What waits to be finished, in order.
    pub(super) pending: Vec<Pending>,
}

/// A turn that was not finished.
#[derive(Debug)]
pub(super) struct Pending {
    /// The send it answers.
    pub(super) send: SendId,
    what: What,
}

#[derive(Debug)]
enum What {
    /// It is open; facts after this position are news.
    Open { turn: TurnId, known: Seq },
    /// It was accepted and has not begun.
    Waiting { input: Vec<Part> },
}

/// What the journal has of the session; `None` when there is none.
pub(super) async fn stored(workshop: &Workshop, name: &SessionName) -> Result<Option<Stored>, Failure> {
    let Some(summary) = workshop.journal().summary(name).await? else { return Ok(None) };
    let provider = summary.provider.clone().unwrap_or_default();
    if summary.status == StoredStatus::Idle {
        return Ok(Some(Stored { provider, pending: Vec::new() }));
    }
    let log = workshop.journal().load(name, Seq(0), summary.next_seq).await?;
    let conversation = Conversation::fold(log.iter().map(AsRef::as_ref))
        .map_err(|damage| Failure::internal(format!("the log of session {name} is damaged: {damage}")))?;
    let open = conversation.turn().map(|turn| Pending {
        send: turn.send.clone(),
        what: What::Open { turn: turn.id, known: conversation.seq() },
    });
    let waiting = conversation.queue().iter().map(|queued| Pending {
        send: queued.send.clone(),
        what: What::Waiting { input: queued.input.clone() },
    });
    Ok(Some(Stored { provider, pending: open.into_iter().chain(waiting).collect() }))
}

/// Follows what was left to its end.
pub(super) async fn finish(
    pending: &Pending,
    session: &Session,
    job: &mut Job<'_>,
) -> Result<TurnResult, Failure> {
    let until = job.until();
    let following = match &pending.what {
        What::Open { turn, known } => {
            let attach = async { Ok(session.subscribe(Some(*known)).await?) };
            let events = job.signals.guard(within(until, attach)).await?;
            Following::Open { session: session.clone(), turn: *turn, events }
        }
        What::Waiting { input } => {
            // The same id and input: the same send.
            let message = session.send_message(input.clone()).key(&pending.send.0);
            let start = async { Ok(message.stream().await?) };
            Following::Send(job.signals.guard(accepted(session, job.screen.notes, until, start)).await?)
        }
    };
    follow(following, session, &mut job.screen, &mut job.signals, until).await
}

pub(crate) async fn run(args: &ResumeArgs, home: Result<Home, Failure>, mut screen: Screen) -> u8 {
    screen.show_answers(false);
    let name = match args.session.as_deref().map(session_name).transpose() {
        Ok(name) => name,
        Err(failure) => return super::send::end_early(screen, None, &failure),
    };
    let home = match home {
        Ok(home) => home,
        Err(failure) => return super::send::end_early(screen, name.as_ref(), &failure),
    };
    let mut job = match Job::new(&args.flags, home.config, screen) {
        Ok(job) => job,
        Err((screen, failure)) => return super::send::end_early(screen, name.as_ref(), &failure),
    };
    let (mut reports, mut workshop) = (Vec::new(), None);
    let resumed = match home.place {
        Ok(place) => resume(name.as_ref(), &place, &mut job, &mut reports, &mut workshop).await,
        Err(failure) => Err(failure),
    };
    // Nor is one that has left a turn of its own open.
    let is_done =
        resumed.is_ok() && reports.iter().all(|report| report.turn.is_some() && report.exit != INTERRUPTED);
    let mut exit = reports.iter().map(|report| report.exit).max().unwrap_or_default();
    if let Err(failure) = &resumed {
        exit = exit.max(failure.exit);
        job.screen.notes.failure(failure);
    }
    job.conclude(name.as_ref(), reports, resumed.err());
    if let Some(workshop) = workshop {
        job.leave(workshop, is_done, job.until()).await;
    }
    if job.screen.stdout.has_failed() { exit.max(FAILED) } else { exit }
}

async fn resume(
    name: Option<&SessionName>,
    place: &Place,
    job: &mut Job<'_>,
    reports: &mut Vec<Report>,
    opened: &mut Option<Workshop>,
) -> Result<(), Failure> {
    if !place.is_there() {
        // Nothing is stored, and looking makes no journal.
        return name.map_or(Ok(()), |name| Err(no_session(name)));
    }
    let workshop = opened.insert(job.workshop(place).await?);
    match name {
        Some(name) => one(name, job, workshop, reports).await,
        None => all(job, workshop, reports).await,
    }
}

fn no_session(name: &SessionName) -> Failure {
    Failure::not_found(format!("there is no session {name}; `ergane sessions` lists what there is"))
}

/// Every session that no running process works on. What goes wrong with one does not keep the others open.
async fn all(job: &mut Job<'_>, workshop: &Workshop, reports: &mut Vec<Report>) -> Result<(), Failure> {
    for name in workshop.journal().open_turns().await? {
        let summary = workshop.journal().summary(&name).await?;
        if let Some(pid) = summary.and_then(|summary| summary.owner_pid) {
            job.screen.notes.say(&format!("session {name} is being worked on by process {pid}"));
            continue;
        }
        if let Err(failure) = one(&name, job, workshop, reports).await {
            let report = Report::of_failure(Some(&name), &failure, job.started.elapsed());
            job.show(&report);
            reports.push(report);
            if failure.is_interrupt() || failure.is_timeout() {
                return Ok(());
            }
        }
        if job.signals.interrupted() {
            return Ok(());
        }
    }
    Ok(())
}

async fn one(
    name: &SessionName,
    job: &mut Job<'_>,
    workshop: &Workshop,
    reports: &mut Vec<Report>,
) -> Result<(), Failure> {
    let stored = stored(workshop, name).await?.ok_or_else(|| no_session(name))?;
    let patch = job.patch(workshop, Some(&stored.provider)).await?;
    if stored.pending.is_empty() && patch == SettingsPatch::default() {
        return Ok(());
    }
    let session = job.start(workshop, name, patch).await?;
    for pending in &stored.pending {
        let finished = finish(pending, &session, job).await.map_err(Failure::leaving_it_open);
        let report = Report::of_turn(&finished?);
        job.show(&report);
        reports.push(report);
        if job.signals.interrupted() {
            break;
        }
    }
    Ok(())
}

/// What `--json` prints of all sessions.
#[derive(Debug, Serialize)]
struct All {
    sessions: Vec<Report>,
    /// What kept others from being looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorObject>,
}

impl Job<'_> {
    /// Tells people how one ended.
    fn show(&mut self, report: &Report) {
        if self.screen.format() == Format::Text {
            let session = report.session.as_deref().unwrap_or_default();
            match (report.turn, report.finish_reason) {
                (Some(turn), Some(reason)) => {
                    self.screen.stdout.line(&format!("{session}: turn {turn} ended: {reason}"));
                }
                _ if report.waiting.is_some() => self.screen.stdout.line(&format!("{session}: waits")),
                _ => self.screen.stdout.line(&format!("{session}: not resumed")),
            }
            self.screen.text_of(report);
        }
        self.screen.ending(report);
    }

    /// The object, or a word that there was nothing to do.
    fn conclude(&mut self, name: Option<&SessionName>, reports: Vec<Report>, failure: Option<Failure>) {
        let (format, took) = (self.screen.format(), self.started.elapsed());
        let stdout = &mut self.screen.stdout;
        match (format, name) {
            (Format::Text, _) if failure.is_some() || !reports.is_empty() => {}
            (Format::Text, Some(name)) => stdout.line(&format!("{name}: nothing to resume")),
            (Format::Text, None) => stdout.line("nothing to resume"),
            (_, Some(name)) => {
                let failed = failure.map(|failure| Report::of_failure(Some(name), &failure, took));
                // Of several turns the one whose end is the exit status; how each ended is on stderr.
                let worst = reports.into_iter().chain(failed).max_by_key(|report| report.exit);
                print(stdout, format, &worst.unwrap_or_else(|| Report::nothing(Some(name))));
            }
            (_, None) => {
                let error = failure.as_ref().and_then(ErrorObject::of);
                print(stdout, format, &All { sessions: reports, error });
            }
        }
    }
}

fn print(stdout: &mut Stdout, format: Format, object: &impl Serialize) {
    match format {
        Format::StreamJson => stdout.json(&LastLine::of(object)),
        _ => stdout.json(object),
    }
}
