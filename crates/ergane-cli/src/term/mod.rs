//! What is shown on a terminal: Markdown as it streams, tools with their time, questions, one line that is alive.
//!
//! # Why nothing is ever drawn twice
//!
//! A terminal belongs to the person at it: it may be narrow, resized at any moment, scrolled, copied from. So what is
//! said is printed once, line by line, when a line is complete, and is the terminal's own from then on. Only one line,
//! the last, is rewritten: what goes on now. It is cut to be one row, and is taken away before anything else is printed.
//! Whatever a resize does to it, nothing that was said is lost.
//!
//! # Rooms
//!
//! `markdown` and `wrap` make lines of text, `diff` of a change, `live` of what goes on (all of them pure); `display` prints
//! them; `keys` is the keyboard while a turn runs.

pub(crate) mod diff;
pub(crate) mod display;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod markdown;
pub(crate) mod wrap;

use std::io::IsTerminal;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    Bold,
    Italic,
    Heading,
    Code,
    Link,
    Struck,
    /// Beside the point.
    Dim,
    Good,
    Bad,
    /// A question, or something to be looked at.
    Ask,
}

/// Whether colours are to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    /// By `NO_COLOR`.
    pub(crate) fn of_environment() -> Self {
        Self(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    /// The text in that style.
    pub(crate) fn of(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Plain => "",
            Style::Bold => "1",
            Style::Italic => "3",
            Style::Heading => "1;35",
            Style::Code => "36",
            Style::Link => "4;34",
            Style::Struck => "9",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Bad => "31",
            Style::Ask => "1;33",
        };
        if self.0 && !code.is_empty() && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Whether what goes on can be shown: stderr is a terminal that knows how to move its cursor.
pub(crate) fn has_screen() -> bool {
    is_screen(&std::io::stderr())
}

/// Whether that is a terminal that knows how to move its cursor.
pub(crate) fn is_screen(output: &impl IsTerminal) -> bool {
    output.is_terminal() && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb")
}

/// The columns of the terminal now.
#[cfg(unix)]
pub(crate) fn columns() -> usize {
    size_of(std::io::stderr()).0
}

/// The columns of the terminal now, which nobody knows here.
#[cfg(not(unix))]
pub(crate) fn columns() -> usize {
    80
}

/// The columns and rows of a terminal now; the usual ones of one that does not know its size.
#[cfg(unix)]
pub(crate) fn size_of(terminal: impl std::os::fd::AsFd) -> (usize, usize) {
    match rustix::termios::tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 => {
            (size.ws_col.into(), if size.ws_row > 0 { size.ws_row } else { 24 }.into())
        }
        _ => (80, 24),
    }
}
