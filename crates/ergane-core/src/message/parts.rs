//! What a message is made of.
//!
//! A part that a provider understands in its own way, such as reasoning with its signature, is kept so that it can be given back
//! byte for byte; what nobody here understands is kept whole too.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Text, ToolCall, ToolResult};
use crate::tagged::{self, Tagged};

/// A piece of a message.
///
/// ```
/// use ergane_core::{ImageSource, Message, Part};
///
/// let image = Part::Image { mime: "image/png".into(), source: ImageSource::Url("https://example.org/a.png".into()) };
/// let asked = Message::user(vec!["What is in this picture?".into(), image]);
/// let words: Vec<&str> = asked.parts.iter().filter_map(|part| match part {
///     Part::Text { text } => Some(&**text),
///     _ => None, // kinds may be added
/// }).collect();
/// assert_eq!(words, ["What is in this picture?"]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Plain text.
    Text {
        /// The text.
        text: Text,
    },
    /// An image.
    Image {
        /// Its media type, such as `image/png`.
        mime: Text,
        /// Where its bytes are.
        source: ImageSource,
    },
    /// What a reasoning model thought, with what its provider wants back.
    Reasoning(Reasoning),
    /// A call of a tool, by the model.
    ToolCall(ToolCall),
    /// The result of a call, for the model.
    ToolResult(ToolResult),
    /// The model's refusal, in its words.
    Refusal {
        /// The words.
        text: Text,
    },
    /// Something that only the provider of the message understands.
    Opaque(Opaque),
}

/// How a part is read (see `tagged.rs`): the compiler holds it against [`Part`], a test that no variant is missing.
#[derive(Deserialize)]
#[serde(remote = "Part", rename_all = "snake_case")]
enum Variants {
    Text { text: Text },
    Image { mime: Text, source: ImageSource },
    Reasoning(Reasoning),
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    Refusal { text: Text },
    Opaque(Opaque),
}

impl Tagged for Part {
    fn from_variants<'de, D: Deserializer<'de>>(variants: D) -> Result<Self, D::Error> {
        Variants::deserialize(variants)
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        tagged::deserialize(deserializer)
    }
}

/// Where the bytes of an image are.
///
/// ```
/// use ergane_core::{ImageSource, Part};
///
/// let dot = ImageSource::Base64("iVBORw0KGgo=".into()); // the bytes themselves
/// let seen = Part::Image { mime: "image/png".into(), source: dot };
/// assert!(matches!(seen, Part::Image { source: ImageSource::Base64(_), .. }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// Here, as standard base64.
    Base64(Text),
    /// Behind a URL that the provider fetches.
    Url(Text),
}

/// A piece of reasoning, and the opaque data of its provider, replayed to that provider only: texts byte for byte,
/// numbers exactly, objects with their keys sorted.
///
/// ```
/// use ergane_core::{Part, Reasoning};
///
/// let thought = Reasoning { text: "7 has no divisor.".into(), ..Reasoning::default() };
/// assert!(thought.data.is_empty(), "nothing that a provider wants back");
/// let part = Part::Reasoning(thought);
/// # let _ = part;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reasoning {
    /// The readable part; may be empty.
    pub text: Text,
    /// The wire field it came in, such as `reasoning_content`, so that it goes back in the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<Text>,
    /// Signatures, encrypted content and the like.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Map<String, Value>,
}

/// Something of a reply that only its provider understands: a block or an item of a kind that Ergane does not know, or
/// what belongs to the part before it. It keeps its place in the message, goes back to the same provider and model as it
/// came, and to no other.
///
/// ```
/// use ergane_core::{Opaque, Part};
/// use serde_json::json;
///
/// // A block of a kind that Ergane does not know keeps its place:
/// let block = Opaque { kind: "server_tool_use".into(), data: json!({ "id": "srv_1", "name": "web_search" }) };
/// assert!(matches!(Part::Opaque(block), Part::Opaque(kept) if kept.data["name"] == "web_search"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opaque {
    /// What it is, in the words of the wire format.
    pub kind: Text,
    /// It: texts byte for byte, numbers exactly, objects with their keys sorted.
    pub data: Value,
}

impl Part {
    /// A text part.
    ///
    /// ```
    /// use ergane_core::Part;
    ///
    /// assert_eq!(Part::text("hello"), Part::from("hello"));
    /// ```
    pub fn text(text: impl Into<Text>) -> Self {
        Self::Text { text: text.into() }
    }
}

impl From<&str> for Part {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

pub(super) fn join_texts(parts: &[Part]) -> String {
    let mut joined = String::new();
    for part in parts {
        if let Part::Text { text } | Part::Refusal { text } = part {
            joined.push_str(text);
        }
    }
    joined
}
