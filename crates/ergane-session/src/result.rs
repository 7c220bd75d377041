//! What a turn came to.

use std::sync::Arc;
use std::time::Duration;

use ergane_core::{
    Conversation, FinishReason, Message, MicroUsd, SendId, SessionName, Text, TurnError, TurnId, TurnRecord,
    Usage,
};
use serde::{Deserialize, Serialize};

/// What a turn came to. A turn that ran has one, whatever its [`finish_reason`](TurnResult::finish_reason).
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let script = Scripted::replies([ScriptedReply::text("Hello.")]);
/// let system = System::builder().provider("scripted", script).start().await?;
/// let result = system.session("alice").start().await?.send_message("hello").await?;
/// assert_eq!((&*result.text, result.finish_reason), ("Hello.", FinishReason::Stop));
/// assert_eq!((result.iterations, result.tool_calls_made), (0, 0), "an answer without tools is no round of them");
/// assert!(!result.recovered && result.error.is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnResult {
    /// The answer: the last text of the model that is not blank. An error finish has text too, when there was some.
    pub text: Text,
    /// The messages of this turn, the user's first.
    pub messages: Vec<Arc<Message>>,
    /// Why the turn ended.
    pub finish_reason: FinishReason,
    /// What went wrong, when something did.
    pub error: Option<TurnError>,
    /// Rounds of tools; an answer without tools is none.
    pub iterations: u32,
    /// Calls the model made.
    pub tool_calls_made: u32,
    /// Tokens.
    pub usage: Usage,
    /// Cost; `None` when the price of any call is not known.
    pub cost: Option<MicroUsd>,
    /// Wall time, over restarts.
    pub duration: Duration,
    /// The model that answered.
    pub model: Text,
    /// The provider that answered.
    pub provider: Text,
    /// The turn.
    pub turn: TurnId,
    /// The number of the turn in its session, from 1.
    pub ordinal: u32,
    /// The session.
    pub session: SessionName,
    /// The send it answers: the caller's key, or one that was made for it.
    pub send: SendId,
    /// Whether a part of it ran in an earlier incarnation.
    pub recovered: bool,
    /// Whether the conversation was rewound to before its end: it is no part of the history any more.
    pub rewound: bool,
}

impl TurnResult {
    pub(crate) fn of(session: &SessionName, conversation: &Conversation, record: &TurnRecord) -> Self {
        Self {
            text: conversation.text_of(record),
            messages: conversation.messages_of(record),
            finish_reason: record.finish,
            error: record.error.clone(),
            iterations: record.totals.iterations,
            tool_calls_made: record.totals.tool_calls,
            usage: record.totals.usage,
            cost: record.totals.cost.total(),
            duration: Duration::from_millis(record.totals.duration_ms),
            model: record.model.clone(),
            provider: record.provider.clone(),
            turn: record.id,
            ordinal: record.ordinal,
            session: session.clone(),
            send: record.send.clone(),
            recovered: record.recovered,
            rewound: record.rewound.is_some(),
        }
    }
}
