//! A provider whose calls end when the test says so.

use std::sync::Arc;

use ergane_core::{Message, ModelReply, ProviderError, Role, Text, Usage};
use ergane_provider::{BoxFuture, Endpoint, Limits, Provider, ProviderCall, Scripted, ScriptedReply};
use tokio::sync::{mpsc, oneshot};

use super::within;

/// What a call says to make the provider panic.
pub(crate) const PANIC: &str = "panic";

/// A provider whose calls end when the test says so.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    running: mpsc::UnboundedSender<Running>,
}

/// The calls that run, as they begin.
pub(crate) struct Calls(mpsc::UnboundedReceiver<Running>);

/// A call that runs, and is dropped when it ends or is cancelled.
pub(crate) struct Running {
    pub(crate) text: String,
    finish: oneshot::Sender<Result<Option<Usage>, ProviderError>>,
}

impl Running {
    pub(crate) async fn cancelled(mut self) {
        within("a cancelled call", self.finish.closed()).await;
    }

    pub(crate) fn answer(self) {
        self.finish.send(Ok(None)).unwrap();
    }

    /// The answer took so many tokens.
    pub(crate) fn answer_of(self, tokens: u64) {
        self.finish.send(Ok(Some(Usage { input_tokens: tokens, ..Usage::default() }))).unwrap();
    }

    pub(crate) fn fail(self, error: ProviderError) {
        self.finish.send(Err(error)).unwrap();
    }
}

impl Calls {
    pub(crate) async fn next(&mut self) -> Running {
        within("a running call", self.0.recv()).await.unwrap()
    }

    pub(crate) fn none_runs(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

pub(crate) fn gate(max_in_flight: usize) -> (Gate, Calls) {
    gate_of(Limits { max_in_flight, max_waiting: 1024, ..Limits::default() })
}

pub(crate) fn gate_of(limits: Limits) -> (Gate, Calls) {
    let (running, calls) = mpsc::unbounded_channel();
    (Gate { limits, running }, Calls(calls))
}

impl Provider for Gate {
    fn api(&self) -> &'static str {
        "gate"
    }

    fn default_model(&self) -> Option<Text> {
        None
    }

    fn endpoint(&self) -> String {
        "a test".to_owned()
    }

    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        let text = endpoint.base_url.clone().unwrap_or_else(|| "elsewhere".into());
        Ok(Arc::new(Scripted::replies([ScriptedReply::text(&*text)])))
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        let text = call.request.messages.last().map(|message| message.text()).unwrap_or_default();
        let (finish, finished) = oneshot::channel();
        self.running.send(Running { text: text.clone(), finish }).ok();
        Box::pin(async move {
            assert_ne!(text, PANIC, "a panic, as the test wants");
            let usage = finished.await.unwrap_or(Ok(None))?;
            let message = Message { role: Role::Assistant, parts: vec!["done".into()], origin: None };
            Ok(ModelReply { message, usage, cost: None })
        })
    }
}
