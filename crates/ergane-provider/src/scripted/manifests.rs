//! Reads the dependencies out of manifests, as far as a listing needs it.
//!
//! Not parsers of these formats: only the tables of dependencies matter, a file may have been shown in part, and nothing
//! is decided by the outcome.

use serde_json::Value;

/// The file names that are known.
pub(super) const MANIFESTS: [&str; 5] =
    ["Cargo.toml", "package.json", "pyproject.toml", "requirements.txt", "go.mod"];

/// The dependencies of one table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The table, as the file calls it.
    pub(super) table: String,
    /// Names, with versions where they are simple.
    pub(super) names: Vec<String>,
}

pub(super) fn is_manifest(path: &str) -> bool {
    MANIFESTS.contains(&file_name(path))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The dependencies that a manifest declares, table by table.
pub(super) fn dependencies(path: &str, text: &str) -> Result<Vec<Group>, String> {
    let mut groups = Vec::new();
    match file_name(path) {
        "Cargo.toml" => cargo(text, &mut groups),
        "pyproject.toml" => pyproject(text, &mut groups),
        "package.json" => package_json(text, &mut groups)?,
        "requirements.txt" => requirements(text, &mut groups),
        "go.mod" => go_mod(text, &mut groups),
        _ => return Err("it is no manifest I know".to_owned()),
    }
    Ok(groups)
}

fn add(groups: &mut Vec<Group>, table: &str, name: String) {
    match groups.iter_mut().find(|group| group.table == table) {
        Some(group) if group.names.contains(&name) => {}
        Some(group) => group.names.push(name),
        None => groups.push(Group { table: table.to_owned(), names: vec![name] }),
    }
}

fn cargo(text: &str, groups: &mut Vec<Group>) {
    const TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    for (header, entry) in toml_entries(text) {
        let path = toml_path(&header);
        let Some(at) = path.iter().rposition(|part| TABLES.contains(&part.as_str())) else { continue };
        let table = path.get(..=at).unwrap_or_default().join(".");
        match (path.get(at + 1), entry) {
            // [dependencies.name]: the header alone declares it.
            (Some(name), None) => add(groups, &table, name.clone()),
            (None, Some((key, value))) => {
                let key = toml_path(&key);
                let Some(name) = key.first() else { continue };
                let version = if key.len() == 1 { version(&value) } else { None };
                add(groups, &table, version.map_or(name.clone(), |version| format!("{name} {version}")));
            }
            _ => {}
        }
    }
}

/// The version in `"1.0"` or `{ version = "1.0", … }`.
fn version(value: &str) -> Option<String> {
    if value.starts_with(['"', '\'']) {
        return strings(value).into_iter().next();
    }
    let inner = value.strip_prefix('{')?;
    let at = inner.find("version")?;
    let rest = inner.get(at + "version".len()..)?.trim_start().strip_prefix('=')?;
    strings(rest).into_iter().next()
}

fn pyproject(text: &str, groups: &mut Vec<Group>) {
    for (header, entry) in toml_entries(text) {
        let Some((key, value)) = entry else { continue };
        let path = toml_path(&header);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path.as_slice() {
            ["project"] if key == "dependencies" => {
                strings(&value).into_iter().for_each(|name| add(groups, "project.dependencies", name));
            }
            ["project", "optional-dependencies"] | ["dependency-groups"] => {
                let table = format!("{header}.{key}");
                strings(&value).into_iter().for_each(|name| add(groups, &table, name));
            }
            ["tool", "poetry", .., "dependencies" | "dev-dependencies"] => {
                let name = version(&value).map_or(key.clone(), |version| format!("{key} {version}"));
                add(groups, &header, name);
            }
            _ => {}
        }
    }
}

fn package_json(text: &str, groups: &mut Vec<Group>) -> Result<(), String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("it is not valid JSON: {error}"))?;
    for table in ["dependencies", "devDependencies", "peerDependencies", "optionalDependencies"] {
        for (name, version) in value.get(table).and_then(Value::as_object).into_iter().flatten() {
            let version = version.as_str().unwrap_or_default();
            add(groups, table, format!("{name} {version}").trim_end().to_owned());
        }
    }
    Ok(())
}

fn requirements(text: &str, groups: &mut Vec<Group>) {
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if !line.is_empty() && !line.starts_with(['#', '-']) {
            add(groups, "requirements", line.to_owned());
        }
    }
}

fn go_mod(text: &str, groups: &mut Vec<Group>) {
    let mut in_block = false;
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let required = match line {
            "require (" => {
                in_block = true;
                continue;
            }
            ")" => {
                in_block = false;
                continue;
            }
            _ if in_block => line,
            _ => line.strip_prefix("require ").unwrap_or_default().trim(),
        };
        if !required.is_empty() {
            add(groups, "require", required.to_owned());
        }
    }
}

type Entry = (String, String);

/// The entries of a TOML text with the header they stand under; a header comes once by itself, with `None`.
fn toml_entries(text: &str) -> Vec<(String, Option<Entry>)> {
    let mut entries = Vec::new();
    let mut header = String::new();
    let mut in_text = false;
    let mut open: Option<Entry> = None;
    for line in text.lines() {
        // Long texts hold anything, headers too.
        let quotes = line.matches("\"\"\"").count() + line.matches("'''").count();
        let was_in_text = in_text;
        in_text ^= quotes % 2 == 1;
        if was_in_text || in_text {
            continue;
        }
        let line = without_comment(line).trim();
        if let Some((_, value)) = &mut open {
            value.push_str(line);
        } else if let Some(name) = line.strip_prefix('[') {
            header = name.trim_matches(['[', ']', ' ']).to_owned();
            entries.push((header.clone(), None));
            continue;
        } else if let Some((key, value)) = split_entry(line) {
            open = Some((key.trim().to_owned(), value.trim().to_owned()));
        }
        if let Some(entry) = open.take_if(|(_, value)| is_balanced(value)) {
            entries.push((header.clone(), Some(entry)));
        }
    }
    entries
}

/// Walks `text`, telling for each character whether it stands outside of strings.
fn outside_strings(text: &str) -> impl Iterator<Item = (usize, char, bool)> {
    let mut quote = None;
    let mut escaped = false;
    text.char_indices().map(move |(at, c)| {
        let outside = quote.is_none();
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(open) if open == c => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
        (at, c, outside)
    })
}

fn without_comment(line: &str) -> &str {
    let end =
        outside_strings(line).find(|(_, c, outside)| *outside && *c == '#').map_or(line.len(), |(at, ..)| at);
    line.get(..end).unwrap_or(line)
}

fn split_entry(line: &str) -> Option<(&str, &str)> {
    let (at, ..) = outside_strings(line).find(|(_, c, outside)| *outside && *c == '=')?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

fn is_balanced(value: &str) -> bool {
    let depth =
        outside_strings(value).filter(|(_, _, outside)| *outside).fold(0i64, |depth, (_, c, _)| match c {
            '[' | '{' => depth + 1,
            ']' | '}' => depth - 1,
            _ => depth,
        });
    depth <= 0
}

/// A dotted key, its parts without quotes.
fn toml_path(key: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for (_, c, outside) in outside_strings(key) {
        match c {
            '.' if outside => parts.push(String::new()),
            '"' | '\'' if outside => {}
            ' ' if outside => {}
            _ => {
                if let Some(part) = parts.last_mut() {
                    part.push(c);
                }
            }
        }
    }
    parts.iter().map(|part| part.trim_end_matches(['"', '\'']).to_owned()).collect()
}

/// The strings in a value.
fn strings(value: &str) -> Vec<String> {
    let mut strings = Vec::new();
    let mut current: Option<String> = None;
    let mut was_outside = true;
    for (_, c, outside) in outside_strings(value) {
        match (was_outside, outside) {
            (true, false) => current = Some(String::from(c)),
            (false, false) => {
                if let Some(text) = &mut current {
                    text.push(c);
                }
            }
            _ => {}
        }
        was_outside = outside;
        if outside && current.is_some() {
            strings.extend(finished(&mut current));
        }
    }
    strings.extend(finished(&mut current));
    strings
}

fn finished(current: &mut Option<String>) -> Option<String> {
    let text = current.take()?;
    let text = text.strip_suffix(['"', '\'']).unwrap_or(&text).to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
