//! Where the sockets of a journal are: one a process, in a folder beside the file that only its user may enter.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixStream;

/// The end of a socket's name.
const SOCKET: &str = "sock";
/// The same while nobody listens on it yet.
const UNBORN: &str = "new";
/// Nobody takes that long between making a socket and listening on it.
const BIRTH: Duration = Duration::from_secs(60);
/// What fits into a socket's address on every Unix.
const ADDRESS: usize = 100;

/// The journal's full path, and the folder of its sockets. As with its other files, links to the journal lead to the same.
pub(super) fn find(journal: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let journal = fs::canonicalize(journal)?;
    let folder = folder(&journal);
    Ok((journal, folder))
}

/// The folder of the sockets of a journal by its full path. The journal knows it too, as one that tools leave alone.
pub(super) fn folder(journal: &Path) -> PathBuf {
    let mut folder = OsString::from(journal);
    folder.push(".sockets");
    folder.into()
}

/// Makes the folder, and sees to it that nobody else may enter.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder"));
    }
    if found.permissions().mode() & 0o777 != 0o700 {
        // Fails when it is somebody else's, as it must.
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The `nth` name for the socket of a process: the first, but where processes with the same id (of two containers, say)
/// share a journal.
pub(super) fn socket(folder: &Path, pid: u32, nth: u32) -> PathBuf {
    match nth {
        0 => folder.join(format!("{pid}.{SOCKET}")),
        more => folder.join(format!("{pid}-{}.{SOCKET}", more + 1)),
    }
}

/// Where a socket is made before it is listened on. Without that a looker could be refused by a living process.
pub(super) fn unborn(socket: &Path) -> PathBuf {
    socket.with_extension(UNBORN)
}

/// The process in a socket's name.
pub(super) fn pid_of(socket: &Path) -> Option<u32> {
    let stem = socket.file_stem()?.to_str()?;
    stem.split('-').next()?.parse().ok()
}

/// The sockets there are, of living processes and of dead ones. None when there is no folder.
pub(super) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut sockets = Vec::new();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(SOCKET) => sockets.push(path),
            // Its process was killed while it was made.
            Some(UNBORN) if is_old(&path) => remove(&path),
            _ => {}
        }
    }
    sockets.sort();
    Ok(sockets)
}

fn is_old(path: &Path) -> bool {
    let made = fs::symlink_metadata(path).and_then(|found| found.modified()).ok();
    made.and_then(|made| made.elapsed().ok()).is_some_and(|age| age > BIRTH)
}

/// Connects. `None` when nobody listens, which means that its process is dead: what it left is removed.
pub(super) async fn connect(socket: &Path) -> io::Result<Option<UnixStream>> {
    let address = Address::of(socket)?;
    match UnixStream::connect(&address.path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            remove(socket);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Removes a socket; what is none is left alone.
pub(super) fn remove(socket: &Path) {
    let removed = match fs::symlink_metadata(socket) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(socket),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(path = %socket.display(), %error, "a socket could not be removed");
    }
}

/// A path to a socket that is short enough to be an address. Where the real one is not, it leads through the open folder.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) path: PathBuf,
    _folder: Option<File>,
}

impl Address {
    pub(super) fn of(socket: &Path) -> io::Result<Self> {
        match (socket.parent(), socket.file_name()) {
            (Some(parent), Some(name)) if socket.as_os_str().len() > ADDRESS => {
                let folder = File::open(parent)?;
                let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
                Ok(Self { path, _folder: Some(folder) })
            }
            _ => Ok(Self { path: socket.to_owned(), _folder: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn names_tell_their_process() {
        let folder = Path::new("/f");
        assert_eq!(socket(folder, 7, 0), Path::new("/f/7.sock"));
        assert_eq!(socket(folder, 7, 1), Path::new("/f/7-2.sock"));
        assert_eq!(pid_of(&socket(folder, 7, 0)), Some(7));
        assert_eq!(pid_of(&socket(folder, 7, 1)), Some(7));
        assert_eq!(pid_of(Path::new("/f/notes.sock")), None);
    }

    #[test]
    fn the_folder_is_closed_to_others_also_when_it_was_there_and_open() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("sockets");
        let mode = || fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
        make_folder(&folder).unwrap();
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        make_folder(&folder).unwrap();
        assert_eq!(mode(), 0o700);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert!(make_folder(&link).is_err(), "a link may lead anywhere");
    }

    #[tokio::test]
    async fn only_sockets_of_the_dead_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (dead, alive, file) =
            (dir.path().join("1.sock"), dir.path().join("2.sock"), dir.path().join("3.sock"));
        drop(UnixListener::bind(&dead).unwrap());
        let _listener = UnixListener::bind(&alive).unwrap();
        fs::write(&file, "not a socket").unwrap();
        assert_eq!(list(dir.path()).unwrap(), [dead.clone(), alive.clone(), file.clone()]);
        assert!(connect(&dead).await.unwrap().is_none());
        assert!(connect(&alive).await.unwrap().is_some());
        assert!(connect(&file).await.unwrap().is_none());
        assert_eq!(list(dir.path()).unwrap(), [alive, file]);
        assert!(list(&dir.path().join("none")).unwrap().is_empty());
    }
}
