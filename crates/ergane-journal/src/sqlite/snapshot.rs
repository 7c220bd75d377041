//! Snapshots: the older events of a session once more, many in a row, packed ([`crate::packed`]).
//!
//! # Why nothing depends on them
//!
//! The log is the truth, and a snapshot a copy of a part of it. It is made beside the log, and whatever becomes of it, the
//! log loads without. When it is read, it must be of this version, whole, in its place, and end with the very event that
//! the log has there; if not, the log is read, and it is made anew.
//!
//! # What an append waits for
//!
//! The writing of one row of it at most: it is read and packed where things are read, and then written in a transaction of
//! its own, now or not at all when another process writes. Its commit asks for no sync of its own (SQLite may move its log
//! into the file at that commit, as at any other).
//!
//! # How many, and how large
//!
//! A row holds 512 events, or fewer when they are large, and is written once. So all of them are no larger than the log,
//! what an opening reads as single events is fewer than 512, and no history is written a second time.

use ergane_core::{Envelope, Seq, SessionName};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::JournalError;
use crate::packed;
use crate::sqlite::Disk;
use crate::sqlite::read::{self, int, uint};
use crate::sqlite::schema;
use crate::sqlite::write::Writer;

/// So many events are in one row.
pub(super) const EVENTS: u64 = 512;

/// Of larger events only so many as have about so many bytes together, but at least one.
const BYTES: u64 = 1 << 20;

/// So many rows are made at once.
pub(super) const AT_ONCE: usize = 64;

/// What snapshots tell of a session.
pub(super) struct Snapshots {
    /// How far they reach that were read.
    pub(super) upto: Seq,
    /// Whether all of them were what they ought to be.
    pub(super) sound: bool,
}

/// Gives `take` the first events of a session, as far as snapshots have those below `below`.
pub(super) fn load(
    connection: &Connection,
    sid: i64,
    below: Seq,
    take: &mut dyn FnMut(Vec<Envelope>),
) -> Snapshots {
    let mut read = Seq(0);
    let mut add = || -> Result<bool, rusqlite::Error> {
        if !schema::has_snapshots(connection)? {
            return Ok(true);
        }
        let mut statement = connection.prepare_cached(
            "SELECT first, upto, ver, anchor, crc, body,
                    (SELECT crc FROM event WHERE event.sid = snapshot.sid AND event.seq = snapshot.upto)
             FROM snapshot WHERE sid = ?1 ORDER BY first",
        )?;
        let mut rows = statement.query([sid])?;
        while let Some(row) = rows.next()? {
            let (first, upto) = (Seq(uint(row.get(0)?)), Seq(uint(row.get(1)?)));
            if upto >= below {
                break;
            }
            let (ver, anchor, crc): (u32, u32, u32) = (row.get(2)?, row.get(3)?, row.get(4)?);
            let body = row.get_ref(5)?.as_blob()?;
            let sound = first == read.next()
                && first <= upto
                && ver == packed::VERSION
                && row.get::<_, Option<u32>>(6)? == Some(anchor)
                && crc == checksum(first, upto, anchor, body);
            if !sound {
                // Not even looked into: it may be anything.
                return Ok(false);
            }
            let count = usize::try_from(upto.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
            match packed::unpack(body, first, count.saturating_add(1)) {
                Some(events) => take(events),
                None => return Ok(false),
            }
            read = upto;
        }
        Ok(true)
    };
    // An error is one of a damaged row: what there is of the others holds all the same.
    let sound = add().unwrap_or(false);
    Snapshots { upto: read, sound }
}

/// What is to be done about the snapshots of a session.
pub(super) struct Due {
    sid: i64,
    /// How far they reach.
    pub(super) upto: Seq,
    /// Whether those that are there are to be thrown away.
    clear: bool,
    row: Option<Row>,
}

struct Row {
    first: Seq,
    upto: Seq,
    anchor: u32,
    body: Vec<u8>,
}

impl Due {
    pub(super) fn is_anything(&self) -> bool {
        self.clear || self.row.is_some()
    }

    /// How far they will reach.
    pub(super) fn then(&self) -> Seq {
        self.row.as_ref().map_or(self.upto, |row| row.upto)
    }
}

/// What is due. With `anew` what is there does not count.
pub(super) fn due(
    connection: &Connection,
    disk: &Disk,
    session: &SessionName,
    anew: bool,
) -> Result<Due, JournalError> {
    let explain = |error: rusqlite::Error| disk.explain(&error);
    let reading = connection.unchecked_transaction().map_err(explain)?;
    let (sid, next) = read::place(&reading, session)
        .map_err(explain)?
        .ok_or_else(|| JournalError::NotFound { session: session.clone() })?;
    let there = reach(&reading, sid).map_err(explain)?;
    let (upto, clear) = match there {
        Some(upto) if !anew => (upto, false),
        _ => (Seq(0), true),
    };
    let mut due = Due { sid, upto, clear, row: None };
    if next.0.saturating_sub(upto.0) <= EVENTS {
        return Ok(due);
    }
    let below = end_of_row(&reading, sid, upto).map_err(explain)?;
    let events = read::events(&reading, disk, session, sid, upto, below)?;
    let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(due) };
    let anchor = reading
        .query_row(
            "SELECT crc FROM event WHERE sid = ?1 AND seq = ?2",
            params![sid, int(last.seq.0)],
            |row| row.get(0),
        )
        .map_err(explain)?;
    due.row = packed::pack(&events).map(|body| Row { first: first.seq, upto: last.seq, anchor, body });
    if due.row.is_none() {
        tracing::error!(%session, "a snapshot would not say what the log says; this is a defect, please report it");
    }
    Ok(due)
}

/// The position after the last event that goes into the row after `upto`.
fn end_of_row(connection: &Connection, sid: i64, upto: Seq) -> Result<Seq, rusqlite::Error> {
    let last = upto.0.saturating_add(EVENTS);
    let mut statement = connection.prepare_cached(
        "SELECT length(body) FROM event WHERE sid = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![sid, int(upto.0), int(last)])?;
    let (mut end, mut bytes) = (upto.next(), 0);
    while let Some(row) = rows.next()? {
        end = end.next();
        bytes += uint(row.get(0)?);
        if bytes >= BYTES {
            break;
        }
    }
    Ok(end)
}

/// How far the snapshots of a session reach; `None` when they do not follow each other, or are of another version.
fn reach(connection: &Connection, sid: i64) -> Result<Option<Seq>, rusqlite::Error> {
    if !schema::has_snapshots(connection)? {
        return Ok(Some(Seq(0)));
    }
    let mut statement =
        connection.prepare_cached("SELECT first, upto, ver FROM snapshot WHERE sid = ?1 ORDER BY first")?;
    let mut rows = statement.query([sid])?;
    let mut upto = Seq(0);
    while let Some(row) = rows.next()? {
        let (first, last) = (uint(row.get(0)?), uint(row.get(1)?));
        if row.get::<_, u32>(2)? != packed::VERSION || first != upto.0 + 1 || last < first {
            return Ok(None);
        }
        upto = Seq(last);
    }
    Ok(Some(upto))
}

fn checksum(first: Seq, upto: Seq, anchor: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&first.0.to_le_bytes());
    hasher.update(&upto.0.to_le_bytes());
    hasher.update(&anchor.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

impl Writer {
    /// Does what is due, now or not at all. An append waits for this one row at most; the commit asks for no sync of its
    /// own (SQLite may move its log into the file at it, as at any other), and that of the next append takes it along.
    pub(super) fn keep(&mut self, disk: &Disk, due: &Due) -> Result<(), JournalError> {
        self.connection_to_this_version(disk)?;
        let Some(connection) = self.connection.take() else { return Err(JournalError::Away) };
        let kept = connection
            .execute_batch("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE")
            .and_then(|()| write(&connection, due))
            .and_then(|()| connection.execute_batch("COMMIT"));
        self.connection = Some(connection);
        if let Err(error) = &kept {
            self.roll_back(error);
        }
        // An append that is not synced would be no append.
        self.connection =
            self.connection.take().filter(|open| open.execute_batch("PRAGMA synchronous = FULL").is_ok());
        kept.map_err(|error| disk.explain(&error))
    }
}

fn write(connection: &Connection, due: &Due) -> Result<(), rusqlite::Error> {
    if due.clear {
        connection.prepare_cached("DELETE FROM snapshot WHERE sid = ?1")?.execute([due.sid])?;
    }
    let Some(Row { first, upto, anchor, body }) = &due.row else { return Ok(()) };
    // The session may have been deleted since, and another made it, too.
    let same = connection
        .prepare_cached("SELECT 1 FROM event WHERE sid = ?1 AND seq = ?2 AND crc = ?3")?
        .query_row(params![due.sid, int(upto.0), anchor], |_| Ok(()))
        .optional()?;
    if same.is_some() {
        connection
            .prepare_cached(
                "INSERT INTO snapshot(sid, first, upto, ver, anchor, crc, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                due.sid,
                int(first.0),
                int(upto.0),
                packed::VERSION,
                anchor,
                checksum(*first, *upto, *anchor, body),
                body
            ])?;
    }
    Ok(())
}
