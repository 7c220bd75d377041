//! The store in memory: nothing is kept beyond the process, everything else is kept as the contract says.
//!
//! It shares the events with their writers instead of encoding them, so an append is a few pushes. The data belongs to
//! this value and not to the journal actor: an actor that dies loses nothing.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use ergane_core::{Envelope, Epoch, Event, SendId, Seq, SessionName, TurnId};

use crate::append::{Append, AppendError};
use crate::error::JournalError;
use crate::lock::{lock, read, write};
use crate::store::{Journal, Opened, Position, Sent};
use crate::summary::{SessionSummary, Tally, is_awaiting};

/// Keeps events in memory for as long as it lives. Dropped with the last journal port that holds it.
///
/// ```
/// use ergane_journal::{Journal, Memory};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// assert!(Memory::new().open_turns()?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Memory {
    sessions: RwLock<BTreeMap<SessionName, Arc<Mutex<Stored>>>>,
    /// The highest epoch of a deleted session: one made anew starts above it, so that no ghost of the old fits in.
    floor: AtomicU64,
}

#[derive(Debug, Default)]
struct Stored {
    epoch: Epoch,
    owned: bool,
    deleted: bool,
    events: Vec<Arc<Envelope>>,
    tally: Tally,
    sends: HashMap<SendId, Sent>,
    /// Sends whose turn has not begun.
    waiting: usize,
}

impl Memory {
    /// An empty store.
    ///
    /// ```
    /// use ergane_journal::{Journal, Memory};
    ///
    /// assert!(Memory::new().list(None, 10)?.is_empty());
    /// # Ok::<(), ergane_journal::JournalError>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    fn find(&self, session: &SessionName) -> Option<Arc<Mutex<Stored>>> {
        read(&self.sessions).get(session).cloned()
    }

    /// Removes the session, with `only_at` if it stands there. True when it was removed.
    fn remove(&self, session: &SessionName, only_at: Option<Position>) -> bool {
        let mut sessions = write(&self.sessions);
        let Some(found) = sessions.get(session).cloned() else { return false };
        let mut stored = lock(&found);
        if only_at.is_some_and(|position| position != stored.position()) {
            return false;
        }
        // An append that found it before must not write into what nobody can see any more and be told that it did.
        stored.deleted = true;
        self.floor.fetch_max(stored.epoch.0, Ordering::Relaxed);
        sessions.remove(session);
        true
    }

    fn write(&self, append: &Append) -> Result<(), AppendError> {
        append.check()?;
        let Some(found) = self.find(&append.session) else { return append.fits(None) };
        let mut stored = lock(&found);
        if stored.deleted {
            return append.fits(None);
        }
        append.fits(Some((stored.epoch, stored.next_seq())))?;
        append.events.iter().for_each(|event| stored.push(event.clone()));
        Ok(())
    }
}

impl Stored {
    fn next_seq(&self) -> Seq {
        Seq(self.events.len() as u64).next()
    }

    fn position(&self) -> Position {
        Position { epoch: self.epoch, next_seq: self.next_seq() }
    }

    fn push(&mut self, envelope: Arc<Envelope>) {
        self.tally.apply(&envelope);
        match &envelope.event {
            Event::Queued { send, hash, .. } => {
                let waiting = &mut self.waiting;
                self.sends.entry(send.clone()).or_insert_with(|| {
                    *waiting += 1;
                    Sent { hash: *hash, turn: None }
                });
            }
            Event::Forked { .. } => {
                self.sends.clear();
                self.waiting = 0;
            }
            Event::Steered { send, hash, .. } => {
                let sent = Sent { hash: *hash, turn: self.tally.open_turn };
                self.sends.entry(send.clone()).or_insert(sent);
            }
            Event::TurnStarted { send } => {
                if let Some(sent) = self.sends.get_mut(send).filter(|sent| sent.turn.is_none()) {
                    sent.turn = Some(TurnId(envelope.seq.0));
                    self.waiting = self.waiting.saturating_sub(1);
                }
            }
            _ => {}
        }
        self.events.push(envelope);
    }

    fn summary(&self, name: &SessionName) -> Option<SessionSummary> {
        let owner = self.owned.then(std::process::id);
        let of_turn = self.tally.open_turn.and_then(|turn| usize::try_from(turn.0).ok());
        let of_turn = of_turn.and_then(|turn| self.events.get(turn..)).unwrap_or_default();
        (!self.events.is_empty()).then(|| {
            let awaiting = is_awaiting(of_turn.iter().map(|envelope| &envelope.event));
            let (epoch, next_seq, waiting) = (self.epoch, self.next_seq(), self.waiting > 0);
            self.tally.clone().summary(name.clone(), epoch, next_seq, owner, awaiting, waiting)
        })
    }
}

impl Journal for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn is_instant(&self) -> bool {
        true
    }

    fn open_session(&self, session: &SessionName) -> Result<Opened, JournalError> {
        let mut sessions = write(&self.sessions);
        let found = sessions.entry(session.clone()).or_insert_with(|| {
            let epoch = Epoch(self.floor.load(Ordering::Relaxed));
            Arc::new(Mutex::new(Stored { epoch, ..Stored::default() }))
        });
        let mut stored = lock(found);
        stored.epoch = Epoch(stored.epoch.0.saturating_add(1));
        stored.owned = true;
        Ok(Opened { epoch: stored.epoch, next_seq: stored.next_seq() })
    }

    fn append(&self, batch: &[Append]) -> Vec<Result<(), AppendError>> {
        batch.iter().map(|append| self.write(append)).collect()
    }

    fn load(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
    ) -> Result<Vec<Arc<Envelope>>, JournalError> {
        let found = self.find(session).ok_or_else(|| JournalError::NotFound { session: session.clone() })?;
        let stored = lock(&found);
        // The event of seq n is at n - 1.
        let len = stored.events.len();
        let end = usize::try_from(below.0.saturating_sub(1)).unwrap_or(len).min(len);
        let start = usize::try_from(after.0).unwrap_or(len).min(end);
        Ok(stored.events.get(start..end).unwrap_or_default().to_vec())
    }

    fn position(&self, session: &SessionName) -> Result<Option<Position>, JournalError> {
        Ok(self.find(session).map(|found| lock(&found).position()))
    }

    fn summary(&self, session: &SessionName) -> Result<Option<SessionSummary>, JournalError> {
        Ok(self.find(session).and_then(|found| lock(&found).summary(session)))
    }

    fn list(&self, after: Option<&SessionName>, limit: usize) -> Result<Vec<SessionSummary>, JournalError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let sessions = read(&self.sessions);
        let page = sessions.range::<SessionName, _>((from, Bound::Unbounded));
        Ok(page.filter_map(|(name, found)| lock(found).summary(name)).take(limit).collect())
    }

    fn open_turns(&self) -> Result<Vec<SessionName>, JournalError> {
        let open = |stored: &Stored| stored.tally.open_turn.is_some() || stored.waiting > 0;
        let sessions = read(&self.sessions);
        Ok(sessions.iter().filter(|(_, found)| open(&lock(found))).map(|(name, _)| name.clone()).collect())
    }

    fn sent(&self, session: &SessionName, send: &SendId) -> Result<Option<Sent>, JournalError> {
        Ok(self.find(session).and_then(|found| lock(&found).sends.get(send).copied()))
    }

    fn delete(&self, session: &SessionName) -> Result<bool, JournalError> {
        Ok(self.remove(session, None))
    }

    fn delete_at(&self, session: &SessionName, position: Position) -> Result<bool, JournalError> {
        Ok(self.remove(session, Some(position)))
    }

    fn release(&self, session: &SessionName) -> Result<(), JournalError> {
        if let Some(found) = self.find(session) {
            lock(&found).owned = false;
        }
        Ok(())
    }
}
