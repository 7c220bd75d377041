//! The diff of a file, for people. Pure.

use serde_json::Value;

use super::{Paint, Style};
use crate::plain;

/// More lines than this are only counted.
const LONGEST: usize = 60;

/// The lines of a `diff` that a tool shows, cut to the screen; none when it shows something else.
pub(crate) fn lines(ui: &Value, columns: usize, paint: Paint) -> Vec<String> {
    let is_diff = ui.get("kind").and_then(Value::as_str) == Some("diff");
    let Some(text) = ui.get("data").and_then(|data| data.get("diff")?.as_str()).filter(|_| is_diff) else {
        return Vec::new();
    };
    let all: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("--- ") && !line.starts_with("+++ ")).collect();
    let mut lines: Vec<String> = all.iter().take(LONGEST).map(|line| shown(line, columns, paint)).collect();
    if all.len() > LONGEST {
        let more = format!("  … and {} more lines", all.len() - LONGEST);
        lines.push(paint.of(Style::Dim, &super::wrap::cut(&more, columns)));
    }
    lines
}

fn shown(line: &str, columns: usize, paint: Paint) -> String {
    let style = match line.chars().next() {
        Some('+') => Style::Good,
        Some('-') => Style::Bad,
        Some('@') => Style::Dim,
        _ => Style::Plain,
    };
    let line = plain::printable(line).replace('\t', "    ");
    paint.of(style, &super::wrap::cut(&format!("  {line}"), columns))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_diff_is_coloured_cut_to_the_screen_and_bounded() {
        let text = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-old line\n+new\u{1b}[2J line\n same\n";
        let ui = json!({"kind": "diff", "data": {"path": "f", "diff": text}});
        let plain = ["  @@ -1 +1 …", "  -old line", "  +new[2J l…", "   same"];
        assert_eq!(lines(&ui, 12, Paint(false)), plain);
        assert_eq!(lines(&ui, 80, Paint(true))[1], "\u{1b}[31m  -old line\u{1b}[0m");
        let long = json!({"kind": "diff", "data": {"diff": "+x\n".repeat(100)}});
        assert_eq!(lines(&long, 80, Paint(false)).last().unwrap(), "  … and 40 more lines");
        for other in [json!({"kind": "todo", "data": {}}), json!({"kind": "diff", "data": {"diff": null}})] {
            assert!(lines(&other, 80, Paint(false)).is_empty());
        }
    }
}
