//! Schemas for the mode in which a server lets a model write nothing that does not match: the strict mode of OpenAI, and that of
//! Anthropic.
//!
//! Both take a part of JSON Schema: every object closed, and at OpenAI every property required. There a property that may be left
//! out is made one that may be null instead, and what a model says by that null is left out again before a tool sees it
//! ([`ToolSpec::arguments`](ergane_core::ToolSpec::arguments)). A request with a schema that the mode does not take is refused as a
//! whole. So this is a list of what it takes: what is not on it, and what could not be said without another meaning, does not
//! fit, and such a schema goes as it is, without the mode. A map of any keys is one, an optional argument that may be null of its
//! own accord another.
//!
//! The structure of an answer is nobody's arguments: what it leaves out and what it says to be null are the same to who reads it.
//! There such a property is required as it stands.

use ergane_core::{OutputSchema, ToolSpec, takes_null};
use serde_json::{Map, Value, json};

use words::{BOUNDS, SIZES, Words, kind_of};

/// So many objects and lists may be within each other.
const LEVELS: usize = 10;

/// So many properties and listed values may there be in all.
const NAMES: usize = 1_000;

/// So many bytes may their names and the values have together.
const BYTES: usize = 15_000;

/// Formats of texts that the mode knows.
const FORMATS: [&str; 9] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// Formats of numbers: notes on the type that reads them. Bounds stand beside them.
const NUMBERS: [&str; 14] = [
    "int8", "int16", "int32", "int64", "int128", "int", "uint8", "uint16", "uint32", "uint64", "uint128",
    "uint", "float", "double",
];

/// Whose mode it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    OpenAi,
    Anthropic,
}

/// The parameters of a tool as they go to OpenAI's `model`, and whether in the strict mode: so when it is `wanted` and they fit,
/// else as they are.
pub(crate) fn parameters(tool: &ToolSpec, wanted: bool, model: &str) -> (Value, bool) {
    let schema = &*tool.parameters;
    let made = wanted.then(|| Strict { tuned: is_tuned(model), ..Strict::new(schema, Mode::OpenAi) }.whole());
    if let Some(None) = made {
        tracing::debug!(tool = %tool.name, "the strict mode does not take the tool's schema; it goes without");
    }
    made.flatten().map_or_else(|| (schema.clone(), false), |made| (made, true))
}

/// The schema of a structure, as [`parameters`].
pub(crate) fn structure(output: &OutputSchema, model: &str) -> (Value, bool) {
    let schema = &*output.schema;
    let tuned = is_tuned(model);
    let mut strict = Strict { tuned, output: true, ..Strict::new(schema, Mode::OpenAi) };
    let made = output.strict.then(|| strict.whole());
    if let Some(None) = made {
        tracing::warn!(
            structure = %output.name,
            "the strict mode does not take the structure's schema; it goes without, and an answer may not match it"
        );
    }
    made.flatten().map_or_else(|| (schema.clone(), false), |made| (made, true))
}

/// Whether it is a model that was tuned for somebody; the mode of such a one takes less.
fn is_tuned(model: &str) -> bool {
    model.rsplit('/').next().is_some_and(|name| name.starts_with("ft:"))
}

/// What may still come of strict tools in one request to Anthropic: its server makes one grammar of them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    tools: usize,
    /// Properties that may be left out.
    optional: usize,
    /// Properties with more than one type.
    unions: usize,
}

impl Room {
    pub(crate) const ALL: Self = Self { tools: 20, optional: 24, unions: 16 };
    pub(crate) const NONE: Self = Self { tools: 0, optional: 0, unions: 0 };

    /// What is left beside the structure of the answer, which is in the same grammar. Where it is not known what that one takes,
    /// nothing is.
    pub(crate) fn beside(self, structure: &Value) -> Self {
        let mut strict = Strict { room: self, ..Strict::new(structure, Mode::Anthropic) };
        strict.whole().map_or(Self::NONE, |_| strict.room)
    }

    /// As [`parameters`], for Anthropic, where there is room for the tool too.
    pub(crate) fn where_it_fits(&mut self, schema: &Value) -> (Value, bool) {
        let mut made = || {
            let tools = self.tools.checked_sub(1)?;
            let mut strict = Strict { room: *self, ..Strict::new(schema, Mode::Anthropic) };
            let made = strict.whole()?;
            *self = Self { tools, ..strict.room };
            Some(made)
        };
        made().map_or_else(|| (schema.clone(), false), |made| (made, true))
    }
}

struct Strict<'a> {
    root: &'a Value,
    mode: Mode,
    /// Whether it is OpenAI's mode of models that were tuned.
    tuned: bool,
    /// Whether it is the schema of a structure, not of arguments.
    output: bool,
    /// What may still come.
    names: usize,
    bytes: usize,
    room: Room,
}

impl<'a> Strict<'a> {
    fn new(root: &'a Value, mode: Mode) -> Self {
        let (tuned, output) = (false, false);
        Self { root, mode, tuned, output, names: NAMES, bytes: BYTES, room: Room::ALL }
    }

    /// The schema of an object as the mode wants it; `None` when it does not fit, or could not be made to without another meaning.
    fn whole(&mut self) -> Option<Value> {
        let root = self.root;
        if root.get("type")? != "object" {
            return None;
        }
        let mut made = self.schema(root, LEVELS, false)?;
        for word in ["$defs", "definitions"] {
            if let Some(parts) = root.get(word) {
                let mut defs = Map::new();
                for (name, part) in parts.as_object()? {
                    self.count(name)?;
                    defs.insert(name.clone(), self.schema(part, LEVELS - 1, false)?.into());
                }
                made.insert(word.to_owned(), defs.into());
            }
        }
        Some(made.into())
    }

    fn count(&mut self, name: &str) -> Option<()> {
        self.names = self.names.checked_sub(1)?;
        self.bytes = self.bytes.checked_sub(name.len())?;
        Some(())
    }

    /// Something may be of more than one type.
    fn union(&mut self) -> Option<()> {
        if self.mode == Mode::Anthropic {
            self.room.unions = self.room.unions.checked_sub(1)?;
        }
        Some(())
    }

    /// Words that only OpenAI's mode knows, and that not for models that were tuned.
    fn limits(&self, words: &'static [&'static str]) -> &'static [&'static str] {
        match self.mode {
            Mode::OpenAi if !self.tuned => words,
            _ => &[],
        }
    }

    /// `chosen` is whether it is one of several choices: then nobody could tell later in which of them a property is null that
    /// was left out.
    fn schema(&mut self, schema: &Value, levels: usize, chosen: bool) -> Option<Map<String, Value>> {
        let words = schema.as_object()?;
        let said = Words { words };
        let mut made = if let Some(target) = words.get("$ref") {
            said.only(&["$ref"])?;
            // Anthropic takes none that leads in a circle, and others there are hardly ever.
            if chosen || self.mode == Mode::Anthropic || !self.is_part(target.as_str()?) {
                return None;
            }
            Map::from_iter([("$ref".to_owned(), target.clone())])
        } else if let Some(choices) = words.get("anyOf") {
            said.only(&["anyOf"])?;
            self.choices(choices.as_array()?, levels, chosen)?
        } else if let Some(choices) = words.get("oneOf") {
            said.only(&["oneOf"])?;
            // Whether one matches or several is the same thing where no value matches two.
            let choices = choices.as_array()?;
            are_distinct(choices)?;
            self.choices(choices, levels, chosen)?
        } else if words.contains_key("enum") || words.contains_key("const") {
            self.listed(&said)?
        } else {
            self.typed(&said, levels, chosen)?
        };
        if let Some(description) = said.description() {
            // Nothing may stand beside a reference.
            if made.contains_key("$ref") {
                made = Map::from_iter([("anyOf".to_owned(), json!([made]))]);
            }
            made.insert("description".to_owned(), description.into());
        }
        Some(made)
    }

    /// Whether the reference is to a part that is made strict too, and not to something in the middle of one.
    fn is_part(&self, target: &str) -> bool {
        let part = ["#/$defs/", "#/definitions/"].iter().find_map(|place| target.strip_prefix(place));
        target == "#" || (part.is_some_and(|name| !name.contains('/')) && self.found(target))
    }

    fn found(&self, target: &str) -> bool {
        target.strip_prefix('#').is_some_and(|pointer| self.root.pointer(pointer).is_some())
    }

    fn choices(&mut self, choices: &[Value], levels: usize, chosen: bool) -> Option<Map<String, Value>> {
        let is_null = |choice: &Value| choice.get("type").is_some_and(|kind| kind == "null");
        let several = choices.iter().filter(|choice| !is_null(choice)).count() > 1;
        self.union()?;
        let made: Vec<Value> = choices
            .iter()
            .map(|choice| Some(self.schema(choice, levels, chosen || several)?.into()))
            .collect::<Option<_>>()?;
        // Two objects to choose from are refused when they begin alike.
        let objects = made.iter().filter(|choice| choice.get("properties").is_some()).count();
        (objects < 2 && !made.is_empty()).then(|| Map::from_iter([("anyOf".to_owned(), made.into())]))
    }

    /// One of some values, which must be of one type, or null.
    fn listed(&mut self, said: &Words<'_>) -> Option<Map<String, Value>> {
        said.only(&["type", "enum", "const"])?;
        let mut values = match (said.words.get("enum"), said.words.get("const")) {
            (Some(values), None) => values.as_array()?.clone(),
            (None, Some(value)) => vec![value.clone()],
            _ => return None,
        };
        let all = values.len();
        values.retain(|value| !value.is_null());
        let or_null = values.len() < all;
        let kinds: Vec<&str> = values.iter().map(kind_of).collect::<Option<_>>()?;
        let kind = *kinds.first()?;
        let fits =
            |kind: &str| kinds.iter().all(|one| *one == kind || (*one == "integer" && kind == "number"));
        let kind = match said.words.get("type") {
            Some(Value::Array(told)) if or_null => match told.as_slice() {
                [kind, null] | [null, kind] if null == "null" => kind.as_str()?,
                _ => return None,
            },
            Some(_) if or_null => return None,
            Some(told) => told.as_str()?,
            None => kind,
        };
        if !fits(kind) {
            return None;
        }
        for value in &values {
            self.count(&value.to_string())?;
        }
        let listed = Map::from_iter([("type".to_owned(), kind.into()), ("enum".to_owned(), values.into())]);
        if or_null {
            self.union()?;
            return Some(Map::from_iter([("anyOf".to_owned(), json!([listed, {"type": "null"}]))]));
        }
        Some(listed)
    }

    fn typed(&mut self, said: &Words<'_>, levels: usize, chosen: bool) -> Option<Map<String, Value>> {
        let told = said.words.get("type")?;
        let kind = match told {
            Value::String(kind) => kind,
            // Of several types only null and another one.
            Value::Array(kinds) => {
                self.union()?;
                let mut others = kinds.iter().filter(|kind| *kind != "null");
                let kind = others.next()?;
                if others.next().is_some() {
                    return None;
                }
                kind.as_str()?
            }
            _ => return None,
        };
        let mut made = match kind {
            "object" => self.object(said, levels.checked_sub(1)?, chosen)?,
            "array" => {
                let items = said.words.get("items")?;
                let items = self.schema(items, levels.checked_sub(1)?, chosen)?;
                let mut made = said.kept(&["type", "items"], self.limits(&SIZES))?;
                made.insert("items".to_owned(), items.into());
                made
            }
            "string" => {
                let of = |word: &str| said.words.get(word).map(|value| value.as_str());
                let plain =
                    of("pattern").is_none_or(|pattern| pattern.is_some_and(|text| !text.contains("(?")));
                let known =
                    of("format").is_none_or(|format| format.is_some_and(|name| FORMATS.contains(&name)));
                if !plain || !known || (self.tuned && of("format").is_some()) {
                    return None;
                }
                let mut made = said.kept(&["type", "format"], self.limits(&["pattern"]))?;
                made.extend(
                    said.words.get_key_value("format").map(|(word, value)| (word.clone(), value.clone())),
                );
                made
            }
            "integer" | "number" => {
                let format = said.words.get("format").map(|value| value.as_str());
                if format.is_some_and(|format| format.is_none_or(|name| !NUMBERS.contains(&name))) {
                    return None;
                }
                said.kept(&["type", "format"], self.limits(&BOUNDS))?
            }
            "boolean" | "null" => said.kept(&["type"], &[])?,
            _ => return None,
        };
        made.insert("type".to_owned(), told.clone());
        Some(made)
    }

    fn object(&mut self, said: &Words<'_>, levels: usize, chosen: bool) -> Option<Map<String, Value>> {
        said.only(&["type", "properties", "required", "additionalProperties", "$defs", "definitions"])?;
        if said.words.get("additionalProperties").is_some_and(|more| *more != false) {
            return None;
        }
        let properties = said.words.get("properties")?.as_object()?;
        let none = Vec::new();
        let required = said.words.get("required").map_or(Some(&none), Value::as_array)?;
        if !required.iter().all(|name| name.as_str().is_some_and(|name| properties.contains_key(name))) {
            return None;
        }
        let mut made = Map::new();
        for (name, property) in properties {
            self.count(name)?;
            let mut strict: Value = self.schema(property, levels, chosen)?.into();
            match self.mode {
                _ if required.iter().any(|known| known == name) => {}
                Mode::Anthropic => self.room.optional = self.room.optional.checked_sub(1)?,
                Mode::OpenAi if self.output && takes_null(self.root, property) => {}
                Mode::OpenAi if chosen || takes_null(self.root, property) => return None,
                Mode::OpenAi => make_nullable(&mut strict),
            }
            made.insert(name.clone(), strict);
        }
        let required: Vec<Value> = match self.mode {
            Mode::OpenAi => properties.keys().map(|name| name.as_str().into()).collect(),
            Mode::Anthropic => required.clone(),
        };
        Some(Map::from_iter([
            ("properties".to_owned(), made.into()),
            ("required".to_owned(), required.into()),
            ("additionalProperties".to_owned(), false.into()),
        ]))
    }
}

/// Whether the choices list values, each only once.
fn are_distinct(choices: &[Value]) -> Option<()> {
    let mut seen: Vec<&Value> = Vec::new();
    for choice in choices {
        let values = match (choice.get("enum"), choice.get("const")) {
            (Some(values), None) => values.as_array()?.as_slice(),
            (None, Some(value)) => std::slice::from_ref(value),
            _ => return None,
        };
        for value in values {
            if seen.contains(&value) || seen.len() >= NAMES {
                return None;
            }
            seen.push(value);
        }
    }
    Some(())
}

fn make_nullable(property: &mut Value) {
    let Value::Object(schema) = &mut *property else { return };
    // Where its values are listed, null is none of them, whatever the type says.
    let listed = schema.contains_key("enum");
    if let Some(kind) = schema.get_mut("type").filter(|_| !listed) {
        *kind = json!([kind, "null"]);
    } else if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.push(json!({"type": "null"}));
    } else {
        *property = json!({"anyOf": [property, {"type": "null"}]});
    }
}

mod words;

#[cfg(test)]
mod tests;
