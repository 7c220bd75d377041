//! Ten thousand live sessions in one process, each with a name and a turn behind it.
//!
//! A session is an actor and some facts: no thread, no connection, no timer. So their number is a matter of memory, and this
//! counts it. They take their turns 64 at a time, for that is what the example allows itself, and not what the system allows.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ergane::prelude::*;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const SESSIONS: usize = 10_000;
const AT_ONCE: usize = 64;

/// What a session may cost here, its turn and its history included. (An optimised build uses less; see docs/performance.md.)
const BYTES_EACH: usize = 64 * 1024;

fn model(request: &ModelRequest, _attempt: u32) -> ScriptedReply {
    let said = request.messages.last().map(|message| message.text()).unwrap_or_default();
    ScriptedReply::text(format!("You said: {said}"))
}

/// The memory this process uses, where the system tells (Linux does).
fn memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib * 1024)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::builder().provider("scripted", Scripted::from_fn(model)).start().await?;
    let before = memory();
    let begun = Instant::now();

    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut turns = JoinSet::new();
    for number in 0..SESSIONS {
        let (system, permits) = (system.clone(), Arc::clone(&permits));
        turns.spawn(async move {
            let _permit = permits.acquire_owned().await.ok();
            let session = system.session(&format!("user-{number}")).start().await?;
            let answer = session.send_message(format!("I am number {number}")).await?;
            Ok::<bool, SessionError>(*answer.text == *format!("You said: I am number {number}"))
        });
    }
    let mut right = 0;
    while let Some(turn) = turns.join_next().await {
        right += usize::from(turn??);
    }
    println!("{right} sessions answered in {:.1?}", begun.elapsed());
    assert_eq!(right, SESSIONS);

    // All of them are alive, and each can be found by its name and asked on.
    let last = system.whereis("user-9999").await.ok_or("it lives")?;
    assert_eq!(last.status().await?.activity, Activity::Idle);
    let alive = system.context().namespace().names();
    let alive = alive.iter().filter(|(name, _)| name.starts_with("session/user-")).count();
    println!("{alive} of them are live actors");
    assert_eq!(alive, SESSIONS);
    let seven = system.whereis("user-7").await.ok_or("it lives")?;
    println!("user-7: {}", seven.send_message("and again").await?.text);
    assert_eq!(seven.messages().await?.len(), 4, "it remembers its first turn");

    if let Some((before, after)) = before.zip(memory()) {
        let each = after.saturating_sub(before) / SESSIONS;
        println!("each uses {:.1} KiB of memory", each as f64 / 1024.0);
        assert!(each < BYTES_EACH, "{each} bytes a session");
    }
    system.shutdown(Duration::from_secs(60)).await?;
    Ok(())
}
