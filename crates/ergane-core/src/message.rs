//! Messages in the canonical form that every provider's format maps to and from.
//!
//! Texts are shared ([`Text`]): a history is referred to by requests, views and subscribers, never copied for them.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::ids::{CallId, TurnId};
use crate::reason::StopReason;
use crate::tagged::{self, Tagged};

/// Shared text.
pub type Text = Arc<str>;

/// Who speaks.
///
/// ```
/// use ergane_core::{Message, Role};
///
/// assert_eq!(Message::user_text("hello").role, Role::User);
/// assert_eq!(serde_json::to_string(&Role::Assistant)?, "\"assistant\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// The results of the calls of the assistant message before it.
    Tool,
}

/// One message of a conversation. The system prompt is a setting and no message.
///
/// ```
/// use ergane_core::{Message, Part, Role};
///
/// let asked = Message::user_text("What is this?");
/// assert_eq!((asked.role, asked.text()), (Role::User, "What is this?".to_owned()));
/// assert!(matches!(asked.parts[..], [Part::Text { .. }]) && asked.origin.is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// Who answered, when a model did: what is opaque goes back to the same one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Which provider and model produced a message.
///
/// ```
/// use ergane_core::{Message, Origin, Part, Role, StopReason};
///
/// let origin = Origin {
///     provider: "local".into(),
///     api: "ollama".into(),
///     model: "qwen3:8b".into(),
///     response_id: None,
///     stop: StopReason::Stop,
/// };
/// let answer = Message { role: Role::Assistant, parts: vec![Part::text("Hello.")], origin: Some(origin) };
/// assert_eq!(answer.origin.map(|origin| origin.model).as_deref(), Some("qwen3:8b"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The provider's registered name.
    pub provider: Text,
    /// The wire format it speaks, such as `openai` or `ollama`: signatures are only good within one.
    pub api: Text,
    /// The model that answered.
    pub model: Text,
    /// The provider's id of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<Text>,
    /// Why it stopped.
    pub stop: StopReason,
}

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

/// A call of a tool, by the model.
///
/// ```
/// use ergane_core::{Message, Part, Role, ToolCall};
///
/// # let call = ToolCall {
/// #     id: "812.1".parse()?, wire_id: None, name: "read".into(), arguments: r#"{"path":"Cargo.toml"}"#.into(),
/// #     complete: true, extra: Default::default(),
/// # };
/// let answer = Message { role: Role::Assistant, parts: vec![Part::ToolCall(call)], origin: None };
/// for call in answer.calls() {
///     println!("{} asks for {} with {}", call.id, call.name, call.arguments);
/// }
/// # assert_eq!(answer.calls().count(), 1);
/// # Ok::<(), ergane_core::CoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Our id, unique in the session.
    pub id: CallId,
    /// The provider's id, when it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire_id: Option<Text>,
    /// The tool's name as the model wrote it.
    pub name: Text,
    /// The arguments as the model wrote them, byte for byte. Read them by [`ToolCall::arguments`].
    pub arguments: Text,
    /// False when the reply was cut inside or beside it: such a call is never run.
    pub complete: bool,
    /// Unknown fields of the call that the provider wants back.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

/// Why the arguments of a call cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// Not JSON.
    #[error("the arguments are not valid JSON ({reason}); they were: {quoted}")]
    NotJson {
        /// What the parser said.
        reason: String,
        /// The beginning of the arguments.
        quoted: String,
    },
    /// JSON, but no object.
    #[error("the arguments must be a JSON object, not {found}; they were: {quoted}")]
    NotAnObject {
        /// What they are.
        found: &'static str,
        /// The beginning of the arguments.
        quoted: String,
    },
}

impl ToolCall {
    /// The arguments as an object. Empty text and `null` are an empty object, as several servers send them so.
    ///
    /// ```
    /// # use ergane_core::ToolCall;
    /// # let call = ToolCall {
    /// #     id: "812.1".parse()?, wire_id: None, name: "read".into(), arguments: r#"{"path":"Cargo.toml"}"#.into(),
    /// #     complete: true, extra: Default::default(),
    /// # };
    /// assert_eq!(call.arguments()?["path"], "Cargo.toml");
    ///
    /// let cut = ToolCall { arguments: r#"{"path":"Car"#.into(), ..call };
    /// assert!(cut.arguments().unwrap_err().to_string().contains("not valid JSON"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ArgumentError`], whose text tells the model what was wrong.
    pub fn arguments(&self) -> Result<Map<String, Value>, ArgumentError> {
        let quoted = || self.arguments.chars().take(200).collect::<String>();
        if self.arguments.trim().is_empty() {
            return Ok(Map::new());
        }
        let found = match serde_json::from_str(&self.arguments) {
            Ok(Value::Object(map)) => return Ok(map),
            Ok(Value::Null) => return Ok(Map::new()),
            Ok(Value::Array(_)) => "an array",
            Ok(Value::String(_)) => "a string",
            Ok(Value::Number(_)) => "a number",
            Ok(Value::Bool(_)) => "a boolean",
            Err(error) => return Err(ArgumentError::NotJson { reason: error.to_string(), quoted: quoted() }),
        };
        Err(ArgumentError::NotAnObject { found, quoted: quoted() })
    }
}

/// The result of a call, for the model.
///
/// ```
/// use ergane_core::{Message, Part, Role, ToolCall, ToolResult};
///
/// # let call = ToolCall {
/// #     id: "812.1".parse()?, wire_id: None, name: "read".into(), arguments: r#"{"path":"Cargo.toml"}"#.into(),
/// #     complete: true, extra: Default::default(),
/// # };
/// let result = ToolResult {
///     call: call.id,
///     name: call.name,
///     content: vec!["[package]".into()],
///     is_error: false,
///     synthetic: false,
/// };
/// let told = Message { role: Role::Tool, parts: vec![Part::ToolResult(result)], origin: None };
/// assert!(told.results().all(|result| !result.is_error && result.text() == "[package]"));
/// # Ok::<(), ergane_core::CoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The call it answers.
    pub call: CallId,
    /// The tool's name.
    pub name: Text,
    /// Text and images.
    pub content: Vec<Part>,
    /// Whether the call failed, was denied, or was never run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// Whether Ergane made it because there was no real one (interrupted, cut off, denied).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub synthetic: bool,
}

impl ToolResult {
    /// The error result of a call that has no real one: it says `why`.
    ///
    /// ```
    /// # use ergane_core::{ToolCall, ToolResult};
    /// # let call = ToolCall {
    /// #     id: "812.1".parse()?, wire_id: None, name: "read".into(), arguments: r#"{"path":"Cargo.toml"}"#.into(),
    /// #     complete: true, extra: Default::default(),
    /// # };
    /// let result = ToolResult::made(&call, "the call was interrupted");
    /// assert!(result.is_error && result.synthetic);
    /// # Ok::<(), ergane_core::CoreError>(())
    /// ```
    pub fn made(call: &ToolCall, why: impl Into<Text>) -> Self {
        Self {
            call: call.id,
            name: call.name.clone(),
            content: vec![Part::text(why)],
            is_error: true,
            synthetic: true,
        }
    }

    /// The texts of the result, one after the other.
    ///
    /// ```
    /// # use ergane_core::{ToolCall, ToolResult};
    /// # let call = ToolCall {
    /// #     id: "812.1".parse()?, wire_id: None, name: "read".into(), arguments: r#"{"path":"Cargo.toml"}"#.into(),
    /// #     complete: true, extra: Default::default(),
    /// # };
    /// assert_eq!(ToolResult::made(&call, "permission denied").text(), "permission denied");
    /// # Ok::<(), ergane_core::CoreError>(())
    /// ```
    pub fn text(&self) -> String {
        join_texts(&self.content)
    }
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

impl Message {
    /// A user's message.
    ///
    /// ```
    /// use ergane_core::Message;
    ///
    /// let asked = Message::user(vec!["Read this: ".into(), "fn main() {}".into()]);
    /// assert_eq!(asked.text(), "Read this: fn main() {}");
    /// ```
    pub fn user(parts: Vec<Part>) -> Self {
        Self { role: Role::User, parts, origin: None }
    }

    /// A user's message of one text.
    ///
    /// ```
    /// use ergane_core::{Message, Part};
    ///
    /// assert_eq!(Message::user_text("hello"), Message::user(vec![Part::text("hello")]));
    /// ```
    pub fn user_text(text: impl Into<Text>) -> Self {
        Self::user(vec![Part::text(text)])
    }

    /// The text of the message: its text and refusal parts, one after the other.
    ///
    /// ```
    /// use ergane_core::{Message, Part, Reasoning, Role};
    ///
    /// let thought = Part::Reasoning(Reasoning { text: "They greet me.".into(), ..Reasoning::default() });
    /// let answer = Message { role: Role::Assistant, parts: vec![thought, "Hello.".into()], origin: None };
    /// assert_eq!(answer.text(), "Hello.", "what it thought is no part of it");
    /// ```
    pub fn text(&self) -> String {
        join_texts(&self.parts)
    }

    /// The calls of the message, in order.
    ///
    /// ```
    /// use ergane_core::{Message, Part, Role, ToolCall};
    ///
    /// # let call = ToolCall {
    /// #     id: "812.1".parse()?, wire_id: None, name: "read".into(), arguments: r#"{"path":"Cargo.toml"}"#.into(),
    /// #     complete: true, extra: Default::default(),
    /// # };
    /// let parts = vec![Part::text("Let me look."), Part::ToolCall(call)];
    /// let answer = Message { role: Role::Assistant, parts, origin: None };
    /// let names: Vec<&str> = answer.calls().map(|call| &*call.name).collect();
    /// assert_eq!(names, ["read"]);
    /// # Ok::<(), ergane_core::CoreError>(())
    /// ```
    pub fn calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// The results of the message, in order.
    ///
    /// ```
    /// use ergane_core::{Message, Part, Role, ToolCall, ToolResult};
    ///
    /// # let call = ToolCall {
    /// #     id: "812.1".parse()?, wire_id: None, name: "read".into(), arguments: r#"{"path":"Cargo.toml"}"#.into(),
    /// #     complete: true, extra: Default::default(),
    /// # };
    /// let denied = ToolResult::made(&call, "permission denied");
    /// let told = Message { role: Role::Tool, parts: vec![Part::ToolResult(denied)], origin: None };
    /// assert_eq!(told.results().filter(|result| result.is_error).count(), 1);
    /// # Ok::<(), ergane_core::CoreError>(())
    /// ```
    pub fn results(&self) -> impl Iterator<Item = &ToolResult> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolResult(result) => Some(result),
            _ => None,
        })
    }

    /// Gives every call its id: `turn`, and numbers from `first` on. Done once, when the reply becomes a fact.
    ///
    /// ```
    /// use ergane_core::{CallId, Message, Part, Role, ToolCall, TurnId};
    ///
    /// # let call = ToolCall {
    /// #     id: "812.1".parse()?, wire_id: None, name: "read".into(), arguments: r#"{"path":"Cargo.toml"}"#.into(),
    /// #     complete: true, extra: Default::default(),
    /// # };
    /// let call = Part::ToolCall(ToolCall { id: CallId::UNNUMBERED, ..call });
    /// let mut answer = Message { role: Role::Assistant, parts: vec![call.clone(), call], origin: None };
    /// answer.number_calls(TurnId(812), 1);
    /// let ids: Vec<String> = answer.calls().map(|call| call.id.to_string()).collect();
    /// assert_eq!(ids, ["812.1", "812.2"]);
    /// # Ok::<(), ergane_core::CoreError>(())
    /// ```
    pub fn number_calls(&mut self, turn: TurnId, first: u32) {
        let calls = self.parts.iter_mut().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        });
        for (index, call) in (first..).zip(calls) {
            call.id = CallId { turn, index };
        }
    }

    /// Whether it says nothing that a provider could be sent: blank text and reasoning alone are refused by some.
    ///
    /// ```
    /// use ergane_core::Message;
    ///
    /// assert!(Message::user_text(" \n").is_empty());
    /// assert!(!Message::user_text("hello").is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Text { text } | Part::Refusal { text } => text.trim().is_empty(),
            Part::Reasoning(_) | Part::Opaque(_) => true,
            Part::Image { .. } | Part::ToolCall(_) | Part::ToolResult(_) => false,
        })
    }
}

fn join_texts(parts: &[Part]) -> String {
    let mut joined = String::new();
    for part in parts {
        if let Part::Text { text } | Part::Refusal { text } = part {
            joined.push_str(text);
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &str) -> ToolCall {
        ToolCall {
            id: CallId::UNNUMBERED,
            wire_id: None,
            name: "read".into(),
            arguments: arguments.into(),
            complete: true,
            extra: Map::new(),
        }
    }

    #[test]
    fn arguments_are_an_object_or_an_error_that_quotes_them() {
        assert!(call("").arguments().unwrap().is_empty());
        assert!(call(" null ").arguments().unwrap().is_empty());
        assert_eq!(call("{\"x\":1}").arguments().unwrap().len(), 1);
        let error = call("[1]").arguments().unwrap_err().to_string();
        assert!(error.contains("an array") && error.contains("[1]"), "{error}");
        let error = call("{\"x\":").arguments().unwrap_err().to_string();
        assert!(error.contains("not valid JSON") && error.contains("{\"x\":"), "{error}");
    }

    #[test]
    fn a_message_survives_json_byte_for_byte() {
        let mut data = Map::new();
        data.insert("signature".into(), Value::from("Eo…=="));
        let message = Message {
            role: Role::Assistant,
            parts: vec![
                Part::Reasoning(Reasoning { text: "hm".into(), field: Some("thinking".into()), data }),
                Part::text("é"),
                Part::ToolCall(call("{\"b\":1, \"a\":2}")),
                Part::Image { mime: "image/png".into(), source: ImageSource::Base64("AA==".into()) },
                Part::Opaque(Opaque {
                    kind: "block".into(),
                    data: serde_json::json!({"n": 1.50, "s": "Eo8…"}),
                }),
            ],
            origin: Some(Origin {
                provider: "p".into(),
                api: "openai".into(),
                model: "m".into(),
                response_id: None,
                stop: StopReason::Unknown("odd".into()),
            }),
        };
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), message);
    }
}
