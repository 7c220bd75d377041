//! A round: several children ended in reverse and started again in order, because one of them crashed.
//!
//! OTP's supervisor waits inside a round, and whatever arrives meanwhile lies in its mailbox. Ours never waits, so what has
//! to come after the round is put aside here, in the order of its arrival: the same order of events, and the list of
//! children can be asked for all the time.

use ractor::ActorRef;

use crate::child::{ChildKey, answer};
use crate::error::{ChildError, StartError};
use crate::spec::Restart;
use crate::supervisor::Strategy;
use crate::supervisor_actor::{Command, SupervisorMsg};
use crate::supervisor_state::{Phase, State};

/// What the supervisor is in the middle of.
pub(crate) struct Round {
    /// The first child that takes part; all later ones do.
    from: usize,
    stage: Stage,
}

enum Stage {
    /// From the last to the first: asked, awaited.
    Stopping,
    /// From the first to the last: started, awaited. This one is next.
    Starting(usize),
    /// The start of one child that somebody asked for; OTP waits for it too.
    Asked(ChildKey),
}

/// What has to wait until the round is over.
pub(crate) enum Deferred {
    Crash(ChildKey),
    Retry(ChildKey),
    Command(Command),
}

impl Round {
    pub(crate) fn asked(key: ChildKey) -> Self {
        Self { from: usize::MAX, stage: Stage::Asked(key) }
    }

    /// Whether the child of that index is being ended by this round, to be started again by it.
    pub(crate) fn stops(&self, index: usize) -> bool {
        matches!(self.stage, Stage::Stopping) && index >= self.from
    }

    /// Whether the child of that index is the one being started.
    pub(crate) fn starts(&self, index: usize) -> bool {
        matches!(self.stage, Stage::Starting(next) if next == index)
    }

    fn waits_for(&self, index: usize, key: &ChildKey) -> bool {
        self.stops(index) || self.starts(index) || matches!(&self.stage, Stage::Asked(asked) if asked == key)
    }

    pub(crate) fn waits_for_start_of(&self, id: &str) -> bool {
        matches!(&self.stage, Stage::Asked(key) if &*key.id == id)
    }

    /// A child left the list.
    pub(crate) fn removed(&mut self, index: usize) {
        if index < self.from {
            self.from = self.from.saturating_sub(1);
        }
        if let Stage::Starting(next) = &mut self.stage
            && index < *next
        {
            *next -= 1;
        }
    }
}

impl State {
    /// Starts a child that crashed, and with it whomever the strategy says.
    pub(crate) fn restart_from(&mut self, myself: &ActorRef<SupervisorMsg>, index: usize) {
        match self.strategy {
            Strategy::OneForOne => {
                self.start_again(myself, index, None);
            }
            Strategy::OneForAll => self.round = Some(Round { from: 0, stage: Stage::Stopping }),
            Strategy::RestForOne => self.round = Some(Round { from: index, stage: Stage::Stopping }),
        }
    }

    /// Does what can be done now: the next step of the round, and after it what was put aside.
    pub(crate) fn work_off(&mut self, myself: &ActorRef<SupervisorMsg>) {
        while !self.giving_up {
            if let Some(round) = self.round.take() {
                self.round = self.step(myself, round);
                if self.round.is_some() {
                    return;
                }
            }
            let Some(next) = self.deferred.pop_front() else { return };
            match next {
                Deferred::Crash(key) => self.crashed(myself, &key),
                Deferred::Retry(key) => self.retry(myself, key),
                Deferred::Command(command) => self.commanded(myself, command),
            }
        }
    }

    /// The round as it goes on, or `None` when it is over.
    fn step(&mut self, myself: &ActorRef<SupervisorMsg>, mut round: Round) -> Option<Round> {
        loop {
            match &mut round.stage {
                Stage::Stopping => {
                    let last =
                        self.children.iter_mut().skip(round.from).rfind(|child| child.phase.has_process());
                    if let Some(child) = last {
                        if !matches!(child.phase, Phase::Ending) {
                            child.phase = Phase::Ending;
                            child.handle.order(child.spec.shutdown);
                        }
                        return Some(round);
                    }
                    self.all_ended(round.from);
                    round.stage = Stage::Starting(round.from);
                }
                Stage::Starting(next) => match self.children.get(*next).map(|child| &child.phase) {
                    None => return None,
                    Some(Phase::Starting) => return Some(round),
                    Some(Phase::Held(_)) => {
                        self.start_again(myself, *next, None);
                        return Some(round);
                    }
                    Some(_) => *next += 1,
                },
                Stage::Asked(key) => {
                    let index = self.index(key)?;
                    let child = self.children.get(index)?;
                    return matches!(child.phase, Phase::Starting | Phase::Ending).then_some(round);
                }
            }
        }
    }

    /// None of them has a process any more: forgets the temporary ones, and makes the others ready to be started, also
    /// those that had been at rest before, as OTP does.
    fn all_ended(&mut self, from: usize) {
        let mut index = from;
        while let Some(child) = self.children.get_mut(index) {
            if child.spec.restart == Restart::Temporary {
                self.children.remove(index);
                continue;
            }
            let phase = std::mem::replace(&mut child.phase, Phase::Starting);
            child.phase = Phase::Held(phase.into_claim());
            index += 1;
        }
    }

    /// A child that ended by itself during the round has its turn, if the round did not start it again anyway.
    fn crashed(&mut self, myself: &ActorRef<SupervisorMsg>, key: &ChildKey) {
        let Some(index) = self.index(key) else { return };
        let Some(child) = self.children.get_mut(index) else { return };
        match std::mem::replace(&mut child.phase, Phase::Held(None)) {
            Phase::Crashed(claim, reason) => self.decide(myself, index, claim, reason, false),
            other => child.phase = other,
        }
    }

    pub(crate) fn retry(&mut self, myself: &ActorRef<SupervisorMsg>, key: ChildKey) {
        let Some(index) = self.index(&key) else { return };
        if !self.children.get(index).is_some_and(|child| matches!(child.phase, Phase::Waiting(_))) {
            return;
        }
        if self.round.is_some() {
            self.deferred.push_back(Deferred::Retry(key));
        } else {
            self.restart_from(myself, index);
        }
    }

    /// A round that waits for a child that does not end would keep everybody waiting; they are told instead.
    pub(crate) fn refuse_if_stuck(&mut self) {
        let Some(reason) = self.stuck_in_round() else { return };
        for item in std::mem::take(&mut self.deferred) {
            match item {
                Deferred::Command(command) => refuse(command, &reason),
                other => self.deferred.push_back(other),
            }
        }
    }

    /// Why the round does not go on, if it is held up by a child that does not end.
    pub(crate) fn stuck_in_round(&self) -> Option<String> {
        let round = self.round.as_ref()?;
        let mut children = self.children.iter().enumerate();
        children.find_map(|(index, child)| child.stuck.clone().filter(|_| round.waits_for(index, &child.key)))
    }
}

pub(crate) fn refuse(command: Command, reason: &str) {
    let reason = reason.to_owned();
    match command {
        Command::Start { reply, .. } | Command::Restart { reply, .. } => {
            reply.keep(Err(StartError::Stuck { reason }));
        }
        Command::Terminate { reply, .. } | Command::Delete { reply, .. } => {
            answer(reply, Err(ChildError::Stuck { reason }));
        }
    }
}
