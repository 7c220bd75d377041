//! A decision about a call that waits, to be awaited.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use ergane_core::{CallId, Decision, Digest, Seq, Text};

use crate::error::SessionError;
use crate::handle::Session;
use crate::message::{Decide, SessionMsg};
use crate::reach::QUICK;

/// A decision. See [`Session::approve`].
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
/// alice.approve(waiting[0].call, Decision::Allow).by("ann").question(waiting[0].question).await?;
/// assert_eq!(&*turn.result().await?.text, "Done.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is decided until it is awaited"]
pub struct Approve {
    session: Session,
    decide: Decide,
}

impl Approve {
    pub(crate) fn new(session: Session, call: CallId, decision: Decision) -> Self {
        let by = "user".into();
        Self { session, decide: Decide { call, question: None, arguments: None, decision, by } }
    }

    /// Who decides, for the log. Default: `user`.
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
    /// alice.approve(call, Decision::deny("not on a Friday")).by("ann").await?;
    /// match alice.approve(call, Decision::Allow).by("bob").await {
    ///     Err(SessionError::AlreadyDecided { first, .. }) => assert_eq!(&*first.by, "ann"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn by(mut self, by: impl Into<Text>) -> Self {
        self.decide.by = by.into();
        self
    }

    /// The question that is answered, by its position ([`PendingApproval::question`](ergane_core::PendingApproval), or the `seq`
    /// of [`SessionEvent::ApprovalRequested`](crate::SessionEvent::ApprovalRequested)). A call that a crash cut off may be
    /// asked about again, and "it may run" is no answer to "run it once more?": without a question named, a decision about a
    /// call that was decided about before is refused with [`SessionError::AskedAgain`].
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
    /// let waiting = alice.approvals().await?.remove(0);
    /// let decide = || alice.approve(waiting.call, Decision::Allow).question(waiting.question);
    /// decide().await?;
    /// decide().await?; // once more, and were it days later: the same answer to the same question changes nothing
    /// # Ok(())
    /// # }
    /// ```
    pub fn question(mut self, question: Seq) -> Self {
        self.decide.question = Some(question);
        self
    }

    /// The fingerprint of the arguments that were looked at
    /// ([`PendingApproval::digest`](ergane_core::PendingApproval)): with others the decision is refused.
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
    /// let waiting = alice.approvals().await?.remove(0);
    /// println!("may {} run with {}?", waiting.tool, waiting.arguments);
    /// let others = ergane::core::Digest::of(b"{\"to\":\"everybody\"}");
    /// let decided = alice.approve(waiting.call, Decision::Allow).arguments(others).await;
    /// assert!(matches!(decided, Err(SessionError::OtherArguments { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn arguments(mut self, digest: Digest) -> Self {
        self.decide.arguments = Some(digest);
        self
    }
}

impl IntoFuture for Approve {
    type Output = Result<(), SessionError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { session, decide } = self;
            session.request(QUICK, |reply| SessionMsg::Approve(decide.clone(), reply)).await
        })
    }
}
