//! A decoder around another one, which finds calls in the text of its answer.

use std::sync::Arc;

use ergane_core::{CallId, Message, ModelReply, Part, ProviderError, StopReason, ToolCall, ToolSpec};
use serde_json::Map;

use super::Found;
use super::scan::Scanner;
use crate::wire::{Decoder, StreamEvent};

/// Finds calls that were written as text in what another decoder yields. Without tools it changes nothing.
#[derive(Debug)]
pub struct Dialect<D> {
    inner: D,
    scanner: Option<Scanner>,
    /// The text without the blocks.
    visible: String,
    /// How many of the scanner's calls were told.
    told: usize,
    /// Whether anything was shown.
    shown: bool,
    inner_events: Vec<StreamEvent>,
}

impl<D: Decoder> Dialect<D> {
    /// Around `inner`, for a request that offered `tools`, natively or as text.
    pub fn new(inner: D, tools: &Arc<[ToolSpec]>) -> Self {
        Self {
            inner,
            scanner: (!tools.is_empty()).then(|| Scanner::new(tools.clone())),
            visible: String::new(),
            told: 0,
            shown: false,
            inner_events: Vec::new(),
        }
    }

    fn pass_on(&mut self, events: &mut Vec<StreamEvent>) {
        for event in std::mem::take(&mut self.inner_events) {
            match (event, &mut self.scanner) {
                (StreamEvent::Text(text), Some(scanner)) => {
                    scanner.feed(&text);
                    self.show(events);
                }
                (StreamEvent::Finish(reply), Some(_)) => self.finish(reply, events),
                (StreamEvent::Failed { error, partial }, Some(_)) => self.fail(error, partial, events),
                (event, _) => {
                    self.shown = true;
                    events.push(event);
                }
            }
        }
    }

    /// Shows what the scanner has let through.
    fn show(&mut self, events: &mut Vec<StreamEvent>) {
        let Some(scanner) = &mut self.scanner else { return };
        let text = scanner.shown();
        if !text.is_empty() {
            self.visible.push_str(&text);
            self.shown = true;
            events.push(StreamEvent::Text(text.into()));
        }
        for call in scanner.calls().iter().skip(self.told) {
            self.shown = true;
            events.push(StreamEvent::ToolCall { name: (&*call.name).into() });
        }
        self.told = scanner.calls().len();
    }

    /// The calls of the whole text, when it is over.
    fn calls(&mut self, cut: bool, events: &mut Vec<StreamEvent>) -> Vec<Found> {
        if let Some(scanner) = &mut self.scanner {
            scanner.finish(cut);
        }
        self.show(events);
        self.scanner.take().map(|scanner| scanner.calls().to_vec()).unwrap_or_default()
    }

    fn finish(&mut self, mut reply: ModelReply, events: &mut Vec<StreamEvent>) {
        let stop =
            reply.message.origin.as_ref().map(|origin| origin.stop.clone()).unwrap_or(StopReason::Stop);
        let cut = !matches!(stop, StopReason::Stop | StopReason::StopSequence | StopReason::ToolCalls);
        let calls = self.calls(cut, events);
        if !calls.is_empty() && stop != StopReason::Refusal {
            let message = &mut reply.message;
            let visible = std::mem::take(&mut self.visible);
            if message.calls().next().is_some() {
                tracing::warn!(
                    "the model wrote calls as text beside its native ones; those in the text are left out"
                );
                set_text(message, visible);
            } else {
                set_text(message, visible);
                message.parts.extend(calls.into_iter().map(|call| part(call, cut)));
                if let Some(origin) = message.origin.as_mut().filter(|_| !cut) {
                    origin.stop = StopReason::ToolCalls;
                }
            }
        }
        events.push(StreamEvent::Finish(reply));
    }

    fn fail(&mut self, mut error: ProviderError, mut partial: Message, events: &mut Vec<StreamEvent>) {
        let calls = self.calls(true, events);
        if !calls.is_empty() {
            set_text(&mut partial, std::mem::take(&mut self.visible));
            partial.parts.extend(calls.into_iter().map(|call| part(call, true)));
        }
        error.after_output &= self.shown;
        events.push(StreamEvent::Failed { error, partial });
    }
}

/// Puts all the text of a message where its first text stands.
fn set_text(message: &mut Message, text: String) {
    let mut text = Some(text).filter(|text| !text.trim().is_empty());
    message.parts.retain_mut(|part| match part {
        Part::Text { text: old } => match text.take() {
            Some(new) => {
                *old = new.into();
                true
            }
            None => false,
        },
        _ => true,
    });
}

/// Ids are given when the reply becomes a fact.
fn part(call: Found, cut: bool) -> Part {
    Part::ToolCall(ToolCall {
        id: CallId::UNNUMBERED,
        wire_id: None,
        name: call.name.into(),
        arguments: call.arguments.into(),
        complete: call.complete && !cut,
        extra: Map::new(),
    })
}

impl<D: Decoder> Decoder for Dialect<D> {
    fn feed(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>) {
        self.inner.feed(bytes, &mut self.inner_events);
        self.pass_on(events);
    }

    fn end(&mut self, broken: Option<ProviderError>, events: &mut Vec<StreamEvent>) {
        self.inner.end(broken, &mut self.inner_events);
        self.pass_on(events);
    }

    fn model(&self) -> Option<&str> {
        self.inner.model()
    }
}

#[cfg(test)]
mod tests;
