//! From a request of ours to the bytes of `POST /chat/completions`.

use std::borrow::Cow;

use ergane_core::{ModelRequest, ProviderError, ReasoningEffort, Text, ToolChoice, ToolSpec};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::API;
use super::compat::{Compat, EffortStyle, ForcedTools, MaxTokensField, ReasoningReplay, Structure, ToolIds};
use super::messages::{Content, WireMessage, messages};
use crate::wire::effort::word;
use crate::wire::frozen::{self, Format, Later};
use crate::wire::history::{IdRule, Reader, legal_name};
use crate::wire::offered::FunctionTool;
use crate::wire::{HttpRequest, Payload, cache_key};
use crate::wire::{schema, strict};

/// The request of one call. `provider` is the registered name: it tells which parts of the history are its own; `flags`
/// say what the server takes.
///
/// # Errors
/// [`Unsupported`](ergane_core::ErrorKind::Unsupported) for an image that the server does not take.
pub fn request(request: &ModelRequest, provider: &str, flags: &Compat) -> Result<HttpRequest, ProviderError> {
    let ids = match flags.tool_ids {
        ToolIds::Any => IdRule::Printable,
        ToolIds::Nine => IdRule::Nine,
    };
    let format = Format {
        reader: Reader { provider, api: API, model: &request.model, ids },
        flags: Some(flags),
        later: match flags.reasoning_replay {
            ReasoningReplay::SameTurn => Later::User,
            ReasoningReplay::Required => Later::Calls,
            _ => Later::Nothing,
        },
    };
    let list = frozen::list(&request.messages, &format, |tail, out| messages(tail, flags, out))?;
    let offer = Offer::of(request, flags);
    let rest = Rest {
        stream: request.stream,
        stream_options: (request.stream && flags.stream_usage)
            .then_some(StreamOptions { include_usage: true }),
        response_format: response_format(request, flags),
        parallel_tool_calls: parallel(request, &offer, flags),
        tool_choice: offer.choice,
        tools: offer.tools,
        temperature: request.sampling.temperature,
        top_p: request.sampling.top_p,
        top_k: request.sampling.top_k.filter(|_| flags.top_k),
        stop: request.sampling.stop.iter().map(|stop| &**stop).collect(),
        prompt_cache_key: cache_key(request).filter(|_| flags.cache_key),
        further: further(request, flags, offer.without_thinking),
    };
    let body = Payload::around(
        &Model { model: &request.model },
        "messages",
        system(request, flags).as_ref(),
        list,
        &rest,
    );
    Ok(HttpRequest::post_payload("/chat/completions", body).accept_events(request.stream))
}

#[derive(Serialize)]
struct Model<'a> {
    model: &'a str,
}

/// What comes after the messages.
#[derive(Serialize)]
struct Rest<'a> {
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<FunctionTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a str>,
    /// Fields whose names differ from server to server.
    #[serde(flatten)]
    further: Map<String, Value>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// The tools that are offered, and which of them must be called.
struct Offer<'a> {
    tools: Vec<FunctionTool<'a>>,
    choice: Option<Value>,
    /// The server can be told which tool to call only when it does not think.
    without_thinking: bool,
}

impl<'a> Offer<'a> {
    fn of(request: &'a ModelRequest, flags: &Compat) -> Self {
        let tool = |spec| tool(spec, flags, &request.model);
        let all = || request.tools.iter().map(tool).collect::<Vec<_>>();
        let only = |name: &Text| request.tools.iter().filter(|spec| spec.name == *name).map(tool).collect();
        let plain = |tools| Self { tools, choice: None, without_thinking: false };
        let forced = match &request.tool_choice {
            _ if request.tools.is_empty() => return plain(Vec::new()),
            ToolChoice::Auto => return plain(all()),
            ToolChoice::None => return Self { choice: Some("none".into()), ..plain(all()) },
            ToolChoice::Required if flags.forced_tools == ForcedTools::Never => return plain(all()),
            ToolChoice::Tool(name) if flags.forced_tools == ForcedTools::Never => return plain(only(name)),
            ToolChoice::Required => json!(&*flags.required_word),
            ToolChoice::Tool(name) => json!({"type": "function", "function": {"name": &**name}}),
        };
        Self {
            tools: all(),
            choice: Some(forced),
            without_thinking: flags.forced_tools == ForcedTools::WithoutThinking,
        }
    }
}

fn tool<'a>(tool: &'a ToolSpec, flags: &Compat, model: &str) -> FunctionTool<'a> {
    FunctionTool::new(tool, strict::parameters(tool, flags.strict_tools, model))
}

/// Allowed only beside tools.
fn parallel(request: &ModelRequest, offer: &Offer<'_>, flags: &Compat) -> Option<bool> {
    if offer.tools.is_empty() || !flags.parallel_flag {
        return None;
    }
    request.parallel_tools.or(flags.parallel_by_request.then_some(true))
}

fn response_format(request: &ModelRequest, flags: &Compat) -> Option<Value> {
    let output = request.output.as_ref()?;
    match flags.structure {
        Structure::Prompt => None,
        Structure::JsonObject => Some(json!({"type": "json_object"})),
        Structure::JsonSchema => {
            let (schema, strict) = match flags.strict_schemas {
                true => strict::structure(output, &request.model),
                false => (output.schema.clone(), output.strict),
            };
            let described = json!({"name": legal_name(&output.name), "strict": strict, "schema": schema});
            Some(json!({"type": "json_schema", "json_schema": described}))
        }
    }
}

fn further(request: &ModelRequest, flags: &Compat, without_thinking: bool) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(tokens) = request.max_tokens {
        let name = match flags.max_tokens_field {
            MaxTokensField::MaxTokens => "max_tokens",
            MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
        };
        fields.insert(name.to_owned(), tokens.into());
    }
    if let Some(seed) = request.sampling.seed {
        fields.insert(flags.seed_field.to_string(), seed.into());
    }
    let asked = if without_thinking { Some(ReasoningEffort::Off) } else { request.reasoning };
    if let Some((name, value)) = asked.and_then(|asked| effort(asked, flags.effort)) {
        fields.insert(name.to_owned(), value);
    }
    fields
}

fn effort(asked: ReasoningEffort, style: EffortStyle) -> Option<(&'static str, Value)> {
    let off = asked == ReasoningEffort::Off;
    match style {
        EffortStyle::None => None,
        EffortStyle::Word => Some(("reasoning_effort", word(asked).into())),
        EffortStyle::Switch => Some(("thinking", json!({"type": if off { "disabled" } else { "enabled" }}))),
        EffortStyle::Object => Some((
            "reasoning",
            match asked {
                ReasoningEffort::Off => json!({"enabled": false}),
                ReasoningEffort::Tokens(tokens) => json!({"max_tokens": tokens}),
                asked => json!({"effort": word(asked)}),
            },
        )),
        EffortStyle::Template if off => Some(("chat_template_kwargs", json!({"enable_thinking": false}))),
        EffortStyle::Template => {
            let told = json!({"enable_thinking": true, "reasoning_effort": word(asked)});
            Some(("chat_template_kwargs", told))
        }
    }
}

fn system<'a>(request: &'a ModelRequest, flags: &Compat) -> Option<WireMessage<'a>> {
    let role = if flags.developer_role { "developer" } else { "system" };
    system_text(request, flags).map(|text| WireMessage::Text { role, content: Content::Text(text) })
}

/// The system prompt, with the structure of the answer when that cannot be asked for in another way.
fn system_text<'a>(request: &'a ModelRequest, flags: &Compat) -> Option<Cow<'a, str>> {
    let prompt = request.system.as_deref().filter(|system| !system.is_empty()).map(Cow::Borrowed);
    let Some(output) = request.output.as_ref().filter(|_| flags.structure != Structure::JsonSchema) else {
        return prompt;
    };
    let told = schema::in_words(output);
    Some(prompt.map_or_else(|| told.clone(), |prompt| format!("{prompt}\n\n{told}")).into())
}

#[cfg(test)]
mod tests;
