//! A program serves a session, and a call of it that moves money waits for somebody's yes. Another process says it, while the
//! first one runs: it lists what waits, allows it, and asks a question of its own, which the server answers with its own tool.
//!
//! The example starts itself as the server. A session has one owner, so the second process does not open it: what it wants it
//! asks of the owner, over the socket beside the journal. `ergane approve`, `send`, `steer` and `top` do the same.

use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ergane::core::ModelRequest;
use ergane::prelude::*;
use ergane::provider::ScriptedReply;
use ergane::socket::{Outcome, RemoteSession};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Pays somebody.
#[tool(effect = "write")]
async fn pay(to: String, euros: u32) -> String {
    format!("process {} paid {euros} euros to {to}", std::process::id())
}

/// What is left in the till.
#[tool(effect = "read")]
async fn till() -> &'static str {
    "380 euros"
}

fn model(request: &ModelRequest, _attempt: u32) -> ScriptedReply {
    let last = request.messages.last();
    match last.and_then(|last| last.results().next()) {
        Some(result) => ScriptedReply::text(format!("Done: {}.", result.text())),
        None if last.is_some_and(|last| last.text().contains("Pay")) => {
            ScriptedReply::call("pay", json!({"to": "the plumber", "euros": 120}))
        }
        None => ScriptedReply::call("till", json!({})),
    }
}

async fn server(journal: &Path) -> Result<(), Box<dyn Error>> {
    let system = System::builder()
        .provider("scripted", Scripted::from_fn(model))
        .tool(pay)
        .tool(till)
        .journal(Sqlite::open(journal)?) // a file: so the system has a socket, unless it is told `.socket(false)`
        .start()
        .await?;
    let alice = system.session("alice").ungranted(Ungranted::Ask).start().await?;
    let mut turn = alice.send_message("Pay the plumber.").stream().await?;
    while let Some(event) = turn.next().await {
        if let SessionEvent::ApprovalRequested { why, .. } = event {
            println!("alice waits: {why}");
        }
    }
    println!("alice: {}", turn.result().await?.text);
    // It serves until whoever started it has gone.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    system.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

async fn beside(journal: &Path) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(journal).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut said = BufReader::new(child.stdout.take().ok_or("its output is piped")?).lines();
    println!("the server: {}", said.next_line().await?.ok_or("the server ended early")?);

    let alice = RemoteSession::find(journal, "alice").await?.ok_or("a process runs alice")?;
    for question in alice.approvals().await? {
        println!("may {} run with {}?", question.tool, question.arguments);
        alice.approve(&question, Decision::Allow).by("ann").await?;
    }
    println!("the server: {}", said.next_line().await?.ok_or("the server ended early")?);

    let Outcome::Ended(result) = alice.send_message("What is left?").await? else {
        return Err("a read needs nobody's yes".into());
    };
    println!("asked from here: {}", result.text);
    assert_eq!(&*result.text, "Done: 380 euros.");

    drop(child.stdin.take());
    assert!(child.wait().await?.success(), "the server ends well");
    assert!(RemoteSession::find(journal, "alice").await?.is_none(), "and then nobody owns alice");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(journal) = std::env::args_os().nth(1) {
        return server(Path::new(&journal)).await;
    }
    let folder = std::env::temp_dir().join(format!("ergane-approve-beside-{}", std::process::id()));
    tokio::fs::create_dir_all(&folder).await?;
    let outcome = beside(&folder.join("ergane.db")).await;
    if let Err(error) = tokio::fs::remove_dir_all(&folder).await {
        eprintln!("{} is left behind: {error}", folder.display());
    }
    outcome
}
