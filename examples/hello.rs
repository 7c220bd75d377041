//! The shortest useful program: a system, one question, an answer.
//!
//! The built-in conversation stands in for a model. It is honest: it calls the tools `glob` and `read` on this folder and
//! answers from what they gave it, and from nothing else.

use std::error::Error;
use std::time::Duration;

use ergane::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::builder()
        .provider("scripted", Scripted::builtin()) // or Ollama::default(), OpenAi::default()
        .tools(Tools::all())
        .start()
        .await?;

    let answer = system.run("What does this project depend on?").cwd(env!("CARGO_MANIFEST_DIR")).await?;
    println!("{}", answer.text);
    println!("\n({} tool calls, answered by {})", answer.tool_calls_made, answer.provider);

    assert_eq!(answer.finish_reason, FinishReason::Stop);
    assert!(answer.text.contains("ergane") && answer.text.contains("tokio"), "it read our Cargo.toml");
    system.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
