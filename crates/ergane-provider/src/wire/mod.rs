//! The wire formats, without I/O.
//!
//! Every format is two pure parts: a function from a [`ModelRequest`] to an [`HttpRequest`],
//! and a [`Decoder`] that is fed the bytes of the answer as they come and yields [`StreamEvent`]s. Neither knows a
//! socket, a clock or a task. So every trap of a format is a test of bytes in and events out, however the bytes are
//! split, and the I/O around them is written once for all formats.

mod again;
pub mod anthropic;
mod assembly;
mod balance;
mod body;
pub mod check;
mod classify;
pub mod dialect;
mod effort;
mod frame;
mod frozen;
pub mod gemini;
mod hints;
mod history;
mod loose;
mod offered;
pub mod ollama;
pub mod openai;
mod payload;
mod quota;
mod recast;
mod redact;
pub mod responses;
mod schema;
mod sse;
mod strict;
#[cfg(test)]
pub(crate) mod testing;
mod vectors;
mod work;

use std::borrow::Cow;
use std::time::SystemTime;

use ergane_core::{Message, ModelReply, ModelRequest, PromptCache, ProviderError, Text};
use serde::Serialize;
use serde_json::Value;

pub use classify::{WireError, classify};
pub use hints::retry_hint;
pub use payload::Payload;
pub(crate) use quota::counts_cached;
pub use quota::{Allowance, Quota};
pub use redact::Redactor;

pub(crate) use classify::{protocol as protocol_error, said, stream_cut as cut_error};

/// The largest event, line or whole answer that is decoded: 16 MiB. Beyond it is a
/// [`Protocol`](ergane_core::ErrorKind::Protocol) error, never more memory.
pub const MAX_EVENT: usize = 16 * 1024 * 1024;

/// The most tool calls of one answer: 1,024. With more it is a [`Protocol`](ergane_core::ErrorKind::Protocol) error, and none of
/// them is carried out.
pub const MAX_CALLS: usize = 1024;

/// The most pieces (texts, calls, pictures, thoughts) of one answer.
const MAX_PIECES: usize = 16 * 1024;

/// How much of an error's body is looked at: 64 KiB.
pub const MAX_ERROR_BODY: usize = 64 * 1024;

/// A request, ready for any HTTP client. The key is added by whoever sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// How it is sent.
    pub method: Method,
    /// The path, to be put behind the base URL, such as `/chat/completions`; it may have a query.
    pub path: Cow<'static, str>,
    /// Header names and values, beside the key.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body: JSON, or nothing. The same request always gives the same bytes, so that prefix caches hit. What was written
    /// of a history for an earlier request is part of it without being copied.
    pub body: Payload,
}

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Something is read.
    Get,
    /// Something is asked for, and paid for perhaps.
    Post,
}

impl HttpRequest {
    /// Reads what is at `path`.
    pub fn get(path: impl Into<Cow<'static, str>>) -> Self {
        Self { method: Method::Get, path: path.into(), headers: Vec::new(), body: Payload::default() }
    }

    /// Sends `body` to `path` as JSON. The body must be made of maps with string keys, texts and numbers, of which
    /// nothing can fail to become JSON; what does is sent as an empty body.
    pub fn post(path: impl Into<Cow<'static, str>>, body: &impl Serialize) -> Self {
        Self::post_payload(path, Payload::json(body))
    }

    /// Sends `body`, which is JSON, to `path`.
    pub(crate) fn post_payload(path: impl Into<Cow<'static, str>>, body: Payload) -> Self {
        Self {
            method: Method::Post,
            path: path.into(),
            headers: vec![("content-type", Cow::Borrowed("application/json"))],
            body,
        }
    }

    /// With one more header.
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With the header that says what the answer is to be: a stream of events, or one JSON document.
    pub fn accept_events(self, stream: bool) -> Self {
        self.header("accept", if stream { "text/event-stream" } else { "application/json" })
    }
}

/// The head of an answer, as far as decoders care.
#[derive(Debug, Clone)]
pub struct Head {
    /// The HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// When it came, by this machine's clock: to make a delay of a date, where the server does not say what time it has.
    pub at: SystemTime,
}

impl Head {
    /// A head with a content type and nothing else.
    pub fn new(status: u16, content_type: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            at: SystemTime::UNIX_EPOCH,
        }
    }

    /// The first header of that (lower case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// What time it was where it comes from: a moment that a server names is one of its own clock, and this machine's may be
    /// behind or ahead of that.
    pub(crate) fn clock(&self) -> SystemTime {
        self.header("date").and_then(|date| httpdate::parse_http_date(date.trim()).ok()).unwrap_or(self.at)
    }

    /// The media type, without its parameters, in lower case.
    pub fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Whether the status says that the request was carried out.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What a decoder knows of the call it decodes for.
#[derive(Debug, Clone)]
pub struct CallInfo {
    /// The provider's registered name.
    pub provider: Text,
    /// The model that was asked for.
    pub model: Text,
    /// Where the provider is, for error texts.
    pub endpoint: Text,
    /// What a user can do about a missing or wrong key, such as `set OPENAI_API_KEY`.
    pub key_hint: Text,
    /// Takes keys out of texts.
    pub redactor: Redactor,
}

/// What a decoder yields. The last one is always [`Finish`](StreamEvent::Finish) or [`Failed`](StreamEvent::Failed), once.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamEvent {
    /// A piece of the text for the user (of a refusal, too).
    Text(Text),
    /// A piece of the reasoning.
    Reasoning(Text),
    /// A tool call began; its name is known.
    ToolCall {
        /// The tool's name.
        name: Text,
    },
    /// The answer is complete.
    Finish(ModelReply),
    /// The answer is an error, or did not become complete.
    Failed {
        /// Why.
        error: ProviderError,
        /// What had come by then; its calls are incomplete.
        partial: Message,
    },
}

impl StreamEvent {
    /// Whether it is the last.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Finish(_) | Self::Failed { .. })
    }
}

/// Makes events of bytes. After the terminal event it yields nothing more, whatever it is fed.
pub trait Decoder: Send {
    /// Takes the next bytes of the body.
    fn feed(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>);

    /// The body is over: by its end, or (with an error) because it broke or fell silent. An answer that had proved
    /// complete before is complete all the same.
    fn end(&mut self, broken: Option<ProviderError>, events: &mut Vec<StreamEvent>);

    /// Which model answers, by the server's own word: an alias has led to it. `None` while, or where, it does not say.
    fn model(&self) -> Option<&str> {
        None
    }
}

/// The key under which the prompt's beginning is to be kept.
pub(crate) fn cache_key(request: &ModelRequest) -> Option<&str> {
    request.cache_key.as_deref().filter(|_| request.cache != PromptCache::Off)
}

/// A text as a value within a query.
pub(crate) fn query(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The JSON of an answer that is no reply of a model, such as a list of models.
pub(crate) fn json_body(call: &CallInfo, head: &Head, body: &[u8]) -> Result<Value, ProviderError> {
    if !head.is_success() {
        return Err(classify::http_error(call, head, body));
    }
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => match value.get("error").and(WireError::in_json(&value)) {
            Some(error) => Err(classify::stream_error(call, &error)),
            None => Ok(value),
        },
        Err(_) if body.trim_ascii_start().first() == Some(&b'<') => Err(classify::web_page(call)),
        Err(error) => Err(classify::no_json(call, &error, body)),
    }
}
