//! Which calls are poison that left no fact of their start.
//!
//! A call that needs such a fact and has none never ran. Any other may have run in every incarnation since something let it
//! run: the answer, the decision that allowed it, or the results that gave it its turn. Which of them that was follows from
//! the order in which calls are run ([`schedule`](super::schedule)), and that from what their tools do, which the session
//! knows and no fact tells.

use super::calls::{CALL_RECOVERY_LIMIT, Call, CallPhase, OpenCall};
use super::turn::OpenTurn;
use crate::effect::Effect;

impl OpenTurn {
    /// The open calls as they stand where a tool of that name does that: a fresh one that was about to run in each of the last
    /// [`CALL_RECOVERY_LIMIT`] incarnations is poisoned.
    pub fn judged(&self, calls: &[OpenCall], effect_of: impl Fn(&str) -> Effect) -> Vec<OpenCall> {
        let poisoned = |open: &OpenCall| {
            open.phase == CallPhase::Fresh
                && !effect_of(&open.call.name).needs_start_fact()
                && self.let_run_for(open, &effect_of) >= CALL_RECOVERY_LIMIT
        };
        let judge = |open: &OpenCall| match poisoned(open) {
            true => OpenCall { phase: CallPhase::Poisoned, ..open.clone() },
            false => open.clone(),
        };
        calls.iter().map(judge).collect()
    }

    /// For how many recoveries nothing has kept a call from running.
    fn let_run_for(&self, open: &OpenCall, effect_of: &impl Fn(&str) -> Effect) -> u32 {
        let Some(at) = self.batch.iter().position(|call| call.call.id == open.call.id) else { return 0 };
        let (before, rest) = self.batch.split_at(at);
        let own = rest.first().map_or(0, |call| call.recoveries);
        let is_parallel = |call: &&Call| effect_of(&call.call.name).is_parallel();
        // One that has no result yet stands in the way.
        let since_its_result = |call: &Call| if call.is_open() { 0 } else { call.recoveries };
        // Nothing passes a `Write`.
        let writes = before.iter().filter(|call| !is_parallel(call)).map(since_its_result).min();
        // Of the others, so many had to have their results that there was a place; one that waits for a decision takes none.
        let mut others: Vec<u32> = before
            .iter()
            .filter(is_parallel)
            .filter(|call| !call.is_awaiting())
            .map(since_its_result)
            .collect();
        others.sort_unstable_by(|one, other| other.cmp(one));
        let places = usize::try_from(self.settings.limits.max_concurrency.max(1)).unwrap_or(usize::MAX);
        let place = others.len().checked_sub(places).and_then(|last| others.get(last)).copied();
        [Some(own), writes, place].into_iter().flatten().min().unwrap_or(0)
    }
}
