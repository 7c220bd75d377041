//! The contract of a store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ergane_core::{Digest, Envelope, Epoch, SendId, Seq, SessionName, TurnId};

use crate::append::{Append, AppendError, Prepared};
use crate::error::JournalError;
use crate::summary::SessionSummary;

/// What an opening gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The new incarnation's epoch; every lower one is fenced off.
    pub epoch: Epoch,
    /// The seq of the next event: 1 for a new session. All that is below it can be loaded.
    pub next_seq: Seq,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The epoch of its last opening.
    pub epoch: Epoch,
    /// The seq of the next event.
    pub next_seq: Seq,
}

/// A send that was accepted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The fingerprint of its input.
    pub hash: Digest,
    /// Its turn, once that began.
    pub turn: Option<TurnId>,
}

/// A place where the events of sessions are kept.
///
/// The methods are synchronous and may block on a disk; a [`JournalPort`](crate::JournalPort) calls them where that
/// hurts nobody. They may be called from several threads at once. [`conformance`](crate::conformance) tells whether
/// an implementation keeps the contract.
pub trait Journal: Send + Sync + fmt::Debug + 'static {
    /// What kind of store this is, such as `memory` or `sqlite`.
    fn kind(&self) -> &'static str;

    /// Whether every call takes microseconds and touches no disk. The port then commits on the spot. Default: no.
    fn is_instant(&self) -> bool {
        false
    }

    /// The files and folders that it keeps things in, as absolute paths without links. Nothing else of its process may open
    /// or replace them: a process loses its locks on a file when it closes it anywhere. The builtin tools leave them alone.
    /// Default: none.
    fn files(&self) -> Arc<[PathBuf]> {
        Arc::default()
    }

    /// The file that it is, as an absolute path without links, when other processes may open it too: they meet beside it.
    /// Default: none, it is of this process alone, or no file.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// How long the next call takes, of a store that only pretends to be slow: the port waits so long by tokio's clock, and
    /// then calls it where it stands, and on no thread of its own. So a simulation whose clock stands still has a slow
    /// store and is the same every time. Asked once for each commit and each read. Default: `None`, a call may block.
    fn pretends(&self) -> Option<Duration> {
        None
    }

    /// Takes the session for this process and raises its epoch; makes it when there is none.
    ///
    /// # Errors
    /// [`JournalError::Busy`] when another living process owns it; [`JournalError::Newer`] when it holds events that
    /// this build cannot read.
    fn open_session(&self, session: &SessionName) -> Result<Opened, JournalError>;

    /// Opens several at once, so that a store can do it in one commit. Answers in the order asked; one refusal does not
    /// touch the others.
    fn open_sessions(&self, sessions: &[SessionName]) -> Vec<Result<Opened, JournalError>> {
        sessions.iter().map(|session| self.open_session(session)).collect()
    }

    /// Writes each append completely or not at all: one transaction, one sync, and durable on return. Answers in the
    /// order asked; the refusal of one does not touch the others.
    fn append(&self, batch: &[Append]) -> Vec<Result<(), AppendError>>;

    /// The same as [`append`](Journal::append), with the encoding done before. A store that keeps bytes overrides it.
    fn commit(&self, batch: &[Prepared]) -> Vec<Result<(), AppendError>> {
        self.append(&batch.iter().map(|prepared| prepared.append().clone()).collect::<Vec<_>>())
    }

    /// The events with `after < seq < below`, checked: whole, without gaps, none from the future. Never waits for a
    /// lock of a writer.
    ///
    /// # Errors
    /// [`JournalError::NotFound`], [`JournalError::Corrupt`] with the row, [`JournalError::Newer`].
    fn load(&self, session: &SessionName, after: Seq, below: Seq)
    -> Result<Vec<Arc<Envelope>>, JournalError>;

    /// The same for who needs each of them once, to fold it: in pieces, in order, each given to `take` as soon as it is read,
    /// so that one can be worked on while the next is read. Of a load that fails the pieces so far are to be thrown away.
    /// Default: all that [`load`](Journal::load) finds, as one piece.
    ///
    /// # Errors
    /// As [`load`](Journal::load).
    fn load_in_pieces(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
        take: &mut dyn FnMut(Vec<Envelope>),
    ) -> Result<(), JournalError> {
        let events = self.load(session, after, below)?;
        take(events.into_iter().map(Arc::unwrap_or_clone).collect());
        Ok(())
    }

    /// Keeps what is stored of the session once more, in a form that loads faster, as far as that is worth it and not done
    /// yet: a snapshot. It is not durable, nothing depends on it, and what is read is the same with it and without.
    /// Returns the position up to which there is one; 0 when there is none. May take a while, and does a bounded part of
    /// a long history at once. Default: there is none, and none is made.
    ///
    /// # Errors
    /// [`JournalError::NotFound`], [`JournalError::Corrupt`]; when the store cannot be read, or not be written now.
    fn snapshot(&self, _session: &SessionName) -> Result<Seq, JournalError> {
        Ok(Seq(0))
    }

    /// Where the session stands; `None` when it was never opened.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn position(&self, session: &SessionName) -> Result<Option<Position>, JournalError>;

    /// What a list shows of it; `None` when it has no event.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn summary(&self, session: &SessionName) -> Result<Option<SessionSummary>, JournalError>;

    /// A page of the sessions that have events, by name: at most `limit` of those after `after`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(&self, after: Option<&SessionName>, limit: usize) -> Result<Vec<SessionSummary>, JournalError>;

    /// The sessions that recovery must look at, by name: those with an open turn or with a send whose turn has not
    /// begun.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn open_turns(&self) -> Result<Vec<SessionName>, JournalError>;

    /// What became of a send; `None` when the session never accepted it.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn sent(&self, session: &SessionName, send: &SendId) -> Result<Option<Sent>, JournalError>;

    /// Removes the session with all its events. True when there was one. An incarnation that still lives is fenced.
    ///
    /// # Errors
    /// [`JournalError::Busy`] when another living process owns it.
    fn delete(&self, session: &SessionName) -> Result<bool, JournalError>;

    /// The same for a session that stands exactly there, and is left alone when it was opened or written to since: who
    /// takes back what he made must not take away what somebody else made of it. True when it was removed.
    ///
    /// # Errors
    /// As [`delete`](Journal::delete).
    fn delete_at(&self, session: &SessionName, position: Position) -> Result<bool, JournalError>;

    /// This process gives the session up, so that another may open it. Nothing happens when it is not its owner.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn release(&self, session: &SessionName) -> Result<(), JournalError>;
}
