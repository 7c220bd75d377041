//! Every session's actor is killed at once: how long until all of them answer again?

use std::time::{Duration, Instant};

use ergane::ractor::ActorRef;
use ergane::session::{Session, SessionMsg};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::args::{CrashAllArgs, Global};
use crate::idle::one_turn_each;
use crate::kill::answers_after;
use crate::laps::{Laps, per};
use crate::otp::children::shares;
use crate::process::Stopwatch;
use crate::record::Record;
use crate::turns::house::House;

/// So many of them are asked at once.
const AT_ONCE: usize = 64;

pub(crate) async fn run(options: &CrashAllArgs, global: &Global) -> Outcome<Vec<Record>> {
    let house = House::open(options.journal, global.dir.as_deref(), 0).await?;
    let sessions = house.sessions("crashed", options.sessions).await?;
    one_turn_each(&sessions).await?;
    let mut victims: Vec<(Session, ActorRef<SessionMsg>)> = Vec::with_capacity(sessions.len());
    for session in sessions {
        let victim = session.actor_ref().ok_or("a session does not run")?;
        victims.push((session, victim));
    }

    let watch = Stopwatch::start();
    let start = Instant::now();
    victims.iter().for_each(|(_, victim)| victim.kill());
    let mut asking: JoinSet<Outcome<Vec<Duration>>> = JoinSet::new();
    for share in shares(victims.len(), AT_ONCE) {
        let share = victims.get(share).unwrap_or_default().to_vec();
        asking.spawn(async move {
            let mut answered = Vec::with_capacity(share.len());
            for (session, victim) in &share {
                answers_after(session, victim).await?;
                answered.push(start.elapsed());
            }
            Ok(answered)
        });
    }
    let mut laps = Laps::default();
    while let Some(answered) = asking.join_next().await {
        answered??.into_iter().for_each(|after| laps.lap(after));
    }
    let (seconds, cpu) = (watch.wall().as_secs_f64(), watch.cpu().as_secs_f64());
    house.close().await?;
    let record = Record::new("crash-all")
        .param("sessions", options.sessions)
        .param("journal", options.journal.as_str())
        .metric("seconds", seconds)
        .metric("p50_us", laps.p50_us())
        .metric("p99_us", laps.p99_us())
        .metric("cpu_us", per(cpu * 1e6, options.sessions));
    Ok(vec![record])
}
