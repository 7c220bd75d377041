//! Text that fits into a number of columns. A wide character takes two, a combining one none. Pure.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Paint, Style};

/// A piece of text in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) style: Style,
    pub(crate) text: String,
}

impl Span {
    pub(crate) fn new(style: Style, text: impl Into<String>) -> Self {
        Self { style, text: text.into() }
    }
}

/// How many columns the text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// As much of the beginning as fits, with `…` where something was left out.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let mut kept = String::new();
    let mut taken = 0;
    for c in text.chars() {
        taken += c.width().unwrap_or(0);
        if taken > room {
            break;
        }
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// As much of the end as fits.
pub(crate) fn tail(text: &str, columns: usize) -> &str {
    let mut taken = 0;
    for (place, c) in text.char_indices().rev() {
        taken += c.width().unwrap_or(0);
        if taken > columns {
            return text.get(place + c.len_utf8()..).unwrap_or_default();
        }
    }
    text
}

/// Lines of at most `columns`: broken at spaces, a word that is longer than a line where the line ends. The first line
/// begins with `first`, the others with as many spaces.
pub(crate) fn wrap(first: &Span, spans: &[Span], columns: usize, paint: Paint) -> Vec<String> {
    let indent = width(&first.text);
    // On a very narrow screen an indent would leave no room.
    let (indent, room) = if columns > indent + 4 { (indent, columns - indent) } else { (0, columns.max(2)) };
    let mut lines = Lines { done: Vec::new(), line: Vec::new(), taken: 0, room };
    for (style, word) in words(spans) {
        lines.add(style, &word);
    }
    lines.end();
    let start = |nth: usize| match nth {
        0 if indent > 0 || first.text.is_empty() || spans.is_empty() => paint.of(first.style, &first.text),
        0 => paint.of(first.style, first.text.trim_end()) + " ",
        _ => " ".repeat(indent),
    };
    let text = |line: &[Span]| line.iter().map(|span| paint.of(span.style, &span.text)).collect::<String>();
    lines.done.iter().enumerate().map(|(nth, line)| format!("{}{}", start(nth), text(line))).collect()
}

/// The words and the gaps between them.
fn words(spans: &[Span]) -> Vec<(Style, String)> {
    let mut words = Vec::new();
    for span in spans {
        let mut rest = span.text.as_str();
        while let Some(c) = rest.chars().next() {
            let is_gap = c == ' ';
            let end = rest.find(|c| (c == ' ') != is_gap).unwrap_or(rest.len());
            let (word, more) = rest.split_at(end);
            words.push((span.style, word.to_owned()));
            rest = more;
        }
    }
    words
}

struct Lines {
    done: Vec<Vec<Span>>,
    line: Vec<Span>,
    taken: usize,
    room: usize,
}

impl Lines {
    fn add(&mut self, style: Style, word: &str) {
        let wide = width(word);
        if word.starts_with(' ') {
            // A gap at a line's end is the line's end.
            if self.taken + wide < self.room && (self.done.is_empty() || !self.line.is_empty()) {
                self.put(style, word, wide);
            }
            return;
        }
        if self.taken + wide <= self.room {
            return self.put(style, word, wide);
        }
        if wide <= self.room {
            self.end();
            return self.put(style, word, wide);
        }
        for c in word.chars() {
            let wide = c.width().unwrap_or(0);
            if self.taken + wide > self.room {
                self.end();
            }
            self.put(style, c.encode_utf8(&mut [0; 4]), wide);
        }
    }

    fn put(&mut self, style: Style, text: &str, wide: usize) {
        self.taken += wide;
        match self.line.last_mut() {
            Some(last) if last.style == style => last.text.push_str(text),
            _ => self.line.push(Span::new(style, text)),
        }
    }

    fn end(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if let Some(last) = line.last_mut() {
            last.text.truncate(last.text.trim_end_matches(' ').len());
        }
        self.done.push(line);
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str, columns: usize) -> Vec<String> {
        wrap(&Span::new(Style::Plain, ""), &[Span::new(Style::Plain, text)], columns, Paint(false))
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_at_the_edge() {
        assert_eq!(plain("one two three", 7), ["one two", "three"]);
        assert_eq!(plain("a abcdefghij k", 4), ["a ab", "cdef", "ghij", "k"]);
        assert_eq!(plain("", 4), [""]);
        assert_eq!(plain("  kept  gaps", 20), ["  kept  gaps"]);
    }

    #[test]
    fn wide_characters_take_two_columns_and_combining_ones_none() {
        assert_eq!(plain("日本語テキスト", 6), ["日本語", "テキス", "ト"]);
        assert_eq!(plain("日本語", 5), ["日本", "語"]);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(
            (cut("日本語", 5), cut("日本語", 6), cut("ab", 0)),
            ("日本…".into(), "日本語".into(), String::new())
        );
        assert_eq!((tail("日本語", 5), tail("abc", 2), tail("abc", 9)), ("本語", "bc", "abc"));
    }

    #[test]
    fn further_lines_stand_below_the_text_of_the_first() {
        let first = Span::new(Style::Plain, "• ");
        let text = [Span::new(Style::Plain, "one two three")];
        assert_eq!(wrap(&first, &text, 9, Paint(false)), ["• one two", "  three"]);
        assert_eq!(wrap(&first, &text, 5, Paint(false)), ["• one", "two", "three"]);
    }

    #[test]
    fn no_line_is_wider_than_the_screen_and_no_letter_is_lost() {
        let text = "Ein 日本 Wort-das-länger-ist als die Zeile, und `code`.";
        for columns in 2..60 {
            let lines = plain(text, columns);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {lines:?}");
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            assert_eq!(letters(&lines.concat()), letters(text), "{columns}");
        }
    }

    #[test]
    fn a_style_is_closed_on_each_line() {
        let text = [Span::new(Style::Plain, "a "), Span::new(Style::Bold, "bb cc")];
        let lines = wrap(&Span::new(Style::Plain, ""), &text, 4, Paint(true));
        assert_eq!(lines, ["a \u{1b}[1mbb\u{1b}[0m", "\u{1b}[1mcc\u{1b}[0m"]);
    }
}
