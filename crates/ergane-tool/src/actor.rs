//! The tool actor: one call, from its start to its report.
//!
//! The body runs in a task of the session's scope and not in a handler, so this actor is always free to act: on the
//! timeout, which therefore also holds for a body that never yields, and on its own end. It reports once. When it is
//! killed, or its task is dropped by a drain, the promise answers `None` by itself, and the session makes the result.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ergane_core::ToolCall;
use ergane_otp::{Promise, Scope, TaskHandle};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, ActorRuntime, SpawnErr, SupervisionEvent};
use serde_json::{Map, Value};

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
    cancel: CancelToken,
}

impl ToolHandle {
    /// Tells the body that the call is interrupted. It may still finish and report; whoever cannot wait kills the actor.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

impl ToolActor {
    /// Starts the actor under `name` (process-global, the system's prefix included), as a child of `supervisor` and in
    /// `scope`, and returns at once: the start goes on by itself. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SpawnErr::ActorAlreadyRegistered`] when the name is taken; the promise is answered with `None` then.
    pub fn spawn(
        name: String,
        run: ToolRun,
        supervisor: ActorCell,
        scope: &Scope,
    ) -> Result<ToolHandle, SpawnErr> {
        let cancel = run.context.cancel_token();
        let arguments = Arguments { run, scope: scope.clone() };
        let (actor, start) = ActorRuntime::spawn_linked_instant(Some(name), Runner, arguments, supervisor)?;
        let cell = actor.get_cell();
        let join = tokio::spawn(async move {
            match start.await {
                // A panic of the actor's own was told to its supervisor; here only its end counts.
                Ok(Ok(join)) => drop(join.await),
                Ok(Err(error)) => tracing::debug!(%error, "a tool actor did not start"),
                Err(error) => tracing::debug!(%error, "the start of a tool actor was cancelled"),
            }
        });
        scope.adopt(cell.clone(), join);
        Ok(ToolHandle { cell, cancel })
    }
}

struct Runner;

struct Arguments {
    run: ToolRun,
    scope: Scope,
}

#[derive(Debug)]
enum Message {
    /// The body ended.
    Done(Box<ToolOutcome>),
    /// The body was dropped before it ended.
    Dropped,
    /// The time is up.
    TimedOut,
    /// The grace after that is up, too.
    GiveUp,
}

struct State {
    report: Option<Promise<ToolOutcome>>,
    body: TaskHandle,
    timer: TaskHandle,
    cancel: CancelToken,
    scope: Scope,
    timeout: Duration,
    timed_out: bool,
}

impl State {
    fn report(&mut self, outcome: ToolOutcome) {
        if let Some(report) = self.report.take() {
            report.keep(outcome);
        }
    }
}

/// Whatever ends the actor ends the call: the task is aborted, and code of it on other threads hears of it by the token.
impl Drop for State {
    fn drop(&mut self) {
        self.timer.abort();
        if !self.body.is_finished() {
            self.cancel.cancel();
            self.body.abort();
        }
    }
}

impl Actor for Runner {
    type Msg = Message;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Message>,
        Arguments { run, scope }: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let ToolRun { call, tool, arguments, context, timeout, report } = run;
        tracing::debug!(call = %call.id, tool = %call.name, "tool call starts");
        let cancel = context.cancel_token();
        let context = context.within(scope.clone());
        let witness = Witness { actor: myself.clone(), told: false };
        let body = scope.spawn("tool call", async move {
            // Declared before the body runs, so dropped after it: what it tells is true.
            let witness = witness;
            let outcome = run_body(tool, context, arguments).await.into();
            witness.done(outcome);
        });
        let timer = scope.send_after(timeout, move || tell(&myself, Message::TimedOut));
        Ok(State { report: Some(report), body, timer, cancel, scope, timeout, timed_out: false })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            // Also when the time was up just then: a result that is there is the truth.
            Message::Done(outcome) => state.report(*outcome),
            Message::Dropped if state.timed_out => {
                state.report(ToolError::Timeout { after: state.timeout }.into());
            }
            // By a drain or an abort from elsewhere: there is nothing to report, and dropping the promise says so.
            Message::Dropped => {}
            Message::TimedOut => {
                state.timed_out = true;
                state.cancel.cancel();
                state.body.abort();
                let actor = myself.clone();
                state.timer = state.scope.send_after(STOP_GRACE, move || tell(&actor, Message::GiveUp));
                return Ok(());
            }
            Message::GiveUp => state.report(stuck(state.timeout)),
        }
        myself.stop(None);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Message>,
        event: SupervisionEvent,
        _state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        // It has no children; the default would stop it.
        tracing::debug!(%event, "a tool actor ignores an event of a child it does not have");
        Ok(())
    }
}

/// Messages to an actor that is gone are of no use to anybody.
fn tell(actor: &ActorRef<Message>, message: Message) {
    if let Err(error) = actor.cast(message) {
        tracing::trace!(%error, "a tool actor has ended already");
    }
}

fn stuck(timeout: Duration) -> ToolOutcome {
    let text = format!(
        "the tool did not finish within {timeout:?} and does not react to being stopped; it may still be running, so \
         check before you repeat the call"
    );
    ToolOutcome { synthetic: true, ..ToolOutput::error(text).into() }
}

/// Tells the actor how the body ended, also when it was dropped.
struct Witness {
    actor: ActorRef<Message>,
    told: bool,
}

impl Witness {
    fn done(mut self, outcome: ToolOutcome) {
        self.told = true;
        tell(&self.actor, Message::Done(Box::new(outcome)));
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if !self.told {
            tell(&self.actor, Message::Dropped);
        }
    }
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

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arguments").field("run", &self.run).finish_non_exhaustive()
    }
}
