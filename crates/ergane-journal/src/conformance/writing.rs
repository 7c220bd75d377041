//! Checks of appends, openings and deletions.

use std::sync::Arc;

use ergane_core::{Epoch, Event, Seq};

use crate::append::AppendError;
use crate::conformance::facts::{Incarnation, name, queued, started, turn_ended, turn_started};
use crate::error::JournalError;
use crate::store::{Journal, Opened, Position};

/// Positions count 1, 2, 3 over all appends; an append for another place than the next changes nothing and says that it
/// must be read back.
pub fn appends_are_numbered_without_gaps(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    assert_eq!(journal.position(&name("a")).unwrap(), None, "nobody opened it");
    let mut a = Incarnation::open(&journal, "a");
    assert_eq!(a.next, Seq(1), "a new session begins at 1");
    a.append(vec![started()]).unwrap();
    a.append(vec![queued("s", "x"), turn_started("s")]).unwrap();
    for wrong in [1, 3, 5, 100] {
        let at = Incarnation { next: Seq(wrong), name: a.name.clone(), journal: journal.clone(), ..a };
        let outcomes = journal.append(&[at.append_of(vec![turn_ended(3)])]);
        assert!(matches!(outcomes[..], [Err(AppendError::Unknown { .. })]), "at {wrong}: {outcomes:?}");
    }
    a.append(vec![turn_ended(3)]).unwrap();
    let seqs: Vec<u64> = a.stored().iter().map(|event| event.seq.0).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    let position = Position { epoch: a.epoch, next_seq: Seq(5) };
    assert_eq!(journal.position(&a.name).unwrap(), Some(position));
}

/// Events that are not numbered as the append says are never written.
pub fn misnumbered_events_are_not_written(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let a = Incarnation::open(&journal, "a");
    let good = a.append_of(vec![started(), queued("s", "x")]);
    let mut gap = good.clone();
    gap.events.swap_remove(0);
    let mut foreign = good.clone();
    foreign.epoch = Epoch(a.epoch.0 + 1);
    let outcomes = journal.append(&[gap, foreign, good]);
    assert!(
        matches!(
            outcomes[..],
            [Err(AppendError::NotWritten { .. }), Err(AppendError::NotWritten { .. }), Ok(())]
        ),
        "{outcomes:?}"
    );
    assert_eq!(a.stored().len(), 2);
}

/// An opening raises the epoch; from then on the incarnation before it writes nothing and learns why.
pub fn a_newer_epoch_fences_off_the_older(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut old = Incarnation::open(&journal, "a");
    old.append(vec![started()]).unwrap();
    let mut new = Incarnation::open(&journal, "a");
    assert!(new.epoch > old.epoch, "{:?} is not above {:?}", new.epoch, old.epoch);
    assert_eq!(new.next, Seq(2), "the opening tells what is stored");
    let fenced = AppendError::Fenced { epoch: new.epoch };
    assert_eq!(old.append(vec![queued("s", "ghost")]), Err(fenced.clone()));
    new.append(vec![queued("s", "x")]).unwrap();
    assert_eq!(old.append(vec![queued("s", "ghost")]), Err(fenced));
    let epochs: Vec<Epoch> = new.stored().iter().map(|event| event.epoch).collect();
    assert_eq!(epochs, [old.epoch, new.epoch]);
    let never = Incarnation { journal: journal.clone(), name: name("never"), epoch: Epoch(1), next: Seq(1) };
    let outcomes = journal.append(&[never.append_of(vec![started()])]);
    assert_eq!(outcomes, [Err(AppendError::Fenced { epoch: Epoch(0) })], "nobody opened it");
}

/// In a batch, each append is written or not for itself.
pub fn a_refused_append_leaves_the_others(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let (a, ghost, c) = (
        Incarnation::open(&journal, "a"),
        Incarnation::open(&journal, "b"),
        Incarnation::open(&journal, "c"),
    );
    let b = Incarnation::open(&journal, "b");
    let batch = [&a, &ghost, &b, &c].map(|one| one.append_of(vec![started(), queued("s", "x")]));
    let outcomes = journal.append(&batch);
    assert_eq!(outcomes, [Ok(()), Err(AppendError::Fenced { epoch: b.epoch }), Ok(()), Ok(())]);
    for one in [a, b, c] {
        assert_eq!(one.stored().len(), 2, "{}", one.name);
    }
    assert_eq!(journal.append(&[]), []);
}

/// Two appends of one session in one batch are written one after the other.
pub fn appends_of_one_session_keep_their_order_in_a_batch(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut a = Incarnation::open(&journal, "a");
    let first = a.append_of(vec![started()]);
    a.next = first.next_seq();
    let second = a.append_of(vec![queued("s", "x"), turn_started("s")]);
    assert_eq!(journal.append(&[first, second]), [Ok(()), Ok(())]);
    assert_eq!(a.stored().len(), 3);
    assert_eq!(journal.summary(&a.name).unwrap().unwrap().turns, 1);
}

/// Several openings in one call are as many openings one after the other.
pub fn several_are_opened_at_once(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut a = Incarnation::open(&journal, "a");
    a.append(vec![started()]).unwrap();
    let opened = journal.open_sessions(&[name("a"), name("b"), name("a")]);
    let opened: Vec<Opened> = opened.into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(opened.iter().map(|one| one.next_seq).collect::<Vec<_>>(), [Seq(2), Seq(1), Seq(2)]);
    assert!(a.epoch < opened[0].epoch && opened[0].epoch < opened[2].epoch, "{opened:?}");
}

/// After a deletion nothing is left; whoever still writes under the old epoch is fenced, also when the name is used
/// again.
pub fn a_deleted_session_is_gone_and_its_ghost_is_fenced(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut other = Incarnation::open(&journal, "b");
    other.append(vec![started()]).unwrap();
    let mut old = Incarnation::open(&journal, "a");
    old.append(vec![started(), queued("s", "x"), turn_started("s")]).unwrap();
    assert!(journal.delete(&old.name).unwrap());
    assert!(!journal.delete(&old.name).unwrap(), "there is nothing any more");
    assert_eq!(journal.position(&old.name).unwrap(), None);
    assert_eq!(journal.summary(&old.name).unwrap(), None);
    assert_eq!(journal.sent(&old.name, &"s".into()).unwrap(), None);
    assert_eq!(journal.open_turns().unwrap(), []);
    let loaded = journal.load(&old.name, Seq(0), Seq(9));
    assert!(matches!(loaded, Err(JournalError::NotFound { .. })), "{loaded:?}");
    assert_eq!(old.append(vec![turn_ended(3)]), Err(AppendError::Fenced { epoch: Epoch(0) }));

    let mut new = Incarnation::open(&journal, "a");
    assert_eq!(new.next, Seq(1));
    new.append(vec![started(), queued("t", "y"), turn_started("t")]).unwrap();
    // The ghost stands at the very place where the new one is; only the epoch tells them apart.
    assert_eq!(old.append(vec![turn_ended(3)]), Err(AppendError::Fenced { epoch: new.epoch }));
    assert_eq!(journal.sent(&new.name, &"s".into()).unwrap(), None, "sends are not inherited");
    assert_eq!(other.stored().len(), 1, "other sessions are not touched");
}

/// Who takes back what he opened takes nothing from somebody who opened it or wrote to it since.
pub fn a_session_is_deleted_only_where_it_stands(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut a = Incarnation::open(&journal, "a");
    let at = |epoch, next_seq| Position { epoch, next_seq };
    let empty = at(a.epoch, Seq(1));
    assert_eq!(journal.delete_at(&name("never"), empty), Ok(false));
    a.append(vec![started()]).unwrap();
    let written = at(a.epoch, Seq(2));
    assert_eq!(journal.delete_at(&a.name, empty), Ok(false), "it was written to since");
    let b = Incarnation::open(&journal, "a");
    assert_eq!(journal.delete_at(&a.name, written), Ok(false), "it was opened since");
    assert_eq!(b.stored().len(), 1, "nothing is missing");
    assert_eq!(journal.position(&a.name), Ok(Some(at(b.epoch, Seq(2)))));
    assert_eq!(journal.delete_at(&a.name, at(b.epoch, Seq(2))), Ok(true));
    assert_eq!(journal.position(&a.name), Ok(None));
    assert_eq!(journal.delete_at(&a.name, at(b.epoch, Seq(2))), Ok(false), "there is nothing any more");
    let c = Incarnation::open(&journal, "a");
    assert!(c.epoch > b.epoch, "a ghost is fenced, as after any deletion");
}

/// Giving up changes nothing of what is stored; who owns nothing may do it too.
pub fn a_released_session_can_be_opened_again(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    journal.release(&name("nobody")).unwrap();
    let mut a = Incarnation::open(&journal, "a");
    a.append(vec![started()]).unwrap();
    let owner = |journal: &Arc<dyn Journal>| journal.summary(&name("a")).unwrap().unwrap().owner_pid;
    assert_eq!(owner(&journal), Some(std::process::id()));
    journal.release(&a.name).unwrap();
    assert_eq!(owner(&journal), None);
    let b = Incarnation::open(&journal, "a");
    assert!(b.epoch > a.epoch);
    assert_eq!(b.stored().len(), 1);
    assert_eq!(owner(&journal), Some(std::process::id()));
}

/// Writers of different sessions on several threads each see their own session grow without gaps.
pub fn many_writers_do_not_disturb_each_other(make: &dyn Fn() -> Arc<dyn Journal>) {
    const WRITERS: usize = 8;
    const APPENDS: usize = 20;
    let journal = make();
    std::thread::scope(|threads| {
        for writer in 0..WRITERS {
            let journal = &journal;
            threads.spawn(move || {
                let mut session = Incarnation::open(journal, &format!("writer-{writer}"));
                session.append(vec![started()]).unwrap();
                for n in 0..APPENDS {
                    session.append(vec![queued(&format!("s{n}"), &format!("{writer}/{n}"))]).unwrap();
                    assert_eq!(session.stored().len(), n + 2, "what was acknowledged can be read at once");
                }
            });
        }
    });
    for writer in 0..WRITERS {
        let session = name(&format!("writer-{writer}"));
        let events = journal.load(&session, Seq(1), Seq(u64::MAX)).unwrap();
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event.event, queued(&format!("s{n}"), &format!("{writer}/{n}")));
        }
        assert_eq!(events.len(), APPENDS);
    }
}

/// Of several appends for one place at the same time, exactly one is written.
pub fn of_racing_writers_exactly_one_wins_a_place(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut session = Incarnation::open(&journal, "a");
    for round in 0..10 {
        let appends: Vec<_> = (0..4)
            .map(|writer| {
                session.append_of(vec![Event::Recovered { cause: format!("{round}/{writer}").into() }])
            })
            .collect();
        let outcomes: Vec<Result<(), AppendError>> = std::thread::scope(|threads| {
            let racing: Vec<_> = appends
                .iter()
                .map(|append| threads.spawn(|| journal.append(std::slice::from_ref(append)).pop().unwrap()))
                .collect();
            racing.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let won: Vec<usize> = (0..4).filter(|writer| outcomes[*writer].is_ok()).collect();
        assert_eq!(won.len(), 1, "{outcomes:?}");
        session.next = session.next.next();
        let stored = session.stored();
        assert_eq!(stored.len(), round + 1);
        assert_eq!(stored[round].event, appends[won[0]].events[0].event, "the one that was told so is there");
    }
}
