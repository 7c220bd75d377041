//! The real providers, each with the words of its wire format; and one call through the whole tree of actors.
#![allow(dead_code, unreachable_pub)] // every test file uses its part
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ergane_core::{Message, ModelReply, ModelRequest, ProviderError};
use ergane_otp::{Intensity, Namespace, Supervisor};
use ergane_provider::{
    Anthropic, Call, CallEvent, Delta, Gemini, Ollama, OpenAi, OpenAiResponses, Providers, ProvidersBuilder,
};
use serde_json::json;
use tokio::sync::mpsc;

/// Long enough that only a hang meets it.
pub const LONG: Duration = Duration::from_secs(60);

pub const JSON: &str = "content-type: application/json";
pub const CHUNKED: &str = "transfer-encoding: chunked";

/// What the server echoes must not be found anywhere.
pub const KEY: &str = "sk-planted-key-0123456789";

pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("timed out: {what}"))
}

/// A wire format, in the words that the faults need.
pub struct Dialect {
    pub api: &'static str,
    /// Registers the provider at a URL as `p`, with the file of its key.
    pub register: fn(ProvidersBuilder, &str, &Path) -> ProvidersBuilder,
    /// Where the text of the question stands in a request.
    pub asked: &'static str,
    /// The header with the key.
    pub key_header: &'static str,
    /// The content type of a stream, as a header.
    pub stream: &'static str,
    /// How an event begins, without an end.
    pub opening: &'static str,
    /// An event with a piece of text.
    pub text: fn(&str) -> String,
    /// The events that end an answer well.
    pub end: String,
    /// The body of an error with status 429.
    pub rate_limited: String,
    /// The body of an error with status 529, with the key in it.
    pub overloaded: String,
    /// The same as an event of a stream.
    pub overloaded_event: String,
    /// A whole stream of two calls, `look` and `listen`, that have one id.
    pub two_calls_with_one_id: String,
}

/// Every provider that there is.
pub fn dialects() -> Vec<Dialect> {
    vec![openai(), ollama(), anthropic(), gemini(), responses()]
}

fn sse(value: &serde_json::Value) -> String {
    format!("data: {value}\n\n")
}

fn openai() -> Dialect {
    let overloaded = json!({"error": {"message": format!("Overloaded ({KEY})"), "type": "overloaded_error"}});
    let call = |index: u32, name: &str| {
        let function = json!({"name": name, "arguments": "{}"});
        json!({"index": index, "id": "call_1", "type": "function", "function": function})
    };
    let calls = json!({"choices": [{"delta": {"tool_calls": [call(0, "look"), call(1, "listen")]}}]});
    Dialect {
        api: "openai",
        register: |builder, url, key| builder.register("p", OpenAi::new(url).api_key_file(key)),
        asked: "/messages/0/content",
        key_header: "authorization",
        stream: "content-type: text/event-stream",
        opening: "data: {\"choices\":[{\"delta\":{\"content\":\"",
        text: |text| sse(&json!({"choices": [{"delta": {"content": text}}]})),
        end: sse(&json!({"choices": [{"delta": {}, "finish_reason": "stop"}]})) + "data: [DONE]\n\n",
        rate_limited: r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#.into(),
        overloaded: overloaded.to_string(),
        overloaded_event: sse(&overloaded),
        two_calls_with_one_id: sse(&calls)
            + &sse(&json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}))
            + "data: [DONE]\n\n",
    }
}

fn ollama() -> Dialect {
    let line = |value: serde_json::Value| format!("{value}\n");
    let overloaded = json!({"error": format!("server busy, please try again ({KEY})")}).to_string();
    let call = |name: &str| json!({"id": "call_1", "function": {"name": name, "arguments": {}}});
    let calls = json!({"message": {"role": "assistant", "content": "",
        "tool_calls": [call("look"), call("listen")]}, "done": false});
    let done = json!({"message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop"});
    Dialect {
        api: "ollama",
        register: |builder, url, key| builder.register("p", Ollama::new(url).api_key_file(key)),
        asked: "/messages/0/content",
        key_header: "authorization",
        stream: "content-type: application/x-ndjson",
        opening: "{\"message\":{\"content\":\"",
        text: |text| {
            format!("{}\n", json!({"message": {"role": "assistant", "content": text}, "done": false}))
        },
        end: line(done.clone()),
        rate_limited: r#"{"error":"too many requests"}"#.into(),
        overloaded_event: format!("{overloaded}\n"),
        overloaded,
        two_calls_with_one_id: line(calls) + &line(done),
    }
}

fn anthropic() -> Dialect {
    let error =
        |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}});
    let overloaded = error("overloaded_error", &format!("Overloaded ({KEY})"));
    let stop = |reason: &str| {
        sse(&json!({"type": "message_delta", "delta": {"stop_reason": reason}}))
            + &sse(&json!({"type": "message_stop"}))
    };
    let call = |index: u32, name: &str| {
        let block = json!({"type": "tool_use", "id": "call_1", "name": name, "input": {}});
        sse(&json!({"type": "content_block_start", "index": index, "content_block": block}))
            + &sse(&json!({"type": "content_block_stop", "index": index}))
    };
    Dialect {
        api: "anthropic",
        register: |builder, url, key| builder.register("p", Anthropic::new(url).api_key_file(key)),
        asked: "/messages/0/content/0/text",
        key_header: "x-api-key",
        stream: "content-type: text/event-stream",
        opening: "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"text\":\"",
        text: |text| {
            let delta = json!({"type": "text_delta", "text": text});
            sse(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
        },
        end: stop("end_turn"),
        rate_limited: error("rate_limit_error", "slow down").to_string(),
        overloaded: overloaded.to_string(),
        overloaded_event: format!("event: error\n{}", sse(&overloaded)),
        two_calls_with_one_id: call(0, "look") + &call(1, "listen") + &stop("tool_use"),
    }
}

fn gemini() -> Dialect {
    let error = |code: u16, status: &str, message: &str| json!({"error": {"code": code, "status": status, "message": message}});
    let overloaded = error(503, "UNAVAILABLE", &format!("The model is overloaded ({KEY})"));
    let call = |name: &str| json!({"functionCall": {"id": "call_1", "name": name, "args": {}}});
    let calls = json!({"parts": [call("look"), call("listen")], "role": "model"});
    Dialect {
        api: "gemini",
        register: |builder, url, key| builder.register("p", Gemini::new(url).api_key_file(key)),
        asked: "/contents/0/parts/0/text",
        key_header: "x-goog-api-key",
        stream: "content-type: text/event-stream",
        opening: "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"",
        text: |text| sse(&json!({"candidates": [{"content": {"parts": [{"text": text}], "role": "model"}}]})),
        end: sse(&json!({"candidates": [{"finishReason": "STOP"}]})),
        rate_limited: error(429, "RESOURCE_EXHAUSTED", "slow down").to_string(),
        overloaded: overloaded.to_string(),
        overloaded_event: sse(&overloaded),
        two_calls_with_one_id: sse(&json!({"candidates": [{"content": calls, "finishReason": "STOP"}]})),
    }
}

fn responses() -> Dialect {
    let overloaded = json!({"error": {"message": format!("Overloaded ({KEY})"), "type": "overloaded_error"}});
    let end = sse(&json!({"type": "response.completed", "response": {"status": "completed", "output": []}}));
    let call = |index: u32, name: &str| {
        let item = json!({"type": "function_call", "call_id": "call_1", "name": name, "arguments": "{}"});
        sse(&json!({"type": "response.output_item.done", "output_index": index, "item": item}))
    };
    Dialect {
        api: "openai_responses",
        register: |builder, url, key| builder.register("p", OpenAiResponses::new(url).api_key_file(key)),
        asked: "/input/0/content/0/text",
        key_header: "authorization",
        stream: "content-type: text/event-stream",
        opening: "data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"",
        text: |text| sse(&json!({"type": "response.output_text.delta", "output_index": 0, "delta": text})),
        rate_limited: r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#.into(),
        overloaded_event: format!("event: error\n{}", sse(&overloaded)),
        overloaded: overloaded.to_string(),
        two_calls_with_one_id: call(0, "look") + &call(1, "listen") + &end,
        end,
    }
}

pub fn request(text: &str) -> ModelRequest {
    ModelRequest::new("m", [Arc::new(Message::user_text(text))].into_iter().collect())
}

/// How a call ended, and the text that was shown meanwhile.
pub struct Outcome {
    pub result: Result<ModelReply, ProviderError>,
    pub shown: String,
}

/// One call through the provider's actor and the request's. Checks what must hold for every call: it ends once, its end is
/// its last event, the actor that carried it is gone, and the key is in no error.
pub async fn call_once(dialect: &Dialect, url: &str, idle: Duration) -> Outcome {
    call(dialect, url, idle, || {}).await
}

/// The same; `when_shown` is called at the first piece of text.
pub async fn call_and_when_shown(dialect: &Dialect, url: &str, when_shown: impl Fn()) -> Outcome {
    call(dialect, url, LONG, when_shown).await
}

async fn call(dialect: &Dialect, url: &str, idle_timeout: Duration, when_shown: impl Fn()) -> Outcome {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let namespace = Namespace::new(format!("tree-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), KEY).unwrap();
    let providers = (dialect.register)(Providers::builder(), url, key.path()).build(&namespace);
    let specs = providers.child_specs();
    let root = Supervisor::start(&namespace, "root", Intensity::default(), specs, None).await.unwrap();
    let (tell, mut events) = mpsc::unbounded_channel();
    let call = Call { idle_timeout, ..Call::new("p", request("hi")) };
    let handle = providers.call(call, move |event| drop(tell.send(event)));
    let (mut shown, mut carrier, mut result) = (String::new(), None, None);
    while result.is_none() {
        match soon("an event", events.recv()).await.expect("the end comes first") {
            CallEvent::Started { request } => carrier = Some(request),
            CallEvent::Delta(Delta::Text(text)) => {
                shown.push_str(&text);
                when_shown();
            }
            CallEvent::Delta(_) | CallEvent::Waiting { .. } => {}
            CallEvent::Done(end) => result = Some(end),
        }
    }
    drop(handle);
    assert!(soon("the end of the events", events.recv()).await.is_none(), "an event after the end");
    let carrier = carrier.expect("it was admitted");
    soon("the end of the request's actor", carrier.wait(None)).await.ok();
    root.shutdown(LONG).await.unwrap();
    let left: Vec<String> = namespace.names().into_iter().map(|(name, _)| name).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    let result = result.unwrap();
    if let Err(error) = &result {
        assert!(!format!("{error} {error:?}").contains("planted"), "{error:?}");
    }
    Outcome { result, shown }
}
