//! Wraps an actor so that its end can be explained.
//!
//! ractor reports a panic and a returned error by the same event, and reports neither when nobody supervises at that
//! moment (a supervisor that is itself ending). The wrapper stands inside the actor: it turns a panic into a typed error,
//! leaves what it saw with the actor's life, and marks which actor is running, so that a call to oneself is refused
//! instead of waiting for its deadline.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::exit::ExitReason;
use crate::life::Life;

pub(crate) struct Supervised<A> {
    pub(crate) actor: A,
    pub(crate) life: Arc<Life>,
}

thread_local! {
    static CURRENT: Cell<Option<ActorId>> = const { Cell::new(None) };
}

/// Whether the code that asks runs inside a handler of that actor (not in a task that the handler spawned).
pub(crate) fn is_current(pid: ActorId) -> bool {
    CURRENT.get() == Some(pid)
}

/// Names the running actor while it is polled; puts the former back also when it panics.
struct Running(Option<ActorId>);

impl Running {
    fn enter(pid: ActorId) -> Self {
        Self(CURRENT.replace(Some(pid)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

impl<A> Supervised<A> {
    async fn guard<T>(
        &self,
        pid: ActorId,
        work: impl Future<Output = Result<T, ActorProcessingErr>> + Send,
    ) -> Result<T, ActorProcessingErr> {
        let mut work = pin!(work);
        let outcome = poll_fn(|context| {
            let _running = Running::enter(pid);
            match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
                Ok(poll) => poll,
                Err(payload) => {
                    Poll::Ready(Err(Box::new(ExitReason::from_panic(payload)) as ActorProcessingErr))
                }
            }
        })
        .await;
        if let Err(error) = &outcome {
            self.life.hint(ExitReason::from_failure(error));
        }
        outcome
    }
}

impl<A: Actor> Actor for Supervised<A> {
    type Msg = A::Msg;
    type State = A::State;
    type Arguments = A::Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<A::Msg>,
        arguments: A::Arguments,
    ) -> Result<A::State, ActorProcessingErr> {
        let pid = myself.get_id();
        self.life.born(pid);
        self.guard(pid, async move { self.actor.pre_start(myself, arguments).await }).await
    }

    async fn post_start(
        &self,
        myself: ActorRef<A::Msg>,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.guard(myself.get_id(), async move { self.actor.post_start(myself, state).await }).await
    }

    async fn post_stop(
        &self,
        myself: ActorRef<A::Msg>,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.guard(myself.get_id(), async move { self.actor.post_stop(myself, state).await }).await
    }

    async fn handle(
        &self,
        myself: ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.guard(myself.get_id(), async move { self.actor.handle(myself, message, state).await }).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        event: SupervisionEvent,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.guard(
            myself.get_id(),
            async move { self.actor.handle_supervisor_evt(myself, event, state).await },
        )
        .await
    }
}
