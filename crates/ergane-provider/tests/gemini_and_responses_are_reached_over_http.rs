//! Gemini and OpenAI Responses against a real socket: where they ask, with which key, and a round of tools.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::Arc;

use common::*;
use ergane_core::{ErrorKind, Message, ModelReply, ModelRequest, Part, Role, ToolResult, ToolSpec, TurnId};
use ergane_provider::{EmbedRequest, Endpoint, Gemini, OpenAiResponses, Provider};
use serde_json::json;

/// A key in a file of its own.
fn key_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "planted-key\n").unwrap();
    file
}

/// The history of a call that was answered with `42`.
fn answered(reply: ModelReply) -> ModelRequest {
    let mut message = reply.message;
    message.number_calls(TurnId(3), 1);
    let results = message.calls().map(|call| {
        Part::ToolResult(ToolResult {
            call: call.id,
            name: call.name.clone(),
            content: vec!["42".into()],
            is_error: false,
            synthetic: false,
        })
    });
    let results = Message { role: Role::Tool, parts: results.collect(), origin: None };
    let mut request = request("go");
    request.messages = [Message::user_text("go"), message, results].into_iter().map(Arc::new).collect();
    request
}

fn with_tool(mut request: ModelRequest) -> ModelRequest {
    let parameters = Arc::new(json!({"type": "object", "properties": {"x": {"type": "integer"}}}));
    request.tools = [ToolSpec { name: "get".into(), description: "d".into(), parameters }].into();
    request
}

#[tokio::test]
async fn gemini_is_asked_at_the_models_path_with_its_key_in_a_header_and_gets_its_signature_back() {
    let server = TestServer::start(|request| {
        let body = if request.json()["contents"].as_array().is_some_and(|contents| contents.len() == 1) {
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"get\",\"args\":{\"x\":1}},\"thoughtSignature\":\"c2ln\"}],\"role\":\"model\"},\"finishReason\":\"STOP\"}]}\r\n\r\n"
        } else {
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"It is 42.\"}],\"role\":\"model\"},\"finishReason\":\"STOP\"}]}\r\n\r\n"
        };
        vec![answer("200 OK", &[SSE], body)]
    })
    .await;
    let key = key_file();
    let gemini = Gemini::new(&server.url).api_key_file(key.path());
    let reply = ask(&gemini, with_tool(request("go"))).await.unwrap();
    let received = server.next_request().await;
    assert_eq!(received.path(), "/v1beta/models/m:streamGenerateContent?alt=sse");
    assert_eq!(
        (received.header("x-goog-api-key"), received.header("authorization")),
        (Some("planted-key"), None)
    );
    let reply = ask(&gemini, with_tool(answered(reply))).await.unwrap();
    assert_eq!(reply.message.text(), "It is 42.");
    let contents = &server.next_request().await.json()["contents"];
    assert_eq!(contents[1]["parts"][0]["thoughtSignature"], "c2ln");
    assert_eq!(
        contents[2]["parts"][0]["functionResponse"],
        json!({"name": "get", "response": {"output": "42"}})
    );
}

#[tokio::test]
async fn gemini_lists_all_pages_of_models_tells_one_and_makes_vectors() {
    let server = TestServer::start(|request| {
        let body = match request.path() {
            "/v1beta/models?pageSize=1000" => {
                r#"{"models":[{"name":"models/a","inputTokenLimit":1000}],"nextPageToken":"p2"}"#
            }
            "/v1beta/models?pageSize=1000&pageToken=p2" => r#"{"models":[{"name":"models/b"}]}"#,
            "/v1beta/models/a" => r#"{"name":"models/a","inputTokenLimit":1000,"outputTokenLimit":10}"#,
            "/v1beta/models/e:batchEmbedContents" => r#"{"embeddings":[{"values":[0.5]}]}"#,
            _ => {
                let body = r#"{"error":{"code":404,"message":"models/x is not found","status":"NOT_FOUND"}}"#;
                return vec![answer("404 Not Found", &[JSON], body)];
            }
        };
        vec![answer("200 OK", &[JSON], body)]
    })
    .await;
    let gemini = Gemini::new(&server.url);
    let names: Vec<_> =
        gemini.list_models().await.unwrap().into_iter().map(|model| model.id.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    let info = gemini.model_info("a".into()).await.unwrap();
    assert_eq!((info.context_window, info.max_output), (Some(1000), Some(10)));
    assert_eq!(gemini.model_info("x".into()).await.unwrap_err().kind, ErrorKind::ModelNotFound);
    assert_eq!(gemini.embed(EmbedRequest::new("e", ["text"])).await.unwrap().vectors, [vec![0.5]]);
}

#[tokio::test]
async fn gemini_needs_a_model_by_name_where_nobody_set_one() {
    let server = TestServer::always(vec![answer("200 OK", &[JSON], "{}")]).await;
    let mut unnamed = request("hi");
    unnamed.model = "".into();
    let error = ask(&Gemini::new(&server.url), unnamed.clone()).await.unwrap_err();
    assert!(error.kind == ErrorKind::InvalidRequest && error.message.contains("model"), "{error}");
    let elsewhere = Gemini::default()
        .with_endpoint(&Endpoint { base_url: Some(server.url.as_str().into()), api_key_env: None });
    assert_eq!(elsewhere.unwrap().default_model(), None, "Google's model is not asked of another server");
}

#[tokio::test]
async fn responses_are_asked_for_and_get_their_reasoning_back() {
    let server = TestServer::start(|request| {
        let first = request.json()["input"].as_array().is_some_and(|input| input.len() == 1);
        let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"});
        let call = json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "get", "arguments": "{\"x\":1}", "status": "completed"});
        let said = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "It is 42."}]});
        let items = if first { vec![reasoning, call] } else { vec![said] };
        let mut body = String::new();
        for (index, item) in items.into_iter().enumerate() {
            let event = json!({"type": "response.output_item.done", "output_index": index, "item": item});
            body += &format!("event: response.output_item.done\ndata: {event}\n\n");
        }
        let end = json!({"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}});
        vec![answer("200 OK", &[SSE], format!("{body}event: response.completed\ndata: {end}\n\n"))]
    })
    .await;
    let key = key_file();
    let provider = OpenAiResponses::new(format!("{}/v1/responses", server.url)).api_key_file(key.path());
    let reply = ask(&provider, with_tool(request("go"))).await.unwrap();
    let received = server.next_request().await;
    assert_eq!(
        (received.path(), received.header("authorization")),
        ("/v1/responses", Some("Bearer planted-key"))
    );
    assert_eq!(
        (&received.json()["store"], &received.json()["include"][0]),
        (&json!(false), &json!("reasoning.encrypted_content"))
    );
    let reply = ask(&provider, with_tool(answered(reply))).await.unwrap();
    assert_eq!(reply.message.text(), "It is 42.");
    let input = &server.next_request().await.json()["input"];
    assert_eq!((&input[1]["encrypted_content"], &input[2]["id"]), (&json!("gAAA"), &json!("fc_1")));
    assert_eq!(input[3], json!({"type": "function_call_output", "call_id": "call_1", "output": "42"}));
}

#[tokio::test]
async fn responses_tell_the_key_of_a_kept_prompt_to_openai_only() {
    let whole = r#"{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}"#;
    let server = TestServer::always(vec![answer("200 OK", &[JSON], whole)]).await;
    let mut keyed = request("hi");
    keyed.cache_key = Some("key".into());
    ask(&OpenAiResponses::new(&server.url), keyed).await.unwrap();
    assert_eq!(server.next_request().await.json().get("prompt_cache_key"), None);
}

#[tokio::test]
async fn responses_ask_a_server_of_one_model_for_its_name() {
    let server = TestServer::start(|request| match request.path() {
        "/v1/models" => vec![answer("200 OK", &[JSON], r#"{"data":[{"id":"only"}]}"#)],
        _ => vec![answer("200 OK", &[JSON], r#"{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}"#)],
    })
    .await;
    let mut unnamed = request("hi");
    unnamed.model = "".into();
    unnamed.stream = false;
    let reply = ask(&OpenAiResponses::new(&server.url), unnamed).await.unwrap();
    assert_eq!((&*reply.message.text(), &*reply.message.origin.unwrap().model), ("hi", "only"));
    server.next_request().await;
    assert_eq!(server.next_request().await.json()["model"], "only");
}
