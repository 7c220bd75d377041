//! Finds where a block of calls ends, one character at a time.

use super::MAX_BLOCK;
use crate::wire::balance::{Balance, Step};
use crate::wire::work::looked_at;

/// How far the beginning of a block may be looked at before it must be one.
const MAX_LEAD: usize = 256;

/// The dialect of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Between two lines of these marks.
    Fence { marks: String },
    /// `<tool_call>`: JSON, or the words of Qwen3-Coder or GLM.
    Tag,
    /// `[TOOL_REQUEST]`.
    Request,
    /// `[TOOL_CALLS]`, which nothing closes.
    Mistral,
    /// `<｜tool▁calls▁begin｜>`.
    DeepSeek,
    /// `<|tool_call_start|>`, with a list of Python's calls.
    Python,
}

impl Kind {
    /// What closes it.
    pub(super) fn closer(&self) -> Option<&str> {
        match self {
            Self::Fence { marks } => Some(marks),
            Self::Tag => Some("</tool_call>"),
            Self::Request => Some("[END_TOOL_REQUEST]"),
            Self::Mistral => None,
            Self::DeepSeek => Some("<｜tool▁calls▁end｜>"),
            Self::Python => Some("<|tool_call_end|>"),
        }
    }
}

/// How much of a block that is too large is kept at each of its ends.
const KEPT: usize = 4096;

/// What has become of a block by its last character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    More,
    /// It is whole. What stands behind its end is not of it.
    Whole,
    /// It is a block, but nobody can read it. What stands behind its end is not of it.
    Broken,
    /// It never was a block.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// What kind of call follows is not known yet.
    Lead,
    /// Within brackets.
    Brackets,
    /// Behind them: what closes the block, or more of them.
    After,
    /// Within tags, and whether within the text of an argument.
    Tags { in_value: bool },
    /// Within the sections of DeepSeek.
    Sections,
    /// Nobody can read it; its closer is looked for.
    Lost,
}

/// A block that has been opened.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) kind: Kind,
    /// What opened it, to give it back if it is none.
    pub(super) opener: String,
    /// Everything behind the opener.
    pub(super) raw: String,
    /// Where the calls end in it.
    pub(super) payload: usize,
    /// Where the block ends in it.
    pub(super) end: usize,
    phase: Phase,
    balance: Balance,
    last_tag: usize,
    /// Whether nothing but white space has come yet.
    blank: bool,
    line: Line,
}

/// The line that is being written, as far as it may close a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Blank,
    /// So many of the fence's marks, and nothing else.
    Marks(usize),
    Other,
}

impl Line {
    fn take(self, c: char, mark: Option<char>) -> Self {
        match (self, c) {
            (_, '\n') => Self::Blank,
            (Self::Blank, c) if c.is_whitespace() => Self::Blank,
            (Self::Blank, c) if mark == Some(c) => Self::Marks(1),
            (Self::Marks(count), c) if mark == Some(c) => Self::Marks(count.saturating_add(1)),
            _ => Self::Other,
        }
    }
}

pub(super) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

impl Block {
    pub(super) fn new(kind: Kind, opener: String) -> Self {
        let phase = if kind == Kind::DeepSeek { Phase::Sections } else { Phase::Lead };
        let balance = if kind == Kind::Python { Balance::python() } else { Balance::json() };
        Self {
            kind,
            opener,
            raw: String::new(),
            payload: 0,
            end: 0,
            phase,
            balance,
            last_tag: 0,
            blank: true,
            line: Line::Blank,
        }
    }

    /// Whether its calls are whole, although nothing has closed it.
    pub(super) fn is_whole(&self) -> bool {
        self.phase == Phase::After
    }

    /// Whether it is known to be a block.
    pub(super) fn is_certain(&self) -> bool {
        self.phase != Phase::Lead
    }

    pub(super) fn feed(&mut self, c: char) -> Verdict {
        self.raw.push(c);
        if c == '<' {
            self.last_tag = self.raw.len() - 1;
        }
        if let Kind::Fence { marks } = &self.kind {
            self.line = self.line.take(c, marks.chars().next());
        }
        if self.raw.len() > MAX_BLOCK && self.phase != Phase::Lost {
            // What closes it is still to come: to look for it in all this, and to read again what follows it, would be to
            // read everything once for every block that is begun in it.
            self.phase = Phase::Lost;
        }
        match self.phase {
            Phase::Lead => self.lead(c),
            Phase::Brackets => self.brackets(c),
            Phase::After => self.after(),
            Phase::Tags { in_value } => self.tags(c, in_value),
            Phase::Sections => self.sections(c),
            Phase::Lost => self.closed_at_last(c),
        }
    }

    fn lead(&mut self, c: char) -> Verdict {
        if self.raw.len() > MAX_LEAD {
            return Verdict::None;
        }
        self.blank &= c.is_whitespace();
        if self.blank {
            return Verdict::More;
        }
        looked_at(self.raw.len());
        match lead(&self.kind, &self.raw) {
            Lead::More => Verdict::More,
            Lead::None => Verdict::None,
            Lead::Lost => self.lost(),
            Lead::Brackets => self.open(c),
            Lead::Whole => self.whole(self.raw.len(), self.raw.len()),
            Lead::Tags => {
                self.phase = Phase::Tags { in_value: false };
                Verdict::More
            }
        }
    }

    fn open(&mut self, c: char) -> Verdict {
        self.phase = Phase::Brackets;
        self.brackets(c)
    }

    fn brackets(&mut self, c: char) -> Verdict {
        match self.balance.feed(c) {
            Step::Closed if self.kind == Kind::Mistral => self.whole(self.raw.len(), self.raw.len()),
            Step::Closed => {
                (self.payload, self.end) = (self.raw.len(), self.raw.len());
                self.phase = Phase::After;
                Verdict::More
            }
            Step::Broken => self.lost(),
            Step::Outside | Step::Inside => Verdict::More,
        }
    }

    fn after(&mut self) -> Verdict {
        let tail = self.raw.get(self.payload..).unwrap_or_default();
        looked_at(tail.len());
        if tail.len() > MAX_LEAD {
            return Verdict::Whole;
        }
        // What wrapped the brackets within the block.
        let trimmed = tail.trim_start();
        let tail = match &self.kind {
            Kind::Fence { marks } if marks.starts_with('`') => trimmed,
            _ => trimmed.strip_prefix("```").map_or(trimmed, str::trim_start),
        };
        let closer = self.kind.closer().unwrap_or_default().to_owned();
        match tail.chars().next() {
            None => Verdict::More,
            _ if tail == closer => self.whole(self.payload, self.raw.len()),
            _ if closer.starts_with(tail) || "```".starts_with(tail) => Verdict::More,
            // More of them.
            Some('{') if tail == "{" && self.kind != Kind::Python => {
                self.balance = Balance::json();
                self.open('{')
            }
            _ if tail == "<function=" && self.kind == Kind::Tag => {
                self.phase = Phase::Tags { in_value: false };
                Verdict::More
            }
            _ if "<function=".starts_with(tail) && self.kind == Kind::Tag => Verdict::More,
            // Something else: the closer was forgotten.
            _ => Verdict::Whole,
        }
    }

    fn tags(&mut self, c: char, in_value: bool) -> Verdict {
        if c != '>' {
            return Verdict::More;
        }
        let tag = self.raw.get(self.last_tag..).unwrap_or_default();
        looked_at(tag.len());
        match tag {
            "</parameter>" | "</arg_value>" => self.phase = Phase::Tags { in_value: false },
            _ if in_value => {}
            "</tool_call>" => return self.whole(self.raw.len(), self.raw.len()),
            "</function>" => {
                (self.payload, self.end) = (self.raw.len(), self.raw.len());
                self.phase = Phase::After;
            }
            _ if tag == "<arg_value>" || tag.starts_with("<parameter=") => {
                self.phase = Phase::Tags { in_value: true };
            }
            _ => {}
        }
        Verdict::More
    }

    fn sections(&mut self, c: char) -> Verdict {
        match self.balance.feed(c) {
            Step::Broken => self.lost(),
            Step::Outside if self.raw.ends_with("<｜tool▁calls▁end｜>") => {
                self.whole(self.raw.len(), self.raw.len())
            }
            _ => Verdict::More,
        }
    }

    fn whole(&mut self, payload: usize, end: usize) -> Verdict {
        (self.payload, self.end) = (payload, end);
        Verdict::Whole
    }

    /// It cannot be read. It ends at its first closer, which may have been taken for a part of some text.
    fn lost(&mut self) -> Verdict {
        self.phase = Phase::Lost;
        looked_at(self.raw.len());
        let closer = self.kind.closer();
        let found = match (&self.kind, closer) {
            (_, None) => Some(self.raw.len()),
            (Kind::Fence { .. }, Some(marks)) => closing_line(&self.raw, marks),
            (_, Some(closer)) => self.raw.find(closer).map(|at| at + closer.len()),
        };
        match found {
            Some(end) => {
                (self.payload, self.end) = (end, end);
                Verdict::Broken
            }
            None => Verdict::More,
        }
    }

    fn closed_at_last(&mut self, c: char) -> Verdict {
        let closed = match (&self.kind, self.kind.closer()) {
            // Nothing closes it but that it is too large.
            (_, None) => true,
            (Kind::Fence { .. }, Some(closer)) => self.line == Line::Marks(closer.len()),
            (_, Some(closer)) => closer.ends_with(c) && self.raw.ends_with(closer),
        };
        if closed {
            (self.payload, self.end) = (self.raw.len(), self.raw.len());
            return Verdict::Broken;
        }
        // Of what nobody can read, a little is enough to say so.
        if self.raw.len() > 2 * MAX_BLOCK {
            let from = self.raw.floor_char_boundary(KEPT);
            let to = self.raw.floor_char_boundary(self.raw.len() - KEPT);
            self.raw.drain(from..to);
        }
        Verdict::More
    }
}

/// What a block turns out to be by its first characters, of which the last decides.
enum Lead {
    More,
    None,
    Lost,
    Brackets,
    Tags,
    Whole,
}

fn lead(kind: &Kind, raw: &str) -> Lead {
    let Some(lead) = inside_fence(raw) else { return Lead::More };
    let lead = lead.trim_start();
    match (kind, lead.chars().next()) {
        (_, None) => Lead::More,
        (Kind::Python, Some('[')) => Lead::Brackets,
        (Kind::Python, _) => Lead::None,
        (_, Some('{' | '[')) => Lead::Brackets,
        (Kind::Tag, Some('<')) => tag(lead, "<function="),
        (Kind::Tag, Some(first)) if is_name(first) => match lead.trim_start_matches(is_name).trim_start() {
            "</tool_call>" => Lead::Whole,
            tail if "</tool_call>".starts_with(tail) => Lead::More,
            tail => tag(tail, "<arg_key>"),
        },
        (Kind::Mistral, Some(first)) if is_name(first) => {
            let tail = lead.trim_start_matches(is_name);
            // Some say the call's id in between.
            let tail = tail.strip_prefix("[CALL_ID]").map_or(tail, |id| id.trim_start_matches(is_name));
            match tail.strip_prefix("[ARGS]").map(str::trim_start) {
                Some("") => Lead::More,
                Some("{") => Lead::Brackets,
                Some(_) => Lead::None,
                None if "[ARGS]".starts_with(tail) || "[CALL_ID]".starts_with(tail) => Lead::More,
                None => Lead::None,
            }
        }
        // A fence is never said in passing, as the other openers are.
        (Kind::Fence { .. }, _) => Lead::Lost,
        _ => Lead::None,
    }
}

fn tag(lead: &str, wanted: &str) -> Lead {
    match lead {
        _ if lead == wanted => Lead::Tags,
        _ if wanted.starts_with(lead) => Lead::More,
        _ => Lead::None,
    }
}

/// The end of the first line that is nothing but these marks.
fn closing_line(raw: &str, marks: &str) -> Option<usize> {
    let mut at = 0;
    for line in raw.split_inclusive('\n') {
        let text = line.trim_end_matches(['\n', '\r']);
        if at > 0 && text.trim() == marks {
            return Some(at + text.len());
        }
        at += line.len();
    }
    None
}

/// The text within a fence that it begins with, or the text itself; `None` while that is not known.
fn inside_fence(text: &str) -> Option<&str> {
    let trimmed = text.trim_start();
    if !trimmed.starts_with('`') {
        return Some(text);
    }
    if !trimmed.starts_with("```") && "```".starts_with(trimmed) {
        return None;
    }
    trimmed.strip_prefix("```")?.split_once('\n').map(|(_, inside)| inside)
}
