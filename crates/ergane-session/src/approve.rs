//! A decision about a call that waits, to be awaited.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use ergane_core::{CallId, Decision, Digest, Text};

use crate::error::SessionError;
use crate::handle::{QUICK, Session};
use crate::message::SessionMsg;

/// A decision. See [`Session::approve`].
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
    pub fn by(mut self, by: impl Into<Text>) -> Self {
        self.by = by.into();
        self
    }

    /// The fingerprint of the arguments that were looked at
    /// ([`PendingApproval::digest`](ergane_core::PendingApproval)): with others the decision is refused.
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
