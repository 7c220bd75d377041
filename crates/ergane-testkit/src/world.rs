//! A world that can stop between any two things that matter, and go on from what is durable.
//!
//! What a crash leaves depends on the instant. A [`World`] makes every instant that matters addressable: it wraps the
//! journal, the providers and the tools of a system, and counts the [`Step`]s that pass: before and after facts are written,
//! a session is opened, a model is asked and answers, a tool begins and has ended. A world that is told to stop at a step
//! never passes it: from there on no fact is written, no answer arrives, no tool goes on. The test then throws the system
//! away, as a crash does, and builds the next one on the same store.
//!
//! Run once without stopping to know how many steps there are; then once for each of them. That is the crash-point sweep.
//!
//! ```
//! use std::sync::Arc;
//! use ergane_journal::Memory;
//! use ergane_provider::{Scripted, ScriptedReply};
//! use ergane_testkit::{StopAt, World};
//!
//! let store = Arc::new(Memory::new()); // outlives the world, as a disk does
//! let world = World::stopping(StopAt::AfterFact(3));
//! let journal = world.journal(store.clone());
//! let provider = world.provider(Scripted::replies([ScriptedReply::text("hello")]));
//! // … build a system of these and drive it until `world.stopped().await`; drop it; build the next one on `store`.
//! # drop((journal, provider));
//! assert!(!world.has_stopped());
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ergane_core::{
    Effect, Envelope, EventKind, ModelReply, ModelRequest, ProviderError, SendId, Seq, SessionName, Text,
};
use ergane_journal::{Append, AppendError, Journal, JournalError, Opened, Position, Sent, SessionSummary};
use ergane_provider::{
    BoxFuture, EmbedRequest, Embeddings, Endpoint, Limits, ModelInfo, Pricing, Provider, ProviderCall,
};
use ergane_tool::{Reach, Tool, ToolContext, ToolFuture};
use serde_json::{Map, Value};
use tokio::sync::watch;

/// Something that a crash can come before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A session is about to be opened in the store.
    Opening(SessionName),
    /// It is open there; who asked does not know yet.
    Opened(SessionName),
    /// These facts are about to be written, in one commit.
    Writing(Vec<(SessionName, EventKind)>),
    /// They are written; who appended them does not know yet.
    Written(Vec<(SessionName, EventKind)>),
    /// A model is about to be asked.
    Asking,
    /// It has answered, or failed; who asked does not know yet.
    Answered,
    /// A tool is about to do what it does.
    Doing {
        /// Its name.
        tool: String,
        /// Whose call, and which: as `alice#812.1`.
        call: String,
    },
    /// It has done it; nobody knows yet.
    Done {
        /// Its name.
        tool: String,
        /// Whose call, and which: as `alice#812.1`.
        call: String,
    },
}

/// Where a world stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopAt {
    /// At the step of this number, from 0, of whatever kind.
    Step(usize),
    /// Before the commit with the fact of this number, from 1, counted over all sessions.
    BeforeFact(usize),
    /// After that commit, before anybody knows of it.
    AfterFact(usize),
}

type Hook = Box<dyn Fn(usize, &Step) + Send + Sync>;

struct Inner {
    stop: Option<StopAt>,
    hook: Option<Hook>,
    passed: Mutex<Passed>,
    stopped: watch::Sender<bool>,
}

#[derive(Default)]
struct Passed {
    steps: Vec<Step>,
    facts: usize,
    asked: Vec<ModelRequest>,
}

/// The world. Clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Inner>);

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A world that goes on.
    pub fn new() -> Self {
        Self::build(None, None)
    }

    /// A world that stops there.
    pub fn stopping(at: StopAt) -> Self {
        Self::build(Some(at), None)
    }

    /// A world that calls `hook` at each step that passes, with its number: to kill an actor there, for example. The hook
    /// must be quick.
    pub fn with_hook(stop: Option<StopAt>, hook: impl Fn(usize, &Step) + Send + Sync + 'static) -> Self {
        Self::build(stop, Some(Box::new(hook)))
    }

    fn build(stop: Option<StopAt>, hook: Option<Hook>) -> Self {
        Self(Arc::new(Inner { stop, hook, passed: Mutex::default(), stopped: watch::Sender::new(false) }))
    }

    /// The steps that have passed, and last the one at which it stopped.
    pub fn steps(&self) -> Vec<Step> {
        self.passed().steps.clone()
    }

    /// What models were asked, in order.
    pub fn asked(&self) -> Vec<ModelRequest> {
        self.passed().asked.clone()
    }

    /// Whether it has stopped.
    pub fn has_stopped(&self) -> bool {
        *self.0.stopped.borrow()
    }

    /// Returns when it stops.
    pub async fn stopped(&self) {
        let mut stopped = self.0.stopped.subscribe();
        // The sender lives in `self`, so this cannot fail.
        drop(stopped.wait_for(|stopped| *stopped).await);
    }

    /// Stops it now.
    pub fn stop(&self) {
        self.0.stopped.send_replace(true);
    }

    /// The store, in this world.
    pub fn journal(&self, store: Arc<dyn Journal>) -> impl Journal + use<> {
        InWorld { world: self.clone(), what: store }
    }

    /// A provider, in this world.
    pub fn provider<P: Provider>(&self, provider: P) -> impl Provider + use<P> {
        let provider: Arc<dyn Provider> = Arc::new(provider);
        InWorld { world: self.clone(), what: provider }
    }

    /// A tool, in this world.
    pub fn tool(&self, tool: Arc<dyn Tool>) -> Arc<dyn Tool> {
        Arc::new(InWorld { world: self.clone(), what: tool })
    }

    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.0.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the world goes on past this step.
    fn pass(&self, step: Step) -> bool {
        if self.has_stopped() {
            return false;
        }
        let (index, stops) = {
            let mut passed = self.passed();
            let before = passed.facts;
            if let Step::Writing(facts) = &step {
                passed.facts += facts.len();
            }
            let stops = match (self.0.stop, &step) {
                (Some(StopAt::Step(at)), _) => at == passed.steps.len(),
                (Some(StopAt::BeforeFact(at)), Step::Writing(_)) => before < at && at <= passed.facts,
                (Some(StopAt::AfterFact(at)), Step::Written(facts)) => {
                    // These were counted when they were about to be written.
                    passed.facts - facts.len() < at && at <= passed.facts
                }
                _ => false,
            };
            passed.steps.push(step.clone());
            (passed.steps.len() - 1, stops)
        };
        if stops {
            self.stop();
        } else if let Some(hook) = &self.0.hook {
            hook(index, &step);
        }
        !stops
    }

    /// Returns when the step has passed: never, when the world stops there.
    async fn passing(&self, step: Step) {
        if !self.pass(step) {
            std::future::pending::<()>().await;
        }
    }

    /// Goes on with the work for as long as the world does.
    async fn within<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.stopped() => std::future::pending().await,
            done = work => done,
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("stop", &self.0.stop).field("steps", &self.passed().steps).finish()
    }
}

/// Something in a world.
struct InWorld<T> {
    world: World,
    what: T,
}

impl<T: fmt::Debug> fmt::Debug for InWorld<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

fn facts(batch: &[Append]) -> Vec<(SessionName, EventKind)> {
    let of = |append: &Append| {
        let session = append.session.clone();
        append.events.iter().map(move |event| (session.clone(), event.event.kind())).collect::<Vec<_>>()
    };
    batch.iter().flat_map(of).collect()
}

impl InWorld<Arc<dyn Journal>> {
    fn if_going_on<T>(
        &self,
        ask: impl FnOnce(&dyn Journal) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        if self.world.has_stopped() { Err(JournalError::Away) } else { ask(&*self.what) }
    }
}

impl Journal for InWorld<Arc<dyn Journal>> {
    fn kind(&self) -> &'static str {
        self.what.kind()
    }

    fn is_instant(&self) -> bool {
        self.what.is_instant()
    }

    fn files(&self) -> Arc<[PathBuf]> {
        self.what.files()
    }

    fn file(&self) -> Option<&Path> {
        self.what.file()
    }

    fn pretends(&self) -> Option<Duration> {
        self.what.pretends()
    }

    fn open_session(&self, session: &SessionName) -> Result<Opened, JournalError> {
        if !self.world.pass(Step::Opening(session.clone())) {
            return Err(JournalError::Away);
        }
        let opened = self.what.open_session(session);
        if self.world.pass(Step::Opened(session.clone())) { opened } else { Err(JournalError::Away) }
    }

    fn append(&self, batch: &[Append]) -> Vec<Result<(), AppendError>> {
        let all = |error: AppendError| batch.iter().map(|_| Err(error.clone())).collect();
        let facts = facts(batch);
        if !self.world.pass(Step::Writing(facts.clone())) {
            return all(AppendError::NotWritten { reason: "the world has stopped".into() });
        }
        let outcomes = self.what.append(batch);
        if self.world.pass(Step::Written(facts)) {
            return outcomes;
        }
        all(AppendError::Unknown { reason: "the world has stopped".into() })
    }

    fn load(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
    ) -> Result<Vec<Arc<Envelope>>, JournalError> {
        self.if_going_on(|store| store.load(session, after, below))
    }

    fn snapshot(&self, session: &SessionName) -> Result<Seq, JournalError> {
        self.if_going_on(|store| store.snapshot(session))
    }

    fn position(&self, session: &SessionName) -> Result<Option<Position>, JournalError> {
        self.if_going_on(|store| store.position(session))
    }

    fn summary(&self, session: &SessionName) -> Result<Option<SessionSummary>, JournalError> {
        self.if_going_on(|store| store.summary(session))
    }

    fn list(&self, after: Option<&SessionName>, limit: usize) -> Result<Vec<SessionSummary>, JournalError> {
        self.if_going_on(|store| store.list(after, limit))
    }

    fn open_turns(&self) -> Result<Vec<SessionName>, JournalError> {
        self.if_going_on(|store| store.open_turns())
    }

    fn sent(&self, session: &SessionName, send: &SendId) -> Result<Option<Sent>, JournalError> {
        self.if_going_on(|store| store.sent(session, send))
    }

    fn delete(&self, session: &SessionName) -> Result<bool, JournalError> {
        self.if_going_on(|store| store.delete(session))
    }

    fn delete_at(&self, session: &SessionName, position: Position) -> Result<bool, JournalError> {
        self.if_going_on(|store| store.delete_at(session, position))
    }

    fn release(&self, session: &SessionName) -> Result<(), JournalError> {
        self.if_going_on(|store| store.release(session))
    }
}

impl Provider for InWorld<Arc<dyn Provider>> {
    fn api(&self) -> &'static str {
        self.what.api()
    }

    fn default_model(&self) -> Option<Text> {
        self.what.default_model()
    }

    fn endpoint(&self) -> String {
        self.what.endpoint()
    }

    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(Self { world: self.world.clone(), what: self.what.with_endpoint(endpoint)? }))
    }

    fn key_env(&self) -> Option<Text> {
        self.what.key_env()
    }

    fn limits(&self) -> Limits {
        self.what.limits()
    }

    fn pricing(&self, model: &str) -> Pricing {
        self.what.pricing(model)
    }

    fn list_models(&self) -> BoxFuture<'static, Result<Vec<ModelInfo>, ProviderError>> {
        self.what.list_models()
    }

    fn model_info(&self, model: Text) -> BoxFuture<'static, Result<ModelInfo, ProviderError>> {
        self.what.model_info(model)
    }

    fn embed(&self, request: EmbedRequest) -> BoxFuture<'static, Result<Embeddings, ProviderError>> {
        self.what.embed(request)
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        let (world, provider) = (self.world.clone(), Arc::clone(&self.what));
        Box::pin(async move {
            let request = call.request.clone();
            world.passing(Step::Asking).await;
            world.passed().asked.push(request);
            let answer = world.within(provider.call(call)).await;
            world.passing(Step::Answered).await;
            answer
        })
    }
}

impl Tool for InWorld<Arc<dyn Tool>> {
    fn name(&self) -> &str {
        self.what.name()
    }

    fn description(&self) -> &str {
        self.what.description()
    }

    fn parameters(&self) -> Value {
        self.what.parameters()
    }

    fn effect(&self) -> Effect {
        self.what.effect()
    }

    fn reach(&self) -> Reach {
        self.what.reach()
    }

    fn timeout(&self) -> Option<Duration> {
        self.what.timeout()
    }

    fn call(&self, ctx: ToolContext, arguments: Map<String, Value>) -> ToolFuture {
        let (world, tool) = (self.world.clone(), Arc::clone(&self.what));
        Box::pin(async move {
            // Not its key, which has a part that is drawn: what happens is to be the same every time.
            let (name, id) = (tool.name().to_owned(), format!("{}#{}", ctx.session(), ctx.call_id()));
            world.passing(Step::Doing { tool: name.clone(), call: id.clone() }).await;
            let output = world.within(tool.call(ctx, arguments)).await;
            world.passing(Step::Done { tool: name, call: id }).await;
            output
        })
    }
}
