//! The actor of one call: it exists so that the call can be seen, watched and killed.
//!
//! The call is the actor's work and all that it does. A kill drops it, and with it the call's promise, which tells the
//! caller.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use ergane_core::{ModelReply, ProviderError, Text};
use ergane_otp::{Promise, TaskSupervisorRef};
use ractor::ActorCell;

use super::call::Line;
use super::gate::Permit;
use super::lane::{Lane, Running, Ticket};
use crate::provider::{DeltaSink, Listener, ProviderCall};
use crate::wire::Head;

/// Starts the actor of an admitted call, without waiting.
pub(super) fn start(requests: &TaskSupervisorRef, ticket: Ticket, running: Running) {
    let Ticket { call, line, promise, waiting, weight: _, asker: _, until: _ } = ticket;
    line.admit();
    drop(waiting);
    let job = Job { call, line, promise, running };
    if let Err(error) = requests.start_child(&next_id(), |me| job.run(me)) {
        // The job went with the start, and its promise has told the caller.
        tracing::warn!(%error, "a request's actor did not start");
    }
}

/// Unique in the process, so in every namespace.
fn next_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("request/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What an admitted call needs. Dropping it unfinished tells the caller and gives back its place.
struct Job {
    call: ProviderCall,
    line: Arc<Line>,
    promise: Promise<Result<ModelReply, ProviderError>>,
    running: Running,
}

impl Job {
    async fn run(self, me: ActorCell) {
        let Self { mut call, line, promise, running } = self;
        line.started(me);
        let (deltas, lane, permit) = (line.clone(), running.lane().clone(), running.permit());
        let (answered, model) = (AtomicBool::new(false), OnceLock::new());
        let said = Arc::new(Said { lane: lane.clone(), permit, answered, model });
        let model = call.request.model.clone();
        let (speaking, spoke) = (lane.clone(), AtomicBool::new(false));
        let show = move |delta| {
            if !spoke.swap(true, Ordering::Relaxed) {
                speaking.speaks(permit);
            }
            deltas.delta(delta);
        };
        call.deltas = DeltaSink::new(show).and_tell(said.clone());
        tokio::select! {
            biased;
            () = line.hung_up() => {}
            mut result = lane.provider.call(call) => {
                lane.price(&mut result, said.model.get().map(|model| &**model), &model);
                // The place first: a caller that asks again at once finds room.
                running.finish(&result, said.answered.load(Ordering::Relaxed));
                promise.keep(result);
            }
        }
    }
}

/// What the server said beside its answer.
struct Said {
    lane: Arc<Lane>,
    permit: Permit,
    /// Whether it gave an answer of its own, be it a refusal.
    answered: AtomicBool,
    model: OnceLock<Text>,
}

impl Listener for Said {
    fn heard(&self, head: &Head) {
        self.answered.store(head.status < 500, Ordering::Relaxed);
        self.lane.heard(self.permit, head);
    }

    fn answered_by(&self, model: &str) {
        self.model.get_or_init(|| model.into());
    }
}
