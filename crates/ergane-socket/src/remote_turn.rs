//! A turn that another process runs, as a program holds it.

use std::future::IntoFuture;

use ergane_core::{Part, PendingApproval, SettingsPatch, Text};
use ergane_session::{Input, SessionEvent, TurnResult};
use serde_json::Value;

use crate::client::Owner;
use crate::error::RemoteError;
use crate::remote::{Boxed, RemoteSession, new_key};
use crate::wire::{Ask, Heard};

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
    /// It waits for nothing but a decision about these, for as long as that takes. Decided, the same send with the same key
    /// is told its end.
    Waits(Vec<PendingApproval>),
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
    /// The owner has it, and it is on its way into the journal. Should the owner die before anything else is told, whoever sends
    /// with the same key runs it, or is told that it was run.
    Taken,
    /// Something happened in the turn; [`SessionEvent::Parked`] also before it is taken.
    Event(SessionEvent),
    /// An event that this build does not know.
    Unknown(Value),
    /// The journal takes again what happens: the [`SessionEvent::Parked`] that was told is over.
    GoesOn,
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
    input: Vec<Part>,
    key: Text,
    settings: SettingsPatch,
}

impl RemoteSend {
    pub(crate) fn new(session: RemoteSession, input: Input) -> Self {
        Self { session, input: input.into(), key: new_key(), settings: SettingsPatch::default() }
    }

    /// The key: the same one again is the same turn, also by the next owner; with another input it is refused. Default: a new one.
    ///
    /// ```
    /// # let alice = ergane::socket::RemoteSession::new("ergane.db", "alice".parse()?, 17);
    /// let send = alice.send_message("hello").key("greeting"); // and now `.await` it
    /// # drop(send);
    /// # Ok::<(), ergane::core::CoreError>(())
    /// ```
    pub fn key(mut self, key: impl Into<Text>) -> Self {
        self.key = key.into();
        self
    }

    /// Settings of the session from this turn on. Default: what it has.
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
        self.settings = self.settings.merged(patch);
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
        let Self { session, input, key, settings } = self;
        let name = session.name().clone();
        let ask = Ask::Turn { session: name, input, key, settings: Box::new(settings) };
        let owner = session.open(ask).await?;
        Ok(RemoteTurn { session, owner, taken: false, over: false })
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
    taken: bool,
    over: bool,
}

impl RemoteTurn {
    /// What is told next; `None` after [`Told::Over`]. Before the turn is taken, an owner that says nothing for 10 s is taken
    /// for a stopped one; after that a turn takes as long as it takes. Giving it up in the middle loses nothing.
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
        let heard = if self.taken {
            self.session.hear(&mut self.owner).await?
        } else {
            self.session.hear_soon(&mut self.owner).await?
        };
        Ok(Some(match heard {
            Heard::Accepted { .. } => {
                self.taken = true;
                Told::Taken
            }
            Heard::Event { event } => match serde_json::from_value(event.clone()) {
                Ok(event) => Told::Event(event),
                Err(error) => {
                    tracing::debug!(%error, "another process tells an event that this build does not know");
                    Told::Unknown(event)
                }
            },
            Heard::Parked { parked } => Told::Event(SessionEvent::Parked { reason: parked.into() }),
            Heard::GoesOn { .. } => Told::GoesOn,
            Heard::Result { result } => self.ends(Outcome::Ended(result)),
            Heard::Waits { waits } => self.ends(Outcome::Waits(waits)),
            other => return Err(self.session.otherwise(&other)),
        }))
    }

    fn ends(&mut self, outcome: Outcome) -> Told {
        self.over = true;
        Told::Over(outcome)
    }

    fn ended_early(&self) -> RemoteError {
        RemoteError::OwnerEnded { session: self.session.name().clone(), pid: self.session.pid() }
    }
}
