//! When the store is asked for a snapshot of the session's log.
//!
//! # Why not with every turn
//!
//! A snapshot saves time when a session is opened, and at no other moment. So it is made when that is known to have
//! taken some, after an opening, and of one that lives for long every few thousand facts, so that the opening after a
//! crash reads few that have none. A task does it, and neither a fact nor a turn ever waits for it.

use ergane_core::Seq;
use ergane_journal::JournalError;

use crate::actor::{State, tell};
use crate::message::Internal;

/// Shorter logs have none.
const SHORTEST: u64 = 512;

/// A session that lives on has one made every so many facts.
const EVERY: u64 = 4096;

/// What is known of the snapshots of this incarnation's log.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// From so many facts on the store is asked again.
    due: u64,
    upto: Seq,
    under_way: bool,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { due: SHORTEST, upto: Seq(0), under_way: false }
    }
}

impl State {
    /// Has a snapshot made, when it is time and none is under way.
    pub(crate) fn snapshot_when_due(&mut self) {
        if self.facts.durable().0 < self.snapshots.due
            || self.snapshots.under_way
            || self.port().store().is_instant()
        {
            return;
        }
        self.snapshots.under_way = true;
        let (me, port, name) = (self.me.clone(), self.port().clone(), self.name.clone());
        self.scope.spawn("snapshot of the log", async move {
            tell(&me, Internal::Snapshot(port.snapshot(&name).await));
        });
    }

    pub(crate) fn on_snapshot(&mut self, made: Result<Seq, JournalError>) {
        let durable = self.facts.durable().0;
        self.snapshots.under_way = false;
        self.snapshots.due = durable.saturating_add(EVERY);
        match made {
            Ok(upto) => {
                // Of a long log a part is made at once.
                let goes_on = upto > self.snapshots.upto && durable.saturating_sub(upto.0) >= SHORTEST;
                self.snapshots.upto = upto;
                if goes_on {
                    self.snapshots.due = 0;
                    self.snapshot_when_due();
                }
            }
            Err(error) => {
                tracing::debug!(session = %self.name, %error, "no snapshot was made; the log is there");
            }
        }
    }
}
