//! Errors: of a call, written for the model; of a registry, written for the program.

use std::fmt::Display;
use std::time::Duration;

/// Why a call has no result. Its text goes to the model, so it says what was wrong and what to do instead.
///
/// ```
/// use ergane_tool::{ToolError, tool};
///
/// /// Divides.
/// #[tool(crate = "ergane_tool", effect = "read")]
/// async fn divide(a: f64, b: f64) -> Result<String, ToolError> {
///     if b == 0.0 {
///         return Err(ToolError::Arguments { path: "b".to_owned(), reason: "it must not be 0".to_owned() });
///     }
///     Ok((a / b).to_string())
/// }
/// # let error = ToolError::Arguments { path: "b".to_owned(), reason: "it must not be 0".to_owned() };
/// # assert_eq!(error.to_string(), "bad arguments at `b`: it must not be 0");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// The arguments do not fit the tool's schema.
    #[error("bad arguments{}: {reason}", at(path))]
    Arguments {
        /// The path of the field, such as `filters[2].name`; empty when it is the object itself.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// The tool says that it failed.
    #[error("{0}")]
    Failed(String),
    /// It did not end in time and was stopped.
    #[error(
        "the tool did not finish within {after:?} and was stopped; what it had done until then stays done"
    )]
    Timeout {
        /// The time it had.
        after: Duration,
    },
    /// The call was interrupted.
    #[error("the call was interrupted before it finished")]
    Cancelled,
    /// It panicked.
    #[error("the tool panicked: {0}")]
    Panicked(String),
}

fn at(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" at `{path}`") }
}

impl ToolError {
    /// The tool failed, for this reason.
    ///
    /// ```
    /// use ergane_tool::ToolError;
    ///
    /// let missing = std::fs::read("/nowhere").map_err(ToolError::failed).unwrap_err();
    /// assert!(matches!(missing, ToolError::Failed(ref text) if text.contains("No such file")));
    /// ```
    pub fn failed(reason: impl Display) -> Self {
        Self::Failed(format!("{reason:#}"))
    }

    /// Whether Ergane ended the call, so that there is no real result: a timeout, an interrupt or a panic.
    ///
    /// ```
    /// use ergane_tool::ToolError;
    ///
    /// assert!(ToolError::Cancelled.is_synthetic());
    /// assert!(!ToolError::failed("the printer is on fire").is_synthetic());
    /// ```
    pub fn is_synthetic(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Cancelled | Self::Panicked(_))
    }
}

/// Why tools cannot be registered or offered.
///
/// ```
/// use std::sync::Arc;
///
/// use ergane_tool::{RegistryError, ToolRegistry, tool};
///
/// /// Says hello.
/// #[tool(crate = "ergane_tool", effect = "read")]
/// async fn hello() -> &'static str { "hello" }
///
/// let twice = ToolRegistry::new([Arc::new(hello) as _, Arc::new(hello) as _]);
/// assert!(matches!(twice, Err(RegistryError::Duplicate { name }) if name == "hello"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Two tools have one name.
    #[error("two tools are named {name:?}; give one of them another name, as with #[tool(name = \"…\")]")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A provider would not accept the name.
    #[error("{name:?} is not a tool name: use 1 to 64 ASCII letters, digits, `_` and `-`")]
    IllegalName {
        /// The name.
        name: String,
    },
    /// The schema of the arguments is no object schema.
    #[error(
        "the parameters of the tool {name:?} are no object schema: they need \"type\": \"object\", but are {found}"
    )]
    BadParameters {
        /// The tool.
        name: String,
        /// The beginning of what they are.
        found: String,
    },
    /// Tools were named that are not registered.
    #[error("no such tool: {}; there are: {}", missing.join(", "), list(known))]
    Missing {
        /// The names nobody registered.
        missing: Vec<String>,
        /// The names that there are.
        known: Vec<String>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
