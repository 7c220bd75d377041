//! Schemas in the words that a model of this family understands.
//!
//! Models since 2.5 take JSON Schema as it is. Those before take a subset of OpenAPI's: no references, no `const`, no
//! list of types, and they refuse what they do not know.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::wire::recast::{Aim, Recast, once};
use crate::wire::schema::resolve;

/// Which words a model understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    JsonSchema,
    OpenApi,
}

impl Dialect {
    pub(super) fn of(model: &str) -> Self {
        if ["gemini-1", "gemini-2.0"].iter().any(|old| model.contains(old)) {
            Self::OpenApi
        } else {
            Self::JsonSchema
        }
    }
}

/// Whether it is the schema of an object without properties, which is better not sent at all.
pub(super) fn is_empty_object(schema: &Value) -> bool {
    let no_properties = match schema.get("properties") {
        None => true,
        Some(properties) => properties.as_object().is_some_and(Map::is_empty),
    };
    let open = schema.get("additionalProperties").is_some_and(|more| !matches!(more, Value::Bool(false)));
    no_properties
        && !open
        && ["$ref", "anyOf", "oneOf", "allOf", "patternProperties"]
            .iter()
            .all(|key| schema.get(key).is_none())
}

/// The schema in the subset.
pub(super) fn open_api(schema: &Arc<Value>) -> Arc<Value> {
    once(schema, Aim::OpenApi, || Recast::new(plain(&resolve(schema)))).schema
}

/// A resolved schema in the subset.
fn plain(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return json!({}) };
    let mut result = Map::new();
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("type", Value::Array(types)) => types_of(types, &mut result),
            ("const", value) => put_enum(std::slice::from_ref(value), &mut result),
            ("enum", Value::Array(values)) => put_enum(values, &mut result),
            ("items", value) => put(&mut result, key, plain(value)),
            ("properties", Value::Object(properties)) => {
                let properties = properties.iter().map(|(name, value)| (name.clone(), plain(value)));
                let properties: Map<_, _> = properties.collect();
                // Refused when it is empty.
                if !properties.is_empty() {
                    put(&mut result, key, properties.into());
                }
            }
            ("anyOf" | "oneOf", Value::Array(choices)) => {
                choose(choices.iter().map(plain).collect(), &mut result);
            }
            (
                "type" | "description" | "title" | "nullable" | "required" | "minItems" | "maxItems"
                | "minimum" | "maximum" | "minLength" | "maxLength" | "pattern",
                value,
            ) => put(&mut result, key, value.clone()),
            // The only formats of strings it knows.
            ("format", Value::String(format)) if matches!(format.as_str(), "enum" | "date-time") => {
                put(&mut result, key, value.clone());
            }
            _ => {}
        }
    }
    Value::Object(result)
}

fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    map.insert(key.to_owned(), value);
}

/// `["string", "null"]` is a string that may be null.
fn types_of(types: &[Value], result: &mut Map<String, Value>) {
    let named: Vec<&Value> = types.iter().filter(|name| *name != "null").collect();
    if named.len() < types.len() {
        put(result, "nullable", json!(true));
    }
    match named.as_slice() {
        [] => {}
        [one] => put(result, "type", (*one).clone()),
        several => put(result, "anyOf", several.iter().map(|name| json!({"type": name})).collect()),
    }
}

/// Only strings can be enumerated; of others the type alone is told.
fn put_enum(values: &[Value], result: &mut Map<String, Value>) {
    if values.iter().all(Value::is_string) {
        put(result, "enum", values.to_vec().into());
        result.entry("type").or_insert_with(|| json!("string"));
    }
}

/// A choice with null among it is one that may be null.
fn choose(choices: Vec<Value>, result: &mut Map<String, Value>) {
    let before = choices.len();
    let mut choices: Vec<Value> = choices.into_iter().filter(|choice| choice["type"] != "null").collect();
    if choices.len() < before {
        put(result, "nullable", json!(true));
    }
    match choices.pop() {
        Some(Value::Object(only)) if choices.is_empty() => {
            for (key, value) in only {
                result.entry(key).or_insert(value);
            }
        }
        Some(last) => {
            choices.push(last);
            put(result, "anyOf", choices.into());
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_told_in_the_subset_with_references_resolved() {
        let schema = json!({
            "$schema": "x", "type": "object", "additionalProperties": false, "required": ["a"],
            "properties": {
                "a": {"$ref": "#/$defs/A", "description": "mine"},
                "b": {"type": ["string", "null"], "format": "uri"},
                "c": {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]},
                "d": {"const": "x"},
                "e": {"type": "integer", "enum": [1, 2], "minimum": 1, "exclusiveMinimum": 0},
                "f": {"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "number"}]}},
                "g": {"type": "object", "properties": {}},
            },
            "$defs": {"A": {"type": "string", "enum": ["x", "y"], "description": "theirs"}},
        });
        let expected = json!({
            "type": "object", "required": ["a"],
            "properties": {
                "a": {"type": "string", "enum": ["x", "y"], "description": "mine"},
                "b": {"type": "string", "nullable": true},
                "c": {"type": "string", "enum": ["x", "y"], "description": "theirs", "nullable": true},
                "d": {"type": "string", "enum": ["x"]},
                "e": {"type": "integer", "minimum": 1},
                "f": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}},
                "g": {"type": "object"},
            },
        });
        assert_eq!(*open_api(&Arc::new(schema)), expected);
    }

    #[test]
    fn only_an_object_that_can_hold_nothing_is_empty() {
        assert!(is_empty_object(&json!({"type": "object"})));
        assert!(is_empty_object(&json!({"type": "object", "properties": {}, "additionalProperties": false})));
        for open in [
            json!({"type": "object", "additionalProperties": true}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"$ref": "#/x"}),
            json!({"properties": {"a": {}}}),
        ] {
            assert!(!is_empty_object(&open), "{open}");
        }
    }
}
