//! Another course for a history: points with a name, going back to one, and a session of its own from one.
//!
//! Nothing is erased by any of it. A rewind is a fact after those it takes back, and a fork copies what it begins with: so what was
//! said once can always be told again.

use ergane_core::{Point, Seq, Text};
use tokio::time::Instant;

use crate::error::SessionError;
use crate::handle::{Session, new_id};
use crate::message::SessionMsg;
use crate::reach::{QUICK, left, pause};

impl Session {
    /// Gives the present point of the history a name, to fork or rewind to; returns its position. A name that is given
    /// again moves.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// alice.send_message("hello").await?;
    /// let here = alice.checkpoint("greeted").await?;
    /// alice.send_message("and now something else").await?;
    /// assert_eq!(alice.rewind("greeted").await?, here);
    /// assert!(matches!(alice.checkpoint("7").await, Err(SessionError::BadLabel(_))), "that would be a position");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`messages`](Self::messages); [`SessionError::BadLabel`]; [`SessionError::Parked`] when it cannot be made
    /// durable now, and is as soon as it can.
    pub async fn checkpoint(&self, label: impl Into<Text>) -> Result<Seq, SessionError> {
        let label = label.into();
        self.request(QUICK, |reply| SessionMsg::Checkpoint { label: label.clone(), reply }).await
    }

    /// Goes on from an earlier point: a position, or the label of a checkpoint. Returns that position. Nothing is erased,
    /// and what was rewound can still be forked; the settings and what was spent stay as they are. A round of tools that
    /// was not finished at that point is closed with results that say so.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// alice.send_message("hello").await?;
    /// alice.checkpoint("greeted").await?;
    /// alice.send_message("forget this").await?;
    /// alice.rewind("greeted").await?;
    /// assert_eq!(alice.messages().await?.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`messages`](Self::messages); [`SessionError::TurnOpen`] while a turn is open (one that was interrupted is
    /// waited for), [`SessionError::NoSuchPoint`], [`SessionError::Parked`].
    pub async fn rewind(&self, to: impl Into<Point>) -> Result<Seq, SessionError> {
        let (id, to) = (new_id(), to.into());
        let until = Instant::now() + QUICK;
        loop {
            let rewind = |reply| SessionMsg::Rewind { id: id.clone(), to: to.clone(), reply };
            match self.request(left(until), rewind).await {
                Err(SessionError::TurnOpen { ending: true, .. }) if Instant::now() < until => pause().await,
                outcome => return outcome,
            }
        }
    }

    /// Makes a session of that name with this one's history up to a point: [`Point::Now`], a position, or the label of a
    /// checkpoint. This one is only read, so it may run, also in another process. The fork goes its own way: it runs
    /// nothing of its parent's, a turn that was open at that point is interrupted, and the keys of its sends are its own.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// use ergane::core::Point;
    ///
    /// alice.send_message("hello").await?;
    /// let bob = alice.fork("bob", Point::Now).await?;
    /// bob.send_message("and now without her").await?;
    /// assert_eq!((alice.messages().await?.len(), bob.messages().await?.len()), (2, 4));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError::NotFound`], [`SessionError::NoSuchPoint`], [`SessionError::Exists`], [`SessionError::BadName`],
    /// [`SessionError::Journal`].
    pub async fn fork(&self, name: &str, at: impl Into<Point>) -> Result<Session, SessionError> {
        crate::fork::fork(self, name, at.into()).await
    }
}
