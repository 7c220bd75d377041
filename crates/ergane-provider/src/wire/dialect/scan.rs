//! Finds the blocks of calls in a text, one character at a time.
//!
//! Why so small steps: what a piece of the text shows, and which calls it completes, then depends on the text alone and
//! never on where a network happened to cut it. Text is held back only while it may still become a block.

use std::cmp::Ordering;
use std::sync::Arc;

use ergane_core::ToolSpec;

use super::bare::Bare;
use super::block::{Block, Kind, Verdict};
use super::code::Code;
use super::{Found, MAX_CALLS, MAX_FENCE, TOO_MANY, parse};
use crate::wire::work::looked_at;

/// What opens a block wherever it stands.
const OPENERS: [(&str, Kind); 5] = [
    ("<tool_call>", Kind::Tag),
    ("[TOOL_REQUEST]", Kind::Request),
    ("[TOOL_CALLS]", Kind::Mistral),
    ("<｜tool▁calls▁begin｜>", Kind::DeepSeek),
    ("<|tool_call_start|>", Kind::Python),
];

const THINK: &str = "<think>";
const THOUGHT: &str = "</think>";

/// What may stand before a bare object.
const PYTHON_TAG: &str = "<|python_tag|>";

/// The most white space that is held back before a block.
const MAX_SPACE: usize = 4096;

/// Scans one text.
#[derive(Debug)]
pub(super) struct Scanner {
    tools: Arc<[ToolSpec]>,
    state: State,
    /// What is shown and was not taken yet.
    out: String,
    /// White space that is shown only if no block follows.
    space: String,
    /// What may become an opener.
    candidate: String,
    /// Whether anything was shown.
    begun: bool,
    /// Whether the line has anything but white space already.
    in_line: bool,
    /// The code within the line: an opener right behind what begins it is quoted, and opens nothing.
    code: Code,
    /// Whether the last thing was a block: white space behind it is not shown unless text follows.
    behind_block: bool,
    calls: Vec<Found>,
}

#[derive(Debug)]
enum State {
    /// Nothing has come yet, so a bare object may.
    Start,
    Text,
    /// A line that may open a fence.
    FenceLine,
    /// A fence around something that is no call, and the line in it that may close it.
    Fence {
        marks: String,
        line: String,
    },
    /// Thoughts, and the end of what came of them.
    Think {
        tail: String,
    },
    Block(Box<Block>),
    Bare(Box<Bare>),
}

impl Scanner {
    pub(super) fn new(tools: Arc<[ToolSpec]>) -> Self {
        Self {
            tools,
            state: State::Start,
            out: String::new(),
            space: String::new(),
            candidate: String::new(),
            begun: false,
            in_line: false,
            code: Code::default(),
            behind_block: false,
            calls: Vec::new(),
        }
    }

    /// Takes a piece of the text.
    pub(super) fn feed(&mut self, text: &str) {
        for c in text.chars() {
            self.take(c);
        }
    }

    /// What is to be shown by now.
    pub(super) fn shown(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// The calls so far.
    pub(super) fn calls(&self) -> &[Found] {
        &self.calls
    }

    /// The text is over; `cut` when it may have been cut short.
    pub(super) fn finish(&mut self, cut: bool) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Bare(bare) => self.bare_ends(*bare),
            other => self.state = other,
        }
        // Giving one back may open another, always with less text than it had.
        while let State::Block(block) = std::mem::replace(&mut self.state, State::Text) {
            self.unclosed(*block, cut);
        }
        let candidate = std::mem::take(&mut self.candidate);
        if !candidate.is_empty() || !self.behind_block {
            self.emit_space();
        }
        self.out.push_str(&candidate);
    }

    fn take(&mut self, c: char) {
        looked_at(c.len_utf8());
        match &mut self.state {
            State::Start => self.start(c),
            State::Text => self.text(c),
            State::FenceLine => self.fence_line(c),
            State::Fence { marks, line } => {
                let closes = c == '\n' && line.trim().starts_with(&**marks) && is_marks(line.trim());
                match c {
                    '\n' => line.clear(),
                    _ if line.len() < MAX_FENCE => line.push(c),
                    _ => {}
                }
                if closes {
                    self.state = State::Text;
                }
                self.emit(c);
            }
            State::Think { tail } => {
                tail.push(c);
                let ends = tail.ends_with(THOUGHT);
                if tail.len() > 2 * THOUGHT.len() {
                    let from = tail.ceil_char_boundary(tail.len() - THOUGHT.len());
                    tail.drain(..from);
                }
                if ends {
                    self.state = State::Text;
                }
                self.emit(c);
            }
            State::Block(block) => {
                let verdict = block.feed(c);
                if verdict != Verdict::More {
                    self.block_ends(verdict);
                }
            }
            State::Bare(bare) => {
                if !bare.feed(c, &self.tools)
                    && let State::Bare(bare) = std::mem::replace(&mut self.state, State::Text)
                {
                    self.again(&bare.raw);
                }
            }
        }
    }

    /// Text that was held back and is none of what it might have been. The answer has begun: it is no bare call.
    fn again(&mut self, text: &str) {
        self.begun = true;
        for c in text.chars() {
            self.take(c);
        }
    }

    fn emit(&mut self, c: char) {
        self.emit_space();
        self.in_line = c != '\n' && (self.in_line || !c.is_whitespace());
        self.behind_block = false;
        self.begun = true;
        self.code.take(c);
        self.out.push(c);
    }

    fn emit_space(&mut self) {
        if let Some((_, last)) = self.space.rsplit_once('\n') {
            self.in_line = !last.trim().is_empty();
        }
        self.space.chars().for_each(|c| self.code.take(c));
        self.out.push_str(&std::mem::take(&mut self.space));
    }

    fn at_line_start(&self) -> bool {
        !self.in_line || self.space.contains('\n')
    }

    fn start(&mut self, c: char) {
        if c.is_whitespace() {
            return self.text(c);
        }
        self.state = State::Text;
        match c {
            '{' | '[' | '`' => {
                let bare = Bare::new(std::mem::take(&mut self.space));
                self.state = State::Bare(Box::new(bare));
                self.take(c);
            }
            _ => self.text(c),
        }
    }

    fn text(&mut self, c: char) {
        if self.candidate.is_empty() && c.is_whitespace() {
            self.space.push(c);
            if self.space.len() > MAX_SPACE {
                self.emit_space();
            }
            return;
        }
        self.candidate.push(c);
        while !self.candidate.is_empty() && !self.may_open() {
            let first = self.candidate.remove(0);
            if first.is_whitespace() {
                self.space.push(first);
            } else {
                self.emit(first);
            }
        }
        self.open();
    }

    fn may_open(&self) -> bool {
        let candidate = &*self.candidate;
        let fence = matches!(candidate, "`" | "``" | "```" | "~" | "~~" | "~~~") && self.at_line_start();
        let quoted = self.space.is_empty() && self.code.just_begun();
        let any = || {
            [THINK, PYTHON_TAG].iter().any(|opener| opener.starts_with(candidate))
                || OPENERS.iter().any(|(opener, _)| opener.starts_with(candidate))
        };
        fence || (!quoted && any())
    }

    fn open(&mut self) {
        let candidate = &*self.candidate;
        if matches!(candidate, "```" | "~~~") {
            self.state = State::FenceLine;
        } else if candidate == THINK {
            self.emit_candidate();
            self.state = State::Think { tail: String::new() };
        } else if candidate == PYTHON_TAG {
            // Only at the very beginning; elsewhere it is text like any other.
            if !self.begun && self.calls.is_empty() {
                let raw = std::mem::take(&mut self.space) + &std::mem::take(&mut self.candidate);
                self.state = State::Bare(Box::new(Bare::new(raw)));
            } else {
                self.emit_candidate();
            }
        } else if let Some((opener, kind)) = OPENERS.iter().find(|(opener, _)| *opener == candidate) {
            self.candidate.clear();
            self.begin(kind.clone(), (*opener).to_owned());
        }
    }

    fn emit_candidate(&mut self) {
        for c in std::mem::take(&mut self.candidate).chars() {
            self.emit(c);
        }
    }

    fn begin(&mut self, kind: Kind, opener: String) {
        self.state = State::Block(Box::new(Block::new(kind, opener)));
    }

    fn fence_line(&mut self, c: char) {
        self.candidate.push(c);
        looked_at(self.candidate.len());
        let mark = self.candidate.chars().next().unwrap_or_default();
        let info = self.candidate.trim_start_matches(mark);
        if c == '\n' && info.trim() == "tool_call" {
            let line = std::mem::take(&mut self.candidate);
            let marks: String = line.chars().take_while(|c| *c == mark).collect();
            self.begin(Kind::Fence { marks }, line);
        } else if c == '\n' {
            let marks = self.candidate.chars().take_while(|c| *c == mark).collect();
            self.emit_candidate();
            self.state = State::Fence { marks, line: String::new() };
        } else if self.candidate.len() > MAX_FENCE || (mark == '`' && info.contains('`')) {
            // Too long to be one, or code within a line.
            self.state = State::Text;
            self.emit_candidate();
        }
    }

    fn block_ends(&mut self, verdict: Verdict) {
        let State::Block(block) = std::mem::replace(&mut self.state, State::Text) else { return };
        let payload = block.raw.get(..block.payload).unwrap_or_default();
        match verdict {
            Verdict::More => self.state = State::Block(block),
            Verdict::None => {
                // Its opener is text; what follows may hold another.
                for c in block.opener.chars() {
                    self.emit(c);
                }
                self.again(&block.raw);
            }
            Verdict::Whole => {
                let calls = parse::calls(&block.kind, payload, &self.tools);
                self.found(calls);
                self.again(block.raw.get(block.end..).unwrap_or_default());
            }
            Verdict::Broken => {
                let inside = payload.strip_suffix(block.kind.closer().unwrap_or_default()).unwrap_or(payload);
                self.found(vec![parse::unreadable(inside, true)]);
                self.again(block.raw.get(block.end..).unwrap_or_default());
            }
        }
    }

    fn found(&mut self, calls: Vec<Found>) {
        self.space.clear();
        self.behind_block = true;
        for call in calls {
            match self.calls.len().cmp(&MAX_CALLS) {
                Ordering::Less => self.calls.push(call),
                // One more, which cannot be carried out: its error tells the model of the others too.
                Ordering::Equal => {
                    tracing::warn!(
                        "the model wrote more than {MAX_CALLS} calls as text; the others are not carried out"
                    );
                    self.calls.push(Found { arguments: TOO_MANY.to_owned(), ..call });
                }
                Ordering::Greater => {}
            }
        }
    }

    /// A block that nothing closed.
    fn unclosed(&mut self, block: Block, cut: bool) {
        let payload = block.raw.get(..block.payload).unwrap_or_default();
        if block.is_whole() {
            let calls = parse::calls(&block.kind, payload, &self.tools);
            self.found(
                calls.into_iter().map(|call| Found { complete: call.complete && !cut, ..call }).collect(),
            );
            self.again(block.raw.get(block.end..).unwrap_or_default());
        } else if block.is_certain() || cut {
            self.found(vec![parse::unreadable(&block.raw, !cut)]);
        } else {
            for c in block.opener.chars() {
                self.emit(c);
            }
            self.again(&block.raw);
        }
    }

    fn bare_ends(&mut self, bare: Bare) {
        match bare.whole().and_then(|text| parse::bare(text, &self.tools)) {
            Some(calls) => self.found(calls),
            None => self.again(&bare.raw),
        }
    }
}

fn is_marks(line: &str) -> bool {
    !line.is_empty() && (line.chars().all(|c| c == '`') || line.chars().all(|c| c == '~'))
}

#[cfg(test)]
mod tests;
