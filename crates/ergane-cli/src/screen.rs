//! What people and programs see: answers and objects on stdout, everything else on stderr.

use std::io::{self, IsTerminal, Write};

use ergane::core::{ApprovalCause, CallId, FinishReason, PendingApproval, Text};
use ergane::session::{Session, SessionEvent};
use serde::Serialize;

use crate::outcome::Failure;
use crate::plain;
use crate::report::{LastLine, Line, Report, with_the_contracts_kind};
use crate::term::display::{Display, Question, make_room};
use crate::term::has_screen;

/// What goes to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
    StreamJson,
}

/// Lines on stderr for people. `--quiet` silences them; errors are told all the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notes {
    quiet: bool,
}

impl Notes {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    pub(crate) fn say(self, line: &str) {
        if !self.quiet {
            to_stderr(line);
        }
    }

    pub(crate) fn failure(self, failure: &Failure) {
        match failure.kind {
            Some(kind) => self.error(&format!("{} ({kind})", failure.message)),
            None if failure.is_waiting() => to_stderr(&failure.message),
            None => self.error(&failure.message),
        }
    }

    pub(crate) fn error(self, message: &str) {
        to_stderr(&format!("error: {message}"));
    }
}

fn to_stderr(line: &str) {
    make_room();
    let line = plain::on_one_line(line, usize::MAX);
    if writeln!(io::stderr().lock(), "ergane: {line}").is_err() {
        // Nobody reads it, and there is nowhere else to say so.
    }
}

/// Stdout. A reader that has gone away is no error: what was to be done is done all the same.
#[derive(Debug, Default)]
pub(crate) struct Stdout {
    closed: bool,
    failed: bool,
}

impl Stdout {
    pub(crate) fn write(&mut self, text: &str) {
        if self.closed {
            return;
        }
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            self.closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failed = true;
                to_stderr(&format!("error: stdout cannot be written: {error}"));
            }
        }
    }

    pub(crate) fn line(&mut self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// Writes `value` as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(json) => self.line(&json),
            Err(error) => {
                self.failed = true;
                to_stderr(&format!("error: the output cannot be written as JSON: {error}"));
            }
        }
    }

    /// Whether something that had a reader was lost.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }
}

/// Shows turns.
#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) notes: Notes,
    pub(crate) stdout: Stdout,
    format: Format,
    /// Whether answers are shown while they come. Elsewhere than on a terminal a piece cannot be taken back.
    live: bool,
    can_be_live: bool,
    /// What was shown of the answer under way.
    shown: String,
    /// The last whole answer shown.
    answer: Option<Text>,
    /// Where people look at what goes on.
    display: Option<Box<Display>>,
}

impl Screen {
    pub(crate) fn new(format: Format, quiet: bool) -> Self {
        let live = format == Format::Text && io::stdout().is_terminal();
        let (notes, stdout) = (Notes::new(quiet), Stdout::default());
        let display = (format == Format::Text && has_screen()).then(|| Box::new(Display::new(quiet)));
        Self { notes, stdout, format, live, can_be_live: live, shown: String::new(), answer: None, display }
    }

    /// Whether a question can be shown.
    pub(crate) fn can_ask(&self) -> bool {
        self.display.is_some()
    }

    /// A turn begins, or goes on.
    pub(crate) async fn begin(&mut self, session: &Session) {
        if let Some(display) = &mut self.display {
            let settings = session.settings().await.ok();
            let model = settings.map(|settings| settings.model.clone()).filter(|model| !model.is_empty());
            display.begin(model.as_deref().unwrap_or("the model"));
        }
    }

    /// A call that waits for a decision since before.
    pub(crate) fn pending(&mut self, pending: &PendingApproval) {
        if let Some(display) = &mut self.display {
            display.call(pending.call, &pending.tool, &pending.arguments);
            display.ask(Question {
                call: pending.call,
                seq: pending.question,
                arguments: pending.digest,
                why: pending.why.clone(),
                cut_off: pending.cause == ApprovalCause::CutOff,
            });
        }
    }

    /// What is asked now.
    pub(crate) fn question(&self) -> Option<&Question> {
        self.display.as_ref()?.question()
    }

    /// The tool of a call that runs, or is to run.
    pub(crate) fn tool_of(&self, call: CallId) -> Option<Text> {
        self.display.as_ref()?.tool_of(call)
    }

    /// Somebody has decided about a call.
    pub(crate) fn decided(&mut self, call: CallId) {
        if let Some(display) = &mut self.display {
            display.decided(call);
        }
    }

    /// Time goes on.
    pub(crate) fn tick(&mut self) {
        if let Some(display) = &mut self.display {
            display.tick(&mut self.stdout);
        }
    }

    /// Whether answers are shown while they come, where that is possible.
    pub(crate) fn show_answers(&mut self, wanted: bool) {
        self.live = wanted && self.can_be_live;
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Something happened in a turn of another process, in its own words.
    #[cfg(unix)]
    pub(crate) fn raw_event(&mut self, event: &impl Serialize) {
        if self.format == Format::StreamJson {
            self.line_of(event);
        }
    }

    fn line_of(&mut self, event: &impl Serialize) {
        match with_the_contracts_kind(event) {
            Some(event) => self.stdout.json(&Line::of(event)),
            None => self.stdout.json(&Line::of(event)),
        }
    }

    /// Something happened in a turn.
    pub(crate) fn event(&mut self, event: &SessionEvent) {
        if self.format == Format::StreamJson {
            self.line_of(event);
        }
        if let Some(mut display) = self.display.take() {
            self.on_display(event, &mut display);
            self.display = Some(display);
            return;
        }
        match event {
            SessionEvent::Content { text } if self.live => self.piece(text),
            SessionEvent::StreamReset => self.void(),
            SessionEvent::Reply { text, .. } if self.live => self.reply(text),
            SessionEvent::ToolCall { name, arguments, .. } => {
                self.notes.say(&plain::on_one_line(&format!("tool {name} {arguments}"), plain::WIDTH));
            }
            SessionEvent::ToolResult { name, text, is_error, denied, .. } => {
                self.notes.say(&format!("tool {}", plain::result(name, text, *is_error, *denied)));
            }
            SessionEvent::ApprovalDecided { call, decision, by, .. } => {
                self.notes.say(&format!("call {call}: {} by {by}", decision.as_str()));
            }
            other => {
                if let Some(note) = plain::note(other) {
                    self.notes.say(&note);
                }
            }
        }
    }

    fn on_display(&mut self, event: &SessionEvent, display: &mut Display) {
        match event {
            SessionEvent::Content { text } if self.live => {
                self.shown.push_str(text);
                display.content(text, &mut self.stdout);
            }
            SessionEvent::Reply { text, .. } if self.live => {
                self.shown.clear();
                if !text.trim().is_empty() {
                    display.reply(text, &mut self.stdout);
                    self.answer = Some(text.clone());
                }
            }
            SessionEvent::StreamReset => {
                self.shown.clear();
                display.void(&mut self.stdout);
            }
            SessionEvent::ToolCall { call, name, arguments, .. } => display.call(*call, name, arguments),
            SessionEvent::ToolProgress { call, text, .. } => display.progress(*call, text),
            SessionEvent::ToolResult { call, name, text, is_error, denied, .. } => {
                display.result((*call, name), text, (*is_error, *denied));
            }
            SessionEvent::ToolUi { ui, .. } => display.ui(ui),
            SessionEvent::ApprovalRequested { seq, call, arguments, cause, why } => display.ask(Question {
                call: *call,
                seq: *seq,
                arguments: *arguments,
                why: why.clone(),
                cut_off: *cause == ApprovalCause::CutOff,
            }),
            SessionEvent::ApprovalDecided { call, .. } => display.decided(*call),
            other => {
                if let Some(note) = plain::note(other) {
                    display.status(&note);
                }
            }
        }
    }

    fn piece(&mut self, text: &str) {
        let text = plain::printable(text);
        self.stdout.write(&text);
        self.shown.push_str(&text);
    }

    fn void(&mut self) {
        self.end_line();
        self.notes.say("the answer was cut off; it is asked again");
    }

    fn reply(&mut self, text: &Text) {
        if text.trim().is_empty() {
            return;
        }
        if self.shown.is_empty() {
            self.piece(text);
        }
        self.end_line();
        self.answer = Some(text.clone());
    }

    /// Ends the line of what was shown of an answer; what that was.
    fn end_line(&mut self) -> String {
        if !self.shown.is_empty() && !self.shown.ends_with('\n') {
            self.stdout.write("\n");
        }
        std::mem::take(&mut self.shown)
    }

    /// A turn, or the attempt at one, is over.
    pub(crate) fn finish(&mut self, report: &Report) {
        match self.format {
            Format::Json => self.stdout.json(report),
            Format::StreamJson => self.stdout.json(&LastLine::of(report)),
            Format::Text => self.text_of(report),
        }
        self.ending(report);
    }

    /// The answer's text, unless it is there already.
    pub(crate) fn text_of(&mut self, report: &Report) {
        let partial = match &mut self.display {
            Some(display) => {
                display.end(&mut self.stdout);
                std::mem::take(&mut self.shown)
            }
            None => self.end_line(),
        };
        let answer = self.answer.take();
        let Some(text) = report.text.as_ref().filter(|text| !text.is_empty()) else { return };
        if answer.as_ref() == Some(text) || plain::printable(&partial) == plain::printable(text) {
            return;
        }
        if let Some(display) = self.display.as_mut().filter(|_| self.can_be_live) {
            display.reply(text, &mut self.stdout);
            return display.end(&mut self.stdout);
        }
        let text = if io::stdout().is_terminal() { plain::printable(text) } else { text.to_string() };
        self.stdout.write(&text);
        if !text.ends_with('\n') {
            self.stdout.write("\n");
        }
    }

    /// How it ended and who served, for people.
    pub(crate) fn ending(&self, report: &Report) {
        if let (Some(provider), Some(_)) = (&report.provider, report.finish_reason) {
            let served = plain::served(report, provider);
            match &self.display {
                Some(display) => display.status(&format!("{served}, {}", plain::took(report.duration_ms))),
                None => self.notes.say(&served),
            }
        }
        if let Some(waiting) = &report.waiting {
            to_stderr(waiting); // also when it is to be quiet: nothing goes on without it
        }
        match (&report.error, report.finish_reason) {
            (Some(error), _) => self.notes.error(&format!("{} ({})", error.message, error.kind)),
            (None, Some(FinishReason::Stop | FinishReason::Submitted) | None) => {}
            (None, Some(reason)) => {
                self.notes.error(report.interrupted.as_deref().unwrap_or_else(|| plain::why(reason)))
            }
        }
    }
}
