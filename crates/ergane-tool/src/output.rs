//! What a tool gives back, and how ordinary values become it.

use std::any::Any;
use std::fmt::Display;

use ergane_core::{Part, Text};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ToolError;

/// The result of a tool: content for the model, and optionally something for people.
///
/// ```
/// use ergane_tool::ToolOutput;
/// use serde_json::json;
///
/// let output = ToolOutput::text("renamed 3 files").with_ui("table", json!({"rows": [["a", "b"]]}));
/// assert_eq!(output.ui.unwrap()["kind"], "table");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolOutput {
    /// Text and images, for the model.
    pub content: Vec<Part>,
    /// Whether this tells of a failure. An `Err` of the tool is one by itself.
    pub is_error: bool,
    /// For people: an object of `kind` and `data`; see [`ToolOutput::with_ui`].
    pub ui: Option<Value>,
}

impl ToolOutput {
    /// A result of one text.
    ///
    /// ```
    /// use ergane_tool::{Part, ToolOutput};
    ///
    /// let output = ToolOutput::text("3 files");
    /// assert_eq!(output.content, [Part::text("3 files")]);
    /// assert!(!output.is_error && output.ui.is_none());
    /// ```
    pub fn text(text: impl Into<Text>) -> Self {
        Self { content: vec![Part::text(text)], ..Self::default() }
    }

    /// A failure, in words for the model, that still has content or `ui` of its own.
    ///
    /// ```
    /// use ergane_tool::ToolOutput;
    /// use serde_json::json;
    ///
    /// let output = ToolOutput::error("2 of 3 tests failed").with_ui("tests", json!({ "failed": ["a", "b"] }));
    /// assert!(output.is_error);
    /// ```
    pub fn error(text: impl Into<Text>) -> Self {
        Self { is_error: true, ..Self::text(text) }
    }

    /// Adds what people are shown: a kind such as `diff`, and its data.
    ///
    /// ```
    /// use ergane_tool::ToolOutput;
    ///
    /// let output = ToolOutput::text("done").with_ui("note", "the printer is nearly empty");
    /// assert_eq!(output.ui.unwrap()["data"], "the printer is nearly empty");
    /// ```
    #[must_use]
    pub fn with_ui(mut self, kind: &str, data: impl Into<Value>) -> Self {
        self.ui = Some(json!({ "kind": kind, "data": data.into() }));
        self
    }
}

impl From<&str> for ToolOutput {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for ToolOutput {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Text> for ToolOutput {
    fn from(text: Text) -> Self {
        Self::text(text)
    }
}

/// A JSON string is given as its text, anything else as JSON.
impl From<Value> for ToolOutput {
    fn from(value: Value) -> Self {
        match value {
            Value::String(text) => Self::text(text),
            other => Self::text(other.to_string()),
        }
    }
}

impl From<Part> for ToolOutput {
    fn from(part: Part) -> Self {
        Self { content: vec![part], ..Self::default() }
    }
}

impl From<Vec<Part>> for ToolOutput {
    fn from(content: Vec<Part>) -> Self {
        Self { content, ..Self::default() }
    }
}

/// For a tool that only does something: the model reads `done`.
impl From<()> for ToolOutput {
    fn from((): ()) -> Self {
        Self::text("done")
    }
}

/// Gives any serialisable value to the model as JSON.
///
/// ```
/// use ergane_tool::{Json, ToolOutput};
///
/// let output = ToolOutput::from(Json(vec![1, 2]));
/// assert_eq!(output, ToolOutput::text("[1,2]"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// What cannot be serialised becomes an error result that says why.
impl<T: Serialize> From<Json<T>> for ToolOutput {
    fn from(Json(value): Json<T>) -> Self {
        match serde_json::to_string(&value) {
            Ok(text) => Self::text(text),
            Err(error) => Self::error(format!("the tool's result cannot be written as JSON: {error}")),
        }
    }
}

/// What a `#[tool]` function may return: anything that is `Into<ToolOutput>`, or a `Result` of that and an error that
/// can be shown.
pub trait IntoToolResult {
    /// Turns it into the result of a call.
    ///
    /// # Errors
    /// What the function returned as an error: a [`ToolError`] as it is, another one as [`ToolError::Failed`] with its
    /// text (in the alternate form, in which error chains show their causes).
    fn into_tool_result(self) -> Result<ToolOutput, ToolError>;
}

impl<T: Into<ToolOutput>> IntoToolResult for T {
    fn into_tool_result(self) -> Result<ToolOutput, ToolError> {
        Ok(self.into())
    }
}

impl<T: Into<ToolOutput>, E: Display + 'static> IntoToolResult for Result<T, E> {
    fn into_tool_result(self) -> Result<ToolOutput, ToolError> {
        self.map(Into::into).map_err(|error| {
            let own = (&error as &dyn Any).downcast_ref::<ToolError>().cloned();
            own.unwrap_or_else(|| ToolError::failed(error))
        })
    }
}
