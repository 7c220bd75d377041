//! Running the calls of a round: gated, in order, each in an actor of its own, none twice that may not be.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ergane_core::{
    ApprovalCause, CallId, CallPhase, CallState, Durability, Effect, Event, OnUnknown, OpenCall, OpenTurn,
    Seq, Text, ToolCall, ToolResult, ToolSpec, schedule,
};
use ergane_otp::Promise;
use ergane_tool::{
    ContextParts, ProcessSink, Progress, ProgressSink, Registered, ToolActor, ToolContext, ToolHandle,
    ToolOutcome, ToolRun, kill_left_behind,
};
use ractor::{ActorProcessingErr, SpawnErr};
use serde_json::{Map, Value};

use crate::actor::{State, tell};
use crate::approvals::Passed;
use crate::facts::unstorable;
use crate::message::{Internal, Live};

/// The tools offered in a turn, as the model is told of them.
pub(crate) type Specs = Arc<[ToolSpec]>;

const CUT_OFF: &str = "this call was cut off by a crash after it had begun. Its effect is unknown: it may have \
    happened wholly, partly or not at all. It was not run again. Check before you repeat it.";

const ASK_CUT_OFF: &str = "a crash cut it off after it had begun, so its effect is unknown: allow it to run once more, \
    deny it to give it up, or tell the result if it was done";

const POISONED: &str = "this call was about to run each time the process died, three times in a row. It was not \
    run again. Try another way.";

const KILLED: &str =
    "the tool was killed before it gave a result; whatever it had begun may have been done in part";

const STILL_AT_WORK: &str =
    ". It could not be ended and is still at work; nothing else is begun before it is gone";

/// A call that runs, or will as soon as its start is durable.
#[derive(Debug)]
pub(crate) enum Running {
    /// Its start must be durable first.
    Waiting(Box<Start>),
    /// Its actor runs.
    Live(ToolHandle),
    /// Its actor has told how it ended, and something of it is still at work.
    Ending(Option<ToolOutcome>),
}

/// A call about to start.
pub(crate) struct Start {
    after: Seq,
    call: ToolCall,
    tool: Registered,
    arguments: Map<String, Value>,
    key: Text,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start")
            .field("after", &self.after)
            .field("call", &self.call.id)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// Whether it has begun.
    pub(crate) fn has_begun(&self) -> bool {
        !matches!(self, Self::Waiting(_))
    }

    /// Tells the call to stop.
    pub(crate) fn cancel(&self) {
        if let Self::Live(handle) = self {
            handle.cancel();
        }
    }

    pub(crate) fn kill(&self) {
        if let Self::Live(handle) = self {
            handle.cell.kill();
        }
    }
}

impl State {
    /// The tools offered in the open turn, resolved once a turn; `None` when the turn needs what is not registered.
    pub(crate) fn specs(&mut self) -> Option<Specs> {
        let turn = self.facts.conversation().turn()?;
        let id = turn.id;
        if let Some((_, specs)) = self.drive.specs.as_ref().filter(|(cached, _)| *cached == id) {
            return Some(Arc::clone(specs));
        }
        self.context.providers().get(&turn.settings.provider)?;
        let specs = self.context.tools().specs(turn.settings.tools.as_deref()).ok()?;
        self.drive.specs = Some((id, Arc::clone(&specs)));
        Some(specs)
    }

    /// Brings the calls of the round on: true when that made facts, so that the kernel must be asked again.
    pub(crate) fn run_tools(&mut self, calls: &[OpenCall]) -> Result<bool, ActorProcessingErr> {
        if self.specs().is_none() || self.facts.durable() < self.drive.barrier {
            return Ok(false);
        }
        let effect_of = |name: &str| self.effect_of(name);
        let judged = self.facts.conversation().turn().map(|turn| turn.judged(calls, effect_of));
        let calls = judged.as_deref().unwrap_or_default();
        let settled = self.settle_cut_off(calls)? || self.pass_gate(calls)? || self.start_due(calls)?;
        if !settled {
            self.start_durable();
        }
        Ok(settled)
    }

    /// What a tool of that name does; one that is not registered is not run at all.
    fn effect_of(&self, name: &str) -> Effect {
        self.context.tools().get(name).map_or(Effect::Read, |tool| tool.effect)
    }

    /// Error results for what an earlier incarnation began, may have done, and must not do twice.
    fn settle_cut_off(&mut self, calls: &[OpenCall]) -> Result<bool, ActorProcessingErr> {
        let mut settled = false;
        for open in calls.iter().filter(|open| open.phase == CallPhase::CutOff) {
            if !self.end_left_behind(open) {
                continue;
            }
            let turn = self.facts.conversation().turn();
            if turn.is_some_and(|turn| turn.settings.on_unknown == OnUnknown::AskHuman) {
                self.request_approval(&open.call, ApprovalCause::CutOff, ASK_CUT_OFF.into())?;
            } else {
                self.facts.record(error_result(&open.call, CUT_OFF, false))?;
            }
            settled = true;
        }
        Ok(settled)
    }

    /// Starts the calls whose turn it is, by the kernel's order. A poisoned one gets its error result then and not
    /// before: while it waited for another, nothing had let it run. True when one did.
    fn start_due(&mut self, calls: &[OpenCall]) -> Result<bool, ActorProcessingErr> {
        let Some(turn) = self.facts.conversation().turn() else { return Ok(false) };
        let limit = turn.settings.limits.max_concurrency;
        let state = |id: CallId, done: bool| match done {
            true => CallState::Done,
            false if self.drive.tools.contains_key(&id) => CallState::Running,
            false if self.drive.is_held(id) => CallState::Held,
            false
                if calls
                    .iter()
                    .any(|open| open.call.id == id && open.phase == CallPhase::AwaitingApproval) =>
            {
                CallState::Held
            }
            false => CallState::Due,
        };
        let batch: Vec<(CallId, (Effect, CallState))> = turn
            .batch()
            .map(|(call, done)| (call.id, (self.effect_of(&call.name), state(call.id, done))))
            .collect();
        let states: Vec<_> = batch.iter().map(|(_, state)| *state).collect();
        for index in schedule(&states, limit) {
            let due = batch.get(index).and_then(|(id, _)| calls.iter().find(|open| open.call.id == *id));
            match due {
                Some(open) if open.phase == CallPhase::Poisoned && self.end_left_behind(open) => {
                    self.facts.record(error_result(&open.call, POISONED, false))?;
                    return Ok(true);
                }
                Some(open) if open.phase == CallPhase::Poisoned => {} // once its process is gone
                Some(open) => self.begin(open)?,
                None => {}
            }
        }
        Ok(false)
    }

    /// Accepts the start of a call as a fact, where its effect needs one; it runs when that is durable.
    fn begin(&mut self, open: &OpenCall) -> Result<(), ActorProcessingErr> {
        if !self.end_left_behind(open) {
            return Ok(());
        }
        // A shutdown would cut it off as soon as it has begun.
        if self.context.is_ending() && self.effect_of(&open.call.name).needs_start_fact() {
            return Ok(());
        }
        // Whatever the order of those who ask: nothing else may ever be started.
        let (starts, key) = match &open.phase {
            CallPhase::Fresh => {
                let identity = self.facts.conversation().identity();
                (true, open.call.id.idempotency_key(&self.name, identity))
            }
            CallPhase::Again { key } => (false, key.clone()),
            _ => return Ok(()),
        };
        // Only what has passed the gate begins.
        let Some(Passed { tool, arguments }) = self.drive.take_passed(open.call.id) else { return Ok(()) };
        if starts && tool.effect.needs_start_fact() {
            let key = key.clone();
            self.facts.record(Event::ToolStarted { call: open.call.id, effect: tool.effect, key })?;
        }
        let start = Start { after: self.facts.accepted(), call: open.call.clone(), tool, arguments, key };
        self.drive.tools.insert(open.call.id, Running::Waiting(Box::new(start)));
        Ok(())
    }

    /// Starts the actors of the calls whose start is durable. Of those whose start was accepted just before a shutdown none begins:
    /// nobody will know any more what came of it, and it is better that nothing did.
    fn start_durable(&mut self) {
        let (durable, is_ending) = (self.facts.durable(), self.context.is_ending());
        let is_due = |running: &Running| match running {
            Running::Waiting(start) => {
                start.after <= durable && !(is_ending && start.tool.effect.needs_start_fact())
            }
            Running::Live(_) | Running::Ending(_) => false,
        };
        let due: Vec<CallId> =
            self.drive.tools.iter().filter(|(_, running)| is_due(running)).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(Running::Waiting(start)) = self.drive.tools.remove(&id) {
                match self.spawn_tool(*start) {
                    Ok(handle) => drop(self.drive.tools.insert(id, Running::Live(handle))),
                    // Its promise has told already that nothing will come of it.
                    Err(error) => {
                        tracing::warn!(session = %self.name, call = %id, %error, "a tool did not start")
                    }
                }
            }
        }
    }

    fn spawn_tool(&self, start: Start) -> Result<ToolHandle, SpawnErr> {
        let Start { call, tool, arguments, key, .. } = start;
        let id = call.id;
        let name = format!("{}#tool/{id}", self.full_name);
        let mut parts = ContextParts::new(self.name.clone(), id, PathBuf::new());
        parts.key = key;
        parts.extend = self.context.extend().clone();
        // Also for a session that is not kept: the journal of the others is the same.
        parts.private = self.context.journal(Durability::Strict).store().files();
        parts.hidden_env.extend(self.context.providers().key_envs().iter().map(ToString::to_string));
        let mut limit = Duration::from_secs(60);
        if let Some(turn) = self.facts.conversation().turn() {
            let settings = &turn.settings;
            parts.meta.clone_from(&turn.meta);
            parts.hidden_env.extend(settings.api_key_env.iter().map(ToString::to_string));
            parts.cwd = PathBuf::from(&*settings.cwd);
            parts.extra_roots = settings.roots.iter().map(|root| PathBuf::from(&**root)).collect();
            parts.permissions = settings.permissions.clone();
            limit = Duration::from_millis(settings.limits.tool_timeout_ms);
        }
        let me = self.me.clone();
        parts.progress = ProgressSink::new(move |progress| tell(&me, Internal::ToolProgress(progress)));
        let me = self.me.clone();
        parts.processes = ProcessSink::new(move |record| tell(&me, Internal::ToolProcess(record)));
        let me = self.me.clone();
        let report = Promise::new(move |outcome| tell(&me, Internal::ToolDone(id, outcome)));
        let timeout = tool.timeout.unwrap_or(limit);
        let (effect, context) = (tool.effect, ToolContext::new(parts));
        let run = ToolRun { call, tool: tool.tool, effect, arguments, context, timeout, report };
        ToolActor::spawn(name, run, self.me.get_cell(), &self.scope)
    }

    /// What came of a call, as a fact; of one that is `still_at_work` that too.
    pub(crate) fn record_result(
        &mut self,
        id: CallId,
        outcome: Option<ToolOutcome>,
        still_at_work: bool,
    ) -> Result<(), ActorProcessingErr> {
        let turn = self.facts.conversation().turn();
        let call = turn
            .and_then(|turn| turn.batch().find(|(call, done)| call.id == id && !done))
            .map(|(call, _)| call);
        let Some(call) = call else { return Ok(()) }; // its turn was ended without it
        let interrupted = turn.and_then(|turn| turn.interrupted.as_ref());
        let event = match (outcome, interrupted) {
            (Some(ToolOutcome { content, is_error, ui, synthetic }), _) => {
                let result = ToolResult { call: id, name: call.name.clone(), content, is_error, synthetic };
                Event::ToolFinished { result: Arc::new(result), denied: false, ui }
            }
            (None, why) => {
                let why =
                    why.map_or(KILLED.to_owned(), |why| format!("interrupted before it had a result: {why}"));
                let rest = if still_at_work { STILL_AT_WORK } else { "" };
                error_result(call, &format!("{why}{rest}"), false)
            }
        };
        let event = match unstorable(&event) {
            Some(why) => {
                error_result(call, &format!("the result cannot be kept: {why}; ask for less"), false)
            }
            None => event,
        };
        self.facts.record(event)?;
        Ok(())
    }

    pub(crate) fn on_tool_progress(&mut self, progress: Progress) {
        let live = Live::ToolProgress(progress.call, progress.text.clone(), progress.skipped);
        self.subscribers.live(progress.call.turn, &live);
    }

    /// A tool has a process group: a fact, before the group may do anything.
    pub(crate) fn on_tool_process(
        &mut self,
        record: ergane_tool::ProcessRecord,
    ) -> Result<(), ActorProcessingErr> {
        let ergane_tool::ProcessRecord { call, group, leader_started, recorded } = record;
        // After the wish to interrupt nothing begins any more.
        let goes_on = |turn: &OpenTurn| turn.is_open(call) && turn.interrupted.is_none();
        let runs =
            self.drive.tools.contains_key(&call) && self.facts.conversation().turn().is_some_and(goes_on);
        // One group a call: recovery knows of the one that is a fact.
        if runs && self.drive.recorded.insert(call) {
            self.facts.record(Event::ToolProcess { call, group, leader_started })?;
            self.drive.to_begin.insert(call, recorded);
        }
        Ok(()) // dropped otherwise, which tells the tool not to run it
    }

    /// What was left behind is gone; or it is not, and nothing is said of its call until it is.
    pub(crate) fn on_left_behind(&mut self, call: CallId, gone: bool) {
        self.drive.being_ended.remove(&call);
        if gone {
            self.drive.ended.insert(call);
            self.drive.held_up.remove(&call);
        } else {
            self.drive.is_held_up_by(call);
            let me = self.me.clone();
            self.scope.send_after(Duration::from_secs(5), move || tell(&me, Internal::Nudge));
        }
        self.retell_parked();
    }

    /// What does not end is tried again, by what follows every message. It holds nothing up any more when its turn was ended meanwhile.
    pub(crate) fn on_nudge(&mut self) {
        let turn = self.facts.conversation().turn();
        self.drive.held_up.retain(|call, _| turn.is_some_and(|turn| turn.is_open(*call)));
        self.drive.pausing = false;
        self.retell_parked();
    }

    /// Ends the process group that an earlier incarnation left to this call. True when there is none, or it is gone.
    pub(crate) fn end_left_behind(&mut self, open: &OpenCall) -> bool {
        let id = open.call.id;
        let Some((group, started)) = open.left_behind else { return true };
        if self.drive.ended.contains(&id) {
            return true;
        }
        if self.drive.pausing {
            return false;
        }
        if self.drive.being_ended.insert(id) {
            let (me, session) = (self.me.clone(), self.name.clone());
            self.scope.spawn("end a process left behind", async move {
                let gone = tokio::task::spawn_blocking(move || kill_left_behind(group, started)).await;
                let gone = matches!(gone, Ok(true));
                if !gone {
                    tracing::error!(%session, call = %id, group, "a process group left behind does not end");
                }
                tell(&me, Internal::LeftBehindGone { call: id, gone });
            });
        }
        false
    }
}

pub(crate) const STILL_RUNS: &str = "a process that an earlier incarnation started for this call still runs and could \
    not be ended; what it does is unknown";

pub(crate) fn is_to_run(open: &OpenCall) -> bool {
    matches!(open.phase, CallPhase::Fresh | CallPhase::Again { .. })
}

pub(crate) fn error_result(call: &ToolCall, why: &str, denied: bool) -> Event {
    Event::ToolFinished { result: Arc::new(ToolResult::made(call, why)), denied, ui: None }
}
