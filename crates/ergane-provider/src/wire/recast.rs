//! What a server is told of a schema, made once.
//!
//! A tool's schema goes along with every request, and so does the schema of a structure. What is made of one depends on it and on
//! whom it is for, and on nothing else. So it is kept while there is room for it, and whoever says in the log that a schema
//! does not fit says it once, as a rule. A schema is known by its place in memory: the same tools are the same allocation in every request.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use serde_json::Value;

/// The most schemas of which it is kept.
const MOST: usize = 1024;

/// Whom a schema is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Aim {
    /// The strict mode of OpenAI, for a model that was tuned or not, of a structure or of arguments.
    OpenAi { tuned: bool, output: bool },
    /// The strict mode of Anthropic.
    Anthropic,
    /// What Anthropic makes of the structure of an answer.
    AnthropicStructure,
    /// Ollama, which knows a part of JSON Schema.
    Ollama,
    /// Google's elder models, which know a part of OpenAPI.
    OpenApi,
}

/// What was made of a schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recast {
    /// As it is told. The schema itself where it does not fit.
    pub(crate) schema: Arc<Value>,
    /// Whether it fits what it is for.
    pub(crate) fits: bool,
    /// How many properties may be left out, where they are counted.
    pub(crate) optional: usize,
    /// How many are of more than one type, likewise.
    pub(crate) unions: usize,
}

impl Recast {
    /// A schema that fits, and of which nothing is counted.
    pub(crate) fn new(schema: Value) -> Self {
        Self { schema: Arc::new(schema), fits: true, optional: 0, unions: 0 }
    }

    /// A schema that does not fit, as it is.
    pub(crate) fn none(schema: &Arc<Value>) -> Self {
        Self { schema: schema.clone(), fits: false, optional: 0, unions: 0 }
    }
}

struct Known {
    /// It holds the schema's place in memory, so that no other one can be taken for it.
    of: Weak<Value>,
    /// `None` of a schema that does not fit: it is told as it is, and is not to live on for it.
    made: Option<Recast>,
}

type Table = HashMap<(usize, Aim), Known>;

static KNOWN: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

/// What is made of `schema` for `aim`: by `make`, when that is not known.
pub(crate) fn once(schema: &Arc<Value>, aim: Aim, make: impl FnOnce() -> Recast) -> Recast {
    let place = (Arc::as_ptr(schema).addr(), aim);
    if let Some(known) = table(|known| known.get(&place).map(|known| known.made.clone())) {
        return known.unwrap_or_else(|| Recast::none(schema));
    }
    // Without the lock: it may take a while, and two may make the same.
    let made = make();
    let known = Known { of: Arc::downgrade(schema), made: made.fits.then(|| made.clone()) };
    table(|all| {
        if all.len() >= MOST {
            all.retain(|_, known| known.of.strong_count() > 0);
        }
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(place, known);
    });
    made
}

fn table<T>(read: impl FnOnce(&mut Table) -> T) -> T {
    // Nothing foreign runs under this lock.
    read(&mut KNOWN.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_made_of_a_schema_is_made_once_for_each_that_it_is_for() {
        let made = Cell::new(0);
        let make = |schema: &Arc<Value>, aim| {
            once(schema, aim, || {
                made.set(made.get() + 1);
                Recast::new(json!({"of": **schema}))
            })
        };
        let (one, other) = (Arc::new(json!(1)), Arc::new(json!(1)));
        let first = make(&one, Aim::Ollama);
        assert!(Arc::ptr_eq(&first.schema, &make(&one.clone(), Aim::Ollama).schema));
        assert_eq!((made.get(), &*first.schema), (1, &json!({"of": 1})));
        make(&one, Aim::OpenApi);
        make(&other, Aim::Ollama);
        assert_eq!(made.get(), 3);
        let told = Cell::new(0);
        for _ in 0..3 {
            let none = once(&one, Aim::Anthropic, || {
                told.set(told.get() + 1);
                Recast::none(&one)
            });
            assert!(!none.fits && Arc::ptr_eq(&none.schema, &one));
        }
        assert_eq!(told.get(), 1, "what does not fit is said once");
    }

    #[test]
    fn a_schema_in_the_place_of_one_that_is_gone_is_not_taken_for_it_and_what_is_kept_has_a_bound() {
        for n in 0..3 * MOST {
            let schema = Arc::new(json!(n));
            let recast = once(&schema, Aim::Ollama, || Recast::new(json!({"of": n})));
            assert_eq!(*recast.schema, json!({"of": n}));
            assert!(table(|all| all.len()) <= MOST);
        }
    }
}
