//! Which provider answers: the one named, the one the session has, or the first real one that is there.

use std::env;
use std::path::Path;
use std::time::Duration;

use ergane::core::{SettingsPatch, Text};
use ergane::provider::{Endpoint, Ollama, OpenAi, Provider, Providers, Scripted};

use crate::args::TurnFlags;
use crate::outcome::Failure;
use crate::screen::Notes;

pub(crate) const OLLAMA: &str = "ollama";
pub(crate) const OPENAI: &str = "openai";
pub(crate) const SCRIPTED: &str = "scripted";

/// How long a local Ollama has to show itself. It is on this machine, or told by OLLAMA_HOST.
const PROBE: Duration = Duration::from_millis(300);

const OPENAI_KEY: &str = "OPENAI_API_KEY";

/// The Ollama of this machine, or where OLLAMA_HOST says.
pub(crate) fn ollama() -> Ollama {
    Ollama::new(ollama_url(&env::var("OLLAMA_HOST").unwrap_or_default()))
}

pub(crate) fn openai() -> OpenAi {
    OpenAi::default()
}

/// The scripted provider: a file, or the built-in conversation.
pub(crate) fn scripted(script: Option<&Path>) -> Result<Scripted, Failure> {
    let Some(path) = script else { return Ok(Scripted::builtin()) };
    Scripted::from_file(path).map_err(|error| Failure::config(error.to_string()))
}

/// Adds provider and model to `patch`. `stored` is the provider of the session, when that exists already: it is kept
/// unless another one is named.
pub(crate) async fn choose(
    providers: &Providers,
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
        (None, None) => available(patch, notes).await.into(),
    };
    let Some(provider) = providers.get(&name) else {
        let known = providers.names().join(", ");
        return Err(Failure::config(format!("there is no provider {name:?}; there are: {known}")));
    };
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
        // The default of the place that is asked, which is not the registered provider's when it is elsewhere.
        let default = || placed.as_ref().unwrap_or(&provider).default_model();
        patch.model = Some(patch.model.take().or_else(default).unwrap_or_else(|| "".into()));
        patch.provider = Some(name);
    }
    Ok(())
}

/// The first real provider there is, else the scripted one.
async fn available(patch: &mut SettingsPatch, notes: Notes) -> &'static str {
    let ollama = ollama();
    if let Ok(Ok(models)) = tokio::time::timeout(PROBE, ollama.list_models()).await {
        // Named, so that the session keeps its model when the server gets others.
        if patch.model.is_none() && patch.base_url.is_none() {
            patch.model = models.first().map(|model| model.id.clone());
        }
        return OLLAMA;
    }
    if env::var(OPENAI_KEY).is_ok_and(|key| !key.trim().is_empty()) {
        return OPENAI;
    }
    notes.say(&format!(
        "no model found (no Ollama at {}, no {OPENAI_KEY}), so the built-in scripted conversation answers; for a real one \
         start Ollama, set {OPENAI_KEY}, or give --provider openai --base-url URL",
        ollama.endpoint()
    ));
    SCRIPTED
}

/// What OLLAMA_HOST means to a client: scheme and port may be missing, and an address to listen on everywhere is this
/// machine.
fn ollama_url(host: &str) -> String {
    let host = host.trim().trim_end_matches('/');
    let (scheme, place) = match host.split_once("://") {
        Some((scheme, place)) => (Some(scheme), place),
        None => (None, host),
    };
    let (authority, path) = match place.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (place, String::new()),
    };
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') && (name.ends_with(']') || !name.contains(':')) => {
            (name, Some(port))
        }
        _ => (authority, None),
    };
    let name = match name {
        "" => "localhost",
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        name => name,
    };
    let port = match (scheme, port) {
        (_, Some(port)) => format!(":{port}"),
        (None | Some("http"), None) => ":11434".to_owned(),
        (Some(_), None) => String::new(),
    };
    format!("{}://{name}{port}{path}", scheme.unwrap_or("http"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollama_host_is_understood_as_people_write_it() {
        let table = [
            ("", "http://localhost:11434"),
            ("127.0.0.1:9", "http://127.0.0.1:9"),
            ("gpu-box", "http://gpu-box:11434"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            (":8080", "http://localhost:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("[::1]", "http://[::1]:11434"),
            ("http://a:1/", "http://a:1"),
            ("https://ollama.example", "https://ollama.example"),
            ("https://ollama.example/x/", "https://ollama.example/x"),
        ];
        for (host, url) in table {
            assert_eq!(ollama_url(host), url, "{host}");
        }
    }
}
