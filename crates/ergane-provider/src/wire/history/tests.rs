//! One history that nobody would want to be given, rendered for every format.

use std::collections::HashSet;

use ergane_core::{Origin, Reasoning, StopReason, TurnId};
use serde_json::{Map, Value, json};

use super::*;
use crate::wire::testing::model_request;
use crate::wire::{HttpRequest, anthropic, gemini, ollama, openai, responses};

fn call(turn: u64, index: u32, wire_id: Option<&str>, complete: bool) -> Part {
    Part::ToolCall(ToolCall {
        id: CallId { turn: TurnId(turn), index },
        wire_id: wire_id.map(Into::into),
        name: "get".into(),
        arguments: if complete { "{\"x\":1}".into() } else { "{\"x\":".into() },
        complete,
        extra: Map::from_iter([("thought_signature".to_owned(), json!("planted-signature"))]),
    })
}

fn assistant(api: &str, model: &str, parts: Vec<Part>) -> Message {
    let origin = Origin {
        provider: api.into(),
        api: api.into(),
        model: model.into(),
        response_id: None,
        stop: StopReason::ToolCalls,
    };
    Message { role: Role::Assistant, parts, origin: Some(origin) }
}

fn results(of: &[(u64, u32)]) -> Message {
    let parts = of.iter().map(|&(turn, index)| {
        let call = CallId { turn: TurnId(turn), index };
        Part::ToolResult(ToolResult {
            call,
            name: "get".into(),
            content: vec![Part::text(format!("result {turn}.{index}"))],
            is_error: false,
            synthetic: false,
        })
    });
    Message { role: Role::Tool, parts: parts.collect(), origin: None }
}

fn thought() -> Part {
    let data = Map::from_iter([("signature".to_owned(), json!("planted-signature"))]);
    Part::Reasoning(Reasoning { text: "planted-thought".into(), field: Some("thinking".into()), data })
}

/// Anthropic, then Mistral, then Gemini, then OpenAI; orphans on both sides, disorder, and a turn that was cut off.
fn history() -> Vec<Message> {
    vec![
        Message::user_text("one"),
        assistant(
            "anthropic",
            "claude",
            vec![thought(), call(1, 0, Some("toolu_01A"), true), call(1, 1, Some("toolu_01A"), true)],
        ),
        results(&[(1, 1), (1, 0), (9, 9)]),
        assistant("mistral", "large", vec![Part::text("so"), call(2, 0, Some("abcdefgh9"), true)]),
        Message::user_text("two"),
        results(&[(2, 0)]),
        assistant("gemini", "pro", vec![call(3, 0, None, true), call(3, 1, None, true)]),
        results(&[(3, 0), (3, 1)]),
        assistant("openai", "gpt", vec![call(4, 0, Some("fc:illegal id"), true)]),
        results(&[(4, 0)]),
        assistant("openai", "gpt", vec![call(5, 0, Some("call_cut"), false)]),
        Message::user_text("three"),
    ]
}

fn body(request: Result<HttpRequest, ergane_core::ProviderError>) -> Value {
    serde_json::from_slice(&request.unwrap().body.bytes()).unwrap()
}

/// Every id of a call and of a result, in the order of the body, as both sides have them.
fn ids(value: &Value, calls: &mut Vec<String>, answers: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| ids(value, calls, answers)),
        Value::Object(map) => {
            let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
            let is = |wanted: &str| map.get("type").is_some_and(|kind| kind == wanted);
            if is("tool_use") || map.contains_key("function") {
                calls.extend(text("id"));
            } else if is("function_call") {
                calls.extend(text("call_id"));
            } else if is("function_call_output") {
                answers.extend(text("call_id"));
            }
            answers.extend(text("tool_use_id").or_else(|| text("tool_call_id")));
            map.values().for_each(|value| ids(value, calls, answers));
        }
        _ => {}
    }
}

fn bodies() -> [(&'static str, Value); 6] {
    let request = model_request(history());
    let mistral = (openai::CompatServer::named("mistral").unwrap().flags)();
    [
        ("openai", body(openai::request(&request, "openai", &openai::Compat::default()))),
        ("mistral", body(openai::request(&request, "mistral", &mistral))),
        ("ollama", body(ollama::request(&request, "ollama", 4096))),
        ("responses", body(responses::request(&request, "openai", &openai::Compat::default()))),
        ("gemini", body(Ok(gemini::request(&request, "gemini")))),
        ("anthropic", body(anthropic::request(&request, "anthropic", false))),
    ]
}

#[test]
fn edge_42_and_43_every_call_is_answered_once_and_in_order_by_ids_that_are_legal_there() {
    // Gemini pairs by place and name, see below.
    for (format, body) in bodies().into_iter().filter(|(format, _)| *format != "gemini") {
        let (mut calls, mut answers) = (Vec::new(), Vec::new());
        let messages = if format == "responses" { &body["input"] } else { &body["messages"] };
        ids(messages, &mut calls, &mut answers);
        assert_eq!(calls, answers, "{format}");
        assert_eq!(calls.len(), 6, "{format}: the cut one is not among them");
        let unique: HashSet<&String> = calls.iter().collect();
        assert_eq!(unique.len(), calls.len(), "{format}: {calls:?}");
        for id in &calls {
            let word = id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            assert!(id.len() <= 64 && word, "{format}: {id}");
            assert!(format != "mistral" || (id.len() == 9 && !id.contains(['_', '-'])), "{id}");
        }
    }
}

#[test]
fn edge_42_gemini_is_given_as_many_results_as_it_made_calls_in_their_order_and_right_behind_them() {
    let [.., (_, gemini), _] = bodies();
    let contents = gemini["contents"].as_array().unwrap();
    let parts = |content: &Value, kind: &str| -> Vec<Value> {
        let parts = content["parts"].as_array().unwrap().iter();
        parts.filter_map(|part| part.get(kind).cloned()).collect()
    };
    assert_eq!(contents[0]["role"], "user");
    let mut told = Vec::new();
    for (at, content) in contents.iter().enumerate() {
        let (calls, answers) = (parts(content, "functionCall"), parts(content, "functionResponse"));
        if !calls.is_empty() {
            let next = parts(&contents[at + 1], "functionResponse");
            let names = |list: &[Value]| list.iter().map(|value| value["name"].clone()).collect::<Vec<_>>();
            assert_eq!(names(&calls), names(&next), "{gemini}");
            assert_eq!(contents[at + 1]["parts"].as_array().unwrap().len(), next.len(), "{gemini}");
        }
        assert!(answers.is_empty() || !parts(&contents[at - 1], "functionCall").is_empty(), "{gemini}");
        told.extend(answers.into_iter().map(|answer| answer["response"].to_string()));
    }
    let result = |of: &str| json!({"output": format!("result {of}")}).to_string();
    let missing = json!({"error": "no result was recorded for this call"}).to_string();
    assert_eq!(told, [result("1.0"), result("1.1"), missing, result("3.0"), result("3.1"), result("4.0")]);
}

#[test]
fn edge_43_no_signature_and_no_thought_of_another_model_is_sent() {
    for (format, body) in bodies() {
        let text = body.to_string();
        assert!(!text.contains("planted"), "{format}: {text}");
        assert!(!text.contains("9.9"), "{format}: a result without its call");
        assert!(text.contains("no result was recorded"), "{format}: what a user's word cut off is answered");
    }
}

#[test]
fn edge_42_the_same_history_is_the_same_bytes_and_turns_take_turns() {
    assert_eq!(bodies(), bodies());
    let [.., (_, anthropic)] = bodies();
    let roles: Vec<&Value> =
        anthropic["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert!(roles.windows(2).all(|pair| pair[0] != pair[1]), "{roles:?}");
    assert_eq!(roles[0], "user");
}
