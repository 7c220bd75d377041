//! Why a turn could not be run or awaited. (A turn that ran is `Ok`, whatever its finish reason.)

use ergane_core::{CallId, Decided, Durability, Point, SendId, Seq, SessionName};
use ergane_journal::JournalError;

/// Why something asked of a session could not be done.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
/// # let system = System::builder().provider("scripted", script).start().await?;
/// # let alice = system.session("alice").start().await?;
/// # use std::time::Duration;
/// match alice.send_message("What is the answer?").deadline(Duration::from_millis(20)).await {
///     Ok(result) => println!("{}", result.text), // it ran, however it ended: see `finish_reason`
///     Err(SessionError::Deadline) => { alice.interrupt("it takes too long").await?; }
///     Err(SessionError::Busy { queued, .. }) => println!("{queued} are before us: later"),
///     Err(error) => println!("{}: {error}", error.code()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// There is no such session, live or stored.
    #[error("there is no session {0}: start it first, or look at `sessions list`")]
    NotFound(SessionName),
    /// Not a session name.
    #[error("{0}")]
    BadName(String),
    /// No provider is registered on the system.
    #[error("no provider is registered: give the system one with `.provider(name, ...)`")]
    NoProvider,
    /// The prompt is empty or only white space.
    #[error("the prompt is empty: say something")]
    EmptyPrompt,
    /// The input has parts that a user cannot say.
    #[error("an input may have text and images only: calls and results are made by models and tools")]
    NotSpeech,
    /// The input, its key, or the settings are over the cap of one event.
    #[error(
        "it has {bytes} bytes, more than the {limit} that one event may have: send less, or a path to it"
    )]
    InputTooLarge {
        /// Its size.
        bytes: usize,
        /// The cap.
        limit: usize,
    },
    /// What a send gives to its tools, or a schema, is nested deeper than a fact may be.
    #[error(
        "its {what} is nested deeper than {} levels, and could not be read again: make it flatter",
        ergane_core::MAX_LEVELS
    )]
    TooDeep {
        /// What: `meta` or `output schema`.
        what: &'static str,
    },
    /// As many tools are granted as may be.
    #[error("session {session} has {limit} granted tools already: set a shorter list first")]
    TooManyGrants {
        /// Which session.
        session: SessionName,
        /// How many there may be.
        limit: usize,
    },
    /// The session has as many sends in its queue as it may, or is busy and was asked not to queue.
    #[error("session {session} is busy with {queued} sends waiting: wait for its turn to end, or send later")]
    Busy {
        /// Which session.
        session: SessionName,
        /// How many sends wait.
        queued: usize,
    },
    /// Another live process owns the session. Where that has a socket, `RemoteSession` of `ergane-socket` (`ergane::socket`) asks it
    /// for what was wanted here: a turn, a decision, a word, the end of a turn.
    #[error(
        "session {session} is owned by the running process {pid}, which has to be asked itself: through its socket, if it has \
         one; else wait for its end, stop it, or use another session"
    )]
    OwnedElsewhere {
        /// Which session.
        session: SessionName,
        /// The process.
        pid: u32,
    },
    /// The key was used before with another input.
    #[error("the key {0} was used before with another input: use a new key for a new input")]
    KeyReused(SendId),
    /// The deadline passed. A send that was accepted goes on: the same send with the same [`key`](crate::SendMessage::key) has
    /// its result, so whoever sets a deadline should set a key. It may also be that nothing was taken yet. Of anything but a
    /// send it says that no answer came within 30 s.
    #[error(
        "the deadline passed before there was an answer; a send that was accepted goes on, and the same send with the same key \
         has its result"
    )]
    Deadline,
    /// The session runs with another durability than was asked for.
    #[error("session {session} runs with durability {running:?}: use that, or stop it first")]
    OtherDurability {
        /// Which session.
        session: SessionName,
        /// What it keeps.
        running: Durability,
    },
    /// A base URL may hold a key, and settings are kept and shown.
    #[error(
        "session {0}: a base URL with a query or a user name is not taken, for settings are kept and it may hold a key: \
         give the URL to a provider of its own (in a program, or as base_url of [providers.NAME] in the configuration \
         file), and name the variable of a key by api_key_env"
    )]
    SecretInUrl(SessionName),
    /// A tool or provider of the session is not registered here.
    #[error("session {session} needs what is not registered in this process: {}", missing.join(", "))]
    Unresolved {
        /// Which session.
        session: SessionName,
        /// What is missing.
        missing: Vec<String>,
    },
    /// The session failed too often, or its log is damaged. [`Session::start`](crate::Session::start) lifts it;
    /// [`SessionBuilder::start`](crate::SessionBuilder::start) does not, so that a program which only opens its sessions undoes no
    /// quarantine.
    #[error(
        "session {session} is quarantined: {reason}; `Session::start` (not the builder's) lifts the quarantine once the cause is gone"
    )]
    Quarantined {
        /// Which session.
        session: SessionName,
        /// Why.
        reason: String,
    },
    /// The session was stopped.
    #[error("session {0} was stopped")]
    Stopped(SessionName),
    /// No such turn.
    #[error("session {session} has no turn {turn}")]
    NoSuchTurn {
        /// Which session.
        session: SessionName,
        /// Which turn.
        turn: u64,
    },
    /// A turn is open, and what was asked can only be done between turns.
    #[error(
        "session {session} is in the middle of turn {turn}: interrupt it first, or wait until it has ended"
    )]
    TurnOpen {
        /// Which session.
        session: SessionName,
        /// Which turn.
        turn: u64,
        /// Whether it is on its way to its end.
        ending: bool,
    },
    /// The point is no part of the session's history.
    #[error(
        "session {session} has no {point} in its present history: look at its events, or fork it there if it was rewound"
    )]
    NoSuchPoint {
        /// Which session.
        session: SessionName,
        /// The point.
        point: Point,
    },
    /// The name of a checkpoint is not one.
    #[error("{0:?} is no name for a checkpoint: give 1 to 128 characters that are not only digits")]
    BadLabel(String),
    /// The fork could not be written.
    #[error("the fork {session} could not be written: {reason}; try again")]
    NotForked {
        /// The fork.
        session: SessionName,
        /// Why.
        reason: String,
    },
    /// There is a session of that name already.
    #[error("there is a session {0} already: take another name, or delete that one")]
    Exists(SessionName),
    /// The store cannot take facts now, so nothing can be promised. What was asked is done when it can.
    #[error(
        "session {session} is parked: {reason}; what was asked is done as soon as its journal can be written"
    )]
    Parked {
        /// Which session.
        session: SessionName,
        /// Why.
        reason: String,
    },
    /// What an earlier incarnation had started does not end, so there is no next one yet. Nothing but the end of the process gets
    /// past a thread that never ends.
    #[error(
        "an earlier incarnation of session {session} does not end: {reason}; the session is back as soon as it has. If it never \
         does, end process {}: what was at work then counts as cut off, and the session goes on in the next one that opens its journal",
        std::process::id()
    )]
    Stuck {
        /// Which session.
        session: SessionName,
        /// What does not end.
        reason: String,
    },
    /// Another decision about the call was made before.
    #[error(
        "call {call} of session {session} was decided before: {} by {}", .first.decision.as_str(), .first.by
    )]
    AlreadyDecided {
        /// Which session.
        session: SessionName,
        /// Which call.
        call: CallId,
        /// The first decision, which holds.
        first: Decided,
    },
    /// The call was decided about before and waits for another decision now, and the decision did not say which it is.
    #[error(
        "call {call} of session {session} was decided about before, and is asked about once more: look at it again, and \
         name the question that you answer, {question}"
    )]
    AskedAgain {
        /// Which session.
        session: SessionName,
        /// Which call.
        call: CallId,
        /// The position of the question that waits.
        question: Seq,
    },
    /// The call does not wait for a decision.
    #[error("call {call} of session {session} does not wait for a decision: look at the pending approvals")]
    NotPending {
        /// Which session.
        session: SessionName,
        /// Which call.
        call: CallId,
    },
    /// The decision was about other arguments than the call has.
    #[error("call {call} of session {session} has other arguments than were decided about: look at it again")]
    OtherArguments {
        /// Which session.
        session: SessionName,
        /// Which call.
        call: CallId,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(std::sync::Arc<JournalError>),
    /// The system is shutting down, or a part of it is gone for good.
    #[error("the system is not running: {0}")]
    System(String),
}

impl From<JournalError> for SessionError {
    fn from(error: JournalError) -> Self {
        Self::Journal(std::sync::Arc::new(error))
    }
}

/// Whether a journal may be back by itself, and nobody has waited for that yet.
pub(crate) fn is_away(error: &JournalError) -> bool {
    error.is_retryable() && !matches!(error, JournalError::Locked { .. } | JournalError::Busy { .. })
}

impl SessionError {
    /// Whether the same request may succeed later without anybody changing it.
    ///
    /// ```
    /// use ergane_session::SessionError;
    ///
    /// assert!(SessionError::Deadline.may_pass() && !SessionError::EmptyPrompt.may_pass());
    /// ```
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_retryable(),
            Self::Deadline
            | Self::Busy { .. }
            | Self::OwnedElsewhere { .. }
            | Self::Parked { .. }
            | Self::Stuck { .. } => true,
            _ => false,
        }
    }

    /// Whether a session that cannot be reached now is there again by itself, some time, and nobody has waited for that yet. (A lock
    /// was waited for.)
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::Journal(error) => is_away(error),
            Self::Stuck { .. } => true,
            _ => false,
        }
    }

    /// The kind, in the words of the command line's contract.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let error = alice.send_message("  ").await.unwrap_err();
    /// assert_eq!((error.code(), error.to_string().as_str()), ("bad_request", "the prompt is empty: say something"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) | Self::NoSuchTurn { .. } | Self::NotPending { .. } => "not_found",
            Self::BadName(_) | Self::NoProvider => "config",
            Self::EmptyPrompt
            | Self::NotSpeech
            | Self::InputTooLarge { .. }
            | Self::TooDeep { .. }
            | Self::TooManyGrants { .. }
            | Self::KeyReused(_)
            | Self::AlreadyDecided { .. }
            | Self::AskedAgain { .. }
            | Self::OtherArguments { .. } => "bad_request",
            Self::Busy { .. } | Self::OwnedElsewhere { .. } => "busy",
            Self::Deadline => "timeout",
            Self::Unresolved { .. } | Self::OtherDurability { .. } | Self::SecretInUrl(_) => "config",
            Self::Quarantined { .. } | Self::Stopped(_) | Self::Stuck { .. } | Self::System(_) => "internal",
            Self::Parked { .. } | Self::NotForked { .. } => "journal",
            Self::TurnOpen { .. } => "busy",
            Self::NoSuchPoint { .. } | Self::BadLabel(_) | Self::Exists(_) => "bad_request",
            Self::Journal(error) => error.kind(),
        }
    }
}
