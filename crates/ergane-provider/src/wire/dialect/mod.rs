//! Tools for models without native calls: offered in the system text, called by blocks in the answer's text.
//!
//! Two pure parts. [`offer`] makes a request without tools of one with tools. [`Dialect`] wraps the decoder of any format:
//! the blocks of calls that it finds in the text become calls, and never show in what is streamed, however the pieces of
//! the text fall. The scanner takes one character at a time, so where the pieces begin and end cannot matter.
//!
//! A model is offered its tools in this way only when it has no native calls. What it answers is read in this way
//! whenever tools were offered at all: many a model that has native calls writes one as text now and then, in the words
//! of its training, and many a server hands those on. So all the common dialects are understood, not only ours:
//!
//! ````text
//! ~~~tool_call
//! {"name": "get_weather", "arguments": {"city": "Oslo"}}
//! ~~~
//! ````

mod bare;
mod block;
mod code;
mod decoder;
mod offer;
mod parse;
mod python;
mod scan;

pub use decoder::Dialect;
pub use offer::offer;

/// The largest block of calls: 1 MiB. A larger one is an error for the model to see.
const MAX_BLOCK: usize = 1024 * 1024;

/// The most calls of one answer. One more is an error for the model to see, and the rest is left out.
const MAX_CALLS: usize = 64;

/// What stands in the place of the arguments of the first call that is too many.
const TOO_MANY: &str = "not carried out, nor any call after it: an answer may make 64 calls; make the others in your next answer";

/// The longest line that may open a fence.
const MAX_FENCE: usize = 100;

/// The name of a call whose block does not tell one.
const UNNAMED: &str = "tool_call";

/// A call that was found in a text.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    name: String,
    /// A JSON object, or what stood in its place.
    arguments: String,
    /// False when the text ended within the block.
    complete: bool,
}
