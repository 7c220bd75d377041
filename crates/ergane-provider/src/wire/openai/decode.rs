//! From the bytes of an answer to events.

use ergane_core::{ErrorKind, ProviderError, StopReason};
use serde_json::{Map, Value};

use super::API;
use super::chunk::{Chunk, Delta};
use super::compat::Compat;
use super::places::Places;
use crate::wire::again::Again;
use crate::wire::assembly::Assembly;
use crate::wire::classify::{WireError, protocol, stream_cut, stream_error};
use crate::wire::sse::{Format, Read, SseReply, forward_decoder};
use crate::wire::{CallInfo, Head, StreamEvent};

/// Decodes one answer, streamed or whole: what it is, is seen from the answer and not from what was asked for.
#[derive(Debug)]
pub struct Decoder(SseReply<State>);

#[derive(Debug)]
struct State {
    reply: Assembly,
    places: Places,
    /// What the last event looked like that was nothing but a piece of text.
    again: Again,
    finish: Option<String>,
    /// [`Compat::nothing_is_overflow`].
    nothing_is_overflow: bool,
}

impl Decoder {
    /// A decoder for the answer that begins with `head`.
    pub fn new(call: CallInfo, head: Head) -> Self {
        Self::of(call, head, &Compat::default())
    }

    /// The same for the answer of a server with these flags.
    pub fn of(call: CallInfo, head: Head, flags: &Compat) -> Self {
        let state = State {
            reply: Assembly::new(call.clone(), API),
            places: Places::default(),
            again: Again::default(),
            finish: None,
            nothing_is_overflow: flags.nothing_is_overflow,
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

    fn nothing(&self, status: Option<u16>) -> Option<ProviderError> {
        let may_be = self.nothing_is_overflow && matches!(status, None | Some(400 | 413));
        may_be.then(|| {
            let CallInfo { provider, endpoint, model, .. } = &self.reply.call;
            let message =
                format!("{provider} at {endpoint} answered nothing at all, which it does when the prompt does not fit {model}");
            ProviderError { status, ..ProviderError::new(ErrorKind::ContextOverflow, message) }
        })
    }

    fn event(&mut self, name: &str, data: &str, events: &mut Vec<StreamEvent>) -> Read {
        let is_error = name == "error";
        if !is_error && let Some(text) = self.again.text(data) {
            self.reply.text(&text, events);
            return Ok(());
        }
        let chunk = serde_json::from_str::<Chunk>(data)?;
        match error_of(&chunk, is_error, data) {
            Some(error) => self.reply.fail(stream_error(&self.reply.call, &error), events),
            None => {
                if let Some(text) = chunk.only_text().filter(|_| !is_error) {
                    self.again.learn(data, "content", text);
                }
                self.take(chunk, false, events);
            }
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
        self.reply.answered_by(chunk.model);
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
            self.places.join_detail(reply, entry);
        }
        reply.text(&delta.content.text, events);
        reply.refusal(&delta.refusal.unwrap_or_default(), events);
        let first_of_delta = reply.slots.len();
        for call in delta.tool_calls.into_iter().flatten() {
            self.places.place(reply, call, if whole { None } else { Some(first_of_delta) }, events);
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

#[cfg(test)]
mod tests;
