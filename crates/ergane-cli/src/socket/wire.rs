//! What goes over the socket: one line of JSON there, one line back. Pure.

use ergane::core::{CallId, Decision, Digest, Seq, SessionName, SettingsPatch, Text};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of both lines.
const VERSION: u32 = 1;

/// What is answered to an [`Ask::Interrupt`] that found no open turn.
pub(crate) const IDLE: &str = "idle";

/// What is answered to an [`Ask::Steer`] that the open turn took in.
pub(crate) const ENTERED: &str = "entered";

/// What can be asked of a running process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// The supervision tree.
    Tree,
    /// A decision about a call that waits.
    Approve {
        session: SessionName,
        call: CallId,
        /// The position of the question that it answers; an older client does not tell it.
        #[serde(default)]
        question: Option<Seq>,
        /// Of the arguments that were looked at: for an older owner, which knows no questions.
        arguments: Digest,
        decision: Decision,
    },
    /// The end of the open turn.
    Interrupt { session: SessionName, reason: Text },
    /// A word for the open turn.
    Steer {
        session: SessionName,
        input: Text,
        /// With the same key it is put in once.
        #[serde(default)]
        key: Option<Text>,
        /// Whether an answer that is under way is given up.
        #[serde(default)]
        cut: bool,
    },
    /// A name for the present point of the history.
    Checkpoint { session: SessionName, label: Text },
    /// To go on from an earlier point: a position, or the name of a checkpoint.
    Rewind { session: SessionName, to: Text },
    /// A quarantine is to be lifted.
    Lift { session: SessionName },
    /// A turn. Answered by [`Answer::Accepted`], then by an [`Answer::Event`] for each event, then by [`Answer::Ended`]; and,
    /// whenever that changes, by [`Answer::Parked`] and [`Answer::GoesOn`].
    Send {
        session: SessionName,
        input: Text,
        key: Text,
        #[serde(default)]
        settings: Box<SettingsPatch>,
    },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    Tree(Box<Process>),
    /// It was done; what came of it in a word.
    Done {
        done: String,
    },
    /// The turn is accepted: it will be run, whoever dies.
    Accepted {
        accepted: bool,
    },
    /// Something happened in the turn.
    Event {
        event: Value,
    },
    /// The turn goes on when the journal can take what happens. Why it cannot. Before the turn is accepted it is said again
    /// and again, as a sign of life.
    Parked {
        parked: String,
    },
    /// The journal takes what happens again.
    GoesOn {
        goes_on: bool,
    },
    /// The turn has ended, or waits: the object of `--json`, the exit status, and what is told of waiting.
    Ended {
        report: Value,
        exit: u8,
        waiting: Option<String>,
    },
}

/// What a client reads of [`Answer`], but for the tree.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Heard {
    Failed { error: Problem },
    Done { done: String },
    Accepted { accepted: bool },
    Event { event: Value },
    Parked { parked: String },
    GoesOn { goes_on: bool },
    Ended { report: Value, exit: u8, waiting: Option<String> },
}

/// A line of either direction.
#[derive(Debug, Serialize, Deserialize)]
struct Line<T> {
    v: u32,
    #[serde(flatten)]
    body: T,
}

/// Why something that was asked came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// A word of the contract of `--json`.
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// A process that runs a system on the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: Option<u32>,
    pub(crate) journal: String,
    pub(crate) system: Option<String>,
    pub(crate) tree: Option<Node>,
    /// Why there is no tree.
    #[serde(default)]
    pub(crate) error: Option<Problem>,
}

/// An actor, and what is below it. What nobody knows is `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    /// Within its process; the living incarnation's.
    pub(crate) pid: Option<String>,
    pub(crate) kind: String,
    pub(crate) restarts: Option<u32>,
    pub(crate) uptime_ms: Option<u64>,
    pub(crate) status: String,
    /// Why it waits or does not run.
    pub(crate) reason: Option<String>,
    /// Of a session that runs: what it is doing. A value, so that a later version's activities are shown too.
    pub(crate) activity: Option<Value>,
    /// Of a session: the open turn, counted from 1.
    pub(crate) turn: Option<u64>,
    /// Of a session: how many sends wait for their turn.
    pub(crate) queued: Option<u64>,
    /// Of a provider: how it stands.
    #[serde(default)]
    pub(crate) provider: Option<Box<Standing>>,
    pub(crate) children: Vec<Node>,
}

/// How a provider stands, at one endpoint. A bound that is `null` is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) provider: String,
    pub(crate) endpoint: String,
    /// How many calls run, and how many wait.
    pub(crate) running: u64,
    pub(crate) waiting: u64,
    pub(crate) max_in_flight: Option<u64>,
    pub(crate) requests_per_minute: Option<u64>,
    pub(crate) tokens_per_minute: Option<u64>,
    /// `closed`, `open`, `probing`; and how much longer it lets no call through.
    pub(crate) circuit: String,
    #[serde(default)]
    pub(crate) circuit_for_ms: Option<u64>,
    /// How much longer the server asked to be left alone.
    #[serde(default)]
    pub(crate) asked_for_ms: Option<u64>,
    /// What the server told of its own limits.
    #[serde(default)]
    pub(crate) requests: Option<Left>,
    #[serde(default)]
    pub(crate) tokens: Option<Left>,
    /// Why a call would have to wait now, and how long at least, if that is known.
    pub(crate) reason: Option<String>,
    pub(crate) wait_ms: Option<u64>,
}

/// What is left of a server's limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    pub(crate) limit: Option<u64>,
    pub(crate) remaining: u64,
    /// How long until all of it is there again.
    pub(crate) reset_ms: u64,
}

impl Problem {
    pub(crate) fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), message: message.into() }
    }
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
    match value.get("v").map(Value::as_u64) {
        Some(Some(version)) if version == u64::from(VERSION) => {}
        None => return Err(wrong(format!("there is no version: say {{\"v\":{VERSION},\"ask\":…}}"))),
        _ => return Err(wrong(format!("this process understands version {VERSION} only"))),
    }
    let line: Line<Ask> =
        serde_json::from_value(value).map_err(|error| wrong(format!("this cannot be asked: {error}")))?;
    Ok(line.body)
}

/// An answer as a line.
pub(crate) fn answer(answer: &Result<Answer, Problem>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a Problem,
    }
    match answer {
        Ok(answer) => encode(&Line { v: VERSION, body: answer }),
        Err(error) => encode(&Line { v: VERSION, body: Error { error } }),
    }
}

/// Reads an answer to another ask.
pub(crate) fn parse_heard(line: &[u8]) -> Result<Heard, Problem> {
    serde_json::from_slice(line)
        .map_err(|error| Problem::new("protocol", format!("its answer is garbled: {error}")))
}

/// Reads an answer to [`Ask::Tree`].
pub(crate) fn parse_process(line: &[u8]) -> Result<Process, Problem> {
    let garbled =
        |error: serde_json::Error| Problem::new("protocol", format!("its answer is garbled: {error}"));
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
mod tests {
    use super::*;

    fn process() -> Process {
        let standing = Standing {
            provider: "p".into(),
            endpoint: "http://h".into(),
            running: 1,
            waiting: 2,
            max_in_flight: Some(1),
            requests_per_minute: None,
            tokens_per_minute: None,
            circuit: "open".into(),
            circuit_for_ms: Some(1_000),
            asked_for_ms: None,
            requests: Some(Left { limit: Some(10), remaining: 0, reset_ms: 60_000 }),
            tokens: None,
            reason: Some("r".into()),
            wait_ms: None,
        };
        let leaf = Node {
            id: "session/a".into(),
            pid: Some("0.7".into()),
            kind: "worker".into(),
            restarts: Some(2),
            uptime_ms: Some(1),
            status: "live".into(),
            reason: None,
            activity: Some(serde_json::json!({"state": "of a later version"})),
            turn: Some(1),
            queued: Some(0),
            provider: Some(Box::new(standing)),
            children: Vec::new(),
        };
        let (journal, system) = ("/j.db".into(), Some("ergane".into()));
        Process { pid: Some(1), journal, system, tree: Some(leaf), error: None }
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(request(Ask::Tree), b"{\"v\":1,\"ask\":\"tree\"}\n");
        assert_eq!(parse_request(&request(Ask::Tree)), Ok(Ask::Tree));
        assert_eq!(parse_process(&answer(&Ok(Answer::Tree(Box::new(process()))))), Ok(process()));
        let problem = Problem::new("internal", "m");
        assert_eq!(parse_process(&answer(&Err(problem.clone()))), Err(problem));
        assert_eq!(parse_process(b"{}").unwrap_err().kind, "protocol");
        assert_eq!(parse_process(b"").unwrap_err().kind, "protocol");
    }

    #[test]
    fn asks_about_a_session_are_lines_too_and_their_answers_are_told_apart() {
        let session = SessionName::new("a").unwrap();
        for ask in [
            Ask::Approve {
                session: session.clone(),
                call: "3.1".parse().unwrap(),
                question: Some(Seq(5)),
                arguments: Digest::of(b"{}"),
                decision: Decision::deny("no"),
            },
            Ask::Interrupt { session: session.clone(), reason: "r".into() },
            Ask::Steer { session: session.clone(), input: "hi".into(), key: Some("k".into()), cut: true },
            Ask::Checkpoint { session: session.clone(), label: "here".into() },
            Ask::Lift { session: session.clone() },
            Ask::Send { session, input: "hi".into(), key: "k".into(), settings: Box::default() },
        ] {
            assert_eq!(parse_request(&request(ask.clone())), Ok(ask));
        }
        let heard = |said: Result<Answer, Problem>| parse_heard(&answer(&said)).unwrap();
        assert_eq!(
            heard(Ok(Answer::Done { done: "entered".into() })),
            Heard::Done { done: "entered".into() }
        );
        assert_eq!(heard(Ok(Answer::Accepted { accepted: true })), Heard::Accepted { accepted: true });
        let parked = Answer::Parked { parked: "the disk is full".into() };
        assert_eq!(heard(Ok(parked)), Heard::Parked { parked: "the disk is full".into() });
        assert_eq!(heard(Ok(Answer::GoesOn { goes_on: true })), Heard::GoesOn { goes_on: true });
        let ended = Answer::Ended { report: Value::Null, exit: 5, waiting: Some("w".into()) };
        assert!(matches!(heard(Ok(ended)), Heard::Ended { exit: 5, .. }));
        let problem = Problem::new("busy", "m");
        assert_eq!(heard(Err(problem.clone())), Heard::Failed { error: problem });
        assert_eq!(parse_heard(b"{}").unwrap_err().kind, "protocol");
    }

    #[test]
    fn what_is_no_request_is_told_so() {
        for (line, why) in [
            ("", "not a line of JSON"),
            ("tree", "not a line of JSON"),
            ("[]", "there is no version"),
            (r#"{"ask":"tree"}"#, "there is no version"),
            (r#"{"v":2,"ask":"tree"}"#, "version 1 only"),
            (r#"{"v":"1","ask":"tree"}"#, "version 1 only"),
            (r#"{"v":1}"#, "missing field `ask`"),
            (r#"{"v":1,"ask":"shutdown"}"#, "unknown variant `shutdown`"),
        ] {
            let problem = parse_request(line.as_bytes()).unwrap_err();
            assert_eq!(problem.kind, "bad_request", "{line}");
            assert!(problem.message.contains(why), "{line}: {problem:?}");
        }
    }
}
