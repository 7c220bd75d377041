//! The supervision tree as data.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use ractor::{ActorCell, ActorId};
use tokio::time::Instant;

use crate::call::{CallError, call};
use crate::children::{ChildInfo, to_infos};
use crate::dynamic_actor::DynamicMsg;
use crate::entry::EntryStatus;
use crate::spec::ChildKind;
use crate::supervisor_actor::SupervisorMsg;
use crate::task_supervisor::TaskSupervisorMsg;
use crate::until::until;

/// One actor of a tree and what is below it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
/// use std::time::Duration;
///
/// use ergane_otp::{TreeNode, tree};
///
/// # let names = Namespace::new("kitchen-docs");
/// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
/// fn show(node: &TreeNode, depth: usize) {
///     println!("{}{} ({} restarts)", "  ".repeat(depth), node.id, node.restarts);
///     node.children.iter().for_each(|child| show(child, depth + 1));
/// }
/// let house = tree(&root.cell(), Duration::from_secs(5)).await?;
/// show(&house, 0);
/// assert_eq!(house.children[0].id, "kitchen");
/// # root.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeNode {
    /// Its id; of the root its registered name.
    pub id: String,
    /// The living incarnation, if there is one.
    pub pid: Option<ActorId>,
    /// Whether it has children.
    pub kind: ChildKind,
    /// How often it was started again; 0 for the root.
    pub restarts: u32,
    /// Where it stands, and why it waits.
    pub status: EntryStatus,
    /// When the present incarnation started; unknown for the root.
    pub started_at: Option<SystemTime>,
    /// Its children: those of a supervisor in the order of their start, those of the others by id.
    pub children: Vec<TreeNode>,
}

/// Asks every supervisor from `root` down for its children, all within `deadline`. One that ends meanwhile has none.
///
/// # Errors
/// [`CallError`] if the root itself does not answer, or is no supervisor of this crate.
pub async fn tree(root: &ActorCell, deadline: Duration) -> Result<TreeNode, CallError> {
    let until = until(deadline);
    let children = children_of(root, until).await?;
    Ok(TreeNode {
        id: root.get_name().unwrap_or_default(),
        pid: Some(root.get_id()),
        kind: ChildKind::Supervisor,
        restarts: 0,
        status: EntryStatus::Live,
        started_at: None,
        children,
    })
}

type Children<'a> = Pin<Box<dyn Future<Output = Result<Vec<TreeNode>, CallError>> + Send + 'a>>;

fn children_of(supervisor: &ActorCell, until: Instant) -> Children<'_> {
    Box::pin(async move {
        let left = until.saturating_duration_since(Instant::now());
        if supervisor.is_message_type_of::<TaskSupervisorMsg>() == Some(true) {
            let mut workers = call(supervisor, TaskSupervisorMsg::List, left).await?.infos();
            workers.sort_by(|a, b| a.id.cmp(&b.id));
            return Ok(workers.into_iter().map(|info| node(info, Vec::new())).collect());
        }
        let (rows, dynamic) = if supervisor.is_message_type_of::<DynamicMsg>() == Some(true) {
            (call(supervisor, DynamicMsg::List, left).await?, true)
        } else {
            (call(supervisor, SupervisorMsg::List, left).await?, false)
        };
        // The cells of supervisors are taken before the rows become plain data.
        let cells: Vec<Option<ActorCell>> = rows
            .iter()
            .map(|row| match row.kind {
                ChildKind::Supervisor => row.entry.as_ref().and_then(|entry| entry.cell()),
                ChildKind::Worker => None,
            })
            .collect();
        let mut nodes = Vec::with_capacity(cells.len());
        for (info, cell) in to_infos(rows).into_iter().zip(cells) {
            let below = match cell {
                Some(cell) => children_of(&cell, until).await.unwrap_or_default(),
                None => Vec::new(),
            };
            nodes.push(node(info, below));
        }
        if dynamic {
            nodes.sort_by(|a, b| a.id.cmp(&b.id));
        }
        Ok(nodes)
    })
}

fn node(info: ChildInfo, children: Vec<TreeNode>) -> TreeNode {
    let ChildInfo { id, pid, status, restarts, kind, started_at } = info;
    TreeNode { id, pid, kind, restarts, status, started_at, children }
}
