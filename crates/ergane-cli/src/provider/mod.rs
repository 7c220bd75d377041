//! Which provider answers: the one named, the one the session has, or the first real one that is there.

mod kind;

use std::env;
use std::time::Duration;

use ergane::core::{SettingsPatch, Text};
use ergane::provider::{Endpoint, Provider, Providers};
use ergane::tool_support::nearest;

pub(crate) use self::kind::{
    ANTHROPIC, BUILTIN, GEMINI, Kind, Named, OLLAMA, OPENAI, SCRIPTED, all, local_ollama,
};
use crate::args::TurnFlags;
use crate::config::Config;
use crate::outcome::Failure;
use crate::screen::Notes;

/// How long a local Ollama has to show itself. It is on this machine, or told by OLLAMA_HOST or the configuration.
const PROBE: Duration = Duration::from_millis(300);

/// Asked for in this order when nobody says who answers and no Ollama does.
const WITH_KEYS: [&str; 3] = [ANTHROPIC, OPENAI, GEMINI];

/// Adds provider and model to `patch`. `stored` is the provider of the session, when that exists already: it is kept
/// unless another one is named.
pub(crate) async fn choose(
    providers: &Providers,
    config: &Config,
    flags: &TurnFlags,
    stored: Option<&str>,
    patch: &mut SettingsPatch,
    notes: Notes,
) -> Result<(), Failure> {
    let named = match (flags.provider.as_deref(), &flags.script) {
        (Some(name), Some(_)) if name != SCRIPTED => {
            return Err(Failure::config(format!(
                "--script is for the scripted provider, and {name} was named"
            )));
        }
        (None, Some(_)) if stored.is_none() => Some(SCRIPTED),
        (name, _) => name,
    };
    let name: Text = match (named, stored) {
        (Some(name), _) => name.into(),
        (None, Some(stored)) => stored.into(),
        (None, None) => available(config, patch, notes).await,
    };
    let Some(provider) = providers.get(&name) else { return Err(unknown(&name, &providers.names())) };
    let endpoint = Endpoint { base_url: patch.base_url.clone(), api_key_env: patch.api_key_env.clone() };
    let placed = if endpoint.is_default() {
        None
    } else {
        let refused = |error: ergane::core::ProviderError| {
            Failure::config(format!(
                "--base-url and --api-key-env cannot be used with provider {name}: {error}"
            ))
        };
        Some(provider.with_endpoint(&endpoint).map_err(refused)?)
    };
    if stored != Some(&*name) {
        if config.provider.as_ref() == Some(&name) {
            if patch.base_url.is_none() {
                patch.model = patch.model.take().or_else(|| config.model.clone());
            }
            patch.fallbacks = Some(config.fallbacks.clone()).filter(|fallbacks| !fallbacks.is_empty());
        }
        // The default of the place that is asked, which is not the registered provider's when it is elsewhere.
        let default = || placed.as_ref().unwrap_or(&provider).default_model();
        patch.model = Some(patch.model.take().or_else(default).unwrap_or_else(|| "".into()));
        patch.provider = Some(name);
    }
    Ok(())
}

pub(crate) fn unknown(name: &str, known: &[Text]) -> Failure {
    let near = nearest(name, known.iter().map(AsRef::as_ref));
    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Failure::config(format!("there is no provider {name:?}; there are: {}{near}", known.join(", ")))
}

/// The one of the configuration, else the first real provider there is, else the scripted one.
pub(crate) async fn available(config: &Config, patch: &mut SettingsPatch, notes: Notes) -> Text {
    if let Some(provider) = &config.provider {
        return provider.clone();
    }
    let ollama = local_ollama(config);
    if let Ok(Ok(models)) = tokio::time::timeout(PROBE, ollama.list_models()).await {
        // Named, so that the session keeps its model when the server gets others.
        if patch.model.is_none() && patch.base_url.is_none() {
            let said = ollama.default_model().filter(|model| !model.is_empty());
            patch.model = said.or_else(|| models.first().map(|model| model.id.clone()));
        }
        return OLLAMA.into();
    }
    let is_set = |name: &str| env::var(name).is_ok_and(|key| !key.trim().is_empty());
    let key = |name: &str| Kind::builtin(name).and_then(Kind::usual_key);
    if let Some(name) = WITH_KEYS.into_iter().find(|name| key(name).is_some_and(is_set)) {
        return name.into();
    }
    let keys: Vec<&str> = WITH_KEYS.into_iter().filter_map(key).collect();
    notes.say(&format!(
        "no model found (no Ollama at {}, no {}), so the built-in scripted conversation answers; for a real one start \
         Ollama, set {}, or give --provider openai --base-url URL",
        ollama.endpoint(),
        keys.join(", no "),
        keys.join(" or "),
    ));
    SCRIPTED.into()
}
