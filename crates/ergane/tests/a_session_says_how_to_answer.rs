//! What a session says of answers (how long, how much thought, which structure, which tool) reaches the wire, in each
//! format's own words, and is kept with the session.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use common::{LONG, model, soon, until};
use ergane::core::SettingsPatch;
use ergane::prelude::*;
use ergane::provider::Provider;
use ergane_testkit::{FaultServer, Reply};
use serde_json::Value;

/// The time of day.
#[tool(effect = "read")]
async fn now() -> String {
    "noon".to_owned()
}

/// A server that asks for a tool first, and then answers.
async fn server(call: Value, answer: Value) -> FaultServer {
    let reply = |body: Value| Reply::answer("200 OK", &["content-type: application/json"], body.to_string());
    FaultServer::in_turn([reply(call), reply(answer)]).await.unwrap()
}

fn schema() -> OutputSchema {
    OutputSchema::new("hour", json!({"type": "object", "properties": {"hour": {"type": "string"}}}))
}

/// Sets everything in one process and sends in the next one, to a provider made by `provider` each time. The bodies that
/// the server was sent.
async fn asked<P: Provider>(server: &FaultServer, provider: impl Fn(&str) -> P) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let start = async || {
        let journal = Sqlite::open(folder.path().join("ergane.db")).unwrap();
        let builder = System::builder().provider("it", provider(server.url())).tool(now).journal(journal);
        builder.start().await.unwrap()
    };
    let first = start().await;
    let session = first
        .session("a")
        .model("m")
        .max_tokens(4_000)
        .reasoning(ReasoningEffort::Low)
        .sampling(Sampling { temperature: Some(0.25), seed: Some(7), ..Sampling::default() })
        .tool_choice(ToolChoice::Required)
        .parallel_tools(false)
        .output(schema())
        .prompt_cache(PromptCache::Long)
        .settings(SettingsPatch { stream: Some(false), ..SettingsPatch::default() });
    soon("its end", session.start()).await.unwrap();
    soon("its end", first.shutdown(LONG)).await.unwrap();
    drop(first);
    let second = start().await;
    let session = soon("its end", second.session("a").start()).await.unwrap();
    let result = soon("its end", session.send_message("when?").into_future()).await.unwrap();
    assert_eq!((&*result.text, result.tool_calls_made), (r#"{"hour":"12"}"#, 1), "{result:?}");
    // Nothing of it for good: the next turn is free again.
    let free = second.session("a").output(None).max_tokens(None).tool_choice(ToolChoice::Auto);
    let session = soon("its end", free.start()).await.unwrap();
    soon("its end", session.send_message("and now?").into_future()).await.unwrap();
    soon("its end", second.shutdown(LONG)).await.unwrap();
    server.requests().iter().map(|request| request.json()).collect()
}

#[tokio::test]
async fn to_chat_completions() {
    let message =
        |message: Value, why: &str| json!({"choices": [{"message": message, "finish_reason": why}]});
    let call = json!({"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}});
    let server = server(
        message(json!({"role": "assistant", "content": null, "tool_calls": [call]}), "tool_calls"),
        message(json!({"role": "assistant", "content": r#"{"hour":"12"}"#}), "stop"),
    );
    let server = server.await;
    let asked = asked(&server, |url| OpenAi::new(url)).await;
    let first = &asked[0];
    assert_eq!(first["max_tokens"], 4_000, "{first}");
    assert_eq!((&first["temperature"], &first["seed"]), (&json!(0.25), &json!(7)));
    assert_eq!((&first["reasoning_effort"], &first["tool_choice"]), (&json!("low"), &json!("required")));
    assert_eq!((&first["parallel_tool_calls"], &first["stream"]), (&json!(false), &json!(false)));
    let format = &first["response_format"];
    assert_eq!((&format["type"], &format["json_schema"]["name"]), (&json!("json_schema"), &json!("hour")));
    assert!(asked[1].get("tool_choice").is_none(), "it has called one: {}", asked[1]);
    assert_eq!(asked[1]["response_format"], first["response_format"]);
    let free = &asked[2];
    assert!(
        ["max_tokens", "tool_choice", "response_format"].iter().all(|it| free.get(it).is_none()),
        "{free}"
    );
    assert_eq!(free["temperature"], 0.25, "what was not set again is kept");
}

#[tokio::test]
async fn to_the_messages_api() {
    let message = |content: Value, why: &str| json!({"type": "message", "role": "assistant", "content": [content], "stop_reason": why});
    let server = server(
        message(json!({"type": "tool_use", "id": "t1", "name": "now", "input": {}}), "tool_use"),
        message(json!({"type": "text", "text": r#"{"hour":"12"}"#}), "end_turn"),
    );
    let server = server.await;
    let asked = asked(&server, |url| Anthropic::new(url)).await;
    let first = &asked[0];
    assert_eq!(
        (&first["max_tokens"], &first["tool_choice"]["type"]),
        (&json!(4_000), &json!("any")),
        "{first}"
    );
    assert_eq!(first["tool_choice"]["disable_parallel_tool_use"], true);
    assert_eq!(first["thinking"]["type"], "disabled", "a tool is forced, so it cannot think yet");
    assert_eq!(first["output_config"]["format"]["type"], "json_schema");
    assert_eq!(first["tools"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_ne!(asked[1]["tool_choice"]["type"], "any", "it has called one: {}", asked[1]);
    let free = &asked[2];
    assert!(free["output_config"].get("format").is_none() && free["max_tokens"] != 4_000, "{free}");
    assert_eq!(free["thinking"]["type"], "enabled", "nothing is forced any more");
}

#[tokio::test]
async fn to_ollama() {
    let message =
        |message: Value| json!({"model": "m", "message": message, "done": true, "done_reason": "stop"});
    let call = json!({"function": {"name": "now", "arguments": {}}});
    let server = server(
        message(json!({"role": "assistant", "content": "", "tool_calls": [call]})),
        message(json!({"role": "assistant", "content": r#"{"hour":"12"}"#})),
    );
    let server = server.await;
    let provider = |url: &str| Ollama::new(url).tool_calls(ergane::provider::ToolCalls::Native);
    let asked = asked(&server, provider).await;
    let first = &asked[0];
    let options = &first["options"];
    assert_eq!((&options["num_predict"], &options["temperature"]), (&json!(4_000), &json!(0.25)), "{first}");
    assert_eq!((&options["seed"], &first["format"]), (&json!(7), &*schema().schema));
    assert!(asked[2].get("format").is_none(), "{}", asked[2]);
}

/// For its own turn, also one that had to wait, also in the next process; and for no other.
#[tokio::test]
async fn a_send_says_it_for_its_turn_alone() {
    let store: Arc<dyn ergane::journal::Journal> = Arc::new(Memory::new());
    let (model, mut questions) = model();
    let start = || {
        let builder = System::builder().shared_journal(store.clone()).drain(Duration::ZERO);
        builder.provider("p", model.clone()).provider("other", Scripted::builtin()).start()
    };
    let system = start().await.unwrap();
    let alice = system.session("alice").model("small").max_tokens(10).start().await.unwrap();
    alice.send_message("one").accepted().await.unwrap();
    let asked = questions.next().await;
    let once = SettingsPatch {
        model: Some("large".into()),
        max_tokens: Some(Some(99)),
        reasoning: Some(Some(ReasoningEffort::High)),
        ..SettingsPatch::default()
    };
    // It does not go into the open turn, which has other settings; so it waits.
    let second = alice.send_message("two").settings(once).key("k").when_busy(WhenBusy::Steer);
    let second = tokio::spawn(second.into_future());
    until("it waits", || async { alice.status().await.unwrap().queued == 1 }).await;
    system.shutdown(LONG).await.unwrap();
    second.abort();
    drop(asked);

    let system = start().await.unwrap();
    let alice = system.whereis("alice").await.unwrap();
    let said = |request: &ModelRequest| (request.model.to_string(), request.max_tokens, request.reasoning);
    let asked = questions.next().await;
    assert_eq!(said(&asked.request), ("small".to_owned(), Some(10), None));
    asked.answer("1");
    let asked = questions.next().await;
    assert_eq!(said(&asked.request), ("large".to_owned(), Some(99), Some(ReasoningEffort::High)));
    asked.answer("2");
    let again = soon("the same send", alice.send_message("two").key("k").into_future()).await.unwrap();
    assert_eq!((&*again.text, &*again.model), ("2", "large"));
    assert_eq!(alice.settings().await.unwrap().answering.max_tokens, Some(10));
    alice.send_message("three").accepted().await.unwrap();
    let asked = questions.next().await;
    assert_eq!(said(&asked.request), ("small".to_owned(), Some(10), None));
    asked.answer("3");

    // Another provider means its usual model; one that is not there is told at once, and nobody waits for it.
    let of = |provider: &str| SettingsPatch { provider: Some(provider.into()), ..SettingsPatch::default() };
    let other = alice.send_message("four").settings(of("other"));
    let result = soon("the other's answer", other.into_future()).await.unwrap();
    assert_eq!((&*result.provider, &*result.model), ("other", "scripted"));
    let nobody = alice.send_message("five").settings(of("nobody"));
    let refused = soon("an answer", nobody.into_future()).await;
    assert!(matches!(refused, Err(SessionError::Unresolved { .. })), "{refused:?}");
    system.shutdown(LONG).await.unwrap();
}

/// A provider that a send names is asked for the model that it stood for when the send was accepted, and a model that it names
/// is asked of the provider that the session had then.
#[tokio::test]
async fn a_send_that_waits_keeps_who_it_meant() {
    let (model, mut questions) = model();
    let builder = System::builder().provider("p", model.clone()).provider("other", model);
    let system = builder.start().await.unwrap();
    let alice = system.session("alice").provider("p").model("small").start().await.unwrap();
    alice.send_message("one").accepted().await.unwrap();
    let asked = questions.next().await;
    let queue = |text: &str, settings: SettingsPatch| {
        tokio::spawn(alice.send_message(text).settings(settings).into_future())
    };
    let by = |provider: &str| SettingsPatch { provider: Some(provider.into()), ..SettingsPatch::default() };
    let present = queue("two", by("p"));
    until("it waits", || async { alice.status().await.unwrap().queued == 1 }).await;
    let moved = queue("three", by("other"));
    until("both wait", || async { alice.status().await.unwrap().queued == 2 }).await;
    let tiny = queue("four", SettingsPatch { model: Some("tiny".into()), ..SettingsPatch::default() });
    until("all wait", || async { alice.status().await.unwrap().queued == 3 }).await;
    let whoever = queue("five", SettingsPatch { max_tokens: Some(Some(9)), ..SettingsPatch::default() });
    until("all wait", || async { alice.status().await.unwrap().queued == 4 }).await;
    // None of them means anything by what the session is told now, but the one that says nothing of it.
    system.session("alice").provider("other").model("large").start().await.unwrap();
    asked.answer("1");
    for (send, provider, model) in
        [(present, "p", "small"), (moved, "other", "m"), (tiny, "p", "tiny"), (whoever, "other", "large")]
    {
        let asked = questions.next().await;
        assert_eq!(&*asked.request.model, model);
        asked.answer("2");
        let result = soon("its end", send).await.unwrap().unwrap();
        assert_eq!((&*result.provider, &*result.model), (provider, model));
    }
    system.shutdown(LONG).await.unwrap();
}
