//! What goes on, in one row: who is asked or what runs, and for how long. Pure.

use std::time::Duration;

use ergane::core::{CallId, Text};
use serde_json::Value;

use super::wrap::{cut, tail, width};
use crate::plain;

/// The pictures of something that moves.
const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// A call that has no result yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running<T> {
    pub(crate) call: CallId,
    pub(crate) tool: Text,
    /// What it is about, on one line.
    pub(crate) label: String,
    pub(crate) since: T,
    /// The last line that it told.
    pub(crate) told: String,
}

/// The row: the picture, what goes on, and for how long, in at most `columns - 1` columns, so that the cursor stays on it.
pub(crate) fn row(frame: usize, what: &str, took: Duration, columns: usize) -> String {
    let picture = FRAMES.get(frame % FRAMES.len()).copied().unwrap_or("*");
    let room = columns.saturating_sub(1);
    let time = format!(" {}", time(took));
    let middle = room.saturating_sub(width(&time) + 2);
    if middle < 4 {
        return cut(&format!("{picture}{time}"), room);
    }
    format!("{picture} {}{time}", cut(what, middle))
}

/// The row of an answer that comes: the end of what is there of the line.
pub(crate) fn row_of_text(frame: usize, text: &str, columns: usize) -> String {
    let picture = FRAMES.get(frame % FRAMES.len()).copied().unwrap_or("*");
    let text = plain::on_one_line(text, usize::MAX);
    format!("{picture} {}", tail(&text, columns.saturating_sub(3)))
}

/// A call in a few words: its name, and what of its arguments tells most.
pub(crate) fn label(name: &str, arguments: &str) -> String {
    let told = serde_json::from_str::<Value>(arguments).ok().and_then(|arguments| {
        let text = |field: &str| arguments.get(field)?.as_str().map(str::to_owned);
        ["command", "path", "pattern", "url", "prompt", "question", "summary"].into_iter().find_map(text)
    });
    let told = told.unwrap_or_else(|| arguments.to_owned());
    let label = plain::on_one_line(&format!("{name} {told}"), plain::WIDTH);
    label.trim_end().trim_end_matches("{}").trim_end().to_owned()
}

/// How long something took, or takes.
pub(crate) fn time(took: Duration) -> String {
    let seconds = took.as_secs();
    match (seconds / 60, seconds) {
        (0, 0..10) => format!("{:.1}s", took.as_secs_f64()),
        (0, _) => format!("{seconds}s"),
        (minutes, _) => format!("{minutes}m{:02}s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_fits_whatever_the_screen() {
        let took = Duration::from_millis(1234);
        assert_eq!(row(0, "bash: 日本語 build", took, 80), "⠋ bash: 日本語 build 1.2s");
        assert_eq!(row(11, "bash: 日本語 build", took, 20), "⠙ bash: 日本… 1.2s");
        for columns in 0..40 {
            assert!(width(&row(3, "some tool with arguments", took, columns)) < columns.max(1), "{columns}");
            assert!(width(&row_of_text(3, "some text that streams", columns)) <= columns.max(2), "{columns}");
        }
        assert_eq!(row_of_text(0, "one two\tthree", 12), "⠋ two three");
    }

    #[test]
    fn a_call_is_told_by_what_matters_of_it() {
        assert_eq!(label("bash", r#"{"command":"ls\n-l","timeout_ms":1}"#), "bash ls -l");
        assert_eq!(label("read", r#"{"path":"a.txt"}"#), "read a.txt");
        assert_eq!(label("clock", "{}"), "clock");
        assert_eq!(label("add", r#"{"a":1}"#), r#"add {"a":1}"#);
        assert_eq!(label("odd", "{not json"), "odd {not json");
    }

    #[test]
    fn times_are_short() {
        let of = |millis| time(Duration::from_millis(millis));
        assert_eq!([of(40), of(9_940), of(12_700), of(65_000)], ["0.0s", "9.9s", "12s", "1m05s"]);
    }
}
