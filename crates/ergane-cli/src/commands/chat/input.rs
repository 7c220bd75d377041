//! What a person says: lines with editing, history and completion on a terminal, lines of stdin elsewhere.
//!
//! Reading a terminal blocks, so it has a thread of its own, which reads only when it is asked to: while a turn runs the
//! keyboard is the turn's.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, Helper};
use tokio::sync::mpsc;

use super::slash::COMMANDS;
use crate::folders;

/// So many lines are remembered.
const HISTORY: usize = 1000;

/// What came of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Line(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of stdin.
    End,
    Failed(String),
}

/// Where lines come from. Dropping it puts the terminal back as it was.
#[derive(Debug)]
pub(super) struct Input {
    ask: std::sync::mpsc::Sender<()>,
    said: mpsc::Receiver<Said>,
    /// Whether it was asked and has not answered.
    asked: bool,
    is_person: bool,
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Input {
    /// `wanted` is whether prompts may be shown at all.
    pub(super) fn open(wanted: bool) -> Self {
        let is_person = wanted && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let (ask, asked) = std::sync::mpsc::channel();
        let (sender, said) = mpsc::channel(1);
        let reader = move || {
            if is_person { read_terminal(&asked, &sender) } else { read_lines(&asked, &sender) }
        };
        let thread = std::thread::Builder::new().name("prompt".to_owned()).spawn(reader);
        if let Err(error) = thread {
            tracing::error!(%error, "nobody can be asked"); // the channel is closed, which is the end
        }
        Self {
            ask,
            said,
            asked: false,
            is_person,
            #[cfg(unix)]
            before: if is_person { rustix::termios::tcgetattr(std::io::stdin()).ok() } else { None },
        }
    }

    /// Whether somebody is there who can be asked.
    pub(super) fn is_person(&self) -> bool {
        self.is_person
    }

    /// The next thing said. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Said {
        if !self.asked && self.ask.send(()).is_err() {
            return Said::End;
        }
        self.asked = true;
        let said = self.said.recv().await.unwrap_or(Said::End);
        self.asked = false;
        said
    }
}

#[cfg(unix)]
impl Drop for Input {
    fn drop(&mut self) {
        // A prompt that nobody answered any more has the terminal as it needs it.
        if let Some(before) = &self.before
            && let Err(error) =
                rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, before)
        {
            tracing::debug!(%error, "the terminal could not be put back as it was");
        }
    }
}

type Asked = std::sync::mpsc::Receiver<()>;

fn read_lines(asked: &Asked, said: &mpsc::Sender<Said>) {
    let mut stdin = std::io::stdin().lock();
    while asked.recv().is_ok() {
        let mut line = Vec::new();
        let next = match stdin.read_until(b'\n', &mut line) {
            Ok(0) => Said::End,
            Ok(_) => Said::Line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned()),
            Err(error) => Said::Failed(format!("stdin cannot be read: {error}")),
        };
        if said.blocking_send(next).is_err() {
            return;
        }
    }
}

fn read_terminal(asked: &Asked, said: &mpsc::Sender<Said>) {
    let file = history_file();
    let mut editor = match editor(file.as_deref()) {
        Ok(editor) => editor,
        Err(error) => {
            let why = Said::Failed(format!("the terminal cannot be read: {error}"));
            if said.blocking_send(why).is_err() {
                tracing::debug!(%error, "and nobody waits for it");
            }
            return;
        }
    };
    while asked.recv().is_ok() {
        let next = match editor.readline("› ") {
            Ok(line) => {
                if let Some(file) = &file
                    && !line.trim().is_empty()
                    && editor.add_history_entry(line.as_str()).is_ok_and(|added| added)
                    && let Err(error) = editor.append_history(file)
                {
                    tracing::debug!(%error, "the line is not remembered");
                }
                Said::Line(line.replace("\\\n", "\n"))
            }
            Err(ReadlineError::Interrupted) => Said::Interrupted,
            Err(ReadlineError::Eof) => Said::End,
            Err(error) => Said::Failed(format!("the terminal cannot be read: {error}")),
        };
        if said.blocking_send(next).is_err() {
            return;
        }
    }
}

type Lines = Editor<Words, FileHistory>;

fn editor(history: Option<&std::path::Path>) -> rustyline::Result<Lines> {
    let config = Config::builder().max_history_size(HISTORY)?.history_ignore_space(true).build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Words));
    if let Some(file) = history
        && let Err(error) = editor.load_history(file)
    {
        tracing::debug!(%error, "there is no history yet");
    }
    Ok(editor)
}

/// In the user's data directory, as the journal is.
fn history_file() -> Option<PathBuf> {
    let folder = folders::data(|name| std::env::var_os(name).map(PathBuf::from))?;
    if let Err(error) = std::fs::create_dir_all(&folder) {
        tracing::debug!(folder = %folder.display(), %error, "lines are not remembered");
        return None;
    }
    Some(folder.join("chat-history"))
}

/// Completes commands. A line that ends with a backslash goes on.
struct Words;

impl Helper for Words {}
impl Highlighter for Words {}

impl Hinter for Words {
    type Hint = String;
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, place: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok((0, complete(line.get(..place).unwrap_or_default())))
    }
}

fn complete(begun: &str) -> Vec<String> {
    let Some(begun) = begun.strip_prefix('/').filter(|begun| !begun.contains(' ')) else { return Vec::new() };
    let fits = COMMANDS.iter().filter(|(name, _)| name.starts_with(begun));
    fits.map(|(name, _)| format!("/{name}")).collect()
}

impl Validator for Words {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if context.input().ends_with('\\') {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_completed_and_prompts_are_not() {
        assert_eq!(complete("/s"), ["/status", "/sessions"]);
        assert_eq!(complete("/ex"), ["/exit"]);
        assert!(complete("s").is_empty() && complete("/model x").is_empty());
        assert_eq!(complete("/").len(), COMMANDS.len());
    }
}
