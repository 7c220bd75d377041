use ergane_core::{CallId, Origin, StopReason, ToolCall, TurnId};

use super::*;
use crate::wire::testing::{model_request, tool};
use crate::wire::{ollama, openai};

fn call(index: u32, arguments: &str, complete: bool) -> Part {
    Part::ToolCall(ToolCall {
        id: CallId { turn: TurnId(1), index },
        wire_id: None,
        name: "get".into(),
        arguments: arguments.into(),
        complete,
        extra: Map::new(),
    })
}

fn result(index: u32, text: &str, is_error: bool) -> Part {
    Part::ToolResult(ToolResult {
        call: CallId { turn: TurnId(1), index },
        name: "get".into(),
        content: vec![text.into()],
        is_error,
        synthetic: false,
    })
}

fn history() -> Vec<Message> {
    let origin = Origin {
        provider: "p".into(),
        api: "openai".into(),
        model: "m".into(),
        response_id: None,
        stop: StopReason::ToolCalls,
    };
    vec![
        Message::user_text("go"),
        Message {
            role: Role::Assistant,
            parts: vec![
                Part::text("I look.\n"),
                call(1, "{\"z\":1, \"a\":2}", true),
                call(2, "", true),
                call(3, "{\"x", false),
            ],
            origin: Some(origin),
        },
        Message {
            role: Role::Tool,
            parts: vec![result(1, "a \"b\"", false), result(2, "no", true)],
            origin: None,
        },
        Message::user_text("and?"),
    ]
}

fn request() -> ModelRequest {
    let mut request = model_request(history());
    let parameters = json!({"type": "object", "required": ["city", "days"], "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}});
    request.tools = [tool("get", parameters), tool("now", json!({"type": "object"}))].into();
    request
}

#[test]
fn tools_calls_and_results_become_words() {
    let mut asked = request();
    asked.system = Some("Be brief.".into());
    let told = offer(&asked);
    assert!(told.tools.is_empty());
    let system = told.system.as_deref().unwrap();
    assert!(system.starts_with("Be brief.\n\nYou can call tools."), "{system}");
    assert!(
        system
            .contains("~~~tool_call\n{\"name\": \"get\", \"arguments\": {\"city\":\"…\",\"days\":1}}\n~~~\n"),
        "{system}"
    );
    assert!(
        system.contains("\"name\":\"now\"") && system.contains("\"required\":[\"city\",\"days\"]"),
        "{system}"
    );
    let texts: Vec<_> = told.messages.iter().map(|message| (message.role, message.text())).collect();
    assert_eq!(
        texts,
        [
            (Role::User, "go".to_owned()),
            (Role::Assistant, "I look.\n\n~~~tool_call\n{\"name\": \"get\", \"arguments\": {\"z\":1, \"a\":2}}\n~~~\n~~~tool_call\n{\"name\": \"get\", \"arguments\": {}}\n~~~\n".to_owned()),
            (Role::User, "<tool_response>{\"content\":\"a \\\"b\\\"\",\"error\":false,\"name\":\"get\"}</tool_response><tool_response>{\"content\":\"no\",\"error\":true,\"name\":\"get\"}</tool_response>and?".to_owned()),
        ]
    );
    assert!(
        told.messages.iter().all(|message| message.calls().next().is_none() && message.role != Role::Tool)
    );
}

#[test]
fn what_must_be_called_is_said_and_what_must_not_is_not_offered() {
    let system = |choice: ToolChoice, parallel| {
        let mut asked = request();
        (asked.tool_choice, asked.parallel_tools) = (choice, parallel);
        offer(&asked).system.map(|text| text.to_string()).unwrap_or_default()
    };
    assert!(system(ToolChoice::Required, None).contains("must call a tool now"));
    assert!(system(ToolChoice::Tool("now".into()), Some(false)).contains("must call now now"));
    assert!(system(ToolChoice::Auto, Some(false)).contains("one tool at a time"));
    assert_eq!(system(ToolChoice::None, None), "");
}

#[test]
fn the_blocks_of_the_history_are_those_that_the_scanner_reads() {
    let told = offer(&request());
    let mut scanner = super::super::scan::Scanner::new(request().tools);
    scanner.feed(&told.messages.iter().nth(1).unwrap().text());
    scanner.finish(false);
    assert_eq!(scanner.shown(), "I look.");
    let calls: Vec<_> = scanner.calls().iter().map(|call| (&*call.name, &*call.arguments)).collect();
    assert_eq!(calls, [("get", "{\"z\":1, \"a\":2}"), ("get", "{}")]);
}

#[test]
fn every_format_can_render_it() {
    let told = offer(&request());
    for body in [
        openai::request(&told, "p", &openai::Compat::default()).unwrap().body,
        ollama::request(&told, "p", 4096).unwrap().body,
    ] {
        let body: Value = serde_json::from_slice(&body.bytes()).unwrap();
        assert_eq!(body.get("tools"), None);
        let roles: Vec<_> =
            body["messages"].as_array().unwrap().iter().map(|message| message["role"].clone()).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user"]);
    }
}
