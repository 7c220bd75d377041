//! The supervision tree with what every session is doing, as data.
//!
//! The supervisors list their children; what a session does only it can say, and what it has started itself (the loop,
//! the tools) hangs below its actor. All sessions are asked at once, so that one that is slow is the only one missing.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use ergane::core::SessionName;
use ergane::otp::{ChildKind, EntryStatus, TreeNode, call};
use ergane::provider::{Circuit, ProviderStatus};
use ergane::ractor::{ActorCell, ActorStatus};
use ergane::session::{Session, SessionMsg, Status, session_of_process};
use ergane::{System, SystemError};
use tokio::task::JoinSet;

use super::wire::{Node, Standing};
use crate::workshop;

/// A session answers at once or is in trouble.
const SOON: Duration = Duration::from_secs(5);

/// What a session says of itself, and what it has started.
#[derive(Debug)]
struct Seen {
    status: Option<Status>,
    started: Vec<Node>,
}

/// Takes it. `started` is when the system was, which is its root.
pub(super) async fn take(system: &System, started: SystemTime) -> Result<Node, SystemError> {
    let mut tree = system.tree().await?;
    tree.started_at = tree.started_at.or(Some(started));
    let mut asking = JoinSet::new();
    for name in sessions(&tree) {
        asking.spawn(see(workshop::seen(system, name), system.name().to_owned()));
    }
    let mut seen = HashMap::new();
    while let Some(asked) = asking.join_next().await {
        // One that panicked has seen nothing.
        seen.extend(asked.ok().flatten());
    }
    Ok(node(tree, &mut seen, SystemTime::now()))
}

/// The sessions that run.
fn sessions(tree: &TreeNode) -> Vec<SessionName> {
    let supervisors = tree.children.iter().filter(|child| child.id == "sessions");
    let children = supervisors.flat_map(|sessions| &sessions.children);
    let live = children.filter(|child| child.status == EntryStatus::Live);
    live.filter_map(|child| session_of_process(&child.id)).collect()
}

async fn see(session: Session, system: String) -> Option<(String, Seen)> {
    let actor = session.actor_ref()?;
    let status = call(&actor, SessionMsg::Status, SOON).await.ok();
    let above = format!("{system}/{}", session.process_name());
    let mut started: Vec<Node> =
        actor.get_cell().get_children().iter().filter_map(|cell| leaf(cell, &above)).collect();
    started.sort_by(|a, b| a.id.cmp(&b.id));
    Some((session.process_name(), Seen { status, started }))
}

/// An actor that no supervisor lists, by the part of its name that the one `above` has not: `turn/812`, `tool/812.1`.
fn leaf(cell: &ActorCell, above: &str) -> Option<Node> {
    let name = cell.get_name()?;
    let status = match cell.get_status() {
        // Whoever is linked has started. One that carries out a piece of work is `Starting` to ractor until it is done.
        ActorStatus::Unstarted | ActorStatus::Starting | ActorStatus::Running | ActorStatus::Upgrading => {
            "live"
        }
        _ => "stopping",
    };
    Some(Node {
        id: name.strip_prefix(above).unwrap_or(&name).trim_start_matches(['#', '/']).to_owned(),
        pid: Some(cell.get_id().to_string()),
        kind: "worker".to_owned(),
        restarts: None,
        uptime_ms: None,
        status: status.to_owned(),
        reason: None,
        activity: None,
        turn: None,
        queued: None,
        children: Vec::new(),
    })
}

/// How the providers stand.
pub(super) fn standings(system: &System) -> Vec<Standing> {
    let standing = |status: ProviderStatus| Standing {
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
        reason: status.reason.map(|reason| reason.to_string()),
        wait_ms: status.wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
    };
    system.context().providers().status().into_iter().map(standing).collect()
}

fn node(tree: TreeNode, seen: &mut HashMap<String, Seen>, now: SystemTime) -> Node {
    let Seen { status: session, started } =
        seen.remove(&tree.id).unwrap_or(Seen { status: None, started: Vec::new() });
    let (status, reason) = words(&tree.status);
    let uptime = tree.started_at.and_then(|started| now.duration_since(started).ok());
    let children = tree.children.into_iter().map(|child| node(child, seen, now)).chain(started).collect();
    Node {
        id: tree.id,
        pid: tree.pid.map(|pid| pid.to_string()),
        kind: match tree.kind {
            ChildKind::Supervisor => "supervisor".to_owned(),
            ChildKind::Worker => "worker".to_owned(),
        },
        restarts: Some(tree.restarts),
        uptime_ms: uptime.map(|uptime| u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)),
        status: status.to_owned(),
        reason,
        activity: session.as_ref().and_then(|status| serde_json::to_value(&status.activity).ok()),
        turn: session.as_ref().filter(|status| status.turn.is_some()).map(|status| count(status.turns) + 1),
        queued: session.as_ref().map(|status| count(status.queued)),
        children,
    }
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
