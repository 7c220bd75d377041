//! An object or a list that may be a call because it is the whole answer, one character at a time.

use ergane_core::ToolSpec;

use super::block::is_name;
use super::{MAX_BLOCK, MAX_FENCE};
use crate::wire::balance::{Balance, Step};
use crate::wire::work::looked_at;

/// As long as it is no longer it must look like a call, so that other JSON and lists are shown as they come.
const LOOKED_AT: usize = 80;

/// What may be a call that is the whole answer.
#[derive(Debug)]
pub(super) struct Bare {
    /// Everything from the beginning.
    pub(super) raw: String,
    /// Where the object or the list begins in it, or the line of the fence around it.
    from: usize,
    /// Where it ends.
    to: Option<usize>,
    balance: Balance,
    place: Place,
    fenced: bool,
}

/// Where in it the next character stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before it, where only white space may be.
    Before,
    /// Within the line that opens a fence around it.
    Fence,
    Inside,
    /// Behind it, where only the end of the fence may be.
    Behind,
}

impl Bare {
    /// Of an answer that began with `raw`, which is no part of it.
    pub(super) fn new(raw: String) -> Self {
        let (from, balance) = (raw.len(), Balance::json());
        Self { raw, from, to: None, balance, place: Place::Before, fenced: false }
    }

    /// The object or the list, if it has ended.
    pub(super) fn whole(&self) -> Option<&str> {
        self.raw.get(self.from..self.to?)
    }

    /// Takes a character. False says that it is no call.
    pub(super) fn feed(&mut self, c: char, tools: &[ToolSpec]) -> bool {
        self.raw.push(c);
        if self.raw.len() > MAX_BLOCK {
            return false;
        }
        match self.place {
            Place::Before if c.is_whitespace() => true,
            Place::Before => self.begin(c, tools),
            Place::Fence => self.fence(c),
            Place::Inside => self.inside(c, tools),
            Place::Behind => c.is_whitespace() || (self.fenced && c == '`'),
        }
    }

    fn begin(&mut self, c: char, tools: &[ToolSpec]) -> bool {
        self.from = self.raw.len() - c.len_utf8();
        match c {
            '`' if !self.fenced => {
                self.place = Place::Fence;
                return true;
            }
            '{' => {}
            '[' => self.balance = Balance::python(),
            _ => return false,
        }
        self.place = Place::Inside;
        self.inside(c, tools)
    }

    fn fence(&mut self, c: char) -> bool {
        let line = self.raw.get(self.from..).unwrap_or_default();
        if line.len() > MAX_FENCE {
            return false;
        }
        let line = line.trim_end();
        if c != '\n' {
            return "```json".starts_with(line);
        }
        self.fenced = true;
        self.place = Place::Before;
        matches!(line, "```" | "```json")
    }

    fn inside(&mut self, c: char, tools: &[ToolSpec]) -> bool {
        match self.balance.feed(c) {
            Step::Closed => {
                self.to = Some(self.raw.len());
                self.place = Place::Behind;
            }
            Step::Inside => {}
            Step::Outside | Step::Broken => return false,
        }
        self.raw.len() - self.from > LOOKED_AT || self.looks_like_a_call(tools)
    }

    fn looks_like_a_call(&self, tools: &[ToolSpec]) -> bool {
        let inside = self.raw.get(self.from..).unwrap_or_default();
        looked_at(inside.len());
        if let Some(list) = inside.strip_prefix('[') {
            let list = list.trim_start();
            let name: String = list.chars().take_while(|c| is_name(*c)).collect();
            let rest = list.get(name.len()..).unwrap_or_default();
            return match rest.trim_start().chars().next() {
                None => tools.iter().any(|tool| tool.name.starts_with(&name)),
                Some('(') => tools.iter().any(|tool| *tool.name == *name),
                Some(_) => false,
            };
        }
        let object = inside.strip_prefix('{').unwrap_or_default().trim_start();
        const KEYS: [&str; 9] =
            ["name", "tool", "function", "arguments", "parameters", "args", "input", "type", "id"];
        match object.strip_prefix('"') {
            None => object.is_empty(),
            Some(rest) => match rest.split_once('"') {
                None => KEYS.iter().any(|key| key.starts_with(rest)),
                Some((key, _)) => KEYS.contains(&key),
            },
        }
    }
}
