//! An actor that carries out one piece of work and ends with it.
//!
//! A supervised child can be started again. So it has a name that it claims, a task of its own that reaps it, and reports to
//! its supervisor at each step. Work that is done once needs none of that: what is left is an actor, to be seen, watched
//! and killed, with a place in a [`Scope`] by which it is waited for.

use std::marker::PhantomData;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;

use crate::events;
use crate::exit::ExitReason;
use crate::life::Life;
use crate::scope::{Hold, Scope};
use crate::supervised::Supervised;

/// Spawns an actor without an await: for a handler, and for an actor whose `pre_start` awaits nothing that is not there
/// already. Linked to `supervisor`, if there is one. Must be called within a tokio runtime.
///
/// # Errors
/// As ractor's own `spawn` and `spawn_linked`; and [`SpawnErr::StartupFailed`] if the `pre_start` waits after all, which drops it.
pub fn spawn_now<A: Actor>(
    name: Option<String>,
    actor: A,
    arguments: A::Arguments,
    supervisor: impl Into<Option<ActorCell>>,
) -> Result<(ActorRef<A::Msg>, JoinHandle<()>), SpawnErr> {
    let supervisor = supervisor.into();
    let start = async move {
        match supervisor {
            Some(supervisor) => Actor::spawn_linked(name, actor, arguments, supervisor).await,
            None => Actor::spawn(name, actor, arguments).await,
        }
    };
    // Unconstrained: to a task that has used up its share of polls, what is there already would say that it is not.
    let start = tokio::task::unconstrained(start);
    match pin!(start).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(SpawnErr::StartupFailed("its pre_start waits for something".into())),
    }
}

impl Scope {
    /// Carries out `work` in an actor of its own, which belongs to this scope and ends with the work. Its name is
    /// process-global and in no namespace; it is linked to `supervisor`, which hears of its end unless that is in good order.
    /// A kill and the drain drop the work at its next await, a stop waits for its end. To ractor it is `Starting` as long as it
    /// works. In a scope that is drained already the work is dropped.
    ///
    /// `work` is told in which actor it runs. Monitors of the actor hear `Normal`, or of a panic, or `Killed`. Never waits.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SpawnErr`] if the name is taken or the supervisor is ending; the work is dropped then.
    pub fn spawn_actor<W, F>(
        &self,
        name: String,
        supervisor: ActorCell,
        work: W,
    ) -> Result<ActorCell, SpawnErr>
    where
        W: FnOnce(ActorCell) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let life = Life::new();
        let arguments =
            Arguments { work, life: life.clone(), scope: self.clone(), supervisor: supervisor.clone() };
        let actor = Supervised { actor: Task::<W> { end: OnceLock::new(), work: PhantomData }, life };
        // Its end is waited for by its place in the scope, which it gives up last.
        let (actor, _) = spawn_now(Some(name), actor, arguments, supervisor)?;
        Ok(actor.get_cell())
    }
}

/// What has to be told of the end lies with the actor itself, not with its state: the state may travel in an event, and a
/// panic drops the work before it is known that it panicked. ractor drops the actor last, when its name is free.
struct Task<W> {
    end: OnceLock<End>,
    work: PhantomData<fn(W)>,
}

struct Arguments<W> {
    work: W,
    life: Arc<Life>,
    scope: Scope,
    supervisor: ActorCell,
}

impl<W, F> Actor for Task<W>
where
    W: FnOnce(ActorCell) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    type Msg = ();
    /// The work, until it is begun.
    type State = Option<W>;
    type Arguments = Arguments<W>;

    async fn pre_start(
        &self,
        me: ActorRef<()>,
        Arguments { work, life, scope, supervisor }: Arguments<W>,
    ) -> Result<Self::State, ActorProcessingErr> {
        let cell = me.get_cell();
        self.end.get_or_init(|| End {
            begun: AtomicBool::new(false),
            done: AtomicBool::new(false),
            life,
            hold: Some(scope.hold(cell.clone())),
            cell,
            supervisor,
        });
        Ok(Some(work))
    }

    /// The work itself, and not a message: nothing else is for this actor to do, and a kill interrupts it here as anywhere.
    async fn post_start(&self, me: ActorRef<()>, work: &mut Self::State) -> Result<(), ActorProcessingErr> {
        if let (Some(end), Some(work)) = (self.end.get(), work.take()) {
            end.begun.store(true, Ordering::Relaxed);
            events::work_starts(&end.supervisor, &end.cell);
            work(me.get_cell()).await;
            end.done.store(true, Ordering::Relaxed);
            // Of an end in good order nobody has to decide anything; its supervisor is not woken for it.
            me.unlink(end.supervisor.clone());
        }
        me.stop(None);
        Ok(())
    }

    /// It supervises nobody; ractor's default would end it with any actor it happened to watch.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        _: SupervisionEvent,
        _: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// Dropped when the actor is gone: leaves the scope, and tells how it ended. Whoever hears of that finds it gone.
struct End {
    begun: AtomicBool,
    done: AtomicBool,
    life: Arc<Life>,
    hold: Option<Hold>,
    cell: ActorCell,
    supervisor: ActorCell,
}

impl Drop for End {
    fn drop(&mut self) {
        drop(self.hold.take());
        let done = self.done.load(Ordering::Relaxed);
        let reason = if done { ExitReason::Normal } else { ExitReason::Killed };
        self.life.end_or_hint(reason.clone());
        if self.begun.load(Ordering::Relaxed) {
            events::work_ends(&self.supervisor, &self.cell, &self.life.reason().unwrap_or(reason));
        }
    }
}
