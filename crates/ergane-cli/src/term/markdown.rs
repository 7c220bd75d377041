//! Markdown while it comes: a line is rendered when it is complete, and never again. Pure.
//!
//! Why by lines: a model's text is a stream, and what was printed cannot be taken back. Whatever needs to know the next
//! line to render this one is left as it is written. What is no Markdown is shown as it stands.

use super::wrap::{Span, wrap};
use super::{Paint, Style};

/// A text under way.
#[derive(Debug, Default)]
pub(crate) struct Markdown {
    /// The line that is not complete.
    pending: String,
    /// The fence of the code block we are in.
    fence: Option<String>,
    /// Whether the last line printed was blank; so is the place before the first.
    after_blank: bool,
    begun: bool,
}

impl Markdown {
    /// Takes a piece, and gives the lines that it completes.
    pub(crate) fn push(&mut self, text: &str, columns: usize, paint: Paint) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in text.split_inclusive('\n') {
            self.pending.push_str(piece);
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut self.pending);
                lines.extend(self.line(line.trim_end(), columns, paint));
            }
        }
        lines
    }

    /// The last line, and the end of the text.
    pub(crate) fn finish(&mut self, columns: usize, paint: Paint) -> Vec<String> {
        let last = std::mem::take(&mut self.pending);
        let lines =
            if last.trim().is_empty() { Vec::new() } else { self.line(last.trim_end(), columns, paint) };
        *self = Self::default();
        lines
    }

    /// What has come of the next line.
    pub(crate) fn pending(&self) -> &str {
        &self.pending
    }

    fn line(&mut self, line: &str, columns: usize, paint: Paint) -> Vec<String> {
        if let Some(fence) = self.fence.clone() {
            if line.trim_start().starts_with(&fence) && line.trim().trim_matches(['`', '~']).is_empty() {
                self.fence = None;
                return Vec::new();
            }
            // Code is not broken: it is copied.
            return self.printed(vec![format!("  {}", paint.of(Style::Code, line))]);
        }
        if let Some(fence) = fence(line) {
            self.fence = Some(fence);
            return Vec::new();
        }
        if line.is_empty() {
            let wanted = self.begun && !self.after_blank;
            self.after_blank = true;
            return if wanted { vec![String::new()] } else { Vec::new() };
        }
        let (first, rest) = block(line, columns);
        let spans = match first.style {
            Style::Heading => vec![Span::new(Style::Heading, text_of(&inline(rest)))],
            Style::Code => vec![Span::new(Style::Plain, rest)],
            _ => inline(rest),
        };
        let first = Span { style: Style::Dim, text: first.text };
        self.printed(wrap(&first, &spans, columns, paint))
    }

    fn printed(&mut self, lines: Vec<String>) -> Vec<String> {
        (self.begun, self.after_blank) = (true, false);
        lines
    }
}

/// The fence that a line opens a code block with.
fn fence(line: &str) -> Option<String> {
    let line = line.trim_start();
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let fence: String = line.chars().take_while(|c| *c == mark).collect();
    let info = line.get(fence.len()..)?;
    (fence.len() >= 3 && !info.contains('`')).then_some(fence)
}

/// What a line begins with, as it is shown, and the rest. The style tells a heading from other text.
fn block(line: &str, columns: usize) -> (Span, &str) {
    let plain = |text: &str| Span::new(Style::Plain, text);
    let body = line.trim_start();
    let indent = line.len() - body.len();
    let level = body.chars().take_while(|c| *c == '#').count();
    if (1..=6).contains(&level)
        && let Some(rest) = body.get(level..).and_then(|rest| rest.strip_prefix(' '))
    {
        return (Span::new(Style::Heading, ""), rest.trim().trim_end_matches('#').trim_end());
    }
    let solid: String = body.chars().filter(|c| *c != ' ').collect();
    if solid.len() >= 3 && ["-", "*", "_"].iter().any(|mark| solid.replace(mark, "").is_empty()) {
        return (plain(&"─".repeat(columns.min(40))), "");
    }
    if body.starts_with('|') {
        return (Span::new(Style::Code, ""), line); // a table's columns are its writer's
    }
    for mark in ["- ", "* ", "+ "] {
        if let Some(rest) = body.strip_prefix(mark) {
            return (plain(&format!("{}• ", " ".repeat(indent))), rest.trim_start());
        }
    }
    let digits = body.chars().take_while(char::is_ascii_digit).count();
    if (1..=9).contains(&digits)
        && let Some((number, rest)) = body.split_at_checked(digits)
        && let Some(rest) = rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") "))
    {
        return (plain(&format!("{}{number}. ", " ".repeat(indent))), rest.trim_start());
    }
    if let Some(rest) = body.strip_prefix('>') {
        return (plain("│ "), rest.strip_prefix(' ').unwrap_or(rest));
    }
    (plain(""), line)
}

fn text_of(spans: &[Span]) -> String {
    spans.iter().map(|span| span.text.as_str()).collect()
}

/// The pairs of marks, longest first.
const MARKS: [(&str, Style); 6] = [
    ("`", Style::Code),
    ("**", Style::Bold),
    ("__", Style::Bold),
    ("~~", Style::Struck),
    ("*", Style::Italic),
    ("_", Style::Italic),
];

/// A line's text in its styles. A mark that is not closed on the line is text.
fn inline(text: &str) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut add = |style: Style, text: &str| match spans.last_mut() {
        Some(last) if last.style == style => last.text.push_str(text),
        _ => spans.push(Span::new(style, text)),
    };
    let (mut rest, mut before) = (text, ' ');
    while let Some(c) = rest.chars().next() {
        if c == '\\'
            && let Some(escaped) = rest.get(1..).and_then(|rest| rest.chars().next())
            && escaped.is_ascii_punctuation()
        {
            add(Style::Plain, escaped.encode_utf8(&mut [0; 4]));
            rest = rest.get(1 + escaped.len_utf8()..).unwrap_or_default();
        } else if let Some((style, inside, after)) = marked(rest, before).or_else(|| link(rest)) {
            add(style, &inside);
            rest = after;
        } else {
            add(Style::Plain, c.encode_utf8(&mut [0; 4]));
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
        before = c;
    }
    spans
}

/// A text between two marks, and what follows.
fn marked(rest: &str, before: char) -> Option<(Style, String, &str)> {
    let (mark, style) = MARKS.iter().find(|(mark, _)| rest.starts_with(mark))?;
    let body = rest.get(mark.len()..)?;
    let end = body.find(mark)?;
    let (inside, after) = (body.get(..end)?, body.get(end + mark.len()..)?);
    let tight = !inside.is_empty() && !inside.starts_with(' ') && !inside.ends_with(' ');
    // snake_case_names are no emphasis.
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let within_a_word =
        mark.starts_with('_') && (is_word(before) || after.chars().next().is_some_and(is_word));
    let sound = *style == Style::Code || (tight && !within_a_word);
    let inside = if *style == Style::Code { inside.to_owned() } else { text_of(&inline(inside)) };
    (sound && !inside.is_empty()).then_some((*style, inside, after))
}

/// A link as its text and its address.
fn link(rest: &str) -> Option<(Style, String, &str)> {
    let body = rest.strip_prefix('[')?;
    let end = body.find("](")?;
    let (text, address) = (body.get(..end)?, body.get(end + 2..)?);
    let close = address.find(')')?;
    let (address, after) = (address.get(..close)?, address.get(close + 1..)?);
    if text.contains(['[', ']']) || address.contains(' ') {
        return None;
    }
    let text = text_of(&inline(text));
    let shown = if text == address { text } else { format!("{text} ({address})") };
    Some((Style::Link, shown, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, columns: usize) -> Vec<String> {
        let mut markdown = Markdown::default();
        let mut lines = markdown.push(text, columns, Paint(false));
        lines.extend(markdown.finish(columns, Paint(false)));
        lines
    }

    #[test]
    fn blocks_are_shown_by_what_they_are() {
        let text = "# Title #\n\n\nSome text.\n- one\n  * two\n3) three\n> said\n---\n| a | b |\nend";
        let expected = [
            "Title",
            "",
            "Some text.",
            "• one",
            "  • two",
            "3. three",
            "│ said",
            "────────────────────",
            "| a | b |",
            "end",
        ];
        assert_eq!(render(text, 20), expected);
    }

    #[test]
    fn code_is_shown_as_it_is_and_never_broken() {
        let text = "```rust\nfn main() { println!(\"**not bold**\"); }\n\n~~~\n```\nafter";
        let expected = ["  fn main() { println!(\"**not bold**\"); }", "  ", "  ~~~", "after"];
        assert_eq!(render(text, 10), expected);
        assert_eq!(render("```\nnever closed", 10), ["  never closed"]);
        assert_eq!(render("````\n```\n````\nx", 10), ["  ```", "x"]);
    }

    #[test]
    fn marks_within_a_line_become_styles_and_others_stay_text() {
        let of =
            |text: &str| inline(text).into_iter().map(|span| (span.style, span.text)).collect::<Vec<_>>();
        let plain = |text: &str| (Style::Plain, text.to_owned());
        assert_eq!(
            of("a **b** _c_ `d*e*` ~~f~~"),
            [
                plain("a "),
                (Style::Bold, "b".into()),
                plain(" "),
                (Style::Italic, "c".into()),
                plain(" "),
                (Style::Code, "d*e*".into()),
                plain(" "),
                (Style::Struck, "f".into()),
            ]
        );
        for text in ["snake_case_name", "2 * 3 * 4", "**open", "a*", "[x] y", "`open"] {
            assert_eq!(of(text), [plain(text)], "{text}");
        }
        assert_eq!(of(r"\*not\* em"), [plain("*not* em")]);
        assert_eq!(of("[text](http://x)"), [(Style::Link, "text (http://x)".into())]);
        assert_eq!(of("**a *b* c**"), [(Style::Bold, "a b c".into())]);
    }

    #[test]
    fn however_the_pieces_fall_the_lines_are_the_same() {
        let text = "# T\n\nEin **fetter** Satz, 日本語 und `code` darin.\n\n```\nx = 1\n```\n- a\n- b";
        let whole = render(text, 20);
        for size in 1..8 {
            let mut markdown = Markdown::default();
            let letters: Vec<char> = text.chars().collect();
            let mut lines = Vec::new();
            for piece in letters.chunks(size) {
                let piece: String = piece.iter().collect();
                lines.extend(markdown.push(&piece, 20, Paint(false)));
            }
            assert_eq!(markdown.pending(), "- b");
            lines.extend(markdown.finish(20, Paint(false)));
            assert_eq!(lines, whole, "{size}");
        }
    }

    #[test]
    fn colours_are_there_when_they_are_wanted() {
        let mut markdown = Markdown::default();
        let lines = markdown.push("# T\n**b** `c`\n", 20, Paint(true));
        assert_eq!(lines, ["\u{1b}[1;35mT\u{1b}[0m", "\u{1b}[1mb\u{1b}[0m \u{1b}[36mc\u{1b}[0m"]);
    }
}
