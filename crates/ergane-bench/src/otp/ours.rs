//! The operations on supervised children.

use std::time::{Duration, Instant};

use ergane::otp::{
    ChildSpec, DynamicOptions, DynamicSupervisor, DynamicSupervisorRef, Incarnation, Intensity, Namespace,
    RestartBudget, Supervisor, SupervisorRef, call, call_name,
};
use ergane::ractor::{ActorId, ActorRef};

use super::{CALLS, Echo, EchoMsg};
use crate::Outcome;
use crate::laps::Laps;
use crate::process::Stopwatch;

/// A child of the dynamic supervisor.
pub(super) const DYNAMIC: &str = "dynamic child";
/// A child of the supervisor with a fixed list.
pub(super) const STATIC: &str = "static child";

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A tree with a supervisor of each kind.
pub(super) struct Ours {
    names: Namespace,
    root: SupervisorRef,
    pool: DynamicSupervisorRef,
    spawned: Vec<String>,
    next: usize,
}

pub(super) fn spec(id: &str) -> ChildSpec {
    ChildSpec::actor(id, |_context| (Echo, ()))
}

/// The window is so short that no two kills meet in it: what is measured is restarts, and not back-offs.
const WITHIN: Duration = Duration::from_nanos(1);

pub(super) async fn tree(prefix: &str) -> Outcome<(Namespace, SupervisorRef, DynamicSupervisorRef)> {
    let names = Namespace::new(prefix);
    let budget = RestartBudget { max_restarts: u32::MAX, within: WITHIN, ..RestartBudget::default() };
    let pool = DynamicSupervisor::child_spec("pool", DynamicOptions::new().budget(budget));
    let intensity = Intensity { max_restarts: u32::MAX, within: WITHIN };
    let root = Supervisor::start(&names, "root", intensity, vec![pool, spec(STATIC)], None).await?;
    let pool = DynamicSupervisorRef::new(&names, "pool");
    pool.start_child(spec(DYNAMIC), PATIENCE).await?;
    Ok((names, root, pool))
}

impl Ours {
    pub(super) async fn start() -> Outcome<Self> {
        let (names, root, pool) = tree("ours").await?;
        Ok(Self { names, root, pool, spawned: Vec::new(), next: 0 })
    }

    pub(super) async fn end(self) -> Outcome<()> {
        Ok(self.root.shutdown(PATIENCE).await?)
    }

    /// Starts children, each awaited.
    pub(super) async fn spawn(&mut self, count: usize, laps: &mut Laps) -> Outcome<()> {
        let first = self.next;
        self.next += count;
        self.spawned = (first..self.next).map(|number| format!("child {number}")).collect();
        let watch = Stopwatch::start();
        for id in &self.spawned {
            let spec = spec(id);
            let start = Instant::now();
            self.pool.start_child(spec, PATIENCE).await?;
            laps.lap(start.elapsed());
        }
        laps.add_cpu(watch.cpu());
        Ok(())
    }

    /// Ends the children of the last [`spawn`](Self::spawn), each awaited until its name is free.
    pub(super) async fn stop(&mut self, laps: &mut Laps) -> Outcome<()> {
        let watch = Stopwatch::start();
        for id in std::mem::take(&mut self.spawned) {
            let start = Instant::now();
            self.pool.terminate_child(&id, PATIENCE).await?;
            laps.lap(start.elapsed());
        }
        laps.add_cpu(watch.cpu());
        Ok(())
    }

    /// Kills a child, and waits until its successor lives.
    pub(super) async fn restart(&mut self, child: &str, count: usize, laps: &mut Laps) -> Outcome<()> {
        let mut changes = self.names.watch(child);
        let mut present = self.names.wait_for(child, PATIENCE).await?;
        let watch = Stopwatch::start();
        for _ in 0..count {
            let killed: ActorId = present.get_id();
            let start = Instant::now();
            present.kill();
            loop {
                match changes.next().await {
                    Some(Incarnation::Up { pid }) if pid != killed => break,
                    Some(Incarnation::Up { .. } | Incarnation::Down { .. }) => {}
                    other => return Err(format!("{child} did not come back: {other:?}").into()),
                }
            }
            laps.lap(start.elapsed());
            present = self.names.wait_for(child, PATIENCE).await?;
        }
        laps.add_cpu(watch.cpu());
        Ok(())
    }

    /// Calls by a reference that was looked up before.
    pub(super) async fn call_reference(&mut self, count: usize, laps: &mut Laps) -> Outcome<()> {
        let echo: ActorRef<EchoMsg> = self.names.wait_for(DYNAMIC, PATIENCE).await?.into();
        let watch = Stopwatch::start();
        for _ in 0..count.div_ceil(CALLS) {
            let start = Instant::now();
            for _ in 0..CALLS {
                call(&echo, EchoMsg::Ask, PATIENCE).await?;
            }
            laps.lap(start.elapsed());
        }
        laps.add_cpu(watch.cpu());
        Ok(())
    }

    /// Calls by name, looked up each time.
    pub(super) async fn call_name(&mut self, count: usize, laps: &mut Laps) -> Outcome<()> {
        let watch = Stopwatch::start();
        for _ in 0..count.div_ceil(CALLS) {
            let start = Instant::now();
            for _ in 0..CALLS {
                call_name(&self.names, DYNAMIC, EchoMsg::Ask, PATIENCE).await?;
            }
            laps.lap(start.elapsed());
        }
        laps.add_cpu(watch.cpu());
        Ok(())
    }
}
