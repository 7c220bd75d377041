//! Listens, and answers. Tasks beside the system: whatever is asked, and however slowly, the tree does not notice.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ergane_otp::Scope;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::answer::Served;
use crate::bound::{Bound, sweep};
use crate::siblings::Known;
use crate::tree::Problem;
use crate::turn::Order;
use crate::wire::{self, Ask};
use crate::{place, turn};

/// So many are answered at once; more wait in the system's queue of connections. Turns are waited for here too.
pub(crate) const AT_ONCE: usize = 64;
/// For a whole conversation: the request, what it takes, and the answer; of a turn, for the request alone.
const DEADLINE: Duration = Duration::from_secs(15);
/// Longer requests are refused.
const LONGEST: usize = 17 * 1024 * 1024;
/// After a connection that could not be taken, for want of file descriptors perhaps.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether others find the socket still.
const LOOK: Duration = Duration::from_secs(30);

/// Listens beside the journal until nobody finds the socket any more; `open` is told where it is. Those who are answered are
/// tasks of the scope, and each takes a place.
///
/// # Errors
/// Why nobody reaches it: the folder or the socket cannot be made, is somebody else's, or was removed.
pub(crate) async fn listen(
    served: &Arc<Served>,
    scope: &Scope,
    closing: &watch::Sender<bool>,
    places: &Arc<Semaphore>,
    open: impl FnOnce(PathBuf),
) -> io::Result<()> {
    let folder = place::folder(&served.journal);
    let (bound, listener) = Bound::new(&folder).await?;
    let _known = Known::new(&served.journal, &served.context);
    open(bound.path().to_owned());
    sweep(&folder).await;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = take(&listener, places) => match accepted {
                Ok(None) => return Ok(()),
                Ok(Some((stream, place))) => {
                    let (served, mut closed) = (served.clone(), closing.subscribe());
                    scope.spawn("answer another process", async move {
                        let _place = place;
                        tokio::select! {
                            biased;
                            _ = closed.wait_for(|closing| *closing) => {}
                            () = talk(stream, &served) => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection of another process could not be taken");
                    sleep(PAUSE).await;
                }
            },
            _ = looks.tick() => if !bound.is_there() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "its socket was removed"));
            },
        }
    }
}

/// The next who wants to be answered, once there is a place. `None` when there will be none any more.
async fn take(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<Option<(UnixStream, tokio::sync::OwnedSemaphorePermit)>> {
    let Ok(place) = places.clone().acquire_owned().await else { return Ok(None) };
    let (stream, _) = listener.accept().await?;
    place::know_peer(&stream)
        .inspect_err(|error| tracing::warn!(%error, "a process of another user is not heard"))?;
    Ok(Some((stream, place)))
}

async fn talk(stream: UnixStream, served: &Served) {
    let said = match timeout(DEADLINE, converse(stream, served)).await {
        Ok(Ok(None)) => return,
        Ok(Ok(Some((stream, order)))) => Ok(turn::run(stream, order, served).await),
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

/// Answers, unless a turn was asked for, which takes as long as it takes.
async fn converse(mut stream: UnixStream, served: &Served) -> io::Result<Option<(UnixStream, Order)>> {
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
            Ok(Ask::Turn { session, input, key, settings }) => {
                return Ok(Some((stream, Order { session, input, key, settings: *settings })));
            }
            Ok(ask) => served.answer(ask).await,
            Err(problem) => Err(problem),
        }
    };
    stream.write_all(&wire::answer(&answer)).await?;
    stream.shutdown().await.map(|()| None)
}
