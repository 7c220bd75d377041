//! The system's tree as data, with what its actors say of themselves.
//!
//! Supervisors list their children. What a session does only it can say, and what it has started (the loop, tools) hangs
//! below its actor; how a provider stands is kept beside its actor. All of it is put together here, for whoever asks, so
//! whatever waits is told with its reason to everybody who looks at the tree, `ergane top` included.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use ergane_otp::{CallError, ChildKind, EntryStatus, TreeNode};
use ergane_provider::ProviderStatus;
use ergane_session::{SessionContext, Status, session_of_process};
#[cfg(unix)]
use ergane_socket::SocketStatus;
use ractor::{ActorCell, ActorId, ActorStatus};
use tokio::time::Instant;

use crate::beside;
use crate::sessions::status_of;

/// How long the supervisors and the sessions have, all together.
const PATIENCE: Duration = Duration::from_secs(5);

/// An actor of a [`System`](crate::System), what it says of itself, and what is below it.
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// alice.send_message("hello").await?;
/// let tree = system.tree().await?;
/// let session = tree.find("session/alice").and_then(|node| node.session.as_ref());
/// assert!(session.is_some_and(|session| session.activity == Activity::Idle && session.turns == 1));
/// let provider = tree.find("provider/scripted").and_then(|node| node.provider.as_ref());
/// assert!(provider.is_some_and(|provider| provider.running == 0 && provider.reason.is_none()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Node {
    /// Its id among its siblings, such as `sessions`, `session/alice`, `provider/ollama`, `turn/12`; of the root its
    /// registered name.
    pub id: String,
    /// The living incarnation, if there is one.
    pub pid: Option<ActorId>,
    /// Whether it is a supervisor.
    pub kind: ChildKind,
    /// How often it was started again; unknown of what no supervisor lists.
    pub restarts: Option<u32>,
    /// Where it stands, and why it does not run.
    pub status: EntryStatus,
    /// When the present incarnation started, where that is known.
    pub started_at: Option<SystemTime>,
    /// Of a session that runs: what it is doing, and why it waits. `None` also when it did not answer in time.
    pub session: Option<Status>,
    /// Of a provider: calls that run and wait, and why they wait.
    pub provider: Option<ProviderStatus>,
    /// Of the system's socket: where other processes reach it, or why they do not.
    #[cfg(unix)]
    pub socket: Option<SocketStatus>,
    /// What is below it.
    pub children: Vec<Node>,
}

impl Node {
    /// The first node of that id, from here down.
    pub fn find(&self, id: &str) -> Option<&Self> {
        if self.id == id {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(id))
    }
}

/// What is known of a session beside what its supervisor says.
#[derive(Default)]
struct Seen {
    status: Option<Status>,
    started: Vec<Node>,
}

/// `started` is when the system was, which is its root.
pub(crate) async fn take(
    context: &SessionContext,
    root: &ActorCell,
    started: SystemTime,
) -> Result<Node, CallError> {
    let until = Instant::now() + PATIENCE;
    let tree = ergane_otp::tree(root, PATIENCE).await?;
    let names = context.namespace();
    let live = sessions(&tree).filter_map(|id| {
        let cell = names.whereis(id)?;
        Some((id.to_owned(), names.full_name(id), cell))
    });
    let live: Vec<_> = live.collect();
    // Many are asked beside each other, so that one that is slow holds up few; all of them until the same moment.
    let ask =
        |(id, above, cell): (String, String, ActorCell)| async move { (id, see(cell, &above, until).await) };
    let mut seen: HashMap<String, Seen> = beside::each(live, ask).await.into_iter().collect();
    let standing = context.providers().status().into_iter();
    let mut standing = standing.map(|status| (status.actor.clone(), status)).collect();
    let mut tree = node(tree, &mut seen, &mut standing);
    tree.started_at = tree.started_at.or(Some(started));
    Ok(tree)
}

/// The processes of sessions that run.
fn sessions(tree: &TreeNode) -> impl Iterator<Item = &str> {
    let supervisors = tree.children.iter().filter(|child| child.id == "sessions");
    let children = supervisors.flat_map(|sessions| &sessions.children);
    let live = children.filter(|child| child.status == EntryStatus::Live);
    live.map(|child| &*child.id).filter(|id| session_of_process(id).is_some())
}

async fn see(cell: ActorCell, above: &str, until: Instant) -> Seen {
    let status = status_of(cell.clone(), until).await;
    let mut started: Vec<Node> = cell.get_children().iter().filter_map(|cell| leaf(cell, above)).collect();
    started.sort_by(|a, b| a.id.cmp(&b.id));
    Seen { status, started }
}

/// An actor that no supervisor lists, by the part of its name that the one `above` has not.
fn leaf(cell: &ActorCell, above: &str) -> Option<Node> {
    let name = cell.get_name()?;
    let status = match cell.get_status() {
        // Whoever is linked has started. One that carries out a piece of work is `Starting` to ractor until it is done.
        ActorStatus::Unstarted | ActorStatus::Starting | ActorStatus::Running | ActorStatus::Upgrading => {
            EntryStatus::Live
        }
        _ => EntryStatus::Stopping,
    };
    Some(Node {
        id: name.strip_prefix(above).unwrap_or(&name).trim_start_matches(['#', '/']).to_owned(),
        pid: Some(cell.get_id()),
        kind: ChildKind::Worker,
        restarts: None,
        status,
        started_at: None,
        session: None,
        provider: None,
        #[cfg(unix)]
        socket: None,
        children: Vec::new(),
    })
}

fn node(
    tree: TreeNode,
    seen: &mut HashMap<String, Seen>,
    standing: &mut HashMap<String, ProviderStatus>,
) -> Node {
    let TreeNode { id, pid, kind, restarts, status, started_at, children } = tree;
    let Seen { status: session, started } = seen.remove(&id).unwrap_or_default();
    let provider = standing.remove(&id);
    let below = children.into_iter().map(|child| node(child, seen, standing));
    let children = below.chain(started).collect();
    Node {
        id,
        pid,
        kind,
        restarts: Some(restarts),
        status,
        started_at,
        session,
        provider,
        #[cfg(unix)]
        socket: None,
        children,
    }
}
