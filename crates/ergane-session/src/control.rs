//! What is done to a session's open turn, to its calls that wait, and to its process.
//!
//! Whatever of it is a fact is answered when that is durable, and told to be `Parked` when it cannot be now: then it is done as soon
//! as it can. So who asks never waits for a disk, and nothing that was answered is lost.

use ergane_core::{CallId, Decision, PendingApproval, SendId, Text, TurnId};
use ergane_otp::{ChildError, EntryStatus};
use tokio::time::Instant;

use crate::approve::Approve;
use crate::awaiting::Stop;
use crate::error::SessionError;
use crate::handle::{Session, new_id};
use crate::input::Input;
use crate::message::SessionMsg;
use crate::reach::{QUICK, left, not_found_is_fine};
use crate::status::Activity;
use crate::steer::Steer;

impl Session {
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
        self.interrupt_one(reason, turn, None).await
    }

    /// Ends that turn, as [`interrupt`](Self::interrupt) does, and no other: one that was begun meanwhile goes on. Whether it is
    /// interrupted; `false` of one that had ended otherwise, or is none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let ended = alice.send_message("hello").await?;
    /// assert!(!alice.interrupt_turn(ended.turn, "never mind").await?, "it is over");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`interrupt`](Self::interrupt).
    pub async fn interrupt_turn(&self, turn: TurnId, reason: impl Into<Text>) -> Result<bool, SessionError> {
        self.interrupt_one(reason.into(), Some(turn), None).await
    }

    /// Ends the turn of the send with that [key](crate::SendMessage::key), and no other. One that waits for its turn is not wanted any
    /// more: its turn ends `interrupted` as soon as it begins, before the model is asked. That is no fact until then, and a session whose
    /// process dies first does not know of it. Whether it is, or will be, interrupted; `false` of one that had ended otherwise, or
    /// is not known.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let system = System::builder().provider("scripted", script).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// # let turn = alice.send_message("What is the answer?").accepted().await?;
    /// let waits = alice.send_message("And the question?").key("second").taken().await?;
    /// assert!(alice.interrupt_send("second", "never mind").await?);
    /// # alice.interrupt_turn(turn, "nor that").await?;
    /// // … and when the turn before it is over:
    /// assert_eq!(waits.result().await?.finish_reason, FinishReason::Interrupted);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`interrupt`](Self::interrupt).
    pub async fn interrupt_send(
        &self,
        key: impl AsRef<str>,
        reason: impl Into<Text>,
    ) -> Result<bool, SessionError> {
        self.interrupt_one(reason.into(), None, Some(SendId::from(key.as_ref()))).await
    }

    async fn interrupt_one(
        &self,
        reason: Text,
        turn: Option<TurnId>,
        send: Option<SendId>,
    ) -> Result<bool, SessionError> {
        let interrupt = |reply| SessionMsg::Interrupt {
            by: "user".into(),
            reason: reason.clone(),
            turn,
            send: send.clone(),
            reply,
        };
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
    /// the process is gone when this returns. The session stays stored; the next thing asked of it brings it back. A
    /// session that is only stored, because it passivated or nobody touched it yet, is brought up for that when it has an open turn
    /// or sends that wait. (The session's
    /// process, an actor. A tool's thread that never ends goes only with the process of the operating system: with one at work this is
    /// [`SessionError::Stuck`], and so is what is asked of the session later. Should it end, the session is given up then, and
    /// another process may have it.)
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
        match self.context().namespace().status(&id) {
            Some(EntryStatus::Quarantined { .. }) => match self.context().sessions().release(&id).await {
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
            let ended = self.context().sessions().terminate_child(&self.process_name(), left(until)).await;
            ended.or_else(not_found_is_fine).map_err(|error| SessionError::System(error.to_string()))?;
        }
        Ok(())
    }
}
