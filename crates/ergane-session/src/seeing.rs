//! What can be seen of a session: what was said, what it is doing, what happens, and its incarnations.
//!
//! None of it waits for a turn. What an actor knows it answers at once; of a session that has none, or one that is loading, the
//! journal's summary tells.

use std::sync::Arc;

use ergane_core::{Cost, Message, Seq, Settings, Usage};
use ergane_otp::{CallError, EntryStatus, Monitor, Watch, call};
use ractor::ActorRef;
use tokio::time::Instant;

use crate::error::SessionError;
use crate::handle::Session;
use crate::message::SessionMsg;
use crate::reach::{QUICK, pause};
use crate::status::{Activity, Status};
use crate::subscription::Subscription;

impl Session {
    /// Everything that was said; also during a turn, at once.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// alice.send_message("hello").await?;
    /// let roles: Vec<Role> = alice.messages().await?.iter().map(|message| message.role).collect();
    /// assert_eq!(roles, [Role::User, Role::Assistant]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError`] when there is no such session, or it cannot be brought back.
    pub async fn messages(&self) -> Result<Vec<Arc<Message>>, SessionError> {
        let messages = self.request(QUICK, SessionMsg::Messages).await?;
        Ok(messages.iter().cloned().collect())
    }

    /// The settings of the next turn.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let settings = alice.settings().await?;
    /// assert_eq!((&*settings.provider, settings.limits.max_iterations), ("scripted", 25));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`messages`](Self::messages).
    pub async fn settings(&self) -> Result<Arc<Settings>, SessionError> {
        self.request(QUICK, SessionMsg::Settings).await
    }

    /// What the session is doing; also while it loads, and while it is quarantined or only stored.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// alice.send_message("What is the answer?").accepted().await?;
    /// let status = alice.status().await?; // at once, in the middle of a turn too
    /// assert!(status.turn.is_some() && status.queued == 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError::NotFound`] when there is no such session; [`SessionError::Journal`] when that cannot be read.
    pub async fn status(&self) -> Result<Status, SessionError> {
        let until = Instant::now() + QUICK;
        loop {
            match self.context().namespace().status(&self.process_name()) {
                None | Some(EntryStatus::Ended { .. }) => return self.stored_status(Activity::Stored).await,
                Some(EntryStatus::Quarantined { reason }) => {
                    return self.stored_status(Activity::Quarantined { reason }).await;
                }
                Some(EntryStatus::Stuck { reason }) => {
                    let stuck = SessionError::Stuck { session: self.name().clone(), reason };
                    return self.stored_status(Activity::Parked { reason: stuck.to_string() }).await;
                }
                Some(_) => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.context().namespace().wait_for(&self.process_name(), left).await {
                Err(CallError::Timeout) => return Err(SessionError::Deadline),
                Err(_) => continue, // it ended meanwhile; how, the next look tells
                Ok(cell) => match call(&ActorRef::from(cell), SessionMsg::Status, left).await {
                    // While it has no facts of its own to tell, the journal's summary does.
                    Ok(status)
                        if status.durable == Seq(0)
                            && !matches!(status.activity, Activity::Parked { .. }) =>
                    {
                        return Ok(self.stored_status(status.activity.clone()).await.unwrap_or(status));
                    }
                    Ok(status) => return Ok(status),
                    Err(CallError::Timeout) => return Err(SessionError::Deadline),
                    Err(_) => pause().await,
                },
            }
        }
    }

    async fn stored_status(&self, activity: Activity) -> Result<Status, SessionError> {
        let summary = self.port().summary(self.name()).await?;
        let summary = summary.ok_or_else(|| SessionError::NotFound(self.name().clone()))?;
        let durable = Seq(summary.next_seq.0.saturating_sub(1));
        Ok(Status {
            session: self.name().clone(),
            activity,
            turn: summary.open_turn,
            queued: 0,
            turns: usize::try_from(summary.turns).unwrap_or(usize::MAX),
            durable,
            accepted: durable,
            durability: self.durability(),
            provider: summary.provider,
            model: summary.model,
            usage: summary.usage,
            cost: summary.cost,
        })
    }

    /// Tokens and cost of all turns.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ergane::core::MicroUsd;
    /// use ergane::provider::ScriptedUsage;
    ///
    /// let usage = ScriptedUsage { input_tokens: 900, output_tokens: 12, ..ScriptedUsage::default() };
    /// let reply = ScriptedReply { usage: Some(usage), cost_usd: Some(0.002), ..ScriptedReply::text("Hello.") };
    /// let system = System::builder().provider("scripted", Scripted::replies([reply])).start().await?;
    /// let alice = system.session("alice").start().await?;
    /// alice.send_message("hello").await?;
    /// let (usage, cost) = alice.usage().await?;
    /// assert_eq!((usage.input_tokens, cost.total()), (900, Some(MicroUsd(2_000))));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub async fn usage(&self) -> Result<(Usage, Cost), SessionError> {
        self.status().await.map(|status| (status.usage, status.cost))
    }

    /// A snapshot, then what happens: from now on, or from after the position `cursor`. Facts come once each, over
    /// restarts too; deltas may be lost by a slow reader, who is told how many.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let mut events = alice.subscribe(None).await?;
    /// assert_eq!(events.snapshot().status.activity, Activity::Idle);
    /// alice.send_message("hello").await?;
    /// while let Some(event) = events.next().await {
    ///     if let SessionEvent::Done { .. } = event? {
    ///         break;
    ///     }
    /// }
    /// // Later, from where that one stood: nothing is missed in between.
    /// let again = alice.subscribe(Some(events.cursor())).await?;
    /// assert_eq!(again.snapshot().status.turns, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`messages`](Self::messages).
    pub async fn subscribe(&self, cursor: Option<Seq>) -> Result<Subscription, SessionError> {
        Subscription::open(self.clone(), cursor).await
    }

    /// Watches the incarnation alive now: tells once when it ends, restart or not. A session that no process runs is
    /// `NoProc` at once.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let monitor = alice.monitor();
    /// alice.stop().await?;
    /// assert_eq!(monitor.await.reason, ExitReason::Normal);
    /// # Ok(())
    /// # }
    /// ```
    pub fn monitor(&self) -> Monitor {
        self.context().namespace().monitor(&self.process_name())
    }

    /// Follows the session over its incarnations.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let mut watch = alice.watch();
    /// assert!(matches!(watch.next().await, Some(Incarnation::Up { .. })));
    /// alice.actor_ref().expect("she runs").kill();
    /// assert!(matches!(watch.next().await, Some(Incarnation::Down { reason: ExitReason::Killed, .. })));
    /// assert!(matches!(watch.next().await, Some(Incarnation::Up { .. })), "her supervisor brings her back");
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self) -> Watch {
        self.context().namespace().watch(&self.process_name())
    }

    /// The actor of the present incarnation, for `cast!` and `call_t!`; `None` when no process runs the session now.
    /// It ends with its incarnation: hold the handle, not this. Never `link` it: ractor would take it from its
    /// supervisor silently.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// use ergane::ractor::call_t;
    ///
    /// let actor = alice.actor_ref().expect("she runs");
    /// let messages = call_t!(actor, SessionMsg::Messages, 1000)??;
    /// assert!(messages.is_empty());
    /// alice.stop().await?;
    /// assert!(alice.actor_ref().is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn actor_ref(&self) -> Option<ActorRef<SessionMsg>> {
        self.cell().map(ActorRef::from)
    }
}
