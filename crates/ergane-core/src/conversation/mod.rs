//! The state of a session: a pure fold over its facts.
//!
//! Two lists of messages are kept, both of shared messages: what was *said* (for people), and what is *sent* (for a
//! provider: users' messages that follow each other merged, empty answers and unfinished calls left out). The second
//! is kept beside the first, and not made from it before every request, so that a request costs the same on the first
//! turn and on the thousandth.

mod calls;
mod history;
mod kept;
mod next;
mod poison;
mod records;
mod rewind;
mod schedule;
mod turn;
mod view;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

pub use calls::{CALL_RECOVERY_LIMIT, CallPhase, OpenCall};
pub use history::History;
pub use kept::{Kept, Mark};
pub use next::Next;
pub use records::{Point, QueuedSend, SendRecord, TurnRecord};
use rewind::Line;
pub use schedule::{CallState, schedule};
pub use turn::{OpenTurn, RECOVERY_LIMIT};

use crate::approval::Decided;
use crate::event::{Envelope, Event, Timestamp};
use crate::ids::{CallId, Epoch, Identity, SendId, Seq, TurnId};
use crate::message::{Message, Part, Role};
use crate::settings::Settings;
use crate::usage::{Cost, Usage};

/// A fact that cannot follow those before it: the log is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FoldError {
    /// A position is missing or double.
    #[error("fact {found} follows fact {after}: one is missing or double")]
    Gap {
        /// The last position folded.
        after: Seq,
        /// The position found.
        found: Seq,
    },
    /// An incarnation that was fenced off wrote it.
    #[error("fact {seq} was written by epoch {found} after epoch {current} had begun")]
    OldEpoch {
        /// Its position.
        seq: Seq,
        /// Its epoch.
        found: u64,
        /// The epoch in force.
        current: u64,
    },
    /// It makes no sense here.
    #[error("a fact {event} cannot stand here: {why}")]
    Unexpected {
        /// The kind of the fact.
        event: &'static str,
        /// Why not.
        why: &'static str,
    },
}

/// The state of a session: the fold of its facts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    seq: Seq,
    epoch: Epoch,
    settings: Option<Arc<Settings>>,
    identity: Option<Identity>,
    said: History,
    sent: History,
    queue: VecDeque<QueuedSend>,
    /// Boxed: a session that waits for its next turn has no room for one.
    turn: Option<Box<OpenTurn>>,
    sends: HashMap<SendId, SendRecord>,
    turns: Vec<TurnRecord>,
    /// By call and question: a call that a crash cut off may be asked about more than once.
    decided: BTreeMap<(CallId, Seq), Decided>,
    line: Line,
    /// The wishes that were carried out: each with the position of its fact, and the point.
    rewinds: Vec<(SendId, Seq, Seq)>,
    usage: Usage,
    cost: Cost,
}

impl Conversation {
    /// Folds a whole log.
    ///
    /// # Errors
    /// [`FoldError`] at the first fact that cannot follow those before it.
    pub fn fold<'a>(log: impl IntoIterator<Item = &'a Envelope>) -> Result<Self, FoldError> {
        let mut conversation = Self::default();
        for envelope in log {
            conversation.apply(envelope)?;
        }
        Ok(conversation)
    }

    /// Folds one more fact.
    ///
    /// # Errors
    /// [`FoldError`] when it cannot follow; the conversation must then be thrown away.
    pub fn apply(&mut self, envelope: &Envelope) -> Result<(), FoldError> {
        if envelope.seq != self.seq.next() {
            return Err(FoldError::Gap { after: self.seq, found: envelope.seq });
        }
        if envelope.epoch < self.epoch {
            return Err(FoldError::OldEpoch {
                seq: envelope.seq,
                found: envelope.epoch.0,
                current: self.epoch.0,
            });
        }
        self.apply_event(envelope.seq, envelope.at, &envelope.event)?;
        self.line.mark(envelope.seq, self.said.len());
        self.seq = envelope.seq;
        self.epoch = envelope.epoch;
        Ok(())
    }

    fn apply_event(&mut self, seq: Seq, at: Timestamp, event: &Event) -> Result<(), FoldError> {
        match event {
            Event::SessionStarted { settings, id } => {
                if self.settings.is_some() {
                    return Err(FoldError::Unexpected {
                        event: "session_started",
                        why: "the session has begun",
                    });
                }
                self.settings = Some(Arc::clone(settings));
                self.identity = *id;
            }
            Event::SettingsChanged { patch, tool } => {
                let old = Arc::clone(self.begun("settings_changed")?);
                let new = Arc::new(old.patched(patch));
                // Who grants a tool means the call before his eyes too; all else waits for the next turn.
                if let Some(turn) = &mut self.turn {
                    match (tool, &patch.granted) {
                        (Some(tool), _) => turn.grant(std::iter::once(tool)),
                        (None, Some(granted)) => turn.regrant(&old.permissions.granted, granted),
                        (None, None) => {}
                    }
                }
                self.settings = Some(new);
            }
            Event::Queued { send, input, hash, meta, settings } => {
                self.begun("queued")?;
                let record = SendRecord { seq, hash: *hash, turn: None };
                if self.sends.insert(send.clone(), record).is_some() {
                    return Err(FoldError::Unexpected {
                        event: "queued",
                        why: "the send was accepted before",
                    });
                }
                let (send, input) = (send.clone(), input.clone());
                let (meta, settings) = (meta.clone(), settings.clone());
                self.queue.push_back(QueuedSend { seq, send, input, meta, settings });
            }
            Event::TurnStarted { send } => self.start_turn(seq, at, send)?,
            Event::ModelReplied { iteration, saw, message, .. } => {
                let seen = open(&mut self.turn, "model_replied")?.take_steers(*saw);
                self.say_all(seen);
                let turn = open(&mut self.turn, "model_replied")?;
                if message.role != Role::Assistant {
                    return Err(FoldError::Unexpected {
                        event: "model_replied",
                        why: "it is not an assistant's message",
                    });
                }
                let answered = self.said.last().is_some_and(|last| last.role == Role::Assistant);
                if turn.replies != *iteration || answered {
                    return Err(FoldError::Unexpected { event: "model_replied", why: "no answer was due" });
                }
                turn.progress();
                turn.replies = turn.replies.saturating_add(1);
                turn.origin.clone_from(&message.origin);
                turn.open_batch(message)?;
                let spent = event.spent();
                turn.totals += spent;
                self.usage += spent.usage.unwrap_or_default();
                self.cost += spent.cost;
                self.say(Arc::clone(message));
            }
            Event::ApprovalRequested { call, arguments, cause, why } => {
                let turn = open(&mut self.turn, "approval_requested")?;
                turn.request_approval(*call, seq, *arguments, *cause, why.clone(), at)?;
                turn.progress();
            }
            Event::ApprovalDecided { call, decision, by } => {
                let turn = open(&mut self.turn, "approval_decided")?;
                let question = turn.decide(*call, decision)?;
                turn.progress();
                self.decided
                    .insert((*call, question), Decided { decision: decision.clone(), by: by.clone() });
            }
            Event::ToolStarted { call, effect, key } => {
                let turn = open(&mut self.turn, "tool_started")?;
                turn.start_call(*call, *effect, key.clone())?;
                turn.progress();
            }
            Event::ToolProcess { call, group, leader_started } => {
                open(&mut self.turn, "tool_process")?.set_process(*call, *group, *leader_started)?;
            }
            Event::ToolFinished { result, .. } => {
                let turn = open(&mut self.turn, "tool_finished")?;
                turn.finish_call(result)?;
                turn.progress();
                if turn.is_batch_done() {
                    let results = turn.close_batch(self.said.last().map(|answer| &**answer));
                    self.say(Arc::new(results));
                }
            }
            Event::Steered { send, input, hash } => {
                let turn = open(&mut self.turn, "steered")?;
                let record = SendRecord { seq, hash: *hash, turn: Some(turn.id) };
                turn.steers.push((seq, input.clone()));
                turn.progress();
                if self.sends.insert(send.clone(), record).is_some() {
                    return Err(FoldError::Unexpected {
                        event: "steered",
                        why: "the send was accepted before",
                    });
                }
            }
            Event::InterruptRequested { reason, .. } => {
                let turn = open(&mut self.turn, "interrupt_requested")?;
                turn.interrupted.get_or_insert_with(|| reason.clone());
            }
            Event::Recovered { .. } => open(&mut self.turn, "recovered")?.recover(),
            Event::Checkpointed { label } => {
                self.begun("checkpointed")?;
                self.line.label(label.clone(), seq);
            }
            Event::Rewound { to, id } => {
                self.rewind(seq, *to)?;
                self.rewinds.extend(id.clone().map(|id| (id, seq, *to)));
            }
            Event::Forked { id, .. } => {
                self.begun("forked")?;
                if self.turn.is_some() {
                    return Err(FoldError::Unexpected { event: "forked", why: "a turn is open" });
                }
                self.identity = *id;
                self.rewinds.clear();
                self.queue.clear();
                self.sends.clear();
            }
            Event::TurnEnded { turn, finish, error, partial, totals, .. } => {
                // What no reply has seen is part of the history all the same.
                let rest = open(&mut self.turn, "turn_ended")?.take_steers(seq);
                self.say_all(rest);
                let open = open(&mut self.turn, "turn_ended")?;
                if open.id != *turn || !open.batch.is_empty() {
                    return Err(FoldError::Unexpected {
                        event: "turn_ended",
                        why: "another turn or a call is open",
                    });
                }
                let record = TurnRecord {
                    id: open.id,
                    end: seq,
                    ordinal: u32::try_from(self.turns.len()).unwrap_or(u32::MAX).saturating_add(1),
                    send: open.send.clone(),
                    finish: *finish,
                    error: error.clone(),
                    partial: partial.clone(),
                    totals: *totals,
                    provider: open.origin.as_ref().map_or(&open.settings.provider, |o| &o.provider).clone(),
                    model: open.origin.as_ref().map_or(&open.settings.model, |o| &o.model).clone(),
                    recovered: open.recovered,
                    messages: (open.first_message, self.said.len()),
                    rewound: None,
                };
                if self.turns.is_empty() {
                    self.turns.reserve_exact(1); // most sessions of many have one turn
                }
                self.turns.push(record);
                self.turn = None;
                let spent = event.spent();
                self.usage += spent.usage.unwrap_or_default();
                self.cost += spent.cost;
            }
        }
        Ok(())
    }

    fn begun(&self, event: &'static str) -> Result<&Arc<Settings>, FoldError> {
        self.settings.as_ref().ok_or(FoldError::Unexpected { event, why: "the session has not begun" })
    }

    fn start_turn(&mut self, seq: Seq, at: Timestamp, send: &SendId) -> Result<(), FoldError> {
        let event = "turn_started";
        let settings = Arc::clone(self.begun(event)?);
        if self.turn.is_some() {
            return Err(FoldError::Unexpected { event, why: "a turn is open" });
        }
        let queued = match self.queue.front() {
            Some(first) if first.send == *send => self.queue.pop_front(),
            _ => None,
        };
        let queued =
            queued.ok_or(FoldError::Unexpected { event, why: "its send is not the next in line" })?;
        let settings = match &queued.settings {
            Some(patch) => Arc::new(settings.patched(patch)),
            None => settings,
        };
        let id = TurnId(seq.0);
        if let Some(record) = self.sends.get_mut(send) {
            record.turn = Some(id);
        }
        self.turn =
            Some(Box::new(OpenTurn::new(id, send.clone(), queued.meta, settings, at, self.said.len())));
        self.say(Arc::new(Message::user(queued.input)));
        Ok(())
    }

    fn say_all(&mut self, inputs: Vec<Vec<Part>>) {
        inputs.into_iter().for_each(|input| self.say(Arc::new(Message::user(input))));
    }

    /// Adds a message to what was said, and what a provider may see of it to what is sent.
    fn say(&mut self, message: Arc<Message>) {
        self.said.push(Arc::clone(&message));
        self.send_said(message);
    }

    /// Adds what a provider may see of a message to what is sent.
    fn send_said(&mut self, message: Arc<Message>) {
        let fits = |part: &Part| is_sent(message.role, part);
        let message = if message.parts.iter().all(fits) {
            message
        } else {
            let parts = message.parts.iter().filter(|part| fits(part)).cloned().collect();
            Arc::new(Message { role: message.role, parts, origin: message.origin.clone() })
        };
        if message.role == Role::Assistant && message.is_empty() {
            return;
        }
        send_on(&mut self.sent, message);
    }
}

/// Adds a message to what is sent; users' messages that follow each other are one.
fn send_on(sent: &mut History, message: Arc<Message>) {
    match sent.last() {
        Some(last) if last.role == Role::User && message.role == Role::User => {
            let mut merged = Message::clone(last);
            merged.parts.extend(message.parts.iter().cloned());
            sent.replace_last(Arc::new(merged));
        }
        _ => sent.push(message),
    }
}

fn open<'a>(turn: &'a mut Option<Box<OpenTurn>>, event: &'static str) -> Result<&'a mut OpenTurn, FoldError> {
    turn.as_deref_mut().ok_or(FoldError::Unexpected { event, why: "no turn is open" })
}

/// Whether a provider may see `part` in a message of `role`: no unfinished call, and nothing that only another role
/// can say, whatever a caller put into its input.
fn is_sent(role: Role, part: &Part) -> bool {
    match part {
        Part::Text { .. } | Part::Image { .. } => role != Role::Tool,
        Part::Reasoning(_) | Part::Refusal { .. } | Part::Opaque(_) => role == Role::Assistant,
        Part::ToolCall(call) => role == Role::Assistant && call.complete,
        Part::ToolResult(_) => role == Role::Tool,
    }
}
