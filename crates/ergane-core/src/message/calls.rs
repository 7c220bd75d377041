//! Calls of tools, and what came of them.
//!
//! The arguments stay the text that the model wrote: a history is given back to its provider as it was, and what is no JSON is told
//! to the model in its own words.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::parts::join_texts;
use super::{Part, Text};
use crate::ids::CallId;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Result<Map<String, Value>, ArgumentError> {
        let (id, name, arguments) = (CallId::UNNUMBERED, "read".into(), text.into());
        ToolCall { id, wire_id: None, name, arguments, complete: true, extra: Map::new() }.arguments()
    }

    #[test]
    fn arguments_are_an_object_or_an_error_that_quotes_them() {
        assert!(arguments("").unwrap().is_empty());
        assert!(arguments(" null ").unwrap().is_empty());
        assert_eq!(arguments("{\"x\":1}").unwrap().len(), 1);
        let error = arguments("[1]").unwrap_err().to_string();
        assert!(error.contains("an array") && error.contains("[1]"), "{error}");
        let error = arguments("{\"x\":").unwrap_err().to_string();
        assert!(error.contains("not valid JSON") && error.contains("{\"x\":"), "{error}");
    }
}
