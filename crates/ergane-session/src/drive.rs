//! Driving the open turn: the kernel says what must happen, this hands it to whoever does it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Add;
use std::time::Duration;

use ergane_core::{
    CallId, ErrorKind, Event, FinishReason, Next, OpenCall, OpenTurn, Role, SendId, Seq, Settings, Spent,
    Text, TurnError, TurnId,
};
use ergane_journal::MAX_EVENT_BYTES;
use ergane_loop::{
    LoopActor, LoopArgs, LoopMsg, LoopReport, ModelStep, Report, Reporter, Shown, Step, StepId, Target,
};
use ergane_otp::{Promise, TaskHandle, spawn_now};
use ergane_provider::Endpoint;
use ergane_provider::retry::RetryPolicy;
use ractor::{ActorProcessingErr, ActorRef};

use crate::actor::{Phase, State, tell};
use crate::approvals::Passed;
use crate::facts::now;
use crate::message::{Grace, Internal, Live};
use crate::status::Activity;
use crate::tools::{Running, STILL_RUNS, Specs, error_result};

/// After so many deaths of the loop with no new fact between them the turn ends.
const LOOP_DEATHS: u32 = 3;

/// How long running tools have after an interrupt before they are killed.
const GRACE: Duration = Duration::from_secs(2);

/// A wish to interrupt that could not be written for so long, because the store takes no facts, is told all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// So often is it tried to end a process that was left behind, before a turn ends without that.
const END_TRIES: u32 = 2;

/// What is in flight for the open turn. Nothing of it is a fact: a restart begins with an empty one.
#[derive(Debug, Default)]
pub(crate) struct Drive {
    worker: Option<Worker>,
    flight: Option<Flight>,
    steps: u64,
    deaths: u32,
    /// How many loop actors the turn has had: each has a name of its own.
    launches: u32,
    /// Why the model call under way is not made yet, or once more. Of no interest once it answers.
    delayed: Option<Activity>,
    barrier: Seq,
    /// The answer whose calls are run: nobody is asked about them before it is durable.
    answer: Seq,
    /// What model calls of the turn took that came to no answer, since the last that did.
    unanswered: Option<Spent>,
    /// The wish to interrupt the open turn: tools are told of it once it is durable.
    wish: Seq,
    /// How far the end of an interrupted turn has come, when tools still ran.
    grace: Option<Grace>,
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
    /// What an earlier incarnation left behind and does not end.
    pub(crate) held_up: Option<String>,
    /// The calls that have ended and are still at work, of whatever turn: why nothing is begun.
    pub(crate) left_over: BTreeMap<CallId, String>,
    /// How often that was tried in vain, call by call.
    pub(crate) in_vain: HashMap<CallId, u32>,
    /// Why an open turn was found whose recovery was put off, because it cannot go on here.
    pub(crate) unrecovered: Option<Text>,
}

/// The loop actor of the open turn.
#[derive(Debug)]
struct Worker {
    actor: ActorRef<LoopMsg>,
    turn: TurnId,
    /// The number of its first step.
    since: u64,
}

/// The model call under way.
#[derive(Debug)]
struct Flight {
    id: StepId,
    /// The position up to which its request was built.
    saw: Seq,
}

impl Drive {
    /// Nothing is done before the fact at `seq` is durable.
    pub(crate) fn act_after(&mut self, seq: Seq) {
        self.barrier = seq;
    }

    pub(crate) fn barrier(&self) -> Seq {
        self.barrier
    }

    /// The fact that has the calls of the open turn.
    pub(crate) fn answer(&self) -> Seq {
        self.answer
    }

    /// Why nothing goes on, where that is not the store.
    pub(crate) fn parked(&self) -> Option<&str> {
        self.held_up.as_deref().or_else(|| self.left_over.values().next().map(String::as_str))
    }

    /// What it is doing; `shown` is whether the model answers already.
    pub(crate) fn activity(&self, turn: &OpenTurn, shown: bool) -> Activity {
        if let Some(delayed) = self.delayed.as_ref().filter(|_| !shown) {
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
            && self.held_up.is_none()
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
    fn drop_consultations(&mut self) {
        for (_, (_, task)) in self.consulting.drain() {
            task.abort();
        }
    }

    /// A model call took this, and came to no answer.
    fn spent_in_vain(&mut self, spent: Option<Spent>) {
        self.unanswered = self.unanswered.into_iter().chain(spent).reduce(Add::add);
    }

    fn drop_model_call(&mut self) {
        self.flight = None;
        self.delayed = None;
        if let Some(worker) = self.worker.take() {
            worker.actor.stop(None);
        }
    }

    /// Everything that was in flight for the turn is over.
    fn turn_over(&mut self) {
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
        self.held_up = None;
        self.in_vain.clear();
        self.grace = None;
        self.unanswered = None;
        self.deaths = 0;
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
        let seq = self.facts.record(Event::Recovered { cause })?;
        self.drive.act_after(seq);
        Ok(true)
    }

    /// A turn is not begun that could not run here; unless all is to be ended, which needs nothing.
    fn next_cannot_run(&self) -> bool {
        matches!(self.phase, Phase::Live) && !self.missing_next().is_empty()
    }

    fn interrupt_when_stopping(&mut self) -> Result<(), ActorProcessingErr> {
        let open = self.facts.conversation().turn().is_some_and(|turn| turn.interrupted.is_none());
        if open && matches!(self.phase, Phase::Stopping(_)) {
            self.interrupt("stop".into(), "the session was stopped".into())?;
        }
        Ok(())
    }

    fn start_turn(&mut self, send: SendId) -> Result<bool, ActorProcessingErr> {
        let seq = self.facts.record(Event::TurnStarted { send })?;
        self.drive.act_after(seq);
        Ok(true)
    }

    /// Has the model asked, once what the question rests on is durable.
    fn call_model(&mut self) -> Result<bool, ActorProcessingErr> {
        if self.drive.flight.is_some() || self.facts.durable() < self.drive.barrier {
            return Ok(false);
        }
        let Some(specs) = self.specs() else { return Ok(false) };
        let saw = self.facts.accepted();
        let conversation = self.facts.conversation();
        let (Some(turn), Some(request)) = (conversation.turn(), conversation.request(specs)) else {
            return Ok(false);
        };
        let (id, settings) = (turn.id, turn.settings.clone());
        let step = ModelStep {
            chain: self.chain(&settings),
            request,
            idle_timeout: Duration::from_millis(settings.limits.idle_timeout_ms),
            retry: RetryPolicy { max_retries: settings.limits.max_retries, ..RetryPolicy::default() },
        };
        self.drive.steps += 1;
        let worker = match self.worker(id) {
            Ok(worker) => worker,
            Err(error) => {
                let error =
                    TurnError::new(ErrorKind::Internal, format!("the loop could not be started: {error}"));
                return self.end_turn(FinishReason::DuringExecution, Some(error));
            }
        };
        let id = StepId { turn: id, step: self.drive.steps };
        self.drive.flight = Some(Flight { id, saw });
        self.subscribers.expect(id);
        if worker.cast(LoopMsg::Step(id, Step::CallModel(Box::new(step)))).is_err() {
            tracing::debug!(session = %self.name, "the loop was gone before its step; its end, or its last word, is on its way");
        }
        Ok(false)
    }

    /// Who is asked, and when that fails, who instead: each of them once.
    fn chain(&self, settings: &Settings) -> Vec<Target> {
        let endpoint =
            Endpoint { base_url: settings.base_url.clone(), api_key_env: settings.api_key_env.clone() };
        let (provider, model) = (settings.provider.clone(), settings.model.clone());
        let mut chain = vec![Target { provider, endpoint, model }];
        for name in &settings.fallbacks {
            if chain.iter().any(|known| known.provider == *name) {
                continue;
            }
            let usual = self.context.providers().get(name).and_then(|provider| provider.default_model());
            let (endpoint, model) = (Endpoint::default(), usual.unwrap_or_else(|| "".into()));
            chain.push(Target { provider: name.clone(), endpoint, model });
        }
        chain
    }

    /// The loop actor of the turn, started when there is none.
    fn worker(&mut self, turn: TurnId) -> Result<ActorRef<LoopMsg>, ractor::SpawnErr> {
        match &self.drive.worker {
            Some(worker) if worker.turn == turn => return Ok(worker.actor.clone()),
            _ => self.drop_model_call(),
        }
        let reporter = self.reporter();
        let asker = self.name.as_str().into();
        let args = LoopArgs {
            providers: self.context.providers().clone(),
            reporter,
            asker,
            scope: self.scope.clone(),
            supervisor: self.me.get_cell(),
        };
        let (me, since) = (self.me.clone(), self.drive.steps);
        let worker = LoopActor::new(move || tell(&me, Internal::LoopDied(since)));
        // A successor has a name of its own: its predecessor's is only free once that one is all gone.
        let name = match self.drive.launches {
            // A `#` cannot be in the name of a session, so no session takes a name like this.
            0 => format!("{}#turn/{turn}", self.full_name),
            launches => format!("{}#turn/{turn}/restart/{launches}", self.full_name),
        };
        self.drive.launches += 1;
        // Its end is waited for by its place in the scope.
        let (actor, _) = spawn_now(Some(name), worker, args, None)?;
        self.drive.worker = Some(Worker { actor: actor.clone(), turn, since });
        Ok(actor)
    }

    /// What can be seen goes straight to those who listen, in the order in which it happens; what is to be decided comes here.
    fn reporter(&self) -> Reporter {
        let (stage, me) = (self.subscribers.stage(), self.me.clone());
        let show = {
            let stage = stage.clone();
            move |step, shown| stage.tell(step, &shown_live(shown))
        };
        Reporter::new(show, move |report: LoopReport| {
            if let Some(live) = report_live(&report.report) {
                stage.tell(report.step, &live);
            }
            tell(&me, Internal::Loop(report));
        })
    }

    /// The model call under way is given up, and the loop with it.
    fn drop_model_call(&mut self) {
        self.subscribers.hush();
        self.drive.drop_model_call();
    }

    pub(crate) fn on_report(&mut self, report: LoopReport) -> Result<(), ActorProcessingErr> {
        // A loop ends with its last word. What was asked of it meanwhile is asked of another.
        let last = report.report.is_last();
        let gone = last && self.drive.worker.take_if(|worker| worker.since <= report.step.step).is_some();
        let is_of_turn = self.facts.conversation().turn().is_some_and(|turn| turn.id == report.step.turn);
        if is_of_turn && let Some(error) = report.report.error() {
            self.drive.spent_in_vain(error.spent.as_deref().copied());
        }
        let Some(flight) = self.drive.flight.as_ref().filter(|flight| flight.id == report.step) else {
            if gone {
                self.drive.flight = None;
            }
            if is_of_turn && let Report::Replied { reply, .. } = report.report {
                self.drive.spent_in_vain(Some(Spent::of(reply.usage, reply.cost)));
            }
            return Ok(()); // of a step that was given up: it was paid for all the same
        };
        let saw = flight.saw;
        match report.report {
            Report::Waiting { reason } => {
                self.drive.delayed = Some(Activity::Waiting { reason: reason.to_string() });
            }
            Report::Admitted => self.drive.delayed = None,
            Report::FellBack { from, to, error } => {
                let reason = format!("{from} failed, {to} is asked: {error}");
                self.drive.delayed = Some(Activity::Retrying { reason });
            }
            Report::Retrying { error, .. } => {
                self.drive.delayed = Some(Activity::Retrying { reason: error.to_string() });
            }
            Report::Replied { reply, attempts } => {
                self.model_call_over();
                let spent = Some(Spent::of(reply.usage, reply.cost));
                if reply.message.role != Role::Assistant {
                    let why = "the provider answered with a message that is no assistant's";
                    let error = TurnError::new(ErrorKind::Protocol, why);
                    self.drive.spent_in_vain(spent);
                    self.end_turn(FinishReason::DuringExecution, Some(error))?;
                    return Ok(());
                }
                let before = self.drive.unanswered;
                match self.facts.conversation().replied(*reply, saw, attempts, before) {
                    Some(event) if fits(&event) => {
                        self.drive.answer = self.facts.record(event)?;
                        self.drive.unanswered = None; // the fact has it
                    }
                    Some(_) => {
                        let why =
                            format!("the answer is larger than the {MAX_EVENT_BYTES} bytes of one event");
                        let error = TurnError::new(ErrorKind::Protocol, why);
                        self.drive.spent_in_vain(spent);
                        self.end_turn(FinishReason::DuringExecution, Some(error))?;
                    }
                    None => {}
                }
            }
            Report::Failed { error } => {
                self.model_call_over();
                self.end_turn(error.kind.finish_reason(), Some(TurnError::from(&error)))?;
            }
        }
        Ok(())
    }

    /// The answer under way is given up; the kernel is asked at once what comes instead, and the loop drops the old call
    /// for the new one.
    pub(crate) fn cut_model_call(&mut self) {
        let Some(flight) = self.drive.flight.take() else { return };
        self.drive.delayed = None;
        self.subscribers.give_up(flight.id.turn);
    }

    fn model_call_over(&mut self) {
        self.drive.flight = None;
        self.drive.delayed = None;
        self.drive.deaths = 0;
        self.subscribers.answered();
    }

    /// A loop that dies in a turn is replaced, until it dies too often without getting anywhere.
    pub(crate) fn on_loop_died(&mut self, since: u64) -> Result<(), ActorProcessingErr> {
        let Some(worker) = self.drive.worker.take_if(|worker| worker.since == since) else {
            return Ok(());
        };
        let under_way = self.drive.flight.take().is_some();
        self.drive.delayed = None;
        self.drive.deaths += 1;
        tracing::warn!(session = %self.name, turn = %worker.turn, deaths = self.drive.deaths, "the loop died");
        self.subscribers.give_up(worker.turn);
        if under_way && self.drive.deaths >= LOOP_DEATHS {
            let why = format!("the loop of the turn died {LOOP_DEATHS} times without getting anywhere");
            self.end_turn(FinishReason::DuringExecution, Some(TurnError::new(ErrorKind::Internal, why)))?;
        }
        Ok(())
    }

    /// Asks for the end of the open turn: the model call is dropped. Running tools are told when the wish is durable, and have
    /// their grace.
    pub(crate) fn interrupt(&mut self, by: Text, reason: Text) -> Result<(), ActorProcessingErr> {
        let Some(turn) = self.facts.conversation().turn().map(|turn| turn.id) else { return Ok(()) };
        self.recover_at_last()?;
        self.drive.wish = self.facts.record(Event::InterruptRequested { by, reason })?;
        self.drop_model_call();
        self.drive.drop_consultations();
        // What waited for its start never runs, nor does a process whose group is no durable fact yet.
        self.drive.tools.retain(|_, running| running.has_begun());
        self.drive.to_begin.clear();
        if !self.drive.tools.is_empty() && self.drive.grace.is_none() {
            self.give_grace(turn, Grace::Asked, PATIENCE);
        }
        Ok(())
    }

    /// Tells running tools that their turn is to end, once: when that wish is durable. A crash before that would leave a turn
    /// that goes on without what they had begun. Unless the store takes no facts for long: it may be one of them that fills the
    /// disk, and such a crash is no worse than one in which the tool dies.
    fn tell_tools(&mut self) {
        let turn = self.drive.tools.keys().next().map(|call| call.turn);
        let is_asked = matches!(self.drive.grace, Some(Grace::Asked | Grace::Overdue));
        let in_vain = self.drive.grace == Some(Grace::Overdue) && self.facts.parked().is_some();
        let is_due = in_vain || self.facts.durable() >= self.drive.wish;
        if let Some(turn) = turn.filter(|_| is_asked && is_due) {
            self.drive.tools.values().for_each(Running::cancel);
            self.give_grace(turn, Grace::Told, GRACE);
        }
    }

    /// Running tools have a moment: until their wish is durable, and then to give what they have.
    fn give_grace(&mut self, turn: TurnId, grace: Grace, time: Duration) {
        self.drive.grace = Some(grace);
        let me = self.me.clone();
        self.scope.send_after(time, move || tell(&me, Internal::GraceOver(turn, grace)));
    }

    pub(crate) fn on_grace_over(&mut self, turn: TurnId, grace: Grace) {
        // A late timer of an earlier turn, or of an earlier grace, says nothing.
        let is_due = self.drive.grace == Some(grace) && self.drive.tools.keys().any(|call| call.turn == turn);
        match (is_due, grace) {
            // What follows every message looks whether they are to be told now; so it does when the store fails again.
            (true, Grace::Asked) => self.drive.grace = Some(Grace::Overdue),
            (true, Grace::Told) => self.drive.tools.values().for_each(Running::kill),
            (false, _) | (true, Grace::Overdue) => {}
        }
    }

    /// Ends the turn; but first what still runs has its grace, and what was left behind is ended.
    fn finish(&mut self, reason: FinishReason, error: Option<TurnError>) -> Result<bool, ActorProcessingErr> {
        let interrupted = self.facts.conversation().turn().and_then(|turn| turn.interrupted.clone());
        if interrupted.is_some() && !self.drive.tools.is_empty() {
            self.tell_tools();
            return Ok(false); // what runs is told, then killed, and gone before the turn is over
        }
        if self.recover_at_last()? {
            return Ok(true);
        }
        let open: Vec<OpenCall> =
            self.facts.conversation().turn().map(OpenTurn::open_calls).unwrap_or_default();
        let mut waits = false;
        for call in &open {
            if self.end_left_behind(call) {
                continue;
            }
            // A turn that is to end does end: what cannot be ended is said.
            if self.drive.in_vain.get(&call.call.id).is_some_and(|tries| *tries >= END_TRIES) {
                self.facts.record(error_result(&call.call, STILL_RUNS, false))?;
            } else {
                waits = true;
            }
        }
        if waits {
            return Ok(false);
        }
        let why = match (&interrupted, &error) {
            (Some(why), _) => format!("interrupted before it had a result: {why}"),
            (None, Some(error)) => format!("not run: {error}"),
            (None, None) => format!("not run: the turn ended ({reason})"),
        };
        for event in self.facts.conversation().close_calls(&why) {
            self.facts.record(event)?;
        }
        self.end_turn(reason, error)
    }

    fn end_turn(
        &mut self,
        reason: FinishReason,
        error: Option<TurnError>,
    ) -> Result<bool, ActorProcessingErr> {
        let partial = (reason == FinishReason::Interrupted).then(|| self.subscribers.partial());
        let partial = partial.filter(|partial| !partial.is_empty()).map(Text::from);
        let unanswered = self.drive.unanswered;
        let Some(event) = self.facts.conversation().ended_now(reason, error, partial, unanswered, now())
        else {
            return Ok(false);
        };
        self.facts.record(event)?;
        self.subscribers.answered();
        self.drive.turn_over();
        Ok(true)
    }
}

/// What subscribers see of an answer.
fn shown_live(shown: Shown) -> Live {
    match shown {
        Shown::Content(text) => Live::Content(text),
        Shown::Thinking(text) => Live::Thinking(text),
        Shown::Reset => Live::StreamReset,
    }
}

/// What subscribers see of a report; an answer is a fact before they see it.
fn report_live(report: &Report) -> Option<Live> {
    match report {
        Report::Waiting { reason } => Some(Live::Waiting { reason: reason.to_string().into() }),
        Report::Retrying { attempt, delay, error } => {
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            Some(Live::Retrying { attempt: *attempt, delay_ms, reason: error.message.clone() })
        }
        Report::FellBack { from, to, error } => {
            Some(Live::Fallback { from: from.clone(), to: to.clone(), reason: error.message.clone() })
        }
        Report::Admitted | Report::Replied { .. } | Report::Failed { .. } => None,
    }
}

/// Whether a store will take the event.
fn fits(event: &Event) -> bool {
    too_large(event).is_none()
}

/// How many bytes an event has that no store will take. Encoding it to know is only worth it for a very large one.
pub(crate) fn too_large(event: &Event) -> Option<usize> {
    const SURELY: usize = MAX_EVENT_BYTES / 8;
    if event.rough_size() < SURELY {
        return None;
    }
    let bytes = serde_json::to_vec(event).map_or(usize::MAX, |encoded| encoded.len());
    (bytes > MAX_EVENT_BYTES).then_some(bytes)
}
