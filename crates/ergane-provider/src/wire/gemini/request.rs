//! From a request of ours to the bytes of `POST /models/{model}:generateContent`.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use ergane_core::{
    ImageSource, Message, ModelRequest, OutputSchema, Part, ReasoningEffort, ToolChoice, ToolSpec,
};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::schema::Dialect;
use super::{API, PART, SIGNATURE, schema};
use crate::wire::effort::level;
use crate::wire::frozen::{self, Format, Later, Tail};
use crate::wire::history::{IdRule, Reader, Turn, WireCall, WireResult, object_text};
use crate::wire::{HttpRequest, Payload};

/// What stands for the signature of a call that another model made: the newest models refuse a call without any.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// What a user is made to say when a history begins with the model, which is refused here.
const BEGINNING: &str = "Continue.";

/// What stands for a switch that this API does not have.
const ONE_BY_ONE: &str = "Call at most one function at a time.";

/// The request of one call. `provider` is the registered name: it tells which parts of the history are its own.
pub fn request(request: &ModelRequest, provider: &str) -> HttpRequest {
    let model = &*request.model;
    let format = Format {
        reader: Reader { provider, api: API, model: &request.model, ids: IdRule::Printable },
        flags: None,
        later: Later::Nothing,
    };
    let Ok(list) = frozen::list::<Infallible>(&request.messages, &format, |tail, out| {
        contents(tail, model).iter().for_each(|content| out.push(content.cut, content));
        Ok(())
    });
    let rest = Rest {
        tools: tools(&request.tools, Dialect::of(model)),
        tool_config: tool_config(request),
        generation_config: generation_config(request),
    };
    let system = Instruction { system_instruction: system(request) };
    let body = Payload::around(&system, "contents", None::<&Value>, list, &rest);
    let method = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let path = format!("/{}:{method}", resource(model));
    HttpRequest::post_payload(path, body).accept_events(request.stream)
}

fn contents<'a>(tail: &'a Tail<'_, 'a>, model: &str) -> Vec<Content<'a>> {
    let mut contents = Vec::with_capacity(tail.turns.len());
    for (at, turn) in tail.turns {
        push_turn(*at, turn, model, &mut contents);
    }
    if tail.is_first
        && let Some(first) = contents.first_mut()
        && first.role == MODEL
    {
        // Written after something, it would not have this before it.
        first.cut = None;
        contents.insert(0, Content { cut: None, role: USER, parts: vec![WirePart::text(BEGINNING)] });
    }
    contents
}

/// A model's name as a path: a tuned model says itself what it is.
pub(super) fn resource(model: &str) -> Cow<'_, str> {
    if model.contains('/') { Cow::Borrowed(model) } else { Cow::Owned(format!("models/{model}")) }
}

const USER: &str = "user";
const MODEL: &str = "model";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Instruction<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<System<'a>>,
}

/// What comes after the contents.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rest<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tools<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation_config: Option<GenerationConfig<'a>>,
}

#[derive(Serialize)]
struct System<'a> {
    parts: Vec<WirePart<'a>>,
}

#[derive(Serialize)]
struct Content<'a> {
    /// The position of its first turn, when none before it could have become a part of it.
    #[serde(skip)]
    cut: Option<usize>,
    role: &'static str,
    parts: Vec<WirePart<'a>>,
}

#[derive(Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    /// For models that take JSON Schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a Value>,
    /// For their elders.
    #[serde(skip_serializing_if = "Option::is_none")]
    response_schema: Option<Arc<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Value>,
}

#[derive(Serialize)]
struct WirePart<'a> {
    #[serde(flatten)]
    what: What<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    thought: bool,
    #[serde(rename = "thoughtSignature", skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum What<'a> {
    Text(Cow<'a, str>),
    InlineData(InlineData<'a>),
    FileData(FileData<'a>),
    FunctionCall(FunctionCall<'a>),
    FunctionResponse(FunctionResponse<'a>),
    #[serde(untagged)]
    AsItCame(&'a Value),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InlineData<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileData<'a> {
    mime_type: &'a str,
    file_uri: &'a str,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
    args: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct FunctionResponse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Response<'a> {
    Output(&'a str),
    Error(&'a str),
}

impl<'a> WirePart<'a> {
    fn new(what: What<'a>) -> Self {
        Self { what, thought: false, signature: None }
    }

    fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::new(What::Text(text.into()))
    }
}

fn system(request: &ModelRequest) -> Option<System<'_>> {
    let one_by_one = request.parallel_tools == Some(false) && !request.tools.is_empty();
    let texts = [request.system.as_deref(), one_by_one.then_some(ONE_BY_ONE)];
    let parts: Vec<WirePart> =
        texts.into_iter().flatten().filter(|text| !text.is_empty()).map(WirePart::text).collect();
    (!parts.is_empty()).then_some(System { parts })
}

fn tool_config(request: &ModelRequest) -> Option<Value> {
    if request.tools.is_empty() {
        return None;
    }
    let config = match &request.tool_choice {
        ToolChoice::Auto => return None,
        ToolChoice::None => json!({"mode": "NONE"}),
        ToolChoice::Required => json!({"mode": "ANY"}),
        ToolChoice::Tool(name) => json!({"mode": "ANY", "allowedFunctionNames": [&**name]}),
    };
    Some(json!({"functionCallingConfig": config}))
}

fn generation_config(request: &ModelRequest) -> Option<GenerationConfig<'_>> {
    let sampling = &request.sampling;
    let mut config = GenerationConfig {
        max_output_tokens: request.max_tokens,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        seed: sampling.seed,
        stop_sequences: sampling.stop.iter().map(|text| &**text).collect(),
        thinking_config: request.reasoning.and_then(|effort| thinking(effort, &request.model)),
        ..GenerationConfig::default()
    };
    if let Some(OutputSchema { schema, .. }) = &request.output {
        config.response_mime_type = Some("application/json");
        match Dialect::of(&request.model) {
            Dialect::JsonSchema => config.response_json_schema = Some(schema),
            Dialect::OpenApi => config.response_schema = Some(schema::open_api(schema)),
        }
    }
    (config != GenerationConfig::default()).then_some(config)
}

/// How much to think, in the words of the model's generation: none, a number of tokens (2.5), a level.
fn thinking(effort: ReasoningEffort, model: &str) -> Option<Value> {
    if Dialect::of(model) == Dialect::OpenApi {
        return None;
    }
    let shown = effort != ReasoningEffort::Off;
    // The large ones cannot do without.
    let is_pro = model.contains("pro");
    if model.contains("gemini-2") {
        let budget = match effort {
            ReasoningEffort::Off if is_pro => 128,
            ReasoningEffort::Off => 0,
            ReasoningEffort::Minimal => 512,
            ReasoningEffort::Low => 2048,
            ReasoningEffort::Medium => 8192,
            ReasoningEffort::Tokens(tokens) => tokens,
            _ => 24_576,
        };
        return Some(json!({"includeThoughts": shown, "thinkingBudget": budget}));
    }
    let level = match level(effort) {
        ReasoningEffort::Off | ReasoningEffort::Minimal if is_pro => "LOW",
        ReasoningEffort::Off | ReasoningEffort::Minimal => "MINIMAL",
        ReasoningEffort::Low => "LOW",
        ReasoningEffort::Medium => "MEDIUM",
        _ => "HIGH",
    };
    Some(json!({"includeThoughts": shown, "thinkingLevel": level}))
}

fn push_turn<'a>(at: usize, turn: &'a Turn<'a>, model: &str, contents: &mut Vec<Content<'a>>) {
    let user = |cut, parts| Content { cut, role: USER, parts };
    match turn {
        Turn::User(message) => {
            contents.push(user(Some(at), message.parts.iter().filter_map(user_part).collect()));
        }
        Turn::Assistant { message, own: true, calls, .. } => {
            push_model(at, own_parts(message, calls, needs_signatures(model)), contents);
        }
        Turn::Assistant { message, own: false, calls, .. } => {
            push_model(at, foreign_parts(message, calls, needs_signatures(model)), contents);
        }
        Turn::Results(results) => {
            contents.push(user(None, results.iter().map(result).collect()));
            // Nothing but results may stand in the turn that answers calls.
            for result in results.iter().filter(|result| !result.images.is_empty()) {
                let mut parts = vec![WirePart::text(format!("Images from the result of {}:", result.name))];
                parts.extend(result.images.iter().filter_map(|part| user_part(part)));
                contents.push(user(None, parts));
            }
        }
    }
}

/// Two turns of the model in a row are one: calls may not follow a turn of the model.
fn push_model<'a>(at: usize, parts: Vec<WirePart<'a>>, contents: &mut Vec<Content<'a>>) {
    match contents.last_mut() {
        Some(last) if last.role == MODEL => last.parts.extend(parts),
        // A turn without parts is refused.
        _ if parts.is_empty() => {}
        _ => contents.push(Content { cut: Some(at), role: MODEL, parts }),
    }
}

fn user_part(part: &Part) -> Option<WirePart<'_>> {
    match part {
        Part::Text { text } => Some(WirePart::text(&**text)),
        Part::Image { mime, source } => Some(image(mime, source)),
        _ => None,
    }
}

fn image<'a>(mime: &'a str, source: &'a ImageSource) -> WirePart<'a> {
    WirePart::new(match source {
        ImageSource::Base64(data) => What::InlineData(InlineData { mime_type: mime, data }),
        ImageSource::Url(url) => What::FileData(FileData { mime_type: mime, file_uri: url }),
    })
}

/// Every part as it came, with its signature: they are checked. A model of the kind that gives its calls ids and signs the
/// first of them may also have written some as text, which have neither.
fn own_parts<'a>(message: &'a Message, calls: &'a [WireCall<'a>], sign: bool) -> Vec<WirePart<'a>> {
    let is_native = |wire: &WireCall| wire.call.wire_id.is_some() || wire.call.extra.contains_key(SIGNATURE);
    let mut unsigned = (sign && !calls.iter().any(is_native)).then_some(NO_SIGNATURE);
    let mut calls = calls.iter();
    let mut parts: Vec<WirePart> = Vec::with_capacity(message.parts.len());
    let mut before: Option<&Part> = None;
    for part in &message.parts {
        match part {
            Part::Text { text } | Part::Refusal { text } if !text.is_empty() => {
                parts.push(WirePart::text(&**text));
            }
            Part::Image { mime, source } => parts.push(image(mime, source)),
            Part::ToolCall(call) if call.complete => {
                let Some(wire) = calls.next() else { continue };
                let signature = call.extra.get(SIGNATURE).and_then(Value::as_str).or(unsigned.take());
                parts.push(WirePart { signature, ..call_part(wire) });
            }
            Part::Reasoning(reasoning) => parts.push(WirePart {
                thought: true,
                signature: reasoning.data.get(SIGNATURE).and_then(Value::as_str),
                ..WirePart::text(&*reasoning.text)
            }),
            Part::Opaque(opaque) if *opaque.kind == *SIGNATURE => {
                // It is of no other part than a text or an image, which may be gone: a call was made of all of the text.
                let signed =
                    before.is_some_and(|part| matches!(part, Part::Text { .. } | Part::Image { .. }));
                if let Some(previous) = parts.last_mut().filter(|_| signed) {
                    previous.signature = opaque.data.as_str();
                }
            }
            Part::Opaque(opaque) if *opaque.kind == *PART => {
                parts.push(WirePart::new(What::AsItCame(&opaque.data)));
            }
            _ => {}
        }
        before = Some(part);
    }
    parts
}

/// Texts and calls; what another model thought stays at home.
fn foreign_parts<'a>(message: &'a Message, calls: &'a [WireCall<'a>], sign: bool) -> Vec<WirePart<'a>> {
    let mut parts: Vec<WirePart> = message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text } | Part::Refusal { text } if !text.is_empty() => Some(WirePart::text(&**text)),
            Part::Image { mime, source } => Some(image(mime, source)),
            _ => None,
        })
        .collect();
    let mut signature = sign.then_some(NO_SIGNATURE);
    parts.extend(calls.iter().map(|call| WirePart { signature: signature.take(), ..call_part(call) }));
    parts
}

/// Whether the model refuses calls without a signature. Its elders do not know the sentinel.
fn needs_signatures(model: &str) -> bool {
    !["gemini-1", "gemini-2"].iter().any(|old| model.contains(old))
}

/// An id goes back only if one came; without, calls and results match by their order.
fn call_part<'a>(call: &'a WireCall<'a>) -> WirePart<'a> {
    WirePart::new(What::FunctionCall(FunctionCall {
        id: call.given.then_some(&*call.id),
        name: &call.name,
        // Raw: the model's own bytes, with its own order of keys.
        args: serde_json::from_str(object_text(call.call)).ok(),
    }))
}

fn result<'a>(result: &'a WireResult<'a>) -> WirePart<'a> {
    let text = result.bare_text();
    WirePart::new(What::FunctionResponse(FunctionResponse {
        id: result.given.then_some(&*result.id),
        name: &result.name,
        response: if result.is_error { Response::Error(text) } else { Response::Output(text) },
    }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tools<'a> {
    function_declarations: Vec<Declaration<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Declaration<'a> {
    name: &'a str,
    description: &'a str,
    /// For models that take JSON Schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<Arc<Value>>,
    /// For their elders.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Arc<Value>>,
}

fn tools(tools: &[ToolSpec], dialect: Dialect) -> Vec<Tools<'_>> {
    if tools.is_empty() {
        return Vec::new();
    }
    vec![Tools { function_declarations: tools.iter().map(|tool| declaration(tool, dialect)).collect() }]
}

fn declaration(tool: &ToolSpec, dialect: Dialect) -> Declaration<'_> {
    let schema = match dialect {
        Dialect::JsonSchema => tool.parameters.clone(),
        Dialect::OpenApi => schema::open_api(&tool.parameters),
    };
    let told = (!schema::is_empty_object(&schema)).then_some(schema);
    let (parameters_json_schema, parameters) = match dialect {
        Dialect::JsonSchema => (told, None),
        Dialect::OpenApi => (None, told),
    };
    Declaration { name: &tool.name, description: &tool.description, parameters_json_schema, parameters }
}

#[cfg(test)]
mod tests;
