//! Which calls of a batch may start now.

use crate::effect::Effect;

/// The positions of the calls that may start now, in call order.
///
/// `calls` is the whole batch in call order: each call's effect, whether it runs, and whether it has its result.
/// A `Write` starts alone, when everything before it is done and nothing runs; nothing passes a `Write` that is not
/// done. `Read` and `Idempotent` calls run beside each other, at most `max_concurrency` (at least 1) at once.
///
/// ```
/// use ergane_core::{Effect::*, schedule};
///
/// let batch = [(Read, false, false), (Read, false, false), (Write, false, false), (Read, false, false)];
/// assert_eq!(schedule(&batch, 4), [0, 1]);
/// let reads_done = [(Read, false, true), (Read, false, true), (Write, false, false), (Read, false, false)];
/// assert_eq!(schedule(&reads_done, 4), [2]);
/// ```
pub fn schedule(calls: &[(Effect, bool, bool)], max_concurrency: u32) -> Vec<usize> {
    let mut start = Vec::new();
    let mut busy = calls.iter().filter(|(_, running, done)| *running && !done).count();
    let most = usize::try_from(max_concurrency.max(1)).unwrap_or(usize::MAX);
    for (index, (effect, running, _)) in calls.iter().enumerate().filter(|(_, (.., done))| !done) {
        match (effect.is_parallel(), running) {
            (true, true) => {}
            (true, false) if busy < most => {
                start.push(index);
                busy += 1;
            }
            (true, false) => {}
            (false, true) => break,
            (false, false) => {
                if busy == 0 {
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
    use Effect::{Idempotent, Read, Write};

    #[test]
    fn reads_run_beside_each_other_up_to_the_limit_and_writes_alone_and_in_order() {
        let waiting = |effect| (effect, false, false);
        let running = |effect| (effect, true, false);
        let done = |effect| (effect, false, true);
        assert_eq!(schedule(&[waiting(Read), waiting(Idempotent), waiting(Read)], 2), [0, 1]);
        assert_eq!(schedule(&[running(Read), waiting(Read), waiting(Read)], 2), [1]);
        assert_eq!(schedule(&[waiting(Read), running(Read), running(Read)], 2), [] as [usize; 0]);
        assert_eq!(schedule(&[done(Read), waiting(Read), done(Read), waiting(Read)], 1), [1]);
        assert_eq!(schedule(&[waiting(Read), waiting(Write)], 4), [0]);
        assert_eq!(schedule(&[waiting(Write), waiting(Write)], 4), [0]);
        assert_eq!(schedule(&[waiting(Write), running(Read)], 4), [] as [usize; 0]);
        assert_eq!(schedule(&[running(Write), waiting(Read)], 4), [] as [usize; 0]);
        assert_eq!(schedule(&[running(Read), waiting(Write), waiting(Read)], 4), [] as [usize; 0]);
        assert_eq!(schedule(&[done(Write), waiting(Write)], 4), [1]);
        assert_eq!(schedule(&[(Write, true, true), waiting(Write)], 4), [1], "a result ends it");
        assert_eq!(schedule(&[waiting(Read)], 0), [0]);
        assert_eq!(schedule(&[], 4), [] as [usize; 0]);
    }
}
