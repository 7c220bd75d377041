//! Tells an actor that nothing reached it for a time: OTP's timeout between messages.
//!
//! ractor has no such timeout, and a timer that is thrown away with every message costs a task each. Here a message only
//! moves a deadline; the one task of a quiet period sleeps until the latest of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{ActorRef, Message};
use tokio::time::{Instant, sleep_until};

use crate::lock::lock;
use crate::scope::{Scope, TaskHandle};
use crate::until::until;

/// Sends its actor a message when [`touch`](IdleTimer::touch) was not called for a time. Part of the actor's state.
///
/// ```
/// use std::time::Duration;
/// use ergane_otp::*;
/// use ractor::{Actor, ActorProcessingErr, ActorRef};
///
/// struct Sleepy;
///
/// enum Msg {
///     Work,
///     Idle(IdleToken),
/// }
///
/// impl Actor for Sleepy {
///     type Msg = Msg;
///     type State = IdleTimer;
///     type Arguments = StartContext;
///
///     async fn pre_start(&self, myself: ActorRef<Msg>, context: StartContext) -> Result<IdleTimer, ActorProcessingErr> {
///         let mut idle = IdleTimer::new(Duration::from_millis(1));
///         idle.touch(&context.scope, &myself, Msg::Idle);
///         Ok(idle)
///     }
///
///     async fn handle(&self, myself: ActorRef<Msg>, message: Msg, idle: &mut IdleTimer) -> Result<(), ActorProcessingErr> {
///         match message {
///             // (It would call `touch` here, with its context kept in the state too.)
///             Msg::Work => {}
///             Msg::Idle(token) if idle.is_due(token) => myself.stop(None),
///             Msg::Idle(_) => {}
///         }
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let names = Namespace::new("idle-example");
/// let sleepy = ChildSpec::actor("sleepy", |context| (Sleepy, context)).restart(Restart::Temporary);
/// let root = Supervisor::builder().child(sleepy).start(&names, "root").await?;
/// assert!(matches!(names.monitor("sleepy").await.reason, ExitReason::Normal | ExitReason::NoProc));
/// # let _ = Msg::Work;
/// # root.shutdown(Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct IdleTimer {
    after: Duration,
    quiet: Arc<Mutex<Quiet>>,
    task: Option<TaskHandle>,
}

#[derive(Debug)]
struct Quiet {
    /// Counts the messages, so that a word of an earlier quiet is known as stale.
    touched: u64,
    deadline: Option<Instant>,
}

/// Says which quiet a message speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleToken(u64);

impl IdleTimer {
    /// A timer that is not running yet. Its first [`touch`](Self::touch) starts it.
    pub fn new(after: Duration) -> Self {
        let quiet = Arc::new(Mutex::new(Quiet { touched: 0, deadline: None }));
        Self { after, quiet, task: None }
    }

    /// Something happened: the quiet begins anew. If it lasts, `message` is sent, once; it is made by the call that began the
    /// task which is running, so it should be the same each time. Must be called within a tokio runtime.
    pub fn touch<M: Message>(
        &mut self,
        scope: &Scope,
        myself: &ActorRef<M>,
        message: impl FnOnce(IdleToken) -> M + Send + 'static,
    ) {
        let mut quiet = lock(&self.quiet);
        quiet.touched += 1;
        // Under the lock: the task ends its watch under it too.
        let watched = quiet.deadline.is_some();
        quiet.deadline = Some(until(self.after));
        drop(quiet);
        if watched {
            return;
        }
        let (quiet, myself) = (self.quiet.clone(), myself.clone());
        self.task = Some(scope.spawn("idle timer", async move {
            let token = lasted(&quiet).await;
            if let Some(token) = token
                && myself.send_message(message(token)).is_err()
            {
                tracing::trace!("the actor that was idle is gone");
            }
        }));
    }

    /// Whether that word is of the quiet of now: nothing was touched since it was sent.
    pub fn is_due(&self, token: IdleToken) -> bool {
        lock(&self.quiet).touched == token.0
    }

    /// Stops it until the next [`touch`](Self::touch); a word that is on its way is not due any more.
    pub fn disarm(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        let mut quiet = lock(&self.quiet);
        quiet.touched += 1;
        quiet.deadline = None;
    }
}

/// Waits until the deadline has passed and not moved.
async fn lasted(quiet: &Mutex<Quiet>) -> Option<IdleToken> {
    loop {
        let deadline = lock(quiet).deadline?;
        sleep_until(deadline).await;
        let mut quiet = lock(quiet);
        if quiet.deadline? <= Instant::now() {
            quiet.deadline = None;
            return Some(IdleToken(quiet.touched));
        }
    }
}
