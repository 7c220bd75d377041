//! A send, to be awaited, accepted or streamed.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ergane_core::{Part, SendId, SettingsPatch, TurnId};
use ergane_otp::until;
use serde_json::Value;

use crate::error::SessionError;
use crate::handle::Session;
use crate::message::{Send as Sent, SessionMsg, WhenBusy};
use crate::reach::FOREVER;
use crate::result::TurnResult;
use crate::stream::TurnStream;

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, SessionError>> + Send>>;

/// A send. Awaited, it is the result of its turn; nothing is sent before.
///
/// ```
/// use std::time::Duration;
///
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// let first = alice.send_message("hello").key("request-1").deadline(Duration::from_secs(30)).await?;
/// let again = alice.send_message("hello").key("request-1").await?;
/// assert_eq!(first.turn, again.turn, "the same key is the same turn");
///
/// let turn = alice.send_message("are you there?").accepted().await?; // only until it is durable
/// assert_eq!(alice.turn(turn).await?.ordinal, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited, accepted or streamed"]
pub struct SendMessage {
    session: Session,
    send: Sent,
    deadline: Duration,
}

impl SendMessage {
    pub(crate) fn new(session: Session, id: SendId, input: Vec<Part>) -> Self {
        Self { session, send: Sent::new(id, input, WhenBusy::default()), deadline: FOREVER }
    }

    /// Gives up waiting after `deadline` with [`SessionError::Deadline`], whatever it waits for (with the journal's own error, when
    /// that is away and the session cannot be read); a turn that was accepted goes
    /// on, and [`Session::turn`] picks it up again (whether it was tells the same [`key`](Self::key)). Default: none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// # use std::time::Duration;
    /// let waited = alice.send_message("What is the answer?").deadline(Duration::from_millis(20)).await;
    /// assert!(matches!(waited, Err(SessionError::Deadline))); // the turn goes on
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The key of this send: the same key with the same input returns the same turn's result, in any process, also
    /// after a crash; with another input it is [`SessionError::KeyReused`]. Default: a new one.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let first = alice.send_message("hello").key("request-1").await?;
    /// assert_eq!(alice.send_message("hello").key("request-1").await?.turn, first.turn);
    /// let other = alice.send_message("good bye").key("request-1").await;
    /// assert!(matches!(other, Err(SessionError::KeyReused(_))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        self.send.id = SendId::from(key.as_ref());
        self
    }

    /// What the tools of this turn are to know, such as who asks: JSON that is kept in the journal with the send, given to
    /// the system's `context` function and to [`ToolContext::meta`](ergane_tool::ToolContext::meta), and never shown to
    /// the model. At most 64 KiB. No place for secrets: a journal is a file. Of sends with one key the first one's
    /// holds. Default: none.
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
    /// # let alice = system.session("alice").start().await?;
    /// let result = alice.send_message("Do you know me?").meta(json!({ "user": "ann" })).await?;
    /// let told = result.messages.iter().flat_map(|message| message.results()).next();
    /// assert_eq!(told.map(|result| result.text()).as_deref(), Some("ann"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn meta(mut self, meta: impl Into<Value>) -> Self {
        self.send.meta = Some(meta.into()).filter(|meta| !meta.is_null()).map(Arc::new);
        self
    }

    /// What holds in this turn and in no other, over the session's settings: another model, a longer answer, fewer tools.
    /// It is kept in the journal with the send, so it holds after a crash too. At most 1 MiB, and with the input at most
    /// what one event holds. Who is asked is decided when the send is accepted, whatever the session is told while it waits: a
    /// model without a provider is asked of the session's, a provider without a model for the session's, and another provider
    /// than that for its usual one. Of sends with one key the first one's holds. Default: nothing.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane::core::SettingsPatch;
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let once = SettingsPatch {
    ///     max_tokens: Some(Some(8_000)),
    ///     reasoning: Some(Some(ReasoningEffort::High)),
    ///     tool_choice: Some(ToolChoice::None),
    ///     ..SettingsPatch::default()
    /// };
    /// alice.send_message("Now think hard.").settings(once).await?;
    /// assert_eq!(alice.settings().await?.answering.max_tokens, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn settings(mut self, patch: SettingsPatch) -> Self {
        self.send.settings = Some(patch).filter(|patch| *patch != SettingsPatch::default()).map(Arc::new);
        self
    }

    /// The session keeps the [settings](Self::settings) of this send: they hold in later turns too, and what of them is new is a fact
    /// beside that of the send. A send that is refused changes none, nor does one whose [key](Self::key) is known. Default: they hold
    /// in its turn and in no other.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let patch = SettingsPatch { model: Some("large".into()), ..SettingsPatch::default() };
    /// alice.send_message("hello").settings(patch).keep_settings().await?;
    /// assert_eq!(&*alice.settings().await?.model, "large");
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep_settings(mut self) -> Self {
        self.send.keep = true;
        self
    }

    /// What to do when a turn is open or other sends wait. Default: [`WhenBusy::Queue`].
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// alice.send_message("What is the answer?").accepted().await?;
    /// let other = alice.send_message("And the question?").when_busy(WhenBusy::Reject).await;
    /// assert!(matches!(other, Err(SessionError::Busy { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn when_busy(mut self, when_busy: WhenBusy) -> Self {
        self.send.when_busy = when_busy;
        self
    }

    /// Waits only until the turn has durably started, and returns its id.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let turn = alice.send_message("hello").accepted().await?; // from here on it happens, whatever dies
    /// assert_eq!(alice.turn(turn).await?.ordinal, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError`] when it cannot be accepted.
    pub async fn accepted(self) -> Result<TurnId, SessionError> {
        let Self { session, send, deadline } = self;
        send.measured();
        session.request_within(deadline, |reply| SessionMsg::Accept(send.clone(), reply)).await
    }

    /// What happens in the turn as it happens, and then its result. A journal that is away is waited for, and the stream says so:
    /// [`SessionEvent::Parked`](crate::SessionEvent::Parked).
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let mut turn = alice.send_message("hello").stream().await?;
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
    /// [`SessionError`] when the session cannot be subscribed to.
    pub async fn stream(self) -> Result<TurnStream, SessionError> {
        let Self { session, send, deadline } = self;
        Box::pin(TurnStream::begin(session, send, until(deadline), None)).await
    }

    /// The same, once it is durable that the turn will be run, whatever is before it: for whoever is to promise that to somebody
    /// else. Given up before that, it is not sent, unless the session has it already.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// alice.send_message("What is the answer?").accepted().await?;
    /// let second = alice.send_message("And the question?").taken().await?; // behind a turn that takes its time
    /// assert_eq!(alice.status().await?.queued, 1);
    /// # drop(second);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError`] when it cannot be taken.
    pub async fn taken(self) -> Result<TurnStream, SessionError> {
        let Self { session, send, deadline } = self;
        Box::pin(TurnStream::taken(session, send, until(deadline))).await
    }
}

impl IntoFuture for SendMessage {
    type Output = Result<TurnResult, SessionError>;
    type IntoFuture = Boxed<TurnResult>;

    fn into_future(self) -> Boxed<TurnResult> {
        Box::pin(async move {
            let Self { session, send, deadline } = self;
            send.measured();
            session.request_within(deadline, |reply| SessionMsg::Send(send.clone(), reply)).await
        })
    }
}
