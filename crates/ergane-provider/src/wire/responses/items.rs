//! Items of a reply as parts of a message, and back.
//!
//! A text is a text, a call a call, and reasoning keeps its whole item beside its readable words. A message's own fields
//! stand before its texts in an [`Opaque`] of kind [`MESSAGE`], and an item of a kind that Ergane does not know is an
//! [`Opaque`] of kind [`ITEM`].

use ergane_core::{CallId, Message, Opaque, Part, Reasoning, ToolCall};
use serde_json::{Map, Value, json};

use crate::wire::history::{WireCall, object_text};

/// The fields of the message whose texts follow.
const MESSAGE: &str = "message";

/// An item as it came.
const ITEM: &str = "item";

/// A piece of a message that is neither text nor refusal, as it came.
const CONTENT: &str = "content";

/// The parts of one item.
pub(super) fn push_parts(item: Value, parts: &mut Vec<Part>) {
    let Value::Object(mut item) = item else { return };
    // What is null is better not said: some of it is refused when it comes back.
    item.retain(|_, value| !value.is_null());
    match kind(&item) {
        "message" => push_message(item, parts),
        "reasoning" => {
            let text = readable(&item).into();
            parts.push(Part::Reasoning(Reasoning { text, field: None, data: item }));
        }
        "function_call" => parts.push(Part::ToolCall(call(item))),
        // In free text, and never offered: the model is told that its arguments are none. It goes back as a call of a
        // function, whose id this one's cannot be.
        "custom_tool_call" => {
            item.remove("id");
            if let Some(input) = item.remove("input") {
                item.insert("arguments".to_owned(), input);
            }
            parts.push(Part::ToolCall(call(item)));
        }
        _ => parts.push(opaque(ITEM, Value::Object(item))),
    }
}

fn kind(item: &Map<String, Value>) -> &str {
    item.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn opaque(kind: &str, data: Value) -> Part {
    Part::Opaque(Opaque { kind: kind.into(), data })
}

fn push_message(item: Map<String, Value>, parts: &mut Vec<Part>) {
    let kept = item.iter().filter(|(key, _)| matches!(key.as_str(), "id" | "phase"));
    let fields: Map<_, _> = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    if !fields.is_empty() {
        parts.push(opaque(MESSAGE, fields.into()));
    }
    let Some(Value::Array(content)) = item.get("content") else { return };
    for piece in content {
        let text = |field: &str| piece.get(field).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "output_text" | "text" => parts.push(Part::text(text("text"))),
            "refusal" => parts.push(Part::Refusal { text: text("refusal").into() }),
            _ => parts.push(opaque(CONTENT, piece.clone())),
        }
    }
}

/// What a person may read of reasoning: the thoughts themselves where a server shows them, else their summary.
pub(super) fn readable(item: &Map<String, Value>) -> String {
    let texts = |field: &str| -> Vec<&str> {
        let list = item.get(field).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|part| part.get("text")?.as_str()).collect()
    };
    let thoughts = texts("content").concat();
    if thoughts.is_empty() { texts("summary").join("\n\n") } else { thoughts }
}

fn call(mut item: Map<String, Value>) -> ToolCall {
    item.remove("type");
    let mut take = |field: &str| match item.remove(field) {
        Some(Value::String(text)) => text,
        // Some servers write the object itself.
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let (wire_id, name, arguments) = (take("call_id"), take("name"), take("arguments"));
    let complete = take("status") != "incomplete";
    ToolCall {
        id: CallId::UNNUMBERED,
        wire_id: (!wire_id.is_empty()).then(|| wire_id.into()),
        name: name.into(),
        arguments: if arguments.trim().is_empty() && complete { "{}".into() } else { arguments.into() },
        complete,
        extra: item,
    }
}

/// The items of the model's own message, as they came and in their order.
pub(super) fn own(message: &Message, calls: &[WireCall<'_>]) -> Vec<Value> {
    let mut items = Items::new(message.parts.iter().all(is_replayable));
    let mut calls = calls.iter();
    for part in &message.parts {
        match part {
            Part::Text { text } => {
                items.content(json!({"type": "output_text", "text": &**text, "annotations": []}))
            }
            Part::Refusal { text } => items.content(json!({"type": "refusal", "refusal": &**text})),
            Part::Opaque(Opaque { kind, data }) => match &**kind {
                MESSAGE => items.message(data.as_object().cloned().unwrap_or_default()),
                CONTENT => items.content(data.clone()),
                ITEM => items.item(data.clone()),
                _ => {}
            },
            Part::Reasoning(reasoning) if is_replayable(part) => {
                items.item(Value::Object(reasoning.data.clone()));
            }
            Part::ToolCall(call) if call.complete => {
                if let Some(wire) = calls.next() {
                    let mut item = call.extra.clone();
                    if !items.with_ids {
                        item.remove("id");
                    }
                    items.item(function_call(wire, item));
                }
            }
            _ => {}
        }
    }
    items.done()
}

/// The items of another model's message: what it said and whom it called.
pub(super) fn foreign(text: &str, calls: &[WireCall<'_>]) -> Vec<Value> {
    let mut items = Items::new(false);
    if !text.is_empty() {
        items.content(json!({"type": "output_text", "text": text, "annotations": []}));
    }
    for call in calls {
        items.item(function_call(call, Map::new()));
    }
    items.done()
}

/// Reasoning without its encrypted form or its thoughts is only a summary, and the server, which kept nothing, would look
/// for the rest of it.
fn is_replayable(part: &Part) -> bool {
    let Part::Reasoning(reasoning) = part else { return true };
    let filled = |field: &str| match reasoning.data.get(field) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        _ => false,
    };
    kind(&reasoning.data) == "reasoning" && (filled("encrypted_content") || filled("content"))
}

fn function_call(call: &WireCall<'_>, mut item: Map<String, Value>) -> Value {
    for (key, value) in [
        ("type", "function_call"),
        ("call_id", &*call.id),
        ("name", &*call.name),
        ("arguments", object_text(call.call)),
    ] {
        item.insert(key.to_owned(), value.into());
    }
    Value::Object(item)
}

/// Items of one message of ours, as they are put together.
struct Items {
    items: Vec<Value>,
    /// A message whose content is still coming.
    open: Option<Map<String, Value>>,
    content: Vec<Value>,
    /// An id says that the server knows the reasoning before the item; without that reasoning it must not be sent.
    with_ids: bool,
}

impl Items {
    fn new(with_ids: bool) -> Self {
        Self { items: Vec::new(), open: None, content: Vec::new(), with_ids }
    }

    fn message(&mut self, mut fields: Map<String, Value>) {
        self.close();
        if !self.with_ids {
            fields.remove("id");
        }
        self.open = Some(fields);
    }

    fn content(&mut self, piece: Value) {
        self.content.push(piece);
    }

    fn item(&mut self, item: Value) {
        self.close();
        self.items.push(item);
    }

    fn close(&mut self) {
        let mut message = self.open.take().unwrap_or_default();
        let content = std::mem::take(&mut self.content);
        if content.is_empty() {
            return;
        }
        for (key, value) in [("type", "message"), ("role", "assistant"), ("status", "completed")] {
            message.insert(key.to_owned(), value.into());
        }
        message.insert("content".to_owned(), content.into());
        self.items.push(Value::Object(message));
    }

    /// Reasoning at the end, which led to nothing that is sent, is refused.
    fn done(mut self) -> Vec<Value> {
        self.close();
        while self.items.last().is_some_and(|item| item["type"] == "reasoning") {
            self.items.pop();
        }
        self.items
    }
}
