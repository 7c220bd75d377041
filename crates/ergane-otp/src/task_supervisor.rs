//! A supervisor of actors that carry out one piece of work each and are never started again.
//!
//! It is to a [dynamic supervisor](crate::DynamicSupervisor) what `Task.Supervisor` is to `DynamicSupervisor` in Elixir. A
//! child's start needs no message to it: whoever has work spawns the actor, linked to the supervisor and in its [`Scope`].
//! So when the supervisor ends, however that comes about, its children are killed, and its name is free only when they
//! are gone.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use crate::call::{CallError, call_name};
use crate::children::{ChildInfo, work_info};
use crate::error::StartError;
use crate::names::Namespace;
use crate::scope::Scope;
use crate::spec::{ChildKind, ChildSpec, Shutdown, StartContext};

/// Makes the child spec of a task supervisor.
///
/// ```
/// use std::time::Duration;
/// use ergane_otp::{Namespace, Supervisor, TaskSupervisor, TaskSupervisorRef};
/// use tokio::sync::oneshot;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let names = Namespace::new("kitchen");
/// let root = Supervisor::builder().child(TaskSupervisor::child_spec("orders")).start(&names, "root").await?;
///
/// let orders = TaskSupervisorRef::new(&names, "orders");
/// let (served, dish) = oneshot::channel();
/// orders.start_child("order/1", move |_me| async move {
///     served.send("soup").ok();
/// })?;
/// assert_eq!(dish.await?, "soup");
/// root.shutdown(Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TaskSupervisor;

impl TaskSupervisor {
    /// A permanent child that is a task supervisor, without children at first. [`TaskSupervisorRef`] speaks to it by its
    /// name.
    pub fn child_spec(name: impl Into<String>) -> ChildSpec {
        ChildSpec::actor(name, |context: StartContext| (TaskSupervisorActor, context))
            .kind(ChildKind::Supervisor)
            .shutdown(Shutdown::Infinity)
    }
}

/// A task supervisor by its name: stays good when the supervisor is started again. Cheap to clone.
#[derive(Clone)]
pub struct TaskSupervisorRef {
    namespace: Namespace,
    name: Arc<str>,
}

impl TaskSupervisorRef {
    /// Speaks to the task supervisor of that name, whether it lives already or not.
    pub fn new(namespace: &Namespace, name: &str) -> Self {
        Self { namespace: namespace.clone(), name: name.into() }
    }

    /// The supervisor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Carries out `work` in an actor of its own, as [`Scope::spawn_actor`]; its name is `id` in ractor's registry behind the
    /// namespace's prefix. Never waits. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`StartError::NoSupervisor`] if the supervisor is not alive, [`StartError::Failed`] if the name is taken or the
    /// supervisor is ending. The work is dropped then.
    pub fn start_child<W, F>(&self, id: &str, work: W) -> Result<ActorCell, StartError>
    where
        W: FnOnce(ActorCell) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (supervisor, scope) =
            self.namespace.lookup::<Scope>(&self.name).ok_or(StartError::NoSupervisor)?;
        Ok(scope.spawn_actor(self.namespace.full_name(id), supervisor, work)?)
    }

    /// All children, in no order. Linear in their number, for the caller.
    ///
    /// # Errors
    /// As [`call_name`], with a deadline of 5 s.
    pub async fn children(&self) -> Result<Vec<ChildInfo>, CallError> {
        const DEADLINE: Duration = Duration::from_secs(5);
        let workers = call_name(&self.namespace, &self.name, TaskSupervisorMsg::List, DEADLINE).await?;
        Ok(workers.infos())
    }
}

impl fmt::Debug for TaskSupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSupervisorRef").field("name", &self.name).finish_non_exhaustive()
    }
}

pub(crate) enum TaskSupervisorMsg {
    List(RpcReplyPort<Workers>),
}

/// References only: the caller turns them into text.
pub(crate) struct Workers {
    namespace: Namespace,
    actors: Vec<(ActorCell, SystemTime)>,
}

impl Workers {
    pub(crate) fn infos(&self) -> Vec<ChildInfo> {
        self.actors.iter().map(|(cell, since)| work_info(self.namespace.prefix(), cell, *since)).collect()
    }
}

struct TaskSupervisorActor;

impl Actor for TaskSupervisorActor {
    type Msg = TaskSupervisorMsg;
    type State = StartContext;
    type Arguments = StartContext;

    async fn pre_start(
        &self,
        _: ActorRef<TaskSupervisorMsg>,
        context: StartContext,
    ) -> Result<StartContext, ActorProcessingErr> {
        // This incarnation is the one of now: it is being born.
        context.set_value(context.scope.clone());
        Ok(context)
    }

    async fn handle(
        &self,
        _: ActorRef<TaskSupervisorMsg>,
        TaskSupervisorMsg::List(reply): TaskSupervisorMsg,
        context: &mut StartContext,
    ) -> Result<(), ActorProcessingErr> {
        let workers = Workers { namespace: context.namespace.clone(), actors: context.scope.actors() };
        if reply.send(workers).is_err() {
            tracing::trace!("nobody waits for the list of children any more");
        }
        Ok(())
    }

    /// An end is told by whoever ends: there is nothing to decide here.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<TaskSupervisorMsg>,
        _: SupervisionEvent,
        _: &mut StartContext,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}
