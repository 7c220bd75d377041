//! What subscribers see.

use ergane_core::SessionName;
use ergane_core::{
    ApprovalCause, CallId, Decision, Digest, Effect, Envelope, Event, FinishReason, MicroUsd, Part, Seq,
    Spent, Text, ToolCall, TurnError, TurnId, Usage,
};
use serde::{Deserialize, Serialize};

use crate::message::Live;

/// What a subscriber sees. Those with a `seq` are facts, told once each and only when durable; the others are told as
/// they happen, and may be lost to a slow reader, who is then told how many.
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// let mut turn = alice.send_message("hello").stream().await?;
/// let (mut shown, mut last) = (String::new(), None);
/// while let Some(event) = turn.next().await {
///     match event {
///         SessionEvent::Content { text } => shown.push_str(&text),
///         SessionEvent::StreamReset => shown.clear(), // the attempt broke off and is made again
///         SessionEvent::Reply { seq, text, .. } => {
///             assert_eq!(shown, *text, "the pieces were the answer; only now it is a fact");
///             last = Some(seq);
///         }
///         _ => {} // kinds may be added
///     }
/// }
/// assert!(last.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SessionEvent {
    /// A turn began.
    TurnStarted {
        /// Its position, which is the turn's id.
        seq: Seq,
        /// The send it answers.
        send: Text,
    },
    /// The session was opened with this turn open, and goes on with it.
    Recovered {
        /// Its position.
        seq: Seq,
        /// Why it had to be.
        cause: Text,
    },
    /// A piece of the answer.
    Content {
        /// The piece.
        text: Text,
    },
    /// A piece of the model's reasoning.
    Thinking {
        /// The piece.
        text: Text,
    },
    /// The model answered: the whole text of one reply, final.
    Reply {
        /// Its position.
        seq: Seq,
        /// The text; empty when it only asked for tools.
        text: Text,
        /// The provider that answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        provider: Option<Text>,
        /// The model that answered.
        #[serde(skip_serializing_if = "Option::is_none")]
        model: Option<Text>,
    },
    /// The model asks for a tool; it was not gated yet.
    ToolCall {
        /// The position of the reply it is in.
        seq: Seq,
        /// The call.
        call: CallId,
        /// The tool.
        name: Text,
        /// Its arguments, as the model wrote them.
        arguments: Text,
    },
    /// A call waits for somebody's decision: see [`Session::approvals`](crate::Session::approvals).
    ApprovalRequested {
        /// Its position.
        seq: Seq,
        /// The call.
        call: CallId,
        /// The fingerprint of its arguments, which a decision may name.
        arguments: Digest,
        /// What is to be decided.
        cause: ApprovalCause,
        /// Why somebody must decide.
        why: Text,
    },
    /// Somebody decided about a call that waited.
    ApprovalDecided {
        /// Its position.
        seq: Seq,
        /// The call.
        call: CallId,
        /// What was decided.
        decision: Decision,
        /// By whom.
        by: Text,
    },
    /// A call that may change something begins.
    ToolStarted {
        /// Its position.
        seq: Seq,
        /// The call.
        call: CallId,
        /// What the tool does to the world.
        effect: Effect,
    },
    /// A running tool tells how far it is.
    ToolProgress {
        /// The call.
        call: CallId,
        /// What it tells.
        text: Text,
        /// How many pieces were lost before this one, because the tool was faster than its session.
        #[serde(default, skip_serializing_if = "is_zero")]
        skipped: u32,
    },
    /// A call has its result.
    ToolResult {
        /// Its position.
        seq: Seq,
        /// The call.
        call: CallId,
        /// The tool.
        name: Text,
        /// The result's text.
        text: Text,
        /// Whether it failed or was not run.
        is_error: bool,
        /// Whether permission was denied.
        denied: bool,
    },
    /// The result of a call, for people.
    ToolUi {
        /// The position of the result.
        seq: Seq,
        /// The call.
        call: CallId,
        /// A kind, and data.
        ui: serde_json::Value,
    },
    /// Tokens and cost of one reply; or, before that or before the end of a turn, of model calls that came to no answer.
    Usage {
        /// The position of the reply, or of the turn's end.
        seq: Seq,
        /// Tokens, when the provider told them.
        usage: Option<Usage>,
        /// Cost, when all of it is known.
        cost: Option<MicroUsd>,
    },
    /// A model call waits to be made: a limit, a server that asked to wait, one that fails again and again.
    Waiting {
        /// Why.
        reason: Text,
    },
    /// A model call failed and is made again.
    Retrying {
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Milliseconds until the next.
        delay_ms: u64,
        /// Why.
        reason: Text,
    },
    /// The session waits for its store, or for a process that an earlier incarnation left behind; it goes on when it can.
    /// Told again when there is another reason, and to who begins to listen meanwhile before anything else.
    Parked {
        /// Why.
        reason: Text,
    },
    /// A provider failed for good, and the next one of the chain is asked.
    Fallback {
        /// Who failed.
        from: Text,
        /// Who is asked now.
        to: Text,
        /// Why.
        reason: Text,
    },
    /// What was shown of the answer is void; it is asked again.
    StreamReset,
    /// Somebody put in a word; the model sees it with its next request.
    Steered {
        /// Its position.
        seq: Seq,
        /// The text.
        text: Text,
    },
    /// Somebody asked for the end of the turn.
    Interrupting {
        /// Its position.
        seq: Seq,
        /// By whom.
        by: Text,
        /// Why.
        reason: Text,
    },
    /// Somebody gave this point a name.
    Checkpointed {
        /// Its position.
        seq: Seq,
        /// The name.
        label: Text,
    },
    /// The conversation goes on from an earlier point: what came after it is no part of it any more.
    Rewound {
        /// Its position.
        seq: Seq,
        /// The point.
        to: Seq,
    },
    /// What came before is copied from another session.
    Forked {
        /// Its position.
        seq: Seq,
        /// The other session.
        parent: SessionName,
        /// The position in it.
        at: Seq,
    },
    /// The settings of the next turn changed.
    SettingsChanged {
        /// Its position.
        seq: Seq,
    },
    /// So many deltas were lost, because this reader was slow. No fact was.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// The turn ended.
    Done {
        /// Its position.
        seq: Seq,
        /// The turn.
        turn: TurnId,
        /// Why it ended.
        finish_reason: FinishReason,
        /// What went wrong, when something did.
        error: Option<TurnError>,
    },
}

impl SessionEvent {
    pub(crate) fn of_live(live: Live) -> Self {
        match live {
            Live::Content(text) => Self::Content { text },
            Live::Thinking(text) => Self::Thinking { text },
            Live::ToolProgress(call, text, skipped) => Self::ToolProgress { call, text, skipped },
            Live::Waiting { reason } => Self::Waiting { reason },
            Live::Retrying { attempt, delay_ms, reason } => Self::Retrying { attempt, delay_ms, reason },
            Live::Fallback { from, to, reason } => Self::Fallback { from, to, reason },
            Live::Parked { reason } => Self::Parked { reason },
            Live::StreamReset => Self::StreamReset,
        }
    }

    /// What a fact looks like to a subscriber: several events, or none.
    pub(crate) fn of_fact(envelope: &Envelope) -> Vec<Self> {
        let seq = envelope.seq;
        match &envelope.event {
            Event::TurnStarted { send } => vec![Self::TurnStarted { seq, send: send.0.clone() }],
            Event::Recovered { cause } => vec![Self::Recovered { seq, cause: cause.clone() }],
            Event::ModelReplied { message, usage, cost, unanswered, .. } => {
                let (text, origin) = (message.text().into(), message.origin.as_ref());
                let provider = origin.map(|origin| origin.provider.clone());
                let model = origin.map(|origin| origin.model.clone());
                let mut events = vec![Self::Reply { seq, text, provider, model }];
                events.extend(message.calls().map(|call| Self::of_call(seq, call)));
                events.extend(Self::in_vain(seq, unanswered.as_deref()));
                events.push(Self::Usage { seq, usage: *usage, cost: *cost });
                events
            }
            Event::ApprovalRequested { call, arguments, cause, why } => vec![Self::ApprovalRequested {
                seq,
                call: *call,
                arguments: *arguments,
                cause: *cause,
                why: why.clone(),
            }],
            Event::ApprovalDecided { call, decision, by } => {
                let (decision, by) = (decision.clone(), by.clone());
                vec![Self::ApprovalDecided { seq, call: *call, decision, by }]
            }
            Event::ToolStarted { call, effect, .. } => {
                vec![Self::ToolStarted { seq, call: *call, effect: *effect }]
            }
            Event::ToolFinished { result, denied, ui } => {
                let mut events = vec![Self::ToolResult {
                    seq,
                    call: result.call,
                    name: result.name.clone(),
                    text: shown(&result.content),
                    is_error: result.is_error,
                    denied: *denied,
                }];
                events.extend(ui.clone().map(|ui| Self::ToolUi { seq, call: result.call, ui }));
                events
            }
            Event::Steered { input, .. } => vec![Self::Steered { seq, text: shown(input) }],
            Event::InterruptRequested { by, reason } => {
                vec![Self::Interrupting { seq, by: by.clone(), reason: reason.clone() }]
            }
            Event::Checkpointed { label } => vec![Self::Checkpointed { seq, label: label.clone() }],
            Event::Rewound { to, .. } => vec![Self::Rewound { seq, to: *to }],
            Event::Forked { parent, at, .. } => vec![Self::Forked { seq, parent: parent.clone(), at: *at }],
            Event::SettingsChanged { .. } => vec![Self::SettingsChanged { seq }],
            Event::TurnEnded { turn, finish, error, unanswered, .. } => {
                let mut events: Vec<Self> = Self::in_vain(seq, unanswered.as_deref()).collect();
                events.push(Self::Done { seq, turn: *turn, finish_reason: *finish, error: error.clone() });
                events
            }
            _ => Vec::new(), // the beginning, what is only queued, and where a process runs
        }
    }

    /// What model calls took that came to no answer.
    fn in_vain(seq: Seq, spent: Option<&Spent>) -> impl Iterator<Item = Self> {
        spent.into_iter().map(move |spent| Self::Usage { seq, usage: spent.usage, cost: spent.cost.total() })
    }

    fn of_call(seq: Seq, call: &ToolCall) -> Self {
        Self::ToolCall { seq, call: call.id, name: call.name.clone(), arguments: call.arguments.clone() }
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The text of a result or an input, images named.
fn shown(content: &[Part]) -> Text {
    let mut text = String::new();
    for part in content {
        match part {
            Part::Text { text: piece } => text.push_str(piece),
            Part::Image { mime, .. } => text.push_str(&format!("[image {mime}]")),
            _ => {}
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use ergane_core::{ErrorKind, FinishReason};

    use super::*;

    /// Another process reads what this one tells.
    #[test]
    fn an_event_that_is_written_as_json_is_read_back() {
        let (seq, call): (Seq, CallId) = (Seq(7), "7.1".parse().unwrap());
        let error = Some(TurnError::new(ErrorKind::Overloaded, "later"));
        let usage = Some(Usage { input_tokens: 3, ..Usage::default() });
        for event in [
            SessionEvent::TurnStarted { seq, send: "k".into() },
            SessionEvent::Content { text: "a \"b\"\n".into() },
            SessionEvent::Reply { seq, text: "a".into(), provider: None, model: Some("m".into()) },
            SessionEvent::ToolCall { seq, call, name: "n".into(), arguments: "{}".into() },
            SessionEvent::ApprovalRequested {
                seq,
                call,
                arguments: Digest::of(b"{}"),
                cause: ApprovalCause::CutOff,
                why: "w".into(),
            },
            SessionEvent::ApprovalDecided { seq, call, decision: Decision::deny("no"), by: "ann".into() },
            SessionEvent::ToolStarted { seq, call, effect: Effect::Idempotent },
            SessionEvent::ToolProgress { call, text: "half".into(), skipped: 0 },
            SessionEvent::ToolProgress { call, text: "half".into(), skipped: 3 },
            SessionEvent::ToolUi { seq, call, ui: serde_json::json!({"kind": "diff", "lines": [1.5, null]}) },
            SessionEvent::Usage { seq, usage, cost: Some(MicroUsd(12)) },
            SessionEvent::Usage { seq, usage: None, cost: None },
            SessionEvent::Retrying { attempt: 1, delay_ms: 20, reason: "r".into() },
            SessionEvent::StreamReset,
            SessionEvent::Recovered { seq, cause: "the process died".into() },
            SessionEvent::Thinking { text: "hm".into() },
            SessionEvent::ToolResult {
                seq,
                call,
                name: "n".into(),
                text: "r".into(),
                is_error: true,
                denied: true,
            },
            SessionEvent::Waiting { reason: "w".into() },
            SessionEvent::Parked { reason: "the disk is full".into() },
            SessionEvent::Fallback { from: "a".into(), to: "b".into(), reason: "r".into() },
            SessionEvent::Steered { seq, text: "t".into() },
            SessionEvent::Interrupting { seq, by: "ann".into(), reason: "r".into() },
            SessionEvent::Checkpointed { seq, label: "here".into() },
            SessionEvent::Rewound { seq, to: Seq(3) },
            SessionEvent::Forked { seq, parent: "bob".parse().unwrap(), at: Seq(3) },
            SessionEvent::SettingsChanged { seq },
            SessionEvent::Lagged { missed: 9 },
            SessionEvent::Done { seq, turn: TurnId(3), finish_reason: FinishReason::DuringExecution, error },
        ] {
            let line = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<SessionEvent>(&line).unwrap(), event, "{line}");
        }
    }
}
