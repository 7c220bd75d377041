//! The terminal while `top` draws on it: an empty screen to begin with, and all as it was at the end.

use super::draw::Picture;
use crate::screen::Stdout;
use crate::term::keys::Keys;
use crate::term::{self, Paint};

/// No cursor, no line breaks by the terminal's own will, and an empty screen to begin with.
const BEGIN: &str = "\u{1b}[?25l\u{1b}[?7l\u{1b}[2J";
/// The cursor below the last picture, and everything as it was.
const END: &str = "\u{1b}[0m\u{1b}[?7h\u{1b}[?25h\n";

/// The terminal. Dropping it puts everything back.
#[derive(Debug)]
pub(super) struct Terminal {
    paint: Paint,
    keys: Option<Keys>,
}

impl Terminal {
    pub(super) fn take(stdout: &mut Stdout) -> Self {
        let keys = Keys::listen(); // before anything is shown: whoever sees it may press a key
        stdout.write(BEGIN);
        Self { paint: Paint::of_environment(), keys }
    }

    pub(super) fn draw(&mut self, picture: &Picture, stdout: &mut Stdout) {
        let (columns, rows) = term::size_of(std::io::stdout());
        stdout.write(&picture.on_screen(columns, rows, self.paint));
    }

    /// When somebody presses `q`.
    pub(super) async fn quit(&mut self) {
        match &self.keys {
            Some(keys) => while !matches!(keys.next().await, b'q' | b'Q') {},
            None => std::future::pending().await, // nobody types
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        Stdout::default().write(END);
    }
}
