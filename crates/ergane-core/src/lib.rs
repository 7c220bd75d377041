//! The vocabulary and the kernel of Ergane: messages, events, the fold, `next`, limits, finish reasons, typed errors.
//!
//! # Why this crate knows no clock, no I/O and no runtime
//!
//! A session is an append-only list of facts ([`Event`]s in [`Envelope`]s). Its state is a pure fold over them
//! ([`Conversation::apply`]) and what must happen now is a pure function of that state ([`Conversation::next`]).
//! Time and ids come in as data of events. So a restart is no special case: load, fold, ask `next`. A live turn and a
//! recovered one run the same code, and both can be tested without starting anything.
//!
//! ```
//! use ergane_core::{Conversation, Next};
//!
//! let conversation = Conversation::default();
//! assert_eq!(conversation.next(), Next::Idle);
//! ```

mod approval;
mod conversation;
mod digest;
mod effect;
mod error;
mod event;
mod hex;
mod ids;
mod message;
mod reason;
mod request;
mod schema;
mod settings;
mod tagged;
mod typed_url;
mod usage;

pub use approval::{ApprovalCause, Decided, Decision, PendingApproval, Verdict};
pub use conversation::{
    CALL_RECOVERY_LIMIT, CallPhase, CallState, Conversation, FoldError, History, Kept, Mark, Next, OpenCall,
    OpenTurn, Point, QueuedSend, RECOVERY_LIMIT, SendRecord, TurnRecord, schedule,
};
pub use digest::Digest;
pub use effect::Effect;
pub use error::{CoreError, ErrorKind, ProviderError, TurnError};
pub use event::{Envelope, Event, EventKind, FORMAT_VERSION, MAX_LEVELS, Timestamp, TurnTotals, is_too_deep};
pub use ids::{CallId, Epoch, Identity, SendId, Seq, SessionName, TurnId};
pub use message::{
    ArgumentError, ImageSource, Message, Opaque, Origin, Part, Reasoning, Role, Text, ToolCall, ToolResult,
};
pub use reason::{FinishCategory, FinishReason, StopReason};
pub use request::{
    ModelReply, ModelRequest, OutputSchema, PromptCache, ReasoningEffort, Sampling, ToolChoice, ToolSpec,
};
pub use schema::takes_null;
pub use settings::{
    Answering, Durability, Limits, Mode, OnUnknown, PermissionMode, Permissions, Settings, SettingsPatch,
    Ungranted,
};
pub use typed_url::TypedUrl;
pub use usage::{Cost, MicroUsd, Spent, Usage};
