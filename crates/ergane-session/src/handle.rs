//! The handle: a session by its name, over all its incarnations.
//!
//! # Why it is a name and no actor
//!
//! Actors come and go with crashes, rests and processes; whoever talks to a session wants none of that. So the handle is only the
//! name and the system's parts, and how the actor of the moment is reached is one file (`reach.rs`). What can be asked is told
//! apart by what it is for: what is said to the session is here, what can be seen of it in `seeing.rs`, what is done to its turn
//! or its process in `control.rs`, and another course of its history in `course.rs`.

use ergane_core::{Durability, SendId, SessionName, TurnId};
use ergane_journal::JournalPort;
use uuid::Uuid;

use crate::awaiting::Turn;
use crate::context::{SessionContext, process_name};
use crate::input::Input;
use crate::send::SendMessage;

/// A session, by its name: it survives restarts of the session's actor, and a stored session that no process runs is
/// brought back by the first thing asked of it. Cheap to clone.
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// let alice = system.session("alice").start().await?;
/// let result = alice.send_message("hello").await?;
/// assert_eq!(alice.messages().await?.len(), result.messages.len());
/// assert_eq!(alice.status().await?.activity, Activity::Idle);
///
/// alice.stop().await?;
/// assert_eq!(alice.status().await?.activity, Activity::Stored);
/// assert_eq!(alice.send_message("and again").await?.ordinal, 2, "it is brought back");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Session {
    context: SessionContext,
    name: SessionName,
    durability: Durability,
}

impl Session {
    /// A handle for the session of that name. It says nothing of whether there is one: whatever is asked of it does.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let nobody = Session::new(system.context().clone(), "nobody".parse()?, Durability::Strict);
    /// assert!(matches!(nobody.messages().await, Err(SessionError::NotFound(_))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(context: SessionContext, name: SessionName, durability: Durability) -> Self {
        Self { context, name, durability }
    }

    /// The session's name.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// assert_eq!(alice.name().as_str(), "alice");
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> &SessionName {
        &self.name
    }

    /// The name of its process in the system's namespace.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// assert_eq!(alice.process_name(), "session/alice");
    /// assert!(system.context().namespace().whereis("session/alice").is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn process_name(&self) -> String {
        process_name(&self.name)
    }

    /// Runs a turn: awaited, its result. What is accepted is kept, whatever dies; dropping the future cancels nothing.
    /// Later turns see the whole history.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let result = alice.send_message("hello").await?;
    /// assert_eq!((result.finish_reason, result.ordinal), (FinishReason::Stop, 1));
    /// assert_eq!(alice.send_message("and again").await?.ordinal, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_message(&self, input: impl Into<Input>) -> SendMessage {
        SendMessage::new(self.clone(), new_id(), input.into().0)
    }

    /// The result of a turn, awaited until it has ended. Picks up a turn whose deadline passed, or one of an earlier
    /// process.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let turn = alice.send_message("hello").accepted().await?;
    /// assert_eq!(alice.turn(turn).await?.turn, turn);
    /// assert!(matches!(alice.turn(TurnId(99)).await, Err(SessionError::NoSuchTurn { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn turn(&self, turn: TurnId) -> Turn {
        Turn::new(self.clone(), turn)
    }

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    pub(crate) fn port(&self) -> &JournalPort {
        self.context.journal(self.durability)
    }
}

/// An id that nobody else has.
pub(crate) fn new_id() -> SendId {
    SendId(Uuid::now_v7().to_string().into())
}
