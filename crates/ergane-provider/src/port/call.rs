//! A call as its caller sees it: what goes in, what comes back, and the handle in between.
//!
//! Exactly one [`CallEvent::Done`] comes, last, whatever happens on the way. The end travels with the call as a
//! [`Promise`]: through mailboxes, queues, and the actor that carries it out. Whatever holds it and dies, breaks it, and a
//! broken promise is a `Done` too.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ergane_core::{ErrorKind, ModelReply, ModelRequest, ProviderError, Text};
use ergane_otp::Promise;
use ractor::ActorCell;
use tokio::sync::Notify;

use super::lane::Lane;
use super::wait::WaitReason;
use crate::provider::{Delta, Endpoint};

/// One model call, addressed.
#[derive(Debug, Clone)]
pub struct Call {
    /// The provider's registered name.
    pub provider: Text,
    /// Where it is, if elsewhere than registered.
    pub endpoint: Endpoint,
    /// What is asked.
    pub request: ModelRequest,
    /// How long the server may be silent.
    pub idle_timeout: Duration,
    /// Who asks, such as a session: when calls wait, those who ask take turns.
    pub asker: Text,
    /// How long the call may wait to be made. One that would have to wait for longer, as far as is known, is refused at
    /// once, with the wait as its hint. `None` waits for as long as it takes.
    pub max_wait: Option<Duration>,
}

impl Call {
    /// A call by nobody in particular, at the registered endpoint, to a server that may be silent for 120 s; it waits for
    /// as long as it takes.
    pub fn new(provider: impl Into<Text>, request: ModelRequest) -> Self {
        Self {
            provider: provider.into(),
            endpoint: Endpoint::default(),
            request,
            idle_timeout: Duration::from_secs(120),
            asker: "".into(),
            max_wait: None,
        }
    }
}

/// What becomes of a call.
#[derive(Debug)]
pub enum CallEvent {
    /// It is not made yet. Told again when there is another reason.
    Waiting {
        /// Why.
        reason: WaitReason,
    },
    /// It was admitted; this actor carries it out.
    Started {
        /// The request's actor.
        request: ActorCell,
    },
    /// A piece of the answer.
    Delta(Delta),
    /// The end, once: the answer, or why there is none.
    Done(Result<ModelReply, ProviderError>),
}

/// Holds a call. Dropping it cancels the call: its actor ends and its connection is closed, or it leaves the queue. No
/// event follows (but one that another thread is handing over at that very moment).
#[must_use = "dropping the handle cancels the call"]
pub struct CallHandle {
    pub(super) line: Arc<Line>,
    pub(super) lane: Option<Arc<Lane>>,
}

impl Drop for CallHandle {
    fn drop(&mut self) {
        self.line.hang_up();
        if let Some(lane) = &self.lane
            && !self.line.is_admitted()
        {
            lane.forget_cancelled();
        }
    }
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallHandle").field("open", &self.line.is_open()).finish_non_exhaustive()
    }
}

type Sink = Box<dyn Fn(CallEvent) + Send + Sync>;

/// Between a call and its caller.
pub(super) struct Line {
    sink: Sink,
    /// Neither done nor cancelled.
    open: AtomicBool,
    admitted: AtomicBool,
    cancelled: Notify,
}

impl Line {
    pub(super) fn new(sink: impl Fn(CallEvent) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            sink: Box::new(sink),
            open: AtomicBool::new(true),
            admitted: AtomicBool::new(false),
            cancelled: Notify::new(),
        })
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    fn is_admitted(&self) -> bool {
        self.admitted.load(Ordering::SeqCst)
    }

    pub(super) fn waiting(&self, reason: &WaitReason) {
        self.send(CallEvent::Waiting { reason: reason.clone() });
    }

    pub(super) fn started(&self, request: ActorCell) {
        self.send(CallEvent::Started { request });
    }

    pub(super) fn admit(&self) {
        self.admitted.store(true, Ordering::SeqCst);
    }

    pub(super) fn delta(&self, delta: Delta) {
        self.send(CallEvent::Delta(delta));
    }

    fn send(&self, event: CallEvent) {
        if self.is_open() {
            (self.sink)(event);
        }
    }

    pub(super) fn done(&self, result: Result<ModelReply, ProviderError>) {
        if self.open.swap(false, Ordering::SeqCst) {
            (self.sink)(CallEvent::Done(result));
        }
    }

    /// The promise of this line's `Done`.
    pub(super) fn promise(self: &Arc<Self>) -> Promise<Result<ModelReply, ProviderError>> {
        let line = self.clone();
        Promise::new(move |answer| line.done(answer.unwrap_or_else(|| Err(broken()))))
    }

    fn hang_up(&self) {
        self.open.store(false, Ordering::SeqCst);
        self.cancelled.notify_one();
    }

    /// Returns when the caller has hung up.
    pub(super) async fn hung_up(&self) {
        self.cancelled.notified().await;
    }
}

/// Why there is no answer when nobody was left to say so.
fn broken() -> ProviderError {
    let message =
        "the actor that carried the request ended before the answer: it was killed, or the provider panicked";
    ProviderError { retryable: true, ..ProviderError::new(ErrorKind::Internal, message) }
}
