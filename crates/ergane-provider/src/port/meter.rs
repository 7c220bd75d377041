//! A limit a minute.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use crate::wire::Allowance;

/// A limit a minute: the one that was set, and the one that the server tells of.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Meter {
    set: Option<Bucket>,
    learned: Option<Bucket>,
    /// The limit in the server's own words, which it may leave unsaid.
    told: Option<u64>,
}

impl Meter {
    pub(super) fn new(limit: Option<u64>, now: Instant) -> Self {
        Self { set: limit.map(|limit| Bucket::per_minute(limit, now)), ..Self::default() }
    }

    pub(super) fn is_on(&self) -> bool {
        self.set.is_some() || self.learned.is_some()
    }

    pub(super) fn wait(&self, amount: u64, now: Instant) -> Duration {
        [&self.set, &self.learned]
            .into_iter()
            .flatten()
            .map(|b| b.wait(amount, now))
            .max()
            .unwrap_or_default()
    }

    pub(super) fn spend(&mut self, amount: f64, now: Instant) {
        [&mut self.set, &mut self.learned].into_iter().flatten().for_each(|b| b.spend(amount, now));
    }

    /// Takes what the server said. Answers may come in another order than they were asked for, and calls are on their
    /// way that the server has not seen: so as long as its limit is the same, the lower account holds.
    pub(super) fn heard(&mut self, said: Allowance, now: Instant) {
        let before = self.learned;
        let known = before.map(|bucket| bucket.capacity() as u64);
        let capacity = said.limit.unwrap_or_else(|| known.unwrap_or_default().max(said.remaining)).max(1);
        let rate = before.map(|bucket| bucket.per_second());
        let fresh = Bucket::learned(capacity, said.remaining, said.reset, rate, now);
        self.told = said.limit.or(self.told);
        self.learned = Some(match before {
            Some(before) if known == Some(capacity) => fresh.at_most(&before, now),
            _ => fresh,
        });
    }

    /// What the server told, reckoned to this moment.
    pub(super) fn left(&self, now: Instant) -> Option<Allowance> {
        let bucket = self.learned?;
        Some(Allowance { limit: self.told, remaining: bucket.left(now), reset: bucket.full_in(now) })
    }
}
