//! The file: how it is recognised, made and opened.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::JournalError;
use crate::sqlite::busy::{begin, patiently};
use crate::sqlite::owner::create_private;

/// The version of the tables, in `user_version`.
pub(super) const SCHEMA_VERSION: u32 = TABLES.len() as u32;
/// The first version that has snapshots.
const WITH_SNAPSHOTS: u32 = 2;
/// The bytes of a page.
pub(super) const PAGE_BYTES: u64 = 8192;
/// Marks the file as an ergane journal: "Ergn".
const APPLICATION_ID: i32 = 0x4572_676e;

/// The longest that SQLite waits for a lock, more than a week.
const LONGEST_BUSY: Duration = Duration::from_secs(1_000_000);

/// What made each version of the tables from the one before.
const TABLES: [&str; 2] = [FIRST, SNAPSHOTS];

/// Rowid tables with a small unique index and pages of 8 KB: with large rows that is several times faster than a
/// composite primary key without rowid. Only `dedupe`, whose rows are nothing but a key, goes without.
const FIRST: &str = "
CREATE TABLE session(
    sid INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL,
    next_seq INTEGER NOT NULL,
    owner TEXT,
    fmt INTEGER NOT NULL DEFAULT 0,
    open_turn INTEGER,
    turns INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL DEFAULT 0,
    last_activity INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cost INTEGER NOT NULL DEFAULT 0,
    cost_complete INTEGER NOT NULL DEFAULT 1,
    provider TEXT,
    model TEXT
);
CREATE INDEX session_open ON session(name) WHERE open_turn IS NOT NULL;
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
CREATE TABLE dedupe(
    sid INTEGER NOT NULL,
    send_id TEXT NOT NULL,
    input_hash TEXT NOT NULL,
    turn INTEGER,
    PRIMARY KEY(sid, send_id)
) WITHOUT ROWID;
CREATE INDEX dedupe_waiting ON dedupe(sid) WHERE turn IS NULL;
";

/// The body comes last: what stands before it is read without it.
const SNAPSHOTS: &str = "
CREATE TABLE snapshot(
    sid INTEGER NOT NULL,
    first INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    ver INTEGER NOT NULL,
    anchor INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL,
    UNIQUE(sid, first)
);
";

/// What an error of SQLite says, with what the user can do.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> JournalError {
    let path = path.to_owned();
    let io = |reason: String, retryable| JournalError::Io { path: path.clone(), reason, retryable };
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => JournalError::Locked { path },
        Some(ErrorCode::DiskFull) => io("the disk is full; free some space".to_owned(), true),
        Some(ErrorCode::NotADatabase) => {
            JournalError::InvalidPath { path, reason: "it is a file of another kind".to_owned() }
        }
        // What is not there now may be there again: a folder that is mounted, a file handle that is free.
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => io(
            format!("{error}; check that it and its folder exist and that you may read and write both"),
            true,
        ),
        Some(ErrorCode::DatabaseCorrupt) => {
            io(format!("{error}; check the disk and restore the journal from a copy"), false)
        }
        Some(ErrorCode::SystemIoFailure) => io(format!("{error}; check the disk"), true),
        // They say nothing of what is stored.
        Some(
            ErrorCode::OutOfMemory
            | ErrorCode::OperationAborted
            | ErrorCode::OperationInterrupted
            | ErrorCode::SchemaChanged
            | ErrorCode::FileLockingProtocolFailed,
        ) => io(error.to_string(), true),
        _ => io(error.to_string(), false),
    }
}

/// Opens the file, which is there, for writing; makes the tables when it is empty. Those of an older version are left as they
/// are: they have all that is read, and whoever only looks changes nothing ([`bring_up`]).
pub(super) fn open_to_write(path: &Path, busy: Duration) -> Result<Connection, JournalError> {
    let explained = |error: rusqlite::Error| explain(path, &error);
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, busy).map_err(explained)?;
    let header = Header::at_once(&connection).map_err(explained)?;
    if header.is_empty() {
        create(&connection, busy).map_err(explained)?;
    } else {
        header.check(path)?;
    }
    Header::at_once(&connection).map_err(explained)?.check(path)?;
    set_up(&connection, busy).map_err(explained)?;
    // From here on it is we who wait.
    connection.busy_timeout(Duration::ZERO).map_err(explained)?;
    Ok(connection)
}

/// Opens the file, which is there, for reading only.
pub(super) fn open_to_read(path: &Path, busy: Duration) -> Result<Connection, rusqlite::Error> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, busy)
}

fn connect(path: &Path, mode: OpenFlags, busy: Duration) -> Result<Connection, rusqlite::Error> {
    // No URI flag: a path is a path, also one that begins with `file:`. No mutex of SQLite's: ours is around it.
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // A longer one panics there.
    connection.busy_timeout(busy.min(LONGEST_BUSY))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Makes folders and file when there is nothing yet.
pub(super) fn make_file(path: &Path) -> Result<(), JournalError> {
    let io = |at: &Path, error: io::Error| JournalError::Io {
        path: at.to_owned(),
        reason: format!("{error}; check that its folder exists and that you may write there"),
        retryable: false,
    };
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(JournalError::InvalidPath { path: path.to_owned(), reason: "it is a directory".to_owned() })
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let new: Vec<&Path> = parent.ancestors().take_while(|folder| !folder.exists()).collect();
            fs::create_dir_all(parent).map_err(|error| io(parent, error))?;
            // By us and not by SQLite, because histories are private. The files beside it inherit its mode.
            match create_private(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io(path, error)),
                _ => {}
            }
            // What is in a file is kept only if the way to it is: each new name must be on the disk too.
            let named = new.iter().filter_map(|folder| folder.parent());
            named.chain([parent]).try_for_each(sync_folder).map_err(|error| io(parent, error))
        }
        Err(error) => Err(io(path, error)),
    }
}

/// Brings to the disk what was done to the file, such as cutting it off. Not to be used for one that SQLite has locks on.
pub(super) fn sync_file(path: &Path) -> Result<(), JournalError> {
    let synced = fs::File::options().write(true).open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| JournalError::Io {
        path: path.to_owned(),
        reason: format!("{error}; check the disk"),
        retryable: true,
    })
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    // The parent of a plain name is the working directory.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// What tells journals, other files, and journals of the future apart.
struct Header {
    application: i32,
    version: u32,
    tables: u32,
}

impl Header {
    /// All of it as it stood at one moment: another process may be making the tables just now.
    fn at_once(connection: &Connection) -> Result<Self, rusqlite::Error> {
        let moment = connection.unchecked_transaction()?;
        let header = Self::read(&moment)?;
        moment.commit()?;
        Ok(header)
    }

    fn read(connection: &Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            application: connection.pragma_query_value(None, "application_id", |row| row.get(0))?,
            version: version(connection)?,
            tables: connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?,
        })
    }

    fn is_empty(&self) -> bool {
        self.application == 0 && self.version == 0 && self.tables == 0
    }

    fn check(&self, path: &Path) -> Result<(), JournalError> {
        if self.application != APPLICATION_ID || self.version == 0 {
            let reason = "it is an SQLite database of another program".to_owned();
            return Err(JournalError::InvalidPath { path: path.to_owned(), reason });
        }
        if self.version > SCHEMA_VERSION {
            let place = format!("the journal {}", path.display());
            return Err(JournalError::Newer { place, found: self.version, supported: SCHEMA_VERSION });
        }
        Ok(())
    }
}

fn create(connection: &Connection, busy: Duration) -> Result<(), rusqlite::Error> {
    connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
    // Before the tables: two processes that come at once then both write in this mode.
    patiently(busy, || write_ahead(connection))?;
    bring_up(connection, busy)
}

/// Whether the file has a table of snapshots.
pub(super) fn has_snapshots(connection: &Connection) -> Result<bool, rusqlite::Error> {
    version(connection).map(|version| version >= WITH_SNAPSHOTS)
}

fn version(connection: &Connection) -> Result<u32, rusqlite::Error> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Makes the tables of this version from those that are there, if any: before anything is written that needs them.
pub(super) fn bring_up(connection: &Connection, busy: Duration) -> Result<(), rusqlite::Error> {
    if version(connection)? == SCHEMA_VERSION {
        return Ok(());
    }
    begin(connection, busy)?;
    let made = (|| {
        // Another process may have been faster.
        let version = version(connection)?;
        let done = usize::try_from(version).unwrap_or(usize::MAX);
        for tables in TABLES.iter().skip(done) {
            connection.execute_batch(tables)?;
        }
        if version < SCHEMA_VERSION {
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        Ok(())
    })();
    match made {
        Ok(()) => connection.execute_batch("COMMIT"),
        Err(error) => {
            connection.execute_batch("ROLLBACK")?;
            Err(error)
        }
    }
}

fn set_up(connection: &Connection, busy: Duration) -> Result<(), rusqlite::Error> {
    patiently(busy, || write_ahead(connection))?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA cache_size = -16000;
         PRAGMA temp_store = MEMORY;",
    )?;
    // Back to this size after a burst.
    connection.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))
}

/// SQLite does not wait when a reader would become a writer, as here; two processes that make the same file meet here.
fn write_ahead(connection: &Connection) -> Result<(), rusqlite::Error> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode == "wal" {
        return Ok(());
    }
    let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_LOCK);
    let reason = "this file system has no shared memory for SQLite's write-ahead log; use a local disk";
    Err(rusqlite::Error::SqliteFailure(error, Some(reason.to_owned())))
}
