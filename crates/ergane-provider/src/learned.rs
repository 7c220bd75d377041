//! What was learned of a server's models, for as long as the program runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ergane_core::Text;

/// The most models that are remembered.
const MAX_MODELS: usize = 1024;

/// Something of each model. Clones learn together.
#[derive(Debug, Clone)]
pub(crate) struct Learned<T>(Arc<Mutex<HashMap<Text, T>>>);

impl<T> Default for Learned<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Copy> Learned<T> {
    fn known(&self) -> MutexGuard<'_, HashMap<Text, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn learn(&self, model: &Text, fact: T) {
        let mut known = self.known();
        if known.len() >= MAX_MODELS && !known.contains_key(model) {
            known.clear();
        }
        known.insert(model.clone(), fact);
    }

    pub(crate) fn of(&self, model: &str) -> Option<T> {
        self.known().get(model).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_has_a_bound_and_clones_learn_together() {
        let learned = Learned::default();
        let clone = learned.clone();
        for n in 0..3 * MAX_MODELS {
            clone.learn(&n.to_string().into(), n);
            assert!(learned.known().len() <= MAX_MODELS);
        }
        let last = 3 * MAX_MODELS - 1;
        assert_eq!(learned.of(&last.to_string()), Some(last));
        let known = learned.known().len();
        clone.learn(&last.to_string().into(), 7);
        assert_eq!((learned.of(&last.to_string()), learned.known().len()), (Some(7), known));
    }
}
