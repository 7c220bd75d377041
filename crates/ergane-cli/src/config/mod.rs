//! The configuration file: what holds when neither a flag nor the environment says otherwise.
//!
//! It is read by hand and not by a derive, so that every mistake in it is told with its file, its line and what is
//! allowed there, and a misspelt key with the key that was probably meant. A key that nothing reads would be a wish
//! that silently does not come true; there is none.

mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ergane::core::{OnUnknown, PermissionMode, SettingsPatch, Text};
use ergane::provider::{BreakerPolicy, Compat, Price};

use crate::folders;
use crate::outcome::Failure;
use crate::provider::{BUILTIN, Kind};

/// What the file says; everything may be left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Config {
    /// The file that was read; `None` when there is none.
    pub(crate) file: Option<PathBuf>,
    /// Who answers when nobody is named.
    pub(crate) provider: Option<Text>,
    /// The model that goes with it.
    pub(crate) model: Option<Text>,
    /// Who is asked, in this order, when that one fails.
    pub(crate) fallbacks: Vec<Text>,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) tools: Option<Offered>,
    pub(crate) permissions: Defaults,
    /// How models are to answer in a new session.
    pub(crate) answers: SettingsPatch,
    /// By their names: the builtin ones that something is said of, and others.
    pub(crate) providers: BTreeMap<String, ProviderConfig>,
}

/// The tools of a new session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Offered {
    All,
    Named(Vec<Text>),
}

/// The permissions of a new session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    pub(crate) mode: Option<PermissionMode>,
    pub(crate) allow: Option<Vec<Text>>,
    pub(crate) deny: Option<Vec<Text>>,
    /// What becomes of a call that a crash cut off.
    pub(crate) on_unknown: Option<OnUnknown>,
}

/// What is said of one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProviderConfig {
    /// What it speaks.
    pub(crate) kind: Kind,
    pub(crate) model: Option<Text>,
    pub(crate) base_url: Option<Text>,
    pub(crate) key: Option<Key>,
    pub(crate) limits: Limits,
    /// What an OpenAI-compatible server takes, where its address alone does not tell.
    pub(crate) compat: Option<Compat>,
    /// Whether tools are offered in the strict mode, by other formats than that.
    pub(crate) strict_tools: Option<bool>,
    /// By model.
    pub(crate) prices: Vec<(Text, Price)>,
}

/// What a provider is asked to bear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) max_in_flight: Option<u64>,
    pub(crate) requests_per_minute: Option<u64>,
    pub(crate) tokens_per_minute: Option<u64>,
    /// When its circuit opens; `Some(None)` is never.
    pub(crate) breaker: Option<Option<BreakerPolicy>>,
}

/// Where the key is. Never the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Env(Text),
    File(PathBuf),
}

impl Config {
    /// Reads the file that the flag names, else the environment, else the one in the user's config directory if it is
    /// there.
    pub(crate) fn load(flag: Option<&Path>) -> Result<Self, Failure> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let Some(place) = Place::decide(flag, &variable) else { return Ok(Self::default()) };
        let text = match std::fs::read_to_string(&place.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !place.named => {
                return Ok(Self::default());
            }
            Err(error) => {
                let why = format!("the configuration {} cannot be read: {error}", place.file.display());
                return Err(Failure::config(why));
            }
        };
        read::read(&place.file, &text, variable("HOME").as_deref())
    }

    /// What a new session begins with, before its flags.
    pub(crate) fn defaults(&self) -> SettingsPatch {
        let Defaults { mode, allow, deny, on_unknown } = self.permissions.clone();
        let mut patch =
            SettingsPatch { permission_mode: mode, allow, deny, on_unknown, ..self.answers.clone() };
        match &self.tools {
            None => {}
            Some(Offered::All) => patch.all_tools = true,
            Some(Offered::Named(names)) => patch.tools = Some(names.clone()),
        }
        patch
    }

    /// What is said of a provider.
    pub(crate) fn of(&self, provider: &str) -> Option<&ProviderConfig> {
        self.providers.get(provider)
    }

    /// What the provider of one of the [`names`](Self::names) speaks.
    pub(crate) fn kind(&self, provider: &str) -> Kind {
        let said = self.of(provider).map(|said| said.kind);
        said.or_else(|| Kind::builtin(provider)).unwrap_or(Kind::Scripted)
    }

    /// The names of all providers, the builtin ones first.
    pub(crate) fn names(&self) -> Vec<String> {
        let more = self.providers.keys().filter(|name| Kind::builtin(name).is_none());
        BUILTIN.iter().map(|(name, _)| (*name).to_owned()).chain(more.cloned()).collect()
    }
}

/// Where the file is, and whether somebody named it: then it must be there.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    file: PathBuf,
    named: bool,
}

impl Place {
    fn decide(flag: Option<&Path>, variable: &impl Fn(&str) -> Option<PathBuf>) -> Option<Self> {
        if let Some(file) = flag.map(Path::to_owned).or_else(|| variable("ERGANE_CONFIG")) {
            return Some(Self { file, named: true });
        }
        folders::config(variable).map(|folder| Self { file: folder.join("ergane.toml"), named: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(flag: Option<&str>, set: &[(&str, &str)]) -> Option<(String, bool)> {
        let variable =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value));
        let place = Place::decide(flag.map(Path::new), &variable)?;
        Some((place.file.to_str().unwrap().to_owned(), place.named))
    }

    #[test]
    fn the_flag_beats_the_environment_beats_the_config_directory() {
        let all = [("ERGANE_CONFIG", "/e.toml"), ("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(decide(Some("f.toml"), &all), Some(("f.toml".into(), true)));
        assert_eq!(decide(None, &all), Some(("/e.toml".into(), true)));
        assert_eq!(decide(None, &all[1..]), Some(("/x/ergane/ergane.toml".into(), false)));
        assert_eq!(decide(None, &all[2..]), Some(("/h/.config/ergane/ergane.toml".into(), false)));
        let relative = [("XDG_CONFIG_HOME", "x"), ("HOME", "/h")];
        assert_eq!(decide(None, &relative), Some(("/h/.config/ergane/ergane.toml".into(), false)));
        assert_eq!(decide(None, &[]), None);
    }
}
