//! Who owns a session: the process that holds the lock on its owner file.
//!
//! # Why a locked file and not a pid
//!
//! A pid may be used again and says nothing of another host's container. A lock of the operating system is held as long
//! as its process lives, stopped or not, and is gone the moment that it is not, however it ended. So each process locks
//! a file of its own, a session's row names that file, and whoever can lock it too knows that its process is dead. The
//! pid in the name is for people.
//!
//! # How a file is neither mistaken for a dead one while it is born nor removed while it lives
//!
//! Whoever looks takes a *shared* lock, so lookers do not mistake each other for an owner, and removes a file only under
//! it. A new owner waits for its exclusive lock and then checks that its file is still the one at its path; if not, a
//! looker came between, and it starts over. Rows name a file only after that.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};

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
            let file = match create_private(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            };
            file.lock()?;
            if is_at(&file, &path) {
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
        // Still locked, so nobody takes it for anything. If it stays, the next process sweeps it up.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "an owner file could not be removed");
        }
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
    match File::open(dir.join(id)) {
        Ok(file) => file.try_lock_shared().is_err(),
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
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let ours = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| pid_of(name).is_some());
        if ours && let Err(error) = remove_if_dead(&path) {
            tracing::debug!(path = %path.display(), %error, "a dead owner's file could not be removed");
        }
    }
}

fn remove_if_dead(path: &Path) -> io::Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
        // Removed under the lock: nobody can become its owner meanwhile.
        Ok(()) => match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        },
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
    fn owner_files_are_readable_by_their_user_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("owners");
        let owner = Owner::claim(&dir).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&owner.path)), (0o700, 0o600));
    }
}
