//! The facts of a session, and the envelope each is kept in.
//!
//! A fact carries what was not known before it and nothing that could be folded from earlier ones, so the bytes of a
//! turn do not grow with the history. An event may gain fields with a default; a change that an older reader would
//! misread raises [`FORMAT_VERSION`].

mod read;
mod size;

use std::ops::AddAssign;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::size::{MAX_LEVELS, is_too_deep};
use crate::approval::{ApprovalCause, Decision};
use crate::digest::Digest;
use crate::effect::Effect;
use crate::error::TurnError;
use crate::ids::{CallId, Epoch, Identity, SendId, Seq, SessionName, TurnId};
use crate::message::{Message, Part, Text, ToolResult};
use crate::reason::FinishReason;
use crate::settings::{Settings, SettingsPatch};
use crate::usage::{Cost, MicroUsd, Spent, Usage};

/// The version of the event format that this build writes. It reads every older one and refuses newer ones.
pub const FORMAT_VERSION: u32 = 1;

/// Wall time in milliseconds since 1970-01-01 UTC; data of an event, never read by the kernel from a clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Milliseconds from `earlier` to this; 0 when the clock went back.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// A fact with its place: which position, which incarnation, when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The format version of the event.
    pub v: u32,
    /// Its position in the session.
    pub seq: Seq,
    /// The incarnation that wrote it.
    pub epoch: Epoch,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// The totals of a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnTotals {
    /// Rounds of tools.
    pub iterations: u32,
    /// Calls the model made.
    pub tool_calls: u32,
    /// Tokens.
    pub usage: Usage,
    /// Cost.
    pub cost: Cost,
    /// Wall time in milliseconds, over restarts.
    pub duration_ms: u64,
}

/// A fact.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The session began.
    SessionStarted {
        /// Its settings.
        settings: Arc<Settings>,
        /// What tells it from every other session of its name.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Identity>,
    },
    /// Settings changed, in force from the next turn; what was granted, in the open one too.
    SettingsChanged {
        /// What changed.
        patch: Box<SettingsPatch>,
        /// The one tool that somebody granted, when that was it: the open turn gets it, whatever else the session grants.
        #[serde(skip_serializing_if = "Option::is_none")]
        tool: Option<Text>,
    },
    /// A send was accepted.
    Queued {
        /// Which: the caller's key, or one made by the handle.
        send: SendId,
        /// What the user says.
        input: Vec<Part>,
        /// Its fingerprint: the same key with another input is an error.
        hash: Digest,
        /// What the program gave with it for its tools, such as who asks; no part of what the model is told.
        #[serde(skip_serializing_if = "Option::is_none")]
        meta: Option<Arc<serde_json::Value>>,
        /// What holds in its turn only, over the session's settings.
        #[serde(skip_serializing_if = "Option::is_none")]
        settings: Option<Arc<SettingsPatch>>,
    },
    /// A queued send became a turn. The turn's id is the seq of this fact.
    TurnStarted {
        /// Which send.
        send: SendId,
    },
    /// The model answered.
    ModelReplied {
        /// How many answers of the turn came before; 0 for the first.
        iteration: u32,
        /// The position up to which its request was built.
        saw: Seq,
        /// The answer, its calls numbered.
        message: Arc<Message>,
        /// Tokens, when known.
        #[serde(skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
        /// Cost, when known.
        #[serde(skip_serializing_if = "Option::is_none")]
        cost: Option<MicroUsd>,
        /// How many attempts it took.
        attempts: u32,
        /// What model calls took before it that came to no answer, when their providers told.
        #[serde(skip_serializing_if = "Option::is_none")]
        unanswered: Option<Box<Spent>>,
    },
    /// A call waits for somebody to decide about it.
    ApprovalRequested {
        /// Which.
        call: CallId,
        /// The fingerprint of its arguments: a decision holds for these and no others.
        arguments: Digest,
        /// What is to be decided.
        #[serde(skip_serializing_if = "ApprovalCause::is_permission")]
        cause: ApprovalCause,
        /// Why somebody must decide.
        why: Text,
    },
    /// Somebody decided about a call that waited.
    ApprovalDecided {
        /// Which.
        call: CallId,
        /// What was decided.
        decision: Decision,
        /// By whom.
        by: Text,
    },
    /// A call of effect `Idempotent` or `Write` is about to run.
    ToolStarted {
        /// Which.
        call: CallId,
        /// What its tool said it does.
        effect: Effect,
        /// The key under which doing it again is doing it once.
        key: Text,
    },
    /// The process group that works for a started call: what recovery must end before it says anything of the call.
    ToolProcess {
        /// Which call.
        call: CallId,
        /// The process group.
        group: i32,
        /// When the group's leader started, in the kernel's ticks since boot: tells it from a later process with the
        /// same number.
        leader_started: u64,
    },
    /// A call has its result.
    ToolFinished {
        /// The result for the model.
        result: Arc<ToolResult>,
        /// Whether permission was denied.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        denied: bool,
        /// The result for people: a kind, and data.
        #[serde(skip_serializing_if = "Option::is_none")]
        ui: Option<serde_json::Value>,
    },
    /// Somebody put in a word during the turn. It is said after the reply that did not see it.
    Steered {
        /// Which: the caller's key, or one made by the handle.
        send: SendId,
        /// What the user says.
        input: Vec<Part>,
        /// Its fingerprint.
        hash: Digest,
    },
    /// Somebody asked for the end of the turn.
    InterruptRequested {
        /// By whom.
        by: Text,
        /// Why.
        reason: Text,
    },
    /// The session was opened with an open turn. Not progress.
    Recovered {
        /// Why it had to be.
        cause: Text,
    },
    /// Somebody gave this point of the history a name.
    Checkpointed {
        /// The name.
        label: Text,
    },
    /// The conversation goes on from an earlier point. Nothing is erased: what came after it stays in the log, and the
    /// sends of the turns that were rewound keep their results.
    Rewound {
        /// The point: the facts up to it are the history from now on.
        to: Seq,
        /// Which wish it carries out: the same one is not carried out twice.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<SendId>,
    },
    /// The facts up to here are copied from another session, which goes its own way: of its sends nothing is known here.
    Forked {
        /// The other session.
        parent: SessionName,
        /// The position in it up to which they were copied.
        at: Seq,
        /// What tells this session from every other one of its name.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Identity>,
    },
    /// The turn ended.
    TurnEnded {
        /// Which.
        turn: TurnId,
        /// Why.
        finish: FinishReason,
        /// What went wrong, when something did.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<TurnError>,
        /// Of an interrupted answer, what had been shown.
        #[serde(skip_serializing_if = "Option::is_none")]
        partial: Option<Text>,
        /// What model calls took after the last answer that came to none, when their providers told.
        #[serde(skip_serializing_if = "Option::is_none")]
        unanswered: Option<Box<Spent>>,
        /// The totals, with what came to no answer.
        totals: TurnTotals,
    },
}

/// The kinds of facts, as small stable numbers for a store's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // each is the event of the same name
pub enum EventKind {
    SessionStarted = 1,
    SettingsChanged = 2,
    Queued = 3,
    TurnStarted = 4,
    ModelReplied = 5,
    ToolStarted = 6,
    ToolFinished = 7,
    InterruptRequested = 8,
    Recovered = 9,
    TurnEnded = 10,
    ToolProcess = 11,
    ApprovalRequested = 12,
    ApprovalDecided = 13,
    Steered = 14,
    Checkpointed = 15,
    Rewound = 16,
    Forked = 17,
}

impl AddAssign<Spent> for TurnTotals {
    fn add_assign(&mut self, spent: Spent) {
        self.usage += spent.usage.unwrap_or_default();
        self.cost += spent.cost;
    }
}

impl Event {
    /// What the model calls took that it tells of, those that came to an answer and those that did not.
    ///
    /// ```
    /// use ergane_core::{Event, SendId, Spent};
    ///
    /// let begun = Event::TurnStarted { send: SendId::from("a") };
    /// assert_eq!(begun.spent(), Spent::default(), "no call at all");
    /// ```
    pub fn spent(&self) -> Spent {
        let unanswered = |spent: &Option<Box<Spent>>| spent.as_deref().copied().unwrap_or_default();
        match self {
            Self::ModelReplied { usage, cost, unanswered: before, .. } => {
                unanswered(before) + Spent::of(*usage, *cost)
            }
            Self::TurnEnded { unanswered: after, .. } => unanswered(after),
            _ => Spent::default(),
        }
    }

    /// The kind.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::SessionStarted { .. } => EventKind::SessionStarted,
            Self::SettingsChanged { .. } => EventKind::SettingsChanged,
            Self::Queued { .. } => EventKind::Queued,
            Self::TurnStarted { .. } => EventKind::TurnStarted,
            Self::ModelReplied { .. } => EventKind::ModelReplied,
            Self::ApprovalRequested { .. } => EventKind::ApprovalRequested,
            Self::ApprovalDecided { .. } => EventKind::ApprovalDecided,
            Self::ToolStarted { .. } => EventKind::ToolStarted,
            Self::ToolProcess { .. } => EventKind::ToolProcess,
            Self::ToolFinished { .. } => EventKind::ToolFinished,
            Self::Steered { .. } => EventKind::Steered,
            Self::InterruptRequested { .. } => EventKind::InterruptRequested,
            Self::Recovered { .. } => EventKind::Recovered,
            Self::Checkpointed { .. } => EventKind::Checkpointed,
            Self::Rewound { .. } => EventKind::Rewound,
            Self::Forked { .. } => EventKind::Forked,
            Self::TurnEnded { .. } => EventKind::TurnEnded,
        }
    }
}
