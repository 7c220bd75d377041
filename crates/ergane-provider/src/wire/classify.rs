//! What an error of a server means: its text found, its kind decided.
//!
//! Servers that speak one format fail in many. The text is looked for where any of them puts it; the kind is decided by
//! status, code and text together, because statuses alone lie (a 429 may be an empty purse, a 500 a request that can
//! never work, a 200 anything).

use std::borrow::Cow;
use std::time::Duration;

use ergane_core::{ErrorKind, ProviderError, Text};
use serde_json::Value;

mod kind;

pub use kind::classify;

use super::hints::ABSURD;
use super::{CallInfo, Head, Redactor, retry_hint};

/// How much of a body that is no known error is quoted, in bytes.
const QUOTED_BODY: usize = 500;

/// How much of a server's own message is quoted, in bytes.
const QUOTED_MESSAGE: usize = 2000;

/// How much of its code, or of its name for a request, in bytes.
const QUOTED_CODE: usize = 200;

/// An error as a server worded it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WireError {
    /// The text.
    pub message: String,
    /// The server's code: `error.code`, or `code`.
    pub code: Option<String>,
    /// The server's type: `error.type`, or `type`.
    pub kind: Option<String>,
    /// More text that tells the kind, such as what a router's upstream said.
    pub detail: String,
    /// How long to wait, where the body of an error says so.
    pub retry_after: Option<Duration>,
}

impl WireError {
    /// The error in a JSON value, if it is one: `error.message`, `error` as text, `message`, `detail` as text,
    /// `detail[0].msg`, `[0].error.message`, in this order. `"error": null` and `"error": ""` are none.
    pub fn in_json(value: &Value) -> Option<Self> {
        let inner = value.get(0).unwrap_or(value);
        let error = inner.get("error").filter(|error| !error.is_null());
        let text = |value: Option<&Value>| {
            value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let message = text(error.and_then(|error| error.get("message")))
            .or_else(|| text(error))
            .or_else(|| error.filter(|error| error.is_object()).map(Value::to_string))
            .or_else(|| text(inner.get("message")))
            .or_else(|| text(inner.get("detail")))
            .or_else(|| text(inner.pointer("/detail/0/msg")))?;
        let word = |name: &str| {
            let value = error.and_then(|error| error.get(name)).or_else(|| inner.get(name))?;
            match value {
                Value::String(word) if !word.is_empty() => Some(word.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            }
        };
        // A router's, or Google's.
        let inside = |name: &str| error.and_then(|error| error.get(name));
        let detail = inside("metadata").or(inside("details")).map(Value::to_string).unwrap_or_default();
        Some(Self {
            message,
            code: word("code"),
            // An event that says of itself only that it is an error tells no kind.
            kind: word("type").filter(|kind| kind != "error").or_else(|| word("status")),
            detail,
            retry_after: inside("details").and_then(retry_delay),
        })
    }

    /// The error in the body of an answer that failed. What is quoted of a body that is no known error has none of the keys
    /// in it that `redactor` knows, nor, where the body was cut off, the beginning of one.
    pub fn in_body(body: &[u8], redactor: &Redactor) -> Self {
        if let Ok(value) = serde_json::from_slice::<Value>(body.trim_ascii())
            && let Some(error) = Self::in_json(&value)
        {
            return error;
        }
        // Before it is shortened: of a key that is cut in two the first half would stay.
        let text = redactor.redact_cut(String::from_utf8_lossy(body).trim());
        let message = match text.chars().next() {
            None => "the answer had no body".to_owned(),
            Some('<') => "the answer was a web page, not JSON".to_owned(),
            Some(_) => cut(&text, QUOTED_BODY).into_owned(),
        };
        Self { message, ..Self::default() }
    }
}

/// The delay among Google's details of an error, such as `37s` or `0.5s`.
fn retry_delay(details: &Value) -> Option<Duration> {
    let delay = details.as_array()?.iter().find_map(|detail| detail.get("retryDelay"))?;
    let seconds = delay.as_str()?.strip_suffix('s')?.parse::<f64>().ok()?;
    (0.0..=ABSURD).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

fn cut(text: &str, bytes: usize) -> Cow<'_, str> {
    if text.len() <= bytes {
        return Cow::Borrowed(text);
    }
    let end = (0..=bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

/// The error of an answer whose status says that it failed.
pub(crate) fn http_error(call: &CallInfo, head: &Head, body: &[u8]) -> ProviderError {
    let mut wire = WireError::in_body(body, &call.redactor);
    // Bedrock's place for it, with a namespace behind.
    let typed = || Some(head.header("x-amzn-errortype")?.split(':').next()?.trim().to_owned());
    wire.kind = wire.kind.or_else(typed);
    let mut error = provider_error(call, Some(head.status), &wire);
    error.retry_after = retry_hint(head, error.retry_after);
    error.request_id = head
        .header("x-request-id")
        .or(head.header("request-id"))
        .map(|id| quoted(call, id, QUOTED_CODE).into());
    if head.status == 402 && error.retry_after.is_some() {
        error.retryable = true;
    }
    match head.header("x-should-retry") {
        Some("true") => error.retryable = true,
        Some("false") => error.retryable = false,
        _ => {}
    }
    error
}

/// An error that came inside an answer whose status was a success.
pub(crate) fn stream_error(call: &CallInfo, wire: &WireError) -> ProviderError {
    provider_error(call, None, wire)
}

/// The same where the error's own type says which status it would have had.
pub(crate) fn stream_error_as(call: &CallInfo, wire: &WireError, status: Option<u16>) -> ProviderError {
    ProviderError { status: None, ..provider_error(call, status, wire) }
}

fn provider_error(call: &CallInfo, status: Option<u16>, wire: &WireError) -> ProviderError {
    let kind = classify(status, wire);
    let said = said(call, &wire.message);
    let shown_status = status.map(|status| format!(" ({status})")).unwrap_or_default();
    let message = format!(
        "{} at {} {}{shown_status}: {said}{}",
        call.provider,
        call.endpoint,
        verb(kind),
        advice(kind, status, call)
    );
    ProviderError {
        status,
        code: wire
            .code
            .as_deref()
            .or(wire.kind.as_deref())
            .map(|code| Text::from(quoted(call, code, QUOTED_CODE))),
        retry_after: wire.retry_after,
        ..ProviderError::new(kind, message)
    }
}

/// What a server said, or what quotes it: without keys, and no more of it than `bytes`.
fn quoted(call: &CallInfo, text: &str, bytes: usize) -> String {
    cut(call.redactor.redact(text).trim(), bytes).into_owned()
}

/// The same as part of a message.
pub(crate) fn said(call: &CallInfo, text: &str) -> String {
    quoted(call, text, QUOTED_MESSAGE)
}

fn verb(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Auth => "does not accept the key",
        ErrorKind::Permission => "does not allow this",
        ErrorKind::Quota => "says that the account has nothing left",
        ErrorKind::RateLimited => "asks to slow down",
        ErrorKind::Overloaded => "is overloaded",
        ErrorKind::ContextOverflow => "says that the prompt does not fit the model",
        ErrorKind::ModelNotFound => "does not have the model",
        ErrorKind::ContentBlocked => "blocked the content",
        ErrorKind::Timeout => "gave up waiting",
        ErrorKind::Server => "failed",
        _ => "refused the request",
    }
}

fn advice(kind: ErrorKind, status: Option<u16>, call: &CallInfo) -> String {
    match (kind, status) {
        (ErrorKind::Auth, _) => format!("; {}", call.key_hint),
        (ErrorKind::InvalidRequest, Some(404)) => "; check the base URL".to_owned(),
        _ => String::new(),
    }
}

/// An error of ours about an answer that makes no sense. `what` may quote it.
pub(crate) fn protocol(call: &CallInfo, what: &str) -> ProviderError {
    let what = said(call, what);
    let message = format!("the answer of {} at {} cannot be read: {what}", call.provider, call.endpoint);
    ProviderError::new(ErrorKind::Protocol, message)
}

/// A success that is no JSON. What it is instead may tell what is wrong.
pub(crate) fn no_json(call: &CallInfo, error: &serde_json::Error, body: &[u8]) -> ProviderError {
    let text = WireError::in_body(body, &call.redactor).message;
    protocol(call, &format!("it is not JSON ({error}), but begins: {text}"))
}

/// A success that is a web page: a proxy, a login, or simply the wrong address.
pub(crate) fn web_page(call: &CallInfo) -> ProviderError {
    let message = format!(
        "{} at {} answered with a web page instead of a model's answer; check the base URL, and any proxy in between",
        call.provider, call.endpoint
    );
    ProviderError::new(ErrorKind::Protocol, message)
}

/// An answer that ended before it was complete.
pub(crate) fn stream_cut(call: &CallInfo, how: &str) -> ProviderError {
    let how = said(call, how);
    let message = format!("the answer of {} at {} was cut off: {how}", call.provider, call.endpoint);
    ProviderError::new(ErrorKind::StreamCut, message)
}

#[cfg(test)]
mod tests;
