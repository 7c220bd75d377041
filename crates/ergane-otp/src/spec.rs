//! How a child is started, ended, and when it is started again.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::JoinHandle;

use crate::error::StartError;
use crate::exit::ExitReason;
use crate::life::Life;
use crate::names::Namespace;
use crate::scope::Scope;
use crate::supervised::Supervised;

/// When a child that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// After a crash: a kill, an error, a panic; not after `Normal` or `Shutdown`.
    Transient,
    /// Never; its supervisor forgets it.
    Temporary,
}

impl Restart {
    pub(crate) fn wants_restart(self, reason: &ExitReason) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => reason.is_crash(),
            Self::Temporary => false,
        }
    }
}

/// How a child is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Killed at once.
    BrutalKill,
    /// Asked to stop; killed if it has not after this time.
    Timeout(Duration),
    /// Asked to stop, and waited for however long it takes. For supervisors, which must never be killed.
    Infinity,
}

/// Whether a child has children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    /// It has none that a supervisor knows of.
    Worker,
    /// It is a supervisor.
    Supervisor,
}

/// How long a child that is asked to stop has before it is killed, 5 s.
pub const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(5);

/// How long a dead child's state, join handle and scope may take before the child counts as stuck, 5 s.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);

type StartFuture = Pin<Box<dyn Future<Output = Result<Started, StartError>> + Send>>;
type StartFn = Arc<dyn Fn(StartContext) -> StartFuture + Send + Sync>;

/// A child: its id, how it is started and ended, and when it is started again. Cheap to clone.
#[derive(Clone)]
pub struct ChildSpec {
    /// Its name in the namespace; unique there.
    pub id: String,
    /// When it is started again.
    pub restart: Restart,
    /// How it is ended.
    pub shutdown: Shutdown,
    /// Whether it has children.
    pub kind: ChildKind,
    /// How long it may take to be gone once it is dead; past it, it is stuck. [`DEFAULT_GRACE`].
    pub grace: Duration,
    start: StartFn,
}

impl ChildSpec {
    /// A permanent worker with a shutdown of [`DEFAULT_SHUTDOWN`], started by `start`: any future that spawns an actor,
    /// best by [`StartContext::spawn`], linked to the context's supervisor. `start` is called anew for every
    /// incarnation. It should be quick; dropping it (when the child is ended while it starts) must leave nothing behind.
    pub fn new<S, F>(id: impl Into<String>, start: S) -> Self
    where
        S: Fn(StartContext) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Started, StartError>> + Send + 'static,
    {
        Self {
            id: id.into(),
            restart: Restart::Permanent,
            shutdown: Shutdown::Timeout(DEFAULT_SHUTDOWN),
            kind: ChildKind::Worker,
            grace: DEFAULT_GRACE,
            start: Arc::new(move |context| Box::pin(start(context))),
        }
    }

    /// A permanent worker that is a ractor actor; `factory` makes the actor and its arguments for every incarnation.
    pub fn actor<A, S>(id: impl Into<String>, factory: S) -> Self
    where
        A: Actor,
        S: Fn(StartContext) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        Self::new(id, move |context: StartContext| {
            let (actor, arguments) = factory(context.clone());
            async move { context.spawn(actor, arguments).await }
        })
    }

    /// A permanent worker without messages, whose work is done by tasks: `begin` puts them into the context's scope, anew for every
    /// incarnation, before that counts as started. It must not wait. The worker lives until somebody ends it, whatever becomes of the tasks.
    ///
    /// ```
    /// use ergane_otp::{ChildSpec, Namespace, Supervisor};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (said, mut heard) = tokio::sync::mpsc::unbounded_channel();
    /// let clock = ChildSpec::tasks("clock", move |start| {
    ///     let said = said.clone();
    ///     start.scope.spawn("tick", async move { said.send("tick").unwrap() });
    /// });
    /// let root = Supervisor::builder().child(clock).start(&Namespace::new("tower"), "root").await?;
    /// assert_eq!(heard.recv().await, Some("tick"));
    /// root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn tasks(id: impl Into<String>, begin: impl Fn(&StartContext) + Send + Sync + 'static) -> Self {
        let begin: Arc<Begin> = Arc::new(begin);
        Self::actor(id, move |context| (Tasks, (begin.clone(), context)))
    }

    /// Sets when it is started again.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Sets how it is ended.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Sets whether it has children. A supervisor should have [`Shutdown::Infinity`].
    pub fn kind(mut self, kind: ChildKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets how long it may take to be gone once it is dead.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    pub(crate) fn start(&self, context: StartContext) -> StartFuture {
        (self.start)(context)
    }
}

/// Puts the tasks of an incarnation into its scope.
type Begin = dyn Fn(&StartContext) + Send + Sync;

/// The actor of [`ChildSpec::tasks`].
struct Tasks;

enum Never {}

impl Actor for Tasks {
    type Msg = Never;
    type State = ();
    type Arguments = (Arc<Begin>, StartContext);

    async fn pre_start(
        &self,
        _: ActorRef<Never>,
        (begin, context): (Arc<Begin>, StartContext),
    ) -> Result<(), ActorProcessingErr> {
        begin(&context);
        Ok(())
    }

    /// It has no children.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Never>,
        _: SupervisionEvent,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// A child whose start takes an argument of its own: the spec is made once, and each child from it with an id and its
/// argument, as `start_child` with extra arguments does in OTP. The argument is cloned for every incarnation.
///
/// ```
/// use ergane_otp::{ChildTemplate, Restart};
/// # use ractor::{Actor, ActorProcessingErr, ActorRef};
/// # struct Room;
/// # impl Actor for Room {
/// #     type Msg = ();
/// #     type State = u32;
/// #     type Arguments = u32;
/// #     async fn pre_start(&self, _: ActorRef<()>, seats: u32) -> Result<u32, ActorProcessingErr> { Ok(seats) }
/// # }
///
/// let room = ChildTemplate::actor(|_context, seats: u32| (Room, seats));
/// let small = room.child("small", 4).restart(Restart::Transient);
/// let large = room.child("large", 400);
/// assert_eq!((&*small.id, &*large.id), ("small", "large"));
/// ```
pub struct ChildTemplate<X> {
    start: Arc<dyn Fn(StartContext, X) -> StartFuture + Send + Sync>,
}

impl<X: Clone + Send + Sync + 'static> ChildTemplate<X> {
    /// As [`ChildSpec::actor`], with the argument of the child.
    pub fn actor<A, S>(factory: S) -> Self
    where
        A: Actor,
        S: Fn(StartContext, X) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        Self {
            start: Arc::new(move |context: StartContext, extra| {
                let (actor, arguments) = factory(context.clone(), extra);
                Box::pin(async move { context.spawn(actor, arguments).await })
            }),
        }
    }

    /// A permanent worker from this template; what differs is set on the spec.
    pub fn child(&self, id: impl Into<String>, extra: X) -> ChildSpec {
        let start = self.start.clone();
        ChildSpec::new(id, move |context| start(context, extra.clone()))
    }
}

impl<X> Clone for ChildTemplate<X> {
    fn clone(&self) -> Self {
        Self { start: self.start.clone() }
    }
}

impl<X> fmt::Debug for ChildTemplate<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildTemplate").finish_non_exhaustive()
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .field("kind", &self.kind)
            .field("grace", &self.grace)
            .finish_non_exhaustive()
    }
}

/// What a start function gets.
#[derive(Clone, Debug)]
pub struct StartContext {
    /// The child's id, which is its name in the namespace.
    pub name: String,
    /// The name for ractor: `<prefix>/<name>`.
    pub full_name: String,
    /// Who supervises the child; it must be linked to it.
    pub supervisor: ActorCell,
    /// For all that the child starts; drained when it has ended.
    pub scope: Scope,
    /// The namespace.
    pub namespace: Namespace,
    /// How often it was started under this claim of its name, from 1.
    pub incarnation: u64,
    pub(crate) life: Arc<Life>,
}

impl StartContext {
    /// Says something of this incarnation, to be found by [`Namespace::lookup`] under its name as long as it lives; replaces
    /// what it said before. True if this incarnation is the one of now; of a former one nothing is kept.
    pub fn set_value<T: Any + Send + Sync>(&self, value: T) -> bool {
        self.namespace.set_value(&self.name, &self.life, Arc::new(value))
    }

    /// Spawns the actor under the child's name, linked to the supervisor. An actor spawned this way tells panics and
    /// errors apart, and is refused calls to itself; one spawned by hand ends with `Error` in both cases.
    ///
    /// # Errors
    /// [`StartError::Failed`] if `pre_start` fails or the name is taken in ractor's registry.
    pub async fn spawn<A: Actor>(&self, actor: A, arguments: A::Arguments) -> Result<Started, StartError> {
        let actor = Supervised { actor, life: self.life.clone() };
        let (reference, join) =
            Actor::spawn_linked(Some(self.full_name.clone()), actor, arguments, self.supervisor.clone())
                .await?;
        Ok(Started { cell: reference.into(), join })
    }
}

/// A child that was started.
#[derive(Debug)]
pub struct Started {
    /// The actor.
    pub cell: ActorCell,
    /// Its task, as ractor's `spawn` returned it.
    pub join: JoinHandle<()>,
}
