//! JSON Schemas, made fit for providers that hold a model to them.

use serde_json::{Value, json};

/// How deep schemas are changed; what is deeper stays as it is.
const DEPTH: usize = 64;

/// The schema with every object closed: strict providers insist on `additionalProperties: false`.
pub(crate) fn closed(schema: &Value) -> Value {
    let mut schema = schema.clone();
    walk(&mut schema, DEPTH, &|object| {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    });
    schema
}

/// The schema as OpenAI's strict mode wants it: every object closed, every property required. One that was optional may
/// be null instead.
pub(crate) fn strict(schema: &Value) -> Value {
    let mut schema = schema.clone();
    walk(&mut schema, DEPTH, &|object| {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
        let required: Vec<Value> =
            object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let Some(Value::Object(properties)) = object.get_mut("properties") else { return };
        for (name, property) in properties.iter_mut() {
            if !required.iter().any(|known| known.as_str() == Some(name)) {
                make_nullable(property);
            }
        }
        let all = properties.keys().map(|name| Value::from(name.as_str())).collect();
        object.insert("required".to_owned(), Value::Array(all));
    });
    schema
}

fn make_nullable(property: &mut Value) {
    let Value::Object(schema) = &mut *property else { return };
    let null = Value::from("null");
    // Where its values are listed, null is none of them, whatever the type says.
    let listed = schema.contains_key("enum") || schema.contains_key("const");
    match schema.get_mut("type").filter(|_| !listed) {
        Some(Value::Array(kinds)) => {
            if !kinds.contains(&null) {
                kinds.push(null);
            }
            return;
        }
        Some(kind) if *kind == null => return,
        Some(kind) => {
            *kind = Value::Array(vec![kind.clone(), null]);
            return;
        }
        None => {}
    }
    let nullable = |choices: &Value| {
        choices.as_array().is_some_and(|choices| {
            choices.iter().any(|choice| choice.get("type").is_some_and(|kind| kind == "null"))
        })
    };
    if !schema.get("anyOf").is_some_and(nullable) {
        *property = json!({"anyOf": [property.clone(), {"type": "null"}]});
    }
}

/// Calls `change` for every schema of an object in `schema`.
fn walk(schema: &mut Value, depth: usize, change: &impl Fn(&mut serde_json::Map<String, Value>)) {
    let (Value::Object(object), Some(depth)) = (schema, depth.checked_sub(1)) else { return };
    for key in ["properties", "$defs", "definitions"] {
        if let Some(Value::Object(inner)) = object.get_mut(key) {
            inner.values_mut().for_each(|inner| walk(inner, depth, change));
        }
    }
    for key in ["items", "not", "additionalItems"] {
        if let Some(inner) = object.get_mut(key) {
            walk(inner, depth, change);
        }
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        if let Some(Value::Array(inner)) = object.get_mut(key) {
            inner.iter_mut().for_each(|inner| walk(inner, depth, change));
        }
    }
    let is_object = match object.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => object.contains_key("properties"),
    };
    if is_object {
        change(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strict_schema_requires_everything_and_lets_what_was_optional_be_null() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "string"},
            "b": {"type": "integer"},
            "c": {"enum": ["x", "y"]},
            "d": {"type": "array", "items": {"type": "object", "properties": {"e": {"$ref": "#/$defs/F"}}}},
        }, "$defs": {"F": {"type": "object", "properties": {}}}});
        let expected = json!({"type": "object", "required": ["a", "b", "c", "d"], "additionalProperties": false,
            "properties": {
                "a": {"type": "string"},
                "b": {"type": ["integer", "null"]},
                "c": {"anyOf": [{"enum": ["x", "y"]}, {"type": "null"}]},
                "d": {"type": ["array", "null"], "items": {"type": "object", "additionalProperties": false,
                      "required": ["e"],
                      "properties": {"e": {"anyOf": [{"$ref": "#/$defs/F"}, {"type": "null"}]}}}},
            },
            "$defs": {"F": {"type": "object", "properties": {}, "required": [], "additionalProperties": false}}});
        assert_eq!(strict(&schema), expected);
        assert_eq!(strict(&expected), expected, "and doing it again changes nothing");
    }

    #[test]
    fn a_closed_schema_keeps_what_is_optional() {
        let schema = json!({"properties": {"a": {"type": ["object", "null"], "properties": {}}}});
        let expected = json!({"additionalProperties": false, "properties": {"a": {
            "type": ["object", "null"], "properties": {}, "additionalProperties": false}}});
        assert_eq!(closed(&schema), expected);
    }
}
