//! The crash-point sweep: a process dies before and after everything that matters, and the next one goes on.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ergane::core::{CallId, Conversation, Envelope, Event, EventKind, Next};
use ergane::journal::Journal;
use ergane::prelude::*;
use ergane_testkit::{EffectLog, Step, StopAt};

use crate::script::{
    Act, CUT_OFF, Life, Outside, SHORT_TALK, SHORT_TALK_WITH_PEOPLE, Said, TALK, TALK_WITH_PEOPLE, Talk,
    WRITES, forgiven, hangs, live, said,
};

/// The conversation as it is when nothing dies.
struct Reference {
    acts: &'static Talk,
    steps: Vec<Step>,
    results: Vec<(FinishReason, Vec<Said>)>,
    /// What the model is asked, with the number of the turn and where it stands then.
    requests: Vec<((usize, Stand), Vec<Said>)>,
    /// What was said in the session that was forked off, if one was.
    fork: Vec<Said>,
}

fn outside(store: impl Journal) -> Outside {
    Outside { store: Arc::new(store), effects: EffectLog::in_memory() }
}

/// What is in a log of each turn: how many answers, how many words that were put in, whether its end was asked for or came.
#[derive(Debug, Clone, Copy, Default)]
struct Stand {
    replies: u32,
    words: u32,
    over: bool,
}

fn stands(log: &[Arc<Envelope>]) -> Vec<Stand> {
    let mut stands: Vec<Stand> = Vec::new();
    for envelope in log {
        match (&envelope.event, stands.last_mut()) {
            (Event::TurnStarted { .. }, _) => stands.push(Stand::default()),
            (Event::ModelReplied { .. }, Some(last)) => last.replies += 1,
            (Event::Steered { .. }, Some(last)) => last.words += 1,
            (Event::InterruptRequested { .. } | Event::TurnEnded { .. }, Some(last)) => last.over = true,
            _ => {}
        }
    }
    stands
}

fn results(life: &Life) -> Vec<(FinishReason, Vec<Said>)> {
    let results = life.results.as_ref().expect("this life comes to its end");
    results.iter().map(|result| (result.finish_reason, forgiven(said(&result.messages)))).collect()
}

/// What the session that was forked off has of its parent.
fn fork(outside: &Outside) -> Vec<Said> {
    let log = outside.log("bob");
    let conversation = Conversation::fold(log.iter().map(Arc::as_ref)).unwrap();
    assert!(log.is_empty() || conversation.next() == Next::Idle);
    forgiven(said(conversation.messages().iter()))
}

async fn reference(acts: &'static Talk) -> Reference {
    let outside = outside(Memory::new());
    let life = live(&outside, acts, None).await;
    let results = results(&life);
    let turns: Vec<Act> = acts.iter().copied().filter(|act| act.said().is_some()).collect();
    assert_eq!(turns.len(), results.len());
    for (act, (finish, _)) in turns.iter().zip(&results) {
        let interrupted = matches!(act, Act::Interrupt(_));
        let expected = if interrupted { FinishReason::Interrupted } else { FinishReason::Stop };
        assert_eq!(*finish, expected, "{act:?}: {results:#?}");
    }
    let asked: Vec<Vec<Said>> =
        life.world.asked().iter().map(|request| forgiven(said(request.messages.iter()))).collect();
    // In which turn each was asked, after how many answers and words: the first one twice when it hung.
    let mut places = Vec::new();
    for (turn, Stand { replies, words, .. }) in stands(&outside.log("alice")).into_iter().enumerate() {
        if turns[turn].said().is_some_and(hangs) {
            places.push((turn, Stand::default()));
        }
        places.extend((0..replies).map(|replies| (turn, Stand { replies, words, over: false })));
    }
    assert_eq!(places.len(), asked.len());
    let requests = places.into_iter().zip(asked).collect();
    Reference { acts, steps: life.world.steps(), results, requests, fork: fork(&outside) }
}

/// What must hold of a life that came to the end, after one or several that did not.
fn check(reference: &Reference, outside: &Outside, before: &[Arc<Envelope>], life: &Life, what: &str) {
    assert_eq!(results(life), reference.results, "{what}: the conversation");

    // The model is asked what was not answered yet, in order, and nothing else.
    let stands = stands(before);
    let due = reference.requests.iter().filter(|((turn, then), _)| {
        stands
            .get(*turn)
            .is_none_or(|now| then.replies >= now.replies && then.words >= now.words && !now.over)
    });
    let due: Vec<&Vec<Said>> = due.map(|(_, request)| request).collect();
    let asked: Vec<Vec<Said>> =
        life.world.asked().iter().map(|request| forgiven(said(request.messages.iter()))).collect();
    assert_eq!(asked.iter().collect::<Vec<_>>(), due, "{what}: the requests");

    assert_eq!(fork(outside), reference.fork, "{what}: the fork");
    check_effects(outside, what);
}

/// Each write was done at most once, and not at all only where the model was told that nobody knows. What may be done
/// again was done under one key. And "nobody knows" was said of no call but a write whose process died.
fn check_effects(outside: &Outside, what: &str) {
    let log = outside.log("alice");
    let mut started: HashMap<CallId, (Effect, usize)> = HashMap::new();
    let (mut cut_off, mut keys) = (Vec::new(), HashMap::new());
    for (at, envelope) in log.iter().enumerate() {
        match &envelope.event {
            Event::ToolStarted { call, effect, key } => {
                keys.insert(key.to_string(), *call);
                assert!(started.insert(*call, (*effect, at)).is_none(), "{what}: {call} started twice");
            }
            Event::ToolFinished { result, .. } if result.text().contains(CUT_OFF) => {
                let (effect, since) = started[&result.call];
                assert_eq!(effect, Effect::Write, "{what}");
                let died = |event: &Arc<Envelope>| matches!(event.event, Event::Recovered { .. });
                assert!(log[since..at].iter().any(died), "{what}: {} was not cut off", result.call);
                cut_off.push(result.call);
            }
            _ => {}
        }
    }
    let mut under: HashMap<String, String> = HashMap::new();
    for (done, times) in outside.effects.counts().unwrap() {
        if WRITES.iter().any(|tool| done.what.starts_with(tool)) {
            assert_eq!(times, 1, "{what}: {done:?}");
        }
        let key = under.entry(done.what.clone()).or_insert_with(|| done.key.clone());
        assert_eq!(*key, done.key, "{what}: one thing has one key");
    }
    for (key, call) in keys {
        let done = outside.effects.all().unwrap().iter().any(|done| done.key == key);
        assert!(done || cut_off.contains(&call), "{what}: {call} was said to be done, and was not");
    }
}

/// Where a second death is tried, in a recovery of so many steps: everywhere, for every third of the first deaths; for the
/// others, while the next process finds out where it is. `ERGANE_SWEEP=all` is everywhere for all.
fn seconds(first: usize, steps: usize) -> usize {
    const FINDING_OUT: usize = 8;
    let everywhere =
        first.is_multiple_of(3) || std::env::var("ERGANE_SWEEP").is_ok_and(|sweep| sweep == "all");
    if everywhere { steps } else { steps.min(FINDING_OUT) }
}

/// Dies at `stop`, then lives on to the end.
async fn die_once(reference: &Reference, outside: &Outside, stop: usize) -> Life {
    let what = format!("killed at step {stop}, {:?}", reference.steps[stop]);
    let dead = live(outside, reference.acts, Some(StopAt::Step(stop))).await;
    assert!(dead.results.is_none() && dead.world.has_stopped(), "{what}: it did not die");
    let before = outside.log("alice");
    let life = live(outside, reference.acts, None).await;
    check(reference, outside, &before, &life, &what);
    life
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_or_after_anything_changes_nothing_but_what_nobody_can_know() {
    let reference = reference(TALK).await;
    assert!(reference.steps.len() > 80, "{}", reference.steps.len());
    for stop in 0..reference.steps.len() {
        die_once(&reference, &outside(Memory::new()), stop).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_around_decisions_words_put_in_forks_and_rewinds_changes_nothing_either() {
    let reference = reference(TALK_WITH_PEOPLE).await;
    let mut kinds = BTreeSet::new();
    for stop in 0..reference.steps.len() {
        let outside = outside(Memory::new());
        die_once(&reference, &outside, stop).await;
        kinds.extend(kinds_in(&outside));
    }
    assert_eq!(kinds, every_kind(), "every kind of fact is there");
}

#[tokio::test(start_paused = true)]
async fn a_second_crash_at_any_point_of_the_recovery_changes_nothing_more() {
    die_twice(&reference(SHORT_TALK).await).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_crash_around_decisions_and_words_put_in_changes_nothing_more() {
    die_twice(&reference(SHORT_TALK_WITH_PEOPLE).await).await;
}

async fn die_twice(reference: &Reference) {
    let acts = reference.acts;
    for first in 0..reference.steps.len() {
        // How long the recovery is, is known once it was seen.
        let steps = die_once(reference, &outside(Memory::new()), first).await.world.steps().len();
        for second in 0..seconds(first, steps) {
            let outside = outside(Memory::new());
            let what = format!("killed at step {first}, and again at step {second} of the recovery");
            live(&outside, acts, Some(StopAt::Step(first))).await;
            let dead = live(&outside, acts, Some(StopAt::Step(second))).await;
            assert!(dead.results.is_none(), "{what}: it did not die");
            let before = outside.log("alice");
            let life = live(&outside, acts, None).await;
            check(reference, &outside, &before, &life, &what);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_on_a_real_file_changes_nothing_but_what_nobody_can_know() {
    die_on_a_file(TALK).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_on_a_real_file_around_decisions_words_put_in_forks_and_rewinds_changes_nothing_either() {
    let kinds = die_on_a_file(TALK_WITH_PEOPLE).await;
    assert_eq!(kinds, every_kind(), "every kind of fact is there");
}

/// On a real file facts share their commits as the disk has time, so the steps are not the same in every life; and every
/// life waits for the disk, so it is every fourth step. The kinds of facts that were there.
async fn die_on_a_file(acts: &'static Talk) -> BTreeSet<u8> {
    let reference = reference(acts).await;
    let mut kinds = BTreeSet::new();
    for stop in (0..).step_by(4) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.db");
        let effects = EffectLog::in_memory();
        // Every process opens the file anew, and leaves nothing of itself to the next.
        let process = || Outside { store: Arc::new(Sqlite::open(&path).unwrap()), effects: effects.clone() };
        let first = process();
        let dead = live(&first, acts, Some(StopAt::Step(stop))).await;
        let what = format!("killed at step {stop}, {:?}", dead.world.steps().last());
        if dead.results.is_some() {
            assert!(stop > reference.steps.len() / 2, "{what}: it did not die");
            break;
        }
        drop((dead, first));
        let second = process();
        let before = second.log("alice");
        let life = live(&second, acts, None).await;
        check(&reference, &second, &before, &life, &what);
        kinds.extend(kinds_in(&second));
    }
    kinds
}

fn kinds_in(outside: &Outside) -> BTreeSet<u8> {
    let logs = ["alice", "bob"].map(|session| outside.log(session));
    logs.iter().flatten().map(|fact| fact.event.kind() as u8).collect()
}

fn every_kind() -> BTreeSet<u8> {
    (EventKind::SessionStarted as u8..=EventKind::Forked as u8).collect()
}
