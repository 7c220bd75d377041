//! OpenAI Chat Completions, and the many servers that speak it in dialects of their own.

mod chunk;
mod decode;
mod extra;
mod request;

pub use decode::Decoder;
pub use extra::{embed_request, embeddings, models, models_request};
pub use request::{Flavor, request};

/// The name of the format, in [`Origin::api`](ergane_core::Origin).
pub const API: &str = "openai";
