//! What kinds of providers there are, and how one is made of its name and of what the configuration says of it.

use std::env;
use std::path::Path;
use std::sync::Arc;

use ergane::provider::{Anthropic, Endpoint, Gemini, Ollama, OpenAi, OpenAiResponses, Provider, Scripted};

use crate::config::{Config, Key, ProviderConfig};
use crate::outcome::Failure;

pub(crate) const OLLAMA: &str = "ollama";
pub(crate) const OPENAI: &str = "openai";
pub(crate) const OPENAI_RESPONSES: &str = "openai_responses";
pub(crate) const ANTHROPIC: &str = "anthropic";
pub(crate) const GEMINI: &str = "gemini";
pub(crate) const SCRIPTED: &str = "scripted";

/// The providers that are there without a word of configuration.
pub(crate) const BUILTIN: [(&str, Kind); 6] = [
    (OLLAMA, Kind::Ollama),
    (OPENAI, Kind::OpenAi),
    (OPENAI_RESPONSES, Kind::OpenAiResponses),
    (ANTHROPIC, Kind::Anthropic),
    (GEMINI, Kind::Gemini),
    (SCRIPTED, Kind::Scripted),
];

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ollama,
    /// Chat Completions, of OpenAI and of all who are compatible.
    OpenAi,
    /// The Responses API, of OpenAI and of some who are compatible.
    OpenAiResponses,
    /// The Messages API.
    Anthropic,
    Gemini,
    Scripted,
}

impl Kind {
    /// The words for them.
    pub(crate) fn words() -> Vec<&'static str> {
        BUILTIN.iter().map(|(name, _)| *name).collect()
    }

    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        BUILTIN.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| *name)
    }

    /// The kind of a builtin provider, which is what a configuration calls it.
    pub(crate) fn builtin(name: &str) -> Option<Self> {
        BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// The variable in which everybody keeps the key.
    pub(crate) fn usual_key(self) -> Option<&'static str> {
        match self {
            Self::OpenAi | Self::OpenAiResponses => Some("OPENAI_API_KEY"),
            Self::Anthropic => Some("ANTHROPIC_API_KEY"),
            Self::Gemini => Some("GEMINI_API_KEY"),
            Self::Ollama | Self::Scripted => None,
        }
    }

    /// Why that is no base URL of such a provider.
    pub(crate) fn check_url(self, url: &str) -> Result<(), String> {
        let endpoint = Endpoint { base_url: Some(url.into()), api_key_env: None };
        let plain = match self {
            Self::Ollama => Ollama::default().with_endpoint(&endpoint),
            Self::OpenAi => OpenAi::default().with_endpoint(&endpoint),
            Self::OpenAiResponses => OpenAiResponses::default().with_endpoint(&endpoint),
            Self::Anthropic => Anthropic::default().with_endpoint(&endpoint),
            Self::Gemini => Gemini::default().with_endpoint(&endpoint),
            Self::Scripted => return Ok(()), // refused for another reason
        };
        plain.map(drop).map_err(|error| error.to_string())
    }
}

/// A provider, and the name it is registered under.
pub(crate) type Named = (String, Arc<dyn Provider>);

/// A provider where it is said to be, with what is said over it: its model, where its key is, and what it bears.
macro_rules! with_said {
    ($kind:ident, $said:expr) => {
        with_said!($kind, $said, $said.and_then(|said| said.base_url.as_deref()))
    };
    ($kind:ident, $said:expr, $url:expr) => {{
        let mut provider = $url.map_or_else($kind::default, $kind::new);
        if let Some(said) = $said {
            if let Some(model) = &said.model {
                provider = provider.model(model.clone());
            }
            provider = match &said.key {
                None => provider,
                Some(Key::Env(variable)) => provider.api_key_env(variable.clone()),
                Some(Key::File(path)) => provider.api_key_file(path),
            };
            if let Some(calls) = said.limits.max_in_flight {
                provider = provider.max_in_flight(usize::try_from(calls).unwrap_or(usize::MAX));
            }
            if let Some(requests) = said.limits.requests_per_minute {
                provider = provider.requests_per_minute(requests);
            }
            if let Some(tokens) = said.limits.tokens_per_minute {
                provider = provider.tokens_per_minute(tokens);
            }
            if let Some(policy) = said.limits.breaker {
                provider = provider.breaker(policy);
            }
        }
        provider
    }};
}

/// With what is said of strict tools.
macro_rules! strict_said {
    ($provider:expr, $said:expr) => {
        match $said.and_then(|said| said.strict_tools) {
            Some(strict) => $provider.strict_tools(strict),
            None => $provider,
        }
    };
}

/// Every provider there is.
pub(crate) fn all(config: &Config, script: Option<&Path>) -> Result<Vec<Named>, Failure> {
    let make = |name: String| {
        let said = config.of(&name);
        let provider: Arc<dyn Provider> = match config.kind(&name) {
            Kind::Ollama if name == OLLAMA => Arc::new(local_ollama(config)),
            Kind::Ollama => Arc::new(ollama(said, None)),
            Kind::OpenAi => Arc::new(open_ai(said)),
            Kind::OpenAiResponses => Arc::new(strict_said!(with_said!(OpenAiResponses, said), said)),
            Kind::Anthropic => Arc::new(strict_said!(with_said!(Anthropic, said), said)),
            Kind::Gemini => Arc::new(with_said!(Gemini, said)),
            Kind::Scripted => Arc::new(scripted(script)?),
        };
        Ok((name, provider))
    };
    config.names().into_iter().map(make).collect()
}

/// The Ollama of this machine, or where OLLAMA_HOST or else the configuration says.
pub(crate) fn local_ollama(config: &Config) -> Ollama {
    let host = env::var("OLLAMA_HOST").unwrap_or_default();
    let elsewhere = (!host.trim().is_empty()).then(|| ollama_url(&host));
    ollama(config.of(OLLAMA), elsewhere.as_deref())
}

fn ollama(said: Option<&ProviderConfig>, url: Option<&str>) -> Ollama {
    let url = url.or_else(|| said?.base_url.as_deref());
    with_said!(Ollama, said, url)
}

fn open_ai(said: Option<&ProviderConfig>) -> OpenAi {
    let provider = with_said!(OpenAi, said);
    match said.and_then(|said| said.compat.clone()) {
        Some(flags) => provider.compat(flags),
        None => provider,
    }
}

/// The scripted provider: a file, or the built-in conversation.
fn scripted(script: Option<&Path>) -> Result<Scripted, Failure> {
    let Some(path) = script else { return Ok(Scripted::builtin()) };
    Scripted::from_file(path).map_err(|error| Failure::config(error.to_string()))
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
    use ergane::provider::BreakerPolicy;

    use super::*;
    use crate::config::Limits;

    #[test]
    fn what_the_configuration_says_of_bounds_and_the_circuit_is_what_each_provider_keeps_to() {
        let policy = BreakerPolicy { failures: 2, ..BreakerPolicy::default() };
        for kind in
            Kind::words().iter().filter_map(|word| Kind::builtin(word)).filter(|kind| *kind != Kind::Scripted)
        {
            for breaker in [Some(policy), None] {
                let limits = Limits {
                    max_in_flight: Some(3),
                    requests_per_minute: Some(30),
                    tokens_per_minute: Some(900),
                    breaker: Some(breaker),
                };
                let (model, base_url) = (None, Some("http://127.0.0.1:1".into()));
                let said = ProviderConfig {
                    kind,
                    model,
                    base_url,
                    key: None,
                    limits,
                    compat: None,
                    strict_tools: None,
                    prices: Vec::new(),
                };
                let config = Config { providers: [("mine".to_owned(), said)].into(), ..Config::default() };
                let made = all(&config, None).unwrap();
                let mine = &made.iter().find(|(name, _)| name == "mine").unwrap().1;
                let kept = mine.limits();
                assert_eq!((kept.max_in_flight, kept.breaker), (3, breaker), "{kind:?}");
                assert_eq!(
                    (kept.requests_per_minute, kept.tokens_per_minute),
                    (Some(30), Some(900)),
                    "{kind:?}"
                );
            }
        }
    }

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
