use ergane_core::{
    CallId, Message, Opaque, Origin, OutputSchema, Reasoning, Role, StopReason, ToolCall, ToolResult, TurnId,
};
use serde_json::Map;

use super::*;
use crate::wire::testing::{model_request, tool};

fn call(index: u32, wire_id: Option<&str>, item_id: Option<&str>) -> Part {
    Part::ToolCall(ToolCall {
        id: CallId { turn: TurnId(812), index },
        wire_id: wire_id.map(Into::into),
        name: "read".into(),
        arguments: "{\"z\":1, \"a\":2}".into(),
        complete: true,
        extra: Map::from_iter(item_id.map(|id| ("id".to_owned(), Value::from(id)))),
    })
}

fn result(index: u32, content: Vec<Part>, is_error: bool) -> Part {
    Part::ToolResult(ToolResult {
        call: CallId { turn: TurnId(812), index },
        name: "read".into(),
        content,
        is_error,
        synthetic: false,
    })
}

fn from(provider: &str, model: &str, parts: Vec<Part>) -> Message {
    let origin = Origin {
        provider: provider.into(),
        api: API.into(),
        model: model.into(),
        response_id: None,
        stop: StopReason::ToolCalls,
    };
    Message { role: Role::Assistant, parts, origin: Some(origin) }
}

fn own(parts: Vec<Part>) -> Message {
    from("p", "m", parts)
}

fn results(parts: Vec<Part>) -> Message {
    Message { role: Role::Tool, parts, origin: None }
}

fn reasoning(item: Value) -> Part {
    let Value::Object(data) = item else { panic!() };
    Part::Reasoning(Reasoning { text: "hm".into(), field: None, data })
}

fn encrypted() -> Value {
    json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"})
}

fn body(request: &ModelRequest) -> Value {
    body_for(request, &Compat { cache_key: true, strict_tools: true, ..Compat::default() })
}

fn body_for(request: &ModelRequest, flags: &Compat) -> Value {
    serde_json::from_slice(&super::request(request, "p", flags).unwrap().body.bytes()).unwrap()
}

fn input(history: Vec<Message>) -> Value {
    body(&model_request(history))["input"].clone()
}

fn said(text: &str) -> Value {
    json!({"type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

#[test]
fn a_request_says_what_it_has_to_and_nothing_else() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    assert_eq!(super::request(&request, "p", &Compat::default()).unwrap().path, "/responses");
    let hi = json!([{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]);
    let least = json!({"model": "m", "stream": true, "store": false, "include": ["reasoning.encrypted_content"], "input": hi});
    assert_eq!(body(&request), least);
    request.model = "gpt-4.1".into();
    assert_eq!(body(&request).get("include"), None, "a model that never reasons refuses the question");
    request.stream = false;
    request.system = Some("be brief".into());
    request.max_tokens = Some(70);
    request.sampling.temperature = Some(0.5);
    request.sampling.top_p = Some(0.9);
    request.reasoning = Some(ReasoningEffort::Low);
    request.output =
        Some(OutputSchema::new("out", json!({"type": "object", "properties": {"x": {"type": "string"}}})));
    request.tools = [tool("get", json!({"type": "object"}))].into();
    request.tool_choice = ToolChoice::Tool("get".into());
    request.parallel_tools = Some(false);
    request.cache_key = Some("key".into());
    let expected = json!({
        "model": "gpt-4.1", "stream": false, "store": false, "instructions": "be brief", "max_output_tokens": 70,
        "temperature": 0.5, "top_p": 0.9, "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "out", "strict": true,
            "schema": {"type": "object", "properties": {"x": {"type": ["string", "null"]}}, "required": ["x"], "additionalProperties": false}}},
        "tools": [{"type": "function", "name": "get", "description": "d", "parameters": {"type": "object"}, "strict": false}],
        "tool_choice": {"type": "function", "name": "get"}, "parallel_tool_calls": false, "prompt_cache_key": "key", "input": hi,
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn texts_that_end_an_answer_are_refused_where_there_is_no_word_for_them() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    request.sampling.stop = vec!["END".into()];
    let error = super::request(&request, "p", &Compat::default()).unwrap_err();
    assert_eq!((error.kind, error.retryable), (ergane_core::ErrorKind::Unsupported, false));
    assert!(error.message.contains("`stop`") && error.message.contains("`openai`"), "{error}");
}

#[test]
fn the_choice_of_tools_and_the_effort_are_told_in_this_apis_words() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    request.tool_choice = ToolChoice::Required;
    request.parallel_tools = Some(true);
    assert_eq!(
        (body(&request).get("tool_choice"), body(&request).get("parallel_tool_calls")),
        (None, None),
        "no tools"
    );
    request.tools = [tool("get", json!({"type": "object"}))].into();
    for (choice, word) in [
        (ToolChoice::Auto, Value::Null),
        (ToolChoice::None, "none".into()),
        (ToolChoice::Required, "required".into()),
    ] {
        request.tool_choice = choice;
        assert_eq!(body(&request)["tool_choice"], word);
    }
    use ReasoningEffort::*;
    for (effort, word) in [
        (Off, "none"),
        (Minimal, "minimal"),
        (Medium, "medium"),
        (High, "high"),
        (XHigh, "xhigh"),
        (Tokens(1), "low"),
        (Tokens(8000), "medium"),
        (Tokens(90_000), "high"),
    ] {
        request.reasoning = Some(effort);
        assert_eq!(body(&request)["reasoning"]["effort"], word);
        assert_eq!(body(&request)["reasoning"].get("summary").is_some(), effort != Off);
    }
}

#[test]
fn a_round_of_tools_is_replayed_with_results_in_the_order_of_the_calls() {
    let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("AA==".into()) };
    let history = vec![
        Message::user_text("go"),
        own(vec![
            reasoning(encrypted()),
            call(1, Some("call_a"), Some("fc_1")),
            call(2, Some("call_b"), None),
        ]),
        results(vec![result(2, vec!["second".into()], true), result(1, vec!["first".into(), image], false)]),
    ];
    let function_call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "read", "arguments": "{\"z\":1, \"a\":2}"});
    let mut first = function_call("call_a");
    first["id"] = "fc_1".into();
    assert_eq!(
        input(history).as_array().unwrap()[1..],
        [
            encrypted(),
            first,
            function_call("call_b"),
            json!({"type": "function_call_output", "call_id": "call_a", "output": [
                {"type": "input_text", "text": "first"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"},
            ]}),
            json!({"type": "function_call_output", "call_id": "call_b", "output": "Error: second"}),
        ]
    );
}

#[test]
fn reasoning_without_its_encrypted_form_stays_at_home_and_takes_all_ids_with_it() {
    let marker = Part::Opaque(Opaque {
        kind: "message".into(),
        data: json!({"id": "msg_1", "phase": "final_answer"}),
    });
    let summary =
        json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]});
    let with = |item: Value| {
        input(vec![
            Message::user_text("go"),
            own(vec![
                reasoning(item),
                marker.clone(),
                Part::text("x"),
                call(1, Some("call_a"), Some("fc_1")),
            ]),
        ])
    };
    let kept = with(encrypted());
    assert_eq!((&kept[1], &kept[2]["id"], &kept[3]["id"]), (&encrypted(), &json!("msg_1"), &json!("fc_1")));
    let dropped = with(summary);
    assert_eq!(
        (&dropped[1]["type"], &dropped[1]["phase"], &dropped[1].get("id")),
        (&json!("message"), &json!("final_answer"), &None)
    );
    assert_eq!(dropped[2].get("id"), None);
    let open_thoughts = json!({"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]});
    assert_eq!(with(open_thoughts.clone())[1], open_thoughts, "thoughts that are not encrypted go back too");
}

#[test]
fn reasoning_that_led_to_nothing_is_not_sent() {
    let mut cut = call(1, Some("call_a"), Some("fc_1"));
    if let Part::ToolCall(call) = &mut cut {
        call.complete = false;
    }
    let history = vec![
        Message::user_text("go"),
        own(vec![Part::text("x"), reasoning(encrypted()), cut]),
        Message::user_text("on"),
    ];
    let input = input(history);
    assert_eq!((&input[1], &input[2]["role"]), (&said("x"), &json!("user")));
}

/// Edge cases 42 and 43.
#[test]
fn another_models_history_goes_without_what_only_it_understands_43() {
    let parts = vec![
        reasoning(encrypted()),
        Part::Opaque(Opaque { kind: "item".into(), data: json!({"type": "compaction"}) }),
        Part::text("x"),
        Part::Refusal { text: "y".into() },
        call(1, Some("toolu 1"), Some("fc_1")),
    ];
    for foreign in [
        from("anthropic", "m", parts.clone()),
        from("p", "other", parts.clone()),
        Message { origin: None, ..own(parts) },
    ] {
        let input = input(vec![
            results(vec![result(9, vec!["nobody asked".into()], false)]),
            foreign,
            Message::user_text("on"),
        ]);
        assert_eq!(
            input,
            json!([
                said("xy"),
                {"type": "function_call", "call_id": "call_812_1", "name": "read", "arguments": "{\"z\":1, \"a\":2}"},
                {"type": "function_call_output", "call_id": "call_812_1", "output": "Error: no result was recorded for this call"},
                {"role": "user", "content": [{"type": "input_text", "text": "on"}]},
            ])
        );
    }
}

#[test]
fn a_longer_history_begins_with_the_bytes_of_the_shorter() {
    let turn = |n: u32| {
        vec![
            Message::user_text(format!("go {n}")),
            own(vec![call(n, None, None)]),
            results(vec![result(n, vec!["r".into()], false)]),
        ]
    };
    let bytes = |history: Vec<Message>| {
        super::request(&model_request(history), "p", &Compat::default()).unwrap().body.bytes().into_owned()
    };
    let shorter = bytes(turn(1));
    let longer = bytes([turn(1), turn(2)].concat());
    let end = shorter.len() - "]}".len();
    assert_eq!(longer[..end], shorter[..end]);
    assert_eq!(bytes(turn(1)), shorter);
}

#[test]
fn a_tool_is_strict_where_its_schema_and_the_server_allow_it_and_it_is_always_said() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    let optional = json!({"type": "object", "properties": {"x": {"type": "string"}}});
    let map = json!({"type": "object", "additionalProperties": {"type": "string"}});
    request.tools = [tool("fits", optional.clone()), tool("does_not", map.clone())].into();
    let tools = body(&request)["tools"].clone();
    assert_eq!(tools[0]["strict"], true);
    assert_eq!(
        tools[0]["parameters"],
        json!({"type": "object", "properties": {"x": {"type": ["string", "null"]}}, "required": ["x"],
            "additionalProperties": false})
    );
    assert_eq!((&tools[1]["strict"], &tools[1]["parameters"]), (&json!(false), &map));
    request.cache_key = Some("key".into());
    let elsewhere = body_for(&request, &Compat::default());
    assert_eq!(
        (&elsewhere["tools"][0]["strict"], &elsewhere["tools"][0]["parameters"]),
        (&json!(false), &optional)
    );
    assert_eq!(elsewhere.get("prompt_cache_key"), None);
    // A structure that does not fit is asked for all the same, and checked by whoever asked.
    request.output = Some(OutputSchema::new("out", map.clone()));
    let format = body(&request)["text"]["format"].clone();
    assert_eq!((&format["strict"], &format["schema"]), (&json!(false), &map));
    request.output = Some(OutputSchema::new("no name", map.clone()));
    assert_eq!(body(&request)["text"]["format"]["name"], "no_name");
}
