//! From a request of ours to the bytes of `POST /api/chat`.

use std::borrow::Cow;

use ergane_core::{
    ErrorKind, ImageSource, Message, ModelRequest, Part, ProviderError, Reasoning, ReasoningEffort,
    ToolChoice, ToolSpec,
};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::API;
use crate::wire::effort::level;
use crate::wire::frozen::{self, Format, Later, Out, Tail};
use crate::wire::history::{IdRule, Reader, Turn, WireCall, WireResult, object_text, texts};
use crate::wire::offered::FunctionTool;
use crate::wire::recast::{Aim, Recast, once};
use crate::wire::schema::resolve;
use crate::wire::{HttpRequest, Payload};

/// The request of one call. `num_ctx` is the context window to load the model with: the server's own default depends on
/// its graphics memory and is too small for tools on most machines.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for an image behind a URL: this server takes bytes only.
pub fn request(request: &ModelRequest, provider: &str, num_ctx: u32) -> Result<HttpRequest, ProviderError> {
    let format = Format {
        reader: Reader { provider, api: API, model: &request.model, ids: IdRule::Printable },
        flags: None,
        later: Later::Nothing,
    };
    let list = frozen::list(&request.messages, &format, messages)?;
    let rest = Rest {
        stream: request.stream,
        // A chat that does not fit is an error we can act upon, not one that silently loses its beginning.
        truncate: false,
        options: Options {
            num_ctx,
            num_predict: request.max_tokens,
            temperature: request.sampling.temperature,
            top_p: request.sampling.top_p,
            top_k: request.sampling.top_k,
            seed: request.sampling.seed,
            stop: request.sampling.stop.iter().map(|stop| &**stop).collect(),
        },
        think: request.reasoning.map(|asked| think(asked, &request.model)),
        format: request.output.as_ref().map(|output| &*output.schema),
        tools: offered(request).map(tool).collect(),
    };
    let body =
        Payload::around(&Model { model: &request.model }, "messages", system(request).as_ref(), list, &rest);
    Ok(HttpRequest::post_payload("/api/chat", body))
}

fn system(request: &ModelRequest) -> Option<WireMessage<'_>> {
    let prompt = request.system.as_deref().filter(|system| !system.is_empty())?;
    Some(WireMessage { role: "system", content: Cow::Borrowed(prompt), ..WireMessage::default() })
}

fn messages(tail: &Tail<'_, '_>, out: &mut Out) -> Result<(), ProviderError> {
    for (at, turn) in tail.turns {
        match turn {
            Turn::User(message) => out.push(Some(*at), &user(message)?),
            Turn::Assistant { text, reasoning, calls, .. } => {
                out.push(Some(*at), &assistant(text, reasoning, calls));
            }
            Turn::Results(results) => push_results(results, out)?,
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct Model<'a> {
    model: &'a str,
}

/// What comes after the messages.
#[derive(Serialize)]
struct Rest<'a> {
    stream: bool,
    truncate: bool,
    options: Options<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<FunctionTool<'a>>,
}

#[derive(Serialize)]
struct Options<'a> {
    num_ctx: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_predict: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop: Vec<&'a str>,
}

/// The tools to offer. This API cannot force a call, so a tool that must be called is offered alone, and where none may
/// be called none is offered.
fn offered(request: &ModelRequest) -> impl Iterator<Item = &ToolSpec> {
    request.tools.iter().filter(|spec| match &request.tool_choice {
        ToolChoice::Auto | ToolChoice::Required => true,
        ToolChoice::None => false,
        ToolChoice::Tool(name) => spec.name == *name,
    })
}

/// gpt-oss knows efforts and cannot do without; all others are asked to think or not.
fn think(asked: ReasoningEffort, model: &str) -> Value {
    if !model.contains("gpt-oss") {
        return Value::from(asked != ReasoningEffort::Off);
    }
    Value::from(match level(asked) {
        ReasoningEffort::Off | ReasoningEffort::Minimal | ReasoningEffort::Low => "low",
        ReasoningEffort::Medium => "medium",
        _ => "high",
    })
}

#[derive(Default, Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Cow<'a, str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
struct WireToolCall<'a> {
    id: &'a str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    index: usize,
    name: &'a str,
    arguments: Option<&'a RawValue>,
}

fn user(message: &Message) -> Result<WireMessage<'_>, ProviderError> {
    Ok(WireMessage {
        role: "user",
        content: texts(message),
        images: images(message.parts.iter())?,
        ..WireMessage::default()
    })
}

fn images<'a>(parts: impl Iterator<Item = &'a Part>) -> Result<Vec<&'a str>, ProviderError> {
    let mut images = Vec::new();
    for part in parts {
        match part {
            Part::Image { source: ImageSource::Base64(data), .. } => images.push(&**data),
            Part::Image { source: ImageSource::Url(url), .. } => {
                let message = format!("Ollama cannot fetch images; send the bytes of {url} instead");
                return Err(ProviderError::new(ErrorKind::Unsupported, message));
            }
            _ => {}
        }
    }
    Ok(images)
}

fn assistant<'a>(text: &'a str, reasoning: &[&Reasoning], calls: &'a [WireCall<'a>]) -> WireMessage<'a> {
    let thinking: String = reasoning.iter().map(|reasoning| &*reasoning.text).collect();
    let tool_calls = calls
        .iter()
        .enumerate()
        .map(|(index, call)| WireToolCall {
            id: &call.id,
            // Raw: the model's own bytes, with its own order of keys.
            function: WireFunction {
                index,
                name: &call.name,
                arguments: serde_json::from_str(object_text(call.call)).ok(),
            },
        })
        .collect();
    WireMessage {
        role: "assistant",
        content: Cow::Borrowed(text),
        thinking: (!thinking.is_empty()).then_some(thinking),
        tool_calls,
        ..WireMessage::default()
    }
}

fn push_results(results: &[WireResult<'_>], out: &mut Out) -> Result<(), ProviderError> {
    for result in results {
        let message = WireMessage {
            role: "tool",
            content: Cow::Borrowed(&result.text),
            tool_name: Some(&result.name),
            tool_call_id: Some(&result.id),
            ..WireMessage::default()
        };
        out.push(None, &message);
    }
    for result in results.iter().filter(|result| !result.images.is_empty()) {
        let message = WireMessage {
            role: "user",
            content: Cow::Owned(result.before_its_images()),
            images: images(result.images.iter().copied())?,
            ..WireMessage::default()
        };
        out.push(None, &message);
    }
    Ok(())
}

fn tool(tool: &ToolSpec) -> FunctionTool<'_> {
    let recast = once(&tool.parameters, Aim::Ollama, || {
        let mut parameters = plain(&resolve(&tool.parameters));
        if let Value::Object(schema) = &mut parameters {
            schema.entry("type").or_insert_with(|| json!("object"));
            schema.entry("properties").or_insert_with(|| json!({}));
        }
        Recast::new(parameters)
    });
    FunctionTool::new(tool, (recast.schema, false))
}

/// A resolved schema in the words this server reads; it would drop all others in silence.
fn plain(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return json!({}) };
    let mut words = Map::new();
    for (key, value) in schema {
        let value = match (key.as_str(), value) {
            ("type" | "description" | "enum" | "required", value) => value.clone(),
            ("const", value) => {
                words.insert("enum".to_owned(), json!([value]));
                continue;
            }
            ("items", value) => plain(value),
            ("properties", Value::Object(properties)) => properties
                .iter()
                .map(|(name, property)| (name.clone(), plain(property)))
                .collect::<Map<_, _>>()
                .into(),
            ("anyOf" | "oneOf", Value::Array(choices)) => {
                let choices = choices.iter().map(plain).collect();
                words.insert("anyOf".to_owned(), Value::Array(choices));
                continue;
            }
            _ => continue,
        };
        words.insert(key.clone(), value);
    }
    Value::Object(words)
}

#[cfg(test)]
mod tests;
