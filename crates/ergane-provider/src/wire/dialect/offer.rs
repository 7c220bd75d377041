//! Tells of tools, their calls and their results in words, for models that know no other way.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use ergane_core::{History, Mark, Message, ModelRequest, Part, Role, ToolChoice, ToolResult, ToolSpec};
use serde_json::{Map, Value, json};

use crate::wire::history::object_text;

/// The request without tools that says in its texts what `request` says by its tools, calls and results.
pub fn offer(request: &ModelRequest) -> ModelRequest {
    let mut told = request.clone();
    told.tools = Arc::new([]);
    told.tool_choice = ToolChoice::Auto;
    told.parallel_tools = None;
    if !request.tools.is_empty() && request.tool_choice != ToolChoice::None {
        let own = request.system.as_deref().unwrap_or_default();
        let gap = if own.is_empty() { "" } else { "\n\n" };
        told.system = Some(format!("{own}{gap}{}", instructions(request)).into());
    }
    told.messages = messages(&request.messages);
    told
}

fn instructions(request: &ModelRequest) -> String {
    let mut text = String::from(
        "You can call tools. To call one, end your answer with a block like this, alone on its lines:\n\n",
    );
    let example = request.tools.first().map(|tool| (&*tool.name, example(tool)));
    let (name, arguments) = example.unwrap_or(("tool", json!({})));
    push_block(&mut text, name, &arguments.to_string());
    text.push_str(
        "\nThe name and the arguments are one JSON object; the arguments follow the tool's schema. Write nothing after the \
         block: the result comes in the next message, between <tool_response> and </tool_response>. ",
    );
    text.push_str(if request.parallel_tools == Some(false) {
        "Call one tool at a time."
    } else {
        "Several calls are several blocks."
    });
    text.push_str(" Without a block your answer is final.\n\nThe tools:\n");
    for tool in request.tools.iter() {
        let line =
            json!({"name": &*tool.name, "description": &*tool.description, "parameters": &*tool.parameters});
        // Writing to a String cannot fail.
        writeln!(text, "{line}").ok();
    }
    match &request.tool_choice {
        ToolChoice::Required => text.push_str("\nYou must call a tool now."),
        ToolChoice::Tool(name) => {
            write!(text, "\nYou must call {name} now.").ok();
        }
        ToolChoice::Auto | ToolChoice::None => {}
    }
    text
}

fn push_block(text: &mut String, name: &str, arguments: &str) {
    let name = Value::from(name);
    // The model's own bytes stay as they are.
    write!(text, "~~~tool_call\n{{\"name\": {name}, \"arguments\": {arguments}}}\n~~~\n").ok();
}

/// Arguments that show the shape: every required one, with a value of its type.
fn example(tool: &ToolSpec) -> Value {
    let properties = tool.parameters.get("properties").and_then(Value::as_object);
    let required = tool.parameters.get("required").and_then(Value::as_array);
    let names = required.into_iter().flatten().filter_map(Value::as_str);
    let value = |name: &str| {
        let schema = properties.and_then(|properties| properties.get(name));
        let first = schema.and_then(|schema| schema.get("enum")?.get(0)).cloned();
        let kind = schema.and_then(|schema| schema.get("type")).and_then(Value::as_str);
        first.unwrap_or_else(|| match kind {
            Some("integer" | "number") => json!(1),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => json!("…"),
        })
    };
    names.map(|name| (name.to_owned(), value(name))).collect::<Map<_, _>>().into()
}

/// What was told of the beginning of a history, which is kept with it: what was told is told by the very same messages, so
/// that what was written of those is kept too.
#[derive(Default)]
struct Told {
    upto: usize,
    mark: Option<Mark>,
    told: History,
}

fn messages(history: &History) -> History {
    let Some(kept) = history.kept() else { return told_on(History::default(), history, 0, history.len()) };
    let told = kept.value(|_: &Mutex<Told>| true, Mutex::default);
    let mut known = told.lock().unwrap_or_else(PoisonError::into_inner);
    if !known.mark.as_ref().is_some_and(|mark| history.begins_with(mark)) {
        *known = Told::default();
    }
    // Nothing becomes a part of what the model said, so what is before that is told once and for all: where it is said.
    let upto = known.upto;
    let answers = (upto..history.settled()).zip(history.iter_from(upto));
    let last = answers.filter(|(_, message)| message.role == Role::Assistant).last();
    if let Some((at, _)) = last.filter(|(at, _)| *at > upto) {
        let told = told_on(std::mem::take(&mut known.told), history, upto, at);
        *known = Told { upto: at, mark: history.mark(at.saturating_add(1)), told };
    }
    told_on(known.told.clone(), history, known.upto, history.len())
}

/// What is told of the messages from `from` to before `to`, behind `told`. Many templates want users and models to take turns,
/// so what a user says after results stands in one message with them.
fn told_on(mut told: History, history: &History, from: usize, to: usize) -> History {
    let mut open: Option<Message> = None;
    for message in history.iter_from(from).take(to.saturating_sub(from)) {
        let message = match message.role {
            Role::User => Message::clone(message),
            Role::Assistant => with_blocks(message),
            Role::Tool => Message::user(message.results().flat_map(response).collect()),
        };
        match &mut open {
            Some(last) if last.role == Role::User && message.role == Role::User => {
                last.parts.extend(message.parts);
            }
            _ => {
                if let Some(closed) = open.replace(message) {
                    told.push(Arc::new(closed));
                }
            }
        }
    }
    if let Some(closed) = open {
        told.push(Arc::new(closed));
    }
    told
}

fn with_blocks(message: &Message) -> Message {
    let mut told = message.clone();
    told.parts.retain(|part| !matches!(part, Part::ToolCall(_)));
    let mut blocks = String::new();
    for call in message.calls().filter(|call| call.complete) {
        push_block(&mut blocks, &call.name, object_text(call));
    }
    if blocks.is_empty() {
        return told;
    }
    let is_text = |part: &Part| matches!(part, Part::Text { .. });
    match told.parts.iter_mut().rfind(|part| is_text(part)) {
        Some(Part::Text { text }) => *text = format!("{}\n\n{blocks}", text.trim_end()).into(),
        _ => told.parts.push(Part::text(blocks)),
    }
    told
}

fn response(result: &ToolResult) -> Vec<Part> {
    let told = json!({"name": &*result.name, "content": result.text(), "error": result.is_error});
    let mut parts = vec![Part::text(format!("<tool_response>{told}</tool_response>"))];
    parts.extend(result.content.iter().filter(|part| matches!(part, Part::Image { .. })).cloned());
    parts
}

#[cfg(test)]
mod tests;
