//! The recorder: a reverse proxy that writes down what passes.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Method, Url};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::file::{Body, Cassette, Exchange, Header, Part, Request, Response};
use super::scrub::Secrets;
use crate::error::TestkitError;
use crate::server::{Received, read_request};

/// How long the end of exchanges is waited for when the recording ends.
const DEADLINE: Duration = Duration::from_secs(60);

/// The headers of an answer that are kept: those that a client of an API reads.
const KEPT: [&str; 11] = [
    // By which the moments that other headers name are reckoned.
    "date",
    "content-type",
    "content-encoding",
    "content-length",
    "location",
    "request-id",
    "x-request-id",
    "x-should-retry",
    "retry-after",
    "retry-after-ms",
    "www-authenticate",
];

/// The headers of a request that are kept: those without which it would be another one.
const KEPT_OF_REQUEST: [&str; 2] = ["anthropic-beta", "anthropic-version"];

/// What headers of rate limits begin with.
const KEPT_PREFIXES: [&str; 3] = ["x-ratelimit-", "anthropic-ratelimit-", "ratelimit-"];

/// Stands before a real server and records what passes. Ends when it is dropped.
///
/// ```no_run
/// # async fn example() -> Result<(), ergane_testkit::TestkitError> {
/// use ergane_provider::OpenAi;
/// use ergane_testkit::Recorder;
///
/// let recorder = Recorder::start("https://api.example.com/v1", "example.com, model m, 2026-11-28").await?;
/// let provider = OpenAi::new(recorder.url()).api_key_env("EXAMPLE_KEY");
/// // … talk to the provider, then:
/// recorder.finish().await?.save("tests/cassettes/example.jsonl")?;
/// # Ok(())
/// # }
/// ```
#[must_use = "the recorder ends when it is dropped"]
pub struct Recorder {
    url: String,
    shared: Arc<Shared>,
    under_way: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

struct Shared {
    target: Url,
    client: Client,
    tape: Mutex<Tape>,
    under_way: watch::Sender<usize>,
}

struct Tape {
    cassette: Cassette,
    secrets: Secrets,
}

impl Shared {
    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// A recorder on 127.0.0.1 before the server at `base_url`. `source` says what is recorded, for people.
    ///
    /// # Errors
    /// [`TestkitError::Listen`]; [`TestkitError::Upstream`] when `base_url` is no HTTP URL.
    pub async fn start(base_url: &str, source: impl Into<String>) -> Result<Self, TestkitError> {
        let bad = |reason: String| TestkitError::Upstream { url: base_url.to_owned(), reason };
        let target = Url::parse(base_url).map_err(|error| bad(error.to_string()))?;
        if !matches!(target.scheme(), "http" | "https") || target.host_str().is_none() {
            return Err(bad("it must begin with http:// or https:// and name a host".into()));
        }
        let base_path = target.path().trim_end_matches('/').to_owned();
        let client = client(&target).map_err(|error| bad(error.to_string()))?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(TestkitError::Listen)?;
        let address = listener.local_addr().map_err(TestkitError::Listen)?;
        let header = Header { source: source.into(), base_path: base_path.clone(), ..Header::default() };
        let (under_way, watched) = watch::channel(0);
        let tape = Tape { cassette: Cassette { header, exchanges: Vec::new() }, secrets: Secrets::default() };
        let shared = Arc::new(Shared { target, client, tape: Mutex::new(tape), under_way });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { url: format!("http://{address}{base_path}"), shared, under_way: watched, task })
    }

    /// Never writes this text down. Keys that requests carry are found without it.
    pub fn secret(&self, secret: impl AsRef<str>) {
        self.shared.tape().secrets.add(secret.as_ref());
    }

    /// The base URL for the client: that of the server, at this recorder.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits for the ends of all exchanges and gives the recording.
    ///
    /// # Errors
    /// [`TestkitError::Waited`] when one has not ended within a minute.
    pub async fn finish(mut self) -> Result<Cassette, TestkitError> {
        let all = tokio::time::timeout(DEADLINE, self.under_way.wait_for(|under_way| *under_way == 0)).await;
        if !matches!(all, Ok(Ok(_))) {
            drop(all);
            let seen = format!("{} are under way", *self.under_way.borrow());
            let what = "the end of every exchange".to_owned();
            return Err(TestkitError::Waited { what, after: DEADLINE, seen });
        }
        drop(all);
        Ok(self.shared.tape().cassette.clone())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("url", &self.url).finish_non_exhaustive()
    }
}

fn client(target: &Url) -> Result<Client, reqwest::Error> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error says that another thread was faster, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
    // What passes is recorded as it is: nothing is unpacked, followed or sent again.
    let builder = Client::builder()
        .no_gzip()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(0);
    if target.scheme() == "https" { builder.build() } else { builder.no_proxy().tls_certs_only([]).build() }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        shared.under_way.send_modify(|under_way| *under_way += 1);
        connections.spawn(async move {
            pass(stream, &shared).await;
            shared.under_way.send_modify(|under_way| *under_way -= 1);
        });
    }
}

/// Passes one exchange on, and writes it down when it has ended. The answer is read to its end also when the client has
/// what it wants and leaves.
async fn pass(mut stream: TcpStream, shared: &Shared) {
    let Some(received) = read_request(&mut stream).await else { return };
    shared.tape().secrets.learn(received.headers(), received.path());
    let mut exchange = Exchange {
        request: request(&received, &shared.tape().secrets),
        response: None,
        parts: Vec::new(),
        end_after_ms: 0,
        complete: false,
    };
    let mut clock = Clock(Instant::now());
    if let Ok(mut answer) = ask(&received, shared).await {
        let response = Response {
            status: answer.status().as_u16(),
            after_ms: clock.lap(),
            headers: kept(answer.headers()),
        };
        // An error here and below says that the client has left.
        drop(stream.write_all(head(&response).as_bytes()).await);
        exchange.complete = loop {
            match answer.chunk().await {
                Ok(Some(bytes)) => {
                    drop(stream.write_all(&framed(&response, &bytes)).await);
                    exchange.parts.push(Part { after_ms: clock.lap(), bytes });
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        exchange.end_after_ms = clock.lap();
        if exchange.complete && !has_length(&response) {
            drop(stream.write_all(b"0\r\n\r\n").await);
        }
        exchange.response = Some(response);
    }
    let mut tape = shared.tape();
    scrub(&mut exchange, &tape.secrets);
    tape.cassette.exchanges.push(exchange);
}

async fn ask(received: &Received, shared: &Shared) -> Result<reqwest::Response, reqwest::Error> {
    let mut url = shared.target.clone();
    let (path, query) =
        received.path().split_once('?').map_or((received.path(), None), |(p, q)| (p, Some(q)));
    url.set_path(path);
    url.set_query(query);
    let method = Method::from_bytes(received.method().as_bytes()).unwrap_or(Method::POST);
    let mut builder = shared.client.request(method, url).body(received.body().clone());
    // An answer that is not packed can be read in the cassette.
    const OURS: [&str; 4] = ["host", "content-length", "connection", "accept-encoding"];
    for (name, value) in received.headers() {
        if !OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
            builder = builder.header(name, value);
        }
    }
    builder.send().await
}

fn request(received: &Received, secrets: &Secrets) -> Request {
    Request {
        method: received.method().to_owned(),
        path: secrets.text(received.path()),
        headers: headers_of(received),
        body: Body::of(&secrets.bytes(received.body())),
    }
}

/// Those of a request's headers that are kept.
pub(super) fn headers_of(received: &Received) -> Vec<(String, String)> {
    let lower = received.headers().iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let mut kept: Vec<_> = lower.filter(|(name, _)| KEPT_OF_REQUEST.contains(&name.as_str())).collect();
    kept.sort();
    kept
}

fn kept(headers: &reqwest::header::HeaderMap) -> Vec<(String, String)> {
    let is_kept =
        |name: &str| KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    headers
        .iter()
        .filter(|(name, _)| is_kept(name.as_str()))
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect()
}

fn scrub(exchange: &mut Exchange, secrets: &Secrets) {
    let before: usize = exchange.parts.iter().map(|part| part.bytes.len()).sum();
    secrets.parts(&mut exchange.parts);
    exchange.parts.retain(|part| !part.bytes.is_empty());
    let after: usize = exchange.parts.iter().map(|part| part.bytes.len()).sum();
    for (name, value) in exchange.response.iter_mut().flat_map(|response| &mut response.headers) {
        *value = secrets.text(value);
        if name == "content-length"
            && let Ok(length) = value.parse::<usize>()
        {
            *value = (length + after).saturating_sub(before).to_string();
        }
    }
}

pub(super) fn has_length(response: &Response) -> bool {
    response.headers.iter().any(|(name, _)| name == "content-length")
}

/// The status line and headers, for the client: those that are kept, which are those that a replay sends too.
pub(super) fn head(response: &Response) -> String {
    let status = reqwest::StatusCode::from_u16(response.status).unwrap_or_default();
    let reason = status.canonical_reason().unwrap_or("Unknown");
    let mut head = format!("HTTP/1.1 {} {reason}\r\nconnection: close\r\n", response.status);
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !has_length(response) {
        head.push_str("transfer-encoding: chunked\r\n");
    }
    head.push_str("\r\n");
    head
}

/// A piece of a body as it goes over the wire.
pub(super) fn framed(response: &Response, bytes: &Bytes) -> Bytes {
    if has_length(response) || bytes.is_empty() {
        return bytes.clone();
    }
    let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
    framed.extend_from_slice(bytes);
    framed.extend_from_slice(b"\r\n");
    framed.into()
}

/// Counts milliseconds from one event to the next.
struct Clock(Instant);

impl Clock {
    fn lap(&mut self) -> u64 {
        let now = Instant::now();
        let spent = now.duration_since(std::mem::replace(&mut self.0, now));
        u64::try_from(spent.as_millis()).unwrap_or(u64::MAX)
    }
}
