//! What must happen now, and the facts that the kernel itself makes.

use std::sync::Arc;

use super::Conversation;
use super::calls::{CallPhase, OpenCall};
use super::turn::OpenTurn;
use crate::error::{ErrorKind, TurnError};
use crate::event::{Event, Timestamp};
use crate::ids::{SendId, Seq};
use crate::message::{Role, Text, ToolCall, ToolResult};
use crate::reason::{FinishReason, StopReason};
use crate::request::ModelReply;
use crate::usage::{MicroUsd, Spent};

/// What must happen now.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Nothing: no turn is open and nothing is queued.
    Idle,
    /// Start the turn of the next send in line.
    StartTurn {
        /// Which send.
        send: SendId,
    },
    /// Ask the model; [`Conversation::request`] is what to ask.
    CallModel {
        /// How many answers of this turn came before.
        iteration: u32,
    },
    /// Run these calls, as [`schedule`](super::schedule) orders them.
    RunTools {
        /// The calls without a result, in call order; those that [wait](CallPhase::AwaitingApproval) too.
        calls: Vec<OpenCall>,
    },
    /// Wait: about every call without a result somebody must decide first. It takes as long as it takes.
    AwaitApproval {
        /// The calls, in call order.
        calls: Vec<OpenCall>,
    },
    /// End the turn: end what its open calls [left behind](OpenCall::left_behind), close them, write `TurnEnded`.
    Finish {
        /// Why.
        reason: FinishReason,
        /// What went wrong, when something did.
        error: Option<TurnError>,
    },
}

impl Conversation {
    /// What must happen now. Pure: the same facts, the same answer, live or after a crash.
    ///
    /// Of a turn, in this order: interrupted · recovered too often without progress · calls without a result · a
    /// final answer · `max_iterations` · consecutive mistakes · budget · no progress · the model call.
    pub fn next(&self) -> Next {
        let Some(turn) = &self.turn else {
            return match self.queue.front() {
                Some(first) => Next::StartTurn { send: first.send.clone() },
                None => Next::Idle,
            };
        };
        if turn.interrupted.is_some() {
            return Next::Finish { reason: FinishReason::Interrupted, error: None };
        }
        if let Some(why) = &turn.given_up {
            let error = Some(TurnError::new(ErrorKind::Internal, why.clone()));
            return Next::Finish { reason: FinishReason::DuringExecution, error };
        }
        let calls = turn.open_calls();
        if !calls.is_empty() {
            let all_wait = calls.iter().all(|call| call.phase == CallPhase::AwaitingApproval);
            return if all_wait { Next::AwaitApproval { calls } } else { Next::RunTools { calls } };
        }
        // An answer that has not seen what was put in is not the last one.
        if turn.steers.is_empty()
            && let Some((reason, error)) = self.final_answer()
        {
            return Next::Finish { reason, error };
        }
        match self.limit_met(turn) {
            Some(reason) => Next::Finish { reason, error: None },
            None => Next::CallModel { iteration: turn.replies },
        }
    }

    /// How the turn ends when the model's last answer asked for no tool that may run.
    fn final_answer(&self) -> Option<(FinishReason, Option<TurnError>)> {
        let last = self.said.last()?;
        let stop = last.origin.as_ref().map(|origin| &origin.stop);
        (last.role == Role::Assistant).then(|| stop.map_or((FinishReason::Stop, None), finish_of))
    }

    fn limit_met(&self, turn: &OpenTurn) -> Option<FinishReason> {
        let limits = &turn.settings.limits;
        let spent = |limit: Option<MicroUsd>, spent| limit.is_some_and(|limit| spent >= limit);
        if turn.totals.iterations >= limits.max_iterations {
            Some(FinishReason::MaxTurns)
        } else if turn.mistakes >= limits.max_mistakes.max(1) {
            Some(FinishReason::ConsecutiveMistakes)
        } else if spent(limits.turn_budget, turn.totals.cost.known)
            || spent(limits.session_budget, self.cost.known)
        {
            Some(FinishReason::MaxBudgetUsd)
        } else if turn.stalled >= limits.max_stalled.max(2) {
            Some(FinishReason::NoProgress)
        } else {
            None
        }
    }

    /// The fact that the model answered: its calls numbered, what it saw said, and what was spent before in vain. `None`
    /// when no turn is open.
    pub fn replied(
        &self,
        reply: ModelReply,
        saw: Seq,
        attempts: u32,
        unanswered: Option<Spent>,
    ) -> Option<Event> {
        let turn = self.turn.as_ref()?;
        let ModelReply { mut message, usage, cost } = reply;
        // As long as the history lives.
        message.parts.shrink_to_fit();
        message.number_calls(turn.id, turn.totals.tool_calls.saturating_add(1));
        Some(Event::ModelReplied {
            iteration: turn.replies,
            saw,
            message: Arc::new(message),
            usage,
            cost,
            attempts,
            unanswered: unanswered.map(Box::new),
        })
    }

    /// Results for the calls that have none and will get none, each saying `why`, in call order.
    pub fn close_calls(&self, why: &str) -> Vec<Event> {
        let open = self.turn.iter().flat_map(|turn| turn.open_calls());
        open.map(|open| error_result(&open.call, why)).collect()
    }

    /// The fact that the open turn ends now, with the totals of what was folded, and of what came to no answer: so it is
    /// made after the facts of [`close_calls`](Self::close_calls) were applied. `None` when no turn is open.
    pub fn ended_now(
        &self,
        finish: FinishReason,
        error: Option<TurnError>,
        partial: Option<Text>,
        unanswered: Option<Spent>,
        at: Timestamp,
    ) -> Option<Event> {
        let turn = self.turn.as_ref()?;
        let mut totals = turn.totals;
        totals.duration_ms = at.since(turn.started_at);
        totals += unanswered.unwrap_or_default();
        let unanswered = unanswered.map(Box::new);
        Some(Event::TurnEnded { turn: turn.id, finish, error, partial, unanswered, totals })
    }
}

fn error_result(call: &ToolCall, why: &str) -> Event {
    Event::ToolFinished { result: Arc::new(ToolResult::made(call, why)), denied: false, ui: None }
}

/// How a turn ends after an answer that asks for no (usable) tool.
fn finish_of(stop: &StopReason) -> (FinishReason, Option<TurnError>) {
    match stop {
        StopReason::Stop | StopReason::StopSequence | StopReason::ToolCalls | StopReason::Unknown(_) => {
            (FinishReason::Stop, None)
        }
        StopReason::Length | StopReason::ContextWindow => (FinishReason::Length, None),
        StopReason::ContentFilter | StopReason::Refusal => {
            let error =
                TurnError::new(ErrorKind::ContentBlocked, "the model or its provider refused to answer");
            (FinishReason::Refused, Some(error))
        }
        // Ergane offers no tool that runs at a provider, so nobody asked for this.
        StopReason::PauseTurn => {
            let error = TurnError::new(
                ErrorKind::Unsupported,
                "the provider paused its answer, as it does for tools of its own, which were not offered",
            );
            (FinishReason::DuringExecution, Some(error))
        }
        StopReason::MalformedToolCall => {
            let error =
                TurnError::new(ErrorKind::ToolFormat, "the model wrote a tool call that cannot be read");
            (FinishReason::DuringExecution, Some(error))
        }
    }
}
