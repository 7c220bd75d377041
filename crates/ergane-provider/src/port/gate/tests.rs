//! What the gate lets through, by its decisions.

use ergane_core::{Message, Role, Usage};
use proptest::prelude::*;

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

const FREE: Limits = Limits::NONE;

fn tokens(all: u64) -> Weight {
    Weight { all, fresh: all }
}

fn admit_for(
    gate: &mut Gate,
    model: &str,
    asker: &str,
    weight: Weight,
    now: Instant,
) -> Result<Permit, Block> {
    let (model, asker) = (&model.into(), &asker.into());
    gate.admit(Asking { model, asker, patience: secs(120), weight }, now)
}

fn admit(gate: &mut Gate, all: u64, now: Instant) -> Result<Permit, Block> {
    admit_for(gate, "m", "alice", tokens(all), now)
}

fn block(gate: &Gate, all: u64, now: Instant) -> Option<Block> {
    gate.block("m", tokens(all), now)
}

fn reason(gate: &Gate, now: Instant) -> Option<WaitReason> {
    block(gate, 1, now).map(|block| block.reason)
}

fn left(limit: u64, remaining: u64, reset: u64) -> Option<Allowance> {
    Some(Allowance { limit: Some(limit), remaining, reset: secs(reset) })
}

/// The tokens that a server told of.
fn of_tokens(limit: u64, remaining: u64, reset: u64) -> Quota {
    Quota { requests: None, tokens: left(limit, remaining, reset) }
}

fn of_requests(limit: u64, remaining: u64, reset: u64) -> Quota {
    Quota { requests: left(limit, remaining, reset), tokens: None }
}

#[test]
fn no_more_run_than_may_and_an_end_makes_room() {
    let now = Instant::now();
    let mut gate = Gate::new(Limits { max_in_flight: 1, ..Limits::default() }, now);
    let permit = admit(&mut gate, 1, now).unwrap();
    assert_eq!(
        admit(&mut gate, 1, now),
        Err(Block {
            reason: WaitReason::Busy { running: 1 },
            until: None,
            may_end_before: false,
            of_model: false
        })
    );
    gate.ended(permit, None, false, now);
    assert!(admit(&mut gate, 1, now).is_ok());
}

#[test]
fn requests_and_tokens_a_minute_are_kept() {
    let now = Instant::now();
    let limits = Limits { requests_per_minute: Some(2), tokens_per_minute: Some(600), ..Limits::default() };
    let mut gate = Gate::new(limits, now);
    let first = admit(&mut gate, 300, now).unwrap();
    admit(&mut gate, 300, now).unwrap();
    assert_eq!(reason(&gate, now), Some(WaitReason::Requests));
    // It took more than was thought: the tokens are what is waited for now.
    gate.ended(first, Some(&answered(900)), true, now);
    let held = block(&gate, 1, now).unwrap();
    assert_eq!(held.reason, WaitReason::Tokens);
    assert!(held.until.unwrap() > now + secs(59), "{held:?}");
    assert_eq!(block(&gate, 1, now + secs(61)), None);
}

#[test]
fn what_a_server_says_of_its_limits_is_kept_to() {
    let now = Instant::now();
    let mut gate = Gate::new(Limits::default(), now);
    assert_eq!(gate.told(now), Quota::default(), "it has told nothing yet");
    let first = admit(&mut gate, 1, now).unwrap();
    gate.heard(first, of_requests(10, 1, 10), true, now);
    assert_eq!(gate.told(now), of_requests(10, 1, 10));
    let second = admit(&mut gate, 1, now).unwrap();
    assert_eq!(reason(&gate, now), Some(WaitReason::Requests));
    let told = |gate: &Gate, now| gate.told(now).requests.unwrap();
    assert_eq!((told(&gate, now).remaining, told(&gate, now).limit), (0, Some(10)), "reckoned on");
    assert_eq!(reason(&gate, now + secs(10)), None);
    let full = Allowance { limit: Some(10), remaining: 10, reset: Duration::ZERO };
    assert_eq!(told(&gate, now + secs(3600)), full);
    // Of the calls that run it tells in the order in which they were let through, whatever comes first.
    let third = admit(&mut gate, 1, now + secs(10)).unwrap();
    gate.heard(third, of_requests(10, 7, 3), true, now + secs(10));
    gate.heard(second, of_requests(10, 8, 2), true, now + secs(10));
    assert_eq!(told(&gate, now + secs(10)).remaining, 7, "that was before");
}

#[test]
fn a_call_is_counted_once_also_the_first_one_whose_answer_tells_the_limit() {
    let now = Instant::now();
    let mut gate = Gate::new(Limits::default(), now);
    let first = admit(&mut gate, 0, now).unwrap();
    gate.heard(first, of_tokens(30_000, 10_000, 40), true, now);
    gate.ended(first, Some(&answered(20_000)), true, now);
    assert_eq!(block(&gate, 5_000, now), None);
    // And 64 that began before anything was known.
    let mut gate = Gate::new(Limits::default(), now);
    let all: Vec<Permit> = (0..64).map(|_| admit(&mut gate, 0, now).unwrap()).collect();
    for (seen, permit) in all.iter().enumerate() {
        gate.heard(*permit, of_tokens(30_000, 30_000 - 100 * (seen as u64 + 1), 1), true, now);
    }
    for permit in all {
        gate.ended(permit, Some(&answered(100)), true, now);
    }
    assert_eq!(gate.told(now).tokens.unwrap().remaining, 30_000 - 6_400);
}

#[test]
fn what_a_server_says_raises_the_account_as_it_lowers_it() {
    let now = Instant::now();
    let mut gate = Gate::new(Limits::default(), now);
    // Far more goes in than its limit is, for it counts nothing of what is in its cache.
    for _ in 0..5 {
        let permit = admit(&mut gate, 20_000, now).unwrap();
        gate.heard(permit, of_tokens(30_000, 29_500, 1), true, now);
        gate.ended(permit, Some(&answered(100_000)), true, now);
        assert_eq!(gate.told(now).tokens.unwrap().remaining, 29_500);
    }
}

#[test]
fn what_is_in_the_cache_is_not_waited_for_where_it_does_not_count() {
    let now = Instant::now();
    for (counts_cached, expected) in [(true, Some(WaitReason::Tokens)), (false, None)] {
        let mut gate = Gate::new(Limits::default(), now);
        let permit = admit(&mut gate, 0, now).unwrap();
        gate.heard(permit, of_tokens(30_000, 15_000, 30), counts_cached, now);
        let cached = Weight { all: 100_000, fresh: 1_000 };
        assert_eq!(gate.block("m", cached, now).map(|block| block.reason), expected);
    }
}

#[test]
fn calls_that_a_server_has_not_seen_are_taken_off_what_it_says_is_left() {
    let now = Instant::now();
    let mut gate = Gate::new(Limits::default(), now);
    let first = admit(&mut gate, 0, now).unwrap();
    gate.heard(first, of_tokens(30_000, 30_000, 0), true, now);
    let answered_one = admit(&mut gate, 1_000, now).unwrap();
    let unseen = admit(&mut gate, 10_000, now).unwrap();
    let other = admit_for(&mut gate, "another", "alice", tokens(10_000), now).unwrap();
    gate.heard(answered_one, of_tokens(30_000, 29_000, 2), true, now);
    let remaining = |gate: &Gate| gate.told(now).tokens.unwrap().remaining;
    assert_eq!(remaining(&gate), 19_000);
    // It never came there, so it took nothing.
    gate.ended(unseen, Some(&failed(ErrorKind::Network, None)), false, now);
    gate.ended(other, None, false, now);
    assert_eq!(remaining(&gate), 29_000);
}

#[test]
fn the_limits_of_one_model_are_not_those_of_another() {
    let now = Instant::now();
    let mut gate = Gate::new(Limits::default(), now);
    let of = |gate: &mut Gate, model: &str, quota| {
        let permit = admit_for(gate, model, "alice", tokens(0), now).unwrap();
        gate.heard(permit, quota, true, now);
        gate.ended(permit, Some(&answered(1)), true, now);
    };
    of(&mut gate, "small", of_requests(100, 99, 1));
    of(&mut gate, "large", of_requests(10, 0, 50));
    of(&mut gate, "small", of_requests(100, 98, 1));
    assert_eq!(gate.block("small", tokens(1), now), None);
    let block = gate.block("large", tokens(1), now).unwrap();
    assert_eq!((block.reason, block.of_model), (WaitReason::Requests, true));
    assert_eq!(gate.told(now).requests, left(10, 0, 50), "what is shown is the one with the least left");
    assert_eq!(gate.longest_block(now).map(|block| block.reason), Some(WaitReason::Requests));
    // Not every model is remembered that somebody makes up.
    for n in 0..1000 {
        of(&mut gate, &n.to_string(), of_requests(10, 9, 1));
    }
    assert_eq!(gate.block("999", tokens(1), now), None);
}

/// Thirty years, by one answer.
#[test]
fn no_answer_shuts_the_gate_for_longer_than_a_minute_and_then_one_call_goes_to_ask_anew() {
    let now = Instant::now();
    for quota in [of_requests(10, 0, 1_000_000_000), of_tokens(10, 0, 1_000_000_000)] {
        let mut gate = Gate::new(Limits::default(), now);
        let permit = admit(&mut gate, 1, now).unwrap();
        gate.heard(permit, quota, true, now);
        gate.ended(permit, Some(&answered(1)), true, now);
        assert_eq!(block(&gate, 1, now).unwrap().until, Some(now + secs(60)));
        let later = now + secs(60);
        let probe = admit(&mut gate, 1, later).unwrap();
        assert_eq!(block(&gate, 1, later).unwrap().until, Some(later + secs(60)), "one, and not all");
        // It is told that there is no such limit any more.
        gate.heard(probe, Quota { requests: left(10, 9, 1), tokens: left(10, 9, 1) }, true, later);
        assert_eq!(block(&gate, 1, later), None);
    }
}

#[test]
fn what_a_failed_call_was_thought_to_take_is_given_back() {
    let now = Instant::now();
    let limits = Limits { tokens_per_minute: Some(600), ..FREE };
    let refused = Err(ProviderError { status: Some(429), ..ProviderError::new(ErrorKind::RateLimited, "m") });
    let (network, cut) = (failed(ErrorKind::Network, None), failed(ErrorKind::StreamCut, None));
    // Whether its server was heard, how it ended, and whether it is given back.
    let table = [
        (false, Some(&network), true),
        (false, None, true),
        (true, Some(&refused), true),
        // What was made of these nobody knows.
        (true, Some(&cut), false),
        (true, None, false),
    ];
    for (heard, result, is_given_back) in table {
        let mut gate = Gate::new(limits, now);
        let permit = admit(&mut gate, 500, now).unwrap();
        if heard {
            gate.heard(permit, Quota::default(), true, now);
        }
        gate.ended(permit, result, heard, now);
        assert_eq!(block(&gate, 500, now).is_none(), is_given_back, "{heard} {result:?}");
    }
}

#[test]
fn the_short_patience_of_one_says_nothing_of_the_server_and_that_of_two_does() {
    let now = Instant::now();
    let times_out = |gate: &mut Gate, asker: &str, patience: u64| {
        let (model, asker) = (&"m".into(), &asker.into());
        let asking = Asking { model, asker, patience: secs(patience), weight: tokens(1) };
        let permit = gate.admit(asking, now).unwrap();
        gate.ended(permit, Some(&failed(ErrorKind::Timeout, None)), false, now + secs(patience));
    };
    let open = Some(WaitReason::CircuitOpen { last: "it is broken".into() });
    let mut gate = Gate::new(Limits::default(), now);
    (0..50).for_each(|_| times_out(&mut gate, "alice", 1));
    assert_eq!(reason(&gate, now), None);
    // It needs longer than she waits.
    let permit = admit(&mut gate, 1, now).unwrap();
    gate.ended(permit, Some(&answered(1)), true, now);
    for asker in ["alice", "bob", "bob", "bob", "bob"] {
        times_out(&mut gate, asker, 1);
        assert_eq!(reason(&gate, now), None, "{asker}");
    }
    times_out(&mut gate, "bob", 1);
    assert_eq!(reason(&gate, now + secs(1)), open, "both find it silent");
    // Half a minute is nobody's whim.
    let mut gate = Gate::new(Limits::default(), now);
    (0..5).for_each(|_| times_out(&mut gate, "alice", 30));
    assert_eq!(reason(&gate, now + secs(30)), open);
}

#[test]
fn silence_for_longer_than_half_a_minute_is_nobodys_short_patience_and_neither_is_what_the_server_says() {
    let now = Instant::now();
    // After how long, with which status, whether it had spoken, and whether it says that the server does not work.
    let table = [
        (29, None, false, false),
        (145, None, false, true),
        (145, None, true, false),
        (29, Some(408), false, true),
    ];
    for (after, status, has_spoken, is_failure) in table {
        let mut gate = Gate::new(Limits::default(), now);
        let error = ProviderError { status, ..ProviderError::new(ErrorKind::Timeout, "it is broken") };
        for _ in 0..5 {
            let asking =
                Asking { model: &"m".into(), asker: &"alice".into(), patience: secs(29), weight: tokens(1) };
            let permit = gate.admit(asking, now).unwrap();
            gate.heard(permit, Quota::default(), true, now);
            if has_spoken {
                gate.speaks(permit, now);
            }
            gate.ended(permit, Some(&Err(error.clone())), false, now + secs(after));
        }
        let is_open = reason(&gate, now + secs(after)).is_some();
        assert_eq!(is_open, is_failure, "{after} {status:?} {has_spoken}");
    }
}

#[test]
fn a_server_that_asks_for_a_wait_is_left_alone_for_that_long_and_not_for_a_day() {
    let now = Instant::now();
    let mut gate = Gate::new(Limits::default(), now);
    let permit = admit(&mut gate, 1, now).unwrap();
    gate.ended(permit, Some(&failed(ErrorKind::RateLimited, Some(3))), true, now);
    assert_eq!(
        block(&gate, 1, now),
        Some(Block {
            reason: WaitReason::Asked,
            until: Some(now + secs(3)),
            may_end_before: false,
            of_model: true
        })
    );
    assert_eq!(block(&gate, 1, now + secs(3)), None);
    let permit = admit(&mut gate, 1, now + secs(3)).unwrap();
    gate.ended(permit, Some(&failed(ErrorKind::RateLimited, Some(86_400))), true, now + secs(3));
    assert_eq!(block(&gate, 1, now + secs(3)).unwrap().until, Some(now + secs(63)));
}

#[test]
fn a_wait_that_is_asked_for_because_of_a_limit_is_its_models_and_that_of_an_overloaded_server_is_everybodys()
{
    let now = Instant::now();
    let of = |gate: &Gate, model: &str, now| gate.block(model, tokens(1), now).map(|block| block.reason);
    for (kind, other) in [(ErrorKind::RateLimited, None), (ErrorKind::Overloaded, Some(WaitReason::Asked))] {
        let mut gate = Gate::new(Limits::default(), now);
        let permit = admit_for(&mut gate, "large", "alice", tokens(1), now).unwrap();
        gate.ended(permit, Some(&failed(kind, Some(30))), true, now);
        assert_eq!(of(&gate, "large", now), Some(WaitReason::Asked));
        assert_eq!(of(&gate, "small", now), other, "{kind:?}");
        assert_eq!(gate.asked_for(now), Some(secs(30)), "it is shown");
        assert_eq!(gate.longest_block(now).map(|block| block.reason), Some(WaitReason::Asked));
        assert!(gate.admit_errand(1, Some(&"large".into()), now).is_err());
        assert_eq!(gate.admit_errand(1, Some(&"small".into()), now).is_ok(), other.is_none());
        assert_eq!(of(&gate, "large", now + secs(30)), None);
        assert_eq!(gate.asked_for(now + secs(30)), None);
    }
    // Of a question that names no model it is everybody's.
    let mut gate = Gate::new(Limits::default(), now);
    gate.take_hint(&failed(ErrorKind::RateLimited, Some(30)).unwrap_err(), None, now);
    assert_eq!(of(&gate, "small", now), Some(WaitReason::Asked));
    assert!(gate.admit_errand(1, Some(&"vectors".into()), now).is_err());
}

#[test]
fn a_circuit_that_is_open_names_the_failure_and_closes_with_the_end_of_a_good_answer() {
    let now = Instant::now();
    let mut gate = Gate::new(Limits::default(), now);
    for _ in 0..5 {
        let permit = admit(&mut gate, 1, now).unwrap();
        gate.ended(permit, Some(&failed(ErrorKind::Server, None)), true, now);
    }
    let open = WaitReason::CircuitOpen { last: "it is broken".into() };
    assert_eq!(reason(&gate, now), Some(open.clone()));
    let later = now + secs(1);
    let probe = admit(&mut gate, 1, later).unwrap();
    assert_eq!(reason(&gate, later), Some(open.clone()), "one probe at a time");
    gate.heard(probe, Quota::default(), true, later);
    assert_eq!(reason(&gate, later), Some(open.clone()), "a head is no answer");
    gate.speaks(probe, later);
    assert_eq!(reason(&gate, later), None, "an answer may take minutes");
    let cut = admit(&mut gate, 1, later).unwrap();
    gate.ended(cut, Some(&failed(ErrorKind::StreamCut, None)), true, later);
    assert_eq!(reason(&gate, later), Some(open), "what begins well may end badly");
    gate.ended(probe, Some(&answered(1)), true, later);
    assert_eq!((reason(&gate, later), gate.running()), (None, 0));
}

#[test]
fn only_the_probe_says_whether_a_server_works_again_and_none_that_was_under_way_before() {
    let now = Instant::now();
    let mut gate = Gate::new(Limits::default(), now);
    let old: Vec<Permit> = (0..3).map(|_| admit(&mut gate, 1, now).unwrap()).collect();
    for _ in 0..5 {
        let permit = admit(&mut gate, 1, now).unwrap();
        gate.ended(permit, Some(&failed(ErrorKind::Server, None)), true, now);
    }
    let later = now + secs(1);
    let probe = admit(&mut gate, 1, later).unwrap();
    let shut = block(&gate, 1, later);
    gate.ended(old[0], None, false, later);
    gate.speaks(old[1], later);
    gate.ended(old[1], Some(&failed(ErrorKind::StreamCut, None)), true, later);
    assert_eq!((gate.circuit(), block(&gate, 1, later)), (Circuit::Probing, shut));
    gate.ended(probe, None, false, later);
    assert_eq!(block(&gate, 1, later), None, "the next is the probe");
    // One that is answered, whichever it is, was answered by a server that works.
    gate.ended(old[2], Some(&answered(1)), true, later);
    assert_eq!(gate.circuit(), Circuit::Closed);
}

/// A gate whose circuit has opened, with so many calls under way from before.
fn broken_with(old: usize, now: Instant) -> (Gate, Vec<Permit>) {
    let mut gate = Gate::new(Limits::default(), now);
    let old = (0..old).map(|_| admit(&mut gate, 1, now).unwrap()).collect();
    for _ in 0..5 {
        let permit = admit(&mut gate, 1, now).unwrap();
        gate.ended(permit, Some(&failed(ErrorKind::Server, None)), true, now);
    }
    assert_eq!(gate.circuit(), Circuit::Open);
    (gate, old)
}

#[test]
fn a_probe_of_long_ago_that_speaks_shows_that_the_server_works() {
    let now = Instant::now();
    let (mut gate, _) = broken_with(0, now);
    let slow = admit(&mut gate, 1, now + secs(1)).unwrap();
    let next = admit(&mut gate, 1, now + secs(31)).unwrap();
    gate.speaks(slow, now + secs(41));
    assert_eq!((gate.circuit(), reason(&gate, now + secs(41))), (Circuit::Closed, None));
    gate.speaks(next, now + secs(71));
    assert_eq!(gate.circuit(), Circuit::Closed);
    // Also when the last one was given up meanwhile.
    let (mut gate, _) = broken_with(0, now);
    let slow = admit(&mut gate, 1, now + secs(1)).unwrap();
    let next = admit(&mut gate, 1, now + secs(31)).unwrap();
    gate.ended(next, None, false, now + secs(32));
    gate.speaks(slow, now + secs(41));
    assert_eq!(gate.circuit(), Circuit::Closed);
}

#[test]
fn calls_from_before_a_server_was_seen_to_work_again_do_not_shut_it_when_they_fail() {
    let now = Instant::now();
    let (mut gate, old) = broken_with(2, now);
    let hung = admit(&mut gate, 1, now + secs(1)).unwrap();
    let probe = admit(&mut gate, 1, now + secs(31)).unwrap();
    gate.speaks(probe, now + secs(32));
    let later = now + secs(33);
    for before in [old[0], old[1], hung] {
        gate.ended(before, Some(&failed(ErrorKind::Timeout, None)), false, later);
        assert_eq!((gate.circuit(), reason(&gate, later)), (Circuit::Closed, None));
    }
    // One that began since then says something, and so does the probe.
    let cut = admit(&mut gate, 1, later).unwrap();
    gate.ended(cut, Some(&failed(ErrorKind::StreamCut, None)), true, later);
    assert_eq!(gate.circuit(), Circuit::Open);
    let (mut gate, _) = broken_with(0, now);
    let probe = admit(&mut gate, 1, now + secs(1)).unwrap();
    gate.speaks(probe, now + secs(2));
    gate.ended(probe, Some(&failed(ErrorKind::StreamCut, None)), true, now + secs(3));
    assert_eq!(gate.circuit(), Circuit::Open);
}

#[test]
fn a_gate_that_drains_lets_nothing_through() {
    let now = Instant::now();
    let mut gate = Gate::new(Limits::NONE, now);
    let running = admit(&mut gate, 1, now).unwrap();
    gate.drain();
    assert_eq!(reason(&gate, now), Some(WaitReason::Draining));
    gate.ended(running, None, false, now);
    assert_eq!((reason(&gate, now), gate.running()), (Some(WaitReason::Draining), 0));
}

proptest! {
    /// Whatever servers say, in whatever order, and whatever becomes of the calls: who waits as long as he is told is let through, and
    /// is told no more than a minute.
    #[test]
    fn nothing_that_a_server_says_shuts_the_gate_for_longer_than_a_minute(
        steps in prop::collection::vec(
            (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u64>(), 0u8..4),
            1..40,
        ),
    ) {
        let mut now = Instant::now();
        let mut gate = Gate::new(Limits { max_in_flight: usize::MAX, ..Limits::default() }, now);
        let mut open = Vec::new();
        for (limit, remaining, reset_ms, estimate, usage, what) in steps {
            let weight = tokens(u64::from(estimate));
            if let Some(block) = gate.block("m", weight, now) {
                let until = block.until.unwrap();
                prop_assert!(until <= now + secs(60), "{block:?}");
                now = until;
            }
            let permit = admit_for(&mut gate, "m", "alice", weight, now);
            prop_assert!(permit.is_ok(), "{permit:?}");
            open.push(permit.unwrap());
            let allowance = Allowance {
                limit: (limit % 2 == 0).then_some(limit),
                remaining: remaining % (limit.max(1)),
                reset: Duration::from_millis(reset_ms),
            };
            let permit = open.swap_remove(usage as usize % open.len());
            let quota = Quota { requests: Some(allowance), tokens: Some(allowance) };
            match what {
                0 => open.push(permit),
                1 => gate.ended(permit, Some(&failed(ErrorKind::InvalidRequest, None)), true, now),
                _ => {
                    gate.heard(permit, quota, what == 2, now);
                    gate.ended(permit, Some(&answered(usage)), true, now);
                }
            }
        }
    }
}
