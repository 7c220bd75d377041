//! Which calls are poison that left no fact of their start.
//!
//! A call that needs such a fact and has none never ran. Any other may have run in every incarnation since something let it
//! run: the answer, the decision that allowed it, or the results that gave it its turn. Which of them that was follows from
//! the order in which calls are run ([`schedule`](super::schedule)), and that from what their tools do, which the session
//! knows and no fact tells.

use super::calls::{CALL_RECOVERY_LIMIT, Call, CallPhase, OpenCall};
use super::schedule::{CallState, schedule};
use super::turn::OpenTurn;
use crate::effect::Effect;

impl OpenTurn {
    /// The open calls as they stand where a tool of that name does that: a fresh one that was about to run in each of the last
    /// [`CALL_RECOVERY_LIMIT`] incarnations is poisoned.
    pub fn judged(&self, calls: &[OpenCall], effect_of: impl Fn(&str) -> Effect) -> Vec<OpenCall> {
        let poisoned = |open: &OpenCall| {
            open.phase == CallPhase::Fresh
                && !effect_of(&open.call.name).needs_start_fact()
                && self.could_run_all_along(open, &effect_of)
        };
        let judge = |open: &OpenCall| match poisoned(open) {
            true => OpenCall { phase: CallPhase::Poisoned, ..open.clone() },
            false => open.clone(),
        };
        calls.iter().map(judge).collect()
    }

    /// Whether nothing has kept a call from running in the last [`CALL_RECOVERY_LIMIT`] incarnations.
    fn could_run_all_along(&self, open: &OpenCall, effect_of: &impl Fn(&str) -> Effect) -> bool {
        let Some(at) = self.batch.iter().position(|call| call.call.id == open.call.id) else { return false };
        // As it stood then: a call that had its result by that time is done, any other was in the way.
        let stood = |(place, call): (usize, &Call)| {
            let state = match call {
                _ if place == at => CallState::Due,
                call if !call.is_open() && call.recoveries >= CALL_RECOVERY_LIMIT => CallState::Done,
                call if call.is_awaiting() => CallState::Held,
                _ => CallState::Running,
            };
            (effect_of(&call.call.name), state)
        };
        let batch: Vec<_> = self.batch.iter().take(at + 1).enumerate().map(stood).collect();
        let counted = self.batch.get(at).map_or(0, |call| call.recoveries);
        counted >= CALL_RECOVERY_LIMIT && schedule(&batch, self.settings.limits.max_concurrency).contains(&at)
    }
}
