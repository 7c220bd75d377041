//! A store whose commits fail by plan.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ergane_core::{Envelope, SendId, Seq, SessionName};
use ergane_journal::{Append, AppendError, Journal, JournalError, Opened, Position, Sent, SessionSummary};

use super::plan::{FaultPlan, JournalFault};

/// A store before another one, which fails by plan. Made by [`FaultPlan::journal`].
pub struct FaultyJournal {
    store: Arc<dyn Journal>,
    plan: FaultPlan,
    /// The first damaged row of a session.
    damaged: Mutex<BTreeMap<SessionName, Seq>>,
}

impl FaultyJournal {
    pub(super) fn new(store: Arc<dyn Journal>, plan: FaultPlan) -> Self {
        Self { store, plan, damaged: Mutex::default() }
    }

    fn damaged(&self) -> MutexGuard<'_, BTreeMap<SessionName, Seq>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FaultyJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyJournal").field(&self.store).finish()
    }
}

fn unknown() -> Result<(), AppendError> {
    Err(AppendError::Unknown { reason: "the fault plan says that nobody knows".into() })
}

fn locked() -> JournalError {
    JournalError::Locked { path: "the journal of the fault plan".into() }
}

impl Journal for FaultyJournal {
    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    /// Not where a commit may be told to block, nor where it takes its time.
    fn is_instant(&self) -> bool {
        self.store.is_instant() && !self.plan.may_delay()
    }

    fn files(&self) -> Arc<[PathBuf]> {
        self.store.files()
    }

    fn file(&self) -> Option<&Path> {
        self.store.file()
    }

    fn pretends(&self) -> Option<Duration> {
        self.plan.next_delay().or_else(|| self.store.pretends())
    }

    fn open_session(&self, session: &SessionName) -> Result<Opened, JournalError> {
        if self.plan.is_locked(std::slice::from_ref(session)) {
            return Err(locked());
        }
        self.store.open_session(session)
    }

    fn open_sessions(&self, sessions: &[SessionName]) -> Vec<Result<Opened, JournalError>> {
        if self.plan.is_locked(sessions) {
            return sessions.iter().map(|_| Err(locked())).collect();
        }
        self.store.open_sessions(sessions)
    }

    fn append(&self, batch: &[Append]) -> Vec<Result<(), AppendError>> {
        match self.plan.next_append() {
            None => self.store.append(batch),
            Some(JournalFault::NotWritten) => {
                let reason = "the disk is full, says the fault plan".to_owned();
                batch.iter().map(|_| Err(AppendError::NotWritten { reason: reason.clone() })).collect()
            }
            Some(JournalFault::Lost) => batch.iter().map(|_| unknown()).collect(),
            Some(JournalFault::Unsure) => self.store.append(batch).into_iter().map(|_| unknown()).collect(),
            Some(JournalFault::Torn) => {
                let (first, _) = batch.split_at(batch.len() / 2);
                if !first.is_empty() {
                    // What became of it is what nobody knows.
                    drop(self.store.append(first));
                }
                batch.iter().map(|_| unknown()).collect()
            }
            Some(JournalFault::Delay(time)) => {
                std::thread::sleep(time);
                self.store.append(batch)
            }
            Some(JournalFault::Corrupt) => {
                let outcomes = self.store.append(batch);
                for (append, outcome) in batch.iter().zip(&outcomes) {
                    if let (Ok(()), Some(last)) = (outcome, append.events.last()) {
                        self.damaged().entry(append.session.clone()).or_insert(last.seq);
                    }
                }
                outcomes
            }
        }
    }

    fn load(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
    ) -> Result<Vec<Arc<Envelope>>, JournalError> {
        if let Some(error) = self.plan.unread(session) {
            return Err(error);
        }
        match self.damaged().get(session) {
            Some(seq) if after < *seq && *seq < below => Err(JournalError::Corrupt {
                session: session.clone(),
                seq: *seq,
                reason: "the fault plan damaged it".into(),
            }),
            _ => self.store.load(session, after, below),
        }
    }

    fn snapshot(&self, session: &SessionName) -> Result<Seq, JournalError> {
        self.plan.snapshot(session, || self.store.snapshot(session))
    }

    fn position(&self, session: &SessionName) -> Result<Option<Position>, JournalError> {
        self.plan.lost(session).map_or_else(|| self.store.position(session), Err)
    }

    fn summary(&self, session: &SessionName) -> Result<Option<SessionSummary>, JournalError> {
        self.store.summary(session)
    }

    fn list(&self, after: Option<&SessionName>, limit: usize) -> Result<Vec<SessionSummary>, JournalError> {
        self.store.list(after, limit)
    }

    fn open_turns(&self) -> Result<Vec<SessionName>, JournalError> {
        self.store.open_turns()
    }

    fn sent(&self, session: &SessionName, send: &SendId) -> Result<Option<Sent>, JournalError> {
        self.store.sent(session, send)
    }

    fn delete(&self, session: &SessionName) -> Result<bool, JournalError> {
        self.plan.about_to_delete(session);
        self.store.delete(session)
    }

    fn delete_at(&self, session: &SessionName, position: Position) -> Result<bool, JournalError> {
        self.plan.about_to_delete(session);
        self.store.delete_at(session, position)
    }

    fn release(&self, session: &SessionName) -> Result<(), JournalError> {
        if self.plan.is_held(session) { Err(JournalError::Away) } else { self.store.release(session) }
    }
}
