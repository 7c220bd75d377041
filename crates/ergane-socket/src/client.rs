//! Asking the processes that run on a journal.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::place::{self, blocking};
use crate::tree::{Problem, Process};
use crate::wire::{self, Ask, Heard};

/// So many are asked at once.
const AT_ONCE: usize = 32;
/// No tree is as long as that.
const LONGEST: u64 = 256 * 1024 * 1024;

/// Every system that runs on the journal and has a socket, by its process's id; one that does not answer within `deadline` (a
/// stopped one, say) is there with the reason. What `ergane top` shows.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let system = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
/// let processes = ergane::socket::processes(&path, std::time::Duration::from_secs(3)).await?;
/// assert_eq!(processes[0].pid, Some(std::process::id()));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The folder beside the journal cannot be read, or belongs to another user (but root).
pub async fn processes(journal: impl AsRef<Path>, deadline: Duration) -> io::Result<Vec<Process>> {
    let journal = journal.as_ref().to_owned();
    let (journal, sockets) = blocking(move || look(&journal)).await?;
    let (mut asking, mut processes) = (JoinSet::new(), Vec::new());
    for socket in sockets {
        if asking.len() >= AT_ONCE {
            processes.extend(asking.join_next().await);
        }
        asking.spawn(process(socket, journal.clone(), deadline));
    }
    while let Some(asked) = asking.join_next().await {
        processes.push(asked);
    }
    let processes: Result<Vec<_>, _> = processes.into_iter().collect();
    let mut processes: Vec<Process> = processes.map_err(io::Error::other)?.into_iter().flatten().collect();
    processes.sort_by_key(|process| process.pid);
    Ok(processes)
}

/// The journal's full path, and the sockets beside it.
fn look(journal: &Path) -> io::Result<(PathBuf, Vec<PathBuf>)> {
    match place::find(journal) {
        Ok((journal, folder)) => Ok((journal, place::list(&folder)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((journal.to_owned(), Vec::new())),
        Err(error) => Err(error),
    }
}

async fn process(socket: PathBuf, journal: PathBuf, deadline: Duration) -> Option<Process> {
    ask_tree(&socket, deadline).await.unwrap_or_else(|problem| {
        Some(Process {
            pid: place::pid_of(&socket),
            journal: journal.to_string_lossy().into_owned(),
            system: None,
            tree: None,
            error: Some(problem),
        })
    })
}

/// `None` when its process is dead, or ends just now without an answer.
async fn ask_tree(socket: &Path, deadline: Duration) -> Result<Option<Process>, Problem> {
    let asked = async {
        let owner = Owner::ask_at(socket, &wire::request(Ask::Tree)).await;
        let mut owner = match owner {
            Ok(Some(owner)) => owner,
            Ok(None) => return Ok(None),
            Err(error) if has_ended(&error) => return Ok(None),
            Err(error) => return Err(Problem::new("transport", format!("it cannot be asked: {error}"))),
        };
        owner.line().await?.map(|line| wire::parse_process(&line)).transpose()
    };
    timeout(deadline, asked).await.unwrap_or_else(|_| {
        let why = format!("it did not answer within {} s", deadline.as_secs());
        Err(Problem::new("timeout", why))
    })
}

/// Whether that is how it shows that a process which was there has closed its socket.
pub(crate) fn has_ended(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Whether any process with a socket may be there: false is sure. Quick, for most programs are alone on their journal.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// assert!(!ergane::socket::is_anybody_there(folder.path().join("ergane.db")));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn is_anybody_there(journal: impl AsRef<Path>) -> bool {
    !look(journal.as_ref()).is_ok_and(|(_, sockets)| sockets.is_empty())
}

/// A conversation with a process, which owns a session as a rule.
#[derive(Debug)]
pub(crate) struct Owner {
    stream: BufReader<UnixStream>,
    /// What was read of the next line.
    line: Vec<u8>,
}

impl Owner {
    /// Asks the process of that id; `None` when it is dead, or has no socket. Of several sockets of the id one may be somebody
    /// else's, so the first is asked that can be.
    ///
    /// # Errors
    /// The folder beside the journal cannot be read, or no socket be connected; it ended while it was asked: see [`has_ended`].
    pub(crate) async fn ask(journal: &Path, pid: u32, request: &[u8]) -> io::Result<Option<Self>> {
        let journal = journal.to_owned();
        let (_, sockets) = blocking(move || look(&journal)).await?;
        let mut why = None;
        for socket in sockets.into_iter().filter(|socket| place::pid_of(socket) == Some(pid)) {
            match Self::ask_at(&socket, request).await {
                Ok(Some(owner)) => return Ok(Some(owner)),
                Ok(None) => {}
                Err(error) => why = Some(error),
            }
        }
        why.map_or(Ok(None), Err)
    }

    async fn ask_at(socket: &Path, request: &[u8]) -> io::Result<Option<Self>> {
        let Some(mut stream) = place::connect(socket).await? else { return Ok(None) };
        // Cut off within the line, it is not heard at all.
        stream.write_all(request).await?;
        Ok(Some(Self::new(stream)))
    }

    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream), line: Vec::new() }
    }

    /// What it says next; `None` when it has ended without a word. Given up in the middle, it goes on with the next call.
    ///
    /// # Errors
    /// Why it does not do what was asked; or what it says is garbled.
    pub(crate) async fn hear(&mut self) -> Result<Option<Heard>, Problem> {
        self.line().await?.map(|line| wire::parse_heard(&line)).transpose()
    }

    async fn line(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        let left = LONGEST.saturating_sub(u64::try_from(self.line.len()).unwrap_or(LONGEST));
        match (&mut self.stream).take(left).read_until(b'\n', &mut self.line).await {
            Ok(_) if self.line.ends_with(b"\n") => Ok(Some(std::mem::take(&mut self.line))),
            Ok(_) if u64::try_from(self.line.len()).is_ok_and(|length| length >= LONGEST) => {
                Err(Problem::new("protocol", format!("its answer is longer than {LONGEST} bytes")))
            }
            // It died in the middle of a word, or before one.
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    #[tokio::test]
    async fn a_socket_of_the_same_id_that_cannot_be_asked_hides_no_other() {
        for (wrong, right) in [(0, 1), (1, 0)] {
            let dir = tempfile::tempdir().unwrap();
            let journal = dir.path().join("j.db");
            std::fs::write(&journal, "").unwrap();
            let (_, folder) = place::find(&journal).unwrap();
            place::make_folder(&folder).unwrap();
            let _wrong = UnixDatagram::bind(place::socket(&folder, 7, wrong)).unwrap();
            assert!(Owner::ask(&journal, 7, b"?\n").await.is_err(), "it is of another kind");
            let listener = UnixListener::bind(place::socket(&folder, 7, right)).unwrap();
            let mut owner = Owner::ask(&journal, 7, b"?\n").await.unwrap().expect("it is asked");
            drop(listener.accept().unwrap());
            assert!(owner.hear().await.unwrap().is_none(), "and has ended");
        }
    }
}
