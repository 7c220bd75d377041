//! What sessions there are.

use ergane_core::{Cost, SessionName, Timestamp, Usage};
use ergane_journal::SessionSummary;
use serde::Serialize;

/// A session in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its name.
    pub name: SessionName,
    /// In a word: `idle`, `open_turn` (a turn is under way, or was left by a crash), `waiting` (a
    /// send has no turn yet), `quarantined`.
    pub status: &'static str,
    /// Why, when it is quarantined.
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
