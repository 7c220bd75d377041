//! Cuts a body into what its format is made of: server-sent events, or lines.
//!
//! Own code, because what is needed is small and particular: bytes in whatever pieces the network gives, a bound on
//! everything that is kept, UTF-8 judged by whole lines, comments told from silence, and JSON that a server writes
//! between events without their syntax (an error, usually) kept instead of dropped.

use super::balance::{Balance, Step};
use super::work::looked_at;
use super::{MAX_ERROR_BODY, MAX_EVENT};

/// Why a body cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("it sent an event or a line of more than {} MiB", MAX_EVENT / (1024 * 1024))]
    TooLarge,
    #[error("it sent bytes that are not UTF-8")]
    NotUtf8,
}

/// Splits bytes into lines that end in LF, CRLF or CR, without their ends.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
    /// The last byte was a CR that ended a line: an LF right after it belongs to it.
    skip_lf: bool,
    /// Whether a CR alone ends a line.
    bare_cr: bool,
}

impl Lines {
    fn feed(
        &mut self,
        mut bytes: &[u8],
        mut line: impl FnMut(&[u8]) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        loop {
            if self.skip_lf && !bytes.is_empty() {
                self.skip_lf = false;
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let end = match self.bare_cr {
                true => memchr::memchr2(b'\n', b'\r', bytes),
                false => memchr::memchr(b'\n', bytes),
            };
            looked_at(end.map_or(bytes.len(), |end| end + 1));
            let Some((head, tail)) = end.and_then(|end| bytes.split_at_checked(end)) else {
                if self.partial.len() + bytes.len() > MAX_EVENT {
                    return Err(FrameError::TooLarge);
                }
                self.partial.extend_from_slice(bytes);
                return Ok(());
            };
            self.skip_lf = tail.first() == Some(&b'\r');
            if self.partial.len() + head.len() > MAX_EVENT {
                return Err(FrameError::TooLarge);
            }
            if self.partial.is_empty() {
                line(head)?;
            } else {
                self.partial.extend_from_slice(head);
                let whole = std::mem::take(&mut self.partial);
                line(&whole)?;
                // Keeps the room of a usual line, not that of a giant one.
                if whole.capacity() <= MAX_ERROR_BODY {
                    self.partial = whole;
                    self.partial.clear();
                }
            }
            bytes = tail.get(1..).unwrap_or_default();
        }
    }
}

/// What a stream of server-sent events consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SseItem {
    /// An event: its name (empty when it has none) and its data.
    Event { name: String, data: String },
    /// JSON that stood between events without their syntax.
    Residue(String),
}

/// An incremental decoder of server-sent events, by the rules of WHATWG but for one thing: lines whose field is unknown
/// are not dropped but kept from where an object or a list begins, and what is JSON of them is handed out.
#[derive(Debug)]
pub(crate) struct SseDecoder {
    lines: Lines,
    event: EventBuilder,
}

#[derive(Debug, Default)]
struct EventBuilder {
    started: bool,
    name: String,
    data: Option<String>,
    residue: String,
    /// What of it is still open, so that it is read once and not again after every line.
    balance: Balance,
}

impl SseDecoder {
    pub(crate) fn new() -> Self {
        Self { lines: Lines { bare_cr: true, ..Lines::default() }, event: EventBuilder::default() }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], items: &mut Vec<SseItem>) -> Result<(), FrameError> {
        let event = &mut self.event;
        self.lines.feed(bytes, |line| event.line(line, items))
    }

    /// At the end of the body. An event that no blank line has closed is not dispatched.
    pub(crate) fn end(&mut self, items: &mut Vec<SseItem>) {
        let last = std::mem::take(&mut self.lines.partial);
        if let Ok(text) = std::str::from_utf8(&last)
            && field(text).is_none()
        {
            self.event.keep_residue(text);
        }
        self.event.hand_out_residue(items);
    }
}

impl EventBuilder {
    fn line(&mut self, line: &[u8], items: &mut Vec<SseItem>) -> Result<(), FrameError> {
        looked_at(line.len());
        let mut line = std::str::from_utf8(line).map_err(|_| FrameError::NotUtf8)?;
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            if let Some(data) = self.data.take() {
                items.push(SseItem::Event { name: std::mem::take(&mut self.name), data });
            }
            self.name.clear();
            self.hand_out_residue(items);
            return Ok(());
        }
        match field(line) {
            Some(("data", value)) => match &mut self.data {
                Some(data) if data.len() + value.len() >= MAX_EVENT => return Err(FrameError::TooLarge),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            Some(("event", value)) => value.clone_into(&mut self.name),
            Some(_) => {}
            None => self.keep_residue(line),
        }
        Ok(())
    }

    fn keep_residue(&mut self, line: &str) {
        // What does not begin as an error does is of no use, and would spoil one that follows it.
        let begins = || line.trim_start().starts_with(['{', '[']);
        if self.residue.len() + line.len() > MAX_ERROR_BODY || (self.residue.is_empty() && !begins()) {
            return;
        }
        self.residue.push_str(line);
        self.residue.push('\n');
        // The same of what turns out to be no JSON.
        looked_at(line.len());
        if line.chars().any(|c| self.balance.feed(c) == Step::Broken) {
            self.forget_residue();
        }
    }

    fn forget_residue(&mut self) -> String {
        self.balance = Balance::json();
        std::mem::take(&mut self.residue)
    }

    fn hand_out_residue(&mut self, items: &mut Vec<SseItem>) {
        // A blank line within pretty JSON: more may come.
        if self.residue.is_empty() || self.balance.is_open() {
            return;
        }
        let residue = self.forget_residue();
        looked_at(residue.len());
        if serde_json::from_str::<serde::de::IgnoredAny>(&residue).is_ok() {
            items.push(SseItem::Residue(residue));
        }
    }
}

/// The field and its value, with an empty name for comments; `None` for a line that is no SSE.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = match line.split_once(':') {
        Some((name, value)) => (name, value.strip_prefix(' ').unwrap_or(value)),
        None => (line, ""),
    };
    matches!(name, "" | "data" | "event" | "id" | "retry").then_some((name, value))
}

/// An incremental decoder of lines of JSON.
#[derive(Debug, Default)]
pub(crate) struct LineDecoder {
    lines: Lines,
}

impl LineDecoder {
    /// Appends the complete lines that are not blank.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Vec<String>) -> Result<(), FrameError> {
        self.lines.feed(bytes, |line| push_line(line, out))
    }

    /// At the end of the body: the last line needs no line end. Of a character that was cut in two nothing is kept.
    pub(crate) fn end(&mut self, out: &mut Vec<String>) -> Result<(), FrameError> {
        let mut last = std::mem::take(&mut self.lines.partial);
        if let Err(error) = std::str::from_utf8(&last)
            && error.error_len().is_none()
        {
            last.truncate(error.valid_up_to());
        }
        push_line(&last, out)
    }
}

fn push_line(line: &[u8], out: &mut Vec<String>) -> Result<(), FrameError> {
    looked_at(line.len());
    let line = std::str::from_utf8(line)
        .map_err(|_| FrameError::NotUtf8)?
        .trim_matches([' ', '\t', '\r', '\u{feff}']);
    if !line.is_empty() {
        out.push(line.to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
