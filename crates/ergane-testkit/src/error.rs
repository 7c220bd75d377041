//! What goes wrong while testing, as opposed to what is tested.

use std::time::Duration;

/// Why a part of the testkit did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestkitError {
    /// A local server did not start.
    #[error("no server can listen on 127.0.0.1: {0}")]
    Listen(#[source] std::io::Error),
    /// What was waited for did not happen.
    #[error("{what} did not come within {after:?}; so far: {seen}")]
    Waited {
        /// What.
        what: String,
        /// How long was waited.
        after: Duration,
        /// What had come instead.
        seen: String,
    },
    /// A cassette cannot be read or written.
    #[error("the cassette {place} cannot be used: {reason}")]
    Cassette {
        /// The file, with the line.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// What is to be recorded cannot be reached.
    #[error("{url:?} cannot be recorded: {reason}")]
    Upstream {
        /// The URL.
        url: String,
        /// Why not.
        reason: String,
    },
    /// What was asked is not what was recorded.
    #[error(
        "the requests are not those of the cassette (record it again if they are as they should be):\n{0}"
    )]
    Mismatch(String),
}
