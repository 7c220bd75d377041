//! The object of `--json`: the same fields whatever the outcome. Pure.

use std::time::Duration;

use ergane::core::{ErrorKind, FinishReason, SessionName, Text, Usage};
use ergane::serde_json::{self, Value};
use ergane::session::TurnResult;
use serde::{Deserialize, Serialize};

use crate::outcome::{Failure, exit_of_turn};

/// The version of the lines of `--stream-json`.
pub(crate) const LINES_VERSION: u32 = 1;

/// How a turn, or the attempt at one, ended. A field without a value is `null`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) session: Option<Text>,
    pub(crate) turn: Option<u32>,
    pub(crate) text: Option<Text>,
    pub(crate) finish_reason: Option<FinishReason>,
    pub(crate) iterations: u32,
    pub(crate) tool_calls_made: u32,
    pub(crate) usage: Usage,
    pub(crate) cost_usd: Option<f64>,
    pub(crate) duration_ms: u64,
    pub(crate) provider: Option<Text>,
    pub(crate) model: Option<Text>,
    pub(crate) recovered: bool,
    pub(crate) error: Option<ErrorObject>,
    #[serde(skip)]
    pub(crate) exit: u8,
    /// Of a turn that waits for a decision: how to decide.
    #[serde(skip)]
    pub(crate) waiting: Option<String>,
    /// Of one that was interrupted with no result: what becomes of it.
    #[serde(skip)]
    pub(crate) interrupted: Option<String>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ErrorObject {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}

impl ErrorObject {
    /// `None` for an interrupt, which is no error.
    pub(crate) fn of(failure: &Failure) -> Option<Self> {
        failure.kind.map(|kind| Self { kind, message: failure.message.clone() })
    }
}

/// What `--json` prints of a command that runs no turn when nothing came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Failed {
    error: Option<ErrorObject>,
}

impl Failed {
    pub(crate) fn of(failure: &Failure) -> Self {
        Self { error: ErrorObject::of(failure) }
    }
}

impl Report {
    /// Of a turn of a stored session.
    pub(crate) fn of_turn(result: &TurnResult) -> Self {
        Self {
            session: Some(result.session.as_str().into()),
            turn: Some(result.ordinal),
            ..Self::of_one_shot(result)
        }
    }

    /// Of a turn of which nothing is kept: it has no session and no number.
    pub(crate) fn of_one_shot(result: &TurnResult) -> Self {
        let error = result.error.as_ref();
        Self {
            session: None,
            turn: None,
            text: Some(result.text.clone()),
            finish_reason: Some(result.finish_reason),
            iterations: result.iterations,
            tool_calls_made: result.tool_calls_made,
            usage: result.usage,
            cost_usd: result.cost.map(|cost| cost.as_usd()),
            duration_ms: millis(result.duration),
            provider: Some(result.provider.clone()),
            // A model that was left to the provider, which then did not answer, has no name.
            model: Some(result.model.clone()).filter(|model| !model.is_empty()),
            recovered: result.recovered,
            error: error
                .map(|error| ErrorObject { kind: error.kind.code(), message: error.message.to_string() }),
            exit: exit_of_turn(result.finish_reason, error),
            waiting: None,
            interrupted: None,
        }
    }

    /// Of an attempt that came to no result.
    pub(crate) fn of_failure(session: Option<&SessionName>, failure: &Failure, took: Duration) -> Self {
        Self {
            finish_reason: failure.is_interrupt().then_some(FinishReason::Interrupted),
            duration_ms: millis(took),
            error: ErrorObject::of(failure),
            exit: failure.exit,
            waiting: failure.is_waiting().then(|| failure.message.clone()),
            interrupted: failure.is_interrupt().then(|| failure.message.clone()),
            ..Self::nothing(session)
        }
    }

    /// Of a session in which there was nothing to do.
    pub(crate) fn nothing(session: Option<&SessionName>) -> Self {
        Self {
            session: session.map(|session| session.as_str().into()),
            turn: None,
            text: None,
            finish_reason: None,
            iterations: 0,
            tool_calls_made: 0,
            usage: Usage::default(),
            cost_usd: None,
            duration_ms: 0,
            provider: None,
            model: None,
            recovered: false,
            error: None,
            exit: crate::outcome::OK,
            waiting: None,
            interrupted: None,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A line of `--stream-json`.
#[derive(Debug, Serialize)]
pub(crate) struct Line<T> {
    v: u32,
    #[serde(flatten)]
    what: T,
}

impl<T: Serialize> Line<T> {
    /// Something that has a `type` of its own.
    pub(crate) fn of(what: T) -> Self {
        Self { v: LINES_VERSION, what }
    }
}

/// An event that tells an error, with the kind by the word of the contract, as the result has it. `None` of any other.
pub(crate) fn with_the_contracts_kind(event: &impl Serialize) -> Option<Value> {
    let mut what = serde_json::to_value(event).ok()?;
    let kind = what.pointer_mut("/error/kind")?;
    *kind = ErrorKind::deserialize(&*kind).ok()?.code().into();
    Some(what)
}

/// The last line of `--stream-json`.
#[derive(Debug, Serialize)]
pub(crate) struct LastLine<T> {
    v: u32,
    r#type: &'static str,
    #[serde(flatten)]
    what: T,
}

impl<T: Serialize> LastLine<T> {
    pub(crate) fn of(what: T) -> Self {
        Self { v: LINES_VERSION, r#type: "result", what }
    }
}

#[cfg(test)]
mod tests {
    use ergane::session::SessionEvent;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_failure_has_every_field_of_the_contract_and_nulls_where_there_is_no_value() {
        let name = SessionName::new("demo").unwrap();
        let failure = Failure::config("no");
        let report = Report::of_failure(Some(&name), &failure, Duration::from_millis(7));
        let expected = json!({
            "session": "demo", "turn": null, "text": null, "finish_reason": null, "iterations": 0,
            "tool_calls_made": 0,
            "usage": {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "reasoning_tokens": 0},
            "cost_usd": null, "duration_ms": 7, "provider": null, "model": null, "recovered": false,
            "error": {"kind": "config", "message": "no"},
        });
        assert_eq!(serde_json::to_value(&report).unwrap(), expected);
        assert_eq!(report.exit, 2);
    }

    #[test]
    fn an_interrupt_before_any_turn_is_a_finish_and_no_error() {
        let report = Report::of_failure(None, &Failure::interrupted(), Duration::ZERO);
        let value = serde_json::to_value(&report).unwrap();
        assert_eq!((&value["finish_reason"], &value["error"]), (&json!("interrupted"), &Value::Null));
        assert_eq!(report.exit, 130);
    }

    #[test]
    fn lines_have_a_version_and_a_type() {
        let event = SessionEvent::Content { text: "a".into() };
        let line = serde_json::to_string(&Line::of(&event)).unwrap();
        assert_eq!(line, r#"{"v":1,"type":"content","text":"a"}"#);
        let last = serde_json::to_value(LastLine::of(Report::nothing(None))).unwrap();
        assert_eq!(
            (&last["v"], &last["type"], &last["iterations"]),
            (&json!(1), &json!("result"), &json!(0))
        );
    }
}
