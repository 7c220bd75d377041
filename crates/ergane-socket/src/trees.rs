//! How a socket gets the tree of the system that it serves, which stands in an upper room.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::tree::{Node, Problem};

type Taking = Pin<Box<dyn Future<Output = Result<Node, Problem>> + Send>>;

/// Takes the tree of a system. Cheap to clone.
///
/// ```
/// use ergane::otp::{ChildKind, EntryStatus};
/// use ergane::socket::{Node, Trees};
///
/// let trees = Trees::new(|| async { Ok(Node::new("ergane/root", ChildKind::Supervisor, &EntryStatus::Live)) });
/// # drop(trees);
/// ```
#[derive(Clone)]
pub struct Trees(Arc<dyn Fn() -> Taking + Send + Sync>);

impl Trees {
    /// By that function, which is called for each look.
    ///
    /// ```
    /// use ergane::socket::{Problem, Trees};
    ///
    /// let trees = Trees::new(|| async { Err(Problem::new("internal", "it has ended")) });
    /// # drop(trees);
    /// ```
    pub fn new<F>(take: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Node, Problem>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(take())))
    }

    pub(crate) async fn take(&self) -> Result<Node, Problem> {
        (self.0)().await
    }
}

impl fmt::Debug for Trees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trees")
    }
}
