//! What a session is doing.

use ergane_core::{Cost, Durability, Seq, SessionName, Text, TurnId, Usage};
use serde::Serialize;

/// What a session is doing.
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
/// # let system = System::builder().provider("scripted", script).start().await?;
/// # let alice = system.session("alice").start().await?;
/// assert_eq!(alice.status().await?.activity, Activity::Idle);
/// alice.send_message("What is the answer?").accepted().await?;
/// match alice.status().await?.activity {
///     Activity::AwaitingApproval { calls } => println!("somebody must decide about {calls:?}"),
///     Activity::Parked { reason } => println!("the disk: {reason}"),
///     other => assert!(matches!(other, Activity::CallingModel | Activity::Committing), "{other:?}"),
/// }
/// alice.stop().await?;
/// assert_eq!(alice.status().await?.activity, Activity::Stored);
/// # Ok(())
/// # }
/// ```
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
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// alice.send_message("hello").await?;
/// let status = alice.status().await?;
/// assert_eq!((status.turns, status.turn, status.queued), (1, None, 0));
/// assert_eq!(status.durable, status.accepted, "nothing is on its way to the store");
/// assert_eq!(status.provider.as_deref(), Some("scripted"));
/// # Ok(())
/// # }
/// ```
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
    /// How many sends wait for their turn; 0 of a session that is only stored, whose sends are counted when it is brought up.
    pub queued: usize,
    /// How many turns have begun.
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
    /// Tokens of all turns; of a session that no process runs, without those written to a provider's cache.
    pub usage: Usage,
    /// Cost of all turns.
    pub cost: Cost,
}
