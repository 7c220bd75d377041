//! A supervisor of a list of children: started in order, ended in reverse, each awaited.
//!
//! All of a child's life is run by its task (`child_task.rs`); the supervisor's actor only decides, on reports that arrive as
//! messages, so it answers at once whatever its children do.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef};

use crate::budget::Intensity;
use crate::call::CallError;
use crate::child::Flag;
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::life::Life;
use crate::names::Namespace;
use crate::spec::{ChildKind, ChildSpec, DEFAULT_GRACE, Shutdown, StartContext};
use crate::supervised::Supervised;
use crate::supervisor_actor::{Arguments, SupervisorActor, SupervisorMsg};
use crate::supervisor_handle::SupervisorHandle;

/// Who is started again when a child crashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// That child alone. The default.
    #[default]
    OneForOne,
    /// All children: ended in reverse, then started in order.
    OneForAll,
    /// That child and those after it: ended in reverse, then started in order.
    RestForOne,
}

/// Starts supervisors: [`Supervisor::start`] for the root of a tree, [`Supervisor::child_spec`] for one within it, and
/// [`Supervisor::builder`] for all that these two leave at its default.
#[derive(Debug)]
pub struct Supervisor;

impl Supervisor {
    /// Starts a supervisor, one_for_one, and, in order, its children. With a `parent` it is linked to that actor, which then
    /// receives its end as a ractor supervision event; without, it is a root.
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
        let mut builder = Self::builder().intensity(intensity).children(specs);
        builder.parent = parent;
        builder.start(namespace, name).await
    }

    /// A permanent child that is a supervisor, one_for_one, with these children, ended without a time limit.
    pub fn child_spec(name: impl Into<String>, intensity: Intensity, specs: Vec<ChildSpec>) -> ChildSpec {
        Self::builder().intensity(intensity).children(specs).child_spec(name)
    }

    /// A supervisor without children, one_for_one, with the default intensity, to be changed and started.
    ///
    /// ```
    /// use ergane_otp::{Intensity, Namespace, Strategy, Supervisor};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let names = Namespace::new("builder-example");
    /// let inner = Supervisor::builder().strategy(Strategy::RestForOne).child_spec("inner");
    /// let root = Supervisor::builder()
    ///     .strategy(Strategy::OneForAll)
    ///     .intensity(Intensity { max_restarts: 1, ..Intensity::default() })
    ///     .child(inner)
    ///     .start(&names, "root")
    ///     .await?;
    /// assert_eq!(root.count_children().await?.supervisors, 1);
    /// root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> SupervisorBuilder {
        SupervisorBuilder::default()
    }
}

/// What a supervisor is to be; from [`Supervisor::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder starts nothing by itself"]
pub struct SupervisorBuilder {
    strategy: Strategy,
    intensity: Intensity,
    specs: Vec<ChildSpec>,
    parent: Option<ActorCell>,
}

impl SupervisorBuilder {
    /// Sets who is started again when a child crashes.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Sets how many restarts all its children may need.
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// Adds a child after those it has.
    pub fn child(mut self, spec: ChildSpec) -> Self {
        self.specs.push(spec);
        self
    }

    /// Adds children after those it has.
    pub fn children(mut self, specs: impl IntoIterator<Item = ChildSpec>) -> Self {
        self.specs.extend(specs);
        self
    }

    /// Links it to that actor when it is started; the actor then receives its end as a ractor supervision event.
    pub fn parent(mut self, parent: ActorCell) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Starts it and, in order, its children.
    ///
    /// # Errors
    /// As [`Supervisor::start`].
    pub async fn start(self, namespace: &Namespace, name: &str) -> Result<SupervisorRef, StartError> {
        let Self { strategy, intensity, specs, parent } = self;
        let claim = namespace.claim(&Arc::from(name), parent.clone(), DEFAULT_GRACE).await?;
        let (_, life) = claim.begin();
        let actor = Supervised { actor: SupervisorActor, life: life.clone() };
        let arguments = Arguments {
            namespace: namespace.clone(),
            name: name.into(),
            strategy,
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
        Ok(SupervisorRef { handle: SupervisorHandle::of(actor.clone()), actor, life, gone })
    }

    /// A permanent child that is this supervisor, ended without a time limit. (A [`parent`](Self::parent) set here is not
    /// used: the parent is whoever gets the spec.)
    pub fn child_spec(self, name: impl Into<String>) -> ChildSpec {
        let Self { strategy, intensity, specs, parent: _ } = self;
        ChildSpec::new(name, move |context: StartContext| {
            let arguments = Arguments {
                namespace: context.namespace.clone(),
                name: context.name.as_str().into(),
                strategy,
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

/// A supervisor started by [`Supervisor::start`] or [`SupervisorBuilder::start`]. Cheap to clone. Dropping it ends nothing.
///
/// Its children are managed by what it dereferences to, the [`SupervisorHandle`].
#[derive(Clone)]
pub struct SupervisorRef {
    actor: ActorRef<SupervisorMsg>,
    handle: SupervisorHandle,
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
}

impl Deref for SupervisorRef {
    type Target = SupervisorHandle;

    fn deref(&self) -> &SupervisorHandle {
        &self.handle
    }
}

impl fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorRef").field("actor", &self.actor).finish_non_exhaustive()
    }
}
