//! The same operations by hand, on ractor alone.

use std::time::Instant;

use ergane::ractor::{Actor, ActorRef, call_t};
use tokio::task::JoinHandle;

use super::{CALLS, Echo, EchoMsg};
use crate::Outcome;
use crate::laps::Laps;
use crate::process::Stopwatch;
use crate::shape::{Never, Parent};

type Child = (ActorRef<EchoMsg>, JoinHandle<()>);

/// A parent with children.
pub(crate) struct Bare {
    parent: ActorRef<Never>,
    kept: Child,
    spawned: Vec<Child>,
    next: usize,
}

const KEPT: &str = "bare child";

async fn spawn(name: String, parent: &ActorRef<Never>) -> Outcome<Child> {
    Ok(Actor::spawn_linked(Some(name), Echo, (), parent.get_cell()).await?)
}

impl Bare {
    pub(crate) async fn start() -> Outcome<Self> {
        let (parent, _) = Actor::spawn(None, Parent, ()).await?;
        let kept = spawn(KEPT.to_owned(), &parent).await?;
        Ok(Self { parent, kept, spawned: Vec::new(), next: 0 })
    }

    pub(crate) async fn spawn(&mut self, count: usize, laps: &mut Laps) -> Outcome<()> {
        let first = self.next;
        self.next += count;
        let names: Vec<String> = (first..self.next).map(|number| format!("bare child {number}")).collect();
        self.spawned = Vec::with_capacity(count);
        let watch = Stopwatch::start();
        for name in names {
            let start = Instant::now();
            let child = spawn(name, &self.parent).await?;
            laps.lap(start.elapsed());
            self.spawned.push(child);
        }
        laps.add_cpu(watch.cpu());
        Ok(())
    }

    pub(crate) async fn stop(&mut self, laps: &mut Laps) -> Outcome<()> {
        let watch = Stopwatch::start();
        for (child, join) in std::mem::take(&mut self.spawned) {
            let start = Instant::now();
            child.stop(None);
            join.await?;
            laps.lap(start.elapsed());
        }
        laps.add_cpu(watch.cpu());
        Ok(())
    }

    /// The kept child is killed, and has a successor.
    async fn respawn(&mut self) -> Outcome<()> {
        self.kept.0.kill();
        (&mut self.kept.1).await?;
        self.kept = spawn(KEPT.to_owned(), &self.parent).await?;
        Ok(())
    }

    pub(crate) async fn restart(&mut self, count: usize, laps: &mut Laps) -> Outcome<()> {
        let watch = Stopwatch::start();
        for _ in 0..count {
            let start = Instant::now();
            self.respawn().await?;
            laps.lap(start.elapsed());
        }
        laps.add_cpu(watch.cpu());
        Ok(())
    }

    /// The kept child is killed; the time until its successor has answered.
    pub(crate) async fn answer(&mut self, count: usize, laps: &mut Laps) -> Outcome<()> {
        let watch = Stopwatch::start();
        for _ in 0..count {
            let start = Instant::now();
            self.respawn().await?;
            call_t!(self.kept.0, EchoMsg::Ask, 60_000)?;
            laps.lap(start.elapsed());
        }
        laps.add_cpu(watch.cpu());
        Ok(())
    }

    pub(crate) async fn call(&mut self, count: usize, laps: &mut Laps) -> Outcome<()> {
        let echo = &self.kept.0;
        let watch = Stopwatch::start();
        for _ in 0..count.div_ceil(CALLS) {
            let start = Instant::now();
            for _ in 0..CALLS {
                call_t!(echo, EchoMsg::Ask, 60_000)?;
            }
            laps.lap(start.elapsed());
        }
        laps.add_cpu(watch.cpu());
        Ok(())
    }
}

/// A parent for children that are started elsewhere.
pub(crate) async fn parent() -> Outcome<ActorRef<Never>> {
    Ok(Actor::spawn(None, Parent, ()).await?.0)
}
