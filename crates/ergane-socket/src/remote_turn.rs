//! A turn that another process runs, as a program holds it.

use std::future::IntoFuture;
use std::time::Duration;

use ergane_core::{PendingApproval, SettingsPatch, Text};
use ergane_session::{Input, SessionEvent, TurnResult};
use serde_json::Value;
use tokio::time::timeout;

use crate::client::Owner;
use crate::error::RemoteError;
use crate::remote::{Boxed, RemoteSession, new_key};
use crate::wire::{Ask, Heard, Order};

/// How long the silence of an owner is until it is told. It gives a sign of life every few seconds.
const SILENCE: Duration = Duration::from_secs(30);

/// What a turn of another process's session came to.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
/// # server.session("alice").start().await?;
/// use ergane::socket::{Outcome, RemoteSession};
///
/// let alice = RemoteSession::find(&path, "alice").await?.expect("a process runs her");
/// let outcome = alice.send_message("hello").await?;
/// assert!(matches!(outcome, Outcome::Ended(result) if result.finish_reason == FinishReason::Stop));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// It has ended.
    Ended(Box<TurnResult>),
    /// It waits for nothing but decisions, for as long as that takes. When they are made, the same send with the same key is told its
    /// end.
    Waits {
        /// What is to be decided.
        questions: Vec<PendingApproval>,
        /// The key of the send.
        key: Text,
    },
}

/// What is told of a turn that another process runs.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
/// # server.session("alice").start().await?;
/// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
/// use ergane::socket::Told;
///
/// let (mut turn, mut shown) = (alice.send_message("hello").stream().await?, String::new());
/// while let Some(told) = turn.next().await? {
///     match told {
///         Told::Event(SessionEvent::Content { text }) => shown.push_str(&text),
///         Told::Over(outcome) => println!("{outcome:?}"),
///         _ => {} // kinds may be added
///     }
/// }
/// assert!(!shown.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Told {
    /// The owner has it, and it is in the journal: it will be run. Should the owner die, whoever sends with the same key runs it, or
    /// is told that it was run.
    Taken,
    /// Something happened in the turn; [`SessionEvent::Parked`] also before it is taken.
    Event(SessionEvent),
    /// An event that this build does not know.
    Unknown(Value),
    /// The journal takes again what happens: the [`SessionEvent::Parked`] that was told is over.
    GoesOn,
    /// For 30 s there was no sign of life of an owner that has taken the turn: it may be stopped. It is waited for all the same.
    Silent,
    /// The last that is told.
    Over(Outcome),
}

/// A turn for another process's session. Await it for what it came to. See [`RemoteSession::send_message`].
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
/// # server.session("alice").start().await?;
/// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
/// let send = || alice.send_message("hello").key("greeting");
/// assert_eq!(send().await?, send().await?, "the same key is the same turn");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent until it is awaited, or `stream` is"]
pub struct RemoteSend {
    session: RemoteSession,
    order: Box<Order>,
}

impl RemoteSend {
    pub(crate) fn new(session: RemoteSession, input: Input) -> Self {
        let order = Order::new(session.name().clone(), input.into(), new_key());
        Self { session, order: Box::new(order) }
    }

    /// The key: the same one again is the same turn, also by the next owner; with another input it is refused. Default: a new one,
    /// which the turn and errors tell ([`RemoteTurn::key`], [`RemoteError::key`]).
    ///
    /// ```
    /// # let alice = ergane::socket::RemoteSession::new("ergane.db", "alice".parse()?, 17);
    /// let send = alice.send_message("hello").key("greeting"); // and now `.await` it
    /// # drop(send);
    /// # Ok::<(), ergane::core::CoreError>(())
    /// ```
    pub fn key(mut self, key: impl Into<Text>) -> Self {
        self.order.key = key.into();
        self
    }

    /// What the tools of this turn are to know, as [`SendMessage::meta`](ergane_session::SendMessage::meta) says it at home. Default:
    /// nothing.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # let alice = ergane::socket::RemoteSession::new("ergane.db", "alice".parse()?, 17);
    /// let send = alice.send_message("Do you know me?").meta(json!({ "user": "ann" })); // and now `.await` it
    /// # drop(send);
    /// # Ok::<(), ergane::core::CoreError>(())
    /// ```
    pub fn meta(mut self, meta: impl Into<Value>) -> Self {
        self.order.meta = meta.into();
        self
    }

    /// What holds in this turn and in no other, over the session's settings, as
    /// [`SendMessage::settings`](ergane_session::SendMessage::settings) says it at home. Default: nothing.
    ///
    /// ```
    /// use ergane::core::SettingsPatch;
    ///
    /// # let alice = ergane::socket::RemoteSession::new("ergane.db", "alice".parse()?, 17);
    /// let patch = SettingsPatch { model: Some("llama3.1".into()), ..SettingsPatch::default() };
    /// let send = alice.send_message("hello").settings(patch); // and now `.await` it
    /// # drop(send);
    /// # Ok::<(), ergane::core::CoreError>(())
    /// ```
    pub fn settings(mut self, patch: SettingsPatch) -> Self {
        self.order.settings = self.order.settings.merged(patch);
        self
    }

    /// The session keeps the [settings](Self::settings) of this send: they hold in later turns too, and what of them is new is a
    /// fact beside that of the send. One that the session refuses, or has under that key already, changes none. Default: they hold in
    /// this turn and in no other.
    ///
    /// ```
    /// use ergane::core::SettingsPatch;
    ///
    /// # let alice = ergane::socket::RemoteSession::new("ergane.db", "alice".parse()?, 17);
    /// let patch = SettingsPatch { model: Some("llama3.1".into()), ..SettingsPatch::default() };
    /// let send = alice.send_message("hello").settings(patch).keep_settings(); // and now `.await` it
    /// # drop(send);
    /// # Ok::<(), ergane::core::CoreError>(())
    /// ```
    pub fn keep_settings(mut self) -> Self {
        self.order.keep = true;
        self
    }

    /// What happens in the turn as it happens, and then what it came to. Once the turn is taken, dropping this cancels nothing.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
    /// # server.session("alice").start().await?;
    /// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// let mut turn = alice.send_message("hello").stream().await?;
    /// let mut last = None;
    /// while let Some(told) = turn.next().await? {
    ///     last = Some(told);
    /// }
    /// assert!(matches!(last, Some(ergane::socket::Told::Over(_))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RemoteError`] when the owner cannot be asked.
    pub async fn stream(self) -> Result<RemoteTurn, RemoteError> {
        let Self { session, order } = self;
        let key = order.key.clone();
        let owner =
            session.open(Ask::Turn(order)).await.map_err(|error| error.with_key(Some(key.clone())))?;
        Ok(RemoteTurn { session, owner, key, parked: None, taken: false, over: false })
    }
}

impl IntoFuture for RemoteSend {
    type Output = Result<Outcome, RemoteError>;
    type IntoFuture = Boxed<Outcome>;

    fn into_future(self) -> Boxed<Outcome> {
        Box::pin(async move {
            let mut turn = self.stream().await?;
            loop {
                match turn.next().await? {
                    Some(Told::Over(outcome)) => return Ok(outcome),
                    Some(_) => {}
                    None => return Err(turn.ended_early()),
                }
            }
        })
    }
}

/// What happens in a turn of another process's session. See [`RemoteSend::stream`].
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
/// # server.session("alice").start().await?;
/// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
/// let mut turn = alice.send_message("hello").stream().await?;
/// while turn.next().await?.is_some() {}
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RemoteTurn {
    session: RemoteSession,
    owner: Owner,
    key: Text,
    /// What was told of the journal, which is said again and again.
    parked: Option<String>,
    taken: bool,
    over: bool,
}

impl RemoteTurn {
    /// The key of the send: sent again with it, it is the same turn.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
    /// # server.session("alice").start().await?;
    /// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// let turn = alice.send_message("hello").stream().await?;
    /// let key = turn.key().to_owned(); // to be kept, for whoever asks later
    /// let first = alice.send_message("hello").key(&*key).await?;
    /// assert_eq!(first, alice.send_message("hello").key(&*key).await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is told next; `None` after [`Told::Over`]. Before the turn is taken, an owner that says nothing for 10 s is taken
    /// for a stopped one, and does not run it when it is back; after that a turn takes as long as it takes, and 30 s of silence are
    /// told. Giving it up in the middle loses nothing.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
    /// # server.session("alice").start().await?;
    /// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// let mut turn = alice.send_message("hello").stream().await?;
    /// assert_eq!(turn.next().await?, Some(ergane::socket::Told::Taken));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RemoteError::OwnerEnded`] when that died: what it had accepted is in the journal, and whoever sends with the same key
    /// goes on with it. [`RemoteError::Refused`] when the turn cannot be run.
    pub async fn next(&mut self) -> Result<Option<Told>, RemoteError> {
        if self.over {
            return Ok(None);
        }
        loop {
            let heard = if self.taken {
                match timeout(SILENCE, self.session.hear(&mut self.owner)).await {
                    Ok(heard) => heard,
                    Err(_) => return Ok(Some(Told::Silent)),
                }
            } else {
                self.session.hear_soon(&mut self.owner).await
            };
            if let Some(told) = self.told(heard.map_err(|error| error.with_key(Some(self.key.clone())))?)? {
                return Ok(Some(told));
            }
        }
    }

    /// What is to be told of it; nothing of a mere sign of life.
    fn told(&mut self, heard: Heard) -> Result<Option<Told>, RemoteError> {
        Ok(Some(match heard {
            Heard::Accepted { .. } => {
                self.taken = true;
                Told::Taken
            }
            Heard::Parked { parked } if self.parked.as_ref() == Some(&parked) => return Ok(None),
            Heard::GoesOn { .. } if self.parked.is_none() => return Ok(None),
            Heard::Event { event } => match serde_json::from_value(event.clone()) {
                Ok(event) => Told::Event(event),
                Err(error) => {
                    tracing::debug!(%error, "another process tells an event that this build does not know");
                    Told::Unknown(event)
                }
            },
            Heard::Parked { parked } => {
                self.parked = Some(parked.clone());
                Told::Event(SessionEvent::Parked { reason: parked.into() })
            }
            Heard::GoesOn { .. } => {
                self.parked = None;
                Told::GoesOn
            }
            Heard::Result { result } => self.ends(Outcome::Ended(result)),
            Heard::Waits { waits } => {
                let key = self.key.clone();
                self.ends(Outcome::Waits { questions: waits, key })
            }
            other => return Err(self.session.otherwise(&other)),
        }))
    }

    fn ends(&mut self, outcome: Outcome) -> Told {
        self.over = true;
        Told::Over(outcome)
    }

    fn ended_early(&self) -> RemoteError {
        self.session.ended().with_key(Some(self.key.clone()))
    }
}

#[cfg(test)]
mod tests;
