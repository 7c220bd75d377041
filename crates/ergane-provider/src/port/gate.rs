//! Whether a call may be made now: everything that bounds a provider, as one value.
//!
//! Pure: time comes in, decisions come out. It is kept beside the provider's actor and not in it, so an actor that was
//! killed finds the counts, the buckets and the circuit as they are, and the calls that run go on reporting to them.

use std::time::Duration;

use ergane_core::{ErrorKind, ModelReply, ProviderError, Text, Usage};
use tokio::time::Instant;

use super::breaker::{Breaker, Circuit, Outcome, outcome_of};
use super::limits::Limits;
use super::meter::Meter;
use super::wait::{Block, WaitReason};
use crate::wire::Quota;

/// The longest that one answer of a server can shut its gate. Whoever is told to wait longer learns it by his error.
const LONGEST_HINT: Duration = Duration::from_secs(60);

/// What an admitted call was let through with, to be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permit {
    /// What its tokens were thought to be, when they are counted.
    tokens: u64,
}

/// Everything that bounds one provider.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    running: usize,
    requests: Meter,
    tokens: Meter,
    /// Until then the server does not want to be asked.
    asked: Option<Instant>,
    breaker: Breaker,
    last_failure: Text,
    draining: bool,
}

impl Gate {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            requests: Meter::new(limits.requests_per_minute, now),
            tokens: Meter::new(limits.tokens_per_minute, now),
            limits,
            running: 0,
            asked: None,
            breaker: Breaker::NEW,
            last_failure: "".into(),
            draining: false,
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running
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

    /// How much longer the server asked to be left alone.
    pub(super) fn asked_for(&self, now: Instant) -> Option<Duration> {
        self.asked_until(now).map(|until| until.saturating_duration_since(now))
    }

    fn asked_until(&self, now: Instant) -> Option<Instant> {
        self.asked.filter(|until| *until > now)
    }

    /// What the server told of its limits, reckoned to this moment.
    pub(super) fn told(&self, now: Instant) -> Quota {
        Quota { requests: self.requests.left(now), tokens: self.tokens.left(now) }
    }

    pub(super) fn max_waiting(&self) -> usize {
        self.limits.max_waiting
    }

    /// Calls that may run beside those that do.
    pub(super) fn room(&self) -> usize {
        self.limits.max_in_flight.max(1).saturating_sub(self.running)
    }

    /// Whether it matters how many tokens a call will take.
    pub(super) fn counts_tokens(&self) -> bool {
        self.tokens.is_on()
    }

    /// From now on no call is let through.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// Why the server may not be asked anything now; `None` when it may.
    pub(super) fn shut(&self, now: Instant) -> Option<Block> {
        let block = |reason, until| Some(Block { reason, until });
        if self.draining {
            return block(WaitReason::Draining, None);
        }
        if let Some(until) = self.shut_until(now) {
            return block(WaitReason::CircuitOpen { last: self.last_failure.clone() }, Some(until));
        }
        self.asked_until(now).and_then(|until| block(WaitReason::Asked, Some(until)))
    }

    /// Why a call of so many tokens may not be made now; `None` when it may.
    pub(super) fn block(&self, tokens: u64, now: Instant) -> Option<Block> {
        if let Some(block) = self.shut(now) {
            return Some(block);
        }
        let block = |reason, until| Some(Block { reason, until });
        if self.room() == 0 {
            return block(WaitReason::Busy { running: self.running }, None);
        }
        let waits = [
            (WaitReason::Requests, self.requests.wait(1, now)),
            (WaitReason::Tokens, self.tokens.wait(tokens, now)),
        ];
        let (reason, wait) = waits.into_iter().max_by_key(|(_, wait)| *wait)?;
        if wait.is_zero() { None } else { block(reason, Some(now + wait)) }
    }

    /// Lets a call of so many tokens through.
    pub(super) fn admit(&mut self, tokens: u64, now: Instant) -> Result<Permit, Block> {
        if let Some(block) = self.block(tokens, now) {
            return Err(block);
        }
        self.running = self.running.saturating_add(1);
        self.requests.spend(1.0, now);
        let tokens = if self.counts_tokens() { tokens } else { 0 };
        self.tokens.spend(tokens as f64, now);
        self.happened(Outcome::Admitted, now);
        Ok(Permit { tokens })
    }

    /// What a server that has begun to answer says of its limits. Whether it works shows at the end of its answer only: one
    /// that begins well and is cut off each time does not.
    pub(super) fn heard(&mut self, quota: Quota, now: Instant) {
        if let Some(said) = quota.requests {
            self.requests.heard(said, now);
        }
        if let Some(said) = quota.tokens {
            self.tokens.heard(said, now);
        }
    }

    /// A piece of an answer came: a probe that got so far lets the others pass, however long its answer is.
    pub(super) fn speaks(&mut self, now: Instant) {
        self.happened(Outcome::Speaks, now);
    }

    /// An admitted call is over; `None` when it was given up. `answered` says whether the server was heard.
    pub(super) fn ended(
        &mut self,
        permit: Permit,
        result: Option<&Result<ModelReply, ProviderError>>,
        answered: bool,
        now: Instant,
    ) {
        self.running = self.running.saturating_sub(1);
        match result {
            None => self.happened(Outcome::Abandoned, now),
            Some(Ok(reply)) => {
                self.happened(Outcome::Answered, now);
                self.taken(reply.usage, permit, now);
            }
            Some(Err(error)) => {
                self.taken(error.spent.as_ref().and_then(|spent| spent.usage), permit, now);
                let outcome = outcome_of(error, answered);
                if outcome == Outcome::Failed {
                    self.last_failure = error.message.clone();
                }
                self.happened(outcome, now);
                let is_hint = matches!(error.kind, ErrorKind::RateLimited | ErrorKind::Overloaded);
                if let Some(hint) = error.retry_after.filter(|_| is_hint) {
                    let until = now + hint.min(LONGEST_HINT);
                    self.asked = Some(self.asked.map_or(until, |asked| asked.max(until)));
                }
            }
        }
    }

    /// What a call took takes the place of what it was thought to take.
    fn taken(&mut self, usage: Option<Usage>, permit: Permit, now: Instant) {
        if let Some(usage) = usage.filter(|_| self.counts_tokens()) {
            let taken = usage.input_tokens.saturating_add(usage.output_tokens);
            self.tokens.spend(taken as f64 - permit.tokens as f64, now);
        }
    }

    fn happened(&mut self, outcome: Outcome, now: Instant) {
        if let Some(policy) = &self.limits.breaker {
            self.breaker = self.breaker.after(outcome, now, policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use ergane_core::{Message, Role, Usage};

    use super::*;
    use crate::wire::Allowance;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn failed(kind: ErrorKind, hint: Option<u64>) -> Result<ModelReply, ProviderError> {
        Err(ProviderError { retry_after: hint.map(secs), ..ProviderError::new(kind, "it is broken") })
    }

    fn answered(tokens: u64) -> Result<ModelReply, ProviderError> {
        let message = Message { role: Role::Assistant, parts: vec![], origin: None };
        let usage = Some(Usage { input_tokens: tokens, ..Usage::default() });
        Ok(ModelReply { message, usage, cost: None })
    }

    fn reason(gate: &Gate, now: Instant) -> Option<WaitReason> {
        gate.block(1, now).map(|block| block.reason)
    }

    #[test]
    fn no_more_run_than_may_and_an_end_makes_room() {
        let now = Instant::now();
        let mut gate = Gate::new(Limits { max_in_flight: 1, ..Limits::default() }, now);
        let permit = gate.admit(1, now).unwrap();
        assert_eq!(gate.admit(1, now), Err(Block { reason: WaitReason::Busy { running: 1 }, until: None }));
        gate.ended(permit, None, false, now);
        assert!(gate.admit(1, now).is_ok());
    }

    #[test]
    fn requests_and_tokens_a_minute_are_kept() {
        let now = Instant::now();
        let limits =
            Limits { requests_per_minute: Some(2), tokens_per_minute: Some(600), ..Limits::default() };
        let mut gate = Gate::new(limits, now);
        let first = gate.admit(300, now).unwrap();
        gate.admit(300, now).unwrap();
        assert_eq!(reason(&gate, now), Some(WaitReason::Requests));
        // It took more than was thought: the tokens are what is waited for now.
        gate.ended(first, Some(&answered(900)), true, now);
        let block = gate.block(1, now).unwrap();
        assert_eq!(block.reason, WaitReason::Tokens);
        assert!(block.until.unwrap() > now + secs(59), "{block:?}");
        assert_eq!(gate.block(1, now + secs(61)), None);
    }

    #[test]
    fn what_a_server_says_of_its_limits_is_kept_to() {
        let now = Instant::now();
        let mut gate = Gate::new(Limits::default(), now);
        let said = |remaining| Quota {
            requests: Some(Allowance { limit: Some(10), remaining, reset: secs(10) }),
            tokens: None,
        };
        assert_eq!(gate.told(now), Quota::default(), "it has told nothing yet");
        gate.heard(said(1), now);
        assert_eq!(gate.told(now), said(1));
        gate.admit(1, now).unwrap();
        assert_eq!(reason(&gate, now), Some(WaitReason::Requests));
        let told = |gate: &Gate, now| gate.told(now).requests.unwrap();
        assert_eq!((told(&gate, now).remaining, told(&gate, now).limit), (0, Some(10)), "reckoned on");
        // An answer that was on its way tells of a time before that call.
        gate.heard(said(1), now);
        assert_eq!(reason(&gate, now), Some(WaitReason::Requests));
        assert_eq!(reason(&gate, now + secs(10)), None);
        let full = Allowance { limit: Some(10), remaining: 10, reset: Duration::ZERO };
        assert_eq!(told(&gate, now + secs(3600)), full);
    }

    #[test]
    fn a_server_that_asks_for_a_wait_is_left_alone_for_that_long_and_not_for_a_day() {
        let now = Instant::now();
        let mut gate = Gate::new(Limits::default(), now);
        let permit = gate.admit(1, now).unwrap();
        gate.ended(permit, Some(&failed(ErrorKind::RateLimited, Some(3))), true, now);
        assert_eq!(gate.block(1, now), Some(Block { reason: WaitReason::Asked, until: Some(now + secs(3)) }));
        assert_eq!(gate.block(1, now + secs(3)), None);
        let permit = gate.admit(1, now + secs(3)).unwrap();
        gate.ended(permit, Some(&failed(ErrorKind::RateLimited, Some(86_400))), true, now + secs(3));
        assert_eq!(gate.block(1, now + secs(3)).unwrap().until, Some(now + secs(63)));
    }

    #[test]
    fn a_circuit_that_is_open_names_the_failure_and_closes_with_the_end_of_a_good_answer() {
        let now = Instant::now();
        let mut gate = Gate::new(Limits::default(), now);
        for _ in 0..5 {
            let permit = gate.admit(1, now).unwrap();
            gate.ended(permit, Some(&failed(ErrorKind::Server, None)), true, now);
        }
        let open = WaitReason::CircuitOpen { last: "it is broken".into() };
        assert_eq!(reason(&gate, now), Some(open.clone()));
        let later = now + secs(1);
        let probe = gate.admit(1, later).unwrap();
        assert_eq!(reason(&gate, later), Some(open.clone()), "one probe at a time");
        gate.heard(Quota::default(), later);
        assert_eq!(reason(&gate, later), Some(open.clone()), "a head is no answer");
        gate.speaks(later);
        assert_eq!(reason(&gate, later), None, "an answer may take minutes");
        let cut = gate.admit(1, later).unwrap();
        gate.ended(cut, Some(&failed(ErrorKind::StreamCut, None)), true, later);
        assert_eq!(reason(&gate, later), Some(open), "what begins well may end badly");
        gate.ended(probe, Some(&answered(1)), true, later);
        assert_eq!((reason(&gate, later), gate.running()), (None, 0));
    }

    #[test]
    fn a_gate_that_drains_lets_nothing_through() {
        let now = Instant::now();
        let mut gate = Gate::new(Limits::NONE, now);
        let running = gate.admit(1, now).unwrap();
        gate.drain();
        assert_eq!(reason(&gate, now), Some(WaitReason::Draining));
        gate.ended(running, None, false, now);
        assert_eq!((reason(&gate, now), gate.running()), (Some(WaitReason::Draining), 0));
    }
}
