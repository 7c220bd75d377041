//! What a call came to, in the size of a fact.
//!
//! A fact has a cap, and a model's context is small: what is longer is cut here, in one place for all tools, head and
//! tail kept, with a note of how much is missing.

use ergane_core::{ImageSource, Part, is_too_deep};
use serde_json::{Value, json};

use crate::error::ToolError;
use crate::output::ToolOutput;

/// Bytes of text that a result may have in total, 1 MiB; of more, the head and the tail are kept.
pub const MAX_TEXT: usize = 1024 * 1024;

/// Bytes of base64 that the images of a result may have in total, 8 MiB; further ones are named instead.
const MAX_IMAGES: usize = 8 * 1024 * 1024;

/// Bytes of JSON that the part for people may have, 1 MiB; a larger one is dropped, with a note in its place, and so is one
/// that is nested too deep to be read again.
const MAX_UI: usize = 1024 * 1024;

/// What a call came to: what becomes its `ToolFinished`.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutcome {
    /// Text and images for the model; never empty.
    pub content: Vec<Part>,
    /// Whether it failed.
    pub is_error: bool,
    /// For people: `kind` and `data`.
    pub ui: Option<Value>,
    /// Whether Ergane made it because the tool gave none: it timed out, was interrupted, or panicked.
    pub synthetic: bool,
}

impl From<ToolOutput> for ToolOutcome {
    fn from(output: ToolOutput) -> Self {
        let content = fit(output.content);
        let ui = output.ui.map(|ui| {
            let bytes = ui.to_string().len();
            let cut = bytes > MAX_UI || is_too_deep(&ui);
            if cut { json!({ "kind": "cut", "data": { "bytes": bytes } }) } else { ui }
        });
        Self { content, is_error: output.is_error, ui, synthetic: false }
    }
}

impl From<ToolError> for ToolOutcome {
    fn from(error: ToolError) -> Self {
        let synthetic = error.is_synthetic();
        Self { synthetic, ..ToolOutput::error(error.to_string()).into() }
    }
}

impl From<Result<ToolOutput, ToolError>> for ToolOutcome {
    fn from(result: Result<ToolOutput, ToolError>) -> Self {
        match result {
            Ok(output) => output.into(),
            Err(error) => error.into(),
        }
    }
}

/// Only text and images, not too much of either, and something in any case.
fn fit(parts: Vec<Part>) -> Vec<Part> {
    let mut content = Vec::with_capacity(parts.len());
    let mut images = 0;
    for part in parts {
        match part {
            Part::Image { mime, source: ImageSource::Base64(data) } if images + data.len() > MAX_IMAGES => {
                content.push(Part::text(format!(
                    "[an image ({mime}, {} bytes of base64) was too large]",
                    data.len()
                )));
            }
            Part::Image { mime, source } => {
                if let ImageSource::Base64(data) = &source {
                    images += data.len();
                }
                content.push(Part::Image { mime, source });
            }
            Part::Text { text } | Part::Refusal { text } => content.push(Part::Text { text }),
            Part::Reasoning(_) | Part::ToolCall(_) | Part::ToolResult(_) => {
                content.push(Part::text("[a part that cannot be in a tool's result was left out]"));
            }
            // Added to the vocabulary later: whether it may be here is for whoever adds it to say.
            other => content.push(other),
        }
    }
    let text: usize = content.iter().map(text_len).sum();
    if text > MAX_TEXT {
        content = cut(content, text);
    }
    if content.iter().all(|part| matches!(part, Part::Text { text } if text.is_empty())) {
        content = vec![Part::text("(no output)")];
    }
    content
}

fn text_len(part: &Part) -> usize {
    match part {
        Part::Text { text } => text.len(),
        _ => 0,
    }
}

/// Keeps the first and the last half of [`MAX_TEXT`], with a note where the middle was.
fn cut(content: Vec<Part>, total: usize) -> Vec<Part> {
    let (head, tail) = (MAX_TEXT / 2, total - MAX_TEXT / 2);
    let mut kept = Vec::with_capacity(content.len() + 1);
    let mut at = 0;
    for part in content {
        let Part::Text { text } = &part else {
            kept.push(part);
            continue;
        };
        let (start, end) = (at, at + text.len());
        at = end;
        if start < head {
            kept.push(Part::text(text.get(..floor(text, head - start)).unwrap_or_default()));
        }
        if start <= head && end > head {
            kept.push(Part::text(format!(
                "\n[… {} of {total} bytes of output were cut here …]\n",
                tail - head
            )));
        }
        if end > tail {
            kept.push(Part::text(text.get(ceil(text, tail.saturating_sub(start))..).unwrap_or_default()));
        }
    }
    kept.retain(|part| !matches!(part, Part::Text { text } if text.is_empty()));
    kept
}

fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn ceil(text: &str, at: usize) -> usize {
    (at..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ergane_core::Text;

    use super::*;

    fn texts(outcome: &ToolOutcome) -> String {
        let text = |part: &Part| match part {
            Part::Text { text } => text.to_string(),
            other => format!("{other:?}"),
        };
        outcome.content.iter().map(text).collect()
    }

    #[test]
    fn a_text_at_the_limit_stays_whole_and_one_byte_more_is_cut_with_a_note() {
        let whole = "x".repeat(MAX_TEXT);
        assert_eq!(texts(&ToolOutput::from(whole.as_str()).into()), whole);
        let outcome = ToolOutcome::from(ToolOutput::from(format!("a{whole}z")));
        let text = texts(&outcome);
        assert!(text.starts_with('a') && text.ends_with('z') && text.len() < MAX_TEXT + 100);
        assert!(
            text.contains(&format!("[… 2 of {} bytes of output were cut here …]", MAX_TEXT + 2)),
            "{}",
            text.len()
        );
    }

    #[test]
    fn cutting_over_several_parts_keeps_head_tail_images_and_whole_characters() {
        let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("AA==".into()) };
        let parts = vec![
            Part::text(format!("head{}", "é".repeat(400_000))),
            image.clone(),
            Part::text("é".repeat(400_000)),
            Part::text(format!("{}tail", "é".repeat(400_000))),
        ];
        let outcome = ToolOutcome::from(ToolOutput::from(parts));
        let text = texts(&outcome);
        assert!(text.starts_with("headé") && text.ends_with("étail"));
        assert_eq!(text.matches("bytes of output were cut here").count(), 1);
        let kept: usize = outcome.content.iter().map(text_len).sum();
        assert!((MAX_TEXT - 8..MAX_TEXT + 100).contains(&kept), "{kept}");
        assert!(outcome.content.contains(&image));
    }

    #[test]
    fn nothing_is_said_in_words_and_what_cannot_be_in_a_result_is_not() {
        for empty in [ToolOutput::default(), ToolOutput::from("")] {
            assert_eq!(texts(&empty.into()), "(no output)");
        }
        let odd = Part::Reasoning(ergane_core::Reasoning::default());
        assert!(texts(&ToolOutput::from(odd).into()).contains("left out"));
    }

    #[test]
    fn images_and_ui_have_their_bounds_too() {
        let data: Text = "A".repeat(MAX_IMAGES / 2 + 1).into();
        let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64(data) };
        let outcome = ToolOutcome::from(ToolOutput::from(vec![image.clone(), image.clone()]));
        assert_eq!(outcome.content[0], image);
        assert!(matches!(&outcome.content[1], Part::Text { text } if text.contains("too large")));
        let outcome = ToolOutcome::from(ToolOutput::text("x").with_ui("log", "y".repeat(MAX_UI)));
        assert_eq!(outcome.ui.unwrap()["kind"], "cut");
    }

    #[test]
    fn an_error_is_marked_and_says_whether_ergane_made_it() {
        let failed = ToolOutcome::from(ToolError::failed("no such city"));
        assert!(failed.is_error && !failed.synthetic);
        let timeout = ToolOutcome::from(ToolError::Timeout { after: Duration::from_secs(2) });
        assert!(timeout.is_error && timeout.synthetic && texts(&timeout).contains("within 2s"));
    }
}
