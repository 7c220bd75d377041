//! What a supervisor knows of its children, how it starts them, and when it starts one again.
//!
//! Nothing here waits. A child that is started or ended is in a phase of its own until its task reports, so the supervisor
//! answers whatever its children do.

use std::collections::VecDeque;
use std::sync::Arc;

use ractor::{ActorCell, ActorRef};

use crate::budget::{Intensity, RestartWindow};
use crate::child::{ChildKey, ChildOwner, Early, EndReply, StartReply, start_reply};
use crate::child_task::launch;
use crate::children::Row;
use crate::entry::Claim;
use crate::error::StartError;
use crate::events;
use crate::exit::ExitReason;
use crate::life::Life;
use crate::names::Namespace;
use crate::pids::PidMap;
use crate::spec::ChildSpec;
use crate::supervisor::Strategy;
use crate::supervisor_actor::{Arguments, SupervisorMsg};
use crate::supervisor_round::{Deferred, Round};

pub(crate) struct State {
    namespace: Namespace,
    pub(crate) name: Arc<str>,
    pub(crate) strategy: Strategy,
    pub(crate) intensity: Intensity,
    pub(crate) life: Arc<Life>,
    pub(crate) children: Vec<Child>,
    pub(crate) by_pid: PidMap<Arc<str>>,
    pub(crate) early: Early,
    pub(crate) window: RestartWindow,
    epochs: u64,
    pub(crate) round: Option<Round>,
    pub(crate) deferred: VecDeque<Deferred>,
    pub(crate) giving_up: bool,
}

pub(crate) struct Child {
    pub(crate) key: ChildKey,
    pub(crate) spec: ChildSpec,
    pub(crate) handle: ChildOwner,
    pub(crate) restarts: u32,
    pub(crate) phase: Phase,
    /// Somebody asked for the start that is under way, and is told if it fails; such a failure counts as no crash.
    pub(crate) asked: Option<Asked>,
    /// Who waits for its end.
    pub(crate) enders: Vec<EndReply>,
    /// It does not end; why.
    pub(crate) stuck: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A first start: if it fails, the spec is forgotten.
    First,
    /// The start of a stopped child: if it fails, it is as before.
    Again,
}

pub(crate) enum Phase {
    Starting,
    Live,
    /// It was ordered to end.
    Ending,
    /// It ended by itself while a round was under way; dealt with when that is over.
    Crashed(Option<Claim>, ExitReason),
    /// Its restart failed and is tried again; the name is held meanwhile.
    Waiting(Option<Claim>),
    /// A round has ended it, to start it again.
    Held(Option<Claim>),
    /// No process, and none to come by itself.
    Ended(ExitReason),
}

impl Phase {
    pub(crate) fn has_process(&self) -> bool {
        matches!(self, Self::Starting | Self::Live | Self::Ending)
    }

    /// The claim of one that has no process.
    pub(crate) fn into_claim(self) -> Option<Claim> {
        match self {
            Self::Crashed(claim, _) | Self::Waiting(claim) | Self::Held(claim) => claim,
            Self::Starting | Self::Live | Self::Ending | Self::Ended(_) => None,
        }
    }
}

impl State {
    pub(crate) fn new(arguments: Arguments) -> Self {
        let Arguments { namespace, name, strategy, intensity, specs, life } = arguments;
        Self {
            namespace,
            name,
            strategy,
            intensity,
            life,
            children: Vec::with_capacity(specs.len()),
            by_pid: PidMap::default(),
            early: Early::default(),
            window: RestartWindow::default(),
            epochs: 0,
            round: None,
            deferred: VecDeque::new(),
            giving_up: false,
        }
    }

    pub(crate) async fn start_first(
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
        self.add(myself, spec, reply);
        outcome.await.unwrap_or(Err(StartError::NoSupervisor))
    }

    /// Starts a child that was not there before, as the last.
    pub(crate) fn add(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        spec: ChildSpec,
        reply: StartReply,
    ) -> ChildKey {
        let key = self.next_key(&spec.id);
        let handle = launch(&self.namespace, myself, key.clone(), spec.clone(), None, Some(reply));
        self.children.push(Child {
            key: key.clone(),
            spec,
            handle,
            restarts: 0,
            phase: Phase::Starting,
            asked: Some(Asked::First),
            enders: Vec::new(),
            stuck: None,
        });
        key
    }

    /// Starts a child that has no process, under the claim it may have.
    pub(crate) fn start_again(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        index: usize,
        reply: Option<StartReply>,
    ) -> Option<ChildKey> {
        let child = self.children.get_mut(index)?;
        let claim = std::mem::replace(&mut child.phase, Phase::Starting).into_claim();
        child.restarts += 1;
        child.stuck = None;
        child.asked = reply.is_some().then_some(Asked::Again);
        let (spec, restarts) = (child.spec.clone(), child.restarts);
        events::restart(&self.name, &spec.id, restarts);
        let key = self.next_key(&spec.id);
        let handle = launch(&self.namespace, myself, key.clone(), spec, claim, reply);
        if let Some(child) = self.children.get_mut(index) {
            child.key = key.clone();
            child.handle = handle;
        }
        Some(key)
    }

    fn next_key(&mut self, id: &str) -> ChildKey {
        self.epochs += 1;
        ChildKey { id: id.into(), epoch: self.epochs }
    }

    /// Whether, and with whom, a child that ended is started again.
    pub(crate) fn decide(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        index: usize,
        claim: Option<Claim>,
        reason: ExitReason,
        failed_start: bool,
    ) {
        let Some(child) = self.children.get_mut(index) else { return };
        if !child.spec.restart.wants_restart(&reason) {
            return self.rest(index, claim, reason);
        }
        if self.intensity.admit(&mut self.window).is_none() {
            return self.give_up(myself, index, reason);
        }
        let Some(child) = self.children.get_mut(index) else { return };
        if failed_start {
            // By way of the mailbox: a start that keeps failing must not hold up the supervisor's other work.
            child.phase = Phase::Waiting(claim);
            let key = child.key.clone();
            self.round = None;
            if myself.cast(SupervisorMsg::Retry(key)).is_err() {
                tracing::trace!(supervisor = %self.name, "ending; no retry");
            }
        } else {
            child.phase = Phase::Held(claim);
            self.restart_from(myself, index);
        }
    }

    fn give_up(&mut self, myself: &ActorRef<SupervisorMsg>, index: usize, reason: ExitReason) {
        let Some(child) = self.children.get_mut(index) else { return };
        let id = child.key.id.clone();
        let why = ExitReason::Shutdown(format!("too many restarts; the last child was {id}: {reason}"));
        tracing::warn!(supervisor = %self.name, child = %id, %reason, "too many restarts; giving up");
        child.phase = Phase::Ended(reason);
        self.giving_up = true;
        self.life.hint(why.clone());
        // The children are ended in `post_stop`, which comes next: a stop goes before all messages.
        myself.stop(why.to_stop_reason());
    }

    pub(crate) fn index(&self, key: &ChildKey) -> Option<usize> {
        self.children.iter().position(|child| child.key == *key)
    }

    pub(crate) fn index_of(&self, id: &str) -> Option<usize> {
        self.children.iter().position(|child| &*child.key.id == id)
    }

    pub(crate) fn remove(&mut self, index: usize) {
        if index < self.children.len() {
            self.children.remove(index);
            if let Some(round) = &mut self.round {
                round.removed(index);
            }
        }
    }

    /// In reverse, each until it is gone (or given up as stuck) before the one started earlier is asked.
    pub(crate) async fn end_children(&mut self) {
        self.round = None;
        self.deferred.clear();
        while let Some(child) = self.children.pop() {
            if child.phase.has_process() {
                child.handle.order(child.spec.shutdown);
                child.handle.settled().await;
            }
        }
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
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
