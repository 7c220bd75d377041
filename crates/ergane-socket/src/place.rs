//! Where the sockets of a journal are: one a process, in a folder beside the file that only its user may enter.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::net::UnixStream;

/// The end of a socket's name.
const SOCKET: &str = "sock";
/// The same while nobody listens on it yet.
const UNBORN: &str = "new";
/// Nobody takes that long between making a socket and listening on it.
const BIRTH: Duration = Duration::from_secs(60);
/// What fits into a socket's address on every Unix.
const ADDRESS: usize = 100;

/// What to do about a folder of somebody else, for who would have a socket in it.
const TO_SERVE: &str = "remove it, and keep the journal where nobody else may write";
/// And for who looks for the sockets of others.
const TO_ASK: &str = "run it as the user whose sessions they are";

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
    let open = open_folder(folder, TO_SERVE)?;
    let found = open.metadata()?;
    let (owner, ours) = (found.uid(), our_user());
    if owner != ours {
        return Err(refused(closed(folder, owner, ours, TO_SERVE)));
    }
    if found.permissions().mode() & 0o777 != 0o700 {
        open.set_permissions(Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// What is open is what is looked at and changed, whatever has its name meanwhile; and a link may lead anywhere.
///
/// # Errors
/// It is none, or cannot be opened: whose it is then, and the way out.
fn open_folder(folder: &Path, way_out: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(open) => Ok(File::from(open)),
        Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder"))
        }
        Err(error @ rustix::io::Errno::ACCESS) => match fs::symlink_metadata(folder) {
            Ok(found) => Err(refused(closed(folder, found.uid(), our_user(), way_out))),
            Err(_) => Err(error.into()), // not even its name can be looked at: it is about a folder above
        },
        Err(error) => Err(error.into()),
    }
}

/// Why the folder is not used, and what to do.
fn closed(folder: &Path, owner: u32, ours: u32, way_out: &str) -> String {
    let folder = folder.display();
    if owner == ours {
        return format!("{folder} is closed to its own user {ours}: give it mode 700 again, or remove it");
    }
    format!("{folder} belongs to user {owner}, and this process runs as user {ours}: {way_out}")
}

fn our_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Root may do all that we may anyway.
fn is_trusted(user: u32, ours: u32) -> bool {
    user == ours || user == 0
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// Whoever is at the other end hears prompts and decides about calls, so it is a process of our user, or of root.
///
/// # Errors
/// It is neither.
pub(super) fn know_peer(stream: &UnixStream) -> io::Result<()> {
    let (peer, ours) = (stream.peer_cred()?.uid(), our_user());
    if is_trusted(peer, ours) {
        return Ok(());
    }
    Err(refused(format!(
        "who is at the other end runs as user {peer}, and this process as user {ours}: run both as the same user"
    )))
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
///
/// # Errors
/// It cannot be read, or belongs to somebody else, who may have put anything there.
pub(super) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let open = match open_folder(folder, TO_ASK) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        open => open?,
    };
    let (owner, ours) = (open.metadata()?.uid(), our_user());
    if !is_trusted(owner, ours) {
        return Err(refused(closed(folder, owner, ours, TO_ASK)));
    }
    let entries = fs::read_dir(folder)?;
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
///
/// # Errors
/// Nobody knows whether somebody listens, or it is [not one of us](know_peer).
pub(super) async fn connect(socket: &Path) -> io::Result<Option<UnixStream>> {
    let at = socket.to_owned();
    let (address, before) = blocking(move || Ok((Address::of(&at)?, identity(&at)))).await?;
    match UnixStream::connect(&address.path).await {
        Ok(stream) => know_peer(&stream).map(|()| Some(stream)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let at = socket.to_owned();
            blocking(move || {
                remove_dead(&at, before);
                Ok(None)
            })
            .await
        }
        Err(error) => Err(error),
    }
}

/// Looks at files off the runtime's workers: the disk may hang.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Removes what nobody listened on, but not what has its name since: a process makes its socket under another one.
fn remove_dead(socket: &Path, dead: io::Result<(u64, u64)>) {
    if dead.is_ok_and(|dead| identity(socket).is_ok_and(|now| now == dead)) {
        remove(socket);
    }
}

/// Device and number of what is there.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
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
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let error = make_folder(&link).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "a link may lead anywhere: {error}");
        assert!(list(&link).is_err());
        assert_eq!(mode(), 0o755, "where it leads is left alone");
    }

    #[test]
    fn only_our_user_and_root_are_trusted() {
        assert!(is_trusted(1000, 1000) && is_trusted(0, 1000) && is_trusted(0, 0));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, 0));
    }

    #[test]
    fn a_folder_of_somebody_else_is_neither_served_in_nor_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("sockets");
        make_folder(&folder).unwrap();
        if std::os::unix::fs::chown(&folder, Some(65534), None).is_err() {
            return; // only root can give it away
        }
        for error in [make_folder(&folder).unwrap_err(), list(&folder).unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("belongs to user 65534"), "{error}");
        }
    }

    #[test]
    fn of_a_folder_that_is_closed_it_is_said_whose_it_is_and_what_to_do() {
        let told = |owner, way_out| closed(Path::new("/f"), owner, 1000, way_out);
        assert_eq!(
            told(0, TO_ASK),
            "/f belongs to user 0, and this process runs as user 1000: run it as the user whose sessions they are"
        );
        assert!(told(0, TO_SERVE).ends_with("remove it, and keep the journal where nobody else may write"));
        assert!(told(1000, TO_SERVE).contains("closed to its own user 1000: give it mode 700"));
    }

    #[tokio::test]
    async fn what_has_the_name_of_a_dead_socket_since_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, next) = (dir.path().join("1.sock"), dir.path().join("1.new"));
        drop(UnixListener::bind(&socket).unwrap());
        let dead = identity(&socket);
        let _listener = UnixListener::bind(&next).unwrap();
        fs::rename(&next, &socket).unwrap();
        remove_dead(&socket, dead);
        assert!(connect(&socket).await.unwrap().is_some());
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
