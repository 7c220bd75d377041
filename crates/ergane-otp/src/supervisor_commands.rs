//! Run-time management of a supervisor's children: what `start_child` and its siblings change.

use std::sync::Arc;

use ractor::ActorRef;

use crate::child::{EndReply, StartReply, answer};
use crate::entry::Found;
use crate::error::{ChildError, StartError};
use crate::exit::ExitReason;
use crate::spec::ChildSpec;
use crate::supervisor::Strategy;
use crate::supervisor_actor::{Command, SupervisorMsg};
use crate::supervisor_round::{Deferred, Round, refuse};
use crate::supervisor_state::{Phase, State};

impl State {
    /// Does it now, or puts it aside until the round is over.
    pub(crate) fn commanded(&mut self, myself: &ActorRef<SupervisorMsg>, command: Command) {
        if let Some(round) = &self.round {
            // A start that somebody asked for can be called off; nothing else may interfere with a round.
            let calls_off = matches!(&command, Command::Terminate { id, .. } if round.waits_for_start_of(id));
            if !calls_off {
                match self.stuck_in_round() {
                    Some(reason) => refuse(command, &reason),
                    None => self.deferred.push_back(Deferred::Command(command)),
                }
                return;
            }
        }
        match command {
            Command::Start { spec, reply } => self.start_child(myself, spec, reply),
            Command::Terminate { id, reply } => self.terminate_child(&id, reply),
            Command::Restart { id, reply } => self.restart_child(myself, &id, reply),
            Command::Delete { id, reply } => {
                let outcome = self.delete_child(&id);
                answer(reply, outcome);
            }
        }
    }

    fn start_child(&mut self, myself: &ActorRef<SupervisorMsg>, spec: ChildSpec, reply: StartReply) {
        if let Some(index) = self.index_of(&spec.id) {
            return reply.keep(Err(match self.living(index) {
                Some(cell) => StartError::AlreadyStarted(cell),
                None => StartError::AlreadyPresent { id: spec.id },
            }));
        }
        let key = self.add(myself, spec, reply);
        if self.strategy != Strategy::OneForOne {
            self.round = Some(Round::asked(key));
        }
    }

    fn restart_child(&mut self, myself: &ActorRef<SupervisorMsg>, id: &Arc<str>, reply: StartReply) {
        let Some(index) = self.index_of(id) else {
            return reply.keep(Err(StartError::NotFound { id: id.to_string() }));
        };
        let at_rest = self
            .children
            .get(index)
            .is_some_and(|child| matches!(child.phase, Phase::Ended(_) | Phase::Held(_)));
        if !at_rest {
            return reply.keep(Err(match self.living(index) {
                Some(cell) => StartError::AlreadyStarted(cell),
                None => StartError::Restarting { id: id.to_string() },
            }));
        }
        let key = self.start_again(myself, index, Some(reply));
        if let Some(key) = key.filter(|_| self.strategy != Strategy::OneForOne) {
            self.round = Some(Round::asked(key));
        }
    }

    fn terminate_child(&mut self, id: &Arc<str>, reply: EndReply) {
        let Some(index) = self.index_of(id) else { return answer(reply, Err(ChildError::NotFound)) };
        let Some(child) = self.children.get_mut(index) else { return };
        match &child.phase {
            Phase::Starting | Phase::Live | Phase::Ending => {
                child.phase = Phase::Ending;
                // One that was stuck may be gone, and being started again.
                let stuck = child.stuck.clone().filter(|_| child.handle.revoke());
                child.handle.order(child.spec.shutdown);
                match stuck {
                    Some(reason) => answer(reply, Err(ChildError::Stuck { reason })),
                    None => child.enders.push(reply),
                }
            }
            Phase::Waiting(_) => {
                // The retry that is on its way finds nothing to do, so nor must anybody wait for it.
                self.at_rest(index, ExitReason::shutdown());
                let held: Vec<usize> = (0..self.children.len())
                    .filter(|&index| {
                        self.children.get(index).is_some_and(|child| matches!(child.phase, Phase::Held(_)))
                    })
                    .collect();
                for index in held {
                    self.at_rest(index, ExitReason::shutdown());
                }
                answer(reply, Ok(()));
            }
            Phase::Crashed(_, reason) | Phase::Ended(reason) => {
                let reason = reason.clone();
                self.at_rest(index, reason);
                answer(reply, Ok(()));
            }
            Phase::Held(_) => {
                self.at_rest(index, ExitReason::shutdown());
                answer(reply, Ok(()));
            }
        }
    }

    fn at_rest(&mut self, index: usize, reason: ExitReason) {
        let Some(child) = self.children.get_mut(index) else { return };
        let claim = std::mem::replace(&mut child.phase, Phase::Held(None)).into_claim();
        self.rest(index, claim, reason);
    }

    fn delete_child(&mut self, id: &Arc<str>) -> Result<(), ChildError> {
        let index = self.index_of(id).ok_or(ChildError::NotFound)?;
        match self.children.get(index).map(|child| &child.phase) {
            Some(Phase::Ended(_) | Phase::Held(_)) => {
                self.remove(index);
                Ok(())
            }
            Some(Phase::Live) => Err(ChildError::Running),
            _ => Err(ChildError::Restarting),
        }
    }

    fn living(&self, index: usize) -> Option<ractor::ActorCell> {
        let child = self.children.get(index).filter(|child| matches!(child.phase, Phase::Live))?;
        match child.handle.entry()?.find() {
            Found::Live(cell) => Some(cell),
            _ => None,
        }
    }
}
