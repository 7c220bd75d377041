//! From a request of ours to the bytes of `POST /v1/messages`.

use std::sync::Arc;

use ergane_core::{ModelRequest, PromptCache, ProviderError, ReasoningEffort, ToolChoice, ToolSpec};
use serde::Serialize;
use serde_json::{Value, json};

use super::messages::{Block, may_begin_to_think, messages, text};
use super::model::{Abilities, Thinking, abilities};
use super::structure::grammar;
use super::{API, VERSION};
use crate::wire::effort::level;
use crate::wire::frozen::{self, Format, Later};
use crate::wire::history::{IdRule, Reader};
use crate::wire::recast::Recast;
use crate::wire::strict::Room;
use crate::wire::{HttpRequest, Payload, schema};

/// The least that a model can be given to think, in tokens.
const LEAST_BUDGET: u32 = 1024;

/// The request of one call. `provider` is the registered name: it tells which parts of the history are its own.
/// `strict_tools` is whether tools are offered in the strict mode where their schemas fit it.
///
/// # Errors
/// [`Unsupported`](ergane_core::ErrorKind::Unsupported) for an image of a type that the API does not take.
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
    let held_to = request.output.as_ref().filter(|_| abilities.structures);
    let structure = held_to.map(|output| grammar(&output.schema)).filter(|structure| structure.fits);
    let format = structure.as_ref().map(|structure| OutputFormat::of(&structure.schema));
    let output = OutputConfig { format, effort: limits.effort };
    let in_words = request.output.as_ref().filter(|_| structure.is_none()).map(schema::in_words);
    let fields = Fields {
        model: &request.model,
        max_tokens: limits.max_tokens,
        system: system(request, in_words, mark.as_ref()),
        tools: tools(request, strict_tools, structure.as_ref(), mark.as_ref()),
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
    format: Option<OutputFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
}

#[derive(Serialize)]
struct OutputFormat {
    r#type: &'static str,
    schema: Arc<Value>,
}

impl OutputFormat {
    fn of(schema: &Arc<Value>) -> Self {
        Self { r#type: "json_schema", schema: schema.clone() }
    }
}

fn cache_mark(cache: PromptCache) -> Option<Value> {
    match cache {
        PromptCache::Off => None,
        PromptCache::Short => Some(json!({"type": "ephemeral"})),
        PromptCache::Long => Some(json!({"type": "ephemeral", "ttl": "1h"})),
    }
}

/// The prompt, and the structure of the answer where it must be told `in_words`.
fn system<'a>(request: &'a ModelRequest, in_words: Option<String>, mark: Option<&Value>) -> Vec<Block<'a>> {
    let prompt = request.system.as_deref().filter(|system| !system.trim().is_empty());
    let mut blocks: Vec<Block> = prompt.into_iter().map(text).chain(in_words.map(text)).collect();
    if let Some(last) = blocks.last_mut() {
        last.cache_control = mark.cloned();
    }
    blocks
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

fn tools<'a>(
    request: &'a ModelRequest,
    strict: bool,
    structure: Option<&Recast>,
    mark: Option<&'a Value>,
) -> Vec<Tool<'a>> {
    let mut room = match structure {
        _ if !strict => Room::NONE,
        Some(structure) => Room::ALL.beside(structure),
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

#[cfg(test)]
mod tests;
