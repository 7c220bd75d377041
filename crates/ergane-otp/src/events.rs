//! What is told to `tracing`, with names that stay.
//!
//! Every event has the target [`TRACING_TARGET`](crate::TRACING_TARGET), a field `event` that says which of the five it is, and `supervisor` and
//! `child`, the names in the namespace. A start and an end are told where the name's entry changes, which is once for every
//! incarnation, whoever is there to hear of it; of work that is done once ([`Scope::spawn_actor`](crate::Scope::spawn_actor))
//! where it begins and where its actor is dropped, with names of ractor's registry.

use ractor::{ActorCell, ActorId};
use tokio::time::Duration;
use tracing::Level;

use crate::exit::ExitReason;

/// The `tracing` target of all events of a child's life: `ergane_otp`. Their fields are `event` (`start`, `exit`, `restart`,
/// `backoff` or `quarantine`), `supervisor` and `child`, and by kind `pid`, `incarnation`, `reason`, `crash`, `restarts`, `wait_ms`.
/// A cast that reached nobody has the same target: `event` is `dropped_cast`, with `to` and `reason`.
pub const TRACING_TARGET: &str = "ergane_otp";

pub(crate) fn dropped_cast(to: &str, reason: &str) {
    tracing::debug!(target: TRACING_TARGET, event = "dropped_cast", to, reason, "a cast was dropped");
}

/// `supervisor` is asked for only if somebody listens: a start must not pay for a name that nobody reads.
pub(crate) fn start(supervisor: impl FnOnce() -> String, child: &str, pid: ActorId, incarnation: u64) {
    if tracing::enabled!(target: TRACING_TARGET, Level::DEBUG) {
        let supervisor = supervisor();
        tracing::debug!(target: TRACING_TARGET, event = "start", supervisor, child, %pid, incarnation, "started");
    }
}

/// `asked` says that it was ordered to end, so that a kill is no news.
pub(crate) fn exit(
    supervisor: impl FnOnce() -> String,
    child: &str,
    pid: ActorId,
    reason: &ExitReason,
    asked: bool,
) {
    let crash = reason.is_crash() && !asked;
    if crash && tracing::enabled!(target: TRACING_TARGET, Level::WARN) {
        let supervisor = supervisor();
        tracing::warn!(target: TRACING_TARGET, event = "exit", supervisor, child, %pid, %reason, crash, "ended");
    } else if !crash && tracing::enabled!(target: TRACING_TARGET, Level::DEBUG) {
        let supervisor = supervisor();
        tracing::debug!(target: TRACING_TARGET, event = "exit", supervisor, child, %pid, %reason, crash, "ended");
    }
}

/// As [`start`], of an actor that is in no namespace: both have their names in ractor's registry, which are asked for only if
/// somebody listens.
pub(crate) fn work_starts(supervisor: &ActorCell, cell: &ActorCell) {
    if tracing::enabled!(target: TRACING_TARGET, Level::DEBUG) {
        start(|| registered(supervisor), &registered(cell), cell.get_id(), 1);
    }
}

/// As [`exit`], of an actor that is in no namespace. A kill is how work is cancelled, and no news.
pub(crate) fn work_ends(supervisor: &ActorCell, cell: &ActorCell, reason: &ExitReason) {
    let asked = matches!(reason, ExitReason::Killed);
    let heard = if reason.is_crash() && !asked {
        tracing::enabled!(target: TRACING_TARGET, Level::WARN)
    } else {
        tracing::enabled!(target: TRACING_TARGET, Level::DEBUG)
    };
    if heard {
        exit(|| registered(supervisor), &registered(cell), cell.get_id(), reason, asked);
    }
}

fn registered(cell: &ActorCell) -> String {
    cell.get_name().unwrap_or_default()
}

pub(crate) fn restart(supervisor: &str, child: &str, restarts: u32) {
    tracing::info!(target: TRACING_TARGET, event = "restart", supervisor, child, restarts, "restarting");
}

pub(crate) fn backoff(supervisor: &str, child: &str, restarts: u32, wait: Duration) {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(target: TRACING_TARGET, event = "backoff", supervisor, child, restarts, wait_ms, "waiting before a restart");
}

pub(crate) fn quarantine(supervisor: &str, child: &str, reason: &str) {
    tracing::warn!(target: TRACING_TARGET, event = "quarantine", supervisor, child, reason, "quarantined");
}
