//! The actor of one call: it exists so that the call can be seen, watched and killed.
//!
//! The call itself runs in a task of the actor's scope: a kill ends the actor, the drained scope ends the task, and the
//! task's promise tells the caller. While the call runs, the actor only waits for messages it never gets.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ergane_core::ModelReply;
use ergane_core::ProviderError;
use ergane_otp::{ChildSpec, DynamicSupervisorRef, Promise, Restart, Scope, Shutdown, StartContext};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::call::Line;
use super::lane::{Running, Ticket};
use crate::provider::{DeltaSink, ProviderCall};

/// Starts the actor of an admitted call, without waiting.
pub(super) fn start(requests: &DynamicSupervisorRef, ticket: Ticket, running: Running) {
    let Ticket { call, line, promise, waiting, tokens: _, asker: _, until: _ } = ticket;
    line.admit();
    drop(waiting);
    let job = Job { call, line, promise, running };
    // A spec's start may be called anew; the job is there for the first time only, and the child is temporary.
    let job = Mutex::new(Some(job));
    let spec = ChildSpec::actor(next_name(), move |context: StartContext| {
        let job = job.lock().unwrap_or_else(PoisonError::into_inner).take();
        (Request, (context.scope, job))
    })
    .restart(Restart::Temporary)
    .shutdown(Shutdown::BrutalKill);
    requests.start_child_with_reply(spec, |outcome| {
        if let Err(error) = outcome {
            // The job went with the start, and its promise has told the caller.
            tracing::warn!(%error, "a request's actor did not start");
        }
    });
}

/// Unique in the process, so in every namespace.
fn next_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("request/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

struct Request;

/// What an admitted call needs. Dropping it unfinished tells the caller and gives back its place.
struct Job {
    call: ProviderCall,
    line: Arc<Line>,
    promise: Promise<Result<ModelReply, ProviderError>>,
    running: Running,
}

impl Actor for Request {
    type Msg = ();
    type State = (Scope, Option<Job>);
    type Arguments = (Scope, Option<Job>);

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(arguments)
    }

    async fn post_start(
        &self,
        myself: ActorRef<()>,
        (scope, job): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let cell = myself.get_cell();
        match job.take() {
            Some(job) => drop(scope.spawn("model call", job.run(StopWhenDropped(cell)))),
            None => cell.stop(None),
        }
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

impl Job {
    async fn run(self, actor: StopWhenDropped) {
        let Self { mut call, line, promise, running } = self;
        line.started(actor.0.clone());
        let (deltas, lane) = (line.clone(), running.lane().clone());
        let (heard, answered) = (lane.clone(), Arc::new(AtomicBool::new(false)));
        let answers = answered.clone();
        let model = call.request.model.clone();
        call.deltas = DeltaSink::new(move |delta| deltas.delta(delta)).and_hear(move |head| {
            answers.store(head.status < 500, Ordering::Relaxed);
            heard.heard(head);
        });
        tokio::select! {
            biased;
            () = line.hung_up() => {}
            mut result = lane.provider.call(call) => {
                if let Ok(reply) = &mut result {
                    lane.price(reply, &model);
                }
                // The place first: a caller that asks again at once finds room.
                running.finish(&result, answered.load(Ordering::Relaxed));
                promise.keep(result);
            }
        }
        drop(actor);
    }
}

/// The actor ends with its task, also when the task panics.
struct StopWhenDropped(ActorCell);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.stop(None);
    }
}
