//! Who starts sessions with an open turn again: after a crash of the process, and after one of their supervisor.
//!
//! It is a child of the root that watches the supervisor of the sessions: whenever that comes up, it has no children,
//! so the sessions that were in the middle of something are brought up from the journal.
//!
//! # Why once for each of them
//!
//! What ends while its supervisor lives has ended for a reason: it was quarantined, stopped, or let go by its anchor.
//! Nobody may undo that by himself. So the open turns are looked for once in a supervisor's life, a session is touched
//! in a way that lifts no quarantine, and only one that another process owns, or that the journal could not tell of, is touched
//! again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use ergane_core::{Durability, SessionName};
use ergane_journal::JournalError;
use ergane_otp::{ChildSpec, Incarnation, Watch};
use ergane_session::{Session, SessionContext, SessionError};
use ractor::ActorId;

use crate::beside;

/// What happens to open turns when a system starts, and when the supervisor of its sessions was started again.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let hang = ScriptedReply { hang: true, ..ScriptedReply::default() };
/// # let system = System::builder().provider("scripted", Scripted::replies([hang])).journal(Sqlite::open(&path)?).start().await?;
/// # let turn = system.session("alice").start().await?.send_message("hello").accepted().await?;
/// # system.shutdown(std::time::Duration::from_secs(5)).await?;
/// # drop(system);
/// // An earlier process ended in the middle of a turn of alice's.
/// let system = System::builder()
///     .provider("scripted", Scripted::builtin())
///     .journal(Sqlite::open(&path)?)
///     .recovery(Recovery::Eager)
///     .start()
///     .await?;
/// let alice = system.whereis("alice").await.expect("she is stored");
/// assert!(alice.turn(turn).await?.recovered, "it was gone on with, although nobody had asked");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// Sessions with an open turn, or with sends that wait, are started at once and go on by themselves.
    #[default]
    Eager,
    /// When the system starts, a session is left alone until it is touched. When the supervisor of the sessions died
    /// and came back, those with an open turn go on by themselves that this process owns: those it has touched.
    Lazy,
}

/// What is known of the healing; it outlives the actor.
#[derive(Debug, Clone)]
struct Healing {
    context: SessionContext,
    recovery: Recovery,
    /// The supervisor whose sessions were brought up last; `None` before the first.
    done: Arc<Mutex<Option<ActorId>>>,
}

pub(crate) fn child_spec(context: SessionContext, recovery: Recovery) -> ChildSpec {
    let healing = Healing { context, recovery, done: Arc::default() };
    ChildSpec::tasks("recovery", move |start| {
        // Watched from here on: what happens before the task first runs is not to be missed.
        let watch = healing.context.namespace().watch(healing.context.sessions().name());
        start.scope.spawn("bring up sessions with an open turn", healing.clone().run(watch));
    })
}

impl Healing {
    async fn run(self, mut watch: Watch) {
        let mut change = watch.next().await;
        while let Some(seen) = change {
            change = match seen {
                Incarnation::Up { pid } => tokio::select! {
                    biased; // one that needs nothing is done, even when it has ended since
                    () = self.heal(pid) => watch.next().await,
                    change = watch.next() => change,
                },
                _ => watch.next().await,
            };
        }
    }

    /// Brings up what the supervisor `pid` should have; not again when that was done before this actor's own restart.
    async fn heal(&self, pid: ActorId) {
        let before = *self.done.lock().unwrap_or_else(PoisonError::into_inner);
        match (before, self.recovery) {
            (Some(done), _) if done == pid => return,
            (None, Recovery::Lazy) => {}
            (_, Recovery::Eager) => self.recover(false).await,
            (Some(_), Recovery::Lazy) => self.recover(true).await,
        }
        *self.done.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
    }

    /// Brings up every session with an open turn, or only those of this process. A journal that cannot be read is read
    /// again, as often as it takes; so is, for a session that another process owns, whether its turn is still open (that
    /// process may be on its way out, or die).
    async fn recover(&self, only_ours: bool) {
        let mut rounds = 0;
        let mut left: Option<HashSet<SessionName>> = None;
        loop {
            match self.context.journal(Durability::Strict).open_turns().await {
                Ok(mut names) => {
                    names.retain(|name| left.as_ref().is_none_or(|left| left.contains(name)));
                    let touched = beside::each(names, |name| touch(self.context.clone(), name, only_ours));
                    let again: HashSet<_> = touched.await.into_iter().flatten().collect();
                    if again.is_empty() {
                        return;
                    }
                    left = Some(again);
                }
                Err(error) => tracing::warn!(%error, "open turns cannot be looked for yet"),
            }
            rounds += 1;
            tokio::time::sleep(JournalError::BACKOFF.after(rounds)).await;
        }
    }
}

/// Brings one session up, and returns its name when it is to be tried again. Asking for its settings does that: unlike
/// `start`, it lifts no quarantine.
async fn touch(context: SessionContext, name: SessionName, only_ours: bool) -> Option<SessionName> {
    match is_meant(&context, &name, only_ours).await {
        Ok(true) => {}
        Ok(false) => return None,
        Err(error) => {
            tracing::warn!(session = %name, %error, "whose a session with an open turn is cannot be told yet");
            return Some(name);
        }
    }
    match Session::new(context, name.clone(), Durability::Strict).settings().await {
        Ok(_) => None,
        Err(SessionError::OwnedElsewhere { pid, .. }) => {
            tracing::debug!(session = %name, pid, "another process owns a session with an open turn");
            Some(name)
        }
        Err(error) if error.may_pass() => {
            tracing::warn!(session = %name, %error, "a session with an open turn cannot be brought up yet");
            Some(name)
        }
        Err(error) => {
            tracing::warn!(session = %name, %error, "an open turn cannot be gone on with");
            None
        }
    }
}

async fn is_meant(
    context: &SessionContext,
    name: &SessionName,
    only_ours: bool,
) -> Result<bool, JournalError> {
    if !only_ours {
        return Ok(true);
    }
    let summary = context.journal(Durability::Strict).summary(name).await?;
    Ok(summary.is_some_and(|summary| summary.owner_pid == Some(std::process::id())))
}
