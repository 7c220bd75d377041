//! Going on from an earlier point.
//!
//! The log only grows, so a rewind is a fact like any other: from it on, the history is what it was at that point. What
//! was said only grows too, so that point is a length. What came after it is no part of the conversation any more; the
//! turns that were rewound keep their messages, because their sends keep their results.

use std::sync::Arc;

use super::{Conversation, FoldError, History, Point};
use crate::ids::{SendId, Seq};
use crate::message::{Message, Part, Role, Text, ToolResult};

/// What a round of tools that a rewind cut in two says of each of its calls.
const CUT: &str = "the conversation was rewound: the round of this call was not finished at that point";

/// Which positions are part of the present history, how much was said at each, and what they are called.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Line {
    /// Positions at which something was said, each with how much was said then.
    said: Vec<(Seq, usize)>,
    labels: Vec<(Text, Seq)>,
    /// What was rewound: after the first, before the second.
    gaps: Vec<(Seq, Seq)>,
}

impl Line {
    /// So much was said at that position.
    pub(super) fn mark(&mut self, seq: Seq, said: usize) {
        if self.said.last().map_or(0, |(_, before)| *before) != said {
            self.said.push((seq, said));
        }
    }

    pub(super) fn label(&mut self, label: Text, seq: Seq) {
        self.labels.push((label, seq));
    }

    /// How much was said at that position; `None` when it is no part of the present history.
    fn said_at(&self, seq: Seq) -> Option<usize> {
        if self.gaps.iter().any(|(after, before)| *after < seq && seq < *before) {
            return None;
        }
        let marks = self.said.partition_point(|(at, _)| *at <= seq);
        Some(marks.checked_sub(1).and_then(|last| self.said.get(last)).map_or(0, |(_, said)| *said))
    }

    /// The history goes on at `seq` from `to`.
    fn rewind(&mut self, seq: Seq, to: Seq) {
        self.said.retain(|(at, _)| *at <= to);
        self.labels.retain(|(_, at)| *at <= to);
        self.gaps.retain(|(after, _)| *after < to);
        self.gaps.push((to, seq));
    }
}

impl Conversation {
    /// The position of a point, when it is part of the present history.
    pub fn position_of(&self, point: &Point) -> Option<Seq> {
        let seq = match point {
            Point::Now => self.seq,
            Point::At(seq) => *seq,
            Point::Label(label) => self.line.labels.iter().rfind(|(name, _)| name == label)?.1,
        };
        (seq <= self.seq && self.line.said_at(seq).is_some()).then_some(seq)
    }

    /// The rewind that carried out that wish: the position of its fact, and the point.
    pub fn rewound(&self, wish: &SendId) -> Option<(Seq, Seq)> {
        self.rewinds.iter().rev().find(|(id, ..)| id == wish).map(|(_, seq, to)| (*seq, *to))
    }

    pub(super) fn rewind(&mut self, seq: Seq, to: Seq) -> Result<(), FoldError> {
        let event = "rewound";
        self.begun(event)?;
        if self.turn.is_some() {
            return Err(FoldError::Unexpected { event, why: "a turn is open" });
        }
        let said = self.line.said_at(to).filter(|_| to <= self.seq);
        let said = said.ok_or(FoldError::Unexpected { event, why: "the point is no part of the history" })?;
        for record in self.turns.iter_mut().rev().take_while(|record| record.end > to) {
            if record.rewound.is_none() && record.messages.1 > said {
                let (first, end) = record.messages;
                let messages = self.said.iter_from(first).take(end.saturating_sub(first));
                record.rewound = Some(messages.cloned().collect());
            }
        }
        self.said.truncate(said);
        if let Some(results) = self.said.last().and_then(|last| results_cut_off(last)) {
            self.said.push(Arc::new(results));
        }
        self.sent = History::default();
        for message in self.said.clone().iter() {
            self.send_said(Arc::clone(message));
        }
        self.line.rewind(seq, to);
        Ok(())
    }
}

/// The results of a round that has none any more, so that the history is valid.
fn results_cut_off(last: &Message) -> Option<Message> {
    let calls = last.calls().filter(|call| call.complete && last.role == Role::Assistant);
    let parts: Vec<Part> = calls.map(|call| Part::ToolResult(ToolResult::made(call, CUT))).collect();
    (!parts.is_empty()).then_some(Message { role: Role::Tool, parts, origin: None })
}
