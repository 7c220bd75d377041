//! The actor of a supervisor: what each message changes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::time::Instant;

use crate::budget::{Intensity, RestartWindow};
use crate::child::{ChildKey, ChildOwner, ChildReport, Early, StartReply, read_event, start_reply};
use crate::child_task::{Launch, launch};
use crate::children::Row;
use crate::entry::Claim;
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::life::Life;
use crate::names::Namespace;
use crate::spec::{ChildSpec, Restart};

pub(crate) struct SupervisorActor;

pub(crate) struct Arguments {
    pub(crate) namespace: Namespace,
    pub(crate) name: Arc<str>,
    pub(crate) intensity: Intensity,
    pub(crate) specs: Vec<ChildSpec>,
    pub(crate) life: Arc<Life>,
}

pub(crate) enum SupervisorMsg {
    Child(ChildReport),
    /// A restart failed; try again.
    Retry(ChildKey),
    List(RpcReplyPort<Vec<Row>>),
}

impl From<ChildReport> for SupervisorMsg {
    fn from(report: ChildReport) -> Self {
        Self::Child(report)
    }
}

pub(crate) struct State {
    namespace: Namespace,
    name: Arc<str>,
    intensity: Intensity,
    life: Arc<Life>,
    children: Vec<Child>,
    by_pid: HashMap<ActorId, Arc<str>>,
    early: Early,
    window: RestartWindow,
    epochs: u64,
}

struct Child {
    key: ChildKey,
    spec: ChildSpec,
    handle: ChildOwner,
    restarts: u32,
    phase: Phase,
}

enum Phase {
    Starting,
    Live,
    /// Its restart failed and is tried again; the name is held meanwhile.
    Waiting(Claim),
    Ended(ExitReason),
}

impl Actor for SupervisorActor {
    type Msg = SupervisorMsg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SupervisorMsg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let Arguments { namespace, name, intensity, specs, life } = arguments;
        let mut ids = HashSet::new();
        if let Some(twice) = specs.iter().find(|spec| !ids.insert(spec.id.clone())) {
            return Err(Box::new(StartError::DuplicateId { id: twice.id.clone() }));
        }
        let mut state = State {
            namespace,
            name,
            intensity,
            life,
            children: Vec::with_capacity(specs.len()),
            by_pid: HashMap::new(),
            early: Early::new(),
            window: RestartWindow::default(),
            epochs: 0,
        };
        for spec in specs {
            let id = spec.id.clone();
            if let Err(error) = state.start_first(&myself, spec).await {
                tracing::warn!(supervisor = %state.name, child = %id, %error, "a child did not start; ending the others");
                state.end_children().await;
                let reason = ExitReason::Error(format!("child {id:?}: {error}"));
                return Err(Box::new(StartError::Failed { reason }));
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
            SupervisorMsg::Retry(key) => state.retry(&myself, &key),
            SupervisorMsg::List(reply) => {
                if reply.send(state.rows()).is_err() {
                    tracing::trace!("nobody waits for the list of children any more");
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Some((pid, reason, boxed)) = read_event(event) else { return Ok(()) };
        match state.by_pid.remove(&pid).and_then(|id| state.children.iter().find(|child| child.key.id == id))
        {
            Some(child) => child.handle.died(pid, reason, boxed),
            None if state.children.iter().any(|child| matches!(child.phase, Phase::Starting)) => {
                state.early.insert(pid, (reason, boxed));
            }
            None => {
                tracing::trace!(supervisor = %state.name, %pid, "an actor ended that is no child any more")
            }
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

impl State {
    async fn start_first(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        spec: ChildSpec,
    ) -> Result<ActorCell, StartError> {
        let (told, outcome) = tokio::sync::oneshot::channel();
        let reply = start_reply(move |outcome| {
            if told.send(outcome).is_err() {
                tracing::trace!("the supervisor was killed while it started");
            }
        });
        let key = self.next_key(&spec.id);
        let handle = self.launch(myself, key.clone(), spec.clone(), None, Some(reply));
        let phase = Phase::Starting;
        self.children.push(Child { key, spec, handle, restarts: 0, phase });
        outcome.await.unwrap_or(Err(StartError::NoSupervisor))
    }

    fn next_key(&mut self, id: &str) -> ChildKey {
        self.epochs += 1;
        ChildKey { id: id.into(), epoch: self.epochs }
    }

    fn launch(
        &self,
        myself: &ActorRef<SupervisorMsg>,
        key: ChildKey,
        spec: ChildSpec,
        claim: Option<Claim>,
        reply: Option<StartReply>,
    ) -> ChildOwner {
        let (owner, handle) = ChildOwner::new();
        let job = Launch {
            key,
            spec,
            namespace: self.namespace.clone(),
            supervisor: myself.clone(),
            handle,
            claim,
        };
        launch(job, reply);
        owner
    }

    fn heard(&mut self, myself: &ActorRef<SupervisorMsg>, report: ChildReport) {
        match report {
            ChildReport::Started { key, cell } => {
                let pid = cell.get_id();
                let Some(child) = self.children.iter_mut().find(|child| child.key == key) else { return };
                child.phase = Phase::Live;
                if let Some((reason, torn)) = self.early.remove(&pid) {
                    child.handle.died(pid, reason, torn);
                } else {
                    self.by_pid.insert(pid, key.id);
                }
                self.forget_early();
            }
            ChildReport::Failed { key, claim: Some(claim), error } => {
                self.ended(myself, &key, claim, ExitReason::Error(error.to_string()), true);
            }
            // A first start: `pre_start` has heard of it, and fails.
            ChildReport::Failed { claim: None, .. } => {}
            ChildReport::Ended(gone) => {
                let key = gone.key.clone();
                self.by_pid.remove(&gone.pid);
                let child = self.children.iter().find(|child| child.key == key);
                let (claim, reason) = gone.conclude(child.map(|child| &*child.handle), &mut self.early);
                self.ended(myself, &key, claim, reason, false);
            }
            // Its entry says so already; nothing is to be done before it is gone.
            ChildReport::Stuck { .. } => {}
        }
    }

    fn ended(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        key: &ChildKey,
        claim: Claim,
        reason: ExitReason,
        failed_start: bool,
    ) {
        let Some(index) = self.children.iter().position(|child| child.key == *key) else { return };
        let Some(child) = self.children.get_mut(index) else { return };
        let restart = child.spec.restart;
        if reason.is_crash() {
            tracing::warn!(supervisor = %self.name, child = %key.id, %reason, "ended");
        } else {
            tracing::debug!(supervisor = %self.name, child = %key.id, %reason, "ended");
        }
        if !restart.wants_restart(&reason) {
            child.phase = Phase::Ended(reason);
            drop(claim);
            if restart == Restart::Temporary {
                self.children.remove(index);
            }
            return;
        }
        if self.window.admit(Instant::now(), self.intensity.max_restarts, self.intensity.within).is_none() {
            let why =
                ExitReason::Shutdown(format!("too many restarts; the last child was {}: {reason}", key.id));
            tracing::warn!(supervisor = %self.name, child = %key.id, %reason, "too many restarts; giving up");
            child.phase = Phase::Ended(reason);
            self.life.hint(why.clone());
            // The children are ended in `post_stop`, which comes next: a stop goes before all messages.
            myself.stop(why.to_stop_reason());
            return;
        }
        child.restarts += 1;
        if failed_start {
            // By way of the mailbox: a start that keeps failing must not hold up the supervisor's other work.
            child.phase = Phase::Waiting(claim);
            if myself.cast(SupervisorMsg::Retry(key.clone())).is_err() {
                tracing::trace!(supervisor = %self.name, "ending; no retry");
            }
        } else {
            self.restart(myself, index, claim);
        }
    }

    fn retry(&mut self, myself: &ActorRef<SupervisorMsg>, key: &ChildKey) {
        let Some(index) = self.children.iter().position(|child| child.key == *key) else { return };
        let Some(child) = self.children.get_mut(index) else { return };
        match std::mem::replace(&mut child.phase, Phase::Starting) {
            Phase::Waiting(claim) => self.restart(myself, index, claim),
            other => child.phase = other,
        }
    }

    fn restart(&mut self, myself: &ActorRef<SupervisorMsg>, index: usize, claim: Claim) {
        let Some(spec) = self.children.get(index).map(|child| child.spec.clone()) else { return };
        tracing::info!(supervisor = %self.name, child = %spec.id, "restarting");
        let key = self.next_key(&spec.id);
        let handle = self.launch(myself, key.clone(), spec, Some(claim), None);
        if let Some(child) = self.children.get_mut(index) {
            child.key = key;
            child.handle = handle;
            child.phase = Phase::Starting;
        }
    }

    fn forget_early(&mut self) {
        if !self.children.iter().any(|child| matches!(child.phase, Phase::Starting)) {
            self.early.clear();
        }
    }

    /// In reverse, each until it is gone (or given up as stuck) before the one started earlier is asked.
    async fn end_children(&mut self) {
        while let Some(child) = self.children.pop() {
            if matches!(child.phase, Phase::Starting | Phase::Live) {
                child.handle.order(child.spec.shutdown);
                child.handle.settled().await;
            }
        }
    }

    fn rows(&self) -> Vec<Row> {
        self.children
            .iter()
            .map(|child| Row {
                id: child.key.id.clone(),
                kind: child.spec.kind,
                restarts: child.restarts,
                started_at: child.handle.started_at(),
                entry: child.handle.entry().cloned(),
                ended: match &child.phase {
                    Phase::Ended(reason) => Some(reason.clone()),
                    _ => None,
                },
            })
            .collect()
    }
}
