//! Prints a turn on a terminal: what is complete for good, and below it one row of what goes on.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ergane::core::{CallId, Digest, Seq, Text};
use serde_json::Value;

use super::live::{self, Running};
use super::markdown::Markdown;
use super::wrap::{Span, cut, wrap};
use super::{Paint, Style, columns, diff};
use crate::plain;
use crate::screen::Stdout;

/// Whether the row is on the screen. There is one screen, whoever prints on it.
static ROW: AtomicBool = AtomicBool::new(false);

/// Whatever else is printed takes the row away first.
pub(crate) fn make_room() {
    if ROW.swap(false, Ordering::Relaxed) {
        to_stderr("\r\u{1b}[K");
    }
}

fn to_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    if stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()).is_err() {
        // Nobody sees it, and there is nowhere else to say so.
    }
}

/// A question about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) call: CallId,
    /// Its position.
    pub(crate) seq: Seq,
    pub(crate) arguments: Digest,
    pub(crate) why: Text,
    /// It was cut off by a crash; whether to run it again is asked.
    pub(crate) cut_off: bool,
}

/// A turn on a terminal.
#[derive(Debug)]
pub(crate) struct Display {
    paint: Paint,
    markdown: Markdown,
    frame: usize,
    /// The model, and since when it is waited for.
    waiting: (String, Instant),
    running: Vec<(Running<Instant>, Text)>,
    questions: VecDeque<Question>,
    /// Whether something of the answer under way was shown.
    begun: bool,
    /// What has come of it before the results that it is based on: a model is asked before they are on the disk, and
    /// they are told after.
    held: String,
    /// Whether a turn runs.
    active: bool,
    /// Nothing is shown but answers and questions.
    quiet: bool,
}

impl Display {
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            paint: Paint::of_environment(),
            markdown: Markdown::default(),
            frame: 0,
            waiting: ("the model".to_owned(), Instant::now()),
            running: Vec::new(),
            questions: VecDeque::new(),
            begun: false,
            held: String::new(),
            active: false,
            quiet,
        }
    }

    /// A turn begins, or goes on; that model is waited for.
    pub(crate) fn begin(&mut self, model: &str) {
        self.active = true;
        self.waiting = (plain::on_one_line(model, plain::WIDTH), Instant::now());
        self.draw();
    }

    /// The line after a turn.
    pub(crate) fn status(&self, text: &str) {
        if !self.quiet {
            let text = [Span::new(Style::Dim, plain::on_one_line(text, usize::MAX))];
            self.print(&wrap(&Span::new(Style::Dim, ""), &text, columns(), self.paint));
        }
    }

    /// A piece of the answer.
    pub(crate) fn content(&mut self, text: &str, stdout: &mut Stdout) {
        self.begun = true;
        self.held.push_str(text);
        self.release(stdout);
    }

    /// Shows what came, unless results are to be shown before.
    fn release(&mut self, stdout: &mut Stdout) {
        if self.running.is_empty() && !self.held.is_empty() {
            let held = plain::printable(&std::mem::take(&mut self.held));
            let lines = self.markdown.push(&held, columns(), self.paint);
            self.answer(&lines, stdout);
        }
    }

    /// The whole answer, of which pieces may have been shown.
    pub(crate) fn reply(&mut self, text: &str, stdout: &mut Stdout) {
        if !self.begun {
            self.content(text, stdout);
        }
        self.end_answer(stdout);
    }

    /// The end of an answer, however it came.
    pub(crate) fn end_answer(&mut self, stdout: &mut Stdout) {
        let held = plain::printable(&std::mem::take(&mut self.held));
        let mut lines = self.markdown.push(&held, columns(), self.paint);
        lines.extend(self.markdown.finish(columns(), self.paint));
        self.begun = false;
        self.answer(&lines, stdout);
    }

    /// What was shown of the answer is void.
    pub(crate) fn void(&mut self, stdout: &mut Stdout) {
        self.end_answer(stdout);
        self.status("― the answer was cut off; it is asked again ―");
    }

    fn answer(&mut self, lines: &[String], stdout: &mut Stdout) {
        if !lines.is_empty() {
            make_room();
            stdout.write(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        }
        self.draw();
    }

    fn print(&self, lines: &[String]) {
        make_room();
        to_stderr(&lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        self.draw();
    }

    /// A call. Told again it is the same one.
    pub(crate) fn call(&mut self, call: CallId, tool: &Text, arguments: &Text) {
        if self.running.iter().any(|(running, _)| running.call == call) {
            return;
        }
        let label = live::label(tool, arguments);
        let running = Running { call, tool: tool.clone(), label, since: Instant::now(), told: String::new() };
        self.running.push((running, arguments.clone()));
        self.draw();
    }

    pub(crate) fn progress(&mut self, call: CallId, text: &str) {
        if let Some((running, _)) = self.running.iter_mut().find(|(running, _)| running.call == call)
            && let Some(last) = text.lines().rev().find(|line| !line.trim().is_empty())
        {
            running.told = plain::on_one_line(last, plain::WIDTH);
        }
        self.draw();
    }

    pub(crate) fn result(
        &mut self,
        (call, name): (CallId, &str),
        text: &str,
        (is_error, denied): (bool, bool),
    ) {
        self.questions.retain(|question| question.call != call);
        let place = self.running.iter().position(|(running, _)| running.call == call);
        let (label, took) = match place.map(|place| self.running.remove(place).0) {
            Some(running) => (running.label, Some(running.since.elapsed())),
            None => (name.to_owned(), None),
        };
        let (mark, style) = match (denied, is_error) {
            (true, _) => ("⊘", Style::Ask),
            (false, true) => ("✗", Style::Bad),
            (false, false) => ("✓", Style::Good),
        };
        let took = took.map(live::time).unwrap_or_default();
        // A command tells how it ended by its first line.
        let ended = text.lines().next().filter(|line| line.starts_with("exit ") && *line != "exit 0");
        let ended = ended.map(|ended| format!(", {ended}")).unwrap_or_default();
        let end = format!(" {took}{ended}");
        let room = columns().saturating_sub(2 + end.chars().count()).max(4);
        let line = format!(
            "{} {}{}",
            self.paint.of(style, mark),
            cut(&label, room),
            self.paint.of(Style::Dim, end.trim_end())
        );
        let mut lines = vec![line];
        if is_error {
            let why = [Span::new(Style::Dim, plain::on_one_line(text, plain::WIDTH))];
            lines.extend(wrap(&Span::new(Style::Dim, "  "), &why, columns(), self.paint));
        }
        self.waiting.1 = Instant::now();
        if !self.quiet {
            self.print(&lines);
        }
    }

    pub(crate) fn ui(&mut self, ui: &Value) {
        let lines = diff::lines(ui, columns(), self.paint);
        if !lines.is_empty() && !self.quiet {
            self.print(&lines);
        }
    }

    /// Asks, when its turn comes. Told again it is the same question.
    pub(crate) fn ask(&mut self, question: Question) {
        if self.questions.iter().any(|asked| asked.call == question.call) {
            return;
        }
        self.questions.push_back(question);
        if self.questions.len() == 1 {
            self.show_question();
        }
    }

    /// What is asked now.
    pub(crate) fn question(&self) -> Option<&Question> {
        self.questions.front()
    }

    /// The tool of a call that has no result yet.
    pub(crate) fn tool_of(&self, call: CallId) -> Option<Text> {
        self.running.iter().find(|(running, _)| running.call == call).map(|(running, _)| running.tool.clone())
    }

    /// Somebody has decided about a call, here or elsewhere.
    pub(crate) fn decided(&mut self, call: CallId) {
        let was_first = self.questions.front().is_some_and(|question| question.call == call);
        self.questions.retain(|question| question.call != call);
        if let Some((running, _)) = self.running.iter_mut().find(|(running, _)| running.call == call) {
            running.since = Instant::now(); // what it waited for a person is not its time
        }
        if was_first && !self.questions.is_empty() {
            self.show_question();
        }
        self.draw();
    }

    /// What is to be decided, in full and however long it is: nobody can say yes to what is not seen.
    fn show_question(&mut self) {
        let Some(question) = self.questions.front().cloned() else { return };
        let found = self.running.iter().find(|(running, _)| running.call == question.call);
        let (tool, arguments) = match found {
            Some((running, arguments)) => (running.tool.clone(), arguments.clone()),
            None => ("a tool".into(), Text::default()),
        };
        let asked = if question.cut_off { "was cut off by a crash and may have run" } else { "wants to run" };
        let mut lines = vec![self.paint.of(Style::Ask, &cut(&format!("? {tool} {asked}"), columns()))];
        let text = plain::arguments(&arguments);
        for line in text.lines() {
            let span = [Span::new(Style::Plain, line)];
            lines.extend(wrap(&Span::new(Style::Plain, "  "), &span, columns(), self.paint));
        }
        let why = [Span::new(Style::Dim, plain::on_one_line(&question.why, plain::WIDTH))];
        lines.extend(wrap(&Span::new(Style::Dim, "  "), &why, columns(), self.paint));
        self.print(&lines);
    }

    /// Time goes on.
    pub(crate) fn tick(&mut self, stdout: &mut Stdout) {
        self.frame = self.frame.wrapping_add(1);
        self.release(stdout);
        self.draw();
    }

    fn row(&self) -> String {
        let columns = columns();
        if let Some(question) = self.questions.front() {
            let asked = if question.cut_off { "run it again? y / n" } else { "y / n / always?" };
            return self.paint.of(Style::Ask, &cut(asked, columns.saturating_sub(2))) + " ";
        }
        let pending = self.markdown.pending();
        if !pending.trim().is_empty() {
            return live::row_of_text(self.frame, pending, columns);
        }
        let Some((first, _)) = self.running.first() else {
            let (what, since) = &self.waiting;
            return live::row(self.frame, what, since.elapsed(), columns);
        };
        let mut what = match self.running.len() {
            1 => first.label.clone(),
            many => format!("{} (and {} more)", first.label, many - 1),
        };
        if !first.told.is_empty() {
            what = format!("{what}: {}", first.told);
        }
        live::row(self.frame, &what, first.since.elapsed(), columns)
    }

    fn draw(&self) {
        if !self.active || (self.quiet && self.questions.is_empty()) {
            return make_room();
        }
        ROW.store(true, Ordering::Relaxed);
        to_stderr(&format!("\r\u{1b}[K{}", self.row()));
    }

    /// The turn is over: what is there of it is printed, and the row is gone.
    pub(crate) fn end(&mut self, stdout: &mut Stdout) {
        self.end_answer(stdout);
        self.running.clear();
        self.questions.clear();
        self.active = false;
        make_room();
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        make_room();
    }
}
