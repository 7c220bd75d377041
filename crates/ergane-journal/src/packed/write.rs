//! Packing.

use std::collections::HashMap;

use ergane_core::{
    CallId, Cost, Effect, Envelope, Event, Message, Origin, Part, Role, Text, ToolCall, ToolResult,
    TurnTotals, Usage,
};
use serde::Serialize;

use super::{SHARED, form};

#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// The short texts so far, each with its number.
    texts: HashMap<Box<str>, u64>,
}

impl Writer {
    pub(super) fn events(mut self, events: &[Envelope]) -> Option<Vec<u8>> {
        let mut before = 0;
        for Envelope { v, seq: _, epoch, at, event } in events {
            self.number(u64::from(*v));
            self.number(epoch.0);
            self.signed(at.0.wrapping_sub(before));
            before = at.0;
            self.event(event)?;
        }
        Some(self.bytes)
    }

    fn event(&mut self, event: &Event) -> Option<()> {
        match event {
            Event::Queued { send, input, hash, meta, settings: None } => {
                self.bytes.push(form::QUEUED);
                self.text(&send.0);
                self.parts(input)?;
                self.bytes.extend(hash.to_bytes());
                self.optional(meta.as_ref(), |writer, meta| writer.json(meta))?;
            }
            Event::TurnStarted { send } => {
                self.bytes.push(form::TURN_STARTED);
                self.text(&send.0);
            }
            Event::ModelReplied { iteration, saw, message, usage, cost, attempts, unanswered: None } => {
                self.bytes.push(form::MODEL_REPLIED);
                self.number(u64::from(*iteration));
                self.number(saw.0);
                self.message(message)?;
                self.optional(usage.as_ref(), |writer, usage| {
                    writer.usage(*usage);
                    Some(())
                })?;
                self.optional(cost.as_ref(), |writer, cost| {
                    writer.number(cost.0);
                    Some(())
                })?;
                self.number(u64::from(*attempts));
            }
            Event::ToolStarted { call, effect, key } => {
                self.bytes.push(form::TOOL_STARTED);
                self.call_id(*call);
                self.bytes.push(match effect {
                    Effect::Read => 0,
                    Effect::Idempotent => 1,
                    Effect::Write => 2,
                });
                self.text(key);
            }
            Event::ToolFinished { result, denied, ui } => {
                self.bytes.push(form::TOOL_FINISHED);
                self.result(result)?;
                self.flag(*denied);
                self.optional(ui.as_ref(), |writer, ui| writer.json(ui))?;
            }
            Event::TurnEnded { turn, finish, error, partial, unanswered: None, totals } => {
                self.bytes.push(form::TURN_ENDED);
                self.number(turn.0);
                self.short_json(finish)?;
                self.optional(error.as_ref(), |writer, error| writer.json(error))?;
                self.optional(partial.as_ref(), |writer, partial| {
                    writer.text(partial);
                    Some(())
                })?;
                self.totals(totals);
            }
            rare => {
                self.bytes.push(form::JSON);
                self.json(rare)?;
            }
        }
        Some(())
    }

    fn message(&mut self, Message { role, parts, origin }: &Message) -> Option<()> {
        self.bytes.push(match role {
            Role::User => 0,
            Role::Assistant => 1,
            Role::Tool => 2,
        });
        self.parts(parts)?;
        self.optional(origin.as_ref(), |writer, Origin { provider, api, model, response_id, stop }| {
            writer.text(provider);
            writer.text(api);
            writer.text(model);
            writer.optional(response_id.as_ref(), |writer, id| {
                writer.text(id);
                Some(())
            })?;
            writer.short_json(stop)
        })
    }

    fn parts(&mut self, parts: &[Part]) -> Option<()> {
        self.number(parts.len() as u64);
        parts.iter().try_for_each(|part| self.part(part))
    }

    fn part(&mut self, part: &Part) -> Option<()> {
        match part {
            Part::Text { text } => {
                self.bytes.push(1);
                self.text(text);
            }
            Part::ToolCall(ToolCall { id, wire_id, name, arguments, complete, extra })
                if extra.is_empty() =>
            {
                self.bytes.push(2);
                self.call_id(*id);
                self.optional(wire_id.as_ref(), |writer, id| {
                    writer.text(id);
                    Some(())
                })?;
                self.text(name);
                self.text(arguments);
                self.flag(*complete);
            }
            Part::ToolResult(result) => {
                self.bytes.push(3);
                self.result(result)?;
            }
            rare => {
                self.bytes.push(0);
                self.json(rare)?;
            }
        }
        Some(())
    }

    fn result(&mut self, ToolResult { call, name, content, is_error, synthetic }: &ToolResult) -> Option<()> {
        self.call_id(*call);
        self.text(name);
        self.parts(content)?;
        self.flag(*is_error);
        self.flag(*synthetic);
        Some(())
    }

    fn totals(&mut self, TurnTotals { iterations, tool_calls, usage, cost, duration_ms }: &TurnTotals) {
        self.number(u64::from(*iterations));
        self.number(u64::from(*tool_calls));
        self.usage(*usage);
        let Cost { known, complete } = *cost;
        self.number(known.0);
        self.flag(complete);
        self.number(*duration_ms);
    }

    fn usage(&mut self, usage: Usage) {
        let Usage {
            input_tokens,
            output_tokens,
            cached_tokens,
            reasoning_tokens,
            cache_write_tokens,
            cache_write_long_tokens,
        } = usage;
        let tokens = [input_tokens, output_tokens, cached_tokens, reasoning_tokens];
        tokens.into_iter().for_each(|tokens| self.number(tokens));
        self.number(cache_write_tokens);
        self.number(cache_write_long_tokens);
    }

    fn call_id(&mut self, CallId { turn, index }: CallId) {
        self.number(turn.0);
        self.number(u64::from(index));
    }

    fn optional<T>(
        &mut self,
        value: Option<T>,
        write: impl FnOnce(&mut Self, T) -> Option<()>,
    ) -> Option<()> {
        self.flag(value.is_some());
        value.map_or(Some(()), |value| write(self, value))
    }

    /// A word that comes again and again, such as why something ended.
    fn short_json(&mut self, value: &impl Serialize) -> Option<()> {
        self.text(&Text::from(serde_json::to_string(value).ok()?));
        Some(())
    }

    fn json(&mut self, value: &impl Serialize) -> Option<()> {
        let json = serde_json::to_vec(value).ok()?;
        self.number(json.len() as u64);
        self.bytes.extend(json);
        Some(())
    }

    /// Of a short text that was there before, its number from 2 on; else 0 (short, and gets the next number) or 1, and
    /// the text.
    fn text(&mut self, text: &str) {
        if text.len() <= SHARED {
            if let Some(number) = self.texts.get(text) {
                return self.number(*number);
            }
            self.texts.insert(text.into(), self.texts.len() as u64 + 2);
            self.number(0);
        } else {
            self.number(1);
        }
        self.number(text.len() as u64);
        self.bytes.extend(text.as_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.bytes.push(u8::from(flag));
    }

    /// Small in either direction is few bytes.
    fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow.
    fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.bytes.push(0x80 | (number & 0x7f) as u8);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }
}
