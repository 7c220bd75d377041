//! Supervisors against simple references: whatever is done to them, in whatever order, they are where the reference is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;

use common::*;
use ergane_otp::*;
use proptest::prelude::*;
use proptest::strategy::Strategy as Draw;

const RESTARTS: [Restart; 3] = [Restart::Permanent, Restart::Transient, Restart::Temporary];

/// What is done, to which of the ids.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Start(usize),
    Kill(usize),
    Fail(usize),
    StopNormal(usize),
    Terminate(usize),
    /// Dynamic: release from quarantine. Otherwise: delete the spec.
    Forget(usize),
    /// Otherwise only: start one at rest.
    Restart(usize),
    /// The next starts of that id fail, or do not any more.
    Break(usize, bool),
}

fn deeds(ids: usize) -> impl Draw<Value = Vec<Deed>> {
    let id = 0..ids;
    prop::collection::vec(
        prop_oneof![
            4 => id.clone().prop_map(Deed::Start),
            3 => id.clone().prop_map(Deed::Kill),
            2 => id.clone().prop_map(Deed::Fail),
            2 => id.clone().prop_map(Deed::StopNormal),
            2 => id.clone().prop_map(Deed::Terminate),
            2 => id.clone().prop_map(Deed::Forget),
            2 => id.clone().prop_map(Deed::Restart),
            1 => (id, any::<bool>()).prop_map(|(id, broken)| Deed::Break(id, broken)),
        ],
        1..40,
    )
}

fn name(id: usize) -> String {
    format!("c{id}")
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work);
}

fn end(cell: &ractor::ActorCell, deed: Deed) {
    match deed {
        Deed::Kill(_) => cell.kill(),
        Deed::Fail(_) => order_error(cell),
        _ => cell.stop(None),
    }
}

// ------------------------------------------------------------------------------------------------ dynamic supervisor

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dynamic {
    Live { restarts: u32 },
    Quarantined,
}

const BUDGET: u32 = 2;
const LIMIT: usize = 4;

async fn dynamic_supervisor(deeds: Vec<Deed>) {
    let (namespace, world) = (namespace(), World::new());
    let budget = RestartBudget { max_restarts: BUDGET, ..generous() };
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(budget).max_children(LIMIT)).await;
    let mut model: BTreeMap<usize, Dynamic> = BTreeMap::new();
    let mut broken = [false; 6];
    let mut started = 0;
    for deed in deeds {
        match deed {
            Deed::Start(id) => {
                let spec = world.child(&name(id)).restart(RESTARTS[id % 3]);
                let outcome = soon(pool.start_child(spec, LONG)).await;
                let live = model.values().filter(|child| matches!(child, Dynamic::Live { .. })).count();
                match model.get(&id) {
                    Some(Dynamic::Live { .. }) => {
                        assert!(matches!(outcome, Err(StartError::AlreadyStarted(_))), "{outcome:?}");
                    }
                    Some(Dynamic::Quarantined) => {
                        assert!(matches!(outcome, Err(StartError::Quarantined { .. })), "{outcome:?}");
                    }
                    None if live == LIMIT => {
                        assert!(
                            matches!(outcome, Err(StartError::MaxChildren { limit: LIMIT })),
                            "{outcome:?}"
                        );
                    }
                    None if broken[id] => {
                        assert!(matches!(outcome, Err(StartError::Failed { .. })), "{outcome:?}");
                    }
                    None => {
                        outcome.unwrap();
                        started += 1;
                        model.insert(id, Dynamic::Live { restarts: 0 });
                    }
                }
            }
            Deed::Kill(id) | Deed::Fail(id) | Deed::StopNormal(id) => {
                let Some(cell) = namespace.whereis(&name(id)) else {
                    assert!(!matches!(model.get(&id), Some(Dynamic::Live { .. })));
                    continue;
                };
                let Some(Dynamic::Live { restarts }) = model.get(&id).copied() else { panic!("{id} lives") };
                let crash = !matches!(deed, Deed::StopNormal(_));
                end(&cell, deed);
                let back = match RESTARTS[id % 3] {
                    Restart::Permanent => true,
                    Restart::Transient => crash,
                    Restart::Temporary => false,
                };
                // A broken one spends its whole budget on starts that fail.
                let left = if broken[id] { 0 } else { BUDGET - restarts };
                if !back {
                    model.remove(&id);
                    eventually(|| namespace.status(&name(id)).is_none()).await;
                } else if left == 0 {
                    model.insert(id, Dynamic::Quarantined);
                    eventually(|| {
                        matches!(namespace.status(&name(id)), Some(EntryStatus::Quarantined { .. }))
                    })
                    .await;
                } else {
                    started += 1;
                    model.insert(id, Dynamic::Live { restarts: restarts + 1 });
                    successor(&namespace, &name(id), &cell).await;
                }
            }
            Deed::Terminate(id) => {
                let outcome = soon(pool.terminate_child(&name(id), LONG)).await;
                let known = model.remove(&id).is_some();
                assert_eq!(outcome, if known { Ok(()) } else { Err(ChildError::NotFound) });
                assert_eq!(namespace.status(&name(id)), None);
            }
            Deed::Forget(id) => {
                let outcome = soon(pool.release(&name(id))).await;
                let expected = match model.get(&id) {
                    None => Err(ChildError::NotFound),
                    Some(Dynamic::Live { .. }) => Err(ChildError::NotQuarantined),
                    Some(Dynamic::Quarantined) => {
                        model.remove(&id);
                        Ok(())
                    }
                };
                assert_eq!(outcome, expected);
            }
            Deed::Restart(_) => {}
            Deed::Break(id, now) => {
                broken[id] = now;
                world.break_starts(&name(id), now);
            }
        }
        let listed = listed(soon(pool.children()).await.unwrap(), |child| match &child.status {
            EntryStatus::Quarantined { .. } => Dynamic::Quarantined,
            EntryStatus::Live => Dynamic::Live { restarts: child.restarts },
            other => panic!("{other} while nothing happens"),
        });
        assert_eq!(listed, model);
        let live = model.values().filter(|child| matches!(child, Dynamic::Live { .. })).count();
        assert_eq!((world.alive(), world.overlaps()), (live, 0));
    }
    let starts = world.lines().iter().filter(|line| line.starts_with("start")).count();
    assert_eq!(starts, started);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

fn listed<T>(children: Vec<ChildInfo>, what: impl Fn(&ChildInfo) -> T) -> BTreeMap<usize, T> {
    children.iter().map(|child| (child.id[1..].parse().unwrap(), what(child))).collect()
}

// -------------------------------------------------------------------------------------------------------- supervisor

/// The children in order: the id, and whether it lives.
type Children = Vec<(usize, bool)>;

/// What a round from `first` on leaves: all that may come back live, the temporary ones are gone.
fn round(model: &mut Children, first: usize, starts: &mut [usize]) {
    let mut index = 0;
    model.retain_mut(|(id, live)| {
        let covered = index >= first;
        index += 1;
        if !covered {
            return true;
        }
        if RESTARTS[*id % 3] == Restart::Temporary {
            return false;
        }
        *live = true;
        starts[*id] += 1;
        true
    });
}

async fn supervisor(strategy: ergane_otp::Strategy, deeds: Vec<Deed>) {
    let (namespace, world) = (namespace(), World::new());
    let root = soon(Supervisor::builder().strategy(strategy).intensity(plenty()).start(&namespace, "root"));
    let root = root.await.unwrap();
    let mut model = Children::new();
    let mut starts = [0_usize; 6];
    for deed in deeds {
        let find = |model: &Children, id| model.iter().position(|&(other, _)| other == id);
        match deed {
            Deed::Start(id) => {
                let spec = world.child(&name(id)).restart(RESTARTS[id % 3]);
                let outcome = soon(root.start_child(spec, LONG)).await;
                match find(&model, id).map(|index| model[index].1) {
                    Some(true) => {
                        assert!(matches!(outcome, Err(StartError::AlreadyStarted(_))), "{outcome:?}")
                    }
                    Some(false) => {
                        assert!(matches!(outcome, Err(StartError::AlreadyPresent { .. })), "{outcome:?}");
                    }
                    None => {
                        outcome.unwrap();
                        starts[id] += 1;
                        model.push((id, true));
                    }
                }
            }
            Deed::Kill(id) | Deed::Fail(id) | Deed::StopNormal(id) => {
                let Some(cell) = namespace.whereis(&name(id)) else { continue };
                let index = find(&model, id).unwrap();
                let crash = !matches!(deed, Deed::StopNormal(_));
                end(&cell, deed);
                match RESTARTS[id % 3] {
                    Restart::Temporary => drop(model.remove(index)),
                    Restart::Transient if !crash => model[index].1 = false,
                    _ => match strategy {
                        ergane_otp::Strategy::OneForOne => starts[id] += 1,
                        ergane_otp::Strategy::OneForAll => round(&mut model, 0, &mut starts),
                        ergane_otp::Strategy::RestForOne => round(&mut model, index, &mut starts),
                    },
                }
                // Nothing is left to happen when all that ought to have been started was.
                let expected: usize = starts.iter().sum();
                eventually(|| {
                    let lines = world.lines();
                    lines.iter().filter(|line| line.starts_with("start")).count() >= expected
                })
                .await;
                eventually(|| world.alive() == model.iter().filter(|(_, live)| *live).count()).await;
                for id in 0..6 {
                    let live = find(&model, id).is_some_and(|index| model[index].1);
                    eventually(|| match namespace.status(&name(id)) {
                        None => !live,
                        Some(status) => live && status == EntryStatus::Live,
                    })
                    .await;
                }
            }
            Deed::Terminate(id) => {
                let outcome = soon(root.terminate_child(&name(id), LONG)).await;
                match find(&model, id) {
                    None => assert_eq!(outcome, Err(ChildError::NotFound)),
                    Some(index) => {
                        assert_eq!(outcome, Ok(()));
                        if RESTARTS[id % 3] == Restart::Temporary {
                            model.remove(index);
                        } else {
                            model[index].1 = false;
                        }
                    }
                }
            }
            Deed::Forget(id) => {
                let outcome = soon(root.delete_child(&name(id))).await;
                match find(&model, id).map(|index| (index, model[index].1)) {
                    None => assert_eq!(outcome, Err(ChildError::NotFound)),
                    Some((_, true)) => assert_eq!(outcome, Err(ChildError::Running)),
                    Some((index, false)) => {
                        assert_eq!(outcome, Ok(()));
                        model.remove(index);
                    }
                }
            }
            Deed::Restart(id) => {
                let outcome = soon(root.restart_child(&name(id), LONG)).await;
                match find(&model, id) {
                    None => assert!(matches!(outcome, Err(StartError::NotFound { .. })), "{outcome:?}"),
                    Some(index) if model[index].1 => {
                        assert!(matches!(outcome, Err(StartError::AlreadyStarted(_))), "{outcome:?}");
                    }
                    Some(index) => {
                        outcome.unwrap();
                        model[index].1 = true;
                        starts[id] += 1;
                    }
                }
            }
            Deed::Break(..) => {}
        }
        let children = soon(root.which_children()).await.unwrap();
        let listed: Children =
            children.iter().map(|child| (child.id[1..].parse().unwrap(), child.pid.is_some())).collect();
        assert_eq!(listed, model);
        let live = model.iter().filter(|(_, live)| *live).count();
        assert_eq!((world.alive(), world.overlaps(), namespace.names().len()), (live, 0, live + 1));
        for (id, starts) in starts.iter().enumerate() {
            assert_eq!(world.count(&format!("start {}", name(id))), *starts, "starts of {}", name(id));
        }
    }
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

fn config() -> ProptestConfig {
    // No file of failures: a failing case is printed, and becomes a test of its own.
    ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_dynamic_supervisor_is_always_where_its_reference_is(deeds in deeds(6)) {
        run(dynamic_supervisor(deeds));
    }

    #[test]
    fn a_supervisor_is_always_where_its_reference_is(
        strategy in prop_oneof![
            Just(ergane_otp::Strategy::OneForOne),
            Just(ergane_otp::Strategy::OneForAll),
            Just(ergane_otp::Strategy::RestForOne),
        ],
        deeds in deeds(6),
    ) {
        run(supervisor(strategy, deeds));
    }
}
