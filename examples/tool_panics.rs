//! A tool panics. The model reads an error result and says so; the session, which did not run the tool itself, lives on and
//! answers the next message.
//!
//! (The lines on stderr that begin with `thread` are the process's own panic hook; nothing else is lost.)

use std::error::Error;
use std::time::Duration;

use ergane::core::ModelRequest;
use ergane::prelude::*;
use ergane::provider::ScriptedReply;

/// Divides two whole numbers.
#[tool(effect = "read")]
async fn divide(dividend: i64, divisor: i64) -> String {
    (dividend / divisor).to_string() // nobody thought of zero
}

/// Asks for the tool, and then says what it gave.
fn model(request: &ModelRequest, _attempt: u32) -> ScriptedReply {
    let Some(last) = request.messages.last() else { return ScriptedReply::text("?") };
    if let Some(result) = last.results().next() {
        return ScriptedReply::text(format!("The tool says: {}", result.text()));
    }
    let question = last.text();
    let Some((dividend, divisor)) = question.split_once(" / ") else { return ScriptedReply::text("?") };
    let arguments = format!(r#"{{"dividend": {dividend}, "divisor": {divisor}}}"#);
    ScriptedReply::call("divide", arguments.into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let system =
        System::builder().provider("scripted", Scripted::from_fn(model)).tool(divide).start().await?;
    let alice = system.session("alice").start().await?;
    let monitored = alice.actor_ref().ok_or("alice runs")?.get_id();

    println!("you: 1 / 0");
    let first = alice.send_message("1 / 0").await?;
    println!("alice: {}", first.text);
    let error = first.messages.iter().flat_map(|message| message.results()).find(|result| result.is_error);
    assert!(error.is_some_and(|result| result.text().contains("divide by zero")), "{:?}", first.messages);
    assert!(first.text.contains("divide by zero"), "the model was told: {}", first.text);
    assert_eq!(first.finish_reason, FinishReason::Stop, "a failed call is no failed turn");

    println!("you: 6 / 2");
    let second = alice.send_message("6 / 2").await?;
    println!("alice: {}", second.text);
    assert_eq!(&*second.text, "The tool says: 3");
    assert_eq!(
        alice.actor_ref().map(|actor| actor.get_id()),
        Some(monitored),
        "the session did not even restart"
    );

    system.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
