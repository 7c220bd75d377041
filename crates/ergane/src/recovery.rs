//! Who starts sessions with an open turn again: after a crash of the process, and after one of their supervisor.
//!
//! It is an actor of the tree that watches the supervisor of the sessions: whenever that comes up, it starts with no
//! children, so the sessions that were in the middle of something are started from the journal.

use std::collections::HashSet;
use std::time::Duration;

use ergane_core::{Durability, SessionName};
use ergane_otp::{ChildSpec, Incarnation, StartContext};
use ergane_session::{Session, SessionContext, SessionError};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

/// What happens to open turns when a system starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// Sessions with an open turn, or with sends that wait, are started at once and go on by themselves.
    #[default]
    Eager,
    /// A session goes on when it is touched.
    Lazy,
}

/// The actor. Everything it does is done by a task in its scope, so it has no messages.
struct Healer;

struct Never;

impl Actor for Healer {
    type Msg = Never;
    type State = ();
    type Arguments = (SessionContext, StartContext);

    async fn pre_start(
        &self,
        _: ActorRef<Never>,
        (context, start): (SessionContext, StartContext),
    ) -> Result<(), ActorProcessingErr> {
        let mut watch = context.namespace().watch(context.sessions().name());
        start.scope.spawn("start sessions with an open turn", async move {
            let mut change = watch.next().await;
            while let Some(seen) = change {
                change = match seen {
                    Incarnation::Up { .. } => tokio::select! {
                        change = watch.next() => change,
                        () = recover(&context) => watch.next().await,
                    },
                    _ => watch.next().await,
                };
            }
        });
        Ok(())
    }

    /// It has no children.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Never>,
        _: SupervisionEvent,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

pub(crate) fn child_spec(context: SessionContext) -> ChildSpec {
    ChildSpec::actor("recovery", move |start| (Healer, (context.clone(), start)))
}

/// Starts every session with an open turn. What cannot be started yet is tried again: a journal that cannot be read
/// now, and a session that another process still owns (it may be on its way out, or die).
async fn recover(context: &SessionContext) {
    let mut delay = Duration::from_millis(50);
    let mut done = HashSet::new();
    loop {
        match context.journal(Durability::Strict).open_turns().await {
            Ok(names) => {
                let left: Vec<_> = names.into_iter().filter(|name| !done.contains(name)).collect();
                if start_all(context, left, &mut done).await {
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "open turns cannot be looked for yet"),
        }
        tokio::time::sleep(delay).await;
        delay = delay.saturating_mul(2).min(Duration::from_secs(5));
    }
}

/// Starts these sessions, beside each other, and then sees what became of each. True when none is left to be tried.
async fn start_all(
    context: &SessionContext,
    names: Vec<SessionName>,
    done: &mut HashSet<SessionName>,
) -> bool {
    let handle = |name| Session::new(context.clone(), name, Durability::Strict);
    let sessions: Vec<Session> = names.into_iter().map(handle).collect();
    for session in &sessions {
        if let Err(error) = session.start().await {
            tracing::debug!(session = %session.name(), %error, "a session with an open turn does not start");
        }
    }
    let mut all = true;
    for session in sessions {
        match session.settings().await {
            Err(SessionError::OwnedElsewhere { pid, .. }) => {
                tracing::debug!(session = %session.name(), pid, "another process owns a session with an open turn");
                all = false;
            }
            outcome => {
                if let Err(error) = outcome {
                    tracing::warn!(session = %session.name(), %error, "an open turn cannot be gone on with");
                }
                done.insert(session.name().clone());
            }
        }
    }
    all
}
