//! What others have made of a history's full blocks, kept with them.
//!
//! # Why it is kept here
//!
//! A provider writes a history as the bytes of its format, and what it wrote for the last request is good for the next one
//! too. Whoever keeps such a thing elsewhere needs to know when it is of no use any more; kept with the history it goes when
//! the history goes. What is kept is nothing but memory: it is made again when it is missing, and two histories are equal
//! whatever is kept with them.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::history::{Block, History};
use crate::message::Message;

/// So many values of each type are kept, the last used ones.
const MOST: usize = 3;

/// Values that were made of the messages in a history's full blocks. Clones of the history, and those that went on from
/// them, share them; so who keeps one also keeps a [`Mark`] of the messages that it was made of.
#[derive(Default)]
pub struct Kept {
    /// In the order of their last use.
    values: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
}

impl Kept {
    /// The value of type `T` that is meant, or a new one, which is kept. Three of a type are kept: of a fourth, the one goes
    /// that was not used for longest. Neither function may ask for anything that is kept here.
    pub fn value<T: Any + Send + Sync>(
        &self,
        is_meant: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Arc<T> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let is = |value: &Arc<dyn Any + Send + Sync>| value.downcast_ref::<T>().is_some_and(&is_meant);
        if let Some(at) = values.iter().position(is)
            && let Ok(found) = values.remove(at).downcast::<T>()
        {
            values.push(found.clone());
            return found;
        }
        if values.iter().filter(|value| value.is::<T>()).count() >= MOST
            && let Some(oldest) = values.iter().position(|value| value.is::<T>())
        {
            values.remove(oldest);
        }
        let made = Arc::new(make());
        values.push(made.clone());
        made
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

/// Which messages a history begins with: proof that another one begins with the very same, at the cost of a comparison.
///
/// It refers to a full block, and holds none of its messages. A block that is full is never changed in place while somebody
/// refers to it, and is pushed on top of the blocks before it once: so who has the block has all that come before it.
#[derive(Debug, Clone)]
pub struct Mark {
    pub(super) at: usize,
    pub(super) block: Weak<Block>,
}

/// A sum over the messages of a history's beginning.
struct Tally {
    name: &'static str,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    upto: usize,
    mark: Option<Mark>,
    sum: usize,
}

impl History {
    /// The sum of a number that each message has of itself. Messages in full blocks are asked once, and not each time: `name`
    /// says what is summed, so that the sum is found again.
    ///
    /// ```
    /// use ergane_core::{History, Message};
    ///
    /// let history: History = (0..1000).map(|n| Message::user_text(n.to_string()).into()).collect();
    /// assert_eq!(history.tally("bytes", |said| said.text().len()), 10 + 2 * 90 + 3 * 900);
    /// ```
    pub fn tally(&self, name: &'static str, number: impl Fn(&Message) -> usize) -> usize {
        let Some(kept) = self.kept() else { return sum(self.iter(), &number) };
        let tally =
            kept.value(|tally: &Tally| tally.name == name, || Tally { name, known: Mutex::default() });
        let mut known = tally.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.mark.as_ref().is_some_and(|mark| self.begins_with(mark)) {
            *known = Known::default();
        }
        let settled = self.settled();
        if settled > known.upto {
            let new = settled.saturating_sub(known.upto);
            known.sum = known.sum.saturating_add(sum(self.iter_from(known.upto).take(new), &number));
            (known.upto, known.mark) = (settled, self.mark(settled));
        }
        known.sum.saturating_add(sum(self.iter_from(known.upto), &number))
    }
}

fn sum<'a>(messages: impl Iterator<Item = &'a Arc<Message>>, number: &impl Fn(&Message) -> usize) -> usize {
    messages.map(|message| number(message)).fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn message(n: usize) -> Arc<Message> {
        Arc::new(Message::user_text(n.to_string()))
    }

    fn history(len: usize) -> History {
        (0..len).map(message).collect()
    }

    #[test]
    fn three_values_of_a_type_are_kept_and_the_one_goes_that_was_not_used_for_longest() {
        let kept = Kept::default();
        let made = Cell::new(0);
        let value = |n: usize| {
            *kept.value(
                |value: &usize| *value == n,
                || {
                    made.set(made.get() + 1);
                    n
                },
            )
        };
        kept.value(|_: &String| true, || "of another type".to_owned());
        for n in [1, 2, 3, 1, 2, 3, 1, 4, 1, 3] {
            assert_eq!(value(n), n);
        }
        assert_eq!(made.get(), 4, "each once");
        value(2);
        assert_eq!(made.get(), 5, "it had made room for the fourth");
        kept.value(|_: &String| true, || panic!("a value of another type takes no room of it"));
    }

    #[test]
    fn a_mark_holds_for_every_history_that_begins_with_the_same_messages_and_for_no_other() {
        let mut history = history(100);
        assert_eq!(history.settled(), 96);
        let (first, second, third) = (history.mark(1), history.mark(64), history.mark(96));
        let [first, second, third] = [first, second, third].map(Option::unwrap);
        assert!(history.mark(97).is_none() && history.mark(0).is_none(), "nothing can be proved of these");
        let earlier = history.clone();
        for n in 100..300 {
            history.push(message(n));
        }
        for mark in [&first, &second, &third] {
            assert!(history.begins_with(mark) && earlier.begins_with(mark));
            assert!(!super::tests::history(300).begins_with(mark), "the same words, and other messages");
        }
        history.truncate(65);
        assert!(history.begins_with(&second) && !history.begins_with(&third));
        history.truncate(40);
        assert!(history.begins_with(&first) && !history.begins_with(&second));
        for n in 0..100 {
            history.push(message(n));
        }
        assert!(history.begins_with(&first) && !history.begins_with(&second));
    }

    #[test]
    fn a_block_that_opens_again_is_not_taken_for_what_it_was() {
        let mut history = history(65);
        let mark = history.mark(64).unwrap();
        history.truncate(64);
        history.replace_last(message(1000));
        history.push(message(1001));
        assert_eq!(history.settled(), 64);
        assert!(!history.begins_with(&mark));
    }

    #[test]
    fn a_tally_asks_each_settled_message_once_and_is_right_for_every_history() {
        let asked = Cell::new(0);
        let tally = |history: &History| {
            history.tally("texts", |message| {
                asked.set(asked.get() + 1);
                message.text().parse::<usize>().unwrap()
            })
        };
        let sum = |history: &History| history.iter().map(|m| m.text().parse::<usize>().unwrap()).sum();
        let mut history = history(1000);
        assert_eq!((tally(&history), asked.take()), (sum(&history), 1000));
        for n in 1000..1100 {
            history.push(message(n));
            assert_eq!(tally(&history), sum(&history));
            assert!(asked.take() <= 2 * 32, "only what is new is asked");
        }
        let mut other = history.clone();
        other.truncate(700);
        other.push(message(5));
        for history in [&other, &history, &history, &other] {
            assert_eq!(tally(history), sum(history));
        }
    }
}
