//! From the bytes of an answer to events.

use ergane_core::{ProviderError, StopReason, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::API;
use crate::wire::assembly::{Assembly, Slot};
use crate::wire::body::{Body, Plan};
use crate::wire::classify::{WireError, protocol, stream_cut, stream_error};
use crate::wire::frame::LineDecoder;
use crate::wire::loose;
use crate::wire::work::looked_at;
use crate::wire::{CallInfo, Head, StreamEvent};

/// Decodes one answer. A whole answer is a stream of one line, so there is one way for both; only an answer that a
/// stand-in prints over several lines is told apart, by its first line being no JSON.
#[derive(Debug)]
pub struct Decoder {
    body: Body<LineDecoder>,
    reply: Assembly,
    /// The lines of one value printed over several.
    pretty: String,
}

#[derive(Debug, Default, Deserialize)]
struct Line {
    #[serde(default)]
    message: Option<WireMessage>,
    #[serde(default)]
    done: Option<bool>,
    #[serde(default, deserialize_with = "loose::text")]
    done_reason: Option<String>,
    #[serde(default, deserialize_with = "loose::integer")]
    prompt_eval_count: Option<i64>,
    #[serde(default, deserialize_with = "loose::integer")]
    eval_count: Option<i64>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct WireMessage {
    #[serde(default, deserialize_with = "loose::text")]
    content: Option<String>,
    #[serde(default, deserialize_with = "loose::text")]
    thinking: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<WireCall>>,
}

#[derive(Debug, Default, Deserialize)]
struct WireCall {
    #[serde(default, deserialize_with = "loose::text")]
    id: Option<String>,
    #[serde(default)]
    function: Option<WireFunction>,
}

#[derive(Debug, Default, Deserialize)]
struct WireFunction {
    #[serde(default, deserialize_with = "loose::text")]
    name: Option<String>,
    /// Raw, so that the object keeps the model's own bytes.
    #[serde(default)]
    arguments: Option<Box<RawValue>>,
}

impl Decoder {
    /// A decoder for the answer that begins with `head`.
    pub fn new(call: CallInfo, head: Head) -> Self {
        let body = Body::new(&call, head, Plan::Stream, LineDecoder::default);
        Self { body, reply: Assembly::new(call, API), pretty: String::new() }
    }

    fn take(&mut self, lines: Vec<String>, events: &mut Vec<StreamEvent>) {
        for text in lines {
            if self.reply.is_over() {
                return;
            }
            looked_at(text.len());
            if !self.pretty.is_empty() {
                self.pretty.push_str(&text);
                continue;
            }
            match serde_json::from_str::<Line>(&text) {
                Ok(line) => self.line(line, &text, events),
                Err(_) if text.starts_with('<') => {
                    let error = crate::wire::classify::web_page(&self.reply.call);
                    self.reply.fail(error, events);
                }
                Err(error) if error.is_eof() && self.reply.is_empty() => self.pretty = text,
                Err(error) => {
                    let what = format!("a line is not what it should be ({error})");
                    self.reply.fail(protocol(&self.reply.call, &what), events);
                }
            }
        }
    }

    fn line(&mut self, line: Line, text: &str, events: &mut Vec<StreamEvent>) {
        if line.error.as_ref().is_some_and(|error| !error.is_null())
            && let Some(error) = serde_json::from_str(text).ok().as_ref().and_then(WireError::in_json)
        {
            self.reply.fail(stream_error(&self.reply.call, &error), events);
            return;
        }
        // One line may hold everything there is, the end included.
        if let Some(message) = line.message {
            self.reply.reasoning(Some("thinking"), &message.thinking.unwrap_or_default(), events);
            self.reply.text(&message.content.unwrap_or_default(), events);
            for call in message.tool_calls.into_iter().flatten() {
                self.call(call, events);
            }
        }
        if let Some(error) = self.reply.excess() {
            return self.reply.fail(error, events);
        }
        if line.done == Some(true) {
            // A count of zero is not told. That it is one is certain only of an answer that had no room to begin.
            let nothing = line.done_reason.as_deref() == Some("length") && self.reply.is_empty();
            let zero = line.prompt_eval_count.filter(|_| nothing).map(|_| 0);
            self.reply.usage = usage(line.prompt_eval_count, line.eval_count.or(zero));
            let (stop, calls_complete) = match line.done_reason.as_deref() {
                None | Some("" | "stop" | "load" | "unload") => (StopReason::Stop, true),
                Some("length") => (StopReason::Length, false),
                Some(word) => (StopReason::Unknown(word.into()), false),
            };
            self.reply.finish(stop, calls_complete, events);
        }
    }

    fn call(&mut self, call: WireCall, events: &mut Vec<StreamEvent>) {
        let Some(function) = call.function else { return };
        let name = function.name.unwrap_or_default();
        self.reply.call_began(&name, events);
        self.reply.slot(Slot {
            id: call.id.filter(|id| !id.is_empty()),
            name,
            arguments: function.arguments.map(|raw| loose::arguments(&raw).into_owned()).unwrap_or_default(),
            ..Slot::default()
        });
    }
}

/// Whether the last line, which nothing ended, is the beginning of one whose rest did not come: no nonsense of the server,
/// but a cut. Where the connection is known to be `broken`, what cannot be read is that beginning too.
fn broke_off_within(line: &str, broken: bool) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(line).is_err_and(|error| error.is_eof() || broken)
}

/// The server leaves counts out when they are zero, and that of the prompt also when the prompt was cached; so only an
/// answer that counts its own tokens counts at all.
fn usage(prompt: Option<i64>, answer: Option<i64>) -> Option<Usage> {
    Some(Usage {
        input_tokens: u64::try_from(prompt.unwrap_or_default()).unwrap_or_default(),
        output_tokens: u64::try_from(answer?).ok()?,
        ..Usage::default()
    })
}

impl crate::wire::Decoder for Decoder {
    fn feed(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>) {
        if self.reply.is_over() {
            return;
        }
        let mut lines = Vec::new();
        let fed = self.body.feed(bytes, |decoder, bytes| decoder.feed(bytes, &mut lines));
        self.take(lines, events);
        if let Err(error) = fed {
            self.reply.fail(error, events);
        } else if self.pretty.len() > crate::wire::MAX_EVENT {
            self.reply.fail(protocol(&self.reply.call, "it is too long"), events);
        }
    }

    fn end(&mut self, broken: Option<ProviderError>, events: &mut Vec<StreamEvent>) {
        if self.reply.is_over() {
            return;
        }
        let mut lines = Vec::new();
        if let Err(error) = self.body.end(&broken, |decoder| decoder.end(&mut lines)) {
            return self.reply.fail(error, events);
        }
        if self.pretty.is_empty() {
            lines.retain(|line| !broke_off_within(line, broken.is_some()));
        }
        self.take(lines, events);
        let pretty = std::mem::take(&mut self.pretty);
        if !pretty.is_empty() {
            looked_at(pretty.len());
            match serde_json::from_str::<Line>(&pretty) {
                Ok(line) => self.line(line, &pretty, events),
                Err(error) if !error.is_eof() && broken.is_none() => {
                    let what = format!("it is not JSON ({error})");
                    self.reply.fail(protocol(&self.reply.call, &what), events);
                }
                // Cut off: said below.
                Err(_) => {}
            }
        }
        let error = broken.unwrap_or_else(|| {
            stream_cut(&self.reply.call, "the connection ended before the server said that it was done")
        });
        self.reply.fail(error, events);
    }
}

#[cfg(test)]
mod tests;
