use ergane_core::{ErrorKind, Message, ModelReply, ProviderError, ToolCall, Usage};
use serde_json::json;

use super::*;
use crate::wire::testing::{info, run, run_every_way};

fn sse() -> Head {
    Head::new(200, "text/event-stream; charset=utf-8")
}

/// Events as the server writes them: the type is the name, too.
fn stream(events: &[Value]) -> String {
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect()
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "content": [],
           "stop_reason": null, "usage": {"input_tokens": 25, "output_tokens": 1}}})
}

fn block(index: i64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: i64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn json_delta(index: i64, piece: &str) -> Value {
    delta(index, json!({"type": "input_json_delta", "partial_json": piece}))
}

fn stop(index: i64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> Vec<Value> {
    vec![
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 89}}),
        json!({"type": "message_stop"}),
    ]
}

fn tool(index: i64, id: &str, name: &str) -> Value {
    block(index, json!({"type": "tool_use", "id": id, "name": name, "input": {}}))
}

fn text(index: i64, text: &str) -> Vec<Value> {
    vec![
        block(index, json!({"type": "text", "text": ""})),
        delta(index, json!({"type": "text_delta", "text": text})),
        stop(index),
    ]
}

fn decode(events: &[Value]) -> Vec<StreamEvent> {
    run_every_way(Decoder::new, &sse(), stream(events).as_bytes())
}

fn reply(events: &[StreamEvent]) -> &ModelReply {
    match events.last() {
        Some(StreamEvent::Finish(reply)) => reply,
        other => panic!("no reply: {other:?}"),
    }
}

fn failure(events: &[StreamEvent]) -> (&ProviderError, &Message) {
    match events.last() {
        Some(StreamEvent::Failed { error, partial }) => (error, partial),
        other => panic!("no failure: {other:?}"),
    }
}

fn answered(blocks: Vec<Value>, reason: &str) -> ModelReply {
    reply(&decode(&[vec![start()], blocks, end(reason)].concat())).clone()
}

fn stop_of(reply: &ModelReply) -> &StopReason {
    &reply.message.origin.as_ref().unwrap().stop
}

fn calls(reply: &ModelReply) -> Vec<&ToolCall> {
    reply.message.calls().collect()
}

#[test]
fn a_streamed_text_comes_with_its_usage_and_pings_are_no_output() {
    let mut events = vec![start(), json!({"type": "ping"})];
    events.extend(text(0, "h\u{e9}llo \u{1f989}"));
    events.push(json!({"type": "something_new", "x": 1}));
    events.extend(end("end_turn"));
    let decoded = decode(&events);
    assert_eq!(decoded.len(), 2);
    assert_eq!(decoded[0], StreamEvent::Text("h\u{e9}llo \u{1f989}".into()));
    let reply = reply(&decoded);
    assert_eq!(
        (reply.message.text(), stop_of(reply)),
        ("h\u{e9}llo \u{1f989}".to_owned(), &StopReason::Stop)
    );
    assert_eq!(reply.message.origin.as_ref().unwrap().response_id.as_deref(), Some("msg_1"));
}

#[test]
fn edge_31_a_tool_without_arguments_gets_an_empty_object_and_no_pieces_mean_the_input_of_the_start() {
    let blocks = vec![
        tool(0, "toolu_1", "now"),
        json_delta(0, ""),
        stop(0),
        tool(1, "toolu_2", "now"),
        stop(1),
        block(2, json!({"type": "tool_use", "id": "toolu_3", "name": "get", "input": {"x": 1}})),
        stop(2),
    ];
    let reply = answered(blocks.clone(), "tool_use");
    let made: Vec<_> = calls(&reply).iter().map(|call| (&*call.arguments, call.complete)).collect();
    assert_eq!(made, [("{}", true), ("{}", true), ("{\"x\":1}", true)]);
    assert_eq!(stop_of(&reply), &StopReason::ToolCalls);
    let cut = answered(blocks, "max_tokens");
    assert!(calls(&cut).iter().all(|call| !call.complete), "not run when the answer was cut");
    assert_eq!(stop_of(&cut), &StopReason::Length);
}

#[test]
fn edge_31_arguments_in_pieces_of_one_byte_are_the_models_own_bytes() {
    let arguments = r#"{"b": 1,  "a":"\u00e9"}"#;
    let mut blocks = vec![tool(0, "toolu_1", "get")];
    blocks.extend(arguments.chars().map(|c| json_delta(0, &c.to_string())));
    blocks.push(stop(0));
    let reply = answered(blocks, "tool_use");
    assert_eq!(&*calls(&reply)[0].arguments, arguments);
    assert_eq!(calls(&reply)[0].wire_id.as_deref(), Some("toolu_1"));
}

#[test]
fn edge_32_usage_is_the_last_word_and_the_cache_is_part_of_the_input() {
    let mut first = start();
    first["message"]["usage"] = json!({"input_tokens": 25, "output_tokens": 1, "cache_creation_input_tokens": 100,
        "cache_read_input_tokens": 1000, "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40}});
    let mut events = vec![first];
    events.extend(text(0, "x"));
    events.extend(end("end_turn"));
    events[4]["usage"] =
        json!({"input_tokens": 25, "output_tokens": 89, "output_tokens_details": {"thinking_tokens": 7}});
    let decoded = decode(&events);
    let expected = Usage {
        input_tokens: 1125,
        output_tokens: 89,
        cached_tokens: 1000,
        reasoning_tokens: 7,
        cache_write_tokens: 100,
        cache_write_long_tokens: 40,
    };
    assert_eq!(reply(&decoded).usage, Some(expected));
    let without = [
        json!({"type": "message_start", "message": {}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        json!({"type": "message_stop"}),
    ];
    assert_eq!(reply(&decode(&without)).usage, None, "absent is not zero");
}

#[test]
fn edge_33_an_overloaded_event_after_a_success_is_overloaded() {
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let mut events = vec![start()];
    events.extend(text(0, "so far"));
    events.push(overloaded.clone());
    let decoded = decode(&events);
    let (error, partial) = failure(&decoded);
    assert_eq!((error.kind, error.retryable, error.after_output), (ErrorKind::Overloaded, true, true));
    assert_eq!((error.status, partial.text()), (None, "so far".to_owned()));
    let first = decode(std::slice::from_ref(&overloaded));
    assert!(!failure(&first).0.after_output);
    let whole =
        run_every_way(Decoder::new, &Head::new(200, "application/json"), overloaded.to_string().as_bytes());
    assert_eq!(failure(&whole).0.kind, ErrorKind::Overloaded);
    let status =
        run_every_way(Decoder::new, &Head::new(529, "application/json"), overloaded.to_string().as_bytes());
    assert_eq!((failure(&status).0.kind, failure(&status).0.status), (ErrorKind::Overloaded, Some(529)));
}

#[test]
fn edge_33_the_type_of_an_error_event_decides_like_its_status() {
    let table = [
        ("rate_limit_error", "slow", ErrorKind::RateLimited),
        ("authentication_error", "invalid x-api-key", ErrorKind::Auth),
        ("billing_error", "pay", ErrorKind::Quota),
        ("permission_error", "no", ErrorKind::Permission),
        ("not_found_error", "model: claude-9", ErrorKind::ModelNotFound),
        ("request_too_large", "big", ErrorKind::TooLarge),
        ("api_error", "oops", ErrorKind::Server),
        ("timeout_error", "late", ErrorKind::Server),
        (
            "invalid_request_error",
            "prompt is too long: 213462 tokens > 200000 maximum",
            ErrorKind::ContextOverflow,
        ),
        ("invalid_request_error", "messages.1: bad", ErrorKind::InvalidRequest),
        (
            "invalid_request_error",
            "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified",
            ErrorKind::ReplayRejected,
        ),
        (
            "invalid_request_error",
            "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
            ErrorKind::ReplayRejected,
        ),
        (
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 143653 + 64000 > 200000",
            ErrorKind::ContextOverflow,
        ),
    ];
    for (kind, message, expected) in table {
        let event = json!({"type": "error", "error": {"type": kind, "message": message}});
        let decoded = run(Decoder::new, &sse(), &[stream(&[event]).as_bytes()]);
        assert_eq!(failure(&decoded).0.kind, expected, "{kind}: {message}");
    }
}

#[test]
fn edge_33_an_end_without_message_stop_is_a_cut_stream() {
    let mut events = vec![start()];
    events.extend(text(0, "looks finished."));
    events.push(end("end_turn").remove(0));
    let decoded = decode(&events);
    let (error, partial) = failure(&decoded);
    assert_eq!((error.kind, partial.text()), (ErrorKind::StreamCut, "looks finished.".to_owned()));
    let no_reason = decode(&[start(), json!({"type": "message_stop"})]);
    assert_eq!(failure(&no_reason).0.kind, ErrorKind::StreamCut);
}

#[test]
fn what_was_counted_before_an_answer_failed_is_told_with_the_failure() {
    let spent = |events: &[Value]| {
        let decoded = decode(events);
        let usage = failure(&decoded).0.spent.as_ref().and_then(|spent| spent.usage);
        usage.map(|usage| (usage.input_tokens, usage.output_tokens))
    };
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let said = [vec![start()], text(0, "half")].concat();
    assert_eq!(spent(&said), Some((25, 1)), "the connection broke");
    assert_eq!(spent(&[said.clone(), vec![error.clone()]].concat()), Some((25, 1)));
    assert_eq!(spent(&[said, end("end_turn")[..1].to_vec()].concat()), Some((25, 89)));
    assert_eq!(spent(&[start(), json!({"type": "message_stop"})]), Some((25, 1)));
    assert_eq!(spent(&[error]), None, "nobody counted");
}

#[test]
fn edge_34_thoughts_keep_their_signature_and_lose_it_when_they_are_cut() {
    let thinking = |index| block(index, json!({"type": "thinking", "thinking": "", "signature": ""}));
    let blocks = vec![
        thinking(0),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "EqQB\u{2026}=="})),
        stop(0),
        block(1, json!({"type": "redacted_thinking", "data": "ENC=="})),
        stop(1),
        thinking(2),
        delta(2, json!({"type": "signature_delta", "signature": "only"})),
        stop(2),
        tool(3, "toolu_1", "get"),
        stop(3),
    ];
    let reply = answered(blocks.clone(), "tool_use");
    let thoughts: Vec<_> = reply
        .message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Reasoning(reasoning) => Some((&*reasoning.text, json!(reasoning.data))),
            _ => None,
        })
        .collect();
    assert_eq!(
        thoughts,
        [
            ("hm", json!({"signature": "EqQB\u{2026}=="})),
            ("", json!({"data": "ENC=="})),
            ("", json!({"signature": "only"})),
        ]
    );
    assert!(matches!(reply.message.parts.last(), Some(Part::ToolCall(_))), "in the order in which they came");
    let cut = decode(&[vec![start()], blocks[..3].to_vec()].concat());
    let (error, partial) = failure(&cut);
    assert_eq!(error.kind, ErrorKind::StreamCut);
    assert!(
        matches!(&partial.parts[0], Part::Reasoning(thought) if &*thought.text == "hm" && thought.data.is_empty())
    );
}

#[test]
fn edge_35_every_reason_to_stop_has_its_word() {
    let table = [
        ("pause_turn", StopReason::PauseTurn),
        ("model_context_window_exceeded", StopReason::ContextWindow),
        ("end_turn", StopReason::Stop),
        ("stop_sequence", StopReason::StopSequence),
        ("max_tokens", StopReason::Length),
        ("compaction", StopReason::Unknown("compaction".into())),
        ("tool_use", StopReason::Stop),
    ];
    for (word, expected) in table {
        assert_eq!(stop_of(&answered(text(0, "x"), word)), &expected, "{word}");
    }
    let empty = answered(vec![], "end_turn");
    assert_eq!((stop_of(&empty), empty.message.parts.len()), (&StopReason::Stop, 0));
    let unknown = answered(vec![tool(0, "t", "get"), stop(0)], "compaction");
    assert!(!calls(&unknown)[0].complete, "a call is not run when nobody knows why the answer stopped");
}

#[test]
fn edge_35_a_refusal_throws_away_what_had_come_and_keeps_what_is_said_of_it() {
    let refusal = answered(vec![], "refusal");
    assert_eq!((stop_of(&refusal), refusal.message.parts.len()), (&StopReason::Refusal, 0));
    let mut events = vec![start()];
    events.extend(text(0, "Well, first you"));
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": "refusal",
        "stop_details": {"category": "x", "explanation": "I cannot help with that."}}}));
    events.push(json!({"type": "message_stop"}));
    let decoded = decode(&events);
    let refused = reply(&decoded);
    assert_eq!(
        (stop_of(refused), refused.message.text()),
        (&StopReason::Refusal, "I cannot help with that.".to_owned())
    );
}

#[test]
fn blocks_of_an_unknown_kind_are_kept_with_the_input_that_was_written_for_them() {
    let blocks = vec![
        block(0, json!({"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}})),
        json_delta(0, "{\"query\":"),
        json_delta(0, "\"x\"}"),
        delta(0, json!({"type": "something_delta", "x": 1})),
        stop(0),
        block(1, json!({"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [1]})),
        stop(1),
    ];
    let reply = answered([blocks, text(2, "found")].concat(), "end_turn");
    let kept: Vec<_> = reply
        .message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Opaque(opaque) => Some((&*opaque.kind, opaque.data.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(
        kept,
        [
            (
                "server_tool_use",
                json!({"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}})
            ),
            (
                "web_search_tool_result",
                json!({"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [1]})
            ),
        ]
    );
}

#[test]
fn a_whole_answer_is_read_like_a_stream() {
    let body = json!({"id": "msg_2", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
        "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"b": 1, "a": 2}}],
        "usage": {"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 2}});
    let bytes = format!("\n\n  {body}");
    for head in [Head::new(200, "application/json"), sse()] {
        let events = run_every_way(Decoder::new, &head, bytes.as_bytes());
        let reply = reply(&events);
        assert_eq!((reply.message.text(), stop_of(reply)), ("I look.".to_owned(), &StopReason::ToolCalls));
        assert_eq!(reply.message.parts.len(), 3);
        assert_eq!(reply.usage.unwrap().input_tokens, 5);
        assert_eq!(&*calls(reply)[0].arguments, r#"{"a":2,"b":1}"#);
    }
    let odd = run_every_way(Decoder::new, &Head::new(200, "application/json"), b"{\"id\":1}");
    assert_eq!(failure(&odd).0.kind, ErrorKind::Protocol);
    let cut =
        run_every_way(Decoder::new, &Head::new(200, "application/json"), b"{\"content\":[{\"type\":\"te");
    assert_eq!(failure(&cut).0.kind, ErrorKind::StreamCut);
}

#[test]
fn blocks_that_are_written_side_by_side_are_kept_apart() {
    let blocks = vec![
        tool(0, "toolu_1", "a"),
        tool(1, "toolu_2", "b"),
        json_delta(1, "{\"x\""),
        json_delta(0, "{\"y\""),
        json_delta(1, ":1}"),
        json_delta(0, ":2}"),
        stop(0),
        stop(1),
    ];
    let reply = answered(blocks, "tool_use");
    let made: Vec<_> = calls(&reply).iter().map(|call| (&*call.name, &*call.arguments)).collect();
    assert_eq!(made, [("a", "{\"y\":2}"), ("b", "{\"x\":1}")]);
}

#[test]
fn a_block_that_no_stop_has_closed_makes_no_call_that_runs() {
    let reply = answered(vec![tool(0, "toolu_1", "get"), json_delta(0, "{\"x\":1}")], "tool_use");
    assert!(!calls(&reply)[0].complete);
    assert_eq!(stop_of(&reply), &StopReason::Length, "it was cut, whatever the server says");
    let whole = [tool(0, "toolu_1", "get"), stop(0), tool(1, "toolu_2", "get")];
    let beside = answered(whole.to_vec(), "tool_use");
    assert!(calls(&beside).iter().all(|call| !call.complete), "nor a whole one beside it");
    assert_eq!(stop_of(&beside), &StopReason::Length);
    assert_eq!(info().provider, reply.message.origin.as_ref().unwrap().provider);
}
