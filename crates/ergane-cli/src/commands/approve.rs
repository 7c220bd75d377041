//! `approve`: what waits for a decision, and the decision.
//!
//! # Why a stored session is not brought up for it
//!
//! A session that runs goes on as soon as it may: a tool would start in this process, which is about to end. So the
//! decision is written as the fact that it is, beside the others, and whoever goes on with the session (`resume`, the next
//! `send`, a server) finds it there.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ergane::core::{
    CallId, Conversation, Decision, Envelope, Event, FORMAT_VERSION, PendingApproval, Seq, SessionName,
    Timestamp, Verdict,
};
#[cfg(not(unix))]
use ergane::journal::JournalError;
use ergane::journal::{Append, AppendError, Journal};
#[cfg(unix)]
use ergane::socket::RemoteSession;
use serde_json::json;

use super::inventory::Printed;
use super::sessions::Found;
use crate::args::ApproveArgs;
use crate::outcome::Failure;
use crate::plain;
use crate::workshop::Place;

/// By whom, in the log.
const BY: &str = "user";

/// A decision, and what it answers.
struct Answer {
    pending: PendingApproval,
    decision: Decision,
}

/// What came of looking.
enum Outcome {
    Printed(Printed),
    /// A living process owns the session, so it decides.
    Elsewhere {
        session: SessionName,
        pid: u32,
        answer: Answer,
    },
}

pub(super) async fn run(args: ApproveArgs, place: Result<Place, Failure>) -> Result<Printed, Failure> {
    let place = place?;
    let at = place.clone();
    let done = tokio::task::spawn_blocking(move || approve(&args, &at)).await;
    match done.map_err(|error| Failure::internal(error.to_string()))?? {
        Outcome::Printed(printed) => Ok(printed),
        Outcome::Elsewhere { session, pid, answer } => there(&place, &session, pid, answer).await,
    }
}

#[cfg(unix)]
async fn there(place: &Place, session: &SessionName, pid: u32, answer: Answer) -> Result<Printed, Failure> {
    let Place::File(journal) = place else { return Err(nothing_waits(session)) };
    let Answer { pending, decision } = answer;
    RemoteSession::new(journal, session.clone(), pid).approve(&pending, decision.clone()).await?;
    let mut printed = told(session, pending.call, &decision)?;
    printed.notes = vec![format!("process {pid}, which owns the session, goes on")];
    Ok(printed)
}

#[cfg(not(unix))]
async fn there(_: &Place, session: &SessionName, pid: u32, _: Answer) -> Result<Printed, Failure> {
    Err(JournalError::Busy { session: session.clone(), pid }.into())
}

fn approve(args: &ApproveArgs, place: &Place) -> Result<Outcome, Failure> {
    let call = args.call.as_deref().map(str::parse::<CallId>).transpose();
    let call = call.map_err(|error| Failure::config(error.to_string()))?;
    let found = Found::open(place, &args.session)?;
    let conversation = folded(&found.name, &found.log()?)?;
    let pending = conversation.turn().map(|turn| turn.approvals()).unwrap_or_default();
    let decision = match (args.allow, args.deny, args.done.as_deref()) {
        (true, ..) => Decision::Allow,
        (_, true, _) => Decision::deny(args.reason.as_deref().unwrap_or_default()),
        (.., Some(result)) => Decision::Done { result: result.into() },
        _ => return list(&found.name, call, &pending).map(Outcome::Printed),
    };
    let call = match (call, pending.as_slice()) {
        (Some(call), _) => call,
        (None, [one]) => one.call,
        (None, []) => return Err(nothing_waits(&found.name)),
        (None, several) => {
            let calls: Vec<String> = several.iter().map(|pending| pending.call.to_string()).collect();
            return Err(Failure::config(format!("several calls wait: name one of {}", calls.join(", "))));
        }
    };
    let question = args.question.map(Seq);
    let Some(question) = question_of(&found.name, &conversation, call, question, &decision)? else {
        return told(&found.name, call, &decision).map(Outcome::Printed);
    };
    let asked = pending.into_iter().find(|asked| asked.call == call && asked.question == question);
    let answer = Answer { pending: asked.ok_or_else(|| nothing_waits(&found.name))?, decision };
    if let Some(pid) = found.summary()?.owner_pid {
        return Ok(Outcome::Elsewhere { session: found.name, pid, answer });
    }
    write(&found, &answer)?;
    told(&found.name, call, &answer.decision).map(Outcome::Printed)
}

fn folded(name: &SessionName, log: &[Envelope]) -> Result<Conversation, Failure> {
    Conversation::fold(log.iter())
        .map_err(|damage| Failure::internal(format!("the log of session {name} is damaged: {damage}")))
}

/// The question that the decision answers; `None` when the same was decided before.
fn question_of(
    name: &SessionName,
    conversation: &Conversation,
    call: CallId,
    question: Option<Seq>,
    decision: &Decision,
) -> Result<Option<Seq>, Failure> {
    match conversation.verdict(call, question, decision) {
        Verdict::Waits { question, .. } => Ok(Some(question)),
        Verdict::Same => Ok(None),
        Verdict::Other(first) => {
            let (word, by) = (first.decision.as_str(), first.by);
            Err(Failure::bad_request(format!(
                "call {call} of session {name} was decided before: {word} by {by}"
            )))
        }
        Verdict::AskedAgain(question) => Err(Failure::bad_request(format!(
            "call {call} of session {name} was decided about before, and is asked about once more: look at it with `ergane \
             approve {name}`, and answer with --question {question}"
        ))),
        _ => Err(Failure::not_found(format!("call {call} of session {name} does not wait for a decision"))),
    }
}

fn nothing_waits(name: &SessionName) -> Failure {
    Failure::not_found(format!("no call of session {name} waits for a decision"))
}

/// Appends the fact, as an incarnation of the session that does nothing else.
fn write(found: &Found, answer: &Answer) -> Result<(), Failure> {
    let opened = found.store.open_session(&found.name)?;
    let appended = append(found, opened.epoch, answer);
    let released = found.store.release(&found.name);
    appended?;
    Ok(released?)
}

fn append(found: &Found, epoch: ergane::core::Epoch, answer: &Answer) -> Result<(), Failure> {
    let Answer { pending, decision } = answer;
    let (call, question) = (&pending.call, &pending.question);
    // Whatever was written before the session was ours is seen now.
    let log = found.log()?;
    let conversation = folded(&found.name, &log)?;
    if question_of(&found.name, &conversation, *call, Some(*question), decision)?.is_none() {
        return Ok(());
    }
    let next = log.last().map(|last| last.seq.next()).unwrap_or_default();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let event = Event::ApprovalDecided { call: *call, decision: decision.clone(), by: BY.into() };
    let at = Timestamp(i64::try_from(at).unwrap_or(i64::MAX));
    let envelope = Envelope { v: FORMAT_VERSION, seq: next, epoch, at, event };
    let append =
        Append { session: found.name.clone(), epoch, expected: next, events: vec![Arc::new(envelope)] };
    match found.store.append(&[append]).into_iter().next() {
        Some(Ok(())) => Ok(()),
        Some(Err(AppendError::Fenced { .. })) => {
            Err(Failure::bad_request("another process took the session meanwhile; ask again"))
        }
        Some(Err(error)) => Err(Failure::journal(error.to_string())),
        None => Err(Failure::journal("the journal did not answer")),
    }
}

/// What is printed of a decision.
fn told(name: &SessionName, call: CallId, decision: &Decision) -> Result<Printed, Failure> {
    let word = decision.as_str();
    let text = format!("{name}: call {call}: {word}\n");
    let mut printed = Printed::new(json!({"session": name, "call": call, "decision": word}), text)?;
    printed.notes.push(format!("`ergane resume {name}` goes on"));
    Ok(printed)
}

fn list(name: &SessionName, call: Option<CallId>, pending: &[PendingApproval]) -> Result<Printed, Failure> {
    let shown: Vec<&PendingApproval> =
        pending.iter().filter(|pending| call.is_none_or(|call| call == pending.call)).collect();
    if shown.is_empty() && call.is_some() {
        return Err(nothing_waits(name));
    }
    let mut text = String::new();
    for pending in &shown {
        let why = plain::on_one_line(&pending.why, plain::WIDTH);
        text.push_str(&format!(
            "{}  {}  question {}  since {}  {why}\n",
            pending.call,
            pending.tool,
            pending.question,
            plain::time(pending.since)
        ));
        text.extend(plain::arguments(&pending.arguments).lines().map(|line| format!("    {line}\n")));
    }
    if shown.is_empty() {
        text = "nothing waits for a decision\n".to_owned();
    }
    let approvals: Vec<_> = shown
        .iter()
        .map(|pending| {
            json!({"call": pending.call, "tool": pending.tool, "arguments": pending.arguments, "cause": pending.cause,
                   "question": pending.question, "why": pending.why, "since": plain::time(pending.since)})
        })
        .collect();
    Printed::new(json!({"session": name, "approvals": approvals}), text)
}
