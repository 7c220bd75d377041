//! A queue that is fair between those who ask: they take turns, whatever each has in it.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Items of several askers. One of each is taken in turn; those of one asker in their order.
#[derive(Debug)]
pub(super) struct FairQueue<K, T> {
    /// Whoever has something in the queue, once, in the order of their turns.
    turns: VecDeque<K>,
    items: HashMap<K, VecDeque<T>>,
    len: usize,
}

impl<K: Clone + Eq + Hash, T> FairQueue<K, T> {
    pub(super) fn new() -> Self {
        Self { turns: VecDeque::new(), items: HashMap::new(), len: 0 }
    }

    /// How many items `asker` has in it.
    pub(super) fn of(&self, asker: &K) -> usize {
        self.items.get(asker).map_or(0, VecDeque::len)
    }

    pub(super) fn push(&mut self, asker: K, item: T) {
        let queue = self.items.entry(asker.clone()).or_default();
        if queue.is_empty() {
            self.turns.push_back(asker);
        }
        queue.push_back(item);
        self.len += 1;
    }

    /// What is next of whose turn comes after `before` others.
    pub(super) fn first(&self, before: usize) -> Option<&T> {
        self.items.get(self.turns.get(before)?)?.front()
    }

    /// Takes what is next of whose turn comes after `before` others; the asker's turn comes again after all.
    pub(super) fn pop(&mut self, before: usize) -> Option<T> {
        let asker = self.turns.remove(before)?;
        let queue = self.items.get_mut(&asker)?;
        let item = queue.pop_front()?;
        self.len -= 1;
        if queue.is_empty() {
            self.items.remove(&asker);
        } else {
            self.turns.push_back(asker);
        }
        Some(item)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.values().flatten()
    }

    /// Takes out all that `gone` says, in no order of their askers.
    pub(super) fn take_if(&mut self, mut gone: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for queue in self.items.values_mut() {
            for _ in 0..queue.len() {
                match queue.pop_front() {
                    Some(item) if gone(&item) => taken.push(item),
                    Some(item) => queue.push_back(item),
                    None => {}
                }
            }
        }
        self.items.retain(|_, queue| !queue.is_empty());
        self.turns.retain(|asker| self.items.contains_key(asker));
        self.len -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_with_a_thousand_items_takes_turns_with_one_that_has_one() {
        let mut queue = FairQueue::new();
        (0..1000).for_each(|n| queue.push("many", n));
        queue.push("one", 5000);
        assert_eq!([queue.pop(0), queue.pop(0), queue.pop(0)], [Some(0), Some(5000), Some(1)]);
    }

    proptest! {
        /// Nothing is lost, everybody's items keep their order, and between two items of one asker each other that
        /// waits all the time has its turn.
        #[test]
        fn everybody_waits_for_one_of_each_other_at_most(
            pushes in prop::collection::vec(0u8..5, 1..200),
            cancelled in 0u8..6,
        ) {
            let mut queue = FairQueue::new();
            for (n, asker) in pushes.iter().enumerate() {
                queue.push(*asker, (*asker, n));
            }
            let taken = queue.take_if(|(asker, _)| *asker == cancelled);
            prop_assert!(taken.iter().all(|(asker, _)| *asker == cancelled));
            let mut left: Vec<usize> = (0..5).map(|asker| queue.of(&asker)).collect();
            prop_assert_eq!(queue.iter().count() + taken.len(), pushes.len());
            let mut last: Vec<Option<usize>> = vec![None; 5];
            let mut since: Vec<usize> = vec![0; 5];
            while let Some((asker, n)) = queue.pop(0) {
                let asker = usize::from(asker);
                prop_assert!(last[asker].is_none_or(|before| before < n));
                (0..5).filter(|other| *other != asker && left[*other] > 0).for_each(|other| since[other] += 1);
                prop_assert!(since.iter().all(|waited| *waited <= 4), "{since:?}");
                (since[asker], last[asker]) = (0, Some(n));
                left[asker] -= 1;
            }
            prop_assert!(queue.len == 0 && queue.first(0).is_none() && left.iter().all(|count| *count == 0));
        }
    }
}
