//! Memory of sessions that do nothing: live ones after a turn each, and then stopped ones, which are only stored.
//!
//! An allocator gives little back to the system, so what stopped sessions have left behind is not seen by looking. It is
//! seen by starting as many others: if nothing was left, these need no more memory than the first.

use std::ffi::OsString;

use ergane::session::Session;
use tokio::task::JoinSet;

use crate::args::{Global, IdleArgs, TurnKind};
use crate::laps::per;
use crate::otp::children::{finish, shares};
use crate::process::{Stopwatch, resident};
use crate::record::Record;
use crate::turns::house::House;
use crate::turns::{self, turn};
use crate::{Outcome, again};

/// So many sessions have a turn at once, or are stopped at once.
const AT_ONCE: usize = 64;

pub(crate) async fn run(options: &IdleArgs, global: &Global) -> Outcome<Vec<Record>> {
    if options.bare {
        return bare(options.sessions).await;
    }
    // First, and beside nothing of ours: what one has used is not there for the other.
    let floor = if options.floor { Some(floor(options.sessions)?) } else { None };
    let house = House::open(options.journal, global.dir.as_deref(), 0).await?;
    // The first one pays for everything that is made once.
    let first = house.sessions("first", 1).await?;
    one_turn_each(&first).await?;

    let before = resident()?;
    let watch = Stopwatch::start();
    let sessions = house.sessions("idle", options.sessions).await?;
    let started = watch.wall().as_secs_f64();
    one_turn_each(&sessions).await?;
    let live = resident()?;

    stop_all(sessions).await?;
    let others = house.sessions("other", options.sessions).await?;
    one_turn_each(&others).await?;
    let after = resident()?;
    house.close().await?;

    let bytes = per(live.saturating_sub(before) as f64, options.sessions);
    let mut record = Record::new("idle")
        .param("sessions", options.sessions)
        .param("journal", options.journal.as_str())
        .metric("seconds", started)
        .metric("spawns_per_s", options.sessions as f64 / started)
        .metric("rss_bytes", live as f64)
        .metric("bytes_per_session", bytes)
        .metric("passivated_bytes_per_session", per(after.saturating_sub(live) as f64, options.sessions));
    if let Some((floor_bytes, floor_seconds)) = floor {
        record = record
            .metric("floor_bytes_per_session", floor_bytes)
            .metric("floor_seconds", floor_seconds)
            .ratio("ratio", bytes, floor_bytes);
    }
    Ok(vec![record])
}

/// Sessions of bare ractor.
async fn bare(sessions: usize) -> Outcome<Vec<Record>> {
    turns::floor::idle("first", 1).await?;
    let before = resident()?;
    let seconds = turns::floor::idle("bare", sessions).await?;
    let bytes = resident()?.saturating_sub(before) as f64;
    let record = Record::new("idle")
        .param("sessions", sessions)
        .metric("seconds", seconds)
        .metric("bytes_per_session", per(bytes, sessions));
    Ok(vec![record])
}

/// The bytes of one of so many of them, and the seconds of their start, in a process of their own.
fn floor(sessions: usize) -> Outcome<(f64, f64)> {
    let args = ["idle", "--bare", "--sessions", &sessions.to_string()].map(OsString::from);
    let record = again::run(&args)?.pop().ok_or("nothing was measured")?;
    let metric = |name: &str| record.metrics.get(name).copied().ok_or(format!("{name} is missing"));
    Ok((metric("bytes_per_session")?, metric("seconds")?))
}

pub(crate) async fn one_turn_each(sessions: &[Session]) -> Outcome<()> {
    let mut running: JoinSet<Outcome<()>> = JoinSet::new();
    for share in shares(sessions.len(), AT_ONCE) {
        let share: Vec<Session> = sessions.get(share).unwrap_or_default().to_vec();
        running.spawn(async move {
            for session in &share {
                turn(session, TurnKind::Text).await?;
            }
            Ok(())
        });
    }
    finish(running).await
}

async fn stop_all(sessions: Vec<Session>) -> Outcome<()> {
    let mut running: JoinSet<Outcome<()>> = JoinSet::new();
    for share in shares(sessions.len(), AT_ONCE) {
        let share: Vec<Session> = sessions.get(share).unwrap_or_default().to_vec();
        running.spawn(async move {
            for session in share {
                session.stop().await?;
            }
            Ok(())
        });
    }
    finish(running).await
}
