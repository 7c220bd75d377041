//! Anthropic's format over a real socket: the key's header, the pages of its list, its errors.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::time::Duration;

use common::*;
use ergane_core::ErrorKind;
use ergane_provider::{Anthropic, Endpoint, Provider};

const ANSWER: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

fn key_file(key: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key).unwrap();
    file
}

#[tokio::test]
async fn the_key_goes_in_its_own_header_and_to_no_other_server() {
    let key = key_file("sk-ant-planted\n");
    let server = TestServer::always(vec![answer("200 OK", &[SSE], ANSWER)]).await;
    let provider = Anthropic::new(&server.url).model("m").api_key_file(key.path());
    let reply = ask(&provider, request("hi")).await.unwrap();
    assert_eq!((reply.message.text().as_str(), reply.usage.unwrap().output_tokens), ("hello", 2));
    let asked = server.next_request().await;
    assert_eq!((asked.method(), asked.path()), ("POST", "/v1/messages"));
    assert_eq!(asked.header("x-api-key"), Some("sk-ant-planted"));
    assert_eq!(
        (asked.header("authorization"), asked.header("anthropic-version")),
        (None, Some("2023-06-01"))
    );

    ask(&provider.clone().bearer(), request("hi")).await.unwrap();
    let asked = server.next_request().await;
    assert_eq!(
        (asked.header("x-api-key"), asked.header("authorization")),
        (None, Some("Bearer sk-ant-planted"))
    );

    let other = TestServer::always(vec![answer("200 OK", &[SSE], ANSWER)]).await;
    let endpoint = Endpoint { base_url: Some(other.url.as_str().into()), api_key_env: None };
    let moved = provider.with_endpoint(&endpoint).unwrap();
    ask(&*moved, request("hi")).await.unwrap();
    assert_eq!(other.next_request().await.header("x-api-key"), None);
}

#[tokio::test]
async fn an_overloaded_server_says_how_long_to_wait_and_an_echoed_key_is_taken_out() {
    let key = key_file("sk-ant-planted");
    let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded for sk-ant-planted"},"request_id":"req_1"}"#;
    let headers = [JSON, "retry-after: 7", "request-id: req_1"];
    let server = TestServer::always(vec![answer("529 Site Overloaded", &headers, body)]).await;
    let provider = Anthropic::new(&server.url).model("m").api_key_file(key.path());
    let error = ask(&provider, request("hi")).await.unwrap_err();
    assert_eq!((error.kind, error.status, error.retryable), (ErrorKind::Overloaded, Some(529), true));
    assert_eq!(
        (error.retry_after, error.request_id.as_deref()),
        (Some(Duration::from_secs(7)), Some("req_1"))
    );
    assert!(!format!("{error} {error:?} {provider:?}").contains("planted"), "{error}");
}

#[tokio::test]
async fn the_list_of_models_is_read_to_its_last_page_and_a_window_is_found() {
    let not_found = r#"{"type":"error","error":{"type":"not_found_error","message":"model: c"}}"#;
    let server = TestServer::start(move |request| {
        match request.path() {
            "/v1/models/latest" => {
                return vec![answer("200 OK", &[JSON], r#"{"id":"b","max_input_tokens":200000}"#)];
            }
            "/v1/models/c" => return vec![answer("404 Not Found", &[JSON], not_found)],
            "/v1/models/busy" => return vec![answer("529 Overloaded", &[JSON], "{}")],
            _ => {}
        }
        let body = if request.path().contains("after_id=a") {
            r#"{"data":[{"id":"b","max_input_tokens":200000}],"has_more":false,"last_id":"b"}"#
        } else {
            r#"{"data":[{"id":"a"}],"has_more":true,"last_id":"a"}"#
        };
        vec![answer("200 OK", &[JSON], body)]
    })
    .await;
    let provider = Anthropic::new(&server.url);
    let names: Vec<_> =
        provider.list_models().await.unwrap().iter().map(|model| model.id.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(provider.model_info("b".into()).await.unwrap().context_window, Some(200_000));
    // By an alias, which no list has.
    let alias = provider.model_info("latest".into()).await.unwrap();
    assert_eq!((&*alias.id, alias.context_window), ("b", Some(200_000)));
    let unknown = provider.model_info("c".into()).await.unwrap_err();
    assert!(unknown.kind == ErrorKind::ModelNotFound && unknown.message.contains("\"c\""), "{unknown}");
    let busy = provider.model_info("busy".into()).await.unwrap_err();
    assert_eq!(busy.kind, ErrorKind::Overloaded, "that is not to say that there is no such model");
    let unsupported = provider.embed(ergane_provider::EmbedRequest::new("m", ["x"])).await.unwrap_err();
    assert_eq!(unsupported.kind, ErrorKind::Unsupported);
}
