//! What a supervisor lists of its children.

use std::sync::Arc;
use std::time::SystemTime;

use ractor::{ActorCell, ActorId};

use crate::entry::{Entry, EntryStatus, is_alive};
use crate::exit::ExitReason;
use crate::spec::ChildKind;

/// One child, as its supervisor lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildInfo {
    /// Its id, which is its name in the namespace.
    pub id: String,
    /// The living incarnation, if there is one.
    pub pid: Option<ActorId>,
    /// Where it stands.
    pub status: EntryStatus,
    /// How often it was started again.
    pub restarts: u32,
    /// Whether it has children.
    pub kind: ChildKind,
    /// When the present incarnation started.
    pub started_at: Option<SystemTime>,
}

/// How many children a supervisor has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildCounts {
    /// All of them, also those without a process.
    pub specs: usize,
    /// Those that live.
    pub active: usize,
    /// Those that are supervisors, living or not.
    pub supervisors: usize,
    /// Those that are not, living or not.
    pub workers: usize,
}

impl ChildCounts {
    pub(crate) fn of(children: &[ChildInfo]) -> Self {
        let count = |holds: fn(&ChildInfo) -> bool| children.iter().filter(|child| holds(child)).count();
        Self {
            specs: children.len(),
            active: count(|child| child.pid.is_some()),
            supervisors: count(|child| child.kind == ChildKind::Supervisor),
            workers: count(|child| child.kind == ChildKind::Worker),
        }
    }
}

/// What the supervisor itself puts together: references only, so that a list of 100,000 does not hold it up. The
/// caller turns it into text.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) id: Arc<str>,
    pub(crate) kind: ChildKind,
    pub(crate) restarts: u32,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) entry: Option<Arc<Entry>>,
    pub(crate) ended: Option<ExitReason>,
}

/// An actor that carries out one piece of work: it is in no namespace, and alive as long as it is listed.
pub(crate) fn work_info(prefix: &str, cell: &ActorCell, since: SystemTime) -> ChildInfo {
    let name = cell.get_name().unwrap_or_else(|| cell.get_id().to_string());
    let id = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')).unwrap_or(&name).to_owned();
    let live = is_alive(cell);
    ChildInfo {
        id,
        pid: live.then(|| cell.get_id()),
        status: if live { EntryStatus::Live } else { EntryStatus::Stopping },
        restarts: 0,
        kind: ChildKind::Worker,
        started_at: live.then_some(since),
    }
}

impl From<Row> for ChildInfo {
    fn from(row: Row) -> Self {
        let status = match row.ended {
            Some(reason) => EntryStatus::Ended { reason },
            None => match &row.entry {
                // Released in between: it has just ended, and its supervisor is about to hear of it.
                Some(entry) => entry.status().unwrap_or(EntryStatus::Stopping),
                None => EntryStatus::Starting,
            },
        };
        let live = matches!(status, EntryStatus::Live);
        Self {
            id: row.id.to_string(),
            pid: if live {
                row.entry.as_ref().and_then(|entry| entry.cell()).map(|cell| cell.get_id())
            } else {
                None
            },
            status,
            restarts: row.restarts,
            kind: row.kind,
            started_at: row.started_at.filter(|_| live),
        }
    }
}

pub(crate) fn to_infos(rows: Vec<Row>) -> Vec<ChildInfo> {
    rows.into_iter().map(ChildInfo::from).collect()
}
