//! Does what another process asks, but for turns.

use std::path::PathBuf;
use std::process;

use ergane_core::Durability;
use ergane_session::{Session, SessionContext, SessionError, Steered};

use crate::siblings;
use crate::tree::{Problem, Process};
use crate::trees::Trees;
use crate::wire::{Answer, Ask, ENTERED, IDLE, point};

/// What questions are about.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    /// The journal's file, as it is known to all who open it.
    pub(crate) journal: PathBuf,
    pub(crate) context: SessionContext,
    pub(crate) trees: Trees,
}

impl Served {
    pub(crate) async fn answer(&self, ask: Ask) -> Result<Answer, Problem> {
        let Some(name) = ask.session().cloned() else { return self.tree().await };
        let mut refused = SessionError::NotFound(name.clone());
        for context in siblings::of(&self.journal, &self.context, &name) {
            // As it stands: it is asked and told of, and not started for that.
            let session = Session::new(context, name.clone(), Durability::Strict);
            match done(session, ask.clone()).await {
                Err(error) if is_of_a_sibling(&error) => refused = error,
                done => return done.map_err(problem),
            }
        }
        Err(problem(refused))
    }

    async fn tree(&self) -> Result<Answer, Problem> {
        Ok(Answer::Tree(Box::new(Process {
            pid: Some(process::id()),
            journal: self.journal.to_string_lossy().into_owned(),
            system: Some(self.context.namespace().prefix().to_owned()),
            tree: Some(self.trees.take().await?),
            error: None,
        })))
    }
}

/// Does it with the session; what came of it.
async fn done(session: Session, ask: Ask) -> Result<Answer, SessionError> {
    let done = match ask {
        Ask::Approvals { .. } => return Ok(Answer::Approvals { approvals: session.approvals().await? }),
        Ask::Approve { call, question, arguments, decision, by, .. } => {
            let mut approve = session.approve(call, decision).arguments(arguments);
            if let Some(question) = question {
                approve = approve.question(question);
            }
            if let Some(by) = by {
                approve = approve.by(by);
            }
            approve.await.map(|()| "decided".to_owned())?
        }
        Ask::Interrupt { reason, .. } => {
            if session.interrupt(reason).await? { "interrupted" } else { IDLE }.to_owned()
        }
        Ask::InterruptSend { key, reason, .. } => {
            if session.interrupt_send(key, reason).await? { "interrupted" } else { IDLE }.to_owned()
        }
        Ask::Lift { .. } => {
            session.start().await?;
            // It is brought up; whether its log can be read now is known when it has been.
            session.settings().await?;
            "lifted".to_owned()
        }
        Ask::Steer { input, key, cut, .. } => {
            let mut steer = session.steer(input);
            if let Some(key) = key {
                steer = steer.key(key);
            }
            let steer = if cut { steer.cut() } else { steer };
            match steer.await? {
                Steered::Entered => ENTERED,
                Steered::TurnOver => IDLE,
            }
            .to_owned()
        }
        Ask::Checkpoint { label, .. } => session.checkpoint(label).await?.to_string(),
        Ask::Rewind { to, .. } => session.rewind(point(to)).await?.to_string(),
        Ask::Tree | Ask::Turn(_) => {
            return Err(SessionError::System("that is answered elsewhere".to_owned()));
        }
    };
    Ok(Answer::Done { done })
}

/// Whether another system of this process has it.
pub(crate) fn is_of_a_sibling(error: &SessionError) -> bool {
    matches!(error, SessionError::OwnedElsewhere { pid, .. } if *pid == process::id())
}

pub(crate) fn problem(error: SessionError) -> Problem {
    Problem { may_pass: error.may_pass(), ..Problem::new(error.code(), error.to_string()) }
}

#[cfg(test)]
mod tests;
