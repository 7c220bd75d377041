//! OpenAI Chat Completions, and the many servers that speak it in dialects of their own.

mod chunk;
mod decode;
mod request;

pub use decode::Decoder;
pub use request::{Flavor, request};

/// The name of the format, in [`Origin::api`](ergane_core::Origin).
pub const API: &str = "openai";
