//! From the bytes of an answer to events.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ergane_core::{Opaque, Part, Reasoning, StopReason};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::API;
use super::chunk::{Counts, Delta, Event, WireBlock, WireMessage};
use crate::wire::assembly::{Assembly, Slot};
use crate::wire::classify::{WireError, protocol, stream_cut, stream_error_as};
use crate::wire::loose;
use crate::wire::sse::{Format, Read, SseReply, forward_decoder};
use crate::wire::{CallInfo, Head, StreamEvent};

/// Decodes one answer, streamed or whole: what it is, is seen from the answer and not from what was asked for.
#[derive(Debug)]
pub struct Decoder(SseReply<State>);

#[derive(Debug)]
struct State {
    reply: Assembly,
    /// The blocks that are being written, by the index that the server gave them.
    open: BTreeMap<i64, Block>,
    stop: Option<String>,
    stop_details: Option<Value>,
    usage: Counts,
}

/// A block of the answer that is not whole yet.
#[derive(Debug)]
enum Block {
    Text(String),
    Thinking {
        text: String,
        signature: String,
    },
    Call {
        id: Option<String>,
        name: String,
        start: String,
        json: String,
    },
    /// One of a kind that is not known, as it began; and the JSON of its input, when it is written in pieces.
    Other {
        kind: String,
        data: Value,
        json: String,
    },
}

impl Decoder {
    /// A decoder for the answer that begins with `head`.
    pub fn new(call: CallInfo, head: Head) -> Self {
        let state = State {
            reply: Assembly::new(call.clone(), API),
            open: BTreeMap::new(),
            stop: None,
            stop_details: None,
            usage: Counts::default(),
        };
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
        let event = serde_json::from_str::<Event>(data)?;
        // The name of the event says the same as its type; some leave one of them out.
        let kind = event.kind.as_deref().unwrap_or(name);
        match kind {
            "message_start" => self.started(event.message.as_deref()),
            "content_block_start" => self.block_began(event.index, event.content_block.as_deref(), events),
            "content_block_delta" => self.block_went_on(event.index, event.delta.unwrap_or_default(), events),
            "content_block_stop" => self.block_ended(event.index.unwrap_or_default(), true),
            "message_delta" => {
                let delta = event.delta.unwrap_or_default();
                self.stop = delta.stop_reason.or(self.stop.take());
                self.stop_details = delta.stop_details.or(self.stop_details.take());
                self.counted(event.usage.as_ref());
            }
            "message_stop" if self.stop.is_some() => self.finish(events),
            "message_stop" => {
                let how = "the server said that it was done without saying why it stopped";
                self.reply.fail(stream_cut(&self.reply.call, how), events);
            }
            "error" => self.error(event.error, data, events),
            _ if event.error.as_ref().is_some_and(|error| !error.is_null()) => {
                self.error(event.error, data, events);
            }
            // Pings, and what later versions of the API send.
            _ => {}
        }
        Ok(())
    }

    fn whole(&mut self, body: &[u8], events: &mut Vec<StreamEvent>) -> Read {
        let message = match serde_json::from_slice::<WireMessage>(body) {
            Ok(message) => message,
            Err(error) if error.is_data() => WireMessage::default(),
            Err(error) => return Err(error),
        };
        let is_reply = message.content.is_some() && message.kind.as_deref() != Some("error");
        if !is_reply {
            let value = serde_json::from_slice::<Value>(body)?;
            match WireError::in_json(&value) {
                Some(error) => self.failed(&error, events),
                None => {
                    let what = "it is JSON, but no message with `content`";
                    self.reply.fail(protocol(&self.reply.call, what), events);
                }
            }
            return Ok(());
        }
        self.reply.response_id = message.id.filter(|id| !id.is_empty());
        self.reply.answered_by(message.model);
        for (index, block) in (0..).zip(message.content.into_iter().flatten()) {
            self.block_began(Some(index), Some(&block), events);
            self.block_ended(index, true);
        }
        self.counted(message.usage.as_ref());
        self.stop = message.stop_reason;
        self.stop_details = message.stop_details;
        // The body is complete, and that is proof enough.
        self.finish(events);
        Ok(())
    }

    fn end_of_stream(&mut self, _: &mut Vec<StreamEvent>) {
        // Only `message_stop` proves that it is complete.
    }

    fn before_failure(&mut self) {
        for index in self.open.keys().copied().collect::<Vec<_>>() {
            self.block_ended(index, false);
        }
    }
}

impl State {
    fn started(&mut self, message: Option<&RawValue>) {
        let Some(message) = message.and_then(|raw| serde_json::from_str::<WireMessage>(raw.get()).ok())
        else {
            return;
        };
        if self.reply.response_id.is_none() {
            self.reply.response_id = message.id.filter(|id| !id.is_empty());
        }
        self.reply.answered_by(message.model);
        self.counted(message.usage.as_ref());
    }

    /// The server tells what it has counted so far, which counts if nothing more comes.
    fn counted(&mut self, usage: Option<&Value>) {
        if let Some(usage) = usage {
            self.usage.take(usage);
            self.reply.usage = self.usage.usage();
        }
    }

    fn block_began(&mut self, index: Option<i64>, raw: Option<&RawValue>, events: &mut Vec<StreamEvent>) {
        let Some(raw) = raw else { return };
        let index = index.unwrap_or_default();
        // An index used again without an end in between: what was there is as whole as it will be.
        self.block_ended(index, false);
        let block = serde_json::from_str::<WireBlock>(raw.get()).unwrap_or_default();
        let begun = match block.kind.as_deref() {
            Some("text") => {
                let text = block.text.unwrap_or_default();
                self.reply.show_text(&text, events);
                Block::Text(text)
            }
            Some("thinking") => {
                let text = block.thinking.unwrap_or_default();
                self.reply.show_reasoning(&text, events);
                Block::Thinking { text, signature: block.signature.unwrap_or_default() }
            }
            Some("tool_use") => {
                let name = block.name.unwrap_or_default();
                self.reply.call_began(&name, events);
                let start = block.input.map(|input| loose::arguments(&input).into_owned());
                let id = block.id.filter(|id| !id.is_empty());
                Block::Call { id, name, start: start.unwrap_or_default(), json: String::new() }
            }
            kind => {
                let data = serde_json::from_str(raw.get()).unwrap_or_default();
                Block::Other { kind: kind.unwrap_or("unknown").to_owned(), data, json: String::new() }
            }
        };
        self.reply.piece_began();
        self.open.insert(index, begun);
    }

    fn block_went_on(&mut self, index: Option<i64>, delta: Delta, events: &mut Vec<StreamEvent>) {
        let index = index.unwrap_or_default();
        if let Entry::Vacant(place) = self.open.entry(index) {
            // A server that leaves out the start of a text.
            self.reply.piece_began();
            if delta.text.is_some() {
                place.insert(Block::Text(String::new()));
            } else if delta.thinking.is_some() {
                place.insert(Block::Thinking { text: String::new(), signature: String::new() });
            }
        }
        let reply = &mut self.reply;
        match self.open.get_mut(&index) {
            Some(Block::Text(text)) => {
                let piece = delta.text.unwrap_or_default();
                reply.show_text(&piece, events);
                text.push_str(&piece);
            }
            Some(Block::Thinking { text, signature }) => {
                let piece = delta.thinking.unwrap_or_default();
                reply.show_reasoning(&piece, events);
                text.push_str(&piece);
                signature.push_str(&delta.signature.unwrap_or_default());
            }
            Some(Block::Call { json, .. } | Block::Other { json, .. }) => {
                json.push_str(&delta.partial_json.unwrap_or_default());
            }
            None => {}
        }
    }

    /// The block is over; `whole` says whether the server said so.
    fn block_ended(&mut self, index: i64, whole: bool) {
        let Some(block) = self.open.remove(&index) else { return };
        let part = match block {
            Block::Text(text) if text.is_empty() => return,
            Block::Text(text) => Part::text(text),
            Block::Thinking { text, signature } => {
                let mut data = Map::new();
                if !signature.is_empty() && whole {
                    data.insert("signature".to_owned(), signature.into());
                }
                if text.is_empty() && data.is_empty() {
                    return;
                }
                Part::Reasoning(Reasoning { text: text.into(), field: Some("thinking".into()), data })
            }
            Block::Call { id, name, start, json } => {
                let arguments = if json.trim().is_empty() { start } else { json };
                return self.reply.call(Slot { id, name, arguments, ..Slot::default() }, whole);
            }
            Block::Other { kind, data, .. } if kind == "redacted_thinking" => {
                let data = data.get("data").cloned().unwrap_or_default();
                Part::Reasoning(Reasoning {
                    text: "".into(),
                    field: Some("redacted_thinking".into()),
                    data: Map::from_iter([("data".to_owned(), data)]),
                })
            }
            Block::Other { .. } if !whole => return,
            Block::Other { kind, mut data, json } => {
                if let (Some(data), Ok(input)) = (data.as_object_mut(), serde_json::from_str(&json)) {
                    data.insert("input".to_owned(), input);
                }
                Part::Opaque(Opaque { kind: kind.into(), data })
            }
        };
        self.reply.part(part);
    }

    fn finish(&mut self, events: &mut Vec<StreamEvent>) {
        self.before_failure();
        let word = self.stop.take().unwrap_or_default();
        let (stop, calls_complete) = match word.as_str() {
            "" | "end_turn" => (StopReason::Stop, true),
            "stop_sequence" => (StopReason::StopSequence, true),
            "tool_use" => (StopReason::ToolCalls, true),
            "max_tokens" => (StopReason::Length, false),
            "model_context_window_exceeded" => (StopReason::ContextWindow, false),
            "pause_turn" => (StopReason::PauseTurn, false),
            "refusal" => {
                // What had come is to be thrown away, the API says; what it says of the reason is kept.
                self.reply.discard();
                let why = self.stop_details.take();
                let why = why.as_ref().and_then(|details| details.get("explanation")).and_then(Value::as_str);
                if let Some(text) = why.filter(|text| !text.is_empty()) {
                    self.reply.part(Part::Refusal { text: text.into() });
                }
                (StopReason::Refusal, false)
            }
            // A word nobody knows may mean that a call was cut short.
            _ => (StopReason::Unknown(word.into()), false),
        };
        self.reply.finish(stop, calls_complete, events);
    }

    fn error(&mut self, error: Option<Value>, data: &str, events: &mut Vec<StreamEvent>) {
        let value = serde_json::from_str::<Value>(data).unwrap_or_default();
        let wire = WireError::in_json(&value).unwrap_or_else(|| WireError {
            message: error.unwrap_or_default().to_string(),
            ..WireError::default()
        });
        self.failed(&wire, events);
    }

    /// An error inside a success means what its type means as a status.
    fn failed(&mut self, wire: &WireError, events: &mut Vec<StreamEvent>) {
        self.before_failure();
        let status = match wire.kind.as_deref() {
            Some("invalid_request_error") => Some(400),
            Some("authentication_error") => Some(401),
            Some("billing_error") => Some(402),
            Some("permission_error") => Some(403),
            Some("not_found_error") => Some(404),
            Some("request_too_large") => Some(413),
            Some("rate_limit_error") => Some(429),
            Some("api_error") => Some(500),
            Some("timeout_error") => Some(504),
            Some("overloaded_error") => Some(529),
            _ => None,
        };
        self.reply.fail(stream_error_as(&self.reply.call, wire, status), events);
    }
}

#[cfg(test)]
mod tests;
