//! In memory a fact is durable at once: what a question to the model rests on is told before anybody can hear of its answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ergane::core::{Envelope, Event, SendId, Seq, SessionName};
use ergane::journal::{
    Append, AppendError, Journal, JournalError, Memory, Opened, Position, Sent, SessionSummary,
};
use ergane::prelude::*;
use serde_json::json;

/// Counts what the sky looked like.
#[tool(effect = "read")]
async fn look() -> String {
    "blue".into()
}

/// Whether the model was asked again, and whether that was while its result was being written.
#[derive(Debug, Default)]
struct Asked {
    again: Mutex<bool>,
    told: Condvar,
    early: Mutex<Option<bool>>,
}

/// Memory, whose thread is held up for a while at the result of a tool: long enough for others to do what they should not.
#[derive(Debug)]
struct HeldUp {
    store: Memory,
    asked: Arc<Asked>,
}

impl Journal for HeldUp {
    fn kind(&self) -> &'static str {
        "held up"
    }

    fn is_instant(&self) -> bool {
        true
    }

    fn open_session(&self, session: &SessionName) -> Result<Opened, JournalError> {
        self.store.open_session(session)
    }

    fn append(&self, batch: &[Append]) -> Vec<Result<(), AppendError>> {
        let events = batch.iter().flat_map(|append| &append.events);
        if events.map(|event| &event.event).any(|event| matches!(event, Event::ToolFinished { .. })) {
            let again = self.asked.again.lock().unwrap();
            let waited = self.asked.told.wait_timeout_while(again, Duration::from_secs(1), |again| !*again);
            *self.asked.early.lock().unwrap() = Some(*waited.unwrap().0);
        }
        self.store.append(batch)
    }

    fn load(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
    ) -> Result<Vec<Arc<Envelope>>, JournalError> {
        self.store.load(session, after, below)
    }

    fn position(&self, session: &SessionName) -> Result<Option<Position>, JournalError> {
        self.store.position(session)
    }

    fn summary(&self, session: &SessionName) -> Result<Option<SessionSummary>, JournalError> {
        self.store.summary(session)
    }

    fn list(&self, after: Option<&SessionName>, limit: usize) -> Result<Vec<SessionSummary>, JournalError> {
        self.store.list(after, limit)
    }

    fn open_turns(&self) -> Result<Vec<SessionName>, JournalError> {
        self.store.open_turns()
    }

    fn sent(&self, session: &SessionName, send: &SendId) -> Result<Option<Sent>, JournalError> {
        self.store.sent(session, send)
    }

    fn delete(&self, session: &SessionName) -> Result<bool, JournalError> {
        self.store.delete(session)
    }

    fn delete_at(&self, session: &SessionName, position: Position) -> Result<bool, JournalError> {
        self.store.delete_at(session, position)
    }

    fn release(&self, session: &SessionName) -> Result<(), JournalError> {
        self.store.release(session)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_told_before_the_model_is_asked_what_follows_from_it() {
    let asked = Arc::<Asked>::default();
    let journal = HeldUp { store: Memory::default(), asked: asked.clone() };
    let tells = asked.clone();
    let model = Scripted::from_fn(move |request, _| {
        if request.messages.iter().all(|message| message.results().next().is_none()) {
            return ScriptedReply::call("look", json!({}));
        }
        *tells.again.lock().unwrap() = true;
        tells.told.notify_all();
        ScriptedReply::text("It is blue.")
    });
    let system = System::builder().provider("scripted", model).tool(look).journal(journal);
    let system = system.start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let mut turn = alice.send_message("How is the sky?").stream().await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = turn.next().await {
        match event {
            SessionEvent::ToolResult { text, .. } => told.push(text),
            SessionEvent::Content { .. } => told.push("said".into()),
            _ => {}
        }
    }
    assert_eq!(told.first().map(|text| &**text), Some("blue"), "{told:?}");
    assert_eq!(*asked.early.lock().unwrap(), Some(false), "the model was asked before its result was kept");
    assert_eq!(&*turn.result().await.unwrap().text, "It is blue.");
}
