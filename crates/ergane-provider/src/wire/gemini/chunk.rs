//! The shape of a response, and of a chunk of one, which is the same.

use ergane_core::Usage;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::wire::loose;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Chunk {
    #[serde(default)]
    pub(super) candidates: Option<Vec<Candidate>>,
    #[serde(default)]
    pub(super) prompt_feedback: Option<PromptFeedback>,
    #[serde(default)]
    pub(super) usage_metadata: Option<WireUsage>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) response_id: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) model_version: Option<String>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate {
    #[serde(default)]
    pub(super) content: Option<Content>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) finish_reason: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) finish_message: Option<String>,
    #[serde(default, deserialize_with = "loose::integer")]
    pub(super) index: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Content {
    /// Raw, so that what is unknown can go back, and arguments keep the model's own bytes.
    #[serde(default)]
    pub(super) parts: Option<Vec<Box<RawValue>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WirePart {
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) thought: Option<bool>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) thought_signature: Option<String>,
    #[serde(default)]
    pub(super) function_call: Option<FunctionCall>,
    #[serde(default)]
    pub(super) inline_data: Option<Blob>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct FunctionCall {
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) args: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob {
    pub(super) mime_type: String,
    pub(super) data: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PromptFeedback {
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) block_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireUsage {
    #[serde(default, deserialize_with = "loose::integer")]
    prompt_token_count: Option<i64>,
    #[serde(default, deserialize_with = "loose::integer")]
    tool_use_prompt_token_count: Option<i64>,
    #[serde(default, deserialize_with = "loose::integer")]
    cached_content_token_count: Option<i64>,
    #[serde(default, deserialize_with = "loose::integer")]
    candidates_token_count: Option<i64>,
    #[serde(default, deserialize_with = "loose::integer")]
    thoughts_token_count: Option<i64>,
}

impl WireUsage {
    /// `None` when neither side is told: absent is not zero.
    pub(super) fn tokens(&self) -> Option<Usage> {
        let count = |number: Option<i64>| u64::try_from(number.unwrap_or_default()).unwrap_or_default();
        self.prompt_token_count.or(self.candidates_token_count).or(self.thoughts_token_count)?;
        Some(Usage {
            input_tokens: count(self.prompt_token_count) + count(self.tool_use_prompt_token_count),
            output_tokens: count(self.candidates_token_count) + count(self.thoughts_token_count),
            cached_tokens: count(self.cached_content_token_count),
            reasoning_tokens: count(self.thoughts_token_count),
            ..Usage::default()
        })
    }
}
