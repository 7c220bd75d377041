//! JSON Schemas, made fit for providers that know a part of the language, or none.

use ergane_core::OutputSchema;
use serde_json::{Map, Value, json};

/// How deep a schema is resolved, references counted; what is deeper may be anything.
const RESOLVED_DEPTH: usize = 16;

/// How many schemas one schema is resolved to; what is beyond may be anything.
const RESOLVED_NODES: usize = 10_000;

/// A structure that nothing holds a model to, for its system prompt.
pub(crate) fn in_words(output: &OutputSchema) -> String {
    format!(
        "Answer with one JSON document and nothing else. It must match this JSON Schema:\n{}",
        output.schema
    )
}

/// The schema with what is referred to in the place of each reference, for servers that follow none. A schema within
/// itself is cut to `{}`, which allows anything, and so are the short forms `true` and `false`. Words with schemas in
/// them that no such server reads (`$defs`, `allOf`, `patternProperties`) are left out.
///
/// The number of schemas is bounded and not their depth alone: a few that refer to each other would grow with every
/// level by as many times as they are.
pub(crate) fn resolve(schema: &Value) -> Value {
    Resolver { root: schema, above: Vec::new(), left: RESOLVED_NODES }.schema(schema)
}

struct Resolver<'a> {
    root: &'a Value,
    /// The schemas that the present one is within.
    above: Vec<&'a Value>,
    left: usize,
}

impl<'a> Resolver<'a> {
    fn schema(&mut self, schema: &'a Value) -> Value {
        let Value::Object(words) = schema else { return json!({}) };
        let is_within_itself = self.above.iter().any(|above| std::ptr::eq(*above, schema));
        if is_within_itself || self.above.len() >= RESOLVED_DEPTH || self.left == 0 {
            return json!({});
        }
        self.left -= 1;
        self.above.push(schema);
        let resolved = match words.get("$ref").and_then(Value::as_str) {
            Some(target) => {
                let found = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
                let mut resolved = found.map_or_else(|| json!({}), |found| self.schema(found));
                if let (Value::Object(resolved), Some(own)) = (&mut resolved, words.get("description")) {
                    resolved.insert("description".to_owned(), own.clone());
                }
                resolved
            }
            None => {
                let words =
                    words.iter().filter_map(|(word, value)| Some((word.clone(), self.word(word, value)?)));
                Value::Object(words.collect())
            }
        };
        self.above.pop();
        resolved
    }

    fn word(&mut self, word: &str, value: &'a Value) -> Option<Value> {
        match (word, value) {
            ("items", value) => Some(self.schema(value)),
            ("properties", Value::Object(properties)) => {
                let properties = properties.iter().map(|(name, value)| (name.clone(), self.schema(value)));
                Some(Value::Object(properties.collect::<Map<_, _>>()))
            }
            ("anyOf" | "oneOf", Value::Array(choices)) => {
                Some(choices.iter().map(|choice| self.schema(choice)).collect())
            }
            ("type" | "enum" | "const" | "required", value) => Some(value.clone()),
            (_, Value::Object(_) | Value::Array(_)) => None,
            (_, value) => Some(value.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_refers_to_itself_many_times_stays_small() {
        let itself = |times| {
            let properties: Map<_, _> = (0..times).map(|n| (format!("p{n}"), json!({"$ref": "#"}))).collect();
            json!({"type": "object", "properties": properties})
        };
        assert_eq!(resolve(&itself(1)), json!({"type": "object", "properties": {"p0": {}}}));
        assert!(resolve(&itself(7)).to_string().len() < 200);
    }

    #[test]
    fn schemas_that_all_refer_to_each_other_end_at_the_bound() {
        let of = |n: usize| json!({"$ref": format!("#/$defs/{n}")});
        let all: Map<_, _> = (0..12).map(|n| (n.to_string(), of(n))).collect();
        let each = json!({"type": "object", "properties": all});
        let defs: Map<_, _> = (0..12).map(|n| (n.to_string(), each.clone())).collect();
        let resolved = resolve(&json!({"$ref": "#/$defs/0", "$defs": defs}));
        assert!(resolved.to_string().len() < 100 * RESOLVED_NODES);
        assert_eq!(resolved["properties"]["1"]["type"], "object");
    }

    #[test]
    fn what_is_referred_to_stands_in_the_place_of_the_reference() {
        let schema = json!({
            "title": "t", "$defs": {"A": {"enum": ["x"], "description": "theirs"}, "Loop": {"$ref": "#/$defs/Loop"}},
            "properties": {
                "a": {"$ref": "#/$defs/A", "description": "mine"},
                "b": {"items": {"anyOf": [{"$ref": "#/$defs/A"}, true]}},
                "c": {"$ref": "#/$defs/Loop"},
                "$ref": {"$ref": "https://elsewhere"},
            },
        });
        let expected = json!({
            "title": "t",
            "properties": {
                "a": {"enum": ["x"], "description": "mine"},
                "b": {"items": {"anyOf": [{"enum": ["x"], "description": "theirs"}, {}]}},
                "c": {},
                "$ref": {},
            },
        });
        assert_eq!(resolve(&schema), expected);
    }
}
