//! A history that a provider refused to read, as it is told there from then on.

use std::sync::Arc;

use ergane_core::{History, Message};

/// A history as if another model had said it: to every provider it is texts, calls and results, without the reasoning, the
/// signatures and the ids that only their own model understands. Texts and calls are shared with the one that it was made of.
///
/// It is told once. A history that has grown since is told by the very same messages and what came later, so that what was
/// written of them for one request is not written again for the next.
///
/// ```
/// use ergane_core::{History, Message, Origin, Part, Role, StopReason};
/// use ergane_provider::retry::PlainHistory;
///
/// let (provider, api, model) = ("o".into(), "openai".into(), "m".into());
/// let origin = Origin { provider, api, model, response_id: None, stop: StopReason::Stop };
/// let said = Message { role: Role::Assistant, parts: vec![Part::text("hi")], origin: Some(origin) };
/// let history: History = [Message::user_text("hello").into(), said.into()].into_iter().collect();
/// let repaired = PlainHistory::new(&history).of(&history);
/// assert_eq!(repaired.last().map(|said| (said.text(), said.origin.is_none())), Some(("hi".to_owned(), true)));
/// ```
#[derive(Debug, Clone)]
pub struct PlainHistory {
    /// The last message of the history that was refused.
    last: Option<Arc<Message>>,
    told: History,
}

impl PlainHistory {
    /// Tells all of `history` so.
    pub fn new(history: &History) -> Self {
        Self { last: history.last().cloned(), told: history.iter().map(plain).collect() }
    }

    /// How many messages are told so: those of the history that was refused.
    pub fn upto(&self) -> usize {
        self.told.len()
    }

    /// `history`, its first messages told so, as many as were refused. What came later is told as it is.
    pub fn of(&self, history: &History) -> History {
        let upto = self.upto();
        let has_grown = match (&self.last, history.iter_from(upto.saturating_sub(1)).next()) {
            (Some(last), Some(now)) => Arc::ptr_eq(last, now),
            (last, _) => last.is_none(),
        };
        // Another beginning, as of a history that was made shorter meanwhile.
        let mut told =
            if has_grown { self.told.clone() } else { history.iter().take(upto).map(plain).collect() };
        for message in history.iter_from(upto) {
            told.push(message.clone());
        }
        told
    }
}

fn plain(message: &Arc<Message>) -> Arc<Message> {
    match message.origin {
        None => message.clone(),
        Some(_) => Arc::new(Message { origin: None, ..Message::clone(message) }),
    }
}

#[cfg(test)]
mod tests {
    use ergane_core::{Origin, Part, Role, StopReason};

    use super::*;

    fn said(text: &str) -> Arc<Message> {
        let (provider, api, model) = ("o".into(), "openai".into(), "m".into());
        let origin = Origin { provider, api, model, response_id: None, stop: StopReason::Stop };
        Arc::new(Message { role: Role::Assistant, parts: vec![Part::text(text)], origin: Some(origin) })
    }

    fn origins(history: &History) -> Vec<bool> {
        history.iter().map(|message| message.origin.is_some()).collect()
    }

    #[test]
    fn what_is_told_plainly_is_told_once_and_what_came_later_as_it_is() {
        // Long enough that what is written of it is kept with it.
        let mut history: History = (0..200).map(|n| said(&n.to_string())).collect();
        let repaired = PlainHistory::new(&history);
        let first = repaired.of(&history);
        history.push(said("later"));
        let second = repaired.of(&history);
        assert!(first.iter().zip(second.iter()).all(|(one, other)| Arc::ptr_eq(one, other)));
        let mark = first.mark(first.settled()).unwrap();
        assert!(second.begins_with(&mark), "so that its bytes are those of the first");
        assert!(std::ptr::eq(first.kept().unwrap(), second.kept().unwrap()));
        assert_eq!(second.len(), 201);
        assert!(second.last().is_some_and(|last| last.origin.is_some() && last.text() == "later"));
        assert!(origins(&first).iter().all(|told| !told));
    }

    #[test]
    fn a_history_with_another_beginning_is_told_plainly_as_far_as_the_refused_one_was() {
        let repaired = PlainHistory::new(&[said("a"), said("b")].into_iter().collect());
        let other: History = [said("x"), said("y"), said("z")].into_iter().collect();
        assert_eq!(repaired.of(&other).iter().map(|message| message.text()).collect::<String>(), "xyz");
        assert_eq!(origins(&repaired.of(&other)), [false, false, true]);
        let shorter: History = [said("x")].into_iter().collect();
        assert_eq!(origins(&repaired.of(&shorter)), [false]);
        let empty = PlainHistory::new(&History::default());
        assert_eq!(origins(&empty.of(&shorter)), [true]);
    }
}
