//! Why a call waits, as its caller is told.

use std::fmt;

use ergane_core::{ErrorKind, ProviderError, Text};
use tokio::time::Instant;

/// Why a call waits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// As many calls run as may.
    Busy {
        /// How many that is.
        running: usize,
    },
    /// The limit of requests a minute is used up.
    Requests,
    /// The limit of tokens a minute is used up.
    Tokens,
    /// The server asked to wait.
    Asked,
    /// The server failed again and again; one call is let through now and then to see whether it works.
    CircuitOpen {
        /// What it failed with last.
        last: Text,
    },
    /// The system is ending: no new calls are made.
    Draining,
    /// The provider's actor is not there yet, or not again after its end.
    Starting,
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { running } => write!(f, "{running} calls run already, which is as many as may"),
            Self::Requests => f.write_str("the limit of requests a minute is used up"),
            Self::Tokens => f.write_str("the limit of tokens a minute is used up"),
            Self::Asked => f.write_str("the server asked to wait"),
            Self::CircuitOpen { last } => write!(f, "the server failed again and again, last: {last}"),
            Self::Draining => f.write_str("the system is shutting down and makes no new calls"),
            Self::Starting => f.write_str("the provider's actor has not started yet, or again"),
        }
    }
}

impl WaitReason {
    /// The kind of an error of a call that would not wait for it.
    pub(super) fn error_kind(&self) -> ErrorKind {
        match self {
            Self::Requests | Self::Tokens | Self::Asked => ErrorKind::RateLimited,
            Self::Busy { .. } | Self::CircuitOpen { .. } | Self::Draining | Self::Starting => {
                ErrorKind::Overloaded
            }
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// A call may not be made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) reason: WaitReason,
    /// When it is worth trying again, if that is known; else when a call ends.
    pub(super) until: Option<Instant>,
    /// Whether it may be over long before that.
    pub(super) may_end_before: bool,
    /// Whether it is of one model: calls to others may be made.
    pub(super) of_model: bool,
}

impl Block {
    /// The error of what would not wait for it.
    pub(super) fn refusal(&self, provider: &str, now: Instant) -> ProviderError {
        let message = format!("{provider} was not asked: {}", self.reason);
        ProviderError {
            retry_after: self.lasts_until().map(|until| until.saturating_duration_since(now)),
            retryable: true,
            ..ProviderError::new(self.reason.error_kind(), message)
        }
    }

    /// Until when it is sure to last, if that is known.
    pub(super) fn lasts_until(&self) -> Option<Instant> {
        self.until.filter(|_| !self.may_end_before)
    }

    /// Whether it is the same as `other` to whoever waits.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.reason.is_like(&other.reason) && self.of_model == other.of_model
    }
}
