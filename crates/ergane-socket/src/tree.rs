//! What a process tells of itself: its supervision tree in words, as it goes over the socket. Of the world it looks at the
//! clock alone.

use std::time::{Duration, SystemTime};

use ergane_otp::{ChildKind, EntryStatus};
use ergane_provider::wire::Allowance;
use ergane_provider::{Circuit, ProviderStatus};
use ergane_session::Status;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why something that was asked came to nothing, in the words of whom it was asked.
///
/// ```
/// use ergane::socket::{Problem, RemoteError};
///
/// let told = |error: &RemoteError| match error {
///     RemoteError::Refused { problem, .. } => format!("{}: {}", problem.kind, problem.message),
///     other => other.to_string(),
/// };
/// # let problem = Problem::new("not_found", "no such call");
/// # let refused = RemoteError::Refused { session: "alice".parse()?, pid: 17, problem };
/// assert_eq!(told(&refused), "not_found: no such call");
/// # Ok::<(), ergane::core::CoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// A word of the command line's contract, as [`SessionError::code`](ergane_session::SessionError::code) gives it.
    pub kind: String,
    /// What was wrong, for people.
    pub message: String,
    /// Whether the same may succeed later without anybody changing it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_pass: bool,
}

impl Problem {
    /// Puts it together: something that does not pass by itself.
    ///
    /// ```
    /// let problem = ergane::socket::Problem::new("timeout", "it did not answer within 3 s");
    /// assert_eq!((&*problem.kind, &*problem.message), ("timeout", "it did not answer within 3 s"));
    /// ```
    pub fn new(kind: &str, message: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), message: message.into(), may_pass: false }
    }

    /// The same, of which it is known that it may pass.
    pub(crate) fn passing(self) -> Self {
        Self { may_pass: true, ..self }
    }
}

/// A system that runs on the journal, in this process or in another: see [`processes`](crate::processes).
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let system = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
/// for process in ergane::socket::processes(&path, std::time::Duration::from_secs(3)).await? {
///     match (&process.tree, &process.error) {
///         (Some(tree), _) => println!("{:?} {}: {} children", process.pid, tree.id, tree.children.len()),
///         (None, why) => println!("{:?} does not tell: {why:?}", process.pid),
///     }
///     # assert!(process.tree.is_some());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Process {
    /// The process.
    pub pid: Option<u32>,
    /// The journal's full path.
    pub journal: String,
    /// The system's name.
    pub system: Option<String>,
    /// Its supervision tree.
    pub tree: Option<Node>,
    /// Why there is no tree.
    #[serde(default)]
    pub error: Option<Problem>,
}

/// An actor, and what is below it. What nobody knows is `None`.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let system = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
/// let processes = ergane::socket::processes(&path, std::time::Duration::from_secs(3)).await?;
/// let tree = processes[0].tree.as_ref().expect("it answers");
/// let journal = tree.children.iter().find(|child| child.id == "journal").expect("every system has one");
/// assert_eq!((&*journal.kind, &*journal.status, journal.restarts), ("worker", "live", Some(0)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Node {
    /// Its id among its siblings.
    pub id: String,
    /// Within its process; the living incarnation's.
    pub pid: Option<String>,
    /// `supervisor` or `worker`.
    pub kind: String,
    /// How often it was started again.
    pub restarts: Option<u32>,
    /// How long the present incarnation has lived, in milliseconds.
    pub uptime_ms: Option<u64>,
    /// Where it stands, in a word: `starting`, `live`, `stopping`, `backoff`, `quarantined`, `stuck`, `ended`.
    pub status: String,
    /// Why it waits or does not run.
    pub reason: Option<String>,
    /// Of a session that runs: what it is doing. A value, so that a later version's activities are shown too.
    pub activity: Option<Value>,
    /// Of a session: the open turn, counted from 1.
    pub turn: Option<u64>,
    /// Of a session: how many sends wait for their turn.
    pub queued: Option<u64>,
    /// Of a provider: how it stands.
    #[serde(default)]
    pub provider: Option<Box<Standing>>,
    /// What is below it.
    pub children: Vec<Node>,
}

impl Node {
    /// An actor of which no more is known than this.
    ///
    /// ```
    /// use ergane::otp::{ChildKind, EntryStatus};
    /// use ergane::socket::Node;
    ///
    /// let stuck = EntryStatus::Stuck { reason: "its handler does not end".into() };
    /// let node = Node::new("session/alice", ChildKind::Worker, &stuck);
    /// assert_eq!((&*node.status, node.reason.as_deref()), ("stuck", Some("its handler does not end")));
    /// ```
    pub fn new(id: impl Into<String>, kind: ChildKind, status: &EntryStatus) -> Self {
        let (status, reason) = words(status);
        let kind = match kind {
            ChildKind::Supervisor => "supervisor",
            ChildKind::Worker => "worker",
        };
        Self {
            id: id.into(),
            pid: None,
            kind: kind.to_owned(),
            restarts: None,
            uptime_ms: None,
            status: status.to_owned(),
            reason,
            activity: None,
            turn: None,
            queued: None,
            provider: None,
            children: Vec::new(),
        }
    }

    /// With how long it has lived `now`.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use ergane::otp::{ChildKind, EntryStatus};
    /// use ergane::socket::Node;
    ///
    /// let now = SystemTime::now();
    /// let node = Node::new("journal", ChildKind::Worker, &EntryStatus::Live).since(now - Duration::from_secs(2), now);
    /// assert_eq!(node.uptime_ms, Some(2000));
    /// ```
    pub fn since(mut self, started: SystemTime, now: SystemTime) -> Self {
        self.uptime_ms = now.duration_since(started).ok().map(millis);
        self
    }

    /// With what a session says of itself.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ergane::otp::{ChildKind, EntryStatus};
    /// use ergane::socket::Node;
    ///
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").start().await?;
    /// let node = Node::new(alice.process_name(), ChildKind::Worker, &EntryStatus::Live).session(&alice.status().await?);
    /// assert_eq!((node.turn, node.queued, node.activity), (None, Some(0), Some(json!({ "state": "idle" }))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(mut self, status: &Status) -> Self {
        self.activity = serde_json::to_value(&status.activity).ok();
        self.turn = status.turn.map(|_| count(status.turns));
        self.queued = Some(count(status.queued));
        self
    }
}

/// How a provider stands, at one endpoint. A bound that is `None` is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Standing {
    /// Its name in the system.
    pub provider: String,
    /// Where it is.
    pub endpoint: String,
    /// How many calls run.
    pub running: u64,
    /// How many wait.
    pub waiting: u64,
    /// How many may run at once.
    pub max_in_flight: Option<u64>,
    /// How many may begin within a minute.
    pub requests_per_minute: Option<u64>,
    /// How many tokens there may be within a minute.
    pub tokens_per_minute: Option<u64>,
    /// `closed`, `open`, `probing`.
    pub circuit: String,
    /// How much longer it lets no call through, in milliseconds.
    #[serde(default)]
    pub circuit_for_ms: Option<u64>,
    /// How much longer the server asked to be left alone, in milliseconds.
    #[serde(default)]
    pub asked_for_ms: Option<u64>,
    /// What the server told of its own limit of requests.
    #[serde(default)]
    pub requests: Option<Left>,
    /// What the server told of its own limit of tokens.
    #[serde(default)]
    pub tokens: Option<Left>,
    /// Why a call would have to wait now.
    pub reason: Option<String>,
    /// How long at least, in milliseconds, where that is known.
    pub wait_ms: Option<u64>,
}

impl From<ProviderStatus> for Standing {
    fn from(status: ProviderStatus) -> Self {
        Self {
            provider: status.provider.to_string(),
            endpoint: status.endpoint,
            running: count(status.running),
            waiting: count(status.waiting),
            max_in_flight: Some(count(status.limits.max_in_flight))
                .filter(|_| status.limits.max_in_flight < usize::MAX),
            requests_per_minute: status.limits.requests_per_minute,
            tokens_per_minute: status.limits.tokens_per_minute,
            circuit: match status.circuit {
                Circuit::Closed => "closed",
                Circuit::Open => "open",
                Circuit::Probing => "probing",
                _ => "unknown",
            }
            .to_owned(),
            circuit_for_ms: status.circuit_for.map(millis),
            asked_for_ms: status.asked_for.map(millis),
            requests: status.told.requests.map(Left::from),
            tokens: status.told.tokens.map(Left::from),
            reason: status.reason.map(|reason| reason.to_string()),
            wait_ms: status.wait.map(millis),
        }
    }
}

/// What is left of a server's limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Left {
    /// The limit, where it was told.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: u64,
    /// How long until all of it is there again, in milliseconds.
    pub reset_ms: u64,
}

impl From<Allowance> for Left {
    fn from(Allowance { limit, remaining, reset }: Allowance) -> Self {
        Self { limit, remaining, reset_ms: millis(reset) }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX - 1)
}

/// A status as one word, and why.
fn words(status: &EntryStatus) -> (&'static str, Option<String>) {
    match status {
        EntryStatus::Starting => ("starting", None),
        EntryStatus::Live => ("live", None),
        EntryStatus::Stopping => ("stopping", None),
        EntryStatus::Backoff { until } => {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            ("backoff", Some(format!("the next start is in {} ms", left.as_millis())))
        }
        EntryStatus::Quarantined { reason } => ("quarantined", Some(reason.clone())),
        EntryStatus::Stuck { reason } => ("stuck", Some(reason.clone())),
        EntryStatus::Ended { reason } => ("ended", Some(reason.to_string())),
        // A later one, told in its own words.
        other => ("other", Some(other.to_string())),
    }
}
