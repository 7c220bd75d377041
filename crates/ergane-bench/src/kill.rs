//! A session's actor is killed: how long until its successor, its log loaded, answers?
//!
//! Measured in two ways. From inside: its name is watched, and the new incarnation asked as soon as it is up. It answers
//! a question for its settings only when its log is loaded, and then one for its status. And from outside, as a user
//! would: asked through the handle, which finds out by itself that the former incarnation is gone.

use std::time::{Duration, Instant};

use ergane::otp::{Incarnation, Watch, call};
use ergane::ractor::ActorRef;
use ergane::session::{Activity, Session, SessionMsg};

use crate::Outcome;
use crate::args::{Global, KillArgs, TurnKind};
use crate::laps::Laps;
use crate::otp::bare::Bare;
use crate::process::Stopwatch;
use crate::record::Record;
use crate::turns::house::House;
use crate::turns::turn;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(options: &KillArgs, global: &Global) -> Outcome<Vec<Record>> {
    let house = House::open(options.journal, global.dir.as_deref(), 0).await?;
    let sessions = house.sessions("killed", 1).await?;
    let session = sessions.first().ok_or("no session was started")?;
    for _ in 0..options.history.div_ceil(2) {
        turn(session, TurnKind::Text).await?;
    }
    let mut watch = session.watch();
    let mut inside = Laps::default();
    let stopwatch = Stopwatch::start();
    for _ in 0..options.kills {
        inside.lap(from_inside(session, &mut watch).await?);
    }
    inside.add_cpu(stopwatch.cpu());
    drop(watch);
    let mut outside = Laps::default();
    for _ in 0..options.kills {
        outside.lap(from_outside(session).await?);
    }
    house.close().await?;
    let mut record = Record::new("kill")
        .param("kills", options.kills)
        .param("journal", options.journal.as_str())
        .param("history", options.history)
        .metric("p50_us", inside.p50_us())
        .metric("p99_us", inside.p99_us())
        .metric("cpu_us", inside.cpu_us(1))
        .metric("handle_p50_us", outside.p50_us());
    if options.floor {
        let mut bare = Laps::default();
        Bare::start().await?.answer(options.kills, &mut bare).await?;
        record = record
            .metric("floor_p50_us", bare.p50_us())
            .metric("floor_cpu_us", bare.cpu_us(1))
            .ratio("ratio", inside.p50_us(), bare.p50_us())
            .ratio("cpu_ratio", inside.cpu_us(1), bare.cpu_us(1));
    }
    Ok(vec![record])
}

async fn from_inside(session: &Session, changes: &mut Watch) -> Outcome<Duration> {
    let victim = session.actor_ref().ok_or("the session does not run")?;
    let killed = victim.get_id();
    let start = Instant::now();
    victim.kill();
    let successor: ActorRef<SessionMsg> = loop {
        match changes.next().await {
            Some(Incarnation::Up { pid }) if pid != killed => {
                break session.actor_ref().ok_or("the session died again")?;
            }
            Some(Incarnation::Up { .. } | Incarnation::Down { .. }) => {}
            other => return Err(format!("the session did not come back: {other:?}").into()),
        }
    };
    call(&successor, SessionMsg::Settings, PATIENCE).await??;
    let status = call(&successor, SessionMsg::Status, PATIENCE).await?;
    let took = start.elapsed();
    if status.activity != Activity::Idle {
        return Err(format!("the session came back as {:?}", status.activity).into());
    }
    Ok(took)
}

async fn from_outside(session: &Session) -> Outcome<Duration> {
    let victim = session.actor_ref().ok_or("the session does not run")?;
    let start = Instant::now();
    victim.kill();
    answers_after(session, &victim).await?;
    Ok(start.elapsed())
}

/// Returns when a successor of `victim`, its log loaded, has answered.
pub(crate) async fn answers_after(session: &Session, victim: &ActorRef<SessionMsg>) -> Outcome<()> {
    loop {
        session.settings().await?;
        session.status().await?;
        // A kill is a message too: the victim may have answered before it got it.
        if session.actor_ref().is_some_and(|present| present.get_id() != victim.get_id()) {
            return Ok(());
        }
    }
}
