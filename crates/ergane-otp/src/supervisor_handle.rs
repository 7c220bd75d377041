//! Speaks to a supervisor: lists its children and changes them at run time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, ActorRef, RpcReplyPort};

use crate::call::{CallError, call, call_name};
use crate::child::start_reply;
use crate::children::{ChildCounts, ChildInfo, to_infos};
use crate::error::{ChildError, StartError};
use crate::names::Namespace;
use crate::spec::ChildSpec;
use crate::supervisor_actor::{Command, SupervisorMsg};

/// Manages the children of one supervisor: of the one that [`SupervisorRef`](crate::SupervisorRef) holds, or, made by
/// [`SupervisorHandle::new`], of whichever lives under a name. Cheap to clone.
///
/// Not for the handler of one of those children: the supervisor may be waiting for it.
#[derive(Clone)]
pub struct SupervisorHandle(Target);

#[derive(Clone)]
enum Target {
    Actor(ActorRef<SupervisorMsg>),
    Name(Namespace, Arc<str>),
}

const LIST_DEADLINE: Duration = Duration::from_secs(5);

impl SupervisorHandle {
    /// Speaks to the supervisor of that name: stays good when the supervisor is started again.
    pub fn new(namespace: &Namespace, name: &str) -> Self {
        Self(Target::Name(namespace.clone(), name.into()))
    }

    pub(crate) fn of(actor: ActorRef<SupervisorMsg>) -> Self {
        Self(Target::Actor(actor))
    }

    /// Its children, in the order of their start.
    ///
    /// # Errors
    /// As [`call`], with a deadline of 5 s.
    pub async fn which_children(&self) -> Result<Vec<ChildInfo>, CallError> {
        self.ask(LIST_DEADLINE, SupervisorMsg::List).await.map(to_infos)
    }

    /// How many children it has, by kind, and how many of them live.
    ///
    /// # Errors
    /// As [`call`], with a deadline of 5 s.
    pub async fn count_children(&self) -> Result<ChildCounts, CallError> {
        self.which_children().await.map(|children| ChildCounts::of(&children))
    }

    /// Adds a child as the last, starts it and waits for that. If the start fails the spec is forgotten; if it says
    /// [`StartError::Ignored`], the spec stays without a process, and that is the error returned.
    ///
    /// # Errors
    /// See [`StartError`]: `AlreadyStarted` or `AlreadyPresent` if it has a child of that id; `Timeout`, and the start goes on.
    pub async fn start_child(&self, spec: ChildSpec, deadline: Duration) -> Result<ActorCell, StartError> {
        self.ask_start(deadline, |reply| Command::Start { spec, reply }).await
    }

    /// Ends a child by its shutdown spec and does not start it again; returns when it is gone with all that it started and
    /// its name is free. Its spec stays, for [`restart_child`](Self::restart_child), except a temporary child's. A restart
    /// that is waited for is called off. Without effect on a child at rest. (A later round of one_for_all or rest_for_one
    /// starts it with the others, as in OTP; delete it if that is not wanted.)
    ///
    /// # Errors
    /// See [`ChildError`].
    pub async fn terminate_child(&self, id: &str, deadline: Duration) -> Result<(), ChildError> {
        let id = id.into();
        self.ask_end(deadline, |reply| Command::Terminate { id, reply }).await
    }

    /// Starts a child that is at rest and waits for that. If the start fails, it is as before.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyStarted` if it lives; `Restarting` if it is between two incarnations; see [`StartError`].
    pub async fn restart_child(&self, id: &str, deadline: Duration) -> Result<ActorCell, StartError> {
        let id = id.into();
        self.ask_start(deadline, |reply| Command::Restart { id, reply }).await
    }

    /// Forgets the spec of a child at rest.
    ///
    /// # Errors
    /// `NotFound`; `Running` if it lives; `Restarting` if it is between two incarnations; see [`ChildError`]. It has a
    /// deadline of 5 s.
    pub async fn delete_child(&self, id: &str) -> Result<(), ChildError> {
        let id = id.into();
        self.ask_end(LIST_DEADLINE, |reply| Command::Delete { id, reply }).await
    }

    async fn ask_start(
        &self,
        deadline: Duration,
        command: impl FnOnce(crate::child::StartReply) -> Command,
    ) -> Result<ActorCell, StartError> {
        let build = |reply: RpcReplyPort<_>| {
            SupervisorMsg::Command(command(start_reply(move |outcome| {
                if reply.send(outcome).is_err() {
                    tracing::debug!("nobody waits for the start of a child any more");
                }
            })))
        };
        match self.ask(deadline, build).await {
            Ok(outcome) => outcome,
            Err(CallError::Timeout) => Err(StartError::Timeout),
            Err(_) => Err(StartError::NoSupervisor),
        }
    }

    async fn ask_end(
        &self,
        deadline: Duration,
        command: impl FnOnce(crate::child::EndReply) -> Command,
    ) -> Result<(), ChildError> {
        match self.ask(deadline, |reply| SupervisorMsg::Command(command(reply))).await {
            Ok(outcome) => outcome,
            Err(CallError::Timeout) => Err(ChildError::Timeout),
            Err(_) => Err(ChildError::NoSupervisor),
        }
    }

    async fn ask<R: Send + 'static>(
        &self,
        deadline: Duration,
        build: impl FnOnce(RpcReplyPort<R>) -> SupervisorMsg,
    ) -> Result<R, CallError> {
        match &self.0 {
            Target::Actor(actor) => call(actor, build, deadline).await,
            Target::Name(namespace, name) => call_name(namespace, name, build, deadline).await,
        }
    }
}

impl fmt::Debug for SupervisorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_tuple("SupervisorHandle");
        match &self.0 {
            Target::Actor(actor) => f.field(&actor.get_id()),
            Target::Name(_, name) => f.field(name),
        };
        f.finish()
    }
}
