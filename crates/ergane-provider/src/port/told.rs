//! What a server tells of its limits for one model, and what is reckoned from it.
//!
//! A server counts better than anybody who asks it: it knows which tokens count, and who else asks. So what it says is taken as it
//! is, up or down, and the only thing that is reckoned here is what it cannot have seen when it said it: the calls that were let
//! through after the one it answered. Its limits are the model's: most servers have others for each, and one that is used up
//! says nothing of the next.

use std::collections::HashMap;
use std::time::Duration;

use ergane_core::Text;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::weight::Weight;
use crate::wire::{Allowance, Quota};

/// Nobody is held back for longer by what one answer said, whatever it said: then a call goes and is told anew. A number of a
/// server may be wrong, and limits may be raised; only an answer tells.
const LONGEST: Duration = Duration::from_secs(60);

/// So many models are known. Who asks for more of them forgets the one that was heard of least lately.
const MODELS: usize = 256;

/// The limits of a server, by model.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<Text, Account>);

/// The limits of one model.
#[derive(Debug, Clone, Copy)]
struct Account {
    requests: Option<Meter>,
    tokens: Option<Meter>,
    /// Until then the server does not want to be asked for this model.
    asked: Option<Instant>,
    /// Whether what is read from the provider's cache counts.
    counts_cached: bool,
    heard: Instant,
}

/// How long a call must wait because of its model.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waits {
    pub(super) requests: Duration,
    pub(super) tokens: Duration,
    /// Because the server asked for it when it refused another.
    pub(super) asked: Duration,
}

/// One limit, as a server told it.
#[derive(Debug, Clone, Copy)]
struct Meter {
    bucket: Bucket,
    /// The limit in the server's own words, which it may leave unsaid.
    limit: Option<u64>,
    /// The number of the call whose answer told it.
    by: u64,
    /// It holds nobody back beyond.
    until: Instant,
}

/// What an answer says, and of which call it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) quota: Quota,
    pub(super) counts_cached: bool,
    /// The number of the call.
    pub(super) by: u64,
}

impl Told {
    /// Whether it matters how many tokens a call will take.
    pub(super) fn counts_tokens(&self) -> bool {
        self.0.values().any(|account| account.tokens.is_some())
    }

    /// How long a call must wait.
    pub(super) fn wait(&self, model: &str, weight: Weight, now: Instant) -> Waits {
        self.0.get(model).map(|account| account.wait(weight, now)).unwrap_or_default()
    }

    /// A call is let through.
    pub(super) fn spend(&mut self, model: &str, weight: Weight, now: Instant) {
        if let Some(account) = self.0.get_mut(model) {
            let tokens = account.counted(weight);
            account.requests.iter_mut().for_each(|meter| meter.spend(1, now));
            account.tokens.iter_mut().for_each(|meter| meter.spend(tokens, now));
        }
    }

    /// The call of that number ended and nothing was heard of it: as far as is known it took nothing.
    pub(super) fn give_back(&mut self, model: &str, call: u64, weight: Weight, now: Instant) {
        if let Some(account) = self.0.get_mut(model) {
            let tokens = account.counted(weight);
            account.requests.iter_mut().for_each(|meter| meter.give_back(call, 1, now));
            account.tokens.iter_mut().for_each(|meter| meter.give_back(call, tokens, now));
        }
    }

    /// An answer has begun. `unseen` are the calls for that model that were let through after it was asked for and of which
    /// nothing was heard: their number and what they take.
    pub(super) fn heard(&mut self, model: &Text, said: Said, unseen: (u64, Weight), now: Instant) {
        let Said { quota, counts_cached, by } = said;
        if quota == Quota::default() {
            return;
        }
        let account = self.account(model, now);
        (account.counts_cached, account.heard) = (counts_cached, now);
        let (requests, tokens) = (unseen.0, account.counted(unseen.1));
        if let Some(said) = quota.requests {
            account.requests = Some(Meter::heard(account.requests, said, by, requests, now));
        }
        if let Some(said) = quota.tokens {
            account.tokens = Some(Meter::heard(account.tokens, said, by, tokens, now));
        }
    }

    /// A call for this model was refused: until then none is wanted.
    pub(super) fn asks(&mut self, model: &Text, until: Instant, now: Instant) {
        let account = self.account(model, now);
        account.asked = account.asked.max(Some(until));
        account.heard = now;
    }

    /// How long no call is wanted for the model for which that is longest; `None` when calls are wanted for each.
    pub(super) fn asked(&self, now: Instant) -> Option<Duration> {
        let longest = self.0.values().map(|account| account.asked_for(now)).max();
        longest.filter(|longest| !longest.is_zero())
    }

    fn account(&mut self, model: &Text, now: Instant) -> &mut Account {
        self.make_room(model);
        self.0.entry(model.clone()).or_insert(Account {
            requests: None,
            tokens: None,
            asked: None,
            counts_cached: true,
            heard: now,
        })
    }

    fn make_room(&mut self, model: &str) {
        if self.0.len() < MODELS || self.0.contains_key(model) {
            return;
        }
        let oldest = self.0.iter().min_by_key(|(_, account)| account.heard).map(|(model, _)| model.clone());
        if let Some(oldest) = oldest {
            self.0.remove(&oldest);
        }
    }

    /// Of the requests and of the tokens: of the model that holds its calls back for longest, or has least left.
    pub(super) fn left(&self, now: Instant) -> Quota {
        let least = |meter: fn(&Account) -> Option<Meter>| {
            let meters = self.0.values().filter_map(meter);
            let least = meters.max_by_key(|meter| {
                (meter.wait(1, now), std::cmp::Reverse(meter.bucket.left(now)), meter.limit)
            });
            least.map(|meter| meter.left(now))
        };
        Quota { requests: least(|account| account.requests), tokens: least(|account| account.tokens) }
    }

    /// How long a small call must wait for the model that holds its calls back for longest.
    pub(super) fn longest(&self, now: Instant) -> Waits {
        let small = Weight { all: 1, fresh: 1 };
        self.0
            .values()
            .map(|account| account.wait(small, now))
            .max_by_key(|waits| waits.requests.max(waits.tokens).max(waits.asked))
            .unwrap_or_default()
    }
}

impl Account {
    fn counted(&self, weight: Weight) -> u64 {
        if self.counts_cached { weight.all } else { weight.fresh }
    }

    fn asked_for(&self, now: Instant) -> Duration {
        self.asked.map(|until| until.saturating_duration_since(now)).unwrap_or_default()
    }

    fn wait(&self, weight: Weight, now: Instant) -> Waits {
        let wait =
            |meter: Option<Meter>, amount| meter.map(|meter| meter.wait(amount, now)).unwrap_or_default();
        Waits {
            requests: wait(self.requests, 1),
            tokens: wait(self.tokens, self.counted(weight)),
            asked: self.asked_for(now),
        }
    }
}

impl Meter {
    /// Answers may come in another order than they were asked for. What the answer to an earlier call says is of an earlier time:
    /// the lower account holds then.
    fn heard(before: Option<Self>, said: Allowance, by: u64, unseen: u64, now: Instant) -> Self {
        let known = before.map(|meter| meter.bucket.capacity() as u64);
        let capacity = said.limit.unwrap_or_else(|| known.unwrap_or_default().max(said.remaining)).max(1);
        let rate = before.map(|meter| meter.bucket.per_second());
        let mut bucket = Bucket::learned(capacity, said.remaining, said.reset, rate, now);
        match before.filter(|before| before.by > by) {
            Some(before) if known == Some(capacity) => {
                Self { bucket: before.bucket.at_most(&bucket, now), ..before }
            }
            Some(before) => before,
            None => {
                bucket.spend(unseen as f64, now);
                let limit = said.limit.or(before.and_then(|before| before.limit));
                Self { bucket, limit, by, until: now + LONGEST }
            }
        }
    }

    fn wait(&self, amount: u64, now: Instant) -> Duration {
        self.bucket.wait(amount, now).min(self.until.saturating_duration_since(now))
    }

    fn spend(&mut self, amount: u64, now: Instant) {
        if !self.bucket.wait(amount, now).is_zero() {
            // It goes to be told anew, and the others wait for what it is told.
            self.until = now + LONGEST;
        }
        self.bucket.spend(amount as f64, now);
    }

    /// What was said since has not seen it, or it was reckoned with.
    fn give_back(&mut self, call: u64, amount: u64, now: Instant) {
        if call > self.by {
            self.bucket.spend(-(amount as f64), now);
        }
    }

    fn left(&self, now: Instant) -> Allowance {
        Allowance { limit: self.limit, remaining: self.bucket.left(now), reset: self.bucket.full_in(now) }
    }
}
