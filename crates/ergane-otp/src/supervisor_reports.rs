//! What the task of a child, and ractor, tell its supervisor, and what that changes.

use ractor::{ActorCell, ActorId, ActorRef};

use crate::child::{ChildKey, ChildReport, Torn, answer};
use crate::entry::Claim;
use crate::error::{ChildError, StartError};
use crate::events;
use crate::exit::ExitReason;
use crate::spec::Restart;
use crate::supervisor::Strategy;
use crate::supervisor_actor::SupervisorMsg;
use crate::supervisor_round::Deferred;
use crate::supervisor_state::{Asked, Phase, State};

impl State {
    /// ractor's event says that an actor ended.
    pub(crate) fn died(&mut self, pid: ActorId, reason: ExitReason, torn: Torn) {
        match self.by_pid.remove(&pid) {
            Some(id) => self.down(&id, pid, reason, torn),
            None if self.may_be_early() => {
                self.early.insert(pid, (reason, torn));
            }
            None => {
                tracing::trace!(supervisor = %self.name, %pid, "an actor ended that is no child any more")
            }
        }
    }

    fn down(&mut self, id: &str, pid: ActorId, reason: ExitReason, torn: Torn) {
        let Some(child) = self.children.iter_mut().find(|child| &*child.key.id == id) else { return };
        child.handle.down(pid, reason.clone());
        // Its task may start it again by itself as soon as it is gone: one that no other child is concerned in.
        let may = self.strategy == Strategy::OneForOne
            && matches!(child.phase, Phase::Live)
            && !self.giving_up
            && child.spec.restart.wants_restart(&reason);
        let restarts = child.restarts + 1;
        let granted = child.handle.died(torn, || {
            let granted = may && self.intensity.admit(&mut self.window).is_some();
            if granted {
                // Told here, so that the start comes after it.
                events::restart(&self.name, id, restarts);
            }
            granted
        });
        if granted {
            child.phase = Phase::Starting;
            child.restarts = restarts;
        }
    }

    /// Whether an end may be told of a child whose start was not.
    fn may_be_early(&self) -> bool {
        self.children.iter().any(|child| matches!(child.phase, Phase::Starting | Phase::Ending))
    }

    pub(crate) fn heard(&mut self, myself: &ActorRef<SupervisorMsg>, report: ChildReport) {
        self.take_in(myself, report);
        if !self.may_be_early() {
            self.early.clear();
        }
    }

    fn take_in(&mut self, myself: &ActorRef<SupervisorMsg>, report: ChildReport) {
        match report {
            ChildReport::Started { key, cell } => self.started(key, &cell),
            ChildReport::Failed { key, claim, error } => {
                let Some(index) = self.index(&key) else { return };
                self.failed(myself, index, claim, &error);
            }
            ChildReport::Ended(gone) => {
                let key = gone.key.clone();
                self.by_pid.remove(&gone.pid);
                let child = self.children.iter().find(|child| child.key == key);
                let (claim, reason) = gone.conclude(child.map(|child| &*child.handle), &mut self.early);
                let Some(index) = self.index(&key) else { return };
                if self.children.get(index).is_some_and(|child| matches!(child.phase, Phase::Ending)) {
                    self.ended_by_order(index, Some(claim), reason);
                } else {
                    self.ended_by_itself(myself, index, Some(claim), reason, false);
                }
            }
            // Its entry says so already; nothing is to be done for it before it is gone.
            ChildReport::Stuck { key, reason } => {
                let Some(index) = self.index(&key) else { return };
                if let Some(child) = self.children.get_mut(index) {
                    for ender in child.enders.drain(..) {
                        answer(ender, Err(ChildError::Stuck { reason: reason.clone() }));
                    }
                    child.stuck = Some(reason);
                }
                self.refuse_if_stuck();
            }
        }
    }

    fn started(&mut self, key: ChildKey, cell: &ActorCell) {
        let pid = cell.get_id();
        let Some(child) = self.children.iter_mut().find(|child| child.key == key) else { return };
        if matches!(child.phase, Phase::Starting) {
            child.phase = Phase::Live;
        }
        child.asked = None;
        // One that was stuck and is gone after all was started again.
        child.stuck = None;
        if let Some((reason, torn)) = self.early.remove(&pid) {
            self.down(&key.id, pid, reason, torn);
        } else {
            self.by_pid.insert(pid, key.id);
        }
    }

    fn failed(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        index: usize,
        claim: Option<Claim>,
        error: &StartError,
    ) {
        let Some(child) = self.children.get_mut(index) else { return };
        let ignored = matches!(error, StartError::Ignored);
        let reason = if ignored { ExitReason::Normal } else { ExitReason::Error(error.to_string()) };
        match child.asked {
            _ if matches!(child.phase, Phase::Ending) => self.ended_by_order(index, claim, reason),
            // `pre_start`, or whoever asked, has heard of it.
            Some(Asked::First) if !ignored => self.remove(index),
            None if !ignored => self.ended_by_itself(myself, index, claim, reason, true),
            _ => self.rest(index, claim, reason),
        }
    }

    /// The child has no process and is not started again by itself: its name is free, its spec stays.
    pub(crate) fn rest(&mut self, index: usize, claim: Option<Claim>, reason: ExitReason) {
        let Some(child) = self.children.get_mut(index) else { return };
        drop(claim);
        child.asked = None;
        child.stuck = None;
        child.phase = Phase::Ended(reason);
        if child.spec.restart == Restart::Temporary {
            self.remove(index);
        }
    }

    fn ended_by_order(&mut self, index: usize, claim: Option<Claim>, reason: ExitReason) {
        let covered = self.round.as_ref().is_some_and(|round| round.stops(index));
        let Some(child) = self.children.get_mut(index) else { return };
        let enders = std::mem::take(&mut child.enders);
        child.stuck = None;
        if covered {
            child.phase = Phase::Held(claim);
        } else if child.asked == Some(Asked::First) {
            drop(claim);
            self.remove(index);
        } else {
            self.rest(index, claim, reason);
        }
        for ender in enders {
            answer(ender, Ok(()));
        }
    }

    fn ended_by_itself(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        index: usize,
        claim: Option<Claim>,
        reason: ExitReason,
        failed_start: bool,
    ) {
        let Some(child) = self.children.get_mut(index) else { return };
        child.stuck = None;
        if let Some(round) = &self.round {
            if round.stops(index) {
                // It would have been ended anyway; that counts as no restart of its own.
                child.phase = Phase::Held(claim);
                return;
            }
            if !(failed_start && round.starts(index)) {
                child.phase = Phase::Crashed(claim, reason);
                self.deferred.push_back(Deferred::Crash(child.key.clone()));
                return;
            }
        }
        self.decide(myself, index, claim, reason, failed_start);
    }
}
