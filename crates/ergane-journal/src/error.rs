//! What can go wrong with a journal, apart from an append (see [`AppendError`](crate::AppendError)).

use std::path::PathBuf;
use std::time::Duration;

use ergane_core::{Seq, SessionName};
use ergane_otp::Backoff;

/// Why a journal did not do what it was asked. Every message says what the user can do.
///
/// ```
/// use ergane_journal::{JournalError, Sqlite};
///
/// let error = Sqlite::open(std::env::temp_dir()).unwrap_err(); // a folder
/// assert!(matches!(error, JournalError::InvalidPath { .. }) && !error.is_retryable());
/// assert!(error.to_string().contains("give another path"), "{error}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The journal actor is not there now; it is being restarted, or the system is being shut down.
    #[error("the journal is away (its actor is being restarted or the system shuts down); try again")]
    Away,
    /// No answer came in time.
    #[error("the journal did not {what} within {} ms; its disk may be slow or stuck: try again", .after.as_millis())]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// Another living process owns the session.
    #[error(
        "session {session} is in use by process {pid}; wait for it to end, or reach the session through it"
    )]
    Busy {
        /// The session.
        session: SessionName,
        /// The owner.
        pid: u32,
    },
    /// Another process writes to the journal and did not stop for the busy timeout.
    #[error("the journal {} is locked by another process for too long; try again, or end that process", .path.display())]
    Locked {
        /// The journal's file.
        path: PathBuf,
    },
    /// It was written by a newer Ergane.
    #[error(
        "{place} has format version {found}, and this ergane reads up to {supported}; use a newer ergane"
    )]
    Newer {
        /// What is newer: a journal with its path, or an event with its session and seq.
        place: String,
        /// Its version.
        found: u32,
        /// The newest version that this build reads.
        supported: u32,
    },
    /// A row is damaged. Its bytes are kept, and other sessions are not touched.
    #[error(
        "event {seq} of session {session} is damaged: {reason}; restore the journal from a copy, or delete this session"
    )]
    Corrupt {
        /// The session.
        session: SessionName,
        /// The position of the damaged or missing row.
        seq: Seq,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk or the file does not do its work.
    #[error("the journal {} cannot be used: {reason}", .path.display())]
    Io {
        /// The journal's file, or the file or folder beside it that made trouble.
        path: PathBuf,
        /// What the system said, and what to do.
        reason: String,
        /// Whether trying again may help.
        retryable: bool,
    },
    /// There is no such session.
    #[error("there is no session {session} in the journal")]
    NotFound {
        /// Its name.
        session: SessionName,
    },
    /// The path cannot be a journal.
    #[error("{} is not an ergane journal: {reason}; give another path (on the command line: --journal or ERGANE_JOURNAL)", .path.display())]
    InvalidPath {
        /// The path.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
}

impl JournalError {
    /// How long whoever goes on asking waits after errors that [may pass](Self::is_retryable): 50 ms, doubled up to 5 s.
    pub const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), max: Duration::from_secs(5) };

    /// The kind in the words of the command line's contract: `busy`, `journal_locked`, `not_found` or `journal`.
    ///
    /// ```
    /// use ergane_journal::JournalError;
    ///
    /// assert_eq!(JournalError::Locked { path: "ergane.db".into() }.kind(), "journal_locked");
    /// assert_eq!(JournalError::Away.kind(), "journal");
    /// ```
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "busy",
            Self::Locked { .. } => "journal_locked",
            Self::NotFound { .. } => "not_found",
            _ => "journal",
        }
    }

    /// Whether the same request may succeed later without anybody changing it.
    ///
    /// ```
    /// use ergane_journal::JournalError;
    ///
    /// assert!(JournalError::Away.is_retryable(), "its actor is about to be back");
    /// ```
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Away | Self::Timeout { .. } | Self::Busy { .. } | Self::Locked { .. } => true,
            Self::Io { retryable, .. } => *retryable,
            _ => false,
        }
    }
}
