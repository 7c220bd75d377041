//! The server of a recording, without the server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::compare::differences;
use super::file::{Body, Cassette, Exchange, Request};
use super::record::{framed, has_length, head, headers_of};
use crate::error::TestkitError;
use crate::server::{FaultServer, Received, Reply};

/// How fast a recording is played.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the client reads. The pieces are as they were.
    #[default]
    AtOnce,
    /// With the pauses that there were.
    AsRecorded,
}

/// How a cassette is played.
#[derive(Debug, Clone, Default)]
pub struct ReplayOptions {
    /// How fast. Default: at once.
    pub pace: Pace,
    /// JSON pointers, such as `/user`, to what may differ in a request's body. Default: nothing may.
    pub ignore: Vec<String>,
}

/// A server that answers the requests of a recording, each once, in any order, and no others.
///
/// A request that was not recorded, or more often than it was, is answered with status 400 and a text that says how it
/// differs from the first recorded one that has not been asked yet; [`finish`](Replay::finish) says the same.
///
/// ```
/// use ergane_provider::Provider;
/// use ergane_testkit::{Cassette, Replay};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cassette = Cassette::parse(r#"{"cassette":{"version":1,"base_path":"/v1"}}
/// {"request":{"method":"GET","path":"/v1/models"}}
/// {"response":{"status":200,"headers":[["content-type","application/json"]]}}
/// {"part":{"after_ms":0,"text":"{\"data\":[{\"id\":\"smol\"}]}"}}
/// {"end":{"after_ms":0,"complete":true}}"#, "an example")?;
/// let replay = Replay::start(cassette).await?;
/// assert!(replay.url().ends_with("/v1"));
/// let models = ergane_provider::OpenAi::new(replay.url()).list_models().await?;
/// assert_eq!(&*models[0].id, "smol");
/// replay.finish()?; // everything was asked, and nothing else
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the server ends when it is dropped"]
pub struct Replay {
    url: String,
    state: Arc<Mutex<State>>,
    server: FaultServer,
}

#[derive(Debug)]
struct State {
    /// Those that have not been asked yet.
    left: Vec<Exchange>,
    wrong: Vec<String>,
    options: ReplayOptions,
}

impl Replay {
    /// Plays it at once and to the letter.
    ///
    /// # Errors
    /// [`TestkitError::Listen`].
    pub async fn start(cassette: Cassette) -> Result<Self, TestkitError> {
        Self::start_with(cassette, ReplayOptions::default()).await
    }

    /// Plays it so.
    ///
    /// # Errors
    /// [`TestkitError::Listen`].
    pub async fn start_with(cassette: Cassette, options: ReplayOptions) -> Result<Self, TestkitError> {
        let Cassette { header, exchanges } = cassette;
        let state = Arc::new(Mutex::new(State { left: exchanges, wrong: Vec::new(), options }));
        let script = Arc::clone(&state);
        let server = FaultServer::start(move |_, received| lock(&script).answer(received)).await?;
        Ok(Self { url: format!("{}{}", server.url(), header.base_path), state, server })
    }

    /// The base URL for the client.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The requests that came.
    pub fn requests(&self) -> Vec<Received> {
        self.server.requests()
    }

    /// Whether what was recorded was asked, all of it and nothing else.
    ///
    /// # Errors
    /// [`TestkitError::Mismatch`], which says what was not.
    pub fn finish(self) -> Result<(), TestkitError> {
        let state = lock(&self.state);
        let mut wrong = state.wrong.clone();
        let never = |exchange: &Exchange| {
            format!("{} {} was recorded, and not asked", exchange.request.method, exchange.request.path)
        };
        wrong.extend(state.left.iter().map(never));
        if wrong.is_empty() { Ok(()) } else { Err(TestkitError::Mismatch(wrong.join("\n"))) }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn answer(&mut self, received: &Received) -> Reply {
        let asked = Request {
            method: received.method().to_owned(),
            path: received.path().to_owned(),
            headers: headers_of(received),
            body: Body::of(received.body()),
        };
        let ignore = &self.options.ignore;
        let fits = |exchange: &Exchange| differences(&exchange.request, &asked, ignore).is_empty();
        match self.left.iter().position(fits) {
            Some(found) => play(&self.left.remove(found), self.options.pace),
            None => self.refuse(&asked),
        }
    }

    fn refuse(&mut self, asked: &Request) -> Reply {
        // What has the same path is most likely what was meant.
        let meant =
            self.left.iter().find(|exchange| exchange.request.path == asked.path).or(self.left.first());
        let why = match meant {
            Some(exchange) => format!(
                "it differs from the recording:\n  {}",
                differences(&exchange.request, asked, &self.options.ignore).join("\n  ")
            ),
            None => "every recorded request was asked before".to_owned(),
        };
        let message = format!("{} {} is not on the cassette: {why}", asked.method, asked.path);
        self.wrong.push(message.clone());
        let error = serde_json::json!({"error": {"message": message, "type": "invalid_request_error", "code": "cassette_mismatch"}});
        Reply::answer("400 Bad Request", &["content-type: application/json"], error.to_string())
    }
}

fn play(exchange: &Exchange, pace: Pace) -> Reply {
    let paused = |reply: Reply, after_ms: u64| match pace {
        Pace::AsRecorded if after_ms > 0 => reply.pause(Duration::from_millis(after_ms)),
        _ => reply,
    };
    let Some(response) = &exchange.response else { return paused(Reply::default(), exchange.end_after_ms) };
    let mut reply = paused(Reply::default(), response.after_ms).send(head(response));
    for part in &exchange.parts {
        reply = paused(reply, part.after_ms).send(framed(response, &part.bytes));
    }
    reply = paused(reply, exchange.end_after_ms);
    if exchange.complete && !has_length(response) { reply.send("0\r\n\r\n") } else { reply }
}
