//! The testkit's scripted server as these tests want it, and a small tree with providers in it.

#![allow(dead_code, unused_imports, reason = "every test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests only"
)]

pub(crate) mod gate;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ergane_core::{Message, ModelReply, ModelRequest, ProviderError};
use ergane_otp::{Intensity, Namespace, Supervisor, SupervisorRef};
use ergane_provider::{
    Call, CallEvent, CallHandle, DeltaSink, Endpoint, Provider, ProviderCall, Providers, ProvidersBuilder,
    WaitReason,
};
pub(crate) use ergane_testkit::{Act, FaultServer, Gate, Received};
use tokio::sync::mpsc;

/// Nothing that is waited for here takes long; this only keeps a broken test from hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}

pub(crate) fn send(bytes: impl Into<Vec<u8>>) -> Act {
    Act::Send(bytes.into().into())
}

/// A whole answer, whose end is the end of the connection.
pub(crate) fn answer(status: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Act {
    let mut bytes = head(status, headers);
    bytes.extend_from_slice(body.as_ref());
    send(bytes)
}

pub(crate) fn head(status: &str, headers: &[&str]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

pub(crate) const SSE: &str = "content-type: text/event-stream";
pub(crate) const JSON: &str = "content-type: application/json";
pub(crate) const NDJSON: &str = "content-type: application/x-ndjson";

/// One piece of a chunked body.
pub(crate) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

pub(crate) fn text_event(text: &str) -> String {
    format!("data: {}\n\n", serde_json::json!({"choices": [{"delta": {"content": text}}]}))
}

pub(crate) const STOP_EVENTS: &str =
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// The testkit's server, with the tests' own opinion of what fails: nothing of it may.
pub(crate) struct TestServer {
    pub(crate) url: String,
    server: FaultServer,
}

impl TestServer {
    /// A server that does the same with every connection.
    pub(crate) async fn always(acts: Vec<Act>) -> Self {
        Self::start(move |_| acts.clone()).await
    }

    /// A server that asks `script` what to do with a request.
    pub(crate) async fn start(script: impl Fn(&Received) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let server = FaultServer::start(move |_, request| script(request).into()).await.unwrap();
        Self { url: server.url().to_owned(), server }
    }

    pub(crate) async fn next_request(&self) -> Received {
        self.server.next_request().await.unwrap()
    }

    pub(crate) async fn connection_ended(&self) {
        self.server.connection_ended().await.unwrap();
    }

    pub(crate) fn requests(&self) -> usize {
        self.server.requests().len()
    }
}

pub(crate) fn request(text: &str) -> ModelRequest {
    ModelRequest::new("m", [Arc::new(Message::user_text(text))].into_iter().collect())
}

/// Calls a provider directly, without any actor.
pub(crate) async fn ask(provider: &dyn Provider, request: ModelRequest) -> Result<ModelReply, ProviderError> {
    ask_patiently(provider, request, DEADLINE).await
}

pub(crate) async fn ask_patiently(
    provider: &dyn Provider,
    request: ModelRequest,
    idle_timeout: Duration,
) -> Result<ModelReply, ProviderError> {
    let call = ProviderCall { provider: "test".into(), request, idle_timeout, deltas: DeltaSink::none() };
    within("an answer", provider.call(call)).await
}

/// A tree of providers and requests, alone in its namespace.
pub(crate) struct Tree {
    pub(crate) providers: Providers,
    pub(crate) namespace: Namespace,
    pub(crate) root: SupervisorRef,
}

impl Tree {
    pub(crate) async fn start(builder: ProvidersBuilder) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let namespace = Namespace::new(format!("tree-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let providers = builder.build(&namespace);
        let root = Supervisor::start(&namespace, "root", Intensity::default(), providers.child_specs(), None)
            .await
            .unwrap();
        Self { providers, namespace, root }
    }

    pub(crate) fn call(&self, provider: &str, text: &str) -> Events {
        self.call_at(provider, Endpoint::default(), text)
    }

    pub(crate) fn call_at(&self, provider: &str, endpoint: Endpoint, text: &str) -> Events {
        self.make(Call { endpoint, idle_timeout: DEADLINE, ..Call::new(provider, request(text)) })
    }

    pub(crate) fn make(&self, call: Call) -> Events {
        let (tell, events) = mpsc::unbounded_channel();
        let handle = self.providers.call(call, move |event| {
            tell.send(event).ok();
        });
        Events { handle: Some(handle), events }
    }

    /// Returns when the provider's actor has handled all calls made before: a call made and cancelled after them has left
    /// its queue. To be used while no place is free.
    pub(crate) async fn queue_is_settled(&self, provider: &str) {
        let mut last = self.call(provider, "cancelled");
        last.handle = None;
        assert!(within("the queue", last.events.recv()).await.is_none(), "a cancelled call hears nothing");
    }

    pub(crate) async fn shutdown(self) {
        self.root.shutdown(DEADLINE).await.unwrap();
    }
}

/// A call in flight.
pub(crate) struct Events {
    pub(crate) handle: Option<CallHandle>,
    pub(crate) events: mpsc::UnboundedReceiver<CallEvent>,
}

impl Events {
    pub(crate) async fn next(&mut self) -> CallEvent {
        within("an event of a call", self.events.recv()).await.expect("an event before the channel closed")
    }

    /// The actor of the request, once it was admitted.
    pub(crate) async fn started(&mut self) -> ractor::ActorCell {
        loop {
            match self.next().await {
                CallEvent::Started { request } => return request,
                CallEvent::Waiting { .. } => {}
                other => panic!("not started: {other:?}"),
            }
        }
    }

    /// Why it waits, which must be the next event.
    pub(crate) async fn waiting(&mut self) -> WaitReason {
        match self.next().await {
            CallEvent::Waiting { reason } => reason,
            other => panic!("it does not wait: {other:?}"),
        }
    }

    /// The end, which must be the last event.
    pub(crate) async fn done(&mut self) -> Result<ModelReply, ProviderError> {
        loop {
            if let CallEvent::Done(result) = self.next().await {
                self.handle = None;
                assert!(
                    within("the end of the events", self.events.recv()).await.is_none(),
                    "an event after the end"
                );
                return result;
            }
        }
    }
}
