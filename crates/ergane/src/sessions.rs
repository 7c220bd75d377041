//! What sessions there are.

use std::collections::HashMap;
use std::time::Duration;

use ergane_core::{Cost, SessionName, Timestamp, Usage};
use ergane_journal::SessionSummary;
use ergane_otp::{EntryStatus, call};
use ergane_session::{Activity, SessionContext, SessionMsg, Status, process_name};
use ractor::{ActorCell, ActorRef};
use serde::Serialize;
use tokio::time::Instant;

use crate::beside;

/// How long a list waits for what the live sessions have to say, all together.
const PATIENCE: Duration = Duration::from_secs(2);

/// A session in a list.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// system.session("alice").start().await?.send_message("hello").await?;
/// for info in system.sessions().await? {
///     println!("{} {}: {} turns, {} tokens in", info.name, info.status, info.turns, info.usage.input_tokens);
/// #   assert_eq!((info.name.as_str(), info.status, info.turns), ("alice", "idle", 1));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its name.
    pub name: SessionName,
    /// In a word: `idle`, `open_turn` (a turn is under way, or was left by a crash), `awaiting_approval` (somebody must
    /// decide about a call of it), `waiting` (a send has no turn yet), `quarantined` (it failed too often, or is live and
    /// its log is damaged), `parked` (what its former incarnation began is not gone yet).
    pub status: &'static str,
    /// Why, when it is quarantined or parked.
    pub reason: Option<String>,
    /// Turns begun.
    pub turns: u32,
    /// When its last fact was written.
    pub last_activity: Timestamp,
    /// Tokens of all turns.
    pub usage: Usage,
    /// Cost of all turns.
    pub cost: Cost,
}

impl SessionInfo {
    fn stands(&mut self, status: &'static str, reason: String) {
        (self.status, self.reason) = (status, Some(reason));
    }
}

impl From<SessionSummary> for SessionInfo {
    fn from(summary: SessionSummary) -> Self {
        Self {
            name: summary.name,
            status: summary.status.as_str(),
            reason: None,
            turns: summary.turns,
            last_activity: summary.last_activity,
            usage: summary.usage,
            cost: summary.cost,
        }
    }
}

/// Tells the ones that do not run: those whose name is held by a quarantine or by what does not end, and the live ones that
/// say so themselves because their log is damaged. The journal knows of none.
pub(crate) async fn mark_held_up(context: &SessionContext, sessions: &mut [SessionInfo]) {
    let names = context.namespace();
    let mut live = Vec::new();
    for info in sessions.iter_mut() {
        let id = process_name(&info.name);
        match names.status(&id) {
            Some(EntryStatus::Quarantined { reason }) => info.stands("quarantined", reason),
            Some(EntryStatus::Stuck { reason }) => info.stands("parked", reason),
            Some(EntryStatus::Live) => live.extend(names.whereis(&id).map(|cell| (info.name.clone(), cell))),
            _ => {}
        }
    }
    let until = Instant::now() + PATIENCE;
    let damaged =
        beside::each(
            live,
            |(name, cell)| async move { damage(cell, until).await.map(|reason| (name, reason)) },
        );
    let mut damaged: HashMap<SessionName, String> = damaged.await.into_iter().flatten().collect();
    if damaged.is_empty() {
        return;
    }
    for info in sessions {
        if let Some(reason) = damaged.remove(&info.name) {
            info.stands("quarantined", reason);
        }
    }
}

/// Why a live session does nothing, when that is so. A session answers this at once, also while it loads.
async fn damage(cell: ActorCell, until: Instant) -> Option<String> {
    match status_of(cell, until).await?.activity {
        Activity::Quarantined { reason } => Some(reason),
        _ => None,
    }
}

/// What a live session says of itself until then.
pub(crate) async fn status_of(cell: ActorCell, until: Instant) -> Option<Status> {
    let left = until.saturating_duration_since(Instant::now());
    let status = call(&ActorRef::from(cell), SessionMsg::Status, left).await;
    status.inspect_err(|error| tracing::debug!(%error, "a live session does not tell its status")).ok()
}
