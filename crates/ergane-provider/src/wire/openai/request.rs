//! From a request of ours to the bytes of `POST /chat/completions`.

use std::borrow::Cow;

use ergane_core::{ImageSource, Message, ModelRequest, Part, Reasoning, ToolSpec};
use serde::Serialize;
use serde_json::{Map, Value};

use super::API;
use crate::wire::HttpRequest;
use crate::wire::history::{IdRule, Turn, WireCall, WireResult, object_text, turns};

/// What differs between OpenAI itself and those who speak its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// api.openai.com: the limit of an answer is `max_completion_tokens`, as its reasoning models insist.
    OpenAi,
    /// Anybody else: it is `max_tokens`, the only name that many of them know.
    Compatible,
}

/// The request of one call. `provider` is the registered name: it tells which parts of the history are its own.
pub fn request(request: &ModelRequest, provider: &str, flavor: Flavor) -> HttpRequest {
    let turns = turns(request, provider, API, IdRule::Printable);
    let mut messages = Vec::with_capacity(turns.len() + 1);
    if let Some(system) = request.system.as_deref().filter(|system| !system.is_empty()) {
        messages.push(WireMessage::Text { role: "system", content: Content::Text(Cow::Borrowed(system)) });
    }
    for turn in &turns {
        match turn {
            Turn::User(message) => messages.push(user(message)),
            Turn::Assistant { text, reasoning, calls, .. } => {
                messages.push(assistant(text, reasoning, calls))
            }
            Turn::Results(results) => push_results(results, &mut messages),
        }
    }
    let (max_tokens, max_completion_tokens) = match flavor {
        Flavor::OpenAi => (None, request.max_tokens),
        Flavor::Compatible => (request.max_tokens, None),
    };
    let body = Body {
        model: &request.model,
        messages,
        stream: request.stream,
        stream_options: request.stream.then_some(StreamOptions { include_usage: true }),
        max_tokens,
        max_completion_tokens,
        tools: request.tools.iter().map(tool).collect(),
    };
    HttpRequest::post("/chat/completions", &body).accept_events(request.stream)
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireMessage<'a> {
    Text {
        role: &'static str,
        content: Content<'a>,
    },
    Assistant {
        role: &'static str,
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireToolCall<'a>>,
        #[serde(flatten)]
        replayed: Map<String, Value>,
    },
    Tool {
        role: &'static str,
        tool_call_id: &'a str,
        content: &'a str,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
struct WireToolCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: WireFunction<'a>,
    #[serde(flatten)]
    replayed: Option<&'a Map<String, Value>>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

fn tool(tool: &ToolSpec) -> Value {
    serde_json::json!({
        "type": "function",
        "function": {"name": &*tool.name, "description": &*tool.description, "parameters": &*tool.parameters},
    })
}

fn user(message: &Message) -> WireMessage<'_> {
    let texts: Vec<&str> = message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text } => Some(&**text),
            _ => None,
        })
        .collect();
    let has_images = message.parts.iter().any(|part| matches!(part, Part::Image { .. }));
    // Texts alone go as one string: every server takes that, not every one a list.
    let content = match texts.as_slice() {
        _ if has_images => Content::Parts(message.parts.iter().filter_map(content_part).collect()),
        [text] => Content::Text(Cow::Borrowed(text)),
        texts => Content::Text(Cow::Owned(texts.join("\n"))),
    };
    WireMessage::Text { role: "user", content }
}

fn content_part(part: &Part) -> Option<ContentPart<'_>> {
    match part {
        Part::Text { text } => Some(ContentPart::Text { text: Cow::Borrowed(text) }),
        Part::Image { mime, source } => {
            let url = match source {
                ImageSource::Url(url) => Cow::Borrowed(&**url),
                ImageSource::Base64(data) => Cow::Owned(format!("data:{mime};base64,{data}")),
            };
            Some(ContentPart::ImageUrl { image_url: ImageUrl { url } })
        }
        _ => None,
    }
}

fn assistant<'a>(text: &'a str, reasoning: &[&Reasoning], calls: &'a [WireCall<'a>]) -> WireMessage<'a> {
    let mut replayed = Map::new();
    for reasoning in reasoning {
        if let Some(field) = &reasoning.field {
            replayed.insert(field.to_string(), Value::from(&*reasoning.text));
        }
        replayed.extend(reasoning.data.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    for taken in ["role", "content", "tool_calls"] {
        replayed.remove(taken);
    }
    let tool_calls = calls
        .iter()
        .map(|call| WireToolCall {
            id: &call.id,
            r#type: "function",
            function: WireFunction { name: &call.name, arguments: object_text(call.call) },
            replayed: call.own.then_some(&call.call.extra),
        })
        .collect();
    let content = if text.is_empty() && !calls.is_empty() { None } else { Some(text) };
    WireMessage::Assistant { role: "assistant", content, tool_calls, replayed }
}

fn push_results<'a>(results: &'a [WireResult<'a>], messages: &mut Vec<WireMessage<'a>>) {
    for result in results {
        messages.push(WireMessage::Tool { role: "tool", tool_call_id: &result.id, content: &result.text });
    }
    // Tool messages take text only. All results come first: nothing may stand between calls and their results.
    for result in results.iter().filter(|result| !result.images.is_empty()) {
        let lead = Cow::Owned(format!("Images from the result of {}:", result.name));
        let mut parts = vec![ContentPart::Text { text: lead }];
        parts.extend(result.images.iter().filter_map(|part| content_part(part)));
        messages.push(WireMessage::Text { role: "user", content: Content::Parts(parts) });
    }
}

#[cfg(test)]
mod tests;
