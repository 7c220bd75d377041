//! Driving the open turn: the kernel says what must happen, this hands it to whoever does it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ergane_core::{
    CallId, ErrorKind, Event, FinishReason, Next, OpenCall, OpenTurn, Part, SendId, Seq, Text, TurnError,
    TurnId,
};
use ergane_journal::MAX_EVENT_BYTES;
use ergane_loop::{LoopActor, LoopArgs, LoopMsg, LoopReport, ModelStep, Report, Reporter, Step, StepId};
use ergane_provider::retry::RetryPolicy;
use ergane_provider::{Delta, Endpoint};
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef};

use crate::actor::{Phase, State, tell};
use crate::facts::now;
use crate::message::{Internal, Live};
use crate::status::Activity;
use crate::tools::{Running, Specs};

/// After so many deaths of the loop with no new fact between them the turn ends.
const LOOP_DEATHS: u32 = 3;

/// How long running tools have after an interrupt before they are killed.
const GRACE: Duration = Duration::from_secs(2);

/// What is in flight for the open turn. Nothing of it is a fact: a restart begins with an empty one.
#[derive(Debug, Default)]
pub(crate) struct Drive {
    worker: Option<Worker>,
    flight: Option<Flight>,
    steps: u64,
    deaths: u32,
    partial: String,
    retrying: Option<String>,
    barrier: Seq,
    last_end: Seq,
    grace_over: bool,
    pub(crate) specs: Option<(TurnId, Specs)>,
    pub(crate) tools: HashMap<CallId, Running>,
    pub(crate) being_ended: HashSet<CallId>,
    pub(crate) ended: HashSet<CallId>,
}

/// The loop actor of the open turn.
#[derive(Debug)]
struct Worker {
    actor: ActorRef<LoopMsg>,
    turn: TurnId,
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

    /// The position of the last `TurnEnded` of this incarnation.
    pub(crate) fn last_end(&self) -> Seq {
        self.last_end
    }

    /// What was shown so far of the answer under way.
    pub(crate) fn partial(&self) -> &str {
        &self.partial
    }

    pub(crate) fn grace_over(&mut self, turn: TurnId) {
        // A late timer of an earlier turn finds another one open, or none.
        self.grace_over |= self.tools.keys().any(|call| call.turn == turn);
    }

    pub(crate) fn left_behind_gone(&mut self, call: CallId) {
        self.being_ended.remove(&call);
        self.ended.insert(call);
    }

    pub(crate) fn activity(&self, turn: &OpenTurn) -> Activity {
        if let Some(reason) = &self.retrying {
            return Activity::Retrying { reason: reason.clone() };
        }
        let calls: Vec<String> = turn
            .batch()
            .filter(|(_, done)| !done)
            .map(|(call, _)| format!("{} ({})", call.name, call.id))
            .collect();
        if calls.is_empty() { Activity::CallingModel } else { Activity::RunningTools { calls } }
    }

    /// The model call under way is given up, and the loop with it.
    fn drop_model_call(&mut self) {
        self.flight = None;
        self.retrying = None;
        if let Some(worker) = self.worker.take() {
            worker.actor.stop(None);
        }
    }

    /// Everything that was in flight for the turn is over.
    fn turn_over(&mut self, end: Seq) {
        self.drop_model_call();
        for (_, running) in self.tools.drain() {
            running.kill();
        }
        self.partial.clear();
        self.specs = None;
        self.being_ended.clear();
        self.ended.clear();
        self.grace_over = false;
        self.deaths = 0;
        self.last_end = end;
    }
}

impl State {
    /// Asks the kernel until there is nothing more to hand out.
    pub(crate) async fn advance(&mut self) -> Result<(), ActorProcessingErr> {
        loop {
            self.interrupt_when_stopping()?;
            let progressed = match self.facts.conversation().next() {
                Next::Idle => false,
                Next::StartTurn { send } => self.start_turn(send)?,
                Next::CallModel { .. } => self.call_model().await?,
                Next::RunTools { calls } => self.run_tools(&calls)?,
                Next::Finish { reason, error } => self.finish(reason, error)?,
            };
            if !progressed {
                return Ok(());
            }
        }
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
    async fn call_model(&mut self) -> Result<bool, ActorProcessingErr> {
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
            provider: settings.provider.clone(),
            endpoint: Endpoint {
                base_url: settings.base_url.clone(),
                api_key_env: settings.api_key_env.clone(),
            },
            request,
            idle_timeout: Duration::from_millis(settings.limits.idle_timeout_ms),
            retry: RetryPolicy { max_retries: settings.limits.max_retries, ..RetryPolicy::default() },
        };
        let worker = match self.worker(id).await {
            Ok(worker) => worker,
            Err(error) => {
                let error =
                    TurnError::new(ErrorKind::Internal, format!("the loop could not be started: {error}"));
                return self.end_turn(FinishReason::DuringExecution, Some(error));
            }
        };
        self.drive.steps += 1;
        let id = StepId { turn: id, step: self.drive.steps };
        self.drive.flight = Some(Flight { id, saw });
        self.drive.partial.clear();
        if worker.cast(LoopMsg::Step(id, Step::CallModel(step))).is_err() {
            tracing::debug!(session = %self.name, "the loop was gone before its step; its end is on its way");
        }
        Ok(false)
    }

    /// The loop actor of the turn, started when there is none.
    async fn worker(&mut self, turn: TurnId) -> Result<ActorRef<LoopMsg>, ractor::SpawnErr> {
        match &self.drive.worker {
            Some(worker) if worker.turn == turn => return Ok(worker.actor.clone()),
            _ => self.drive.drop_model_call(),
        }
        let me = self.me.clone();
        let reporter = Reporter::new(move |report| tell(&me, Internal::Loop(report)));
        let args = LoopArgs { providers: self.context.providers().clone(), reporter };
        // A successor has a name of its own: its predecessor's is only free once that one is all gone.
        let name = match self.drive.deaths {
            0 => format!("{}/turn/{turn}", self.full_name),
            deaths => format!("{}/turn/{turn}/restart/{deaths}", self.full_name),
        };
        // Its `pre_start` only keeps its arguments, so this await is over at once.
        let (actor, join) = Actor::spawn_linked(Some(name), LoopActor, args, self.me.get_cell()).await?;
        self.scope.adopt(actor.get_cell(), join);
        self.drive.worker = Some(Worker { actor: actor.clone(), turn });
        Ok(actor)
    }

    pub(crate) fn on_report(&mut self, report: LoopReport) -> Result<(), ActorProcessingErr> {
        let Some(flight) = self.drive.flight.as_ref().filter(|flight| flight.id == report.step) else {
            return Ok(()); // of a step that was given up
        };
        let (turn, saw) = (flight.id.turn, flight.saw);
        match report.report {
            Report::Delta(Delta::Text(text)) => {
                self.drive.retrying = None;
                self.drive.partial.push_str(&text);
                self.subscribers.live(turn, &Live::Content(text));
            }
            Report::Delta(Delta::Reasoning(text)) => self.subscribers.live(turn, &Live::Thinking(text)),
            Report::Delta(_) => {} // a call is shown when it is a fact
            Report::StreamReset => self.stream_reset(turn),
            Report::Retrying { attempt, delay, error } => {
                self.drive.retrying = Some(error.to_string());
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                self.subscribers.live(turn, &Live::Retrying { attempt, delay_ms, reason: error.message });
            }
            Report::Replied { reply, attempts } => {
                self.model_call_over();
                match self.facts.conversation().replied(reply, saw, attempts) {
                    Some(event) if fits(&event) => drop(self.facts.record(event)?),
                    Some(_) => {
                        let why =
                            format!("the answer is larger than the {MAX_EVENT_BYTES} bytes of one event");
                        let error = TurnError::new(ErrorKind::Protocol, why);
                        self.end_turn(FinishReason::DuringExecution, Some(error))?;
                    }
                    None => {}
                }
            }
            Report::Failed { error, .. } => {
                self.model_call_over();
                self.end_turn(error.kind.finish_reason(), Some(TurnError::from(&error)))?;
            }
        }
        Ok(())
    }

    fn model_call_over(&mut self) {
        self.drive.flight = None;
        self.drive.retrying = None;
        self.drive.deaths = 0;
        self.drive.partial.clear();
    }

    fn stream_reset(&mut self, turn: TurnId) {
        if !self.drive.partial.is_empty() {
            self.drive.partial.clear();
        }
        self.subscribers.live(turn, &Live::StreamReset);
    }

    /// A child is gone. A loop that dies in a turn is replaced, until it dies too often without getting anywhere.
    pub(crate) fn on_child_gone(&mut self, child: ActorId) -> Result<(), ActorProcessingErr> {
        let Some(worker) = self.drive.worker.take_if(|worker| worker.actor.get_id() == child) else {
            return Ok(());
        };
        let under_way = self.drive.flight.take().is_some();
        self.drive.retrying = None;
        self.drive.deaths += 1;
        tracing::warn!(session = %self.name, turn = %worker.turn, deaths = self.drive.deaths, "the loop died");
        if !self.drive.partial.is_empty() {
            self.stream_reset(worker.turn);
        }
        if under_way && self.drive.deaths >= LOOP_DEATHS {
            let why = format!("the loop of the turn died {LOOP_DEATHS} times without getting anywhere");
            self.end_turn(FinishReason::DuringExecution, Some(TurnError::new(ErrorKind::Internal, why)))?;
        }
        Ok(())
    }

    /// Asks for the end of the open turn: the model call is dropped, running tools are told and have their grace.
    pub(crate) fn interrupt(&mut self, by: Text, reason: Text) -> Result<(), ActorProcessingErr> {
        let Some(turn) = self.facts.conversation().turn().map(|turn| turn.id) else { return Ok(()) };
        self.facts.record(Event::InterruptRequested { by, reason })?;
        self.drive.drop_model_call();
        // What waited for its start never runs.
        self.drive.tools.retain(|_, running| running.cancel());
        self.drive.grace_over = false;
        if !self.drive.tools.is_empty() {
            let me = self.me.clone();
            self.scope.send_after(GRACE, move || tell(&me, Internal::GraceOver(turn)));
        }
        Ok(())
    }

    /// Ends the turn; but first what still runs has its grace, and what was left behind is ended.
    fn finish(&mut self, reason: FinishReason, error: Option<TurnError>) -> Result<bool, ActorProcessingErr> {
        let interrupted = self.facts.conversation().turn().and_then(|turn| turn.interrupted.clone());
        if interrupted.is_some() && !self.drive.tools.is_empty() && !self.drive.grace_over {
            return Ok(false);
        }
        let open: Vec<OpenCall> =
            self.facts.conversation().turn().map(OpenTurn::open_calls).unwrap_or_default();
        let ended: Vec<bool> = open.iter().map(|call| self.end_left_behind(call)).collect();
        if ended.contains(&false) {
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
        let partial = (reason == FinishReason::Interrupted && !self.drive.partial.is_empty())
            .then(|| Text::from(self.drive.partial.as_str()));
        let Some(event) = self.facts.conversation().ended_now(reason, error, partial, now()) else {
            return Ok(false);
        };
        let end = self.facts.record(event)?;
        self.drive.turn_over(end);
        Ok(true)
    }
}

/// Whether a store will take the event. Encoding it to know is only worth it for a very large one.
fn fits(event: &Event) -> bool {
    const SURELY: usize = MAX_EVENT_BYTES / 8;
    let Event::ModelReplied { message, .. } = event else { return true };
    let rough: usize = message.parts.iter().map(rough_size).sum();
    rough < SURELY || serde_json::to_vec(event).is_ok_and(|bytes| bytes.len() <= MAX_EVENT_BYTES)
}

fn rough_size(part: &Part) -> usize {
    match part {
        Part::Text { text } | Part::Refusal { text } => text.len(),
        Part::ToolCall(call) => call.arguments.len() + call.name.len() + data_size(&call.extra),
        Part::Reasoning(reasoning) => reasoning.text.len() + data_size(&reasoning.data),
        _ => MAX_EVENT_BYTES, // what a model rarely sends is measured
    }
}

/// Opaque data is small or absent; when there is some, it is measured.
fn data_size(data: &serde_json::Map<String, serde_json::Value>) -> usize {
    if data.is_empty() { 0 } else { serde_json::to_vec(data).map_or(MAX_EVENT_BYTES, |bytes| bytes.len()) }
}
