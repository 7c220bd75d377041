//! A bucket of tokens, as a value: how much may be spent now, and how long until there is enough.
//!
//! Pure: time comes in. A bucket may go into debt, by something that turned out larger than thought, or that is larger
//! than the whole bucket and would else never pass; the next one waits until the debt is paid.

use std::time::Duration;

use tokio::time::Instant;

/// Nobody waits longer for a bucket: beyond, the numbers that came from a server make no sense.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A debt is no deeper than so many full buckets: a server may tell any number of tokens.
const DEEPEST: f64 = 10.0;

/// A bucket that fills at a steady rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bucket {
    capacity: f64,
    per_second: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full one that fills by as much as it holds in every minute.
    pub(super) fn per_minute(capacity: u64, now: Instant) -> Self {
        let capacity = (capacity as f64).max(1.0);
        Self { capacity, per_second: capacity / 60.0, level: capacity, at: now }
    }

    /// One of that capacity with so much in it, which is full again after `reset`; when it is full already, it fills
    /// by `else_per_second`.
    pub(super) fn learned(
        capacity: u64,
        level: u64,
        reset: Duration,
        else_per_second: Option<f64>,
        now: Instant,
    ) -> Self {
        let capacity = (capacity as f64).max(1.0);
        let level = (level as f64).min(capacity);
        let missing = capacity - level;
        let per_second = if missing > 0.0 && !reset.is_zero() {
            missing / reset.as_secs_f64()
        } else {
            else_per_second.unwrap_or(capacity / 60.0)
        };
        Self { capacity, per_second, level, at: now }
    }

    pub(super) fn capacity(&self) -> f64 {
        self.capacity
    }

    pub(super) fn per_second(&self) -> f64 {
        self.per_second
    }

    fn level(&self, now: Instant) -> f64 {
        let filled = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        (self.level + filled).min(self.capacity)
    }

    /// How much may be spent now, in whole numbers; none while it is in debt.
    pub(super) fn left(&self, now: Instant) -> u64 {
        self.level(now).max(0.0) as u64
    }

    /// How long until it is full.
    pub(super) fn full_in(&self, now: Instant) -> Duration {
        Duration::try_from_secs_f64((self.capacity - self.level(now)) / self.per_second).unwrap_or(LONGEST)
    }

    /// How long until `amount` may be spent; zero when it may be spent now.
    pub(super) fn wait(&self, amount: u64, now: Instant) -> Duration {
        let missing = (amount as f64).min(self.capacity) - self.level(now);
        if missing <= 0.0 {
            return Duration::ZERO;
        }
        let wait = Duration::try_from_secs_f64(missing / self.per_second).unwrap_or(LONGEST);
        // Rounded up, so that whoever waited so long does find enough.
        wait.saturating_add(Duration::from_micros(1)).min(LONGEST)
    }

    /// Spends `amount`, or gives it back when it is negative.
    pub(super) fn spend(&mut self, amount: f64, now: Instant) {
        let deepest = -self.capacity * DEEPEST;
        self.level = (self.level(now) - amount).clamp(deepest, self.capacity);
        self.at = now.max(self.at);
    }

    /// This one, but with no more in it than `other`.
    pub(super) fn at_most(mut self, other: &Self, now: Instant) -> Self {
        self.level = self.level(now).min(other.level(now));
        self.at = now;
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_gives_what_it_holds_and_then_by_the_minute() {
        let now = Instant::now();
        let mut bucket = Bucket::per_minute(60, now);
        bucket.spend(60.0, now);
        assert!(bucket.wait(1, now) >= SECOND && bucket.wait(1, now) < SECOND * 2);
        assert_eq!(bucket.wait(1, now + SECOND), Duration::ZERO);
        assert!(bucket.wait(2, now + SECOND) > Duration::ZERO);
        assert_eq!(bucket.wait(60, now + SECOND * 3600), Duration::ZERO);
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_when_it_is_full_and_leaves_a_debt() {
        let now = Instant::now();
        let mut bucket = Bucket::per_minute(60, now);
        assert_eq!(bucket.wait(1000, now), Duration::ZERO);
        bucket.spend(1e18, now);
        assert!(bucket.wait(1, now) > SECOND * 600, "the debt is paid first");
        assert!(bucket.wait(1, now) < SECOND * 603, "and it is bounded");
    }

    #[test]
    fn a_learned_bucket_is_full_when_the_server_says() {
        let now = Instant::now();
        let bucket = Bucket::learned(100, 0, SECOND * 10, None, now);
        assert!(bucket.wait(100, now + SECOND * 9) > Duration::ZERO);
        assert_eq!(bucket.wait(100, now + SECOND * 10), Duration::ZERO);
        let full = Bucket::learned(100, 100, Duration::ZERO, Some(7.0), now);
        assert_eq!((full.per_second(), full.wait(100, now)), (7.0, Duration::ZERO));
    }

    proptest! {
        /// Whatever is spent and whenever: over any time no more goes through than the bucket held and what flowed in.
        #[test]
        fn no_more_goes_through_than_flowed_in(
            steps in prop::collection::vec((0u64..5_000, 1u64..10), 1..200),
            capacity in 1u64..100,
        ) {
            let start = Instant::now();
            let (mut now, mut bucket) = (start, Bucket::per_minute(capacity, start));
            let mut spent = 0.0;
            let mut largest = 0u64;
            for (millis, amount) in steps {
                now += Duration::from_millis(millis);
                if bucket.wait(amount, now).is_zero() {
                    bucket.spend(amount as f64, now);
                    spent += amount as f64;
                    largest = largest.max(amount);
                }
            }
            let flowed = (now - start).as_secs_f64() * capacity as f64 / 60.0;
            prop_assert!(spent <= capacity as f64 + flowed + largest as f64 + 0.001, "{spent} of {flowed}");
        }

        /// Whoever waits as long as it was told finds enough.
        #[test]
        fn a_wait_is_long_enough(spent in 0u64..10_000, amount in 0u64..10_000, capacity in 1u64..1_000) {
            let now = Instant::now();
            let mut bucket = Bucket::per_minute(capacity, now);
            bucket.spend(spent as f64, now);
            let wait = bucket.wait(amount, now);
            prop_assert_eq!(bucket.wait(amount, now + wait), Duration::ZERO);
        }
    }
}
