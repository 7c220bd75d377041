//! The tool actor: one call, from its start to its report.
//!
//! The body runs in a task of the session's scope and not in the actor, which is therefore always free to act: on the
//! timeout, which also holds for a body that never yields, and on its own end. It reports once. When it is
//! killed, or its task is dropped by a drain, the promise answers `None` by itself, and the session makes the result.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ergane_core::{Effect, ToolCall};
use ergane_otp::{Promise, Scope, TaskHandle};
use ractor::{ActorCell, SpawnErr};
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::at_work::{Work, Working};
use crate::context::{CancelToken, ToolContext};
use crate::error::ToolError;
use crate::outcome::ToolOutcome;
use crate::output::ToolOutput;
use crate::tool::Tool;

/// How long the body of a call that timed out may take to be gone before that is reported without it, 2 s.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// One call, ready to be run.
#[derive(Debug)]
pub struct ToolRun {
    /// The call.
    pub call: ToolCall,
    /// The tool it goes to.
    pub tool: Arc<dyn Tool>,
    /// What that does to the world: what a call that only reads leaves behind is abandoned past the grace of a drain.
    pub effect: Effect,
    /// Its arguments, as the gate read them.
    pub arguments: Map<String, Value>,
    /// What the tool is told.
    pub context: ToolContext,
    /// How long it may take: the tool's own [`timeout`](Tool::timeout), or the session's limit.
    pub timeout: Duration,
    /// Kept with the outcome; answered with `None` when the actor or its task died first.
    pub report: Promise<ToolOutcome>,
}

/// Starts tool actors. They end by themselves when they have reported.
#[derive(Debug)]
pub struct ToolActor;

/// A running tool actor.
#[derive(Debug, Clone)]
pub struct ToolHandle {
    /// The actor. Killing it drops the body at its next await, and what the body owns with it.
    pub cell: ActorCell,
    effect: Effect,
    cancel: CancelToken,
    working: Working,
}

impl ToolHandle {
    /// Tells the body that the call is interrupted. It may still finish and report; whoever cannot wait kills the actor.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Whether nothing works for the call any more: not its body, no thread and no process group of it.
    pub fn is_over(&self) -> bool {
        self.working.is_over()
    }

    /// Whether it may be left behind: it is over, or only reads.
    pub fn may_be_left(&self) -> bool {
        self.effect == Effect::Read || self.is_over()
    }

    /// Answers the promise, with `None`, as soon as it is over.
    pub fn when_over(&self, told: Promise<()>) {
        self.working.when_over(told);
    }
}

impl ToolActor {
    /// Starts the actor under `name` (process-global, the system's prefix included), as a child of `supervisor` and in
    /// `scope`, and returns at once. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SpawnErr::ActorAlreadyRegistered`] when the name is taken; the promise is answered with `None` then.
    pub fn spawn(
        name: String,
        run: ToolRun,
        supervisor: ActorCell,
        scope: &Scope,
    ) -> Result<ToolHandle, SpawnErr> {
        let (effect, cancel) = (run.effect, run.context.cancel_token());
        let of_body = if effect == Effect::Read { scope.loose() } else { scope.clone() };
        let work = Arc::<Work>::default();
        let working = Working::of(&work);
        let cell = scope.spawn_actor(name, supervisor, move |_| carry_out(run, of_body, work))?;
        Ok(ToolHandle { cell, effect, cancel, working })
    }
}

/// The actor's work: has the body run, and reports what comes of it.
async fn carry_out(run: ToolRun, scope: Scope, work: Arc<Work>) {
    let ToolRun { call, tool, arguments, context, timeout: limit, report, .. } = run;
    tracing::debug!(call = %call.id, tool = %call.name, "tool call starts");
    let cancel = context.cancel_token();
    let context = context.within(scope.clone(), Working::of(&work));
    let (ended, mut outcome) = oneshot::channel();
    let task = scope.spawn("tool call", async move {
        // Named first, so dropped last: when it tells that the body was dropped, that is so.
        let ended = ended;
        let work = work;
        let outcome = run_body(tool, context, arguments).await.into();
        drop(work);
        if ended.send(outcome).is_err() {
            tracing::trace!("a tool's actor had ended before its body");
        }
    });
    let body = Body { task, cancel };
    match timeout(limit, &mut outcome).await {
        Ok(Ok(outcome)) => report.keep(outcome),
        // By a drain or an abort from elsewhere: there is nothing to report, and dropping the promise says so.
        Ok(Err(_dropped)) => {}
        Err(_elapsed) => {
            body.stop();
            report.keep(match timeout(STOP_GRACE, outcome).await {
                // A result that is there is the truth, also when the time was up just then.
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_dropped)) => ToolError::Timeout { after: limit }.into(),
                Err(_elapsed) => stuck(limit),
            });
        }
    }
}

/// Whatever ends the actor ends the call: the task is aborted, and code of it on other threads hears of it by the token.
struct Body {
    task: TaskHandle,
    cancel: CancelToken,
}

impl Body {
    fn stop(&self) {
        self.cancel.cancel();
        self.task.abort();
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if !self.task.is_finished() {
            self.stop();
        }
    }
}

fn stuck(timeout: Duration) -> ToolOutcome {
    let text = format!(
        "the tool did not finish within {timeout:?} and does not react to being stopped; it may still be running, so \
         check before you repeat the call"
    );
    ToolOutcome { synthetic: true, ..ToolOutput::error(text).into() }
}

/// Runs the tool; a panic, in making the future or in running it, is an error.
async fn run_body(
    tool: Arc<dyn Tool>,
    context: ToolContext,
    arguments: Map<String, Value>,
) -> Result<ToolOutput, ToolError> {
    let mut body = pin!(async move { tool.call(context, arguments).await });
    // What the body shares with others it may leave inconsistent, as any error half-way does; nothing of ours.
    let caught = poll_fn(|task| match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(task))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    caught.await.unwrap_or_else(|panic| Err(ToolError::Panicked(words_of(panic.as_ref()))))
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "with no message".to_owned())
}
