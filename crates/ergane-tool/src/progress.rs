//! Progress of a running call, bounded without ever blocking the tool.
//!
//! Progress is a delta and no fact, so it may be lost; it must not be able to fill a session's mailbox. Each piece
//! carries a permit that comes back when whoever got it drops it; a tool that is faster than its reader loses pieces
//! and the next one says how many.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ergane_core::{CallId, Text};

/// Pieces of one call that may be on their way at once.
const IN_FLIGHT: u32 = 32;

/// Bytes of one piece; of a longer text the end is kept.
const MAX_PIECE: usize = 16 * 1024;

/// A piece of what a running tool shows. Hold it no longer than needed: it counts against its call's bound.
#[derive(Debug)]
pub struct Progress {
    /// The call it belongs to.
    pub call: CallId,
    /// The text.
    pub text: Text,
    /// How many pieces were lost before this one, because the reader was slower than the tool.
    pub skipped: u32,
    _permit: Permit,
}

/// Where progress goes: a closure that must be quick and must not block, such as one that sends a message.
///
/// ```
/// use std::sync::mpsc;
///
/// use ergane_tool::{ContextParts, ProgressSink, ToolContext};
///
/// let (sender, shown) = mpsc::channel();
/// let mut parts = ContextParts::for_test("/tmp");
/// parts.progress = ProgressSink::new(move |piece| drop(sender.send(piece.text.to_string())));
/// ToolContext::new(parts).progress("3 of 10 files");
/// assert_eq!(shown.recv().as_deref(), Ok("3 of 10 files"));
/// ```
#[derive(Clone)]
pub struct ProgressSink(Arc<dyn Fn(Progress) + Send + Sync>);

impl ProgressSink {
    /// A sink that hands each piece to `deliver`.
    ///
    /// ```
    /// let on_stderr = ergane_tool::ProgressSink::new(|piece| eprintln!("{}", piece.text));
    /// # let _ = on_stderr;
    /// ```
    pub fn new(deliver: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(deliver))
    }

    /// A sink that drops everything.
    ///
    /// ```
    /// let nowhere = ergane_tool::ProgressSink::none();
    /// # let _ = nowhere;
    /// ```
    pub fn none() -> Self {
        Self::new(drop)
    }
}

impl fmt::Debug for ProgressSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressSink")
    }
}

#[derive(Debug, Default)]
struct Counts {
    in_flight: AtomicU32,
    skipped: AtomicU32,
}

#[derive(Debug)]
struct Permit(Arc<Counts>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The sender's side, one per call.
#[derive(Debug, Clone)]
pub(crate) struct ProgressSender {
    call: CallId,
    sink: ProgressSink,
    counts: Arc<Counts>,
}

impl ProgressSender {
    pub(crate) fn new(call: CallId, sink: ProgressSink) -> Self {
        Self { call, sink, counts: Arc::default() }
    }

    /// Sends `text`, or counts it as skipped. Returns whether it was sent.
    pub(crate) fn send(&self, text: &str) -> bool {
        let counts = &self.counts;
        let taken = counts
            .in_flight
            .try_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < IN_FLIGHT).then_some(n + 1));
        if taken.is_err() {
            counts.skipped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let permit = Permit(counts.clone());
        let skipped = counts.skipped.swap(0, Ordering::Relaxed);
        let text = tail(text, MAX_PIECE).into();
        (self.sink.0)(Progress { call: self.call, text, skipped, _permit: permit });
        true
    }
}

/// The last `max` bytes of `text`, from a character's beginning on.
fn tail(text: &str, max: usize) -> &str {
    let start = (text.len().saturating_sub(max)..text.len()).find(|at| text.is_char_boundary(*at));
    start.and_then(|start| text.get(start..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_slow_reader_loses_pieces_is_told_how_many_and_never_holds_up_the_tool() {
        let held = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let held = held.clone();
            ProgressSink::new(move |piece| held.lock().unwrap().push(piece))
        };
        let sender = ProgressSender::new(CallId::UNNUMBERED, sink);
        for _ in 0..IN_FLIGHT + 3 {
            sender.send("x");
        }
        assert_eq!(held.lock().unwrap().len(), IN_FLIGHT as usize);
        held.lock().unwrap().clear();
        assert!(sender.send("y"));
        assert_eq!(held.lock().unwrap()[0].skipped, 3);
    }

    #[test]
    fn of_a_long_piece_the_end_is_kept_whole_characters_only() {
        assert_eq!(tail("aé", 2), "é");
        assert_eq!(tail("aé", 1), "");
        assert_eq!(tail("abc", 9), "abc");
    }
}
