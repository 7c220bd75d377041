//! A world stops where it is told to, and nothing passes from there on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::sync::{Arc, Mutex};

use ergane_core::{Envelope, Event, EventKind, FORMAT_VERSION, Seq, SessionName, Timestamp};
use ergane_journal::{Append, AppendError, Journal, JournalError, Memory, Opened};
use ergane_testkit::{Step, StopAt, World};

fn alice() -> SessionName {
    "alice".parse().unwrap()
}

/// Appends so many facts at `first`, in one commit.
fn append(journal: &dyn Journal, opened: Opened, first: u64, facts: u64) -> Result<(), AppendError> {
    let event = |seq| {
        let event = Event::TurnStarted { send: "key".into() };
        Arc::new(Envelope { v: FORMAT_VERSION, seq: Seq(seq), epoch: opened.epoch, at: Timestamp(0), event })
    };
    let events = (first..first + facts).map(event).collect();
    let append = Append { session: alice(), epoch: opened.epoch, expected: Seq(first), events };
    journal.append(&[append]).pop().unwrap()
}

fn stored(store: &Memory) -> u64 {
    store.position(&alice()).unwrap().unwrap().next_seq.0 - 1
}

#[test]
fn before_a_fact_nothing_of_its_commit_is_written_and_after_it_all_of_it() {
    // Three commits: fact 1, facts 2 and 3, fact 4.
    for (stop, written) in [
        (StopAt::BeforeFact(1), 0),
        (StopAt::AfterFact(1), 1),
        (StopAt::BeforeFact(2), 1),
        (StopAt::BeforeFact(3), 1),
        (StopAt::AfterFact(2), 3),
        (StopAt::AfterFact(3), 3),
        (StopAt::BeforeFact(4), 3),
        (StopAt::AfterFact(4), 4),
    ] {
        let store = Arc::new(Memory::new());
        let world = World::stopping(stop);
        let journal = world.journal(store.clone());
        let opened = journal.open_session(&alice()).unwrap();
        let outcomes = [(1, 1), (2, 2), (4, 1)].map(|(first, facts)| append(&journal, opened, first, facts));
        assert_eq!(stored(&store), written, "{stop:?}");
        assert!(world.has_stopped(), "{stop:?}");
        let told = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert!(told < 3, "{stop:?}: nobody is told of what the world stopped at");
        assert!(matches!(journal.open_session(&alice()), Err(JournalError::Away)), "{stop:?}");
        assert!(matches!(journal.load(&alice(), Seq(0), Seq(1)), Err(JournalError::Away)), "{stop:?}");
    }
}

#[test]
fn steps_are_counted_and_hooks_are_called_at_each() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let hooked = Arc::clone(&seen);
    let world = World::with_hook(Some(StopAt::Step(3)), move |index, step| {
        hooked.lock().unwrap().push((index, step.clone()));
    });
    let journal = world.journal(Arc::new(Memory::new()));
    let opened = journal.open_session(&alice()).unwrap();
    assert!(matches!(append(&journal, opened, 1, 1), Err(AppendError::Unknown { .. })));
    let fact = vec![(alice(), EventKind::TurnStarted)];
    let steps =
        [Step::Opening(alice()), Step::Opened(alice()), Step::Writing(fact.clone()), Step::Written(fact)];
    assert_eq!(world.steps(), steps);
    assert_eq!(seen.lock().unwrap().len(), 3, "not of the step that it stopped at");
}
