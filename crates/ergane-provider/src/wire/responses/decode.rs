//! From the bytes of an answer to events.
//!
//! Pieces of items are shown as they come, but what counts of an item is what the server says of it when it is done.

use ergane_core::{ProviderError, StopReason, Usage};
use serde_json::{Map, Value};

use super::draft::Draft;
use super::drafts::{Drafts, Named};
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
    drafts: Drafts,
}

impl Decoder {
    /// A decoder for the answer that begins with `head`.
    pub fn new(call: CallInfo, head: Head) -> Self {
        let state = State { reply: Assembly::new(call.clone(), API), drafts: Drafts::default() };
        Self(SseReply::new(&call, head, state))
    }
}

forward_decoder!(Decoder);

impl Format for State {
    fn reply(&mut self) -> &mut Assembly {
        &mut self.reply
    }

    fn so_far(&self) -> &Assembly {
        &self.reply
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
        for draft in self.drafts.take() {
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
                self.note_origin(event.get("response"));
            }
            "response.output_item.added" | "response.output_item.done" => {
                let item = take_object(event, "item");
                let word = |field: &str| item.get(field).and_then(Value::as_str);
                let named = Named { kind: word("type"), ..named(event, word("id")) };
                let before = self.drafts.len();
                if kind.ends_with("done") {
                    let at = self.drafts.going_on(named);
                    self.count(before);
                    self.item_done(at, item, events);
                } else {
                    let at = self.drafts.begun(named);
                    self.count(before);
                    if let Some(draft) = self.drafts.get(at) {
                        draft.item = item;
                    }
                    self.tell_call(at, events);
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
        let of = match kind {
            "response.output_text.delta" | "response.refusal.delta" => "message",
            "response.reasoning_summary_text.delta"
            | "response.reasoning_text.delta"
            | "response.reasoning_summary_part.added" => "reasoning",
            "response.function_call_arguments.delta" | "response.function_call_arguments.done" => {
                "function_call"
            }
            _ => return,
        };
        let before = self.drafts.len();
        let at = self.drafts.going_on(Named { kind: Some(of), ..named(event, None) });
        self.count(before);
        let Some(draft) = self.drafts.get(at) else { return };
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

    fn note_origin(&mut self, response: Option<&Value>) {
        let word = |field: &str| response?.get(field)?.as_str().map(str::to_owned);
        if self.reply.response_id.is_none() {
            self.reply.response_id = word("id").filter(|id| !id.is_empty());
        }
        self.reply.answered_by(word("model"));
    }

    /// Counts an item that has begun.
    fn count(&mut self, before: usize) {
        if self.drafts.len() > before {
            self.reply.piece_began();
        }
    }

    /// The server's last word on an item.
    fn item_done(&mut self, at: usize, item: Map<String, Value>, events: &mut Vec<StreamEvent>) {
        let Some(draft) = self.drafts.get(at) else { return };
        let unshown = draft.finish(item);
        self.show(&unshown.reasoning, &unshown.text, events);
        self.tell_call(at, events);
    }

    fn tell_call(&mut self, at: usize, events: &mut Vec<StreamEvent>) {
        if let Some(name) = self.drafts.get(at).and_then(Draft::untold_call) {
            self.reply.call_began(&name, events);
        }
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
        self.note_origin(Some(response));
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
        if self.drafts.len() >= output.len() && self.drafts.are_done() {
            return;
        }
        let claims = self.drafts.claims(&output);
        for ((index, item), claim) in (0u64..).zip(output).zip(claims) {
            let Value::Object(item) = item else { continue };
            let before = self.drafts.len();
            let id = item.get("id").and_then(Value::as_str);
            let at = self.drafts.place(claim, Named { index: Some(index), id, kind: None });
            self.count(before);
            if !self.drafts.is_done(at) {
                self.item_done(at, item, events);
            }
        }
    }
}

/// What an event says of its item; `id` is what the item says of itself.
fn named<'a>(event: &'a Value, id: Option<&'a str>) -> Named<'a> {
    let of_item = event.get("item_id").and_then(Value::as_str);
    Named { index: event.get("output_index").and_then(Value::as_u64), id: of_item.or(id), kind: None }
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
