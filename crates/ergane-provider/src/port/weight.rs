//! What a call is thought to take of a limit of tokens, before its server has counted it.

use std::sync::Arc;

use ergane_core::{Message, ModelRequest, Part, PromptCache, Role, ToolSpec};

/// What a call is thought to take, in tokens. Zero where nobody counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// All that goes in and out.
    pub(super) all: u64,
    /// What of it is new, where the rest was sent before and is likely to be found in the provider's cache.
    pub(super) fresh: u64,
}

/// How many tokens a text of so many bytes is, about.
pub(super) fn tokens_of(bytes: usize) -> u64 {
    const BYTES_PER_TOKEN: usize = 4;
    (bytes / BYTES_PER_TOKEN) as u64
}

/// What a call will take, in tokens: a quarter of its bytes, and what it may answer. Only used where a limit of tokens is
/// known, and put right when the call is over. Of a history it walks what is new.
pub(super) fn estimate(request: &ModelRequest) -> Weight {
    let size = |part: &Part| match part {
        Part::Text { text } | Part::Refusal { text } => text.len(),
        Part::Reasoning(reasoning) => reasoning.text.len(),
        Part::ToolCall(call) => call.name.len() + call.arguments.len(),
        Part::ToolResult(result) => result.text().len(),
        _ => 0,
    };
    let of = |message: &Message| message.parts.iter().map(size).sum();
    let said = request.messages.tally("bytes", of);
    let system = request.system.as_ref().map_or(0, |system| system.len());
    let tool = |tool: &ToolSpec| tool.name.len() + tool.description.len() + tool.parameters.to_string().len();
    let tools: usize = request.tools.iter().map(tool).sum();
    let answer = u64::from(request.max_tokens.unwrap_or_default());
    let tokens = |bytes: usize| tokens_of(bytes) + answer + 1;
    let all = tokens(said + system + tools);
    // What was answered was sent, and is in the cache if there is one.
    let is_answer = |message: &&Arc<Message>| message.role == Role::Assistant;
    let was_sent = request.cache != PromptCache::Off && request.messages.iter().rev().any(|m| is_answer(&m));
    let since = || request.messages.iter().rev().take_while(|message| !is_answer(message));
    let fresh = if was_sent { tokens(since().map(|message| of(message)).sum::<usize>()) } else { all };
    Weight { all, fresh }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_part_of_what_a_call_will_take() {
        let mut request = ModelRequest::new("m", [].into_iter().collect());
        let bare = estimate(&request);
        let parameters = serde_json::json!({"type": "object"});
        let length = "get".len() + "Gets it.".len() + parameters.to_string().len();
        let tool =
            ToolSpec { name: "get".into(), description: "Gets it.".into(), parameters: parameters.into() };
        request.tools = vec![tool; 4].into();
        let all = bare.all + length as u64;
        assert_eq!(estimate(&request), Weight { all, fresh: all });
    }

    #[test]
    fn what_was_answered_before_is_not_new() {
        let answer =
            |text: &str| Message { role: Role::Assistant, parts: vec![Part::text(text)], origin: None };
        let long = "x".repeat(4000);
        let messages =
            [Message::user_text(long.as_str()), answer(&long), Message::user_text("y".repeat(400))];
        let mut request = ModelRequest::new("m", messages.into_iter().map(Arc::new).collect());
        assert_eq!(estimate(&request), Weight { all: 2101, fresh: 101 });
        request.cache = PromptCache::Off;
        assert_eq!(estimate(&request), Weight { all: 2101, fresh: 2101 });
    }
}
