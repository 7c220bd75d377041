//! The open turn: what is known of it.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use crate::approval::{ApprovalCause, Decision, PendingApproval};
use crate::digest::Digest;
use crate::effect::Effect;
use crate::event::{Timestamp, TurnTotals};
use crate::ids::{CallId, SendId, Seq, TurnId};
use crate::message::{ImageSource, Message, Origin, Part, Role, Text, ToolCall, ToolResult};
use crate::settings::Settings;

use super::FoldError;
use super::calls::{Approval, Call, OpenCall};

/// So many `Recovered` without progress end a turn.
pub const RECOVERY_LIMIT: u32 = 10;

/// A turn that has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenTurn {
    /// Its id.
    pub id: TurnId,
    /// The send it answers.
    pub send: SendId,
    /// What the program gave with that send for its tools.
    pub meta: Option<Arc<Value>>,
    /// Its settings: those in force when it started.
    pub settings: Arc<Settings>,
    /// When it started.
    pub started_at: Timestamp,
    /// What it has used so far; the duration is only known at the end.
    pub totals: TurnTotals,
    /// How many answers the model gave.
    pub replies: u32,
    /// Whether a part of it ran in an earlier incarnation.
    pub recovered: bool,
    /// Whether somebody asked for its end, and why.
    pub interrupted: Option<Text>,
    /// Who answered last.
    pub origin: Option<Origin>,
    pub(super) first_message: usize,
    pub(super) batch: Vec<Call>,
    pub(super) mistakes: u32,
    pub(super) stalled: u32,
    /// What was put in and is not said yet, because no reply has seen it.
    pub(super) steers: Vec<(Seq, Vec<Part>)>,
    /// Why it is not recovered once more. A verdict, not a count: what closes its calls is no reason to go on.
    pub(super) given_up: Option<Text>,
    signature: Option<Digest>,
    /// The `Recovered` since the last progress.
    recoveries: u32,
}

impl OpenTurn {
    pub(super) fn new(
        id: TurnId,
        send: SendId,
        meta: Option<Arc<Value>>,
        settings: Arc<Settings>,
        started_at: Timestamp,
        first_message: usize,
    ) -> Self {
        Self {
            id,
            send,
            meta,
            settings,
            started_at,
            totals: TurnTotals::default(),
            replies: 0,
            recovered: false,
            interrupted: None,
            origin: None,
            first_message,
            batch: Vec::new(),
            mistakes: 0,
            stalled: 0,
            steers: Vec::new(),
            given_up: None,
            signature: None,
            recoveries: 0,
        }
    }

    /// Grants these tools in this turn, beside what its settings grant.
    pub(super) fn grant<'a>(&mut self, tools: impl IntoIterator<Item = &'a Text>) {
        for tool in tools {
            if !self.settings.permissions.granted.contains(tool) {
                Arc::make_mut(&mut self.settings).permissions.granted.push(tool.clone());
            }
        }
    }

    /// The session grants other tools than before: what is new is granted here too, and what was taken back is not any
    /// more. All else stays as it is: the send may have said otherwise of it.
    pub(super) fn regrant(&mut self, before: &[Text], now: &[Text]) {
        let (had, has): (HashSet<_>, HashSet<_>) = (before.iter().collect(), now.iter().collect());
        if had.difference(&has).next().is_some() {
            let granted = &mut Arc::make_mut(&mut self.settings).permissions.granted;
            granted.retain(|tool| has.contains(tool) || !had.contains(tool));
        }
        self.grant(now.iter().filter(|tool| !had.contains(tool)));
    }

    /// The calls without a result, in call order.
    pub fn open_calls(&self) -> Vec<OpenCall> {
        let on_unknown = self.settings.on_unknown;
        self.batch.iter().filter(|call| call.is_open()).map(|call| call.opened(on_unknown)).collect()
    }

    /// The calls that somebody must decide about, in call order.
    pub fn approvals(&self) -> Vec<PendingApproval> {
        self.batch.iter().filter_map(Call::pending).collect()
    }

    /// The question about a call that waits for a decision: its position, and the fingerprint of the arguments.
    pub(super) fn question(&self, id: CallId) -> Option<(Seq, Digest)> {
        let call = self.batch.iter().find(|call| call.call.id == id && call.is_awaiting())?;
        let approval = call.approval.as_ref()?;
        Some((approval.question, approval.arguments))
    }

    /// How many words were put in that no reply has seen yet.
    pub fn unseen_steers(&self) -> usize {
        self.steers.len()
    }

    /// Takes what was put in up to that position: it is said now. What a user says is new, so nothing stalls.
    pub(super) fn take_steers(&mut self, upto: Seq) -> Vec<Vec<Part>> {
        let seen = self.steers.partition_point(|(seq, _)| *seq <= upto);
        if seen > 0 {
            self.signature = None;
        }
        self.steers.drain(..seen).map(|(_, input)| input).collect()
    }

    /// Whether a call of this id waits for its result.
    pub fn is_open(&self, id: CallId) -> bool {
        self.batch.iter().any(|call| call.call.id == id && call.is_open())
    }

    /// The calls of the last answer in call order, and whether each has its result.
    pub fn batch(&self) -> impl Iterator<Item = (&ToolCall, bool)> {
        self.batch.iter().map(|call| (&call.call, call.result.is_some()))
    }

    pub(super) fn is_batch_done(&self) -> bool {
        self.batch.iter().all(|call| call.result.is_some())
    }

    pub(super) fn recover(&mut self) {
        self.recovered = true;
        self.batch.iter_mut().for_each(Call::recover);
        // Waiting for a human does not count. (A call beside it that kills the process is counted as a call.)
        if self.batch.iter().any(Call::is_awaiting) {
            return;
        }
        // How long it took does not count: no fact tells how much of that time a process lived.
        self.recoveries = self.recoveries.saturating_add(1);
        if self.recoveries >= RECOVERY_LIMIT {
            let why = format!("the turn was recovered {RECOVERY_LIMIT} times without any progress");
            self.given_up.get_or_insert(why.into());
        }
    }

    pub(super) fn progress(&mut self) {
        self.recoveries = 0;
    }

    /// Takes the calls of an answer in: those that may run are open.
    pub(super) fn open_batch(&mut self, message: &Message) -> Result<(), FoldError> {
        self.batch.clear();
        for call in message.calls() {
            self.totals.tool_calls = self.totals.tool_calls.saturating_add(1);
            if call.id != (CallId { turn: self.id, index: self.totals.tool_calls }) {
                return Err(FoldError::Unexpected {
                    event: "model_replied",
                    why: "its calls are numbered wrongly",
                });
            }
            if call.complete {
                self.batch.push(Call::new(call.clone()));
            }
        }
        Ok(())
    }

    fn call_mut(&mut self, event: &'static str, id: CallId) -> Result<&mut Call, FoldError> {
        self.batch
            .iter_mut()
            .find(|call| call.call.id == id && call.is_open())
            .ok_or(FoldError::Unexpected { event, why: "no such call is open" })
    }

    pub(super) fn start_call(&mut self, id: CallId, effect: Effect, key: Text) -> Result<(), FoldError> {
        let call = self.call_mut("tool_started", id)?;
        if call.started.is_some() {
            return Err(FoldError::Unexpected { event: "tool_started", why: "the call was started before" });
        }
        call.started = Some((effect, key));
        call.recoveries = 0;
        Ok(())
    }

    pub(super) fn request_approval(
        &mut self,
        id: CallId,
        question: Seq,
        arguments: Digest,
        cause: ApprovalCause,
        why: Text,
        since: Timestamp,
    ) -> Result<(), FoldError> {
        let event = "approval_requested";
        let call = self.call_mut(event, id)?;
        let undecided = call.is_awaiting();
        // What runs, or has run, is not asked about, unless a crash cut it off.
        let running = call.started.is_some() && (cause == ApprovalCause::Permission || call.recoveries == 0);
        if undecided || running {
            return Err(FoldError::Unexpected { event, why: "there is nothing to decide about the call" });
        }
        call.approval = Some(Approval { question, arguments, cause, why, since, decision: None });
        Ok(())
    }

    /// Takes a decision in, and returns the position of the question that it answers.
    pub(super) fn decide(&mut self, id: CallId, decision: &Decision) -> Result<Seq, FoldError> {
        let event = "approval_decided";
        let call = self.call_mut(event, id)?;
        let Some(question) = call.question().filter(|_| call.is_awaiting()) else {
            return Err(FoldError::Unexpected { event, why: "the call does not wait for a decision" });
        };
        call.decide(decision.clone());
        Ok(question)
    }

    pub(super) fn set_process(&mut self, id: CallId, group: i32, started: u64) -> Result<(), FoldError> {
        let call = self.call_mut("tool_process", id)?;
        (call.process, call.orphaned) = (Some((group, started)), false);
        Ok(())
    }

    pub(super) fn finish_call(&mut self, result: &Arc<ToolResult>) -> Result<(), FoldError> {
        let call = self.call_mut("tool_finished", result.call)?;
        call.result = Some(Arc::clone(result));
        // From now on they are counted for those that waited for it.
        call.recoveries = 0;
        Ok(())
    }

    /// Closes a finished round of tools: counts it and returns the message with its results, in call order.
    pub(super) fn close_batch(&mut self, answer: Option<&Message>) -> Message {
        let results: Vec<Arc<ToolResult>> =
            self.batch.iter().filter_map(|call| call.result.clone()).collect();
        self.totals.iterations = self.totals.iterations.saturating_add(1);
        let failed = results.iter().all(|result| result.is_error);
        self.mistakes = if failed { self.mistakes.saturating_add(1) } else { 0 };
        let signature = self.round_signature(&results, answer);
        let same = self.signature == Some(signature);
        self.stalled = if same { self.stalled.saturating_add(1) } else { 1 };
        self.signature = Some(signature);
        self.batch.clear();
        let parts = results.iter().map(|result| Part::ToolResult(ToolResult::clone(result))).collect();
        Message { role: Role::Tool, parts, origin: None }
    }

    /// What makes two rounds equal: the words beside the calls, the calls, and all that came back.
    fn round_signature(&self, results: &[Arc<ToolResult>], answer: Option<&Message>) -> Digest {
        let mut round = answer.map(|answer| answer.text().trim().to_owned()).unwrap_or_default();
        let mut add = |piece: &str| {
            round.push('\0');
            round.push_str(piece);
        };
        for (call, result) in self.batch.iter().zip(results) {
            add(&call.call.name);
            add(&call.call.arguments);
            add(&result.text());
            for part in &result.content {
                if let Part::Image { source: ImageSource::Base64(image) | ImageSource::Url(image), .. } = part
                {
                    add(image);
                }
            }
        }
        Digest::of(round.as_bytes())
    }
}
