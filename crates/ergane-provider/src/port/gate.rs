//! Whether a call may be made now: everything that bounds a provider, as one value.
//!
//! Pure: time comes in, decisions come out. It is kept beside the provider's actor and not in it, so an actor that was
//! killed finds the counts, the buckets and the circuit as they are, and the calls that run go on reporting to them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use ergane_core::{ErrorKind, ModelReply, ProviderError, Text};
use tokio::time::Instant;

use super::breaker::{Breaker, Circuit, Outcome, outcome_of};
use super::bucket::Bucket;
use super::limits::Limits;
use super::told::{Said, Told, Waits};
use super::wait::{Block, WaitReason};
use super::weight::Weight;
use crate::wire::Quota;

/// The longest that one answer of a server can shut its gate. Whoever is told to wait longer learns it by his error.
const LONGEST_HINT: Duration = Duration::from_secs(60);

/// Silence that says of a server that it does not work, whoever waited. Of a shorter one somebody may have set less time than the
/// server needs.
const SILENCE: Duration = Duration::from_secs(30);

/// The number of a call that was let through: later ones have larger ones.
pub(super) type Permit = u64;

/// A call that wants in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) model: &'a Text,
    pub(super) asker: &'a Text,
    /// How long the server may be silent, by the word of who asks.
    pub(super) patience: Duration,
    pub(super) weight: Weight,
}

/// A call that was let through and is not over.
#[derive(Debug)]
struct Open {
    model: Text,
    asker: Text,
    patience: Duration,
    weight: Weight,
    since: Instant,
    /// Whether anything was heard of its server.
    heard: bool,
    /// Whether a piece of its answer came.
    has_spoken: bool,
}

/// Everything that bounds one provider.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    /// By number.
    open: BTreeMap<Permit, Open>,
    last: Permit,
    /// The bounds that were set.
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// Those that the server tells of.
    told: Told,
    /// Until then the server does not want to be asked.
    asked: Option<Instant>,
    breaker: Breaker,
    /// The last call that was let through to see whether the server works.
    probe: Permit,
    /// The calls up to this one began before the circuit opened, or before the one that showed that the server works again:
    /// what fails of them says nothing of how it fares now.
    old: Permit,
    /// Who found the server silent, since it answered, by a patience of his own.
    impatient: Option<Text>,
    last_failure: Text,
    draining: bool,
}

impl Gate {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let bucket = |limit: Option<u64>| limit.map(|limit| Bucket::per_minute(limit, now));
        Self {
            requests: bucket(limits.requests_per_minute),
            tokens: bucket(limits.tokens_per_minute),
            limits,
            open: BTreeMap::new(),
            last: 0,
            told: Told::default(),
            asked: None,
            breaker: Breaker::NEW,
            probe: 0,
            old: 0,
            impatient: None,
            last_failure: "".into(),
            draining: false,
        }
    }

    pub(super) fn running(&self) -> usize {
        self.open.len()
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn circuit(&self) -> Circuit {
        self.breaker.circuit()
    }

    /// How much longer the circuit lets no call through; `None` when it would let one through now.
    pub(super) fn circuit_for(&self, now: Instant) -> Option<Duration> {
        self.shut_until(now).map(|until| until.saturating_duration_since(now))
    }

    fn shut_until(&self, now: Instant) -> Option<Instant> {
        self.limits.breaker.and_then(|_| self.breaker.shut_until(now))
    }

    /// How much longer the server asked to be left alone, or not to be asked for one of its models.
    pub(super) fn asked_for(&self, now: Instant) -> Option<Duration> {
        let of_all = self.asked_until(now).map(|until| until.saturating_duration_since(now));
        of_all.max(self.told.asked(now))
    }

    fn asked_until(&self, now: Instant) -> Option<Instant> {
        self.asked.filter(|until| *until > now)
    }

    /// What the server told of its limits, reckoned to this moment.
    pub(super) fn told(&self, now: Instant) -> Quota {
        self.told.left(now)
    }

    pub(super) fn max_waiting(&self) -> usize {
        self.limits.max_waiting
    }

    /// Calls that may run beside those that do.
    pub(super) fn room(&self) -> usize {
        self.limits.max_in_flight.max(1).saturating_sub(self.running())
    }

    /// Whether it matters how many tokens a call will take.
    pub(super) fn counts_tokens(&self) -> bool {
        self.tokens.is_some() || self.told.counts_tokens()
    }

    /// From now on no call is let through.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// Why the server may not be asked anything now; `None` when it may.
    pub(super) fn shut(&self, now: Instant) -> Option<Block> {
        let block = |reason, until| Some(Block { reason, until, may_end_before: false, of_model: false });
        if self.draining {
            return block(WaitReason::Draining, None);
        }
        if let Some(until) = self.shut_until(now) {
            let reason = WaitReason::CircuitOpen { last: self.last_failure.clone() };
            // The probe may be answered at any moment.
            let may_end_before = self.circuit() == Circuit::Probing;
            return Some(Block { reason, until: Some(until), may_end_before, of_model: false });
        }
        self.asked_until(now).and_then(|until| block(WaitReason::Asked, Some(until)))
    }

    /// Why a call may not be made now; `None` when it may.
    pub(super) fn block(&self, model: &str, weight: Weight, now: Instant) -> Option<Block> {
        self.block_by(self.told.wait(model, weight, now), weight, now)
    }

    /// Why a small call would have to wait, of the model that lets none through for longest.
    pub(super) fn longest_block(&self, now: Instant) -> Option<Block> {
        self.block_by(self.told.longest(now), Weight { all: 1, fresh: 1 }, now)
    }

    fn block_by(&self, told: Waits, weight: Weight, now: Instant) -> Option<Block> {
        if let Some(block) = self.shut(now) {
            return Some(block);
        }
        if self.room() == 0 {
            return Some(Block {
                reason: WaitReason::Busy { running: self.running() },
                until: None,
                may_end_before: false,
                of_model: false,
            });
        }
        let set = |bucket: Option<Bucket>, amount| {
            bucket.map(|bucket| bucket.wait(amount, now)).unwrap_or_default()
        };
        let waits = [
            (WaitReason::Requests, set(self.requests, 1), false),
            (WaitReason::Requests, told.requests, true),
            (WaitReason::Tokens, set(self.tokens, weight.all), false),
            (WaitReason::Tokens, told.tokens, true),
            (WaitReason::Asked, told.asked, true),
        ];
        let (reason, wait, of_model) = waits.into_iter().max_by_key(|(_, wait, _)| *wait)?;
        (!wait.is_zero()).then(|| Block { reason, until: Some(now + wait), may_end_before: false, of_model })
    }

    /// Lets a question through that is no call, and takes so many tokens, maybe of one model; or says why not. It is a request like
    /// any other, but the places of calls are not its.
    pub(super) fn admit_errand(
        &mut self,
        tokens: u64,
        model: Option<&Text>,
        now: Instant,
    ) -> Result<(), Block> {
        if let Some(block) = self.shut(now) {
            return Err(block);
        }
        let set = |bucket: Option<Bucket>, amount| {
            bucket.map(|bucket| bucket.wait(amount, now)).unwrap_or_default()
        };
        let asked = model.map(|model| self.told.wait(model, Weight::default(), now).asked);
        let waits = [
            (WaitReason::Requests, set(self.requests, 1)),
            (WaitReason::Tokens, set(self.tokens, tokens)),
            (WaitReason::Asked, asked.unwrap_or_default()),
        ];
        let longest = waits.into_iter().max_by_key(|(_, wait)| *wait).filter(|(_, wait)| !wait.is_zero());
        if let Some((reason, wait)) = longest {
            return Err(Block { reason, until: Some(now + wait), may_end_before: false, of_model: false });
        }
        self.spend_set(tokens, now);
        Ok(())
    }

    /// What a server asks for when it refuses is asked of all; but where a limit is used up, only of those who ask for the same
    /// model, for limits are the model's.
    pub(super) fn take_hint(&mut self, error: &ProviderError, model: Option<&Text>, now: Instant) {
        let Some(hint) = error.retry_after else { return };
        let until = now + hint.min(LONGEST_HINT);
        match (error.kind, model) {
            (ErrorKind::RateLimited, Some(model)) => self.told.asks(model, until, now),
            (ErrorKind::RateLimited | ErrorKind::Overloaded, _) => self.asked = self.asked.max(Some(until)),
            _ => {}
        }
    }

    /// Of the bounds that were set.
    fn spend_set(&mut self, tokens: u64, now: Instant) {
        if let Some(bucket) = &mut self.requests {
            bucket.spend(1.0, now);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.spend(tokens as f64, now);
        }
    }

    /// Lets a call through.
    pub(super) fn admit(&mut self, asking: Asking<'_>, now: Instant) -> Result<Permit, Block> {
        let Asking { model, asker, patience, weight } = asking;
        if let Some(block) = self.block(model, weight, now) {
            return Err(block);
        }
        self.spend_set(weight.all, now);
        self.told.spend(model, weight, now);
        self.last = self.last.saturating_add(1);
        self.happened(self.last, Outcome::Admitted, now);
        let (model, asker) = (model.clone(), asker.clone());
        let open = Open { model, asker, patience, weight, since: now, heard: false, has_spoken: false };
        self.open.insert(self.last, open);
        Ok(self.last)
    }

    /// What a server that has begun to answer says of its limits. Whether it works shows at the end of its answer only: one
    /// that begins well and is cut off each time does not.
    pub(super) fn heard(&mut self, permit: Permit, quota: Quota, counts_cached: bool, now: Instant) {
        let Some(open) = self.open.get_mut(&permit) else { return };
        open.heard = true;
        if quota == Quota::default() {
            return;
        }
        let model = open.model.clone();
        let later = self.open.range((Bound::Excluded(permit), Bound::Unbounded));
        let unseen = later.filter(|(_, open)| !open.heard && open.model == model).fold(
            (0u64, Weight::default()),
            |(calls, sum), (_, open)| {
                let Weight { all, fresh } = open.weight;
                let sum = Weight { all: sum.all.saturating_add(all), fresh: sum.fresh.saturating_add(fresh) };
                (calls.saturating_add(1), sum)
            },
        );
        self.told.heard(&model, Said { quota, counts_cached, by: permit }, unseen, now);
    }

    /// A piece of an answer came: a probe that got so far lets the others pass, however long its answer is.
    pub(super) fn speaks(&mut self, permit: Permit, now: Instant) {
        if let Some(open) = self.open.get_mut(&permit) {
            (open.heard, open.has_spoken) = (true, true);
        }
        self.happened(permit, Outcome::Speaks, now);
    }

    /// An admitted call is over; `None` when it was given up. `answered` says whether the server was heard.
    pub(super) fn ended(
        &mut self,
        permit: Permit,
        result: Option<&Result<ModelReply, ProviderError>>,
        answered: bool,
        now: Instant,
    ) {
        let Some(open) = self.open.remove(&permit) else { return };
        let (outcome, usage, is_refused) = match result {
            None => (Outcome::Abandoned, None, false),
            Some(Ok(reply)) => (Outcome::Answered, reply.usage, false),
            Some(Err(error)) => {
                let usage = error.spent.as_ref().and_then(|spent| spent.usage);
                (
                    self.outcome(error, &open, answered, now),
                    usage,
                    error.status.is_some_and(|status| status >= 400),
                )
            }
        };
        let was_answered = matches!(result, Some(Ok(_)));
        if !open.heard && !was_answered {
            self.told.give_back(&open.model, permit, open.weight, now);
        }
        let took = match usage {
            Some(usage) => Some(usage.input_tokens.saturating_add(usage.output_tokens)),
            // Nothing was sent, or nothing was made of it.
            None if !was_answered && (!open.heard || is_refused) => Some(0),
            None => None,
        };
        if let (Some(bucket), Some(took)) = (&mut self.tokens, took) {
            bucket.spend(took as f64 - open.weight.all as f64, now);
        }
        if let Some(Err(error)) = result {
            if outcome == Outcome::Failed {
                self.last_failure = error.message.clone();
            }
            self.take_hint(error, Some(&open.model), now);
        }
        self.happened(permit, outcome, now);
    }

    /// What an error says of its server. Where somebody's own patience made the error, it takes another one to find the same. A
    /// server that has not begun to speak may have had longer than that patience: then the silence was as long as the call.
    fn outcome(&mut self, error: &ProviderError, open: &Open, answered: bool, now: Instant) -> Outcome {
        let took = now.saturating_duration_since(open.since);
        let is_impatience = error.kind == ErrorKind::Timeout
            && error.status.is_none()
            && open.patience < SILENCE
            && took >= open.patience
            && (open.has_spoken || took < SILENCE);
        if is_impatience && self.impatient.as_ref().is_none_or(|asker| *asker == open.asker) {
            self.impatient = Some(open.asker.clone());
            return Outcome::Abandoned;
        }
        outcome_of(error, answered)
    }

    fn happened(&mut self, permit: Permit, outcome: Outcome, now: Instant) {
        if outcome == Outcome::Answered {
            self.impatient = None;
        }
        let Some(policy) = &self.limits.breaker else { return };
        let counts = match (self.breaker, outcome) {
            (Breaker::Closed { .. }, _) | (_, Outcome::Admitted | Outcome::Answered) => true,
            // A probe of long ago that is answered shows that the server works as well as the last one would.
            (_, Outcome::Speaks) | (Breaker::Trusted { .. }, _) => permit > self.old,
            (_, Outcome::Failed | Outcome::Abandoned) => permit == self.probe,
        };
        if !counts {
            return;
        }
        if outcome == Outcome::Admitted {
            self.probe = permit;
        }
        let before = self.breaker.circuit();
        self.breaker = self.breaker.after(outcome, now, policy);
        match (before, self.breaker) {
            (Circuit::Closed, Breaker::Open { .. }) => self.old = self.last,
            (Circuit::Open | Circuit::Probing, Breaker::Trusted { .. }) => {
                self.old = self.old.max(permit.saturating_sub(1));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
