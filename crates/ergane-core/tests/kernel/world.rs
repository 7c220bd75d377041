//! A random world around the kernel: asks `next`, does what it says as a session would, with random models, tools,
//! users and crashes, and keeps its own books of what ran.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use ergane_core::*;
use proptest::prelude::*;
use serde_json::{Map, json};

use crate::log::{Log, call, effect_of, finished, key_of, settings};

/// What decides a life; shown on one line.
#[derive(Clone)]
pub(crate) struct Rolls(pub(crate) Vec<u16>);

impl fmt::Debug for Rolls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// So many rolls.
pub(crate) fn rolls(count: Range<usize>) -> impl Strategy<Value = Rolls> {
    prop::collection::vec(any::<u16>(), count).prop_map(Rolls)
}

/// Numbers that decide. 0 is the sober choice everywhere, so that a failing case shrinks to a dull one.
#[derive(Debug)]
pub(crate) struct Dice<'a> {
    rolls: std::slice::Iter<'a, u16>,
    sober: bool,
}

impl<'a> Dice<'a> {
    /// Decides by `rolls`, and then no more.
    pub(crate) fn new(rolls: &'a [u16]) -> Self {
        Self { rolls: rolls.iter(), sober: false }
    }

    /// Decides for the sober choice, always.
    pub(crate) fn sober() -> Self {
        Self { rolls: [].iter(), sober: true }
    }

    fn roll(&mut self, sides: usize) -> Option<usize> {
        match self.rolls.next() {
            Some(roll) => Some(usize::from(*roll) % sides),
            None => self.sober.then_some(0),
        }
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        Some(from[self.roll(from.len())?].clone())
    }

    fn once_in(&mut self, times: usize) -> Option<bool> {
        Some(self.roll(times)? == times - 1)
    }
}

/// A session's log, and what an observer outside knows of its tools.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) log: Log,
    /// The calls whose body runs in this incarnation.
    running: BTreeSet<CallId>,
    /// How often each body was begun.
    pub(crate) bodies: BTreeMap<CallId, u32>,
    /// The process group of a call in this incarnation, and what an earlier one left.
    processes: BTreeMap<CallId, (i32, u64)>,
    left: BTreeMap<CallId, (i32, u64)>,
    /// A model that asks for the same call for ever, of a tool that says the same for ever.
    stubborn: bool,
    /// A model call under way: the position at which its request was built.
    asked: Option<Seq>,
}

const NAMES: [&str; 5] = ["read", "bash", "todo", "glob", "no such\ttool"];
const TEXTS: [&str; 7] = ["done", "", "hello", "  \n", "é\u{0}\u{1F9F5} \"q\" \\", "{\"a\":", "0"];
const ARGUMENTS: [&str; 9] =
    ["{}", "", "null", "{\"b\": 1, \"a\":[2.50]}", "[1]", "{\"x\":", "\"s\"", " {} ", "{\"n\":1e999}"];

impl World {
    /// Lives as long as the dice roll.
    pub(crate) fn random(rolls: &[u16]) -> Self {
        let mut dice = Dice::new(rolls);
        let mut world = Self::young(&mut dice).unwrap_or_else(|| Self::of(Log::new(settings())));
        while world.moment(&mut dice).is_some() {}
        world
    }

    fn of(log: Log) -> Self {
        Self {
            log,
            running: BTreeSet::new(),
            bodies: BTreeMap::new(),
            processes: BTreeMap::new(),
            left: BTreeMap::new(),
            stubborn: false,
            asked: None,
        }
    }

    fn young(dice: &mut Dice<'_>) -> Option<Self> {
        let mut settings = settings();
        settings.limits.max_iterations = dice.pick(&[25, 3, 1, 0])?;
        settings.limits.max_mistakes = dice.pick(&[3, 1, 0])?;
        settings.limits.max_concurrency = dice.pick(&[4, 1, 2])?;
        settings.limits.turn_budget = dice.pick(&[None, Some(MicroUsd(20))])?;
        settings.limits.session_budget = dice.pick(&[None, None, Some(MicroUsd(90))])?;
        Some(Self { stubborn: dice.once_in(5)?, ..Self::of(Log::new(settings)) })
    }

    /// What happens in the next moment: mostly what the kernel asks for, at times something from outside.
    /// `None` when the dice are out.
    fn moment(&mut self, dice: &mut Dice<'_>) -> Option<()> {
        self.log.now.0 += dice.pick(&[1, 0, 50, 20_000, -5])?;
        let in_turn = self.log.conversation.turn().is_some();
        match dice.roll(20)? {
            16 if in_turn => {
                self.log.steer(dice.pick(&["faster", " "])?);
                if dice.once_in(3)? {
                    self.asked = None; // it cuts the stream
                }
            }
            15 if !in_turn && self.log.conversation.queue().is_empty() => {
                self.log.push(Event::Checkpointed { label: "here".into() });
                let to = Seq(dice.roll(usize::try_from(self.log.conversation.seq().0).ok()?)? as u64);
                if let Some(to) = self.log.conversation.position_of(&to.into()) {
                    self.log.push(Event::Rewound { to, id: None });
                }
            }
            17 => self.queue(dice)?,
            18 if in_turn => {
                let after = dice.pick(&[1, 1_000, 200_000])?;
                (0..dice.pick(&[1, 1, 3])?).for_each(|_| self.crash(after));
            }
            19 if in_turn && dice.once_in(3)? => self.log.interrupt(),
            19 if dice.once_in(2)? => {
                let max_iterations = dice.pick(&[None, Some(2)])?;
                let system_prompt = dice.pick(&[None, Some("be brief".into())])?;
                let patch = SettingsPatch { max_iterations, system_prompt, ..SettingsPatch::default() };
                self.log.push(Event::SettingsChanged { patch: patch.into(), tool: None });
            }
            _ => self.act(dice)?,
        }
        Some(())
    }

    /// Does one thing that the kernel asks for; a new send when it asks for nothing.
    pub(crate) fn act(&mut self, dice: &mut Dice<'_>) -> Option<()> {
        match self.log.next() {
            Next::Idle => self.queue(dice)?,
            Next::StartTurn { send } => self.log.push(Event::TurnStarted { send }),
            Next::CallModel { .. } if dice.once_in(12)? => {
                let error = ProviderError::new(ErrorKind::Auth, "no key");
                self.end(error.kind.finish_reason(), Some(TurnError::from(&error)), None);
            }
            Next::CallModel { .. } if self.asked.is_none() && dice.once_in(2)? => {
                self.asked = Some(self.log.conversation.seq());
            }
            Next::CallModel { .. } => self.reply(dice)?,
            Next::RunTools { .. } if dice.once_in(40)? => {
                let error = TurnError::new(ErrorKind::Internal, "the loop died three times");
                self.end(FinishReason::DuringExecution, Some(error), None);
            }
            Next::RunTools { calls } => self.use_tools(&calls, dice)?,
            Next::AwaitApproval { calls } => {
                assert!(calls.iter().all(|open| open.phase == CallPhase::AwaitingApproval));
                self.decide(dice)?;
            }
            Next::Finish { reason: FinishReason::Interrupted, .. } if dice.once_in(3)? => self.grace(dice)?,
            Next::Finish { reason, error } => {
                let partial = dice.pick(&[None, Some("half an ans"), Some(" ")])?;
                self.end(reason, error, partial.filter(|_| reason == FinishReason::Interrupted));
            }
        }
        Some(())
    }

    /// Goes on soberly until nothing is left to do.
    pub(crate) fn go_on_to_the_end(&mut self) {
        let mut steps = 0;
        while self.log.next() != Next::Idle {
            self.act(&mut Dice::sober());
            steps += 1;
            assert!(steps < 2_000, "no end in sight: {:?}", self.log.next());
        }
    }

    /// The process dies, and the session is opened again.
    pub(crate) fn crash(&mut self, after: i64) {
        self.running.clear();
        self.asked = None;
        self.left.append(&mut self.processes);
        self.log.recover(after);
    }

    fn queue(&mut self, dice: &mut Dice<'_>) -> Option<()> {
        let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("AA==".into()) };
        let text = dice.pick(&["go on", "é\u{2028}"])?;
        let input = if dice.once_in(5)? { vec![image, text.into()] } else { vec![text.into()] };
        self.log.queue(input);
        Some(())
    }

    fn reply(&mut self, dice: &mut Dice<'_>) -> Option<()> {
        let mut parts = Vec::new();
        if dice.once_in(4)? {
            let data = Map::from_iter([("signature".to_owned(), json!({"z": "Eo==", "a": [1, null]}))]);
            parts.push(Part::Reasoning(Reasoning {
                text: "hm".into(),
                field: Some("thinking".into()),
                data,
            }));
        }
        parts.push(dice.pick(&TEXTS)?.into());
        for _ in 0..dice.roll(5)? {
            let mut part = call(dice.pick(&NAMES)?, dice.pick(&ARGUMENTS)?, !dice.once_in(4)?);
            if let Part::ToolCall(call) = &mut part {
                call.wire_id = dice.pick(&[None, Some("same".into())])?;
            }
            parts.push(part);
        }
        if dice.once_in(8)? {
            parts.push(Part::Refusal { text: dice.pick(&["I will not", ""])?.into() });
        }
        let stop = dice.pick(&[
            StopReason::Stop,
            StopReason::ToolCalls,
            StopReason::StopSequence,
            StopReason::Length,
            StopReason::ContextWindow,
            StopReason::ContentFilter,
            StopReason::Refusal,
            StopReason::MalformedToolCall,
            StopReason::Unknown("odd".into()),
        ])?;
        let tokens = u64::try_from(dice.roll(1000)?).ok();
        let usage = tokens.map(|n| Usage { input_tokens: n, output_tokens: n / 3, ..Usage::default() });
        let cost = dice.pick(&[Some(MicroUsd(9)), None, Some(MicroUsd(30)), Some(MicroUsd(0))])?;
        if self.stubborn {
            parts = vec![call("read", "{}", true)];
        }
        let saw = self.asked.take().unwrap_or(self.log.conversation.seq());
        let event = self.log.replied_to(saw, parts, stop, usage, cost);
        self.log.push(event);
        Some(())
    }

    /// Finishes a call that runs, or starts one that may start.
    fn use_tools(&mut self, calls: &[OpenCall], dice: &mut Dice<'_>) -> Option<()> {
        for open in calls {
            let id = open.call.id;
            assert_eq!(open.left_behind, self.left.get(&id).copied(), "what was left to {id}");
            assert!(open.phase != CallPhase::InFlight || self.running.contains(&id), "{id} runs nowhere");
        }
        let turn = self.log.conversation.turn().expect("a turn is open");
        let calls = turn.judged(calls, effect_of);
        let batch: Vec<(CallId, Effect, bool)> =
            turn.batch().map(|(call, done)| (call.id, effect_of(&call.name), done)).collect();
        let waits: BTreeSet<CallId> = turn.approvals().iter().map(|pending| pending.call).collect();
        let state = |id: &CallId, done: &bool| match done {
            true => CallState::Done,
            false if self.running.contains(id) => CallState::Running,
            false if waits.contains(id) => CallState::Held,
            false => CallState::Due,
        };
        let stages: Vec<_> = batch.iter().map(|(id, effect, done)| (*effect, state(id, done))).collect();
        let ready = schedule(&stages, turn.settings.limits.max_concurrency);
        let running = batch.iter().filter(|(id, ..)| self.running.contains(id)).map(|(id, ..)| *id);
        let touched: Vec<CallId> = running.chain(ready.into_iter().map(|at| batch[at].0)).collect();
        if touched.is_empty() || (!waits.is_empty() && dice.once_in(3)?) {
            return self.decide(dice);
        }
        let id = dice.pick(&touched)?;
        let alone = batch.iter().any(|(id, effect, _)| *effect == Effect::Write && self.running.contains(id));
        let most = if alone { 1 } else { turn.settings.limits.max_concurrency as usize };
        assert!(self.running.len() <= most, "{:?} run at once", self.running);
        let open = calls.iter().find(|open| open.call.id == id).expect("what may start is open");
        if self.running.contains(&id) { self.go_on(id, dice) } else { self.begin(open, dice) }
    }

    fn go_on(&mut self, id: CallId, dice: &mut Dice<'_>) -> Option<()> {
        if dice.once_in(6)? && !self.processes.contains_key(&id) {
            let process = (i32::from(u16::try_from(dice.roll(30_000)?).ok()?), 77);
            self.left.remove(&id);
            self.processes.insert(id, process);
            self.log.push(Event::ToolProcess { call: id, group: process.0, leader_started: process.1 });
            return Some(());
        }
        let image = Part::Image { mime: "image/png".into(), source: ImageSource::Url("http://x/y".into()) };
        let content = match dice.pick(&[1, 0, 2])? {
            0 => Vec::new(),
            1 => vec![dice.pick(&TEXTS)?.into()],
            _ => vec![dice.pick(&TEXTS)?.into(), image],
        };
        let failed = dice.once_in(3)?;
        let mut event = if self.stubborn {
            finished(id, vec!["as before".into()], false)
        } else {
            finished(id, content, failed)
        };
        if let Event::ToolFinished { ui, .. } = &mut event {
            let (part, whole) = (dice.roll(10_000)? as f64, 1.0 + dice.roll(10_000)? as f64);
            *ui = dice.pick(&[None, Some(json!({"kind": "diff", "data": {"ratio": part / whole}}))])?;
        }
        self.done(id);
        self.log.push(event);
        Some(())
    }

    fn begin(&mut self, open: &OpenCall, dice: &mut Dice<'_>) -> Option<()> {
        let (id, effect) = (open.call.id, effect_of(&open.call.name));
        let unusable = open.call.arguments().is_err() || dice.once_in(8)?;
        match &open.phase {
            CallPhase::CutOff if dice.once_in(3)? => self.request(open, ApprovalCause::CutOff),
            CallPhase::CutOff | CallPhase::Poisoned | CallPhase::DoneOtherwise { .. } => {
                self.refuse(id, false)
            }
            CallPhase::Denied { .. } => self.refuse(id, true),
            CallPhase::Fresh if !open.approved && dice.once_in(5)? => {
                self.request(open, ApprovalCause::Permission);
            }
            CallPhase::Fresh if unusable => self.refuse(id, dice.once_in(2)?),
            CallPhase::Fresh => {
                if effect.needs_start_fact() {
                    self.log.push(Event::ToolStarted { call: id, effect, key: key_of(id) });
                }
                self.run(id);
            }
            CallPhase::Again { key } => {
                assert_eq!(*key, key_of(id));
                self.run(id);
            }
            CallPhase::InFlight | CallPhase::AwaitingApproval => panic!("{id} may not start"),
        }
        Some(())
    }

    fn request(&mut self, open: &OpenCall, cause: ApprovalCause) {
        let arguments = Digest::of(open.call.arguments.as_bytes());
        self.log.push(Event::ApprovalRequested { call: open.call.id, arguments, cause, why: "why".into() });
    }

    /// Somebody decides about a call that waits.
    fn decide(&mut self, dice: &mut Dice<'_>) -> Option<()> {
        let pending = dice.pick(&self.log.conversation.turn()?.approvals())?;
        let call = pending.call;
        let decision =
            dice.pick(&[Decision::deny("no"), Decision::Allow, Decision::Done { result: "by hand".into() }])?;
        if decision == Decision::Allow && pending.cause == ApprovalCause::CutOff {
            self.left.remove(&call); // it begins anew; what it had left behind was ended before anybody was asked
        }
        self.log.push(Event::ApprovalDecided { call, decision, by: "user".into() });
        Some(())
    }

    fn run(&mut self, id: CallId) {
        *self.bodies.entry(id).or_default() += 1;
        self.running.insert(id);
    }

    /// A result that is none of the tool's.
    fn refuse(&mut self, id: CallId, denied: bool) {
        let closed = self.log.conversation.close_calls("it did not run").into_iter();
        for event in closed {
            if let Event::ToolFinished { result, ui, .. } = event
                && result.call == id
            {
                self.done(id);
                self.log.push(Event::ToolFinished { result, denied, ui });
            }
        }
    }

    fn done(&mut self, id: CallId) {
        self.running.remove(&id);
        self.processes.remove(&id);
        self.left.remove(&id);
    }

    /// What arrives after an interrupt and before the end: a result of a call that ran, or the model's reply.
    fn grace(&mut self, dice: &mut Dice<'_>) -> Option<()> {
        let turn = self.log.conversation.turn()?;
        let open = turn.open_calls().len();
        let asked = self.log.conversation.messages().last().is_some_and(|m| m.role != Role::Assistant);
        match self.running.first().copied() {
            Some(id) => self.go_on(id, dice)?,
            None if open == 0 && asked && self.asked.is_some() => self.reply(dice)?,
            None => {}
        }
        Some(())
    }

    fn end(&mut self, finish: FinishReason, error: Option<TurnError>, partial: Option<&str>) {
        self.running.clear();
        self.processes.clear();
        self.left.clear();
        self.asked = None;
        self.log.end(finish, error, partial);
    }
}
