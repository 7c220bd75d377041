//! Makes one schema strict.

use ergane_core::takes_null;
use serde_json::{Map, Value, json};

use super::Room;
use super::words::{BOUNDS, SIZES, Words, kind_of};

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

pub(super) struct Strict<'a> {
    root: &'a Value,
    mode: Mode,
    /// Whether it is OpenAI's mode of models that were tuned.
    tuned: bool,
    /// Whether it is the schema of a structure, not of arguments.
    output: bool,
    /// What may still come.
    names: usize,
    bytes: usize,
    /// What has come, where Anthropic counts it.
    pub(super) optional: usize,
    pub(super) unions: usize,
}

impl<'a> Strict<'a> {
    /// For OpenAI: for a model that was `tuned`, and of an answer's structure (`output`) or of arguments.
    pub(super) fn open_ai(root: &'a Value, tuned: bool, output: bool) -> Self {
        Self { tuned, output, ..Self::new(root, Mode::OpenAi) }
    }

    pub(super) fn anthropic(root: &'a Value) -> Self {
        Self::new(root, Mode::Anthropic)
    }

    fn new(root: &'a Value, mode: Mode) -> Self {
        let (tuned, output) = (false, false);
        Self { root, mode, tuned, output, names: NAMES, bytes: BYTES, optional: 0, unions: 0 }
    }

    /// The schema of an object as the mode wants it; `None` when it does not fit, or could not be made to without another meaning.
    pub(super) fn whole(&mut self) -> Option<Value> {
        let root = self.root;
        if root.get("type")? != "object" {
            return None;
        }
        let mut made = self.schema(root, LEVELS, false)?;
        // At Anthropic they stand where they are referred to.
        let parts: &[&str] = if self.mode == Mode::OpenAi { &["$defs", "definitions"] } else { &[] };
        for word in parts.iter().copied() {
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
            self.unions = self.unions.checked_add(1).filter(|unions| *unions <= Room::ALL.unions)?;
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
            let part = self.part(target.as_str()?)?;
            match self.mode {
                // It takes none that leads in a circle: in the place of the reference such a schema would be without an end.
                Mode::Anthropic => self.schema(part, levels.checked_sub(1)?, chosen)?,
                Mode::OpenAi if chosen => return None,
                Mode::OpenAi => Map::from_iter([("$ref".to_owned(), target.clone())]),
            }
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

    /// What a reference is to: a part that is made strict too, and not something in the middle of one.
    fn part(&self, target: &str) -> Option<&'a Value> {
        let part = ["#/$defs/", "#/definitions/"].iter().find_map(|place| target.strip_prefix(place));
        let is_part = target == "#" || part.is_some_and(|name| !name.contains('/'));
        self.root.pointer(target.strip_prefix('#').filter(|_| is_part)?)
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

    /// Whether to leave a property out is the same as to say that it is null: to who reads a structure, and by the word of a
    /// schema in which null is the default.
    fn may_say_null(&self, property: &Value) -> bool {
        (self.output || property.get("default").is_some_and(Value::is_null))
            && takes_null(self.root, property)
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
                Mode::Anthropic => self.optional = self.optional.checked_add(1)?,
                Mode::OpenAi if self.may_say_null(property) => {}
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
