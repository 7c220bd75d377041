//! The actor of a supervisor: its messages. What each of them changes is in `supervisor_reports.rs` (what is heard of
//! a child), `supervisor_state.rs` (who is started again), `supervisor_round.rs` (several at once) and
//! `supervisor_commands.rs` (run-time management).

use std::collections::HashSet;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

use crate::budget::Intensity;
use crate::child::{ChildKey, ChildReport, EndReply, StartReply, read_event};
use crate::children::Row;
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::life::Life;
use crate::names::Namespace;
use crate::spec::ChildSpec;
use crate::supervisor::Strategy;
use crate::supervisor_state::State;

pub(crate) struct SupervisorActor;

pub(crate) struct Arguments {
    pub(crate) namespace: Namespace,
    pub(crate) name: Arc<str>,
    pub(crate) strategy: Strategy,
    pub(crate) intensity: Intensity,
    pub(crate) specs: Vec<ChildSpec>,
    pub(crate) life: Arc<Life>,
}

pub(crate) enum SupervisorMsg {
    Child(ChildReport),
    /// A restart failed; try again.
    Retry(ChildKey),
    List(RpcReplyPort<Vec<Row>>),
    Command(Command),
}

/// What somebody wants done to one child at run time.
pub(crate) enum Command {
    Start { spec: ChildSpec, reply: StartReply },
    Terminate { id: Arc<str>, reply: EndReply },
    Restart { id: Arc<str>, reply: StartReply },
    Delete { id: Arc<str>, reply: EndReply },
}

impl From<ChildReport> for SupervisorMsg {
    fn from(report: ChildReport) -> Self {
        Self::Child(report)
    }
}

impl Actor for SupervisorActor {
    type Msg = SupervisorMsg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SupervisorMsg>,
        mut arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let specs = std::mem::take(&mut arguments.specs);
        let mut ids = HashSet::new();
        if let Some(twice) = specs.iter().find(|spec| !ids.insert(spec.id.clone())) {
            return Err(Box::new(StartError::DuplicateId { id: twice.id.clone() }));
        }
        let mut state = State::new(arguments);
        for spec in specs {
            let id = spec.id.clone();
            match state.start_first(&myself, spec).await {
                Ok(_) | Err(StartError::Ignored) => {}
                Err(error) => {
                    tracing::warn!(supervisor = %state.name, child = %id, %error, "a child did not start; ending the others");
                    state.end_children().await;
                    let reason = ExitReason::Error(format!("child {id:?}: {error}"));
                    return Err(Box::new(StartError::Failed { reason }));
                }
            }
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMsg>,
        message: SupervisorMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMsg::Child(report) => state.heard(&myself, report),
            SupervisorMsg::Retry(key) => state.retry(&myself, key),
            SupervisorMsg::Command(command) => state.commanded(&myself, command),
            SupervisorMsg::List(reply) => {
                if reply.send(state.rows()).is_err() {
                    tracing::trace!("nobody waits for the list of children any more");
                }
            }
        }
        state.work_off(&myself);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<SupervisorMsg>,
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
        _myself: ActorRef<SupervisorMsg>,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        state.end_children().await;
        state.life.hint(ExitReason::shutdown());
        Ok(())
    }
}
