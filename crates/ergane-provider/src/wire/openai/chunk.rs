//! The shape of a chunk, and of a whole completion, which is the same but for `message` in the place of `delta`.

use ergane_core::{MicroUsd, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::wire::loose::{self, Content};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Chunk {
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) object: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) choices: Option<Vec<Choice>>,
    #[serde(default)]
    pub(super) usage: Option<WireUsage>,
    #[serde(default)]
    pub(super) error: Option<Value>,
    #[serde(default)]
    pub(super) x_groq: Option<Groq>,
}

impl Chunk {
    /// The text of a chunk that is a piece of text and nothing more, whatever came before it. (Its `id` and its `model` are those of
    /// the chunks before it, for of a chunk with others the bytes differ.)
    pub(super) fn only_text(&self) -> Option<&str> {
        let Self { id: _, object, model: _, choices, usage: None, error: None, x_groq: None } = self else {
            return None;
        };
        let [Choice { index: None | Some(0), delta: Some(delta), message: None, finish_reason: None }] =
            choices.as_deref()?
        else {
            return None;
        };
        let is_more = object.as_deref() == Some("error")
            || !delta.content.thinking.is_empty()
            || [&delta.refusal, &delta.reasoning_content, &delta.reasoning]
                .iter()
                .any(|text| text.as_ref().is_some_and(|text| !text.is_empty()))
            || delta.reasoning_details.is_some()
            || delta.tool_calls.is_some();
        Some(&*delta.content.text).filter(|text| !is_more && !text.is_empty())
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Groq {
    #[serde(default)]
    pub(super) usage: Option<WireUsage>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Choice {
    #[serde(default, deserialize_with = "loose::integer")]
    pub(super) index: Option<i64>,
    #[serde(default)]
    pub(super) delta: Option<Delta>,
    #[serde(default)]
    pub(super) message: Option<Delta>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default, deserialize_with = "loose::content")]
    pub(super) content: Content,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) refusal: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) reasoning_content: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) reasoning: Option<String>,
    #[serde(default)]
    pub(super) reasoning_details: Option<Vec<Value>>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct CallDelta {
    #[serde(default, deserialize_with = "loose::integer")]
    pub(super) index: Option<i64>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) id: Option<String>,
    #[serde(default, rename = "type")]
    _type: serde::de::IgnoredAny,
    #[serde(default)]
    pub(super) function: Option<FunctionDelta>,
    /// A call in free text. None is ever offered, so that the model wrote one is its mistake, of which it is to be told.
    #[serde(default)]
    pub(super) custom: Option<CustomDelta>,
    #[serde(flatten)]
    pub(super) extra: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct FunctionDelta {
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) name: Option<String>,
    /// Raw, so that an object keeps the model's own bytes.
    #[serde(default)]
    pub(super) arguments: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct CustomDelta {
    #[serde(default, deserialize_with = "loose::text")]
    name: Option<String>,
    #[serde(default)]
    input: Option<Box<RawValue>>,
}

impl From<CustomDelta> for FunctionDelta {
    fn from(CustomDelta { name, input }: CustomDelta) -> Self {
        Self { name, arguments: input }
    }
}

#[derive(Debug, Default, Clone, Deserialize)]
pub(super) struct WireUsage {
    #[serde(default, deserialize_with = "loose::integer")]
    prompt_tokens: Option<i64>,
    #[serde(default, deserialize_with = "loose::integer")]
    completion_tokens: Option<i64>,
    #[serde(default, deserialize_with = "loose::integer")]
    prompt_cache_hit_tokens: Option<i64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
    /// In US dollars, as routers tell it.
    #[serde(default)]
    cost: Option<Value>,
}

#[derive(Debug, Default, Clone, Deserialize)]
struct PromptDetails {
    #[serde(default, deserialize_with = "loose::integer")]
    cached_tokens: Option<i64>,
    #[serde(default, deserialize_with = "loose::integer")]
    cache_write_tokens: Option<i64>,
}

#[derive(Debug, Default, Clone, Deserialize)]
struct CompletionDetails {
    #[serde(default, deserialize_with = "loose::integer")]
    reasoning_tokens: Option<i64>,
}

impl WireUsage {
    /// `None` when neither side is told: absent is not zero.
    pub(super) fn tokens(&self) -> Option<Usage> {
        let count = |number: Option<i64>| u64::try_from(number.unwrap_or_default()).unwrap_or_default();
        self.prompt_tokens.or(self.completion_tokens)?;
        let cached = self.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        let written = self.prompt_tokens_details.as_ref().and_then(|details| details.cache_write_tokens);
        let reasoning = self.completion_tokens_details.as_ref().and_then(|details| details.reasoning_tokens);
        Some(Usage {
            input_tokens: count(self.prompt_tokens),
            output_tokens: count(self.completion_tokens),
            cached_tokens: count(cached.or(self.prompt_cache_hit_tokens)),
            reasoning_tokens: count(reasoning),
            cache_write_tokens: count(written),
            cache_write_long_tokens: 0,
        })
    }

    pub(super) fn cost(&self) -> Option<MicroUsd> {
        MicroUsd::from_usd(self.cost.as_ref()?.as_f64()?)
    }
}
