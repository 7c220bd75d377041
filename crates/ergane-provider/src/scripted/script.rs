//! The replies of a script, and the file they are written in.

use std::path::Path;
use std::time::Duration;

use ergane_core::{ErrorKind, MicroUsd, ProviderError, StopReason, Text, Usage};
use serde::Deserialize;
use serde_json::Value;

use crate::error::SetupError;

/// One reply. As a line of a script it is JSON with these fields, all optional:
///
/// ```json
/// {"text": "…", "reasoning": "…", "tool_calls": [{"name": "read", "arguments": {"path": "a"}}],
///  "delay_ms": 0, "chunk_delay_ms": 0, "errors": [{"kind": "rate_limited", "message": "…", "status": 429,
///  "retry_after_ms": 10, "after_text": "partial"}], "cut_after": "partial text", "hang": true, "stop": "length",
///  "usage": {"input_tokens": 1, "output_tokens": 2}, "cost_usd": 0.01}
/// ```
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedReply {
    /// The text for the user.
    pub text: Option<String>,
    /// What the model thinks.
    pub reasoning: Option<String>,
    /// Tool calls, in order.
    pub tool_calls: Vec<ScriptedCall>,
    /// Silence before anything comes, in milliseconds. Silence beyond the call's idle timeout is an error, as of a server.
    pub delay_ms: u64,
    /// Silence between two pieces of a streamed text, in milliseconds.
    pub chunk_delay_ms: u64,
    /// The first attempts fail, each with one of these, in order. If there is nothing else in the reply, the last one is
    /// given again and again; else the reply follows.
    pub errors: Vec<ScriptedError>,
    /// The answer is cut off after this text.
    pub cut_after: Option<String>,
    /// After its text, if any, the answer never ends.
    pub hang: bool,
    /// Why the model stopped: `stop`, `stop_sequence`, `tool_calls`, `length`, `context_window`, `content_filter` or
    /// `refusal`. Without, it follows from the calls.
    #[serde(deserialize_with = "stop_reason")]
    pub stop: Option<StopReason>,
    /// Tokens; unknown when left out.
    pub usage: Option<ScriptedUsage>,
    /// Cost in US dollars; unknown when left out.
    pub cost_usd: Option<f64>,
}

/// A tool call of a [`ScriptedReply`].
///
/// ```
/// use ergane_provider::ScriptedReply;
/// use serde_json::json;
///
/// let reply = ScriptedReply::call("read", json!({ "path": "a" }));
/// assert_eq!((reply.tool_calls[0].name.as_str(), &reply.tool_calls[0].arguments["path"]), ("read", &json!("a")));
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedCall {
    /// The tool's name.
    pub name: String,
    /// An object, or a string that is taken as the model's raw text.
    #[serde(default)]
    pub arguments: Value,
}

/// An attempt that fails.
///
/// ```
/// use ergane_core::ErrorKind;
/// use ergane_provider::ScriptedError;
///
/// let busy = ScriptedError { status: Some(429), retry_after_ms: Some(10), ..ScriptedError::new(ErrorKind::RateLimited) };
/// let in_a_file: ScriptedError =
///     serde_json::from_str(r#"{"kind": "rate_limited", "status": 429, "retry_after_ms": 10}"#)?;
/// assert_eq!(in_a_file, busy);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedError {
    /// The kind in snake_case, such as `rate_limited`.
    pub kind: ErrorKind,
    /// What it says.
    #[serde(default)]
    pub message: Option<String>,
    /// The HTTP status it pretends.
    #[serde(default)]
    pub status: Option<u16>,
    /// How long it asks to wait, in milliseconds.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// Text that was shown before it.
    #[serde(default)]
    pub after_text: Option<String>,
}

/// Tokens of a [`ScriptedReply`].
///
/// ```
/// use ergane_provider::{ScriptedReply, ScriptedUsage};
///
/// let usage = ScriptedUsage { input_tokens: 900, output_tokens: 12, ..ScriptedUsage::default() };
/// let dear = ScriptedReply { usage: Some(usage), cost_usd: Some(0.02), ..ScriptedReply::text("Hello.") };
/// # let _ = dear;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptedUsage {
    /// See [`Usage::input_tokens`].
    pub input_tokens: u64,
    /// See [`Usage::output_tokens`].
    pub output_tokens: u64,
    /// See [`Usage::cached_tokens`].
    pub cached_tokens: u64,
    /// See [`Usage::reasoning_tokens`].
    pub reasoning_tokens: u64,
}

impl ScriptedReply {
    /// A text.
    ///
    /// ```
    /// let reply = ergane_provider::ScriptedReply::text("Hello.");
    /// assert_eq!(reply.text.as_deref(), Some("Hello."));
    /// ```
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// One tool call; more are added by [`and_call`](Self::and_call).
    ///
    /// ```
    /// use serde_json::json;
    ///
    /// let reply = ergane_provider::ScriptedReply::call("glob", json!({ "pattern": "**/*.rs" }));
    /// assert_eq!((reply.tool_calls.len(), reply.text), (1, None));
    /// ```
    pub fn call(name: impl Into<String>, arguments: Value) -> Self {
        Self::default().and_call(name, arguments)
    }

    /// Adds a tool call.
    ///
    /// ```
    /// use ergane_provider::ScriptedReply;
    /// use serde_json::json;
    ///
    /// let both = ScriptedReply::call("read", json!({ "path": "a" })).and_call("read", json!({ "path": "b" }));
    /// assert_eq!(both.tool_calls.len(), 2, "they run beside each other");
    /// ```
    pub fn and_call(mut self, name: impl Into<String>, arguments: Value) -> Self {
        self.tool_calls.push(ScriptedCall { name: name.into(), arguments });
        self
    }

    /// Nothing but a failure.
    ///
    /// ```
    /// use ergane_core::ErrorKind;
    /// use ergane_provider::{ScriptedError, ScriptedReply};
    ///
    /// let down = ScriptedReply::failing(ScriptedError::new(ErrorKind::Server)); // at every attempt
    /// assert_eq!(down.errors.len(), 1);
    /// ```
    pub fn failing(error: ScriptedError) -> Self {
        Self { errors: vec![error], ..Self::default() }
    }

    /// Lets an attempt fail before this reply is given.
    ///
    /// ```
    /// use ergane_core::ErrorKind;
    /// use ergane_provider::{ScriptedError, ScriptedReply};
    ///
    /// // The first attempt fails, the second one answers.
    /// let reply = ScriptedReply::text("Hello.").after_error(ScriptedError::new(ErrorKind::Network));
    /// # let _ = reply;
    /// ```
    pub fn after_error(mut self, error: ScriptedError) -> Self {
        self.errors.push(error);
        self
    }

    /// The error of that attempt, counted from 1.
    pub(super) fn error_at(&self, attempt: u32) -> Option<&ScriptedError> {
        let only_errors = self.text.is_none()
            && self.reasoning.is_none()
            && self.tool_calls.is_empty()
            && self.cut_after.is_none()
            && self.stop.is_none()
            && !self.hang;
        let repeated = if only_errors { self.errors.last() } else { None };
        self.errors.get(attempt.saturating_sub(1) as usize).or(repeated)
    }

    pub(super) fn fails_at(&self, attempt: u32) -> bool {
        self.error_at(attempt).is_some() || self.cut_after.is_some() || self.hang
    }

    pub(super) fn tokens(&self) -> Option<Usage> {
        self.usage.map(|usage| Usage {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_tokens,
            reasoning_tokens: usage.reasoning_tokens,
            ..Usage::default()
        })
    }

    pub(super) fn cost(&self) -> Option<MicroUsd> {
        self.cost_usd.and_then(MicroUsd::from_usd)
    }
}

impl ScriptedError {
    /// An error of a kind.
    ///
    /// ```
    /// use ergane_core::ErrorKind;
    /// use ergane_provider::ScriptedError;
    ///
    /// assert_eq!(ScriptedError::new(ErrorKind::Auth).status, None);
    /// ```
    pub fn new(kind: ErrorKind) -> Self {
        Self { kind, message: None, status: None, retry_after_ms: None, after_text: None }
    }

    pub(super) fn to_error(&self) -> ProviderError {
        let message =
            self.message.clone().unwrap_or_else(|| format!("the script fails here ({})", self.kind));
        ProviderError {
            status: self.status,
            retry_after: self.retry_after_ms.map(Duration::from_millis),
            after_output: self.after_text.is_some(),
            ..ProviderError::new(self.kind, Text::from(message))
        }
    }
}

fn stop_reason<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<StopReason>, D::Error> {
    let Some(word) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    Ok(Some(match word.as_str() {
        "stop" => StopReason::Stop,
        "stop_sequence" => StopReason::StopSequence,
        "tool_calls" => StopReason::ToolCalls,
        "length" => StopReason::Length,
        "context_window" => StopReason::ContextWindow,
        "content_filter" => StopReason::ContentFilter,
        "refusal" => StopReason::Refusal,
        other => return Err(serde::de::Error::custom(format!("{other:?} is no reason to stop"))),
    }))
}

/// The replies in a file.
pub(super) fn read(path: &Path) -> Result<Vec<ScriptedReply>, SetupError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| SetupError::ScriptUnreadable { path: path.to_owned(), reason: error.to_string() })?;
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| SetupError::BadScriptLine {
                path: path.to_owned(),
                line: number,
                reason: error.to_string(),
            })
        })
        .collect()
}
