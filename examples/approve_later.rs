//! A call that moves money waits for somebody's yes. The system ends meanwhile; the next one finds the question in the
//! journal, a human says yes there, and the turn goes on as if it had never stopped. (Here both live in one process, and
//! use one journal after the other; another process would find the same.)
//!
//! That a call waits is a fact, and nothing else: no task, no timer, no actor holds it. So it may wait for days.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ergane::core::ModelRequest;
use ergane::prelude::*;
use ergane::provider::ScriptedReply;

/// Pays somebody.
#[tool(effect = "write")]
async fn pay(to: String, euros: u32) -> String {
    format!("paid {euros} euros to {to}")
}

fn model(request: &ModelRequest, _attempt: u32) -> ScriptedReply {
    let results = request.messages.iter().flat_map(|message| message.results().map(|result| result.text()));
    match results.collect::<Vec<_>>().last() {
        None => ScriptedReply::call("pay", r#"{"to": "the plumber", "euros": 120}"#.into()),
        Some(result) => ScriptedReply::text(format!("Done: {result}.")),
    }
}

async fn open(journal: &Arc<Sqlite>) -> Result<System, SystemError> {
    System::builder()
        .provider("scripted", Scripted::from_fn(model))
        .tool(pay)
        // Small sums need nobody; for the others somebody is asked.
        .can_use_tool(|request| async move {
            match request.arguments.get("euros").and_then(|euros| euros.as_u64()) {
                Some(euros) if euros < 50 => Permission::Allow,
                Some(_) => Permission::Ask,
                None => Permission::deny("say how much"),
            }
        })
        .shared_journal(journal.clone())
        .start()
        .await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("ergane-approve-later-{}", std::process::id()));
    let outcome = run(&folder).await;
    if let Err(error) = tokio::fs::remove_dir_all(&folder).await {
        eprintln!("{} is left behind: {error}", folder.display());
    }
    outcome
}

async fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let journal = Arc::new(Sqlite::open(folder.join("ergane.db"))?);
    let turn = monday(&journal).await?;
    println!("the system ends; the question stays");

    let system = open(&journal).await?;
    let alice = system.whereis("alice").await.ok_or("alice is in the journal")?;
    let waits = alice.approvals().await?;
    let [question] = waits.as_slice() else { return Err(format!("one question, not {waits:?}").into()) };
    println!("days later: may {} run with {}?", question.tool, question.arguments);
    let decide = |decision| alice.approve(question.call, decision).question(question.question);
    decide(Decision::Allow).by("ann").await?;

    let result = alice.turn(turn).await?;
    println!("alice: {}", result.text);
    assert_eq!(&*result.text, "Done: paid 120 euros to the plumber.");
    // The same answer again changes nothing; another one comes too late, and is told whose came first.
    decide(Decision::Allow).by("bob").await?;
    match decide(Decision::deny("too dear")).by("bob").await {
        Err(error @ SessionError::AlreadyDecided { .. }) => println!("bob, too late: {error}"),
        other => return Err(format!("a second, other decision was {other:?}").into()),
    }
    system.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

/// Asks, and leaves when the model's call waits for somebody.
async fn monday(journal: &Arc<Sqlite>) -> Result<TurnId, Box<dyn Error>> {
    let system = open(journal).await?;
    let alice = system.session("alice").start().await?;
    let mut events = alice.subscribe(None).await?;
    let turn = alice.send_message("Pay the plumber.").accepted().await?;
    while let Some(event) = events.next().await {
        if let SessionEvent::ApprovalRequested { why, .. } = event? {
            println!("alice waits: {why}");
            break;
        }
    }
    system.shutdown(Duration::from_secs(10)).await?;
    Ok(turn)
}
