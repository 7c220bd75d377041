//! The circuit breaker: a pure function of a state, what happened, and the time.
//!
//! A server that is down costs each caller a whole timeout to find out, and being asked by everybody at once is what
//! keeps some servers down. So after several failures in a row the calls wait. When the wait is over one of them is let
//! through: real traffic is the probe, and no request is made only to see whether one would work.

use std::time::Duration;

use ergane_core::{ErrorKind, ProviderError};
use tokio::time::Instant;

/// When a provider's circuit opens, and for how long.
///
/// ```
/// use std::time::Duration;
///
/// use ergane_provider::{BreakerPolicy, Ollama};
///
/// let patient = BreakerPolicy { failures: 20, at_most: Duration::from_secs(5), ..BreakerPolicy::default() };
/// let ollama = Ollama::default().breaker(patient);
/// # let _ = ollama;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// So many failures in a row open it, 5.
    pub failures: u32,
    /// How long it is open the first time, 1 s; each time that the probe fails too it is twice as long.
    pub open_for: Duration,
    /// The longest that it is open before the next probe, 30 s.
    pub at_most: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 5, open_for: Duration::from_secs(1), at_most: Duration::from_secs(30) }
    }
}

/// A moment beyond the clock's end is one in a year: nobody waits for either.
fn after(now: Instant, wait: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    now + wait.min(YEAR)
}

impl BreakerPolicy {
    fn wait(&self, trips: u32) -> Duration {
        let factor = 2u32.checked_pow(trips).unwrap_or(u32::MAX);
        self.open_for.saturating_mul(factor).min(self.at_most)
    }
}

/// Where a circuit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    /// Calls pass; so many have failed since one succeeded.
    Closed { failures: u32 },
    /// None passes before `until`; it has been open so many times in a row before.
    Open { until: Instant, trips: u32 },
    /// One call is the probe. If nothing is heard of it, there is another `until` then.
    Probing { until: Instant, trips: u32 },
    /// The probe's answer is under way: calls pass, for it may take minutes, and one that fails opens it again.
    Trusted { trips: u32 },
}

/// Where a provider's circuit stands, for whoever looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Circuit {
    /// Calls pass.
    Closed,
    /// Calls wait; the first that passes after the wait shows whether the server works again.
    Open,
    /// One call is under way to see whether the server works again.
    Probing,
}

/// What happened to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was let through.
    Admitted,
    /// A piece of its answer came.
    Speaks,
    /// The server works: it answered, or refused for a reason of its own.
    Answered,
    /// The server does not work.
    Failed,
    /// It was given up before anything could be said of the server.
    Abandoned,
}

impl Breaker {
    pub(super) const NEW: Self = Self::Closed { failures: 0 };

    /// How it is told.
    pub(super) fn circuit(self) -> Circuit {
        match self {
            Self::Closed { .. } | Self::Trusted { .. } => Circuit::Closed,
            Self::Open { .. } => Circuit::Open,
            Self::Probing { .. } => Circuit::Probing,
        }
    }

    /// Until when no call may pass; `None` when one may.
    pub(super) fn shut_until(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Closed { .. } | Self::Trusted { .. } => None,
            Self::Open { until, .. } | Self::Probing { until, .. } => (until > now).then_some(until),
        }
    }

    /// What it is after `outcome`.
    pub(super) fn after(self, outcome: Outcome, now: Instant, policy: &BreakerPolicy) -> Self {
        match (self, outcome) {
            (_, Outcome::Answered) => Self::NEW,
            (Self::Closed { failures }, Outcome::Failed) => {
                let failures = failures.saturating_add(1);
                if failures >= policy.failures.max(1) {
                    Self::Open { until: after(now, policy.wait(0)), trips: 1 }
                } else {
                    Self::Closed { failures }
                }
            }
            (Self::Closed { .. }, Outcome::Admitted | Outcome::Speaks | Outcome::Abandoned) => self,
            (Self::Open { trips, .. } | Self::Probing { trips, .. }, Outcome::Speaks) => {
                Self::Trusted { trips }
            }
            (Self::Trusted { .. }, Outcome::Admitted | Outcome::Speaks | Outcome::Abandoned) => self,
            // The first that passes after the wait is the probe.
            (Self::Open { trips, .. } | Self::Probing { trips, .. }, Outcome::Admitted) => {
                Self::Probing { until: after(now, policy.at_most), trips }
            }
            (Self::Probing { trips, .. } | Self::Trusted { trips }, Outcome::Failed) => {
                Self::Open { until: after(now, policy.wait(trips)), trips: trips.saturating_add(1) }
            }
            // A probe that was given up said nothing: the next call is the probe, at once.
            (Self::Probing { trips, .. }, Outcome::Abandoned) => Self::Open { until: now, trips },
            // Of calls that were under way when it opened.
            (Self::Open { .. }, Outcome::Failed | Outcome::Abandoned) => self,
        }
    }
}

/// What an error says of its server. One that refuses, for whatever reason, works; but it must have `answered`, or the
/// error must have the status of its answer, below 500: one that was made before anything was sent, for want of a key or an address,
/// says nothing of it.
pub(super) fn outcome_of(error: &ProviderError, answered: bool) -> Outcome {
    let answered = answered || error.status.is_some_and(|status| status < 500);
    match error.kind {
        ErrorKind::Server
        | ErrorKind::Overloaded
        | ErrorKind::Timeout
        | ErrorKind::Network
        | ErrorKind::StreamCut
        | ErrorKind::Protocol
        | ErrorKind::Internal => Outcome::Failed,
        _ if answered => Outcome::Answered,
        _ => Outcome::Abandoned,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: BreakerPolicy =
        BreakerPolicy { failures: 2, open_for: Duration::from_secs(1), at_most: Duration::from_secs(5) };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_table_of_states_holds() {
        use Outcome::*;
        let t = Instant::now();
        let closed = |failures| Breaker::Closed { failures };
        let open = |s, trips| Breaker::Open { until: t + secs(s), trips };
        let probing = |s, trips| Breaker::Probing { until: t + secs(s), trips };
        let trusted = |trips| Breaker::Trusted { trips };
        let table = [
            (closed(0), Admitted, closed(0)),
            (closed(0), Failed, closed(1)),
            (closed(1), Failed, open(1, 1)),
            (closed(1), Answered, closed(0)),
            (closed(1), Abandoned, closed(1)),
            (open(1, 1), Failed, open(1, 1)),
            (open(1, 1), Abandoned, open(1, 1)),
            (open(1, 1), Answered, closed(0)),
            (open(0, 1), Admitted, probing(5, 1)),
            (probing(5, 1), Answered, closed(0)),
            (probing(5, 1), Failed, open(2, 2)),
            (probing(5, 2), Failed, open(4, 3)),
            (probing(5, 3), Failed, open(5, 4)),
            (probing(5, u32::MAX), Failed, open(5, u32::MAX)),
            (probing(5, 3), Abandoned, open(0, 3)),
            (probing(0, 3), Admitted, probing(5, 3)),
            (closed(1), Speaks, closed(1)),
            // Of a probe of long ago, while the next one waits.
            (open(1, 1), Speaks, trusted(1)),
            (probing(5, 3), Speaks, trusted(3)),
            (trusted(3), Speaks, trusted(3)),
            (trusted(3), Admitted, trusted(3)),
            (trusted(3), Abandoned, trusted(3)),
            (trusted(3), Failed, open(5, 4)),
            (trusted(3), Answered, closed(0)),
        ];
        for (state, outcome, expected) in table {
            assert_eq!(state.after(outcome, t, &POLICY), expected, "{state:?} {outcome:?}");
        }
    }

    #[test]
    fn a_policy_without_end_is_no_panic() {
        let policy = BreakerPolicy { failures: 1, open_for: Duration::MAX, at_most: Duration::MAX };
        let t = Instant::now();
        let open = Breaker::NEW.after(Outcome::Failed, t, &policy);
        let probing = open.after(Outcome::Admitted, t, &policy);
        let again = probing.after(Outcome::Failed, t, &policy);
        assert!([open, probing, again].iter().all(|breaker| breaker.shut_until(t + secs(60)).is_some()));
    }

    #[test]
    fn nothing_passes_before_the_wait_is_over() {
        let t = Instant::now();
        assert_eq!(Breaker::NEW.shut_until(t), None);
        let open = Breaker::Open { until: t + secs(1), trips: 1 };
        assert_eq!(open.shut_until(t), Some(t + secs(1)));
        assert_eq!(open.shut_until(t + secs(1)), None);
    }

    #[test]
    fn a_server_that_refuses_works_and_one_that_says_nothing_does_not() {
        for (kind, expected) in [
            (ErrorKind::Auth, Outcome::Answered),
            (ErrorKind::RateLimited, Outcome::Answered),
            (ErrorKind::ContextOverflow, Outcome::Answered),
            (ErrorKind::Timeout, Outcome::Failed),
            (ErrorKind::Protocol, Outcome::Failed),
            (ErrorKind::Server, Outcome::Failed),
        ] {
            let error = ProviderError::new(kind, "m");
            assert_eq!(outcome_of(&error, true), expected, "{kind:?}");
            let unheard = if expected == Outcome::Answered { Outcome::Abandoned } else { expected };
            assert_eq!(outcome_of(&error, false), unheard, "{kind:?}");
            let with_status = ProviderError { status: Some(400), ..error.clone() };
            assert_eq!(outcome_of(&with_status, false), expected, "{kind:?}");
            let of_a_gateway = ProviderError { status: Some(502), ..error };
            assert_eq!(outcome_of(&of_a_gateway, false), unheard, "{kind:?}");
        }
    }

    proptest! {
        /// Whatever happens: it is never shut for longer than the policy says, after an answer everything passes, and
        /// while the server only fails no more calls pass than one for each wait.
        #[test]
        fn it_is_never_shut_for_longer_than_it_may(
            events in prop::collection::vec((0u64..3_000, 0u8..5), 1..300),
        ) {
            let (mut now, mut breaker) = (Instant::now(), Breaker::NEW);
            for (millis, event) in events {
                now += Duration::from_millis(millis);
                let outcome = match event {
                    0 if breaker.shut_until(now).is_none() => Outcome::Admitted,
                    0 => continue,
                    1 => Outcome::Answered,
                    2 => Outcome::Failed,
                    3 => Outcome::Speaks,
                    _ => Outcome::Abandoned,
                };
                let was_probing = matches!(breaker, Breaker::Probing { .. } | Breaker::Trusted { .. });
                breaker = breaker.after(outcome, now, &POLICY);
                if let Some(until) = breaker.shut_until(now) {
                    prop_assert!(until <= now + POLICY.at_most);
                }
                match outcome {
                    Outcome::Answered => prop_assert_eq!(breaker, Breaker::NEW),
                    Outcome::Failed if was_probing => prop_assert!(breaker.shut_until(now).is_some()),
                    _ => {}
                }
            }
        }
    }
}
