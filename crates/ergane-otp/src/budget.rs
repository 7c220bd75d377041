//! Restart budgets: pure decisions on instants.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

/// How many restarts all children of a supervisor may need within a time before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    /// So many restarts are allowed; one more ends the supervisor. 0: the first crash ends it.
    pub max_restarts: u32,
    /// The length of the sliding window.
    pub within: Duration,
}

impl Intensity {
    /// Admits a restart now, as [`RestartWindow::admit`].
    pub(crate) fn admit(&self, window: &mut RestartWindow) -> Option<usize> {
        window.admit(Instant::now(), self.max_restarts, self.within)
    }
}

impl Default for Intensity {
    /// 3 restarts within 5 s.
    fn default() -> Self {
        Self { max_restarts: 3, within: Duration::from_secs(5) }
    }
}

/// How many restarts one child may need within a time before it is quarantined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartBudget {
    /// So many restarts are allowed; one more quarantines the child.
    pub max_restarts: u32,
    /// The length of the sliding window.
    pub within: Duration,
    /// The waits before restarts.
    pub backoff: Backoff,
}

impl Default for RestartBudget {
    /// 5 restarts within 60 s.
    fn default() -> Self {
        Self { max_restarts: 5, within: Duration::from_secs(60), backoff: Backoff::default() }
    }
}

/// Waits that double, for whatever is tried again and again.
///
/// Before a restart the wait is a random part of that (full jitter): the n-th restart within a window waits up to
/// `base · 2^(n-2)`, at most `max`; the first does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure; for restarts, the longest one before the second.
    pub base: Duration,
    /// The longest wait of all.
    pub max: Duration,
}

impl Default for Backoff {
    /// 100 ms, up to 10 s.
    fn default() -> Self {
        Self { base: Duration::from_millis(100), max: Duration::from_secs(10) }
    }
}

impl Backoff {
    /// The wait after so many failures in a row: `base · 2^(failures-1)`, at most `max`; none before the first.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ergane_otp::Backoff;
    ///
    /// let ms = Duration::from_millis;
    /// let waits = Backoff { base: ms(50), max: ms(150) };
    /// assert_eq!([0, 1, 2, 3, u32::MAX].map(|n| waits.after(n)), [ms(0), ms(50), ms(100), ms(150), ms(150)]);
    /// ```
    pub fn after(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }

    /// The wait when `before` restarts happened within the window; `fraction` is the jitter, from 0 to 1.
    pub(crate) fn wait(&self, before: usize, fraction: f64) -> Duration {
        let longest = self.after(u32::try_from(before).unwrap_or(u32::MAX));
        longest.mul_f64(fraction.clamp(0.0, 1.0))
    }
}

/// A number from 0 to 1 that spreads restarts: what it is made of is to differ between any two that end together. It is no
/// random number, so that on a clock that a test moves a history happens again as it did.
pub(crate) fn jitter(of: impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    // 53 bits are all that an f64 holds.
    (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
}

/// The restarts within the sliding window.
#[derive(Debug, Default)]
pub(crate) struct RestartWindow {
    at: VecDeque<Instant>,
}

impl RestartWindow {
    /// Admits a restart now and says how many there were within the window before it; `None` if there were too many.
    pub(crate) fn admit(&mut self, now: Instant, max_restarts: u32, within: Duration) -> Option<usize> {
        while self.at.front().is_some_and(|&at| now.saturating_duration_since(at) > within) {
            self.at.pop_front();
        }
        let before = self.at.len();
        if before >= max_restarts as usize {
            return None;
        }
        self.at.push_back(now);
        Some(before)
    }

    /// The time between the first and the last restart that it knows of.
    pub(crate) fn span(&self) -> Duration {
        let ends = self.at.front().zip(self.at.back());
        ends.map(|(first, last)| last.saturating_duration_since(*first)).unwrap_or_default()
    }

    /// Admits a restart now if it is the first within the window, which never waits.
    pub(crate) fn admit_first(&mut self, now: Instant, max_restarts: u32, within: Duration) -> bool {
        let first = self.at.back().is_none_or(|&at| now.saturating_duration_since(at) > within);
        first && self.admit(now, max_restarts, within).is_some()
    }
}

#[cfg(test)]
mod tests;
