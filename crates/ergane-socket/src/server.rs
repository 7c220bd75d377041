//! Listens, and answers. Tasks beside the system: whatever is asked, and however slowly, the tree does not notice.

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ergane_otp::Scope;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::answer::Served;
use crate::asker::{AGAIN, Asker};
use crate::bound::{Bound, sweep};
use crate::siblings::Known;
use crate::tree::Problem;
use crate::wire::{self, Ask, LONGEST};
use crate::{place, turn};

/// So many are answered at once; more wait in the system's queue of connections.
pub(crate) const AT_ONCE: usize = 64;
/// So many are told of turns at once, besides: a turn takes as long as it takes, and may wait for somebody who is to be answered.
pub(crate) const TURNS: usize = 512;
/// For the request alone, which is written at once.
const REQUEST: Duration = Duration::from_secs(15);
/// For what it takes to answer. A session that loads, or a disk that hangs, is given 30 s by those who are asked.
const ANSWER: Duration = Duration::from_secs(45);
/// How long those are waited for who are being answered while the socket is closed.
const GRACE: Duration = Duration::from_secs(1);
/// After a connection that could not be taken, for want of file descriptors perhaps.
const PAUSE: Duration = Duration::from_millis(200);

/// How many may still be answered.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// One for each who is answered, and one for who listens.
    pub(crate) asked: Arc<Semaphore>,
    /// One for each who is told of a turn.
    pub(crate) turns: Arc<Semaphore>,
}

impl Places {
    pub(crate) fn new() -> Self {
        Self { asked: Arc::new(Semaphore::new(AT_ONCE + 1)), turns: Arc::new(Semaphore::new(TURNS)) }
    }

    /// Waits until all are back: nothing of the socket holds on to the system any more.
    pub(crate) async fn all_back(&self) {
        for (places, all) in [(&self.asked, AT_ONCE + 1), (&self.turns, TURNS)] {
            let all = u32::try_from(all).unwrap_or(u32::MAX);
            // An error when they are closed, which nobody does.
            places.acquire_many(all).await.ok();
        }
    }
}

/// Listens beside the journal until nobody finds the socket any more; `open` is told where it is. Those who are answered are
/// tasks of the scope, and each takes a place.
///
/// # Errors
/// Why nobody reaches it: the folder or the socket cannot be made, is somebody else's, or was removed.
pub(crate) async fn listen(
    served: &Arc<Served>,
    scope: &Scope,
    closing: &watch::Sender<bool>,
    places: &Places,
    open: impl FnOnce(PathBuf),
) -> io::Result<()> {
    let folder = place::folder(&served.journal);
    let (bound, listener) = Bound::new(&folder).await?;
    let _known = Known::new(&served.journal, &served.context);
    open(bound.path().to_owned());
    sweep(&folder).await;
    let mut is_removed = pin!(bound.is_removed());
    loop {
        tokio::select! {
            accepted = take(&listener, &places.asked) => match accepted {
                Ok(None) => return Ok(()),
                Ok(Some((stream, place))) => {
                    let (served, closing, turns) = (served.clone(), closing.subscribe(), places.turns.clone());
                    scope.spawn("answer another process", async move {
                        // Whoever asked has gone away, or asked too slowly.
                        if let Err(error) = talk(stream, &served, closing, place, &turns).await {
                            tracing::debug!(%error, "another process was not answered");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection of another process could not be taken");
                    sleep(PAUSE).await;
                }
            },
            why = &mut is_removed => return Err(why),
        }
    }
}

/// The next who wants to be answered, once there is a place. `None` when there will be none any more.
async fn take(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<Option<(UnixStream, OwnedSemaphorePermit)>> {
    let Ok(place) = places.clone().acquire_owned().await else { return Ok(None) };
    loop {
        let (stream, _) = listener.accept().await?;
        match place::know_peer(&stream) {
            Ok(()) => return Ok(Some((stream, place))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::warn!(%error, "a process of another user is not heard");
            }
            // It has gone again, perhaps: on some systems that is known of the living only.
            Err(error) => tracing::debug!(%error, "it is not known who would be heard"),
        }
    }
}

/// Hears what is asked, and answers. When the socket is closed nothing more is heard, of turns nothing more is told, and what is
/// being done is told if it does not take long: else it would be taken for not done.
async fn talk(
    mut stream: UnixStream,
    served: &Served,
    mut closing: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
    turns: &Arc<Semaphore>,
) -> io::Result<()> {
    let asked = tokio::select! {
        biased;
        _ = closing.wait_for(|closing| *closing) => return Ok(()),
        asked = timeout(REQUEST, request(&mut stream)) => asked??,
    };
    let Some(asked) = asked else { return Ok(()) }; // it only looked whether somebody is there
    let mut asker = Asker::new(stream);
    match asked {
        Ok(Ask::Turn(order)) => {
            let Ok(_turn) = turns.clone().try_acquire_owned() else {
                let why = format!("{TURNS} turns are told to other processes already: ask again later");
                return asker.say_at_last(&Err(Problem::new("busy", why).passing())).await;
            };
            drop(place);
            tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => Ok(()),
                told = turn::run(asker, &order, served) => told,
            }
        }
        Ok(ask) => {
            let closed = async {
                // An error when nobody is left who could close it, which is the same.
                closing.wait_for(|closing| *closing).await.ok();
                sleep(GRACE).await;
            };
            tokio::select! {
                answered = answer(&mut asker, ask, served) => answered,
                () = closed => Ok(()),
            }
        }
        Err(problem) => asker.say_at_last(&Err(problem)).await,
    }
}

/// What is asked, or what is wrong with it. `None` when it is nothing at all.
async fn request(stream: &mut UnixStream) -> io::Result<Option<Result<Ask, Problem>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1);
    BufReader::new(stream.take(limit)).read_until(b'\n', &mut line).await?;
    Ok(match line.len() {
        0 => None,
        long if long > LONGEST => Some(Err(wire::too_long())),
        _ => Some(wire::parse_request(&line)),
    })
}

/// Does what is asked, unless nobody waits for it any more, and says what came of it. Until then there are signs of life, but for
/// whoever asks for the tree, who hears one line and knows best how long he waits.
async fn answer(asker: &mut Asker, ask: Ask, served: &Served) -> io::Result<()> {
    asker.is_there()?;
    let signs = ask != Ask::Tree;
    let mut done = pin!(timeout(ANSWER, served.answer(ask)));
    let done = loop {
        tokio::select! {
            biased;
            done = &mut done => break done,
            () = sleep(AGAIN), if signs => asker.is_waited_for(None).await?,
        }
    };
    let late = || {
        Problem::new(
            "timeout",
            format!("it was not done within {} s, and may be done later", ANSWER.as_secs()),
        )
        .passing()
    };
    asker.say_at_last(&done.unwrap_or_else(|_| Err(late()))).await
}

#[cfg(test)]
mod tests;
