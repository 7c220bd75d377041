//! Puts a reply together from its pieces, in the same way for every format.

use ergane_core::{
    CallId, Message, MicroUsd, ModelReply, Origin, Part, ProviderError, Reasoning, Role, Spent, StopReason,
    ToolCall, Usage,
};
use serde_json::{Map, Value};

use super::classify::protocol;
use super::{CallInfo, MAX_CALLS, MAX_PIECES, StreamEvent};

/// What has come of a reply. After [`finish`](Assembly::finish) or [`fail`](Assembly::fail) it takes nothing more.
#[derive(Debug)]
pub(crate) struct Assembly {
    pub(crate) call: CallInfo,
    api: &'static str,
    pub(crate) response_id: Option<String>,
    /// What the server calls the model.
    model: Option<String>,
    /// What is whole, in its order. What is still being written comes after it.
    parts: Vec<Part>,
    text: String,
    refusal: String,
    reasoning: String,
    reasoning_field: Option<&'static str>,
    pub(crate) reasoning_data: Map<String, Value>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) usage: Option<Usage>,
    pub(crate) cost: Option<MicroUsd>,
    /// How many calls have begun.
    calls: usize,
    /// How many pieces of whatever kind have.
    pieces: usize,
    shown: bool,
    over: bool,
}

/// A tool call that is being written.
#[derive(Debug, Default, Clone)]
pub(crate) struct Slot {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) arguments: String,
    pub(crate) extra: Map<String, Value>,
}

impl Assembly {
    pub(crate) fn new(call: CallInfo, api: &'static str) -> Self {
        Self {
            call,
            api,
            response_id: None,
            model: None,
            parts: Vec::new(),
            text: String::new(),
            refusal: String::new(),
            reasoning: String::new(),
            reasoning_field: None,
            reasoning_data: Map::new(),
            slots: Vec::new(),
            usage: None,
            cost: None,
            calls: 0,
            pieces: 0,
            shown: false,
            over: false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    pub(crate) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The server says which model answers; its first word counts.
    pub(crate) fn answered_by(&mut self, model: Option<String>) {
        self.model = self.model.take().or(model.filter(|model| !model.is_empty()));
    }

    /// A piece of the reply has begun, which is kept elsewhere until it is whole.
    pub(crate) fn piece_began(&mut self) {
        self.pieces = self.pieces.saturating_add(1);
    }

    /// What is wrong with a reply that has more in it than any reply may have.
    pub(crate) fn excess(&self) -> Option<ProviderError> {
        if self.over {
            return None;
        }
        let calls = (self.calls > MAX_CALLS).then(|| format!("it makes more than {MAX_CALLS} calls"));
        let pieces = || (self.pieces > MAX_PIECES).then(|| format!("it has more than {MAX_PIECES} parts"));
        calls.or_else(pieces).map(|what| protocol(&self.call, &what))
    }

    /// Whether anything of an answer has come.
    pub(crate) fn is_empty(&self) -> bool {
        !self.shown && self.slots.is_empty() && self.parts.is_empty()
    }

    /// What has been written so far is whole: what comes next begins parts of its own. For formats whose replies are
    /// lists of parts that go back in the same order.
    pub(crate) fn seal(&mut self) {
        if !self.reasoning.is_empty() || !self.reasoning_data.is_empty() {
            self.parts.push(Part::Reasoning(Reasoning {
                text: std::mem::take(&mut self.reasoning).into(),
                field: self.reasoning_field.take().map(Into::into),
                data: std::mem::take(&mut self.reasoning_data),
            }));
        }
        if !self.text.is_empty() {
            self.parts.push(Part::text(std::mem::take(&mut self.text)));
        }
        if !self.refusal.is_empty() {
            self.parts.push(Part::Refusal { text: std::mem::take(&mut self.refusal).into() });
        }
    }

    /// A part that came whole. A call says by its `complete` whether it did.
    pub(crate) fn part(&mut self, part: Part) {
        self.seal();
        self.piece_began();
        self.parts.push(part);
    }

    /// A call that is being written; where it stands among the others.
    pub(crate) fn slot(&mut self, slot: Slot) -> usize {
        self.piece_began();
        self.slots.push(slot);
        self.slots.len() - 1
    }

    /// A call that came whole, or that was cut.
    pub(crate) fn call(&mut self, slot: Slot, whole: bool) {
        self.part(Part::ToolCall(slot.into_call(whole)));
    }

    /// Throws away what has come, but not that it was shown.
    pub(crate) fn discard(&mut self) {
        self.seal();
        self.parts.clear();
        self.slots.clear();
    }

    /// As [`part`](Self::part), for several.
    pub(crate) fn parts(&mut self, push: impl FnOnce(&mut Vec<Part>)) {
        self.seal();
        push(&mut self.parts);
    }

    /// Whether a call says of itself that it was cut short.
    fn has_cut_call(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::ToolCall(call) if !call.complete))
    }

    pub(crate) fn text(&mut self, text: &str, events: &mut Vec<StreamEvent>) {
        if !text.is_empty() {
            self.text.push_str(text);
            self.show(StreamEvent::Text(text.into()), events);
        }
    }

    pub(crate) fn refusal(&mut self, text: &str, events: &mut Vec<StreamEvent>) {
        if !text.is_empty() {
            self.refusal.push_str(text);
            self.show(StreamEvent::Text(text.into()), events);
        }
    }

    /// `field` is where it goes back, when it goes back.
    pub(crate) fn reasoning(
        &mut self,
        field: Option<&'static str>,
        text: &str,
        events: &mut Vec<StreamEvent>,
    ) {
        if !text.is_empty() {
            self.reasoning_field = self.reasoning_field.or(field);
            self.reasoning.push_str(text);
            self.show(StreamEvent::Reasoning(text.into()), events);
        }
    }

    /// Shows a piece of text that its format keeps itself until it is whole.
    pub(crate) fn show_text(&mut self, text: &str, events: &mut Vec<StreamEvent>) {
        if !text.is_empty() {
            self.show(StreamEvent::Text(text.into()), events);
        }
    }

    /// The same for a piece of reasoning.
    pub(crate) fn show_reasoning(&mut self, text: &str, events: &mut Vec<StreamEvent>) {
        if !text.is_empty() {
            self.show(StreamEvent::Reasoning(text.into()), events);
        }
    }

    pub(crate) fn call_began(&mut self, name: &str, events: &mut Vec<StreamEvent>) {
        self.calls = self.calls.saturating_add(1);
        self.show(StreamEvent::ToolCall { name: name.into() }, events);
    }

    /// Hands out an event that shows something, for formats that keep what was written themselves.
    pub(crate) fn show(&mut self, event: StreamEvent, events: &mut Vec<StreamEvent>) {
        self.shown = true;
        events.push(event);
    }

    /// The reply is complete. `calls_complete` is false when it stopped for a reason that may have cut a call short:
    /// then no call of it is ever run.
    pub(crate) fn finish(&mut self, stop: StopReason, calls_complete: bool, events: &mut Vec<StreamEvent>) {
        if self.over {
            return;
        }
        if let Some(error) = self.excess() {
            return self.fail(error, events);
        }
        self.seal();
        let refused = self.parts.iter().any(|part| matches!(part, Part::Refusal { .. }));
        // One of its calls says of itself that it was cut short, whatever is said of the whole: then no other counts either.
        let cut = self.has_cut_call();
        let calls_complete = calls_complete && !refused && !cut;
        let is_call = |part: &Part| matches!(part, Part::ToolCall(call) if call.complete);
        let has_calls = !self.slots.is_empty() || self.parts.iter().any(is_call);
        let stop = match stop {
            _ if refused => StopReason::Refusal,
            _ if calls_complete && has_calls => StopReason::ToolCalls,
            StopReason::Stop | StopReason::StopSequence | StopReason::ToolCalls if cut => StopReason::Length,
            StopReason::ToolCalls => {
                tracing::warn!(provider = %self.call.provider, "the model stopped for tool calls but made none");
                StopReason::Stop
            }
            stop => stop,
        };
        let message = self.message(stop, calls_complete);
        self.over = true;
        events.push(StreamEvent::Finish(ModelReply { message, usage: self.usage, cost: self.cost }));
    }

    /// The reply failed, with what had come of it.
    pub(crate) fn fail(&mut self, mut error: ProviderError, events: &mut Vec<StreamEvent>) {
        if self.over {
            return;
        }
        error.after_output = self.shown;
        if self.usage.is_some() || self.cost.is_some() {
            error.spent = Some(Box::new(Spent::of(self.usage, self.cost)));
        }
        let partial = self.message(StopReason::Unknown("error".into()), false);
        self.over = true;
        events.push(StreamEvent::Failed { error, partial });
    }

    fn message(&mut self, stop: StopReason, calls_complete: bool) -> Message {
        self.seal();
        let mut parts = std::mem::take(&mut self.parts);
        let slots = std::mem::take(&mut self.slots);
        parts.extend(slots.into_iter().map(|slot| Part::ToolCall(slot.into_call(true))));
        for part in &mut parts {
            if let Part::ToolCall(call) = part {
                call.complete &= calls_complete;
                if call.complete && call.arguments.trim().is_empty() {
                    call.arguments = "{}".into();
                }
            }
        }
        let origin = Origin {
            provider: self.call.provider.clone(),
            api: self.api.into(),
            // What was asked for and not what the server calls it: servers answer with aliases, dates and paths, and a
            // reply must be known again as this model's own.
            model: self.call.model.clone(),
            response_id: self.response_id.take().map(Into::into),
            stop,
        };
        Message { role: Role::Assistant, parts, origin: Some(origin) }
    }
}

impl Slot {
    fn into_call(self, complete: bool) -> ToolCall {
        ToolCall {
            id: CallId::UNNUMBERED,
            wire_id: self.id.map(Into::into),
            name: self.name.into(),
            arguments: self.arguments.into(),
            complete,
            extra: self.extra,
        }
    }
}

#[cfg(test)]
mod tests;
