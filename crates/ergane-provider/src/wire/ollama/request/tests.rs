use ergane_core::{CallId, Origin, Role, StopReason, ToolCall, ToolResult, TurnId};

use super::*;
use crate::wire::testing::{model_request, tool as spec};

fn body(request: &ModelRequest) -> Value {
    serde_json::from_slice(&super::request(request, "p", 16_384).unwrap().body.bytes()).unwrap()
}

fn assistant_from(model: &str, parts: Vec<Part>) -> Message {
    let origin = Origin {
        provider: "p".into(),
        api: "ollama".into(),
        model: model.into(),
        response_id: None,
        stop: StopReason::ToolCalls,
    };
    Message { role: Role::Assistant, parts, origin: Some(origin) }
}

fn call(index: u32, wire_id: Option<&str>, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: CallId { turn: TurnId(3), index },
        wire_id: wire_id.map(Into::into),
        name: "get".into(),
        arguments: arguments.into(),
        complete: true,
        extra: Map::new(),
    })
}

fn result(index: u32, content: Vec<Part>, is_error: bool) -> Part {
    let call = CallId { turn: TurnId(3), index };
    Part::ToolResult(ToolResult { call, name: "get".into(), content, is_error, synthetic: false })
}

#[test]
fn a_request_sets_what_the_server_would_otherwise_guess() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    request.system = Some("be brief".into());
    request.max_tokens = Some(7);
    let expected = json!({
        "model": "m", "stream": true, "truncate": false, "options": {"num_ctx": 16384, "num_predict": 7},
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
    });
    assert_eq!(body(&request), expected);
    request.stream = false;
    assert_eq!(body(&request)["stream"], false);
}

#[test]
fn a_round_of_tools_is_replayed_with_arguments_as_objects_and_results_in_order() {
    let thinking = Part::Reasoning(Reasoning {
        text: "hm".into(),
        field: Some("thinking".into()),
        ..Reasoning::default()
    });
    let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("AA==".into()) };
    let history = vec![
        Message::user(vec![Part::text("see"), image.clone(), Part::text("this")]),
        assistant_from(
            "m",
            vec![thinking.clone(), call(1, Some("call_x"), "{\"z\":1,\"a\":2}"), call(2, None, "[1]")],
        ),
        Message {
            role: Role::Tool,
            parts: vec![result(2, vec!["bad".into()], true), result(1, vec!["42".into(), image], false)],
            origin: None,
        },
    ];
    let raw = super::request(&model_request(history.clone()), "p", 1).unwrap().body.bytes().into_owned();
    assert!(String::from_utf8(raw).unwrap().contains(r#"{"z":1,"a":2}"#), "the model's own bytes");
    assert_eq!(
        body(&model_request(history))["messages"],
        json!([
            {"role": "user", "content": "see\nthis", "images": ["AA=="]},
            {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
                {"id": "call_x", "function": {"index": 0, "name": "get", "arguments": {"z": 1, "a": 2}}},
                {"id": "call_3_2", "function": {"index": 1, "name": "get", "arguments": {}}},
            ]},
            {"role": "tool", "tool_name": "get", "tool_call_id": "call_x", "content": "42"},
            {"role": "tool", "tool_name": "get", "tool_call_id": "call_3_2", "content": "Error: bad"},
            {"role": "user", "content": "Images from the result of get:", "images": ["AA=="]},
        ])
    );
    let foreign = body(&model_request(vec![assistant_from("other", vec![thinking, Part::text("x")])]));
    assert_eq!(foreign["messages"][0], json!({"role": "assistant", "content": "x"}));
}

#[test]
fn an_image_behind_a_url_is_refused_before_anything_is_sent() {
    let linked = Part::Image { mime: "image/png".into(), source: ImageSource::Url("https://x/y.png".into()) };
    let error = super::request(&model_request(vec![Message::user(vec![linked])]), "p", 1).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("https://x/y.png"), "{error}");
}

#[test]
fn a_tools_schema_is_reduced_to_what_the_server_reads_with_its_references_resolved() {
    let mut request = model_request(vec![]);
    let schema = json!({
        "$schema": "s", "title": "t", "type": "object", "required": ["a"], "additionalProperties": false,
        "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "integer", "format": "int32"}}}, "Loop": {"$ref": "#/$defs/Loop"}},
        "properties": {
            "a": {"$ref": "#/$defs/Point", "description": "where"},
            "b": true,
            "c": {"type": ["string", "null"], "default": null},
            "d": {"type": "array", "items": {"type": "string", "minLength": 1}},
            "e": {"oneOf": [{"const": "x"}, {"type": "integer"}]},
            "f": {"$ref": "#/$defs/Loop"},
            "g": {"$ref": "https://elsewhere"},
        },
    });
    request.tools = [spec("t", schema), spec("none", json!(true))].into();
    let tools = body(&request)["tools"].clone();
    assert_eq!(
        tools[0]["function"]["parameters"],
        json!({
            "type": "object", "required": ["a"],
            "properties": {
                "a": {"type": "object", "properties": {"x": {"type": "integer"}}, "description": "where"},
                "b": {}, "c": {"type": ["string", "null"]},
                "d": {"type": "array", "items": {"type": "string"}},
                "e": {"anyOf": [{"enum": ["x"]}, {"type": "integer"}]},
                "f": {}, "g": {},
            },
        })
    );
    assert_eq!(tools[1]["function"]["parameters"], json!({"type": "object", "properties": {}}));
}

#[test]
fn structure_thinking_and_sampling_have_their_places() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    request.output = Some(ergane_core::OutputSchema::new("out", schema.clone()));
    request.sampling = ergane_core::Sampling {
        temperature: Some(0.2),
        top_p: Some(0.9),
        top_k: Some(40),
        seed: Some(7),
        stop: vec!["X".into()],
    };
    request.reasoning = Some(ReasoningEffort::High);
    let sent = body(&request);
    assert_eq!((&sent["format"], &sent["think"]), (&schema, &json!(true)));
    let options =
        json!({"num_ctx": 16384, "temperature": 0.2, "top_p": 0.9, "top_k": 40, "seed": 7, "stop": ["X"]});
    assert_eq!(sent["options"], options);
    request.reasoning = Some(ReasoningEffort::Off);
    assert_eq!(body(&request)["think"], false);
    request.model = "gpt-oss:20b".into();
    assert_eq!(body(&request)["think"], "low", "it cannot do without");
    request.reasoning = Some(ReasoningEffort::Tokens(8000));
    assert_eq!(body(&request)["think"], "medium");
    request.reasoning = None;
    assert!(body(&request).get("think").is_none());
}

#[test]
fn a_tool_that_must_be_called_is_offered_alone_and_none_is_offered_where_none_may_be_called() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    request.tools = [spec("a", json!({})), spec("b", json!({}))].into();
    let names = |request: &ModelRequest| -> Vec<String> {
        let sent = body(request);
        let tools = sent.get("tools").and_then(Value::as_array).cloned().unwrap_or_default();
        tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&request), ["a", "b"]);
    request.tool_choice = ToolChoice::Tool("b".into());
    assert_eq!(names(&request), ["b"]);
    request.tool_choice = ToolChoice::None;
    assert_eq!(names(&request), [""; 0]);
}
