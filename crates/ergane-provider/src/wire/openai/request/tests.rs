use ergane_core::{CallId, Message, Origin, Role, StopReason, ToolCall, ToolResult, TurnId};
use serde_json::json;

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

fn body(request: &ModelRequest, flavor: Flavor) -> Value {
    serde_json::from_slice(&super::request(request, "p", flavor).body).unwrap()
}

fn messages(history: Vec<Message>) -> Value {
    body(&model_request(history), Flavor::Compatible)["messages"].clone()
}

#[test]
fn a_request_says_what_it_has_to_and_nothing_else() {
    let mut request = model_request(vec![Message::user_text("hi")]);
    let http = super::request(&request, "p", Flavor::Compatible);
    assert_eq!(http.path, "/chat/completions");
    let expected = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": true, "stream_options": {"include_usage": true}});
    assert_eq!(serde_json::from_slice::<Value>(&http.body).unwrap(), expected);
    request.stream = false;
    request.system = Some("be brief".into());
    request.max_tokens = Some(7);
    request.tools = [tool("get", json!({"type": "object"}))].into();
    let expected = json!({
        "model": "m", "stream": false, "max_tokens": 7,
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": {"name": "get", "description": "d", "parameters": {"type": "object"}}}],
    });
    assert_eq!(body(&request, Flavor::Compatible), expected);
    assert_eq!(body(&request, Flavor::OpenAi)["max_completion_tokens"], 7);
    assert_eq!(body(&request, Flavor::OpenAi).get("max_tokens"), None);
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
fn missing_doubled_foreign_and_illegal_ids_become_unique_ones_that_stay_the_same() {
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
fn orphans_on_either_side_are_made_whole_and_incomplete_calls_left_out() {
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
fn reasoning_and_opaque_fields_go_back_to_the_same_model_in_their_field_and_to_no_other() {
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
    let bytes = |history: Vec<Message>| super::request(&model_request(history), "p", Flavor::Compatible).body;
    let shorter = bytes(turn(1));
    let longer = bytes([turn(1), turn(2)].concat());
    let end = shorter.windows(2).rposition(|pair| pair == b"}]").unwrap();
    assert_eq!(longer[..=end], shorter[..=end]);
    assert_eq!(bytes(turn(1)), shorter);
}
