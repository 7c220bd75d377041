//! What goes over the socket: one line of JSON there, one line back, or, of a turn, as many as it takes. Pure.

use std::fmt::Display;

use ergane_core::{
    CallId, Decision, Digest, Part, PendingApproval, Point, Seq, SessionName, SettingsPatch, Text,
};
use ergane_session::{Input, SessionEvent, TurnResult};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tree::{Problem, Process};

/// The version of both lines.
const VERSION: u32 = 1;

/// How long a request may be, with its end of line.
pub(crate) const LONGEST: usize = 17 * 1024 * 1024;

/// What is answered to an [`Ask::Interrupt`], [`Ask::InterruptSend`] or [`Ask::Steer`] that found no open turn.
pub(crate) const IDLE: &str = "idle";

/// What is answered to an [`Ask::Steer`] that the open turn took in.
pub(crate) const ENTERED: &str = "entered";

/// How it begins to be said that a build does not know what it was asked. Every build says it so.
const CANNOT: &str = "this cannot be asked";

/// What can be asked of a running process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// The supervision tree.
    Tree,
    /// What waits for a decision.
    Approvals { session: SessionName },
    /// A decision about a call that waits.
    Approve {
        session: SessionName,
        call: CallId,
        /// The position of the question that it answers.
        #[serde(default)]
        question: Option<Seq>,
        /// Of the arguments that were looked at.
        arguments: Digest,
        decision: Decision,
        /// Who decides.
        #[serde(default)]
        by: Option<Text>,
    },
    /// The end of the open turn.
    Interrupt { session: SessionName, reason: Text },
    /// The end of the turn of a send, open or waiting, and of no other. A question of its own: a build that does not know it would end
    /// whatever turn is open.
    InterruptSend { session: SessionName, key: Text, reason: Text },
    /// A word for the open turn.
    Steer {
        session: SessionName,
        input: Words,
        /// With the same key it is put in once.
        #[serde(default)]
        key: Option<Text>,
        /// Whether an answer that is under way is given up.
        #[serde(default)]
        cut: bool,
    },
    /// A name for the present point of the history.
    Checkpoint { session: SessionName, label: Text },
    /// To go on from an earlier point: a position, or the name of a checkpoint; without one, the present.
    Rewind {
        session: SessionName,
        #[serde(default)]
        to: Option<Text>,
    },
    /// A quarantine is to be lifted.
    Lift { session: SessionName },
    /// A turn. Answered by [`Answer::Accepted`], then by an [`Answer::Event`] for each event, then by [`Answer::Result`] or
    /// [`Answer::Waits`].
    Turn(Box<Order>),
}

/// A turn that is to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) session: SessionName,
    pub(crate) input: Vec<Part>,
    pub(crate) key: Text,
    /// Of this turn only, unless they are kept.
    #[serde(default)]
    pub(crate) settings: SettingsPatch,
    /// Whether the session keeps the settings, from when the turn is taken.
    #[serde(default)]
    pub(crate) keep: bool,
    /// For its tools.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) meta: Value,
}

impl Order {
    /// With no settings of its own, and nothing for its tools.
    pub(crate) fn new(session: SessionName, input: Vec<Part>, key: Text) -> Self {
        Self { session, input, key, settings: SettingsPatch::default(), keep: false, meta: Value::Null }
    }
}

/// What is put into a turn: a text, or parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Words {
    Text(Text),
    Parts(Vec<Part>),
}

impl From<Vec<Part>> for Words {
    fn from(parts: Vec<Part>) -> Self {
        match parts.as_slice() {
            [Part::Text { text }] => Self::Text(text.clone()),
            _ => Self::Parts(parts),
        }
    }
}

impl From<Words> for Input {
    fn from(words: Words) -> Self {
        match words {
            Words::Text(text) => Self::from(&*text),
            Words::Parts(parts) => Self::from(parts),
        }
    }
}

impl Ask {
    /// The session it is about, if it is about one.
    pub(crate) fn session(&self) -> Option<&SessionName> {
        match self {
            Self::Tree => None,
            Self::Approvals { session }
            | Self::Approve { session, .. }
            | Self::Interrupt { session, .. }
            | Self::InterruptSend { session, .. }
            | Self::Steer { session, .. }
            | Self::Checkpoint { session, .. }
            | Self::Rewind { session, .. }
            | Self::Lift { session } => Some(session),
            Self::Turn(order) => Some(&order.session),
        }
    }
}

/// What is answered. Who says it knows all events, and who hears it, as [`Heard`], those of a later version too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Answer<E = SessionEvent> {
    /// Why there is none: an error, as soon as it is read, and until it is written.
    Failed { error: Problem },
    /// It was done; what came of it in a word.
    Done { done: String },
    /// What waits for a decision.
    Approvals { approvals: Vec<PendingApproval> },
    /// The turn is accepted, and that is durable: it will be run, whoever dies.
    Accepted { accepted: bool },
    /// Something happened in the turn.
    Event { event: E },
    /// The turn goes on when the journal can take what happens. Why it cannot. Said when it begins, and every few seconds in which
    /// nothing else is said, as a sign of life.
    Parked { parked: String },
    /// The journal takes what happens again; or it always did, and this is a sign of life, which all that is asked is answered
    /// by, but for the tree.
    GoesOn { goes_on: bool },
    /// The turn has ended.
    Result { result: Box<TurnResult> },
    /// The turn waits for nothing but a decision about these.
    Waits { waits: Vec<PendingApproval> },
    /// Large, and so read on its own, by [`parse_process`].
    #[serde(skip_deserializing)]
    Tree(Box<Process>),
}

/// What a client reads, but for the tree.
pub(crate) type Heard = Answer<Value>;

/// A point as it is said.
pub(crate) fn point(said: Option<Text>) -> Point {
    said.map_or(Point::Now, |text| Point::typed(&text))
}

/// The same the other way.
pub(crate) fn of_point(point: Point) -> Option<Text> {
    match point {
        Point::Now => None,
        Point::At(seq) => Some(seq.to_string().into()),
        Point::Label(label) => Some(label),
    }
}

/// A line of either direction.
#[derive(Debug, Serialize, Deserialize)]
struct Line<T> {
    v: u32,
    #[serde(flatten)]
    body: T,
}

/// A request as a line.
pub(crate) fn request(ask: Ask) -> Vec<u8> {
    encode(&Line { v: VERSION, body: ask })
}

/// Reads a request. What is wrong with it is for whoever wrote it.
pub(crate) fn parse_request(line: &[u8]) -> Result<Ask, Problem> {
    let wrong = |why: String| Problem::new("bad_request", why);
    let value: Value =
        serde_json::from_slice(line).map_err(|error| wrong(format!("not a line of JSON: {error}")))?;
    // What earlier builds asked for a turn, and showed what was answered as it was.
    if value.get("ask").is_some_and(|ask| ask == "send") {
        return Err(wrong(format!(
            "{CANNOT}: this process runs a later build of Ergane, of which a turn is asked in another way; use the same build"
        )));
    }
    match value.get("v").map(Value::as_u64) {
        Some(Some(version)) if version == u64::from(VERSION) => {}
        None => return Err(wrong(format!("there is no version: say {{\"v\":{VERSION},\"ask\":…}}"))),
        _ => return Err(wrong(format!("this process understands version {VERSION} only"))),
    }
    let line: Line<Ask> =
        serde_json::from_value(value).map_err(|error| wrong(format!("{CANNOT}: {error}")))?;
    Ok(line.body)
}

/// Why a request is not read to its end, or not sent.
pub(crate) fn too_long() -> Problem {
    let why = format!("the request is longer than {LONGEST} bytes: send less, or a path to it");
    Problem::new("bad_request", why)
}

/// An answer as a line, or why there is none.
pub(crate) fn answer(answer: &Result<Answer, Problem>) -> Vec<u8> {
    match answer {
        Ok(answer) => encode(&Line { v: VERSION, body: answer }),
        Err(error) => encode(&Line { v: VERSION, body: Answer::<()>::Failed { error: error.clone() } }),
    }
}

/// Whether a problem is that another build was asked.
pub(crate) fn is_of_another_build(problem: &Problem) -> bool {
    let told = [CANNOT, "this process understands version"];
    problem.kind == "protocol"
        || problem.kind == "bad_request" && told.iter().any(|told| problem.message.starts_with(told))
}

fn garbled(error: impl Display) -> Problem {
    Problem::new("protocol", format!("its answer is garbled: {error}"))
}

/// Reads an answer to another ask than [`Ask::Tree`].
///
/// # Errors
/// Why there is none; or it is garbled.
pub(crate) fn parse_heard(line: &[u8]) -> Result<Heard, Problem> {
    match serde_json::from_slice(line).map_err(garbled)? {
        Heard::Failed { error } => Err(error),
        heard => Ok(heard),
    }
}

/// Reads an answer to [`Ask::Tree`].
///
/// # Errors
/// The same.
pub(crate) fn parse_process(line: &[u8]) -> Result<Process, Problem> {
    let value: Value = serde_json::from_slice(line).map_err(garbled)?;
    match value.get("error") {
        None | Some(Value::Null) => serde_json::from_value(value).map_err(garbled),
        Some(error) => Err(serde_json::from_value(error.clone()).map_err(garbled)?),
    }
}

fn encode(line: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).unwrap_or_else(|error| {
        tracing::error!(%error, "a line for another process cannot be written as JSON");
        br#"{"v":1,"error":{"kind":"internal","message":"the line cannot be written as JSON"}}"#.to_vec()
    });
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests;
