//! Plain text for people: one line each, nothing that moves a cursor. Pure.

use std::fmt::Write;

use std::time::Duration;

use ergane::core::{Cost, FinishReason, Timestamp, Usage};
use ergane::session::SessionEvent;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use crate::report::Report;

/// How long a line about a tool may be.
pub(crate) const WIDTH: usize = 160;

/// Text of a model or a tool may hold escape sequences; a terminal would obey them.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// The text on one line of at most `width` characters.
pub(crate) fn on_one_line(text: &str, width: usize) -> String {
    let mut line = String::new();
    let words = text.split(|c: char| c.is_control()).filter(|piece| !piece.trim().is_empty());
    for piece in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(piece.trim_end());
    }
    cut(line, width)
}

fn cut(line: String, width: usize) -> String {
    match line.char_indices().nth(width) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// The arguments of a call for somebody who is to decide about it: in full, a field a line.
pub(crate) fn arguments(json: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(json) else { return printable(json) };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let lines: Vec<String> = match fields.values().next() {
        Some(only) if fields.len() == 1 => vec![text(only)],
        _ => fields.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect(),
    };
    printable(&lines.join("\n")).replace('\t', "    ")
}

/// What there is to say of an event that is no part of an answer and no call.
pub(crate) fn note(event: &SessionEvent) -> Option<String> {
    Some(match event {
        SessionEvent::Retrying { attempt, delay_ms, reason } => {
            format!("attempt {attempt} failed, the next one in {delay_ms} ms: {reason}")
        }
        SessionEvent::Waiting { reason } => format!("the model is not asked yet: {reason}"),
        SessionEvent::Fallback { from, to, reason } => format!("{from} failed, now {to} is asked: {reason}"),
        SessionEvent::Recovered { cause, .. } => format!("the turn goes on: {cause}"),
        SessionEvent::Lagged { missed } => format!("{missed} pieces of the answer were not shown"),
        _ => return None,
    })
}

/// What a session is doing, as its status tells in JSON: the word for it.
pub(crate) fn state(activity: &Value) -> Option<&str> {
    activity.get("state")?.as_str()
}

/// The reason, the calls, or what is missing: whatever goes with the word.
pub(crate) fn state_reason(activity: &Value) -> Option<String> {
    let of = |name: &str| activity.get(name);
    let names = |list: &Value| {
        let names: Vec<&str> = list.as_array()?.iter().filter_map(Value::as_str).collect();
        Some(names.join(", "))
    };
    let reason = of("reason").and_then(Value::as_str).map(str::to_owned);
    reason.or_else(|| of("calls").and_then(names)).or_else(|| of("missing").and_then(names))
}

/// How long a turn took.
pub(crate) fn took(millis: u64) -> String {
    crate::term::live::time(Duration::from_millis(millis))
}

/// A tool's result.
pub(crate) fn result(name: &str, text: &str, is_error: bool, denied: bool) -> String {
    let outcome = match (denied, is_error) {
        (true, _) => "denied",
        (false, true) => "failed",
        (false, false) => "done",
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let more =
        if lines > 1 && !is_error { format!(" (and {} more lines)", lines - 1) } else { String::new() };
    let text = if is_error { text } else { first };
    let head = format!("{name} {outcome}");
    let room = WIDTH.saturating_sub(head.len() + more.len());
    match on_one_line(text, room) {
        text if text.is_empty() => head,
        text => format!("{head}: {text}{more}"),
    }
}

/// Who answered, and what it took.
pub(crate) fn served(report: &Report, provider: &str) -> String {
    let mut line = format!("provider {provider}");
    if let Some(model) = &report.model {
        write!(line, ", model {model}").unwrap_or_default();
    }
    if report.tool_calls_made > 0 {
        write!(line, ", tool calls {}", report.tool_calls_made).unwrap_or_default();
    }
    let usage = report.usage;
    let has_tokens = usage != Usage::default();
    if has_tokens {
        write!(line, ", tokens {} in, {} out", usage.input_tokens, usage.output_tokens).unwrap_or_default();
    }
    if has_tokens || report.cost_usd.is_some_and(|cost| cost > 0.0) {
        write!(line, ", cost {}", usd(report.cost_usd)).unwrap_or_default();
    }
    line
}

/// What a finish without an error means, and what to do.
pub(crate) fn why(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Interrupted => "interrupted",
        FinishReason::Length => "the answer was cut at the model's token limit (length)",
        FinishReason::Refused => "the model refused (refused)",
        FinishReason::MaxTurns => {
            "the limit of tool rounds was met (max_turns); raise it with --max-iterations"
        }
        FinishReason::MaxBudgetUsd => {
            "the budget of the turn or of the session is spent (max_budget_usd); a turn's is raised with --max-budget-usd"
        }
        FinishReason::ConsecutiveMistakes => {
            "too many rounds in which every tool call failed (consecutive_mistakes)"
        }
        FinishReason::NoProgress => "the model went in circles (no_progress)",
        FinishReason::PromptTooLong => {
            "the conversation does not fit the model's context window (prompt_too_long)"
        }
        other => other.as_str(),
    }
}

/// The time in UTC, to the second.
pub(crate) fn time(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => format!("{} ms", at.0),
    }
}

/// Money, to the last known digit; a dash when it is not known, which is not nothing.
fn usd(amount: Option<f64>) -> String {
    amount.map_or_else(|| "-".to_owned(), |amount| format!("${amount}"))
}

/// The whole cost; a dash when any part of it is not known.
pub(crate) fn cost(cost: Cost) -> String {
    usd(cost.total().map(|total| total.as_usd()))
}

/// Rows with their columns under each other.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widest = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let pad = width.saturating_sub(cell.width());
            line.push_str(cell);
            line.push_str(&" ".repeat(pad + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_printed_on_a_terminal_can_command_it() {
        assert_eq!(printable("a\u{1b}[31mb\r\nc\td\u{7}"), "a[31mb\nc\td");
        assert_eq!(on_one_line("a\nb\r\n\n  c \u{1b}[2J", 99), "a b   c [2J");
        assert_eq!(on_one_line("äöü", 2), "äö…");
    }

    #[test]
    fn a_result_is_one_line_that_says_how_it_went() {
        assert_eq!(
            result("read", "1\tfirst\n2\tsecond\n", false, false),
            "read done: 1 first (and 1 more lines)"
        );
        assert_eq!(
            result("bash", "permission denied:\nno", true, true),
            "bash denied: permission denied: no"
        );
        assert_eq!(result("glob", "", false, false), "glob done");
        assert!(result("read", &"x".repeat(1000), true, false).chars().count() <= WIDTH + 3);
    }

    #[test]
    fn what_is_to_be_decided_is_told_in_full_and_cannot_command_the_terminal() {
        assert_eq!(arguments(r#"{"command":"a\nb\u001b[2J"}"#), "a\nb[2J");
        assert_eq!(arguments(r#"{"content":"x","path":"f","n":1}"#), "content: x\nn: 1\npath: f");
        assert_eq!(arguments("not json"), "not json");
    }

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [vec!["a".into(), "bb".into(), "c".into()], vec!["äöü".into(), "b".into(), "c".into()]];
        assert_eq!(table(&rows), "a    bb  c\näöü  b   c\n");
        let wide = [vec!["日本".into(), "b".into()], vec!["a".into(), "b".into()]];
        assert_eq!(table(&wide), "日本  b\na     b\n");
    }

    #[test]
    fn times_are_utc_and_an_unknown_cost_is_a_dash() {
        assert_eq!(time(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(time(Timestamp(i64::MAX)), format!("{} ms", i64::MAX));
        let mut sum = Cost::default();
        assert_eq!(cost(sum), "$0", "nothing was asked, so nothing was spent");
        sum.add_call(Some(ergane::core::MicroUsd(1_500)));
        assert_eq!(cost(sum), "$0.0015");
        sum.add_call(None);
        assert_eq!(cost(sum), "-");
    }

    #[test]
    fn the_line_after_a_turn_tells_the_cost_in_the_same_way_as_the_lists() {
        let usage = Usage { input_tokens: 9, output_tokens: 1, ..Usage::default() };
        let line = |usage, cost_usd| served(&Report { usage, cost_usd, ..Report::nothing(None) }, "p");
        assert_eq!(line(usage, Some(0.0015)), "provider p, tokens 9 in, 1 out, cost $0.0015");
        assert_eq!(line(usage, None), "provider p, tokens 9 in, 1 out, cost -");
        assert_eq!(line(usage, Some(0.0)), "provider p, tokens 9 in, 1 out, cost $0");
        assert_eq!(line(Usage::default(), None), "provider p", "a script tells neither");
    }
}
