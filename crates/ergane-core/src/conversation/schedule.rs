//! Which calls of a batch may start now.

use crate::effect::Effect;

/// Where a call of a batch stands, as far as its neighbours must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallState {
    /// It may start when it is its turn.
    Due,
    /// Somebody or something must decide about it first.
    Held,
    /// It runs, or is about to.
    Running,
    /// It has its result.
    Done,
}

/// The positions of the calls that may start now, in call order.
///
/// `calls` is the whole batch in call order. A `Write` starts alone, when everything before it is done and nothing runs;
/// nothing passes a `Write` that is not done. `Read` and `Idempotent` calls run beside each other, at most
/// `max_concurrency` (at least 1) at once; one that is held takes no place, but a `Write` behind it waits for it.
///
/// ```
/// use ergane_core::{CallState::*, Effect::*, schedule};
///
/// let batch = [(Read, Due), (Read, Due), (Write, Due), (Read, Due)];
/// assert_eq!(schedule(&batch, 4), [0, 1]);
/// let reads_done = [(Read, Done), (Read, Done), (Write, Due), (Read, Due)];
/// assert_eq!(schedule(&reads_done, 4), [2]);
/// ```
pub fn schedule(calls: &[(Effect, CallState)], max_concurrency: u32) -> Vec<usize> {
    let mut start = Vec::new();
    let mut busy = calls.iter().filter(|(_, state)| *state == CallState::Running).count();
    let mut held = false;
    let most = usize::try_from(max_concurrency.max(1)).unwrap_or(usize::MAX);
    for (index, (effect, state)) in calls.iter().enumerate() {
        match (effect.is_parallel(), state) {
            (_, CallState::Done) | (true, CallState::Running) => {}
            (true, CallState::Held) => held = true,
            (true, CallState::Due) if busy < most => {
                start.push(index);
                busy += 1;
            }
            (true, CallState::Due) => {}
            (false, CallState::Running | CallState::Held) => break,
            (false, CallState::Due) => {
                if busy == 0 && !held {
                    start.push(index);
                }
                break;
            }
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use CallState::{Done, Due, Held, Running};
    use Effect::{Idempotent, Read, Write};

    #[test]
    fn reads_run_beside_each_other_up_to_the_limit_and_writes_alone_and_in_order() {
        let nothing: [usize; 0] = [];
        assert_eq!(schedule(&[(Read, Due), (Idempotent, Due), (Read, Due)], 2), [0, 1]);
        assert_eq!(schedule(&[(Read, Running), (Read, Due), (Read, Due)], 2), [1]);
        assert_eq!(schedule(&[(Read, Due), (Read, Running), (Read, Running)], 2), nothing);
        assert_eq!(schedule(&[(Read, Done), (Read, Due), (Read, Done), (Read, Due)], 1), [1]);
        assert_eq!(schedule(&[(Read, Due), (Write, Due)], 4), [0]);
        assert_eq!(schedule(&[(Write, Due), (Write, Due)], 4), [0]);
        assert_eq!(schedule(&[(Write, Due), (Read, Running)], 4), nothing);
        assert_eq!(schedule(&[(Write, Running), (Read, Due)], 4), nothing);
        assert_eq!(schedule(&[(Read, Running), (Write, Due), (Read, Due)], 4), nothing);
        assert_eq!(schedule(&[(Write, Done), (Write, Due)], 4), [1]);
        assert_eq!(schedule(&[(Read, Due)], 0), [0]);
        assert_eq!(schedule(&[], 4), nothing);
    }

    #[test]
    fn a_held_call_takes_no_place_but_a_write_behind_it_waits() {
        let nothing: [usize; 0] = [];
        assert_eq!(schedule(&[(Read, Held), (Read, Due), (Read, Due)], 1), [1]);
        assert_eq!(schedule(&[(Read, Held), (Write, Due)], 4), nothing);
        assert_eq!(schedule(&[(Write, Held), (Read, Due)], 4), nothing);
        assert_eq!(schedule(&[(Read, Due), (Write, Held)], 4), [0]);
        assert_eq!(schedule(&[(Read, Done), (Write, Due), (Read, Held)], 4), [1]);
    }
}
