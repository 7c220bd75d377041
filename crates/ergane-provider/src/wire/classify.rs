//! What an error of a server means: its text found, its kind decided.
//!
//! Servers that speak one format fail in many. The text is looked for where any of them puts it; the kind is decided by
//! status, code and text together, because statuses alone lie (a 429 may be an empty purse, a 500 a request that can
//! never work, a 200 anything).

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use ergane_core::{ErrorKind, ProviderError, Text};
use regex::Regex;
use serde_json::Value;

use super::hints::ABSURD;
use super::{CallInfo, Head, retry_hint};

/// How much of a body that is no known error is quoted, in bytes.
const QUOTED_BODY: usize = 500;

/// How much of a server's own message is quoted, in bytes.
const QUOTED_MESSAGE: usize = 2000;

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

    /// The error in the body of an answer that failed.
    pub fn in_body(body: &[u8]) -> Self {
        if let Ok(value) = serde_json::from_slice::<Value>(body.trim_ascii())
            && let Some(error) = Self::in_json(&value)
        {
            return error;
        }
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let message = match text.chars().next() {
            None => "the answer had no body".to_owned(),
            Some('<') => "the answer was a web page, not JSON".to_owned(),
            Some(_) => cut(text, QUOTED_BODY).into_owned(),
        };
        Self { message, ..Self::default() }
    }

    /// All its words, in lower case, to look for signs.
    fn haystack(&self) -> String {
        let code = self.code.as_deref().unwrap_or_default();
        let kind = self.kind.as_deref().unwrap_or_default();
        format!("{}\n{code}\n{kind}\n{}", self.message, self.detail).to_lowercase()
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

static OVERFLOW: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(concat!(
        r"prompt is too long|prompt too long|input is too long for requested model|exceeds the context window",
        r"|exceeds (the )?(model's )?maximum context length|maximum context length is [\d,]+ tokens",
        r"|input token count.*exceeds the maximum|maximum prompt length is \d+|reduce the length of the messages",
        r"|exceeds (the )?maximum allowed input length|longer than the model's context length",
        r"|exceeds the limit of \d+|exceeds the available context size|exceed_context_size_error",
        r"|greater than the context length|context size has been exceeded|context the overflows",
        r"|context window exceeds limit|exceeded model token limit",
        r"|too large for model with [\d,]+ maximum context length|context[_ ]length[_ ]exceeded|too many tokens",
        r"|token limit exceeded|exceed context limit|`inputs` tokens \+ `max_new_tokens` must be",
        r"|input length exceeds the context length|longer than the context length currently available",
        r"|current length is \d+ while limit is \d+",
    ))
    .ok()
});

fn has(haystack: &str, signs: &[&str]) -> bool {
    signs.iter().any(|sign| haystack.contains(sign))
}

/// Whether the words say that the prompt does not fit. A rate limit or an outage may use the same words, and wins.
fn is_overflow(status: Option<u16>, haystack: &str) -> bool {
    let vetoed = matches!(status, Some(429 | 503 | 529))
        || has(
            haystack,
            &["rate limit", "too many requests", "throttl", "quota", "per minute", "service unavailable"],
        );
    let matches = OVERFLOW.as_ref().is_some_and(|overflow| overflow.is_match(haystack))
        || (status != Some(413) && haystack.contains("request_too_large"));
    matches && !vetoed
}

/// The kind of an error. `status` is that of the answer, or `None` when the error came inside a success; then its own
/// code and type stand in for it.
pub fn classify(status: Option<u16>, error: &WireError) -> ErrorKind {
    let text = error.haystack();
    let own =
        error.code.as_deref().and_then(|code| code.parse().ok()).filter(|code| (400..600).contains(code));
    let status = status.or(own);
    if is_overflow(status, &text) {
        return ErrorKind::ContextOverflow;
    }
    match status {
        Some(401) => ErrorKind::Auth,
        Some(402) => ErrorKind::Quota,
        Some(403) if has(&text, &["moderation", "flagged"]) => ErrorKind::ContentBlocked,
        Some(403) => ErrorKind::Permission,
        Some(404) => by_words(&text)
            .filter(|kind| *kind == ErrorKind::ModelNotFound)
            .unwrap_or(ErrorKind::InvalidRequest),
        Some(408 | 499) => ErrorKind::Timeout,
        Some(413) => ErrorKind::TooLarge,
        Some(429) if is_quota(&text) => ErrorKind::Quota,
        Some(429) => ErrorKind::RateLimited,
        Some(498 | 503 | 529) => ErrorKind::Overloaded,
        Some(501) => ErrorKind::Unsupported,
        // Template and capability faults of llama.cpp: they can never work, whatever the status says.
        Some(500) if has(&text, &["jinja", "template", "not supported", "image input"]) => {
            ErrorKind::Unsupported
        }
        Some(500..) => match by_words(&text) {
            Some(kind @ (ErrorKind::Overloaded | ErrorKind::RateLimited)) => kind,
            _ => ErrorKind::Server,
        },
        Some(_) => {
            by_words(&text).filter(|kind| *kind != ErrorKind::Server).unwrap_or(ErrorKind::InvalidRequest)
        }
        None => by_words(&text).unwrap_or(ErrorKind::Server),
    }
}

fn is_quota(text: &str) -> bool {
    // Google speaks of plan and billing whichever limit is met.
    if text.contains("resource_exhausted") {
        return text.contains("perday");
    }
    has(text, &["insufficient_quota", "credit", "billing"])
}

/// What the words alone say, the surest first.
fn by_words(text: &str) -> Option<ErrorKind> {
    let is_model_missing = || {
        has(text, &["model_not_found", "not found, try pulling", "invalid model name"])
            || (text.contains("model") && has(text, &["not found", "does not exist", "not_found"]))
    };
    let table: [(ErrorKind, &[&str]); 9] = [
        (
            ErrorKind::Auth,
            &[
                "invalid_api_key",
                "api_key_invalid",
                "api key not valid",
                "incorrect api key",
                "authentication",
            ],
        ),
        (
            ErrorKind::RateLimited,
            &["rate_limit", "rate limit", "slow_down", "resource_exhausted", "too many requests"],
        ),
        (
            ErrorKind::Overloaded,
            &[
                "overloaded",
                "server busy",
                "loading model",
                "insufficient_system_resource",
                "capacity_exceeded",
            ],
        ),
        (ErrorKind::ToolFormat, &["tool_use_failed"]),
        (ErrorKind::ContentBlocked, &["content_filter", "content_policy", "moderation"]),
        (
            ErrorKind::ReplayRejected,
            &[
                "did not have response messages",
                "must be followed by tool messages",
                "must be a response to a preceding message with 'tool_calls'",
                "must be passed back to the api",
                "not the same number of function calls and responses",
                "blocks in the latest assistant message cannot be modified",
                "expected `thinking`",
                "expected thinking or redacted_thinking",
                "without `tool_result` blocks",
                "without tool_result blocks",
                "unexpected `tool_use_id`",
                "unexpected role",
                "thought_signature",
                "number of function response parts",
                "function call turn",
                "without its required",
                "no tool output found for function call",
                "invalid_encrypted_content",
            ],
        ),
        (
            ErrorKind::Unsupported,
            &[
                "does not support",
                "is not supported",
                "unsupported",
                "unknown parameter",
                "unknown_parameter",
            ],
        ),
        (ErrorKind::InvalidRequest, &["invalid_request", "badrequest", "bad_request", "validation"]),
        (ErrorKind::Server, &["server_error", "api_error", "internal"]),
    ];
    if is_quota(text) && has(text, &["insufficient", "exhausted", "exceeded", "billing"]) {
        return Some(ErrorKind::Quota);
    }
    let (sure, rest) = table.split_at(3);
    let find = |rows: &[(ErrorKind, &[&str])]| {
        rows.iter().find(|(_, signs)| has(text, signs)).map(|(kind, _)| *kind)
    };
    find(sure).or_else(|| is_model_missing().then_some(ErrorKind::ModelNotFound)).or_else(|| find(rest))
}

/// The error of an answer whose status says that it failed.
pub(crate) fn http_error(call: &CallInfo, head: &Head, body: &[u8]) -> ProviderError {
    let wire = WireError::in_body(body);
    let mut error = provider_error(call, Some(head.status), &wire);
    error.retry_after = retry_hint(head).or(error.retry_after);
    error.request_id =
        head.header("x-request-id").or(head.header("request-id")).map(|id| call.redactor.redact(id).into());
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
    let said = call.redactor.redact(&wire.message);
    let said = cut(said.trim(), QUOTED_MESSAGE);
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
            .map(|code| Text::from(call.redactor.redact(code))),
        retry_after: wire.retry_after,
        ..ProviderError::new(kind, message)
    }
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

/// An error of ours about an answer that makes no sense.
pub(crate) fn protocol(call: &CallInfo, what: &str) -> ProviderError {
    let message = format!("the answer of {} at {} cannot be read: {what}", call.provider, call.endpoint);
    ProviderError::new(ErrorKind::Protocol, message)
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
    let message = format!("the answer of {} at {} was cut off: {how}", call.provider, call.endpoint);
    ProviderError::new(ErrorKind::StreamCut, message)
}

#[cfg(test)]
mod tests;
