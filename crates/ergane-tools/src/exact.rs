//! A text replaced by another, exactly, and nothing else of the file touched: what `edit` does, as a function.
//!
//! Line ends are the one thing about which a model and a file may differ: a model reads lines, and writes `\n` between
//! them. So both are compared with `\n`, and what is put in gets the line ends of what it replaces. All else stays byte for
//! byte, in a file of mixed line ends too.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Lines that are listed.
const MAX_LISTED: usize = 10;

/// Occurrences of a text that must be the only one are counted up to here: more are told as "more than".
const MAX_COUNTED: usize = 1_000;

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    /// The new content.
    pub(crate) text: String,
    /// How often the text was replaced.
    pub(crate) count: usize,
    /// The lines on which the first of the replaced texts began, from 1: those that are [`listed`].
    pub(crate) lines: Vec<usize>,
}

/// Replaces `old` by `new` in `content`, once or everywhere, when the result has at most `max` bytes. `Err` says why not,
/// to follow the file's name. Takes time in proportion to the texts, whatever they are.
pub(crate) fn replace(
    content: &str,
    old: &str,
    new: &str,
    everywhere: bool,
    max: usize,
) -> Result<Replaced, String> {
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
    let found = || view.text.match_indices(&*old).map(|(at, _)| at);
    if !everywhere {
        is_the_only_one(&view.text, &old)?;
    }
    let new_crlf = new.replace('\n', "\r\n");
    let mut text = String::with_capacity(content.len().saturating_add(new.len()).min(max));
    let (mut count, mut done) = (0, 0);
    for at in found() {
        let (start, end) = (view.raw(at), view.raw(at + old.len()));
        text.push_str(content.get(done..start).unwrap_or_default());
        let replaced = content.get(start..end).unwrap_or_default();
        let crlf = if replaced.contains('\n') { replaced.contains("\r\n") } else { view.mostly_crlf };
        text.push_str(if crlf { &new_crlf } else { &new });
        (count, done) = (count + 1, end);
        if text.len() > max {
            break;
        }
    }
    let rest = content.get(done..).unwrap_or_default();
    if text.len().saturating_add(rest.len()) > max {
        return Err(format!(
            "is not edited: it would have more than the {max} bytes of a file that is edited"
        ));
    }
    text.push_str(rest);
    if count == 0 {
        return Err(format!("does not contain `old_string`{}", hint(&view.text, &old)));
    }
    Ok(Replaced { text, count, lines: lines_of(&view.text, found()) })
}

/// Refuses a text that is there more than once; places that overlap count too, for each could be meant.
fn is_the_only_one(text: &str, old: &str) -> Result<(), String> {
    let mut places: Vec<usize> =
        text.match_indices(old).map(|(at, _)| at).take(MAX_COUNTED.saturating_add(1)).collect();
    if let [only] = *places {
        let next = only + old.chars().next().map_or(1, char::len_utf8);
        places.extend(text.get(next..).and_then(|rest| rest.find(old)).map(|at| next + at));
    }
    if places.len() < 2 {
        return Ok(());
    }
    let times = match places.len() {
        more if more > MAX_COUNTED => format!("more than {MAX_COUNTED}"),
        count => count.to_string(),
    };
    Err(format!(
        "contains `old_string` {times} times, at lines {}; give more of the text around the one you mean, or set \
         `replace_all`",
        listed(&lines_of(text, places.iter().copied()), places.len())
    ))
}

/// As `1, 2 and 7`, not too many: the first of `count` lines.
pub(crate) fn listed(lines: &[usize], count: usize) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().take(MAX_LISTED).enumerate() {
        let last = index + 1 == count;
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
    if count > MAX_LISTED {
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
    /// Whether most of them had one.
    mostly_crlf: bool,
}

impl<'a> View<'a> {
    fn of(content: &'a str) -> Self {
        let left_out = content.match_indices("\r\n").enumerate();
        let crlf: Vec<usize> = left_out.map(|(before, (at, _))| at - before).collect();
        let mostly_crlf = crlf.len() * 2 > content.matches('\n').count();
        Self { text: with_newlines(content), crlf, mostly_crlf }
    }

    /// The place in the content that is `at` in the view; of a line's end, the beginning of it.
    fn raw(&self, at: usize) -> usize {
        at + self.crlf.partition_point(|newline| *newline < at)
    }
}

/// The lines of the first places.
fn lines_of(text: &str, places: impl Iterator<Item = usize>) -> Vec<usize> {
    let (mut line, mut from) = (1, 0);
    let count = |at: usize| {
        line += text.get(from..at).unwrap_or_default().matches('\n').count();
        from = at;
        line
    };
    places.take(MAX_LISTED).map(count).collect()
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
    let wanted = squeezed(old.trim_matches('\n'));
    if wanted.trim().is_empty() {
        return None;
    }
    let text = squeezed(text);
    let at = text.find(&wanted)?;
    text.get(..at).map(|before| before.matches('\n').count() + 1)
}

/// Each line between two `\n`, with single spaces between its words and none around them.
fn squeezed(text: &str) -> String {
    let mut all = "\n".to_owned();
    for line in text.lines() {
        for (index, word) in line.split_whitespace().enumerate() {
            all.push_str(if index == 0 { "" } else { " " });
            all.push_str(word);
        }
        all.push('\n');
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1024 * 1024;

    fn once(content: &str, old: &str, new: &str) -> String {
        replace(content, old, new, false, MAX).unwrap().text
    }

    fn refused(content: &str, old: &str, new: &str) -> String {
        replace(content, old, new, false, MAX).unwrap_err()
    }

    #[test]
    fn the_text_is_replaced_and_all_else_stays_as_it_was() {
        assert_eq!(once("a b c", "b", "x"), "a x c");
        assert_eq!(once("a\nb\nc", "b\n", ""), "a\nc");
        assert_eq!(once("no end", "end", "end\n"), "no end\n");
        assert_eq!(once("\u{feff}one\n", "one", "two"), "\u{feff}two\n");
        assert_eq!(once("é🦀x", "🦀", "ü"), "éüx");
        assert_eq!(once("a$1b", "$1", "\\0"), "a\\0b", "nothing is a pattern");
        let done = replace("1\nx\n3\nx x\n", "x", "yy", true, MAX).unwrap();
        assert_eq!((done.text.as_str(), done.count, done.lines), ("1\nyy\n3\nyy yy\n", 3, vec![2, 4, 4]));
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
        assert_eq!(replace("aaa", "aa", "b", true, MAX).unwrap().text, "ba");
        assert!(
            refused(&"x\n".repeat(12), "x", "z")
                .contains("12 times, at lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …;")
        );
        assert!(refused(&"x\n".repeat(1_000), "x", "z").contains("1000 times"));
        assert!(refused(&"x\n".repeat(1_001), "x", "z").contains("more than 1000 times"));
    }

    #[test]
    fn what_would_grow_too_large_is_refused_before_it_has() {
        let content = "x".repeat(MAX);
        let told = replace(&content, "x", &content, true, MAX).unwrap_err();
        assert!(told.contains("more than the 1048576 bytes"), "{told}");
        assert_eq!(replace("abc", "b", "123", false, 5).unwrap().text, "a123c");
        assert!(replace("abc", "b", "1234", false, 5).is_err());
    }

    #[test]
    fn texts_made_to_be_slow_are_not() {
        // Each of these takes minutes when every place is looked at with all of the wanted text.
        let half = "a".repeat(MAX / 2);
        let whole = "a".repeat(MAX);
        assert!(refused(&whole, &half, "b").contains("2 times"));
        assert_eq!(replace(&whole, &half, "b", true, MAX).unwrap().text, "bb");
        let lines = "a\r\n".repeat(MAX / 4);
        assert_eq!(replace(&lines, "a", "b", true, MAX).unwrap().count, MAX / 4);
        let (many, fewer) = ("a \n".repeat(MAX / 4), "a\n".repeat(MAX / 8));
        assert!(refused(&many, &format!("{fewer}b"), "c").ends_with("copy the text exactly"));
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
