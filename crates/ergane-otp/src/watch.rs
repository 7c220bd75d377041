//! Follows a name over its incarnations.
//!
//! A watcher has a queue of its own, since what happened must arrive in order and none of it may be merged: an anchor
//! that missed a quarantine would stand for ever. The queue is bounded; one that nobody reads loses its oldest events.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use ractor::ActorId;
use tokio::sync::Notify;

use crate::exit::ExitReason;
use crate::lock::lock;
use crate::names::Namespace;

/// What happened to a name.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
/// use ergane_otp::Incarnation;
///
/// # let names = Namespace::new("kitchen-docs");
/// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
/// let mut watch = names.watch("kitchen");
/// while let Some(event) = watch.next().await {
///     match event {
///         Incarnation::Up { .. } => { root.terminate_child("kitchen", std::time::Duration::from_secs(5)).await?; }
///         Incarnation::Down { reason, .. } => println!("it ended: {reason}"),
///         Incarnation::Quarantined { reason } => println!("it is given up: {reason}"),
///         Incarnation::Gone => break,
///         _ => {} // kinds may be added
///     }
/// }
/// # root.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incarnation {
    /// An actor lives under the name.
    Up {
        /// Its id.
        pid: ActorId,
    },
    /// It ended.
    Down {
        /// Its id.
        pid: ActorId,
        /// How.
        reason: ExitReason,
    },
    /// It used up its restarts; nobody starts it by itself.
    Quarantined {
        /// What happened.
        reason: String,
    },
    /// The name is free. It may be taken again; then `Up` follows.
    Gone,
}

/// The events a watcher that does not read may lag behind, 256.
pub const WATCH_CAPACITY: usize = 256;

/// A subscription to what happens to a name; from [`Namespace::watch`]. Dropping it ends the subscription.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
/// use ergane_otp::Incarnation;
///
/// # let names = Namespace::new("kitchen-docs");
/// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
/// let mut watch = names.watch("kitchen");
/// assert!(matches!(watch.next().await, Some(Incarnation::Up { .. })));
/// names.whereis("kitchen").expect("it lives").kill();
/// assert!(matches!(watch.next().await, Some(Incarnation::Down { .. })));
/// assert!(matches!(watch.next().await, Some(Incarnation::Up { .. })), "its supervisor has started it again");
/// # root.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
pub struct Watch {
    pub(crate) name: String,
    pub(crate) queue: Arc<WatchQueue>,
    pub(crate) namespace: Weak<crate::names::Inner>,
}

impl Watch {
    /// The name it follows.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// assert_eq!(names.watch("kitchen").name(), "kitchen");
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next event. The first tells where the name stands (`Up`, `Quarantined` or `Gone`; one that is just starting or
    /// stopping tells nothing until that is done). `None` when the namespace itself is gone.
    ///
    /// A watcher that lags more than [`WATCH_CAPACITY`] events behind loses the oldest ones. Cancel safe.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// use ergane_otp::Incarnation;
    ///
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// let kitchen = names.whereis("kitchen").expect("it lives");
    /// assert_eq!(names.watch("kitchen").next().await, Some(Incarnation::Up { pid: kitchen.get_id() }));
    /// assert_eq!(names.watch("nobody").next().await, Some(Incarnation::Gone));
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Incarnation> {
        loop {
            let more = self.queue.more.notified();
            {
                let mut state = lock(&self.queue.state);
                if let Some(event) = state.events.pop_front() {
                    return Some(event);
                }
                if state.closed {
                    return None;
                }
            }
            more.await;
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(inner) = self.namespace.upgrade() {
            Namespace::from_inner(inner).unwatch(&self.name, &self.queue);
        }
    }
}

#[derive(Default)]
pub(crate) struct WatchQueue {
    state: Mutex<State>,
    more: Notify,
}

#[derive(Default)]
struct State {
    events: VecDeque<Incarnation>,
    closed: bool,
}

impl WatchQueue {
    pub(crate) fn push(&self, event: Incarnation) {
        let mut state = lock(&self.state);
        if state.events.len() == WATCH_CAPACITY {
            state.events.pop_front();
        }
        state.events.push_back(event);
        drop(state);
        self.more.notify_waiters();
    }

    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.more.notify_waiters();
    }
}
