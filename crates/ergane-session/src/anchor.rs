//! The anchor: a session as a child in somebody else's tree.
//!
//! A session always lives under its system's `sessions`, because only that supervisor waits for all that an
//! incarnation started. Another tree gets this stand-in: its end tells the tree that the session ended, and the tree's
//! end of it ends the session.

use ergane_otp::{ExitReason, Incarnation, StartContext, StartError, Started};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::{AbortHandle, JoinHandle};

use crate::context::Counted;
use crate::error::SessionError;
use crate::handle::Session;
use crate::reach::{QUICK, not_found_is_fine};

/// The anchor actor.
#[derive(Debug)]
pub struct Anchor;

/// A reference to an anchor.
pub type AnchorRef = ActorRef<AnchorMsg>;

/// The messages of an anchor.
#[derive(Debug)]
pub enum AnchorMsg {
    /// The session has ended for good.
    Ended(ExitReason),
}

/// The state of an anchor.
#[derive(Debug)]
pub struct AnchorState {
    session: Option<Session>,
    /// A session in a tree does not passivate: there it is to be alive.
    _anchored: Counted,
    watcher: AbortHandle,
}

impl Drop for AnchorState {
    /// However the anchor ends (a kill runs no `post_stop`), the session's process ends with it.
    fn drop(&mut self) {
        self.watcher.abort();
        if let (Some(session), Ok(runtime)) = (self.session.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(end(session));
        }
    }
}

impl Actor for Anchor {
    type Msg = AnchorMsg;
    type State = AnchorState;
    type Arguments = Session;

    async fn pre_start(&self, me: AnchorRef, session: Session) -> Result<AnchorState, ActorProcessingErr> {
        let anchored = session.context().anchor(session.name());
        let mut watch = session.watch();
        let watcher = tokio::spawn(async move {
            let mut last = ExitReason::Normal;
            let ended = loop {
                match watch.next().await {
                    Some(Incarnation::Down { reason, .. }) => last = reason,
                    Some(Incarnation::Quarantined { reason }) => break ExitReason::Error(reason),
                    Some(Incarnation::Gone) | None => break last,
                    Some(_) => {}
                }
            };
            if me.cast(AnchorMsg::Ended(ended)).is_err() {
                tracing::trace!("an anchor was gone before its session");
            }
        });
        Ok(AnchorState { session: Some(session), _anchored: anchored, watcher: watcher.abort_handle() })
    }

    async fn handle(
        &self,
        me: AnchorRef,
        AnchorMsg::Ended(reason): AnchorMsg,
        state: &mut AnchorState,
    ) -> Result<(), ActorProcessingErr> {
        state.session = None; // it has ended: there is nothing to end with the anchor
        if reason.is_crash() {
            return Err(format!("the session ended: {reason}").into());
        }
        me.stop(reason.to_stop_reason());
        Ok(())
    }

    async fn post_stop(&self, _: AnchorRef, state: &mut AnchorState) -> Result<(), ActorProcessingErr> {
        if let Some(session) = state.session.take() {
            end(session).await;
        }
        Ok(())
    }

    /// An anchor has no children.
    async fn handle_supervisor_evt(
        &self,
        _: AnchorRef,
        _: SupervisionEvent,
        _: &mut AnchorState,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl Anchor {
    pub(crate) async fn spawn(
        session: Session,
        name: Option<String>,
        supervisor: ActorCell,
    ) -> Result<(AnchorRef, JoinHandle<()>), SpawnErr> {
        Actor::spawn_linked(name, Self, session, supervisor).await
    }

    pub(crate) async fn start(session: Session, start: StartContext) -> Result<Started, StartError> {
        start.spawn(Self, session).await
    }

    pub(crate) fn start_error(error: SessionError) -> StartError {
        StartError::Failed { reason: ExitReason::Error(error.to_string()) }
    }
}

/// Ends the session's process as a supervisor does: no fact is written, an open turn stays open.
async fn end(session: Session) {
    let ended = session.context().sessions().terminate_child(&session.process_name(), QUICK).await;
    if let Err(error) = ended.or_else(not_found_is_fine) {
        tracing::warn!(session = %session.name(), %error, "a session did not end with its anchor");
    }
}
