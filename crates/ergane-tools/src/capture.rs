//! The output of a command, in bounded memory: its head, its tail, and how much was in between.

use std::collections::VecDeque;
use std::time::Duration;

use ergane_tool::ToolContext;
use tokio::time::Instant;

use crate::lines::is_continuation;

/// Characters that a result keeps, half of them from the head and half from the tail.
pub(crate) const MAX_CHARS: usize = 30_000;

/// Bytes kept of either: enough for its half of the characters, whatever they are.
const HALF: usize = MAX_CHARS / 2 * 4;

/// Bytes of progress that wait to be shown.
const MAX_WAITING: usize = 8 * 1024;

/// How often progress is shown at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Keeps the beginning and the end of what is pushed.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

impl Capture {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (head, rest) = bytes.split_at(bytes.len().min(HALF - self.head.len()));
        self.head.extend_from_slice(head);
        let rest = rest.get(rest.len().saturating_sub(HALF)..).unwrap_or_default();
        let excess = (self.tail.len() + rest.len()).saturating_sub(HALF);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    /// How many bytes came, kept or not.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The text, cut in the middle when it is too long, with notes of what was cut and replaced.
    pub(crate) fn finish(mut self) -> String {
        let tail = self.tail.make_contiguous();
        let whole = self.total == (self.head.len() + tail.len()) as u64;
        let mut text = String::new();
        let mut lossy = false;
        if whole {
            self.head.extend_from_slice(tail);
            let (all, replaced) = decode(&self.head);
            let count = all.chars().count();
            lossy |= replaced;
            if count > MAX_CHARS {
                text.push_str(first(&all, MAX_CHARS / 2));
                text.push_str(&cut_note(format!("{} characters", count - MAX_CHARS)));
                text.push_str(last(&all, MAX_CHARS / 2));
            } else {
                text = all;
            }
        } else {
            // Characters that the buffers' edges cut are no fault of the output.
            let end = self.head.len() - incomplete_end(&self.head);
            let start = tail.iter().take(3).take_while(|byte| is_continuation(**byte)).count();
            let (head, head_replaced) = decode(self.head.get(..end).unwrap_or_default());
            let (tail, tail_replaced) = decode(tail.get(start..).unwrap_or_default());
            lossy |= head_replaced || tail_replaced;
            let (head, tail) = (first(&head, MAX_CHARS / 2), last(&tail, MAX_CHARS / 2));
            let cut = self.total.saturating_sub((head.len() + tail.len()) as u64);
            text.push_str(head);
            text.push_str(&cut_note(format!("about {cut} bytes")));
            text.push_str(tail);
        }
        if lossy {
            text.push_str(if text.ends_with('\n') { "" } else { "\n" });
            text.push_str("[the output is not all valid UTF-8; what could not be read is shown as \u{fffd}]");
        }
        text
    }
}

fn cut_note(what: String) -> String {
    format!("\n[… {what} of output were cut here …]\n")
}

fn decode(bytes: &[u8]) -> (String, bool) {
    let text = String::from_utf8_lossy(bytes);
    let replaced = matches!(text, std::borrow::Cow::Owned(_));
    (text.into_owned(), replaced)
}

fn first(text: &str, chars: usize) -> &str {
    text.char_indices().nth(chars).and_then(|(at, _)| text.get(..at)).unwrap_or(text)
}

fn last(text: &str, chars: usize) -> &str {
    text.char_indices().rev().nth(chars.saturating_sub(1)).and_then(|(at, _)| text.get(at..)).unwrap_or(text)
}

/// How many bytes at the end begin a character whose rest has not come yet.
fn incomplete_end(bytes: &[u8]) -> usize {
    let recent = bytes.get(bytes.len().saturating_sub(4)..).unwrap_or_default();
    (1..=recent.len().min(3))
        .find(|back| {
            let end = recent.get(recent.len() - back..).unwrap_or_default();
            std::str::from_utf8(end)
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .unwrap_or(0)
}

/// Shows output while it comes, in pieces that are not too many; of a flood, the end.
#[derive(Debug)]
pub(crate) struct Ticker {
    waiting: Vec<u8>,
    next: Instant,
}

impl Ticker {
    pub(crate) fn new() -> Self {
        Self { waiting: Vec::new(), next: Instant::now() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        let excess = self.waiting.len().saturating_sub(MAX_WAITING);
        self.waiting.drain(..excess);
    }

    /// When there is something to show, if there is.
    pub(crate) fn due(&self) -> Option<Instant> {
        (self.waiting.len() > incomplete_end(&self.waiting)).then_some(self.next)
    }

    pub(crate) fn show(&mut self, ctx: &ToolContext) {
        let end = self.waiting.len() - incomplete_end(&self.waiting);
        let piece: Vec<u8> = self.waiting.drain(..end).collect();
        ctx.progress(String::from_utf8_lossy(&piece));
        self.next = Instant::now() + PROGRESS_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(pieces: &[&[u8]]) -> String {
        let mut capture = Capture::default();
        pieces.iter().for_each(|piece| capture.push(piece));
        capture.finish()
    }

    #[test]
    fn what_fits_comes_back_as_it_was() {
        assert_eq!(captured(&[b"a", b"", b"b\n"]), "ab\n");
        let full = "x".repeat(MAX_CHARS);
        assert_eq!(captured(&[full.as_bytes()]), full);
        let wide = "é".repeat(MAX_CHARS);
        assert_eq!(captured(&[wide.as_bytes()]), wide);
        let widest = "🦀".repeat(MAX_CHARS);
        assert_eq!(captured(&[widest.as_bytes()]), widest);
    }

    #[test]
    fn one_character_too_many_is_cut_from_the_middle() {
        let text = format!("a{}z", "é".repeat(MAX_CHARS - 1));
        let cut = captured(&[text.as_bytes()]);
        assert!(cut.starts_with("aé") && cut.ends_with("éz"));
        assert!(cut.contains("[… 1 characters of output were cut here …]"));
    }

    #[test]
    fn a_flood_in_pieces_of_any_size_keeps_head_and_tail_and_does_not_grow() {
        let flood = "é".repeat(2 * HALF);
        for size in [1_usize, 7, 4_096, 1 << 20] {
            let mut capture = Capture::default();
            capture.push("head 🦀".as_bytes());
            flood.as_bytes().chunks(size).for_each(|piece| capture.push(piece));
            capture.push("🦀 tail".as_bytes());
            assert!(capture.head.len() <= HALF && capture.tail.len() <= HALF);
            let text = capture.finish();
            assert!(text.starts_with("head 🦀é") && text.ends_with("🦀 tail"), "{size}");
            assert!(text.contains("bytes of output were cut here") && !text.contains('\u{fffd}'), "{size}");
            assert!(text.chars().count() <= MAX_CHARS + 200, "{size}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_said_so_but_cut_characters_are_not() {
        assert!(captured(&[b"a\xffb"]).contains("a\u{fffd}b\n[the output is not all valid UTF-8"));
        assert!(
            !captured(&["é".as_bytes().split_at(1).0, "é".as_bytes().split_at(1).1]).contains('\u{fffd}')
        );
        let flood = format!("x{}", "🦀".repeat(HALF));
        assert!(!captured(&[flood.as_bytes()]).contains('\u{fffd}'));
    }

    #[test]
    fn an_incomplete_end_is_found_and_a_wrong_one_is_not_taken_for_it() {
        for (bytes, back) in [
            (&b"abc"[..], 0),
            ("é".as_bytes(), 0),
            (b"a\xc3", 1),
            (b"a\xf0\x9f", 2),
            (b"a\xf0\x9f\xa6", 3),
            (b"a\xff", 0),
            (b"", 0),
        ] {
            assert_eq!(incomplete_end(bytes), back, "{bytes:?}");
        }
    }
}
