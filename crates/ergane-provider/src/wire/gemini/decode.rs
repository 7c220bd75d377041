//! From the bytes of an answer to events.

use ergane_core::{CallId, ErrorKind, ImageSource, Part, ProviderError, StopReason, ToolCall};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::chunk::{Candidate, Chunk, FunctionCall, WirePart};
use super::{API, PART, SIGNATURE, opaque};
use crate::wire::assembly::Assembly;
use crate::wire::classify::{WireError, protocol, said, stream_error};
use crate::wire::loose;
use crate::wire::sse::{Format, Read, SseReply, forward_decoder};
use crate::wire::{CallInfo, Head, StreamEvent};

/// Decodes one answer: a stream of events, one response, or a list of responses, which is what comes when nobody asks for
/// events.
#[derive(Debug)]
pub struct Decoder(SseReply<State>);

#[derive(Debug)]
struct State {
    reply: Assembly,
    /// The last word: some streams say twice that they are at their end.
    finish: Option<String>,
    /// Why the prompt was not even looked at.
    blocked: Option<String>,
    /// Whether text or a thought is being written; each ends the other.
    writing: Writing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Text,
    Thought,
}

impl Decoder {
    /// A decoder for the answer that begins with `head`.
    pub fn new(call: CallInfo, head: Head) -> Self {
        let reply = Assembly::new(call.clone(), API);
        let state = State { reply, finish: None, blocked: None, writing: Writing::Text };
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
        self.response(data, name == "error", events)
    }

    fn whole(&mut self, body: &[u8], events: &mut Vec<StreamEvent>) -> Read {
        let responses: Vec<Box<RawValue>> = match body.first() {
            Some(b'[') => serde_json::from_slice(body)?,
            _ => vec![serde_json::from_slice(body)?],
        };
        for response in responses {
            if self.reply.is_over() {
                return Ok(());
            }
            self.response(response.get(), false, events)?;
        }
        if self.finish.is_none() && !self.reply.is_empty() {
            // The body is complete, and that is proof enough.
            self.finish = Some("STOP".to_owned());
        }
        self.end_of_stream(events);
        if !self.reply.is_over() {
            let what = "it is JSON, but no response with `candidates`";
            self.reply.fail(protocol(&self.reply.call, what), events);
        }
        Ok(())
    }

    fn end_of_stream(&mut self, events: &mut Vec<StreamEvent>) {
        match (self.finish.take(), self.blocked.take()) {
            (Some(word), _) => self.finish(word, events),
            (None, Some(reason)) if self.reply.is_empty() => {
                let CallInfo { provider, endpoint, .. } = &self.reply.call;
                let reason = said(&self.reply.call, &reason);
                let message = format!("{provider} at {endpoint} blocked the prompt ({reason}); reword it");
                self.reply.fail(ProviderError::new(ErrorKind::ContentBlocked, message), events);
            }
            _ => {}
        }
    }
}

impl State {
    fn response(&mut self, json: &str, is_error: bool, events: &mut Vec<StreamEvent>) -> Read {
        let chunk = serde_json::from_str::<Chunk>(json);
        // An error may also come as a list that holds it.
        let may_fail = match &chunk {
            Ok(chunk) => is_error || chunk.error.as_ref().is_some_and(|error| !error.is_null()),
            Err(error) => error.is_data(),
        };
        let error = || serde_json::from_str(json).ok().as_ref().and_then(WireError::in_json);
        if may_fail && let Some(error) = error() {
            self.reply.fail(stream_error(&self.reply.call, &error), events);
            return Ok(());
        }
        let chunk = chunk?;
        if self.reply.response_id.is_none() {
            self.reply.response_id = chunk.response_id.filter(|id| !id.is_empty());
        }
        self.reply.answered_by(chunk.model_version);
        // Cumulative: the last word counts.
        if let Some(usage) = chunk.usage_metadata {
            self.reply.usage = usage.tokens().or(self.reply.usage);
        }
        self.blocked = chunk.prompt_feedback.and_then(|f| f.block_reason).or(self.blocked.take());
        for candidate in chunk.candidates.into_iter().flatten() {
            if candidate.index.unwrap_or_default() == 0 {
                self.candidate(candidate, events);
            }
        }
        Ok(())
    }

    fn candidate(&mut self, candidate: Candidate, events: &mut Vec<StreamEvent>) {
        let parts = candidate.content.and_then(|content| content.parts);
        for raw in parts.into_iter().flatten() {
            self.part(&raw, events);
        }
        if let Some(word) = candidate.finish_reason.filter(|word| !word.is_empty()) {
            if let Some(why) = candidate.finish_message {
                tracing::debug!(provider = %self.reply.call.provider, %word, why = %self.reply.call.redactor.redact(&why), "the model stopped");
            }
            self.finish = Some(word);
        }
    }

    fn part(&mut self, raw: &RawValue, events: &mut Vec<StreamEvent>) {
        let part = serde_json::from_str::<WirePart>(raw.get()).unwrap_or_default();
        let signature = part.thought_signature.filter(|signature| !signature.is_empty());
        match (part.function_call, part.text, part.inline_data) {
            (Some(call), _, _) => self.call(call, signature, events),
            (None, Some(text), _) if part.thought == Some(true) => self.thought(&text, signature, events),
            (None, Some(text), _) => self.text(&text, signature, events),
            (None, None, Some(blob))
                if blob.mime_type.starts_with("image/") && part.thought != Some(true) =>
            {
                let source = ImageSource::Base64(blob.data.into());
                self.reply.part(Part::Image { mime: blob.mime_type.into(), source });
                if let Some(signature) = signature {
                    self.reply.part(opaque(SIGNATURE, signature.into()));
                }
            }
            (None, None, _) => {
                if let Ok(unknown @ Value::Object(_)) = serde_json::from_str(raw.get()) {
                    self.reply.part(opaque(PART, unknown));
                }
            }
        }
    }

    fn write(&mut self, what: Writing) {
        if std::mem::replace(&mut self.writing, what) != what {
            self.reply.seal();
        }
    }

    /// Pieces without a signature are one text; a piece with one is a part of its own, as it came.
    fn text(&mut self, text: &str, signature: Option<String>, events: &mut Vec<StreamEvent>) {
        self.write(Writing::Text);
        let Some(signature) = signature else { return self.reply.text(text, events) };
        self.reply.seal();
        if text.is_empty() {
            return self.reply.part(opaque(PART, json!({"text": "", SIGNATURE: signature})));
        }
        self.reply.text(text, events);
        self.reply.part(opaque(SIGNATURE, signature.into()));
    }

    fn thought(&mut self, text: &str, signature: Option<String>, events: &mut Vec<StreamEvent>) {
        self.write(Writing::Thought);
        if signature.is_some() {
            self.reply.seal();
        }
        self.reply.reasoning(None, text, events);
        if let Some(signature) = signature {
            self.reply.reasoning_data = signed(signature);
            self.reply.seal();
        }
    }

    /// Calls always come whole.
    fn call(&mut self, call: FunctionCall, signature: Option<String>, events: &mut Vec<StreamEvent>) {
        let name = call.name.unwrap_or_default();
        self.reply.call_began(&name, events);
        let arguments = call.args.map(|raw| loose::arguments(&raw).into_owned()).unwrap_or_default();
        self.reply.part(Part::ToolCall(ToolCall {
            id: CallId::UNNUMBERED,
            wire_id: call.id.filter(|id| !id.is_empty()).map(Into::into),
            name: name.into(),
            arguments: if arguments.trim().is_empty() { "{}".into() } else { arguments.into() },
            complete: true,
            extra: signature.map_or_else(Map::new, signed),
        }));
    }

    fn finish(&mut self, word: String, events: &mut Vec<StreamEvent>) {
        let (stop, calls_complete) = match word.as_str() {
            "STOP" => (StopReason::Stop, true),
            "MAX_TOKENS" => (StopReason::Length, false),
            "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" => (StopReason::MalformedToolCall, false),
            "SAFETY"
            | "RECITATION"
            | "LANGUAGE"
            | "BLOCKLIST"
            | "PROHIBITED_CONTENT"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION" => (StopReason::ContentFilter, false),
            // A word nobody knows may mean that a call was cut short.
            _ => (StopReason::Unknown(word.into()), false),
        };
        self.reply.finish(stop, calls_complete, events);
    }
}

fn signed(signature: String) -> Map<String, Value> {
    Map::from_iter([(SIGNATURE.to_owned(), Value::String(signature))])
}

#[cfg(test)]
mod tests;
