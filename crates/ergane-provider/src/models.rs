//! What a server says of the models it has.

use ergane_core::Text;
use serde_json::Value;

/// A model of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Its name, as a request names it.
    pub name: Text,
}

impl ModelInfo {
    /// The entries of a list that have a name in `field`.
    pub(crate) fn named(list: &[Value], field: &str) -> Vec<Self> {
        list.iter()
            .filter_map(|model| model.get(field).and_then(Value::as_str))
            .map(|name| Self { name: name.into() })
            .collect()
    }
}
