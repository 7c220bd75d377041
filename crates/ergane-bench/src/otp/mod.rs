//! The floor that everything stands on, beside bare ractor.
//!
//! Ours and bare are measured in turns, block by block, so that a noisy neighbour disturbs both. Bare does what a careful
//! user of ractor does by hand: it spawns linked, under a name, keeps the join handle, and awaits it before it spawns
//! the successor.

pub(crate) mod bare;
pub(crate) mod children;
pub(crate) mod ours;

use std::ffi::OsString;

use ergane::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use crate::args::OtpArgs;
use crate::laps::Laps;
use crate::otp::bare::Bare;
use crate::otp::ours::Ours;
use crate::record::Record;
use crate::{Outcome, again};

/// Into so many blocks the repetitions are cut.
const BLOCKS: usize = 20;
/// A call takes less than a microsecond, so so many are timed together.
const CALLS: usize = 50;

/// An actor that answers, and otherwise does nothing.
#[derive(Debug)]
struct Echo;

#[derive(Debug)]
enum EchoMsg {
    Ask(RpcReplyPort<u64>),
}

impl Actor for Echo {
    type Msg = EchoMsg;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<EchoMsg>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<EchoMsg>,
        EchoMsg::Ask(reply): EchoMsg,
        asked: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        *asked += 1;
        // A caller that gave up is no reason to fail.
        reply.send(*asked).ok();
        Ok(())
    }

    /// It has no children.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<EchoMsg>,
        _: SupervisionEvent,
        _: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// What is measured, with the floor it stands beside.
#[derive(Default)]
struct Results {
    spawn: Pair,
    stop: Pair,
    restart_dynamic: Pair,
    restart_static: Pair,
    call_reference: Pair,
    call_name: Pair,
}

#[derive(Default)]
struct Pair {
    ours: Laps,
    bare: Laps,
}

impl Pair {
    fn record(&self, what: &str, each: usize) -> Record {
        let record = Record::new("otp")
            .param("what", what)
            .metric("p50_us", self.ours.p50_us() / each as f64)
            .metric("p99_us", self.ours.p99_us() / each as f64)
            .metric("cpu_us", self.ours.cpu_us(each));
        if self.bare.p50_us() == 0.0 {
            return record;
        }
        record
            .metric("floor_p50_us", self.bare.p50_us() / each as f64)
            .metric("floor_cpu_us", self.bare.cpu_us(each))
            .ratio("ratio", self.ours.p50_us(), self.bare.p50_us())
            .ratio("cpu_ratio", self.ours.cpu_us(each), self.bare.cpu_us(each))
    }
}

pub(crate) async fn run(options: &OtpArgs) -> Outcome<Vec<Record>> {
    let mut ours = Ours::start().await?;
    let mut bare = if options.floor { Some(Bare::start().await?) } else { None };
    // One block that does not count: first uses are slow.
    blocks(&mut Results::default(), &mut ours, bare.as_mut(), 10).await?;
    let mut results = Results::default();
    let size = options.operations.div_ceil(BLOCKS).max(1);
    for _ in 0..BLOCKS {
        blocks(&mut results, &mut ours, bare.as_mut(), size).await?;
    }
    ours.end().await?;
    let mut records = vec![
        results.spawn.record("spawn", 1),
        results.stop.record("stop", 1),
        results.restart_dynamic.record("restart, dynamic supervisor", 1),
        results.restart_static.record("restart, supervisor", 1),
        results.call_reference.record("call by reference", CALLS),
        results.call_name.record("call by name", CALLS),
    ];
    records.push(many(options)?);
    Ok(records)
}

/// One block of everything. Where two of ours stand beside the same floor, it is measured for each.
async fn blocks(
    results: &mut Results,
    ours: &mut Ours,
    mut bare: Option<&mut Bare>,
    size: usize,
) -> Outcome<()> {
    ours.spawn(size, &mut results.spawn.ours).await?;
    ours.stop(&mut results.stop.ours).await?;
    if let Some(bare) = bare.as_deref_mut() {
        bare.spawn(size, &mut results.spawn.bare).await?;
        bare.stop(&mut results.stop.bare).await?;
    }
    for (pair, child) in
        [(&mut results.restart_dynamic, ours::DYNAMIC), (&mut results.restart_static, ours::STATIC)]
    {
        ours.restart(child, size, &mut pair.ours).await?;
        if let Some(bare) = bare.as_deref_mut() {
            bare.restart(size, &mut pair.bare).await?;
        }
    }
    ours.call_reference(size, &mut results.call_reference.ours).await?;
    if let Some(bare) = bare.as_deref_mut() {
        bare.call(size, &mut results.call_reference.bare).await?;
    }
    ours.call_name(size, &mut results.call_name.ours).await?;
    if let Some(bare) = bare {
        bare.call(size, &mut results.call_name.bare).await?;
    }
    Ok(())
}

/// Many idle children: each side in a process of its own, for the memory's sake.
fn many(options: &OtpArgs) -> Outcome<Record> {
    let count = options.children.to_string();
    let args = |bare: &[&str]| -> Vec<OsString> {
        ["children", "--count", &count].iter().chain(bare).map(OsString::from).collect()
    };
    let read = |args: &[OsString]| -> Outcome<(f64, f64, f64)> {
        let record = again::run(args)?.pop().ok_or("nothing was measured")?;
        let metric = |name: &str| record.metrics.get(name).copied().ok_or(format!("{name} is missing"));
        Ok((metric("seconds")?, metric("bytes_per_child")?, metric("cpu_us")?))
    };
    let (seconds, bytes, cpu) = read(&args(&[]))?;
    let record = Record::new("otp")
        .param("what", format!("{count} children"))
        .metric("seconds", seconds)
        .metric("bytes_per_child", bytes)
        .metric("cpu_us", cpu);
    if !options.floor {
        return Ok(record);
    }
    let (floor_seconds, floor_bytes, floor_cpu) = read(&args(&["--bare"]))?;
    Ok(record
        .metric("floor_seconds", floor_seconds)
        .metric("floor_bytes_per_child", floor_bytes)
        .metric("floor_cpu_us", floor_cpu)
        .ratio("ratio", seconds, floor_seconds)
        .ratio("cpu_ratio", cpu, floor_cpu))
}
