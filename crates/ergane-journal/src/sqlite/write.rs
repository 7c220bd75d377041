//! What the one writing connection does: append, and answer truthfully when that failed.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ergane_core::{Envelope, Epoch, Event, SendId, Seq, SessionName, TurnId};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use crate::append::{Append, AppendError, Prepared};
use crate::error::JournalError;
use crate::sqlite::Disk;
use crate::sqlite::busy::{begin, checkpoint, is_busy};
use crate::sqlite::owner::Owner;
use crate::sqlite::read::{self, int, uint};
use crate::sqlite::schema;
use crate::summary::Tally;

/// The writing side of a store.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` after a failure: what follows must first open the file anew and make sure of it.
    pub(super) connection: Option<Connection>,
    /// This store as an owner, once it has opened a session.
    pub(super) owner: Option<Owner>,
    /// Owners found dead: they stay so.
    pub(super) dead: HashSet<String>,
    /// The highest epoch of a session deleted here: one made anew starts above it, so that no ghost of the old fits in.
    pub(super) floor: u64,
    /// Whether the tables were seen to be of this version.
    brought_up: bool,
    #[cfg(test)]
    pub(super) faults: Vec<Fault>,
}

/// What a test lets go wrong at the next commit, or at the reopening after it.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The commit fails and has written nothing.
    CommitFails,
    /// The commit fails and has written everything.
    CommitFailsLate,
    /// The commit fails because the disk is full, and has written nothing.
    DiskFull,
    /// A row cannot be written, and no commit is tried.
    WriteFails,
    /// The file cannot be made sure of.
    RecoveryFails,
}

/// What an append did.
pub(super) struct Written {
    pub(super) outcomes: Vec<Result<(), AppendError>>,
    /// Whether there was a commit.
    pub(super) commits: bool,
    /// Whether the connection was thrown away.
    pub(super) failed: bool,
    /// Whether there was no room.
    full: bool,
}

/// An error, and whether the commit may have happened all the same.
struct Failure {
    error: rusqlite::Error,
    at_commit: bool,
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self { error, at_commit: false }
    }
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection: Some(connection),
            owner: None,
            dead: HashSet::new(),
            floor: 0,
            brought_up: false,
            #[cfg(test)]
            faults: Vec::new(),
        }
    }

    /// The connection. After a failure, a new one to a file that was made sure of.
    pub(super) fn connection(&mut self, disk: &Disk) -> Result<&Connection, JournalError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.recover(disk, false)?,
        };
        Ok(self.connection.insert(connection))
    }

    /// The connection, and the tables of this version: an older journal is brought up by the first fact or snapshot that is
    /// written to it.
    pub(super) fn connection_to_this_version(&mut self, disk: &Disk) -> Result<&Connection, JournalError> {
        if !self.brought_up {
            let connection = self.connection(disk)?;
            if let Err(error) = schema::bring_up(connection, disk.options.busy_timeout) {
                self.roll_back(&error);
                return Err(disk.explain(&error));
            }
            self.brought_up = true;
        }
        self.connection(disk)
    }

    /// Opens the file anew and writes again, with a sync, what the log holds. With `full` a full disk is no objection:
    /// then no sync has failed, and what was read before can still be read. For the same reason a reader that keeps the log
    /// from being emptied is none.
    ///
    /// After a failed sync the log must be empty, and that it is must be on the disk: of its pages some may be lost, and
    /// those before them would be taken for the newest after a power cut.
    fn recover(&mut self, disk: &Disk, full: bool) -> Result<Connection, JournalError> {
        #[cfg(test)]
        if self.faults.first() == Some(&Fault::RecoveryFails) {
            self.faults.remove(0);
            return Err(disk.explain(&fault(rusqlite::ffi::SQLITE_IOERR_FSYNC)));
        }
        let connection = disk.open()?;
        match checkpoint(&connection, disk.options.busy_timeout) {
            Ok(()) => schema::sync_file(&disk.log())?,
            Err(error) if full && (is_full(&error) || is_busy(&error)) => {}
            Err(error) => return Err(disk.explain(&error)),
        }
        disk.trust();
        Ok(connection)
    }

    /// Writes a batch. Snapshots only spare work: when a file may not grow and there is no room for facts, they go. (Where it
    /// is the disk that is full, to drop them needs room as well, and gives none to others.)
    pub(super) fn append(&mut self, disk: &Disk, batch: &[Prepared]) -> Written {
        let written = self.append_once(disk, batch);
        let may_not_grow = disk.options.max_bytes.is_some();
        if may_not_grow && written.full && !written.failed && self.drop_snapshots(disk) {
            return self.append_once(disk, batch);
        }
        written
    }

    /// True if there were any, and their room is free.
    fn drop_snapshots(&mut self, disk: &Disk) -> bool {
        let dropped = self.connection(disk).and_then(|connection| {
            connection.execute("DELETE FROM snapshot", []).map_err(|error| disk.explain(&error))
        });
        match dropped {
            Ok(rows) => rows > 0,
            Err(error) => {
                tracing::debug!(%error, "snapshots could not be dropped to make room");
                false
            }
        }
    }

    fn append_once(&mut self, disk: &Disk, batch: &[Prepared]) -> Written {
        let mut outcomes = Vec::with_capacity(batch.len());
        #[cfg(test)]
        let fault = self.connection.is_some().then(|| self.next_fault()).flatten();
        let connection = match self.connection_to_this_version(disk) {
            Ok(connection) => connection,
            Err(error) => {
                fill(&mut outcomes, batch.len(), &error.to_string());
                return Written { outcomes, commits: false, failed: false, full: false };
            }
        };
        let written = write_all(connection, disk.options.busy_timeout, batch, &mut outcomes, || {
            #[cfg(test)]
            if let Some(fault) = fault {
                let at_commit = fault != Fault::WriteFails;
                return fault.commit(connection).map_err(|error| Failure { error, at_commit });
            }
            connection.execute_batch("COMMIT").map_err(|error| Failure { error, at_commit: true })
        });
        match written {
            Ok(commits) => Written { outcomes, commits, failed: false, full: false },
            Err(Failure { error, at_commit: false }) => {
                let reason = disk.explain(&error).to_string();
                let failed = !self.roll_back(&error);
                for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_ok()) {
                    *outcome = Err(AppendError::not_written(reason.clone()));
                }
                fill(&mut outcomes, batch.len(), &reason);
                Written { outcomes, commits: false, failed, full: is_full(&error) }
            }
            Err(Failure { error, at_commit: true }) => {
                disk.doubt();
                self.connection = None;
                let commits = self.read_back(disk, batch, &mut outcomes, &error);
                Written { outcomes, commits, failed: true, full: false }
            }
        }
    }

    /// Ends a transaction that failed before its commit. True if the connection is as good as before.
    pub(super) fn roll_back(&mut self, error: &rusqlite::Error) -> bool {
        let harmless = is_full(error) || is_busy(error);
        let kept = self.connection.take().filter(|connection| {
            // Some errors have rolled back already.
            harmless && (connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok())
        });
        self.connection = kept;
        self.connection.is_some()
    }

    /// Learns from the file what became of appends whose commit failed. True if they were written.
    fn read_back(
        &mut self,
        disk: &Disk,
        batch: &[Prepared],
        outcomes: &mut [Result<(), AppendError>],
        error: &rusqlite::Error,
    ) -> bool {
        let reason = disk.explain(error).to_string();
        tracing::warn!(error = %reason, "a commit of the journal failed; the file is opened anew and read back");
        let recovered = self.recover(disk, is_full(error));
        let mut commits = false;
        for (prepared, outcome) in batch.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_ok()) {
            *outcome = match &recovered {
                Ok(connection) => became(connection, prepared.append(), &reason)
                    .unwrap_or_else(|error| Err(unknown(&reason, &disk.explain(&error)))),
                Err(error) => Err(unknown(&reason, error)),
            };
            commits |= outcome.is_ok();
        }
        self.connection = recovered.ok();
        commits
    }

    /// Commits what is no append.
    pub(super) fn commit(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        #[cfg(test)]
        if let Some(fault) = self.next_fault() {
            return fault.commit(connection);
        }
        connection.execute_batch("COMMIT")
    }

    /// Of a commit that is tried; one of a recovery is none.
    #[cfg(test)]
    fn next_fault(&mut self) -> Option<Fault> {
        let is_next = self.faults.first().is_some_and(|fault| *fault != Fault::RecoveryFails);
        is_next.then(|| self.faults.remove(0))
    }
}

#[cfg(test)]
fn fault(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
}

#[cfg(test)]
impl Fault {
    fn commit(self, connection: &Connection) -> Result<(), rusqlite::Error> {
        match self {
            Self::CommitFailsLate => connection.execute_batch("COMMIT")?,
            Self::DiskFull => return Err(fault(rusqlite::ffi::SQLITE_FULL)),
            Self::WriteFails => return Err(fault(rusqlite::ffi::SQLITE_IOERR_WRITE)),
            Self::CommitFails | Self::RecoveryFails => {}
        }
        Err(fault(rusqlite::ffi::SQLITE_IOERR_FSYNC))
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

fn unknown(reason: &str, then: &JournalError) -> AppendError {
    AppendError::Unknown { reason: format!("{reason}; and then: {then}") }
}

/// Answers all that has no answer yet.
fn fill(outcomes: &mut Vec<Result<(), AppendError>>, len: usize, reason: &str) {
    outcomes.resize_with(len, || Err(AppendError::not_written(reason)));
}

/// One transaction for the whole batch. True if there was something to commit.
fn write_all(
    connection: &Connection,
    patience: Duration,
    batch: &[Prepared],
    outcomes: &mut Vec<Result<(), AppendError>>,
    commit: impl FnOnce() -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let mut damaged = BTreeMap::new();
    'anew: loop {
        begin(connection, patience)?;
        outcomes.clear();
        for (at, prepared) in batch.iter().enumerate() {
            let outcome = match damaged.get(&at) {
                Some(reason) => Err(AppendError::not_written(reason)),
                None => match write_one(connection, prepared) {
                    // It is of that session alone; the others must not wait for it.
                    Err(error) if read::is_of_a_row(&error) => {
                        damaged.insert(at, damage(prepared, &error));
                        connection.execute_batch("ROLLBACK")?;
                        continue 'anew;
                    }
                    outcome => outcome?,
                },
            };
            outcomes.push(outcome);
        }
        break;
    }
    if outcomes.iter().all(Result::is_err) {
        connection.execute_batch("ROLLBACK")?;
        return Ok(false);
    }
    commit()?;
    Ok(true)
}

fn damage(prepared: &Prepared, error: &rusqlite::Error) -> String {
    format!(
        "what the journal has of session {} is damaged ({error}); restore the journal from a copy, or delete this session",
        prepared.append().session
    )
}

fn write_one(
    connection: &Connection,
    prepared: &Prepared,
) -> Result<Result<(), AppendError>, rusqlite::Error> {
    let append = prepared.append();
    let found = find(connection, &append.session)?;
    if let Err(error) = append.fits(found.as_ref().map(|found| (found.epoch, found.next_seq))) {
        return Ok(Err(error));
    }
    let Some(Found { sid, mut tally, .. }) = found else { return Ok(append.fits(None)) };
    let mut insert = connection.prepare_cached(
        "INSERT INTO event(sid, seq, epoch, kind, ver, at, body, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for row in prepared.rows() {
        let (seq, epoch) = (int(row.seq), int(row.epoch));
        insert.execute(params![sid, seq, epoch, row.kind, row.ver, row.at, row.body, row.crc])?;
    }
    let open = tally.open_turn;
    append.events.iter().for_each(|event| tally.apply(event));
    write_sends(connection, sid, open, append)?;
    write_tally(connection, sid, append.next_seq(), &tally)?;
    Ok(Ok(()))
}

struct Found {
    sid: i64,
    epoch: Epoch,
    next_seq: Seq,
    tally: Tally,
}

fn find(connection: &Connection, session: &SessionName) -> Result<Option<Found>, rusqlite::Error> {
    let sql = format!("SELECT sid, epoch, next_seq, {} FROM session WHERE name = ?1", read::TALLY);
    connection
        .prepare_cached(&sql)?
        .query_row([session.as_str()], |row| {
            Ok(Found {
                sid: row.get(0)?,
                epoch: Epoch(uint(row.get(1)?)),
                next_seq: Seq(uint(row.get(2)?)),
                tally: read::tally(row, 3)?,
            })
        })
        .optional()
}

fn write_tally(
    connection: &Connection,
    sid: i64,
    next_seq: Seq,
    tally: &Tally,
) -> Result<(), rusqlite::Error> {
    let mut update = connection.prepare_cached(
        "UPDATE session SET next_seq = ?2, fmt = ?3, open_turn = ?4, turns = ?5, created_at = ?6,
             last_activity = ?7, input_tokens = ?8, output_tokens = ?9, cached_tokens = ?10,
             reasoning_tokens = ?11, cost = ?12, cost_complete = ?13, provider = ?14, model = ?15
         WHERE sid = ?1",
    )?;
    let Tally { usage, cost, .. } = tally;
    update.execute(params![
        sid,
        int(next_seq.0),
        tally.fmt,
        tally.open_turn.map(|turn| int(turn.0)),
        tally.turns,
        tally.created_at.0,
        tally.last_activity.0,
        int(usage.input_tokens),
        int(usage.output_tokens),
        int(usage.cached_tokens),
        int(usage.reasoning_tokens),
        int(cost.known.0),
        cost.complete,
        tally.provider.as_deref(),
        tally.model.as_deref(),
    ])?;
    Ok(())
}

/// Keeps the table of sends. The first of two sends with one id stands.
fn write_sends(
    connection: &Connection,
    sid: i64,
    mut open: Option<TurnId>,
    append: &Append,
) -> Result<(), rusqlite::Error> {
    let mut complete: Vec<&SendId> = Vec::new();
    for (index, envelope) in append.events.iter().enumerate() {
        if let Event::TurnStarted { .. } = &envelope.event {
            open = Some(TurnId(envelope.seq.0));
        }
        match &envelope.event {
            // Of what was copied, no send is known here.
            Event::Forked { .. } => {
                complete.clear();
                connection.prepare_cached("DELETE FROM dedupe WHERE sid = ?1")?.execute([sid])?;
            }
            Event::Steered { send, hash, .. } => {
                let turn = open.map(|turn| int(turn.0));
                connection
                    .prepare_cached(
                        "INSERT INTO dedupe(sid, send_id, input_hash, turn) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![sid, &*send.0, hash.to_string(), turn])?;
            }
            Event::Queued { send, hash, .. } => {
                // Mostly its turn starts in the same append: then one write does for both.
                let turn = append.events.iter().skip(index).find_map(|later| turn_of(later, send));
                let new = connection
                    .prepare_cached(
                        "INSERT INTO dedupe(sid, send_id, input_hash, turn) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![sid, &*send.0, hash.to_string(), turn])?;
                if new > 0 && turn.is_some() {
                    complete.push(send);
                }
            }
            Event::TurnStarted { send } if !complete.contains(&send) => {
                connection
                    .prepare_cached(
                        "UPDATE dedupe SET turn = ?3 WHERE sid = ?1 AND send_id = ?2 AND turn IS NULL",
                    )?
                    .execute(params![sid, &*send.0, int(envelope.seq.0)])?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The turn, when that is what `envelope` starts for `wanted`.
fn turn_of(envelope: &Envelope, wanted: &SendId) -> Option<i64> {
    match &envelope.event {
        Event::TurnStarted { send } if send == wanted => Some(int(envelope.seq.0)),
        _ => None,
    }
}

/// What the file says of an append whose commit failed.
fn became(
    connection: &Connection,
    append: &Append,
    reason: &str,
) -> Result<Result<(), AppendError>, rusqlite::Error> {
    let Some(found) = find(connection, &append.session)? else { return Ok(append.fits(None)) };
    let last = int(append.next_seq().0.saturating_sub(1));
    let writer: Option<i64> = connection
        .query_row("SELECT epoch FROM event WHERE sid = ?1 AND seq = ?2", params![found.sid, last], |row| {
            row.get(0)
        })
        .optional()?;
    if !append.events.is_empty() && writer == Some(int(append.epoch.0)) {
        return Ok(Ok(()));
    }
    Ok(append.fits(Some((found.epoch, found.next_seq))).and(Err(AppendError::not_written(reason))))
}
