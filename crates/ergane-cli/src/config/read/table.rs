//! A table of the file: its values by their kinds, each refused with its place, its key, and what is allowed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ergane::core::Text;
use ergane::tool_support::nearest;
use ergane::tools::Tools;
use toml::de::{DeTable, DeValue};

use crate::outcome::Failure;

/// `; did you mean …`, or what there is.
pub(super) fn meant(word: &str, there_are: &[impl AsRef<str>]) -> String {
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
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
    pub(super) home: Option<&'a Path>,
}

impl Source<'_> {
    /// What is wrong with `key`, at that byte of the text.
    pub(super) fn wrong(&self, at: usize, key: &str, why: &str) -> Failure {
        let line = self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        Failure::config(format!("{}:{line}: {key}{why}", self.file.display()))
    }
}

/// A table, and the way to it.
pub(super) struct Table<'a> {
    pub(super) source: Source<'a>,
    pub(super) path: String,
    pub(super) table: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    pub(super) fn named(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn wrong(&self, at: usize, key: &str, why: &str) -> Failure {
        self.source.wrong(at, &self.named(key), why)
    }

    /// Refuses a key that is not one of these.
    pub(super) fn allow(&self, keys: &[&str]) -> Result<(), Failure> {
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

    pub(super) fn value(&self, key: &str) -> Option<(usize, &'a DeValue<'a>)> {
        self.table.get(key).map(|value| (value.span().start, value.get_ref()))
    }

    /// A text that is not blank, and where it is.
    pub(super) fn text(&self, key: &str) -> Result<Option<(usize, Text)>, Failure> {
        match self.value(key) {
            None => Ok(None),
            Some((at, DeValue::String(text))) if !text.trim().is_empty() => Ok(Some((at, (&**text).into()))),
            Some((at, DeValue::String(_))) => Err(self.wrong(at, key, "it is empty")),
            Some((at, other)) => Err(self.wrong(at, key, &format!("allowed is a text, not {}", kind(other)))),
        }
    }

    pub(super) fn path(&self, key: &str) -> Result<Option<PathBuf>, Failure> {
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
    pub(super) fn tools(&self, key: &str) -> Result<Option<Vec<Text>>, Failure> {
        let Some(given) = self.list(key, "tools", "names of tools", |name| !name.trim().is_empty())? else {
            return Ok(None);
        };
        let known: Vec<String> = Tools::all().into_iter().map(|tool| tool.name().to_owned()).collect();
        let mut names = Vec::new();
        for (at, name) in given {
            if !known.iter().any(|known| *known == *name) {
                let why = format!("there is no tool {name:?}{}", meant(&name, &known));
                return Err(self.wrong(at, key, &why));
            }
            names.push(name);
        }
        Ok(Some(names))
    }

    /// A word, and what it stands for.
    pub(super) fn one_of<T>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, Failure>
    where
        T: Copy,
    {
        let Some((at, word)) = self.text(key)? else { return Ok(None) };
        let found = words.iter().find(|(known, _)| **known == *word).map(|(_, value)| *value);
        found.map(Some).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
            self.wrong(at, key, &format!("allowed are {}, not {word:?}", known.join(", ")))
        })
    }

    /// A whole number within these bounds.
    pub(super) fn number(&self, key: &str, least: u64, most: u64) -> Result<Option<u64>, Failure> {
        let Some((at, value)) = self.value(key) else { return Ok(None) };
        let number =
            value.as_integer().and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let why = format!("allowed is a whole number from {least} to {most}, not {}", shown(value));
                Err(self.wrong(at, key, &why))
            }
        }
    }

    /// Whether, and where it stands.
    pub(super) fn yes_or_no(&self, key: &str) -> Result<Option<(usize, bool)>, Failure> {
        match self.value(key) {
            None => Ok(None),
            Some((at, DeValue::Boolean(yes))) => Ok(Some((at, *yes))),
            Some((at, other)) => {
                Err(self.wrong(at, key, &format!("allowed are true and false, not {}", kind(other))))
            }
        }
    }

    /// A whole number and its unit, such as `30s`.
    pub(super) fn duration(&self, key: &str) -> Result<Option<Duration>, Failure> {
        let Some((at, text)) = self.text(key)? else { return Ok(None) };
        crate::duration::parse(&text).map(Some).map_err(|why| self.wrong(at, key, &why))
    }

    /// A number from nothing up to `most`, which may be a fraction.
    pub(super) fn fraction(&self, key: &str, most: f64) -> Result<Option<f64>, Failure> {
        let Some((at, value)) = self.value(key) else { return Ok(None) };
        let written = value.as_float().map(|number| number.as_str());
        let written = written.or_else(|| value.as_integer().map(|number| number.as_str()));
        let number = written.and_then(|number| number.parse::<f64>().ok());
        match number.filter(|number| (0.0..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let why = format!("allowed is a number from 0 to {most}, not {}", shown(value));
                Err(self.wrong(at, key, &why))
            }
        }
    }

    /// Texts that are not blank, and where each is.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<(usize, Text)>>, Failure> {
        self.list(key, "texts", "texts that say something", |text| !text.trim().is_empty())
    }

    /// A list of texts that may be nothing but spaces or line ends.
    pub(super) fn exact_texts(&self, key: &str) -> Result<Option<Vec<(usize, Text)>>, Failure> {
        self.list(key, "texts", "texts", |text| !text.is_empty())
    }

    /// A list of these things; `each` says what its values have to be.
    fn list(
        &self,
        key: &str,
        of: &str,
        each: &str,
        is_one: impl Fn(&str) -> bool,
    ) -> Result<Option<Vec<(usize, Text)>>, Failure> {
        let list = match self.value(key) {
            None => return Ok(None),
            Some((_, DeValue::Array(list))) => list,
            Some((at, other)) => {
                return Err(self.wrong(at, key, &format!("allowed is a list of {of}, not {}", kind(other))));
            }
        };
        let text = |value: &toml::Spanned<DeValue<'_>>| {
            let found = match value.get_ref() {
                DeValue::String(text) if is_one(text) => {
                    return Ok((value.span().start, (&**text).into()));
                }
                DeValue::String(_) => "an empty one".to_owned(),
                other => kind(other),
            };
            Err(self.wrong(value.span().start, key, &format!("allowed are {each}, not {found}")))
        };
        list.iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn table(&self, key: &str) -> Result<Option<Table<'a>>, Failure> {
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

pub(super) fn kind(value: &DeValue<'_>) -> String {
    format!("a value of type {}", value.type_str())
}

/// A number as it was written; of anything else what it is.
fn shown(value: &DeValue<'_>) -> String {
    let number = value.as_integer().map(|number| number.as_str());
    let number = number.or_else(|| value.as_float().map(|number| number.as_str()));
    number.map_or_else(|| kind(value), str::to_owned)
}
