//! Whether anything of a call is still at work, after its actor has told how it ended.
//!
//! A killed call drops its body at the next await. A body that has none, a thread that the body gave work to and a process group
//! live on for a while, or for ever, and a call that changes the world may not be followed by another one before they are gone. So
//! each of them holds a share of the call, and the last share tells the session.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use ergane_otp::{Hold, Promise, Scope};

/// The call, as those share it who are at work for it.
#[derive(Debug, Default)]
pub(crate) struct Work(Mutex<Option<Promise<()>>>);

/// Says, as long as it is held, that its call is at work. See [`ToolContext::at_work`](crate::ToolContext::at_work).
#[must_use = "dropped, it says that the work is done"]
pub struct AtWork {
    _call: Option<Arc<Work>>,
    _place: Hold,
}

impl AtWork {
    pub(crate) fn new(call: &Working, scope: &Scope) -> Self {
        Self { _call: call.share(), _place: scope.keep("work of a tool") }
    }
}

impl fmt::Debug for AtWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtWork")
    }
}

/// Whether a call is at work, for who does not work at it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Working(Weak<Work>);

impl Working {
    pub(crate) fn of(work: &Arc<Work>) -> Self {
        Self(Arc::downgrade(work))
    }

    pub(crate) fn share(&self) -> Option<Arc<Work>> {
        self.0.upgrade()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// The promise is dropped when nothing is at work for the call any more, which answers it.
    pub(crate) fn when_over(&self, told: Promise<()>) {
        if let Some(work) = self.share() {
            // Dropped after the lock, like the share: what it answers is a stranger's code.
            let before = work.0.lock().unwrap_or_else(PoisonError::into_inner).replace(told);
            drop(before);
        }
    }
}
