//! One model call, as data: what is asked, and what came back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conversation::History;
use crate::message::{Message, Text};
use crate::usage::{MicroUsd, Usage};

/// A tool as the model is told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name: 1 to 64 of `[A-Za-z0-9_-]`.
    pub name: Text,
    /// What it does and when to use it.
    pub description: Text,
    /// The JSON Schema of its arguments, an object schema.
    pub parameters: Arc<Value>,
}

/// Whether and which tool the model must call.
///
/// ```
/// use ergane_core::ToolChoice;
///
/// let first_look = ToolChoice::Tool("read".into()); // holds until the turn has called a tool
/// assert_ne!(first_look, ToolChoice::default());
/// assert_eq!(ToolChoice::default(), ToolChoice::Auto);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool, although tools are offered: what was called before stays readable to the model.
    None,
    /// Some tool.
    Required,
    /// The tool of this name.
    Tool(Text),
}

/// The structure that the answer's text must have: a JSON document of this schema, asked for in the provider's own way.
///
/// ```
/// use ergane_core::OutputSchema;
/// use serde_json::json;
///
/// let person = OutputSchema::new(
///     "person",
///     json!({ "type": "object", "properties": { "name": { "type": "string" }, "age": { "type": "integer" } } }),
/// );
/// let loose = OutputSchema { strict: false, ..person };
/// assert_eq!(&*loose.name, "person");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputSchema {
    /// A name of the structure: 1 to 64 of `[A-Za-z0-9_-]`. Some providers show it to the model.
    pub name: Text,
    /// The JSON Schema.
    pub schema: Arc<Value>,
    /// Whether the provider must hold the model to the schema, where it can. True by default. Strict providers want every
    /// object closed and every property required; adapters add what is missing of that. So a property that may be left out
    /// can come as null, also one that takes no null of its own. A schema that a provider's strict mode does not take (a map
    /// of any keys, a text of a least length) goes as it is, without the mode, or is told to the model in words; the log tells of it.
    pub strict: bool,
}

impl OutputSchema {
    /// A strict structure.
    ///
    /// ```
    /// use serde_json::json;
    ///
    /// let schema = ergane_core::OutputSchema::new("yes_or_no", json!({ "enum": ["yes", "no"] }));
    /// assert!(schema.strict);
    /// ```
    pub fn new(name: impl Into<Text>, schema: impl Into<Arc<Value>>) -> Self {
        Self { name: name.into(), schema: schema.into(), strict: true }
    }
}

/// How much a reasoning model thinks before it answers. Each provider knows some of these; an adapter takes the nearest
/// that it knows.
///
/// ```
/// use ergane_core::{ReasoningEffort, SettingsPatch};
///
/// let think_hard = SettingsPatch { reasoning: Some(Some(ReasoningEffort::High)), ..SettingsPatch::default() };
/// let as_the_provider_likes = SettingsPatch { reasoning: Some(None), ..SettingsPatch::default() };
/// assert_ne!(think_hard, as_the_provider_likes);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReasoningEffort {
    /// Not at all.
    Off,
    /// As little as can be.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// More.
    XHigh,
    /// As much as can be.
    Max,
    /// At most so many tokens.
    Tokens(u32),
}

/// How the next token is chosen, and what ends the answer. What is unset is left to the provider. Several reasoning
/// models refuse any of it.
///
/// It is a wish, and what a format has no word for is left out in silence (but for `stop`, which is refused):
///
/// | format | leaves out |
/// |---|---|
/// | Ollama, Gemini | nothing |
/// | OpenAI Chat Completions | `top_k`, where the server is known to refuse it |
/// | OpenAI Responses | `top_k`, `seed` |
/// | Anthropic | `seed`; and `temperature`, `top_p`, `top_k` while the model thinks, and for models that refuse them |
///
/// ```
/// use ergane_core::Sampling;
///
/// let sober = Sampling { temperature: Some(0.0), seed: Some(7), ..Sampling::default() };
/// assert!(sober.top_p.is_none() && sober.stop.is_empty(), "the rest is left to the provider");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// From 0 (the likeliest) upwards; 1 is as trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Only the likeliest tokens that have this much probability together, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Only so many of the likeliest tokens. Left out where a format has no word for it, as is the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Makes the same request give the same answer, where that is possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts that end the answer. A format that has no word for them refuses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<Text>,
}

/// Whether the provider is asked to keep the prompt for the next request. Only formats in which a client marks what is
/// to be kept, or gives it a [key](ModelRequest::cache_key), make use of it; others keep what they like. The marks are set
/// by rule: after the tools, after the system prompt, and at the end of the history.
///
/// ```
/// use ergane_core::PromptCache;
///
/// assert_eq!(PromptCache::default(), PromptCache::Short);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptCache {
    /// Marks nothing.
    Off,
    /// Keeps it as long as the provider usually does: minutes.
    #[default]
    Short,
    /// Keeps it longer, about an hour, at a higher price.
    Long,
}

/// One model call: a view of the history (shared, never a copy of its texts) and how to answer.
///
/// Made by [`ModelRequest::new`] and changed by its fields, so that a field added later breaks nobody:
///
/// ```
/// use ergane_core::{Message, ModelRequest, ToolChoice};
///
/// let request = ModelRequest {
///     system: Some("Answer in one word.".into()),
///     tool_choice: ToolChoice::None,
///     ..ModelRequest::new("llama3.1", [Message::user_text("hi").into()].into_iter().collect())
/// };
/// assert!(request.stream);
/// ```
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// The model at the provider.
    pub model: Text,
    /// The system prompt. None by default.
    pub system: Option<Text>,
    /// The messages, valid for the strictest provider (see [`Conversation::request`](crate::Conversation::request)).
    pub messages: History,
    /// The tools offered. None by default.
    pub tools: Arc<[ToolSpec]>,
    /// Whether and which of them must be called. The model decides by default.
    pub tool_choice: ToolChoice,
    /// Whether the model may call several tools at once; `None`, the default, leaves it to the provider. Ollama has no word
    /// for it and is not told; Gemini has none either and is asked in the system prompt.
    pub parallel_tools: Option<bool>,
    /// The structure of the answer. Free text by default.
    pub output: Option<OutputSchema>,
    /// How much to think; `None`, the default, leaves it to the provider.
    pub reasoning: Option<ReasoningEffort>,
    /// How tokens are chosen. Left to the provider by default.
    pub sampling: Sampling,
    /// Whether the answer is streamed. True by default.
    pub stream: bool,
    /// At most so many tokens of answer; `None`, the default, leaves it to the provider.
    pub max_tokens: Option<u32>,
    /// Whether the prompt is to be kept for the next request. For a short time by default.
    pub cache: PromptCache,
    /// What requests have in common that begin alike, such as a fingerprint of their session's name: OpenAI sends those to
    /// the same machine, where their beginning is kept. No secret. None by default; not told when nothing is to be kept.
    pub cache_key: Option<Text>,
}

impl ModelRequest {
    /// A request of `model` to go on with `messages`; everything else at its default.
    ///
    /// ```
    /// use ergane_core::{History, ModelRequest, ToolChoice};
    ///
    /// let request = ModelRequest::new("llama3.1", History::default());
    /// assert!(request.tools.is_empty() && request.tool_choice == ToolChoice::Auto);
    /// ```
    pub fn new(model: impl Into<Text>, messages: History) -> Self {
        Self {
            model: model.into(),
            system: None,
            messages,
            tools: Arc::new([]),
            tool_choice: ToolChoice::default(),
            parallel_tools: None,
            output: None,
            reasoning: None,
            sampling: Sampling::default(),
            stream: true,
            max_tokens: None,
            cache: PromptCache::default(),
            cache_key: None,
        }
    }
}

/// What a model answered, complete.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelReply {
    /// The assistant's message, with its [`Origin`](crate::Origin). Its calls are not numbered yet.
    pub message: Message,
    /// Tokens, when the provider told them.
    pub usage: Option<Usage>,
    /// Cost, when it is known.
    pub cost: Option<MicroUsd>,
}
