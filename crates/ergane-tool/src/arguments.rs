//! Arguments: their schema, and reading them with the path of what is wrong.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::ToolError;

/// The schema of `T` as providers like it: no `$schema`, no title of the type's Rust name, and nested types in place,
/// since several servers do not follow `$ref` (a recursive type keeps its own). What may be left out is not said to be null too,
/// however deep it stands: an `Option` is `None` either way, and a model that could do both would be told of no difference.
pub fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema.ensure_object().entry("properties").or_insert_with(|| Value::Object(Map::new()));
    RecursiveTransform(drop_nulls).transform(&mut schema);
    schema.to_value()
}

/// Of the properties of an object that may be left out.
fn drop_nulls(schema: &mut Schema) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| required.as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        if let (false, Value::Object(property)) = (is_required(name), property) {
            drop_null(property);
        }
    }
}

/// `["integer", "null"]` becomes `"integer"`, and "any of X and null" becomes X. So it has no null for its default either.
fn drop_null(property: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = property.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            property.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = property.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            property.remove("anyOf");
            for (key, value) in only {
                property.entry(key).or_insert(value);
            }
        }
    }
    if let Some(Value::Array(values)) = property.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if property.get("default").is_some_and(Value::is_null) {
        property.remove("default");
    }
}

/// Reads `arguments` as a `T`.
///
/// # Errors
/// [`ToolError::Arguments`] with the path of the field.
pub fn parse<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, ToolError> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        ToolError::Arguments { path, reason: error.into_inner().to_string() }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Line {
        at: u8,
        text: Option<String>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Page {
        lines: Vec<Line>,
        holes: Vec<Option<bool>>,
        last: Option<Line>,
        #[serde(default)]
        next: Option<Box<Page>>,
    }

    #[test]
    fn what_may_be_left_out_is_not_said_to_be_null_however_deep_it_stands() {
        let line = json!({"type": "object", "required": ["at"], "properties": {
            "at": {"type": "integer", "format": "uint8", "minimum": 0, "maximum": 255},
            "text": {"type": "string"},
        }});
        let mut found = schema::<Page>();
        let properties = found["properties"].as_object_mut().unwrap();
        assert_eq!(properties["lines"]["items"], line);
        assert_eq!(properties["last"], line);
        // Here null is something else than nothing.
        assert_eq!(properties["holes"]["items"]["type"], json!(["boolean", "null"]));
        assert!(!properties["next"].to_string().contains("null"), "{}", properties["next"]);
        assert_eq!(found["required"], json!(["lines", "holes"]));
    }
}
