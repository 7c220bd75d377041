//! A decision about a call that waits, to be awaited.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use ergane_core::{CallId, Decision, Digest, Text};

use crate::error::SessionError;
use crate::handle::{QUICK, Session};
use crate::message::SessionMsg;

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
/// alice.approve(waiting[0].call, Decision::Allow).by("ann").arguments(waiting[0].digest).await?;
/// assert_eq!(&*turn.result().await?.text, "Done.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is decided until it is awaited"]
pub struct Approve {
    session: Session,
    call: CallId,
    decision: Decision,
    by: Text,
    arguments: Option<Digest>,
}

impl Approve {
    pub(crate) fn new(session: Session, call: CallId, decision: Decision) -> Self {
        Self { session, call, decision, by: "user".into(), arguments: None }
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
        self.by = by.into();
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
        self.arguments = Some(digest);
        self
    }
}

impl IntoFuture for Approve {
    type Output = Result<(), SessionError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { session, call, decision, by, arguments } = self;
            let approve = |reply| SessionMsg::Approve {
                call,
                arguments,
                decision: decision.clone(),
                by: by.clone(),
                reply,
            };
            session.request(QUICK, approve).await
        })
    }
}
