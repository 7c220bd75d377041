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
    CallId, Conversation, Decision, Digest, Envelope, Event, FORMAT_VERSION, PendingApproval, SessionName,
    Timestamp,
};
#[cfg(not(unix))]
use ergane::journal::JournalError;
use ergane::journal::{Append, AppendError, Journal};
use serde_json::json;

use super::inventory::Printed;
use super::sessions::Found;
use crate::args::ApproveArgs;
use crate::outcome::Failure;
use crate::plain;
use crate::workshop::Place;

/// By whom, in the log.
const BY: &str = "user";

/// What came of looking.
enum Outcome {
    Printed(Printed),
    /// A living process owns the session, so it decides.
    Elsewhere {
        session: SessionName,
        pid: u32,
        call: CallId,
        arguments: Digest,
        decision: Decision,
    },
}

pub(super) async fn run(args: ApproveArgs, place: Result<Place, Failure>) -> Result<Printed, Failure> {
    let place = place?;
    let at = place.clone();
    let done = tokio::task::spawn_blocking(move || approve(&args, &at)).await;
    match done.map_err(|error| Failure::internal(error.to_string()))?? {
        Outcome::Printed(printed) => Ok(printed),
        Outcome::Elsewhere { session, pid, call, arguments, decision } => {
            there(&place, &session, pid, (call, arguments), decision).await
        }
    }
}

#[cfg(unix)]
async fn there(
    place: &Place,
    session: &SessionName,
    pid: u32,
    (call, arguments): (CallId, Digest),
    decision: Decision,
) -> Result<Printed, Failure> {
    let Place::File(journal) = place else { return Err(nothing_waits(session)) };
    let elsewhere = super::elsewhere::Elsewhere { journal, session, pid };
    let ask = crate::socket::wire::Ask::Approve {
        session: session.clone(),
        call,
        arguments,
        decision: decision.clone(),
    };
    elsewhere.ask(ask).await?;
    let mut printed = told(session, call, &decision)?;
    printed.notes = vec![format!("process {pid}, which owns the session, goes on")];
    Ok(printed)
}

#[cfg(not(unix))]
async fn there(
    _: &Place,
    session: &SessionName,
    pid: u32,
    _: (CallId, Digest),
    _: Decision,
) -> Result<Printed, Failure> {
    Err(JournalError::Busy { session: session.clone(), pid }.into())
}

fn approve(args: &ApproveArgs, place: &Place) -> Result<Outcome, Failure> {
    let call = args.call.as_deref().map(str::parse::<CallId>).transpose();
    let call = call.map_err(|error| Failure::config(error.to_string()))?;
    let found = Found::open(place, &args.session)?;
    let log = found.log()?;
    let pending = pending(&found.name, &log)?;
    let decision = match (args.allow, args.deny) {
        (true, _) => Decision::Allow,
        (_, true) => Decision::deny(args.reason.as_deref().unwrap_or_default()),
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
    let Some(waits) = pending.iter().find(|pending| pending.call == call) else {
        return decided_before(&found.name, call, &decision, &log).map(Outcome::Printed);
    };
    if let Some(pid) = found.summary()?.owner_pid {
        return Ok(Outcome::Elsewhere { session: found.name, pid, call, arguments: waits.digest, decision });
    }
    write(&found, call, &decision)?;
    told(&found.name, call, &decision).map(Outcome::Printed)
}

fn pending(name: &SessionName, log: &[Envelope]) -> Result<Vec<PendingApproval>, Failure> {
    let conversation = Conversation::fold(log.iter())
        .map_err(|damage| Failure::internal(format!("the log of session {name} is damaged: {damage}")))?;
    Ok(conversation.turn().map(|turn| turn.approvals()).unwrap_or_default())
}

fn nothing_waits(name: &SessionName) -> Failure {
    Failure::not_found(format!("no call of session {name} waits for a decision"))
}

/// The same decision twice is one; another one comes too late.
fn decided_before(
    name: &SessionName,
    call: CallId,
    decision: &Decision,
    log: &[Envelope],
) -> Result<Printed, Failure> {
    let first = log.iter().rev().find_map(|envelope| match &envelope.event {
        Event::ApprovalDecided { call: decided, decision, by } if *decided == call => Some((decision, by)),
        _ => None,
    });
    match first {
        Some((first, _)) if first.is_same(decision) => told(name, call, decision),
        Some((first, by)) => {
            let first = first.as_str();
            Err(Failure::bad_request(format!(
                "call {call} of session {name} was decided before: {first} by {by}"
            )))
        }
        None => {
            Err(Failure::not_found(format!("call {call} of session {name} does not wait for a decision")))
        }
    }
}

/// Appends the fact, as an incarnation of the session that does nothing else.
fn write(found: &Found, call: CallId, decision: &Decision) -> Result<(), Failure> {
    let opened = found.store.open_session(&found.name)?;
    let appended = append(found, opened.epoch, call, decision);
    let released = found.store.release(&found.name);
    appended?;
    Ok(released?)
}

fn append(
    found: &Found,
    epoch: ergane::core::Epoch,
    call: CallId,
    decision: &Decision,
) -> Result<(), Failure> {
    // Whatever was written before the session was ours is seen now.
    let log = found.log()?;
    if !pending(&found.name, &log)?.iter().any(|pending| pending.call == call) {
        return decided_before(&found.name, call, decision, &log).map(drop);
    }
    let next = log.last().map(|last| last.seq.next()).unwrap_or_default();
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let event = Event::ApprovalDecided { call, decision: decision.clone(), by: BY.into() };
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
            "{}  {}  since {}  {why}\n",
            pending.call,
            pending.tool,
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
                   "why": pending.why, "since": plain::time(pending.since)})
        })
        .collect();
    Printed::new(json!({"session": name, "approvals": approvals}), text)
}
