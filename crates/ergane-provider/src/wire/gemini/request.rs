//! From a request of ours to the bytes of `POST /models/{model}:generateContent`.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use ergane_core::{ModelRequest, OutputSchema, ReasoningEffort, ToolChoice, ToolSpec};
use serde::Serialize;
use serde_json::{Value, json};

use super::contents::{WirePart, contents};
use super::schema::Dialect;
use super::{API, schema};
use crate::wire::effort::level;
use crate::wire::frozen::{self, Format, Later};
use crate::wire::history::{IdRule, Reader};
use crate::wire::{HttpRequest, Payload};

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

/// A model's name as a path: a tuned model says itself what it is.
pub(super) fn resource(model: &str) -> Cow<'_, str> {
    if model.contains('/') { Cow::Borrowed(model) } else { Cow::Owned(format!("models/{model}")) }
}

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
