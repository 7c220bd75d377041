//! The kind of an error: by its status, then by its code and type, then by its words.
//!
//! A server's code and type are words of its own; a message quotes whatever the user chose: the name of a tool, of a
//! parameter, a schema. So a sign that could be such a name counts only where nobody but the server writes, and in a
//! message only whole phrases count, and not what stands in quotes or belongs to a longer name.

use std::sync::LazyLock;

use ergane_core::ErrorKind;
use regex::Regex;
use serde_json::Value;

use super::WireError;

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

/// What an error says, in lower case.
struct Words {
    /// Its code and its type, the code first; then those of the error that a router hands on.
    codes: Vec<String>,
    message: String,
    detail: String,
}

impl Words {
    fn of(error: &WireError) -> Self {
        let message = error.message.trim().to_lowercase();
        let mut codes = codes_of(error);
        codes.extend(handed_on(&error.detail).as_ref().map(codes_of).unwrap_or_default());
        // Nothing but a code, written where the message stands.
        if codes.is_empty() && !message.contains(char::is_whitespace) {
            codes.push(message.clone());
        }
        Self { codes, message, detail: error.detail.to_lowercase() }
    }

    fn all(&self) -> String {
        let Self { codes, message, detail } = self;
        format!("{message}\n{}\n{detail}", codes.join("\n"))
    }

    /// Whether one of these phrases stands in the message or in what came with it.
    fn say(&self, phrases: &[&str]) -> bool {
        // What came with it is JSON, where everything stands in quotes.
        let said = |phrase| is_said(&self.message, phrase, "'\"`") || is_said(&self.detail, phrase, "'`");
        phrases.iter().any(|phrase| said(phrase))
    }

    /// Whether a code or a type has one of these in it.
    fn are_coded(&self, signs: &[&str]) -> bool {
        self.codes.iter().any(|code| has(code, signs))
    }
}

fn codes_of(error: &WireError) -> Vec<String> {
    [&error.code, &error.kind].into_iter().flatten().map(|word| word.to_lowercase()).collect()
}

/// The error that a router was answered with, as far as it hands it on.
fn handed_on(detail: &str) -> Option<WireError> {
    let detail = serde_json::from_str::<Value>(detail).ok()?;
    WireError::in_json(&serde_json::from_str(detail.get("raw")?.as_str()?).ok()?)
}

/// Whether a phrase stands in a text on its own: neither as a part of a longer name or path, nor in quotes.
fn is_said(text: &str, phrase: &str, quotes: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-') || quotes.contains(c);
    text.match_indices(phrase).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(at + phrase.len()..).and_then(|text| text.chars().next());
        // The dot and the brackets of a path: `tools.0.name`, `tools[0].name`, `properties[name]`.
        !before.is_some_and(|c| part_of_name(c) || matches!(c, '/' | '.' | '['))
            && !after.is_some_and(|c| part_of_name(c) || c == ']')
    })
}

fn has(text: &str, signs: &[&str]) -> bool {
    signs.iter().any(|sign| text.contains(sign))
}

/// The kind of an error. `status` is that of the answer, or `None` when the error came inside a success; then its own
/// code and type stand in for it.
pub fn classify(status: Option<u16>, error: &WireError) -> ErrorKind {
    let words = Words::of(error);
    let own =
        error.code.as_deref().and_then(|code| code.parse().ok()).filter(|code| (400..600).contains(code));
    let status = status.or(own);
    let all = words.all();
    if is_overflow(status, &all) {
        return ErrorKind::ContextOverflow;
    }
    match status {
        Some(401) => ErrorKind::Auth,
        Some(402) => ErrorKind::Quota,
        Some(403) if has(&all, &["moderation", "flagged"]) => ErrorKind::ContentBlocked,
        Some(403) => ErrorKind::Permission,
        Some(404) if is_model_missing(&words) => ErrorKind::ModelNotFound,
        Some(404) => ErrorKind::InvalidRequest,
        Some(408 | 499) => ErrorKind::Timeout,
        Some(413) => ErrorKind::TooLarge,
        // A server that says in its code that a limit was met may speak in its message of how to pay for more.
        Some(429) => match by_code(&words).or_else(|| by_purse(&words)) {
            Some(ErrorKind::Quota) => ErrorKind::Quota,
            _ => ErrorKind::RateLimited,
        },
        Some(498 | 503 | 529) => ErrorKind::Overloaded,
        Some(501) => ErrorKind::Unsupported,
        // Template and capability faults of llama.cpp: they can never work, whatever the status says.
        Some(500) if has(&all, &["jinja", "template", "not supported", "image input"]) => {
            ErrorKind::Unsupported
        }
        Some(500..) => match by_words(&words) {
            Some(kind @ (ErrorKind::Overloaded | ErrorKind::RateLimited)) => kind,
            _ => ErrorKind::Server,
        },
        Some(_) => {
            by_words(&words).filter(|kind| *kind != ErrorKind::Server).unwrap_or(ErrorKind::InvalidRequest)
        }
        None => by_words(&words).unwrap_or(ErrorKind::Server),
    }
}

/// Whether the words say that the prompt does not fit. A rate limit or an outage may use the same words, and wins.
fn is_overflow(status: Option<u16>, all: &str) -> bool {
    let vetoed = matches!(status, Some(429 | 503 | 529))
        || has(
            all,
            &["rate limit", "too many requests", "throttl", "quota", "per minute", "service unavailable"],
        );
    let matches = OVERFLOW.as_ref().is_some_and(|overflow| overflow.is_match(all))
        || (status != Some(413) && all.contains("request_too_large"));
    matches && !vetoed
}

/// What the code says, then the type, then the phrases of the message; last what is said of nearly everything.
fn by_words(words: &Words) -> Option<ErrorKind> {
    by_code(words)
        .or_else(|| by_phrase(words))
        .or_else(|| is_model_missing(words).then_some(ErrorKind::ModelNotFound))
        .or_else(|| find(&GENERAL, |sign| words.are_coded(&[sign])))
        .or_else(|| find(&GENERAL, |sign| words.say(&[&sign.replace('_', " ")])))
}

type Rows<const N: usize> = [(ErrorKind, &'static [&'static str]); N];

fn find<const N: usize>(rows: &Rows<N>, has: impl Fn(&str) -> bool) -> Option<ErrorKind> {
    rows.iter().find(|(_, signs)| signs.iter().any(|sign| has(sign))).map(|(kind, _)| *kind)
}

/// Codes and types that say something. A type such as `invalid_request_error` says next to nothing, see [`GENERAL`].
const CODES: Rows<9> = [
    // The last is LiteLLM's without a database, of any key but its own: only there could another one stand.
    (ErrorKind::Auth, &["invalid_api_key", "api_key_invalid", "authentication", "no_db_connection"]),
    (ErrorKind::Quota, &["insufficient_quota", "credit", "billing"]),
    (ErrorKind::RateLimited, &["rate_limit", "slow_down", "too_many_requests", "toomanyrequests"]),
    (
        ErrorKind::Overloaded,
        &["overloaded", "server_busy", "insufficient_system_resource", "capacity_exceeded"],
    ),
    (ErrorKind::ModelNotFound, &["model_not_found"]),
    (ErrorKind::ToolFormat, &["tool_use_failed"]),
    (ErrorKind::ContentBlocked, &["content_filter", "content_policy", "moderation"]),
    (ErrorKind::ReplayRejected, &["invalid_encrypted_content"]),
    (ErrorKind::Unsupported, &["unsupported", "unknown_parameter"]),
];

const GENERAL: Rows<2> = [
    (ErrorKind::InvalidRequest, &["invalid_request", "badrequest", "bad_request", "validation"]),
    (ErrorKind::Server, &["server_error", "api_error", "internal"]),
];

/// The kind that the code tells, else the type.
fn by_code(words: &Words) -> Option<ErrorKind> {
    words.codes.iter().find_map(|code| match code.as_str() {
        // Google says so whichever limit is met, and speaks of plan and billing then.
        "resource_exhausted" if words.detail.contains("perday") => Some(ErrorKind::Quota),
        "resource_exhausted" => Some(ErrorKind::RateLimited),
        code => find(&CODES, |sign| code.contains(sign)),
    })
}

/// The phrases of messages, the surest first.
const PHRASES: Rows<7> = [
    (
        ErrorKind::Auth,
        &[
            "api_key_invalid",
            "api key not valid",
            "incorrect api key",
            "authentication error",
            "authentication failed",
        ],
    ),
    (ErrorKind::RateLimited, &["rate limit", "too many requests"]),
    (ErrorKind::Overloaded, &["overloaded", "server busy", "loading model"]),
    (ErrorKind::ToolFormat, &["tool_use_failed"]),
    (ErrorKind::ContentBlocked, &["content_filter", "content filter", "content_policy", "moderation"]),
    (
        ErrorKind::ReplayRejected,
        &[
            "did not have response messages",
            "must be followed by tool messages",
            // OpenAI misspells what follows, and not everybody with it.
            "with role 'tool' must be a response",
            "with role \"tool\" must be a response",
            "must be passed back to the api",
            "not the same number of function calls and responses",
            "blocks in the latest assistant message cannot be modified",
            "expected `thinking`",
            "expected thinking or redacted_thinking",
            "without `tool_result` blocks",
            "without tool_result blocks",
            "unexpected `tool_use_id`",
            "unexpected role",
            "in `thinking` block",
            "in thinking block",
            "thought_signature",
            "`thought_signature`",
            "thought signature",
            "number of function response parts",
            "function call turn",
            "without its required",
            "no tool output found for function call",
        ],
    ),
    (ErrorKind::Unsupported, &["does not support", "is not supported", "unsupported", "unknown parameter"]),
];

fn by_phrase(words: &Words) -> Option<ErrorKind> {
    by_purse(words).or_else(|| find(&PHRASES, |phrase| words.say(&[phrase])))
}

/// Whether the message speaks of money that is gone; one that speaks of a rate limit only says how to buy more, unless
/// the limit is that of a whole day: nobody waits for that.
fn by_purse(words: &Words) -> Option<ErrorKind> {
    let limited = || words.say(&["rate limit", "rate limits", "too many requests"]);
    let gone = || {
        has(
            &words.message,
            &[
                "insufficient",
                "exhausted",
                "exceeded",
                "balance",
                "out of",
                "run out",
                "used all",
                "spending limit",
            ],
        )
    };
    let spoken = || words.say(&["billing"]) || (words.say(&["credit", "credits"]) && gone());
    let sure = words.say(&["insufficient_quota", "exceeded your current quota"]);
    let spent = if limited() { words.message.contains("-per-day") } else { spoken() };
    (sure || spent).then_some(ErrorKind::Quota)
}

fn is_model_missing(words: &Words) -> bool {
    let no_model = words.are_coded(&["model_not_found"])
        || words.say(&["model_not_found", "not found, try pulling", "invalid model name"]);
    let missing = || words.say(&["not found", "does not exist"]) || words.are_coded(&["not_found"]);
    no_model || (words.say(&["model", "models"]) && missing())
}
