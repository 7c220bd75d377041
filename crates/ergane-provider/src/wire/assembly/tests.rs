//! What an answer may have in it, in every format. Each stream is thousands of small events or entries: to look for
//! each of them among all the others would take long.

use ergane_core::ErrorKind;
use serde_json::{Value, json};

use super::{MAX_CALLS, MAX_PIECES};
use crate::wire::testing::{failure, reply, run};
use crate::wire::{CallInfo, Decoder, Head, StreamEvent, anthropic, gemini, ollama, openai, responses};

fn events(events: impl Iterator<Item = Value>) -> String {
    events.map(|event| format!("data: {event}\n\n")).collect()
}

fn chat(calls: impl Iterator<Item = Value>) -> String {
    events(calls.map(|call| json!({"choices": [{"delta": {"tool_calls": [call]}}]})))
}

fn decode<D: Decoder>(new: fn(CallInfo, Head) -> D, body: &str) -> Vec<StreamEvent> {
    run(new, &Head::new(200, "text/event-stream"), &[body.as_bytes()])
}

#[track_caller]
fn is_refused<D: Decoder>(new: fn(CallInfo, Head) -> D, body: &str, why: &str) {
    let events = decode(new, body);
    let (error, partial) = failure(&events);
    assert_eq!((error.kind, error.retryable), (ErrorKind::Protocol, false), "{error}");
    assert!(error.message.contains(why), "{error}");
    assert!(partial.calls().all(|call| !call.complete), "none of them is carried out");
}

/// A stream of `count` calls and its end, in each format.
fn calls(count: usize) -> [String; 5] {
    let numbers = || 0..count;
    let named =
        |n: usize| json!({"index": n, "id": format!("c{n}"), "function": {"name": "get", "arguments": "{}"}});
    let ended = json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]});
    let block = |n: usize| {
        [
            json!({"type": "content_block_start", "index": n, "content_block": {"type": "tool_use", "id": format!("c{n}"), "name": "get", "input": {}}}),
            json!({"type": "content_block_stop", "index": n}),
        ]
    };
    let stopped = [
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}),
        json!({"type": "message_stop"}),
    ];
    let part =
        |_| json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "get", "args": {}}}]}}]});
    let item = |n: usize| json!({"type": "response.output_item.done", "output_index": n, "item": {"type": "function_call", "id": format!("f{n}"), "call_id": format!("c{n}"), "name": "get", "arguments": "{}", "status": "completed"}});
    let line = |_| json!({"message": {"tool_calls": [{"function": {"name": "get", "arguments": {}}}]}});
    [
        chat(numbers().map(named)) + &events([ended].into_iter()),
        events(numbers().flat_map(block).chain(stopped)),
        events(numbers().map(part).chain([json!({"candidates": [{"finishReason": "STOP"}]})])),
        events(numbers().map(item).chain([json!({"type": "response.completed", "response": {}})])),
        numbers().map(line).chain([json!({"done": true})]).map(|line| format!("{line}\n")).collect(),
    ]
}

#[test]
fn an_answer_of_more_than_a_thousand_calls_is_refused_and_one_of_a_thousand_is_not() {
    let [chat, messages, parts, items, lines] = calls(MAX_CALLS);
    for events in [
        decode(openai::Decoder::new, &chat),
        decode(anthropic::Decoder::new, &messages),
        decode(gemini::Decoder::new, &parts),
        decode(responses::Decoder::new, &items),
        decode(ollama::Decoder::new, &lines),
    ] {
        assert_eq!(reply(&events).message.calls().filter(|call| call.complete).count(), MAX_CALLS);
    }
    let [chat, messages, parts, items, lines] = calls(MAX_CALLS + 1);
    let why = "more than 1024 calls";
    is_refused(openai::Decoder::new, &chat, why);
    is_refused(anthropic::Decoder::new, &messages, why);
    is_refused(gemini::Decoder::new, &parts, why);
    is_refused(responses::Decoder::new, &items, why);
    is_refused(ollama::Decoder::new, &lines, why);
}

#[test]
fn an_answer_in_one_piece_has_the_same_bound() {
    let call = json!({"id": "c", "function": {"name": "get", "arguments": "{}"}});
    let whole =
        json!({"choices": [{"message": {"tool_calls": vec![call; MAX_CALLS + 1]}, "finish_reason": "stop"}]});
    is_refused(openai::Decoder::new, &whole.to_string(), "calls");
    let item = json!({"type": "function_call", "call_id": "c", "name": "get", "arguments": "{}"});
    let whole = json!({"output": vec![item; MAX_CALLS + 1], "status": "completed"});
    is_refused(responses::Decoder::new, &whole.to_string(), "calls");
    let part = json!({"functionCall": {"name": "get"}});
    let whole =
        json!({"candidates": [{"content": {"parts": vec![part; MAX_CALLS + 1]}, "finishReason": "STOP"}]});
    is_refused(gemini::Decoder::new, &whole.to_string(), "calls");
}

#[test]
fn pieces_without_number_are_refused_and_none_is_looked_for_among_the_others() {
    const MANY: usize = MAX_PIECES + 1;
    let why = "more than 16384 parts";
    let nameless = |n| json!({"index": n, "function": {"arguments": "x"}});
    is_refused(openai::Decoder::new, &chat((0..MANY).map(nameless)), why);
    let nameless = |n: usize| json!({"id": n.to_string(), "function": {"arguments": "x"}});
    is_refused(openai::Decoder::new, &events([json!({"choices": [{"delta": {"tool_calls": (0..2 * MANY).map(nameless).collect::<Vec<_>>()}}]})].into_iter()), why);
    let detail = |n| json!({"choices": [{"delta": {"reasoning_details": [{"index": n, "type": "reasoning.text", "text": "x"}]}}]});
    is_refused(openai::Decoder::new, &events((0..MANY).map(detail)), why);
    let block = |n| json!({"type": "content_block_delta", "index": n, "delta": {"text": "x"}});
    is_refused(anthropic::Decoder::new, &events((0..MANY).map(block)), why);
    let piece = |n| json!({"type": "response.output_text.delta", "output_index": n, "delta": "x"});
    is_refused(responses::Decoder::new, &events((0..MANY).map(piece)), why);
    let item = |n: usize| json!({"type": "x", "id": n.to_string()});
    let whole = json!({"type": "response.completed", "response": {"output": (0..2 * MANY).map(item).collect::<Vec<_>>()}});
    is_refused(responses::Decoder::new, &events([whole].into_iter()), why);
    let part = |n| json!({"candidates": [{"content": {"parts": [{"x": n}]}}]});
    is_refused(gemini::Decoder::new, &events((0..MANY).map(part)), why);
}
