//! Gemini, by its native API: `generateContent` and `streamGenerateContent`, `models`, `batchEmbedContents`.
//!
//! What is peculiar to it: a reply is a list of parts whose order matters, because signatures of the model's reasoning
//! sit on parts of any kind and must go back on the very same ones. That of a thought or a call is kept with it; any
//! other in an [`Opaque`] right behind the part that it signs.

mod chunk;
mod contents;
mod decode;
mod extra;
mod request;
mod schema;

use ergane_core::{Opaque, Part};
use serde_json::Value;

pub use decode::Decoder;
pub use extra::{
    embed_request, embeddings, model_info, model_info_request, models, models_request, next_page,
};
pub use request::request;

/// The name of the format, in [`Origin::api`](ergane_core::Origin).
pub const API: &str = "gemini";

/// The name of a signature on the wire, and the kind of what signs the part before it.
const SIGNATURE: &str = "thoughtSignature";

/// The kind of a part that goes back as it came.
const PART: &str = "part";

fn opaque(kind: &str, data: Value) -> Part {
    Part::Opaque(Opaque { kind: kind.into(), data })
}
