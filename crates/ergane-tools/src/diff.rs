//! What a change looks like, for people: a unified diff, bounded in time and size.

use std::time::Duration;

use ergane_tool::ToolOutput;
use serde_json::{Value, json};
use similar::{DiffTag, TextDiff};

/// Bytes of a diff that are kept: it is a fact of the session, and the file is there to be looked at.
const MAX_DIFF: usize = 64 * 1024;

/// Bytes of a text that is compared.
pub(crate) const MAX_TEXT: usize = 2_000_000;

/// How long the shortest diff is looked for; then any that is right will do.
const PATIENCE: Duration = Duration::from_millis(300);

/// What was in a file before.
#[derive(Debug)]
pub(crate) enum Before {
    /// There was no file.
    Nothing,
    /// It was no text, or too much of it.
    NoText,
    /// This.
    Text(String),
}

/// The output with the diff of a file as its part for people.
pub(crate) fn with_diff(output: ToolOutput, path: &str, before: &Before, after: &str) -> ToolOutput {
    output.with_ui("diff", diff(path, before, after))
}

fn diff(path: &str, before: &Before, after: &str) -> Value {
    let created = matches!(before, Before::Nothing);
    let old = match before {
        Before::Nothing => "",
        Before::Text(old) => old.as_str(),
        Before::NoText => return json!({ "path": path, "created": false, "diff": null }),
    };
    if old.len() > MAX_TEXT || after.len() > MAX_TEXT {
        return json!({ "path": path, "created": created, "diff": null });
    }
    let compared = TextDiff::configure().timeout(PATIENCE).diff_lines(old, after);
    let changes = compared.ops().iter().filter(|op| op.tag() != DiffTag::Equal);
    let (removed, added) =
        changes.fold((0, 0), |(old, new), op| (old + op.old_range().len(), new + op.new_range().len()));
    let from = if created { "/dev/null".to_owned() } else { format!("a/{path}") };
    let text = compared.unified_diff().context_radius(3).header(&from, &format!("b/{path}")).to_string();
    let cut = text.len() > MAX_DIFF;
    let text = if cut { lines_within(&text, MAX_DIFF) } else { &text };
    json!({ "path": path, "created": created, "added": added, "removed": removed, "diff": text, "cut": cut })
}

/// As many whole lines as fit into `max` bytes; of a first line that does not, what fits.
fn lines_within(text: &str, max: usize) -> &str {
    let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let head = text.get(..end).unwrap_or_default();
    head.rfind('\n').and_then(|at| text.get(..=at)).unwrap_or(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(before: &str, after: &str) -> Value {
        diff("a.txt", &Before::Text(before.to_owned()), after)
    }

    #[test]
    fn a_change_is_shown_with_lines_around_it_and_counted() {
        let shown = of("1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\nfive\nnew\n6\n");
        assert_eq!(
            (&shown["added"], &shown["removed"], &shown["created"]),
            (&json!(2), &json!(1), &json!(false))
        );
        assert_eq!(
            shown["diff"],
            "--- a/a.txt\n+++ b/a.txt\n@@ -2,5 +2,6 @@\n 2\n 3\n 4\n-5\n+five\n+new\n 6\n"
        );
        let made = diff("x/y", &Before::Nothing, "one\ntwo");
        assert_eq!(made["created"], true);
        assert_eq!(
            made["diff"],
            "--- /dev/null\n+++ b/x/y\n@@ -0,0 +1,2 @@\n+one\n+two\n\\ No newline at end of file\n"
        );
        assert_eq!(of("same\n", "same\n")["diff"], "");
    }

    #[test]
    fn a_long_diff_is_cut_at_a_line_and_says_so_and_no_text_has_none() {
        let shown = of("", &"é line\n".repeat(20_000));
        let text = shown["diff"].as_str().unwrap();
        assert!(text.len() <= MAX_DIFF && text.ends_with("+é line\n"), "{}", text.len());
        assert_eq!((&shown["cut"], &shown["added"]), (&json!(true), &json!(20_000)));
        let wide = of("", &"é".repeat(MAX_DIFF));
        assert!(wide["diff"].as_str().unwrap().len() <= MAX_DIFF);
        for none in [diff("x", &Before::NoText, "a"), of("", &"x\n".repeat(MAX_TEXT))] {
            assert!(none["diff"].is_null(), "{none}");
        }
    }
}
