//! What can be wrong before any call is made. A call that fails is a [`ProviderError`](ergane_core::ProviderError).

use std::path::PathBuf;

/// Why a provider cannot be set up.
///
/// ```
/// use ergane_provider::{OpenAi, SetupError};
///
/// match OpenAi::server("grok") {
///     Err(SetupError::UnknownServer { known, .. }) => assert!(known.contains("groq"), "{known}"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The script file cannot be read.
    #[error("the script {} cannot be read: {reason}", .path.display())]
    ScriptUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A line of a script is no reply.
    #[error("line {line} of the script {} is no reply: {reason}", .path.display())]
    BadScriptLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// No server of that name is known.
    #[error(
        "no server {name:?} is known that speaks Chat Completions; known are: {known}; give others by their base URL"
    )]
    UnknownServer {
        /// The name.
        name: String,
        /// The names that are known.
        known: String,
    },
}
