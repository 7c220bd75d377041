//! What a session is doing.

use ergane_core::{Cost, Durability, Seq, SessionName, Text, TurnId, Usage};
use serde::Serialize;

/// What a session is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activity {
    /// Its log is being loaded.
    Starting,
    /// No turn is open.
    Idle,
    /// What has just happened is on its way to the store.
    Committing,
    /// A model is being asked.
    CallingModel,
    /// A model call waits to be made: a limit, a server that asked to wait, one that fails again and again.
    Waiting {
        /// Why.
        reason: String,
    },
    /// A model call failed and is made again after a pause.
    Retrying {
        /// Why.
        reason: String,
    },
    /// Tools run.
    RunningTools {
        /// The calls, as `name (id)`.
        calls: Vec<String>,
    },
    /// Somebody must decide about calls before the turn goes on; it waits for as long as that takes.
    AwaitingApproval {
        /// The calls, as `name (id)`.
        calls: Vec<String>,
    },
    /// The open turn is being brought to its end.
    Interrupting,
    /// The store cannot take facts now; the turn goes on when it can.
    Parked {
        /// Why.
        reason: String,
    },
    /// Something the session needs is not registered in this process.
    Unresolved {
        /// What.
        missing: Vec<String>,
    },
    /// It failed too often, or its log is damaged; nothing runs until `start()`.
    Quarantined {
        /// Why.
        reason: String,
    },
    /// It is stored and no process runs it.
    Stored,
}

/// What a session is doing, and what it has done.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The session.
    pub session: SessionName,
    /// What it is doing.
    #[serde(flatten)]
    pub activity: Activity,
    /// The open turn.
    pub turn: Option<TurnId>,
    /// How many sends wait for their turn.
    pub queued: usize,
    /// How many turns have ended.
    pub turns: usize,
    /// The position up to which facts are durable.
    pub durable: Seq,
    /// The position up to which facts are accepted: beyond `durable` while some are on their way to the store.
    pub accepted: Seq,
    /// Whether facts outlive the process.
    pub durability: Durability,
    /// The provider of the next turn.
    pub provider: Option<Text>,
    /// The model of the next turn.
    pub model: Option<Text>,
    /// Tokens of all turns.
    pub usage: Usage,
    /// Cost of all turns.
    pub cost: Cost,
}
