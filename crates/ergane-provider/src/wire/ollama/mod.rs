//! Ollama's native `/api/chat`.
//!
//! Why not its OpenAI-compatible endpoint, which the other adapter could use: there an error in mid-stream is swallowed,
//! an over-long chat is shortened in silence, and images and reasoning pass through a second translation.

mod decode;
mod extra;
mod request;

pub use decode::Decoder;
pub use extra::{embed_request, embeddings, model_info, models, models_request, show_request};
pub use request::request;

/// The name of the format, in [`Origin::api`](ergane_core::Origin).
pub const API: &str = "ollama";
