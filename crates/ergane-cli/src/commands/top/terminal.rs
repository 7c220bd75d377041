//! The terminal while `top` draws on it: keys come one by one and unechoed, and all is put back at the end.

use std::io::{self, IsTerminal, Read};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::draw::Picture;
use crate::screen::Stdout;

/// No cursor, no line breaks by the terminal's own will, and an empty screen to begin with.
const BEGIN: &str = "\u{1b}[?25l\u{1b}[?7l\u{1b}[2J";
/// The cursor below the last picture, and everything as it was.
const END: &str = "\u{1b}[0m\u{1b}[?7h\u{1b}[?25h\n";

/// The terminal. Dropping it puts everything back.
#[derive(Debug)]
pub(super) struct Terminal {
    colour: bool,
    keys: Option<Keys>,
}

impl Terminal {
    pub(super) fn take(stdout: &mut Stdout) -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let keys = Keys::listen(); // before anything is shown: whoever sees it may press a key
        stdout.write(BEGIN);
        Self { colour, keys }
    }

    pub(super) fn draw(&mut self, picture: &Picture, stdout: &mut Stdout) {
        let size = tcgetwinsize(io::stdout()).ok();
        let (columns, rows) = match size {
            Some(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
            _ => (80, 24), // it does not know its size
        };
        stdout.write(&picture.on_screen(columns.into(), rows.into(), self.colour));
    }

    /// When somebody presses `q`.
    pub(super) async fn quit(&mut self) {
        let pressed = match &mut self.keys {
            Some(keys) => keys.quit.recv().await,
            None => None,
        };
        if pressed.is_none() {
            std::future::pending().await // nobody types, or no longer
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        Stdout::default().write(END);
    }
}

/// The keyboard. Ctrl-C stays the signal that it is.
#[derive(Debug)]
struct Keys {
    before: Termios,
    quit: mpsc::Receiver<()>,
}

impl Keys {
    /// `None` when nobody types: stdin is no terminal.
    fn listen() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut now = before.clone();
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(&stdin, OptionalActions::Now, &now).ok()?;
        let (sender, quit) = mpsc::channel(1);
        let keys = Self { before, quit };
        // A thread of its own: a read of a terminal cannot be given up, and ends with the process.
        std::thread::Builder::new().name("keys".to_owned()).spawn(move || read(&sender)).ok()?;
        Some(keys)
    }
}

fn read(quit: &mpsc::Sender<()>) {
    for key in io::stdin().lock().bytes().map_while(Result::ok) {
        // Once told, there is nothing more to tell; nor is there when nobody listens any more.
        if matches!(key, b'q' | b'Q') && quit.blocking_send(()).is_err() {
            return;
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &self.before) {
            tracing::debug!(%error, "the terminal could not be put back as it was");
        }
    }
}
