//! The structure of an answer, as far as this API holds a model to it.
//!
//! The server makes a grammar of the schema and refuses the whole request for a word that it does not know; there is no mode
//! without. But a number has bounds in nearly every schema that a program makes of its types. So what no grammar is made of is told
//! in words: a bound in the description of what it bounds, since whoever asked reads the answer with care anyway; and a schema that cannot
//! be said at all (a map of any keys, one that is within itself) in the system prompt, as where nobody knows of structures.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::wire::recast::{Aim, Recast, once};
use crate::wire::strict::Room;

/// So many schemas may there be in one, with what is referred to in the place of each reference.
const SCHEMAS: usize = 1_000;

/// So many schemas may be within each other.
const LEVELS: usize = 32;

/// What says nothing of which values match, and is kept.
const KEPT: [&str; 3] = ["description", "title", "default"];

/// What says nothing of which values match, or nothing here.
const SILENT: [&str; 9] =
    ["$schema", "$id", "$comment", "$defs", "definitions", "examples", "deprecated", "readOnly", "writeOnly"];

/// What bounds values, and has no place in a grammar.
const BOUNDS: [&str; 13] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];

/// Formats of texts that the grammar knows.
const FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// The schema as it is told; it does not fit when it cannot be, or is too large.
pub(super) fn grammar(schema: &Arc<Value>) -> Recast {
    once(schema, Aim::AnthropicStructure, || {
        let mut maker = Maker { root: schema, left: SCHEMAS, optional: 0, unions: 0 };
        let made = maker.schema(schema, LEVELS);
        let Maker { optional, unions, .. } = maker;
        match made.filter(|_| Room::ALL.has_room_for(optional, unions)) {
            Some(made) => Recast { optional, unions, ..Recast::new(made.into()) },
            None => {
                tracing::warn!(
                    "no model is held to the structure's schema; it is told in words, and an answer may not match it"
                );
                Recast::none(schema)
            }
        }
    })
}

struct Maker<'a> {
    root: &'a Value,
    left: usize,
    /// Properties that may be left out, and those of several types: the server counts them.
    optional: usize,
    unions: usize,
}

type Words = Map<String, Value>;

impl<'a> Maker<'a> {
    /// A schema with all that is said of it.
    fn schema(&mut self, schema: &Value, levels: usize) -> Option<Words> {
        let levels = levels.checked_sub(1)?;
        self.left = self.left.checked_sub(1)?;
        let words = schema.as_object()?;
        let mut made = self.shape(words, levels)?;
        let mut bounds = Vec::new();
        for (word, value) in words {
            match word.as_str() {
                kept if KEPT.contains(&kept) => drop(made.insert(word.clone(), value.clone())),
                "minItems" if *value == 0 || *value == 1 => drop(made.insert(word.clone(), value.clone())),
                "format" if FORMATS.iter().any(|known| value == known) => {
                    made.insert(word.clone(), value.clone());
                }
                // A note on the type that reads it; its bounds stand beside it.
                "format" if is_number(&made) => {}
                bound if bound == "format" || BOUNDS.contains(&bound) => {
                    bounds.push(format!("{word}: {value}"))
                }
                _ => {}
            }
        }
        if !bounds.is_empty() {
            let bounds = bounds.join(", ");
            let told = match made.get("description").and_then(Value::as_str) {
                Some(description) => format!("{description} ({bounds})"),
                None => bounds,
            };
            made.insert("description".to_owned(), told.into());
        }
        Some(made)
    }

    /// What values match, but for bounds.
    fn shape(&mut self, words: &Words, levels: usize) -> Option<Words> {
        let shapes: Vec<&str> = words.keys().map(String::as_str).filter(|word| is_shape(word)).collect();
        match *shapes.as_slice() {
            // In the place of the reference: nothing may stand beside one, and one that leads in a circle is refused anyway.
            ["$ref"] => self.schema(self.referred(words.get("$ref")?.as_str()?)?, levels),
            ["allOf"] => match words.get("allOf")?.as_array()?.as_slice() {
                [one] => self.schema(one, levels),
                _ => None,
            },
            [word @ ("anyOf" | "oneOf")] => {
                self.unions = self.unions.saturating_add(1);
                let choices = words.get(word)?.as_array()?.iter();
                let choices = choices.map(|choice| Some(self.schema(choice, levels)?.into()));
                let choices = choices.collect::<Option<Vec<Value>>>()?;
                (!choices.is_empty()).then(|| Words::from_iter([("anyOf".to_owned(), choices.into())]))
            }
            _ => self.value(words, &shapes, levels),
        }
    }

    fn value(&mut self, words: &Words, shapes: &[&str], levels: usize) -> Option<Words> {
        let mut made = Words::new();
        for word in shapes.iter().copied() {
            let value = words.get(word)?;
            let told = match (word, value) {
                ("type", Value::String(_)) => value.clone(),
                ("type", Value::Array(_)) => {
                    self.unions = self.unions.saturating_add(1);
                    value.clone()
                }
                ("enum", Value::Array(values)) if values.iter().all(is_plain) => value.clone(),
                ("const", value) if is_plain(value) => value.clone(),
                ("items", items) => self.schema(items, levels)?.into(),
                ("properties", Value::Object(properties)) => {
                    let required = words.get("required").and_then(Value::as_array);
                    let is_required =
                        |name: &str| required.is_some_and(|names| names.iter().any(|one| one == name));
                    let optional = properties.keys().filter(|name| !is_required(name)).count();
                    self.optional = self.optional.saturating_add(optional);
                    let told = |(name, property): (&String, &Value)| {
                        Some((name.clone(), self.schema(property, levels)?.into()))
                    };
                    properties.iter().map(told).collect::<Option<Words>>()?.into()
                }
                ("required", Value::Array(_)) => value.clone(),
                // Whatever may be there beside them is left out, which matches.
                ("additionalProperties", Value::Bool(_)) => continue,
                _ => return None,
            };
            made.insert(word.to_owned(), told);
        }
        let is = |kind: &str| is_of(&made, kind);
        let is_object = is("object") || made.contains_key("properties");
        let says_what = ["type", "enum", "const", "properties"].iter().any(|word| made.contains_key(*word));
        // An object or a list of anything has no grammar.
        let is_open =
            (is_object && !made.contains_key("properties")) || (is("array") && !made.contains_key("items"));
        if !says_what || is_open {
            return None;
        }
        if is_object {
            made.insert("additionalProperties".to_owned(), false.into());
        }
        Some(made)
    }

    /// What a reference is to, within the document.
    fn referred(&self, target: &str) -> Option<&'a Value> {
        self.root.pointer(target.strip_prefix('#')?)
    }
}

/// Whether a word says what matches.
fn is_shape(word: &str) -> bool {
    !(KEPT.contains(&word) || SILENT.contains(&word) || BOUNDS.contains(&word) || word == "format")
}

fn is_plain(value: &Value) -> bool {
    !value.is_object() && !value.is_array()
}

fn is_of(schema: &Words, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|one| one == kind),
        Some(one) => one == kind,
        None => false,
    }
}

fn is_number(schema: &Words) -> bool {
    is_of(schema, "integer") || is_of(schema, "number")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(schema: Value) -> Option<Value> {
        let recast = grammar(&Arc::new(schema));
        recast.fits.then(|| Value::clone(&recast.schema))
    }

    /// Of one property.
    fn of(property: Value) -> Value {
        json!({"type": "object", "properties": {"p": property}, "required": ["p"]})
    }

    fn made_of(property: Value) -> Option<Value> {
        made(of(property)).map(|made| made["properties"]["p"].clone())
    }

    #[test]
    fn objects_are_closed_references_resolved_and_bounds_told_in_words() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Answer", "type": "object",
            "required": ["age", "at"],
            "properties": {
                "age": {"type": "integer", "format": "uint8", "minimum": 0, "maximum": 255, "description": "in years"},
                "at": {"$ref": "#/$defs/Place", "description": "where"},
                "names": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": 3},
                "mail": {"type": ["string", "null"], "format": "email"},
                "kind": {"oneOf": [{"const": "a"}, {"type": "object", "properties": {}, "additionalProperties": true}]},
            },
            "$defs": {"Place": {"type": "object", "properties": {"x": {"type": "number", "format": "double"}}, "required": ["x"], "description": "a place"}},
        });
        let expected = json!({
            "title": "Answer", "type": "object", "required": ["age", "at"], "additionalProperties": false,
            "properties": {
                "age": {"type": "integer", "description": "in years (maximum: 255, minimum: 0)"},
                "at": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"], "description": "where", "additionalProperties": false},
                "names": {"type": "array", "items": {"type": "string", "description": "minLength: 1"}, "minItems": 1, "description": "maxItems: 3"},
                "mail": {"type": ["string", "null"], "format": "email"},
                "kind": {"anyOf": [{"const": "a"}, {"type": "object", "properties": {}, "additionalProperties": false}]},
            },
        });
        let recast = grammar(&Arc::new(schema));
        assert_eq!((&*recast.schema, recast.fits), (&expected, true));
        assert_eq!((recast.optional, recast.unions), (3, 2));
        assert_eq!(made(json!({"enum": ["yes", "no"]})), Some(json!({"enum": ["yes", "no"]})));
        let named = json!({"allOf": [{"type": "string", "title": "T"}], "description": "d"});
        assert_eq!(made_of(named), Some(json!({"type": "string", "title": "T", "description": "d"})));
        assert_eq!(
            made_of(json!({"type": "string", "format": "iri"})),
            Some(json!({"type": "string", "description": "format: \"iri\""}))
        );
    }

    #[test]
    fn what_no_grammar_can_be_made_of_does_not_fit() {
        let (text, number) = (json!({"type": "string"}), json!({"type": "number"}));
        for property in [
            json!({}),
            json!(true),
            json!({"type": "object"}),
            json!({"type": "object", "additionalProperties": true}),
            json!({"type": "object", "additionalProperties": text}),
            json!({"type": "object", "properties": {}, "patternProperties": {}}),
            json!({"type": "array"}),
            json!({"type": "array", "items": true}),
            json!({"type": "array", "prefixItems": [text]}),
            json!({"enum": [{"a": 1}]}),
            json!({"const": [1]}),
            json!({"allOf": [text, number]}),
            json!({"anyOf": []}),
            json!({"anyOf": [text], "type": "string"}),
            json!({"not": text}),
            json!({"$ref": "#"}),
            json!({"$ref": "#/$defs/none"}),
            json!({"$ref": "https://elsewhere"}),
            json!({"$ref": "#/properties/p", "type": "string"}),
        ] {
            assert_eq!(made_of(property.clone()), None, "{property}");
        }
        let all: Words = (0..12).map(|n| (n.to_string(), json!({"$ref": format!("#/$defs/{n}")}))).collect();
        let each = json!({"type": "object", "properties": all});
        let defs: Words = (0..12).map(|n| (n.to_string(), each.clone())).collect();
        assert_eq!(made(json!({"$ref": "#/$defs/0", "$defs": defs})), None, "and that is soon known");
    }

    #[test]
    fn a_structure_that_is_too_large_for_the_server_does_not_fit() {
        let optional = |n: usize| {
            let properties: Words = (0..n).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect();
            json!({"type": "object", "properties": properties})
        };
        assert!(made(optional(24)).is_some() && made(optional(25)).is_none());
        let unions = |n: usize| {
            let names: Vec<String> = (0..n).map(|n| format!("p{n}")).collect();
            let properties: Words =
                names.iter().map(|name| (name.clone(), json!({"type": ["string", "null"]}))).collect();
            json!({"type": "object", "properties": properties, "required": names})
        };
        assert!(made(unions(16)).is_some() && made(unions(17)).is_none());
    }
}
