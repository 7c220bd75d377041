//! The words of one schema: which there are, and which of them the strict mode is to be told.

use serde_json::{Map, Value};

/// Words for how large a list or a number may be.
pub(super) const SIZES: [&str; 2] = ["minItems", "maxItems"];
pub(super) const BOUNDS: [&str; 5] =
    ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];

/// The words of one schema.
pub(super) struct Words<'a> {
    pub(super) words: &'a Map<String, Value>,
}

impl Words<'_> {
    /// Whether there are no others, beside those that say nothing of what matches.
    pub(super) fn only(&self, known: &[&str]) -> Option<()> {
        const NOTES: [&str; 7] =
            ["description", "title", "default", "examples", "deprecated", "$schema", "$comment"];
        let mut words = self.words.keys().map(String::as_str);
        words.all(|word| known.contains(&word) || NOTES.contains(&word)).then_some(())
    }

    /// Those of `kept`, when there are no others beside them and `known`.
    pub(super) fn kept(&self, known: &[&str], kept: &[&str]) -> Option<Map<String, Value>> {
        self.only(&[known, kept].concat())?;
        let pairs = self.words.iter().filter(|(word, _)| kept.contains(&word.as_str()));
        let kept: Map<_, _> = pairs.map(|(word, value)| (word.clone(), value.clone())).collect();
        // In an old draft a bound may be true.
        let numbers = |word: &str| SIZES.contains(&word) || BOUNDS.contains(&word);
        kept.iter().all(|(word, value)| value.is_number() || !numbers(word)).then_some(kept)
    }

    /// The description. The mode has no word for a default, so it is told here.
    pub(super) fn description(&self) -> Option<String> {
        let description = self.words.get("description").and_then(Value::as_str);
        let default = self.words.get("default").filter(|default| !default.is_null());
        match (description, default) {
            (None, None) => None,
            (Some(description), None) => Some(description.to_owned()),
            (None, Some(default)) => Some(format!("Default: {default}.")),
            (Some(description), Some(default)) => Some(format!("{description} (Default: {default}.)")),
        }
    }
}

pub(super) fn kind_of(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(_) => Some("string"),
        Value::Bool(_) => Some("boolean"),
        Value::Number(number) => Some(if number.is_f64() { "number" } else { "integer" }),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
