//! Waiting for other processes.
//!
//! # Why not SQLite's own busy timeout
//!
//! It looks less and less often, up to ten times a second, and nobody stands in line: beside a process that writes
//! without pause it can fail for seconds although the file is free thousands of times. So the writing connection does
//! not wait in SQLite; it is asked again in steps of half a millisecond, which finds such a gap at once.

use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, ffi};

/// The time between two attempts.
const STEP: Duration = Duration::from_micros(500);

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// Does `attempt` until another process is no longer in its way, at most for `patience`.
pub(super) fn patiently<T>(
    patience: Duration,
    attempt: impl Fn() -> Result<T, rusqlite::Error>,
) -> Result<T, rusqlite::Error> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && start.elapsed() < patience => std::thread::sleep(STEP),
            done => return done,
        }
    }
}

/// Begins a transaction that will write: from here on no other process is in its way.
pub(super) fn begin(connection: &Connection, patience: Duration) -> Result<(), rusqlite::Error> {
    patiently(patience, || connection.execute_batch("BEGIN IMMEDIATE"))
}

/// Writes all that the log holds into the file proper, with a sync, and empties the log.
pub(super) fn checkpoint(connection: &Connection, patience: Duration) -> Result<(), rusqlite::Error> {
    patiently(patience, || {
        let blocked =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))?;
        if blocked {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None));
        }
        Ok(())
    })
}
