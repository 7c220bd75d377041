//! Work on files, on threads that may block, and stopped when its call is.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ergane_tool::{CancelToken, ToolContext, ToolError};

/// Tells the work whether anybody still wants it.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    dropped: Arc<AtomicBool>,
    cancel: CancelToken,
}

impl Stop {
    /// That of a call whose future is not dropped before it has its result.
    pub(crate) fn of(ctx: &ToolContext) -> Self {
        Self { dropped: Arc::default(), cancel: ctx.cancel_token() }
    }

    /// `Err` when the call was interrupted, timed out or dropped.
    pub(crate) fn check(&self) -> Result<(), ToolError> {
        let stopped = self.dropped.load(Ordering::Relaxed) || self.cancel.is_cancelled();
        if stopped { Err(ToolError::Cancelled) } else { Ok(()) }
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` on the blocking pool. When the future is dropped, `work` hears of it by its [`Stop`].
pub(crate) async fn blocking<T: Send + 'static>(
    ctx: &ToolContext,
    work: impl FnOnce(&Stop) -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    let stop = Stop::of(ctx);
    let _guard = SetOnDrop(stop.dropped.clone());
    // A dropped future does not end the thread: what it still does is known to the session.
    let at_work = ctx.at_work();
    let work = move || {
        let _until_it_is_done = at_work;
        work(&stop)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The tool actor makes an error result of it, as of any other panic.
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(_) => Err(ToolError::Cancelled),
    }
}
