//! What the strictest provider says of a history, written down independently of the kernel.

use std::collections::BTreeSet;
use std::sync::Arc;

use ergane_core::{Message, Part, Role};

/// Refuses a history as the strictest provider would.
pub(crate) fn check(messages: &[Arc<Message>]) -> Result<(), String> {
    if messages.first().is_none_or(|first| first.role != Role::User) {
        return Err("the first message is not a user's".into());
    }
    let mut seen = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| &*messages[before]);
        let after = messages.get(at + 1);
        if before.is_some_and(|before| before.role == message.role) {
            return Err(format!("messages {} and {at} are both of {:?}", at - 1, message.role));
        }
        if let Some(part) = message.parts.iter().find(|part| !belongs(message.role, part)) {
            return Err(format!("message {at} of {:?} holds {part:?}", message.role));
        }
        match message.role {
            Role::User => {}
            Role::Assistant => {
                let says_something = message.parts.iter().any(|part| match part {
                    Part::Text { text } | Part::Refusal { text } => !text.trim().is_empty(),
                    Part::Reasoning(_) => false,
                    _ => true,
                });
                if !says_something {
                    return Err(format!("the assistant's message {at} is empty"));
                }
                if let Some(call) = message.calls().find(|call| !call.complete || !seen.insert(call.id)) {
                    return Err(format!("call {} is unfinished or double", call.id));
                }
                let calls: Vec<_> = message.calls().map(|call| call.id).collect();
                let results = after.filter(|after| after.role == Role::Tool);
                let answered: Vec<_> = results.iter().flat_map(|m| m.results()).map(|r| r.call).collect();
                if calls != answered {
                    return Err(format!("calls {calls:?} of message {at} are answered by {answered:?}"));
                }
            }
            Role::Tool if before.is_some_and(|b| b.role == Role::Assistant) && !message.parts.is_empty() => {}
            Role::Tool => return Err(format!("the results in message {at} follow no call")),
        }
    }
    Ok(())
}

/// Refuses what could not be the request of a model call.
pub(crate) fn check_request(messages: &[Arc<Message>]) -> Result<(), String> {
    check(messages)?;
    match messages.last() {
        Some(last) if last.role == Role::Assistant => Err("the model is asked after its own answer".into()),
        _ => Ok(()),
    }
}

fn belongs(role: Role, part: &Part) -> bool {
    match part {
        Part::Text { .. } | Part::Image { .. } => role != Role::Tool,
        Part::Reasoning(_) | Part::ToolCall(_) | Part::Refusal { .. } => role == Role::Assistant,
        Part::ToolResult(_) => role == Role::Tool,
        _ => false,
    }
}
