//! What null means where a schema is at hand: for a property that may be left out it is how a model leaves it out.
//!
//! Some servers hold a model to a schema only if every property is required; what was optional may then be null instead, and
//! many a model writes null of its own accord. A tool must not need to know which server asked: what its own schema does not
//! allow to be null, and does not require, it never sees as null.

use serde_json::{Map, Value};

use crate::message::{ArgumentError, ToolCall};
use crate::request::ToolSpec;

/// So many references in a row are followed. A longer way leads in a circle.
const REFERENCES: usize = 16;

/// So many schemas are looked at for one answer. References that lead to many others would be without an end.
const SCHEMAS: usize = 1_000;

impl ToolSpec {
    /// The arguments of a call of this tool as the tool is to see them: a null for a property that is not required, and of
    /// which the schema does not say that it may be null, is left out.
    ///
    /// ```
    /// # use ergane_core::{ToolCall, ToolSpec};
    /// # use serde_json::json;
    /// let parameters = json!({ "type": "object", "required": ["path"], "properties": {
    ///     "path": { "type": "string" }, "limit": { "type": "integer" } } });
    /// let read = ToolSpec { name: "read".into(), description: "Reads.".into(), parameters: parameters.into() };
    /// # let call = ToolCall {
    /// #     id: "812.1".parse()?, wire_id: None, name: "read".into(),
    /// #     arguments: r#"{"path":"Cargo.toml","limit":null}"#.into(), complete: true, extra: Default::default(),
    /// # };
    /// assert_eq!(&*call.arguments, r#"{"path":"Cargo.toml","limit":null}"#);
    /// assert_eq!(json!(read.arguments(&call)?), json!({ "path": "Cargo.toml" }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`ToolCall::arguments`].
    pub fn arguments(&self, call: &ToolCall) -> Result<Map<String, Value>, ArgumentError> {
        let mut arguments = call.arguments()?;
        drop_absent(&self.parameters, &self.parameters, &mut arguments);
        Ok(arguments)
    }
}

/// Whether null matches `schema`, a part of the document `root`. A schema that says nothing of it allows it, and so does one that
/// leads too far. The word `nullable` counts as in OpenAPI.
///
/// ```
/// use ergane_core::takes_null;
/// use serde_json::json;
///
/// let number = json!({ "type": "integer" });
/// let maybe = json!({ "anyOf": [number, { "type": "null" }] });
/// assert!(takes_null(&maybe, &maybe) && !takes_null(&number, &number));
/// ```
pub fn takes_null(root: &Value, schema: &Value) -> bool {
    null_matches(root, schema, REFERENCES, &mut { SCHEMAS })
}

/// `levels` is how deep it may still go, `left` how many schemas may still be looked at.
fn null_matches(root: &Value, schema: &Value, levels: usize, left: &mut usize) -> bool {
    let words = match schema {
        Value::Object(words) => words,
        Value::Bool(anything) => return *anything,
        _ => return true,
    };
    let (Some(levels), Some(fewer)) = (levels.checked_sub(1), left.checked_sub(1)) else { return true };
    *left = fewer;
    if words.get("nullable").is_some_and(|nullable| *nullable == true) {
        return true;
    }
    let null = |value: &Value| value.is_null() || value == "null";
    words.iter().all(|(word, value)| match (word.as_str(), value) {
        ("type", Value::Array(kinds)) => kinds.iter().any(null),
        ("type", kind) => null(kind),
        ("enum", Value::Array(values)) => values.iter().any(Value::is_null),
        ("const", value) => value.is_null(),
        ("anyOf" | "oneOf", Value::Array(choices)) => {
            choices.iter().any(|choice| null_matches(root, choice, levels, left))
        }
        ("allOf", Value::Array(all)) => all.iter().all(|one| null_matches(root, one, levels, left)),
        ("$ref", target) => {
            referred(root, target).is_none_or(|target| null_matches(root, target, levels, left))
        }
        _ => true,
    })
}

/// What a reference within the document means.
fn referred<'a>(root: &'a Value, target: &Value) -> Option<&'a Value> {
    root.pointer(target.as_str()?.strip_prefix('#')?)
}

/// The schema behind references and behind "this or null": the one that says which properties there are.
fn behind<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..REFERENCES {
        let mut choices = ["anyOf", "oneOf"].iter().filter_map(|word| schema.get(word)?.as_array());
        let next = if let Some(target) = schema.get("$ref") {
            referred(root, target)
        } else if let Some(choices) = choices.next() {
            let mut others =
                choices.iter().filter(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
            others.next().filter(|_| others.next().is_none())
        } else {
            None
        };
        match next {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

/// Leaves out what was left out by null, in an object that is to match `schema`.
fn drop_absent(root: &Value, schema: &Value, object: &mut Map<String, Value>) {
    let schema = behind(root, schema);
    let Some(Value::Object(properties)) = schema.get("properties") else { return };
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    object.retain(|name, value| {
        let may_be_absent = || properties.get(name).is_some_and(|schema| !takes_null(root, schema));
        !value.is_null() || is_required(name) || !may_be_absent()
    });
    for (name, value) in object {
        if let Some(schema) = properties.get(name) {
            drop_within(root, schema, value);
        }
    }
}

fn drop_within(root: &Value, schema: &Value, value: &mut Value) {
    match value {
        Value::Object(object) => drop_absent(root, schema, object),
        Value::Array(items) => {
            if let Some(schema) = behind(root, schema).get("items") {
                items.iter_mut().for_each(|item| drop_within(root, schema, item));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(schema: &Value, mut arguments: Value) -> Value {
        drop_within(schema, schema, &mut arguments);
        arguments
    }

    #[test]
    fn what_null_matches_is_read_from_every_word_that_says_so() {
        let root = json!({"$defs": {
            "no": {"type": "string"}, "yes": {"enum": ["a", null]}, "loop": {"$ref": "#/$defs/loop"},
        }});
        for (schema, expected) in [
            (json!({}), true),
            (json!(true), true),
            (json!(false), false),
            (json!({"description": "anything"}), true),
            (json!({"type": "null"}), true),
            (json!({"type": "string"}), false),
            (json!({"type": ["string", "null"]}), true),
            (json!({"type": ["string", "null"], "enum": ["a"]}), false),
            (json!({"enum": ["a", null]}), true),
            (json!({"const": null}), true),
            (json!({"const": "a"}), false),
            (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), true),
            (json!({"oneOf": [{"type": "string"}, {"type": "integer"}]}), false),
            (json!({"allOf": [{}, {"type": "string"}]}), false),
            (json!({"type": "string", "nullable": true}), true),
            (json!({"type": "string", "nullable": false}), false),
            (json!({"$ref": "#/$defs/no", "nullable": true}), true),
            (json!({"$ref": "#/$defs/no"}), false),
            (json!({"$ref": "#/$defs/yes"}), true),
            (json!({"$ref": "#/$defs/loop"}), true),
            (json!({"$ref": "#/$defs/nowhere"}), true),
        ] {
            assert_eq!(takes_null(&root, &schema), expected, "{schema}");
        }
    }

    /// Sixteen levels of twelve references each would be 10^17 schemas; this ends, or the test does not.
    #[test]
    fn schemas_that_all_refer_to_each_other_are_not_followed_without_an_end() {
        for word in ["allOf", "anyOf"] {
            let all: Vec<Value> = (0..12).map(|n| json!({"$ref": format!("#/$defs/{n}")})).collect();
            let mut each = json!({ word: all });
            if word == "anyOf" {
                // The choices are looked at only as long as none takes null.
                each = json!({"allOf": [each, {"type": "string"}]});
            }
            let defs: Map<_, _> = (0..12).map(|n| (n.to_string(), each.clone())).collect();
            let root = json!({"$defs": defs});
            assert!(takes_null(&root, &json!({"$ref": "#/$defs/0"})), "{word}");
        }
        let many: Vec<Value> = (0..900).map(|n| json!({"const": n})).collect();
        let listed = json!({"oneOf": many});
        assert!(!takes_null(&listed, &listed), "a long list is no long way");
    }

    #[test]
    fn a_null_is_left_out_where_a_property_may_be_and_stays_where_it_says_something() {
        let schema = json!({"type": "object", "required": ["must"], "properties": {
            "must": {"type": "string"},
            "may": {"type": "string"},
            "may_be_null": {"type": ["string", "null"]},
            "anything": {},
        }});
        let said = json!({"must": null, "may": null, "may_be_null": null, "anything": null, "unknown": null});
        let kept = json!({"must": null, "may_be_null": null, "anything": null, "unknown": null});
        assert_eq!(seen(&schema, said), kept);
        let whole = json!({"must": "a", "may": "b"});
        assert_eq!(seen(&schema, whole.clone()), whole);
    }

    #[test]
    fn it_is_found_within_objects_lists_references_and_what_may_be_null_itself() {
        let point = json!({"type": "object", "required": ["x"], "properties": {
            "x": {"type": "integer"}, "name": {"type": "string"},
            "next": {"$ref": "#/$defs/point"},
        }});
        let schema = json!({"type": "object", "$defs": {"point": point}, "properties": {
            "list": {"type": "array", "items": {"$ref": "#/$defs/point"}},
            "one": {"anyOf": [{"$ref": "#/$defs/point"}, {"type": "null"}]},
            "either": {"anyOf": [{"$ref": "#/$defs/point"}, {"type": "object", "properties": {"name": {"type": "null"}}}]},
        }});
        let said = json!({
            "list": [{"x": 1, "name": null, "next": null}, {"x": 2, "next": {"x": 3, "name": null}}],
            "one": {"x": null, "name": null},
            "either": {"x": 1, "name": null},
        });
        let kept = json!({
            "list": [{"x": 1}, {"x": 2, "next": {"x": 3}}],
            "one": {"x": null},
            // Which of the two it is meant to be, nobody knows.
            "either": {"x": 1, "name": null},
        });
        assert_eq!(seen(&schema, said), kept);
        assert_eq!(seen(&schema, json!({"one": null})), json!({"one": null}));
    }
}
