//! An answer is shown as it comes: the words as the model says them, and the tools as they run.
//!
//! A stream never slows the turn. Whoever reads too slowly loses pieces (and is told how many), never a fact: the reply as a
//! whole, the results and the end are told once each, and only when they are kept.

use std::error::Error;
use std::io::{Write, stdout};
use std::time::Duration;

use ergane::prelude::*;

/// Measures the length of a text, slowly.
#[tool(effect = "read")]
async fn measure(ctx: &ToolContext, text: String) -> String {
    for (index, word) in text.split_whitespace().enumerate() {
        ctx.progress(format!("{}. {word}", index + 1));
    }
    format!("{} words", text.split_whitespace().count())
}

/// Thinks, asks for the tool, and answers with what it gave.
fn model(request: &ModelRequest, _attempt: u32) -> ScriptedReply {
    match request.messages.last().and_then(|message| message.results().next().cloned()) {
        Some(result) => {
            let text = format!("It has {}, and I counted them one by one.", result.text());
            ScriptedReply { chunk_delay_ms: 20, ..ScriptedReply::text(text) }
        }
        None => {
            let call = ScriptedReply::call("measure", json!({ "text": "the quick brown fox" }));
            ScriptedReply { reasoning: Some("I had better count.".into()), ..call }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let system =
        System::builder().provider("scripted", Scripted::from_fn(model)).tool(measure).start().await?;
    let alice = system.session("alice").start().await?;

    let mut turn = alice.send_message("How long is “the quick brown fox”?").stream().await?;
    let (mut pieces, mut shown) = (0, String::new());
    while let Some(event) = turn.next().await {
        match event {
            SessionEvent::Thinking { text } => println!("(thinking: {text})"),
            SessionEvent::ToolCall { name, arguments, .. } => println!("→ {name} {arguments}"),
            SessionEvent::ToolProgress { text, .. } => println!("  {text}"),
            SessionEvent::ToolResult { name, text, .. } => println!("← {name}: {text}"),
            SessionEvent::Content { text } => {
                print!("{text}");
                stdout().flush()?;
                pieces += 1;
                shown.push_str(&text);
            }
            // The attempt broke off and is made again: what was shown of it is void.
            SessionEvent::StreamReset => {
                println!(" […]");
                shown.clear();
            }
            SessionEvent::Done { .. } => println!(),
            _ => {}
        }
    }
    let result = turn.result().await?;
    println!("{} tool call, {}", result.tool_calls_made, result.finish_reason);

    assert!(pieces > 1, "it came in pieces");
    assert_eq!(shown, *result.text, "which are the whole answer");
    assert_eq!(&*result.text, "It has 4 words, and I counted them one by one.");
    system.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
