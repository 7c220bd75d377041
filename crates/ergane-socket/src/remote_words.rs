//! What a program says to another process's session in a word, to be awaited: a decision, and a word for the open turn.

use std::future::IntoFuture;

use ergane_core::Text;
use ergane_session::{Input, Steered};

use crate::error::RemoteError;
use crate::remote::{Boxed, RemoteSession, new_key};
use crate::wire::{Ask, ENTERED};

/// A decision about a call of another process's session. See [`RemoteSession::approve`].
///
/// ```
/// # use ergane::prelude::*;
/// # /// Sends the report.
/// # #[tool(effect = "write")]
/// # async fn send_report() -> &'static str { "sent" }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let script = Scripted::replies([ScriptedReply::call("send_report", json!({})), ScriptedReply::text("Done.")]);
/// # let server = System::builder().provider("scripted", script).tool(send_report).journal(Sqlite::open(&path)?).start().await?;
/// # let turn = server.session("alice").ungranted(Ungranted::Ask).start().await?.send_message("Send it.").accepted().await?;
/// # while server.whereis("alice").await.unwrap().approvals().await?.is_empty() { tokio::task::yield_now().await; }
/// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
/// let question = alice.approvals().await?.remove(0);
/// alice.approve(&question, Decision::Allow).by("ann").await?;
/// # assert_eq!(&*server.whereis("alice").await.unwrap().turn(turn).await?.text, "Done.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is decided until it is awaited"]
pub struct RemoteApprove {
    session: RemoteSession,
    ask: Ask,
}

impl RemoteApprove {
    pub(crate) fn new(session: RemoteSession, ask: Ask) -> Self {
        Self { session, ask }
    }

    /// Who decides, for the log. Default: `user`.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # let alice = ergane::socket::RemoteSession::new("ergane.db", "alice".parse()?, 17);
    /// # let question: PendingApproval = serde_json::from_value(json!({
    /// #     "call": "812.1", "tool": "bash", "arguments": "{}", "digest": ergane::core::Digest::of(b"{}"), "cause": "permission",
    /// #     "why": "`bash` changes things", "since": 0,
    /// # }))?;
    /// let decision = alice.approve(&question, Decision::Allow).by("ann"); // and now `.await` it
    /// # drop(decision);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn by(mut self, who: impl Into<Text>) -> Self {
        if let Ask::Approve { by, .. } = &mut self.ask {
            *by = Some(who.into());
        }
        self
    }
}

impl IntoFuture for RemoteApprove {
    type Output = Result<(), RemoteError>;
    type IntoFuture = Boxed<()>;

    fn into_future(self) -> Boxed<()> {
        Box::pin(async move { self.session.done(self.ask).await.map(drop) })
    }
}

/// A word for the open turn of another process's session. See [`RemoteSession::steer`].
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let script = Scripted::from_fn(|request, _| match request.messages.last() {
/// #     Some(said) if said.text().contains("everything") => ScriptedReply::text("42"),
/// #     _ => ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") },
/// # });
/// # let server = System::builder().provider("scripted", script).journal(Sqlite::open(&path)?).start().await?;
/// # let turn = server.session("alice").start().await?.send_message("What is the answer?").accepted().await?;
/// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
/// assert_eq!(alice.steer("I mean: to everything.").cut().await?, Steered::Entered);
/// # assert_eq!(&*server.whereis("alice").await.unwrap().turn(turn).await?.text, "42");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is put in until it is awaited"]
pub struct RemoteSteer {
    session: RemoteSession,
    ask: Ask,
}

impl RemoteSteer {
    pub(crate) fn new(session: RemoteSession, input: Input) -> Self {
        let (input, key) = (Vec::from(input).into(), new_key());
        let ask = Ask::Steer { session: session.name().clone(), input, key: Some(key), cut: false };
        Self { session, ask }
    }

    /// The key of this word: with the same key and input it is put in once. Default: a new one, which the error tells
    /// ([`RemoteError::key`]).
    ///
    /// ```
    /// # let alice = ergane::socket::RemoteSession::new("ergane.db", "alice".parse()?, 17);
    /// let word = alice.steer("Be brief.").key("word-1"); // and now `.await` it
    /// # drop(word);
    /// # Ok::<(), ergane::core::CoreError>(())
    /// ```
    pub fn key(mut self, word: impl Into<Text>) -> Self {
        if let Ask::Steer { key, .. } = &mut self.ask {
            *key = Some(word.into());
        }
        self
    }

    /// Gives up an answer that is under way for it. Default: the answer comes to its end first.
    ///
    /// ```
    /// # let alice = ergane::socket::RemoteSession::new("ergane.db", "alice".parse()?, 17);
    /// let word = alice.steer("Be brief.").cut(); // and now `.await` it
    /// # drop(word);
    /// # Ok::<(), ergane::core::CoreError>(())
    /// ```
    pub fn cut(mut self) -> Self {
        if let Ask::Steer { cut, .. } = &mut self.ask {
            *cut = true;
        }
        self
    }
}

impl IntoFuture for RemoteSteer {
    type Output = Result<Steered, RemoteError>;
    type IntoFuture = Boxed<Steered>;

    fn into_future(self) -> Boxed<Steered> {
        Box::pin(async move {
            let key = match &self.ask {
                Ask::Steer { key, .. } => key.clone(),
                _ => None,
            };
            let done = self.session.done(self.ask).await.map_err(|error| error.with_key(key))?;
            Ok(if done == ENTERED { Steered::Entered } else { Steered::TurnOver })
        })
    }
}
