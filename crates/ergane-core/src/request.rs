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

/// One model call: a view of the history (shared, never a copy of its texts) and how to answer.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// The model at the provider.
    pub model: Text,
    /// The system prompt.
    pub system: Option<Text>,
    /// The messages, valid for the strictest provider (see [`Conversation::request`](crate::Conversation::request)).
    pub messages: History,
    /// The tools offered.
    pub tools: Arc<[ToolSpec]>,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// At most so many tokens of answer; `None` leaves it to the provider.
    pub max_tokens: Option<u32>,
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
