//! What this API sends, as far as it is read, and what it counts.

use ergane_core::Usage;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::wire::loose;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Event {
    #[serde(default, rename = "type", deserialize_with = "loose::text")]
    pub(super) kind: Option<String>,
    #[serde(default, deserialize_with = "loose::integer")]
    pub(super) index: Option<i64>,
    #[serde(default)]
    pub(super) message: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) content_block: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) delta: Option<Delta>,
    #[serde(default)]
    pub(super) usage: Option<Value>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) text: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) thinking: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) signature: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) partial_json: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) stop_reason: Option<String>,
    #[serde(default)]
    pub(super) stop_details: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct WireMessage {
    #[serde(default, rename = "type", deserialize_with = "loose::text")]
    pub(super) kind: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) content: Option<Vec<Box<RawValue>>>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) stop_reason: Option<String>,
    #[serde(default)]
    pub(super) stop_details: Option<Value>,
    #[serde(default)]
    pub(super) usage: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct WireBlock {
    #[serde(default, rename = "type", deserialize_with = "loose::text")]
    pub(super) kind: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) text: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) thinking: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) signature: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) id: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    pub(super) name: Option<String>,
    /// Raw, so that it keeps the model's own bytes.
    #[serde(default)]
    pub(super) input: Option<Box<RawValue>>,
}

/// What the server counted, each the last word on it: the counts of a stream grow, they are not added up.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
    pub(super) written: Option<u64>,
    pub(super) written_long: Option<u64>,
    pub(super) cached: Option<u64>,
    pub(super) thinking: Option<u64>,
}

impl Counts {
    pub(super) fn take(&mut self, usage: &Value) {
        let set = |count: &mut Option<u64>, path: &str| {
            *count = usage.pointer(path).and_then(Value::as_u64).or(*count);
        };
        set(&mut self.input, "/input_tokens");
        set(&mut self.output, "/output_tokens");
        set(&mut self.written, "/cache_creation_input_tokens");
        set(&mut self.written_long, "/cache_creation/ephemeral_1h_input_tokens");
        set(&mut self.cached, "/cache_read_input_tokens");
        set(&mut self.thinking, "/output_tokens_details/thinking_tokens");
    }

    /// The server's count of the input leaves out what went to the cache or came from it; ours does not.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.input.or(self.output)?;
        let count = Option::unwrap_or_default;
        let (written, cached): (u64, u64) = (count(self.written), count(self.cached));
        Some(Usage {
            input_tokens: count(self.input).saturating_add(written).saturating_add(cached),
            output_tokens: count(self.output),
            cached_tokens: cached,
            reasoning_tokens: count(self.thinking),
            cache_write_tokens: written,
            cache_write_long_tokens: count(self.written_long).min(written),
        })
    }
}
