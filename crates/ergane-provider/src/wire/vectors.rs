//! Vectors of texts, as JSON has them.

use serde_json::Value;

/// A vector of numbers; `None` when it is none.
pub(crate) fn vector(value: &Value) -> Option<Vec<f32>> {
    value.as_array()?.iter().map(|number| number.as_f64().map(|number| number as f32)).collect()
}

/// One vector for each of `wanted` texts, or what is wrong.
pub(crate) fn complete(vectors: Vec<Vec<f32>>, wanted: usize) -> Result<Vec<Vec<f32>>, String> {
    if vectors.len() != wanted {
        return Err(format!("it has {} vectors for {wanted} texts", vectors.len()));
    }
    Ok(vectors)
}
