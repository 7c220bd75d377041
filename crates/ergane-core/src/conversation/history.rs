//! A list of shared messages whose clone is cheap, because requests, views and subscribers hold one each.
//!
//! Messages sit in blocks behind `Arc`s: a clone copies one pointer a block, and a push copies at most one block (of
//! pointers) when somebody still holds the old list.

use std::sync::Arc;

use crate::message::Message;

const BLOCK: usize = 64;

/// A list of shared messages, cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    blocks: Vec<Arc<Vec<Arc<Message>>>>,
}

impl History {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        match self.blocks.split_last() {
            Some((last, full)) => full.len() * BLOCK + last.len(),
            None => 0,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The messages, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Message>> {
        self.blocks.iter().flat_map(|block| block.iter())
    }

    /// The messages from position `start` (counted from 0) on.
    pub fn iter_from(&self, start: usize) -> impl DoubleEndedIterator<Item = &Arc<Message>> {
        let block = (start / BLOCK).min(self.blocks.len());
        let skip = start.saturating_sub(block * BLOCK);
        let rest = self.blocks.get(block..).unwrap_or_default();
        rest.iter().enumerate().flat_map(move |(n, block)| {
            let from = if n == 0 { skip.min(block.len()) } else { 0 };
            block.get(from..).unwrap_or_default()
        })
    }

    /// The newest message.
    pub fn last(&self) -> Option<&Arc<Message>> {
        self.blocks.last()?.last()
    }

    /// Adds a message.
    pub fn push(&mut self, message: Arc<Message>) {
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK => Arc::make_mut(block).push(message),
            // Small at first: most sessions are short, and an idle one should cost little.
            _ => {
                let mut block = Vec::with_capacity(4);
                block.push(message);
                self.blocks.push(Arc::new(block));
            }
        }
    }

    /// Forgets all but the first `len` messages.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.blocks.truncate(len.div_ceil(BLOCK));
        let rest = len.saturating_sub(self.blocks.len().saturating_sub(1) * BLOCK);
        if let Some(last) = self.blocks.last_mut().filter(|last| last.len() > rest) {
            Arc::make_mut(last).truncate(rest);
        }
    }

    /// Puts another message in the place of the newest.
    pub(crate) fn replace_last(&mut self, message: Arc<Message>) {
        if let Some(last) = self.blocks.last_mut().and_then(|block| Arc::make_mut(block).last_mut()) {
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
        for start in [0, 1, 63, 64, 65, 128, 199, 200, 500] {
            let seen: Vec<String> = history.iter_from(start).map(|m| m.text()).collect();
            let expected: Vec<String> = (start..200).map(|n| n.to_string()).collect();
            assert_eq!(seen, expected, "from {start}");
        }
    }

    #[test]
    fn a_truncated_history_is_its_beginning_and_grows_on_from_there() {
        for len in [0, 1, 63, 64, 65, 128, 199, 200, 500] {
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
