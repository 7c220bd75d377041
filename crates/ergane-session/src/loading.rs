//! How an incarnation comes by its facts: it opens its log, which fences off every earlier one, and folds what it finds.
//!
//! # Why a task does it
//!
//! A long log takes a while, and a disk that is away takes as long as it likes. Meanwhile the session is there: it tells its status,
//! keeps what is asked of it for a moment, and then says why it cannot answer yet.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ergane_core::{Conversation, Envelope, Epoch, FoldError, Seq, SessionName};
use ergane_journal::{JournalError, JournalPort};
use ractor::ActorProcessingErr;

use crate::actor::{Phase, State, refuse, tell};
use crate::context::SessionContext;
use crate::error::{SessionError, is_away};
use crate::facts::Facts;
use crate::message::Internal;
use crate::reach::FAILURES;

/// A log of more facts is folded off the runtime's workers, where others want to run, and while it is read.
const LONG: u64 = 1000;

impl State {
    /// Loads the log in a task: opening it fences off every earlier incarnation, and nothing is read past that.
    pub(crate) fn load(&self) {
        let (me, context, name, port) =
            (self.me.clone(), self.context.clone(), self.name.clone(), self.port().clone());
        self.scope.spawn("load the log", async move {
            let mut failures = 0;
            loop {
                let outcome = load(&context, &port, &name).await;
                let message = match outcome {
                    Ok(Ok(loaded)) => Internal::Loaded(Ok(Box::new(loaded))),
                    Ok(Err(damage)) => Internal::Damaged(damage),
                    Err(error) if error.is_retryable() && owner(&error).is_none() => {
                        failures += 1;
                        tell(&me, Internal::LoadDelayed { error, failures });
                        tokio::time::sleep(JournalError::BACKOFF.after(failures)).await;
                        continue;
                    }
                    Err(error) => Internal::Loaded(Err(error)),
                };
                return tell(&me, message);
            }
        });
    }

    pub(crate) fn on_loaded(
        &mut self,
        (conversation, epoch): (Conversation, Epoch),
    ) -> Result<(), ActorProcessingErr> {
        tracing::debug!(session = %self.name, seq = %conversation.seq(), epoch = epoch.0, "session loaded");
        self.subscribers.set_head(conversation.seq());
        self.facts = Facts::loaded(conversation, epoch);
        let is_to_stop = self.context.is_to_stop(&self.name);
        self.phase = if is_to_stop { Phase::Stopping(Vec::new()) } else { Phase::Live };
        self.snapshot_when_due();
        if self.facts.conversation().turn().is_some() {
            let restarted = self.incarnation > 1;
            let cause =
                if restarted { "the session's actor was restarted" } else { "the session was opened" };
            self.drive.unrecovered = Some(cause.into());
            // A turn that cannot go on here is not recovered: opening it costs no budget.
            if !self.is_unresolved() {
                self.recover_at_last()?;
            }
        }
        for message in std::mem::take(&mut self.stash) {
            self.receive(message)?;
        }
        Ok(())
    }

    /// Who asks something is told why the log cannot be loaded, before long, and not kept waiting: how long it is worth that, only he
    /// knows. A lock was waited for already.
    pub(crate) fn on_load_delayed(&mut self, error: JournalError, failures: u32) {
        let is_told = !is_away(&error) || failures >= FAILURES;
        if is_told {
            self.refuse_stash(&error.clone().into());
        }
        self.phase = Phase::Loading { delayed: Some(error), is_told };
    }

    pub(crate) fn on_load_failed(&mut self, error: JournalError) {
        if let Some(pid) = owner(&error) {
            // Nothing is wrong with the session: it is somebody else's. Nobody may be kept waiting for it here.
            let error = SessionError::OwnedElsewhere { session: self.name.clone(), pid };
            self.refuse_stash(&error);
            self.me.stop(None);
        } else {
            self.damaged(error.to_string());
        }
    }

    pub(crate) fn damaged(&mut self, reason: String) {
        tracing::error!(session = %self.name, %reason, "session quarantined: its log cannot be read");
        let error = SessionError::Quarantined { session: self.name.clone(), reason };
        self.refuse_stash(&error);
        self.phase = Phase::Damaged(error);
    }

    fn refuse_stash(&mut self, error: &SessionError) {
        for message in std::mem::take(&mut self.stash) {
            refuse(message, error.clone());
        }
    }
}

/// The living process that owns the session, when that is what the error says.
fn owner(error: &JournalError) -> Option<u32> {
    match error {
        JournalError::Busy { pid, .. } => Some(*pid),
        _ => None,
    }
}

type Loaded = Result<(Conversation, Epoch), String>;

async fn load(
    context: &SessionContext,
    port: &JournalPort,
    name: &SessionName,
) -> Result<Loaded, JournalError> {
    let opened = port.open(name).await?;
    // Never closed, so the only error cannot happen; without a permit the load is only less polite.
    let _permit = if port.store().is_instant() { None } else { context.loading().acquire().await.ok() };
    let (all, none) = (opened.next_seq, Seq(0));
    let folded = if all.0 > LONG && !port.store().is_instant() {
        // A panic is damage of this log, and no failure of the store.
        let folding = |pieces: Pieces<'_>| catch_unwind(AssertUnwindSafe(|| fold(pieces)));
        port.work_on(name, none, all, folding).await?.map_err(|_| "it panicked".to_owned())
    } else {
        // What an instant store has it shares with everybody, so there is nothing to be read meanwhile.
        let log = port.load(name, none, all).await?;
        let folding = move || Conversation::fold(log.iter().map(Arc::as_ref));
        if all.0 <= LONG {
            Ok(folding())
        } else {
            tokio::task::spawn_blocking(folding).await.map_err(|error| error.to_string())
        }
    };
    Ok(match folded {
        Ok(folded) => folded.map(|folded| (folded, opened.epoch)).map_err(|damage| damage.to_string()),
        Err(panicked) => Err(format!("folding the log failed: {panicked}")),
    })
}

type Pieces<'a> = &'a mut (dyn Iterator<Item = Vec<Envelope>> + 'a);

fn fold(pieces: Pieces<'_>) -> Result<Conversation, FoldError> {
    let mut conversation = Conversation::default();
    for piece in pieces {
        piece.iter().try_for_each(|envelope| conversation.apply(envelope))?;
    }
    Ok(conversation)
}
