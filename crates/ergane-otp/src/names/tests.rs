use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;
use proptest::strategy::Strategy as Draw;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::*;
use crate::exit::ExitReason;

struct Idle;

impl Actor for Idle {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Claim(usize),
    Begin(usize),
    Live(usize),
    Down(usize),
    Backoff(usize),
    Quarantine(usize),
    Stuck(usize),
    Release(usize),
}

fn deeds() -> impl Draw<Value = Vec<Deed>> {
    let id = 0..3_usize;
    prop::collection::vec(
        prop_oneof![
            3 => id.clone().prop_map(Deed::Claim),
            2 => id.clone().prop_map(Deed::Begin),
            3 => id.clone().prop_map(Deed::Live),
            2 => id.clone().prop_map(Deed::Down),
            1 => id.clone().prop_map(Deed::Backoff),
            1 => id.clone().prop_map(Deed::Quarantine),
            1 => id.clone().prop_map(Deed::Stuck),
            2 => id.prop_map(Deed::Release),
        ],
        1..80,
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Model {
    /// Claimed, or between two incarnations of which none was begun.
    Claimed,
    /// An incarnation is being started.
    Begun,
    Live,
    /// Its incarnation has ended.
    Down,
    Backoff,
    Quarantined,
    Stuck,
}

/// What is told within this moment, without waiting.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

async fn registry(deeds: Vec<Deed>) {
    let namespace = Namespace::new("model");
    let (actor, join) = Actor::spawn(None, Idle, ()).await.unwrap();
    let (cell, pid) = (actor.get_cell(), actor.get_id());
    let until = Instant::now() + Duration::from_secs(60);
    let names: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).into();
    let mut claims: BTreeMap<usize, Claim> = BTreeMap::new();
    let mut model: BTreeMap<usize, Model> = BTreeMap::new();
    let mut watches: Vec<Watch> = names.iter().map(|name| namespace.watch(name)).collect();
    for watch in &mut watches {
        assert_eq!(at_once(watch.next()), Some(Some(Incarnation::Gone)));
    }
    for deed in deeds {
        let mut told: Vec<(usize, Incarnation)> = Vec::new();
        let down = |id, reason| (id, Incarnation::Down { pid, reason });
        match deed {
            Deed::Claim(id) => match namespace.try_claim(&names[id], None) {
                Ok(claim) => {
                    assert_eq!(model.insert(id, Model::Claimed), None, "a name is claimed once");
                    claims.insert(id, claim);
                }
                Err(_) => assert!(model.contains_key(&id), "a free name is given"),
            },
            Deed::Begin(id) => {
                // An incarnation begins when the former one was concluded.
                let Some(claim) = claims.get(&id) else { continue };
                if matches!(model[&id], Model::Live | Model::Begun) {
                    continue;
                }
                claim.begin();
                model.insert(id, Model::Begun);
            }
            Deed::Live(id) => {
                if model.get(&id) != Some(&Model::Begun) {
                    continue;
                }
                claims[&id].live(cell.clone());
                model.insert(id, Model::Live);
                told.push((id, Incarnation::Up { pid }));
            }
            Deed::Down(id) => {
                let Some(before) = model.get(&id).copied() else { continue };
                claims[&id].entry().down(Some(pid), ExitReason::Killed);
                // Told once, and only of an incarnation that was told as having come up.
                if before == Model::Live {
                    model.insert(id, Model::Down);
                    told.push(down(id, ExitReason::Killed));
                }
            }
            Deed::Backoff(id) | Deed::Quarantine(id) | Deed::Stuck(id) => {
                if model.get(&id) != Some(&Model::Down) {
                    continue;
                }
                let claim = &claims[&id];
                let next = match deed {
                    Deed::Backoff(_) => {
                        claim.backoff(until);
                        Model::Backoff
                    }
                    Deed::Quarantine(_) => {
                        claim.quarantine("why".into());
                        told.push((id, Incarnation::Quarantined { reason: "why".into() }));
                        Model::Quarantined
                    }
                    _ => {
                        claim.stuck("why".into());
                        Model::Stuck
                    }
                };
                model.insert(id, next);
            }
            Deed::Release(id) => {
                let Some(before) = model.remove(&id) else { continue };
                drop(claims.remove(&id));
                if before == Model::Live {
                    told.push(down(id, ExitReason::Killed));
                }
                told.push((id, Incarnation::Gone));
            }
        }
        for (id, name) in names.iter().enumerate() {
            let status = match model.get(&id) {
                None => None,
                Some(Model::Claimed | Model::Begun) => Some(EntryStatus::Starting),
                Some(Model::Live) => Some(EntryStatus::Live),
                Some(Model::Down) => Some(EntryStatus::Stopping),
                Some(Model::Backoff) => Some(EntryStatus::Backoff { until }),
                Some(Model::Quarantined) => Some(EntryStatus::Quarantined { reason: "why".into() }),
                Some(Model::Stuck) => Some(EntryStatus::Stuck { reason: "why".into() }),
            };
            assert_eq!(namespace.status(name), status);
            let live = model.get(&id) == Some(&Model::Live);
            assert_eq!(namespace.whereis(name), live.then(|| cell.clone()));
            // A wait ends at once with the living one or, if nobody will come by himself, with nobody.
            let waited = match model.get(&id) {
                Some(Model::Live) => Some(Some(cell.clone())),
                None | Some(Model::Quarantined | Model::Stuck) => Some(None),
                Some(_) => None,
            };
            assert_eq!(at_once(namespace.wait(name)), waited);
            // A monitor tells of nobody at once, and of the one that is being born, lives or is not settled not yet.
            let present = matches!(model.get(&id), Some(Model::Begun | Model::Live));
            assert_eq!(at_once(namespace.monitor(name)).is_none(), present);
            for (_, event) in told.iter().filter(|(other, _)| *other == id) {
                assert_eq!(at_once(watches[id].next()), Some(Some(event.clone())));
            }
            assert_eq!(at_once(watches[id].next()), None, "and nothing else is told");
        }
        let listed: Vec<String> = namespace.names().into_iter().map(|(name, _)| name).collect();
        let expected: Vec<String> = model.keys().map(|&id| names[id].to_string()).collect();
        assert_eq!(listed, expected);
    }
    drop(claims);
    assert_eq!(namespace.names(), []);
    actor.stop(None);
    join.await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_registry_of_names_is_always_where_its_reference_is(deeds in deeds()) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(registry(deeds));
    }
}
