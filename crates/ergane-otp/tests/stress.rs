//! A three-level tree of 1,000 actors that is shot at from all sides, and what is left of it: all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use ergane_otp::*;
use ractor::ActorCell;

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

/// Counts something as long as it is alive.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn strategy(n: usize) -> Strategy {
    [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne][n % 3]
}

/// A worker with a task in its scope, so that there is something to be leaked.
fn worker(world: &Arc<World>, tasks: &Arc<AtomicUsize>, name: String) -> ChildSpec {
    let (world, tasks) = (world.clone(), tasks.clone());
    ChildSpec::actor(name, move |context| {
        let task = Counted::new(&tasks);
        context.scope.spawn("task of a worker", async move {
            let _task = task;
            std::future::pending().await
        });
        (Probe, (world.clone(), context))
    })
}

/// Ends an actor in one of several ways. A supervisor is only killed or stopped.
fn shoot(cell: &ActorCell, worker: bool, how: usize) {
    match how {
        1 => cell.stop(None),
        2 | 3 if worker => {
            let order: Order = if how == 2 {
                Box::new(|_, _| Box::pin(async { Err("told to fail".into()) }))
            } else {
                Box::new(|_, _| Box::pin(async { panic!("told to panic") }))
            };
            // One that is dead already cannot be shot.
            cell.send_message(Msg::Do(order)).ok();
        }
        _ => cell.kill(),
    }
}

fn count(node: &TreeNode) -> usize {
    usize::from(node.status == EntryStatus::Live && node.pid.is_some())
        + node.children.iter().map(count).sum::<usize>()
}

async fn storm(seed: u64, shots: usize) {
    println!("seed {seed}; OTP_STRESS_SEED={seed} repeats it");
    let mut dice = Dice(seed);
    let (namespace, world, tasks) = (namespace(), World::new(), Arc::new(AtomicUsize::new(0)));
    let (mut workers, mut leaves, mut middles) = (Vec::new(), Vec::new(), Vec::new());
    let mut root = Supervisor::builder().intensity(plenty());
    for m in 0..9 {
        let mut middle = Supervisor::builder().intensity(plenty()).strategy(strategy(m));
        for l in 0..10 {
            let mut leaf = Supervisor::builder().intensity(plenty()).strategy(strategy(m + l));
            for w in 0..10 {
                let name = format!("w{m}.{l}.{w}");
                leaf = leaf.child(worker(&world, &tasks, name.clone()));
                workers.push(name);
            }
            leaves.push(format!("l{m}.{l}"));
            middle = middle.child(leaf.child_spec(format!("l{m}.{l}")));
        }
        middles.push(format!("m{m}"));
        root = root.child(middle.child_spec(format!("m{m}")));
    }
    let root = soon(root.start(&namespace, "root")).await.unwrap();
    assert_eq!(namespace.names().len(), 1_000);
    assert_eq!((world.alive(), tasks.load(Ordering::SeqCst)), (900, 900));

    let mut hit = Vec::new();
    for shot in 0..shots {
        let (names, is_worker) = match dice.roll(100) {
            0..3 => (&middles, false),
            3..15 => (&leaves, false),
            _ => (&workers, true),
        };
        let name = &names[dice.roll(names.len())];
        if let Some(cell) = namespace.whereis(name) {
            hit.push(Monitor::of(&cell));
            shoot(&cell, is_worker, dice.roll(6));
        }
        // Bursts of several lengths: now and then all are given the time to come back.
        match dice.roll(20) {
            0 => {
                // Nobody holds the name while the supervisor above is between two incarnations.
                let name = &workers[dice.roll(workers.len())];
                soon(namespace.wait_for_owner(name, LONG)).await.unwrap();
            }
            1..8 => tokio::task::yield_now().await,
            _ => {}
        }
        assert_eq!(world.overlaps(), 0, "two incarnations of a name at once, after shot {shot}");
    }
    for monitor in hit {
        soon(monitor).await;
    }

    // Every permanent child is alive.
    let deadline = std::time::Instant::now() + LONG * 2;
    loop {
        let alive = soon(tree(&root.cell(), LONG)).await.map_or(0, |tree| count(&tree));
        if alive == 1_000 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{alive} of 1000 are alive");
        tokio::task::yield_now().await;
    }
    // Every name is right: it is held once, by an actor that goes by it and answers to it.
    let names = namespace.names();
    assert_eq!(names.len(), 1_000);
    assert!(names.iter().all(|(_, status)| *status == EntryStatus::Live));
    for name in workers.iter().chain(&leaves).chain(&middles) {
        let cell = namespace.whereis(name).unwrap();
        assert_eq!(cell.get_name(), Some(namespace.full_name(name)));
    }
    for name in &workers {
        let (tell, told) = tokio::sync::oneshot::channel();
        order(&namespace.whereis(name).unwrap(), move |_, context| async move {
            tell.send(context.name).unwrap();
            Ok(())
        });
        assert_eq!(soon(told).await.unwrap(), *name);
    }
    // No two at a time, and nothing is left of the former ones.
    assert_eq!((world.overlaps(), world.alive(), tasks.load(Ordering::SeqCst)), (0, 900, 900));
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.overlaps(), world.alive(), tasks.load(Ordering::SeqCst)), (0, 0, 0));
    assert_eq!(namespace.names(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tree_of_a_thousand_actors_shot_at_on_every_level_comes_back_whole_and_leaks_nothing() {
    let seed = std::env::var("OTP_STRESS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_240_229);
    storm(seed, 1_000).await;
}

/// Everybody orders and shoots at once. Whoever asks is answered, and what all agree on in the end is so.
async fn crowd(seed: u64, strategy: Strategy) {
    println!("seed {seed}, {strategy:?}; OTP_STRESS_SEED={seed} repeats it, as far as threads do");
    let (namespace, world, tasks) = (namespace(), World::new(), Arc::new(AtomicUsize::new(0)));
    let builder = Supervisor::builder().intensity(plenty()).strategy(strategy);
    let root = soon(builder.start(&namespace, "root")).await.unwrap();
    let mut crowd = tokio::task::JoinSet::new();
    for one in 0..6 {
        let (namespace, world, tasks, root) = (namespace.clone(), world.clone(), tasks.clone(), root.clone());
        let mut dice = Dice(seed.wrapping_add(one));
        crowd.spawn(async move {
            for _ in 0..60 {
                let name = format!("c{}", dice.roll(5));
                match dice.roll(6) {
                    0 | 1 => {
                        let restart =
                            [Restart::Permanent, Restart::Transient, Restart::Temporary][dice.roll(3)];
                        let spec = worker(&world, &tasks, name).restart(restart);
                        match root.start_child(spec, LONG).await {
                            Ok(_)
                            | Err(
                                StartError::AlreadyStarted(_)
                                | StartError::AlreadyPresent { .. }
                                | StartError::Cancelled,
                            ) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                    2 => match root.terminate_child(&name, LONG).await {
                        Ok(()) | Err(ChildError::NotFound) => {}
                        Err(other) => panic!("{other}"),
                    },
                    3 => match root.restart_child(&name, LONG).await {
                        Ok(_)
                        | Err(
                            StartError::AlreadyStarted(_)
                            | StartError::NotFound { .. }
                            | StartError::Restarting { .. }
                            | StartError::Cancelled,
                        ) => {}
                        Err(other) => panic!("{other}"),
                    },
                    4 => match root.delete_child(&name).await {
                        Ok(()) | Err(ChildError::NotFound | ChildError::Running | ChildError::Restarting) => {
                        }
                        Err(other) => panic!("{other}"),
                    },
                    _ => {
                        if let Some(cell) = namespace.whereis(&name) {
                            shoot(&cell, true, dice.roll(6));
                        }
                    }
                }
            }
        });
    }
    while let Some(one) = soon(crowd.join_next()).await {
        one.unwrap();
    }
    assert_eq!(world.overlaps(), 0);
    // A shot may still have to take effect, and brings all back in a round; so asked until it is so.
    while soon(root.count_children()).await.unwrap().specs > 0 {
        for n in 0..5 {
            let name = format!("c{n}");
            let ended = soon(root.terminate_child(&name, LONG)).await;
            assert!(matches!(ended, Ok(()) | Err(ChildError::NotFound)), "{ended:?}");
            soon(root.delete_child(&name)).await.ok();
        }
    }
    assert_eq!((world.overlaps(), world.alive(), tasks.load(Ordering::SeqCst)), (0, 0, 0));
    assert_eq!(namespace.names().len(), 1, "the root's own");
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn commands_and_crashes_of_a_crowd_at_once_are_all_answered_and_leak_nothing() {
    let seed = std::env::var("OTP_STRESS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_986);
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne] {
        crowd(seed, strategy).await;
    }
}
