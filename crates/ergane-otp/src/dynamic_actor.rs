//! The actor of a dynamic supervisor: its messages. What each of them changes is in `dynamic_state.rs`.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use crate::child::{ChildKey, ChildReport, EndReply, StartReply, answer, read_event};
use crate::children::Row;
use crate::dynamic::DynamicOptions;
use crate::dynamic_state::State;
use crate::names::Namespace;
use crate::spec::ChildSpec;

pub(crate) struct DynamicActor;

pub(crate) struct Arguments {
    pub(crate) namespace: Namespace,
    pub(crate) name: Arc<str>,
    pub(crate) options: DynamicOptions,
}

pub(crate) enum DynamicMsg {
    Start {
        spec: ChildSpec,
        reply: StartReply,
    },
    Terminate {
        id: Arc<str>,
        reply: Option<EndReply>,
    },
    Release {
        id: Arc<str>,
        reply: EndReply,
    },
    List(RpcReplyPort<Vec<Row>>),
    Child(ChildReport),
    /// A back-off is over.
    Due(ChildKey),
}

impl From<ChildReport> for DynamicMsg {
    fn from(report: ChildReport) -> Self {
        Self::Child(report)
    }
}

impl Actor for DynamicActor {
    type Msg = DynamicMsg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        _myself: ActorRef<DynamicMsg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State::new(arguments))
    }

    async fn handle(
        &self,
        myself: ActorRef<DynamicMsg>,
        message: DynamicMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            DynamicMsg::Start { spec, reply } => state.start(&myself, spec, reply),
            DynamicMsg::Terminate { id, reply } => state.terminate(&myself, &id, reply),
            DynamicMsg::Release { id, reply } => {
                let outcome = state.release(&myself, &id);
                answer(reply, outcome);
            }
            DynamicMsg::List(reply) => {
                if reply.send(state.rows()).is_err() {
                    tracing::trace!("nobody waits for the list of children any more");
                }
            }
            DynamicMsg::Child(report) => state.heard(&myself, report),
            DynamicMsg::Due(key) => state.due(&myself, &key),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<DynamicMsg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((pid, reason, torn)) = read_event(event) {
            state.died(pid, reason, torn);
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<DynamicMsg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        // They end concurrently, each in its own task; waiting for one after the other costs nothing.
        for child in state.end_all() {
            child.settled().await;
        }
        Ok(())
    }
}
