//! `sessions`: what is stored. Only looks, but for `delete`, and starts nothing.

mod history;

use std::collections::BTreeMap;
use std::sync::Arc;

use ergane::core::{Conversation, Envelope, Event, Message, Part, Seq, SessionName, Settings, Usage};
use ergane::journal::{Journal, JournalError, SessionSummary, Sqlite};
use ergane::tool_support::kill_left_behind;
use serde::Serialize;

use super::inventory::Printed;
use super::session_name;
use crate::args::SessionsCommand;
use crate::outcome::{FAILED, Failure, OK};
use crate::plain;
use crate::report::Failed;
use crate::screen::{Notes, Stdout};
use crate::workshop::Place;

/// So many sessions or events are read at once.
const PAGE: usize = 1000;

pub(crate) async fn run(
    command: Option<SessionsCommand>,
    place: Result<Place, Failure>,
    json: bool,
    notes: Notes,
) -> u8 {
    let command = match command {
        Some(SessionsCommand::QuarantineLift(arg)) => {
            return super::inventory::print(lift(arg.session, place), json, notes).await;
        }
        Some(SessionsCommand::Fork { session, new, at }) => {
            return super::inventory::print(history::fork(session, new, at, place), json, notes).await;
        }
        Some(SessionsCommand::Checkpoint { session, label }) => {
            return super::inventory::print(history::checkpoint(session, label, place), json, notes).await;
        }
        Some(SessionsCommand::Rewind { session, to }) => {
            return super::inventory::print(history::rewind(session, to, place), json, notes).await;
        }
        command => command,
    };
    let work = move || {
        let mut stdout = Stdout::default();
        let done = place.and_then(|place| run_blocking(command, &place, json, &mut stdout));
        (done, stdout)
    };
    let (done, mut stdout) = match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => (Err(Failure::internal(panicked.to_string())), Stdout::default()),
    };
    match done {
        Ok(()) if stdout.has_failed() => FAILED,
        Ok(()) => OK,
        Err(failure) => {
            if json {
                stdout.json(&Failed::of(&failure));
            }
            notes.failure(&failure);
            failure.exit
        }
    }
}

fn run_blocking(
    command: Option<SessionsCommand>,
    place: &Place,
    json: bool,
    stdout: &mut Stdout,
) -> Result<(), Failure> {
    match command.unwrap_or(SessionsCommand::List) {
        SessionsCommand::List => list(place, json, stdout),
        SessionsCommand::Show(arg) => show(&Found::open(place, &arg.session)?, json, stdout),
        SessionsCommand::Events(arg) => events(&Found::open(place, &arg.session)?, json, stdout),
        SessionsCommand::Export(arg) => export(&Found::open(place, &arg.session)?, json, stdout),
        SessionsCommand::Delete(arg) => delete(&Found::open(place, &arg.session)?, json, stdout),
        // Those were done above.
        SessionsCommand::Checkpoint { .. }
        | SessionsCommand::Fork { .. }
        | SessionsCommand::Rewind { .. }
        | SessionsCommand::QuarantineLift(_) => Ok(()),
    }
}

#[derive(Debug, Serialize)]
struct List {
    sessions: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: SessionName,
    status: &'static str,
    turns: u32,
    last_activity: String,
    usage: Usage,
    cost_usd: Option<f64>,
}

fn list(place: &Place, json: bool, stdout: &mut Stdout) -> Result<(), Failure> {
    let mut summaries: Vec<SessionSummary> = Vec::new();
    if let Some(store) = place.look()? {
        loop {
            let page = store.list(summaries.last().map(|last| &last.name), PAGE)?;
            let last = page.len() < PAGE;
            summaries.extend(page);
            if last {
                break;
            }
        }
    }
    if json {
        let row = |summary: &SessionSummary| Row {
            name: summary.name.clone(),
            status: summary.status.as_str(),
            turns: summary.turns,
            last_activity: plain::time(summary.last_activity),
            usage: summary.usage,
            cost_usd: summary.cost.total().map(|cost| cost.as_usd()),
        };
        let sessions: Vec<Row> = summaries.iter().map(row).collect();
        stdout.json(&List { sessions });
    } else if summaries.is_empty() {
        stdout.line("no sessions");
    } else {
        let head = ["NAME", "STATUS", "TURNS", "LAST ACTIVITY", "TOKENS", "COST"].map(str::to_owned).to_vec();
        let row = |summary: &SessionSummary| {
            vec![
                summary.name.to_string(),
                summary.status.as_str().to_owned(),
                summary.turns.to_string(),
                plain::time(summary.last_activity),
                summary.usage.input_tokens.saturating_add(summary.usage.output_tokens).to_string(),
                plain::cost(summary.cost),
            ]
        };
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(summaries.iter().map(row)).collect();
        stdout.write(&plain::table(&rows));
    }
    Ok(())
}

/// A session that is stored.
pub(super) struct Found {
    pub(super) store: Sqlite,
    pub(super) name: SessionName,
}

impl Found {
    pub(super) fn open(place: &Place, name: &str) -> Result<Self, Failure> {
        let name = session_name(name)?;
        match place.look()? {
            Some(store) => Ok(Self { store, name }),
            None => Err(JournalError::NotFound { session: name }.into()),
        }
    }

    fn not_found(&self) -> Failure {
        JournalError::NotFound { session: self.name.clone() }.into()
    }

    pub(super) fn summary(&self) -> Result<SessionSummary, Failure> {
        self.store.summary(&self.name)?.ok_or_else(|| self.not_found())
    }

    /// Hands over the events up to now in order, a page at a time.
    fn events(&self, mut take: impl FnMut(&Envelope) -> Result<(), Failure>) -> Result<(), Failure> {
        let end = self.summary()?.next_seq;
        let mut after = Seq(0);
        while after.next() < end {
            let below = Seq(end.0.min(after.0.saturating_add(PAGE as u64 + 1)));
            let page: Vec<Arc<Envelope>> = self.store.load(&self.name, after, below)?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            page.iter().try_for_each(|event| take(event))?;
        }
        Ok(())
    }

    pub(super) fn log(&self) -> Result<Vec<Envelope>, Failure> {
        let mut log = Vec::new();
        self.events(|event| {
            log.push(event.clone());
            Ok(())
        })?;
        Ok(log)
    }

    fn conversation(&self) -> Result<Conversation, Failure> {
        let mut conversation = Conversation::default();
        self.events(|event| {
            let damaged =
                |damage| Failure::internal(format!("the log of session {} is damaged: {damage}", self.name));
            conversation.apply(event).map_err(damaged)
        })?;
        Ok(conversation)
    }
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    session: &'a SessionName,
    settings: Option<&'a Settings>,
    status: &'static str,
    messages: Vec<&'a Message>,
}

fn show(found: &Found, json: bool, stdout: &mut Stdout) -> Result<(), Failure> {
    let summary = found.summary()?;
    let conversation = found.conversation()?;
    let history = conversation.messages();
    if json {
        let messages: Vec<&Message> = history.iter().map(AsRef::as_ref).collect();
        stdout.json(&Shown {
            session: &found.name,
            settings: conversation.settings().map(AsRef::as_ref),
            status: summary.status.as_str(),
            messages,
        });
        return Ok(());
    }
    let mut status = format!(
        "{}, {} turns, last activity {}",
        summary.status.as_str(),
        summary.turns,
        plain::time(summary.last_activity)
    );
    if let Some(pid) = summary.owner_pid {
        status.push_str(&format!(", in use by process {pid}"));
    }
    let mut rows = vec![
        vec!["session".to_owned(), found.name.to_string()],
        vec!["status".to_owned(), status],
        vec![
            "tokens".to_owned(),
            format!("{} in, {} out", summary.usage.input_tokens, summary.usage.output_tokens),
        ],
        vec!["cost".to_owned(), plain::cost(summary.cost)],
    ];
    if let Some(settings) = conversation.settings() {
        rows.extend(settings_rows(settings));
    }
    stdout.write(&plain::table(&rows));
    for message in history.iter() {
        stdout.write(&said(message));
        if stdout.is_closed() {
            break;
        }
    }
    Ok(())
}

/// Every setting, in the words of its JSON.
fn settings_rows(settings: &Settings) -> Vec<Vec<String>> {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(settings) else { return Vec::new() };
    let shown = |value: serde_json::Value| match value {
        serde_json::Value::String(text) if text.is_empty() => "(left to the provider)".to_owned(),
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    fields
        .into_iter()
        .map(|(name, value)| vec![name, plain::on_one_line(&shown(value), usize::MAX)])
        .collect()
}

/// A message: its texts in full, each call and result on a line.
fn said(message: &Message) -> String {
    let speaker = match &message.origin {
        Some(origin) => format!("assistant ({}, {})", origin.provider, origin.model),
        None => format!("{:?}", message.role).to_lowercase(),
    };
    let mut text = format!("\n{speaker}:\n");
    for part in &message.parts {
        let piece = match part {
            Part::Text { text } | Part::Refusal { text } => plain::printable(text),
            Part::Image { mime, .. } => format!("[image {mime}]"),
            Part::Reasoning(reasoning) => format!("[reasoning] {}", plain::printable(&reasoning.text)),
            Part::ToolCall(call) => plain::on_one_line(
                &format!("[call {}] {} {}", call.id, call.name, call.arguments),
                usize::MAX,
            ),
            Part::ToolResult(result) => {
                format!(
                    "[result {}] {}",
                    result.call,
                    plain::result(&result.name, &result.text(), result.is_error, false)
                )
            }
            _ => continue,
        };
        text.push_str(piece.trim_end_matches('\n'));
        text.push('\n');
    }
    text
}

#[derive(Debug, Serialize)]
struct Log<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a SessionName>,
    events: Vec<Envelope>,
}

fn events(found: &Found, json: bool, stdout: &mut Stdout) -> Result<(), Failure> {
    if json {
        stdout.json(&Log { session: None, events: found.log()? });
        return Ok(());
    }
    found.events(|event| {
        let (kind, short) = short(&event.event);
        let line = format!("{:>5}  {}  {kind:<16}  {short}", event.seq, plain::time(event.at));
        stdout.line(plain::on_one_line(&line, plain::WIDTH).trim_end());
        Ok(())
    })
}

/// An event's type, and what it is about.
fn short(event: &Event) -> (String, String) {
    let json = serde_json::to_value(event).unwrap_or_default();
    let kind = json.get("type").and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned();
    let about = match event {
        Event::SessionStarted { settings, .. } => {
            format!("provider {}, cwd {}", settings.provider, settings.cwd)
        }
        Event::SettingsChanged { patch, .. } => serde_json::to_string(patch).unwrap_or_default(),
        Event::Queued { input, .. } => Message::user(input.clone()).text(),
        Event::TurnStarted { send } => format!("send {}", send.0),
        Event::ModelReplied { message, .. } => {
            let calls: Vec<String> =
                message.calls().map(|call| format!("{} ({})", call.name, call.id)).collect();
            if calls.is_empty() {
                message.text()
            } else {
                format!("calls {} {}", calls.join(", "), message.text())
            }
        }
        Event::ToolStarted { call, effect, .. } => format!("call {call}, effect {effect:?}"),
        Event::ToolProcess { call, group, .. } => format!("call {call}, process group {group}"),
        Event::ToolFinished { result, denied, .. } => {
            format!(
                "call {}, {}",
                result.call,
                plain::result(&result.name, &result.text(), result.is_error, *denied)
            )
        }
        Event::ApprovalRequested { call, why, .. } => format!("call {call}: {why}"),
        Event::ApprovalDecided { call, decision, by } => {
            format!("call {call}: {} by {by}", decision.as_str())
        }
        Event::Checkpointed { label } => label.to_string(),
        Event::Rewound { to, .. } => format!("to {to}"),
        Event::Forked { parent, at, .. } => format!("of {parent} at {at}"),
        Event::InterruptRequested { by, reason } => format!("by {by}: {reason}"),
        Event::Recovered { cause } => cause.to_string(),
        Event::TurnEnded { finish, error, .. } => match error {
            Some(error) => format!("{finish}: {error}"),
            None => finish.to_string(),
        },
        _ => String::new(),
    };
    (kind, about)
}

/// Every event as it is stored, one a line: what an import reads.
fn export(found: &Found, json: bool, stdout: &mut Stdout) -> Result<(), Failure> {
    if json {
        stdout.json(&Log { session: Some(&found.name), events: found.log()? });
        return Ok(());
    }
    found.events(|event| {
        stdout.json(event);
        Ok(())
    })
}

/// Ends what a killed process has left at work for the session: with its log goes the only word of it.
fn end_left_behind(found: &Found) -> Result<(), Failure> {
    let mut left = BTreeMap::new();
    let read = found.events(|event| {
        match &event.event {
            Event::ToolProcess { call, group, leader_started } => {
                left.insert(*call, (*group, *leader_started));
            }
            Event::ToolFinished { result, .. } => drop(left.remove(&result.call)),
            _ => {}
        }
        Ok(())
    });
    if let Err(failure) = read {
        // A damaged log is deleted all the same, and tells what it tells.
        tracing::debug!(session = %found.name, failure = %failure.message, "the log could not be read to its end");
    }
    if left.is_empty() {
        return Ok(());
    }
    // Nothing of a process that lives is ended: its session is not given to us.
    found.store.open_session(&found.name)?;
    for (group, started) in left.into_values() {
        if !kill_left_behind(group, started) {
            let name = &found.name;
            let what = format!("a shell that a killed process left at work for session {name} does not end");
            return Err(Failure::internal(format!("{what}: end process group {group}, then delete it")));
        }
    }
    Ok(())
}

fn delete(found: &Found, json: bool, stdout: &mut Stdout) -> Result<(), Failure> {
    end_left_behind(found)?;
    if !found.store.delete(&found.name)? {
        return Err(found.not_found());
    }
    if json {
        stdout.json(&serde_json::json!({ "session": found.name, "deleted": true }));
    } else {
        stdout.line(&format!("{}: deleted", found.name));
    }
    Ok(())
}

/// A quarantine is the running process's own: that one lifts it. For a session that nobody runs it is enough that its log
/// can be read.
async fn lift(name: String, place: Result<Place, Failure>) -> Result<Printed, Failure> {
    let place = place?;
    let at = place.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let found = Found::open(&at, &name)?;
        let owner = found.summary()?.owner_pid;
        if owner.is_none() {
            found.conversation()?;
        }
        Ok::<_, Failure>((found.name, owner))
    });
    let (name, owner) = looked.await.map_err(|error| Failure::internal(error.to_string()))??;
    #[cfg(unix)]
    if let (Some(pid), Place::File(journal)) = (owner, &place) {
        ergane::socket::RemoteSession::new(journal, name.clone(), pid).lift().await?;
        let text = format!("{name}: process {pid} runs it\n");
        return Printed::new(serde_json::json!({ "session": name, "lifted": true }), text);
    }
    if let Some(pid) = owner {
        return Err(JournalError::Busy { session: name, pid }.into());
    }
    let text = format!("{name}: nothing to lift, no process runs it and its log is sound\n");
    Printed::new(serde_json::json!({ "session": name, "lifted": false }), text)
}
