//! One question, nothing kept: a session of its own that ends with its turn.
//!
//! There is one way to run a turn, and this is it too; only the session lives in memory and nobody learns its name.

use std::future::{Future, IntoFuture};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use ergane_core::{Durability, SessionName, SettingsPatch, Text};
use ergane_otp::ChildError;
use ergane_session::{Input, Session, SessionBuilder, SessionContext, SessionError, TurnResult, TurnStream};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::system::System;

/// One question. Awaited, it is the result of its turn; dropped before that, the turn is given up.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).tools(Tools::all()).start().await?;
/// let answer = system.run("What does this project depend on?").tools(["read", "glob"]).await?;
/// assert_eq!(answer.finish_reason, FinishReason::Stop);
/// assert!(system.sessions().await?.is_empty(), "nothing is kept");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited or streamed"]
pub struct OneShot {
    name: String,
    session: SessionBuilder,
    system: System,
    input: Input,
    meta: Value,
    deadline: Option<Duration>,
    /// Whether it is one model call and no tool, whatever else is said.
    is_query: bool,
}

impl OneShot {
    pub(crate) fn new(system: System, input: Input, is_query: bool) -> Self {
        let name = format!("once/{}", Uuid::now_v7());
        let session = system.session(&name).durability(Durability::Off);
        Self { name, session, system, input, meta: Value::Null, deadline: None, is_query }
    }

    /// The registered name of the provider. Default: the first one registered.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder()
    /// #     .provider("first", Scripted::replies([]))
    /// #     .provider("second", Scripted::builtin())
    /// #     .start()
    /// #     .await?;
    /// assert_eq!(&*system.query("hello").provider("second").await?.provider, "second");
    /// # Ok(())
    /// # }
    /// ```
    pub fn provider(mut self, name: impl Into<Text>) -> Self {
        self.session = self.session.provider(name);
        self
    }

    /// A provider to be asked when the one before it fails for good: see [`SessionBuilder::or`].
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ergane::core::ErrorKind;
    /// use ergane::provider::ScriptedError;
    ///
    /// let down = Scripted::replies([ScriptedReply::failing(ScriptedError::new(ErrorKind::Auth))]);
    /// let system = System::builder().provider("cloud", down).provider("local", Scripted::builtin()).start().await?;
    /// assert_eq!(&*system.query("hello").provider("cloud").or("local").await?.provider, "local");
    /// # Ok(())
    /// # }
    /// ```
    pub fn or(mut self, name: impl Into<Text>) -> Self {
        self.session = self.session.or(name);
        self
    }

    /// The model at the provider. Default: the provider's.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let echo = Scripted::from_fn(|request, _| ScriptedReply::text(format!("{:?}", request.model)));
    /// let system = System::builder().provider("scripted", echo).start().await?;
    /// assert_eq!(&*system.query("hello").model("qwen3:8b").await?.text, "\"qwen3:8b\"");
    /// # Ok(())
    /// # }
    /// ```
    pub fn model(mut self, model: impl Into<Text>) -> Self {
        self.session = self.session.model(model);
        self
    }

    /// The system prompt. Default: none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let echo = Scripted::from_fn(|request, _| ScriptedReply::text(format!("{:?}", request.system)));
    /// let system = System::builder().provider("scripted", echo).start().await?;
    /// let answer = system.query("hello").system_prompt("Answer in one word.").await?;
    /// assert!(answer.text.contains("Answer in one word."));
    /// # Ok(())
    /// # }
    /// ```
    pub fn system_prompt(mut self, prompt: impl Into<Text>) -> Self {
        self.session = self.session.system_prompt(prompt);
        self
    }

    /// The names of the tools that a run is offered. Default: all that are registered. A query has none, whatever is said.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().provider("scripted", Scripted::builtin()).tools(Tools::all()).start().await?;
    /// let answer = system.run("What does this project depend on?").tools(["read", "glob"]).await?;
    /// assert!(answer.tool_calls_made > 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tools<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.session = self.session.tools(names);
        self
    }

    /// The folder that relative paths start from. Default: the one the process runs in.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// std::fs::write(folder.path().join("hello.txt"), "hello\n")?;
    /// let script = Scripted::replies([
    ///     ScriptedReply::call("read", json!({ "path": "hello.txt" })),
    ///     ScriptedReply::text("It says hello."),
    /// ]);
    /// let system = System::builder().provider("scripted", script).tools(Tools::all()).start().await?;
    /// let result = system.run("What is in hello.txt?").cwd(folder.path()).await?;
    /// assert!(result.messages.iter().flat_map(|message| message.results()).all(|read| !read.is_error));
    /// # Ok(())
    /// # }
    /// ```
    pub fn cwd(mut self, folder: impl AsRef<Path>) -> Self {
        self.session = self.session.cwd(folder);
        self
    }

    /// Several settings at once.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ergane::core::{MicroUsd, SettingsPatch};
    ///
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let cheap = SettingsPatch { turn_budget: Some(MicroUsd(50_000)), ..SettingsPatch::default() }; // 5 cents
    /// let answer = system.query("hello").settings(cheap).await?;
    /// # assert_eq!(answer.finish_reason, FinishReason::Stop);
    /// # Ok(())
    /// # }
    /// ```
    pub fn settings(mut self, patch: SettingsPatch) -> Self {
        self.session = self.session.settings(patch);
        self
    }

    /// What its tools are to know: see [`SendMessage::meta`](ergane_session::SendMessage::meta). Default: none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// /// Says who asks.
    /// #[tool(effect = "read")]
    /// async fn who(ctx: &ToolContext) -> String {
    ///     ctx.meta()["user"].as_str().unwrap_or("nobody").to_owned()
    /// }
    ///
    /// # let script = Scripted::replies([ScriptedReply::call("who", json!({})), ScriptedReply::text("Hello, Ann.")]);
    /// # let system = System::builder().provider("scripted", script).tool(who).start().await?;
    /// let result = system.run("Do you know me?").meta(json!({ "user": "ann" })).await?;
    /// let told = result.messages.iter().flat_map(|message| message.results()).next();
    /// assert_eq!(told.map(|told| told.text()).as_deref(), Some("ann"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn meta(mut self, meta: impl Into<Value>) -> Self {
        self.meta = meta.into();
        self
    }

    /// Gives up `deadline` after it was awaited or streamed, and the turn with it; the start of its session is part of
    /// that time. Default: none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// use std::time::Duration;
    ///
    /// let waited = system.query("What is the answer?").deadline(Duration::from_millis(50)).await;
    /// assert!(matches!(waited, Err(SessionError::Deadline)), "and the question is given up");
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// What happens as it happens, and then the result.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let mut turn = system.query("hello").stream().await?;
    /// while let Some(event) = turn.next().await {
    ///     if let SessionEvent::Content { text } = event {
    ///         print!("{text}");
    ///     }
    /// }
    /// assert_eq!(turn.result().await?.finish_reason, FinishReason::Stop);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As awaiting it.
    pub async fn stream(self) -> Result<OneShotStream, SessionError> {
        let Self { name, mut session, system, input, meta, deadline, is_query } = self;
        if is_query {
            // Should the model ask for a tool all the same, there is none, and it is not asked again.
            session = session.tools(Vec::<Text>::new()).max_iterations(1);
        }
        let name = SessionName::new(name).map_err(|error| SessionError::BadName(error.to_string()))?;
        let mut guard = Guard::new(&system, name)?;
        // One that is beyond the clock's end is none.
        let until = deadline.and_then(|deadline| Instant::now().checked_add(deadline));
        let begin = async { session.start().await?.send_message(input).meta(meta).stream().await };
        let stream = within(until, begin).await.ok_or(SessionError::Deadline)??;
        guard.sending = Some(stream.sending());
        Ok(OneShotStream { stream, until, guard })
    }
}

/// What the future gives, or `None` when that takes longer than until then.
async fn within<F: Future>(until: Option<Instant>, future: F) -> Option<F::Output> {
    match until {
        Some(until) => tokio::time::timeout_at(until, future).await.ok(),
        None => Some(future.await),
    }
}

impl IntoFuture for OneShot {
    type Output = Result<TurnResult, SessionError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.stream().await?.result().await })
    }
}

/// What happens in a one-shot turn, and then its result. Dropping it gives the turn up.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// let mut turn = system.query("hello").stream().await?;
/// let mut shown = String::new();
/// while let Some(event) = turn.next().await {
///     match event {
///         SessionEvent::Content { text } => shown.push_str(&text),
///         SessionEvent::StreamReset => shown.clear(), // the attempt broke off and is made again
///         _ => {}
///     }
/// }
/// assert_eq!(shown, *turn.result().await?.text);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OneShotStream {
    stream: TurnStream,
    until: Option<Instant>,
    guard: Guard,
}

impl OneShotStream {
    /// The next event; `None` when the turn is over, or the deadline passed: [`result`](Self::result) tells.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let mut turn = system.query("hello").stream().await?;
    /// let mut last = None;
    /// while let Some(event) = turn.next().await {
    ///     last = Some(event);
    /// }
    /// assert!(matches!(last, Some(SessionEvent::Done { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<ergane_session::SessionEvent> {
        within(self.until, self.stream.next()).await.flatten()
    }

    /// Ends the turn: see [`Session::interrupt`].
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// let mut turn = system.query("What is the answer?").stream().await?;
    /// while !matches!(turn.next().await, Some(SessionEvent::Content { .. }) | None) {}
    /// assert!(turn.interrupt("never mind").await?);
    /// assert_eq!(turn.result().await?.finish_reason, FinishReason::Interrupted);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Session::interrupt`].
    pub async fn interrupt(&self, reason: &str) -> Result<bool, SessionError> {
        self.guard.session.interrupt(reason).await
    }

    /// The session that the question lives in, for as long as it lasts.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let turn = system.query("hello").stream().await?;
    /// let name = turn.session().expect("it lasts").name().to_string();
    /// assert!(name.starts_with("once/"), "{name}");
    /// # turn.result().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(&self) -> Option<&Session> {
        Some(&self.guard.session)
    }

    /// The result.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let turn = system.query("hello").stream().await?; // nobody needs to read
    /// assert_eq!(turn.result().await?.finish_reason, FinishReason::Stop);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError`] when the turn could not be run, or the deadline passed.
    pub async fn result(self) -> Result<TurnResult, SessionError> {
        let Self { stream, until, guard } = self;
        let result = within(until, stream.result()).await.unwrap_or(Err(SessionError::Deadline));
        drop(guard);
        result
    }
}

/// Ends the session, and forgets it, however its question ends. It is made before anything is started, so it bears that
/// nothing was; and it knows its runtime, so it may be dropped anywhere.
#[derive(Debug)]
struct Guard {
    session: Session,
    context: SessionContext,
    runtime: Handle,
    /// The send, as long as it is not accepted: nobody waits for it any more.
    sending: Option<AbortHandle>,
}

impl Guard {
    fn new(system: &System, name: SessionName) -> Result<Self, SessionError> {
        let runtime = Handle::try_current().map_err(|error| SessionError::System(error.to_string()))?;
        let context = system.context().clone();
        let session = Session::new(context.clone(), name, Durability::Off);
        Ok(Self { session, context, runtime, sending: None })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(sending) = &self.sending {
            sending.abort();
        }
        // A runtime that is over runs nothing of it any more, this neither.
        self.runtime.spawn(end(self.session.clone(), self.context.clone()));
    }
}

/// A start that is under way has reached the supervisor before this does, so nothing begins after it.
async fn end(session: Session, context: SessionContext) {
    match context.sessions().terminate_child(&session.process_name(), Duration::from_secs(30)).await {
        Ok(()) | Err(ChildError::NotFound) => {}
        // The system is over, and all that it had in memory with it.
        Err(ChildError::NoSupervisor) => return,
        Err(error) => tracing::warn!(%error, "a one-shot session did not end"),
    }
    if let Err(error) = context.journal(Durability::Off).delete(session.name()).await {
        tracing::warn!(%error, "a one-shot session was not forgotten");
    }
}
