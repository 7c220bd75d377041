use ergane_core::{
    CallId, ImageSource, Message, Origin, Part, Reasoning, Role, Sampling, StopReason, ToolCall, ToolResult,
    TurnId,
};
use serde_json::Map;

use super::*;
use crate::wire::gemini::contents::{BEGINNING, NO_SIGNATURE};
use crate::wire::gemini::{PART, SIGNATURE, opaque};
use crate::wire::testing::{model_request, tool};

fn call(index: u32, wire_id: Option<&str>, arguments: &str, signature: Option<&str>) -> Part {
    let extra = signature.map(|signature| (SIGNATURE.to_owned(), Value::from(signature)));
    Part::ToolCall(ToolCall {
        id: CallId { turn: TurnId(812), index },
        wire_id: wire_id.map(Into::into),
        name: "read".into(),
        arguments: arguments.into(),
        complete: true,
        extra: Map::from_iter(extra),
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

fn body(request: &ModelRequest) -> Value {
    serde_json::from_slice(&super::request(request, "p").body.bytes()).unwrap()
}

fn contents(history: Vec<Message>) -> Value {
    body(&model_request(history))["contents"].clone()
}

#[test]
fn a_request_says_what_it_has_to_and_nothing_else() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    let http = super::request(&request, "p");
    assert_eq!(http.path, "/models/m:streamGenerateContent?alt=sse");
    let expected = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
    assert_eq!(serde_json::from_slice::<Value>(&http.body.bytes()).unwrap(), expected);
    request.stream = false;
    request.model = "tunedModels/mine".into();
    assert_eq!(super::request(&request, "p").path, "/tunedModels/mine:generateContent");
    request.system = Some("be brief".into());
    request.max_tokens = Some(7);
    request.sampling = Sampling {
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(40),
        seed: Some(1),
        stop: vec!["END".into()],
    };
    request.tools = [
        tool("get", json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}}})),
        tool("now", json!({"type": "object"})),
    ]
    .into();
    let expected = json!({
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "tools": [{"functionDeclarations": [
            {"name": "get", "description": "d", "parametersJsonSchema": {"type": "object", "properties": {"x": {"$ref": "#/$defs/X"}}}},
            {"name": "now", "description": "d"},
        ]}],
        "generationConfig": {"maxOutputTokens": 7, "temperature": 0.5, "topP": 0.9, "topK": 40, "seed": 1, "stopSequences": ["END"]},
    });
    assert_eq!(body(&request), expected);
}

#[test]
fn a_structure_is_asked_for_in_the_words_of_the_models_generation() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    request.output = Some(OutputSchema::new(
        "out",
        json!({"type": "object", "additionalProperties": false, "properties": {"x": {"const": "y"}}}),
    ));
    let config = body(&request)["generationConfig"].clone();
    assert_eq!(config["responseMimeType"], "application/json");
    assert_eq!(config["responseJsonSchema"]["additionalProperties"], false);
    request.model = "gemini-2.0-flash".into();
    let config = body(&request)["generationConfig"].clone();
    assert_eq!(config.get("responseJsonSchema"), None);
    let plain = json!({"type": "object", "properties": {"x": {"type": "string", "enum": ["y"]}}});
    assert_eq!(config["responseSchema"], plain);
    request.tools = [tool("get", json!({"type": "object", "properties": {"x": {"const": "y"}}}))].into();
    assert_eq!(body(&request)["tools"][0]["functionDeclarations"][0]["parameters"], plain);
}

#[test]
fn thinking_is_told_as_a_budget_or_as_a_level_and_never_as_both() {
    let asked = |model: &str, effort| {
        let mut request = model_request(vec![Message::user_text("hi")]);
        request.model = model.into();
        request.reasoning = Some(effort);
        body(&request)["generationConfig"]["thinkingConfig"].clone()
    };
    use ReasoningEffort::*;
    assert_eq!(asked("gemini-2.5-flash", Off), json!({"includeThoughts": false, "thinkingBudget": 0}));
    assert_eq!(asked("gemini-2.5-pro", Off)["thinkingBudget"], 128);
    assert_eq!(asked("gemini-2.5-pro", Tokens(300)), json!({"includeThoughts": true, "thinkingBudget": 300}));
    assert_eq!(asked("gemini-3-pro", Minimal), json!({"includeThoughts": true, "thinkingLevel": "LOW"}));
    assert_eq!(asked("gemini-3-flash", Minimal)["thinkingLevel"], "MINIMAL");
    assert_eq!(asked("gemini-3-flash", Medium)["thinkingLevel"], "MEDIUM");
    assert_eq!(asked("gemini-3-flash", Max)["thinkingLevel"], "HIGH");
    assert_eq!(asked("gemini-3-flash", Tokens(50_000))["thinkingLevel"], "HIGH");
    assert_eq!(asked("gemini-2.0-flash", High), Value::Null);
}

#[test]
fn the_choice_of_tools_becomes_a_mode_and_one_at_a_time_an_instruction() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    request.tool_choice = ToolChoice::Required;
    request.parallel_tools = Some(false);
    assert_eq!(
        (body(&request).get("toolConfig"), body(&request).get("systemInstruction")),
        (None, None),
        "no tools, no choice"
    );
    request.tools = [tool("get", json!({"type": "object"}))].into();
    let mode = |request: &ModelRequest| body(request)["toolConfig"]["functionCallingConfig"].clone();
    assert_eq!(mode(&request), json!({"mode": "ANY"}));
    assert_eq!(body(&request)["systemInstruction"]["parts"][0]["text"], ONE_BY_ONE);
    request.tool_choice = ToolChoice::Tool("get".into());
    assert_eq!(mode(&request), json!({"mode": "ANY", "allowedFunctionNames": ["get"]}));
    request.tool_choice = ToolChoice::None;
    assert_eq!(mode(&request), json!({"mode": "NONE"}));
    request.tool_choice = ToolChoice::Auto;
    assert_eq!(body(&request).get("toolConfig"), None);
}

#[test]
fn results_answer_all_calls_in_one_turn_in_their_order_and_failures_as_errors() {
    let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("BB==".into()) };
    let history = vec![
        Message::user_text("go"),
        own(vec![call(1, Some("a"), "{\"z\":1, \"a\":2}", Some("s")), call(2, Some("b"), "", None)]),
        results(vec![result(2, vec!["second".into()], true), result(1, vec!["first".into(), image], false)]),
        Message::user_text("on"),
    ];
    assert_eq!(
        contents(history),
        json!([
            {"role": "user", "parts": [{"text": "go"}]},
            {"role": "model", "parts": [
                {"functionCall": {"id": "a", "name": "read", "args": {"z": 1, "a": 2}}, "thoughtSignature": "s"},
                {"functionCall": {"id": "b", "name": "read", "args": {}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "a", "name": "read", "response": {"output": "first"}}},
                {"functionResponse": {"id": "b", "name": "read", "response": {"error": "second"}}},
            ]},
            {"role": "user", "parts": [{"text": "Images from the result of read:"}, {"inlineData": {"mimeType": "image/png", "data": "BB=="}}]},
            {"role": "user", "parts": [{"text": "on"}]},
        ])
    );
}

/// Edge case 37.
#[test]
fn calls_that_came_without_ids_go_back_without_and_so_do_their_results_37() {
    let value = contents(vec![
        Message::user_text("go"),
        own(vec![call(1, None, "", Some("s")), call(2, None, "", None)]),
        results(vec![result(2, vec!["second".into()], false), result(1, vec!["first".into()], false)]),
    ]);
    assert_eq!(
        value[1]["parts"][0],
        json!({"functionCall": {"name": "read", "args": {}}, "thoughtSignature": "s"})
    );
    assert_eq!(value[1]["parts"][1], json!({"functionCall": {"name": "read", "args": {}}}));
    assert_eq!(
        value[2]["parts"][0],
        json!({"functionResponse": {"name": "read", "response": {"output": "first"}}})
    );
    assert_eq!(
        value[2]["parts"][1],
        json!({"functionResponse": {"name": "read", "response": {"output": "second"}}})
    );
}

/// Edge case 37: what the decoder keeps is what goes back.
#[test]
fn signatures_go_back_on_the_very_same_parts_and_parts_are_never_merged_37() {
    let code = json!({"executableCode": {"code": "1"}, "thoughtSignature": "c"});
    let empty = json!({"text": "", "thoughtSignature": "e"});
    let sent = json!([
        {"text": "hm", "thought": true, "thoughtSignature": "t"},
        {"text": "a"},
        {"text": "b", "thoughtSignature": "s"},
        empty.clone(),
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thoughtSignature": "i"},
        code.clone(),
        {"functionCall": {"name": "read", "args": {"x": 1}}, "thoughtSignature": "f"},
        {"text": "after"},
    ]);
    let stream = format!(
        "data: {}\n\n",
        json!({"candidates": [{"content": {"parts": sent}, "finishReason": "STOP"}]})
    );
    let events = crate::wire::testing::run(
        super::super::Decoder::new,
        &crate::wire::Head::new(200, "text/event-stream"),
        &[stream.as_bytes()],
    );
    let mut message = crate::wire::testing::reply(&events).message.clone();
    message.number_calls(TurnId(1), 1);
    // Through the journal and back.
    let message: Message = serde_json::from_str(&serde_json::to_string(&message).unwrap()).unwrap();
    assert_eq!(contents(vec![Message::user_text("go"), message])[1]["parts"], sent);
}

/// Edge cases 42 and 43.
#[test]
fn another_models_thoughts_stay_at_home_and_its_first_call_gets_the_sentinel_43() {
    let thought = Part::Reasoning(ergane_core::Reasoning { text: "hm".into(), ..Default::default() });
    let parts = vec![
        thought,
        Part::text("x"),
        super::super::opaque(PART, json!({"text": ""})),
        call(1, Some("toolu_1"), "{}", Some("theirs")),
        call(2, None, "{}", None),
    ];
    for foreign in [
        from("anthropic", "m", parts.clone()),
        from("p", "other", parts.clone()),
        Message { origin: None, ..own(parts) },
    ] {
        let given = foreign.origin.as_ref().is_some_and(|origin| &*origin.provider == "p");
        let value = contents(vec![Message::user_text("go"), foreign]);
        let mut first =
            json!({"functionCall": {"name": "read", "args": {}}, "thoughtSignature": NO_SIGNATURE});
        if given {
            first["functionCall"]["id"] = "toolu_1".into();
        }
        assert_eq!(
            value[1]["parts"],
            json!([{"text": "x"}, first, {"functionCall": {"name": "read", "args": {}}}])
        );
    }
    let mut request = model_request(vec![
        Message::user_text("go"),
        from("anthropic", "m", vec![call(1, None, "{}", None)]),
    ]);
    request.model = "gemini-2.5-flash".into();
    assert_eq!(
        body(&request)["contents"][1]["parts"][0].get("thoughtSignature"),
        None,
        "elders do not know it"
    );
}

/// Edge case 42.
#[test]
fn a_history_that_no_one_would_accept_is_made_acceptable_42() {
    let mut cut = call(2, None, "{\"x\":", None);
    if let Part::ToolCall(call) = &mut cut {
        call.complete = false;
    }
    let history = vec![
        results(vec![result(9, vec!["nobody asked".into()], false)]),
        own(vec![Part::text("I begin")]),
        own(vec![call(1, None, "[1]", None), cut]),
        Message::user_text("on"),
        own(vec![]),
        Message::user_text("and on"),
    ];
    let missing = "no result was recorded for this call";
    let expected = json!([
        {"role": "user", "parts": [{"text": BEGINNING}]},
        {"role": "model", "parts": [{"text": "I begin"}, {"functionCall": {"name": "read", "args": {}}, "thoughtSignature": NO_SIGNATURE}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "read", "response": {"error": missing}}}]},
        {"role": "user", "parts": [{"text": "on"}]},
        {"role": "user", "parts": [{"text": "and on"}]},
    ]);
    assert_eq!(contents(history.clone()), expected);
    assert_eq!(contents(history), expected, "the same history gives the same request");
}

/// Such calls have neither an id nor a signature, and a model that signs its calls is refused for those without.
#[test]
fn a_call_that_was_written_as_text_is_signed_by_the_sentinel_and_takes_no_signature_of_a_text_with_it() {
    let thought = Reasoning { text: "hm".into(), ..Reasoning::default() };
    let parts = || {
        let signature = opaque(SIGNATURE, "of the text that was a block".into());
        vec![
            Part::Reasoning(thought.clone()),
            signature,
            call(1, None, "{}", None),
            call(2, None, "{}", None),
        ]
    };
    let history = |said: Vec<Part>| vec![Message::user_text("go"), own(said)];
    let called = json!({"functionCall": {"name": "read", "args": {}}});
    let mut signed = called.clone();
    signed["thoughtSignature"] = NO_SIGNATURE.into();
    let expected = json!([{"text": "hm", "thought": true}, signed, called]);
    assert_eq!(contents(history(parts()))[1]["parts"], expected);
    let native = vec![call(1, Some("c1"), "{}", None), call(2, None, "{}", None)];
    assert_eq!(
        contents(history(native))[1]["parts"][0].get("thoughtSignature"),
        None,
        "it is not ours to sign"
    );
    let mut elder = model_request(history(parts()));
    elder.model = "gemini-2.5-flash".into();
    let sent = body(&elder)["contents"][1]["parts"].to_string();
    assert!(!sent.contains("thoughtSignature"), "elders know no sentinel: {sent}");
}

#[test]
fn images_of_a_user_go_as_bytes_or_by_their_address() {
    let linked = Part::Image { mime: "image/png".into(), source: ImageSource::Url("https://x/y.png".into()) };
    let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("AA==".into()) };
    assert_eq!(
        contents(vec![Message::user(vec![Part::text("see"), image, linked])])[0]["parts"],
        json!([
            {"text": "see"},
            {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
            {"fileData": {"mimeType": "image/png", "fileUri": "https://x/y.png"}},
        ])
    );
}

#[test]
fn arguments_go_back_with_the_models_own_bytes() {
    let history = vec![
        Arc::new(Message::user_text("go")),
        Arc::new(own(vec![call(1, None, "{\"z\": 1.50, \"a\":12345678901234567890123}", None)])),
    ];
    let http = super::request(&ModelRequest::new("m", history.into_iter().collect()), "p");
    let text = String::from_utf8(http.body.bytes().into()).unwrap();
    assert!(text.contains("{\"z\": 1.50, \"a\":12345678901234567890123}"), "{text}");
}

#[test]
fn a_longer_history_begins_with_the_bytes_of_the_shorter() {
    let turn = |n: u32| {
        vec![
            Message::user_text(format!("go {n}")),
            own(vec![call(n, None, "{}", None)]),
            results(vec![result(n, vec!["r".into()], false)]),
        ]
    };
    let bytes =
        |history: Vec<Message>| super::request(&model_request(history), "p").body.bytes().into_owned();
    let shorter = bytes(turn(1));
    let longer = bytes([turn(1), turn(2)].concat());
    let end = shorter.len() - "]}".len();
    assert_eq!(longer[..end], shorter[..end]);
    assert_eq!(bytes(turn(1)), shorter);
}
