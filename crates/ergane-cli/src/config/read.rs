//! From the file's text to [`Config`], or to what is wrong with it, where, and what is allowed. Pure.

mod provider;
mod table;

use std::path::Path;

use ergane::core::{OnUnknown, PermissionMode, PromptCache, ReasoningEffort, Sampling, SettingsPatch, Text};
use toml::de::{DeTable, DeValue};

use self::provider::provider;
use self::table::{Source, Table, meant};
use super::{Config, Defaults, Offered};
use crate::args::Mode;
use crate::outcome::Failure;

const TOP: [&str; 8] =
    ["provider", "model", "fallbacks", "journal", "tools", "permissions", "answers", "providers"];
const PERMISSIONS: [&str; 4] = ["mode", "allow", "deny", "on_unknown"];
const ANSWERS: [&str; 8] =
    ["max_tokens", "reasoning", "temperature", "top_p", "top_k", "seed", "stop", "prompt_cache"];

const EFFORTS: [(&str, ReasoningEffort); 7] = [
    ("off", ReasoningEffort::Off),
    ("minimal", ReasoningEffort::Minimal),
    ("low", ReasoningEffort::Low),
    ("medium", ReasoningEffort::Medium),
    ("high", ReasoningEffort::High),
    ("xhigh", ReasoningEffort::XHigh),
    ("max", ReasoningEffort::Max),
];
const CACHES: [(&str, PromptCache); 3] =
    [("off", PromptCache::Off), ("short", PromptCache::Short), ("long", PromptCache::Long)];

const ON_UNKNOWN: [(&str, OnUnknown); 3] =
    [("tell_model", OnUnknown::TellModel), ("ask_human", OnUnknown::AskHuman), ("retry", OnUnknown::Retry)];

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
    if let Some(table) = top.table("answers")? {
        config.answers = answers(&table)?;
    }
    if let Some(providers) = top.table("providers")? {
        for name in providers.table.keys() {
            if let Some(table) = providers.table(name.get_ref())? {
                config.providers.insert(name.get_ref().to_string(), provider(&table, name)?);
            }
        }
    }
    known_provider(&top, &config)?;
    config.fallbacks = fallbacks(&top, &config)?;
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

/// Who is asked when the provider fails: others that there are.
fn fallbacks(top: &Table<'_>, config: &Config) -> Result<Vec<Text>, Failure> {
    let Some(named) = top.texts("fallbacks")? else { return Ok(Vec::new()) };
    let names = config.names();
    let mut fallbacks: Vec<Text> = Vec::new();
    for (at, name) in named {
        let why = if config.provider.is_none() {
            "they go with `provider`, which is not set here".to_owned()
        } else if !names.contains(&name.to_string()) {
            format!("there is no provider {name:?}{}", meant(&name, &names))
        } else if config.provider.as_ref() == Some(&name) || fallbacks.contains(&name) {
            format!("{name} is asked already; each provider is asked once")
        } else {
            fallbacks.push(name);
            continue;
        };
        return Err(top.wrong(at, "fallbacks", &why));
    }
    Ok(fallbacks)
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
    let on_unknown = table.one_of("on_unknown", &ON_UNKNOWN)?;
    Ok(Defaults { mode, allow: table.tools("allow")?, deny: table.tools("deny")?, on_unknown })
}

/// How models are to answer in a new session.
fn answers(table: &Table<'_>) -> Result<SettingsPatch, Failure> {
    table.allow(&ANSWERS)?;
    let small = |key: &str, least: u64| {
        let number = table.number(key, least, u32::MAX.into())?;
        Ok::<_, Failure>(number.and_then(|number| u32::try_from(number).ok()))
    };
    let sampling = Sampling {
        temperature: table.fraction("temperature", 2.0)?,
        top_p: table.fraction("top_p", 1.0)?,
        top_k: small("top_k", 1)?,
        seed: table.number("seed", 0, i64::MAX.unsigned_abs())?,
        stop: table.exact_texts("stop")?.into_iter().flatten().map(|(_, text)| text).collect(),
    };
    Ok(SettingsPatch {
        max_tokens: small("max_tokens", 1)?.map(Some),
        reasoning: table.one_of("reasoning", &EFFORTS)?.map(Some),
        sampling: (sampling != Sampling::default()).then_some(sampling),
        prompt_cache: table.one_of("prompt_cache", &CACHES)?,
        ..SettingsPatch::default()
    })
}

#[cfg(test)]
mod tests;
