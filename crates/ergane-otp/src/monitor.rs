//! Tells once when an actor ends.
//!
//! Unlike ractor's monitor it needs no actor to receive it, never stops who watches, tells every monitor once however
//! many there are, and tells of the dead at once. It holds the life it watches, so taking it back is dropping it and
//! leaves nothing behind.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use ractor::{ActorCell, ActorId, ActorRef, Message};

use crate::entry::is_alive;
use crate::exit::ExitReason;
use crate::life::life_of;
use crate::scope::{Scope, TaskHandle};

/// An actor ended.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
/// use ergane_otp::{Down, ExitReason};
///
/// # let names = Namespace::new("kitchen-docs");
/// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
/// let Down { name, pid, reason } = names.monitor("nobody").await;
/// assert_eq!((name.as_str(), pid, reason), ("nobody", None, ExitReason::NoProc));
/// # root.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// The name it was watched by; for one watched by reference its registered name, or empty.
    pub name: String,
    /// Which incarnation; `None` if there was none, or its start failed.
    pub pid: Option<ActorId>,
    /// How it ended; [`ExitReason::NoProc`] if it was not alive when the monitor was made.
    pub reason: ExitReason,
}

/// Waits for the end of the incarnation that was alive when it was made: from [`Namespace::monitor`](crate::Namespace::monitor)
/// or [`Monitor::of`]. A future; dropping it takes the monitor back.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
/// use ergane_otp::ExitReason;
///
/// # let names = Namespace::new("kitchen-docs");
/// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
/// let monitor = names.monitor("kitchen");
/// names.whereis("kitchen").expect("it lives").kill();
/// assert_eq!(monitor.await.reason, ExitReason::Killed, "of this incarnation; its successor is not watched");
/// # root.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a monitor tells nothing unless awaited"]
pub struct Monitor {
    name: String,
    pid: Option<ActorId>,
    down: Pin<Box<dyn Future<Output = Down> + Send>>,
}

impl Monitor {
    pub(crate) fn life(name: String, life: std::sync::Arc<crate::life::Life>) -> Self {
        let (told, pid) = (name.clone(), life.pid());
        let down = async move {
            let reason = life.ended().await;
            Down { name: told, pid: life.pid(), reason }
        };
        Self { name, pid, down: Box::pin(down) }
    }

    pub(crate) fn nobody(name: String, pid: Option<ActorId>) -> Self {
        let down = Down { name: name.clone(), pid, reason: ExitReason::NoProc };
        Self { name, pid, down: Box::pin(std::future::ready(down)) }
    }

    /// Watches an actor by reference. One that a supervisor of this crate started tells its real reason; of any other
    /// actor only the end is known, and the reason is [`ExitReason::NoProc`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// use ergane_otp::{ExitReason, Monitor};
    ///
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// let kitchen = names.whereis("kitchen").expect("it lives");
    /// let monitor = Monitor::of(&kitchen);
    /// kitchen.stop(Some("closed".to_owned()));
    /// assert_eq!(monitor.await.reason, ExitReason::Shutdown("closed".to_owned()));
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn of(actor: &ActorCell) -> Self {
        let (name, pid) = (actor.get_name().unwrap_or_default(), actor.get_id());
        if let Some(life) = life_of(pid) {
            return Self::life(name, life);
        }
        if !is_alive(actor) {
            return Self::nobody(name, Some(pid));
        }
        let (told, actor) = (name.clone(), actor.clone());
        let down = async move {
            // Without a deadline, the wait cannot fail.
            if actor.wait(None).await.is_err() {
                tracing::debug!(%pid, "the wait for an actor ended early");
            }
            Down { name: told, pid: Some(pid), reason: ExitReason::NoProc }
        };
        Self { name, pid: Some(pid), down: Box::pin(down) }
    }

    /// The name it watches.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// assert_eq!(names.monitor("kitchen").name(), "kitchen");
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The incarnation it watches; `None` if there was none, or it was still starting.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// let kitchen = names.whereis("kitchen").expect("it lives");
    /// assert_eq!(names.monitor("kitchen").pid(), Some(kitchen.get_id()));
    /// assert_eq!(names.monitor("nobody").pid(), None);
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn pid(&self) -> Option<ActorId> {
        self.pid
    }

    /// Tells an actor by a message instead: for its handlers, which must not wait. The monitor lives in `scope`, the
    /// watching actor's own, so it ends with it. The end of the watched actor never stops the watcher.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// ```
    /// use ergane_otp::{DownNote, StartContext};
    /// use ractor::ActorRef;
    ///
    /// enum Msg {
    ///     CookIsGone(DownNote), // its handler asks `note.take()`, which is `None` when the monitor was taken back
    /// }
    ///
    /// // In a handler, with the context that the actor was started with:
    /// fn watch_the_cook(context: &StartContext, me: &ActorRef<Msg>) {
    ///     let cook = context.namespace.monitor("cook");
    ///     cook.notify(&context.scope, me, Msg::CookIsGone); // kept, what it returns takes the monitor back
    /// }
    /// ```
    pub fn notify<M: Message>(
        self,
        scope: &Scope,
        watcher: &ActorRef<M>,
        message: impl FnOnce(DownNote) -> M + Send + 'static,
    ) -> MonitorRef {
        let taken_back = Arc::new(AtomicBool::new(false));
        let (note, watcher) = (taken_back.clone(), watcher.clone());
        let task = scope.spawn("monitor", async move {
            let down = self.await;
            if watcher.send_message(message(DownNote { down, taken_back: note })).is_err() {
                tracing::trace!("the watcher is gone too");
            }
        });
        MonitorRef { task, taken_back }
    }

    /// Waits for the end; the same as awaiting the monitor itself.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// let down = names.monitor("nobody").down().await;
    /// assert!(down.reason.is_crash(), "what is not there is no orderly end");
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn down(self) -> Down {
        self.await
    }
}

impl Future for Monitor {
    type Output = Down;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Down> {
        self.down.as_mut().poll(context)
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("name", &self.name).field("pid", &self.pid).finish_non_exhaustive()
    }
}

/// A [`Down`] on its way to an actor, in a message that [`Monitor::notify`] sent.
#[derive(Debug)]
pub struct DownNote {
    down: Down,
    taken_back: Arc<AtomicBool>,
}

impl DownNote {
    /// What happened, or `None` if the monitor was taken back while this lay in the mailbox.
    pub fn take(self) -> Option<Down> {
        (!self.taken_back.load(Ordering::Acquire)).then_some(self.down)
    }
}

/// A monitor that tells an actor; from [`Monitor::notify`]. Dropping it leaves the monitor in force.
#[derive(Debug)]
pub struct MonitorRef {
    task: TaskHandle,
    taken_back: Arc<AtomicBool>,
}

impl MonitorRef {
    /// Takes the monitor back, and with it a message that is on its way already: [`DownNote::take`] gives `None` from here on.
    pub fn demonitor(self) {
        self.taken_back.store(true, Ordering::Release);
        self.task.abort();
    }
}
