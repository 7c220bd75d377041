//! The attribute `#[tool]`: an async function becomes a `Tool`.
//!
//! # Why a macro, and how little it does
//!
//! What a model is told of a tool (name, description, the schema of its arguments) is all there in a function already;
//! written twice it would drift apart. So the macro moves the parameters into a struct, lets `serde` and `schemars` derive
//! what they derive for any struct, and writes the trait's methods around it. Everything it refers to is reached through
//! one path, so a crate that uses it depends on `ergane` alone.
//!
//! ```
//! use ergane::prelude::*;
//!
//! /// What the weather is like. (The doc comment is what the model reads.)
//! #[tool(effect = "read", timeout = "10s")]
//! async fn weather(
//!     ctx: &ToolContext,
//!     /// The name of a city, in English.
//!     city: String,
//!     /// Days ahead; today when left out.
//!     days: Option<u8>,
//! ) -> Result<String, std::io::Error> {
//!     ctx.progress("asking the sky");
//!     Ok(format!("It rains in {city}, and in {} days, too.", days.unwrap_or(0)))
//! }
//!
//! let system = System::builder().tool(weather);
//! ```
//!
//! | attribute | meaning | default |
//! |---|---|---|
//! | `effect = "read" \| "idempotent" \| "write"` | what it does to the world | `"write"`, the careful one |
//! | `reach = "files" \| "network" \| "anything"` | what it gets its hands on, for permission mode `accept_edits`: files in the session's roots and nothing else, the network, or anything | `"anything"` |
//! | `timeout = "30s"` (`ms`, `s`, `m`) | how long a call may take | the session's limit |
//! | `name = "…"` | the name the model calls it by | the function's |
//! | `crate = "path"` | where the library is | `::ergane::tool_support` |

mod expand;
mod options;

use proc_macro::TokenStream;

/// Makes a `Tool` of an async function; its name becomes a value that implements the trait.
///
/// The doc comment is the description. Parameters are the arguments, with their doc comments as descriptions and
/// `serde` or `schemars` attributes as on a field; an `Option` may be left out; `ctx: &ToolContext` may stand anywhere, and so may
/// an `Extension<T>`, which the program fills and the model does not see. The function returns anything that is `Into<ToolOutput>`, or a `Result` of that and an error that can be shown.
///
/// Attributes: `effect = "read" | "idempotent" | "write"` (default `"write"`), `reach = "files" | "network" | "anything"`
/// (default `"anything"`), `timeout = "30s"`, `name = "…"`,
/// `crate = "path"`. An argument that the function does not have is an error result for the model, as is one of another type,
/// with the path of the field.
///
/// ```
/// use ergane::prelude::*;
///
/// /// Counts the words of a text.
/// #[tool(effect = "read", name = "word_count")]
/// async fn count_words(
///     /// The text.
///     text: String,
///     /// Counts only words of more letters than this.
///     longer_than: Option<usize>,
/// ) -> String {
///     let least = longer_than.unwrap_or(0);
///     text.split_whitespace().filter(|word| word.chars().count() > least).count().to_string()
/// }
///
/// assert_eq!((count_words.name(), count_words.effect()), ("word_count", Effect::Read));
/// assert_eq!(count_words.parameters()["required"], json!(["text"]));
/// let system = System::builder().tool(count_words);
/// ```
#[proc_macro_attribute]
pub fn tool(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand::tool(attribute.into(), item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}
