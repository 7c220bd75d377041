//! Tests an agent and a tool of one's own against what production does: a model that cuts its answer, a disk that is not
//! sure, a process that dies at any point. Nothing here needs a network or a key.
//!
//! `cargo run -p ergane-examples --example test_your_agent`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ergane::prelude::*;
use ergane::tool_support::{ToolError, ToolFuture};
use ergane_testkit::{EffectLog, FaultPlan, JournalFault, ProviderFault, StopAt, World};
use serde_json::{Map, Value, json};

const LONG: Duration = Duration::from_secs(30);

/// The tool under test: it moves money, so it must never do so twice. The log is the bank's own book.
struct Transfer {
    book: EffectLog,
}

impl Tool for Transfer {
    fn name(&self) -> &str {
        "transfer"
    }

    fn description(&self) -> &str {
        "Transfers money."
    }

    fn parameters(&self) -> Value {
        json!({"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]})
    }

    fn effect(&self) -> Effect {
        Effect::Write
    }

    fn call(&self, ctx: ToolContext, arguments: Map<String, Value>) -> ToolFuture {
        let book = self.book.clone();
        Box::pin(async move {
            let amount = arguments.get("amount").and_then(Value::as_i64).unwrap_or_default();
            book.did("transfer", ctx.idempotency_key()).map_err(ToolError::failed)?;
            Ok(format!("transferred {amount}").into())
        })
    }
}

/// The model, as a script: it asks for the transfer, and then it reports.
fn model() -> Scripted {
    Scripted::replies([
        ScriptedReply::call("transfer", json!({"amount": 100})),
        ScriptedReply::text("It is on its way."),
    ])
}

/// One life of the program: it starts on what is in the store, and asks (again) for the one thing it is to do.
async fn live(
    store: &Arc<Memory>,
    book: &EffectLog,
    world: &World,
    faults: &FaultPlan,
) -> Result<Option<TurnResult>, Box<dyn Error>> {
    let system = System::builder()
        .provider("model", world.provider(faults.provider(model())))
        .tools([world.tool(faults.tool(Arc::new(Transfer { book: book.clone() })))])
        .journal(world.journal(Arc::new(faults.journal(store.clone()))))
        .start()
        .await?;
    let alice = system.session("alice").allow(["transfer"]).start();
    let talk = async { alice.await?.send_message("Pay the rent.").key("rent").await };
    let result = tokio::select! {
        biased;
        () = world.stopped() => None, // the process is dead
        result = talk => Some(result?),
    };
    system.shutdown(LONG).await?;
    Ok(result)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // 1. A fault plan: the first answer of the model is cut, and of the third commit nobody knows whether it was written.
    let (store, book) = (Arc::new(Memory::new()), EffectLog::in_memory());
    let faults = FaultPlan::none().provider_at(1, ProviderFault::Cut).append_at(3, JournalFault::Unsure);
    let world = World::new();
    let result = live(&store, &book, &world, &faults).await?.ok_or("it did not end")?;
    println!("with faults {:?}: {:?}, transfers: {}", faults.told(), result.finish_reason, book.all()?.len());
    assert_eq!(book.all()?.len(), 1);

    // 2. Crash points: the process dies at each step of that conversation; the next one goes on.
    let (mut cut_off, steps) = (0, world.steps().len());
    for step in 0..steps {
        let (store, book) = (Arc::new(Memory::new()), EffectLog::in_memory());
        let dying = World::stopping(StopAt::Step(step));
        live(&store, &book, &dying, &FaultPlan::none()).await?;
        let result = live(&store, &book, &World::new(), &FaultPlan::none()).await?.ok_or("it did not end")?;
        assert_eq!(&*result.text, "It is on its way.");
        // Never twice. Where it may have happened and nobody knows, the model was told so.
        assert!(book.all()?.len() <= 1, "paid twice after a crash at {:?}", dying.steps().last());
        cut_off +=
            usize::from(result.messages.iter().any(|m| m.results().any(|r| r.text().contains("cut off"))));
    }
    println!(
        "after a crash at each of {steps} steps: never paid twice; {cut_off} times the model was told to look first"
    );
    Ok(())
}
