//! The actors between a caller and a provider: limits, queues, and who may die without anybody waiting forever.

#![allow(clippy::unwrap_used, reason = "tests only")]

mod common;

use std::sync::Arc;

use common::gate::{PANIC, gate};
use common::*;
use ergane_core::{ErrorKind, ModelReply, ProviderError, Text};
use ergane_provider::{
    BoxFuture, CallEvent, Delta, Endpoint, OpenAi, Provider, ProviderCall, Providers, Scripted, ScriptedReply,
};

#[tokio::test]
async fn a_scripted_call_goes_all_the_way() {
    let tree =
        Tree::start(Providers::builder().register("s", Scripted::replies([ScriptedReply::text("hello")])))
            .await;
    assert_eq!(tree.providers.names(), [Text::from("s")]);
    assert_eq!(tree.providers.default_name().as_deref(), Some("s"));
    let mut call = tree.call("s", "hi");
    let request = call.started().await;
    assert!(request.get_name().unwrap().contains("/request/"), "{request:?}");
    assert!(matches!(call.next().await, CallEvent::Delta(Delta::Text(text)) if &*text == "hello"));
    assert_eq!(call.done().await.unwrap().message.text(), "hello");
    within("the end of the request's actor", request.wait(None)).await.ok();
    tree.shutdown().await;
}

#[tokio::test]
async fn an_unknown_provider_is_told_with_those_there_are() {
    let tree = Tree::start(
        Providers::builder().register("a", Scripted::builtin()).register("b", Scripted::builtin()),
    )
    .await;
    let error = tree.call("c", "hi").done().await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::InvalidRequest, false));
    assert!(error.message.contains("\"c\"") && error.message.contains("a, b"), "{error}");
    tree.shutdown().await;
}

#[tokio::test]
async fn dropping_the_handle_closes_the_connection_and_no_event_follows() {
    let server =
        TestServer::always(vec![send(head("200 OK", &[SSE])), send(text_event("x")), Act::Stall]).await;
    let tree = Tree::start(Providers::builder().register("o", OpenAi::new(&server.url))).await;
    let mut call = tree.call("o", "hi");
    let request = call.started().await;
    assert!(matches!(call.next().await, CallEvent::Delta(_)));
    call.handle = None;
    server.connection_ended().await;
    within("the end of the request's actor", request.wait(None)).await.ok();
    assert!(within("the end of the events", call.events.recv()).await.is_none());
    tree.shutdown().await;
}

#[tokio::test]
async fn a_killed_request_is_done_with_a_retryable_error_and_its_connection_is_closed() {
    let server =
        TestServer::always(vec![send(head("200 OK", &[SSE])), send(text_event("x")), Act::Stall]).await;
    let tree = Tree::start(Providers::builder().register("o", OpenAi::new(&server.url))).await;
    let mut call = tree.call("o", "hi");
    let request = call.started().await;
    assert!(matches!(call.next().await, CallEvent::Delta(_)));
    request.kill();
    let error = call.done().await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Internal, true));
    server.connection_ended().await;
    tree.shutdown().await;
}

#[tokio::test]
async fn a_request_that_is_asked_to_stop_ends_with_its_call() {
    let (gate, mut calls) = gate(1);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    let mut call = tree.call("g", "hi");
    let request = call.started().await;
    let running = calls.next().await;
    request.stop(None);
    running.answer();
    assert!(call.done().await.is_ok(), "work that is done once is not cut off by a polite word");
    tree.shutdown().await;
}

#[tokio::test]
async fn a_provider_that_panics_ends_its_call_and_frees_its_place() {
    let (gate, mut calls) = gate(1);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    for _ in 0..3 {
        let error = tree.call("g", PANIC).done().await.unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Internal, true));
        assert_eq!(calls.next().await.text, PANIC);
    }
    let mut call = tree.call("g", "x");
    calls.next().await.answer();
    assert!(call.done().await.is_ok());
    tree.shutdown().await;
}

#[tokio::test]
async fn no_more_calls_run_than_the_provider_allows_and_the_others_go_in_their_order() {
    let (gate, mut calls) = gate(2);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    let mut events: Vec<Events> = (0..6).map(|n| tree.call("g", &n.to_string())).collect();
    let mut running = vec![calls.next().await, calls.next().await];
    for n in 2..6 {
        tree.queue_is_settled("g").await;
        assert!(calls.none_runs(), "only two at a time");
        running.remove(0).answer();
        let admitted = calls.next().await;
        assert_eq!(admitted.text, n.to_string());
        running.push(admitted);
    }
    running.into_iter().for_each(|call| call.answer());
    for call in &mut events {
        assert_eq!(call.done().await.unwrap().message.text(), "done");
    }
    tree.shutdown().await;
}

#[tokio::test]
async fn the_queue_is_bounded_and_a_call_too_many_is_refused_at_once() {
    let (gate, mut calls) = gate(1);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    let mut first = tree.call("g", "running");
    let running = calls.next().await;
    let mut queued: Vec<Events> = (0..1024).map(|n| tree.call("g", &n.to_string())).collect();
    let error = tree.call("g", "too many").done().await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Overloaded, true));
    // A cancelled call gives its place to another, and never runs.
    drop(queued.remove(0));
    let place = async {
        loop {
            let mut again = tree.call("g", "in its place");
            match again.events.try_recv() {
                Ok(CallEvent::Done(Err(_))) => tokio::task::yield_now().await,
                Err(_) => return again,
                Ok(other) => panic!("{other:?}"),
            }
        }
    };
    let again = within("a free place", place).await;
    running.answer();
    assert!(first.done().await.is_ok());
    assert_eq!(calls.next().await.text, "1");
    drop((queued, again));
    tree.shutdown().await;
}

#[tokio::test]
async fn any_number_of_scripted_calls_may_run() {
    let scripted = Scripted::from_fn(|_, _| ScriptedReply { hang: true, ..ScriptedReply::default() });
    let tree = Tree::start(Providers::builder().register("s", scripted)).await;
    let mut calls: Vec<Events> = (0..2000).map(|_| tree.call("s", "hi")).collect();
    for call in &mut calls {
        call.started().await;
    }
    drop(calls);
    tree.shutdown().await;
}

#[tokio::test]
async fn a_killed_provider_actor_loses_no_running_call_and_comes_back_with_the_right_count() {
    let (gate, mut calls) = gate(1);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    let mut running_call = tree.call("g", "running");
    let running = calls.next().await;
    let mut queued = tree.call("g", "queued");
    let actor =
        within("the provider's actor", tree.namespace.wait_for("provider/g", DEADLINE)).await.unwrap();
    actor.kill();
    let error = queued.done().await.unwrap_err();
    assert!(error.retryable, "{error}");
    let next_actor = within("its next incarnation", async {
        loop {
            match tree.namespace.wait_for("provider/g", DEADLINE).await.unwrap() {
                cell if cell.get_id() == actor.get_id() => tokio::task::yield_now().await,
                cell => return cell,
            }
        }
    })
    .await;
    assert_ne!(next_actor.get_id(), actor.get_id());
    let mut waiting = tree.call("g", "waiting");
    tree.queue_is_settled("g").await;
    assert!(calls.none_runs(), "the new incarnation knows of the one that runs");
    running.answer();
    assert_eq!(running_call.done().await.unwrap().message.text(), "done");
    let admitted = calls.next().await;
    assert_eq!(admitted.text, "waiting");
    admitted.answer();
    assert!(waiting.done().await.is_ok());
    tree.shutdown().await;
}

#[tokio::test]
async fn calls_that_come_while_the_provider_actor_is_dead_wait_for_it_in_their_order() {
    let (gate, mut calls) = gate(1);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    let mut first = tree.call("g", "first");
    calls.next().await.answer();
    first.done().await.unwrap();
    let actor = tree.namespace.whereis("provider/g").unwrap();
    actor.kill();
    within("its death", actor.wait(None)).await.ok();
    let mut events: Vec<Events> = (0..10).map(|n| tree.call("g", &n.to_string())).collect();
    for (n, call) in events.iter_mut().enumerate() {
        let running = calls.next().await;
        assert_eq!(running.text, n.to_string());
        running.answer();
        call.done().await.unwrap();
    }
    tree.shutdown().await;
}

#[tokio::test]
async fn another_endpoint_has_an_actor_and_a_queue_of_its_own() {
    let (gate, mut calls) = gate(1);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    let _busy = tree.call("g", "busy");
    let _running = calls.next().await;
    let endpoint = Endpoint { base_url: Some("there".into()), api_key_env: None };
    let mut call = tree.call_at("g", endpoint, "hi");
    assert_eq!(call.done().await.unwrap().message.text(), "there");
    let names: Vec<String> = tree.namespace.names().into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| name == "provider/g"), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("provider/g@")), "{names:?}");
    tree.shutdown().await;
}

/// A provider that is shown in the same way wherever it is, and answers with where that is.
#[derive(Debug)]
struct Alike(String);

impl Provider for Alike {
    fn api(&self) -> &'static str {
        "alike"
    }

    fn default_model(&self) -> Option<Text> {
        None
    }

    fn endpoint(&self) -> String {
        "our servers".to_owned()
    }

    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(Self(endpoint.base_url.as_deref().unwrap_or_default().to_owned())))
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        Scripted::replies([ScriptedReply::text(&*self.0)]).call(call)
    }
}

#[tokio::test]
async fn a_call_goes_to_where_it_is_meant_for_also_where_two_places_are_shown_alike() {
    let tree = Tree::start(Providers::builder().register("own", Alike("home".to_owned()))).await;
    for place in ["here", "there", "here"] {
        let endpoint = Endpoint { base_url: Some(place.into()), api_key_env: None };
        let answer = tree.call_at("own", endpoint, "hi").done().await.unwrap();
        assert_eq!(answer.message.text(), place);
    }
    assert_eq!(tree.call("own", "hi").done().await.unwrap().message.text(), "home");
    let mut actors: Vec<String> = tree.providers.status().into_iter().map(|status| status.actor).collect();
    actors.dedup();
    assert_eq!(actors.len(), 3, "{actors:?}");
    tree.shutdown().await;
}

#[tokio::test]
async fn endpoints_that_differ_only_in_their_query_are_two_and_no_name_tells_it() {
    let body = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
    let server = TestServer::always(vec![answer("200 OK", &[JSON], body)]).await;
    let tree = Tree::start(Providers::builder().register("o", OpenAi::default().model("m"))).await;
    let at = |query: &str| Endpoint {
        base_url: Some(format!("{}/v1{query}", server.url).into()),
        api_key_env: None,
    };
    for query in ["?key=planted-a", "?key=planted-b", "?key=planted-a", ""] {
        tree.call_at("o", at(query), "hi").done().await.unwrap();
        let path = server.next_request().await.path().to_owned();
        assert_eq!(path, format!("/v1/chat/completions{query}"), "each with its own");
        assert!(!format!("{:?}", at(query)).contains("planted"), "{:?}", at(query));
    }
    let actors: Vec<String> = tree.providers.status().into_iter().map(|status| status.actor).collect();
    assert_eq!(actors.len(), 3, "{actors:?}");
    assert!(actors.iter().all(|name| !name.contains("planted")), "{actors:?}");
    // Another spelling of the same place is the same.
    let spelt = format!("{}/?key=planted-a#x", server.url.trim_start_matches("http://"));
    let spelt = Endpoint { base_url: Some(spelt.into()), api_key_env: None };
    tree.call_at("o", spelt, "hi").done().await.unwrap();
    assert_eq!(tree.providers.status().len(), 3);
    tree.shutdown().await;
}

#[tokio::test]
async fn a_bad_endpoint_is_told_at_once() {
    let tree =
        Tree::start(Providers::builder().register("s", Scripted::builtin()).register("o", OpenAi::default()))
            .await;
    let endpoint = Endpoint { base_url: Some("ftp://x".into()), api_key_env: None };
    assert_eq!(
        tree.call_at("s", endpoint.clone(), "hi").done().await.unwrap_err().kind,
        ErrorKind::InvalidRequest
    );
    assert_eq!(tree.call_at("o", endpoint, "hi").done().await.unwrap_err().kind, ErrorKind::InvalidRequest);
    tree.shutdown().await;
}

#[tokio::test]
async fn a_call_without_a_tree_and_calls_of_a_tree_that_ends_are_done_with_an_error() {
    let (gate, mut calls) = gate(1);
    let tree = Tree::start(Providers::builder().register("g", gate)).await;
    let mut running = tree.call("g", "running");
    let mut queued = tree.call("g", "queued");
    let held = calls.next().await;
    tree.root.shutdown(DEADLINE).await.unwrap();
    assert!(running.done().await.unwrap_err().retryable);
    assert!(queued.done().await.unwrap_err().retryable);
    held.cancelled().await;
    let error = tree.call("g", "late").done().await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Internal, true), "{error}");
}
