//! From the bytes of an answer to events.

use ergane_core::{ErrorKind, ProviderError, StopReason};
use serde_json::{Map, Value};

use super::API;
use super::chunk::{CallDelta, Chunk, Delta};
use crate::wire::assembly::{Assembly, Slot};
use crate::wire::classify::{WireError, protocol, stream_cut, stream_error};
use crate::wire::loose;
use crate::wire::sse::{Format, Read, SseReply, forward_decoder};
use crate::wire::{CallInfo, Head, StreamEvent};

/// Decodes one answer, streamed or whole: what it is, is seen from the answer and not from what was asked for.
#[derive(Debug)]
pub struct Decoder(SseReply<State>);

#[derive(Debug)]
struct State {
    reply: Assembly,
    finish: Option<String>,
}

impl Decoder {
    /// A decoder for the answer that begins with `head`.
    pub fn new(call: CallInfo, head: Head) -> Self {
        let state = State { reply: Assembly::new(call.clone(), API), finish: None };
        Self(SseReply::new(&call, head, state))
    }
}

forward_decoder!(Decoder);

impl Format for State {
    fn reply(&mut self) -> &mut Assembly {
        &mut self.reply
    }

    fn event(&mut self, name: &str, data: &str, events: &mut Vec<StreamEvent>) -> Read {
        let chunk = serde_json::from_str::<Chunk>(data)?;
        match error_of(&chunk, name == "error", data) {
            Some(error) => self.reply.fail(stream_error(&self.reply.call, &error), events),
            None => self.take(chunk, false, events),
        }
        Ok(())
    }

    fn done(&mut self, events: &mut Vec<StreamEvent>) {
        if self.finish.is_some() {
            return self.finish(events);
        }
        let how = "the server said that it was done without saying why it stopped";
        self.reply.fail(stream_cut(&self.reply.call, how), events);
    }

    fn whole(&mut self, body: &[u8], events: &mut Vec<StreamEvent>) -> Read {
        let chunk = match serde_json::from_slice::<Chunk>(body) {
            Ok(chunk) => chunk,
            // Not the shape of a completion, but perhaps that of an error, such as a list that holds one.
            Err(error) if error.is_data() => Chunk::default(),
            Err(error) => return Err(error),
        };
        let has_choice = chunk.choices.as_ref().is_some_and(|choices| !choices.is_empty());
        if let Some(error) = error_of(&chunk, !has_choice, body) {
            self.reply.fail(stream_error(&self.reply.call, &error), events);
        } else if has_choice {
            self.take(chunk, true, events);
            // The body is complete, and that is proof enough.
            self.finish.get_or_insert_default();
            self.finish(events);
        } else {
            let what = "it is JSON, but no completion with `choices`";
            self.reply.fail(protocol(&self.reply.call, what), events);
        }
        Ok(())
    }

    fn end_of_stream(&mut self, events: &mut Vec<StreamEvent>) {
        // An empty word is the end only when `[DONE]` says so: some send it with every chunk.
        if self.finish.as_deref().is_some_and(|reason| !reason.is_empty()) {
            self.finish(events);
        }
    }
}

impl State {
    fn take(&mut self, chunk: Chunk, whole: bool, events: &mut Vec<StreamEvent>) {
        if self.reply.response_id.is_none() {
            self.reply.response_id = chunk.id.filter(|id| !id.is_empty());
        }
        // Cumulative wherever it comes more than once: the last word counts, nothing is added up.
        if let Some(usage) = chunk.usage.or_else(|| chunk.x_groq.and_then(|groq| groq.usage)) {
            self.reply.usage = usage.tokens().or(self.reply.usage);
            self.reply.cost = usage.cost().or(self.reply.cost);
        }
        for choice in chunk.choices.into_iter().flatten() {
            if choice.index.unwrap_or_default() != 0 {
                continue;
            }
            if let Some(delta) = choice.delta.or(choice.message) {
                self.delta(delta, whole, events);
            }
            if let Some(reason) = choice.finish_reason
                && (!reason.is_empty() || self.finish.is_none())
            {
                self.finish = Some(reason);
            }
        }
    }

    fn delta(&mut self, delta: Delta, whole: bool, events: &mut Vec<StreamEvent>) {
        let reply = &mut self.reply;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        // Servers between two names send both, with the same text.
        match (given(delta.reasoning_content), given(delta.reasoning)) {
            (Some(text), _) => reply.reasoning(Some("reasoning_content"), &text, events),
            (None, Some(text)) => reply.reasoning(Some("reasoning"), &text, events),
            (None, None) => reply.reasoning(None, &delta.content.thinking, events),
        }
        for entry in delta.reasoning_details.into_iter().flatten() {
            join_detail(&mut reply.reasoning_data, entry);
        }
        reply.text(&delta.content.text, events);
        reply.refusal(&delta.refusal.unwrap_or_default(), events);
        let first_of_delta = reply.slots.len();
        for call in delta.tool_calls.into_iter().flatten() {
            place(reply, call, if whole { None } else { Some(first_of_delta) }, events);
        }
    }

    fn finish(&mut self, events: &mut Vec<StreamEvent>) {
        let word = self.finish.take().unwrap_or_default();
        let (stop, calls_complete) = match word.as_str() {
            "" | "stop" | "eos" | "end_turn" => (StopReason::Stop, true),
            "tool_calls" | "function_call" => (StopReason::ToolCalls, true),
            "length" | "max_tokens" => (StopReason::Length, false),
            "model_length" => (StopReason::ContextWindow, false),
            "content_filter" => (StopReason::ContentFilter, false),
            "insufficient_system_resource" => {
                let error = ProviderError::new(
                    ErrorKind::Overloaded,
                    format!(
                        "{} at {} ran out of resources",
                        self.reply.call.provider, self.reply.call.endpoint
                    ),
                );
                return self.reply.fail(error, events);
            }
            "error" => {
                let wire =
                    WireError { message: "it stopped with an error".to_owned(), ..WireError::default() };
                let error = stream_error(&self.reply.call, &wire);
                return self.reply.fail(error, events);
            }
            // A word nobody knows may mean that a call was cut short.
            _ => (StopReason::Unknown(word.into()), false),
        };
        self.reply.finish(stop, calls_complete, events);
    }
}

/// The error in a chunk. Only the top level counts: other parts of a chunk may speak of errors too.
fn error_of(chunk: &Chunk, is_error: bool, data: impl AsRef<[u8]>) -> Option<WireError> {
    let nested = chunk.error.as_ref().or_else(|| chunk.x_groq.as_ref()?.error.as_ref());
    let Some(error) = nested.filter(|error| !error.is_null()) else {
        let flat = is_error || chunk.object.as_deref() == Some("error");
        return flat
            .then(|| serde_json::from_slice(data.as_ref()).ok().as_ref().and_then(WireError::in_json))
            .flatten();
    };
    serde_json::from_slice::<Value>(data.as_ref())
        .ok()
        .as_ref()
        .and_then(WireError::in_json)
        .or_else(|| WireError::in_json(&Value::Object(Map::from_iter([("error".to_owned(), error.clone())]))))
}

/// Adds to the call that a delta belongs to. `first_of_delta` is where this delta's new calls begin; `None` for a whole
/// answer, where every entry is a call of its own.
fn place(
    reply: &mut Assembly,
    delta: CallDelta,
    first_of_delta: Option<usize>,
    events: &mut Vec<StreamEvent>,
) {
    let Some(function) = delta.function else { return };
    let id = delta.id.filter(|id| !id.is_empty());
    let name = function.name.filter(|name| !name.is_empty());
    let found = first_of_delta
        .and_then(|first| find(&reply.slots, first, delta.index, id.as_deref(), name.is_some()));
    let at = found.unwrap_or_else(|| {
        reply.slots.push(Slot { index: delta.index, ..Slot::default() });
        reply.slots.len() - 1
    });
    let Some(slot) = reply.slots.get_mut(at) else { return };
    if slot.id.is_none() {
        slot.id = id;
    }
    if let Some(raw) = function.arguments {
        slot.arguments.push_str(&loose::arguments(&raw));
    }
    slot.extra.extend(delta.extra.into_iter().filter(|(_, value)| !value.is_null()));
    if slot.name.is_empty()
        && let Some(name) = name
    {
        slot.name = name;
        let name = slot.name.clone();
        reply.call_began(&name, events);
    }
}

/// Which call a delta goes on with; `None` when it begins one.
fn find(
    slots: &[Slot],
    first_of_delta: usize,
    index: Option<i64>,
    id: Option<&str>,
    named: bool,
) -> Option<usize> {
    let differs = |slot: &Slot| matches!((&slot.id, id), (Some(old), Some(new)) if old != new);
    let found = match (index, id) {
        (Some(_), _) => slots.iter().rposition(|slot| slot.index == index).filter(|&at| {
            // An index used again for another call: seen on the wire.
            !(named && slots.get(at).is_some_and(differs))
        }),
        (None, Some(id)) => {
            let same = slots.iter().rposition(|slot| slot.id.as_deref() == Some(id));
            // A call whose id comes late.
            let late = || {
                slots.len().checked_sub(1).filter(|&at| slots.get(at).is_some_and(|slot| slot.id.is_none()))
            };
            same.or_else(|| late().filter(|_| !named))
        }
        (None, None) => {
            let last = slots.len().checked_sub(1)?;
            let begun =
                slots.get(last).is_some_and(|slot| !slot.name.is_empty() && !slot.arguments.is_empty());
            (!(named && begun)).then_some(last)
        }
    };
    // Two named entries of one delta are two calls, whatever else they have in common.
    found.filter(|&at| !(named && index.is_none() && at >= first_of_delta))
}

/// Entries of `reasoning_details` come in pieces: those with the same index and type are one.
fn join_detail(data: &mut Map<String, Value>, entry: Value) {
    let list = data.entry("reasoning_details").or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(list) = list else { return };
    let key = |entry: &Value| (entry.get("index").cloned(), entry.get("type").cloned());
    let same = list.iter_mut().rev().find(|old| entry.get("index").is_some() && key(old) == key(&entry));
    let (Some(Value::Object(old)), Value::Object(new)) = (same, &entry) else {
        list.push(entry);
        return;
    };
    for (name, value) in new {
        match (old.get_mut(name), value) {
            (Some(Value::String(old)), Value::String(new))
                if matches!(name.as_str(), "text" | "summary" | "data") =>
            {
                old.push_str(new);
            }
            (_, Value::Null) => {}
            _ => {
                old.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
