//! Appends through the journal as sessions make them: one outstanding each, grouped by the port, synced by SQLite.

mod floor;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ergane::core::{Envelope, Event, FORMAT_VERSION, Message, Part, Role, Seq, SessionName, Timestamp};
use ergane::journal::{Append, Journal, JournalPort, Sqlite};
use ergane::otp::{Intensity, Namespace, Promise, Supervisor, SupervisorRef};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::args::{Global, JournalArgs};
use crate::journal::floor::Bare;
use crate::laps::{Laps, per};
use crate::otp::children::shares;
use crate::otp::ours::PATIENCE;
use crate::process::Stopwatch;
use crate::record::Record;
use crate::turns::house::Folder;

/// Ours and bare SQLite append in turns, so many times each: a noisy neighbour disturbs both.
const BLOCKS: usize = 4;

pub(crate) async fn run(options: &JournalArgs, global: &Global) -> Outcome<Vec<Record>> {
    let folder = Folder::make(global.dir.as_deref())?;
    let store = Arc::new(Sqlite::open(folder.0.join("journal.db"))?);
    let (root, port) = serve(store.clone()).await?;
    let mut ours = Vec::new();
    for number in 0..options.writers {
        let session = SessionName::new(format!("writer/{number}"))?;
        ours.push(Writer::open(&port, session, options.bytes).await?);
    }
    let mut bare = if options.floor { Some(Bare::open(&folder.0, options)?) } else { None };
    let commits = store.commits();
    let (mut taken, mut floor) = (Taken::default(), Taken::default());
    for block in shares(options.appends, BLOCKS) {
        let mut running = JoinSet::new();
        let watch = Stopwatch::start();
        for writer in std::mem::take(&mut ours) {
            running.spawn(writer.run(block.len()));
        }
        ours = taken.collect(running, &watch).await?;
        if let Some(bare) = &mut bare {
            let watch = Stopwatch::start();
            let running = bare.start(block.len());
            bare.writers = floor.collect(running, &watch).await?;
        }
    }
    let commits = store.commits() - commits;
    root.shutdown(PATIENCE).await?;
    let mut record = Record::new("journal")
        .param("writers", options.writers)
        .param("bytes", options.bytes)
        .param("appends", options.appends)
        .metric("appends_per_s", taken.per_s())
        .metric("p50_us", taken.laps.p50_us())
        .metric("p99_us", taken.laps.p99_us())
        .metric("cpu_us", taken.laps.cpu_us(1))
        .metric("appends_per_commit", per(taken.laps.len() as f64, usize::try_from(commits)?));
    if let Some(bare) = bare {
        let commits = bare.end().await?;
        record = record
            .metric("floor_appends_per_s", floor.per_s())
            .metric("floor_p50_us", floor.laps.p50_us())
            .metric("floor_cpu_us", floor.laps.cpu_us(1))
            .metric("floor_appends_per_commit", per(floor.laps.len() as f64, commits))
            .ratio("ratio", taken.per_s(), floor.per_s())
            .ratio("cpu_ratio", taken.laps.cpu_us(1), floor.laps.cpu_us(1));
    }
    Ok(vec![record])
}

/// What the blocks of one side took.
#[derive(Debug, Default)]
struct Taken {
    laps: Laps,
    wall: Duration,
}

impl Taken {
    /// Waits for a block; its writers.
    async fn collect<W: 'static>(
        &mut self,
        mut running: JoinSet<Outcome<(W, Laps)>>,
        watch: &Stopwatch,
    ) -> Outcome<Vec<W>> {
        let mut writers = Vec::new();
        while let Some(outcome) = running.join_next().await {
            let (writer, laps) = outcome??;
            writers.push(writer);
            self.laps.absorb(laps);
        }
        self.wall += watch.wall();
        self.laps.add_cpu(watch.cpu());
        Ok(writers)
    }

    fn per_s(&self) -> f64 {
        self.laps.len() as f64 / self.wall.as_secs_f64()
    }
}

/// The journal with its actor, in a tree of its own.
pub(crate) async fn serve(store: Arc<dyn Journal>) -> Outcome<(SupervisorRef, JournalPort)> {
    let port = JournalPort::new(store);
    let names = Namespace::new("journal bench");
    let root = Supervisor::start(&names, "root", Intensity::default(), vec![port.child_spec()], None).await?;
    port.alive().await;
    Ok((root, port))
}

/// What is appended.
fn event(bytes: usize) -> Event {
    let message = Message { role: Role::Assistant, parts: vec![Part::text("x".repeat(bytes))], origin: None };
    let (message, saw) = (Arc::new(message), Seq(0));
    Event::ModelReplied { iteration: 0, saw, message, usage: None, cost: None, attempts: 1, unanswered: None }
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
        let event = event(bytes);
        let next = Append { session, epoch: opened.epoch, expected: opened.next_seq, events: Vec::new() };
        Ok(Self { port: port.clone(), next, event })
    }

    pub(crate) async fn run(mut self, appends: usize) -> Outcome<(Self, Laps)> {
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
        Ok((self, laps))
    }
}
