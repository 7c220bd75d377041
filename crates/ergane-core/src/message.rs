//! Messages in the canonical form that every provider's format maps to and from.
//!
//! Texts are shared ([`Text`]): a history is referred to by requests, views and subscribers, never copied for them.

mod calls;
mod parts;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::calls::{ArgumentError, ToolCall, ToolResult};
use self::parts::join_texts;
pub use self::parts::{ImageSource, Opaque, Part, Reasoning};
use crate::ids::{CallId, TurnId};
use crate::reason::StopReason;

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

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

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
