//! `providers`, `models`, `tools`: what there is. Nothing is kept, and no session is touched.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ergane::core::{Effect, SettingsPatch, Text};
use ergane::provider::{Endpoint, ModelInfo, Provider};
use ergane::tools::Tools;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Home;
use crate::args::ModelsArgs;
use crate::config::{Config, Key};
use crate::outcome::{FAILED, Failure, OK};
use crate::plain;
use crate::provider::{self, Kind};
use crate::report::{ErrorObject, Failed};
use crate::screen::{Notes, Stdout};
use crate::signals::Signals;

/// How long a server may take to list its models.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a command that prints one thing.
pub(super) async fn print(
    work: impl Future<Output = Result<Printed, Failure>>,
    json: bool,
    notes: Notes,
) -> u8 {
    let mut stdout = Stdout::default();
    let done = match Signals::listen() {
        Ok(mut signals) => signals.guard(work).await,
        Err(failure) => Err(failure),
    };
    match done {
        Ok(printed) => {
            if json {
                stdout.json(&printed.json);
            } else {
                stdout.write(&printed.text);
            }
            for note in &printed.notes {
                notes.say(note);
            }
            if stdout.has_failed() { printed.exit.max(FAILED) } else { printed.exit }
        }
        Err(failure) => {
            if json {
                stdout.json(&Failed::of(&failure));
            }
            notes.failure(&failure);
            failure.exit
        }
    }
}

/// What a command prints, in both ways.
#[derive(Debug)]
pub(super) struct Printed {
    pub(super) json: serde_json::Value,
    pub(super) text: String,
    pub(super) notes: Vec<String>,
    pub(super) exit: u8,
}

impl Printed {
    pub(super) fn new(json: impl Serialize, text: String) -> Result<Self, Failure> {
        let json = serde_json::to_value(json).map_err(|error| Failure::internal(error.to_string()))?;
        Ok(Self { json, text, notes: Vec::new(), exit: OK })
    }
}

fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    plain::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// Where a provider's key is, and whether there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct KeyPlace {
    /// The variable, or the file.
    pub(super) place: String,
    /// Whether something is there.
    pub(super) set: bool,
}

/// A provider, for people and programs.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) endpoint: String,
    pub(super) model: Option<Text>,
    pub(super) key: Option<KeyPlace>,
    /// Whether it answers when nobody is named.
    pub(super) default: bool,
}

impl Row {
    pub(super) fn of(name: &str, provider: &dyn Provider, config: &Config, default: &str) -> Self {
        let model = if config.provider.as_deref() == Some(name) { config.model.clone() } else { None };
        let own = || provider.default_model().filter(|model| !model.is_empty());
        Self {
            name: name.to_owned(),
            kind: config.kind(name).word(),
            endpoint: provider.endpoint(),
            model: model.or_else(own),
            key: key_of(name, config),
            default: name == default,
        }
    }
}

/// Where its key is, if it has one or wants one.
pub(super) fn key_of(name: &str, config: &Config) -> Option<KeyPlace> {
    let variable = |name: &str| KeyPlace {
        place: name.to_owned(),
        set: std::env::var(name).is_ok_and(|key| !key.trim().is_empty()),
    };
    match config.of(name).and_then(|said| said.key.clone()) {
        Some(Key::Env(name)) => Some(variable(&name)),
        Some(Key::File(path)) => {
            Some(KeyPlace { place: path.display().to_string(), set: holds_something(&path) })
        }
        None => config.kind(name).usual_key().map(variable),
    }
}

/// Whether a file can be a key's: a regular one, as whoever reads the key wants it, with something in it.
fn holds_something(path: &Path) -> bool {
    let mut text = String::new();
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file())
        && File::open(path).and_then(|file| file.take(64 * 1024).read_to_string(&mut text)).is_ok()
        && !text.trim().is_empty()
}

/// The provider that answers when nobody is named.
pub(super) async fn default_provider(config: &Config) -> Text {
    // Its notes say how to get a model, which is no news here.
    provider::available(config, &mut SettingsPatch::default(), Notes::new(true)).await
}

pub(super) async fn providers(home: Result<Home, Failure>) -> Result<Printed, Failure> {
    #[derive(Serialize)]
    struct List {
        providers: Vec<Row>,
    }
    let config = home?.config;
    let default = default_provider(&config).await;
    let all = provider::all(&config, None)?;
    let providers: Vec<Row> =
        all.iter().map(|(name, provider)| Row::of(name, provider.as_ref(), &config, &default)).collect();
    let row = |row: &Row| {
        let key = row.key.as_ref().map_or_else(
            || "-".to_owned(),
            |key| format!("{}{}", key.place, if key.set { "" } else { " (not set)" }),
        );
        vec![
            format!("{}{}", row.name, if row.default { " *" } else { "" }),
            row.kind.to_owned(),
            row.endpoint.clone(),
            row.model.as_deref().unwrap_or("-").to_owned(),
            key,
        ]
    };
    let rows = providers.iter().map(row).collect();
    let text = table(&["NAME", "KIND", "ENDPOINT", "MODEL", "KEY"], rows);
    let mut printed = Printed::new(List { providers }, text)?;
    printed.notes.push(format!("* {default} answers a new session when --provider names no other"));
    Ok(printed)
}

pub(super) async fn tools(home: Result<Home, Failure>) -> Result<Printed, Failure> {
    #[derive(Serialize)]
    struct List {
        tools: Vec<Tool>,
    }
    #[derive(Serialize)]
    struct Tool {
        name: String,
        effect: Effect,
        description: String,
        parameters: serde_json::Value,
    }
    home?;
    let tool = |tool: Arc<dyn ergane::tool_support::Tool>| Tool {
        name: tool.name().to_owned(),
        effect: tool.effect(),
        description: tool.description().to_owned(),
        parameters: tool.parameters(),
    };
    let tools: Vec<Tool> = Tools::all().into_iter().map(tool).collect();
    let row = |tool: &Tool| {
        let first = tool.description.split(". ").next().unwrap_or_default();
        let effect = format!("{:?}", tool.effect).to_lowercase();
        vec![tool.name.clone(), effect, plain::on_one_line(first.trim_end_matches('.'), 100)]
    };
    let rows = tools.iter().map(row).collect();
    let text = table(&["NAME", "EFFECT", "WHAT IT DOES"], rows);
    Printed::new(List { tools }, text)
}

/// A model, and whose it is.
#[derive(Debug, Serialize)]
struct Model {
    provider: String,
    name: Text,
    display_name: Option<Text>,
    context_window: Option<u64>,
    max_output: Option<u64>,
    tools: Option<bool>,
    images: Option<bool>,
    reasoning: Option<bool>,
    embedding: Option<bool>,
}

impl Model {
    fn of(provider: &str, info: ModelInfo) -> Self {
        Self {
            provider: provider.to_owned(),
            name: info.id,
            display_name: info.display_name,
            context_window: info.context_window,
            max_output: info.max_output,
            tools: info.tools,
            images: info.images,
            reasoning: info.reasoning,
            embedding: info.embedding,
        }
    }

    /// What it can do, as far as that is known.
    fn abilities(&self) -> String {
        let all = [
            ("tools", self.tools),
            ("images", self.images),
            ("reasoning", self.reasoning),
            ("embedding", self.embedding),
        ];
        let known: Vec<&str> =
            all.iter().filter(|(_, is)| *is == Some(true)).map(|(name, _)| *name).collect();
        if known.is_empty() { "-".to_owned() } else { known.join(", ") }
    }
}

/// A provider that was asked in vain.
#[derive(Debug, Serialize)]
struct Silent {
    provider: String,
    #[serde(flatten)]
    error: ErrorObject,
}

pub(super) async fn models(args: &ModelsArgs, home: Result<Home, Failure>) -> Result<Printed, Failure> {
    #[derive(Serialize)]
    struct List {
        models: Vec<Model>,
        errors: Vec<Silent>,
    }
    let config = home?.config;
    let asked = asked(args, &config)?;
    let (mut models, mut errors, mut worst) = (Vec::new(), Vec::new(), OK);
    for (name, answer) in ask_all(asked).await {
        match answer {
            Ok(list) => models.extend(list.into_iter().map(|info| Model::of(&name, info))),
            Err(failure) if args.provider.is_some() => return Err(failure),
            Err(failure) => {
                worst = worst.max(failure.exit);
                errors.extend(ErrorObject::of(&failure).map(|error| Silent { provider: name, error }));
            }
        }
    }
    let row = |model: &Model| {
        let window = model.context_window.map_or_else(|| "-".to_owned(), |tokens| tokens.to_string());
        vec![model.provider.clone(), plain::on_one_line(&model.name, 100), window, model.abilities()]
    };
    let text = if models.is_empty() {
        "no models\n".to_owned()
    } else {
        table(&["PROVIDER", "MODEL", "CONTEXT", "CAN"], models.iter().map(row).collect())
    };
    let mut notes: Vec<String> =
        errors.iter().map(|silent| format!("{}: {}", silent.provider, silent.error.message)).collect();
    if models.is_empty() {
        notes.push("`ergane doctor` tells how to get a model".to_owned());
    }
    let exit = if models.is_empty() { worst } else { OK };
    Ok(Printed { notes, exit, ..Printed::new(List { models, errors }, text)? })
}

/// Who is asked: the one that is named, else everybody who can be expected to answer.
fn asked(args: &ModelsArgs, config: &Config) -> Result<Vec<provider::Named>, Failure> {
    let all = provider::all(config, None)?;
    let Some(wanted) = &args.provider else {
        if args.base_url.is_some() || args.api_key_env.is_some() {
            return Err(Failure::config("--base-url and --api-key-env say where: name the --provider too"));
        }
        let likely = |name: &str| match config.kind(name) {
            Kind::Scripted => false,
            Kind::Ollama => true,
            _ => config.of(name).is_some() || key_of(name, config).is_some_and(|key| key.set),
        };
        return Ok(all.into_iter().filter(|(name, _)| likely(name)).collect());
    };
    let names: Vec<Text> = all.iter().map(|(name, _)| name.as_str().into()).collect();
    let found = all.into_iter().find(|(name, _)| name == wanted);
    let (name, provider) = found.ok_or_else(|| provider::unknown(wanted, &names))?;
    let endpoint = Endpoint {
        base_url: args.base_url.as_deref().map(Into::into),
        api_key_env: args.api_key_env.as_deref().map(Into::into),
    };
    if endpoint.is_default() {
        return Ok(vec![(name, provider)]);
    }
    let placed = provider.with_endpoint(&endpoint).map_err(|error| Failure::config(error.to_string()))?;
    Ok(vec![(name, placed)])
}

/// What each of them lists, in their order; all are asked at once.
pub(super) async fn ask_all(asked: Vec<provider::Named>) -> Vec<(String, Result<Vec<ModelInfo>, Failure>)> {
    let mut asking = JoinSet::new();
    for (nth, (name, provider)) in asked.into_iter().enumerate() {
        asking.spawn(async move { (nth, name, ask(provider.as_ref()).await) });
    }
    let mut answers = Vec::new();
    while let Some(answer) = asking.join_next().await {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(error) => tracing::error!(%error, "a list of models was not read"),
        }
    }
    answers.sort_by_key(|(nth, ..)| *nth);
    answers.into_iter().map(|(_, name, answer)| (name, answer)).collect()
}

async fn ask(provider: &dyn Provider) -> Result<Vec<ModelInfo>, Failure> {
    match timeout(PATIENCE, provider.list_models()).await {
        Ok(Ok(models)) => Ok(models),
        Ok(Err(error)) => Err(Failure::of_provider(&error)),
        Err(_) => {
            let why =
                format!("{} did not list its models within {} s", provider.endpoint(), PATIENCE.as_secs());
            Err(Failure::timeout(why))
        }
    }
}
