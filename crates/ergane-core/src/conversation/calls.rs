//! The calls of the model's last answer, and where each stands.

use std::sync::Arc;

use crate::approval::{ApprovalCause, Decision, PendingApproval};
use crate::digest::Digest;
use crate::effect::Effect;
use crate::event::Timestamp;
use crate::ids::Seq;
use crate::message::{Text, ToolCall, ToolResult};
use crate::settings::OnUnknown;

/// So many `Recovered` since the fact that let a call run make it poison.
pub const CALL_RECOVERY_LIMIT: u32 = 3;

/// A call of the model's last answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub(super) call: ToolCall,
    pub(super) started: Option<(Effect, Text)>,
    /// The process group that works for it, and when its leader started.
    pub(super) process: Option<(i32, u64)>,
    /// Whether an earlier incarnation started that process group.
    pub(super) orphaned: bool,
    /// The `Recovered` since the fact that let it run, as far as that is one of its own; once it has a result, since that.
    pub(super) recoveries: u32,
    pub(super) result: Option<Arc<ToolResult>>,
    pub(super) approval: Option<Approval>,
}

/// What somebody was asked about a call, last.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Approval {
    /// The position of the question.
    pub(super) question: Seq,
    pub(super) arguments: Digest,
    pub(super) cause: ApprovalCause,
    pub(super) why: Text,
    pub(super) since: Timestamp,
    pub(super) decision: Option<Decision>,
}

/// Where a call without a result stands, judged when it is its turn to run: of a call that still waits behind
/// others nothing is said, for the result of one before it makes it fresh again.
#[derive(Debug, Clone, PartialEq)]
pub enum CallPhase {
    /// Nothing says that it ever ran: it runs now, if it may. (Unless it is poison all the same, which
    /// [`OpenTurn::judged`](super::OpenTurn::judged) tells: a call may run without a fact of its start.)
    Fresh,
    /// Somebody must decide about it first.
    AwaitingApproval,
    /// Somebody denied it: it does not run.
    Denied {
        /// What was to be decided.
        cause: ApprovalCause,
        /// Why.
        reason: Text,
    },
    /// Somebody says that it was done otherwise: it does not run.
    DoneOtherwise {
        /// Its result.
        result: Text,
    },
    /// Its start is a fact of this incarnation: it runs, or is about to.
    InFlight,
    /// An earlier incarnation started it, and doing it again with this key is doing it once: it runs again.
    Again {
        /// The key of the first time.
        key: Text,
    },
    /// An earlier incarnation started it and it may have changed the world: it does not run again, unless somebody
    /// says so ([`OnUnknown`]).
    CutOff,
    /// It was about to run in each of the last [`CALL_RECOVERY_LIMIT`] incarnations, and none lived to tell: it does
    /// not run again.
    Poisoned,
}

/// A call without a result, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenCall {
    /// The call.
    pub call: ToolCall,
    /// Where it stands.
    pub phase: CallPhase,
    /// Whether somebody allowed it to run.
    pub approved: bool,
    /// The process group that an earlier incarnation left to it, and when its leader started: ended before anything
    /// is said of the call. Never one of this incarnation.
    pub left_behind: Option<(i32, u64)>,
}

impl Call {
    pub(super) fn new(call: ToolCall) -> Self {
        Self {
            call,
            started: None,
            process: None,
            orphaned: false,
            recoveries: 0,
            result: None,
            approval: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.result.is_none()
    }

    /// Whether somebody must decide before anything is done with it.
    pub(super) fn is_awaiting(&self) -> bool {
        self.is_open() && self.approval.as_ref().is_some_and(|approval| approval.decision.is_none())
    }

    /// The position of what was asked about it last.
    pub(super) fn question(&self) -> Option<Seq> {
        self.approval.as_ref().map(|approval| approval.question)
    }

    pub(super) fn pending(&self) -> Option<PendingApproval> {
        let approval = self.approval.as_ref().filter(|_| self.is_awaiting())?;
        Some(PendingApproval {
            call: self.call.id,
            question: approval.question,
            tool: self.call.name.clone(),
            arguments: self.call.arguments.clone(),
            digest: approval.arguments,
            cause: approval.cause,
            why: approval.why.clone(),
            since: approval.since,
        })
    }

    pub(super) fn recover(&mut self) {
        // While it waits for a decision nothing lets it run, so no death is its doing.
        if !self.is_awaiting() {
            self.recoveries = self.recoveries.saturating_add(1);
        }
        self.orphaned = self.process.is_some();
    }

    /// Takes a decision in. One that was cut off and is allowed is as if it had never begun.
    pub(super) fn decide(&mut self, decision: Decision) {
        let Some(approval) = &mut self.approval else { return };
        if decision == Decision::Allow {
            self.recoveries = 0;
            if approval.cause == ApprovalCause::CutOff {
                (self.started, self.process, self.orphaned) = (None, None, false);
            }
        }
        approval.decision = Some(decision);
    }

    pub(super) fn opened(&self, on_unknown: OnUnknown) -> OpenCall {
        let left_behind = self.process.filter(|_| self.orphaned);
        let approved = self.approval.as_ref().is_some_and(|a| a.decision == Some(Decision::Allow));
        OpenCall { call: self.call.clone(), phase: self.phase(on_unknown), approved, left_behind }
    }

    fn phase(&self, on_unknown: OnUnknown) -> CallPhase {
        if let Some(Approval { cause, decision, .. }) = &self.approval {
            match decision {
                None => return CallPhase::AwaitingApproval,
                Some(Decision::Deny { reason }) => {
                    return CallPhase::Denied { cause: *cause, reason: reason.clone() };
                }
                Some(Decision::Done { result }) => {
                    return CallPhase::DoneOtherwise { result: result.clone() };
                }
                Some(Decision::Allow) => {}
            }
        }
        match &self.started {
            Some(_) if self.recoveries == 0 => CallPhase::InFlight,
            Some((Effect::Write, _)) if on_unknown != OnUnknown::Retry => CallPhase::CutOff,
            Some(_) if self.recoveries >= CALL_RECOVERY_LIMIT => CallPhase::Poisoned,
            Some((_, key)) => CallPhase::Again { key: key.clone() },
            None => CallPhase::Fresh,
        }
    }
}
