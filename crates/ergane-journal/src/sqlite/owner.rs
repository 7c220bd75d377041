//! Who owns a session: the process that holds the lock on its owner file.
//!
//! # Why a locked file and not a pid
//!
//! A pid may be used again and says nothing of another host's container. A lock of the operating system is held as long
//! as its process lives, stopped or not, and is gone the moment that it is not, however it ended. So each process locks
//! a file of its own, a session's row names that file, and whoever can lock it too knows that its process is dead. The
//! pid in the name is for people.
//!
//! It is a lock of the *process* (`fcntl(2)`, where there is that) and not one of the open file (`flock(2)`): a process
//! that is killed while it starts another one leaves a copy of its open files in what is not yet that other one, and a
//! lock of the file would live on in there for a while. Such a lock has two peculiarities: it is no hindrance within its
//! own process, and it is lost when the process closes the file *anywhere*. So what this process owns is known by name,
//! and none of its files is opened to look.
//!
//! # How a file is neither mistaken for a dead one while it is born nor removed while it lives
//!
//! Whoever looks takes a *shared* lock, so lookers do not mistake each other for an owner, and removes a file only under
//! it. A new owner waits for its exclusive lock and then checks that its file is still the one at its path; if not, a
//! looker came between, and it starts over. Rows name a file only after that.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::lock::lock;

/// The ids of all owners of this process. Held while a file is looked at or becomes an owner's, so that two threads do not
/// lose each other's locks.
static OURS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// This process as an owner of sessions. Dropping it gives all of them up.
#[derive(Debug)]
pub(super) struct Owner {
    id: String,
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Owner {
    /// Becomes an owner with a file in `dir`.
    pub(super) fn claim(dir: &Path) -> io::Result<Self> {
        make_private_dir(dir)?;
        let mut ours = lock(&OURS);
        loop {
            let nonce = RandomState::new().hash_one(std::process::id());
            let id = format!("{}-{nonce:016x}", std::process::id());
            let path = dir.join(&id);
            let file = match create_private(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            };
            lock_file(&file)?;
            if is_at(&file, &path) {
                ours.insert(id.clone());
                return Ok(Self { id, path, _file: file });
            }
        }
    }

    /// What a session's row names.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut ours = lock(&OURS);
        // Still locked, so nobody takes it for anything. If it stays, the next process sweeps it up.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "an owner file could not be removed");
        }
        ours.remove(&self.id);
    }
}

/// The pid in an owner's id.
pub(super) fn pid_of(id: &str) -> Option<u32> {
    id.split_once('-')?.0.parse().ok()
}

/// Whether the owner with that id lives. When that cannot be told, it does.
pub(super) fn is_alive(dir: &Path, id: &str) -> bool {
    if !id.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        return false; // no id that we made
    }
    let ours = lock(&OURS);
    if ours.contains(id) {
        return true;
    }
    match File::open(dir.join(id)) {
        Ok(file) => is_locked(&file).unwrap_or(true),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Removes the files of dead owners.
pub(super) fn sweep(dir: &Path) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::debug!(path = %dir.display(), %error, "owner files cannot be listed");
            return;
        }
    };
    let ours = lock(&OURS);
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let id = path.file_name().and_then(|name| name.to_str()).filter(|name| pid_of(name).is_some());
        let others = id.is_some_and(|id| !ours.contains(id));
        if others && let Err(error) = remove_if_dead(&path) {
            tracing::debug!(path = %path.display(), %error, "a dead owner's file could not be removed");
        }
    }
}

fn remove_if_dead(path: &Path) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    if is_locked(&file)? {
        return Ok(());
    }
    // Removed under the lock: nobody can become its owner meanwhile.
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Locks the file for this process alone; waits while others look at it.
#[cfg(unix)]
fn lock_file(file: &File) -> io::Result<()> {
    use rustix::fs::{FlockOperation, fcntl_lock};
    Ok(rustix::io::retry_on_intr(|| fcntl_lock(file, FlockOperation::LockExclusive))?)
}

#[cfg(not(unix))]
fn lock_file(file: &File) -> io::Result<()> {
    file.lock()
}

/// Whether another process has it locked; if not, nobody can lock it until it is closed.
#[cfg(unix)]
fn is_locked(file: &File) -> io::Result<bool> {
    use rustix::fs::{FlockOperation, fcntl_lock};
    use rustix::io::Errno;
    match fcntl_lock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn is_locked(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(std::fs::TryLockError::WouldBlock) => Ok(true),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Creates a file that only its user may read.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(there)) => (held.dev(), held.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_lives_until_it_is_dropped_and_its_file_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("owners");
        let owner = Owner::claim(&dir).unwrap();
        let (id, path) = (owner.id().to_owned(), owner.path.clone());
        assert!(is_alive(&dir, &id));
        assert_eq!(pid_of(&id), Some(std::process::id()));
        sweep(&dir);
        assert!(path.exists(), "a living owner's file is not swept up");
        drop(owner);
        assert!(!path.exists());
        assert!(!is_alive(&dir, &id));
    }

    #[test]
    fn a_file_that_a_killed_process_left_is_a_dead_owner_and_is_swept_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("4711-00000000000000aa");
        drop(create_private(&path).unwrap());
        let other = dir.path().join("notes.txt");
        fs::write(&other, "not an owner file").unwrap();
        assert!(!is_alive(dir.path(), "4711-00000000000000aa"));
        sweep(dir.path());
        assert!(!path.exists());
        assert!(other.exists(), "what is not an owner file is left alone");
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_does_not_live_on_in_what_its_process_was_starting_when_it_was_killed() {
        use std::process::{Command, Stdio};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("4711-00000000000000aa");
        let file = create_private(&path).unwrap();
        lock_file(&file).unwrap();
        // It has the open file itself, as a process has that is about to become another.
        let heir = Stdio::from(file.try_clone().unwrap());
        let mut child = Command::new("sleep").arg("600").stdin(heir).spawn().unwrap();
        drop(file); // all that a killed process closes
        let locked = is_locked(&File::open(&path).unwrap()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!locked);
    }

    #[cfg(unix)]
    #[test]
    fn owner_files_are_readable_by_their_user_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("owners");
        let owner = Owner::claim(&dir).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&owner.path)), (0o700, 0o600));
    }
}
