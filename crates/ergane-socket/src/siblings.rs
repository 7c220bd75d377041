//! The systems of this process that serve the same journal.
//!
//! Who owns a session is known by its process. A process may run several systems on one journal, and each has a socket; so
//! whichever of them is asked passes it on to the one that runs the session.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use ergane_core::SessionName;
use ergane_otp::EntryStatus;
use ergane_session::{SessionContext, process_name};

static SYSTEMS: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Entry {
    id: u64,
    journal: PathBuf,
    context: SessionContext,
}

/// A system is known to its siblings for as long as this is held.
#[derive(Debug)]
pub(crate) struct Known(u64);

impl Known {
    pub(crate) fn new(journal: &Path, context: &SessionContext) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { id, journal: journal.to_owned(), context: context.clone() };
        SYSTEMS.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        Self(id)
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        let mut systems = SYSTEMS.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = systems.iter().position(|entry| entry.id == self.0).map(|at| systems.swap_remove(at));
        drop(systems); // what an entry holds on to may take its time to be dropped
        drop(gone);
    }
}

/// Who may have the session: the one that runs it, then `first`, then the others.
pub(crate) fn of(journal: &Path, first: &SessionContext, session: &SessionName) -> Vec<SessionContext> {
    let prefix = first.namespace().prefix();
    let others: Vec<SessionContext> = {
        let systems = SYSTEMS.lock().unwrap_or_else(PoisonError::into_inner);
        let served = systems.iter().filter(|entry| entry.journal == journal);
        served.map(|entry| entry.context.clone()).collect()
    };
    let mut all = vec![first.clone()];
    all.extend(others.into_iter().filter(|other| other.namespace().prefix() != prefix));
    // Stable: the others stay where they are.
    all.sort_by_key(|context| !runs(context, session));
    all
}

fn runs(context: &SessionContext, session: &SessionName) -> bool {
    let status = context.namespace().status(&process_name(session));
    status.is_some_and(|status| !matches!(status, EntryStatus::Ended { .. }))
}
