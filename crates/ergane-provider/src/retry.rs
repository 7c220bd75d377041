//! Whether a failed call is made again, and when: a pure function, so that every wait can be explained and tested.
//!
//! The loop owns the attempts. It asks here after each failure, sets a timer as a message to itself, and tells its
//! subscribers. Nothing in this crate sleeps between attempts.

use std::time::Duration;

use ergane_core::{ErrorKind, ProviderError};
use ergane_otp::Backoff;

pub use plain::PlainHistory;

mod plain;

/// How often and how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Further attempts after the first, 4.
    pub max_retries: u32,
    /// The bound of the first wait without a hint, 500 ms; it doubles with every attempt.
    pub base: Duration,
    /// What that bound does not exceed, 8 s.
    pub cap: Duration,
    /// The longest hint of a server that is obeyed, 60 s. A longer one ends the attempts: nobody waits blindly.
    pub max_hint: Duration,
    /// How long after the first attempt a provider may still be asked again, 10 min. An answer that is coming in is never
    /// cut off by it, and of a chain each provider is asked once, whatever those before it took.
    pub max_time: Duration,
    /// The longest wait for a provider while there is another one to be asked instead, 5 s. Where time is over, a provider
    /// that is asked for the first time may be waited for as long.
    pub fallback_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_retries: 4,
            base: Duration::from_millis(500),
            cap: Duration::from_secs(8),
            max_hint: Duration::from_secs(60),
            max_time: Duration::from_secs(600),
            fallback_after: Duration::from_secs(5),
        }
    }
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The same provider is asked again after this wait.
    Again(Duration),
    /// The same provider is asked again at once, with a history in which nothing is left that only a model can read
    /// ([`PlainHistory`]).
    Repaired,
    /// The next provider of the chain is asked, at once.
    Fallback,
    /// The call has failed.
    GiveUp,
}

/// A failed attempt, with what is known of those before it.
#[derive(Debug, Clone, Copy)]
pub struct Failed<'a> {
    /// Why it failed.
    pub error: &'a ProviderError,
    /// The number of the attempt at this provider, from 1.
    pub attempt: u32,
    /// How long ago the first attempt at any provider began.
    pub elapsed: Duration,
    /// Whether there is another provider to be asked.
    pub has_next: bool,
    /// Whether this provider was asked again before because a tool call could not be read.
    pub resampled: bool,
    /// Whether this provider was asked again before with a repaired history.
    pub repaired: bool,
}

/// What follows a failed attempt: the same provider again while that may help ([`delay`]), there is time, and the wait is
/// worth it; else the next provider, unless no other could do better; else nothing. `random` is as for [`delay`].
///
/// A provider that said nothing for as long as it may was waited for already: where there is another, that one is asked, and
/// not the same silence once more. Time that is over ends the attempts at this provider, and not the chain: what a slow one
/// took is no reason against the next.
///
/// A tool call that cannot be read is the model's bad luck: it is asked for another once. What fails twice so is no luck.
///
/// A history that a provider refuses to read is repaired once: what models keep in it for themselves may be out of date, as
/// encrypted reasoning is that another account was given, and no model needs it to go on.
pub fn after(failed: Failed<'_>, random: f64, policy: &RetryPolicy) -> Decision {
    let Failed { error, attempt, elapsed, has_next, resampled, repaired } = failed;
    let in_time = |wait: Duration| elapsed.saturating_add(wait) <= policy.max_time;
    let may_repair = !repaired && attempt.max(1) <= policy.max_retries && in_time(Duration::ZERO);
    if error.kind == ErrorKind::ReplayRejected && may_repair {
        return Decision::Repaired;
    }
    let is_no_luck = resampled && error.kind == ErrorKind::ToolFormat;
    // A server that says itself that it took too long has not kept anybody waiting by its silence.
    let was_waited_for = error.kind == ErrorKind::Timeout && error.status.is_none();
    let is_worth_it =
        |wait: Duration| !is_no_luck && (!has_next || (!was_waited_for && wait <= policy.fallback_after));
    match delay(attempt, error, random, policy) {
        Some(wait) if in_time(wait) && is_worth_it(wait) => Decision::Again(wait),
        _ if has_next && another_may_do_better(error.kind) => Decision::Fallback,
        _ => Decision::GiveUp,
    }
}

/// How long an attempt may wait to be let in by its provider.
pub fn max_wait(elapsed: Duration, has_next: bool, policy: &RetryPolicy) -> Duration {
    let left = policy.max_time.saturating_sub(elapsed);
    if has_next { policy.fallback_after } else { left.max(policy.fallback_after) }
}

/// What is wrong with the prompt is wrong everywhere: too long a one is made shorter, and what a filter blocks is not
/// carried to one that would not.
fn another_may_do_better(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::ContextOverflow | ErrorKind::ContentBlocked)
}

/// How long to wait before the next attempt; `None` means to give up.
///
/// `attempt` is the number of the attempt that failed, from 1. `random` is a number in `0.0..1.0`. Without a hint the
/// wait is drawn from all of `0..=base·2^(attempt-1)` (full jitter), so that many callers that failed together do not
/// come back together. A server's hint comes before that: nothing is taken off it, and the same is drawn on top, for all who
/// were told the same moment would come back in it, and one that is told "now" again and again would be a storm.
///
/// ```
/// use std::time::Duration;
/// use ergane_core::{ErrorKind, ProviderError};
/// use ergane_provider::retry::{RetryPolicy, delay};
///
/// let policy = RetryPolicy::default();
/// let mut error = ProviderError::new(ErrorKind::RateLimited, "slow down");
/// assert_eq!(delay(1, &error, 0.5, &policy), Some(Duration::from_millis(250)));
/// error.retry_after = Some(Duration::from_secs(3));
/// assert_eq!(delay(1, &error, 0.5, &policy), Some(Duration::from_millis(3250)));
/// ```
pub fn delay(attempt: u32, error: &ProviderError, random: f64, policy: &RetryPolicy) -> Option<Duration> {
    if !error.retryable || attempt.max(1) > policy.max_retries {
        return None;
    }
    let hint = error.retry_after.unwrap_or_default();
    if hint > policy.max_hint {
        return None;
    }
    let bound = Backoff { base: policy.base, max: policy.cap }.after(attempt.max(1));
    let random = if random.is_finite() { random.clamp(0.0, 1.0) } else { 0.0 };
    Some(hint.saturating_add(bound.mul_f64(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn failed(kind: ErrorKind, hint: Option<Duration>) -> ProviderError {
        ProviderError { retry_after: hint, ..ProviderError::new(kind, "m") }
    }

    #[test]
    fn the_table_of_waits_holds() {
        use ErrorKind::*;
        let policy = RetryPolicy::default();
        let table = [
            (1, Server, None, 1.0, Some(ms(500))),
            (2, Server, None, 1.0, Some(ms(1000))),
            (3, Overloaded, None, 1.0, Some(ms(2000))),
            (4, Network, None, 1.0, Some(ms(4000))),
            (4, Network, None, 0.0, Some(ms(0))),
            (4, StreamCut, None, 0.25, Some(ms(1000))),
            (5, Timeout, None, 1.0, None),
            (1, Auth, None, 1.0, None),
            (1, ContextOverflow, None, 1.0, None),
            (1, Auth, Some(ms(5)), 1.0, None),
            (1, RateLimited, Some(ms(250)), 0.0, Some(ms(250))),
            (1, RateLimited, Some(ms(250)), 0.5, Some(ms(500))),
            // "Now" is no leave for a storm.
            (1, RateLimited, Some(ms(0)), 1.0, Some(ms(500))),
            (4, RateLimited, Some(ms(0)), 1.0, Some(ms(4000))),
            (1, RateLimited, Some(ms(60_000)), 1.0, Some(ms(60_500))),
            (1, RateLimited, Some(ms(60_001)), 1.0, None),
            (5, RateLimited, Some(ms(1)), 1.0, None),
        ];
        for (attempt, kind, hint, random, expected) in table {
            let got = delay(attempt, &failed(kind, hint), random, &policy);
            assert_eq!(got, expected, "attempt {attempt}, {kind:?}, hint {hint:?}, random {random}");
        }
    }

    #[test]
    fn the_table_of_decisions_holds() {
        use Decision::{Again, Fallback, GiveUp};
        use ErrorKind::*;
        let policy = RetryPolicy::default();
        let (late, over) = (policy.max_time - ms(100), policy.max_time + ms(1));
        let table = [
            // kind, hint, attempt, elapsed, is there another?
            (Server, None, 1, ms(0), false, Again(ms(500))),
            (Server, None, 1, ms(0), true, Again(ms(500))),
            (Server, None, 5, ms(0), false, GiveUp),
            (Server, None, 5, ms(0), true, Fallback),
            (Auth, None, 1, ms(0), false, GiveUp),
            (Auth, None, 1, ms(0), true, Fallback),
            (ModelNotFound, None, 1, ms(0), true, Fallback),
            (ContextOverflow, None, 1, ms(0), true, GiveUp),
            (ContentBlocked, None, 1, ms(0), true, GiveUp),
            // A wait of more than five seconds is not worth it where there is another.
            (RateLimited, Some(ms(4500)), 1, ms(0), true, Again(ms(5000))),
            (RateLimited, Some(ms(4501)), 1, ms(0), true, Fallback),
            (RateLimited, Some(ms(4501)), 1, ms(0), false, Again(ms(5001))),
            // Silence was such a wait.
            (Timeout, None, 1, ms(0), true, Fallback),
            (Timeout, None, 1, ms(0), false, Again(ms(500))),
            // Nothing begins again when the time is over, and one that was not asked yet is asked.
            (Server, None, 1, late, false, GiveUp),
            (Server, None, 1, late, true, Fallback),
            (Server, None, 1, over, false, GiveUp),
            (Server, None, 1, over, true, Fallback),
            (Timeout, None, 5, over, true, Fallback),
            (ContextOverflow, None, 1, over, true, GiveUp),
        ];
        for (kind, hint, attempt, elapsed, has_next, expected) in table {
            let error = failed(kind, hint);
            let failed =
                Failed { error: &error, attempt, elapsed, has_next, resampled: false, repaired: false };
            let got = after(failed, 1.0, &policy);
            assert_eq!(got, expected, "{kind:?} {hint:?} attempt {attempt} after {elapsed:?}, {has_next}");
        }
    }

    #[test]
    fn a_timeout_that_the_server_tells_is_worth_another_attempt_at_it_and_silence_is_not() {
        for (status, expected) in [(Some(408), Decision::Again(ms(500))), (None, Decision::Fallback)] {
            let error = ProviderError { status, ..failed(ErrorKind::Timeout, None) };
            let failed = Failed {
                error: &error,
                attempt: 1,
                elapsed: ms(0),
                has_next: true,
                resampled: false,
                repaired: false,
            };
            assert_eq!(after(failed, 1.0, &RetryPolicy::default()), expected, "{status:?}");
        }
    }

    #[test]
    fn a_call_that_cannot_be_read_is_asked_for_once_more_whatever_failed_in_between() {
        use Decision::{Again, Fallback, GiveUp};
        use ErrorKind::{Server, ToolFormat};
        let no_retries = RetryPolicy { max_retries: 0, ..RetryPolicy::default() };
        let table = [
            (ToolFormat, 1, false, false, Again(ms(500))),
            (ToolFormat, 1, false, true, Again(ms(500))),
            (ToolFormat, 2, true, false, GiveUp),
            (ToolFormat, 2, true, true, Fallback),
            // The first of its kind, after another failure; and another failure after it.
            (ToolFormat, 2, false, false, Again(ms(1000))),
            (Server, 2, true, false, Again(ms(1000))),
        ];
        for (kind, attempt, resampled, has_next, expected) in table {
            let error = failed(kind, None);
            let failed =
                Failed { error: &error, attempt, elapsed: ms(0), has_next, resampled, repaired: false };
            assert_eq!(after(failed, 1.0, &RetryPolicy::default()), expected, "{failed:?}");
            if !has_next {
                assert_eq!(after(failed, 1.0, &no_retries), GiveUp, "{failed:?}");
            }
        }
    }

    #[test]
    fn a_history_that_is_refused_is_repaired_once_and_then_it_has_failed() {
        use Decision::{Again, Fallback, GiveUp, Repaired};
        use ErrorKind::{ReplayRejected, Server};
        let policy = RetryPolicy::default();
        let (none, late) = (RetryPolicy { max_retries: 0, ..policy }, policy.max_time + ms(1));
        let table = [
            (ReplayRejected, 1, ms(0), false, false, policy, Repaired),
            // Another provider is not tried before, although it could do better.
            (ReplayRejected, 1, ms(0), false, true, policy, Repaired),
            (ReplayRejected, 2, ms(0), true, false, policy, GiveUp),
            (ReplayRejected, 2, ms(0), true, true, policy, Fallback),
            (ReplayRejected, 5, ms(0), false, false, policy, GiveUp),
            (ReplayRejected, 1, late, false, false, policy, GiveUp),
            (ReplayRejected, 1, ms(0), false, false, none, GiveUp),
            (Server, 2, ms(0), true, false, policy, Again(ms(1000))),
        ];
        for (kind, attempt, elapsed, repaired, has_next, policy, expected) in table {
            let error = failed(kind, None);
            let failed = Failed { error: &error, attempt, elapsed, has_next, resampled: false, repaired };
            assert_eq!(after(failed, 1.0, &policy), expected, "{failed:?}");
        }
    }

    #[test]
    fn an_attempt_waits_for_its_provider_as_long_as_there_is_time_and_less_where_there_is_another() {
        let policy = RetryPolicy::default();
        assert_eq!(max_wait(ms(0), false, &policy), policy.max_time);
        assert_eq!(max_wait(ms(0), true, &policy), policy.fallback_after);
        assert_eq!(max_wait(policy.max_time - ms(60_000), false, &policy), ms(60_000));
        // The first attempt at the next of a chain is made, whatever those before it took.
        assert_eq!(max_wait(policy.max_time * 2, false, &policy), policy.fallback_after);
        assert_eq!(max_wait(policy.max_time * 2, true, &policy), policy.fallback_after);
    }

    #[test]
    fn the_bound_stops_at_the_cap_however_many_attempts_there_were() {
        let policy = RetryPolicy { max_retries: u32::MAX, ..RetryPolicy::default() };
        for attempt in [5, 6, 32, 33, 34, 1_000_000] {
            assert_eq!(delay(attempt, &failed(ErrorKind::Server, None), 1.0, &policy), Some(policy.cap));
        }
    }

    #[test]
    fn nonsense_for_a_random_number_is_no_panic() {
        for random in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
            let wait = delay(1, &failed(ErrorKind::Server, None), random, &RetryPolicy::default()).unwrap();
            assert!(wait <= ms(500));
        }
    }

    #[test]
    fn the_servers_word_on_retrying_beats_the_rule_of_the_kind() {
        let yes = ProviderError { retryable: true, ..failed(ErrorKind::InvalidRequest, None) };
        let no = ProviderError { retryable: false, ..failed(ErrorKind::Server, None) };
        assert_eq!(delay(1, &yes, 1.0, &RetryPolicy::default()), Some(ms(500)));
        assert_eq!(delay(1, &no, 1.0, &RetryPolicy::default()), None);
    }
}
