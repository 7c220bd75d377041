//! The same appends on bare SQLite: one thread writes, and takes all that came meanwhile into one commit.
//!
//! The rows of events are the same, and so is what decides about pages, caches and syncs; and that an append fits is looked at, too. There is no port, no
//! actor and no checksum, and what fails ends the measurement.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use rusqlite::{Connection, params};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::args::JournalArgs;
use crate::journal::event;
use crate::laps::Laps;

/// The most records and bytes of one commit, as in ours.
const RECORDS: usize = 512;
const BYTES: usize = 1 << 20;

const TABLES: &str = "
PRAGMA page_size = 8192;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA cache_size = -16000;
CREATE TABLE session(sid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL, next_seq INTEGER NOT NULL);
CREATE TABLE event(
    gid INTEGER PRIMARY KEY,
    sid INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    ver INTEGER NOT NULL,
    at INTEGER NOT NULL,
    body BLOB NOT NULL,
    crc INTEGER NOT NULL,
    UNIQUE(sid, seq)
);
";

/// The writing thread, and the sessions that append.
pub(super) struct Bare {
    pub(super) writers: Vec<Writer>,
    bytes: usize,
    jobs: mpsc::Sender<Job>,
    writing: JoinHandle<Outcome<usize>>,
}

/// One session.
pub(super) struct Writer {
    sid: i64,
    next: i64,
    jobs: mpsc::Sender<Job>,
}

struct Job {
    sid: i64,
    seq: i64,
    body: Vec<u8>,
    done: oneshot::Sender<()>,
}

impl Bare {
    pub(super) fn open(folder: &Path, options: &JournalArgs) -> Outcome<Self> {
        let connection = Connection::open(folder.join("bare.db"))?;
        connection.execute_batch(TABLES)?;
        let (jobs, queue) = mpsc::channel();
        let mut writers = Vec::new();
        for number in 0..options.writers {
            let name = format!("writer/{number}");
            connection.execute("INSERT INTO session(name, epoch, next_seq) VALUES (?1, 1, 1)", [name])?;
            writers.push(Writer { sid: connection.last_insert_rowid(), next: 1, jobs: jobs.clone() });
        }
        let writing = std::thread::spawn(move || write(&connection, &queue));
        Ok(Self { writers, bytes: options.bytes, jobs, writing })
    }

    /// Every session appends so often.
    pub(super) fn start(&mut self, appends: usize) -> JoinSet<Outcome<(Writer, Laps)>> {
        let mut running = JoinSet::new();
        for writer in std::mem::take(&mut self.writers) {
            running.spawn(writer.run(appends, self.bytes));
        }
        running
    }

    /// How many commits there were.
    pub(super) async fn end(self) -> Outcome<usize> {
        let Self { writers, jobs, writing, .. } = self;
        drop((writers, jobs));
        let ended = tokio::task::spawn_blocking(move || writing.join()).await?;
        ended.map_err(|_| "the writing thread panicked")?
    }
}

impl Writer {
    async fn run(mut self, appends: usize, bytes: usize) -> Outcome<(Self, Laps)> {
        let mut laps = Laps::default();
        let event = event(bytes);
        for _ in 0..appends {
            let start = Instant::now();
            let (done, written) = oneshot::channel();
            let (sid, seq, body) = (self.sid, self.next, serde_json::to_vec(&event)?);
            self.jobs.send(Job { sid, seq, body, done }).map_err(|_| "the writing thread ended")?;
            written.await?;
            laps.lap(start.elapsed());
            self.next += 1;
        }
        Ok((self, laps))
    }
}

fn write(connection: &Connection, queue: &mpsc::Receiver<Job>) -> Outcome<usize> {
    let mut commits = 0;
    while let Ok(first) = queue.recv() {
        let mut bytes = first.body.len();
        let mut batch = vec![first];
        while batch.len() < RECORDS && bytes < BYTES {
            let Ok(next) = queue.try_recv() else { break };
            bytes += next.body.len();
            batch.push(next);
        }
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for job in &batch {
            append(connection, job)?;
        }
        connection.execute_batch("COMMIT")?;
        commits += 1;
        for job in batch {
            // Who waited may have failed by another append.
            job.done.send(()).ok();
        }
    }
    Ok(commits)
}

fn append(connection: &Connection, Job { sid, seq, body, .. }: &Job) -> Outcome<()> {
    let (epoch, next): (i64, i64) = connection
        .prepare_cached("SELECT epoch, next_seq FROM session WHERE sid = ?1")?
        .query_row([sid], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if next != *seq {
        return Err(format!("event {seq} of session {sid} does not follow {next}").into());
    }
    connection
        .prepare_cached(
            "INSERT INTO event(sid, seq, epoch, kind, ver, at, body, crc) VALUES (?1, ?2, ?3, 5, 1, 0, ?4, 0)",
        )?
        .execute(params![sid, seq, epoch, body])?;
    connection
        .prepare_cached("UPDATE session SET next_seq = ?2 WHERE sid = ?1")?
        .execute(params![sid, seq + 1])?;
    Ok(())
}
