//! The trap of ractor that is measured in memory, in a process of its own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};

struct Idle;

impl Actor for Idle {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("within a minute")
}

/// The resident memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn t14_a_held_reference_to_a_dead_actor_pins_kilobytes() {
    const ACTORS: usize = 4_000;
    /// Half of what was seen. No other test runs in this process, so nothing else moves its memory.
    const MUCH: usize = ACTORS * 2_500;
    async fn dead() -> ActorCell {
        let (actor, join) = Actor::spawn(None, Idle, ()).await.unwrap();
        actor.stop(None);
        soon(join).await.unwrap();
        actor.get_cell()
    }
    // What the first ones need for good is not to be counted.
    for _ in 0..ACTORS {
        drop(dead().await);
    }
    let before = resident();
    for _ in 0..ACTORS {
        drop(dead().await);
    }
    let dropped = resident().saturating_sub(before);
    let before = resident();
    let mut held = Vec::with_capacity(ACTORS);
    for _ in 0..ACTORS {
        held.push(dead().await);
    }
    let pinned = resident().saturating_sub(before);
    assert!(dropped < MUCH, "{dropped} bytes stayed of {ACTORS} actors that nobody held");
    assert!(pinned > MUCH, "only {pinned} bytes are pinned by {ACTORS} references");
    drop(held);
}
