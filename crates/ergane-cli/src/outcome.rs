//! How a command ends: its exit status, and what was wrong when something was. Pure.

use ergane::SystemError;
use ergane::core::{
    ApprovalCause, ErrorKind, FinishReason, PendingApproval, ProviderError, SessionName, TurnError,
};
use ergane::journal::JournalError;
use ergane::session::SessionError;
#[cfg(unix)]
use ergane::socket::RemoteError;

/// It went well.
pub(crate) const OK: u8 = 0;
/// Any failure that has no status of its own.
pub(crate) const FAILED: u8 = 1;
/// Bad usage, configuration, name or prompt.
pub(crate) const USAGE: u8 = 2;
/// The provider failed.
pub(crate) const PROVIDER: u8 = 3;
/// The journal cannot be used.
pub(crate) const JOURNAL: u8 = 4;
/// A call waits for somebody's decision.
pub(crate) const WAITING: u8 = 5;
/// Interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command did not come to a turn's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The contract's word; `None` when somebody interrupted, or is to decide, which is no error.
    pub(crate) kind: Option<&'static str>,
    pub(crate) message: String,
    pub(crate) exit: u8,
}

/// A call as `ergane approve` is told it: with its question, where there may have been another one before.
fn named(pending: &PendingApproval) -> String {
    match pending.cause {
        ApprovalCause::Permission => pending.call.to_string(),
        _ => format!("{} --question {}", pending.call, pending.question),
    }
}

impl Failure {
    fn new(kind: &'static str, exit: u8, message: impl Into<String>) -> Self {
        Self { kind: Some(kind), message: message.into(), exit }
    }

    /// Something given is wrong.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new("config", USAGE, message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new("bad_request", USAGE, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new("internal", FAILED, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new("not_found", FAILED, message)
    }

    /// The journal, or what lies beside it, cannot be used.
    pub(crate) fn journal(message: impl Into<String>) -> Self {
        Self::new("journal", JOURNAL, message)
    }

    /// The deadline of waiting passed.
    pub(crate) fn timeout(message: impl Into<String>) -> Self {
        Self::new("timeout", PROVIDER, message)
    }

    /// What another process says of what it was asked.
    #[cfg(unix)]
    fn of_another(kind: &str, message: String) -> Self {
        let table = [
            ("config", USAGE),
            ("bad_request", USAGE),
            ("busy", FAILED),
            ("not_found", FAILED),
            ("timeout", PROVIDER),
            ("journal", JOURNAL),
            ("journal_locked", JOURNAL),
            ("protocol", FAILED),
        ];
        let known = table.iter().find(|(known, _)| *known == kind);
        let (kind, exit) = known.copied().unwrap_or(("internal", FAILED));
        Self::new(kind, exit, message)
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self::new("busy", FAILED, message)
    }

    /// The session is another process's, which cannot be reached or does not answer.
    pub(crate) fn owned(session: &SessionName, pid: u32, why: &str) -> Self {
        Self::new("busy", FAILED, format!("session {session} is owned by the running process {pid}, {why}"))
    }

    /// Somebody pressed Ctrl-C and no turn ended by it.
    pub(crate) fn interrupted() -> Self {
        Self { kind: None, message: "interrupted".to_owned(), exit: INTERRUPTED }
    }

    /// The turn waits for a decision that nobody here can make.
    pub(crate) fn waiting(session: &SessionName, pending: &[PendingApproval]) -> Self {
        let calls: Vec<String> =
            pending.iter().map(|pending| format!("{} ({})", pending.call, pending.tool)).collect();
        let call = pending.first().map(named).unwrap_or_default();
        let message = format!(
            "waiting for an approval of {}; look at it with `ergane approve {session}`, decide with `ergane approve {session} \
             {call} --allow` or `--deny`, then go on with `ergane resume {session}`",
            calls.join(", ")
        );
        Self { kind: None, message, exit: WAITING }
    }

    /// A provider that was asked something else than to answer a turn.
    pub(crate) fn of_provider(error: &ProviderError) -> Self {
        Self::new(error.kind.code(), exit_of_kind(error.kind), error.to_string())
    }

    /// The provider does not have the model.
    pub(crate) fn model_missing(message: impl Into<String>) -> Self {
        Self::new("not_found", PROVIDER, message)
    }

    /// The same, when a turn of a stored session is left open by it.
    pub(crate) fn leaving_it_open(mut self) -> Self {
        self.message.push_str("; the turn stays open, and the next send or resume finishes it");
        self
    }

    /// The journal's, when a deadline passed because it takes nothing, for that reason.
    pub(crate) fn or_parked(self, reason: Option<String>) -> Self {
        match reason {
            Some(reason) if self.is_timeout() => Self::journal(format!("{}: {reason}", self.message)),
            _ => self,
        }
    }

    /// The same, of what was said under that key, when it may have been taken or be taken later.
    pub(crate) fn or_again(mut self, key: &str) -> Self {
        if self.is_timeout() || self.is_interrupt() || self.kind == Some("busy") {
            self.message.push_str(&format!("; with --key {key} it can be said again and is done once"));
        }
        self
    }

    pub(crate) fn is_interrupt(&self) -> bool {
        self.exit == INTERRUPTED
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.exit == WAITING
    }

    pub(crate) fn is_timeout(&self) -> bool {
        self.kind == Some("timeout")
    }
}

impl From<&JournalError> for Failure {
    fn from(error: &JournalError) -> Self {
        let (kind, exit) = match error {
            JournalError::Busy { .. } => ("busy", FAILED),
            JournalError::NotFound { .. } => ("not_found", FAILED),
            JournalError::Locked { .. } => ("journal_locked", JOURNAL),
            _ => ("journal", JOURNAL),
        };
        Self::new(kind, exit, error.to_string())
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::from(&error)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let exit = match &error {
            SessionError::Journal(journal) => return Self::from(journal.as_ref()),
            SessionError::KeyReused(_)
            | SessionError::EmptyPrompt
            | SessionError::InputTooLarge { .. }
            | SessionError::TooDeep { .. }
            | SessionError::TooManyGrants { .. } => USAGE,
            _ => match error.code() {
                "config" => USAGE,
                "timeout" => PROVIDER,
                "journal" => JOURNAL,
                _ => FAILED,
            },
        };
        Self::new(error.code(), exit, error.to_string())
    }
}

#[cfg(unix)]
impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        match &error {
            RemoteError::Journal(journal) => Self::from(journal.as_ref()),
            _ => Self::of_another(error.kind(), error.to_string()),
        }
    }
}

impl From<SystemError> for Failure {
    fn from(error: SystemError) -> Self {
        match &error {
            SystemError::Journal(journal) => Self::from(journal),
            SystemError::Tools(_) => Self::config(error.to_string()),
            _ => Self::internal(error.to_string()),
        }
    }
}

/// The status of a turn that ended.
pub(crate) fn exit_of_turn(finish: FinishReason, error: Option<&TurnError>) -> u8 {
    match (finish, error) {
        (FinishReason::Stop | FinishReason::Submitted, _) => OK,
        (FinishReason::Interrupted, _) => INTERRUPTED,
        (FinishReason::ProviderAuth, _) => PROVIDER,
        (_, Some(error)) => exit_of_kind(error.kind),
        (_, None) => FAILED,
    }
}

fn exit_of_kind(kind: ErrorKind) -> u8 {
    match kind.code() {
        "auth" | "quota" | "rate_limited" | "not_found" | "overloaded" | "server" | "timeout"
        | "transport" | "stream_cut" | "protocol" => PROVIDER,
        "journal" => JOURNAL,
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use ergane::core::{SendId, SessionName};

    use super::*;

    #[test]
    fn the_status_of_a_turn_is_the_contracts() {
        use FinishReason::*;
        let of = |finish, kind: Option<ErrorKind>| {
            exit_of_turn(finish, kind.map(|kind| TurnError::new(kind, "m")).as_ref())
        };
        assert_eq!(of(Stop, None), 0);
        assert_eq!(of(Submitted, None), 0);
        assert_eq!(of(Interrupted, None), 130);
        for finish in [Length, MaxTurns, MaxBudgetUsd, ConsecutiveMistakes, NoProgress, Refused, Halted] {
            assert_eq!(of(finish, None), 1, "{finish}");
        }
        let table = [
            (ErrorKind::Auth, ProviderAuth, 3),
            (ErrorKind::Permission, ProviderAuth, 3),
            (ErrorKind::Quota, DuringExecution, 3),
            (ErrorKind::RateLimited, DuringExecution, 3),
            (ErrorKind::ModelNotFound, DuringExecution, 3),
            (ErrorKind::Overloaded, DuringExecution, 3),
            (ErrorKind::Server, DuringExecution, 3),
            (ErrorKind::Timeout, DuringExecution, 3),
            (ErrorKind::Network, DuringExecution, 3),
            (ErrorKind::StreamCut, DuringExecution, 3),
            (ErrorKind::Protocol, DuringExecution, 3),
            (ErrorKind::ContextOverflow, PromptTooLong, 1),
            (ErrorKind::TooLarge, DuringExecution, 1),
            (ErrorKind::InvalidRequest, DuringExecution, 1),
            (ErrorKind::ContentBlocked, Refused, 1),
            (ErrorKind::Unsupported, DuringExecution, 1),
            (ErrorKind::Internal, DuringExecution, 1),
            (ErrorKind::Journal, DuringExecution, 4),
        ];
        for (kind, finish, exit) in table {
            assert_eq!(of(finish, Some(kind)), exit, "{kind:?}");
        }
    }

    #[test]
    fn what_keeps_a_turn_from_running_has_the_contracts_kind_and_status() {
        let name = || SessionName::new("a").unwrap();
        let path = || PathBuf::from("j.db");
        let journal = |error| SessionError::Journal(std::sync::Arc::new(error));
        let table = [
            (SessionError::EmptyPrompt, "bad_request", 2),
            (SessionError::KeyReused(SendId::from("k")), "bad_request", 2),
            (SessionError::InputTooLarge { bytes: 2, limit: 1 }, "bad_request", 2),
            (SessionError::TooDeep { what: "meta" }, "bad_request", 2),
            (SessionError::BadName("x".into()), "config", 2),
            (SessionError::Unresolved { session: name(), missing: vec![] }, "config", 2),
            (SessionError::NotFound(name()), "not_found", 1),
            (SessionError::Busy { session: name(), queued: 32 }, "busy", 1),
            (SessionError::OwnedElsewhere { session: name(), pid: 1 }, "busy", 1),
            (SessionError::Quarantined { session: name(), reason: "r".into() }, "internal", 1),
            (SessionError::Deadline, "timeout", 3),
            (SessionError::Parked { session: name(), reason: "the disk is full".into() }, "journal", 4),
            (journal(JournalError::Away), "journal", 4),
            (journal(JournalError::Timeout { what: "w", after: Duration::from_secs(1) }), "journal", 4),
            (journal(JournalError::Locked { path: path() }), "journal_locked", 4),
            (journal(JournalError::Busy { session: name(), pid: 1 }), "busy", 1),
            (journal(JournalError::InvalidPath { path: path(), reason: "r".into() }), "journal", 4),
            (journal(JournalError::Newer { place: "p".into(), found: 2, supported: 1 }), "journal", 4),
        ];
        for (error, kind, exit) in table {
            let told = format!("{error:?}");
            let failure = Failure::from(error);
            assert_eq!((failure.kind, failure.exit), (Some(kind), exit), "{told}");
            assert!(!failure.message.is_empty());
        }
        assert_eq!((Failure::interrupted().kind, Failure::interrupted().exit), (None, 130));
    }

    #[test]
    fn a_deadline_that_passed_on_a_full_disk_is_the_journals_and_nothing_else_is() {
        let why = || Some("the disk is full".to_owned());
        let parked = Failure::timeout("too late").or_parked(why());
        assert_eq!(parked, Failure::journal("too late: the disk is full"));
        for failure in [Failure::interrupted(), Failure::busy("b")] {
            assert_eq!(failure.clone().or_parked(why()), failure);
        }
        assert_eq!(Failure::timeout("too late").or_parked(None), Failure::timeout("too late"));
    }
}
