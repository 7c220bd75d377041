//! How an event is read: the same fields once more, with what is assumed of those that are not there.
//!
//! They stand here a second time because serde can write a tag inside of a value, but not read it there without making a
//! tree of the whole (see `tagged.rs`). The compiler holds each variant against its event; a test, that none is missing.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::*;
use crate::tagged::{self, Tagged};

#[derive(Deserialize)]
#[serde(remote = "Event", rename_all = "snake_case")]
enum Variants {
    SessionStarted {
        settings: Arc<Settings>,
        #[serde(default)]
        id: Option<Identity>,
    },
    SettingsChanged {
        patch: Box<SettingsPatch>,
        #[serde(default)]
        tool: Option<Text>,
    },
    Queued {
        send: SendId,
        input: Vec<Part>,
        hash: Digest,
        #[serde(default)]
        meta: Option<Arc<serde_json::Value>>,
        #[serde(default)]
        settings: Option<Arc<SettingsPatch>>,
    },
    TurnStarted {
        send: SendId,
    },
    ModelReplied {
        iteration: u32,
        saw: Seq,
        message: Arc<Message>,
        #[serde(default)]
        usage: Option<Usage>,
        #[serde(default)]
        cost: Option<MicroUsd>,
        attempts: u32,
        #[serde(default)]
        unanswered: Option<Box<Spent>>,
    },
    ApprovalRequested {
        call: CallId,
        arguments: Digest,
        #[serde(default)]
        cause: ApprovalCause,
        why: Text,
    },
    ApprovalDecided {
        call: CallId,
        decision: Decision,
        by: Text,
    },
    ToolStarted {
        call: CallId,
        effect: Effect,
        key: Text,
    },
    ToolProcess {
        call: CallId,
        group: i32,
        leader_started: u64,
    },
    ToolFinished {
        result: Arc<ToolResult>,
        #[serde(default)]
        denied: bool,
        #[serde(default)]
        ui: Option<serde_json::Value>,
    },
    Steered {
        send: SendId,
        input: Vec<Part>,
        hash: Digest,
    },
    InterruptRequested {
        by: Text,
        reason: Text,
    },
    Recovered {
        cause: Text,
    },
    Checkpointed {
        label: Text,
    },
    Rewound {
        to: Seq,
        #[serde(default)]
        id: Option<SendId>,
    },
    Forked {
        parent: SessionName,
        at: Seq,
        #[serde(default)]
        id: Option<Identity>,
    },
    TurnEnded {
        turn: TurnId,
        finish: FinishReason,
        #[serde(default)]
        error: Option<TurnError>,
        #[serde(default)]
        partial: Option<Text>,
        #[serde(default)]
        unanswered: Option<Box<Spent>>,
        totals: TurnTotals,
    },
}

impl Tagged for Event {
    fn from_variants<'de, D: Deserializer<'de>>(variants: D) -> Result<Self, D::Error> {
        Variants::deserialize(variants)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        tagged::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a wildcard: who adds an event comes by here, and must add it to `Variants`, or it could be written and
    /// never read.
    fn name(event: &Event) -> &'static str {
        match event {
            Event::SessionStarted { .. } => "session_started",
            Event::SettingsChanged { .. } => "settings_changed",
            Event::Queued { .. } => "queued",
            Event::TurnStarted { .. } => "turn_started",
            Event::ModelReplied { .. } => "model_replied",
            Event::ApprovalRequested { .. } => "approval_requested",
            Event::ApprovalDecided { .. } => "approval_decided",
            Event::ToolStarted { .. } => "tool_started",
            Event::ToolProcess { .. } => "tool_process",
            Event::ToolFinished { .. } => "tool_finished",
            Event::Steered { .. } => "steered",
            Event::InterruptRequested { .. } => "interrupt_requested",
            Event::Recovered { .. } => "recovered",
            Event::Checkpointed { .. } => "checkpointed",
            Event::Rewound { .. } => "rewound",
            Event::Forked { .. } => "forked",
            Event::TurnEnded { .. } => "turn_ended",
        }
    }

    /// As many as `name` tells apart.
    const KINDS: usize = 17;

    #[test]
    fn every_event_that_is_written_can_be_read() {
        // The error for one that is not known lists those that are.
        let known = serde_json::from_str::<Event>(r#"{"type":"?"}"#).unwrap_err().to_string();
        assert_eq!(known.matches('`').count() / 2 - 1, KINDS, "{known}");
        let event = Event::Recovered { cause: "why".into() };
        assert_eq!(serde_json::to_value(&event).unwrap()["type"], name(&event));
        assert!(known.contains(name(&event)), "{known}");
    }
}
