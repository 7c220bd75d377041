//! Listens, and answers. A task beside the system: whatever is asked, and however slowly, the tree does not notice.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ergane::System;
use ergane::core::SessionName;
use ergane::session::{SessionError, Steered};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::wire::{self, Answer, Ask, ENTERED, IDLE, Problem, Process};
use super::{place, snapshot, turn};
use crate::commands::point;
use crate::workshop::seen;

/// So many are answered at once; more wait in the system's queue of connections. Turns are waited for here too.
const AT_ONCE: usize = 64;
/// For a whole conversation: the request, what it takes, and the answer; of a turn, for the request alone.
const DEADLINE: Duration = Duration::from_secs(15);
/// Longer requests are refused.
const LONGEST: usize = 17 * 1024 * 1024;
/// After a connection that could not be taken, for want of file descriptors perhaps.
const PAUSE: Duration = Duration::from_millis(200);
/// So many processes of one id on one journal.
const NAMES: u32 = 16;

/// The socket of this process. Dropping it closes and removes it.
#[derive(Debug)]
pub(crate) struct Server {
    serving: JoinHandle<()>,
    _bound: Bound,
}

impl Server {
    /// Listens beside the journal, which is there, for as long as this is held. `started` is when the system was.
    ///
    /// # Errors
    /// The folder or the socket cannot be made, or is somebody else's.
    pub(crate) async fn open(journal: &Path, system: &System, started: SystemTime) -> io::Result<Self> {
        let journal = journal.to_owned();
        let made = tokio::task::spawn_blocking(move || {
            let found = place::find(&journal)?;
            place::make_folder(&found.1)?;
            Ok::<_, io::Error>(found)
        });
        let (journal, folder) = made.await.map_err(io::Error::other)??;
        let socket = free_name(&folder).await?;
        let bound = tokio::task::spawn_blocking(move || Bound::new(socket)).await;
        let (bound, listener) = bound.map_err(io::Error::other)??;
        let listener = UnixListener::from_std(listener)?;
        let served = Served { system: system.clone(), journal, started };
        let serving = tokio::spawn(async move {
            sweep(&folder).await;
            serve(listener, Arc::new(served)).await;
        });
        Ok(Self { serving, _bound: bound })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A name that no living process has.
async fn free_name(folder: &Path) -> io::Result<PathBuf> {
    for nth in 0..NAMES {
        let socket = place::socket(folder, std::process::id(), nth);
        if place::connect(&socket).await?.is_none() {
            return Ok(socket);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "every name for it is taken"))
}

/// Removes what dead processes left.
async fn sweep(folder: &Path) {
    let folder = folder.to_owned();
    let listed = tokio::task::spawn_blocking(move || place::list(&folder)).await;
    for socket in listed.ok().and_then(Result::ok).unwrap_or_default() {
        // To connect is to remove, where nobody is there; all else does not matter here.
        drop(timeout(DEADLINE, place::connect(&socket)).await);
    }
}

/// A socket that is removed when this is dropped.
#[derive(Debug)]
struct Bound {
    socket: PathBuf,
}

impl Bound {
    fn new(socket: PathBuf) -> io::Result<(Self, StdListener)> {
        let unborn = place::unborn(&socket);
        place::remove(&unborn); // of a killed process that had our id
        let listener = StdListener::bind(&place::Address::of(&unborn)?.path)?;
        let born = Self { socket: unborn };
        std::fs::set_permissions(&born.socket, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        std::fs::rename(&born.socket, &socket)?;
        Ok((Self { socket }, listener))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        place::remove(&self.socket);
    }
}

/// What questions are about.
#[derive(Debug)]
struct Served {
    system: System,
    journal: PathBuf,
    started: SystemTime,
}

impl Served {
    async fn answer(&self, ask: Ask) -> Result<Answer, Problem> {
        let session = |name: SessionName| seen(&self.system, name);
        match ask {
            Ask::Approve { session: name, call, question, arguments, decision } => {
                let mut approve = session(name).approve(call, decision).arguments(arguments);
                if let Some(question) = question {
                    approve = approve.question(question);
                }
                approve.await.map_err(problem)?;
                Ok(Answer::Done { done: "decided".to_owned() })
            }
            Ask::Interrupt { session: name, reason } => {
                let done = session(name).interrupt(reason).await.map_err(problem)?;
                Ok(Answer::Done { done: if done { "interrupted" } else { IDLE }.to_owned() })
            }
            Ask::Lift { session: name } => {
                let session = session(name);
                session.start().await.map_err(problem)?;
                // It is brought up; whether its log can be read now is known when it has been.
                session.settings().await.map_err(problem)?;
                Ok(Answer::Done { done: "lifted".to_owned() })
            }
            Ask::Steer { session: name, input, key, cut } => {
                let mut steer = session(name).steer(&*input);
                if let Some(key) = key {
                    steer = steer.key(key);
                }
                let steer = if cut { steer.cut() } else { steer };
                let done = match steer.await.map_err(problem)? {
                    Steered::Entered => ENTERED,
                    Steered::TurnOver => IDLE,
                };
                Ok(Answer::Done { done: done.to_owned() })
            }
            Ask::Checkpoint { session: name, label } => {
                let seq = session(name).checkpoint(label).await.map_err(problem)?;
                Ok(Answer::Done { done: seq.to_string() })
            }
            Ask::Rewind { session: name, to } => {
                let seq = session(name).rewind(point(&to)).await.map_err(problem)?;
                Ok(Answer::Done { done: seq.to_string() })
            }
            Ask::Send { .. } => Err(Problem::new("internal", "a turn is answered elsewhere")),
            Ask::Tree => {
                let tree = snapshot::take(&self.system, self.started).await;
                let tree = tree.map_err(|error| Problem::new("internal", error.to_string()))?;
                Ok(Answer::Tree(Box::new(Process {
                    pid: Some(std::process::id()),
                    journal: self.journal.to_string_lossy().into_owned(),
                    system: Some(self.system.name().to_owned()),
                    tree: Some(tree),
                    error: None,
                })))
            }
        }
    }
}

async fn serve(listener: UnixListener, served: Arc<Served>) {
    let mut talking = JoinSet::new();
    loop {
        tokio::select! {
            Some(done) = talking.join_next() => {
                if let Err(error) = done {
                    tracing::error!(%error, "an answer to another process failed");
                }
            }
            accepted = listener.accept(), if talking.len() < AT_ONCE => match accepted {
                Ok((stream, _)) => {
                    talking.spawn(talk(stream, served.clone()));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection of another process could not be taken");
                    sleep(PAUSE).await;
                }
            },
        }
    }
}

async fn talk(stream: UnixStream, served: Arc<Served>) {
    let said = match timeout(DEADLINE, converse(stream, &served)).await {
        Ok(Ok(None)) => return,
        Ok(Ok(Some((stream, ask)))) => Ok(turn::run(stream, ask, &served.system).await),
        Ok(Err(error)) => Ok(Err(error)),
        Err(late) => Err(late),
    };
    match said {
        Ok(Ok(())) => {}
        // Whoever asked has gone away.
        Ok(Err(error)) => tracing::debug!(%error, "another process was not answered"),
        Err(_) => tracing::debug!("another process asked too slowly"),
    }
}

pub(super) fn problem(error: SessionError) -> Problem {
    Problem::new(error.code(), error.to_string())
}

/// Answers, unless a turn was asked for, which takes as long as it takes.
async fn converse(mut stream: UnixStream, served: &Served) -> io::Result<Option<(UnixStream, Ask)>> {
    let mut line = Vec::new();
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1);
    BufReader::new((&mut stream).take(limit)).read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None); // it only looked whether somebody is there
    }
    let answer = if line.len() > LONGEST {
        Err(Problem::new("bad_request", format!("the request is longer than {LONGEST} bytes")))
    } else {
        match wire::parse_request(&line) {
            Ok(ask @ Ask::Send { .. }) => return Ok(Some((stream, ask))),
            Ok(ask) => served.answer(ask).await,
            Err(problem) => Err(problem),
        }
    };
    stream.write_all(&wire::answer(&answer)).await?;
    stream.shutdown().await.map(|()| None)
}

#[cfg(test)]
mod tests;
