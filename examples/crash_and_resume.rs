//! A process is killed in the middle of a turn, after a tool has changed the world. The next process that opens the
//! journal finishes the turn by itself, and does not do again what was done.
//!
//! The example starts itself as a child. There the model asks for a tool that writes a line to a file, and then falls
//! silent; when the tool's result is durable, the parent kills the child with SIGKILL: no destructor, no goodbye.

use std::error::Error;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use ergane::core::ModelRequest;
use ergane::otp::Incarnation;
use ergane::prelude::*;
use ergane::provider::ScriptedReply;
use tokio::fs::OpenOptions;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

const PROMPT: &str = "Note that it rained.";

/// Appends a line to diary.txt. Doing it twice would show, so it is a write.
#[tool(effect = "write")]
async fn append_line(ctx: &ToolContext, line: String) -> Result<(), std::io::Error> {
    let mut diary = OpenOptions::new().create(true).append(true).open(ctx.cwd().join("diary.txt")).await?;
    diary.write_all(format!("{line}\n").as_bytes()).await?;
    diary.sync_all().await
}

/// Asks for the tool, and when it has the tool's result answers, or hangs.
fn model(request: &ModelRequest, hangs: bool) -> ScriptedReply {
    match request.messages.iter().any(|message| message.results().count() > 0) {
        false => ScriptedReply::call("append_line", r#"{"line": "It rained."}"#.into()),
        true if hangs => ScriptedReply { hang: true, ..ScriptedReply::default() },
        true => ScriptedReply::text("It is in your diary."),
    }
}

async fn open(folder: &Path, hangs: bool) -> Result<System, SystemError> {
    System::builder()
        .provider("scripted", Scripted::from_fn(move |request, _attempt| model(request, hangs)))
        .tool(append_line)
        .journal(Sqlite::open(folder.join("ergane.db"))?)
        .start()
        .await
}

/// The process that will be killed.
async fn child(folder: &Path) -> Result<(), Box<dyn Error>> {
    let system = open(folder, true).await?;
    let alice = system.session("alice").cwd(folder).start().await?;
    let mut turn = alice.send_message(PROMPT).key("diary").stream().await?;
    while let Some(event) = turn.next().await {
        if let SessionEvent::ToolResult { name, text, .. } = event {
            println!("{name} says: {text}"); // told when it is durable, not before
        }
    }
    Err("the model was to hang".into())
}

async fn parent(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.arg(folder).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let said = child.stdout.take().ok_or("its output is piped")?;
    let said = BufReader::new(said).lines().next_line().await?.ok_or("the child ended early")?;
    println!("the child: {said}");
    child.kill().await?;
    println!("the child is killed");

    let system = open(folder, false).await?;
    let alice = system.whereis("alice").await.ok_or("alice is in the journal")?;
    let mut watch = alice.watch();
    while !matches!(watch.next().await.ok_or("the system runs")?, Incarnation::Up { .. }) {}
    println!("alice is back, and nobody asked her to be");

    // The same key again is the same turn again: this only waits for its result.
    let result = alice.send_message(PROMPT).key("diary").await?;
    println!("alice: {}", result.text);
    let diary = tokio::fs::read_to_string(folder.join("diary.txt")).await?;
    println!("the diary: {}", diary.trim_end());

    assert_eq!((&*result.text, result.recovered), ("It is in your diary.", true));
    assert_eq!((result.tool_calls_made, diary.as_str()), (1, "It rained.\n"), "the tool ran once");
    assert_eq!(alice.status().await?.turns, 1, "in one turn, begun there and ended here");
    system.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(folder) = std::env::args_os().nth(1) {
        return child(Path::new(&folder)).await;
    }
    let folder = std::env::temp_dir().join(format!("ergane-crash-and-resume-{}", std::process::id()));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?; // of one that did not get to its end, and had the same number
    }
    std::fs::create_dir(&folder)?;
    let outcome = parent(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    outcome
}
