//! The system's tree as it goes over the socket: [`System::tree`] in words. Pure, but for the asking.

use std::time::{Duration, SystemTime};

use ergane::otp::{ChildKind, EntryStatus};
use ergane::provider::wire::Allowance;
use ergane::provider::{Circuit, ProviderStatus};
use ergane::{Node as SystemNode, System, SystemError};

use super::wire::{Left, Node, Standing};

/// Takes it. `started` is when the system was, which is its root.
pub(super) async fn take(system: &System, started: SystemTime) -> Result<Node, SystemError> {
    let mut tree = system.tree().await?;
    tree.started_at = tree.started_at.or(Some(started));
    Ok(node(tree, SystemTime::now()))
}

fn node(tree: SystemNode, now: SystemTime) -> Node {
    let (status, reason) = words(&tree.status);
    let uptime = tree.started_at.and_then(|started| now.duration_since(started).ok());
    let session = tree.session;
    Node {
        id: tree.id,
        pid: tree.pid.map(|pid| pid.to_string()),
        kind: match tree.kind {
            ChildKind::Supervisor => "supervisor".to_owned(),
            ChildKind::Worker => "worker".to_owned(),
        },
        restarts: tree.restarts,
        uptime_ms: uptime.map(millis),
        status: status.to_owned(),
        reason,
        activity: session.as_ref().and_then(|status| serde_json::to_value(&status.activity).ok()),
        turn: session.as_ref().filter(|status| status.turn.is_some()).map(|status| count(status.turns) + 1),
        queued: session.as_ref().map(|status| count(status.queued)),
        provider: tree.provider.map(|status| Box::new(standing(status))),
        children: tree.children.into_iter().map(|child| node(child, now)).collect(),
    }
}

/// How a provider stands.
fn standing(status: ProviderStatus) -> Standing {
    Standing {
        provider: status.provider.to_string(),
        endpoint: status.endpoint,
        running: count(status.running),
        waiting: count(status.waiting),
        max_in_flight: Some(count(status.limits.max_in_flight))
            .filter(|_| status.limits.max_in_flight < usize::MAX),
        requests_per_minute: status.limits.requests_per_minute,
        tokens_per_minute: status.limits.tokens_per_minute,
        circuit: match status.circuit {
            Circuit::Closed => "closed",
            Circuit::Open => "open",
            Circuit::Probing => "probing",
            _ => "unknown",
        }
        .to_owned(),
        circuit_for_ms: status.circuit_for.map(millis),
        asked_for_ms: status.asked_for.map(millis),
        requests: status.told.requests.map(left),
        tokens: status.told.tokens.map(left),
        reason: status.reason.map(|reason| reason.to_string()),
        wait_ms: status.wait.map(millis),
    }
}

fn left(Allowance { limit, remaining, reset }: Allowance) -> Left {
    Left { limit, remaining, reset_ms: millis(reset) }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX - 1)
}

/// A status as one word, and why.
fn words(status: &EntryStatus) -> (&'static str, Option<String>) {
    match status {
        EntryStatus::Starting => ("starting", None),
        EntryStatus::Live => ("live", None),
        EntryStatus::Stopping => ("stopping", None),
        EntryStatus::Backoff { until } => {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            ("backoff", Some(format!("the next start is in {} ms", left.as_millis())))
        }
        EntryStatus::Quarantined { reason } => ("quarantined", Some(reason.clone())),
        EntryStatus::Stuck { reason } => ("stuck", Some(reason.clone())),
        EntryStatus::Ended { reason } => ("ended", Some(reason.to_string())),
        // A later one, told in its own words.
        other => ("other", Some(other.to_string())),
    }
}
