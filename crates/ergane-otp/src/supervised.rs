//! Wraps an actor so that its end can be explained.
//!
//! ractor reports a panic and a returned error by the same event, and reports neither when nobody supervises at that
//! moment (a supervisor that is itself ending). The wrapper stands inside the actor: it turns a panic into a typed error,
//! leaves what it saw with the actor's life, and marks which actor is running, so that a call to oneself is refused
//! instead of waiting for its deadline.

use std::any::Any;
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
    /// Runs a part of the actor. `begin` is called at once, and makes the future of that part: so the message that it takes
    /// is not kept beside that future, and an actor whose handlers never wait has futures of a few bytes. A message is
    /// moved in them several times, and an idle actor keeps the room for them.
    fn guard<T, F>(
        &self,
        pid: ActorId,
        begin: impl FnOnce() -> F,
    ) -> impl Future<Output = Result<T, ActorProcessingErr>> + Send
    where
        T: Send,
        A: Sync,
        F: Future<Output = Result<T, ActorProcessingErr>> + Send,
    {
        let begun = {
            let _running = Running::enter(pid);
            catch_unwind(AssertUnwindSafe(begin))
        };
        async move {
            let outcome = match begun {
                Ok(work) => {
                    let mut work = pin!(work);
                    poll_fn(|context| {
                        let _running = Running::enter(pid);
                        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
                            Ok(poll) => poll,
                            Err(payload) => Poll::Ready(Err(panicked(payload))),
                        }
                    })
                    .await
                }
                Err(payload) => Err(panicked(payload)),
            };
            if let Err(error) = &outcome {
                self.life.hint(ExitReason::from_failure(error));
            }
            outcome
        }
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> ActorProcessingErr {
    Box::new(ExitReason::from_panic(payload))
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
        self.guard(pid, || self.actor.pre_start(myself, arguments)).await
    }

    fn post_start(
        &self,
        myself: ActorRef<A::Msg>,
        state: &mut A::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        self.guard(myself.get_id(), move || self.actor.post_start(myself, state))
    }

    fn post_stop(
        &self,
        myself: ActorRef<A::Msg>,
        state: &mut A::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        self.guard(myself.get_id(), move || self.actor.post_stop(myself, state))
    }

    fn handle(
        &self,
        myself: ActorRef<A::Msg>,
        message: A::Msg,
        state: &mut A::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        self.guard(myself.get_id(), move || self.actor.handle(myself, message, state))
    }

    fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        event: SupervisionEvent,
        state: &mut A::State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        self.guard(myself.get_id(), move || self.actor.handle_supervisor_evt(myself, event, state))
    }
}
