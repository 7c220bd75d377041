//! The store in one SQLite file.
//!
//! # Why SQLite, and why so
//!
//! One file that a person can copy, that survives power loss by decades of testing, and that several processes may use
//! at once. `journal_mode=WAL` lets readers read while the writer writes, so a list never waits; `synchronous=FULL`
//! makes a commit mean what durable means. There is one writing connection, behind a lock, and a small pool of reading
//! ones, each a snapshot of its own.
//!
//! # Why a commit that failed is read back
//!
//! When a commit reports an error, the transaction may be in the file all the same, or may seem to be there only because
//! the system still shows pages that it failed to write. So nothing is believed: the connection is thrown away, the file
//! opened anew, and a truncating checkpoint must succeed, which writes the pages again and syncs them. What is read
//! after that is on the disk, and only then the appends of the batch are answered. Until that has succeeded nobody reads:
//! not the writer, and no reading connection either, for the next one that is opened would find the commit in the pages
//! that the system shows, and those may be gone after a power cut.

mod busy;
mod open;
mod owner;
mod read;
mod schema;
mod snapshot;
mod write;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ergane_core::{Envelope, SendId, Seq, SessionName};
use rusqlite::Connection;

use crate::append::{Append, AppendError, Prepared};
use crate::error::JournalError;
use crate::lock::lock;
use crate::sqlite::write::Writer;
use crate::store::{Journal, Opened, Position, Sent};
use crate::summary::SessionSummary;

/// Keeps events in an SQLite file.
///
/// ```
/// use ergane_journal::{Journal, Sqlite};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let folder = tempfile::tempdir()?;
/// let journal = Sqlite::open(folder.path().join("new/ergane.db"))?; // made, with its folder
/// assert!(journal.list(None, 10)?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sqlite {
    writer: Mutex<Writer>,
    readers: Mutex<Readers>,
    commits: AtomicU64,
    /// Sessions of which a snapshot was found that is not what it ought to be: they are made anew.
    unsound: Mutex<HashSet<SessionName>>,
    /// Last, and so dropped last: until then its files are known as those of an open journal.
    disk: Disk,
}

/// How a journal's file is opened.
///
/// ```
/// use std::time::Duration;
///
/// use ergane_journal::Sqlite;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let options = Sqlite::options().busy_timeout(Duration::from_secs(1)).max_bytes(1 << 30);
/// let journal = options.open(folder.path().join("ergane.db"))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    busy_timeout: Duration,
    max_bytes: Option<u64>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), max_bytes: None }
    }
}

impl SqliteOptions {
    /// How long a commit waits for one of another process. Default: 5 s.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use std::time::Duration;
    ///
    /// use ergane_journal::Sqlite;
    ///
    /// let journal = Sqlite::options().busy_timeout(Duration::from_secs(1)).open(folder.path().join("ergane.db"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// The most bytes the file may have; past it, appends are not written, as when the disk is full. Rounded down to
    /// pages of 8 KiB. Default: no limit.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use ergane_journal::Sqlite;
    ///
    /// let journal = Sqlite::options().max_bytes(1 << 30).open(folder.path().join("ergane.db"))?; // 1 GiB
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Opens the file at `path`; makes it, and its folders, when it does not exist.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use ergane_journal::{JournalError, Sqlite};
    ///
    /// let journal = Sqlite::options().open(folder.path().join("new/ergane.db"))?; // the folder is made
    /// let a_folder = Sqlite::options().open(folder.path());
    /// assert!(matches!(a_folder, Err(JournalError::InvalidPath { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`JournalError::InvalidPath`] for a directory and for a file that is no journal, [`JournalError::Newer`],
    /// [`JournalError::Io`] when it cannot be read or written.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Sqlite, JournalError> {
        let disk = Disk::new(path.as_ref(), self)?;
        owner::sweep(&disk.owners);
        let writer = Mutex::new(Writer::new(disk.open()?));
        Ok(Sqlite {
            disk,
            writer,
            readers: Mutex::default(),
            commits: AtomicU64::new(0),
            unsound: Mutex::default(),
        })
    }
}

/// What the SQLite journals consist of that are open in this process, each in its own list.
static OPEN: Mutex<Vec<Arc<[PathBuf]>>> = Mutex::new(Vec::new());

/// Where the file is and how it is opened.
#[derive(Debug)]
struct Disk {
    /// Without links and independent of the working directory: what lies beside the file must be the same for all.
    path: PathBuf,
    owners: PathBuf,
    /// All that it consists of.
    files: Arc<[PathBuf]>,
    options: SqliteOptions,
    /// Whether a commit has failed since which the file was not made sure of: what it shows is not believed.
    unsure: AtomicBool,
}

impl Disk {
    fn new(path: &Path, options: SqliteOptions) -> Result<Self, JournalError> {
        schema::make_file(path)?;
        let path = fs::canonicalize(path).map_err(|error| JournalError::Io {
            path: path.to_owned(),
            reason: error.to_string(),
            retryable: false,
        })?;
        let beside = |ending: &str| beside(&path, ending);
        let owners = beside(".owners");
        // The last is where processes meet, if they do (`Journal::file`).
        let files: Arc<[PathBuf]> = ["", "-wal", "-shm", "-journal", ".sockets"]
            .map(beside)
            .into_iter()
            .chain([owners.clone()])
            .collect();
        lock(&OPEN).push(Arc::clone(&files));
        Ok(Self { files, owners, path, options, unsure: AtomicBool::new(false) })
    }

    fn is_unsure(&self) -> bool {
        self.unsure.load(Ordering::Acquire)
    }

    /// A commit has failed. To be said before its connection is closed: the next one may show what it wrote.
    fn doubt(&self) {
        self.unsure.store(true, Ordering::Release);
    }

    /// What the file shows is on the disk.
    fn trust(&self) {
        self.unsure.store(false, Ordering::Release);
    }

    fn not_sure_yet(&self) -> JournalError {
        let reason = "a commit failed, and what became of it is not known yet; try again".to_owned();
        JournalError::Io { path: self.path.clone(), reason, retryable: true }
    }

    /// The write-ahead log.
    fn log(&self) -> PathBuf {
        beside(&self.path, "-wal")
    }

    /// A connection that writes.
    fn open(&self) -> Result<Connection, JournalError> {
        let connection = schema::open_to_write(&self.path, self.options.busy_timeout)?;
        if let Some(bytes) = self.options.max_bytes {
            let pages = i64::try_from(bytes / schema::PAGE_BYTES).unwrap_or(i64::MAX).max(1);
            connection
                .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
                .map_err(|error| self.explain(&error))?;
        }
        Ok(connection)
    }

    fn explain(&self, error: &rusqlite::Error) -> JournalError {
        schema::explain(&self.path, error)
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = OsString::from(path);
    beside.push(ending);
    PathBuf::from(beside)
}

/// Reading connections that nobody uses now.
#[derive(Debug, Default)]
struct Readers {
    /// Raised when what connections have cached must not be believed any more.
    generation: u64,
    free: Vec<Connection>,
}

/// How many idle reading connections are kept.
const IDLE_READERS: usize = 4;

impl Sqlite {
    /// Opens the file at `path` with the default [`SqliteOptions`].
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use ergane_journal::{Journal, Sqlite};
    ///
    /// let journal = Sqlite::open(folder.path().join("ergane.db"))?;
    /// assert!(journal.open_turns()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`SqliteOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::options().open(path)
    }

    /// Options to open a file with.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use ergane_journal::Sqlite;
    ///
    /// let journal = Sqlite::options().max_bytes(1 << 30).open(folder.path().join("ergane.db"))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn options() -> SqliteOptions {
        SqliteOptions::default()
    }

    /// The file, as an absolute path without links.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use ergane_journal::Sqlite;
    ///
    /// let journal = Sqlite::open(folder.path().join("ergane.db"))?;
    /// assert!(journal.path().is_absolute() && journal.path().ends_with("ergane.db"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn path(&self) -> &Path {
        &self.disk.path
    }

    /// How many transactions with events were committed since this was opened: each is one wait for the disk.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// use ergane_journal::Sqlite;
    ///
    /// let journal = Sqlite::open(folder.path().join("ergane.db"))?;
    /// assert_eq!(journal.commits(), 0, "nothing was written yet");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, JournalError>) -> Result<T, JournalError> {
        self.make_sure()?;
        let (generation, free) = {
            let mut readers = lock(&self.readers);
            (readers.generation, readers.free.pop())
        };
        let connection = match free {
            Some(connection) => connection,
            None => schema::open_to_read(&self.disk.path, self.disk.options.busy_timeout)
                .map_err(|error| self.disk.explain(&error))?,
        };
        let answer = read(&connection);
        let mut readers = lock(&self.readers);
        let sound = !matches!(answer, Err(JournalError::Io { .. }));
        if sound && readers.generation == generation && readers.free.len() < IDLE_READERS {
            readers.free.push(connection);
        }
        // A commit that failed meanwhile may be in the answer.
        if self.disk.is_unsure() { Err(self.disk.not_sure_yet()) } else { answer }
    }

    /// After a failed commit: makes sure of the file before anybody reads it. Else nobody waits for the writer here.
    fn make_sure(&self) -> Result<(), JournalError> {
        if self.disk.is_unsure() {
            self.change(|writer| writer.connection(&self.disk).map(|_| ()))?;
        }
        Ok(())
    }

    /// Forgets the reading connections: what they have cached is not believed any more.
    fn renew_readers(&self) {
        let mut readers = lock(&self.readers);
        readers.generation += 1;
        readers.free.clear();
    }

    fn write(&self, batch: &[Prepared]) -> Vec<Result<(), AppendError>> {
        let mut writer = lock(&self.writer);
        let written = writer.append(&self.disk, batch);
        if written.commits {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        if written.failed {
            self.renew_readers();
        }
        written.outcomes
    }

    fn change<T>(&self, change: impl FnOnce(&mut Writer) -> T) -> T {
        let mut writer = lock(&self.writer);
        let changed = change(&mut writer);
        if writer.connection.is_none() {
            self.renew_readers();
        }
        changed
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        lock(&OPEN).retain(|files| !Arc::ptr_eq(files, &self.files));
    }
}

impl Journal for Sqlite {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    /// Also those of other SQLite journals that this process has open: what holds for its own locks holds for all of them.
    fn files(&self) -> Arc<[PathBuf]> {
        match lock(&OPEN).as_slice() {
            [_] => Arc::clone(&self.disk.files),
            all => all.iter().flat_map(|files| files.iter().cloned()).collect(),
        }
    }

    fn file(&self) -> Option<&Path> {
        Some(self.path())
    }

    fn open_session(&self, session: &SessionName) -> Result<Opened, JournalError> {
        let mut opened = self.open_sessions(std::slice::from_ref(session));
        opened.pop().unwrap_or(Err(JournalError::Away))
    }

    fn open_sessions(&self, sessions: &[SessionName]) -> Vec<Result<Opened, JournalError>> {
        self.change(|writer| writer.open_sessions(&self.disk, sessions))
    }

    fn append(&self, batch: &[Append]) -> Vec<Result<(), AppendError>> {
        let mut refused = Vec::new();
        let mut sound = Vec::new();
        for append in batch {
            match Prepared::new(append.clone()) {
                Ok(prepared) => {
                    sound.push(prepared);
                    refused.push(None);
                }
                Err(error) => refused.push(Some(error)),
            }
        }
        let mut written = self.write(&sound).into_iter();
        let mut written = || written.next().unwrap_or_else(|| Err(AppendError::no_answer()));
        refused.into_iter().map(|error| error.map_or_else(&mut written, Err)).collect()
    }

    fn commit(&self, batch: &[Prepared]) -> Vec<Result<(), AppendError>> {
        self.write(batch)
    }

    fn load(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
    ) -> Result<Vec<Arc<Envelope>>, JournalError> {
        let mut events = Vec::new();
        self.load_in_pieces(session, after, below, &mut |piece| {
            events.extend(piece.into_iter().map(Arc::new));
        })?;
        Ok(events)
    }

    fn load_in_pieces(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
        take: &mut dyn FnMut(Vec<Envelope>),
    ) -> Result<(), JournalError> {
        let sound =
            self.read(|connection| read::load(connection, &self.disk, session, after, below, take))?;
        if !sound {
            tracing::warn!(%session, "a snapshot was not what it ought to be; the log was read instead");
            lock(&self.unsound).insert(session.clone());
        }
        Ok(())
    }

    fn snapshot(&self, session: &SessionName) -> Result<Seq, JournalError> {
        let mut anew = lock(&self.unsound).contains(session);
        let mut upto = Seq(0);
        for _ in 0..snapshot::AT_ONCE {
            let due = self.read(|connection| snapshot::due(connection, &self.disk, session, anew))?;
            upto = due.upto;
            if !due.is_anything() {
                break;
            }
            self.change(|writer| writer.keep(&self.disk, &due))?;
            if anew {
                // Only now are those that were wrong gone.
                lock(&self.unsound).remove(session);
            }
            (upto, anew) = (due.then(), false);
        }
        Ok(upto)
    }

    fn position(&self, session: &SessionName) -> Result<Option<Position>, JournalError> {
        self.read(|connection| read::position(connection, session).map_err(|error| self.disk.explain(&error)))
    }

    fn summary(&self, session: &SessionName) -> Result<Option<SessionSummary>, JournalError> {
        self.read(|connection| read::summary(connection, &self.disk, session))
    }

    fn list(&self, after: Option<&SessionName>, limit: usize) -> Result<Vec<SessionSummary>, JournalError> {
        self.read(|connection| read::list(connection, &self.disk, after, limit))
    }

    fn open_turns(&self) -> Result<Vec<SessionName>, JournalError> {
        self.read(|connection| read::open_turns(connection).map_err(|error| self.disk.explain(&error)))
    }

    fn sent(&self, session: &SessionName, send: &SendId) -> Result<Option<Sent>, JournalError> {
        self.read(|connection| {
            read::sent(connection, session, send).map_err(|error| self.disk.explain(&error))
        })
    }

    fn delete(&self, session: &SessionName) -> Result<bool, JournalError> {
        self.change(|writer| writer.delete(&self.disk, session, None))
    }

    fn delete_at(&self, session: &SessionName, position: Position) -> Result<bool, JournalError> {
        self.change(|writer| writer.delete(&self.disk, session, Some(position)))
    }

    fn release(&self, session: &SessionName) -> Result<(), JournalError> {
        self.change(|writer| writer.release(&self.disk, session))
    }
}

#[cfg(test)]
mod tests;
