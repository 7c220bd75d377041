//! Makes calls of the inside of a block, in whichever dialect it is written.
//!
//! What cannot be read becomes a call with arguments that are no object: its error result tells the model what was wrong.
//! Nothing is dropped in silence.

use std::collections::BTreeMap;

use ergane_core::ToolSpec;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::block::{Kind, is_name};
use super::{Found, UNNAMED, python};
use crate::wire::work::looked_at;

/// How much of a block that nobody can read is shown to the model, in bytes.
const SHOWN: usize = 2000;

/// The calls of a block that was closed.
pub(super) fn calls(kind: &Kind, payload: &str, tools: &[ToolSpec]) -> Vec<Found> {
    looked_at(payload.len());
    let read = match kind {
        Kind::DeepSeek => sections(payload),
        Kind::Python => python_calls(payload.strip_suffix("<|tool_call_end|>").unwrap_or(payload)),
        Kind::Mistral if payload.trim_start().starts_with(is_name) => named(payload),
        Kind::Tag if !unfenced(payload).starts_with(['{', '[']) => tagged(payload, tools),
        _ => objects(unfenced(payload)),
    };
    read.filter(|calls| !calls.is_empty()).unwrap_or_else(|| vec![unreadable(payload, true)])
}

/// The call of a block that nobody can read, or (when it is not complete) whose end is missing.
pub(super) fn unreadable(payload: &str, complete: bool) -> Found {
    looked_at(payload.len());
    let payload = payload.trim();
    let shown = payload.get(..payload.floor_char_boundary(SHOWN)).unwrap_or_default();
    let name = guessed_name(payload).unwrap_or_else(|| UNNAMED.to_owned());
    // As it stands it must not be taken for arguments, nor for none.
    let is_json = serde_json::from_str::<Value>(shown).is_ok();
    let arguments =
        if shown.is_empty() || is_json { format!("unreadable: {shown}") } else { shown.to_owned() };
    Found { name, arguments, complete }
}

fn guessed_name(payload: &str) -> Option<String> {
    let name = |text: &str| text.chars().take_while(|c| is_name(*c)).collect::<String>();
    let found = match payload.split_once("<function=") {
        Some((_, rest)) => name(rest),
        None => {
            let (_, rest) = payload.split_once("\"name\"")?;
            name(rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?)
        }
    };
    (!found.is_empty()).then_some(found)
}

/// The inside of a fence that wraps everything.
pub(super) fn unfenced(text: &str) -> &str {
    let trimmed = text.trim();
    match trimmed.strip_prefix("```").and_then(|rest| rest.split_once('\n')) {
        Some((_, inside)) => inside.trim().trim_end_matches('`').trim(),
        None => trimmed,
    }
}

/// One object or several, or a list of them.
fn objects(text: &str) -> Option<Vec<Found>> {
    read_objects(text).or_else(|| {
        let calls = read_objects(&repair(text)?)?;
        was_repaired();
        Some(calls)
    })
}

fn read_objects(text: &str) -> Option<Vec<Found>> {
    if text.starts_with('[') {
        let list: Vec<Box<RawValue>> = serde_json::from_str(text).ok()?;
        return list.iter().map(|raw| object(raw.get())).collect();
    }
    let values = serde_json::Deserializer::from_str(text).into_iter::<Box<RawValue>>();
    values.map(|raw| object(raw.ok()?.get())).collect()
}

/// `{"name": …, "arguments": …}` under any of the names in use. A block without a name is a call of nobody.
fn object(text: &str) -> Option<Found> {
    let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).ok()?;
    let first = |names: &[&str]| names.iter().find_map(|name| fields.get(*name));
    if let Some(inner) = fields.get("function").filter(|inner| inner.get().starts_with('{')) {
        return object(inner.get());
    }
    let name: Option<String> =
        first(&["name", "tool", "function"]).and_then(|name| serde_json::from_str(name.get()).ok());
    let name = name.filter(|name| !name.trim().is_empty());
    let arguments = match first(&["arguments", "parameters", "args", "input"]).map(|raw| raw.get()) {
        None | Some("null") => "{}".to_owned(),
        Some(text) if text.starts_with('"') => serde_json::from_str(text).ok()?,
        Some(text) => text.to_owned(),
    };
    match name {
        Some(name) => Some(Found { name: name.trim().to_owned(), arguments, complete: true }),
        None => Some(unreadable(text, true)),
    }
}

/// A bare object that is the whole of an answer: only a call when it says so by a tool that was offered.
pub(super) fn bare(text: &str, tools: &[ToolSpec]) -> Option<Vec<Found>> {
    let calls = if text.starts_with('[') { python_calls(text) } else { objects(text) }?;
    let fields = || serde_json::from_str::<Map<String, Value>>(&repair(text)?).ok();
    let has_arguments = text.starts_with('[')
        || fields().is_some_and(|fields| {
            let fields = fields.get("function").and_then(Value::as_object).unwrap_or(&fields);
            let arguments =
                ["arguments", "parameters", "args", "input"].iter().find_map(|name| fields.get(*name));
            arguments.is_some_and(|arguments| arguments.is_object() || arguments.is_string())
        });
    let offered = |call: &Found| tools.iter().any(|tool| *tool.name == *call.name);
    (has_arguments && !calls.is_empty() && calls.iter().all(offered)).then_some(calls)
}

fn was_repaired() {
    tracing::info!("the JSON of a call written as text was repaired");
}

/// Mends what models get wrong most: a comma before a closing bracket, and line ends within strings.
fn repair(text: &str) -> Option<String> {
    let mut mended = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            '\n' if in_string => mended.push_str("\\n"),
            '\r' if in_string => mended.push_str("\\r"),
            '\t' if in_string => mended.push_str("\\t"),
            '}' | ']' if !in_string => {
                let end = mended.trim_end().len();
                if mended.get(..end)?.ends_with(',') {
                    mended.truncate(end - 1);
                }
                mended.push(c);
            }
            _ => mended.push(c),
        }
        in_string ^= c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
    }
    Some(mended)
}

/// `NAME[ARGS]{…}`.
fn named(payload: &str) -> Option<Vec<Found>> {
    let (name, arguments) = payload.split_once("[ARGS]")?;
    let name: String = name.trim().chars().take_while(|c| is_name(*c)).collect();
    Some(vec![with_arguments(name, arguments)])
}

fn with_arguments(name: String, arguments: &str) -> Found {
    let arguments = unfenced(arguments);
    let arguments = match serde_json::from_str::<&RawValue>(arguments) {
        _ if arguments.is_empty() => "{}".to_owned(),
        Ok(raw) => raw.get().to_owned(),
        Err(_) => {
            match repair(arguments).filter(|mended| serde_json::from_str::<&RawValue>(mended).is_ok()) {
                Some(mended) => {
                    was_repaired();
                    mended
                }
                None => arguments.to_owned(),
            }
        }
    };
    Found { name, arguments, complete: true }
}

/// `<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}<｜tool▁call▁end｜>`, or `function<｜tool▁sep｜>NAME`, a line end, and `{…}`.
fn sections(payload: &str) -> Option<Vec<Found>> {
    let section = |text: &str| {
        let (head, body) = text.split_once("<｜tool▁sep｜>")?;
        let body = body.split("<｜tool▁call▁end｜>").next()?;
        let (name, arguments) = match body.trim_start() {
            body if body.starts_with('{') => (head, body),
            body => body.split_once('\n').unwrap_or((body, "")),
        };
        Some(with_arguments(name.trim().to_owned(), arguments))
    };
    payload.split("<｜tool▁call▁begin｜>").skip(1).map(section).collect()
}

fn python_calls(text: &str) -> Option<Vec<Found>> {
    let calls = python::calls(text)?.into_iter();
    let found =
        |(name, arguments)| Found { name, arguments: Value::Object(arguments).to_string(), complete: true };
    Some(calls.map(found).collect())
}

/// The words of Qwen3-Coder, or of GLM.
fn tagged(payload: &str, tools: &[ToolSpec]) -> Option<Vec<Found>> {
    let payload = payload.trim();
    let payload = payload.strip_suffix("</tool_call>").unwrap_or(payload).trim();
    if !payload.contains("<function=") {
        let (name, rest) =
            payload.split_at_checked(payload.find(|c| !is_name(c)).unwrap_or(payload.len()))?;
        let mut arguments = Map::new();
        for pair in rest.split("<arg_key>").skip(1) {
            let (key, rest) = pair.split_once("</arg_key>")?;
            let (_, rest) = rest.split_once("<arg_value>")?;
            let value = rest.split_once("</arg_value>").map_or(rest, |(value, _)| value);
            arguments.insert(key.trim().to_owned(), typed(value, name, key.trim(), tools));
        }
        return Some(vec![Found {
            name: name.to_owned(),
            arguments: Value::Object(arguments).to_string(),
            complete: true,
        }]);
    }
    let mut calls = Vec::new();
    let mut rest = payload;
    while let Some((_, after)) = rest.split_once("<function=") {
        let (name, mut body) = after.split_once('>')?;
        let name = name.trim().trim_matches('"');
        let mut arguments = Map::new();
        loop {
            // The next of the two, so that nothing is looked at twice.
            let mut tags = body.match_indices('<').filter_map(|(at, _)| body.get(at..));
            let is_next = |tag: &&str| tag.starts_with("<parameter=") || tag.starts_with("</function>");
            let tag = tags.find(is_next)?;
            match tag.strip_prefix("<parameter=") {
                Some(parameter) => {
                    let (key, after) = parameter.split_once('>')?;
                    let (value, after) = after.split_once("</parameter>")?;
                    let key = key.trim().trim_matches('"');
                    arguments.insert(key.to_owned(), typed(value, name, key, tools));
                    body = after;
                }
                None => {
                    rest = tag;
                    break;
                }
            }
        }
        let arguments = Value::Object(arguments).to_string();
        calls.push(Found { name: name.to_owned(), arguments, complete: true });
    }
    Some(calls)
}

/// A text as the tool's schema types the argument. One line end at each side belongs to the tags.
fn typed(text: &str, tool: &str, argument: &str, tools: &[ToolSpec]) -> Value {
    let text = text.strip_prefix("\r\n").or(text.strip_prefix('\n')).unwrap_or(text);
    let text = text.strip_suffix("\r\n").or(text.strip_suffix('\n')).unwrap_or(text);
    let schema = tools.iter().find(|spec| *spec.name == *tool).map(|spec| &spec.parameters);
    let types = schema.and_then(|schema| schema.get("properties")?.get(argument)?.get("type"));
    let is = |word: &str| match types {
        Some(Value::String(name)) => name == word,
        Some(Value::Array(names)) => names.iter().any(|name| name == word),
        _ => false,
    };
    if is("string") {
        return text.into();
    }
    match text.trim() {
        "True" if is("boolean") => true.into(),
        "False" if is("boolean") => false.into(),
        "None" if is("null") => Value::Null,
        other => serde_json::from_str(other).unwrap_or_else(|_| text.into()),
    }
}

#[cfg(test)]
mod tests;
