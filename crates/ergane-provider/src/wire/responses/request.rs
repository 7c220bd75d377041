//! From a request of ours to the bytes of `POST /responses`.

use std::convert::Infallible;
use std::sync::Arc;

use ergane_core::{
    ErrorKind, ImageSource, ModelRequest, OutputSchema, Part, ProviderError, ReasoningEffort, ToolChoice,
    ToolSpec,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{API, items};
use crate::wire::effort::word;
use crate::wire::frozen::{self, Format, Later, Out, Tail};
use crate::wire::history::{IdRule, Reader, Turn, WireResult, legal_name};
use crate::wire::openai::Compat;
use crate::wire::strict;
use crate::wire::{HttpRequest, Payload, cache_key};

/// The request of one call. `provider` is the registered name: it tells which parts of the history are its own; of `flags`
/// those are looked at that are about this format too: `strict_tools` and `cache_key`.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) for texts that are to end the answer: this format has no word for them.
pub fn request(request: &ModelRequest, provider: &str, flags: &Compat) -> Result<HttpRequest, ProviderError> {
    if !request.sampling.stop.is_empty() {
        return Err(no_stop());
    }
    let format = Format {
        reader: Reader { provider, api: API, model: &request.model, ids: IdRule::Printable },
        flags: None,
        later: Later::Nothing,
    };
    let Ok(input) = frozen::list::<Infallible>(&request.messages, &format, |tail, out| {
        items(tail, out);
        Ok(())
    });
    let has_tools = !request.tools.is_empty();
    let fields = Fields {
        model: &request.model,
        stream: request.stream,
        // The history lives here, and nothing of it is left at the server.
        store: false,
        include: if takes_encrypted_reasoning(&request.model) {
            &["reasoning.encrypted_content"]
        } else {
            &[]
        },
        instructions: request.system.as_deref().filter(|system| !system.is_empty()),
        max_output_tokens: request.max_tokens,
        temperature: request.sampling.temperature,
        top_p: request.sampling.top_p,
        reasoning: request.reasoning.map(reasoning),
        text: request.output.as_ref().map(|output| structure(output, &request.model)),
        tools: request.tools.iter().map(|spec| tool(spec, flags, &request.model)).collect(),
        tool_choice: has_tools.then(|| tool_choice(&request.tool_choice)).flatten(),
        parallel_tool_calls: request.parallel_tools.filter(|_| has_tools),
        prompt_cache_key: cache_key(request).filter(|_| flags.cache_key),
    };
    // The history comes last, because it grows.
    let body = Payload::around(&fields, "input", None::<&Value>, input, &json!({}));
    Ok(HttpRequest::post_payload("/responses", body).accept_events(request.stream))
}

/// An answer that goes on behind them would not be the one that was asked for.
fn no_stop() -> ProviderError {
    let message = "the Responses API knows no texts at which an answer ends; leave `stop` out, or ask by Chat Completions \
                   (provider `openai`)";
    ProviderError::new(ErrorKind::Unsupported, message)
}

fn items(tail: &Tail<'_, '_>, out: &mut Out) {
    for (at, turn) in tail.turns {
        let (cut, items) = match turn {
            Turn::User(message) => {
                let content: Vec<Value> = message.parts.iter().filter_map(content).collect();
                (Some(*at), vec![json!({"role": "user", "content": content})])
            }
            Turn::Assistant { message, calls, own: true, .. } => (Some(*at), items::own(message, calls)),
            Turn::Assistant { text, calls, own: false, .. } => (Some(*at), items::foreign(text, calls)),
            Turn::Results(results) => (None, results.iter().map(output).collect()),
        };
        for (n, item) in items.iter().enumerate() {
            out.push(cut.filter(|_| n == 0), item);
        }
    }
}

fn structure(output: &OutputSchema, model: &str) -> Value {
    let (schema, strict) = strict::structure(output, model);
    let format =
        json!({"type": "json_schema", "name": legal_name(&output.name), "strict": strict, "schema": schema});
    json!({"format": format})
}

/// Whether the model's reasoning may be asked for in encrypted form. Those that never reason refuse even the question.
fn takes_encrypted_reasoning(model: &str) -> bool {
    !["gpt-3", "gpt-4", "chatgpt-4"].iter().any(|old| model.starts_with(old))
}

#[derive(Serialize)]
struct Fields<'a> {
    model: &'a str,
    stream: bool,
    store: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    include: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a str>,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    name: &'a str,
    description: &'a str,
    parameters: Arc<Value>,
    /// The strict mode is the default of this API, so it is always said whether it is to hold.
    strict: bool,
}

fn tool<'a>(tool: &'a ToolSpec, flags: &Compat, model: &str) -> Tool<'a> {
    let (parameters, strict) = strict::parameters(tool, flags.strict_tools, model);
    Tool { r#type: "function", name: &tool.name, description: &tool.description, parameters, strict }
}

fn tool_choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some("required".into()),
        ToolChoice::Tool(name) => Some(json!({"type": "function", "name": &**name})),
    }
}

fn reasoning(effort: ReasoningEffort) -> Value {
    let word = word(effort);
    if effort == ReasoningEffort::Off {
        return json!({"effort": word});
    }
    json!({"effort": word, "summary": "auto"})
}

fn content(part: &Part) -> Option<Value> {
    match part {
        Part::Text { text } => Some(json!({"type": "input_text", "text": &**text})),
        Part::Image { mime, source } => {
            let url = match source {
                ImageSource::Url(url) => url.to_string(),
                ImageSource::Base64(data) => format!("data:{mime};base64,{data}"),
            };
            Some(json!({"type": "input_image", "image_url": url, "detail": "auto"}))
        }
        _ => None,
    }
}

fn output(result: &WireResult<'_>) -> Value {
    let output = if result.images.is_empty() {
        Value::from(&*result.text)
    } else {
        let text = (!result.text.is_empty()).then(|| json!({"type": "input_text", "text": &*result.text}));
        text.into_iter().chain(result.images.iter().filter_map(|part| content(part))).collect()
    };
    json!({"type": "function_call_output", "call_id": &*result.id, "output": output})
}

#[cfg(test)]
mod tests;
