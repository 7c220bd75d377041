//! A supervisor of any number of children, started at run time, each with a restart budget of its own.
//!
//! In a supervisor with one budget for all, one child's storm ends its siblings. Here a child that ends too often is
//! quarantined: it stays listed, with the reason, holds its name, and no other child notices. Nothing but a listing is
//! linear in the number of children, and a listing only copies references.
//!
//! A dynamic supervisor that its parent started again begins empty: its children ended with the former one. Who wants them
//! back starts them again; their names are waited for until the former ones are truly gone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorCell;

use crate::budget::{Intensity, RestartBudget};
use crate::call::{CallError, call_name};
use crate::child::start_reply;
use crate::children::{ChildCounts, ChildInfo, to_infos};
use crate::dynamic_actor::{Arguments, DynamicActor, DynamicMsg};
use crate::entry::EntryStatus;
use crate::error::{ChildError, StartError};
use crate::names::Namespace;
use crate::spec::{ChildKind, ChildSpec, Shutdown, StartContext};

/// What a dynamic supervisor allows.
#[derive(Clone, Debug, Default)]
pub struct DynamicOptions {
    /// How many children it may have, counting those that are starting or between two incarnations, but not the
    /// quarantined. `None`, the default: any number.
    pub max_children: Option<usize>,
    /// What each child may need in restarts. Not used with a shared budget.
    pub budget: RestartBudget,
    /// One budget for all children, as OTP's dynamic supervisors have: no back-off and no quarantine, and a restart too many
    /// ends the supervisor with all its children. `None`, the default: each child has its own.
    pub shared: Option<Intensity>,
}

impl DynamicOptions {
    /// Any number of children, with the default budget.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many children it may have.
    pub fn max_children(mut self, limit: usize) -> Self {
        self.max_children = Some(limit);
        self
    }

    /// Sets what each child may need in restarts.
    pub fn budget(mut self, budget: RestartBudget) -> Self {
        self.budget = budget;
        self
    }

    /// Lets all children share one budget, as OTP's dynamic supervisors do.
    pub fn shared_budget(mut self, intensity: Intensity) -> Self {
        self.shared = Some(intensity);
        self
    }
}

/// Makes the child spec of a dynamic supervisor.
#[derive(Debug)]
pub struct DynamicSupervisor;

impl DynamicSupervisor {
    /// A permanent child that is a dynamic supervisor, without children at first, ended without a time limit.
    /// [`DynamicSupervisorRef`] speaks to it by its name.
    pub fn child_spec(name: impl Into<String>, options: DynamicOptions) -> ChildSpec {
        ChildSpec::new(name, move |context: StartContext| {
            let arguments = Arguments {
                namespace: context.namespace.clone(),
                name: context.name.as_str().into(),
                options: options.clone(),
            };
            async move { context.spawn(DynamicActor, arguments).await }
        })
        .kind(ChildKind::Supervisor)
        .shutdown(Shutdown::Infinity)
    }
}

/// A dynamic supervisor by its name: stays good when the supervisor is started again. Cheap to clone.
#[derive(Clone)]
pub struct DynamicSupervisorRef {
    namespace: Namespace,
    name: Arc<str>,
}

impl DynamicSupervisorRef {
    /// Speaks to the dynamic supervisor of that name, whether it lives already or not.
    pub fn new(namespace: &Namespace, name: &str) -> Self {
        Self { namespace: namespace.clone(), name: name.into() }
    }

    /// The supervisor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts a child, under its id as its name, and waits until it has started. If a child of that id is starting, or
    /// between two incarnations, this waits for it and answers `AlreadyStarted`; if one is being ended, it waits for that
    /// and then starts the new one.
    ///
    /// # Errors
    /// See [`StartError`]; a first start that fails is not tried again. After [`StartError::Timeout`] the start goes on.
    pub async fn start_child(&self, spec: ChildSpec, deadline: Duration) -> Result<ActorCell, StartError> {
        let outcome = self.ask(deadline, |reply| {
            let reply = start_reply(move |outcome| {
                if reply.send(outcome).is_err() {
                    tracing::debug!("nobody waits for the start of a child any more");
                }
            });
            DynamicMsg::Start { spec, reply }
        });
        match outcome.await {
            Ok(outcome) => outcome,
            Err(CallError::Timeout) => Err(StartError::Timeout),
            Err(_) => Err(StartError::NoSupervisor),
        }
    }

    /// As [`DynamicSupervisorRef::start_child`], without waiting: for an actor's handler. `on_started` is called exactly
    /// once, from another task, and must be quick: send a message. If the supervisor is not alive or ends before, it gets
    /// [`StartError::NoSupervisor`], possibly before this returns.
    pub fn start_child_with_reply(
        &self,
        spec: ChildSpec,
        on_started: impl FnOnce(Result<ActorCell, StartError>) + Send + 'static,
    ) {
        let reply = start_reply(on_started);
        if let Some(cell) = self.namespace.whereis(&self.name)
            && cell.send_message(DynamicMsg::Start { spec, reply }).is_err()
        {
            // The reply came back with the message, and tells by being dropped.
            tracing::debug!(supervisor = %self.name, "not alive; a child was not started");
        }
    }

    /// Ends a child by its shutdown spec and forgets it; returns when it is gone with all that it started and its name is
    /// free. A child in back-off or quarantine is forgotten at once.
    ///
    /// # Errors
    /// See [`ChildError`].
    pub async fn terminate_child(&self, id: &str, deadline: Duration) -> Result<(), ChildError> {
        let id = id.into();
        flatten(self.ask(deadline, |reply| DynamicMsg::Terminate { id, reply: Some(reply) }).await)
    }

    /// As [`DynamicSupervisorRef::terminate_child`], without waiting and without an answer: for an actor's handler.
    pub fn terminate_child_soon(&self, id: &str) {
        let message = DynamicMsg::Terminate { id: id.into(), reply: None };
        if let Some(cell) = self.namespace.whereis(&self.name)
            && cell.send_message(message).is_err()
        {
            tracing::debug!(supervisor = %self.name, child = %id, "the supervisor is not alive, so nor is the child");
        }
    }

    /// Lifts a quarantine: forgets the child and frees its name, so that `start_child` starts it with a fresh budget. It is
    /// not started by this.
    ///
    /// # Errors
    /// [`ChildError::NotFound`], [`ChildError::NotQuarantined`]; see [`ChildError`]. It has a deadline of 5 s.
    pub async fn release(&self, id: &str) -> Result<(), ChildError> {
        let id = id.into();
        flatten(self.ask(LIST_DEADLINE, |reply| DynamicMsg::Release { id, reply }).await)
    }

    /// All children, in no order. Linear in their number, for the caller.
    ///
    /// # Errors
    /// As [`call_name`], with a deadline of 5 s.
    pub async fn children(&self) -> Result<Vec<ChildInfo>, CallError> {
        self.ask(LIST_DEADLINE, DynamicMsg::List).await.map(to_infos)
    }

    /// How many children it has, by kind, and how many of them live. Linear in their number, for the caller.
    ///
    /// # Errors
    /// As [`call_name`], with a deadline of 5 s.
    pub async fn count_children(&self) -> Result<ChildCounts, CallError> {
        self.children().await.map(|children| ChildCounts::of(&children))
    }

    /// The quarantined children: ids and reasons, in no order.
    ///
    /// # Errors
    /// As [`call_name`], with a deadline of 5 s.
    pub async fn quarantined(&self) -> Result<Vec<(String, String)>, CallError> {
        let children = self.children().await?;
        Ok(children
            .into_iter()
            .filter_map(|child| match child.status {
                EntryStatus::Quarantined { reason } => Some((child.id, reason)),
                _ => None,
            })
            .collect())
    }

    async fn ask<R: Send + 'static>(
        &self,
        deadline: Duration,
        build: impl FnOnce(ractor::RpcReplyPort<R>) -> DynamicMsg,
    ) -> Result<R, CallError> {
        call_name(&self.namespace, &self.name, build, deadline).await
    }
}

const LIST_DEADLINE: Duration = Duration::from_secs(5);

fn flatten(outcome: Result<Result<(), ChildError>, CallError>) -> Result<(), ChildError> {
    match outcome {
        Ok(outcome) => outcome,
        Err(CallError::Timeout) => Err(ChildError::Timeout),
        Err(_) => Err(ChildError::NoSupervisor),
    }
}

impl fmt::Debug for DynamicSupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamicSupervisorRef").field("name", &self.name).finish_non_exhaustive()
    }
}
