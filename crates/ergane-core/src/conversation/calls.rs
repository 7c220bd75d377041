//! The calls of the model's last answer, and where each stands.

use std::sync::Arc;

use crate::effect::Effect;
use crate::message::{Text, ToolCall, ToolResult};

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
    /// The `Recovered` since the fact that let it run.
    pub(super) recoveries: u32,
    pub(super) result: Option<Arc<ToolResult>>,
}

/// Where a call without a result stands, judged when it is its turn to run: of a call that still waits behind
/// others nothing is said, for the result of one before it makes it fresh again.
#[derive(Debug, Clone, PartialEq)]
pub enum CallPhase {
    /// Nothing says that it ever ran: it runs now.
    Fresh,
    /// Its start is a fact of this incarnation: it runs, or is about to.
    InFlight,
    /// An earlier incarnation started it, and doing it again with this key is doing it once: it runs again.
    Again {
        /// The key of the first time.
        key: Text,
    },
    /// An earlier incarnation started it and it may have changed the world: it does not run again.
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
    /// The process group that an earlier incarnation left to it, and when its leader started: ended before anything
    /// is said of the call. Never one of this incarnation.
    pub left_behind: Option<(i32, u64)>,
}

impl Call {
    pub(super) fn new(call: ToolCall) -> Self {
        Self { call, started: None, process: None, orphaned: false, recoveries: 0, result: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.result.is_none()
    }

    pub(super) fn recover(&mut self) {
        self.recoveries = self.recoveries.saturating_add(1);
        self.orphaned = self.process.is_some();
    }

    pub(super) fn opened(&self) -> OpenCall {
        let left_behind = self.process.filter(|_| self.orphaned);
        OpenCall { call: self.call.clone(), phase: self.phase(), left_behind }
    }

    fn phase(&self) -> CallPhase {
        match &self.started {
            Some(_) if self.recoveries == 0 => CallPhase::InFlight,
            Some((Effect::Write, _)) => CallPhase::CutOff,
            _ if self.recoveries >= CALL_RECOVERY_LIMIT => CallPhase::Poisoned,
            Some((_, key)) => CallPhase::Again { key: key.clone() },
            None => CallPhase::Fresh,
        }
    }
}
