//! A journal with very many sessions: what a page of their list, an opening and an append take, whichever of them it is.
//!
//! The store is filled in large commits, and then asked as programs ask it: through the port, one thing at a time, of
//! sessions that lie anywhere in it.

use std::sync::Arc;
use std::time::Instant;

use ergane::core::{Envelope, Epoch, Event, FORMAT_VERSION, Seq, SessionName, Settings, Timestamp};
use ergane::journal::{Append, Journal, Memory, Sqlite};

use crate::Outcome;
use crate::args::{Global, JournalKind, NamesArgs};
use crate::journal::{Writer, serve};
use crate::laps::Laps;
use crate::otp::ours::PATIENCE;
use crate::process::Stopwatch;
use crate::record::Record;
use crate::turns::house::Folder;

/// So many sessions are made in one commit.
const AT_ONCE: usize = 1_000;
/// So many names are on a page.
const PAGE: usize = 100;
/// What is appended to a session.
const BYTES: usize = 1_024;

pub(crate) async fn run(options: &NamesArgs, global: &Global) -> Outcome<Vec<Record>> {
    // Removed when the journal is closed, so declared before it.
    let folder = Folder::make(global.dir.as_deref())?;
    let store: Arc<dyn Journal> = match options.journal {
        JournalKind::Memory => Arc::new(Memory::new()),
        JournalKind::Sqlite => Arc::new(Sqlite::open(folder.0.join("journal.db"))?),
    };
    let watch = Stopwatch::start();
    let (filled, sessions) = (store.clone(), options.sessions);
    tokio::task::spawn_blocking(move || fill(&*filled, sessions)).await??;
    let seconds = watch.wall().as_secs_f64();

    let (root, port) = serve(store).await?;
    let (mut pages, mut opens, mut appends) = (Laps::default(), Laps::default(), Laps::default());
    for number in anywhere(options.operations, options.sessions) {
        let session = name(number)?;
        let start = Instant::now();
        let page = port.list(Some(&session), PAGE).await?;
        pages.lap(start.elapsed());
        let expected = PAGE.min(options.sessions - 1 - number);
        if page.len() != expected {
            return Err(format!("the page after {session} has {} names, not {expected}", page.len()).into());
        }
        let start = Instant::now();
        let writer = Writer::open(&port, session, BYTES).await?;
        opens.lap(start.elapsed());
        appends.absorb(writer.run(1).await?.1);
    }
    root.shutdown(PATIENCE).await?;
    let record = Record::new("names")
        .param("sessions", options.sessions)
        .param("journal", options.journal.as_str())
        .param("operations", options.operations)
        .metric("seconds", seconds)
        .metric("page_p50_us", pages.p50_us())
        .metric("page_p99_us", pages.p99_us())
        .metric("open_p50_us", opens.p50_us())
        .metric("open_p99_us", opens.p99_us())
        .metric("append_p50_us", appends.p50_us())
        .metric("append_p99_us", appends.p99_us());
    Ok(vec![record])
}

pub(crate) fn name(number: usize) -> Outcome<SessionName> {
    Ok(SessionName::new(format!("names/{number:09}"))?)
}

pub(crate) fn fill(store: &dyn Journal, sessions: usize) -> Outcome<()> {
    let settings = Arc::new(Settings::new("scripted", "a model", "/"));
    for first in (0..sessions).step_by(AT_ONCE) {
        let names =
            (first..(first + AT_ONCE).min(sessions)).map(name).collect::<Outcome<Vec<SessionName>>>()?;
        let opened = store.open_sessions(&names).into_iter().collect::<Result<Vec<_>, _>>()?;
        let appends: Vec<Append> = names
            .into_iter()
            .zip(opened)
            .map(|(name, opened)| begun(name, opened.epoch, &settings))
            .collect();
        store.append(&appends).into_iter().collect::<Result<(), _>>()?;
    }
    Ok(())
}

fn begun(session: SessionName, epoch: Epoch, settings: &Arc<Settings>) -> Append {
    let event = Event::SessionStarted { settings: settings.clone(), id: None };
    let envelope = Envelope { v: FORMAT_VERSION, seq: Seq(1), epoch, at: Timestamp(0), event };
    Append { session, epoch, expected: Seq(1), events: vec![Arc::new(envelope)] }
}

/// So many of the numbers below `below`, one here and one there.
fn anywhere(count: usize, below: usize) -> impl Iterator<Item = usize> {
    // A step by the golden ratio lands in the widest gap each time.
    let step = (below as f64 * 0.618_033_988_75) as usize;
    (0..count).scan(0, move |at, _| {
        *at = (*at + step.max(1)) % below;
        Some(*at)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_asked_lies_anywhere() {
        assert!(anywhere(50, 7).all(|number| number < 7));
        assert_eq!(anywhere(3, 1).collect::<Vec<_>>(), [0, 0, 0]);
        let tenths: BTreeSet<_> = anywhere(100, 1_000_000).map(|number| number / 100_000).collect();
        assert_eq!(tenths.len(), 10);
    }
}
