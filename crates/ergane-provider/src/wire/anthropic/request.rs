//! From a request of ours to the bytes of `POST /v1/messages`.

use std::borrow::Cow;
use std::sync::Arc;

use ergane_core::{
    ErrorKind, ImageSource, Message, ModelRequest, Opaque, OutputSchema, Part, PromptCache, ProviderError,
    Reasoning, ReasoningEffort, ToolChoice, ToolSpec,
};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::model::{Abilities, Thinking, abilities};
use super::{API, VERSION};
use crate::wire::effort::level;
use crate::wire::frozen::{self, Format, Later, Tail};
use crate::wire::history::{IdRule, Reader, Turn, WireCall, WireResult, object_text};
use crate::wire::strict::Room;
use crate::wire::{HttpRequest, Payload, schema};

/// The least that a model can be given to think, in tokens.
const LEAST_BUDGET: u32 = 1024;

/// The request of one call. `provider` is the registered name: it tells which parts of the history are its own.
/// `strict_tools` is whether tools are offered in the strict mode where their schemas fit it.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for an image of a type that the API does not take.
pub fn request(
    request: &ModelRequest,
    provider: &str,
    strict_tools: bool,
) -> Result<HttpRequest, ProviderError> {
    let wire = Format {
        reader: Reader { provider, api: API, model: &request.model, ids: IdRule::Word },
        flags: None,
        later: Later::Nothing,
    };
    let mark = cache_mark(request.cache);
    let abilities = abilities(&request.model);
    let mut may_think = true;
    let list = frozen::list(&request.messages, &wire, |tail, out| {
        let mut messages = messages(tail)?;
        if let (Some(mark), Some(last)) = (&mark, messages.last_mut()) {
            last.mark(mark);
        }
        may_think = may_begin_to_think(&messages);
        messages.iter().for_each(|message| out.push(message.cut, message));
        Ok::<(), ProviderError>(())
    })?;
    let limits = thinking(request, &abilities, may_think);
    let output = OutputConfig { format: request.output.as_ref().map(format), effort: limits.effort };
    let fields = Fields {
        model: &request.model,
        max_tokens: limits.max_tokens,
        system: system(request, mark.as_ref()),
        tools: tools(request, strict_tools, mark.as_ref()),
        tool_choice: tool_choice(request),
        thinking: limits.thinking.clone(),
        output_config: (output.format.is_some() || output.effort.is_some()).then_some(output),
        temperature: limits.sampling.then_some(request.sampling.temperature).flatten(),
        top_p: limits.sampling.then_some(request.sampling.top_p).flatten(),
        top_k: limits.sampling.then_some(request.sampling.top_k).flatten(),
        stop_sequences: request.sampling.stop.iter().map(|stop| &**stop).collect(),
        stream: request.stream,
    };
    let body = Payload::around(&fields, "messages", None::<&Value>, list, &json!({}));
    Ok(HttpRequest::post_payload("/v1/messages", body)
        .accept_events(request.stream)
        .header("anthropic-version", VERSION))
}

#[derive(Serialize)]
struct Fields<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    stream: bool,
}

#[derive(Serialize)]
struct OutputConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    /// The position of its first turn. It depends on none before it: only on that those are the other role's.
    #[serde(skip)]
    cut: Option<usize>,
    role: &'static str,
    content: Vec<Block<'a>>,
}

impl WireMessage<'_> {
    /// Marks the end of this message as the end of what is to be kept.
    fn mark(&mut self, mark: &Value) {
        if let Some(last) = self.content.last_mut()
            && !matches!(last.kind, Kind::Thinking { .. } | Kind::RedactedThinking { .. } | Kind::Opaque(_))
        {
            last.cache_control = Some(mark.clone());
        }
    }

    fn begins_with_thinking(&self) -> bool {
        let first = self.content.first();
        first.is_some_and(|block| matches!(block.kind, Kind::Thinking { .. } | Kind::RedactedThinking { .. }))
    }
}

#[derive(Serialize)]
struct Block<'a> {
    #[serde(flatten)]
    kind: Kind<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<Value>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Kind<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Image {
        source: Source<'a>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a Value,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        /// Raw: the model's own bytes, with its own order of keys.
        input: Option<&'a RawValue>,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: Vec<Block<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    #[serde(untagged)]
    Opaque(&'a Value),
}

impl<'a> From<Kind<'a>> for Block<'a> {
    fn from(kind: Kind<'a>) -> Self {
        Self { kind, cache_control: None }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

fn text<'a>(text: impl Into<Cow<'a, str>>) -> Block<'a> {
    Kind::Text { text: text.into() }.into()
}

fn cache_mark(cache: PromptCache) -> Option<Value> {
    match cache {
        PromptCache::Off => None,
        PromptCache::Short => Some(json!({"type": "ephemeral"})),
        PromptCache::Long => Some(json!({"type": "ephemeral", "ttl": "1h"})),
    }
}

fn system<'a>(request: &'a ModelRequest, mark: Option<&Value>) -> Vec<Block<'a>> {
    let prompt = request.system.as_deref().filter(|system| !system.trim().is_empty());
    let block = prompt.map(|prompt| Block { cache_control: mark.cloned(), ..text(prompt) });
    block.into_iter().collect()
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: Arc<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a Value>,
}

fn tools<'a>(request: &'a ModelRequest, strict: bool, mark: Option<&'a Value>) -> Vec<Tool<'a>> {
    let mut room = match &request.output {
        _ if !strict => Room::NONE,
        Some(output) => Room::ALL.beside(&output.schema),
        None => Room::ALL,
    };
    let tool = |tool: &'a ToolSpec| {
        let (input_schema, strict) = room.where_it_fits(&tool.parameters);
        let (name, description) = (&*tool.name, &*tool.description);
        Tool { name, description, input_schema, strict, cache_control: None }
    };
    let mut tools: Vec<Tool<'_>> = request.tools.iter().map(tool).collect();
    if let Some(last) = tools.last_mut() {
        last.cache_control = mark;
    }
    tools
}

fn tool_choice(request: &ModelRequest) -> Option<Value> {
    if request.tools.is_empty() {
        return None;
    }
    let one_at_a_time = request.parallel_tools == Some(false);
    let mut choice = match &request.tool_choice {
        ToolChoice::Auto if !one_at_a_time => return None,
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => return Some(json!({"type": "none"})),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Tool(name) => json!({"type": "tool", "name": &**name}),
    };
    if let (true, Value::Object(choice)) = (one_at_a_time, &mut choice) {
        choice.insert("disable_parallel_tool_use".to_owned(), true.into());
    }
    Some(choice)
}

fn format(output: &OutputSchema) -> Value {
    json!({"type": "json_schema", "schema": schema::closed(&output.schema)})
}

/// What thinking makes of a request: it takes part of the answer's tokens, and is not to be had with everything else.
struct Limits {
    max_tokens: u32,
    thinking: Option<Value>,
    effort: Option<&'static str>,
    sampling: bool,
}

fn thinking(request: &ModelRequest, abilities: &Abilities, may_think: bool) -> Limits {
    let max_tokens = request.max_tokens.unwrap_or(abilities.max_tokens);
    let without = Limits { max_tokens, thinking: None, effort: None, sampling: abilities.sampling };
    let Some(asked) = request.reasoning else { return without };
    // A tool that must be called and thinking exclude each other; who insists on a tool means it.
    let forced = matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Tool(_));
    let off = asked == ReasoningEffort::Off || (forced && !request.tools.is_empty());
    match abilities.thinking {
        Thinking::None => without,
        _ if off => Limits { thinking: Some(json!({"type": "disabled"})), ..without },
        Thinking::Adaptive => Limits {
            thinking: Some(json!({"type": "adaptive", "display": "summarized"})),
            effort: Some(effort(asked, abilities.high_efforts)),
            sampling: false,
            ..without
        },
        // In the middle of a round of tools that began without thinking it cannot begin.
        Thinking::Budget if !may_think => without,
        Thinking::Budget => {
            let budget = budget(asked);
            // Without a limit of the caller's the answer gets its room beside the thoughts.
            let max_tokens = match request.max_tokens {
                Some(own) => own,
                None => max_tokens.max(budget.saturating_add(LEAST_BUDGET)),
            };
            let budget = budget.min(max_tokens.saturating_sub(1));
            if budget < LEAST_BUDGET {
                return without;
            }
            let thinking = json!({"type": "enabled", "budget_tokens": budget});
            Limits { max_tokens, thinking: Some(thinking), effort: None, sampling: false }
        }
    }
}

fn may_begin_to_think(messages: &[WireMessage<'_>]) -> bool {
    let goes_on = messages
        .last()
        .is_some_and(|last| last.content.iter().any(|block| matches!(block.kind, Kind::ToolResult { .. })));
    !goes_on || messages.iter().rev().nth(1).is_some_and(WireMessage::begins_with_thinking)
}

fn budget(effort: ReasoningEffort) -> u32 {
    match effort {
        ReasoningEffort::Off | ReasoningEffort::Minimal => LEAST_BUDGET,
        ReasoningEffort::Low => 2048,
        ReasoningEffort::Medium => 8192,
        ReasoningEffort::High => 16_384,
        ReasoningEffort::XHigh => 24_576,
        ReasoningEffort::Tokens(tokens) => tokens.max(LEAST_BUDGET),
        _ => 30_000,
    }
}

fn effort(asked: ReasoningEffort, high: bool) -> &'static str {
    match level(asked) {
        ReasoningEffort::Off | ReasoningEffort::Minimal | ReasoningEffort::Low => "low",
        ReasoningEffort::Medium => "medium",
        ReasoningEffort::High => "high",
        ReasoningEffort::XHigh => {
            if high {
                "xhigh"
            } else {
                "high"
            }
        }
        _ => "max",
    }
}

/// The turns as messages that take turns: all results of a round and what the user says after them are one message.
fn messages<'a>(tail: &'a Tail<'_, 'a>) -> Result<Vec<WireMessage<'a>>, ProviderError> {
    let mut messages: Vec<WireMessage<'a>> = Vec::with_capacity(tail.turns.len());
    for (at, turn) in tail.turns {
        let (cut, role, content) = match turn {
            Turn::User(message) => (Some(*at), "user", user(message)?),
            Turn::Assistant { message, calls, own, .. } => {
                (Some(*at), "assistant", assistant(message, calls, *own))
            }
            Turn::Results(results) => {
                (None, "user", results.iter().map(result).collect::<Result<Vec<_>, _>>()?)
            }
        };
        if content.is_empty() {
            continue;
        }
        match messages.last_mut() {
            Some(last) if last.role == role => last.content.extend(content),
            None if role == "assistant" && tail.is_first => {
                // The first word must be a user's.
                messages.push(WireMessage { cut: None, role: "user", content: vec![text("Go on.")] });
                messages.push(WireMessage { cut: None, role, content });
            }
            _ => messages.push(WireMessage { cut, role, content }),
        }
    }
    // Refused at the end of an answer that is to be gone on with.
    if let Some(last) = messages.last_mut()
        && last.role == "assistant"
        && let Some(Block { kind: Kind::Text { text }, .. }) = last.content.last_mut()
    {
        *text = Cow::Owned(text.trim_end().to_owned());
    }
    Ok(messages)
}

fn user(message: &Message) -> Result<Vec<Block<'_>>, ProviderError> {
    message.parts.iter().filter_map(said).collect()
}

/// A part that a user or a result can have.
fn said(part: &Part) -> Option<Result<Block<'_>, ProviderError>> {
    match part {
        // An empty text is refused.
        Part::Text { text: said } if !said.is_empty() => Some(Ok(text(&**said))),
        Part::Image { mime, source } => Some(image(mime, source)),
        _ => None,
    }
}

fn image<'a>(mime: &'a str, source: &'a ImageSource) -> Result<Block<'a>, ProviderError> {
    let source = match source {
        ImageSource::Url(url) => Source::Url { url },
        ImageSource::Base64(data) => {
            if !matches!(mime, "image/jpeg" | "image/png" | "image/gif" | "image/webp") {
                let message =
                    format!("Anthropic takes JPEG, PNG, GIF and WebP images, not {mime}; convert it");
                return Err(ProviderError::new(ErrorKind::Unsupported, message));
            }
            Source::Base64 { media_type: mime, data }
        }
    };
    Ok(Kind::Image { source }.into())
}

/// The message in its own order of parts: thoughts must stand where they stood.
fn assistant<'a>(message: &'a Message, calls: &'a [WireCall<'a>], own: bool) -> Vec<Block<'a>> {
    let mut calls = calls.iter();
    let block = |part: &'a Part| match part {
        Part::Text { text: said } | Part::Refusal { text: said } => {
            // White space alone is refused, too.
            (!said.trim().is_empty()).then(|| text(&**said))
        }
        Part::Reasoning(reasoning) if own => replayed(reasoning),
        Part::Opaque(Opaque { data, .. }) if own && data.is_object() => Some(Kind::Opaque(data).into()),
        Part::ToolCall(call) if call.complete => calls.next().map(|call| {
            let input = serde_json::from_str(object_text(call.call)).ok();
            Kind::ToolUse { id: &call.id, name: &call.name, input }.into()
        }),
        _ => None,
    };
    message.parts.iter().filter_map(block).collect()
}

/// Thoughts go back as they came, also empty ones; but those whose signature was cut off would be refused.
fn replayed(reasoning: &Reasoning) -> Option<Block<'_>> {
    if reasoning.field.as_deref() == Some("redacted_thinking") {
        return reasoning.data.get("data").map(|data| Kind::RedactedThinking { data }.into());
    }
    let signature = reasoning.data.get("signature")?.as_str()?;
    Some(Kind::Thinking { thinking: &reasoning.text, signature }.into())
}

fn result<'a>(result: &'a WireResult<'a>) -> Result<Block<'a>, ProviderError> {
    let mut content = Vec::new();
    if !result.bare_text().trim().is_empty() {
        content.push(text(result.bare_text()));
    }
    for image in result.images.iter().filter_map(|part| said(part)) {
        content.push(image?);
    }
    Ok(Kind::ToolResult { tool_use_id: &result.id, content, is_error: result.is_error }.into())
}

#[cfg(test)]
mod tests;
