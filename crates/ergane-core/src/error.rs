//! Errors that carry a decision: what kind, whether to try again, and after how long.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::message::Text;
use crate::reason::FinishReason;
use crate::usage::Spent;

/// What can be wrong with values at the door of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreError {
    /// Not a session name.
    #[error(
        "{0:?} is not a session name: use 1 to 128 ASCII letters, digits and ._-/:@, and do not start with a hyphen"
    )]
    BadSessionName(String),
    /// Not a call id.
    #[error("{0:?} is not a call id: it looks like 812.1 (the turn, a dot, the number of the call)")]
    BadCallId(String),
}

/// What went wrong with a model call or a turn.
///
/// ```
/// use ergane_core::{ErrorKind, FinishReason};
///
/// let kind = ErrorKind::RateLimited;
/// assert!(kind.is_retryable());
/// assert_eq!((kind.code(), kind.finish_reason()), ("rate_limited", FinishReason::DuringExecution));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key is missing or wrong.
    Auth,
    /// The key may not do this.
    Permission,
    /// The account has no money or quota left.
    Quota,
    /// Too many requests or tokens for now.
    RateLimited,
    /// The server has no room for now.
    Overloaded,
    /// The server failed.
    Server,
    /// Nothing came in time.
    Timeout,
    /// The connection could not be made or broke before an answer began.
    Network,
    /// The answer ended before it was complete.
    StreamCut,
    /// The prompt does not fit the context window.
    ContextOverflow,
    /// The request is too large for the server.
    TooLarge,
    /// There is no such model.
    ModelNotFound,
    /// The model or server cannot do what was asked.
    Unsupported,
    /// The server does not accept the history as it was replayed.
    ReplayRejected,
    /// The model wrote a tool call that the server could not read.
    ToolFormat,
    /// A filter blocked the prompt or the answer.
    ContentBlocked,
    /// The server rejects the request.
    InvalidRequest,
    /// The server's bytes make no sense.
    Protocol,
    /// The journal cannot be used now.
    Journal,
    /// A part of Ergane died or misbehaved.
    Internal,
}

impl ErrorKind {
    /// The kind in the words of the command line's contract.
    ///
    /// ```
    /// assert_eq!(ergane_core::ErrorKind::ContextOverflow.code(), "context_length");
    /// ```
    pub fn code(self) -> &'static str {
        match self {
            Self::Auth | Self::Permission => "auth",
            Self::Quota => "quota",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Server => "server",
            Self::Timeout => "timeout",
            Self::Network => "transport",
            Self::StreamCut => "stream_cut",
            Self::ContextOverflow => "context_length",
            Self::TooLarge | Self::ReplayRejected | Self::ToolFormat | Self::InvalidRequest => "bad_request",
            Self::ModelNotFound => "not_found",
            Self::Unsupported => "unsupported",
            Self::ContentBlocked => "refused",
            Self::Protocol => "protocol",
            Self::Journal => "journal",
            Self::Internal => "internal",
        }
    }

    /// Whether the same call may succeed when made again.
    ///
    /// ```
    /// use ergane_core::ErrorKind;
    ///
    /// assert!(ErrorKind::Overloaded.is_retryable());
    /// assert!(!ErrorKind::Auth.is_retryable());
    /// ```
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::Overloaded
                | Self::Server
                | Self::Timeout
                | Self::Network
                | Self::StreamCut
                | Self::ToolFormat
        )
    }

    /// How a turn ends when a call fails so and is not tried again.
    ///
    /// ```
    /// use ergane_core::{ErrorKind, FinishReason};
    ///
    /// assert_eq!(ErrorKind::Auth.finish_reason(), FinishReason::ProviderAuth);
    /// assert_eq!(ErrorKind::ContextOverflow.finish_reason(), FinishReason::PromptTooLong);
    /// ```
    pub fn finish_reason(self) -> FinishReason {
        match self {
            Self::Auth | Self::Permission => FinishReason::ProviderAuth,
            Self::ContextOverflow => FinishReason::PromptTooLong,
            Self::ContentBlocked => FinishReason::Refused,
            _ => FinishReason::DuringExecution,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A model call that failed. Never holds a key: what is quoted from the server was redacted before.
///
/// ```
/// use std::time::Duration;
///
/// use ergane_core::{ErrorKind, ProviderError};
///
/// let error = ProviderError {
///     status: Some(429),
///     retry_after: Some(Duration::from_secs(2)),
///     ..ProviderError::new(ErrorKind::RateLimited, "too many requests; try again in 2 s")
/// };
/// assert!(error.retryable && !error.after_output);
/// assert_eq!(error.to_string(), "too many requests; try again in 2 s");
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// The HTTP status, when there was one.
    pub status: Option<u16>,
    /// The provider's own code, such as `insufficient_quota`.
    pub code: Option<Text>,
    /// What was wrong, where, and what the user can do.
    pub message: Text,
    /// The provider's id of the request, for its support.
    pub request_id: Option<Text>,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether the same call may succeed when made again: the kind's rule, or the server's word.
    pub retryable: bool,
    /// Whether a part of the answer had been shown.
    pub after_output: bool,
    /// What it took all the same, as far as the server told before it failed.
    pub spent: Option<Box<Spent>>,
}

impl ProviderError {
    /// An error of `kind`, retryable by the kind's rule.
    ///
    /// ```
    /// use ergane_core::{ErrorKind, ProviderError};
    ///
    /// assert!(ProviderError::new(ErrorKind::Network, "nobody listens at localhost:11434").retryable);
    /// assert!(!ProviderError::new(ErrorKind::Auth, "the key is wrong").retryable);
    /// ```
    pub fn new(kind: ErrorKind, message: impl Into<Text>) -> Self {
        Self {
            kind,
            status: None,
            code: None,
            message: message.into(),
            request_id: None,
            retry_after: None,
            retryable: kind.is_retryable(),
            after_output: false,
            spent: None,
        }
    }
}

/// Why a turn that ran did not end well: kept in its `TurnEnded`.
///
/// ```
/// use ergane_core::{ErrorKind, ProviderError, TurnError};
///
/// let error = TurnError::from(&ProviderError::new(ErrorKind::Quota, "the account has no money left"));
/// assert_eq!((error.kind.code(), &*error.message), ("quota", "the account has no money left"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct TurnError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// In words.
    pub message: Text,
}

impl TurnError {
    /// An error of `kind`.
    ///
    /// ```
    /// use ergane_core::{ErrorKind, TurnError};
    ///
    /// assert_eq!(TurnError::new(ErrorKind::Timeout, "nothing came").to_string(), "nothing came");
    /// ```
    pub fn new(kind: ErrorKind, message: impl Into<Text>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<&ProviderError> for TurnError {
    fn from(error: &ProviderError) -> Self {
        Self { kind: error.kind, message: error.message.clone() }
    }
}
