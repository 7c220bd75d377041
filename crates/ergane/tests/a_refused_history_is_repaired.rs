//! A provider that refuses what its model once kept in the history for itself: it is asked again without that, once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use common::{Asked, LONG, hand_tools, log, model, result, sending, soon, system, system_with};
use ergane::core::ErrorKind;
use ergane::prelude::*;
use ergane::provider::OpenAiResponses;
use ergane_testkit::{FaultServer, Reply};
use serde_json::{Value, json};

const JSON: &str = "content-type: application/json";

/// Of each answer of a model in the request, whether it is told as that model's own.
fn own(asked: &Asked) -> Vec<bool> {
    let said = asked.request.messages.iter().filter(|message| message.role == Role::Assistant);
    said.map(|message| message.origin.is_some()).collect()
}

#[tokio::test]
async fn a_refused_history_is_told_plainly_for_the_rest_of_the_turn_and_stays_in_the_journal_as_it_is() {
    let (model, mut questions) = model();
    let (tools, mut calls) = hand_tools(&[("look", Effect::Read)]);
    let system = system_with(&model, tools).await;
    let alice = system.session("alice").start().await.unwrap();
    let turn = sending(&alice, "one");
    questions.next().await.think_and_answer("hm", "first");
    result(turn).await;
    let before = log(&system, &alice).await;

    let turn = sending(&alice, "two");
    let asked = questions.next().await;
    assert_eq!(own(&asked), [true]);
    asked.fail(ErrorKind::ReplayRejected);
    let asked = questions.next().await;
    assert_eq!((own(&asked), asked.texts()), (vec![false], vec!["one".into(), "first".into(), "two".into()]));
    asked.call(&[("look", json!({}))]);
    calls.next().await.give("seen");
    // What came since is whole, and what was refused is not tried again in this turn.
    let asked = questions.next().await;
    assert_eq!(own(&asked), [false, true]);
    asked.answer("second");
    assert_eq!(&*result(turn).await.text, "second");
    assert_eq!(log(&system, &alice).await[..before.len()], before);

    // The key may be back.
    let turn = sending(&alice, "three");
    let asked = questions.next().await;
    assert_eq!(own(&asked), [true, true, true]);
    asked.answer("third");
    result(turn).await;
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_history_that_is_refused_plain_too_has_failed() {
    let (model, mut questions) = model();
    let system = system(&model).await;
    let alice = system.session("alice").start().await.unwrap();
    let turn = sending(&alice, "one");
    questions.next().await.fail(ErrorKind::ReplayRejected);
    questions.next().await.fail(ErrorKind::ReplayRejected);
    let result = result(turn).await;
    assert_eq!(result.error.map(|error| error.kind), Some(ErrorKind::ReplayRejected));
    assert!(questions.is_empty());
    system.shutdown(LONG).await.unwrap();
}

/// A key that belongs to another organisation now: what was encrypted for the former one is refused.
#[tokio::test]
async fn a_session_whose_key_moved_to_another_organisation_goes_on() {
    let server = FaultServer::start(|_, request| {
        let input = request.json()["input"].to_string();
        if input.contains("encrypted_content") {
            let error = json!({"error": {
                "message": "The encrypted content gAAA... could not be verified.",
                "type": "invalid_request_error", "param": null, "code": "invalid_encrypted_content",
            }});
            return Reply::answer("400 Bad Request", &[JSON], error.to_string());
        }
        let answer = json!({
            "id": "resp_1", "object": "response", "status": "completed", "model": "m",
            "output": [
                {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
                {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                 "content": [{"type": "output_text", "text": "Yes.", "annotations": []}]},
            ],
            "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        });
        Reply::answer("200 OK", &[JSON], answer.to_string())
    })
    .await
    .unwrap();
    let provider = OpenAiResponses::new(server.url()).model("m");
    let system = System::builder().provider("o", provider).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    for text in ["one", "two", "three"] {
        let result = soon("a turn", async { alice.send_message(text).await }).await.unwrap();
        assert_eq!((&*result.text, result.error), ("Yes.", None), "{text}");
    }
    let sent: Vec<Value> = server.requests().iter().map(|request| request.json()["input"].clone()).collect();
    assert_eq!(sent.len(), 5, "each later turn tried the whole history first");
    let said = |input: &Value| {
        let items = input.as_array().unwrap();
        items.iter().map(|item| item["role"].as_str().unwrap_or("reasoning").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(said(&sent[1]), ["user", "reasoning", "assistant", "user"]);
    assert_eq!(said(&sent[2]), ["user", "assistant", "user"]);
    system.shutdown(LONG).await.unwrap();
}
