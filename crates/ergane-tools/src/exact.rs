//! A text replaced by another, exactly, and nothing else of the file touched: what `edit` does, as a function.
//!
//! Line ends are the one thing about which a model and a file may differ: a model reads lines, and writes `\n` between
//! them. So both are compared with `\n`, and what is put in gets the line ends of what it replaces. All else stays byte for
//! byte, in a file of mixed line ends too.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Lines that an error lists.
const MAX_LISTED: usize = 10;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    /// The new content.
    pub(crate) text: String,
    /// The lines on which the replaced texts began, from 1.
    pub(crate) lines: Vec<usize>,
}

/// Replaces `old` by `new` in `content`, once or everywhere. `Err` says why not, to follow the file's name.
pub(crate) fn replace(content: &str, old: &str, new: &str, everywhere: bool) -> Result<Replaced, String> {
    let (old, new) = (with_newlines(old), with_newlines(new));
    if old.is_empty() {
        return Err("is not edited: `old_string` is empty; to write a whole file, use write".to_owned());
    }
    if old == new {
        return Err("is not edited: `old_string` and `new_string` are the same (line ends are kept as they \
                    are)"
            .to_owned());
    }
    let view = View::of(content);
    let found = positions(&view.text, &old);
    let lines = lines_of(&view.text, &found);
    match (found.as_slice(), everywhere) {
        ([], _) => return Err(format!("does not contain `old_string`{}", hint(&view.text, &old))),
        ([_], _) | (_, true) => {}
        (several, false) => {
            return Err(format!(
                "contains `old_string` {} times, at lines {}; give more of the text around the one you mean, or set \
                 `replace_all`",
                several.len(),
                listed(&lines)
            ));
        }
    }
    let (found, lines) = if everywhere { apart(found, lines, old.len()) } else { (found, lines) };
    let mut text = String::with_capacity(content.len() + new.len());
    let mut done = 0;
    for at in found {
        let (start, end) = (view.raw(at), view.raw(at + old.len()));
        text.push_str(content.get(done..start).unwrap_or_default());
        let replaced = content.get(start..end).unwrap_or_default();
        let crlf = if replaced.contains('\n') { replaced.contains("\r\n") } else { view.mostly_crlf() };
        if crlf {
            text.push_str(&new.replace('\n', "\r\n"))
        } else {
            text.push_str(&new)
        }
        done = end;
    }
    text.push_str(content.get(done..).unwrap_or_default());
    Ok(Replaced { text, lines })
}

/// As `1, 2 and 7`, not too many.
pub(crate) fn listed(lines: &[usize]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().take(MAX_LISTED).enumerate() {
        let last = index + 1 == lines.len();
        let before = if index == 0 {
            ""
        } else if last {
            " and "
        } else {
            ", "
        };
        // Writing to a string does not fail.
        write!(text, "{before}{line}").unwrap_or_default();
    }
    if lines.len() > MAX_LISTED {
        text.push_str(", …");
    }
    text
}

fn with_newlines(text: &str) -> Cow<'_, str> {
    if text.contains("\r\n") { Cow::Owned(text.replace("\r\n", "\n")) } else { Cow::Borrowed(text) }
}

/// A content with `\n` at every line's end, and where a `\r` was left out.
struct View<'a> {
    text: Cow<'a, str>,
    /// The places in `text` of the `\n`s that had one.
    crlf: Vec<usize>,
}

impl<'a> View<'a> {
    fn of(content: &'a str) -> Self {
        let left_out = content.match_indices("\r\n").enumerate();
        let crlf = left_out.map(|(before, (at, _))| at - before).collect();
        Self { text: with_newlines(content), crlf }
    }

    /// The place in the content that is `at` in the view; of a line's end, the beginning of it.
    fn raw(&self, at: usize) -> usize {
        at + self.crlf.partition_point(|newline| *newline < at)
    }

    fn mostly_crlf(&self) -> bool {
        self.crlf.len() * 2 > self.text.matches('\n').count()
    }
}

/// Where `wanted` begins in `text`; places that overlap count, for each could be meant.
fn positions(text: &str, wanted: &str) -> Vec<usize> {
    let step = wanted.chars().next().map_or(1, char::len_utf8);
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(wanted)) {
        found.push(from + at);
        from += at + step;
    }
    found
}

/// Only those that do not overlap one before.
fn apart(found: Vec<usize>, lines: Vec<usize>, len: usize) -> (Vec<usize>, Vec<usize>) {
    let mut free = 0;
    let kept = found.into_iter().zip(lines).filter(|(at, _)| {
        let fits = *at >= free;
        if fits {
            free = *at + len;
        }
        fits
    });
    kept.unzip()
}

fn lines_of(text: &str, positions: &[usize]) -> Vec<usize> {
    let (mut line, mut from) = (1, 0);
    let count = |at: &usize| {
        line += text.get(from..*at).unwrap_or_default().matches('\n').count();
        from = *at;
        line
    };
    positions.iter().map(count).collect()
}

/// What the model most likely did wrong, to be added to "does not contain".
fn hint(text: &str, old: &str) -> String {
    if old.lines().any(|line| !line.trim().is_empty()) && old.lines().all(is_numbered) {
        return ": it has line numbers, which are not in the file; leave them out".to_owned();
    }
    match nearly(text, old) {
        Some(line) => format!(": the text at line {line} differs from it in white space only; read it again"),
        None => "; read the file again and copy the text exactly".to_owned(),
    }
}

fn is_numbered(line: &str) -> bool {
    let number = line.split_once('\t').map(|(number, _)| number.trim());
    line.trim().is_empty()
        || number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The line from which on the file has the same lines, white space apart.
fn nearly(text: &str, old: &str) -> Option<usize> {
    let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let wanted: Vec<String> = old.trim_matches('\n').lines().map(squeeze).collect();
    let lines: Vec<String> = text.lines().map(squeeze).collect();
    if wanted.iter().all(String::is_empty) {
        return None;
    }
    lines.windows(wanted.len()).position(|window| window == wanted.as_slice()).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(content: &str, old: &str, new: &str) -> String {
        replace(content, old, new, false).unwrap().text
    }

    fn refused(content: &str, old: &str, new: &str) -> String {
        replace(content, old, new, false).unwrap_err()
    }

    #[test]
    fn the_text_is_replaced_and_all_else_stays_as_it_was() {
        assert_eq!(once("a b c", "b", "x"), "a x c");
        assert_eq!(once("a\nb\nc", "b\n", ""), "a\nc");
        assert_eq!(once("no end", "end", "end\n"), "no end\n");
        assert_eq!(once("\u{feff}one\n", "one", "two"), "\u{feff}two\n");
        assert_eq!(once("é🦀x", "🦀", "ü"), "éüx");
        assert_eq!(once("a$1b", "$1", "\\0"), "a\\0b", "nothing is a pattern");
        let done = replace("1\nx\n3\nx x\n", "x", "yy", true).unwrap();
        assert_eq!((done.text.as_str(), done.lines), ("1\nyy\n3\nyy yy\n", vec![2, 4, 4]));
    }

    #[test]
    fn line_ends_are_those_of_what_is_replaced() {
        assert_eq!(once("a\r\nb\r\nc\r\n", "a\nb", "x\ny\nz"), "x\r\ny\r\nz\r\nc\r\n");
        assert_eq!(
            once("a\r\nb\r\n", "b", "x\ny"),
            "a\r\nx\r\ny\r\n",
            "those of the file, if it has none itself"
        );
        assert_eq!(once("a\nb\n", "a\r\nb", "x\r\ny"), "x\ny\n");
        assert_eq!(once("a\r\nb\nc\nd\n", "b\nc", "x\ny"), "a\r\nx\ny\nd\n", "mixed ones stay mixed");
        assert_eq!(once("a\r\nb\nc\nd\n", "a\nb", "x\ny"), "x\r\ny\nc\nd\n");
        assert_eq!(once("a\rb", "a\rb", "c"), "c", "a lone return is a character like others");
        assert_eq!(once("x\r\n\r\ny", "\n\n", "\n"), "x\r\ny");
        assert_eq!(once("x\r\ny\r\n", "\ny", ""), "x\r\n");
    }

    #[test]
    fn what_is_not_there_is_refused_with_what_was_most_likely_meant() {
        assert!(refused("a", "b", "c").starts_with("does not contain `old_string`; read the file again"));
        let spaces = refused("fn f() {\n\tbody();\n}\n", "fn f() {\n    body();", "x");
        assert!(spaces.contains("the text at line 1 differs from it in white space only"), "{spaces}");
        assert!(refused("a\nb", "     1\ta\n     2\tb", "x").contains("leave them out"));
        assert!(refused("a", "", "c").contains("`old_string` is empty"));
        assert!(refused("a\r\nb", "a\r\nb", "a\nb").contains("are the same"));
    }

    #[test]
    fn what_is_there_more_than_once_is_refused_with_its_lines() {
        assert_eq!(
            refused("x\ny\nx\nx", "x", "z"),
            "contains `old_string` 3 times, at lines 1, 3 and 4; give more of the text around the one you mean, or set \
             `replace_all`"
        );
        assert!(refused("aaa", "aa", "b").contains("2 times"), "also where they overlap");
        assert_eq!(replace("aaa", "aa", "b", true).unwrap().text, "ba");
        assert!(
            refused(&"x\n".repeat(12), "x", "z")
                .contains("12 times, at lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …;")
        );
    }

    proptest::proptest! {
        /// What is put in where something was taken out gives back the file it came from.
        #[test]
        fn an_edit_and_its_reverse_leave_the_file_as_it_was(
            before in "[ab\r\n]{0,12}", middle in "[xé]{1,4}", after in "[ab\r\n]{0,12}",
        ) {
            let content = format!("{before}{middle}{after}");
            let there = once(&content, &middle, "Q");
            proptest::prop_assert_eq!(&there, &format!("{before}Q{after}"));
            proptest::prop_assert_eq!(once(&there, "Q", &middle), content);
        }
    }
}
