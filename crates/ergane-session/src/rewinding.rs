//! Naming points of the history, and going on from one.

use ergane_core::{Event, Point, SendId, Seq, Text};
use ractor::ActorProcessingErr;

use crate::actor::State;
use crate::error::SessionError;
use crate::message::Reply;
use crate::waiters::answer;

impl State {
    pub(crate) fn on_checkpoint(&mut self, label: Text, reply: Reply<Seq>) -> Result<(), ActorProcessingErr> {
        if self.facts.conversation().settings().is_none() {
            answer(reply, Err(SessionError::NotFound(self.name.clone())));
        } else if !is_label(&label) {
            answer(reply, Err(SessionError::BadLabel(label.chars().take(128).collect())));
        } else {
            let seq = self.facts.record(Event::Checkpointed { label })?;
            self.acknowledge(reply, seq);
        }
        Ok(())
    }

    pub(crate) fn on_rewind(
        &mut self,
        id: SendId,
        to: &Point,
        reply: Reply<Seq>,
    ) -> Result<(), ActorProcessingErr> {
        // Asked again because an incarnation died before it could answer: what was said since stays.
        if let Some((seq, to)) = self.facts.conversation().rewound(&id) {
            self.acknowledge_at(seq, reply, to);
            return Ok(());
        }
        match self.may_rewind(to) {
            Err(error) => answer(reply, Err(error)),
            Ok(to) => {
                self.facts.record(Event::Rewound { to, id: Some(id) })?;
                self.acknowledge(reply, to);
            }
        }
        Ok(())
    }

    fn may_rewind(&self, to: &Point) -> Result<Seq, SessionError> {
        let conversation = self.facts.conversation();
        let session = || self.name.clone();
        if conversation.settings().is_none() {
            return Err(SessionError::NotFound(session()));
        }
        if let Some(turn) = conversation.turn() {
            let ending = turn.interrupted.is_some();
            return Err(SessionError::TurnOpen { session: session(), turn: turn.id.0, ending });
        }
        // A send whose turn is about to begin rests on what is there.
        if !conversation.queue().is_empty() {
            return Err(SessionError::Busy { session: session(), queued: conversation.queue().len() });
        }
        let found = conversation.position_of(to);
        found.ok_or_else(|| SessionError::NoSuchPoint { session: session(), point: to.clone() })
    }
}

/// A number alone is a position.
fn is_label(label: &str) -> bool {
    let chars = label.chars().count();
    (1..=128).contains(&chars) && !label.trim().is_empty() && !label.chars().all(|c| c.is_ascii_digit())
}
