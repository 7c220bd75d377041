//! Finds where JSON ends by counting its brackets, so that whatever stands in its strings is data.

/// How deep brackets may be nested: the arguments of a call, and an error between events.
pub(crate) const MAX_DEPTH: usize = 64;

/// Counts brackets, one character at a time.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    open: Vec<char>,
    quote: Option<char>,
    escaped: bool,
    /// Python's brackets, quotes and words too.
    python: bool,
}

/// Where a character stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Not within any bracket.
    Outside,
    Inside,
    /// It closes the outermost bracket.
    Closed,
    /// It cannot stand here.
    Broken,
}

impl Balance {
    pub(crate) fn json() -> Self {
        Self::default()
    }

    pub(crate) fn python() -> Self {
        Self { python: true, ..Self::default() }
    }

    /// Whether something has begun and not ended.
    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(crate) fn feed(&mut self, c: char) -> Step {
        if let Some(quote) = self.quote {
            if self.escaped {
                self.escaped = false;
            } else if c == '\\' {
                self.escaped = true;
            } else if c == quote {
                self.quote = None;
            }
            return Step::Inside;
        }
        let outside = self.open.is_empty();
        match c {
            '{' | '[' => self.push(c),
            '(' if self.python => self.push(c),
            '}' | ']' | ')' if !outside => match self.open.pop() {
                Some(open) if closes(open, c) && self.open.is_empty() => Step::Closed,
                Some(open) if closes(open, c) => Step::Inside,
                _ => Step::Broken,
            },
            _ if outside => Step::Outside,
            '"' => self.quoted(c),
            '\'' if self.python => self.quoted(c),
            _ if c.is_ascii_whitespace() || matches!(c, ',' | ':' | '.' | '+' | '-' | '0'..='9') => {
                Step::Inside
            }
            '=' | '_' if self.python => Step::Inside,
            _ if self.python && c.is_alphanumeric() => Step::Inside,
            // The letters of `true`, `false`, `null` and of exponents.
            't' | 'r' | 'u' | 'e' | 'f' | 'a' | 'l' | 's' | 'n' | 'E' => Step::Inside,
            _ => Step::Broken,
        }
    }

    fn push(&mut self, c: char) -> Step {
        if self.open.len() >= MAX_DEPTH {
            return Step::Broken;
        }
        self.open.push(c);
        Step::Inside
    }

    fn quoted(&mut self, c: char) -> Step {
        self.quote = Some(c);
        Step::Inside
    }
}

fn closes(open: char, close: char) -> bool {
    matches!((open, close), ('{', '}') | ('[', ']') | ('(', ')'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(balance: Balance, text: &str) -> Result<usize, usize> {
        let mut balance = balance;
        for (at, c) in text.char_indices() {
            match balance.feed(c) {
                Step::Closed => return Ok(at),
                Step::Broken => return Err(at),
                _ => {}
            }
        }
        Err(text.len())
    }

    #[test]
    fn brackets_and_marks_in_strings_are_data() {
        let text = r#"{"a": "}]</tool_call>\"}", "b": [1.5e3, true, null]}"#;
        assert_eq!(end(Balance::json(), &format!("{text} }}")), Ok(text.len() - 1));
        assert_eq!(end(Balance::json(), "{\"a\": <"), Err(6));
        assert_eq!(end(Balance::json(), "{\"a\": ]"), Err(6));
        assert_eq!(end(Balance::json(), "{'a'"), Err(1));
        assert_eq!(end(Balance::python(), "[f(a='x)]', b={\"k\": True})]"), Ok(26));
        assert_eq!(end(Balance::json(), &"[".repeat(65)), Err(64));
    }
}
