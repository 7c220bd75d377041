//! OpenAI Chat Completions, and the many servers that speak it in dialects of their own.

mod chunk;
mod compat;
mod decode;
mod extra;
mod messages;
mod places;
mod request;
mod servers;

pub use compat::{
    Compat, EffortStyle, ForcedTools, ImageStyle, MaxTokensField, ReasoningReplay, Structure, ToolIds,
};
pub use decode::Decoder;
pub(crate) use extra::rooms;
pub use extra::{embed_request, embeddings, models, models_request, props_request, window};
pub use request::request;
pub(crate) use servers::{CompatServer, SERVERS};

/// The name of the format, in [`Origin::api`](ergane_core::Origin).
pub const API: &str = "openai";
