//! The commands of a chat.

use std::time::Duration;

use ergane::core::{SettingsPatch, Text};
use ergane::provider::Endpoint;
use ergane::tool_support::nearest;

use super::Talk;
use crate::commands::Job;
use crate::outcome::Failure;
use crate::plain;
use crate::workshop::Workshop;

/// What they are called, and what they do.
pub(super) const COMMANDS: [(&str, &str); 7] = [
    ("help", "this list"),
    ("model", "the model and what there is; /model NAME takes another one"),
    ("tools", "the tools, and what they do to the world"),
    ("status", "what the session is doing, and what it has taken"),
    ("clear", "begin a new session with the same settings; this one is kept"),
    ("sessions", "the stored sessions"),
    ("exit", "leave; the session is kept (so does Ctrl-D)"),
];

/// How long a server may take to list its models.
const PATIENCE: Duration = Duration::from_secs(10);

/// What follows a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Fresh,
    Exit,
}

pub(super) async fn run(command: &str, talk: &Talk, job: &mut Job<'_>, workshop: &Workshop) -> Next {
    let (name, rest) = command.trim().split_once(' ').unwrap_or((command.trim(), ""));
    let told = match name {
        "exit" | "quit" => return Next::Exit,
        "clear" => return Next::Fresh,
        "help" => Ok(help()),
        "model" if rest.trim().is_empty() => model(talk, workshop).await,
        "model" => take_model(rest.trim(), talk, workshop).await,
        "tools" => tools(talk, workshop).await,
        "status" => status(talk).await,
        "sessions" => sessions(workshop).await,
        other => Err(unknown(other)),
    };
    match told {
        Ok(text) => job.screen.stdout.write(&text),
        Err(failure) => job.screen.notes.failure(&failure),
    }
    Next::Go
}

fn unknown(name: &str) -> Failure {
    let near = nearest(name, COMMANDS.iter().map(|(name, _)| *name));
    let near = near.map(|near| format!("; did you mean /{near}?")).unwrap_or_default();
    Failure::bad_request(format!(
        "there is no command /{}{near}; /help lists them",
        plain::on_one_line(name, 40)
    ))
}

fn help() -> String {
    let rows: Vec<Vec<String>> =
        COMMANDS.iter().map(|(name, does)| vec![format!("/{name}"), (*does).to_owned()]).collect();
    plain::table(&rows) + "A line that ends with \\ goes on. Ctrl-C interrupts a turn.\n"
}

async fn model(talk: &Talk, workshop: &Workshop) -> Result<String, Failure> {
    let settings = talk.session.settings().await?;
    let name = if settings.model.is_empty() { "left to the provider" } else { &*settings.model };
    let mut text = format!("{}: {name}\n", settings.provider);
    let endpoint =
        Endpoint { base_url: settings.base_url.clone(), api_key_env: settings.api_key_env.clone() };
    let listing = workshop.system.models(settings.provider.clone()).endpoint(endpoint).deadline(PATIENCE);
    match listing.await {
        Ok(models) => {
            let names = models.iter().map(|model| plain::on_one_line(&model.id, plain::WIDTH));
            text.extend(names.map(|name| format!("  {name}\n")));
        }
        Err(error) => text.push_str(&format!("  no list: {}\n", plain::on_one_line(&error.to_string(), 200))),
    }
    Ok(text)
}

async fn take_model(name: &str, talk: &Talk, workshop: &Workshop) -> Result<String, Failure> {
    let patch = SettingsPatch { model: Some(name.into()), ..SettingsPatch::default() };
    workshop.system.session(talk.session.name().as_str()).settings(patch).start().await?;
    Ok(format!("model {name}, from the next turn on\n"))
}

async fn tools(talk: &Talk, workshop: &Workshop) -> Result<String, Failure> {
    let settings = talk.session.settings().await?;
    let registry = workshop.system.context().tools();
    let is_offered = |name: &Text| settings.tools.as_ref().is_none_or(|offered| offered.contains(name));
    let row = |name: &Text| {
        let tool = registry.get(name)?;
        let does = plain::on_one_line(tool.spec.description.split(". ").next().unwrap_or_default(), 80);
        Some(vec![name.to_string(), format!("{:?}", tool.effect).to_lowercase(), does])
    };
    let rows: Vec<Vec<String>> = registry.names().filter(|name| is_offered(name)).filter_map(row).collect();
    Ok(if rows.is_empty() { "no tools are offered\n".to_owned() } else { plain::table(&rows) })
}

async fn status(talk: &Talk) -> Result<String, Failure> {
    let status = talk.session.status().await?;
    let settings = talk.session.settings().await?;
    let activity = serde_json::to_value(&status.activity).unwrap_or_default();
    let mut doing = plain::state(&activity).unwrap_or_default().to_owned();
    if let Some(reason) = plain::state_reason(&activity) {
        doing = format!("{doing}: {reason}");
    }
    let permissions = serde_json::to_value(settings.permissions.mode).unwrap_or_default();
    let rows = [
        ("session", status.session.to_string()),
        ("status", format!("{doing}, {} turns", status.turns)),
        ("model", format!("{} at {}", settings.model, settings.provider)),
        ("folder", settings.cwd.to_string()),
        ("permissions", permissions.as_str().unwrap_or_default().to_owned()),
        ("tokens", format!("{} in, {} out", status.usage.input_tokens, status.usage.output_tokens)),
        ("cost", plain::cost(status.cost)),
    ];
    Ok(plain::table(&rows.map(|(name, value)| vec![name.to_owned(), plain::on_one_line(&value, 200)])))
}

async fn sessions(workshop: &Workshop) -> Result<String, Failure> {
    let sessions = workshop.system.sessions().await?;
    let row = |info: &ergane::SessionInfo| {
        vec![
            info.name.to_string(),
            info.status.to_owned(),
            info.turns.to_string(),
            plain::time(info.last_activity),
            plain::cost(info.cost),
        ]
    };
    let head = ["NAME", "STATUS", "TURNS", "LAST ACTIVITY", "COST"].map(str::to_owned).to_vec();
    Ok(plain::table(&std::iter::once(head).chain(sessions.iter().map(row)).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_command_has_the_list_of_the_commands_as_help_prints_it() {
        let page = include_str!("../../../../../docs/command.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `/")).collect();
        let real = COMMANDS.map(|(name, does)| format!("| `/{name}` | {does} |"));
        assert_eq!(rows, real);
    }
}
