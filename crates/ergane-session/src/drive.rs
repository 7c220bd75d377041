//! Driving the open turn: the kernel says what must happen, this hands it to whoever does it.
//!
//! Live or after a crash, the way is the same: [`State::advance`] asks the kernel and goes by its answer, until there is nothing more
//! to hand out. What is in flight meanwhile is a [`Drive`], which a restart throws away.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Add;

use ergane_core::{CallId, Event, Next, OpenTurn, SendId, Seq, Spent, Text, TurnId};
use ergane_loop::{LoopMsg, StepId};
use ergane_otp::{Promise, TaskHandle};
use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::watch;

use crate::actor::{Phase, State};
use crate::approvals::Passed;
use crate::message::Grace;
use crate::status::Activity;
use crate::tools::{Running, Specs};

/// What is in flight for the open turn. Nothing of it is a fact: a restart begins with an empty one.
#[derive(Debug, Default)]
pub(crate) struct Drive {
    pub(crate) worker: Option<Worker>,
    pub(crate) flight: Option<Flight>,
    pub(crate) steps: u64,
    /// How often loops have died since the last fact.
    pub(crate) deaths: u32,
    /// The last fact at the last of these deaths.
    pub(crate) died_at: Seq,
    /// How many loop actors the turn has had: each has a name of its own.
    pub(crate) launches: u32,
    /// Why the model call under way is not made yet, or once more. Of no interest once it is made.
    pub(crate) delayed: Option<Activity>,
    /// Nothing is done before the fact there is durable.
    pub(crate) barrier: Seq,
    /// The fact that has the calls of the open turn: nobody is asked about them before it is durable.
    pub(crate) answer: Seq,
    /// What model calls of the turn took that came to no answer, since the last that did.
    pub(crate) unanswered: Option<Spent>,
    /// The wish to interrupt the open turn: tools are told of it once it is durable.
    pub(crate) wish: Seq,
    /// How far the end of an interrupted turn has come, when tools still ran.
    pub(crate) grace: Option<Grace>,
    pub(crate) specs: Option<(TurnId, Specs)>,
    /// By call, in call order: what happens to several at once happens in that order.
    pub(crate) tools: BTreeMap<CallId, Running>,
    /// The calls that may run and have not begun.
    passed: HashMap<CallId, Passed>,
    /// The calls that the callback is asked about.
    consulting: HashMap<CallId, (Passed, TaskHandle)>,
    pub(crate) being_ended: HashSet<CallId>,
    pub(crate) ended: HashSet<CallId>,
    /// The calls whose process group is a fact: one each.
    pub(crate) recorded: HashSet<CallId>,
    /// The calls whose process group may begin once that fact is durable.
    pub(crate) to_begin: HashMap<CallId, Promise<()>>,
    /// The calls to which an earlier incarnation left what does not end.
    pub(crate) held_up: BTreeMap<CallId, HeldUp>,
    /// Whether it is not tried again before the next nudge.
    pub(crate) pausing: bool,
    /// The calls that have ended and are still at work, of whatever turn: why nothing is begun.
    pub(crate) left_over: BTreeMap<CallId, String>,
    /// A receiver of it is held for each call that has ended and is still at work, also when the session is gone.
    pub(crate) at_work: Option<watch::Sender<()>>,
    /// The sends that wait for their turn and are not wanted any more: by whom that is, and why. Their turns end as soon as they begin.
    pub(crate) unwanted: HashMap<SendId, (Text, Text)>,
    /// Why an open turn was found whose recovery was put off, because it cannot go on here.
    pub(crate) unrecovered: Option<Text>,
}

/// What holds a call up.
#[derive(Debug)]
pub(crate) struct HeldUp {
    pub(crate) why: String,
    /// How often it was tried in vain to end it.
    pub(crate) tries: u32,
}

/// The loop actor of the open turn.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) actor: ActorRef<LoopMsg>,
    pub(crate) turn: TurnId,
    /// The number of its first step.
    pub(crate) since: u64,
}

/// The model call under way.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) id: StepId,
    /// The position up to which its request was built.
    pub(crate) saw: Seq,
}

impl Drive {
    /// Why nothing goes on, where that is not the store.
    pub(crate) fn parked(&self) -> Option<&str> {
        let held_up = self.held_up.values().next().map(|held_up| &held_up.why);
        held_up.or_else(|| self.left_over.values().next()).map(String::as_str)
    }

    /// What an earlier incarnation left to this call could not be ended, once more.
    pub(crate) fn is_held_up_by(&mut self, call: CallId) {
        let why = || format!("a process that an earlier incarnation started for call {call} does not end");
        self.held_up.entry(call).or_insert_with(|| HeldUp { why: why(), tries: 0 }).tries += 1;
        self.pausing = true;
    }

    /// What it is doing; `asked` is whether the model is being asked.
    pub(crate) fn activity(&self, turn: &OpenTurn, asked: bool) -> Activity {
        if let Some(delayed) = self.delayed.as_ref().filter(|_| !asked) {
            return delayed.clone();
        }
        let approvals = turn.approvals();
        if !approvals.is_empty() && self.tools.is_empty() && self.consulting.is_empty() {
            let calls = approvals.iter().map(|pending| format!("{} ({})", pending.tool, pending.call));
            return Activity::AwaitingApproval { calls: calls.collect() };
        }
        let waits = |call: CallId| approvals.iter().any(|pending| pending.call == call);
        let calls: Vec<String> = turn
            .batch()
            .filter(|(call, done)| !done && !waits(call.id))
            .map(|(call, _)| format!("{} ({})", call.name, call.id))
            .collect();
        if calls.is_empty() { Activity::CallingModel } else { Activity::RunningTools { calls } }
    }

    /// Whether nothing more is to be asked before the call begins.
    pub(crate) fn is_past_the_gate(&self, call: CallId) -> bool {
        self.tools.contains_key(&call)
            || self.passed.contains_key(&call)
            || self.consulting.contains_key(&call)
    }

    /// Whether nothing is in flight for a turn that waits.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.flight.is_none()
            && self.tools.is_empty()
            && self.consulting.is_empty()
            && self.being_ended.is_empty()
            && self.held_up.is_empty()
    }

    /// Whether the callback is asked about the call.
    pub(crate) fn is_held(&self, call: CallId) -> bool {
        self.consulting.contains_key(&call)
    }

    pub(crate) fn pass(&mut self, call: CallId, passed: Passed) {
        self.passed.insert(call, passed);
    }

    pub(crate) fn take_passed(&mut self, call: CallId) -> Option<Passed> {
        self.passed.remove(&call)
    }

    pub(crate) fn consult(&mut self, call: CallId, passed: Passed, task: TaskHandle) {
        self.consulting.insert(call, (passed, task));
    }

    /// The callback has answered about this call: what would run.
    pub(crate) fn consulted(&mut self, call: CallId) -> Option<Passed> {
        self.consulting.remove(&call).map(|(passed, _)| passed)
    }

    /// The callback's word is not waited for any more.
    pub(crate) fn drop_consultations(&mut self) {
        for (_, (_, task)) in self.consulting.drain() {
            task.abort();
        }
    }

    /// A model call took this, and came to no answer.
    pub(crate) fn spent_in_vain(&mut self, spent: Option<Spent>) {
        self.unanswered = self.unanswered.into_iter().chain(spent).reduce(Add::add);
    }

    pub(crate) fn drop_model_call(&mut self) {
        self.flight = None;
        self.delayed = None;
        if let Some(worker) = self.worker.take() {
            worker.actor.stop(None);
        }
    }

    /// Everything that was in flight for the turn is over.
    pub(crate) fn turn_over(&mut self) {
        self.drop_model_call();
        for (_, running) in std::mem::take(&mut self.tools) {
            running.kill();
        }
        self.drop_consultations();
        self.passed.clear();
        self.specs = None;
        self.being_ended.clear();
        self.ended.clear();
        self.recorded.clear();
        self.to_begin.clear();
        self.held_up.clear();
        self.pausing = false;
        self.grace = None;
        self.unanswered = None;
        self.launches = 0;
    }
}

impl State {
    /// Asks the kernel until there is nothing more to hand out.
    pub(crate) fn advance(&mut self) -> Result<(), ActorProcessingErr> {
        loop {
            self.interrupt_when_stopping()?;
            let progressed = match self.facts.conversation().next() {
                Next::Idle => false,
                Next::StartTurn { .. } | Next::CallModel { .. } | Next::RunTools { .. }
                    if self.is_held_back() =>
                {
                    false
                }
                // Only these need what is registered; an end needs nothing.
                Next::CallModel { .. } | Next::RunTools { .. } if self.specs().is_none() => {
                    self.refuse_unresolved();
                    false
                }
                Next::StartTurn { .. } if self.next_cannot_run() => {
                    self.refuse_unresolved();
                    false
                }
                Next::StartTurn { send } => self.start_turn(send)?,
                Next::CallModel { .. } => self.call_model()?,
                Next::RunTools { calls } => self.run_tools(&calls)?,
                Next::AwaitApproval { .. } => {
                    // It may take days: nothing is held meanwhile.
                    self.drop_model_call();
                    false
                }
                Next::Finish { reason, error } => self.finish(reason, error)?,
            };
            if !progressed {
                return Ok(());
            }
        }
    }

    /// The fact that an open turn was found, where it was put off: a turn that cannot go on here is not recovered, but one
    /// that is ended here is. True when it is a fact now.
    pub(crate) fn recover_at_last(&mut self) -> Result<bool, ActorProcessingErr> {
        let Some(cause) = self.drive.unrecovered.take() else { return Ok(false) };
        self.drive.barrier = self.facts.record(Event::Recovered { cause })?;
        Ok(true)
    }

    /// A turn is not begun that could not run here; unless all is to be ended, which needs nothing.
    fn next_cannot_run(&self) -> bool {
        matches!(self.phase, Phase::Live) && !self.missing_next().is_empty()
    }

    fn start_turn(&mut self, send: SendId) -> Result<bool, ActorProcessingErr> {
        let unwanted = self.drive.unwanted.remove(&send);
        self.drive.barrier = self.facts.record(Event::TurnStarted { send })?;
        if let Some((by, reason)) = unwanted {
            self.interrupt(by, reason)?;
        }
        Ok(true)
    }
}
