//! The end of a turn, whoever wants it: what runs is told, then killed, then gone; what was left behind is ended; then it is a fact.

use std::time::Duration;

use ergane_core::{Event, FinishReason, OpenCall, OpenTurn, SendId, Text, TurnError, TurnId};
use ractor::ActorProcessingErr;

use crate::actor::{Phase, State, tell};
use crate::facts::now;
use crate::message::{Grace, Internal, Reply};
use crate::requests::shortened;
use crate::tools::{Running, STILL_RUNS, error_result};

/// How long running tools have after an interrupt before they are killed.
const GRACE: Duration = Duration::from_secs(2);

/// A wish to interrupt that could not be written for so long, because the store takes no facts, is told all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// So often is it tried to end a process that was left behind, before a turn ends without that.
const END_TRIES: u32 = 2;

impl State {
    pub(crate) fn interrupt_when_stopping(&mut self) -> Result<(), ActorProcessingErr> {
        let open = self.facts.conversation().turn().is_some_and(|turn| turn.interrupted.is_none());
        if open && matches!(self.phase, Phase::Stopping(_)) {
            self.interrupt("stop".into(), "the session was stopped".into())?;
        }
        Ok(())
    }

    /// Somebody wants the end of a turn: of the open one, of that one, or of the one of a send. What waits for its turn is not
    /// wanted any more, and its turn ends before anything is done in it.
    pub(crate) fn on_interrupt(
        &mut self,
        by: Text,
        reason: Text,
        turn: Option<TurnId>,
        send: Option<SendId>,
        reply: Reply<bool>,
    ) -> Result<(), ActorProcessingErr> {
        let reason = shortened(reason);
        let conversation = self.facts.conversation();
        let turn = match send {
            None => turn,
            Some(send) if conversation.queue().iter().any(|queued| queued.send == send) => {
                self.drive.unwanted.entry(send).or_insert((by, reason));
                self.acknowledge(reply, true);
                return Ok(());
            }
            Some(send) => match conversation.send(&send).and_then(|known| known.turn) {
                Some(turn) => Some(turn),
                None => {
                    self.acknowledge(reply, false);
                    return Ok(());
                }
            },
        };
        let asked = |open: &&OpenTurn| turn.is_none_or(|turn| turn == open.id);
        match conversation.turn().filter(asked).map(|open| open.interrupted.is_some()) {
            None => {
                let ended = turn.and_then(|turn| conversation.ended(turn));
                let interrupted = ended.is_some_and(|record| record.finish == FinishReason::Interrupted);
                self.acknowledge(reply, interrupted);
            }
            Some(already) => {
                if !already {
                    self.interrupt(by, reason)?;
                }
                self.acknowledge(reply, true);
            }
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
    pub(crate) fn finish(
        &mut self,
        reason: FinishReason,
        error: Option<TurnError>,
    ) -> Result<bool, ActorProcessingErr> {
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
            let id = call.call.id;
            if self.drive.held_up.get(&id).is_some_and(|held_up| held_up.tries >= END_TRIES) {
                self.drive.held_up.remove(&id);
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

    pub(crate) fn end_turn(
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
