//! The same requests by hand: with reqwest alone, and from the bare shape of actors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::args::{HttpArgs, TurnKind};
use crate::laps::Laps;
use crate::process::Stopwatch;
use crate::shape::{self, Tools, Work};
use crate::turns::model::ANSWER;
use crate::turns::{Run, collect};

/// What is asked, and where.
#[derive(Debug)]
pub(super) struct Plain {
    client: reqwest::Client,
    url: String,
    kind: TurnKind,
    stream: bool,
    /// What was said before, as it stands in a body: a history that is frozen.
    pub(super) before: String,
    /// With a history, the bodies that were sent: nothing is left to do for them but to hand them to the socket.
    sent: Mutex<HashMap<String, Bytes>>,
}

#[derive(Debug, Default)]
struct Reply {
    text: String,
    call: Option<String>,
}

impl Plain {
    pub(super) fn new(url: &str, options: &HttpArgs) -> Outcome<Self> {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        let user = format!(r#"{{"role":"user","content":"{}"}},"#, options.turn.as_str());
        let answer = format!(r#"{{"role":"assistant","content":"{ANSWER}"}},"#);
        let before = match options.turn {
            TurnKind::Text => format!("{user}{answer}").repeat(options.history.div_ceil(2)),
            _ => {
                let (call, result) = round(r#"{"left":1,"right":1}"#, "2");
                format!("{user}{call},{result},{answer}").repeat(options.history.div_ceil(4))
            }
        };
        let url = format!("{}/chat/completions", url.trim_end_matches('/'));
        Ok(Self {
            client,
            url,
            kind: options.turn,
            stream: !options.no_stream,
            before,
            sent: Mutex::default(),
        })
    }

    async fn converse(&self, add: impl AsyncFnOnce(String) -> Outcome<String>) -> Outcome<String> {
        let user = json!({"role": "user", "content": self.kind.as_str()}).to_string();
        let mut reply = self.ask(&user).await?;
        if let Some(arguments) = reply.call.take() {
            let result = add(arguments.clone()).await?;
            let (call, result) = round(&arguments, &result);
            reply = self.ask(&format!("{user},{call},{result}")).await?;
        }
        if reply.text == ANSWER { Ok(reply.text) } else { Err(format!("the answer was {reply:?}").into()) }
    }

    fn body(&self, messages: &str) -> String {
        let tools = match self.kind {
            TurnKind::Text => String::new(),
            _ => format!(",\"tools\":[{}]", tool()),
        };
        let (model, before, stream) = (self.kind.as_str(), &self.before, self.stream);
        format!(r#"{{"model":"{model}","messages":[{before}{messages}],"stream":{stream}{tools}}}"#)
    }

    async fn ask(&self, messages: &str) -> Outcome<Reply> {
        let request = self.client.post(&self.url).header("content-type", "application/json");
        let request = if self.before.is_empty() {
            request.body(self.body(messages))
        } else {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            let body = sent.entry(messages.to_owned()).or_insert_with(|| self.body(messages).into());
            request.body(body.clone())
        };
        let mut response = request.send().await?;
        let (mut reply, mut bytes) = (Reply::default(), Vec::new());
        while let Some(chunk) = response.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        if !self.stream {
            reply.take(serde_json::from_slice::<Value>(&bytes)?.pointer("/choices/0/message"));
            return Ok(reply);
        }
        for line in bytes.split(|byte| *byte == b'\n') {
            match line.strip_prefix(b"data: ") {
                Some(b"[DONE]") | None => {}
                Some(data) => reply.take(serde_json::from_slice::<Value>(data)?.pointer("/choices/0/delta")),
            }
        }
        Ok(reply)
    }
}

impl Reply {
    fn take(&mut self, message: Option<&Value>) {
        let Some(message) = message else { return };
        self.text.push_str(message["content"].as_str().unwrap_or_default());
        if let Some(arguments) = message.pointer("/tool_calls/0/function/arguments").and_then(Value::as_str) {
            self.call.get_or_insert_default().push_str(arguments);
        }
    }
}

/// A call, and its result.
fn round(arguments: &str, result: &str) -> (Value, Value) {
    let function = json!({"name": "add", "arguments": arguments});
    let calls = json!([{"id": "call_1", "type": "function", "function": function}]);
    let call = json!({"role": "assistant", "content": null, "tool_calls": calls});
    (call, json!({"role": "tool", "tool_call_id": "call_1", "content": result}))
}

fn tool() -> Value {
    let number = json!({"type": "integer"});
    let parameters = json!({"type": "object", "properties": {"left": number, "right": number}});
    let function = json!({"name": "add", "description": "Adds two whole numbers.", "parameters": parameters});
    json!({"type": "function", "function": function})
}

async fn add(arguments: String) -> Outcome<String> {
    let arguments: Value = serde_json::from_str(&arguments)?;
    let of = |name: &str| arguments.get(name).and_then(Value::as_i64).unwrap_or_default();
    Ok((of("left") + of("right")).to_string())
}

/// reqwest and nothing else.
pub(super) async fn bare(plain: &Arc<Plain>, options: &HttpArgs) -> Outcome<Run> {
    plain.converse(add).await?;
    let mut running: JoinSet<Outcome<Laps>> = JoinSet::new();
    let (watch, turns) = (Stopwatch::start(), options.turns);
    for _ in 0..options.inflight {
        let plain = plain.clone();
        running.spawn(async move {
            let mut laps = Laps::default();
            for _ in 0..turns {
                let start = Instant::now();
                plain.converse(add).await?;
                laps.lap(start.elapsed());
            }
            Ok(laps)
        });
    }
    collect(running, watch, options.inflight * turns).await
}

impl Work for Arc<Plain> {
    type Input = String;

    async fn turn(&self, tools: Tools) -> Outcome<String> {
        self.converse(async |arguments| tools.start::<Self>(arguments).await?.await?).await
    }

    async fn tool(arguments: String) -> Outcome<String> {
        add(arguments).await
    }
}

/// The same requests from the bare shape of actors, in as many sessions.
pub(super) async fn actors(plain: &Arc<Plain>, options: &HttpArgs, each: usize) -> Outcome<Run> {
    shape::run(plain.clone(), options.inflight, options.turns, each).await
}
