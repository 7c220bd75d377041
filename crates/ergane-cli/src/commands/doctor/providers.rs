//! What `doctor` finds of the providers. It tells what it has asked, and what follows from the answer, and no more.

use std::collections::HashMap;
use std::sync::Arc;

use ergane::provider::{ModelInfo, Provider};
use tokio::time::timeout;

use super::super::inventory::{PATIENCE, ask_all, key_of};
use super::Finding;
use crate::config::Config;
use crate::outcome::Failure;
use crate::provider::{self, Kind, OLLAMA, SCRIPTED};

const START_OLLAMA: &str = "start it (`ollama serve`), or set OLLAMA_HOST";

/// The servers that list their models to the owner of a valid key only: where its maker says so and what, and the month in which
/// that was so. Others, as OpenRouter and llama.cpp, list them to anybody. A server of which no document of its maker was found to
/// say it, as Groq, is not here: an example with a key does not say that there is no list without one.
const KEY_FOR_THE_LIST: [&str; 7] = [
    // github.com/openai/openai-openapi, openapi.yaml: ApiKeyAuth for every path (2026-08)
    "api.openai.com",
    // platform.claude.com/docs/en/api/overview: all requests must include x-api-key or Authorization (2026-11)
    "api.anthropic.com",
    // ai.google.dev/api: the API takes a key to be used at all (2026-11)
    "generativelanguage.googleapis.com",
    // github.com/mistralai/platform-docs-public, openapi.yaml: ApiKey for every path (2026-08)
    "api.mistral.ai",
    // platform.deepseek.com/api-docs/api/deepseek-api: a bearer token, made before the API is used (2026-11)
    "api.deepseek.com",
    // docs.together.ai/reference/models: Authorization with a bearer token (2026-11)
    "api.together.xyz",
    // github.com/togethercomputer/openapi, openapi.yaml: bearerAuth for every path, and 401 of /models (2026-04)
    "api.together.ai",
];

/// Whether a list of models shows that the key is accepted there.
fn lists_to_owners_only(endpoint: &str) -> bool {
    let host = endpoint.strip_prefix("https://").and_then(|rest| rest.split('/').next());
    host.is_some_and(|host| KEY_FOR_THE_LIST.contains(&host))
}

/// The model that a provider is asked for when nobody names one.
#[derive(Debug, PartialEq)]
enum Wanted {
    /// The configuration says so.
    Configured(String),
    /// The provider's own default.
    Usual(String),
}

/// A provider that has answered.
struct Asked<'a> {
    name: &'a str,
    endpoint: &'a str,
    wanted: Option<Wanted>,
    /// The model of the list that the wanted one is another name of.
    leads_to: Option<String>,
    is_default: bool,
    /// What to do when it has no model.
    get_one: &'a str,
}

pub(super) async fn providers(config: &Config, default: &str) -> Vec<Finding> {
    let all = match provider::all(config, None) {
        Ok(all) => all,
        Err(failure) => return vec![Finding::problem("providers", &failure, "correct the configuration")],
    };
    let mut findings = Vec::new();
    let is_meant = |name: &str| {
        name == default || config.of(name).is_some() || key_of(name, config).is_some_and(|key| key.set)
    };
    // A local Ollama is asked too, for nobody knows whether it is there before it was.
    let (asked, unused): (Vec<_>, Vec<_>) = all
        .into_iter()
        .filter(|(name, _)| name != SCRIPTED)
        .partition(|(name, _)| is_meant(name) || name == OLLAMA);
    let known: HashMap<String, Arc<dyn Provider>> = asked.iter().cloned().collect();
    for (name, answer) in ask_all(asked).await {
        let Some(provider) = known.get(&name) else { continue };
        let endpoint = provider.endpoint();
        let check = format!("provider {name}");
        findings.push(match answer {
            Ok(models) => {
                let get_one = match config.kind(&name) {
                    Kind::Ollama => "ollama pull qwen3:8b",
                    _ => "load a model into that server",
                };
                let is_default = name == default;
                let wanted = wanted(&name, config, provider.default_model().as_deref());
                let leads_to = leads_to(&**provider, wanted.as_ref(), &models).await;
                let asked = Asked { name: &name, endpoint: &endpoint, wanted, leads_to, is_default, get_one };
                answered(&asked, &models)
            }
            Err(failure) if !is_meant(&name) => {
                let why = match failure.kind {
                    Some("transport" | "timeout") => format!("nobody answers at {endpoint}"),
                    _ => failure.message,
                };
                Finding::unused(check, why, format!("to use it, {START_OLLAMA}"))
            }
            Err(failure) => Finding::problem(check, &failure, fix_of(&name, config, &failure)),
        });
    }
    for (name, _) in unused {
        let Some(key) = key_of(&name, config) else { continue };
        let why = format!("{} is not set", key.place);
        let fix = format!("to use it, export {}=…", key.place);
        findings.push(Finding::unused(format!("provider {name}"), why, fix));
    }
    if default == SCRIPTED {
        findings.push(Finding::warning(
            "provider scripted",
            "no model was found, so a small built-in conversation answers",
            "start Ollama, export ANTHROPIC_API_KEY=…, OPENAI_API_KEY=… or GEMINI_API_KEY=…, or configure a provider \
             (docs/configuration.md)",
        ));
    }
    findings
}

fn wanted(name: &str, config: &Config, usual: Option<&str>) -> Option<Wanted> {
    let of_all = config.model.as_deref().filter(|_| config.provider.as_deref() == Some(name));
    let configured = of_all.or_else(|| config.of(name)?.model.as_deref());
    let usual = usual.filter(|model| !model.is_empty());
    configured
        .map(|model| Wanted::Configured(model.to_owned()))
        .or_else(|| usual.map(|model| Wanted::Usual(model.to_owned())))
}

/// The model of the list that the wanted one is another name of: an alias is in no list, but its server may know it.
async fn leads_to(provider: &dyn Provider, wanted: Option<&Wanted>, models: &[ModelInfo]) -> Option<String> {
    let (Wanted::Configured(model) | Wanted::Usual(model)) = wanted?;
    if models.is_empty() || has(models, model) {
        return None;
    }
    let info = timeout(PATIENCE, provider.model_info(model.as_str().into())).await.ok()?.ok()?;
    has(models, &info.id).then(|| info.id.to_string())
}

/// What follows from a list of models.
fn answered(asked: &Asked<'_>, models: &[ModelInfo]) -> Finding {
    let check = format!("provider {}", asked.name);
    let chosen = if asked.is_default { ", the default" } else { "" };
    if models.is_empty() && !matches!(asked.wanted, Some(Wanted::Usual(_))) {
        return Finding::warning(check, format!("it answers and has no model{chosen}"), asked.get_one);
    }
    let lists = format!("`ergane models --provider {}` lists what it has", asked.name);
    let among = match (&asked.wanted, &asked.leads_to) {
        (Some(Wanted::Configured(model) | Wanted::Usual(model)), Some(listed)) => {
            format!(", {listed} among them, which is what {model} means")
        }
        (Some(Wanted::Configured(model)), None) if !has(models, model) => {
            let why = format!("it answers and does not list the configured model {model}");
            return Finding::problem(check, &Failure::model_missing(why), lists);
        }
        (Some(Wanted::Usual(model)), None) if !has(models, model) => {
            let why =
                format!("it answers and does not list {model}, which it is asked for when no model is named");
            return Finding::warning(
                check,
                why,
                format!("{lists}; name one by --model, or in the configuration"),
            );
        }
        (Some(Wanted::Configured(model) | Wanted::Usual(model)), None) => format!(", {model} among them"),
        (None, _) => String::new(),
    };
    let authorised = if lists_to_owners_only(asked.endpoint) { " and authorised" } else { "" };
    Finding::ok(check, format!("reachable{authorised}, {} models{among}{chosen}", models.len()))
}

/// Whether the list has the model: by its name, or with the tag or the date that its name stands for.
fn has(models: &[ModelInfo], model: &str) -> bool {
    models.iter().any(|info| match info.id.strip_prefix(model) {
        Some("" | ":latest") => true,
        Some(rest) => {
            let date = rest.strip_prefix('-').unwrap_or_default();
            date.len() >= "20260101".len() && date.chars().all(|c| c.is_ascii_digit() || c == '-')
        }
        None => false,
    })
}

fn fix_of(name: &str, config: &Config, failure: &Failure) -> String {
    let key = key_of(name, config);
    match (failure.kind, key) {
        (Some("auth"), Some(key)) if key.place.contains(['/', '\\']) => {
            format!("put a valid key into {}", key.place)
        }
        (Some("auth"), Some(key)) => format!("export {}=… with a valid key", key.place),
        (Some("auth"), None) => format!("name its key: api_key_env in [providers.{name}]"),
        (Some("transport" | "timeout"), _) if name == OLLAMA => START_OLLAMA.to_owned(),
        (Some("transport" | "timeout"), _) => {
            format!("start that server, or correct base_url in [providers.{name}]")
        }
        (Some("unsupported"), _) => "it lists no models; name one by --model".to_owned(),
        _ => format!("look at what it says: ergane query hello --provider {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn finding(endpoint: &str, wanted: Option<Wanted>, models: &[&str]) -> (Status, String) {
        let models: Vec<ModelInfo> = models.iter().map(|name| ModelInfo::new(*name)).collect();
        let asked =
            Asked { name: "p", endpoint, wanted, leads_to: None, is_default: false, get_one: "get one" };
        let found = answered(&asked, &models);
        assert_eq!(found.fix.is_none(), found.status == Status::Ok, "{found:?}");
        (found.status, found.message)
    }

    #[test]
    fn a_list_shows_that_a_key_is_accepted_only_where_nobody_else_gets_it() {
        let shown = |endpoint: &str| finding(endpoint, None, &["m"]).1;
        for host in KEY_FOR_THE_LIST {
            for endpoint in [format!("https://{host}"), format!("https://{host}/v1")] {
                assert_eq!(shown(&endpoint), "reachable and authorised, 1 models");
            }
            assert_eq!(shown(&format!("https://{host}.example/v1")), "reachable, 1 models");
        }
        for endpoint in [
            "https://openrouter.ai/api/v1",
            "https://api.groq.com/openai/v1",
            "http://localhost:8080/v1",
            "http://api.openai.com/v1",
        ] {
            assert_eq!(shown(endpoint), "reachable, 1 models");
        }
    }

    #[test]
    fn the_model_that_will_be_asked_for_is_looked_for_whoever_named_it() {
        let at = "http://localhost/v1";
        let configured = |model: &str| Some(Wanted::Configured(model.to_owned()));
        let usual = |model: &str| Some(Wanted::Usual(model.to_owned()));
        assert_eq!(finding(at, configured("m"), &["n"]).0, Status::Problem);
        assert_eq!(finding(at, configured("m"), &[]).0, Status::Warning);
        let (status, message) = finding(at, usual("m"), &["n"]);
        assert_eq!(status, Status::Warning);
        assert!(
            message.contains("does not list m, which it is asked for when no model is named"),
            "{message}"
        );
        assert_eq!(finding(at, usual("m"), &[]).0, Status::Warning);
        for listed in ["m", "m:latest", "m-20260101", "m-2026-01-01"] {
            assert_eq!(finding(at, usual("m"), &["n", listed]).1, "reachable, 2 models, m among them");
        }
        for other in ["m-mini", "m-4", "mm", "m-"] {
            assert_eq!(finding(at, usual("m"), &[other]).0, Status::Warning, "{other}");
        }
    }

    #[test]
    fn what_the_configuration_names_goes_before_what_the_provider_would_ask_for() {
        let none = Config::default();
        assert_eq!(wanted("openai", &none, Some("gpt")), Some(Wanted::Usual("gpt".into())));
        assert_eq!(wanted("ollama", &none, Some("")), None, "the server chooses");
        let config = Config { provider: Some("openai".into()), model: Some("m".into()), ..Config::default() };
        assert_eq!(wanted("openai", &config, Some("gpt")), Some(Wanted::Configured("m".into())));
        assert_eq!(wanted("gemini", &config, Some("g")), Some(Wanted::Usual("g".into())));
    }
}
