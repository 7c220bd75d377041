use ergane_core::{
    CallId, ErrorKind, ImageSource, Message, Origin, OutputSchema, Part, PromptCache, Reasoning, Role,
    StopReason, ToolCall, ToolResult, TurnId,
};
use serde_json::json;

use super::super::{CompatServer, SERVERS};
use super::*;
use crate::wire::testing::{model_request, tool};

fn call(index: u32, wire_id: Option<&str>, name: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: CallId { turn: TurnId(812), index },
        wire_id: wire_id.map(Into::into),
        name: name.into(),
        arguments: arguments.into(),
        complete: true,
        extra: Map::new(),
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

fn assistant_from(provider: &str, model: &str, parts: Vec<Part>) -> Message {
    let origin = Origin {
        provider: provider.into(),
        api: "openai".into(),
        model: model.into(),
        response_id: None,
        stop: StopReason::ToolCalls,
    };
    Message { role: Role::Assistant, parts, origin: Some(origin) }
}

fn results(parts: Vec<Part>) -> Message {
    Message { role: Role::Tool, parts, origin: None }
}

fn body(request: &ModelRequest, flags: &Compat) -> Value {
    serde_json::from_slice(&super::request(request, "p", flags).unwrap().body.bytes()).unwrap()
}

fn any() -> Compat {
    Compat::default()
}

fn like(name: &str) -> Compat {
    (CompatServer::named(name).unwrap().flags)()
}

fn messages(history: Vec<Message>) -> Value {
    body(&model_request(history), &any())["messages"].clone()
}

#[test]
fn a_request_says_what_it_has_to_and_nothing_else() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    let http = super::request(&request, "p", &any()).unwrap();
    assert_eq!(http.path, "/chat/completions");
    let expected = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true, "stream_options": {"include_usage": true}});
    assert_eq!(serde_json::from_slice::<Value>(&http.body.bytes()).unwrap(), expected);
    request.stream = false;
    request.system = Some("be brief".into());
    request.max_tokens = Some(7);
    request.tools = [tool("get", json!({"type": "object"}))].into();
    let expected = json!({
        "model": "m", "stream": false, "max_tokens": 7,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "get", "description": "d", "parameters": {"type": "object"}}}],
    });
    assert_eq!(body(&request, &any()), expected);
    assert_eq!(body(&request, &like("openai"))["max_completion_tokens"], 7);
    assert_eq!(body(&request, &like("openai")).get("max_tokens"), None);
}

#[test]
fn a_round_of_tools_is_replayed_with_results_in_the_order_of_the_calls() {
    let history = vec![
        Message::user_text("go"),
        assistant_from(
            "p",
            "m",
            vec![call(1, Some("a"), "read", "{\"z\":1, \"a\":2}"), call(2, Some("b"), "read", "")],
        ),
        results(vec![result(2, vec!["second".into()], true), result(1, vec!["first".into()], false)]),
    ];
    assert_eq!(
        messages(history),
        json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "read", "arguments": "{\"z\":1, \"a\":2}"}},
                {"id": "b", "type": "function", "function": {"name": "read", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "a", "content": "first"},
            {"role": "tool", "tool_call_id": "b", "content": "Error: second"},
        ])
    );
}

#[test]
fn edge_16_missing_doubled_foreign_and_illegal_ids_become_unique_ones_that_stay_the_same() {
    let long = "x".repeat(65);
    let first = assistant_from(
        "p",
        "m",
        vec![
            call(1, Some("same"), "read", "{}"),
            call(2, Some("same"), "read", "{}"),
            call(3, None, "read", "{}"),
            call(4, Some(&long), "read", "{}"),
            call(5, Some("with space"), "read", "{}"),
        ],
    );
    let foreign =
        Message { origin: None, ..assistant_from("p", "m", vec![call(6, Some("toolu_1"), "read", "{}")]) };
    let other = assistant_from("other", "m", vec![call(7, Some("fc_1"), "read", "{}")]);
    let ids = |value: &Value| -> Vec<String> {
        let calls =
            value.as_array().unwrap().iter().flat_map(|m| m["tool_calls"].as_array().into_iter().flatten());
        calls.map(|call| call["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = messages(vec![first.clone(), foreign, other]);
    assert_eq!(
        ids(&all),
        ["same", "call_812_2", "call_812_3", "call_812_4", "call_812_5", "call_812_6", "call_812_7"]
    );
    let answered: Vec<&str> =
        all.as_array().unwrap().iter().filter_map(|m| m["tool_call_id"].as_str()).collect();
    assert_eq!(answered, ids(&all));
    assert_eq!(ids(&messages(vec![first])), ids(&all)[..5]);
}

#[test]
fn calls_that_were_never_numbered_still_get_unique_ids_and_their_own_results() {
    let unnumbered = |name: &str| match call(0, None, name, "{}") {
        Part::ToolCall(call) => Part::ToolCall(ToolCall { id: CallId::UNNUMBERED, ..call }),
        other => other,
    };
    let answer = |text: &str| match result(0, vec![text.into()], false) {
        Part::ToolResult(result) => Part::ToolResult(ToolResult { call: CallId::UNNUMBERED, ..result }),
        other => other,
    };
    let value = messages(vec![
        assistant_from("p", "m", vec![unnumbered("a"), unnumbered("b")]),
        results(vec![answer("for a"), answer("for b")]),
    ]);
    assert_eq!(value[0]["tool_calls"][0]["id"], "call_0_0");
    assert_eq!(value[0]["tool_calls"][1]["id"], "call_0_0_2");
    assert_eq!((&value[1]["content"], &value[2]["content"]), (&json!("for a"), &json!("for b")));
}

#[test]
fn edge_42_orphans_on_either_side_are_made_whole_and_incomplete_calls_left_out() {
    let mut cut = call(2, None, "read", "{\"x\":");
    if let Part::ToolCall(call) = &mut cut {
        call.complete = false;
    }
    let value = messages(vec![
        results(vec![result(9, vec!["nobody asked".into()], false)]),
        Message::user_text("go"),
        assistant_from("p", "m", vec![Part::text("so far"), call(1, None, "read", "{}"), cut]),
        results(vec![
            result(2, vec!["of the cut one".into()], true),
            result(8, vec!["of none".into()], false),
        ]),
        Message::user_text("on"),
    ]);
    assert_eq!(
        value,
        json!([
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": "so far", "tool_calls": [{"id": "call_812_1", "type": "function", "function": {"name": "read", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "call_812_1", "content": "Error: no result was recorded for this call"},
            {"role": "user", "content": "on"},
        ])
    );
}

#[test]
fn arguments_that_are_no_object_and_names_that_are_none_do_not_spoil_the_history() {
    let value = messages(vec![assistant_from(
        "p",
        "m",
        vec![
            call(1, None, "read", "[1]"),
            call(2, None, "read", "{\"x\":"),
            call(3, None, "read me!", "null"),
            call(4, None, "", " {} "),
        ],
    )]);
    let function = |n: usize| value[0]["tool_calls"][n]["function"].clone();
    assert_eq!(function(0)["arguments"], "{}");
    assert_eq!(function(1)["arguments"], "{}");
    assert_eq!(function(2), json!({"name": "read_me_", "arguments": "{}"}));
    assert_eq!(function(3), json!({"name": "unnamed", "arguments": "{}"}));
}

#[test]
fn several_texts_of_a_user_go_as_one_string() {
    let sent = messages(vec![Message::user(vec![Part::text("Are you there?"), Part::text("Say hello.")])]);
    assert_eq!(sent[0]["content"], "Are you there?\nSay hello.");
}

#[test]
fn images_go_as_data_urls_and_those_of_results_in_a_message_after_all_results() {
    let image =
        |data: &str| Part::Image { mime: "image/png".into(), source: ImageSource::Base64(data.into()) };
    let linked = Part::Image { mime: "image/png".into(), source: ImageSource::Url("https://x/y.png".into()) };
    let value = messages(vec![
        Message::user(vec![Part::text("see"), image("AA=="), linked]),
        assistant_from("p", "m", vec![call(1, None, "read", "{}"), call(2, None, "read", "{}")]),
        results(vec![
            result(1, vec!["shown".into(), image("BB==")], false),
            result(2, vec!["text".into()], false),
        ]),
    ]);
    assert_eq!(
        value[0]["content"],
        json!([
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
            {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        ])
    );
    assert_eq!((&value[2]["content"], &value[3]["content"]), (&json!("shown"), &json!("text")));
    assert_eq!(value[4]["role"], "user");
    assert_eq!(value[4]["content"][1]["image_url"]["url"], "data:image/png;base64,BB==");
}

#[test]
fn edge_43_reasoning_and_opaque_fields_go_back_to_the_same_model_in_their_field_and_to_no_other() {
    let thought = Part::Reasoning(Reasoning {
        text: "hm".into(),
        field: Some("reasoning_content".into()),
        data: Map::from_iter([
            ("reasoning_details".to_owned(), json!([{"data": "d"}])),
            ("role".to_owned(), json!("evil")),
        ]),
    });
    let mut signed = call(1, Some("a"), "read", "{}");
    if let Part::ToolCall(call) = &mut signed {
        call.extra.insert("extra_content".to_owned(), json!("s"));
    }
    let parts = vec![thought, Part::text("x"), signed];
    let own = messages(vec![assistant_from("p", "m", parts.clone())]);
    assert_eq!(
        own[0],
        json!({
            "role": "assistant", "content": "x", "reasoning_content": "hm", "reasoning_details": [{"data": "d"}],
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "read", "arguments": "{}"}, "extra_content": "s"}],
        })
    );
    for foreign in [assistant_from("p", "other", parts.clone()), assistant_from("other", "m", parts)] {
        let value = messages(vec![foreign]);
        assert!(
            value[0].get("reasoning_content").is_none() && value[0].get("reasoning_details").is_none(),
            "{value}"
        );
        assert!(value[0]["tool_calls"][0].get("extra_content").is_none(), "{value}");
    }
}

#[test]
fn an_answer_that_says_nothing_is_left_out_and_a_refusal_is_text() {
    let value = messages(vec![
        assistant_from("p", "m", vec![]),
        assistant_from("p", "m", vec![Part::Refusal { text: "no".into() }]),
    ]);
    assert_eq!(value, json!([{"role": "assistant", "content": "no"}]));
}

#[test]
fn a_longer_history_begins_with_the_bytes_of_the_shorter() {
    let turn = |n: u32| {
        vec![
            Message::user_text(format!("go {n}")),
            assistant_from("p", "m", vec![call(n, None, "read", "{}")]),
            results(vec![result(n, vec!["r".into()], false)]),
        ]
    };
    let bytes = |history: Vec<Message>| {
        super::request(&model_request(history), "p", &any()).unwrap().body.bytes().into_owned()
    };
    let shorter = bytes(turn(1));
    let longer = bytes([turn(1), turn(2)].concat());
    let end = shorter.windows(2).rposition(|pair| pair == b"}]").unwrap();
    assert_eq!(longer[..=end], shorter[..=end]);
    assert_eq!(bytes(turn(1)), shorter);
}

#[test]
fn the_key_of_a_kept_prompt_goes_where_it_is_known_unless_nothing_is_to_be_kept() {
    let key = |server: &str, cache: PromptCache| {
        let asked = asked(server, |request| {
            (request.cache_key, request.cache) = (Some("key".into()), cache);
        });
        asked.get("prompt_cache_key").cloned()
    };
    assert_eq!(key("openai", PromptCache::Short), Some("key".into()));
    assert_eq!(key("openai", PromptCache::Off), None);
    for server in ["mistral", "groq", "compatible"] {
        assert_eq!(key(server, PromptCache::Short), None, "{server}");
    }
}

fn asked(server: &str, change: impl FnOnce(&mut ModelRequest)) -> Value {
    let mut request = model_request(vec![Message::user_text("hi")]);
    request.tools = [tool("a", json!({"type": "object"})), tool("b", json!({"type": "object"}))].into();
    change(&mut request);
    body(&request, &like(server))
}

#[test]
fn every_server_is_told_in_its_own_words_which_tool_to_call() {
    let required = |request: &mut ModelRequest| request.tool_choice = ToolChoice::Required;
    let b = |request: &mut ModelRequest| request.tool_choice = ToolChoice::Tool("b".into());
    assert!(asked("openai", |_| {}).get("tool_choice").is_none());
    assert_eq!(asked("openai", required)["tool_choice"], "required");
    assert_eq!(asked("mistral", required)["tool_choice"], "any");
    assert_eq!(asked("openai", b)["tool_choice"], json!({"type": "function", "function": {"name": "b"}}));
    assert_eq!(asked("openai", |request| request.tool_choice = ToolChoice::None)["tool_choice"], "none");
    let deepseek = asked("deepseek", required);
    assert_eq!(
        (&deepseek["tool_choice"], &deepseek["thinking"]),
        (&json!("required"), &json!({"type": "disabled"}))
    );
    let mut request = model_request(vec![Message::user_text("hi")]);
    request.tools = [tool("a", json!({})), tool("b", json!({}))].into();
    request.tool_choice = ToolChoice::Tool("b".into());
    let never = Compat { forced_tools: ForcedTools::Never, ..Compat::default() };
    let sent = body(&request, &never);
    assert_eq!((sent["tools"].as_array().unwrap().len(), sent.get("tool_choice")), (1, None));
    request.tools = [].into();
    assert!(
        body(&request, &any()).get("tool_choice").is_none(),
        "nothing is forced where nothing is offered"
    );
}

#[test]
fn calls_at_once_are_allowed_where_a_server_waits_to_be_told_and_never_without_tools() {
    assert_eq!(asked("llama.cpp", |_| {})["parallel_tool_calls"], true);
    assert!(asked("llama.cpp", |request| request.tools = [].into()).get("parallel_tool_calls").is_none());
    assert!(asked("vllm", |_| {}).get("parallel_tool_calls").is_none());
    assert_eq!(asked("vllm", |request| request.parallel_tools = Some(false))["parallel_tool_calls"], false);
    assert!(
        asked("together", |request| request.parallel_tools = Some(false))
            .get("parallel_tool_calls")
            .is_none()
    );
}

#[test]
fn structure_is_strict_where_it_can_be_and_told_in_words_where_it_cannot() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let output = |request: &mut ModelRequest| {
        request.system = Some("be brief".into());
        request.output = Some(OutputSchema::new("out", schema.clone()));
    };
    let strict = asked("openai", output)["response_format"].clone();
    assert_eq!(strict["type"], "json_schema");
    assert_eq!(
        (&strict["json_schema"]["name"], &strict["json_schema"]["strict"]),
        (&json!("out"), &json!(true))
    );
    assert_eq!(strict["json_schema"]["schema"]["required"], json!(["n"]));
    let named = asked("openai", |request| {
        request.output = Some(OutputSchema::new(format!("Ada's verdict {}", "x".repeat(64)), schema.clone()));
    });
    let name = named["response_format"]["json_schema"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("Ada_s_verdict_x") && name.len() == 64, "{name}");
    assert_eq!(asked("vllm", output)["response_format"]["json_schema"]["schema"], schema);
    let deepseek = asked("deepseek", output);
    assert_eq!(deepseek["response_format"], json!({"type": "json_object"}));
    let system = deepseek["messages"][0]["content"].as_str().unwrap();
    assert!(system.starts_with("be brief") && system.contains("\"integer\""), "{system}");
    assert_eq!(asked("openai", output)["messages"][0], json!({"role": "developer", "content": "be brief"}));
}

#[test]
fn tools_are_strict_where_the_server_and_their_schemas_allow_it() {
    let optional = json!({"type": "object", "properties": {"x": {"type": "string"}}});
    let map = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let tools = |server: &str| {
        let both = [tool("fits", optional.clone()), tool("does_not", map.clone())];
        asked(server, |request| request.tools = both.into())["tools"].clone()
    };
    let strict = json!({"type": "object", "properties": {"x": {"type": ["string", "null"]}}, "required": ["x"],
        "additionalProperties": false});
    let function =
        |name: &str, parameters: &Value| json!({"name": name, "description": "d", "parameters": parameters});
    let mut fits = function("fits", &strict);
    fits["strict"] = true.into();
    let as_it_is = json!({"type": "function", "function": function("does_not", &map)});
    assert_eq!(tools("openai"), json!([{"type": "function", "function": fits}, as_it_is]));
    // Of the others it is not known that they do as they are told, or they refuse the word.
    for known in SERVERS.iter().filter(|known| known.name != "openai") {
        let plain = json!([{"type": "function", "function": function("fits", &optional)}, as_it_is]);
        assert_eq!(tools(known.name), plain, "{}", known.name);
    }
    let a_structure_that_does_not_fit = asked("openai", |request| {
        request.output = Some(OutputSchema::new("out", map.clone()));
    });
    let asked_for = &a_structure_that_does_not_fit["response_format"]["json_schema"];
    assert_eq!((&asked_for["strict"], &asked_for["schema"]), (&json!(false), &map));
}

#[test]
fn every_server_is_told_in_its_own_words_how_much_to_think() {
    let think = |server: &str, effort| asked(server, |request| request.reasoning = Some(effort));
    assert_eq!(think("openai", ReasoningEffort::XHigh)["reasoning_effort"], "xhigh");
    assert_eq!(think("groq", ReasoningEffort::Off)["reasoning_effort"], "none");
    assert_eq!(think("groq", ReasoningEffort::Tokens(5000))["reasoning_effort"], "medium");
    assert_eq!(think("openrouter", ReasoningEffort::Low)["reasoning"], json!({"effort": "low"}));
    assert_eq!(think("openrouter", ReasoningEffort::Tokens(2000))["reasoning"], json!({"max_tokens": 2000}));
    assert_eq!(think("openrouter", ReasoningEffort::Off)["reasoning"], json!({"enabled": false}));
    assert_eq!(think("deepseek", ReasoningEffort::High)["thinking"], json!({"type": "enabled"}));
    assert_eq!(
        think("llama.cpp", ReasoningEffort::Off)["chat_template_kwargs"],
        json!({"enable_thinking": false})
    );
    assert_eq!(think("vllm", ReasoningEffort::Low)["chat_template_kwargs"]["reasoning_effort"], "low");
    let mistral = think("mistral", ReasoningEffort::High);
    assert!(mistral.get("reasoning_effort").is_none() && mistral.get("thinking").is_none());
}

#[test]
fn how_tokens_are_chosen_has_the_names_of_the_server() {
    let choose = |server: &str| {
        asked(server, |request| {
            request.max_tokens = Some(5);
            request.sampling = ergane_core::Sampling {
                temperature: Some(0.2),
                top_p: Some(0.5),
                top_k: Some(3),
                seed: Some(9),
                stop: vec!["X".into()],
            };
        })
    };
    let vllm = choose("vllm");
    assert_eq!((&vllm["temperature"], &vllm["top_p"], &vllm["top_k"]), (&json!(0.2), &json!(0.5), &json!(3)));
    assert_eq!((&vllm["seed"], &vllm["stop"], &vllm["max_tokens"]), (&json!(9), &json!(["X"]), &json!(5)));
    let mistral = choose("mistral");
    assert_eq!((&mistral["random_seed"], mistral.get("seed"), mistral.get("top_k")), (&json!(9), None, None));
    assert!(mistral.get("stream_options").is_none(), "its streams tell their usage unasked");
    assert_eq!(choose("groq")["max_completion_tokens"], 5);
}

fn thought(field: &str, text: &str) -> Part {
    Part::Reasoning(Reasoning { text: text.into(), field: Some(field.into()), ..Reasoning::default() })
}

#[test]
fn thoughts_go_back_to_the_servers_that_want_them_and_as_far_as_they_want_them() {
    let history = vec![
        Message::user_text("one"),
        assistant_from("p", "m", vec![thought("reasoning_content", "old"), "first".into()]),
        Message::user_text("two"),
        assistant_from("p", "m", vec![thought("reasoning_content", "new"), call(1, Some("a"), "read", "{}")]),
        results(vec![result(1, vec!["r".into()], false)]),
        assistant_from("p", "m", vec!["then".into()]),
    ];
    let thoughts = |server: &str| {
        let sent = body(&model_request(history.clone()), &like(server))["messages"].clone();
        let said = sent.as_array().unwrap().iter().filter(|message| message["role"] == "assistant");
        said.map(|message| message.get("reasoning_content").cloned()).collect::<Vec<_>>()
    };
    let (old, new) = (Some(json!("old")), Some(json!("new")));
    assert_eq!(thoughts("vllm"), [old.clone(), new.clone(), None]);
    assert_eq!(thoughts("groq"), [None, new.clone(), None]);
    assert_eq!(thoughts("together"), [None, None, None]);
    assert_eq!(thoughts("deepseek"), [old, new, Some(json!(""))], "an empty one where there was none");
}

#[test]
fn edge_42_mistral_gets_ids_of_nine_names_on_results_and_an_assistant_before_the_user() {
    let history = vec![
        Message::user_text("go"),
        assistant_from(
            "p",
            "m",
            vec![call(1, Some("abcdefgh9"), "read", "{}"), call(2, Some("call_long"), "read", "{}")],
        ),
        results(vec![result(2, vec!["2".into()], false), result(1, vec!["1".into()], false)]),
        Message::user_text("and?"),
    ];
    let sent = body(&model_request(history.clone()), &like("mistral"))["messages"].clone();
    let ids: Vec<&str> = [1, 1]
        .iter()
        .zip([0, 1])
        .map(|(message, at)| sent[*message]["tool_calls"][at]["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids[0], "abcdefgh9");
    assert!(ids[1].len() == 9 && ids[1].chars().all(|c| c.is_ascii_alphanumeric()), "{ids:?}");
    assert_eq!(sent[2], json!({"role": "tool", "tool_call_id": ids[0], "name": "read", "content": "1"}));
    assert_eq!(sent[3]["tool_call_id"], ids[1]);
    assert_eq!((&sent[4]["role"], &sent[5]["role"]), (&json!("assistant"), &json!("user")));
    let again = body(&model_request(history), &like("mistral"))["messages"].clone();
    assert_eq!(sent, again, "the same ids every time");
}

#[test]
fn images_that_a_server_does_not_take_are_told_before_anything_is_sent() {
    let link =
        Part::Image { mime: "image/png".into(), source: ImageSource::Url("https://x.example/a.png".into()) };
    let bytes = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("AA==".into()) };
    let ask = |part: &Part, server: &str| {
        super::request(&model_request(vec![Message::user(vec![part.clone()])]), "p", &like(server))
    };
    assert!(ask(&link, "openai").is_ok() && ask(&bytes, "lmstudio").is_ok());
    for (part, server) in [(&link, "lmstudio"), (&bytes, "deepseek"), (&link, "deepseek")] {
        assert_eq!(ask(part, server).unwrap_err().kind, ErrorKind::Unsupported, "{server}");
    }
}
