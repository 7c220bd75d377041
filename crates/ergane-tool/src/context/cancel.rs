//! The wish that a call ends: said once, heard by everybody, also by code on threads.

use std::sync::Arc;

use tokio::sync::watch;

/// Says "stop" to a running call. All clones are one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ergane_tool::ToolContext;
///
/// let ctx = ToolContext::for_test("/tmp");
/// let token = ctx.cancel_token();
/// token.cancel(); // as an interrupt does
/// assert!(ctx.is_cancelled());
/// ctx.cancelled().await; // returns at once from now on
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CancelToken(Arc<watch::Sender<bool>>);

impl Default for CancelToken {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl CancelToken {
    /// Says it. Without effect the second time.
    ///
    /// ```
    /// use ergane_tool::CancelToken;
    ///
    /// let (token, clone) = { let token = CancelToken::default(); (token.clone(), token) };
    /// token.cancel();
    /// assert!(clone.is_cancelled(), "all clones are one");
    /// ```
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was said.
    ///
    /// ```
    /// assert!(!ergane_tool::CancelToken::default().is_cancelled());
    /// ```
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is said.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ergane_tool::CancelToken;
    ///
    /// let token = CancelToken::default();
    /// let said = token.clone();
    /// let ((), ()) = tokio::join!(token.cancelled(), async move { said.cancel() });
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancelled(&self) {
        let mut receiver = self.0.subscribe();
        // An error would mean that the sender is gone, and `self` holds it.
        if receiver.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
