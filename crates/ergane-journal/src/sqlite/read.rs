//! What readers ask. Each question is answered from one snapshot and waits for no writer.

use std::collections::HashMap;

use ergane_core::{
    Cost, Digest, Envelope, Epoch, EventKind, MicroUsd, SendId, Seq, SessionName, Text, Timestamp, TurnId,
    Usage,
};
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use serde::Deserialize;
use serde::de::IntoDeserializer;

use crate::error::JournalError;
use crate::row::Row;
use crate::sqlite::snapshot::{self, Snapshots};
use crate::sqlite::{Disk, owner};
use crate::store::{Position, Sent};
use crate::summary::{SessionSummary, Tally};

/// Numbers of ours as SQLite's: what does not fit is never reached.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// And back: a negative number can only be damage, and reads as 0.
pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Gives events to `take`; whether snapshots that helped with them were what they ought to be.
pub(super) fn load(
    connection: &Connection,
    disk: &Disk,
    session: &SessionName,
    after: Seq,
    below: Seq,
    take: &mut dyn FnMut(Vec<Envelope>),
) -> Result<bool, JournalError> {
    let explain = |error: rusqlite::Error| disk.explain(&error);
    // One snapshot for both questions; nothing is written, so its end is a rollback.
    let reading = connection.unchecked_transaction().map_err(explain)?;
    let (sid, next_seq) = place(&reading, session)
        .map_err(explain)?
        .ok_or_else(|| JournalError::NotFound { session: session.clone() })?;
    if let Some(found) = beyond(&reading, sid, next_seq).map_err(explain)? {
        let reason =
            format!("it is there up to {found}, and the row of its session says that it was not written yet");
        return Err(JournalError::Corrupt { session: session.clone(), seq: next_seq, reason });
    }
    let below = below.min(next_seq);
    let Snapshots { upto, sound } = if after > Seq(0) || below.0 <= snapshot::EVENTS {
        Snapshots { upto: after, sound: true }
    } else {
        snapshot::load(&reading, sid, below, take)
    };
    take(events(&reading, disk, session, sid, upto, below)?);
    Ok(sound)
}

/// The number of a session, and the seq of its next event.
pub(super) fn place(
    connection: &Connection,
    session: &SessionName,
) -> Result<Option<(i64, Seq)>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT sid, next_seq FROM session WHERE name = ?1")?
        .query_row([session.as_str()], |row| Ok((row.get(0)?, Seq(uint(row.get(1)?)))))
        .optional()
}

/// The last event, when it is one that the session's row knows nothing of.
fn beyond(connection: &Connection, sid: i64, next_seq: Seq) -> Result<Option<Seq>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT seq FROM event WHERE sid = ?1 AND seq >= ?2 ORDER BY seq DESC LIMIT 1")?
        .query_row(params![sid, int(next_seq.0)], |row| Ok(Seq(uint(row.get(0)?))))
        .optional()
}

/// Whether an error says that a row is not what was written there, and nothing of the disk or of other rows.
pub(super) fn is_of_a_row(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)
    ) || error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// What was read of a row of the table of sessions. Rows there have no checksum: one that cannot be read is told of and left
/// out, for it says nothing of the others.
fn whole<T>(read: Result<T, rusqlite::Error>, sid: i64) -> Result<Option<T>, rusqlite::Error> {
    match read {
        Err(error) if is_of_a_row(&error) => {
            tracing::error!(sid, %error, "a row of the table of sessions is damaged; that session is left out");
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// The rows of a session between two positions, of which the second is at most its next.
pub(super) fn events(
    connection: &Connection,
    disk: &Disk,
    session: &SessionName,
    sid: i64,
    after: Seq,
    below: Seq,
) -> Result<Vec<Envelope>, JournalError> {
    let explain = |error: rusqlite::Error| disk.explain(&error);
    let mut expected = after.next();
    let mut events = Vec::new();
    let mut statement = connection
        .prepare_cached(
            "SELECT seq, epoch, kind, ver, at, body, crc FROM event
             WHERE sid = ?1 AND seq > ?2 AND seq < ?3 ORDER BY seq",
        )
        .map_err(explain)?;
    let mut rows = statement.query(params![sid, int(after.0), int(below.0)]).map_err(explain)?;
    while let Some(row) = rows.next().map_err(explain)? {
        let row = decode(row).map_err(|error| JournalError::Corrupt {
            session: session.clone(),
            seq: expected,
            reason: error.to_string(),
        })?;
        events.push(row.decode(session, expected)?);
        expected = expected.next();
    }
    if expected < below {
        let reason = format!("it is missing, and events up to {} were written", below.0.saturating_sub(1));
        return Err(JournalError::Corrupt { session: session.clone(), seq: expected, reason });
    }
    Ok(events)
}

fn decode(row: &rusqlite::Row<'_>) -> Result<Row, rusqlite::Error> {
    Ok(Row {
        seq: uint(row.get(0)?),
        epoch: uint(row.get(1)?),
        kind: row.get(2)?,
        ver: row.get(3)?,
        at: row.get(4)?,
        body: row.get(5)?,
        crc: row.get(6)?,
    })
}

pub(super) fn position(
    connection: &Connection,
    session: &SessionName,
) -> Result<Option<Position>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT epoch, next_seq FROM session WHERE name = ?1")?
        .query_row([session.as_str()], |row| {
            Ok(Position { epoch: Epoch(uint(row.get(0)?)), next_seq: Seq(uint(row.get(1)?)) })
        })
        .optional()
}

/// The columns of a [`Tally`], in the order of [`tally`].
pub(super) const TALLY: &str = "fmt, open_turn, turns, created_at, last_activity, input_tokens, output_tokens, \
                                cached_tokens, reasoning_tokens, cost, cost_complete, provider, model";

/// Reads the columns of [`TALLY`], which begin at `first`.
pub(super) fn tally(row: &rusqlite::Row<'_>, first: usize) -> Result<Tally, rusqlite::Error> {
    let number = |column: usize| row.get::<_, i64>(first + column).map(uint);
    let text = |column: usize| row.get::<_, Option<String>>(first + column).map(|text| text.map(Text::from));
    Ok(Tally {
        fmt: row.get(first)?,
        open_turn: row.get::<_, Option<i64>>(first + 1)?.map(|turn| TurnId(uint(turn))),
        turns: row.get(first + 2)?,
        created_at: Timestamp(row.get(first + 3)?),
        last_activity: Timestamp(row.get(first + 4)?),
        usage: Usage {
            input_tokens: number(5)?,
            output_tokens: number(6)?,
            cached_tokens: number(7)?,
            reasoning_tokens: number(8)?,
            ..Usage::default()
        },
        cost: Cost { known: MicroUsd(number(9)?), complete: row.get(first + 10)? },
        provider: text(11)?,
        model: text(12)?,
    })
}

pub(super) fn summary(
    connection: &Connection,
    disk: &Disk,
    session: &SessionName,
) -> Result<Option<SessionSummary>, JournalError> {
    summaries(connection, disk, "name = ?1", session.as_str(), 1).map(|mut found| found.pop())
}

pub(super) fn list(
    connection: &Connection,
    disk: &Disk,
    after: Option<&SessionName>,
    limit: usize,
) -> Result<Vec<SessionSummary>, JournalError> {
    summaries(connection, disk, "name > ?1", after.map_or("", SessionName::as_str), limit)
}

/// Whether somebody must decide about a call: only of an open turn are events looked at, and never their bodies.
fn awaiting() -> String {
    let [requested, decided, interrupted] =
        [EventKind::ApprovalRequested, EventKind::ApprovalDecided, EventKind::InterruptRequested]
            .map(|kind| kind as u8);
    format!(
        "coalesce((SELECT sum(kind = {requested}) > sum(kind = {decided}) AND NOT max(kind = {interrupted}) FROM event
                   WHERE event.sid = session.sid AND event.seq > session.open_turn), 0)"
    )
}

fn summaries(
    connection: &Connection,
    disk: &Disk,
    which: &str,
    name: &str,
    limit: usize,
) -> Result<Vec<SessionSummary>, JournalError> {
    let awaiting = awaiting();
    let sql = format!(
        "SELECT name, epoch, next_seq, owner,
                EXISTS(SELECT 1 FROM dedupe WHERE dedupe.sid = session.sid AND turn IS NULL), {awaiting}, sid, {TALLY}
         FROM session WHERE {which} AND next_seq > 1 ORDER BY name LIMIT ?2"
    );
    let explain = |error: rusqlite::Error| disk.explain(&error);
    let mut statement = connection.prepare_cached(&sql).map_err(explain)?;
    let mut rows = statement.query(params![name, int(limit as u64)]).map_err(explain)?;
    let mut alive = HashMap::<String, bool>::new();
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(explain)? {
        let mut is_alive = |id: &String| match alive.get(id) {
            Some(alive) => *alive,
            None => *alive.entry(id.clone()).or_insert(owner::is_alive(&disk.owners, id)),
        };
        let sid = row.get(6).map_err(explain)?;
        found.extend(whole(one(row, &mut is_alive), sid).map_err(explain)?);
    }
    Ok(found)
}

fn one(
    row: &rusqlite::Row<'_>,
    is_alive: &mut impl FnMut(&String) -> bool,
) -> Result<SessionSummary, rusqlite::Error> {
    let owner: Option<String> = row.get(3)?;
    let owner_pid = owner.filter(is_alive).as_deref().and_then(owner::pid_of);
    let name = session_name(row.get(0)?)?;
    let (epoch, next_seq) = (Epoch(uint(row.get(1)?)), Seq(uint(row.get(2)?)));
    Ok(tally(row, 7)?.summary(name, epoch, next_seq, owner_pid, row.get(5)?, row.get(4)?))
}

fn session_name(name: String) -> Result<SessionName, rusqlite::Error> {
    SessionName::new(name)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}

pub(super) fn open_turns(connection: &Connection) -> Result<Vec<SessionName>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT name, sid FROM session WHERE open_turn IS NOT NULL
         UNION SELECT name, sid FROM session WHERE sid IN (SELECT sid FROM dedupe WHERE turn IS NULL)
         ORDER BY name",
    )?;
    let read = |row: &rusqlite::Row<'_>| whole(row.get(0).and_then(session_name), row.get(1)?);
    let rows = statement.query_map([], read)?;
    rows.filter_map(Result::transpose).collect()
}

pub(super) fn sent(
    connection: &Connection,
    session: &SessionName,
    send: &SendId,
) -> Result<Option<Sent>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT input_hash, turn FROM dedupe
             WHERE sid = (SELECT sid FROM session WHERE name = ?1) AND send_id = ?2",
        )?
        .query_row(params![session.as_str(), &*send.0], |row| {
            let turn = row.get::<_, Option<i64>>(1)?.map(|turn| TurnId(uint(turn)));
            Ok(Sent { hash: digest(row.get(0)?)?, turn })
        })
        .optional()
}

fn digest(hex: String) -> Result<Digest, rusqlite::Error> {
    let parsed: Result<Digest, serde::de::value::Error> = Digest::deserialize(hex.into_deserializer());
    parsed.map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}
