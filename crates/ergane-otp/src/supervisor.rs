//! A supervisor of a fixed list of children: started in order, ended in reverse, each awaited.
//!
//! Strategy one_for_one: a child that ends is started again alone. All of a child's life is run by its task (`child.rs`);
//! this actor only decides, on reports that arrive as messages, so it answers at once whatever its children do.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef};

use crate::budget::Intensity;
use crate::call::{CallError, call};
use crate::child::Flag;
use crate::children::{ChildInfo, to_infos};
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::life::Life;
use crate::names::Namespace;
use crate::spec::{ChildKind, ChildSpec, DEFAULT_GRACE, Shutdown, StartContext};
use crate::supervised::Supervised;
use crate::supervisor_actor::{Arguments, SupervisorActor, SupervisorMsg};

/// Starts supervisors: [`Supervisor::start`] for the root of a tree, [`Supervisor::child_spec`] for one within it.
#[derive(Debug)]
pub struct Supervisor;

impl Supervisor {
    /// Starts a supervisor and, in order, its children. With a `parent` it is linked to that actor, which then receives
    /// its end as a ractor supervision event; without, it is a root.
    ///
    /// # Errors
    /// [`StartError::Failed`] with the first child that did not start, the ones before it having been ended in reverse;
    /// [`StartError::DuplicateId`]; [`StartError::AlreadyStarted`] or [`StartError::NameTaken`] for its own name.
    pub async fn start(
        namespace: &Namespace,
        name: &str,
        intensity: Intensity,
        specs: Vec<ChildSpec>,
        parent: Option<ActorCell>,
    ) -> Result<SupervisorRef, StartError> {
        let claim = namespace.claim(&Arc::from(name), parent.clone(), DEFAULT_GRACE).await?;
        let (_, life) = claim.begin();
        let actor = Supervised { actor: SupervisorActor, life: life.clone() };
        let arguments = Arguments {
            namespace: namespace.clone(),
            name: name.into(),
            intensity,
            specs,
            life: life.clone(),
        };
        let full_name = Some(namespace.full_name(name));
        let (actor, join) = match parent {
            Some(parent) => Actor::spawn_linked(full_name, actor, arguments, parent).await?,
            None => Actor::spawn(full_name, actor, arguments).await?,
        };
        claim.live(actor.get_cell());
        let gone = Arc::new(Flag::default());
        let settle = gone.clone();
        tokio::spawn(async move {
            if let Err(error) = join.await {
                tracing::debug!(%error, "a root supervisor's task was aborted");
            }
            drop(claim);
            settle.set();
        });
        Ok(SupervisorRef { actor, life, gone })
    }

    /// A permanent child that is a supervisor with these children, ended without a time limit.
    pub fn child_spec(name: impl Into<String>, intensity: Intensity, specs: Vec<ChildSpec>) -> ChildSpec {
        ChildSpec::new(name, move |context: StartContext| {
            let arguments = Arguments {
                namespace: context.namespace.clone(),
                name: context.name.as_str().into(),
                intensity,
                specs: specs.clone(),
                life: context.life.clone(),
            };
            async move { context.spawn(SupervisorActor, arguments).await }
        })
        .kind(ChildKind::Supervisor)
        .shutdown(Shutdown::Infinity)
    }
}

/// A supervisor started by [`Supervisor::start`]. Cheap to clone. Dropping it ends nothing.
#[derive(Clone)]
pub struct SupervisorRef {
    actor: ActorRef<SupervisorMsg>,
    life: Arc<Life>,
    gone: Arc<Flag>,
}

impl SupervisorRef {
    /// The supervisor's actor.
    pub fn cell(&self) -> ActorCell {
        self.actor.get_cell()
    }

    /// Ends the children in reverse, each within its own limit and awaited with all that it started, and then the
    /// supervisor. Without effect on one that has ended.
    ///
    /// # Errors
    /// [`CallError::Timeout`] if that took longer than `deadline`; then the supervisor was killed, and with it, without
    /// waiting, its children.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), CallError> {
        self.actor.stop(ExitReason::shutdown().to_stop_reason());
        if tokio::time::timeout(deadline, self.wait()).await.is_ok() {
            return Ok(());
        }
        self.actor.kill();
        if tokio::time::timeout(DEFAULT_GRACE, self.wait()).await.is_err() {
            tracing::warn!("a supervisor does not end, although killed");
        }
        Err(CallError::Timeout)
    }

    /// Waits until it has ended, and tells how.
    pub async fn wait(&self) -> ExitReason {
        self.gone.wait().await;
        self.life.ended().await
    }

    /// Its children, in the order of their start.
    ///
    /// # Errors
    /// As [`call`], with a deadline of 5 s.
    pub async fn which_children(&self) -> Result<Vec<ChildInfo>, CallError> {
        call(&self.actor, SupervisorMsg::List, Duration::from_secs(5)).await.map(to_infos)
    }
}

impl fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorRef").field("actor", &self.actor).finish_non_exhaustive()
    }
}
