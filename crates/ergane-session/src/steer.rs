//! A word put into the open turn, to be awaited.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use ergane_core::{Part, SendId};

use crate::error::SessionError;
use crate::handle::Session;
use crate::message::{Send as Sent, SessionMsg, Steered, WhenBusy};
use crate::reach::QUICK;

/// A word put into the open turn. See [`Session::steer`].
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let script = Scripted::from_fn(|request, _| match request.messages.last() {
/// #     Some(said) if said.text().contains("everything") => ScriptedReply::text("42"),
/// #     _ => ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") },
/// # });
/// # let system = System::builder().provider("scripted", script).start().await?;
/// # let alice = system.session("alice").start().await?;
/// let turn = alice.send_message("What is the answer?").accepted().await?;
/// assert_eq!(alice.steer("I mean: to everything.").cut().await?, Steered::Entered);
/// assert_eq!(&*alice.turn(turn).await?.text, "42");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is put in until it is awaited"]
pub struct Steer {
    session: Session,
    send: Sent,
    cut: bool,
}

impl Steer {
    pub(crate) fn new(session: Session, id: SendId, input: Vec<Part>) -> Self {
        Self { session, send: Sent::new(id, input, WhenBusy::Steer), cut: false }
    }

    /// Gives up an answer that is under way, and asks the model again at once, with this. What was shown of the answer
    /// is void; running tools go on. Default: the answer comes to its end first.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::from_fn(|request, _| match request.messages.last() {
    /// #     Some(said) if said.text().contains("everything") => ScriptedReply::text("42"),
    /// #     _ => ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") },
    /// # });
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let turn = alice.send_message("What is the answer?").accepted().await?;
    /// alice.steer("I mean: to everything.").cut().await?; // it would have thought for ever
    /// assert_eq!(&*alice.turn(turn).await?.text, "42");
    /// # Ok(())
    /// # }
    /// ```
    pub fn cut(mut self) -> Self {
        self.cut = true;
        self
    }

    /// The key of this word: with the same key and input it is put in once. Default: a new one.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::from_fn(|request, _| match request.messages.last() {
    /// #     Some(said) if said.text().contains("everything") => ScriptedReply::text("42"),
    /// #     _ => ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") },
    /// # });
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let turn = alice.send_message("What is the answer?").accepted().await?;
    /// for _attempt in 0..2 {
    ///     alice.steer("I mean: to everything.").key("word-1").cut().await?;
    /// }
    /// let words = alice.turn(turn).await?.messages;
    /// assert_eq!(words.iter().filter(|said| said.text().contains("everything")).count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        self.send.id = SendId::from(key.as_ref());
        self
    }
}

impl IntoFuture for Steer {
    type Output = Result<Steered, SessionError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { session, send, cut } = self;
            send.measured();
            let steer = |reply| SessionMsg::Steer { send: send.clone(), cut, reply };
            session.request(QUICK, steer).await
        })
    }
}
