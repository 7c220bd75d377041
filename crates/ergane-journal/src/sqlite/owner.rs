//! Who owns a session: the process that holds the lock on its owner file.
//!
//! # Why a locked file and not a pid
//!
//! A pid may be used again and says nothing of another host's container. A lock of the operating system is held as long
//! as its process lives, stopped or not, and is gone the moment that it is not, however it ended. So each process locks
//! a file of its own, a session's row names that file, and whoever can lock it too knows that its process is dead. The
//! pid in the name is for people.
//!
//! There are two such locks, and neither says all. One of the open *file* (`flock(2)`) is inherited: a process that is
//! killed while it starts another one leaves a copy of its open files in what is not yet that other one, and the lock lives on
//! in there until that executes its program. One of the *process* (`fcntl(2)`) is not, but it is lost as soon as the process
//! closes the file anywhere, were it only a tool that searched the folder. So an owner holds both. Without the first it is
//! dead; with both it lives; with the first alone it is looked at again for a moment, and lives when that does not change.
//!
//! # How a file is neither mistaken for a dead one while it is born nor removed while it lives
//!
//! Whoever looks takes a *shared* lock, so lookers do not mistake each other for an owner, and removes a file only under
//! it. A new owner waits for its exclusive lock and then checks that its file is still the one at its path; if not, a
//! looker came between, and it starts over. Rows name a file only after that.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::lock::lock;

/// The files of all owners of this process, which it does not open to look: a lock of its own process is none for it, and
/// to close the file would give it up.
static OURS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The files of owners that were waited for in vain: they live, and have lost one of their locks. Nobody waits for them once
/// more, since that is done where others wait too.
static LIVING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// How many of those are remembered before all are forgotten.
const LIVING_REMEMBERED: usize = 1024;

/// So long a process that was being started may take to execute its program, and let go of what it inherited.
const HEIR: Duration = Duration::from_secs(1);

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
        loop {
            let nonce = RandomState::new().hash_one(std::process::id());
            let id = format!("{}-{nonce:016x}", std::process::id());
            let path = dir.join(&id);
            lock(&OURS).insert(path.clone());
            let claimed = match create_private(&path) {
                Ok(file) => hold(&file).map(|()| is_at(&file, &path).then_some(file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
                Err(error) => Err(error),
            };
            match claimed {
                Ok(Some(file)) => return Ok(Self { id, path, _file: file }),
                Ok(None) => lock(&OURS).remove(&path),
                Err(error) => {
                    if let Err(left) = fs::remove_file(&path) {
                        tracing::debug!(path = %path.display(), error = %left, "an owner file stays that nobody owns");
                    }
                    lock(&OURS).remove(&path);
                    return Err(error);
                }
            };
        }
    }

    /// What a session's row names.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Still locked, so nobody takes it for anything. If it stays, the next process sweeps it up.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "an owner file could not be removed");
        }
        lock(&OURS).remove(&self.path);
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
    let path = dir.join(id);
    if lock(&OURS).contains(&path) {
        return true;
    }
    let patience = if lock(&LIVING).contains(&path) { Duration::ZERO } else { HEIR };
    let began = Instant::now();
    let lives = match dead(&path, patience) {
        Ok(dead) => dead.is_none(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    };
    if lives && began.elapsed() >= HEIR {
        let mut living = lock(&LIVING);
        if living.len() >= LIVING_REMEMBERED {
            living.clear();
        }
        living.insert(path);
    }
    lives
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
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let is_owner =
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| pid_of(name).is_some());
        if is_owner
            && !lock(&OURS).contains(&path)
            && let Err(error) = remove_if_dead(&path)
        {
            tracing::debug!(path = %path.display(), %error, "a dead owner's file could not be removed");
        }
    }
}

fn remove_if_dead(path: &Path) -> io::Result<()> {
    let removed = match dead(path, Duration::ZERO) {
        // Removed under the lock: nobody can become its owner meanwhile.
        Ok(Some(_locked)) => fs::remove_file(path),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The file, if its owner is dead: while it is open nobody becomes its owner. `None` when the owner lives, or cannot be told
/// from a living one for as long as `patience`.
fn dead(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    let until = Instant::now() + patience;
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if is_held(&file)? || Instant::now() >= until => return Ok(None),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Takes both locks; waits while others look.
#[cfg(unix)]
fn hold(file: &File) -> io::Result<()> {
    use rustix::fs::{FlockOperation, fcntl_lock};
    use rustix::io::Errno;
    file.lock()?;
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        // Elsewhere than on Linux the first of them stands in the way of the second, though both are ours: then that one is
        // all there is. Nobody else's can be in the way: the file is new, and locked.
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(()),
        taken => Ok(taken?),
    }
}

#[cfg(not(unix))]
fn hold(file: &File) -> io::Result<()> {
    file.lock()
}

/// Whether another process, and not only an heir of its open files, holds the file.
#[cfg(unix)]
fn is_held(file: &File) -> io::Result<bool> {
    use rustix::process::{Flock, FlockType, fcntl_getlk};
    Ok(fcntl_getlk(file, &Flock::from(FlockType::WriteLock))?.is_some())
}

#[cfg(not(unix))]
fn is_held(_: &File) -> io::Result<bool> {
    Ok(true)
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

    /// A process that has the open file itself, as one has that is about to execute its program.
    #[cfg(unix)]
    fn heir(file: &File) -> std::process::Child {
        let stdin = std::process::Stdio::from(file.try_clone().unwrap());
        std::process::Command::new("sleep").arg("600").stdin(stdin).spawn().unwrap()
    }

    #[cfg(unix)]
    #[test]
    fn what_a_killed_process_was_starting_does_not_keep_its_sessions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("4711-00000000000000aa");
        let file = create_private(&path).unwrap();
        hold(&file).unwrap();
        let mut heir = heir(&file);
        drop(file); // all that a killed process closes
        assert!(dead(&path, Duration::ZERO).unwrap().is_none(), "its heir has the lock");
        assert!(!is_held(&File::open(&path).unwrap()).unwrap(), "and is known as no more than that");
        let looks = std::thread::spawn({
            let path = path.clone();
            move || dead(&path, Duration::from_secs(600)).unwrap().is_some()
        });
        heir.kill().unwrap(); // as good as that it executes its program, which closes the file
        heir.wait().unwrap();
        assert!(looks.join().unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn an_owner_that_closed_its_file_elsewhere_still_owns() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner::claim(dir.path()).unwrap();
        drop(File::open(&owner.path).unwrap()); // as whoever searches the folder does
        lock(&OURS).remove(&owner.path); // to look as another process would
        assert!(dead(&owner.path, Duration::ZERO).unwrap().is_none());
        // It is waited for once, and then known.
        assert!(is_alive(dir.path(), owner.id()));
        assert!(lock(&LIVING).contains(&owner.path));
        assert!(is_alive(dir.path(), owner.id()));
        sweep(dir.path());
        assert!(owner.path.exists());
    }

    #[test]
    fn a_copy_of_a_journal_does_not_take_its_owner_along() {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let owner = Owner::claim(dir.path()).unwrap();
        assert!(is_alive(dir.path(), owner.id()));
        assert!(!is_alive(copy.path(), owner.id()));
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
