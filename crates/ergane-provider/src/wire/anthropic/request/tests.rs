use ergane_core::{
    CallId, ErrorKind, ImageSource, Message, Opaque, Origin, OutputSchema, Part, Reasoning, Role, Sampling,
    StopReason, ToolCall, ToolResult, TurnId,
};
use serde_json::Map;

use super::*;
use crate::wire::testing::{model_request, tool};

fn body(request: &ModelRequest) -> Value {
    serde_json::from_slice(&super::request(request, "p", false).unwrap().body.bytes()).unwrap()
}

fn plain(request: ModelRequest) -> ModelRequest {
    ModelRequest { cache: PromptCache::Off, ..request }
}

fn assistant_from(model: &str, parts: Vec<Part>) -> Message {
    let origin = Origin {
        provider: "p".into(),
        api: API.into(),
        model: model.into(),
        response_id: None,
        stop: StopReason::ToolCalls,
    };
    Message { role: Role::Assistant, parts, origin: Some(origin) }
}

fn call(index: u32, wire_id: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: CallId { turn: TurnId(3), index },
        wire_id: Some(wire_id.into()),
        name: "get".into(),
        arguments: arguments.into(),
        complete: true,
        extra: Map::new(),
    })
}

fn results(results: Vec<(u32, Vec<Part>, bool)>) -> Message {
    let parts = results.into_iter().map(|(index, content, is_error)| {
        let call = CallId { turn: TurnId(3), index };
        Part::ToolResult(ToolResult { call, name: "get".into(), content, is_error, synthetic: false })
    });
    Message { role: Role::Tool, parts: parts.collect(), origin: None }
}

fn thought(text: &str, data: Value) -> Part {
    let field = if data.get("data").is_some() { "redacted_thinking" } else { "thinking" };
    let Value::Object(data) = data else { panic!("no object") };
    Part::Reasoning(Reasoning { text: text.into(), field: Some(field.into()), data })
}

#[test]
fn a_request_has_its_version_its_limit_and_marks_where_the_cache_ends() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    request.model = "claude-sonnet-4-6".into();
    request.system = Some("be brief".into());
    request.tools = Arc::new([tool("a", json!({"type": "object"})), tool("b", json!({"type": "object"}))]);
    let http = super::request(&request, "p", false).unwrap();
    assert_eq!(http.path, "/v1/messages");
    assert!(http.headers.contains(&("anthropic-version", "2023-06-01".into())));
    let mark = json!({"type": "ephemeral"});
    let expected = json!({
        "model": "claude-sonnet-4-6", "max_tokens": 32000, "stream": true,
        "system": [{"type": "text", "text": "be brief", "cache_control": mark}],
        "tools": [{"name": "a", "description": "d", "input_schema": {"type": "object"}},
                  {"name": "b", "description": "d", "input_schema": {"type": "object"}, "cache_control": mark}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": mark}]}],
    });
    assert_eq!(body(&request), expected);
    request.cache = PromptCache::Long;
    assert_eq!(body(&request)["system"][0]["cache_control"]["ttl"], "1h");
    assert!(!body(&plain(request)).to_string().contains("cache_control"));
}

#[test]
fn edge_34_two_results_come_first_in_one_user_turn_and_thoughts_go_back_in_their_place() {
    let history = vec![
        Message::user_text("look"),
        assistant_from(
            "m",
            vec![
                thought("hm", json!({"signature": "s1"})),
                thought("", json!({"data": "ENC"})),
                thought("", json!({"signature": "s2"})),
                thought("cut off", json!({})),
                Part::text("I look."),
                call(0, "toolu_1", "{\"z\": 1,  \"a\":2}"),
                call(1, "toolu_2", "[1]"),
            ],
        ),
        results(vec![(1, vec![Part::text("no")], true), (0, vec![Part::text("yes")], false)]),
        Message::user_text("and?"),
    ];
    let request = plain(model_request(history));
    let sent = String::from_utf8(super::request(&request, "p", false).unwrap().body.bytes().into()).unwrap();
    assert!(sent.contains(r#""input":{"z": 1,  "a":2}"#), "the model's own bytes: {sent}");
    let expected = json!([
        {"role": "user", "content": [{"type": "text", "text": "look"}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s1"},
            {"type": "redacted_thinking", "data": "ENC"},
            {"type": "thinking", "thinking": "", "signature": "s2"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"z": 1, "a": 2}},
            {"type": "tool_use", "id": "toolu_2", "name": "get", "input": {}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "yes"}]},
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "no"}], "is_error": true},
            {"type": "text", "text": "and?"}]},
    ]);
    assert_eq!(body(&request)["messages"], expected);
}

#[test]
fn edge_42_orphans_disorder_and_answers_that_were_cut_off_make_a_valid_history() {
    let cut = Part::ToolCall(ToolCall {
        id: CallId { turn: TurnId(1), index: 0 },
        wire_id: None,
        name: "get".into(),
        arguments: "{".into(),
        complete: false,
        extra: Map::new(),
    });
    let history = vec![
        assistant_from("m", vec![Part::text("I begin.")]),
        results(vec![(9, vec![Part::text("an orphan")], false)]),
        Message::user(vec![Part::text(""), Part::text("go"), Part::text(" \n")]),
        assistant_from("m", vec![cut]),
        Message::user_text("again"),
        assistant_from("m", vec![call(0, "bad id!", "{}")]),
    ];
    let sent = body(&plain(model_request(history)));
    let expected = json!([
        {"role": "user", "content": [{"type": "text", "text": "Go on."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "I begin."}]},
        {"role": "user", "content": [{"type": "text", "text": "go"}, {"type": "text", "text": "again"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_3_0", "name": "get", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_3_0", "is_error": true,
            "content": [{"type": "text", "text": "no result was recorded for this call"}]}]},
    ]);
    assert_eq!(sent["messages"], expected);
}

#[test]
fn edge_43_the_thoughts_and_the_ids_of_another_model_stay_at_home() {
    let mut foreign = assistant_from(
        "other",
        vec![
            thought("hm", json!({"signature": "s"})),
            Part::Opaque(Opaque { kind: "x".into(), data: json!({"type": "x"}) }),
            call(0, "fc:1", "{}"),
        ],
    );
    foreign.origin.as_mut().unwrap().api = "openai_responses".into();
    let history = vec![Message::user_text("x"), foreign, results(vec![(0, vec![], false)])];
    let sent = body(&plain(model_request(history)))["messages"].clone();
    assert_eq!(
        sent[1]["content"],
        json!([{"type": "tool_use", "id": "call_3_0", "name": "get", "input": {}}])
    );
    assert_eq!(
        sent[2]["content"],
        json!([{"type": "tool_result", "tool_use_id": "call_3_0", "content": []}])
    );
}

#[test]
fn what_is_opaque_goes_back_to_its_own_model_as_it_came() {
    let block = json!({"type": "server_tool_use", "id": "srv_1", "input": {"q": 1}});
    let own = assistant_from(
        "m",
        vec![Part::Opaque(Opaque { kind: "server_tool_use".into(), data: block.clone() }), Part::text("x ")],
    );
    let sent = body(&plain(model_request(vec![Message::user_text("x"), own])));
    assert_eq!(sent["messages"][1]["content"], json!([block, {"type": "text", "text": "x"}]));
}

#[test]
fn images_go_as_bytes_or_as_links_also_in_results_and_a_strange_type_is_told_before() {
    let image = |mime: &str| Part::Image { mime: mime.into(), source: ImageSource::Base64("AA==".into()) };
    let link =
        Part::Image { mime: "image/png".into(), source: ImageSource::Url("https://x.example/a.png".into()) };
    let history = vec![
        Message::user(vec![image("image/png"), link, Part::text("see")]),
        assistant_from("m", vec![call(0, "toolu_1", "{}")]),
        results(vec![(0, vec![Part::text("shot"), image("image/webp")], false)]),
    ];
    let sent = body(&plain(model_request(history)))["messages"].clone();
    assert_eq!(
        sent[0]["content"][0],
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}})
    );
    assert_eq!(
        sent[0]["content"][1],
        json!({"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}})
    );
    assert_eq!(sent[2]["content"][0]["content"][1]["source"]["media_type"], "image/webp");
    let error = super::request(&model_request(vec![Message::user(vec![image("image/tiff")])]), "p", false)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
}

#[test]
fn tool_choice_structure_sampling_and_stops_have_their_places() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    request.tools = Arc::new([tool("a", json!({"type": "object"}))]);
    assert_eq!(body(&request).get("tool_choice"), None);
    for (choice, expected) in [
        (ToolChoice::None, json!({"type": "none"})),
        (ToolChoice::Required, json!({"type": "any"})),
        (ToolChoice::Tool("a".into()), json!({"type": "tool", "name": "a"})),
    ] {
        request.tool_choice = choice;
        assert_eq!(body(&request)["tool_choice"], expected);
    }
    request.parallel_tools = Some(false);
    assert_eq!(body(&request)["tool_choice"]["disable_parallel_tool_use"], true);
    request.tool_choice = ToolChoice::Auto;
    assert_eq!(body(&request)["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    request.output = Some(OutputSchema::new("out", schema));
    request.sampling = Sampling {
        temperature: Some(0.2),
        top_p: Some(0.9),
        top_k: Some(40),
        seed: Some(7),
        stop: vec!["X".into()],
    };
    request.max_tokens = Some(9);
    let sent = body(&request);
    assert_eq!(
        sent["output_config"],
        json!({"format": {"type": "json_schema", "schema": {"type": "object",
        "properties": {"n": {"type": "integer"}}, "additionalProperties": false}}})
    );
    assert_eq!(
        (&sent["temperature"], &sent["top_k"], &sent["max_tokens"]),
        (&json!(0.2), &json!(40), &json!(9))
    );
    assert_eq!(sent["stop_sequences"], json!(["X"]));
    request.model = "claude-opus-4-7".into();
    let newest = body(&request);
    assert!(
        newest.get("temperature").is_none() && newest.get("top_p").is_none(),
        "the newest models refuse them"
    );
}

#[test]
fn a_structure_is_held_to_where_the_model_and_its_schema_allow_it_and_else_told_in_words() {
    let asked = |model: &str, schema: Value| {
        let mut request = model_request(vec![Message::user_text("hi")]);
        request.model = model.into();
        request.system = Some("be brief".into());
        request.output = Some(OutputSchema::new("out", schema));
        body(&request)
    };
    let bounded = json!({"type": "object", "properties": {"n": {"type": "integer", "format": "uint32", "minimum": 0}}, "required": ["n"]});
    let told = json!({"type": "object", "properties": {"n": {"type": "integer", "description": "minimum: 0"}}, "required": ["n"],
        "additionalProperties": false});
    let sent = asked("claude-sonnet-4-6", bounded.clone());
    assert_eq!(sent["output_config"], json!({"format": {"type": "json_schema", "schema": told}}));
    assert_eq!(sent["system"].as_array().unwrap().len(), 1);
    let map = json!({"type": "object", "additionalProperties": {"type": "integer"}});
    for (model, schema) in [("claude-sonnet-4-6", map), ("claude-3-5-haiku-latest", bounded)] {
        let sent = asked(model, schema.clone());
        assert_eq!(sent.get("output_config"), None, "{model}");
        assert_eq!(
            (&sent["system"][0]["text"], sent["system"][0].get("cache_control")),
            (&json!("be brief"), None)
        );
        let words = &sent["system"][1];
        assert!(words["text"].as_str().unwrap().ends_with(&schema.to_string()), "{words}");
        assert_eq!(words["cache_control"], json!({"type": "ephemeral"}), "all of it is kept");
    }
}

#[test]
fn each_generation_is_asked_to_think_in_its_own_words() {
    let ask = |model: &str, effort, max_tokens| {
        let mut request = model_request(vec![Message::user_text("hi")]);
        (request.model, request.reasoning, request.max_tokens) = (model.into(), Some(effort), max_tokens);
        request.sampling.temperature = Some(0.5);
        body(&request)
    };
    let old = ask("claude-sonnet-4-5", ReasoningEffort::Medium, None);
    assert_eq!(old["thinking"], json!({"type": "enabled", "budget_tokens": 8192}));
    assert!(old.get("temperature").is_none(), "thinking and sampling exclude each other");
    let small = ask("claude-sonnet-4-5", ReasoningEffort::Max, Some(2000));
    assert_eq!((&small["thinking"]["budget_tokens"], &small["max_tokens"]), (&json!(1999), &json!(2000)));
    assert!(ask("claude-sonnet-4-5", ReasoningEffort::Max, Some(500)).get("thinking").is_none());
    let asked = ask("claude-sonnet-4-5", ReasoningEffort::Tokens(40_000), None);
    assert_eq!((&asked["thinking"]["budget_tokens"], &asked["max_tokens"]), (&json!(40_000), &json!(41_024)));
    let new = ask("claude-opus-4-7", ReasoningEffort::XHigh, None);
    assert_eq!(new["thinking"], json!({"type": "adaptive", "display": "summarized"}));
    assert_eq!(new["output_config"], json!({"effort": "xhigh"}));
    assert_eq!(ask("claude-opus-4-7", ReasoningEffort::Off, None)["thinking"], json!({"type": "disabled"}));
    assert!(ask("claude-3-haiku-20240307", ReasoningEffort::High, None).get("thinking").is_none());
}

#[test]
fn thinking_gives_way_to_a_forced_tool_and_does_not_begin_in_the_middle_of_a_round() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    request.model = "claude-sonnet-4-5".into();
    request.reasoning = Some(ReasoningEffort::Low);
    request.tools = Arc::new([tool("a", json!({"type": "object"}))]);
    request.tool_choice = ToolChoice::Required;
    assert_eq!(body(&request)["thinking"], json!({"type": "disabled"}));
    request.tool_choice = ToolChoice::Auto;
    let round = |parts: Vec<Part>| {
        [
            Message::user_text("x"),
            assistant_from("claude-sonnet-4-5", parts),
            results(vec![(0, vec![Part::text("y")], false)]),
        ]
        .into_iter()
        .map(Arc::new)
        .collect()
    };
    request.messages = round(vec![call(0, "toolu_1", "{}")]);
    assert!(body(&request).get("thinking").is_none());
    request.messages = round(vec![thought("hm", json!({"signature": "s"})), call(0, "toolu_1", "{}")]);
    assert!(body(&request).get("thinking").is_some());
}

#[test]
fn the_same_request_is_the_same_bytes_and_a_longer_history_begins_with_them() {
    let mut history = vec![Message::user_text("a"), assistant_from("m", vec![Part::text("b")])];
    let first = super::request(&plain(model_request(history.clone())), "p", false).unwrap();
    assert_eq!(first, super::request(&plain(model_request(history.clone())), "p", false).unwrap());
    history.push(Message::user_text("c"));
    let longer = super::request(&plain(model_request(history)), "p", false).unwrap();
    let shared = first.body.len() - 2;
    assert_eq!(longer.body.bytes()[..shared], first.body.bytes()[..shared]);
}

#[test]
fn tools_are_strict_where_it_is_asked_for_and_their_schemas_and_the_mode_have_room() {
    let mut request = plain(model_request(vec![Message::user_text("hi")]));
    let optional = |n: usize| {
        let properties =
            |n: usize| (0..n).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect::<Map<_, _>>();
        json!({"type": "object", "properties": properties(n)})
    };
    let asked = |request: &ModelRequest, strict| -> Value {
        serde_json::from_slice(&super::request(request, "p", strict).unwrap().body.bytes()).unwrap()
    };
    let number = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}});
    request.tools = [tool("fits", optional(1)), tool("does_not", number.clone())].into();
    let tools = asked(&request, true)["tools"].clone();
    let closed = json!({"type": "object", "properties": {"p0": {"type": "string"}}, "required": [], "additionalProperties": false});
    let fits = json!({"name": "fits", "description": "d", "input_schema": closed, "strict": true});
    assert_eq!(tools, json!([fits, {"name": "does_not", "description": "d", "input_schema": number}]));
    let plain = json!({"name": "fits", "description": "d", "input_schema": optional(1)});
    assert_eq!(asked(&request, false)["tools"][0], plain);
    // What is over the limits of the mode goes without, and what comes after it and is smaller does not suffer.
    let strict_of = |tools: Vec<ToolSpec>| {
        let request = ModelRequest { tools: tools.into(), ..request.clone() };
        let tools = asked(&request, true)["tools"].as_array().unwrap().clone();
        tools.iter().map(|tool| tool.get("strict").is_some()).collect::<Vec<_>>()
    };
    let sized = |sizes: &[usize]| sizes.iter().map(|n| tool("t", optional(*n))).collect::<Vec<_>>();
    assert_eq!(strict_of(sized(&[20, 5, 4, 1])), [true, false, true, false]);
    assert_eq!(strict_of(sized(&[0; 21])), [[true; 20].as_slice(), &[false]].concat());
    let unions = |n: usize| {
        let maybe = |n: usize| (format!("p{n}"), json!({"type": ["string", "null"]}));
        let required: Vec<String> = (0..n).map(|n| format!("p{n}")).collect();
        json!({"type": "object", "properties": (0..n).map(maybe).collect::<Map<_, _>>(), "required": required})
    };
    assert_eq!(strict_of(vec![tool("t", unions(16)), tool("t", unions(1))]), [true, false]);
    // The structure of the answer is in the same grammar, and first.
    let beside = |structure: Value, tools: Vec<ToolSpec>| {
        let output = Some(OutputSchema::new("o", structure));
        let asked = asked(&ModelRequest { tools: tools.into(), output, ..request.clone() }, true);
        asked["tools"].as_array().unwrap().iter().map(|tool| tool.get("strict").is_some()).collect::<Vec<_>>()
    };
    assert_eq!(beside(optional(20), sized(&[5, 4, 1])), [false, true, false]);
    assert_eq!(beside(unions(15), vec![tool("t", unions(2)), tool("t", unions(1))]), [false, true]);
    assert_eq!(beside(number.clone(), sized(&[1])), [true], "bounds of a structure are told in words");
    // One that is told in words itself takes nothing.
    assert_eq!(beside(optional(25), sized(&[20, 4])), [true, true]);
    assert_eq!(beside(json!({"type": "object", "additionalProperties": true}), sized(&[24])), [true]);
    assert_eq!(beside(optional(0), sized(&[0; 21])), [[true; 20].as_slice(), &[false]].concat());
    for not_taken in [
        json!({"type": "object", "properties": {"next": {"$ref": "#"}}}),
        json!({"type": "object", "properties": {"p": {"type": "string", "pattern": "a"}}}),
        json!({"type": "object", "properties": {"p": {"type": "array", "items": {"type": "string"}, "maxItems": 2}}}),
        json!({"type": "object", "properties": {}, "additionalProperties": true}),
    ] {
        assert_eq!(strict_of(vec![tool("t", not_taken.clone())]), [false], "{not_taken}");
    }
    let format = json!({"type": "object", "properties": {"p": {"type": "string", "format": "date"}}});
    assert_eq!(
        asked(&ModelRequest { tools: [tool("t", format)].into(), ..request.clone() }, true)["tools"][0]["input_schema"]
            ["properties"]["p"]["format"],
        "date"
    );
}
