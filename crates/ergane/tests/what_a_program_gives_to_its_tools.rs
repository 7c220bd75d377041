//! What goes with a send to the tools of its turn, what the program makes of it, and that a tool's own code never runs in
//! the session's actor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::IntoFuture;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use ergane::core::{MAX_LEVELS, Opaque, OutputSchema, StopReason};
use ergane::prelude::*;
use ergane::tool_support::ToolFuture;
use serde_json::{Map, Value};

#[derive(Debug)]
struct Tenant(String);

/// Says for whom it works.
#[tool(effect = "idempotent")]
async fn whose(tenant: Extension<Tenant>, ctx: &ToolContext) -> String {
    format!("{} asks, from {}", tenant.0, ctx.meta()["room"])
}

async fn open(path: &Path, model: &Model, make: fn(&SessionName, &Value) -> Extensions) -> System {
    System::builder()
        .provider("test", model.clone())
        .tool(whose)
        .context(make)
        .journal(Sqlite::open(path).unwrap())
        .start()
        .await
        .unwrap()
}

fn tenant(session: &SessionName, meta: &Value) -> Extensions {
    match meta["tenant"].as_str() {
        Some(tenant) => Extensions::new().with(Tenant(format!("{tenant} of {session}"))),
        None => Extensions::new(),
    }
}

/// Lets the model call the tool; the result as the model reads it.
async fn ask(questions: &mut Questions, send: ergane::session::SendMessage) -> String {
    let turn = tokio::spawn(async move { send.await });
    questions.next().await.call(&[("whose", json!({}))]);
    let asked = questions.next().await;
    let result = asked.results().pop().unwrap();
    asked.answer("done");
    soon("the turn ends", turn).await.unwrap().unwrap();
    result
}

#[tokio::test]
async fn each_send_brings_what_its_tools_are_to_know_and_the_model_does_not_see_it() {
    let folder = tempfile::tempdir().unwrap();
    let (model, mut questions) = model();
    let system = open(&folder.path().join("j.db"), &model, tenant).await;
    let alice = system.session("alice").start().await.unwrap();

    let send = alice.send_message("one").meta(json!({ "tenant": "acme", "room": 7 }));
    let turn = tokio::spawn(async move { send.await });
    let asked = questions.next().await;
    assert!(!format!("{:?}", asked.request).contains("acme"), "{:?}", asked.request);
    asked.call(&[("whose", json!({}))]);
    let asked = questions.next().await;
    assert_eq!(asked.results(), ["whose: acme of alice asks, from 7"]);
    asked.answer("done");
    soon("the turn ends", turn).await.unwrap().unwrap();

    let said = ask(&mut questions, alice.send_message("two").meta(json!({ "tenant": "bolt" }))).await;
    assert_eq!(said, "whose: bolt of alice asks, from null", "each send has its own");
    let said = ask(&mut questions, alice.send_message("three")).await;
    assert!(said.contains("needs a ") && said.contains("Tenant") && said.contains("gives none"), "{said}");
    let log = log(&system, &alice).await;
    let queued: Vec<&Value> = log.iter().filter(|fact| fact["type"] == "queued").collect();
    assert_eq!(queued[0]["meta"], json!({ "tenant": "acme", "room": 7 }));
    assert!(queued[2].get("meta").is_none(), "{}", queued[2]);
}

#[tokio::test]
async fn the_next_process_makes_of_the_journaled_send_what_its_tools_are_to_know() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let (model, mut questions) = model();
    let first = open(&path, &model, |_, _| panic!("it was not to run here")).await;
    let alice = first.session("alice").start().await.unwrap();
    let send = alice.send_message("go").meta(json!({ "tenant": "acme" }));
    let turn = send.accepted().await.unwrap();
    let mut asked = questions.next().await;
    drop(alice);
    first.shutdown(LONG).await.unwrap();
    drop(first); // and with it the lock on the journal
    asked.given_up().await;

    let second = open(&path, &model, tenant).await;
    questions.next().await.call(&[("whose", json!({}))]);
    let asked = questions.next().await;
    assert_eq!(asked.results(), ["whose: acme of alice asks, from null"]);
    asked.answer("done");
    let alice = second.whereis("alice").await.unwrap();
    soon("the turn ends", async { alice.turn(turn).await }).await.unwrap();
}

#[tokio::test]
async fn a_program_that_panics_there_fails_the_call_and_not_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let (model, mut questions) = model();
    let system = open(&folder.path().join("j.db"), &model, |_, _| panic!("no such tenant")).await;
    let alice = system.session("alice").start().await.unwrap();
    let actor = alice.actor_ref().unwrap().get_id();
    let said = ask(&mut questions, alice.send_message("one")).await;
    assert_eq!(said, "whose: the tool panicked: no such tenant");
    assert_eq!(alice.actor_ref().unwrap().get_id(), actor);
}

#[tokio::test]
async fn too_much_to_know_is_refused_at_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _questions) = model();
    let system = open(&folder.path().join("j.db"), &model, tenant).await;
    let alice = system.session("alice").start().await.unwrap();
    let error = alice.send_message("hi").meta("x".repeat(65 * 1024)).await.unwrap_err();
    assert!(matches!(error, SessionError::InputTooLarge { limit: 65_536, .. }), "{error}");
    assert_eq!(kinds(&system, &alice).await, ["session_started"]);
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| json!([inner]))
}

/// Shows people something that nobody could read again.
#[tool(effect = "read")]
async fn deep() -> ToolOutput {
    ToolOutput::text("looked").with_ui("tree", nested(MAX_LEVELS))
}

#[tokio::test]
async fn what_is_nested_too_deep_to_be_read_again_never_becomes_a_fact() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let (model, mut questions) = model();
    let builder = || System::builder().provider("test", model.clone()).tool(deep);
    let system = builder().journal(Sqlite::open(&path).unwrap()).start().await.unwrap();
    let schema = |levels| SettingsPatch {
        output: Some(Some(OutputSchema::new("o", nested(levels)))),
        ..SettingsPatch::default()
    };
    let error = system.session("b").settings(schema(MAX_LEVELS + 1)).start().await.unwrap_err();
    assert!(matches!(error, SessionError::TooDeep { what: "output schema" }), "{error}");
    let alice = system.session("alice").settings(schema(MAX_LEVELS)).start().await.unwrap();
    let send = |levels| alice.send_message("hi").meta(nested(levels));
    let error = send(MAX_LEVELS + 1).await.unwrap_err();
    assert!(matches!(error, SessionError::TooDeep { what: "meta" }), "{error}");
    let error = alice.send_message("hi").settings(schema(MAX_LEVELS + 1)).await.unwrap_err();
    assert!(matches!(error, SessionError::TooDeep { what: "output schema" }), "{error}");

    // As deep as may be is taken; what a tool shows is cut, as what is too large is.
    let turn = send(MAX_LEVELS).accepted().await.unwrap();
    questions.next().await.call(&[("deep", json!({}))]);
    let asked = questions.next().await;
    assert_eq!(asked.results(), ["deep: looked"]);
    // And an answer in which something that only its provider understands is so is none.
    let opaque = |levels| Part::Opaque(Opaque { kind: "tree".into(), data: nested(levels) });
    asked.finish(vec![Part::text("done"), opaque(MAX_LEVELS + 1)], StopReason::Stop);
    let ended = soon("the turn ends", alice.turn(turn).into_future()).await.unwrap();
    assert_eq!(ended.finish_reason, FinishReason::DuringExecution);
    let why = ended.error.unwrap().message;
    assert!(why.contains("the answer cannot be kept: it is nested deeper than 100 levels"), "{why}");
    let next = sending(&alice, "again");
    questions.next().await.finish(vec![Part::text("done"), opaque(MAX_LEVELS)], StopReason::Stop);
    result(next).await;
    let before = log(&system, &alice).await;
    let finished = before.iter().find(|fact| fact["type"] == "tool_finished").unwrap();
    assert_eq!(finished["ui"]["kind"], "cut");

    // Whatever was taken is read by the next process.
    drop(alice);
    system.shutdown(LONG).await.unwrap();
    drop(system);
    let system = builder().journal(Sqlite::open(&path).unwrap()).start().await.unwrap();
    let alice = system.whereis("alice").await.unwrap();
    assert_eq!(alice.messages().await.unwrap().len(), 5);
}

/// A tool that blocks for ever when it is asked what it is after it was registered.
struct Sealed {
    registered: Arc<AtomicBool>,
}

impl Sealed {
    fn ask(&self) {
        while self.registered.load(Ordering::SeqCst) {
            std::thread::park();
        }
    }
}

impl Tool for Sealed {
    fn name(&self) -> &str {
        self.ask();
        "sealed"
    }

    fn description(&self) -> &str {
        self.ask();
        "Says yes."
    }

    fn parameters(&self) -> Value {
        self.ask();
        json!({ "type": "object" })
    }

    fn effect(&self) -> Effect {
        self.ask();
        Effect::Write
    }

    fn timeout(&self) -> Option<Duration> {
        self.ask();
        Some(Duration::from_secs(50))
    }

    fn call(&self, _ctx: ToolContext, _arguments: Map<String, Value>) -> ToolFuture {
        Box::pin(async { Ok("yes".into()) })
    }
}

#[tokio::test]
async fn a_tool_is_asked_what_it_is_when_it_is_registered_and_never_by_a_session() {
    let (model, mut questions) = model();
    let registered = Arc::new(AtomicBool::new(false));
    let sealed = Sealed { registered: Arc::clone(&registered) };
    let system = System::builder().provider("test", model).tool(sealed).start().await.unwrap();
    registered.store(true, Ordering::SeqCst);
    let alice = system.session("alice").start().await.unwrap();
    let turn = sending(&alice, "go");
    questions.next().await.call(&[("sealed", json!({}))]);
    let asked = questions.next().await;
    assert_eq!(asked.results(), ["sealed: yes"]);
    asked.answer("done");
    result(turn).await;
    let started = log(&system, &alice).await.into_iter().find(|fact| fact["type"] == "tool_started");
    assert_eq!(started.unwrap()["effect"], "write");
}
