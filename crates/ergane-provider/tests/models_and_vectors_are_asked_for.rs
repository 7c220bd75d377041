//! Lists of models and vectors of texts, over a real socket and through the registry.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::time::Duration;

use common::*;
use ergane_core::{ErrorKind, ModelRequest};
use ergane_provider::{
    Anthropic, EmbedRequest, Endpoint, Gemini, Ollama, OpenAi, Provider, Providers, Scripted,
};
use serde_json::json;

#[tokio::test]
async fn an_openai_server_lists_its_models_and_makes_vectors() {
    let server = TestServer::start(|request| match request.path() {
        "/v1/models" => {
            let body = r#"{"data":[{"id":"m","max_model_len":4096},{"id":"n"}]}"#;
            vec![answer("200 OK", &[JSON], body)]
        }
        "/v1/embeddings" => {
            let body = r#"{"data":[{"index":0,"embedding":[0.5,1.5]}],"usage":{"prompt_tokens":2}}"#;
            vec![answer("200 OK", &[JSON], body)]
        }
        _ => vec![answer("404 Not Found", &[JSON], "{}")],
    })
    .await;
    let provider = OpenAi::new(&server.url);
    let models = provider.list_models().await.unwrap();
    assert_eq!((&*models[0].id, models[0].context_window), ("m", Some(4096)));
    let asked = server.next_request().await;
    assert_eq!((asked.method(), asked.path()), ("GET", "/v1/models"));
    assert_eq!(provider.model_info("m".into()).await.unwrap().context_window, Some(4096));
    let error = provider.model_info("other".into()).await.unwrap_err();
    assert!(error.kind == ErrorKind::ModelNotFound && error.message.contains("other"), "{error}");
    let made = provider.embed(EmbedRequest::new("e", ["text"])).await.unwrap();
    assert_eq!(made.vectors, [vec![0.5, 1.5]]);
    let unnamed = provider.embed(EmbedRequest::new("", ["text"])).await.unwrap_err();
    assert_eq!(unnamed.kind, ErrorKind::InvalidRequest);
    for _ in 0..2 {
        server.next_request().await;
    }
    let asked = server.next_request().await;
    assert_eq!((asked.path(), &asked.json()["input"]), ("/v1/embeddings", &json!(["text"])));
}

#[tokio::test]
async fn a_server_with_one_model_answers_by_any_name() {
    let server = TestServer::start(|request| match request.path() {
        "/v1/models" => vec![answer("200 OK", &[JSON], r#"{"data":[{"id":"m.gguf"}]}"#)],
        "/props" => {
            vec![answer("200 OK", &[JSON], r#"{"default_generation_settings":{"n_ctx":2048}}"#)]
        }
        _ => vec![answer("404 Not Found", &[JSON], "{}")],
    })
    .await;
    let info = OpenAi::new(&server.url).model_info("local".into()).await.unwrap();
    assert_eq!((&*info.id, info.context_window), ("local", Some(2048)));
}

#[tokio::test]
async fn a_list_that_names_the_same_page_for_ever_is_left() {
    let page = r#"{"models":[{"name":"models/m"}],"nextPageToken":"same",
        "data":[{"id":"m"}],"has_more":true,"last_id":"same"}"#;
    let server = TestServer::always(vec![answer("200 OK", &[JSON], page)]).await;
    for provider in [&Gemini::new(&server.url) as &dyn Provider, &Anthropic::new(&server.url)] {
        let before = server.requests();
        assert_eq!(provider.list_models().await.unwrap().len(), 2);
        assert_eq!(server.requests() - before, 2);
    }
}

#[tokio::test]
async fn an_ollama_tells_the_window_that_a_model_is_loaded_with() {
    let server = TestServer::start(|request| match request.path() {
        "/api/show" => {
            let body = r#"{"capabilities":["tools"],"model_info":{"general.architecture":"a","a.context_length":40960}}"#;
            vec![answer("200 OK", &[JSON], body)]
        }
        "/api/embed" => vec![answer("200 OK", &[JSON], r#"{"embeddings":[[1,2]],"prompt_eval_count":1}"#)],
        _ => vec![answer("404 Not Found", &[JSON], r#"{"error":"model 'x' not found"}"#)],
    })
    .await;
    let provider = Ollama::new(&server.url);
    let info = provider.model_info("m".into()).await.unwrap();
    assert_eq!((info.context_window, info.tools), (Some(16_384), Some(true)));
    let roomy = provider.clone().num_ctx(100_000).model_info("m".into()).await.unwrap();
    assert_eq!(roomy.context_window, Some(40_960));
    let asked = server.next_request().await;
    assert_eq!((asked.path(), asked.json()), ("/api/show", json!({"model": "m"})));
    let made = provider.embed(EmbedRequest::new("e", ["text"])).await.unwrap();
    assert_eq!(made.vectors, [vec![1.0, 2.0]]);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_at_the_deadline_and_another_provider_does_not_notice() {
    let silent = TestServer::always(vec![Act::Stall]).await;
    let providers = Providers::builder()
        .register("silent", OpenAi::new(&silent.url))
        .register("scripted", Scripted::builtin());
    let tree = Tree::start(providers).await;
    let here = Endpoint::default();
    let stuck: Vec<_> = (0..20)
        .map(|_| {
            let (providers, here) = (tree.providers.clone(), here.clone());
            tokio::spawn(async move {
                let request = EmbedRequest::new("e", ["x"]);
                providers.embed(&"silent".into(), &here, request, Duration::from_millis(300)).await
            })
        })
        .collect();
    let models = tree.providers.list_models(&"scripted".into(), &here, DEADLINE).await.unwrap();
    assert_eq!(&*models[0].id, "scripted");
    for task in stuck {
        assert_eq!(task.await.unwrap().unwrap_err().kind, ErrorKind::Timeout);
    }
    let unknown = tree.providers.list_models(&"nobody".into(), &here, DEADLINE).await.unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::InvalidRequest);
    tree.shutdown().await;
}

/// Some cut what does not fit, answer the rest and say nothing; but they count the tokens.
#[tokio::test]
async fn a_prompt_that_is_larger_than_the_window_that_was_told_did_not_fit_whatever_was_answered() {
    let server = TestServer::start(|request| match request.path() {
        "/v1/models" => {
            let made_for =
                r#"{"data":[{"id":"m","max_model_len":1000},{"id":"n","meta":{"n_ctx_train":1000}}]}"#;
            vec![answer("200 OK", &[JSON], made_for)]
        }
        _ => {
            let usage = json!({"prompt_tokens": 1001, "completion_tokens": 1});
            let choice = json!({"message": {"content": "Yes."}, "finish_reason": "stop"});
            vec![answer("200 OK", &[JSON], json!({"choices": [choice], "usage": usage}).to_string())]
        }
    })
    .await;
    let provider = OpenAi::new(&server.url);
    assert_eq!(ask(&provider, request("hi")).await.unwrap().message.text(), "Yes.", "no window is known");
    provider.list_models().await.unwrap();
    let error = ask(&provider, request("hi")).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::ContextOverflow, false), "{error}");
    assert!(error.message.contains("1001 tokens") && error.message.contains("room for 1000"), "{error}");
    assert_eq!(error.spent.unwrap().usage.unwrap().input_tokens, 1001);
    // What a model was made for is not the room that it has there.
    let other = ModelRequest { model: "n".into(), ..request("hi") };
    ask(&provider, other).await.unwrap();
}

#[tokio::test]
async fn an_answer_of_nothing_to_a_prompt_that_filled_the_window_is_no_answer_cut_short() {
    let done =
        json!({"message": {"content": ""}, "done": true, "done_reason": "length", "prompt_eval_count": 508});
    let server = TestServer::always(vec![answer("200 OK", &[NDJSON], format!("{done}\n"))]).await;
    let error = ask(&Ollama::new(&server.url).num_ctx(512), request("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ContextOverflow, "{error}");
    ask(&Ollama::new(&server.url).num_ctx(1024), request("hi")).await.unwrap();
}

fn unnamed() -> ModelRequest {
    ModelRequest { model: "".into(), ..request("hi") }
}

/// Each for as long as its server may be silent, and not one after the other.
#[tokio::test]
async fn who_names_no_model_waits_no_longer_than_he_may_for_the_list_of_models() {
    let server = TestServer::always(vec![Act::Stall]).await;
    let provider = OpenAi::new(&server.url);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let provider = provider.clone();
        calls.spawn(async move { ask_patiently(&provider, unnamed(), Duration::from_millis(200)).await });
    }
    for result in within("all of them", calls.join_all()).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
        assert!(error.message.contains("no model was named"), "{error}");
    }
}

#[tokio::test]
async fn a_model_that_was_found_and_is_gone_is_looked_for_again_by_the_next_attempt() {
    let old = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_old = old.clone();
    let server = TestServer::start(move |request| {
        let there = if is_old.load(std::sync::atomic::Ordering::SeqCst) { "old" } else { "new" };
        if request.path() == "/v1/models" {
            return vec![answer("200 OK", &[JSON], json!({"data": [{"id": there}]}).to_string())];
        }
        let wanted = request.json()["model"].as_str().unwrap().to_owned();
        if wanted == there {
            return vec![answer("200 OK", &[SSE], text_event(&wanted) + STOP_EVENTS)];
        }
        let error = json!({"error": {"message": "no such model", "code": "model_not_found"}});
        vec![answer("404 Not Found", &[JSON], error.to_string())]
    })
    .await;
    let provider = OpenAi::new(&server.url);
    assert_eq!(ask(&provider, unnamed()).await.unwrap().message.text(), "old");
    old.store(false, std::sync::atomic::Ordering::SeqCst);
    let error = ask(&provider, unnamed()).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::ModelNotFound, true), "{error}");
    assert_eq!(ask(&provider, unnamed()).await.unwrap().message.text(), "new");
    // One that somebody named is not there, and that is that.
    let error = ask(&provider, ModelRequest { model: "old".into(), ..request("hi") }).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::ModelNotFound, false), "{error}");
}
