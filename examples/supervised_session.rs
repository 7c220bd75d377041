//! A session is spawned by name, monitored, and killed in the middle of an answer. It comes back under its name and
//! finishes that answer, and whoever waited for it goes on waiting as if nothing had happened.
//!
//! Three ways to look at it: a *monitor* tells once, of the incarnation that is alive now; a *watch* follows the name from
//! one incarnation to the next; the *stream* of a turn tells what the turn does, over all of them.

use std::error::Error;
use std::time::Duration;

use ergane::core::ModelRequest;
use ergane::otp::Incarnation;
use ergane::prelude::*;
use ergane::provider::ScriptedReply;

/// Falls silent in the middle of its first attempt, which leaves all the time of the world to kill somebody.
fn model(_request: &ModelRequest, attempt: u32) -> ScriptedReply {
    match attempt {
        1 => ScriptedReply { text: Some("Well".into()), hang: true, ..ScriptedReply::default() },
        _ => ScriptedReply::text("Well, here I am again."),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::builder().provider("scripted", Scripted::from_fn(model)).start().await?;
    let alice = system.session("alice").start().await?;
    let (monitor, mut watch) = (alice.monitor(), alice.watch());

    let mut turn = alice.send_message("Are you there?").stream().await?;
    while let Some(event) = turn.next().await {
        if let SessionEvent::Content { text } = event {
            println!("alice begins to answer: {text}");
            break;
        }
    }

    let actor = alice.actor_ref().ok_or("alice runs")?;
    println!("killing her actor, {}", actor.get_id());
    actor.kill();

    let down = monitor.await;
    println!("the monitor: {} is down: {}", down.name, down.reason);
    assert_eq!((down.pid, down.reason), (Some(actor.get_id()), ExitReason::Killed));

    let killed = actor.get_id();
    assert_eq!(watch.next().await, Some(Incarnation::Up { pid: killed }));
    assert_eq!(watch.next().await, Some(Incarnation::Down { pid: killed, reason: ExitReason::Killed }));
    let Some(Incarnation::Up { pid }) = watch.next().await else {
        return Err("alice did not come back".into());
    };
    println!("the watcher: {killed} was up, went down, and now there is {pid}");
    assert_ne!(pid, killed, "another actor under the same name");

    let mut recovered = false;
    while let Some(event) = turn.next().await {
        match event {
            SessionEvent::Recovered { cause, .. } => {
                println!("the stream: the turn goes on: {cause}");
                recovered = true;
            }
            SessionEvent::Reply { text, .. } => println!("the stream: alice answers: {text}"),
            _ => {}
        }
    }
    assert!(recovered, "the restart is a fact of the turn");

    let result = turn.result().await?;
    assert_eq!(&*result.text, "Well, here I am again.");
    assert_eq!(alice.messages().await?.len(), 2, "one question, one answer");
    println!("the turn ended: {}", result.finish_reason);
    system.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
