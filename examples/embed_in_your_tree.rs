//! A session as a child of a supervisor of your own.
//!
//! A session always lives under its system's `sessions`, which knows how to restart it. What your tree gets is its
//! *anchor*: a small actor that stands for the session. A restart that heals does not end it; a stop or a quarantine does,
//! with the session's reason; and when your tree ends it, the session ends too.

use std::error::Error;
use std::time::Duration;

use ergane::core::ModelRequest;
use ergane::otp::Incarnation;
use ergane::prelude::*;
use ergane::provider::ScriptedReply;
use ergane::ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::mpsc;

/// Your supervisor: it reports how its children end, where one of yours would act on it.
struct Office {
    ended: mpsc::UnboundedSender<ExitReason>,
}

impl Actor for Office {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let Some((_anchor, reason)) = ExitReason::from_event(&event) {
            self.ended.send(reason)?;
        }
        Ok(())
    }
}

fn model(request: &ModelRequest, _attempt: u32) -> ScriptedReply {
    let said = request.messages.last().map(|message| message.text()).unwrap_or_default();
    ScriptedReply::text(format!("you said: {said}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::builder().provider("scripted", Scripted::from_fn(model)).start().await?;
    let (ended, mut endings) = mpsc::unbounded_channel();
    let (office, office_ended) = Actor::spawn(None, Office { ended }, ()).await?;

    let (alice, _anchor) = system.session("alice").start_link(&office.get_cell()).await?;
    let monitor = alice.monitor();
    alice.actor_ref().ok_or("alice runs")?.kill();
    println!("alice's actor was {}", monitor.await.reason);
    println!("alice is healed: {}", alice.send_message("still there?").await?.text);
    assert!(endings.is_empty(), "the office hears nothing of it");

    alice.stop().await?;
    let reason = endings.recv().await.ok_or("the office lives")?;
    println!("alice was stopped, and the office hears of it: {reason}");
    assert!(!reason.is_crash(), "{reason:?}");

    let (bob, _anchor) = system.session("bob").start_link(&office.get_cell()).await?;
    println!("bob works here: {}", bob.send_message("hello").await?.text);
    let mut watch = bob.watch();
    office.stop(None);
    office_ended.await?;
    while watch.next().await.ok_or("the system runs")? != Incarnation::Gone {}
    let activity = bob.status().await?.activity;
    println!("the office closed, and bob went with it: {activity:?}");
    assert_eq!(activity, Activity::Stored, "no process runs him, his history is kept");

    system.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
