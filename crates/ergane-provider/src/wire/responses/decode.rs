//! From the bytes of an answer to events.
//!
//! Pieces of items are shown as they come, but what counts of an item is what the server says of it when it is done.

use ergane_core::{ProviderError, StopReason, Usage};
use serde_json::{Map, Value, json};

use super::draft::{Draft, Unshown};
use super::{API, items};
use crate::wire::assembly::Assembly;
use crate::wire::classify::{WireError, protocol, stream_error};
use crate::wire::sse::{Format, Read, SseReply, forward_decoder};
use crate::wire::{CallInfo, Head, StreamEvent};

/// Decodes one answer, streamed or whole: what it is, is seen from the answer and not from what was asked for.
#[derive(Debug)]
pub struct Decoder(SseReply<State>);

#[derive(Debug)]
struct State {
    reply: Assembly,
    drafts: Vec<Draft>,
}

impl Decoder {
    /// A decoder for the answer that begins with `head`.
    pub fn new(call: CallInfo, head: Head) -> Self {
        let state = State { reply: Assembly::new(call.clone(), API), drafts: Vec::new() };
        Self(SseReply::new(&call, head, state))
    }
}

forward_decoder!(Decoder);

impl Format for State {
    fn reply(&mut self) -> &mut Assembly {
        &mut self.reply
    }

    fn event(&mut self, name: &str, data: &str, events: &mut Vec<StreamEvent>) -> Read {
        let mut event = serde_json::from_str::<Value>(data)?;
        let kind = event.get("type").and_then(Value::as_str).unwrap_or(name).to_owned();
        self.typed_event(&kind, &mut event, events);
        Ok(())
    }

    fn whole(&mut self, body: &[u8], events: &mut Vec<StreamEvent>) -> Read {
        let mut response = serde_json::from_slice::<Value>(body)?;
        if response.get("output").is_some_and(Value::is_array) {
            self.ended("", &mut response, events);
        } else if let Some(error) = WireError::in_json(&response) {
            self.fail(stream_error(&self.reply.call, &error), events);
        } else {
            let what = "it is JSON, but no response with `output`";
            self.fail(protocol(&self.reply.call, what), events);
        }
        Ok(())
    }

    /// Only an event proves that a reply is complete, and none did.
    fn end_of_stream(&mut self, _: &mut Vec<StreamEvent>) {}

    fn before_failure(&mut self) {
        // By their place in the reply, whatever the order of their events.
        self.drafts.sort_by_key(|draft| draft.index.unwrap_or(u64::MAX));
        for draft in std::mem::take(&mut self.drafts) {
            self.reply.parts(|parts| items::push_parts(draft.into_item(), parts));
        }
    }
}

impl State {
    fn fail(&mut self, error: ProviderError, events: &mut Vec<StreamEvent>) {
        self.before_failure();
        self.reply.fail(error, events);
    }

    fn typed_event(&mut self, kind: &str, event: &mut Value, events: &mut Vec<StreamEvent>) {
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                self.note_id(event.get("response"));
            }
            "response.output_item.added" | "response.output_item.done" => {
                let item = take_object(event, "item");
                let Some(draft) = self.draft(event, &item) else { return };
                let unshown = if kind.ends_with("done") {
                    draft.finish(item)
                } else {
                    draft.item = item;
                    Unshown::default()
                };
                let call = draft.untold_call();
                self.show(&unshown.reasoning, &unshown.text, events);
                if let Some(name) = call {
                    self.reply.call_began(&name, events);
                }
            }
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                let mut response = event.get_mut("response").map(Value::take).unwrap_or_default();
                self.ended(kind, &mut response, events);
            }
            "error" => self.failed(event, events),
            // An error without its syntax. Any other event that is no piece is one that this version does not know.
            _ if event.get("error").is_some_and(|error| !error.is_null()) => self.failed(event, events),
            _ => self.piece(kind, event, events),
        }
    }

    fn piece(&mut self, kind: &str, event: &Value, events: &mut Vec<StreamEvent>) {
        let field = if kind == "response.function_call_arguments.done" { "arguments" } else { "delta" };
        let piece = event.get(field).and_then(Value::as_str).unwrap_or_default();
        let is_known = matches!(
            kind,
            "response.output_text.delta"
                | "response.refusal.delta"
                | "response.reasoning_summary_text.delta"
                | "response.reasoning_text.delta"
                | "response.reasoning_summary_part.added"
                | "response.function_call_arguments.delta"
                | "response.function_call_arguments.done"
        );
        let Some(draft) = is_known.then(|| self.draft(event, &Map::new())).flatten() else { return };
        match kind {
            "response.output_text.delta" => {
                draft.text.push_str(piece);
                self.show("", piece, events);
            }
            "response.refusal.delta" => {
                draft.refusal.push_str(piece);
                self.show("", piece, events);
            }
            "response.function_call_arguments.delta" => draft.arguments.push_str(piece),
            // The whole of them; the name is not repeated by all.
            "response.function_call_arguments.done" if !piece.is_empty() => {
                draft.arguments = piece.to_owned()
            }
            "response.function_call_arguments.done" => {}
            _ => {
                // A part of a summary begins.
                let begins = kind.ends_with("added") && !draft.reasoning.is_empty();
                let piece = if begins { "\n\n" } else { piece };
                draft.reasoning.push_str(piece);
                self.show(piece, "", events);
            }
        }
    }

    fn show(&mut self, reasoning: &str, text: &str, events: &mut Vec<StreamEvent>) {
        if !reasoning.is_empty() {
            self.reply.show(StreamEvent::Reasoning(reasoning.into()), events);
        }
        if !text.is_empty() {
            self.reply.show(StreamEvent::Text(text.into()), events);
        }
    }

    fn note_id(&mut self, response: Option<&Value>) {
        if self.reply.response_id.is_none() {
            let id = response.and_then(|response| response.get("id")).and_then(Value::as_str);
            self.reply.response_id = id.filter(|id| !id.is_empty()).map(str::to_owned);
        }
    }

    /// The item of an event: by its place, else by its id, else the last one. It is made when it is new.
    fn draft(&mut self, event: &Value, item: &Map<String, Value>) -> Option<&mut Draft> {
        let index = event.get("output_index").and_then(Value::as_u64);
        let id = event.get("item_id").or(item.get("id")).and_then(Value::as_str);
        let found = match (index, id) {
            (Some(_), id) => {
                let by_id = |draft: &Draft| draft.index.is_none() && id.is_some_and(|id| draft.has_id(id));
                let by_index = self.drafts.iter().rposition(|draft| draft.index == index);
                by_index.or_else(|| self.drafts.iter().rposition(by_id))
            }
            (None, Some(id)) => self.drafts.iter().rposition(|draft| draft.has_id(id)),
            // An item that says neither is the one that is being written, or a new one.
            (None, None) => self
                .drafts
                .len()
                .checked_sub(1)
                .filter(|&at| self.drafts.get(at).is_some_and(|draft| !draft.done)),
        };
        let at = found.unwrap_or_else(|| {
            self.drafts.push(Draft { index, id: id.map(str::to_owned), ..Draft::default() });
            self.drafts.len() - 1
        });
        self.drafts.get_mut(at)
    }

    /// An event that says it is an error, in either of its shapes.
    fn failed(&mut self, event: &Value, events: &mut Vec<StreamEvent>) {
        let error = WireError::in_json(event).unwrap_or_else(|| WireError {
            message: "it failed without saying why".to_owned(),
            ..WireError::default()
        });
        self.fail(stream_error(&self.reply.call, &error), events);
    }

    /// The response is over: well, early, or badly. `kind` is the event that says so, or nothing for a whole answer.
    fn ended(&mut self, kind: &str, response: &mut Value, events: &mut Vec<StreamEvent>) {
        self.note_id(Some(response));
        self.reply.usage = response.get("usage").and_then(usage).or(self.reply.usage);
        let status = match kind.strip_prefix("response.") {
            Some(word) => word.to_owned(),
            None => response.get("status").and_then(Value::as_str).unwrap_or("completed").to_owned(),
        };
        let has_error = response.get("error").is_some_and(|error| !error.is_null());
        if status == "failed" || has_error {
            self.take_output(response, events);
            return self.failed(response, events);
        }
        self.take_output(response, events);
        self.before_failure();
        let reason = response.pointer("/incomplete_details/reason").and_then(Value::as_str);
        let (stop, calls_complete) = match (status.as_str(), reason) {
            // One of its calls says of itself that it was cut short.
            ("completed", _) if self.reply.has_cut_call() => (StopReason::Length, false),
            ("completed", _) => (StopReason::Stop, true),
            ("incomplete", Some("max_output_tokens") | None) => (StopReason::Length, false),
            ("incomplete", Some("content_filter")) => (StopReason::ContentFilter, false),
            ("incomplete", Some(reason)) => (StopReason::Unknown(reason.into()), false),
            (word, _) => (StopReason::Unknown(word.into()), false),
        };
        self.reply.finish(stop, calls_complete, events);
    }

    /// The items that the response holds, for those that no event has completed.
    fn take_output(&mut self, response: &mut Value, events: &mut Vec<StreamEvent>) {
        let Some(Value::Array(output)) = response.get_mut("output").map(Value::take) else { return };
        if self.drafts.len() >= output.len() && self.drafts.iter().all(|draft| draft.done) {
            return;
        }
        for (index, item) in (0u64..).zip(output) {
            let Value::Object(item) = item else { continue };
            let known = self.drafts.iter().any(|draft| {
                let same_id = item.get("id").and_then(Value::as_str).is_some_and(|id| draft.has_id(id));
                draft.done && (draft.index == Some(index) || (draft.index.is_none() && same_id))
            });
            if !known {
                let event = json!({"type": "response.output_item.done", "output_index": index, "item": item});
                self.typed_event("response.output_item.done", &mut { event }, events);
            }
        }
    }
}

fn take_object(event: &mut Value, field: &str) -> Map<String, Value> {
    match event.get_mut(field).map(Value::take) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// `None` when neither side is told: absent is not zero.
fn usage(usage: &Value) -> Option<Usage> {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64);
    let (input, output) = (count("/input_tokens"), count("/output_tokens"));
    input.or(output)?;
    Some(Usage {
        input_tokens: input.unwrap_or_default(),
        output_tokens: output.unwrap_or_default(),
        cached_tokens: count("/input_tokens_details/cached_tokens").unwrap_or_default(),
        reasoning_tokens: count("/output_tokens_details/reasoning_tokens").unwrap_or_default(),
        cache_write_tokens: count("/input_tokens_details/cache_write_tokens").unwrap_or_default(),
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests;
