//! From the file's text to [`Config`], or to what is wrong with it, where, and what is allowed. Pure.

use std::path::{Path, PathBuf};

use ergane::core::{PermissionMode, Text};
use ergane::tool_support::nearest;
use ergane::tools::Tools;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, Defaults, Key, Offered, ProviderConfig};
use crate::args::Mode;
use crate::outcome::Failure;
use crate::provider::Kind;

const TOP: [&str; 6] = ["provider", "model", "journal", "tools", "permissions", "providers"];
const PERMISSIONS: [&str; 3] = ["mode", "allow", "deny"];
const PROVIDER: [&str; 5] = ["kind", "model", "base_url", "api_key_env", "api_key_file"];

/// Reads it. `home` is what `~/` means in a path; other relative paths start at the file's folder.
pub(super) fn read(file: &Path, text: &str, home: Option<&Path>) -> Result<Config, Failure> {
    let source = Source { file, text, home };
    // Only the message: the error as a whole quotes the line, which may hold what somebody took for a place for keys.
    let parsed = DeTable::parse(text).map_err(|error| {
        let place = error.span().map_or(0, |span| span.start);
        source.wrong(place, "", error.message())
    })?;
    let top = Table { source, path: String::new(), table: parsed.get_ref() };
    top.allow(&TOP)?;
    let mut config = Config {
        file: Some(file.to_owned()),
        provider: top.text("provider")?.map(|(_, name)| name),
        model: top.text("model")?.map(|(_, name)| name),
        journal: top.path("journal")?,
        tools: offered(&top)?,
        ..Config::default()
    };
    if let Some(table) = top.table("permissions")? {
        config.permissions = permissions(&table)?;
    }
    if let Some(providers) = top.table("providers")? {
        for name in providers.table.keys() {
            if let Some(table) = providers.table(name.get_ref())? {
                config.providers.insert(name.get_ref().to_string(), provider(&table, name)?);
            }
        }
    }
    known_provider(&top, &config)?;
    Ok(config)
}

fn known_provider(top: &Table<'_>, config: &Config) -> Result<(), Failure> {
    if let Some((span, name)) = top.text("provider")? {
        let names = config.names();
        if !names.contains(&name.to_string()) {
            let wrong = format!("there is no provider {name:?}{}", meant(&name, &names));
            let wrong = format!("{wrong}; a further one is made by a table [providers.{name}] with its kind");
            return Err(top.source.wrong(span, "provider", &wrong));
        }
    } else if let Some((span, _)) = top.text("model")? {
        let why =
            "it goes with `provider`, which is not set here; the model of one provider stands in its table";
        return Err(top.source.wrong(span, "model", why));
    }
    Ok(())
}

fn offered(top: &Table<'_>) -> Result<Option<Offered>, Failure> {
    match top.table.get("tools").map(|value| (value.span().start, value.get_ref())) {
        None => Ok(None),
        Some((_, DeValue::String(word))) if word == "all" => Ok(Some(Offered::All)),
        Some((_, DeValue::String(word))) if word == "none" => Ok(Some(Offered::Named(Vec::new()))),
        Some((_, DeValue::Array(_))) => Ok(top.tools("tools")?.map(Offered::Named)),
        Some((at, _)) => {
            Err(top.source.wrong(at, "tools", "allowed are \"all\", \"none\", or a list of names"))
        }
    }
}

fn permissions(table: &Table<'_>) -> Result<Defaults, Failure> {
    table.allow(&PERMISSIONS)?;
    let mode: Option<PermissionMode> = match table.text("mode")? {
        None => None,
        Some((at, word)) => {
            let words: Vec<String> = Mode::words();
            let mode = Mode::of(&word).ok_or_else(|| {
                table.wrong(
                    at,
                    "mode",
                    &format!("there is no mode {word:?}; allowed are {}", words.join(", ")),
                )
            })?;
            Some(mode.into())
        }
    };
    Ok(Defaults { mode, allow: table.tools("allow")?, deny: table.tools("deny")? })
}

fn provider(table: &Table<'_>, name: &Spanned<toml::de::DeString<'_>>) -> Result<ProviderConfig, Failure> {
    table.allow(&PROVIDER)?;
    let at = name.span().start;
    let kinds = || Kind::words().join(", ");
    let kind = match (table.text("kind")?, Kind::builtin(name.get_ref())) {
        (None, Some(kind)) => kind,
        (None, None) => {
            let why = format!("it is no builtin provider, so its `kind` must be told: {}", kinds());
            return Err(table.source.wrong(at, &table.path, &why));
        }
        (Some((at, word)), builtin) => match Kind::builtin(&word) {
            Some(kind) if builtin.is_none_or(|builtin| builtin == kind) => kind,
            Some(_) => {
                let why = format!("{0} is of kind {0}; give another kind another name", name.get_ref());
                return Err(table.wrong(at, "kind", &why));
            }
            None => {
                return Err(table.wrong(
                    at,
                    "kind",
                    &format!("there is no kind {word:?}; allowed are {}", kinds()),
                ));
            }
        },
    };
    let base_url = table.text("base_url")?;
    if let Some((at, url)) = &base_url {
        kind.check_url(url).map_err(|why| table.wrong(*at, "base_url", &why))?;
    }
    let key = match (table.text("api_key_env")?, table.path("api_key_file")?) {
        (Some((at, _)), Some(_)) => {
            return Err(table.wrong(at, "api_key_env", "there is an `api_key_file` too; one of both"));
        }
        (Some((_, variable)), None) => Some(Key::Env(variable)),
        (None, Some(path)) => Some(Key::File(path)),
        (None, None) => None,
    };
    if kind == Kind::Scripted && (base_url.is_some() || key.is_some()) {
        return Err(table.source.wrong(at, &table.path, "a script has no place and needs no key"));
    }
    let model = table.text("model")?.map(|(_, model)| model);
    Ok(ProviderConfig { kind, model, base_url: base_url.map(|(_, url)| url), key })
}

/// `; did you mean …`, or what there is.
fn meant(word: &str, there_are: &[impl AsRef<str>]) -> String {
    match nearest(word, there_are.iter().map(AsRef::as_ref)) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => {
            let all: Vec<&str> = there_are.iter().map(AsRef::as_ref).collect();
            format!("; there are: {}", all.join(", "))
        }
    }
}

/// The text that is read.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    file: &'a Path,
    text: &'a str,
    home: Option<&'a Path>,
}

impl Source<'_> {
    /// What is wrong with `key`, at that byte of the text.
    fn wrong(&self, at: usize, key: &str, why: &str) -> Failure {
        let line = self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        Failure::config(format!("{}:{line}: {key}{why}", self.file.display()))
    }
}

/// A table, and the way to it.
struct Table<'a> {
    source: Source<'a>,
    path: String,
    table: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    fn named(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn wrong(&self, at: usize, key: &str, why: &str) -> Failure {
        self.source.wrong(at, &self.named(key), why)
    }

    /// Refuses a key that is not one of these.
    fn allow(&self, keys: &[&str]) -> Result<(), Failure> {
        let Some(key) = self.table.keys().find(|key| !keys.contains(&&**key.get_ref())) else {
            return Ok(());
        };
        let name = key.get_ref();
        let why = if matches!(&**name, "api_key" | "key" | "token") {
            "a key does not stand in this file: name its variable by `api_key_env`, or its file by `api_key_file`"
                .to_owned()
        } else {
            format!("there is no such key{}", meant(name, keys))
        };
        Err(self.wrong(key.span().start, name, &why))
    }

    fn value(&self, key: &str) -> Option<(usize, &'a DeValue<'a>)> {
        self.table.get(key).map(|value| (value.span().start, value.get_ref()))
    }

    /// A text that is not blank, and where it is.
    fn text(&self, key: &str) -> Result<Option<(usize, Text)>, Failure> {
        match self.value(key) {
            None => Ok(None),
            Some((at, DeValue::String(text))) if !text.trim().is_empty() => Ok(Some((at, (&**text).into()))),
            Some((at, DeValue::String(_))) => Err(self.wrong(at, key, "it is empty")),
            Some((at, other)) => Err(self.wrong(at, key, &format!("allowed is a text, not {}", kind(other)))),
        }
    }

    fn path(&self, key: &str) -> Result<Option<PathBuf>, Failure> {
        let Some((at, text)) = self.text(key)? else { return Ok(None) };
        let folder = self.source.file.parent().unwrap_or(Path::new(""));
        match (text.strip_prefix("~/"), self.source.home) {
            (Some(rest), Some(home)) => Ok(Some(home.join(rest))),
            (Some(_), None) => Err(self.wrong(at, key, "there is no home directory for `~`")),
            (None, _) if key == "journal" && text.contains(':') => Ok(Some(PathBuf::from(&*text))),
            (None, _) => Ok(Some(folder.join(&*text))),
        }
    }

    /// Names of tools that exist: a misspelt one would silently allow or deny something else than was meant.
    fn tools(&self, key: &str) -> Result<Option<Vec<Text>>, Failure> {
        let list = match self.value(key) {
            None => return Ok(None),
            Some((_, DeValue::Array(list))) => list,
            Some((at, other)) => {
                let why = format!("allowed is a list of tools, not {}", kind(other));
                return Err(self.wrong(at, key, &why));
            }
        };
        let known: Vec<String> = Tools::all().into_iter().map(|tool| tool.name().to_owned()).collect();
        let mut names = Vec::new();
        for value in list.iter() {
            let at = value.span().start;
            match value.get_ref() {
                DeValue::String(name) if known.iter().any(|known| known == name) => {
                    names.push((&**name).into());
                }
                DeValue::String(name) => {
                    let why = format!("there is no tool {name:?}{}", meant(name, &known));
                    return Err(self.wrong(at, key, &why));
                }
                other => {
                    let why = format!("allowed are names of tools, not {}", kind(other));
                    return Err(self.wrong(at, key, &why));
                }
            }
        }
        Ok(Some(names))
    }

    fn table(&self, key: &str) -> Result<Option<Table<'a>>, Failure> {
        match self.value(key) {
            None => Ok(None),
            Some((_, DeValue::Table(table))) => {
                Ok(Some(Table { source: self.source, path: self.named(key), table }))
            }
            Some((at, other)) => {
                Err(self.wrong(at, key, &format!("allowed is a table, not {}", kind(other))))
            }
        }
    }
}

fn kind(value: &DeValue<'_>) -> String {
    format!("a value of type {}", value.type_str())
}

#[cfg(test)]
mod tests;
