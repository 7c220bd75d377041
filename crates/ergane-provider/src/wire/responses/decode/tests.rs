use ergane_core::{ErrorKind, Message, ModelReply, Opaque, Part, TurnId};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::wire::testing::{failure, info, model_request, reply, run, run_every_way, split_at_all, stop};

fn sse() -> Head {
    Head::new(200, "text/event-stream; charset=utf-8")
}

fn json_head(status: u16) -> Head {
    Head::new(status, "application/json")
}

fn stream(events: &[Value]) -> String {
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("message")))
        .collect()
}

fn decode(events: &[Value]) -> Vec<StreamEvent> {
    run_every_way(Decoder::new, &sse(), stream(events).as_bytes())
}

fn added(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.added", "output_index": index, "item": item})
}

fn item_done(index: u64, item: Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": index, "item": item})
}

fn delta(kind: &str, index: u64, text: &str) -> Value {
    json!({"type": format!("response.{kind}.delta"), "output_index": index, "item_id": "x", "content_index": 0, "delta": text})
}

fn over(status: &str, more: Value) -> Value {
    let mut response = json!({"id": "resp_1", "object": "response", "status": status, "error": null, "incomplete_details": null, "output": []});
    response.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    json!({"type": format!("response.{status}"), "response": response})
}

fn completed() -> Value {
    over("completed", json!({}))
}

fn message(text: &str) -> Value {
    json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "final_answer",
           "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

fn call(arguments: &str, status: &str) -> Value {
    json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "get", "arguments": arguments, "status": status})
}

fn calls(reply: &ModelReply) -> Vec<(&str, &str, Option<&str>, bool)> {
    reply
        .message
        .calls()
        .map(|call| (&*call.name, &*call.arguments, call.wire_id.as_deref(), call.complete))
        .collect()
}

fn tool_stream() -> Vec<Value> {
    let reasoning = |encrypted: &str| json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Let me"}, {"type": "summary_text", "text": "see"}], "encrypted_content": encrypted});
    vec![
        json!({"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "status": "in_progress", "output": []}}),
        added(
            0,
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA-first"}),
        ),
        json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "item_id": "rs_1", "summary_index": 0}),
        delta("reasoning_summary_text", 0, "Let "),
        delta("reasoning_summary_text", 0, "me"),
        json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "item_id": "rs_1", "summary_index": 1}),
        delta("reasoning_summary_text", 0, "see"),
        item_done(0, reasoning("gAAA-last+/=")),
        added(
            1,
            json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}),
        ),
        delta("output_text", 1, "Sure é"),
        delta("output_text", 1, " 🦉"),
        item_done(
            1,
            json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "commentary", "content": [{"type": "output_text", "text": "Sure é 🦉", "annotations": []}]}),
        ),
        added(2, call("", "in_progress")),
        delta("function_call_arguments", 2, "{\"x\""),
        delta("function_call_arguments", 2, ":1}"),
        json!({"type": "response.function_call_arguments.done", "output_index": 2, "item_id": "fc_1", "arguments": "{\"x\":1}"}),
        item_done(2, call("{\"x\":1}", "completed")),
        over(
            "completed",
            json!({"usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 14}}),
        ),
    ]
}

#[test]
fn a_stream_becomes_reasoning_text_calls_and_usage() {
    let events = decode(&tool_stream());
    let shown = |event: &StreamEvent| match event {
        StreamEvent::Text(text) => format!("t:{text}"),
        StreamEvent::Reasoning(text) => format!("r:{text}"),
        StreamEvent::ToolCall { name } => format!("c:{name}"),
        _ => String::new(),
    };
    let shown: Vec<String> = events.iter().map(shown).collect();
    assert_eq!(shown, ["r:Let ", "r:me", "r:\n\n", "r:see", "t:Sure é", "t: 🦉", "c:get", ""]);
    let reply = reply(&events);
    assert_eq!(calls(reply), [("get", "{\"x\":1}", Some("call_1"), true)]);
    assert_eq!((stop(reply), &*reply.message.text()), (&StopReason::ToolCalls, "Sure é 🦉"));
    let Part::Reasoning(reasoning) = &reply.message.parts[0] else { panic!("{:?}", reply.message) };
    assert_eq!(
        (&*reasoning.text, &reasoning.data["encrypted_content"]),
        ("Let me\n\nsee", &json!("gAAA-last+/="))
    );
    assert_eq!(
        reply.usage,
        Some(Usage {
            input_tokens: 9,
            output_tokens: 5,
            cached_tokens: 4,
            reasoning_tokens: 3,
            ..Usage::default()
        })
    );
    let origin = reply.message.origin.as_ref().unwrap();
    assert_eq!((&*origin.api, origin.response_id.as_deref()), ("openai_responses", Some("resp_1")));
}

/// Edge case 28.
#[test]
fn both_shapes_of_an_error_event_are_one_error_and_a_failed_response_is_a_failure_28() {
    let flat = json!({"type": "error", "code": "insufficient_quota", "message": "You exceeded your current quota", "param": null, "sequence_number": 2});
    let nested = json!({"type": "error", "error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "You exceeded your current quota", "param": null}});
    let text = [added(0, json!({"type": "message", "id": "m"})), delta("output_text", 0, "so far")];
    let failed = |last: &Value| {
        let events = decode(&[text.to_vec(), vec![last.clone()]].concat());
        let (error, partial) = failure(&events);
        assert_eq!((&*partial.text(), error.after_output), ("so far", true), "{last}");
        error.clone()
    };
    assert_eq!(failed(&flat), failed(&nested));
    assert_eq!(failed(&flat).kind, ErrorKind::Quota);
    let overflow = json!({"type": "error", "code": "context_length_exceeded", "message": "Your input exceeds the context window of this model."});
    assert_eq!(failed(&overflow).kind, ErrorKind::ContextOverflow);
    let response = over("failed", json!({"error": {"code": "server_error", "message": "The model failed"}}));
    let error = failed(&response);
    assert_eq!((error.kind, error.retryable), (ErrorKind::Server, true));
    assert!(error.message.contains("The model failed"), "{error}");
    assert_eq!(error.spent, None);
    let usage = json!({"input_tokens": 9, "output_tokens": 1});
    let counted = over("failed", json!({"error": {"code": "server_error", "message": "m"}, "usage": usage}));
    let counted = failed(&counted).spent.unwrap().usage.unwrap();
    assert_eq!((counted.input_tokens, counted.output_tokens), (9, 1), "what it took is told");
    let limited =
        over("failed", json!({"error": {"code": "rate_limit_exceeded", "message": "Rate limit reached"}}));
    assert_eq!(failed(&limited).kind, ErrorKind::RateLimited);
    assert_eq!(failed(&over("failed", json!({}))).kind, ErrorKind::Server, "without a word why");
    assert_eq!(failed(&json!({"error": {"message": "m", "code": 503}})).kind, ErrorKind::Overloaded);
    let bare = stream(&text) + "{\"error\":{\"code\":503,\"message\":\"m\"}}\n\n";
    assert_eq!(failure(&run_every_way(Decoder::new, &sse(), bare.as_bytes())).0.kind, ErrorKind::Overloaded);
    let named = stream(&text) + "event: error\ndata: upstream died\n\n";
    assert!(
        failure(&run_every_way(Decoder::new, &sse(), named.as_bytes())).0.message.contains("upstream died")
    );
}

/// Edge case 29.
#[test]
fn a_call_that_was_cut_short_is_never_run_29() {
    let cut = [
        added(0, call("", "in_progress")),
        delta("function_call_arguments", 0, "{\"x\":48151"),
        item_done(0, call("{\"x\":48151", "incomplete")),
    ];
    let reason = |reason: &str| over("incomplete", json!({"incomplete_details": {"reason": reason}}));
    for (last, expected) in [
        (reason("max_output_tokens"), StopReason::Length),
        (reason("content_filter"), StopReason::ContentFilter),
        (reason("odd"), StopReason::Unknown("odd".into())),
        // The server says that all is well, but not of the call.
        (completed(), StopReason::Length),
    ] {
        let events = decode(&[cut.to_vec(), vec![last]].concat());
        let reply = reply(&events);
        assert_eq!(calls(reply), [("get", "{\"x\":48151", Some("call_1"), false)]);
        assert_eq!(stop(reply), &expected);
    }
    let whole = [
        added(0, call("", "in_progress")),
        item_done(0, call("{}", "completed")),
        reason("max_output_tokens"),
    ];
    assert!(!calls(reply(&decode(&whole)))[0].3, "nor is a whole one beside the cut");
}

/// Edge case 30.
#[test]
fn items_go_back_as_they_came_and_in_their_order_30() {
    let reasoning =
        json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA+/é=="});
    let commentary = json!({"type": "message", "id": "msg_0", "role": "assistant", "status": "completed", "phase": "commentary", "content": [{"type": "output_text", "text": "I look", "annotations": []}]});
    let search =
        json!({"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "q"}});
    let mut second_call = call("{\"y\": 2}", "completed");
    second_call["call_id"] = "call_2".into();
    second_call["id"] = "fc_2".into();
    second_call["namespace"] = "n".into();
    let items = [
        reasoning.clone(),
        commentary.clone(),
        search,
        call("{\"x\":1}", "completed"),
        second_call,
        message("done"),
    ];
    let events: Vec<Value> = (0u64..)
        .zip(items.iter())
        .map(|(index, item)| item_done(index, item.clone()))
        .chain([completed()])
        .collect();
    let mut back = reply(&decode(&events)).message.clone();
    back.number_calls(TurnId(7), 1);
    // Through the journal and back.
    let back: Message = serde_json::from_str(&serde_json::to_string(&back).unwrap()).unwrap();
    let asked = model_request(vec![Message::user_text("go"), back]);
    let request = super::super::request(&asked, "p", &crate::wire::openai::Compat::default()).unwrap();
    let body: Value = serde_json::from_slice(&request.body.bytes()).unwrap();
    let sent: Vec<Value> = body["input"].as_array().unwrap()[1..].to_vec();
    let expected: Vec<Value> = items
        .into_iter()
        .map(|mut item| {
            if item["type"] == "function_call" {
                item.as_object_mut().unwrap().remove("status");
            }
            item
        })
        .collect();
    assert_eq!(sent[..6], expected);
    assert_eq!(sent[6]["type"], "function_call_output", "and then the results");
}

#[test]
fn a_call_in_free_text_is_none_that_was_offered_and_the_model_is_told_so() {
    let custom = json!({"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "sh", "input": "ls -la",
                        "status": "completed"});
    let events = decode(&[item_done(0, custom), completed()]);
    let reply = reply(&events);
    assert_eq!(calls(reply), [("sh", "ls -la", Some("call_1"), true)]);
    assert_eq!(stop(reply), &StopReason::ToolCalls);
    let call = reply.message.calls().next().unwrap();
    assert!(call.arguments().unwrap_err().to_string().contains("not valid JSON"));
    assert!(call.extra.is_empty(), "its id is that of no function's call: {call:?}");
}

/// Edge case 30.
#[test]
fn unknown_items_are_kept_and_unknown_events_are_not_30() {
    let unknown = json!({"type": "compaction", "id": "cmp_1", "encrypted_content": "x"});
    let events = decode(&[
        json!({"type": "response.brand_new.delta", "delta": "?", "output_index": 9}),
        added(0, unknown.clone()),
        item_done(0, unknown.clone()),
        json!({"type": "keepalive", "sequence_number": 3}),
        completed(),
    ]);
    assert_eq!(reply(&events).message.parts, [Part::Opaque(Opaque { kind: "item".into(), data: unknown })]);
}

/// Edge case 30.
#[test]
fn arguments_may_end_without_a_name_and_items_without_their_last_word_30() {
    let events = decode(&[
        added(0, call("", "in_progress")),
        delta("function_call_arguments", 0, "{\"x\""),
        json!({"type": "response.function_call_arguments.done", "output_index": 0, "arguments": "{\"x\":2}"}),
        added(1, json!({"type": "message", "id": "m", "role": "assistant", "content": []})),
        delta("output_text", 1, "hi"),
        delta("refusal", 2, ""),
        completed(),
    ]);
    let reply = reply(&events);
    assert_eq!(calls(reply), [("get", "{\"x\":2}", Some("call_1"), true)]);
    assert_eq!((&*reply.message.text(), stop(reply)), ("hi", &StopReason::ToolCalls));
}

#[test]
fn what_is_only_in_the_last_event_counts_and_is_shown() {
    let output = json!({"output": [message("late"), call("", "completed")]});
    let events = decode(&[
        json!({"type": "response.created", "response": {"id": "resp_1"}}),
        over("completed", output),
    ]);
    assert_eq!(events[..2], [StreamEvent::Text("late".into()), StreamEvent::ToolCall { name: "get".into() }]);
    assert_eq!(calls(reply(&events)), [("get", "{}", Some("call_1"), true)]);
    // The rest of what was shown in part.
    let events = decode(&[
        added(0, json!({"type": "message", "id": "msg_1"})),
        delta("output_text", 0, "la"),
        over("completed", json!({"output": [message("late")]})),
    ]);
    assert_eq!(events[..2], [StreamEvent::Text("la".into()), StreamEvent::Text("te".into())]);
    assert_eq!(reply(&events).message.text(), "late");
}

#[test]
fn items_interleave_and_are_sorted_by_their_place() {
    let second = json!({"type": "function_call", "id": "fc_2", "call_id": "call_2", "name": "put", "arguments": "", "status": "in_progress"});
    let mut second_done = second.clone();
    second_done["arguments"] = "{\"b\":2}".into();
    let events = decode(&[
        added(1, second),
        added(0, call("", "in_progress")),
        delta("function_call_arguments", 1, "{\"b\""),
        delta("function_call_arguments", 0, "{\"a\""),
        delta("function_call_arguments", 1, ":2}"),
        delta("function_call_arguments", 0, ":1}"),
        item_done(1, second_done),
        completed(),
    ]);
    let names: Vec<_> =
        calls(reply(&events)).into_iter().map(|(name, arguments, ..)| (name, arguments)).collect();
    assert_eq!(names, [("get", "{\"a\":1}"), ("put", "{\"b\":2}")]);
}

#[test]
fn a_server_that_numbers_nothing_is_understood() {
    let strip = |mut event: Value| {
        event.as_object_mut().unwrap().remove("output_index");
        event.as_object_mut().unwrap().remove("item_id");
        if let Some(item) = event.get_mut("item") {
            item.as_object_mut().unwrap().remove("id");
        }
        event
    };
    let numbered = [
        added(0, message("")),
        delta("output_text", 0, "hi"),
        item_done(0, message("hi")),
        added(1, call("", "in_progress")),
        delta("function_call_arguments", 1, "{\"x\":1}"),
        item_done(1, call("{\"x\":1}", "completed")),
    ];
    let events: Vec<Value> = numbered
        .into_iter()
        .map(strip)
        .chain([over("completed", json!({"output": [message("hi"), call("{\"x\":1}", "completed")]}))])
        .collect();
    let events = decode(&events);
    assert_eq!(reply(&events).message.text(), "hi");
    assert_eq!(calls(reply(&events)), [("get", "{\"x\":1}", Some("call_1"), true)]);
}

/// Of an item that the server names otherwise at the end, or not at all before, and never says that it is done.
#[test]
fn an_item_without_its_last_word_is_known_again_in_the_whole_response() {
    fn without(mut event: Value, fields: &[&str]) -> Value {
        for field in fields {
            event.as_object_mut().unwrap().remove(*field);
            if let Some(item) = event.get_mut("item") {
                item.as_object_mut().unwrap().remove(*field);
            }
        }
        event
    }
    let pieces = [
        added(0, json!({"type": "reasoning", "id": "rs_1", "summary": []})),
        delta("reasoning_summary_text", 0, "hm"),
        added(1, message("")),
        delta("output_text", 1, "hi"),
        added(2, call("", "in_progress")),
        delta("function_call_arguments", 2, "{\"x\":1}"),
        added(3, call("", "in_progress")),
        delta("function_call_arguments", 3, "{\"x\":2}"),
    ];
    let other_id = |mut item: Value, id: &str| {
        item["id"] = id.into();
        item
    };
    let thought =
        json!({"type": "reasoning", "id": "rs_9", "summary": [{"type": "summary_text", "text": "hm"}]});
    let (one, two) = (call("{\"x\":1}", "completed"), call("{\"x\":2}", "completed"));
    let (one, two) = (other_id(one, "fc_8"), other_id(two, "fc_9"));
    let end = over(
        "completed",
        json!({"output": [thought, other_id(message("hi"), "msg_9"), one.clone(), two.clone()]}),
    );
    for fields in [&["output_index", "item_id", "id"][..], &["output_index", "item_id"], &["item_id", "id"]] {
        let told = pieces.iter().map(|event| without(event.clone(), fields));
        let events = decode(&told.clone().chain([end.clone()]).collect::<Vec<_>>());
        let reply = reply(&events);
        assert_eq!(reply.message.text(), "hi", "without {fields:?}");
        let made: Vec<_> = calls(reply).into_iter().map(|(_, arguments, ..)| arguments).collect();
        assert_eq!(made, ["{\"x\":1}", "{\"x\":2}"], "without {fields:?}");
        let shown = |event: &StreamEvent| matches!(event, StreamEvent::Text(_) | StreamEvent::Reasoning(_));
        assert_eq!(events.iter().filter(|event| shown(event)).count(), 2, "without {fields:?}: {events:?}");
    }
    // The last word names what nothing named before.
    for fields in [&["output_index"][..], &["id"]] {
        let words = [
            without(added(0, message("")), &["output_index", "id"]),
            without(delta("output_text", 0, "hi"), &["output_index", "item_id"]),
            without(item_done(0, message("hi")), fields),
            without(added(1, one.clone()), &["output_index", "id"]),
            without(item_done(1, one.clone()), fields),
            over("completed", json!({"output": [message("hi"), one.clone()]})),
        ];
        let events = decode(&words);
        assert_eq!(
            (reply(&events).message.text(), calls(reply(&events)).len()),
            ("hi".to_owned(), 1),
            "{fields:?}"
        );
    }
}

#[test]
fn a_refusal_is_a_refusal_although_the_response_is_completed() {
    let refusal = json!({"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [{"type": "refusal", "refusal": "I cannot"}]});
    let events = decode(&[
        added(0, json!({"type": "message", "id": "m"})),
        delta("refusal", 0, "I can"),
        delta("refusal", 0, "not"),
        item_done(0, refusal),
        completed(),
    ]);
    assert_eq!(events[0], StreamEvent::Text("I can".into()));
    assert_eq!((stop(reply(&events)), &*reply(&events).message.text()), (&StopReason::Refusal, "I cannot"));
}

#[test]
fn the_end_must_be_proved_by_its_event() {
    for tail in ["", "data: [DONE]\n\n", "event: response.completed\ndata: {\"type\":\"response.completed\""]
    {
        let body = stream(&[
            added(0, json!({"type": "message", "id": "m"})),
            delta("output_text", 0, "half"),
            added(1, call("", "in_progress")),
            delta("function_call_arguments", 1, "{\"x\""),
        ]) + tail;
        let events = run_every_way(Decoder::new, &sse(), body.as_bytes());
        let (error, partial) = failure(&events);
        assert_eq!(
            (error.kind, &*partial.text(), error.after_output),
            (ErrorKind::StreamCut, "half", true),
            "{tail}"
        );
        let call = partial.calls().next().unwrap();
        assert_eq!((&*call.arguments, call.complete), ("{\"x\"", false));
    }
    assert_eq!(failure(&run_every_way(Decoder::new, &sse(), b"")).0.kind, ErrorKind::StreamCut);
    let done = stream(&[item_done(0, message("hi")), completed()]) + "data: [DONE]\n\n";
    assert_eq!(reply(&run_every_way(Decoder::new, &sse(), done.as_bytes())).message.text(), "hi");
    let nonsense = run_every_way(Decoder::new, &sse(), b"data: {nonsense\n\n");
    assert_eq!(failure(&nonsense).0.kind, ErrorKind::Protocol);
}

#[test]
fn a_whole_response_is_an_answer_also_after_blank_lines() {
    let whole = |status: &str, more: Value| {
        let mut event = over(status, more);
        event["response"].take()
    };
    let usage = json!({"output": [message("hi"), call("{}", "completed")], "usage": {"input_tokens": 1, "output_tokens": 2}});
    let body = format!("\n\n {}", whole("completed", usage));
    let events = run_every_way(Decoder::new, &json_head(200), body.as_bytes());
    assert_eq!((&*reply(&events).message.text(), reply(&events).usage.unwrap().output_tokens), ("hi", 2));
    assert_eq!(stop(reply(&events)), &StopReason::ToolCalls);
    let decoded = |body: &Value| run_every_way(Decoder::new, &json_head(200), body.to_string().as_bytes());
    let cut = decoded(&whole(
        "incomplete",
        json!({"output": [message("hi")], "incomplete_details": {"reason": "max_output_tokens"}}),
    ));
    assert_eq!(stop(reply(&cut)), &StopReason::Length);
    let failed = decoded(&whole("failed", json!({"error": {"code": "server_error", "message": "m"}})));
    assert_eq!(failure(&failed).0.kind, ErrorKind::Server);
    let cancelled = decoded(&whole("cancelled", json!({})));
    assert_eq!(stop(reply(&cancelled)), &StopReason::Unknown("cancelled".into()));
    assert_eq!(
        failure(&decoded(&json!({"error": {"message": "m", "code": "model_not_found"}}))).0.kind,
        ErrorKind::ModelNotFound
    );
    assert_eq!(failure(&decoded(&json!({"choices": []}))).0.kind, ErrorKind::Protocol);
    let broken = &whole("completed", json!({"output": [message("hi")]})).to_string()[..60];
    assert_eq!(
        failure(&run(Decoder::new, &json_head(200), &[broken.as_bytes()])).0.kind,
        ErrorKind::StreamCut
    );
}

#[test]
fn statuses_and_texts_of_this_server_are_classified() {
    let kind = |status: u16, code: &str, message: &str| {
        let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}}).to_string();
        failure(&run(Decoder::new, &json_head(status), &[body.as_bytes()])).0.kind
    };
    use ErrorKind::*;
    assert_eq!(kind(400, "model_not_found", "The requested model 'x' does not exist."), ModelNotFound);
    assert_eq!(kind(400, "", "No tool output found for function call call_1."), ReplayRejected);
    assert_eq!(
        kind(400, "", "Item 'rs_1' of type 'reasoning' was provided without its required following item."),
        ReplayRejected
    );
    assert_eq!(
        kind(
            400,
            "",
            "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'."
        ),
        ReplayRejected
    );
    assert_eq!(
        kind(400, "invalid_encrypted_content", "The encrypted content could not be verified."),
        ReplayRejected
    );
    assert_eq!(kind(401, "invalid_api_key", "Incorrect API key provided"), Auth);
    assert_eq!(kind(429, "insufficient_quota", "You exceeded your current quota"), Quota);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_end_twice(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        for head in [sse(), json_head(200), Head::new(200, ""), json_head(500)] {
            run(Decoder::new, &head, &pieces);
        }
    }

    #[test]
    fn any_split_of_a_stream_gives_the_same_events(cuts in prop::collection::vec(0usize..10_000, 0..12)) {
        let sample = stream(&tool_stream());
        let whole = run(Decoder::new, &sse(), &[sample.as_bytes()]);
        prop_assert_eq!(run(Decoder::new, &sse(), &split_at_all(sample.as_bytes(), cuts)), whole);
    }

    #[test]
    fn events_lost_doubled_or_out_of_order_end_once_and_run_no_broken_call(order in prop::collection::vec(0usize..18, 0..30)) {
        let all = tool_stream();
        let events: Vec<Value> = order.iter().map(|&at| all[at % all.len()].clone()).collect();
        run(Decoder::new, &sse(), &[stream(&events).as_bytes()]);
    }

    #[test]
    fn a_stream_cut_anywhere_or_with_a_byte_changed_ends_once(at in 0usize..10_000, byte in any::<u8>()) {
        let mut bytes = stream(&tool_stream()).into_bytes();
        let at = at % bytes.len();
        let events = run(Decoder::new, &sse(), &[&bytes[..at]]);
        failure(&events);
        bytes[at] = byte;
        run(Decoder::new, &sse(), &[&bytes]);
    }
}

#[test]
fn a_key_in_an_error_is_not_told() {
    let mut call = info();
    call.redactor = crate::wire::Redactor::new([secrecy::SecretString::from("sk-planted".to_owned())]);
    let mut decoder = Decoder::new(call, sse());
    let mut events = Vec::new();
    let body = stream(&[json!({"type": "error", "code": "sk-planted", "message": "bad key sk-planted"})]);
    crate::wire::Decoder::feed(&mut decoder, body.as_bytes(), &mut events);
    assert!(!format!("{:?}", failure(&events).0).contains("sk-planted"), "{events:?}");
}
