//! The moment before a system ends: model calls under way come to their end, and their answers become facts.
//!
//! A model call is paid for when it is made. Cut off by a shutdown it is made again after the next start, and paid for
//! again. So no new ones are made, and those under way have a moment; then so have the sessions that wait for them, to
//! take what came and have it written.

use std::time::Duration;

use ergane_otp::until;
use ergane_session::{Activity, SessionContext, session_of_process};
use ractor::ActorCell;
use tokio::time::Instant;

use crate::beside;
use crate::sessions::status_of;

/// So often it is looked whether sessions have taken their answers. They do within microseconds, but for the disk.
const LOOK: Duration = Duration::from_millis(1);

pub(crate) async fn drain(context: &SessionContext, patience: Duration) {
    let until = until(patience);
    let left = context.providers().drain(patience).await;
    if left > 0 {
        tracing::info!(left, "model calls are cut off by the end of the system");
    }
    // Also where none was under way: one may have ended a moment ago, and its answer be in a mailbox.
    while Instant::now() < until && !are_settled(context, until).await {
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether no session has an answer that it has not yet taken and had written.
async fn are_settled(context: &SessionContext, until: Instant) -> bool {
    let names = context.namespace().names().into_iter();
    let sessions = names.filter(|(name, _)| session_of_process(name).is_some());
    let cells = sessions.filter_map(|(name, _)| context.namespace().whereis(&name)).collect::<Vec<_>>();
    beside::each(cells, |cell| is_settled(cell, until)).await.into_iter().all(|settled| settled)
}

/// One that is gone has nothing to take. One that waits to ask, or to ask once more, is not asking: that it asks is known before
/// anything comes of it.
async fn is_settled(cell: ActorCell, until: Instant) -> bool {
    status_of(cell, until).await.is_none_or(|status| match status.activity {
        Activity::CallingModel => false,
        Activity::Parked { .. } => true, // its store may be full for days
        _ => status.durable >= status.accepted,
    })
}
