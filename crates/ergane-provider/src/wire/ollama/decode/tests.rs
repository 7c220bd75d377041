use ergane_core::{ErrorKind, Message, ModelReply, Part};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::wire::testing::{run, run_every_way};

fn head() -> Head {
    Head::new(200, "application/x-ndjson")
}

fn decode(body: &str) -> Vec<StreamEvent> {
    run_every_way(Decoder::new, &head(), body.as_bytes())
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

fn stop(reply: &ModelReply) -> &StopReason {
    &reply.message.origin.as_ref().unwrap().stop
}

const STREAM: &str = r#"{"model":"qwen3:8b","created_at":"…","message":{"role":"assistant","content":"","thinking":"Let me"},"done":false}
{"model":"qwen3:8b","message":{"role":"assistant","content":"Sure é"},"done":false}
{"model":"qwen3:8b","message":{"role":"assistant","content":"","tool_calls":[{"id":"call_x1","function":{"index":0,"name":"get","arguments":{"z":1,"a":2}}}]},"done":false}
{"model":"qwen3:8b","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":1,"prompt_eval_count":26,"eval_count":298}
"#;

#[test]
fn a_stream_of_lines_becomes_reasoning_text_calls_and_usage() {
    for body in [STREAM.to_owned(), STREAM.replace('\n', "\r\n"), format!("\n\n  {STREAM}\n\n")] {
        let events = decode(&body);
        assert_eq!(
            events[..3],
            [
                StreamEvent::Reasoning("Let me".into()),
                StreamEvent::Text("Sure é".into()),
                StreamEvent::ToolCall { name: "get".into() },
            ]
        );
        let reply = reply(&events);
        let call = reply.message.calls().next().unwrap();
        assert_eq!(
            (&*call.arguments, call.wire_id.as_deref(), call.complete),
            ("{\"z\":1,\"a\":2}", Some("call_x1"), true)
        );
        assert_eq!(stop(reply), &StopReason::ToolCalls);
        assert_eq!(reply.usage, Some(Usage { input_tokens: 26, output_tokens: 298, ..Usage::default() }));
        let Part::Reasoning(reasoning) = &reply.message.parts[0] else { panic!() };
        assert_eq!(reasoning.field.as_deref(), Some("thinking"));
    }
}

#[test]
fn edge_39_one_line_may_hold_everything() {
    let line = json!({"message": {"thinking": "t", "content": "c", "tool_calls": [
        {"function": {"name": "a", "arguments": {"x": 1}}},
        {"function": {"name": "b", "arguments": "{\"y\":2}"}},
    ]}, "done": true, "done_reason": "stop"});
    for head in [head(), Head::new(200, "application/json; charset=utf-8")] {
        let events = run_every_way(Decoder::new, &head, line.to_string().as_bytes());
        let reply = reply(&events);
        assert_eq!(stop(reply), &StopReason::ToolCalls);
        let calls: Vec<_> =
            reply.message.calls().map(|call| (&*call.name, &*call.arguments, call.wire_id.clone())).collect();
        assert_eq!(calls, [("a", "{\"x\":1}", None), ("b", "{\"y\":2}", None)]);
        assert_eq!(reply.message.text(), "c");
        assert_eq!(reply.usage, None);
    }
}

#[test]
fn a_whole_answer_printed_over_several_lines_is_read_too() {
    let value = json!({"message": {"content": "hi"}, "done": true, "done_reason": "stop"});
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    assert_eq!(reply(&decode(&pretty)).message.text(), "hi");
    assert_eq!(failure(&decode(&pretty[..pretty.len() - 1])).0.kind, ErrorKind::StreamCut);
    assert_eq!(failure(&decode("{\n \"message\": }")).0.kind, ErrorKind::Protocol);
}

#[test]
fn edge_40_an_error_line_ends_the_answer_and_keeps_what_came_before() {
    let events = decode(
        "{\"message\":{\"content\":\"par\"},\"done\":false}\n{\"error\":\"an error was encountered\"}\n",
    );
    let (error, partial) = failure(&events);
    assert_eq!((error.kind, error.after_output, error.retryable), (ErrorKind::Server, true, true));
    assert_eq!(partial.text(), "par");
    assert_eq!(failure(&decode("{\"error\":\"model 'x' not found\"}")).0.kind, ErrorKind::ModelNotFound);
    assert_eq!(
        reply(&decode("{\"error\":null,\"message\":{\"content\":\"x\"},\"done\":true}")).message.text(),
        "x"
    );
}

#[test]
fn edge_40_an_end_without_done_is_a_cut_and_the_last_line_needs_no_line_end() {
    let lines: Vec<&str> = STREAM.lines().collect();
    assert_eq!(failure(&decode(&lines[..3].join("\n"))).0.kind, ErrorKind::StreamCut);
    assert!(!failure(&decode(&lines[..3].join("\n"))).1.calls().next().unwrap().complete);
    assert_eq!(reply(&decode(STREAM.trim_end())).message.calls().count(), 1);
    assert_eq!(failure(&decode("")).0.kind, ErrorKind::StreamCut);
    for (last, kind) in [("{\"mess", ErrorKind::StreamCut), ("no JSON", ErrorKind::Protocol)] {
        let answer = format!("{{\"message\":{{\"content\":\"x\"}},\"done\":false}}\n{last}");
        assert_eq!(failure(&decode(&answer)).0.kind, kind, "{last}");
    }
}

#[test]
fn a_limit_makes_calls_incomplete_and_an_unknown_reason_is_kept() {
    let body = |reason: &str| {
        json!({"message": {"content": "", "tool_calls": [{"function": {"name": "a", "arguments": {}}}]}, "done": true, "done_reason": reason}).to_string()
    };
    let events = decode(&body("length"));
    assert_eq!(stop(reply(&events)), &StopReason::Length);
    assert!(!reply(&events).message.calls().next().unwrap().complete);
    assert_eq!(stop(reply(&decode(&body("odd")))), &StopReason::Unknown("odd".into()));
    let uncounted = json!({"message": {"content": "x"}, "done": true, "prompt_eval_count": 26}).to_string();
    assert_eq!(
        reply(&decode(&uncounted)).usage,
        None,
        "edge 40: an answer that was not counted is not zero tokens"
    );
    let load = json!({"message": {"content": ""}, "done": true, "done_reason": "load"}).to_string();
    assert_eq!(stop(reply(&decode(&load))), &StopReason::Stop);
}

#[test]
fn edge_40_a_stray_closing_tag_of_reasoning_is_left_as_text() {
    let events = decode("{\"message\":{\"content\":\"</think>x\"},\"done\":true}");
    assert_eq!(reply(&events).message.text(), "</think>x");
}

#[test]
fn statuses_and_texts_of_this_server_are_classified() {
    let kind = |status: u16, text: &str| {
        let body = json!({"error": text}).to_string();
        failure(&run_every_way(Decoder::new, &Head::new(status, "application/json"), body.as_bytes())).0.kind
    };
    assert_eq!(kind(404, "model \"x\" not found, try pulling it first"), ErrorKind::ModelNotFound);
    assert_eq!(kind(400, "\"m\" does not support thinking"), ErrorKind::Unsupported);
    assert_eq!(kind(400, "registry.example/m does not support tools"), ErrorKind::Unsupported);
    assert_eq!(
        kind(503, "server busy, please try again.  maximum pending requests exceeded"),
        ErrorKind::Overloaded
    );
    let long = "the prompt is longer than the context length currently available to the model; …";
    assert_eq!(kind(400, long), ErrorKind::ContextOverflow);
}

#[test]
fn a_web_page_is_told_as_such() {
    for head in [Head::new(200, "text/html"), Head::new(200, "text/plain")] {
        let events = run_every_way(Decoder::new, &head, b"<html>\n</html>");
        assert!(failure(&events).0.message.contains("web page"));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_end_twice(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        run(Decoder::new, &head(), &pieces);
        run(Decoder::new, &Head::new(500, ""), &pieces);
    }

    #[test]
    fn edge_01_any_split_of_a_stream_gives_the_same_events(at in 0..STREAM.len(), more in 0..STREAM.len()) {
        let (first, second) = (at.min(more), at.max(more));
        let bytes = STREAM.as_bytes();
        let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
        prop_assert_eq!(run(Decoder::new, &head(), &pieces), run(Decoder::new, &head(), &[bytes]));
    }
}
