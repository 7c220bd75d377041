use ergane_core::{
    ErrorKind, Message, MicroUsd, ModelReply, Part, ProviderError, StopReason, ToolCall, Usage,
};
use proptest::prelude::*;
use serde_json::json;

use super::super::CompatServer;
use super::*;
use crate::wire::testing::{info, run, run_every_way};
use crate::wire::{Decoder as _, MAX_ERROR_BODY, StreamEvent};

fn sse() -> Head {
    Head::new(200, "text/event-stream; charset=utf-8")
}

fn stream(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

fn decode(body: &str) -> Vec<StreamEvent> {
    run_every_way(Decoder::new, &sse(), body.as_bytes())
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

fn calls(message: &Message) -> Vec<(&str, &str, Option<&str>)> {
    message.calls().map(|call| (&*call.name, &*call.arguments, call.wire_id.as_deref())).collect()
}

fn stop(reply: &ModelReply) -> &StopReason {
    &reply.message.origin.as_ref().unwrap().stop
}

fn delta(delta: Value) -> Value {
    json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

fn call(value: Value) -> Value {
    delta(json!({"tool_calls": [value]}))
}

/// A stream of these chunks with a finish and `[DONE]`.
fn done(chunks: &[Value], reason: &str) -> Vec<StreamEvent> {
    decode(&(stream(chunks) + &stream(&[finish(reason)]) + "data: [DONE]\n\n"))
}

const TOOL_STREAM: &str = r#"data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"get","arguments":""}}]},"finish_reason":null}],"usage":null,"obfuscation":"x"}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\""}}]},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}}

data: [DONE]

"#;

#[test]
fn a_streamed_tool_call_is_assembled_and_counted() {
    let events = decode(TOOL_STREAM);
    assert_eq!(events.first(), Some(&StreamEvent::ToolCall { name: "get".into() }));
    let reply = reply(&events);
    assert_eq!(calls(&reply.message), [("get", "{\"x\":1}", Some("call_1"))]);
    assert_eq!(stop(reply), &StopReason::ToolCalls);
    assert_eq!(reply.usage, Some(Usage { input_tokens: 9, output_tokens: 5, ..Usage::default() }));
    let origin = reply.message.origin.as_ref().unwrap();
    assert_eq!(
        (&*origin.provider, &*origin.api, &*origin.model, origin.response_id.as_deref()),
        ("p", "openai", "m", Some("c"))
    );
    assert_eq!(reply.cost, None);
}

#[test]
fn edge_02_text_with_characters_split_inside_their_bytes_comes_through_intact() {
    let events = done(
        &[
            delta(json!({"role": "assistant", "content": ""})),
            delta(json!({"content": "é"})),
            delta(json!({"content": " 🦉"})),
        ],
        "stop",
    );
    assert_eq!(events[..2], [StreamEvent::Text("é".into()), StreamEvent::Text(" 🦉".into())]);
    assert_eq!(reply(&events).message.text(), "é 🦉");
    let bad = [b"data: {\"choices\":[{\"delta\":{\"content\":\"".as_slice(), b"\xff", b"\"}}]}\n\n"].concat();
    let events = run(Decoder::new, &sse(), &[&bad]);
    assert_eq!(failure(&events).0.kind, ErrorKind::Protocol);
}

#[test]
fn edge_06_an_event_over_the_limit_is_a_protocol_error_and_one_of_eight_mebibytes_is_not() {
    let piece = "x".repeat(1 << 20);
    let mut decoder = Decoder::new(info(), sse());
    let mut events = Vec::new();
    decoder.feed(b"data: {\"choices\":[{\"delta\":{\"content\":\"", &mut events);
    for _ in 0..20 {
        decoder.feed(piece.as_bytes(), &mut events);
    }
    assert_eq!(failure(&events).0.kind, ErrorKind::Protocol);
    let big = stream(&[delta(json!({"content": "x".repeat(8 << 20)})), finish("stop")]);
    assert_eq!(reply(&run(Decoder::new, &sse(), &[big.as_bytes()])).message.text().len(), 8 << 20);
}

#[test]
fn edge_08_a_web_page_instead_of_an_answer_is_told_as_such() {
    for head in [Head::new(200, "text/html"), Head::new(200, "text/plain"), Head::new(200, "")] {
        let events = run_every_way(Decoder::new, &head, b"\n <!doctype html><html>log in</html>");
        let (error, _) = failure(&events);
        assert_eq!(error.kind, ErrorKind::Protocol, "{error}");
        assert!(error.message.contains("web page") && error.message.contains("base URL"), "{error}");
        assert!(!error.retryable);
    }
}

#[test]
fn edge_08_an_error_object_with_a_success_status_is_classified() {
    let body = json!({"error": {"message": "no money", "code": "insufficient_quota"}}).to_string();
    let events = run_every_way(Decoder::new, &Head::new(200, "application/json"), body.as_bytes());
    assert_eq!(failure(&events).0.kind, ErrorKind::Quota);
    let list = json!([{"error": {"message": "m", "code": 503}}]).to_string();
    let events = run_every_way(Decoder::new, &Head::new(200, "application/json"), list.as_bytes());
    assert_eq!(failure(&events).0.kind, ErrorKind::Overloaded);
}

#[test]
fn edge_08_and_09_a_whole_completion_on_a_stream_request_is_an_answer_also_after_blank_lines() {
    let completion = json!({"id": "c", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi", "refusal": null, "tool_calls": null}}], "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
    for lead in ["", "\n\n\n   ", "\u{feff}", "\r\n\u{feff} \n"] {
        for media in ["application/json", "text/plain", "", "text/event-stream"] {
            let body = format!("{lead}{completion}");
            let events = run_every_way(Decoder::new, &Head::new(200, media), body.as_bytes());
            assert_eq!(events[0], StreamEvent::Text("hi".into()));
            assert_eq!(reply(&events).usage.unwrap().output_tokens, 2);
        }
    }
}

#[test]
fn edge_08_an_error_in_the_place_of_a_stream_is_one_whatever_the_head_says() {
    for body in [
        "{\"error\":\n{\"message\":\"no money\",\n\n\"code\":\"insufficient_quota\"}}\n\n",
        "[{\"error\":{\"code\":402,\"message\":\"m\"}}]",
    ] {
        let events = run_every_way(Decoder::new, &sse(), body.as_bytes());
        assert_eq!(failure(&events).0.kind, ErrorKind::Quota, "{body}");
    }
    let events = run_every_way(Decoder::new, &sse(), b"{\"choices\":[{\"message\":{\"content\":\"h");
    assert_eq!(failure(&events).0.kind, ErrorKind::StreamCut);
    let events = run_every_way(Decoder::new, &sse(), b"\n<html>log in</html>");
    assert!(failure(&events).0.message.contains("web page"));
}

#[test]
fn edge_08_a_text_that_is_no_stream_is_told_whatever_it_begins_with() {
    for text in [
        "data is missing",
        "error: out of memory",
        "internal fault",
        "retry later",
        "dat",
        "ident: x",
        "événement",
        "\u{feff}x",
    ] {
        for media in ["text/plain", "application/json", ""] {
            let events = run_every_way(Decoder::new, &Head::new(200, media), text.as_bytes());
            let (error, _) = failure(&events);
            assert_eq!(error.kind, ErrorKind::Protocol, "{text}: {error}");
            assert!(error.message.contains(text.trim_start_matches('\u{feff}')), "{text}: {error}");
        }
    }
    for begin in ["", "\u{feff}", ": ping\n\n", "id: 7\n", "retry: 10\n", "event: x\n", "id\n", "\n\u{feff}"]
    {
        let body = format!("{begin}{}", stream(&[delta(json!({"content": "x"})), finish("stop")]));
        let events = run_every_way(Decoder::new, &Head::new(200, "text/plain"), body.as_bytes());
        assert_eq!(reply(&events).message.text(), "x", "{begin:?}");
    }
}

#[test]
fn a_stream_with_a_wrong_content_type_is_decoded_all_the_same() {
    for media in ["application/json", "text/plain", "application/octet-stream", ""] {
        let events = run_every_way(Decoder::new, &Head::new(200, media), TOOL_STREAM.as_bytes());
        assert_eq!(calls(&reply(&events).message).len(), 1, "{media}");
    }
}

#[test]
fn a_whole_completion_that_breaks_off_is_a_cut_and_nonsense_is_a_protocol_error() {
    let json = Head::new(200, "application/json");
    let kind = |body: &str| failure(&run_every_way(Decoder::new, &json, body.as_bytes())).0.kind;
    assert_eq!(kind("{\"choices\":[{\"message\":{\"content\":\"h"), ErrorKind::StreamCut);
    assert_eq!(kind("{\"choices\":[}"), ErrorKind::Protocol);
    assert_eq!(kind("{\"object\":\"list\",\"data\":[]}"), ErrorKind::Protocol);
    assert_eq!(kind("{\"choices\":[]}"), ErrorKind::Protocol);
    assert_eq!(kind(""), ErrorKind::Protocol);
    assert_eq!(kind("{\"object\":\"error\",\"message\":\"m\",\"code\":429}"), ErrorKind::RateLimited);
}

#[test]
fn edge_09_comments_are_no_output_and_no_end() {
    let events = decode(": ping\n\n: OPENROUTER PROCESSING\n\n");
    let (error, partial) = failure(&events);
    assert_eq!((error.kind, error.after_output), (ErrorKind::StreamCut, false));
    assert!(partial.parts.is_empty() && events.len() == 1);
}

#[test]
fn edge_10_an_event_that_no_blank_line_closed_is_a_cut_and_what_came_before_is_kept() {
    let body = stream(&[delta(json!({"content": "kept"}))])
        + "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}";
    let events = decode(&body);
    let (error, partial) = failure(&events);
    assert_eq!((error.kind, error.after_output), (ErrorKind::StreamCut, true));
    assert_eq!(partial.text(), "kept");
}

#[test]
fn edge_11_arguments_in_pieces_of_one_byte_make_one_call_with_the_exact_text() {
    let arguments = r#"{"city":"caf\u00e9","n":[1, 2]}"#;
    let mut chunks = vec![call(json!({"index": 0, "id": "a", "function": {"name": "get", "arguments": ""}}))];
    chunks.extend(
        arguments.chars().map(|c| call(json!({"index": 0, "function": {"arguments": c.to_string()}}))),
    );
    let events =
        run(Decoder::new, &sse(), &[(stream(&chunks) + &stream(&[finish("tool_calls")])).as_bytes()]);
    assert_eq!(calls(&reply(&events).message), [("get", arguments, Some("a"))]);
}

#[test]
fn edge_12_empty_arguments_are_an_empty_object_when_the_model_finished_and_nothing_when_it_was_cut() {
    let chunk = call(json!({"index": 0, "id": "a", "function": {"name": "get", "arguments": ""}}));
    let events = done(std::slice::from_ref(&chunk), "tool_calls");
    let first = |message: &Message| message.calls().next().unwrap().clone();
    let call = first(&reply(&events).message);
    assert!(call.complete && &*call.arguments == "{}");
    for cut in ["length", "content_filter", "surprise"] {
        let events = done(std::slice::from_ref(&chunk), cut);
        let call: ToolCall = first(&reply(&events).message);
        assert!(!call.complete && call.arguments.is_empty(), "{cut}");
        assert_ne!(stop(reply(&events)), &StopReason::ToolCalls);
    }
    let cut = decode(&stream(&[chunk]));
    assert!(!first(failure(&cut).1).complete);
}

#[test]
fn edge_13_calls_that_interleave_or_share_a_delta_are_told_apart_in_the_order_of_their_appearance() {
    let begin = |index: u32, name: &str| {
        call(json!({"index": index, "id": name, "function": {"name": name, "arguments": ""}}))
    };
    let more = |index: u32, text: &str| call(json!({"index": index, "function": {"arguments": text}}));
    let events =
        done(&[begin(0, "a"), begin(1, "b"), more(0, "{\"x\":"), more(1, "{}"), more(0, "1}")], "tool_calls");
    assert_eq!(calls(&reply(&events).message), [("a", "{\"x\":1}", Some("a")), ("b", "{}", Some("b"))]);
    let both = delta(json!({"tool_calls": [
        {"index": 0, "id": "a", "function": {"name": "a", "arguments": "{}"}},
        {"index": 1, "id": "b", "function": {"name": "b", "arguments": "{}"}},
    ]}));
    assert_eq!(calls(&reply(&done(&[both], "tool_calls")).message).len(), 2);
}

#[test]
fn edge_14_calls_without_an_index_are_told_apart_by_their_ids() {
    let one = [
        call(json!({"id": "a", "function": {"name": "a", "arguments": "{\"x\""}})),
        call(json!({"id": "a", "function": {"arguments": ":"}})),
        call(json!({"function": {"arguments": "1}"}})),
    ];
    assert_eq!(calls(&reply(&done(&one, "tool_calls")).message), [("a", "{\"x\":1}", Some("a"))]);
    let two = [
        call(json!({"id": "a", "function": {"name": "a", "arguments": "{}"}})),
        call(json!({"id": "b", "function": {"name": "a", "arguments": "{}"}})),
    ];
    assert_eq!(calls(&reply(&done(&two, "tool_calls")).message).len(), 2);
    let nameless = [
        call(json!({"function": {"name": "a", "arguments": "{}"}})),
        call(json!({"function": {"name": "b", "arguments": "{}"}})),
    ];
    assert_eq!(calls(&reply(&done(&nameless, "tool_calls")).message), [("a", "{}", None), ("b", "{}", None)]);
    let late_id = [
        call(json!({"function": {"name": "a", "arguments": "{"}})),
        call(json!({"id": "x", "function": {"arguments": "}"}})),
    ];
    assert_eq!(calls(&reply(&done(&late_id, "tool_calls")).message), [("a", "{}", Some("x"))]);
}

#[test]
fn edge_15_sparse_indexes_invent_no_calls_and_an_index_used_again_is_another_call() {
    let whole = |index: u32, id: &str| {
        call(json!({"index": index, "id": id, "function": {"name": "n", "arguments": "{}"}}))
    };
    assert_eq!(
        calls(&reply(&done(&[whole(5, "a"), whole(1, "b")], "tool_calls")).message),
        [("n", "{}", Some("a")), ("n", "{}", Some("b"))]
    );
    let again = [whole(0, "a"), whole(0, "b"), call(json!({"index": 0, "function": {"arguments": " "}}))];
    assert_eq!(
        calls(&reply(&done(&again, "tool_calls")).message),
        [("n", "{}", Some("a")), ("n", "{} ", Some("b"))]
    );
}

#[test]
fn edge_16_an_id_given_twice_makes_two_calls_and_a_later_empty_one_erases_nothing() {
    let both = delta(json!({"tool_calls": [
        {"id": "same", "function": {"name": "a", "arguments": "{}"}},
        {"id": "same", "function": {"name": "b", "arguments": "{}"}},
    ]}));
    assert_eq!(calls(&reply(&done(&[both], "tool_calls")).message).len(), 2);
    let indexed = delta(json!({"tool_calls": [
        {"index": 0, "id": "same", "function": {"name": "a", "arguments": "{}"}},
        {"index": 1, "id": "same", "function": {"name": "b", "arguments": "{}"}},
    ]}));
    assert_eq!(calls(&reply(&done(&[indexed], "tool_calls")).message).len(), 2);
    let erasing = [
        call(json!({"index": 0, "id": "a", "function": {"name": "n", "arguments": "{"}})),
        call(json!({"index": 0, "id": "", "function": {"name": null, "arguments": "}"}})),
        call(json!({"index": 0, "id": null, "function": {"name": ""}})),
    ];
    assert_eq!(calls(&reply(&done(&erasing, "tool_calls")).message), [("n", "{}", Some("a"))]);
    let without = [call(json!({"index": 0, "id": null, "function": {"name": "n", "arguments": "{}"}}))];
    assert_eq!(calls(&reply(&done(&without, "tool_calls")).message), [("n", "{}", None)]);
}

#[test]
fn edge_17_arguments_may_come_as_an_object_and_what_is_no_object_is_kept_for_the_model_to_see() {
    let with = |arguments: Value| {
        let events = done(
            &[call(json!({"index": 0, "id": "a", "function": {"name": "n", "arguments": arguments}}))],
            "tool_calls",
        );
        reply(&events).message.calls().next().unwrap().clone()
    };
    assert_eq!(with(json!({"x": 1})).arguments, with(json!("{\"x\":1}")).arguments);
    assert!(with(json!("null")).arguments().unwrap().is_empty());
    assert!(with(Value::Null).arguments().unwrap().is_empty());
    let bad = with(json!("[1]"));
    assert!(bad.complete && bad.arguments().unwrap_err().to_string().contains("an array"));
    assert!(with(json!("{\"x\":")).arguments().unwrap_err().to_string().contains("not valid JSON"));
}

#[test]
fn a_call_in_free_text_is_none_that_was_offered_and_the_model_is_told_so() {
    let custom = |custom: Value| call(json!({"index": 0, "id": "a", "type": "custom", "custom": custom}));
    let chunks = [custom(json!({"name": "sh", "input": "ls "})), custom(json!({"input": "-la"}))];
    let events = done(&chunks, "tool_calls");
    let call = reply(&events).message.calls().next().unwrap();
    assert_eq!((&*call.name, &*call.arguments, call.complete), ("sh", "ls -la", true));
    assert!(call.arguments().unwrap_err().to_string().contains("not valid JSON"));
    assert!(events.contains(&StreamEvent::ToolCall { name: "sh".into() }));
    let whole = json!({"choices": [{"finish_reason": "tool_calls", "message": {"content": null, "tool_calls": [
        {"id": "a", "type": "custom", "custom": {"name": "sh", "input": "ls"}}]}}]});
    let events = run(Decoder::new, &Head::new(200, "application/json"), &[whole.to_string().as_bytes()]);
    assert_eq!(calls(&reply(&events).message), [("sh", "ls", Some("a"))]);
}

#[test]
fn an_object_keeps_the_models_own_bytes() {
    let body = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"n\",\"arguments\":{\"z\":1.0, \"a\":2}}}]},\"finish_reason\":\"tool_calls\"}]}\n\n";
    assert_eq!(calls(&reply(&decode(body)).message), [("n", "{\"z\":1.0, \"a\":2}", Some("a"))]);
}

#[test]
fn edge_18_content_comes_as_text_as_parts_or_not_at_all_and_null_functions_are_ignored() {
    let chunks = [
        delta(json!({"content": null, "tool_calls": null})),
        delta(json!({"content": ""})),
        delta(json!({"content": [{"type": "text", "text": "a"}]})),
        delta(json!({"tool_calls": [{"index": 0, "function": null}]})),
    ];
    let events = done(&chunks, "stop");
    assert_eq!(reply(&events).message.parts, [Part::text("a")]);
    let thinking = delta(
        json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "b"}]}),
    );
    let events = done(&[thinking], "stop");
    assert_eq!(events[..2], [StreamEvent::Reasoning("hm".into()), StreamEvent::Text("b".into())]);
}

#[test]
fn edge_19_calls_with_finish_stop_are_calls_and_finish_tool_calls_without_any_is_a_stop() {
    let whole = call(json!({"index": 0, "id": "a", "function": {"name": "n", "arguments": "{}"}}));
    assert_eq!(stop(reply(&done(&[whole], "stop"))), &StopReason::ToolCalls);
    assert_eq!(stop(reply(&done(&[delta(json!({"content": "x"}))], "tool_calls"))), &StopReason::Stop);
    for (word, expected) in [
        ("eos", StopReason::Stop),
        ("length", StopReason::Length),
        ("model_length", StopReason::ContextWindow),
        ("content_filter", StopReason::ContentFilter),
        ("odd", StopReason::Unknown("odd".into())),
    ] {
        assert_eq!(stop(reply(&done(&[delta(json!({"content": "x"}))], word))), &expected);
    }
    for (word, kind) in
        [("insufficient_system_resource", ErrorKind::Overloaded), ("error", ErrorKind::Server)]
    {
        assert_eq!(failure(&done(&[delta(json!({"content": "x"}))], word)).0.kind, kind);
    }
}

#[test]
fn edge_20_the_end_must_be_proved_by_a_reason_to_stop() {
    let text = delta(json!({"content": "x"}));
    let body = |parts: &[&str]| parts.concat();
    let (text, stopped) = (stream(&[text]), stream(&[finish("stop")]));
    let done = "data: [DONE]\n\n";
    assert_eq!(failure(&decode(&body(&[&text, done]))).0.kind, ErrorKind::StreamCut);
    assert_eq!(failure(&decode(&text)).0.kind, ErrorKind::StreamCut);
    assert_eq!(reply(&decode(&body(&[&text, &stopped]))).message.text(), "x");
    assert_eq!(reply(&decode(&body(&[&text, &stopped, &stopped, done]))).message.text(), "x");
    // Together's empty word counts with `[DONE]` only: others send it with every chunk.
    let empty = stream(&[finish("")]);
    assert_eq!(stop(reply(&decode(&body(&[&text, &empty, done])))), &StopReason::Stop);
    assert_eq!(failure(&decode(&body(&[&text, &empty]))).0.kind, ErrorKind::StreamCut);
    assert_eq!(
        stop(reply(&decode(&body(&[&empty, &text, &stream(&[finish("length")]), &empty, done])))),
        &StopReason::Length
    );
}

#[test]
fn a_connection_that_breaks_after_the_reason_to_stop_has_lost_nothing() {
    let error = ProviderError::new(ErrorKind::Timeout, "silent");
    let mut decoder = Decoder::new(info(), sse());
    let mut events = Vec::new();
    decoder.feed(stream(&[delta(json!({"content": "x"}))]).as_bytes(), &mut events);
    let mut early = Vec::new();
    let mut unfinished = Decoder::new(info(), sse());
    unfinished.feed(stream(&[delta(json!({"content": "x"}))]).as_bytes(), &mut early);
    unfinished.end(Some(error.clone()), &mut early);
    assert_eq!((failure(&early).0.kind, failure(&early).0.after_output), (ErrorKind::Timeout, true));
    decoder.feed(stream(&[finish("stop")]).as_bytes(), &mut events);
    decoder.end(Some(error), &mut events);
    assert_eq!(reply(&events).message.text(), "x");
}

#[test]
fn edge_21_usage_is_taken_wherever_it_stands_never_added_up_and_never_invented() {
    let usage = |input: u64| json!({"prompt_tokens": input, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2}});
    let expected = Some(Usage {
        input_tokens: 9,
        output_tokens: 5,
        cached_tokens: 3,
        reasoning_tokens: 2,
        ..Usage::default()
    });
    let with = |chunks: &[Value]| reply(&decode(&(stream(chunks) + "data: [DONE]\n\n"))).clone();
    let finish_with = json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": usage(9), "x_groq": {"usage": usage(9)}});
    assert_eq!(with(&[finish("stop"), json!({"choices": [], "usage": usage(9)})]).usage, expected);
    assert_eq!(with(&[finish_with.clone(), json!({"choices": [], "usage": usage(9)})]).usage, expected);
    assert_eq!(
        with(&[json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "x_groq": {"usage": usage(9)}})])
            .usage,
        expected
    );
    assert_eq!(with(&[finish("stop")]).usage, None);
    assert_eq!(with(&[finish_with, json!({"choices": [], "usage": null})]).usage, expected);
    let deepseek = json!({"prompt_tokens": 9, "completion_tokens": 5, "prompt_cache_hit_tokens": 7});
    assert_eq!(
        with(&[finish("stop"), json!({"choices": [], "usage": deepseek})]).usage.unwrap().cached_tokens,
        7
    );
    let router = json!({"prompt_tokens": 9, "completion_tokens": 5, "cost": 0.00125});
    assert_eq!(with(&[finish("stop"), json!({"choices": [], "usage": router})]).cost, Some(MicroUsd(1250)));
}

#[test]
fn edge_22_only_a_real_error_at_the_top_level_is_one() {
    let kind = |chunk: Value| failure(&decode(&stream(&[chunk]))).0.kind;
    assert_eq!(kind(json!({"error": {"message": "m", "code": "insufficient_quota"}})), ErrorKind::Quota);
    assert_eq!(kind(json!({"error": "m"})), ErrorKind::Server);
    assert_eq!(kind(json!({"choices": [], "error": {"message": "m", "code": 503}})), ErrorKind::Overloaded);
    assert_eq!(kind(json!({"x_groq": {"error": "m"}, "choices": []})), ErrorKind::Server);
    assert_eq!(kind(json!({"object": "error", "message": "m", "code": 400})), ErrorKind::InvalidRequest);
    assert_eq!(
        kind(json!([{"error": {"message": "m", "code": 503}}])),
        ErrorKind::Overloaded,
        "as Google wraps it"
    );
    for harmless in [
        json!({"error": null, "choices": [{"delta": {"content": "x"}}]}),
        json!({"error": "", "choices": [{"delta": {"content": "x"}}]}),
        json!({"moderation": {"input": {"type": "error"}}, "choices": [{"delta": {"content": "x"}}]}),
    ] {
        assert_eq!(reply(&done(&[harmless], "stop")).message.text(), "x");
    }
}

#[test]
fn a_named_error_event_and_bare_json_between_events_are_errors() {
    let events = decode("event: error\ndata: {\"message\":\"context size has been exceeded\"}\n\n");
    assert_eq!(failure(&events).0.kind, ErrorKind::ContextOverflow);
    let events = decode("event: error\ndata: boom\n\n");
    assert!(failure(&events).0.message.contains("boom"));
    let body =
        stream(&[delta(json!({"content": "x"}))]) + "{\"error\":{\"code\":503,\n\"message\":\"busy\"}}\n";
    let events = decode(&body);
    assert_eq!((failure(&events).0.kind, failure(&events).1.text()), (ErrorKind::Overloaded, "x".to_owned()));
}

#[test]
fn edge_23_an_error_after_text_keeps_the_text_and_says_that_something_was_shown() {
    let error = json!({"error": {"message": "m", "code": 502}});
    let after = decode(&stream(&[delta(json!({"content": "par"})), error.clone()]));
    let (failed, partial) = failure(&after);
    assert!(failed.after_output && failed.retryable && partial.text() == "par");
    let first = decode(&stream(std::slice::from_ref(&error)));
    assert!(
        !failure(&first).0.after_output && failure(&first).0.retryable && failure(&first).0.spent.is_none()
    );
    // What was counted until then is told.
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 1, "cost": 0.5});
    let counted = json!({"choices": [{"delta": {"content": "par"}}], "usage": usage});
    let events = decode(&stream(&[counted, error]));
    let spent = failure(&events).0.spent.as_deref().unwrap();
    assert_eq!((spent.usage.unwrap().input_tokens, spent.cost.total()), (9, Some(MicroUsd(500_000))));
}

#[test]
fn edge_24_padding_timings_filters_and_nulls_are_ignored() {
    let chunks = [
        json!({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
        json!({"choices": [{"index": 0, "finish_reason": null, "content_filter_offsets": {}}]}),
        json!({"choices": null, "p": "abc"}),
        json!({"id": 7, "choices": [{"index": null, "delta": {"content": "x", "surprise": {}}}], "timings": {"prompt_n": 1}}),
        json!({"choices": [{"index": 1, "delta": {"content": "another choice"}}]}),
    ];
    assert_eq!(reply(&done(&chunks, "stop")).message.text(), "x");
}

#[test]
fn edge_25_a_refusal_is_a_refusal_although_the_wire_says_stop() {
    let events = done(&[delta(json!({"refusal": "I "})), delta(json!({"refusal": "won't"}))], "stop");
    let reply = reply(&events);
    assert_eq!(reply.message.parts, [Part::Refusal { text: "I won't".into() }]);
    assert_eq!(stop(reply), &StopReason::Refusal);
}

#[test]
fn edge_26_an_empty_stream_is_an_error_that_says_what_it_may_mean() {
    let events = decode("");
    let (error, _) = failure(&events);
    assert_eq!(error.kind, ErrorKind::StreamCut);
    assert!(error.message.contains("context window"), "{error}");
}

#[test]
fn edge_26_nothing_at_all_is_a_prompt_that_did_not_fit_where_the_server_says_so_in_this_way() {
    let flags = |name: &str| (CompatServer::named(name).unwrap().flags)();
    let decode = |server: &str, head: &Head, body: &str| {
        let new = |call, head| Decoder::of(call, head, &flags(server));
        let events = run_every_way(new, head, body.as_bytes());
        let (error, _) = failure(&events);
        (error.kind, error.retryable)
    };
    let refused = |status| Head::new(status, "application/json");
    let overflow = (ErrorKind::ContextOverflow, false);
    for body in ["", ": ping\n\n"] {
        assert_eq!(decode("lmstudio", &sse(), body), overflow, "{body:?}");
        assert_eq!(decode("vllm", &sse(), body), (ErrorKind::StreamCut, true), "{body:?}");
    }
    for status in [400, 413] {
        assert_eq!(decode("lmstudio", &refused(status), ""), overflow, "{status}");
    }
    assert_eq!(decode("vllm", &refused(413), "").0, ErrorKind::TooLarge);
    assert_eq!(decode("lmstudio", &refused(400), "{}").0, ErrorKind::InvalidRequest, "something was said");
    assert_eq!(decode("lmstudio", &refused(500), "").0, ErrorKind::Server);
    // A connection that broke says nothing of the prompt.
    let mut decoder = Decoder::of(info(), sse(), &flags("lmstudio"));
    let mut events = Vec::new();
    decoder.end(Some(ProviderError::new(ErrorKind::Timeout, "silent")), &mut events);
    assert_eq!(failure(&events).0.kind, ErrorKind::Timeout);
}

#[test]
fn reasoning_is_shown_once_and_remembers_its_field_and_its_details() {
    let both = delta(json!({"reasoning_content": "hm", "reasoning": "hm"}));
    let events = done(&[both, delta(json!({"content": "x"}))], "stop");
    assert_eq!(events[0], StreamEvent::Reasoning("hm".into()));
    let Part::Reasoning(reasoning) = &reply(&events).message.parts[0] else { panic!() };
    assert_eq!((&*reasoning.text, reasoning.field.as_deref()), ("hm", Some("reasoning_content")));
    let chunks = [
        delta(
            json!({"reasoning": "a", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "a", "signature": null}]}),
        ),
        delta(
            json!({"reasoning": "b", "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "b"}]}),
        ),
        delta(json!({"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "s"}]})),
        delta(json!({"reasoning_details": [{"type": "reasoning.encrypted", "index": 0, "data": "d"}]})),
    ];
    let events = done(&chunks, "stop");
    let Part::Reasoning(reasoning) = &reply(&events).message.parts[0] else { panic!() };
    assert_eq!((&*reasoning.text, reasoning.field.as_deref()), ("ab", Some("reasoning")));
    assert_eq!(
        reasoning.data["reasoning_details"],
        json!([
            {"type": "reasoning.text", "index": 0, "text": "ab", "signature": "s"},
            {"type": "reasoning.encrypted", "index": 0, "data": "d"},
        ])
    );
}

#[test]
fn unknown_fields_of_a_call_are_kept_for_its_replay() {
    let events = done(
        &[call(
            json!({"index": 0, "id": "a", "type": "function", "extra_content": {"google": {"thought_signature": "s"}}, "function": {"name": "n", "arguments": "{}"}}),
        )],
        "tool_calls",
    );
    let call = reply(&events).message.calls().next().unwrap();
    assert_eq!(
        serde_json::to_value(&call.extra).unwrap(),
        json!({"extra_content": {"google": {"thought_signature": "s"}}})
    );
}

#[test]
fn an_error_status_is_decoded_from_no_more_than_its_first_part() {
    let head = Head::new(500, "application/json");
    let events = run_every_way(
        Decoder::new,
        &Head::new(429, "application/json"),
        br#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#,
    );
    assert_eq!((failure(&events).0.kind, failure(&events).0.status), (ErrorKind::RateLimited, Some(429)));
    let mut decoder = Decoder::new(info(), head);
    let mut events = Vec::new();
    let mut fed = 0;
    while events.is_empty() && fed < 10 * MAX_ERROR_BODY {
        decoder.feed(&[b'x'; 1000], &mut events);
        fed += 1000;
    }
    assert!(fed <= MAX_ERROR_BODY + 1000, "{fed}");
    assert!(failure(&events).0.message.len() < 2000);
}

#[test]
fn edge_07_an_encoding_that_nobody_asked_for_is_a_protocol_error() {
    let mut head = sse();
    head.headers.push(("content-encoding".to_owned(), "br".to_owned()));
    let events = run(Decoder::new, &head, &[b"\x1b\x00"]);
    assert_eq!(failure(&events).0.kind, ErrorKind::Protocol);
}

#[test]
fn edge_27_llama_cpp_says_500_for_what_can_never_work_and_503_for_what_will() {
    let jinja = br#"{"error":{"code":500,"message":"Value is not callable: null at row 1, jinja template","type":"server_error"}}"#;
    let events = run_every_way(Decoder::new, &Head::new(500, "application/json; charset=utf-8"), jinja);
    assert!(!failure(&events).0.retryable, "{}", failure(&events).0);
    let loading = br#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    let events = run_every_way(Decoder::new, &Head::new(503, "application/json; charset=utf-8"), loading);
    assert!(failure(&events).0.retryable && failure(&events).0.kind == ErrorKind::Overloaded);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_end_twice(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        for head in [sse(), Head::new(200, "application/json"), Head::new(200, ""), Head::new(500, "")] {
            run(Decoder::new, &head, &pieces);
        }
    }

    #[test]
    fn edge_01_any_split_of_a_stream_gives_the_same_events(cuts in prop::collection::vec(0..TOOL_STREAM.len(), 0..12)) {
        let whole = run(Decoder::new, &sse(), &[TOOL_STREAM.as_bytes()]);
        let mut cuts = cuts;
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&TOOL_STREAM.as_bytes()[from..cut]);
            from = cut;
        }
        pieces.push(&TOOL_STREAM.as_bytes()[from..]);
        prop_assert_eq!(run(Decoder::new, &sse(), &pieces), whole);
    }
}
