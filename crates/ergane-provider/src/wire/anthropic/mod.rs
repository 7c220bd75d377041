//! Anthropic Messages: `POST /v1/messages`, and those who speak it too.

mod chunk;
mod decode;
mod extra;
mod messages;
mod model;
mod request;
mod structure;

pub use decode::Decoder;
pub use extra::{model_info, model_info_request, models, models_request};
pub use request::request;

/// The name of the format, in [`Origin::api`](ergane_core::Origin).
pub const API: &str = "anthropic";

/// The version of the API that is spoken.
const VERSION: &str = "2023-06-01";
