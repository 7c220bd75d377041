//! Whole turns: what a user sends, a model answers, tools do, and the journal keeps.

pub(crate) mod floor;
pub(crate) mod house;
pub(crate) mod model;

use std::time::{Duration, Instant};

use ergane::core::{Durability, FinishReason, Seq};
use ergane::session::Session;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::args::{Global, JournalKind, TurnKind, TurnsArgs};
use crate::laps::{Laps, per};
use crate::process::{Stopwatch, written};
use crate::record::Record;
use crate::turns::house::House;

/// What a number of turns took.
pub(crate) struct Run {
    laps: Laps,
    wall: Duration,
    turns: usize,
}

impl Run {
    pub(crate) fn turns_per_s(&self) -> f64 {
        self.turns as f64 / self.wall.as_secs_f64()
    }

    pub(crate) fn p50_us(&self) -> f64 {
        self.laps.p50_us()
    }

    pub(crate) fn p99_us(&self) -> f64 {
        self.laps.p99_us()
    }

    pub(crate) fn cpu_us(&self) -> f64 {
        self.laps.cpu_us(1)
    }
}

pub(crate) async fn run(options: &TurnsArgs, global: &Global) -> Outcome<Vec<Record>> {
    let house = House::open(options.journal, global.dir.as_deref(), options.latency_ms).await?;
    let sessions = house.sessions("turns", options.sessions).await?;
    let history = options.history.div_ceil(2);
    // One turn at least, so that nothing is done for the first time while it is measured.
    all_at_once(&sessions, TurnKind::Text, history.max(1)).await?;

    let begin = house.mark(sessions.first()).await?;
    let disk = written()?;
    let run = all_at_once(&sessions, options.turn, options.turns).await?;
    let disk = written()?.saturating_sub(disk);
    let end = house.mark(sessions.first()).await?;

    let mut record = Record::new("turns")
        .param("turn", options.turn.as_str())
        .param("sessions", options.sessions)
        .param("turns", options.turns)
        .param("journal", options.journal.as_str())
        .param("latency_ms", options.latency_ms)
        .param("history", options.history)
        .metric("turns_per_s", run.turns_per_s())
        .metric("p50_us", run.laps.p50_us())
        .metric("p99_us", run.laps.p99_us())
        .metric("cpu_us_per_turn", run.cpu_us());
    if options.journal == JournalKind::Sqlite {
        let bytes = match sessions.first() {
            Some(session) => house.bytes(session, begin.at, end.at).await?,
            None => 0,
        };
        record = record
            .metric("commits_per_turn", per((end.commits - begin.commits) as f64, run.turns))
            .metric("bytes_per_turn", per(bytes as f64, options.turns))
            .metric("disk_bytes_per_turn", per(disk as f64, run.turns));
    }
    house.close().await?;
    if options.floor {
        let bare = floor::run(options).await?;
        record = record
            .metric("floor_turns_per_s", bare.turns_per_s())
            .metric("floor_p50_us", bare.laps.p50_us())
            .metric("floor_cpu_us_per_turn", bare.cpu_us())
            .ratio("ratio", run.laps.p50_us(), bare.laps.p50_us())
            .ratio("cpu_ratio", run.cpu_us(), bare.cpu_us());
    }
    Ok(vec![record])
}

/// Every session runs so many turns, one after the other; the sessions beside each other.
pub(crate) async fn all_at_once(sessions: &[Session], kind: TurnKind, turns: usize) -> Outcome<Run> {
    let mut running: JoinSet<Outcome<Laps>> = JoinSet::new();
    let watch = Stopwatch::start();
    for session in sessions {
        let session = session.clone();
        running.spawn(async move {
            let mut laps = Laps::default();
            for _ in 0..turns {
                laps.lap(turn(&session, kind).await?);
            }
            Ok(laps)
        });
    }
    collect(running, watch, sessions.len() * turns).await
}

pub(crate) async fn collect(
    mut running: JoinSet<Outcome<Laps>>,
    watch: Stopwatch,
    turns: usize,
) -> Outcome<Run> {
    let mut laps = Laps::default();
    while let Some(outcome) = running.join_next().await {
        laps.absorb(outcome??);
    }
    let wall = watch.wall();
    laps.add_cpu(watch.cpu());
    Ok(Run { laps, wall, turns })
}

/// One turn. One that does not do what it should is no turn to be measured.
pub(crate) async fn turn(session: &Session, kind: TurnKind) -> Outcome<Duration> {
    let start = Instant::now();
    let result = session.send_message(model::question(kind)).await?;
    let took = start.elapsed();
    if result.finish_reason != FinishReason::Stop || result.tool_calls_made != kind.tools() {
        let (finish, calls) = (result.finish_reason, result.tool_calls_made);
        return Err(format!("a turn ended {finish} after {calls} tool calls: {:?}", result.error).into());
    }
    Ok(took)
}

/// Where a session and its store stand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mark {
    at: Seq,
    commits: u64,
}

impl House {
    async fn mark(&self, session: Option<&Session>) -> Outcome<Mark> {
        let Some(session) = session else { return Ok(Mark::default()) };
        let position = self.system.context().journal(Durability::Strict).position(session.name()).await?;
        let at = position.ok_or("a session is not stored")?.next_seq;
        Ok(Mark { at, commits: self.store.as_ref().map_or(0, |store| store.commits()) })
    }

    /// The bytes of the session's facts from `from` to before `to`, as JSON.
    async fn bytes(&self, session: &Session, from: Seq, to: Seq) -> Outcome<usize> {
        let port = self.system.context().journal(Durability::Strict);
        let facts = port.load(session.name(), Seq(from.0.saturating_sub(1)), to).await?;
        let mut bytes = 0;
        for fact in facts {
            bytes += serde_json::to_vec(&fact)?.len();
        }
        Ok(bytes)
    }
}
