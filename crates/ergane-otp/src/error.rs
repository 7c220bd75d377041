//! What can go wrong when a child is started or ended.

use ractor::{ActorCell, SpawnErr};

use crate::exit::ExitReason;

/// Why a child was not started.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
/// use ergane_otp::StartError;
///
/// # let names = Namespace::new("kitchen-docs");
/// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
/// let twice = [TaskSupervisor::child_spec("hall"), TaskSupervisor::child_spec("hall")];
/// let hotel = Supervisor::builder().children(twice).start(&names, "hotel").await;
/// assert!(matches!(hotel, Err(StartError::DuplicateId { id }) if id == "hall"));
/// # root.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A child of that id lives already; here it is.
    #[error("it is started already: {0:?}")]
    AlreadyStarted(ActorCell),
    /// The child is quarantined: it used up its restarts. `release` lifts that.
    #[error("it is quarantined ({reason}); release it before it is started again")]
    Quarantined {
        /// Why it was quarantined.
        reason: String,
    },
    /// The supervisor has as many children as its options allow.
    #[error("the supervisor has its limit of {limit} children; end one first or raise `max_children`")]
    MaxChildren {
        /// The limit.
        limit: usize,
    },
    /// The start function or the actor's `pre_start` failed.
    #[error("it did not start: {reason}")]
    Failed {
        /// What it failed with.
        reason: ExitReason,
    },
    /// An earlier incarnation of the name cannot be ended (a busy loop, a task that does not stop), so no other may start.
    #[error("its predecessor does not end ({reason}); a handler is busy or a task ignores its abort")]
    Stuck {
        /// What is left of the predecessor.
        reason: String,
    },
    /// Somebody else holds the name, and is not alive yet or any more.
    #[error("the name {name:?} is held by another actor")]
    NameTaken {
        /// The name, without the prefix of the namespace.
        name: String,
    },
    /// Two specs of one supervisor have the same id.
    #[error("two children have the id {id:?}; ids must be unique")]
    DuplicateId {
        /// The id.
        id: String,
    },
    /// The supervisor has a spec of that id, without a process: `restart_child` starts it, `delete_child` forgets it.
    #[error("there is a child {id:?} without a process; restart or delete it")]
    AlreadyPresent {
        /// The id.
        id: String,
    },
    /// The supervisor has no child of that id.
    #[error("there is no child {id:?}")]
    NotFound {
        /// The id.
        id: String,
    },
    /// The child is between two incarnations: being started, waiting for its next start, or being ended.
    #[error("the child {id:?} is between two incarnations")]
    Restarting {
        /// The id.
        id: String,
    },
    /// The start function, or the actor's `pre_start`, said that no process is wanted now. For it to say, and no failure: a
    /// supervisor keeps the spec without a process, and a dynamic supervisor forgets the child.
    #[error("its start asks for no process")]
    Ignored,
    /// It was ended while it started.
    #[error("it was ended while it started")]
    Cancelled,
    /// The deadline passed. The start itself goes on: a later `start_child` finds it.
    #[error("it did not start before the deadline")]
    Timeout,
    /// The supervisor is not alive.
    #[error("its supervisor is not running")]
    NoSupervisor,
}

impl From<SpawnErr> for StartError {
    fn from(error: SpawnErr) -> Self {
        let reason = match error {
            SpawnErr::StartupFailed(inner) => match inner.downcast::<StartError>() {
                Ok(start) => return *start,
                Err(inner) => ExitReason::from_failure(&inner),
            },
            other => ExitReason::Error(other.to_string()),
        };
        Self::Failed { reason }
    }
}

/// Why a child could not be ended, deleted or released.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
/// use std::time::Duration;
///
/// use ergane_otp::ChildError;
///
/// # let names = Namespace::new("kitchen-docs");
/// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
/// let cook = root.terminate_child("cook", Duration::from_secs(1)).await;
/// assert_eq!(cook, Err(ChildError::NotFound));
/// # root.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChildError {
    /// The supervisor has no child of that id.
    #[error("there is no child of that id")]
    NotFound,
    /// The child is not quarantined, so there is nothing to lift.
    #[error("the child is not quarantined")]
    NotQuarantined,
    /// The child lives; it has to be ended first.
    #[error("the child is running; terminate it first")]
    Running,
    /// The child is between two incarnations: being started, waiting for its next start, or being ended.
    #[error("the child is between two incarnations; terminate it first")]
    Restarting,
    /// The child does not end: it was asked, killed, and is still there past its grace.
    #[error("the child does not end: {reason}")]
    Stuck {
        /// What is left of it.
        reason: String,
    },
    /// The deadline passed. The child is being ended all the same.
    #[error("the child did not end before the deadline")]
    Timeout,
    /// The supervisor is not alive.
    #[error("its supervisor is not running")]
    NoSupervisor,
}
