//! The journal actor: it gives the writer a place in the tree, and restarts when it dies.
//!
//! It handles almost no message, because appends go to the writer's queue and not through a mailbox. What makes it an
//! actor is supervision: its end shuts the port's door, and its scope holds the writer, so a successor starts only when
//! the last commit of its predecessor is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ergane_otp::{DrainGuard, Scope};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::port::JournalPort;
use crate::port::writer::{Door, Gate, Writer};

#[derive(Debug)]
pub(super) struct JournalActor;

#[derive(Debug)]
pub(super) enum JournalMsg {
    /// The writer is gone, which only a panic in the store can do.
    WriterEnded,
}

pub(super) struct State {
    /// Dropped with the actor, however it ends: shuts the door and waits for the last commit.
    _shut: DrainGuard,
}

impl Actor for JournalActor {
    type Msg = JournalMsg;
    type State = State;
    type Arguments = (JournalPort, Scope);

    async fn pre_start(
        &self,
        myself: ActorRef<JournalMsg>,
        (port, scope): (JournalPort, Scope),
    ) -> Result<State, ActorProcessingErr> {
        static DOORS: AtomicU64 = AtomicU64::new(1);
        let id = DOORS.fetch_add(1, Ordering::Relaxed);
        let gate = Gate::new();
        let shut = {
            let (port, gate) = (port.clone(), gate.clone());
            scope.on_drain("journal writer", move || async move {
                port.shut_door(id);
                gate.shut().await;
            })
        };
        let (door, jobs) = Door::new(id, scope.clone());
        let writer = Writer::new(port.store().clone(), jobs, gate);
        let ended = TellEnded(myself);
        scope.spawn("journal writer", async move {
            let _ended = ended;
            writer.run().await;
        });
        port.open_door(Arc::new(door));
        Ok(State { _shut: shut })
    }

    async fn handle(
        &self,
        _myself: ActorRef<JournalMsg>,
        message: JournalMsg,
        _state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            JournalMsg::WriterEnded => Err("the writer of the journal ended: a commit panicked".into()),
        }
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<JournalMsg>,
        event: SupervisionEvent,
        _state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        // It has no children and monitors nobody.
        tracing::debug!(%event, "the journal actor got a supervision event that it expects from nobody");
        Ok(())
    }
}

struct TellEnded(ActorRef<JournalMsg>);

impl Drop for TellEnded {
    fn drop(&mut self) {
        // Fails when the actor ended first, which is the ordinary way.
        if self.0.cast(JournalMsg::WriterEnded).is_err() {
            tracing::trace!("the writer ended after its actor");
        }
    }
}
