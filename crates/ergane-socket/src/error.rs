//! Why something that was asked of another process came to nothing.

use std::sync::Arc;

use ergane_core::{SessionName, Text};
use ergane_journal::JournalError;

use crate::tree::Problem;

/// Why something that was asked of another process came to nothing.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let system = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
/// # system.session("alice").start().await?;
/// use ergane::socket::{RemoteError, RemoteSession};
///
/// let alice = RemoteSession::find(&path, "alice").await?.expect("somebody runs her");
/// match alice.checkpoint("17").await {
///     Err(RemoteError::Refused { problem, .. }) => assert_eq!(problem.kind, "bad_request"), // it is no name
///     Err(error) if error.may_pass() => println!("{error}: later"),
///     other => panic!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// Not a session name.
    #[error("{0}")]
    BadName(String),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(Arc<JournalError>),
    /// The process has no socket: it was told to have none, could make none, or has ended meanwhile.
    #[error(
        "session {session} is owned by the running process {pid}, which has no socket beside the journal: wait for its end, or \
         ask it itself"
    )]
    NoSocket {
        /// Which session.
        session: SessionName,
        /// Its owner.
        pid: u32,
    },
    /// The process cannot be reached, or does not answer.
    #[error("session {session} is owned by the running process {pid}, {why}")]
    Unreachable {
        /// Which session.
        session: SessionName,
        /// Its owner.
        pid: u32,
        /// Why, and what can be done.
        why: String,
        /// The key of what was said, if it has one: said again with that, it is done once.
        key: Option<Text>,
    },
    /// The process closed its socket before it had answered, mostly because it ended. What was taken is in the journal.
    #[error(
        "session {session} is owned by process {pid}, which ended just now, or closed its socket; ask again"
    )]
    OwnerEnded {
        /// Which session.
        session: SessionName,
        /// Its owner until now.
        pid: u32,
        /// The key of what was said, if it has one: said again with that, it is done once.
        key: Option<Text>,
    },
    /// The owner answers that it cannot be done.
    #[error("{}", .problem.message)]
    Refused {
        /// Which session.
        session: SessionName,
        /// Its owner.
        pid: u32,
        /// What it says.
        problem: Problem,
    },
    /// The owner runs another build, which does not know what it was asked, or answers what this one does not know.
    #[error(
        "process {pid}, which owns session {session}, runs another build of Ergane: {message}; use the same build, or stop \
         that process"
    )]
    OtherBuild {
        /// Which session.
        session: SessionName,
        /// Its owner.
        pid: u32,
        /// What was not understood.
        message: String,
    },
}

impl From<JournalError> for RemoteError {
    fn from(error: JournalError) -> Self {
        Self::Journal(Arc::new(error))
    }
}

impl RemoteError {
    /// The kind, in the words of the command line's contract: of what the owner refuses, the owner's.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ergane::socket::RemoteSession;
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let error = RemoteSession::find(folder.path().join("j.db"), "no name!").await.unwrap_err();
    /// assert_eq!(error.kind(), "config");
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind(&self) -> &str {
        match self {
            Self::BadName(_) => "config",
            Self::Journal(error) => error.kind(),
            Self::NoSocket { .. } | Self::Unreachable { .. } | Self::OwnerEnded { .. } => "busy",
            Self::Refused { problem, .. } => &problem.kind,
            Self::OtherBuild { .. } => "protocol",
        }
    }

    /// The key of the send or of the word that came to nothing, if it is not known whether it was taken: with the same key it can be
    /// sent again, to whoever owns the session then, and is done once.
    ///
    /// ```
    /// use ergane::socket::RemoteError;
    ///
    /// let key = Some("question-1".into());
    /// let ended = RemoteError::OwnerEnded { session: "alice".parse()?, pid: 17, key };
    /// assert_eq!(ended.key(), Some("question-1"));
    /// # Ok::<(), ergane::core::CoreError>(())
    /// ```
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Unreachable { key, .. } | Self::OwnerEnded { key, .. } => key.as_deref(),
            _ => None,
        }
    }

    pub(crate) fn with_key(mut self, said: Option<Text>) -> Self {
        if let Self::Unreachable { key, .. } | Self::OwnerEnded { key, .. } = &mut self {
            *key = said;
        }
        self
    }

    /// Whether the same, a send with the same [`key`](Self::key), may succeed later without anybody changing it.
    ///
    /// ```
    /// use ergane::socket::RemoteError;
    ///
    /// let ended = RemoteError::OwnerEnded { session: "alice".parse()?, pid: 17, key: None };
    /// assert!(ended.may_pass(), "whoever asks now finds her next owner, or becomes it");
    /// # Ok::<(), ergane::core::CoreError>(())
    /// ```
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_retryable(),
            Self::NoSocket { .. } | Self::Unreachable { .. } | Self::OwnerEnded { .. } => true,
            Self::Refused { problem, .. } => problem.may_pass,
            Self::BadName(_) | Self::OtherBuild { .. } => false,
        }
    }
}
