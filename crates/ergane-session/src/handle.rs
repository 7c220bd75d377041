//! The handle: a session by its name, over all its incarnations.

use std::sync::Arc;

use ergane_core::{
    CallId, Cost, Decision, Durability, Message, Part, PendingApproval, Point, SendId, Seq, SessionName,
    Settings, Text, TurnId, Usage,
};
use ergane_journal::JournalPort;
use ergane_otp::{CallError, ChildError, EntryStatus, Monitor, Watch, call};
use ractor::ActorRef;
use tokio::time::Instant;
use uuid::Uuid;

use crate::approve::Approve;
use crate::awaiting::{Stop, Turn};
use crate::context::{SessionContext, process_name};
use crate::error::SessionError;
use crate::message::SessionMsg;
use crate::reach::{QUICK, left, not_found_is_fine, pause};
use crate::send::SendMessage;
use crate::status::{Activity, Status};
use crate::steer::Steer;
use crate::subscription::Subscription;

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

/// What a user says: text, or parts (text and images).
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// use ergane::core::ImageSource;
///
/// alice.send_message("hello").await?; // from a text
/// let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("iVBORw0KGgo=".into()) };
/// alice.send_message(vec![Part::text("What is this?"), image]).await?; // from parts
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Input(pub(crate) Vec<Part>);

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self(vec![Part::text(text)])
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self(vec![Part::text(text)])
    }
}

impl From<Vec<Part>> for Input {
    fn from(parts: Vec<Part>) -> Self {
        Self(parts)
    }
}

impl From<Input> for Vec<Part> {
    fn from(input: Input) -> Self {
        input.0
    }
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
            match self.context.namespace().status(&self.process_name()) {
                None | Some(EntryStatus::Ended { .. }) => return self.stored_status(Activity::Stored).await,
                Some(EntryStatus::Quarantined { reason }) => {
                    return self.stored_status(Activity::Quarantined { reason }).await;
                }
                Some(EntryStatus::Stuck { reason }) => {
                    return self.stored_status(Activity::Parked { reason }).await;
                }
                Some(_) => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.context.namespace().wait_for(&self.process_name(), left).await {
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
        let summary = self.port().summary(&self.name).await?;
        let summary = summary.ok_or_else(|| SessionError::NotFound(self.name.clone()))?;
        let durable = Seq(summary.next_seq.0.saturating_sub(1));
        Ok(Status {
            session: self.name.clone(),
            activity,
            turn: summary.open_turn,
            queued: 0,
            turns: usize::try_from(summary.turns).unwrap_or(usize::MAX),
            durable,
            accepted: durable,
            durability: self.durability,
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

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    /// Puts a word into the open turn: the model sees it with its next request, after the answer or the tools under way.
    /// Awaited, it tells whether it [entered](crate::Steered::Entered); with no turn open nothing happens.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let turn = alice.send_message("What is the answer?").accepted().await?;
    /// assert_eq!(alice.steer("I mean: to everything.").await?, Steered::Entered);
    ///
    /// alice.interrupt("never mind").await?;
    /// alice.turn(turn).await?;
    /// assert_eq!(alice.steer("Are you still there?").await?, Steered::TurnOver);
    /// # Ok(())
    /// # }
    /// ```
    pub fn steer(&self, input: impl Into<Input>) -> Steer {
        Steer::new(self.clone(), new_id(), input.into().0)
    }

    /// Ends the open turn: returns when that wish is durable; running tools are told, then killed, and the turn ends
    /// `interrupted` with a valid history. `false` when no turn is open.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let turn = alice.send_message("What is the answer?").accepted().await?;
    /// assert!(alice.interrupt("never mind").await?);
    /// assert_eq!(alice.turn(turn).await?.finish_reason, FinishReason::Interrupted);
    /// assert!(!alice.interrupt("and again").await?, "no turn is open");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`messages`](Self::messages); [`SessionError::Parked`] when the wish cannot be made durable now. The turn is
    /// ended all the same, as soon as it can.
    pub async fn interrupt(&self, reason: impl Into<Text>) -> Result<bool, SessionError> {
        let reason = reason.into();
        // Should the session die in between, this is asked again: of the same turn, and not of the next one.
        let turn = self.status().await?.turn;
        let interrupt =
            |reply| SessionMsg::Interrupt { by: "user".into(), reason: reason.clone(), turn, reply };
        self.request(QUICK, interrupt).await
    }

    /// The calls that wait for somebody's decision, in call order. A stored session is brought back to be asked.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # /// Sends the report.
    /// # #[tool(effect = "write")]
    /// # async fn send_report() -> &'static str { "sent" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply::call("send_report", json!({})), ScriptedReply::text("Done.")]);
    /// # let system = System::builder().provider("scripted", script).tool(send_report).start().await?;
    /// # let alice = system.session("alice").ungranted(Ungranted::Ask).start().await?;
    /// # let mut turn = alice.send_message("Send the report.").stream().await?;
    /// # while !matches!(turn.next().await, Some(SessionEvent::ApprovalRequested { .. }) | None) {}
    /// let waiting = alice.approvals().await?;
    /// assert_eq!((&*waiting[0].tool, &*waiting[0].arguments), ("send_report", "{}"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`messages`](Self::messages).
    pub async fn approvals(&self) -> Result<Vec<PendingApproval>, SessionError> {
        self.request(QUICK, SessionMsg::Approvals).await
    }

    /// Decides about a call that waits: awaited, the decision is durable. Deciding the same twice changes nothing; to
    /// decide otherwise afterwards is [`SessionError::AlreadyDecided`], which tells the first decision. Who may be late says
    /// which question he answers ([`Approve::question`]).
    /// [`SessionError::Parked`] when it cannot be made durable now, and is as soon as it can.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # /// Sends the report.
    /// # #[tool(effect = "write")]
    /// # async fn send_report() -> &'static str { "sent" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply::call("send_report", json!({})), ScriptedReply::text("Done.")]);
    /// # let system = System::builder().provider("scripted", script).tool(send_report).start().await?;
    /// # let alice = system.session("alice").ungranted(Ungranted::Ask).start().await?;
    /// # let mut turn = alice.send_message("Send the report.").stream().await?;
    /// # while !matches!(turn.next().await, Some(SessionEvent::ApprovalRequested { .. }) | None) {}
    /// let call = alice.approvals().await?[0].call;
    /// alice.approve(call, Decision::Allow).await?;
    /// assert_eq!(turn.result().await?.finish_reason, FinishReason::Stop);
    /// # Ok(())
    /// # }
    /// ```
    pub fn approve(&self, call: CallId, decision: Decision) -> Approve {
        Approve::new(self.clone(), call, decision)
    }

    /// Grants a tool for good ("always"): calls of it that wait for permission are allowed, and later ones need none,
    /// in the open turn too. Nothing is denied to other tools by that. A deny list and mode `plan` still win.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # /// Sends the report.
    /// # #[tool(effect = "write")]
    /// # async fn send_report() -> &'static str { "sent" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply::call("send_report", json!({})), ScriptedReply::text("Done.")]);
    /// # let system = System::builder().provider("scripted", script).tool(send_report).start().await?;
    /// # let alice = system.session("alice").ungranted(Ungranted::Ask).start().await?;
    /// # let mut turn = alice.send_message("Send the report.").stream().await?;
    /// # while !matches!(turn.next().await, Some(SessionEvent::ApprovalRequested { .. }) | None) {}
    /// alice.grant("send_report").await?; // "always": the call that waits runs, and later ones need nobody
    /// assert_eq!(turn.result().await?.finish_reason, FinishReason::Stop);
    /// assert!(alice.approvals().await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`messages`](Self::messages); [`SessionError::InputTooLarge`], [`SessionError::TooManyGrants`],
    /// [`SessionError::Parked`].
    pub async fn grant(&self, tool: impl Into<Text>) -> Result<(), SessionError> {
        let tool = tool.into();
        self.request(QUICK, |reply| SessionMsg::Grant { tool: tool.clone(), reply }).await
    }

    /// Ends the session's process: an open turn is interrupted, sends that wait end with it, everything is durable, and
    /// the process is gone when this returns. The session stays stored; the next thing asked of it brings it back.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// alice.stop().await?;
    /// assert_eq!(alice.status().await?.activity, Activity::Stored);
    /// assert_eq!(alice.send_message("hello").await?.ordinal, 1, "it is brought back");
    /// # Ok(())
    /// # }
    /// ```
    pub fn stop(&self) -> Stop {
        Stop::new(self.clone())
    }

    /// Brings the process of a stored session up, and lifts a quarantine. Nothing happens to one that runs. Whether a log that
    /// was damaged can be read now tells whatever is asked of the session next.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// alice.stop().await?;
    /// alice.start().await?;
    /// assert!(alice.actor_ref().is_some(), "it runs again");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError::NotFound`], [`SessionError::System`].
    pub async fn start(&self) -> Result<(), SessionError> {
        let until = Instant::now() + QUICK;
        let id = self.process_name();
        match self.context.namespace().status(&id) {
            Some(EntryStatus::Quarantined { .. }) => match self.context.sessions().release(&id).await {
                // Somebody else has just lifted it.
                Ok(()) | Err(ChildError::NotFound | ChildError::NotQuarantined) => {}
                Err(error) => return Err(SessionError::System(error.to_string())),
            },
            Some(EntryStatus::Live) => self.end_when_damaged(until).await?,
            _ => {}
        }
        self.actor(until).await.map(drop)
    }

    /// A live actor with a damaged log only says so; it reads the log again when it is started again.
    async fn end_when_damaged(&self, until: Instant) -> Result<(), SessionError> {
        let damaged = matches!(self.status().await?.activity, Activity::Quarantined { .. });
        if damaged {
            let ended = self.context.sessions().terminate_child(&self.process_name(), left(until)).await;
            ended.or_else(not_found_is_fine).map_err(|error| SessionError::System(error.to_string()))?;
        }
        Ok(())
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
        self.context.namespace().monitor(&self.process_name())
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
        self.context.namespace().watch(&self.process_name())
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

    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    pub(crate) fn port(&self) -> &JournalPort {
        self.context.journal(self.durability)
    }
}

/// An id that nobody else has.
fn new_id() -> SendId {
    SendId(Uuid::now_v7().to_string().into())
}
