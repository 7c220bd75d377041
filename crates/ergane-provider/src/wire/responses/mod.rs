//! OpenAI Responses, without state at the server: the whole history is sent each time, with the model's reasoning in the
//! encrypted form in which it came.
//!
//! What is peculiar to it: a reply is a list of items, of which each must go back in its place, and reasoning right
//! before what it led to. What an item has beside its content (its id, the phase of a message) is kept in the message
//! too; see [`items`](self) for how items become parts and parts become items.

mod decode;
mod draft;
mod drafts;
mod items;
mod request;

pub use decode::Decoder;
pub use request::request;

/// The name of the format, in [`Origin::api`](ergane_core::Origin).
pub const API: &str = "openai_responses";
