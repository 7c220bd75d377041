//! What all incarnations of one provider's actor share: how many calls run, how many wait, and the door to the actor.
//!
//! Running calls are counted by guards that live with the calls and not by the actor. So a provider's actor that was
//! killed finds the right number when it comes back, and nobody has to tell it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ergane_core::{ErrorKind, ModelReply, ProviderError, Text};
use ergane_otp::Promise;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::admission::AdmissionMsg;
use super::call::Line;
use super::door::Door;
use crate::provider::{BoxFuture, Provider, ProviderCall};

/// How many calls may wait at one provider.
pub(super) const QUEUE_LIMIT: usize = 1024;

/// How many questions that are no calls (lists of models, vectors of texts) may be open at one provider.
const ERRANDS: usize = 8;

/// One provider at one endpoint.
pub(super) struct Lane {
    /// The actor's name: `provider/NAME` or `provider/NAME@URL`.
    pub(super) actor: String,
    pub(super) provider_name: Text,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) door: Door,
    waiting: AtomicUsize,
    running: AtomicUsize,
    errands: Semaphore,
}

impl Lane {
    pub(super) fn new(actor: String, provider_name: Text, provider: Arc<dyn Provider>) -> Self {
        Self {
            actor,
            provider_name,
            provider,
            door: Door::default(),
            waiting: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            errands: Semaphore::new(ERRANDS),
        }
    }

    /// Asks the provider something that is no call, in the task of whoever asks: a bounded number at a time, and within
    /// `deadline`, the wait for the others included.
    pub(super) async fn errand<T>(
        &self,
        deadline: Duration,
        ask: impl FnOnce(&dyn Provider) -> BoxFuture<'static, Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let asked = async {
            // It is never closed; if it were, the bound would be gone and nothing else.
            let _turn = self.errands.acquire().await.ok();
            ask(&*self.provider).await
        };
        timeout(deadline, asked).await.unwrap_or_else(|_| {
            let message = format!(
                "{} at {} did not answer within {deadline:?}",
                self.provider_name,
                self.provider.endpoint()
            );
            Err(ProviderError::new(ErrorKind::Timeout, message))
        })
    }

    /// A place in the queue. Calls for which there is room to run only pass through it, and take none of its places.
    pub(super) fn wait(self: &Arc<Self>) -> Result<Waiting, ProviderError> {
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(self.clone());
        let room = self.limit().saturating_sub(self.running.load(Ordering::SeqCst));
        if before < QUEUE_LIMIT.saturating_add(room) {
            return Ok(waiting);
        }
        let message = format!(
            "{QUEUE_LIMIT} calls wait for {} already; let some of them end, or raise how many it may carry out at once",
            self.provider_name
        );
        Err(ProviderError::new(ErrorKind::Overloaded, message))
    }

    /// Room for one more call to run. Asked by the lane's actor only, of which there is one at a time.
    pub(super) fn run(self: &Arc<Self>) -> Option<Running> {
        if self.running.load(Ordering::SeqCst) >= self.limit() {
            return None;
        }
        self.running.fetch_add(1, Ordering::SeqCst);
        Some(Running(self.clone()))
    }

    fn limit(&self) -> usize {
        self.provider.max_in_flight().max(1)
    }

    pub(super) fn forget_cancelled(&self) {
        self.door.tell(AdmissionMsg::ForgetCancelled);
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("actor", &self.actor)
            .field("waiting", &self.waiting)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// A call on its way, with all that must be told or given back when it is lost.
pub(super) struct Ticket {
    pub(super) call: ProviderCall,
    pub(super) line: Arc<Line>,
    pub(super) promise: Promise<Result<ModelReply, ProviderError>>,
    pub(super) waiting: Waiting,
}

/// A place in a lane's queue, given back when dropped.
pub(super) struct Waiting(Arc<Lane>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A running call, counted until dropped; then the next one is let in.
pub(super) struct Running(Arc<Lane>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        // A call counts as waiting before its message is sent, so none that the actor left waiting is overlooked here.
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            self.0.door.tell(AdmissionMsg::Room);
        }
    }
}
