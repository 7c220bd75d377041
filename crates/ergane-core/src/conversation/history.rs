//! A list of shared messages whose clone is cheap, because requests, views and subscribers hold one each.
//!
//! Messages sit in blocks behind `Arc`s, and all blocks that are full behind one more: a clone copies two pointers however
//! long the list is. A push copies the pointers of the last block when somebody still holds the old list, and when that
//! block is full, those of the blocks. What is made of full blocks is made once and [kept](super::kept) with them.

use std::ptr;
use std::sync::Arc;

use super::kept::{Kept, Mark};
use crate::message::Message;

const BLOCK: usize = 32;

pub(super) type Block = Vec<Arc<Message>>;

/// A list of shared messages, cheap to clone.
///
/// ```
/// use ergane_core::{History, Message};
///
/// let history: History = ["one", "two", "three"].map(|said| Message::user_text(said).into()).into_iter().collect();
/// let view = history.clone(); // shares every message
/// assert_eq!((view.len(), view.last().map(|said| said.text())), (3, Some("three".to_owned())));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// `None` as long as there is none, so that a short history costs little.
    full: Option<Arc<Full>>,
    /// The newest messages, at least one unless there is none at all.
    last: Option<Arc<Block>>,
}

/// The blocks that are full, and what was made of them.
#[derive(Debug, Clone, Default)]
struct Full {
    blocks: Vec<Arc<Block>>,
    kept: Arc<Kept>,
}

impl PartialEq for Full {
    fn eq(&self, other: &Self) -> bool {
        self.blocks == other.blocks
    }
}

impl History {
    /// How many messages there are.
    ///
    /// ```
    /// use ergane_core::{History, Message};
    ///
    /// let history: History = ["one", "two", "three"].map(|said| Message::user_text(said).into()).into_iter().collect();
    /// assert_eq!(history.len(), 3);
    /// ```
    pub fn len(&self) -> usize {
        self.full_blocks().len() * BLOCK + self.last_block().len()
    }

    /// Whether there is none.
    ///
    /// ```
    /// assert!(ergane_core::History::default().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    fn full_blocks(&self) -> &[Arc<Block>] {
        self.full.as_ref().map_or(&[], |full| full.blocks.as_slice())
    }

    fn last_block(&self) -> &[Arc<Message>] {
        self.last.as_ref().map_or(&[], |block| block.as_slice())
    }

    /// The messages, oldest first.
    ///
    /// ```
    /// use ergane_core::{History, Message};
    ///
    /// let history: History = ["one", "two", "three"].map(|said| Message::user_text(said).into()).into_iter().collect();
    /// let newest_first: Vec<String> = history.iter().rev().map(|said| said.text()).collect();
    /// assert_eq!(newest_first, ["three", "two", "one"]);
    /// ```
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Message>> {
        self.iter_from(0)
    }

    /// The messages from position `start` (counted from 0) on.
    ///
    /// ```
    /// use ergane_core::{History, Message};
    ///
    /// let history: History = ["one", "two", "three"].map(|said| Message::user_text(said).into()).into_iter().collect();
    /// assert_eq!(history.iter_from(1).map(|said| said.text()).collect::<Vec<_>>(), ["two", "three"]);
    /// assert_eq!(history.iter_from(9).count(), 0);
    /// ```
    pub fn iter_from(&self, start: usize) -> impl DoubleEndedIterator<Item = &Arc<Message>> {
        let blocks = self.full_blocks();
        let at = (start / BLOCK).min(blocks.len());
        let skip = start.saturating_sub(at * BLOCK);
        let (first, full, last): (&[_], &[_], &[_]) =
            match blocks.get(at..).and_then(|rest| rest.split_first()) {
                Some((block, rest)) => (block.get(skip..).unwrap_or_default(), rest, self.last_block()),
                None => (&[], &[], self.last_block().get(skip..).unwrap_or_default()),
            };
        first.iter().chain(full.iter().flat_map(|block| block.iter())).chain(last)
    }

    /// The newest message.
    ///
    /// ```
    /// use ergane_core::{History, Message};
    ///
    /// let history: History = ["one", "two", "three"].map(|said| Message::user_text(said).into()).into_iter().collect();
    /// assert_eq!(history.last().map(|said| said.text()).as_deref(), Some("three"));
    /// ```
    pub fn last(&self) -> Option<&Arc<Message>> {
        self.last_block().last()
    }

    /// How many messages are in full blocks: these are never taken back but by a rewind.
    ///
    /// ```
    /// use ergane_core::{History, Message};
    ///
    /// let mut history: History = (0..1000).map(|n| Message::user_text(n.to_string()).into()).collect();
    /// assert!(history.settled() > 900 && history.settled() < history.len());
    /// ```
    pub fn settled(&self) -> usize {
        self.full_blocks().len() * BLOCK
    }

    /// What was made of the messages in full blocks; `None` when there is no such block.
    ///
    /// ```
    /// use ergane_core::{History, Message};
    ///
    /// let history: History = (0..1000).map(|n| Message::user_text(n.to_string()).into()).collect();
    /// let first = |history: &History| {
    ///     let kept = history.kept()?;
    ///     Some(kept.value(|_: &String| true, || history.iter().map(|said| said.text()).next().unwrap_or_default()))
    /// };
    /// let later = history.clone();
    /// assert!(std::sync::Arc::ptr_eq(&first(&history).unwrap(), &first(&later).unwrap()), "it was made once");
    /// assert!(History::default().kept().is_none());
    /// ```
    pub fn kept(&self) -> Option<&Kept> {
        self.full.as_ref().map(|full| &*full.kept)
    }

    /// A mark of the first `len` messages; `None` of no message, and unless all of them are in full blocks.
    ///
    /// ```
    /// use ergane_core::{History, Message};
    ///
    /// let mut history: History = (0..1000).map(|n| Message::user_text(n.to_string()).into()).collect();
    /// let mark = history.mark(500).expect("they are in full blocks");
    /// history.push(Message::user_text("more").into());
    /// assert!(history.begins_with(&mark));
    /// assert!(history.mark(history.len()).is_none(), "the last block is not full");
    /// ```
    pub fn mark(&self, len: usize) -> Option<Mark> {
        let at = len.checked_sub(1)? / BLOCK;
        self.full_blocks().get(at).map(|block| Mark { at, block: Arc::downgrade(block) })
    }

    /// Whether it begins with the messages of which `mark` was made: the very same, not such as say the same.
    ///
    /// ```
    /// use ergane_core::{History, Message};
    ///
    /// let history: History = (0..1000).map(|n| Message::user_text(n.to_string()).into()).collect();
    /// let mark = history.mark(500).expect("they are in full blocks");
    /// assert!(history.clone().begins_with(&mark));
    /// assert!(!history.iter().cloned().collect::<History>().begins_with(&mark), "its blocks are its own");
    /// ```
    pub fn begins_with(&self, mark: &Mark) -> bool {
        self.full_blocks().get(mark.at).is_some_and(|block| ptr::eq(Arc::as_ptr(block), mark.block.as_ptr()))
    }

    /// Adds a message.
    ///
    /// ```
    /// use ergane_core::{History, Message};
    ///
    /// let mut history = History::default();
    /// history.push(Message::user_text("hello").into());
    /// assert_eq!(history.len(), 1);
    /// ```
    pub fn push(&mut self, message: Arc<Message>) {
        match &mut self.last {
            Some(block) if block.len() < BLOCK => Arc::make_mut(block).push(message),
            last => {
                // Small at first: most sessions are short, and an idle one should cost little.
                let mut block = Vec::with_capacity(4);
                block.push(message);
                if let Some(full) = last.replace(Arc::new(block)) {
                    Arc::make_mut(self.full.get_or_insert_default()).blocks.push(full);
                }
            }
        }
    }

    /// Forgets all but the first `len` messages.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        // The block that holds the last message kept becomes the last block.
        let keep = len.saturating_sub(1) / BLOCK;
        if keep < self.full_blocks().len() {
            self.last = self.full_blocks().get(keep).cloned();
            match &mut self.full {
                Some(full) if keep > 0 => Arc::make_mut(full).blocks.truncate(keep),
                full => *full = None,
            }
        }
        match &mut self.last {
            Some(last) if len > 0 => Arc::make_mut(last).truncate(len.saturating_sub(keep * BLOCK)),
            last => *last = None,
        }
    }

    /// Puts another message in the place of the newest.
    pub(crate) fn replace_last(&mut self, message: Arc<Message>) {
        if let Some(last) = self.last.as_mut().and_then(|block| Arc::make_mut(block).last_mut()) {
            *last = message;
        }
    }
}

impl FromIterator<Arc<Message>> for History {
    fn from_iter<I: IntoIterator<Item = Arc<Message>>>(messages: I) -> Self {
        let mut history = Self::default();
        messages.into_iter().for_each(|message| history.push(message));
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: usize) -> Arc<Message> {
        Arc::new(Message::user_text(n.to_string()))
    }

    #[test]
    fn a_history_is_the_list_of_what_was_pushed_from_any_position() {
        let history: History = (0..200).map(message).collect();
        assert_eq!(history.len(), 200);
        for start in [0, 1, 31, 32, 33, 63, 64, 65, 128, 191, 192, 199, 200, 500] {
            let seen: Vec<String> = history.iter_from(start).map(|m| m.text()).collect();
            let expected: Vec<String> = (start..200).map(|n| n.to_string()).collect();
            assert_eq!(seen, expected, "from {start}");
        }
    }

    #[test]
    fn a_truncated_history_is_its_beginning_and_grows_on_from_there() {
        for len in [0, 1, 31, 32, 33, 63, 64, 65, 128, 192, 193, 199, 200, 500] {
            let whole: History = (0..200).map(message).collect();
            let mut history = whole.clone();
            history.truncate(len);
            assert_eq!(history.len(), len.min(200));
            history.push(message(1000));
            let seen: Vec<String> = history.iter().map(|m| m.text()).collect();
            let expected: Vec<String> =
                (0..len.min(200)).map(|n| n.to_string()).chain(["1000".to_owned()]).collect();
            assert_eq!(seen, expected, "{len}");
            assert_eq!(whole.len(), 200);
        }
    }

    #[test]
    fn a_clone_does_not_see_what_is_pushed_or_replaced_later() {
        let mut history: History = (0..3).map(message).collect();
        let old = history.clone();
        history.replace_last(message(9));
        history.push(message(10));
        assert_eq!(old.iter().map(|m| m.text()).collect::<Vec<_>>(), ["0", "1", "2"]);
        assert_eq!(history.iter().map(|m| m.text()).collect::<Vec<_>>(), ["0", "1", "9", "10"]);
    }
}
