//! What is still at work of a call that has ended.
//!
//! # Why the session waits for it
//!
//! A killed call is dropped at its next await. A body without one, or a thread that it gave work to, goes on, and nobody can end it.
//! What only reads may: it is left behind. But what changes the world may be followed by nothing, or two of them would be at it at
//! once, and the model would look at a world that is still being changed. So its result waits for a moment, until all of it is gone;
//! then it is told as it is, the turn may end, and the session is parked with that reason until the rest is over.

use std::time::Duration;

use ergane_core::CallId;
use ergane_otp::Promise;
use ergane_tool::{ToolHandle, ToolOutcome};
use ractor::ActorProcessingErr;
use tokio::sync::watch;

use crate::actor::{Phase, State, tell};
use crate::message::Internal;
use crate::tools::Running;

/// How long a call that has ended may take to be gone before that is told.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is said again in the log while it is not: a thread may be stuck for ever.
const AGAIN: Duration = Duration::from_secs(300);

impl State {
    pub(crate) fn on_tool_done(
        &mut self,
        id: CallId,
        outcome: Option<ToolOutcome>,
    ) -> Result<(), ActorProcessingErr> {
        let running = self.drive.tools.remove(&id);
        self.drive.to_begin.remove(&id);
        match running {
            Some(Running::Live(handle)) if !handle.may_be_left() => {
                self.await_the_rest(id, outcome, &handle);
                Ok(())
            }
            _ => self.record_result(id, outcome, false),
        }
    }

    fn await_the_rest(&mut self, id: CallId, outcome: Option<ToolOutcome>, handle: &ToolHandle) {
        self.drive.tools.insert(id, Running::Ending(outcome));
        self.look_again(id, GRACE);
        let at_work = self.drive.at_work.get_or_insert_with(|| watch::Sender::new(())).subscribe();
        let me = self.me.clone();
        handle.when_over(Promise::new(move |_| {
            drop(at_work);
            tell(&me, Internal::ToolOver(id));
        }));
    }

    fn look_again(&self, id: CallId, after: Duration) {
        let me = self.me.clone();
        self.scope.send_after(after, move || tell(&me, Internal::ToolOverdue(id)));
    }

    /// Nothing works for the call any more.
    pub(crate) fn on_tool_over(&mut self, id: CallId) -> Result<(), ActorProcessingErr> {
        if self.drive.left_over.remove(&id).is_some() {
            tracing::info!(session = %self.name, call = %id, "what a call had left behind is gone");
            self.retell_parked();
            return Ok(());
        }
        match self.take_ending(id) {
            Some(outcome) => self.record_result(id, outcome, false),
            None => Ok(()),
        }
    }

    /// It has had its moment, or has been told of and is still there.
    pub(crate) fn on_tool_overdue(&mut self, id: CallId) -> Result<(), ActorProcessingErr> {
        if let Some(why) = self.drive.left_over.get(&id) {
            tracing::warn!(session = %self.name, call = %id, %why, "the session is still parked");
            self.look_again(id, AGAIN);
            return Ok(());
        }
        let Some(outcome) = self.take_ending(id) else { return Ok(()) };
        let tool = self.tool_of(id);
        let why = format!(
            "call {id} ({tool}) has ended, and something of it is still at work: nothing is begun before that is gone. If it \
             never ends, end process {}; the session goes on in the next one that opens its journal",
            std::process::id()
        );
        tracing::error!(session = %self.name, call = %id, %why, "a call does not end; the session is parked until it does");
        self.look_again(id, AGAIN);
        self.drive.left_over.insert(id, why);
        self.retell_parked();
        self.record_result(id, outcome, true)
    }

    /// What came of a call that waits for what is still at work of it; it waits no longer.
    fn take_ending(&mut self, id: CallId) -> Option<Option<ToolOutcome>> {
        match self.drive.tools.remove(&id)? {
            Running::Ending(outcome) => Some(outcome),
            other => {
                self.drive.tools.insert(id, other);
                None
            }
        }
    }

    fn tool_of(&self, id: CallId) -> String {
        let turn = self.facts.conversation().turn();
        let call = turn.and_then(|turn| turn.batch().find(|(call, _)| call.id == id));
        call.map_or_else(String::new, |(call, _)| call.name.to_string())
    }

    /// Whether nothing may be begun beside what is still at work. What is to be ended may.
    pub(crate) fn is_held_back(&self) -> bool {
        !self.drive.left_over.is_empty() && matches!(self.phase, Phase::Live)
    }
}
