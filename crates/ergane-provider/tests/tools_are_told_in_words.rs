//! Models without native calls: they are told of tools in words, and what they write becomes calls.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::Arc;

use common::*;
use ergane_core::{ErrorKind, ModelRequest, StopReason, ToolChoice, ToolSpec};
use ergane_provider::{
    Anthropic, Call, CallEvent, Compat, Delta, Endpoint, Gemini, Ollama, OpenAi, OpenAiResponses, Provider,
    Providers, ToolCalls,
};
use serde_json::{Value, json};

fn with_tool(text: &str) -> ModelRequest {
    let tool = ToolSpec {
        name: "get".into(),
        description: "Gets it.".into(),
        parameters: json!({"type": "object"}).into(),
    };
    ModelRequest { tools: [tool].into(), ..request(text) }
}

/// A call in our own words, in pieces that cut it in mid-word.
const BLOCK: [&str; 4] =
    ["I look.\n\n~~~tool", "_call\n{\"name\": \"get\", ", "\"arguments\": {\"x\": 1}}\n", "~~~\n"];

/// A call in the words of Hermes and Qwen.
const HERMES: [&str; 3] =
    ["I look.\n<tool_", "call>{\"name\": \"get\", \"arguments\": {\"x\"", ": 1}}</tool_call>"];

fn ollama_says(pieces: &[&str]) -> Act {
    let line = |content: &&str| format!("{}\n", json!({"message": {"content": content}, "done": false}));
    let done = json!({"message": {"content": ""}, "done": true, "done_reason": "stop"});
    answer("200 OK", &[NDJSON], pieces.iter().map(line).collect::<String>() + &format!("{done}\n"))
}

fn openai_says(pieces: &[&str]) -> Act {
    answer("200 OK", &[SSE], pieces.iter().map(|piece| text_event(piece)).collect::<String>() + STOP_EVENTS)
}

fn responses_says(pieces: &[&str]) -> Act {
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "content": []});
    let mut body = event(json!({"type": "response.output_item.added", "output_index": 0, "item": item}));
    for piece in pieces {
        body += &event(json!({"type": "response.output_text.delta", "output_index": 0, "delta": piece}));
    }
    let content = json!([{"type": "output_text", "text": pieces.concat(), "annotations": []}]);
    let item = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content});
    body += &event(json!({"type": "response.output_item.done", "output_index": 0, "item": item}));
    body += &event(json!({"type": "response.completed", "response": {"id": "r", "status": "completed"}}));
    answer("200 OK", &[SSE], body)
}

fn anthropic_says(pieces: &[&str]) -> Act {
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let mut body = event(json!({"type": "message_start", "message": {"id": "m", "content": []}}));
    let block = json!({"type": "text", "text": ""});
    body += &event(json!({"type": "content_block_start", "index": 0, "content_block": block}));
    for piece in pieces {
        let delta = json!({"type": "text_delta", "text": piece});
        body += &event(json!({"type": "content_block_delta", "index": 0, "delta": delta}));
    }
    body += &event(json!({"type": "content_block_stop", "index": 0}));
    body += &event(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}));
    answer("200 OK", &[SSE], body + &event(json!({"type": "message_stop"})))
}

fn gemini_says(pieces: &[&str]) -> Act {
    let chunk = |candidate: Value| format!("data: {}\r\n\r\n", json!({"candidates": [candidate]}));
    let said = |piece: &&str| chunk(json!({"content": {"role": "model", "parts": [{"text": piece}]}}));
    let body = pieces.iter().map(said).collect::<String>() + &chunk(json!({"finishReason": "STOP"}));
    answer("200 OK", &[SSE], body)
}

/// What a server says, and a provider that asks it: for each format where the server tells nothing of its models.
type Format = (fn(&[&str]) -> Act, fn(&str) -> Arc<dyn Provider>);

const FORMATS: [Format; 4] = [
    (openai_says, |url| Arc::new(OpenAi::new(url))),
    (responses_says, |url| Arc::new(OpenAiResponses::new(url))),
    (anthropic_says, |url| Arc::new(Anthropic::new(url))),
    (gemini_says, |url| Arc::new(Gemini::new(url))),
];

/// An Ollama that says this of its models, and answers with these pieces.
async fn ollama(shown: &'static str, pieces: &'static [&'static str]) -> TestServer {
    TestServer::start(move |request| match request.path() {
        "/api/show" => vec![answer("200 OK", &[JSON], shown)],
        _ => vec![ollama_says(pieces)],
    })
    .await
}

/// The first message of what was asked, which is the system prompt.
fn first_message(asked: &Received) -> String {
    asked.json()["messages"][0]["content"].as_str().unwrap().to_owned()
}

/// What is streamed of a call with a tool, and the tools that were named meanwhile. The reply must be one call.
async fn streamed(provider: impl Provider + 'static) -> (String, Vec<String>) {
    let tree = Tree::start(Providers::builder().register("p", provider)).await;
    let mut call = tree.make(Call { idle_timeout: DEADLINE, ..Call::new("p", with_tool("go")) });
    let (mut text, mut tools) = (String::new(), Vec::new());
    let reply = loop {
        match call.next().await {
            CallEvent::Delta(Delta::Text(piece)) => text.push_str(&piece),
            CallEvent::Delta(Delta::ToolCall { name }) => tools.push(name.to_string()),
            CallEvent::Done(result) => break result.unwrap(),
            _ => {}
        }
    };
    let calls: Vec<_> =
        reply.message.calls().map(|call| (&*call.name, &*call.arguments, call.complete)).collect();
    assert_eq!(calls, [("get", "{\"x\": 1}", true)]);
    assert_eq!(reply.message.text().trim_end(), text.trim_end(), "what is shown is what is kept");
    assert_eq!(reply.message.origin.as_ref().unwrap().stop, StopReason::ToolCalls);
    drop(call);
    tree.shutdown().await;
    (text, tools)
}

#[tokio::test]
async fn a_model_of_ollama_without_tools_is_told_of_them_in_words_and_its_blocks_are_calls() {
    let server = ollama(r#"{"capabilities":["completion"],"details":{}}"#, &BLOCK).await;
    let provider = Ollama::new(&server.url);
    let (text, tools) = streamed(provider.clone()).await;
    assert_eq!((text.trim_end(), tools), ("I look.", vec!["get".to_owned()]));
    assert_eq!(server.next_request().await.path(), "/api/show");
    let asked = server.next_request().await;
    assert_eq!((asked.path(), asked.json().get("tools")), ("/api/chat", None));
    let system = first_message(&asked);
    assert!(system.contains("~~~tool_call\n{\"name\": \"get\"") && system.contains("Gets it."), "{system}");
    // What was learned is remembered, by clones too.
    ask(&provider, with_tool("again")).await.unwrap();
    assert_eq!(server.next_request().await.path(), "/api/chat");
}

#[tokio::test]
async fn a_model_of_ollama_gets_tools_natively_when_it_has_them_or_nothing_is_known() {
    for shown in [r#"{"capabilities":["completion","tools"],"details":{}}"#, r#"{"details":{}}"#, "nonsense"]
    {
        let server = ollama(shown, &["hi"]).await;
        ask(&Ollama::new(&server.url), with_tool("go")).await.unwrap();
        assert_eq!(server.next_request().await.path(), "/api/show");
        assert_eq!(server.next_request().await.json()["tools"][0]["function"]["name"], "get", "{shown}");
    }
}

#[tokio::test]
async fn ollama_is_not_asked_for_what_need_not_be_known() {
    let server = ollama("{}", &["hi"]).await;
    ask(&Ollama::new(&server.url), request("no tools")).await.unwrap();
    assert_eq!(server.next_request().await.path(), "/api/chat");
    for (how, native) in [(ToolCalls::Native, true), (ToolCalls::Text, false)] {
        let here = Endpoint { base_url: Some(server.url.as_str().into()), api_key_env: None };
        let provider = Ollama::new("127.0.0.1:1").tool_calls(how).with_endpoint(&here).unwrap();
        ask(&*provider, with_tool("go")).await.unwrap();
        let asked = server.next_request().await;
        assert_eq!((asked.path(), asked.json().get("tools").is_some()), ("/api/chat", native), "{how:?}");
    }
}

#[tokio::test]
async fn a_call_written_as_text_counts_where_tools_were_native_in_every_format() {
    for (says, asks) in FORMATS {
        for pieces in [&BLOCK[..], &HERMES] {
            let server = TestServer::always(vec![says(pieces)]).await;
            let provider = asks(&server.url);
            let api = provider.api();
            let (text, tools) = streamed(provider).await;
            assert_eq!((text.trim_end(), tools), ("I look.", vec!["get".to_owned()]), "{api}");
            let asked = server.next_request().await.json();
            assert!(asked["tools"].to_string().contains("Gets it."), "{api}");
            assert!(!asked.to_string().contains("tool_call"), "{api}: nothing is told in words: {asked}");
        }
    }
}

#[tokio::test]
async fn a_model_that_needs_words_gets_them_in_every_format() {
    for (n, (says, _)) in FORMATS.into_iter().enumerate() {
        let server = TestServer::always(vec![says(&BLOCK)]).await;
        let provider: Arc<dyn Provider> = match n {
            0 => Arc::new(OpenAi::new(&server.url).tool_calls(ToolCalls::Text)),
            1 => Arc::new(OpenAiResponses::new(&server.url).tool_calls(ToolCalls::Text)),
            2 => Arc::new(Anthropic::new(&server.url).tool_calls(ToolCalls::Text)),
            _ => Arc::new(Gemini::new(&server.url).tool_calls(ToolCalls::Text)),
        };
        let here = Endpoint { base_url: Some(server.url.as_str().into()), api_key_env: None };
        for provider in [provider.clone(), provider.with_endpoint(&here).unwrap()] {
            let api = provider.api();
            assert_eq!(ask(&*provider, with_tool("go")).await.unwrap().message.calls().count(), 1, "{api}");
            let asked = server.next_request().await.json();
            assert_eq!(asked.get("tools"), None, "{api}");
            assert!(asked.to_string().contains("~~~tool_call"), "{api}: {asked}");
        }
    }
}

#[tokio::test]
async fn without_tools_a_block_is_text_like_any_other() {
    for pieces in [&BLOCK[..], &HERMES] {
        let said = pieces.concat();
        let mut servers = Vec::new();
        for (says, asks) in FORMATS {
            let server = TestServer::always(vec![says(pieces)]).await;
            servers.push((asks(&server.url), server));
        }
        let ollama = TestServer::always(vec![ollama_says(pieces)]).await;
        let in_words = Ollama::new(&ollama.url).tool_calls(ToolCalls::Text);
        let unwanted = ModelRequest { tool_choice: ToolChoice::None, ..with_tool("go") };
        for request in [request("no tools"), unwanted] {
            let native = servers.iter().map(|(provider, _)| &**provider as &dyn Provider);
            for provider in native.chain([&in_words as &dyn Provider]) {
                let reply = ask(provider, request.clone()).await.unwrap();
                assert_eq!((reply.message.text(), reply.message.calls().count()), (said.clone(), 0));
            }
            let asked = ollama.next_request().await;
            assert!(!first_message(&asked).contains("tool_call"), "and no tool is told of");
        }
    }
}

#[tokio::test]
async fn a_server_that_refuses_tools_is_asked_in_words_by_the_next_attempt() {
    const REFUSAL: &str = r#"{"error":{"message":"\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set","type":"BadRequestError","code":400}}"#;
    let server = TestServer::start(|request| match request.json().get("tools") {
        Some(_) => vec![answer("400 Bad Request", &[JSON], REFUSAL)],
        None => vec![openai_says(&BLOCK)],
    })
    .await;
    let provider = OpenAi::new(&server.url);
    let error = ask(&provider, with_tool("go")).await.unwrap_err();
    assert!(error.retryable && error.kind != ErrorKind::RateLimited, "{error}");
    streamed(provider.clone()).await;
    server.next_request().await;
    assert_eq!(server.next_request().await.json().get("tools"), None);
    // Another server is another matter; and who insists is not overruled.
    let there = Endpoint { base_url: Some(server.url.as_str().into()), api_key_env: None };
    assert!(ask(&*provider.with_endpoint(&there).unwrap(), with_tool("go")).await.unwrap_err().retryable);
    let native = OpenAi::new(&server.url).tool_calls(ToolCalls::Native);
    assert!(!ask(&native, with_tool("go")).await.unwrap_err().retryable);
}

#[tokio::test]
async fn a_compatible_server_can_be_told_that_its_models_need_words() {
    let server = TestServer::always(vec![openai_says(&BLOCK)]).await;
    let flags: Compat = serde_json::from_value(json!({"like": "llama.cpp", "tool_calls": "text"})).unwrap();
    let there = Endpoint { base_url: Some(server.url.as_str().into()), api_key_env: None };
    let by_builder = OpenAi::new("127.0.0.1:1").tool_calls(ToolCalls::Text).with_endpoint(&there).unwrap();
    let by_flags: Arc<dyn Provider> = Arc::new(OpenAi::new(&server.url).compat(flags));
    for provider in [by_builder, by_flags] {
        assert_eq!(ask(&*provider, with_tool("go")).await.unwrap().message.calls().count(), 1);
        let asked = server.next_request().await;
        assert_eq!(asked.json().get("tools"), None::<&Value>);
        assert!(first_message(&asked).contains("~~~tool_call"));
    }
}
