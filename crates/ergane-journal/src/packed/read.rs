//! Unpacking. Nothing is believed: a piece may be damaged, or of another version of this program.

use std::sync::Arc;

use ergane_core::{
    CallId, Cost, Digest, Effect, Envelope, Epoch, Event, FinishReason, Message, MicroUsd, Origin, Part,
    Role, SendId, Seq, StopReason, Text, Timestamp, ToolCall, ToolResult, TurnId, TurnTotals, Usage,
};
use serde::de::DeserializeOwned;
use serde_json::Map;

use super::{SHARED, form};

/// So deep may results lie in results: the JSON of the log is read no deeper, and the stack is far from its end.
const DEPTH: u8 = 64;

#[derive(Debug)]
pub(super) struct Reader<'a> {
    left: &'a [u8],
    /// The short texts so far.
    texts: Vec<Text>,
    /// What was read last as such, and of which text: mostly the next is the same.
    stop: Option<(Text, StopReason)>,
    finish: Option<(Text, FinishReason)>,
    /// So many results are being read, each in the one before.
    depth: u8,
}

impl<'a> Reader<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self { left: packed, texts: Vec::new(), stop: None, finish: None, depth: 0 }
    }

    pub(super) fn events(mut self, first: Seq, count: usize) -> Option<Vec<Envelope>> {
        let mut events = Vec::with_capacity(count.min(self.left.len()));
        let mut before = 0_i64;
        for seq in (first.0..).take(count) {
            let (v, epoch) = (self.small()?, Epoch(self.number()?));
            before = before.wrapping_add(self.signed()?);
            let event = self.event()?;
            events.push(Envelope { v, seq: Seq(seq), epoch, at: Timestamp(before), event });
        }
        self.left.is_empty().then_some(events)
    }

    fn event(&mut self) -> Option<Event> {
        Some(match self.byte()? {
            form::JSON => self.json()?,
            form::QUEUED => Event::Queued {
                send: SendId(self.text()?),
                input: self.parts()?,
                hash: Digest::from_bytes(*self.take(16)?.first_chunk()?),
                meta: self.optional(Self::json)?,
                settings: None,
            },
            form::TURN_STARTED => Event::TurnStarted { send: SendId(self.text()?) },
            form::MODEL_REPLIED => Event::ModelReplied {
                iteration: self.small()?,
                saw: Seq(self.number()?),
                message: Arc::new(self.message()?),
                usage: self.optional(Self::usage)?,
                cost: self.optional(|reader| reader.number().map(MicroUsd))?,
                attempts: self.small()?,
                unanswered: None,
            },
            form::TOOL_STARTED => Event::ToolStarted {
                call: self.call_id()?,
                effect: match self.byte()? {
                    0 => Effect::Read,
                    1 => Effect::Idempotent,
                    2 => Effect::Write,
                    _ => return None,
                },
                key: self.text()?,
            },
            form::TOOL_FINISHED => Event::ToolFinished {
                result: Arc::new(self.result()?),
                denied: self.flag()?,
                ui: self.optional(Self::json)?,
            },
            form::TURN_ENDED => Event::TurnEnded {
                turn: TurnId(self.number()?),
                finish: {
                    let text = self.text()?;
                    remembered(&mut self.finish, text)?
                },
                error: self.optional(Self::json)?,
                partial: self.optional(Self::text)?,
                unanswered: None,
                totals: self.totals()?,
            },
            _ => return None,
        })
    }

    fn message(&mut self) -> Option<Message> {
        let role = match self.byte()? {
            0 => Role::User,
            1 => Role::Assistant,
            2 => Role::Tool,
            _ => return None,
        };
        let parts = self.parts()?;
        let origin = self.optional(|reader| {
            Some(Origin {
                provider: reader.text()?,
                api: reader.text()?,
                model: reader.text()?,
                response_id: reader.optional(Self::text)?,
                stop: {
                    let text = reader.text()?;
                    remembered(&mut reader.stop, text)?
                },
            })
        })?;
        Some(Message { role, parts, origin })
    }

    fn parts(&mut self) -> Option<Vec<Part>> {
        let count = self.length()?;
        let mut parts = Vec::with_capacity(count.min(16));
        for _ in 0..count {
            parts.push(self.part()?);
        }
        Some(parts)
    }

    fn part(&mut self) -> Option<Part> {
        Some(match self.byte()? {
            0 => self.json()?,
            1 => Part::Text { text: self.text()? },
            2 => Part::ToolCall(ToolCall {
                id: self.call_id()?,
                wire_id: self.optional(Self::text)?,
                name: self.text()?,
                arguments: self.text()?,
                complete: self.flag()?,
                extra: Map::new(),
            }),
            3 => Part::ToolResult(self.result()?),
            _ => return None,
        })
    }

    fn result(&mut self) -> Option<ToolResult> {
        self.depth = self.depth.checked_add(1).filter(|depth| *depth <= DEPTH)?;
        let result = ToolResult {
            call: self.call_id()?,
            name: self.text()?,
            content: self.parts()?,
            is_error: self.flag()?,
            synthetic: self.flag()?,
        };
        self.depth -= 1;
        Some(result)
    }

    fn totals(&mut self) -> Option<TurnTotals> {
        Some(TurnTotals {
            iterations: self.small()?,
            tool_calls: self.small()?,
            usage: self.usage()?,
            cost: Cost { known: MicroUsd(self.number()?), complete: self.flag()? },
            duration_ms: self.number()?,
        })
    }

    fn usage(&mut self) -> Option<Usage> {
        Some(Usage {
            input_tokens: self.number()?,
            output_tokens: self.number()?,
            cached_tokens: self.number()?,
            reasoning_tokens: self.number()?,
            cache_write_tokens: self.number()?,
            cache_write_long_tokens: self.number()?,
        })
    }

    fn call_id(&mut self) -> Option<CallId> {
        Some(CallId { turn: TurnId(self.number()?), index: self.small()? })
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    fn json<T: DeserializeOwned>(&mut self) -> Option<T> {
        let length = self.length()?;
        serde_json::from_slice(self.take(length)?).ok()
    }

    fn text(&mut self) -> Option<Text> {
        let number = self.number()?;
        if number > 1 {
            return self.texts.get(usize::try_from(number - 2).ok()?).cloned();
        }
        let length = self.length()?;
        let text = Text::from(std::str::from_utf8(self.take(length)?).ok()?);
        if number == 0 {
            if length > SHARED {
                return None;
            }
            self.texts.push(text.clone());
        }
        Some(text)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, left) = self.left.split_first()?;
        self.left = left;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.left.split_at_checked(length)?;
        self.left = left;
        Some(taken)
    }
}

/// What that JSON says, read anew only when it is another text than the last.
fn remembered<T: Clone + DeserializeOwned>(last: &mut Option<(Text, T)>, text: Text) -> Option<T> {
    if let Some((_, known)) = last.as_ref().filter(|(known, _)| Arc::ptr_eq(known, &text)) {
        return Some(known.clone());
    }
    let read: T = serde_json::from_str(&text).ok()?;
    *last = Some((text, read.clone()));
    Some(read)
}
