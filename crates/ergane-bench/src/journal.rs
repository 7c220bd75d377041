//! Appends through the journal as sessions make them: one outstanding each, grouped by the port, synced by SQLite.

use std::sync::Arc;
use std::time::Instant;

use ergane::core::{Envelope, Event, FORMAT_VERSION, Message, Part, Role, SessionName, Timestamp};
use ergane::journal::{Append, Journal, JournalPort, Sqlite};
use ergane::otp::{Intensity, Namespace, Promise, Supervisor, SupervisorRef};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::args::{Global, JournalArgs};
use crate::laps::{Laps, per};
use crate::otp::ours::PATIENCE;
use crate::process::Stopwatch;
use crate::record::Record;
use crate::turns::house::Folder;

pub(crate) async fn run(options: &JournalArgs, global: &Global) -> Outcome<Vec<Record>> {
    let folder = Folder::make(global.dir.as_deref())?;
    let store = Arc::new(Sqlite::open(folder.0.join("journal.db"))?);
    let (root, port) = serve(store.clone()).await?;

    let mut writers = Vec::new();
    for number in 0..options.writers {
        let session = SessionName::new(format!("writer/{number}"))?;
        writers.push(Writer::open(&port, session, options.bytes).await?);
    }
    let commits = store.commits();
    let watch = Stopwatch::start();
    let mut running: JoinSet<Outcome<Laps>> = JoinSet::new();
    let appends = options.appends;
    for writer in writers {
        running.spawn(writer.run(appends));
    }
    let mut laps = Laps::default();
    while let Some(outcome) = running.join_next().await {
        laps.absorb(outcome??);
    }
    let wall = watch.wall();
    laps.add_cpu(watch.cpu());
    let total = options.writers * appends;
    let commits = store.commits() - commits;
    root.shutdown(PATIENCE).await?;
    let record = Record::new("journal")
        .param("writers", options.writers)
        .param("bytes", options.bytes)
        .param("appends", appends)
        .metric("appends_per_s", total as f64 / wall.as_secs_f64())
        .metric("p50_us", laps.p50_us())
        .metric("p99_us", laps.p99_us())
        .metric("cpu_us", laps.cpu_us(1))
        .metric("appends_per_commit", per(total as f64, usize::try_from(commits)?));
    Ok(vec![record])
}

/// The journal with its actor, in a tree of its own.
pub(crate) async fn serve(store: Arc<dyn Journal>) -> Outcome<(SupervisorRef, JournalPort)> {
    let port = JournalPort::new(store);
    let names = Namespace::new("journal bench");
    let root = Supervisor::start(&names, "root", Intensity::default(), vec![port.child_spec()], None).await?;
    port.alive().await;
    Ok((root, port))
}

/// One session that appends.
pub(crate) struct Writer {
    port: JournalPort,
    next: Append,
    event: Event,
}

impl Writer {
    pub(crate) async fn open(port: &JournalPort, session: SessionName, bytes: usize) -> Outcome<Self> {
        let opened = port.open(&session).await?;
        let message =
            Message { role: Role::Assistant, parts: vec![Part::text("x".repeat(bytes))], origin: None };
        let event = Event::ModelReplied {
            iteration: 0,
            saw: opened.next_seq,
            message: Arc::new(message),
            usage: None,
            cost: None,
            attempts: 1,
        };
        let next = Append { session, epoch: opened.epoch, expected: opened.next_seq, events: Vec::new() };
        Ok(Self { port: port.clone(), next, event })
    }

    pub(crate) async fn run(mut self, appends: usize) -> Outcome<Laps> {
        let mut laps = Laps::default();
        for _ in 0..appends {
            let seq = self.next.expected;
            let event = self.event.clone();
            let envelope =
                Envelope { v: FORMAT_VERSION, seq, epoch: self.next.epoch, at: Timestamp(0), event };
            let append = Append { events: vec![Arc::new(envelope)], ..self.next.clone() };
            let start = Instant::now();
            let (told, outcome) = oneshot::channel();
            // Who waits for the outcome is this very function, so somebody does.
            self.port.submit(append, Promise::new(move |outcome| drop(told.send(outcome))));
            outcome.await?.ok_or("the journal died")??;
            laps.lap(start.elapsed());
            self.next.expected = seq.next();
        }
        Ok(laps)
    }
}
