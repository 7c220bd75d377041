//! Having the model asked: the loop of the open turn, its step under way, and what comes of it.
//!
//! The loop may die, be cut or answer late. So each step has a number, and whatever is told of another one than is under way is of
//! something that was given up: it decides nothing, but what it cost was paid and is counted.

use std::time::Duration;

use ergane_core::{ErrorKind, FinishReason, Role, Settings, Spent, TurnError, TurnId};
use ergane_loop::{
    LoopActor, LoopArgs, LoopMsg, LoopReport, ModelStep, Report, Reporter, Shown, Step, StepId, Target,
};
use ergane_otp::spawn_now;
use ergane_provider::Endpoint;
use ergane_provider::retry::RetryPolicy;
use ractor::{ActorProcessingErr, ActorRef};

use crate::actor::{State, tell};
use crate::drive::{Flight, Worker};
use crate::facts::unstorable;
use crate::message::{Internal, Live};
use crate::status::Activity;

/// After so many deaths of the loop with no new fact between them the turn ends.
const LOOP_DEATHS: u32 = 3;

impl State {
    /// Has the model asked, once the start of its turn, and of this incarnation's part of it, are durable.
    pub(crate) fn call_model(&mut self) -> Result<bool, ActorProcessingErr> {
        if self.drive.flight.is_some() || self.facts.durable() < self.drive.barrier {
            return Ok(false);
        }
        // Handed over first: where the store takes no time, what the question rests on is told before anything of its answer.
        self.submit_accepted()?;
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
            move |step, shown| match shown {
                Shown::Asked => stage.asked(step),
                Shown::Content(text) => stage.tell(step, &Live::Content(text)),
                Shown::Thinking(text) => stage.tell(step, &Live::Thinking(text)),
                Shown::Reset => stage.tell(step, &Live::StreamReset),
            }
        };
        Reporter::new(show, move |report: LoopReport| {
            if let Some(live) = report_live(&report.report) {
                stage.tell(report.step, &live);
            }
            tell(&me, Internal::Loop(report));
        })
    }

    /// The model call under way is given up, and the loop with it.
    pub(crate) fn drop_model_call(&mut self) {
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
                if let Some(event) = self.facts.conversation().replied(*reply, saw, attempts, before) {
                    match unstorable(&event) {
                        None => {
                            self.drive.answer = self.facts.record(event)?;
                            self.drive.unanswered = None; // the fact has it
                        }
                        Some(why) => {
                            let why = format!("the answer cannot be kept: {why}");
                            let error = TurnError::new(ErrorKind::Protocol, why);
                            self.drive.spent_in_vain(spent);
                            self.end_turn(FinishReason::DuringExecution, Some(error))?;
                        }
                    }
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
        self.subscribers.answered();
    }

    /// A loop that dies in a turn is replaced, until it dies too often without getting anywhere.
    pub(crate) fn on_loop_died(&mut self, since: u64) -> Result<(), ActorProcessingErr> {
        let Some(worker) = self.drive.worker.take_if(|worker| worker.since == since) else {
            return Ok(());
        };
        let under_way = self.drive.flight.take().is_some();
        self.drive.delayed = None;
        let since_then = self.facts.accepted() == self.drive.died_at;
        self.drive.deaths = if since_then { self.drive.deaths.saturating_add(1) } else { 1 };
        self.drive.died_at = self.facts.accepted();
        tracing::warn!(session = %self.name, turn = %worker.turn, deaths = self.drive.deaths, "the loop died");
        self.subscribers.give_up(worker.turn);
        if under_way && self.drive.deaths >= LOOP_DEATHS {
            let why = format!("the loop of the turn died {LOOP_DEATHS} times without getting anywhere");
            self.end_turn(FinishReason::DuringExecution, Some(TurnError::new(ErrorKind::Internal, why)))?;
        }
        Ok(())
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
        Report::Replied { .. } | Report::Failed { .. } => None,
    }
}
