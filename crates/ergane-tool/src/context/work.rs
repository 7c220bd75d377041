//! What a call does while it runs, beside its result: it hears whether it is to end, tells how far it is, and says what works for it,
//! so that all of that ends with it.

use ergane_otp::{Promise, Scope};
use tokio::sync::oneshot;

use super::{CancelToken, ProcessRecord, ToolContext};
use crate::at_work::AtWork;
use crate::error::ToolError;
use crate::process::ProcessGroup;

impl ToolContext {
    /// Whether the call was interrupted. A long loop on a blocking thread should ask.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// fn count(ctx: &ToolContext, numbers: &[u64]) -> Option<u64> {
    ///     let mut sum = 0;
    ///     for number in numbers {
    ///         if ctx.is_cancelled() {
    ///             return None;
    ///         }
    ///         sum += number;
    ///     }
    ///     Some(sum)
    /// }
    /// # assert_eq!(count(&ToolContext::for_test("/tmp"), &[1, 2]), Some(3));
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancel.is_cancelled()
    }

    /// Waits until the call is interrupted. A tool that can stop half-way should select on it, clean up and return
    /// what it has; it gets a short grace before it is dropped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_tool::ToolContext;
    /// let ctx = ToolContext::for_test("/tmp");
    /// # ctx.cancel_token().cancel();
    /// let said = tokio::select! {
    ///     () = ctx.cancelled() => "half of it: it was interrupted",
    ///     () = tokio::time::sleep(std::time::Duration::from_secs(60)) => "all of it",
    /// };
    /// assert_eq!(said, "half of it: it was interrupted");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancelled(&self) {
        self.shared.cancel.cancelled().await;
    }

    /// What says "stop" to this call.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// // A test of a tool interrupts its call by it.
    /// let ctx = ToolContext::for_test("/tmp");
    /// ctx.cancel_token().cancel();
    /// assert!(ctx.is_cancelled());
    /// ```
    pub fn cancel_token(&self) -> CancelToken {
        self.shared.cancel.clone()
    }

    /// Shows subscribers how far the call is. Never blocks; what a reader is too slow for is lost (`false`), and of
    /// more than 16 KiB the end is kept.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// use std::sync::{Arc, Mutex};
    ///
    /// use ergane_tool::{ContextParts, ProgressSink};
    ///
    /// let shown = Arc::new(Mutex::new(String::new()));
    /// let sink = shown.clone();
    /// let mut parts = ContextParts::for_test("/tmp");
    /// parts.progress = ProgressSink::new(move |piece| sink.lock().unwrap().push_str(&piece.text));
    /// assert!(ToolContext::new(parts).progress("3 of 10 files"));
    /// assert_eq!(*shown.lock().unwrap(), "3 of 10 files");
    /// ```
    pub fn progress(&self, text: impl AsRef<str>) -> bool {
        self.shared.progress.send(text.as_ref())
    }

    /// Makes a process group a durable fact of the session, so that recovery finds and ends it if this process is
    /// killed. Returns when it is durable: only then may the group start its work.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_tool::ToolContext;
    /// use ergane_tool::process_started;
    ///
    /// # let ctx = ToolContext::for_test("/tmp");
    /// let mut child = tokio::process::Command::new("sleep").arg("60").process_group(0).spawn()?;
    /// let pid = i32::try_from(child.id().expect("it runs"))?;
    /// let started = process_started(pid).unwrap_or(0);
    /// let group = ctx.guard_group(pid, started); // first: what fails from here on ends it
    /// ctx.record_process(pid, started).await?;
    /// // Only now it is told what to do. (`sleep` needs no word; a shell reads one line first.)
    /// # drop(group);
    /// # child.wait().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ToolError::Failed`] when it could not be recorded; the group must then be ended without having worked.
    pub async fn record_process(&self, group: i32, leader_started: u64) -> Result<(), ToolError> {
        let (sender, receiver) = oneshot::channel();
        let recorded = Promise::new(move |answer: Option<()>| {
            if sender.send(answer).is_err() {
                tracing::debug!("a process was recorded for a tool that is gone");
            }
        });
        self.shared.processes.record(ProcessRecord {
            call: self.shared.call,
            group,
            leader_started,
            recorded,
        });
        match receiver.await {
            Ok(Some(())) => Ok(()),
            Ok(None) | Err(_) => Err(ToolError::failed(
                "the turn was interrupted before its process was a fact, or the call has one already, so it was not run",
            )),
        }
    }

    /// Takes responsibility for a process group: it is killed when the guard is dropped, however that comes about, and
    /// the session's scope waits until it is gone. `leader_started` is [`process_started`](crate::process_started) of
    /// the leader. For the group to be found when its leader is gone, its members carry
    /// [`GROUP_VARIABLE`](crate::GROUP_VARIABLE). Must be called within a tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_tool::ToolContext;
    /// use ergane_tool::process_started;
    ///
    /// # let ctx = ToolContext::for_test("/tmp");
    /// let mut child = tokio::process::Command::new("sleep").arg("60").process_group(0).spawn()?;
    /// let pid = i32::try_from(child.id().expect("it runs"))?;
    /// let started = process_started(pid).unwrap_or(0);
    /// let group = ctx.guard_group(pid, started);
    /// drop(group); // as at a timeout, an interrupt, or the death of the session
    /// assert!(!child.wait().await?.success(), "it was killed");
    /// # Ok(())
    /// # }
    /// ```
    pub fn guard_group(&self, group: i32, leader_started: u64) -> ProcessGroup {
        ProcessGroup::guard(group, leader_started, &self.scope, self.working.share())
    }

    /// The scope in which the call runs: the session's, when the tool actor started it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_tool::ToolContext;
    /// let ctx = ToolContext::for_test("/tmp");
    /// let beside = ctx.scope().spawn("watch the clock", std::future::pending());
    /// // It ends with the session at the latest; a call that is done with it ends it itself.
    /// beside.abort();
    /// # Ok(())
    /// # }
    /// ```
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Says that the call is at work until that is dropped. To be taken along by what an interrupt or a timeout does not end by
    /// itself, such as a thread: what changes the world is followed by nothing before that is done, and a session is not started
    /// again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_tool::ToolContext;
    /// let ctx = ToolContext::for_test("/tmp");
    /// let at_work = ctx.at_work();
    /// let written = tokio::task::spawn_blocking(move || {
    ///     let written = std::fs::write("/dev/null", "a long text");
    ///     drop(at_work);
    ///     written
    /// });
    /// written.await??;
    /// assert_eq!(ctx.scope().alive(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn at_work(&self) -> AtWork {
        AtWork::new(&self.working, &self.scope)
    }
}
