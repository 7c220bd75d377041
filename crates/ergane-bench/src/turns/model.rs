//! The model, which does what the user's word says, and its tool.

use ergane::core::{ModelRequest, Role};
use ergane::prelude::{Scripted, ScriptedReply, tool};
use serde_json::json;

use crate::args::TurnKind;

/// Adds two whole numbers.
#[tool(effect = "read")]
pub(crate) async fn add(left: i64, right: i64) -> String {
    left.saturating_add(right).to_string()
}

/// What the model says in the end.
pub(crate) const ANSWER: &str = "It is what it is, and there is no more to be said of it.";

/// What the user says.
pub(super) fn question(kind: TurnKind) -> &'static str {
    kind.as_str()
}

pub(super) fn provider(latency_ms: u64) -> Scripted {
    Scripted::from_fn(move |request, _| ScriptedReply { delay_ms: latency_ms, ..reply(request) })
}

fn reply(request: &ModelRequest) -> ScriptedReply {
    let asked = request.messages.last().filter(|last| last.role == Role::User).map(|last| last.text());
    let calls = match asked.as_deref() {
        Some("tool") => TurnKind::Tool.tools(),
        Some("tools8") => TurnKind::Tools8.tools(),
        _ => return ScriptedReply::text(ANSWER),
    };
    (0..calls).fold(ScriptedReply::default(), |reply, call| {
        reply.and_call("add", json!({"left": call, "right": 1}))
    })
}
