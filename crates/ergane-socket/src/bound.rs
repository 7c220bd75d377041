//! A socket that has a name beside the journal, for as long as somebody holds it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::place::{self, blocking, identity};

/// So many systems of one process, or processes of one id, on one journal.
const NAMES: u32 = 64;
/// How often it is looked whether others find the socket still.
const LOOK: Duration = Duration::from_secs(30);
/// How long a living process may take to show that it is one.
const PATIENCE: Duration = Duration::from_secs(15);

/// The names that systems of this process have. They are not asked for: a system that is just making its own has nobody who
/// answers yet.
static OURS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A name that no other system of this process takes meanwhile.
#[derive(Debug)]
struct Name(PathBuf);

impl Name {
    fn take(socket: PathBuf) -> Option<Self> {
        let is_free = OURS.lock().unwrap_or_else(PoisonError::into_inner).insert(socket.clone());
        is_free.then(|| Self(socket)) // one that is made is given back when it is dropped
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        OURS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// A socket that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Bound {
    path: PathBuf,
    /// Device and number of what is there: a folder that was removed and made anew may have another one of the name.
    file: (u64, u64),
    /// Who made it. A process that was forked off has all of this, and is not meant by it.
    process: u32,
    /// Last, and so free last.
    _name: Name,
}

impl Bound {
    /// Listens in that folder, which it makes.
    pub(crate) async fn new(folder: &Path) -> io::Result<(Self, UnixListener)> {
        let make = folder.to_owned();
        blocking(move || place::make_folder(&make)).await?;
        for nth in 0..NAMES {
            let Some(name) = Name::take(place::socket(folder, std::process::id(), nth)) else { continue };
            match place::connect(&name.0).await {
                Ok(None) => {
                    let (bound, listener) = blocking(move || Self::bind(name)).await?;
                    return Ok((bound, UnixListener::from_std(listener)?));
                }
                // A process with the same id (of another container, say) has it.
                Ok(Some(_)) => {}
                // Somebody else made it, when the folder was open to all.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "every name for it is taken"))
    }

    fn bind(name: Name) -> io::Result<(Self, StdListener)> {
        let unborn = place::unborn(&name.0);
        place::remove(&unborn); // of a killed process that had our id
        let listener = StdListener::bind(&place::Address::of(&unborn)?.path)?;
        let mut born = Self::of(unborn, name)?;
        fs::set_permissions(&born.path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let socket = born._name.0.clone();
        fs::rename(&born.path, &socket)?;
        born.path = socket;
        Ok((born, listener))
    }

    fn of(path: PathBuf, name: Name) -> io::Result<Self> {
        Ok(Self { file: identity(&path)?, path, process: std::process::id(), _name: name })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Looks now and then whether others find it still, and says how they do not.
    pub(crate) async fn is_removed(&self) -> io::Error {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let (path, file) = (self.path.clone(), self.file);
            match blocking(move || Ok(is_at(&path, file))).await {
                Ok(true) => {}
                Ok(false) => return io::Error::new(io::ErrorKind::NotFound, "its socket was removed"),
                Err(error) => return error,
            }
        }
    }
}

fn is_at(path: &Path, file: (u64, u64)) -> bool {
    identity(path).is_ok_and(|found| found == file)
}

impl Drop for Bound {
    fn drop(&mut self) {
        if self.process == std::process::id() && is_at(&self.path, self.file) {
            place::remove(&self.path);
        }
    }
}

/// Removes what dead processes left.
pub(crate) async fn sweep(folder: &Path) {
    let folder = folder.to_owned();
    let listed = blocking(move || place::list(&folder)).await;
    for socket in listed.unwrap_or_default() {
        // To connect is to remove, where nobody is there; all else does not matter here.
        drop(timeout(PATIENCE, place::connect(&socket)).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_goes_with_who_made_it_and_not_with_a_process_that_was_forked_off() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("sockets");
        let (mut copy, listener) = Bound::new(&folder).await.unwrap();
        copy.process += 1; // as a child finds it, with the id of another process
        let path = copy.path().to_owned();
        drop((copy, listener));
        assert!(path.exists());
        let (bound, _listener) = Bound::new(&folder).await.unwrap();
        assert_eq!(bound.path(), path, "nobody listened on it, so it was removed and made anew");
        drop(bound);
        assert!(!path.exists());
    }
}
