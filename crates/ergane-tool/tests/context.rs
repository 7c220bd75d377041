//! What a tool can reach.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

use std::sync::{Arc, Mutex};

use ergane_tool::{ContextFn, ContextParts, Extensions, ProcessSink, ProgressSink, ToolContext};

#[test]
fn a_context_says_whose_call_it_is_and_where() {
    let mut parts = ContextParts::for_test("/a");
    parts.extra_roots = vec!["/b".into()];
    let ctx = ToolContext::new(parts);
    assert_eq!((ctx.session().as_str(), ctx.turn().0, ctx.call_id().index), ("test", 1, 1));
    assert_eq!(ctx.idempotency_key(), "test#1.1");
    assert_eq!(ctx.cwd().to_str(), Some("/a"));
    assert_eq!(ctx.roots().iter().map(|root| root.to_str().unwrap()).collect::<Vec<_>>(), ["/a", "/b"]);
}

#[test]
fn what_the_program_gives_is_made_once_a_call_and_only_when_it_is_asked_for() {
    let made = Arc::new(Mutex::new(Vec::new()));
    let made_too = made.clone();
    let mut parts = ContextParts::for_test("/");
    parts.meta = Some(Arc::new(serde_json::json!({ "tenant": "acme" })));
    parts.extend = ContextFn::new(move |session, meta| {
        made_too.lock().unwrap().push(format!("{session} {meta}"));
        Extensions::new().with_shared(Arc::new(vec![1, 2]))
    });
    let ctx = ToolContext::new(parts);
    assert_eq!(ctx.meta()["tenant"], "acme");
    assert!(made.lock().unwrap().is_empty());
    assert_eq!(ctx.clone().extension::<Vec<i32>>(), Some(&vec![1, 2]));
    assert_eq!((ctx.extension::<Vec<u8>>(), ctx.extension::<String>()), (None, None));
    assert_eq!(*made.lock().unwrap(), ["test {\"tenant\":\"acme\"}"]);
    assert!(ToolContext::for_test("/").meta().is_null());
    let shown = format!("{:?}", Extensions::new().with("secret".to_owned()));
    assert!(shown.contains("String") && !shown.contains("secret"), "{shown}");
}

#[test]
fn progress_goes_to_the_sink_with_its_call() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_too = seen.clone();
    let mut parts = ContextParts::for_test("/");
    parts.progress =
        ProgressSink::new(move |piece| seen_too.lock().unwrap().push((piece.call, piece.text.to_string())));
    let ctx = ToolContext::new(parts);
    assert!(ctx.progress("half"));
    assert_eq!(*seen.lock().unwrap(), [(ctx.call_id(), "half".to_owned())]);
}

#[tokio::test]
async fn a_process_is_recorded_when_the_promise_is_kept_and_an_error_when_it_is_dropped() {
    let mut parts = ContextParts::for_test("/");
    parts.processes = ProcessSink::new(|record| {
        assert_eq!(record.call.to_string(), "1.1");
        if record.group == 7 && record.leader_started == 99 {
            record.recorded.keep(());
        }
    });
    let ctx = ToolContext::new(parts);
    ctx.record_process(7, 99).await.unwrap();
    let error = ctx.record_process(8, 99).await.unwrap_err();
    assert!(error.to_string().contains("was not run"), "{error}");
}

#[tokio::test]
async fn every_clone_hears_of_the_interrupt_also_one_that_asks_later() {
    let ctx = ToolContext::for_test("/");
    let waiting = tokio::spawn({
        let ctx = ctx.clone();
        async move { ctx.cancelled().await }
    });
    assert!(!ctx.is_cancelled());
    ctx.cancel_token().cancel();
    waiting.await.unwrap();
    ctx.cancelled().await;
    assert!(ctx.is_cancelled());
}
