//! What tests of decoders share.

use std::sync::Arc;

use ergane_core::{Message, ModelReply, ModelRequest, ProviderError, StopReason, ToolSpec};
use serde_json::Value;

use super::{CallInfo, Decoder, Head, Redactor, StreamEvent};

pub(crate) fn info() -> CallInfo {
    CallInfo {
        provider: "p".into(),
        model: "m".into(),
        endpoint: "http://host/v1".into(),
        key_hint: "set KEY".into(),
        redactor: Redactor::default(),
    }
}

pub(crate) fn model_request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest::new("m", messages.into_iter().map(Arc::new).collect())
}

pub(crate) fn tool(name: &str, parameters: Value) -> ToolSpec {
    ToolSpec { name: name.into(), description: "d".into(), parameters: Arc::new(parameters) }
}

/// Feeds the pieces, ends, and checks that exactly one terminal event came, last.
pub(crate) fn run<D: Decoder>(
    new: impl Fn(CallInfo, Head) -> D,
    head: &Head,
    pieces: &[&[u8]],
) -> Vec<StreamEvent> {
    let mut decoder = new(info(), head.clone());
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut events);
    }
    decoder.end(None, &mut events);
    decoder.feed(b"data: [DONE]\n\n{\"done\":true}\n", &mut events);
    decoder.end(None, &mut events);
    let terminals: Vec<bool> = events.iter().map(StreamEvent::is_terminal).collect();
    assert_eq!(terminals.iter().filter(|terminal| **terminal).count(), 1, "one terminal event: {events:?}");
    assert_eq!(terminals.last(), Some(&true), "and it is the last: {events:?}");
    events
}

/// As [`run`], in one piece, byte by byte and split at every position: always the same events.
pub(crate) fn run_every_way<D: Decoder>(
    new: impl Fn(CallInfo, Head) -> D,
    head: &Head,
    body: &[u8],
) -> Vec<StreamEvent> {
    let whole = run(&new, head, &[body]);
    let bytes: Vec<&[u8]> = body.chunks(1).collect();
    assert_eq!(run(&new, head, &bytes), whole, "byte by byte");
    for at in 0..=body.len() {
        let (first, second) = body.split_at(at);
        assert_eq!(run(&new, head, &[first, second]), whole, "split at {at}");
    }
    whole
}

/// The reply that the events end with.
pub(crate) fn reply(events: &[StreamEvent]) -> &ModelReply {
    match events.last() {
        Some(StreamEvent::Finish(reply)) => reply,
        other => panic!("no reply: {other:?}"),
    }
}

/// The failure that the events end with, and what had come by then.
pub(crate) fn failure(events: &[StreamEvent]) -> (&ProviderError, &Message) {
    match events.last() {
        Some(StreamEvent::Failed { error, partial }) => (error, partial),
        other => panic!("no failure: {other:?}"),
    }
}

/// Why the model stopped.
pub(crate) fn stop(reply: &ModelReply) -> &StopReason {
    &reply.message.origin.as_ref().unwrap().stop
}

/// `bytes` in pieces, cut at each of `cuts` (counted round and round).
pub(crate) fn split_at_all(bytes: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    for cut in &mut cuts {
        *cut %= bytes.len() + 1;
    }
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts {
        pieces.push(&bytes[from..cut]);
        from = cut;
    }
    pieces.push(&bytes[from..]);
    pieces
}
