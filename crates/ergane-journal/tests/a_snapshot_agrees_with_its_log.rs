//! Whatever a session lived through: read by its snapshots, it is the session that its log says it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail
#![allow(dead_code, reason = "of the kernel's random lives a part is used")]

#[path = "../../ergane-core/tests/kernel/log.rs"]
mod log;
#[path = "../../ergane-core/tests/kernel/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ergane_core::{Conversation, Envelope, Event, EventKind, Identity, Seq, SessionName};
use ergane_journal::{Append, Journal, Sqlite};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngSeed, TestRunner};
use rusqlite::Connection;

use crate::world::{Dice, World, rolls};

/// So many rolls decide a life here.
const ROLLS: Range<usize> = 3_000..6_000;

/// A life, a fork, and what the fork lives on.
fn facts(rolls: &[u16]) -> Vec<Envelope> {
    let (before, after) = rolls.split_at(rolls.len() - 600);
    let mut world = World::random(before);
    world.go_on_to_the_end();
    let at = world.log.conversation.seq();
    world.log.push(Event::Forked { parent: name("parent"), at, id: Some(Identity(0xb2)) });
    let mut dice = Dice::new(after);
    while world.act(&mut dice).is_some() {}
    world.log.facts
}

fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}

/// A store with that log, each epoch of it written by an incarnation of its own.
fn store(path: &Path, session: &SessionName, facts: &[Envelope]) -> Sqlite {
    let store = Sqlite::open(path).unwrap();
    for of_one in facts.chunk_by(|a, b| a.epoch == b.epoch) {
        let epoch = of_one[0].epoch;
        while store.open_session(session).unwrap().epoch < epoch {}
        let events = of_one.iter().cloned().map(Arc::new).collect();
        let append = Append { session: session.clone(), epoch, expected: of_one[0].seq, events };
        assert_eq!(store.append(&[append]), [Ok(())]);
    }
    store
}

fn snapshots(path: &Path) -> i64 {
    let sql = "SELECT count(*) FROM snapshot";
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(5),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_session_read_by_its_snapshots_is_the_one_that_its_log_tells_of(rolls in rolls(ROLLS), cut in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        let (path, session) = (dir.path().join("j.db"), name("a"));
        let facts = facts(&rolls.0);
        let store = store(&path, &session, &facts);
        let load = |below: u64| store.load(&session, Seq(0), Seq(below)).unwrap();
        let fold = |log: &[Arc<Envelope>]| Conversation::fold(log.iter().map(Arc::as_ref)).unwrap();
        let end = facts.len() as u64 + 1;
        let log = load(end);

        let upto = store.snapshot(&session).unwrap();
        prop_assert!(snapshots(&path) > 0 && end - 1 - upto.0 < 512, "{} of {}", upto, end);
        let read = load(end);
        prop_assert_eq!(&read, &log);
        let whole = fold(&read);
        prop_assert_eq!(&whole, &Conversation::fold(&facts).unwrap());
        prop_assert_eq!(whole.next(), Conversation::fold(&facts).unwrap().next());
        // And wherever somebody else stands.
        let below = cut.index(facts.len()) as u64 + 1;
        prop_assert_eq!(fold(&load(below)), Conversation::fold(&facts[..below as usize - 1]).unwrap());
    }
}

/// Of dull lives that would be easy.
#[test]
fn every_kind_of_fact_is_in_the_lives_that_are_compared() {
    let mut runner = TestRunner::deterministic();
    let mut kinds = BTreeSet::new();
    for _ in 0..4 {
        let life = rolls(ROLLS).new_tree(&mut runner).unwrap().current();
        kinds.extend(facts(&life.0).iter().map(|fact| fact.event.kind() as u8));
    }
    let all = EventKind::SessionStarted as u8..=EventKind::Forked as u8;
    assert_eq!(kinds, all.collect(), "every kind of fact is there");
}
