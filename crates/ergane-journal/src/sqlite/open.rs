//! Opening, releasing and deleting: who owns a session, and its epoch.

use ergane_core::{Epoch, FORMAT_VERSION, Seq, SessionName};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::JournalError;
use crate::sqlite::Disk;
use crate::sqlite::busy::begin;
use crate::sqlite::owner::{self, Owner};
use crate::sqlite::read::{int, uint};
use crate::sqlite::schema;
use crate::sqlite::write::Writer;
use crate::store::{Opened, Position};

/// How many dead owners are remembered before all are forgotten; it only saves looking again.
const DEAD_REMEMBERED: usize = 4096;

/// What decides about an opening.
struct Held {
    sid: i64,
    epoch: u64,
    next_seq: u64,
    owner: Option<String>,
    fmt: u32,
}

impl Writer {
    pub(super) fn open_sessions(
        &mut self,
        disk: &Disk,
        sessions: &[SessionName],
    ) -> Vec<Result<Opened, JournalError>> {
        let mut opened = Vec::with_capacity(sessions.len());
        let all = self.own(disk).and_then(|me| {
            self.transact(disk, |writer, connection| {
                for session in sessions {
                    opened.push(writer.open_one(connection, disk, &me, session)?);
                }
                Ok(())
            })
        });
        match all {
            Ok(()) => opened,
            // Nothing of it counts, and asking again is harmless.
            Err(error) => sessions.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn open_one(
        &mut self,
        connection: &Connection,
        disk: &Disk,
        me: &str,
        session: &SessionName,
    ) -> Result<Result<Opened, JournalError>, rusqlite::Error> {
        let Some(held) = find(connection, session)? else {
            let epoch = self.floor.saturating_add(1);
            connection
                .prepare_cached("INSERT INTO session(name, epoch, next_seq, owner) VALUES (?1, ?2, 1, ?3)")?
                .execute(params![session.as_str(), int(epoch), me])?;
            return Ok(Ok(Opened { epoch: Epoch(epoch), next_seq: Seq(1) }));
        };
        if held.fmt > FORMAT_VERSION {
            let place = format!("session {session}");
            return Ok(Err(JournalError::Newer { place, found: held.fmt, supported: FORMAT_VERSION }));
        }
        if let Some(busy) = self.busy(disk, session, &held) {
            return Ok(Err(busy));
        }
        let epoch = held.epoch.saturating_add(1);
        connection
            .prepare_cached("UPDATE session SET epoch = ?2, owner = ?3 WHERE sid = ?1")?
            .execute(params![held.sid, int(epoch), me])?;
        Ok(Ok(Opened { epoch: Epoch(epoch), next_seq: Seq(held.next_seq) }))
    }

    /// Removes the session, with `only_at` if it stands there.
    pub(super) fn delete(
        &mut self,
        disk: &Disk,
        session: &SessionName,
        only_at: Option<Position>,
    ) -> Result<bool, JournalError> {
        self.transact(disk, |writer, connection| {
            let Some(held) = find(connection, session)? else { return Ok(Ok(false)) };
            let stands = Position { epoch: Epoch(held.epoch), next_seq: Seq(held.next_seq) };
            if only_at.is_some_and(|position| position != stands) {
                return Ok(Ok(false));
            }
            if let Some(busy) = writer.busy(disk, session, &held) {
                return Ok(Err(busy));
            }
            let snapshots = schema::has_snapshots(connection)?.then_some("snapshot");
            for table in ["event", "dedupe", "session"].into_iter().chain(snapshots) {
                let sql = format!("DELETE FROM {table} WHERE sid = ?1");
                connection.prepare_cached(&sql)?.execute([held.sid])?;
            }
            writer.floor = writer.floor.max(held.epoch);
            Ok(Ok(true))
        })?
    }

    pub(super) fn release(&mut self, disk: &Disk, session: &SessionName) -> Result<(), JournalError> {
        // Who owns nothing has nothing to give up.
        let Some(me) = self.owner.as_ref().map(|owner| owner.id().to_owned()) else { return Ok(()) };
        self.transact(disk, |_, connection| {
            connection
                .prepare_cached("UPDATE session SET owner = NULL WHERE name = ?1 AND owner = ?2")?
                .execute(params![session.as_str(), me])?;
            Ok(())
        })
    }

    /// This store's id as an owner; it becomes one with its first session, so that reading makes no files.
    fn own(&mut self, disk: &Disk) -> Result<String, JournalError> {
        let owner = match self.owner.take() {
            Some(owner) => owner,
            None => Owner::claim(&disk.owners).map_err(|error| JournalError::Io {
                path: disk.owners.clone(),
                reason: format!("{error}; check that you may write there"),
                retryable: true,
            })?,
        };
        Ok(self.owner.insert(owner).id().to_owned())
    }

    /// The error, when another living owner has the session.
    fn busy(&mut self, disk: &Disk, session: &SessionName, held: &Held) -> Option<JournalError> {
        let id = held.owner.as_ref()?;
        let mine = self.owner.as_ref().is_some_and(|owner| owner.id() == id);
        if mine || self.dead.contains(id) {
            return None;
        }
        if owner::is_alive(&disk.owners, id) {
            let pid = owner::pid_of(id).unwrap_or(0);
            return Some(JournalError::Busy { session: session.clone(), pid });
        }
        if self.dead.len() >= DEAD_REMEMBERED {
            self.dead.clear();
        }
        self.dead.insert(id.clone());
        None
    }

    /// Runs `work` in one transaction; on any error nothing of it stays, as far as anybody can tell.
    fn transact<T>(
        &mut self,
        disk: &Disk,
        work: impl FnOnce(&mut Self, &Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, JournalError> {
        self.connection(disk)?;
        // Taken out, so that `work` may use the rest of the writer. On the way back it is kept only if it is sound.
        let Some(connection) = self.connection.take() else { return Err(JournalError::Away) };
        let begun = begin(&connection, disk.options.busy_timeout);
        let done = begun.and_then(|()| work(self, &connection));
        match done {
            Ok(done) => match self.commit(&connection) {
                Ok(()) => {
                    self.connection = Some(connection);
                    Ok(done)
                }
                Err(error) => {
                    disk.doubt();
                    drop(connection);
                    Err(disk.explain(&error))
                }
            },
            Err(error) => {
                self.connection = Some(connection);
                self.roll_back(&error);
                Err(disk.explain(&error))
            }
        }
    }
}

fn find(connection: &Connection, session: &SessionName) -> Result<Option<Held>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT sid, epoch, next_seq, owner, fmt FROM session WHERE name = ?1")?
        .query_row([session.as_str()], |row| {
            Ok(Held {
                sid: row.get(0)?,
                epoch: uint(row.get(1)?),
                next_seq: uint(row.get(2)?),
                owner: row.get(3)?,
                fmt: row.get(4)?,
            })
        })
        .optional()
}
