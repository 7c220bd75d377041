//! A model and a tool that the test answers by hand: nothing happens before the test lets it, so nothing is a race.
#![allow(dead_code, unreachable_pub)] // every test file uses its part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ergane::core::{
    ErrorKind, ModelReply, ModelRequest, Origin, ProviderError, Reasoning, Spent, StopReason, Text, ToolCall,
    Usage,
};
use ergane::otp::TaskSupervisorRef;
use ergane::prelude::*;
use ergane::provider::{BoxFuture, Delta, DeltaSink, Endpoint, Provider, ProviderCall};
use ergane::ractor::ActorCell;
use ergane::tool_support::ToolError;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

/// Long enough that only a hang meets it.
pub const LONG: Duration = Duration::from_secs(60);

/// Awaits with a deadline that only a hang meets.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LONG, future).await {
        Ok(output) => output,
        Err(_) => panic!("timed out: {what}"),
    }
}

/// Waits until `condition` holds; for things that nobody announces.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let poll = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, poll).await;
}

/// A provider whose calls the test answers.
#[derive(Debug, Clone)]
pub struct Model(mpsc::UnboundedSender<Asked>);

/// The calls of a [`Model`].
pub struct Questions(mpsc::UnboundedReceiver<Asked>);

/// One call of a [`Model`].
#[derive(Debug)]
pub struct Asked {
    pub request: ModelRequest,
    provider: Text,
    deltas: DeltaSink,
    reply: oneshot::Sender<Result<ModelReply, ProviderError>>,
}

pub fn model() -> (Model, Questions) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Model(sender), Questions(receiver))
}

impl Provider for Model {
    fn api(&self) -> &'static str {
        "test"
    }

    fn default_model(&self) -> Option<Text> {
        Some("m".into())
    }

    fn endpoint(&self) -> String {
        "a test".into()
    }

    fn with_endpoint(&self, _: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(self.clone()))
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        let asked = self.0.clone();
        Box::pin(async move {
            let ProviderCall { provider, request, deltas, .. } = call;
            let (reply, answer) = oneshot::channel();
            asked.send(Asked { request, provider, deltas, reply }).expect("the test listens");
            answer.await.unwrap_or_else(|_| Err(ProviderError::new(ErrorKind::Network, "the test hung up")))
        })
    }
}

impl Questions {
    pub async fn next(&mut self) -> Asked {
        soon("the model is asked", self.0.recv()).await.expect("the model is asked")
    }

    /// Whether nobody has asked since.
    pub fn is_empty(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

impl Asked {
    /// The texts of the request's messages.
    pub fn texts(&self) -> Vec<String> {
        self.request.messages.iter().map(|message| message.text()).collect()
    }

    /// The results in the request, as `name: text`.
    pub fn results(&self) -> Vec<String> {
        let results =
            self.request.messages.iter().flat_map(|message| message.results().cloned().collect::<Vec<_>>());
        results.map(|result| format!("{}: {}", result.name, result.text())).collect()
    }

    pub fn show(&self, text: &str) {
        self.deltas.send(Delta::Text(text.into()));
    }

    pub fn think(&self, thought: &str) {
        self.deltas.send(Delta::Reasoning(thought.into()));
    }

    pub fn answer(self, text: &str) {
        self.finish(vec![Part::text(text)], StopReason::Stop);
    }

    pub fn call(self, calls: &[(&str, Value)]) {
        let calls = calls.iter().map(|(name, arguments)| {
            Part::ToolCall(ToolCall {
                id: ergane::core::CallId::UNNUMBERED,
                wire_id: None,
                name: (*name).into(),
                arguments: arguments.to_string().into(),
                complete: true,
                extra: Map::new(),
            })
        });
        self.finish(calls.collect(), StopReason::ToolCalls);
    }

    pub fn think_and_answer(self, thought: &str, text: &str) {
        let reasoning = Reasoning { text: thought.into(), ..Reasoning::default() };
        self.finish(vec![Part::Reasoning(reasoning), Part::text(text)], StopReason::Stop);
    }

    pub fn finish(self, parts: Vec<Part>, stop: StopReason) {
        let origin = Origin {
            provider: self.provider.clone(),
            api: "test".into(),
            model: self.request.model.clone(),
            response_id: None,
            stop,
        };
        let message = Message { role: Role::Assistant, parts, origin: Some(origin) };
        let usage = Some(Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() });
        // A session that has given the call up does not take the answer.
        drop(self.reply.send(Ok(ModelReply { message, usage, cost: None })));
    }

    pub fn fail(self, kind: ErrorKind) {
        self.fail_with(ProviderError::new(kind, format!("the test says {kind}")));
    }

    pub fn fail_with(self, error: ProviderError) {
        drop(self.reply.send(Err(error)));
    }

    /// Fails after all of the answer was counted.
    pub fn fail_after(self, kind: ErrorKind, usage: Usage) {
        let spent = Some(Box::new(Spent::of(Some(usage), None)));
        self.fail_with(ProviderError { spent, ..ProviderError::new(kind, format!("the test says {kind}")) });
    }

    /// Waits until the caller has given this call up.
    pub async fn given_up(&mut self) {
        soon("the call is given up", self.reply.closed()).await;
    }
}

/// A tool whose calls the test answers.
pub struct HandTool {
    name: &'static str,
    effect: Effect,
    calls: mpsc::UnboundedSender<Called>,
}

/// The calls of [`HandTool`]s.
pub struct Calls(mpsc::UnboundedReceiver<Called>);

/// One call of a [`HandTool`].
pub struct Called {
    pub name: &'static str,
    pub context: ToolContext,
    pub arguments: Map<String, Value>,
    reply: oneshot::Sender<Result<ToolOutput, ToolError>>,
}

/// Tools of these names and effects.
pub fn hand_tools(tools: &[(&'static str, Effect)]) -> (Vec<Arc<dyn Tool>>, Calls) {
    let (calls, receiver) = mpsc::unbounded_channel();
    let make = |(name, effect): &(&'static str, Effect)| -> Arc<dyn Tool> {
        Arc::new(HandTool { name, effect: *effect, calls: calls.clone() })
    };
    (tools.iter().map(make).collect(), Calls(receiver))
}

impl Tool for HandTool {
    fn name(&self) -> &str {
        self.name
    }

    fn description(&self) -> &str {
        "a tool of the test"
    }

    fn parameters(&self) -> Value {
        serde_json::json!({ "type": "object", "properties": {} })
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn call(
        &self,
        context: ToolContext,
        arguments: Map<String, Value>,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        let (reply, answer) = oneshot::channel();
        let called = Called { name: self.name, context, arguments, reply };
        let sent = self.calls.send(called);
        Box::pin(async move {
            assert!(sent.is_ok(), "the test listens");
            answer.await.unwrap_or_else(|_| Err(ToolError::failed("the test hung up")))
        })
    }
}

impl Calls {
    pub async fn next(&mut self) -> Called {
        soon("a tool is called", self.0.recv()).await.expect("a tool is called")
    }

    /// Whether nothing was called since.
    pub fn is_empty(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

impl Called {
    pub fn give(self, text: &str) {
        // A session that ended the call does not take the result.
        drop(self.reply.send(Ok(ToolOutput::from(text))));
    }

    pub fn give_parts(self, content: Vec<Part>) {
        drop(self.reply.send(Ok(ToolOutput { content, ..ToolOutput::from("") })));
    }

    /// Waits until the body of this call was dropped.
    pub async fn dropped(mut self) {
        soon("the body of the call is dropped", self.reply.closed()).await;
    }
}

/// A system in memory with this model.
pub async fn system(model: &Model) -> System {
    System::builder().provider("test", model.clone()).start().await.expect("the system starts")
}

/// A system in memory with this model and these tools.
pub async fn system_with(model: &Model, tools: Vec<Arc<dyn Tool>>) -> System {
    System::builder().provider("test", model.clone()).tools(tools).start().await.expect("the system starts")
}

/// The living actor of that name in the system's namespace.
pub async fn actor(system: &System, name: &str) -> ActorCell {
    let names = system.context().namespace();
    names.wait_for(name, LONG).await.unwrap_or_else(|error| panic!("no actor {name}: {error}"))
}

/// The living actor of that name in ractor's registry, below the system's name.
pub async fn raw_actor(system: &System, name: &str) -> ActorCell {
    let full = format!("{}/{name}", system.name());
    until(&format!("actor {full}"), || async { ergane::ractor::registry::where_is(full.clone()).is_some() })
        .await;
    ergane::ractor::registry::where_is(full).expect("it was there a moment ago")
}

/// The actor of the only request, once there is one.
pub async fn only_request(system: &System) -> ActorCell {
    let requests = TaskSupervisorRef::new(system.context().namespace(), "requests");
    let find = async || {
        let id = requests.children().await.ok()?.into_iter().next()?.id;
        ergane::ractor::registry::where_is(system.context().namespace().full_name(&id))
    };
    until("a request", || async { find().await.is_some() }).await;
    find().await.expect("it was there a moment ago")
}

/// Runs a send in the background.
pub fn sending(session: &Session, text: &str) -> tokio::task::JoinHandle<Result<TurnResult, SessionError>> {
    let send = session.send_message(text);
    tokio::spawn(async move { send.await })
}

/// The result of a send that ran in the background.
pub async fn result(send: tokio::task::JoinHandle<Result<TurnResult, SessionError>>) -> TurnResult {
    soon("the turn ends", send).await.expect("no panic").expect("a result")
}

/// The kinds of the facts of a session, in order, from its journal.
pub async fn kinds(system: &System, session: &Session) -> Vec<String> {
    log(system, session)
        .await
        .iter()
        .map(|event| event["type"].as_str().expect("a type").to_owned())
        .collect()
}

/// The facts of a session as JSON.
pub async fn log(system: &System, session: &Session) -> Vec<Value> {
    let port = system.context().journal(Durability::Strict);
    let position = port.position(session.name()).await.expect("readable").expect("stored");
    let log = port.load(session.name(), ergane::core::Seq(0), position.next_seq).await.expect("readable");
    log.iter().map(|envelope| serde_json::to_value(&**envelope).expect("json")).collect()
}
