//! The built-in conversation: what a fresh machine without any model can show.
//!
//! It is honest by construction. Whatever it says of a project is taken from the tool results in the request; it has no
//! access to anything else. Without such results it says that it cannot know.

use std::collections::HashMap;

use ergane_core::{CallId, Message, ModelRequest, Role, ToolResult};
use serde_json::json;

use super::manifests::{self, Group, MANIFESTS};
use super::script::ScriptedReply;

/// So many manifests are read at most; the answer says when there were more.
const MOST_MANIFESTS: usize = 24;

/// Folders whose manifests are not the project's own.
const NOT_OURS: [&str; 6] = ["target", "node_modules", "vendor", "dist", "build", "site-packages"];

pub(super) fn reply(request: &ModelRequest) -> ScriptedReply {
    let mut since: Vec<&Message> = Vec::new();
    for message in request.messages.iter().rev() {
        since.push(message);
        if message.role == Role::User {
            break;
        }
    }
    since.reverse();
    let asked = since.first().filter(|message| message.role == Role::User);
    let question = asked.map(|message| message.text()).unwrap_or_default();
    let Some(wanted) = Wanted::of(&question) else {
        return ScriptedReply::text(introduction(&question));
    };
    if wanted == Wanted::OnlyForTests {
        let messages: Vec<&Message> = request.messages.iter().map(|message| &**message).collect();
        let earlier = Seen::of(&messages);
        if !earlier.reads.is_empty() {
            return ScriptedReply::text(answer(&earlier, wanted));
        }
    }
    let offered = |name: &str| request.tools.iter().any(|tool| &*tool.name == name);
    if !offered("glob") || !offered("read") {
        return ScriptedReply::text(
            "I cannot know what this project depends on without reading its files, and the tools for that (glob and read) \
             were not offered to me. I am Ergane's built-in scripted conversation, not a model.",
        );
    }
    dependencies(&Seen::of(&since), wanted)
}

/// What somebody wants to know of a project's dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    All,
    /// Those that no user of the project needs. Manifests that were shown in an earlier turn are known still.
    OnlyForTests,
}

impl Wanted {
    fn of(question: &str) -> Option<Self> {
        let question = question.to_lowercase();
        if question.contains("only for test") {
            return Some(Self::OnlyForTests);
        }
        question.contains("depend").then_some(Self::All)
    }

    fn is_met_by(self, group: &Group) -> bool {
        let table = group.table.to_lowercase();
        self == Self::All || table.contains("dev") || table.contains("test")
    }
}

/// The calls that were made, and their results.
struct Seen<'a> {
    glob: Option<&'a ToolResult>,
    reads: Vec<(String, &'a ToolResult)>,
}

impl<'a> Seen<'a> {
    fn of(messages: &[&'a Message]) -> Self {
        let mut paths: HashMap<CallId, String> = HashMap::new();
        let mut seen = Self { glob: None, reads: Vec::new() };
        for message in messages {
            for call in message.calls() {
                let path = call
                    .arguments()
                    .ok()
                    .and_then(|arguments| Some(arguments.get("path")?.as_str()?.to_owned()));
                paths.extend(path.map(|path| (call.id, path)));
            }
            for result in message.results() {
                match &*result.name {
                    "glob" => seen.glob = Some(result),
                    // Of a manifest that was read again, the last time counts.
                    "read" => {
                        let path = paths.get(&result.call).filter(|path| manifests::is_manifest(path));
                        let Some(path) = path.cloned() else { continue };
                        seen.reads.retain(|(other, _)| *other != path);
                        seen.reads.push((path, result));
                    }
                    _ => {}
                }
            }
        }
        seen
    }
}

fn dependencies(seen: &Seen, wanted: Wanted) -> ScriptedReply {
    if !seen.reads.is_empty() {
        return ScriptedReply::text(answer(seen, wanted));
    }
    let Some(glob) = seen.glob else {
        let pattern = format!("**/{{{}}}", MANIFESTS.join(","));
        return ScriptedReply::call("glob", json!({"pattern": pattern}));
    };
    if glob.is_error {
        return ScriptedReply::text(format!(
            "I cannot know what this project depends on: looking for its manifests failed. The tool said: {}",
            glob.text().trim()
        ));
    }
    let text = glob.text();
    let (found, _) = found_manifests(&text);
    if found.is_empty() {
        return ScriptedReply::text(format!(
            "I cannot know what this project depends on: no manifest was found (I looked for {}).",
            MANIFESTS.join(", ")
        ));
    }
    found.iter().fold(ScriptedReply::default(), |reply, path| reply.and_call("read", json!({"path": path})))
}

/// The manifests in a result of `glob`, the nearest to the root first, and how many more there are.
fn found_manifests(text: &str) -> (Vec<&str>, usize) {
    let mut paths: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|path| manifests::is_manifest(path))
        .filter(|path| !path.split('/').any(|part| NOT_OURS.contains(&part)))
        .collect();
    paths.sort_by_key(|path| (path.matches('/').count(), *path));
    paths.dedup();
    let more = paths.len().saturating_sub(MOST_MANIFESTS);
    paths.truncate(MOST_MANIFESTS);
    (paths, more)
}

fn answer(seen: &Seen, wanted: Wanted) -> String {
    let mut listed = String::new();
    let mut without = Vec::new();
    let mut unread = Vec::new();
    let mut partial = Vec::new();
    for (path, result) in &seen.reads {
        if result.is_error {
            unread.push(format!("{path} ({})", result.text().trim()));
            continue;
        }
        let (file, whole) = numbered_lines(&result.text());
        if file.is_empty() {
            unread.push(format!("{path} (it came back empty)"));
            continue;
        }
        if !whole {
            partial.push(path.as_str());
        }
        match manifests::dependencies(path, &file) {
            Ok(mut groups) => {
                groups.retain(|group| wanted.is_met_by(group));
                if groups.is_empty() {
                    without.push(path.as_str());
                } else {
                    list(path, &groups, &mut listed);
                }
            }
            Err(reason) => unread.push(format!("{path} ({reason})")),
        }
    }
    let (such, none, declared) = match wanted {
        Wanted::All => ("this project depends on", "this project depends on nothing else", "dependencies"),
        Wanted::OnlyForTests => (
            "these are only for tests and development",
            "nothing is only for tests",
            "dependencies for tests only",
        ),
    };
    let mut text = match (listed.is_empty(), without.is_empty()) {
        (false, _) => format!("By the manifests I was shown, {such}:\n{listed}"),
        (true, false) => format!("By the manifests I was shown, {none}.\n"),
        (true, true) => {
            "I cannot know what this project depends on: none of its manifests could be read.\n".to_owned()
        }
    };
    let mut note = |lead: &str, what: &[String]| {
        if !what.is_empty() {
            text.push_str(&format!("\n{lead}: {}.", what.join(", ")));
        }
    };
    let owned = |paths: Vec<&str>| paths.into_iter().map(str::to_owned).collect::<Vec<_>>();
    note(&format!("No {declared} are declared in"), &owned(without));
    note("Only a part was shown to me of", &owned(partial));
    note("I could not read", &unread);
    if let Some((_, more @ 1..)) = seen.glob.map(ToolResult::text).as_deref().map(found_manifests) {
        text.push_str(&format!("\n{more} more manifests were found and not read."));
    }
    text.trim_end().to_owned()
}

fn list(path: &str, groups: &[Group], out: &mut String) {
    out.push_str(&format!("\n{path}\n"));
    for group in groups {
        out.push_str(&format!("- {}: {}\n", group.table, group.names.join(", ")));
    }
}

/// The file in a result of `read`, whose lines are `N<tab>line`, and whether nothing but such lines was there.
fn numbered_lines(text: &str) -> (String, bool) {
    let mut file = String::new();
    let mut whole = true;
    let mut expected = 1u64;
    for line in text.lines() {
        let numbered =
            line.split_once('\t').and_then(|(number, line)| Some((number.trim().parse::<u64>().ok()?, line)));
        match numbered {
            Some((number, line)) => {
                whole &= number == expected;
                expected = number.saturating_add(1);
                file.push_str(line);
                file.push('\n');
            }
            None => whole &= line.trim().is_empty(),
        }
    }
    (file, whole)
}

fn introduction(question: &str) -> String {
    let question = question.trim();
    let asked = match question.char_indices().nth(200) {
        None => question.to_owned(),
        Some((end, _)) => format!("{}…", question.get(..end).unwrap_or_default()),
    };
    format!(
        "I am Ergane's built-in scripted conversation, not a model, so I cannot answer this: \"{asked}\"\n\n\
         The one thing I can do is tell what a project depends on, and what of it is only for tests, from its own \
         manifests. To talk to a real model, start \
         Ollama (and `ollama pull` a model), or set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY, or name a compatible \
         server with --provider openai --base-url URL. A session stays with the provider it began with until --provider names \
         another."
    )
}
