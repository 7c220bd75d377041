//! A scripted HTTP/1.1 server on a real socket: any bytes, at any pace, and the test decides when.
//!
//! Why bytes and not a mock of the client: what hurts in production happens between two bytes (a chunk that stops in the
//! middle, a character cut in two, a connection that is reset) and no mock of a client's types can say it. Why plain TCP
//! and no web framework: a framework refuses to send what is wrong, and that is all there is to send here.
//!
//! Nothing here needs a sleep. A [`Reply`] waits at a [`Gate`] until the test opens it, and the test waits for "request
//! `n` has come" ([`FaultServer::request`]) and "its connection has ended" ([`FaultServer::connection_ended`]).

mod received;
mod reply;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use received::Received;
pub(crate) use received::read_request;
pub use reply::{Act, Gate, Reply, gzip};

use crate::error::TestkitError;

/// Nothing that is waited for takes as long; it keeps a broken test from hanging.
const DEADLINE: Duration = Duration::from_secs(30);

/// What the server has seen so far.
#[derive(Debug, Default)]
struct Log {
    requests: Vec<Received>,
    ended: usize,
}

/// The server. It listens on a free port of 127.0.0.1 until it is dropped; each connection serves one request.
///
/// ```
/// use ergane_testkit::{FaultServer, Gate, Reply};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gate = Gate::new();
/// let cut = Reply::head("200 OK", &["content-type: text/event-stream", "transfer-encoding: chunked"])
///     .chunk("data: {\"choices\":[{\"delta\":{\"content\":\"Gr\"}}]}\n\n")
///     .wait(&gate)          // until the test has seen what it wants to see
///     .send("2a\r\ndata: "); // a chunk that is never finished
/// let server = FaultServer::always(cut).await?;
/// // … point a provider at server.url(), then:
/// # let client = tokio::spawn(tokio::net::TcpStream::connect(server.url().replace("http://", "")));
/// # use tokio::io::AsyncWriteExt;
/// # client.await??.write_all(b"POST /v1/chat/completions HTTP/1.1\r\n\r\n").await?;
/// let asked = server.request(0).await?;
/// assert_eq!(asked.path(), "/v1/chat/completions");
/// gate.open();
/// # Ok(())
/// # }
/// ```
#[must_use = "the server ends when it is dropped"]
pub struct FaultServer {
    url: String,
    log: Arc<watch::Sender<Log>>,
    /// How many requests and ends of connections have been told in order.
    told: (AtomicUsize, AtomicUsize),
    task: JoinHandle<()>,
}

type Script = dyn Fn(usize, &Received) -> Reply + Send + Sync;

impl FaultServer {
    /// A server that gives every request the same reply.
    ///
    /// # Errors
    /// [`TestkitError::Listen`].
    pub async fn always(reply: impl Into<Reply>) -> Result<Self, TestkitError> {
        let reply = reply.into();
        Self::start(move |_, _| reply.clone()).await
    }

    /// A server that gives the first request the first reply and so on; the last one is given again and again.
    ///
    /// # Errors
    /// [`TestkitError::Listen`].
    pub async fn in_turn(replies: impl IntoIterator<Item = Reply>) -> Result<Self, TestkitError> {
        let replies: Vec<Reply> = replies.into_iter().collect();
        Self::start(move |index, _| replies.get(index).or(replies.last()).cloned().unwrap_or_default()).await
    }

    /// A server that asks `script` what to do with a request and its number, from 0.
    ///
    /// # Errors
    /// [`TestkitError::Listen`].
    pub async fn start(
        script: impl Fn(usize, &Received) -> Reply + Send + Sync + 'static,
    ) -> Result<Self, TestkitError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(TestkitError::Listen)?;
        let address = listener.local_addr().map_err(TestkitError::Listen)?;
        let log = Arc::new(watch::Sender::new(Log::default()));
        let task = tokio::spawn(accept(listener, Arc::new(script), Arc::clone(&log)));
        Ok(Self { url: format!("http://{address}"), log, told: Default::default(), task })
    }

    /// Where it is, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All requests that have come, in their order.
    pub fn requests(&self) -> Vec<Received> {
        self.log.borrow().requests.clone()
    }

    /// Request number `n`, from 0, as soon as it has come.
    ///
    /// # Errors
    /// [`TestkitError::Waited`] after 30 s.
    pub async fn request(&self, n: usize) -> Result<Received, TestkitError> {
        self.wait(format!("request {n}"), |log| log.requests.len() > n).await?;
        let request = self.log.borrow().requests.get(n).cloned();
        request.ok_or_else(|| TestkitError::Waited {
            what: format!("request {n}"),
            after: Duration::ZERO,
            seen: "it is gone".into(),
        })
    }

    /// The next request that this has not returned yet.
    ///
    /// # Errors
    /// [`TestkitError::Waited`] after 30 s.
    pub async fn next_request(&self) -> Result<Received, TestkitError> {
        self.request(self.told.0.fetch_add(1, Ordering::SeqCst)).await
    }

    /// Waits for one more connection to end, whoever ended it.
    ///
    /// # Errors
    /// [`TestkitError::Waited`] after 30 s.
    pub async fn connection_ended(&self) -> Result<(), TestkitError> {
        let n = self.told.1.fetch_add(1, Ordering::SeqCst);
        self.wait(format!("the end of connection {n}"), |log| log.ended > n).await
    }

    async fn wait(&self, what: String, mut condition: impl FnMut(&Log) -> bool) -> Result<(), TestkitError> {
        let mut log = self.log.subscribe();
        let came = tokio::time::timeout(DEADLINE, log.wait_for(|log| condition(log))).await;
        if matches!(came, Ok(Ok(_))) {
            return Ok(());
        }
        drop(came);
        let log = self.log.borrow();
        let seen = format!("{} requests, {} connections ended", log.requests.len(), log.ended);
        Err(TestkitError::Waited { what, after: DEADLINE, seen })
    }
}

impl Drop for FaultServer {
    /// Its connections end with it.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for FaultServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultServer").field("url", &self.url).field("log", &*self.log.borrow()).finish()
    }
}

async fn accept(listener: TcpListener, script: Arc<Script>, log: Arc<watch::Sender<Log>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // What has ended is forgotten; what has not ends with this task.
        while connections.try_join_next().is_some() {}
        let (script, log) = (Arc::clone(&script), Arc::clone(&log));
        connections.spawn(async move {
            serve(stream, &*script, &log).await;
            log.send_modify(|log| log.ended += 1);
        });
    }
}

async fn serve(mut stream: TcpStream, script: &Script, log: &watch::Sender<Log>) {
    let Some(request) = read_request(&mut stream).await else { return };
    let mut index = 0;
    log.send_modify(|log| {
        index = log.requests.len();
        log.requests.push(request.clone());
    });
    for act in script(index, &request).acts {
        let going_on = match act {
            Act::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
            Act::SendForever(bytes) => {
                while stream.write_all(&bytes).await.is_ok() {}
                false
            }
            Act::Wait(gate) => {
                gate.passed().await;
                true
            }
            Act::Pause(time) => {
                tokio::time::sleep(time).await;
                true
            }
            Act::Stall => {
                let mut rest = [0; 1024];
                while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                false
            }
            // A connection that is closed with this option is reset: what the peer has not read yet is lost to it.
            Act::Reset => stream.set_zero_linger().is_err(),
        };
        if !going_on {
            return;
        }
    }
    // The peer may have gone first; then there is nobody to tell the end.
    drop(stream.shutdown().await);
}
