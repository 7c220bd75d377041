//! The socket of a system: an actor of its tree, which does nothing but hold those who listen and answer.
//!
//! # Why it is not restarted when it fails
//!
//! A folder that cannot be written, a path that cannot be an address, a socket that somebody removed: none of them may cost a
//! system its restarts, let alone end it. So whoever keeps it tries again, later and later, and says meanwhile why it cannot be
//! reached ([`Socket::status`]).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ergane_otp::{Backoff, ChildSpec, Scope};
use ergane_session::SessionContext;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::answer::Served;
use crate::server::{self, Places};
use crate::trees::Trees;

/// The pause before a socket that failed is made anew: the first, and the longest.
const PAUSES: Backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(60) };
/// Past it, a start does not wait for the socket any longer. A folder on a disk that hangs may take that long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the socket of a system stands.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ergane::socket::SocketStatus;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// let system = System::builder().journal(Sqlite::open(&path)?).start().await?;
/// match system.tree().await?.find("socket").and_then(|node| node.socket.clone()) {
///     Some(SocketStatus::Open { path }) => println!("reached by {}", path.display()),
///     Some(other) => panic!("not reached: {other}"),
///     None => println!("its journal is no file, or it was told to have none"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketStatus {
    /// It is being made.
    Opening,
    /// Other processes reach the system by it.
    Open {
        /// Where it is.
        path: PathBuf,
    },
    /// Nobody reaches the system from outside. It is tried again.
    Failed {
        /// Why.
        reason: String,
    },
    /// The system ends, or has ended.
    Closed,
}

impl fmt::Display for SocketStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening => f.write_str("it is being made"),
            Self::Open { path } => write!(f, "open: {}", path.display()),
            Self::Failed { reason } => write!(f, "other processes cannot reach this one: {reason}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// The socket of a system. Cheap to clone; what it does, it does once [`child_spec`](Self::child_spec) is started.
///
/// A `System` has one by itself. This is for programs that put the parts together on their own.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ergane::otp::{ChildKind, EntryStatus, Intensity, Supervisor};
/// use ergane::socket::{Node, Socket, SocketStatus, Trees};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// let system = System::builder().journal(Sqlite::open(&path)?).socket(false).start().await?;
/// let context = system.context().clone();
/// let trees = Trees::new(|| async { Ok(Node::new("ours", ChildKind::Supervisor, &EntryStatus::Live)) });
/// let socket = Socket::new(path.canonicalize()?, context.clone(), trees);
/// let children = vec![socket.child_spec("socket")];
/// Supervisor::start(context.namespace(), "ours", Intensity::default(), children, None).await?;
/// socket.tried().await;
/// assert!(matches!(socket.status(), SocketStatus::Open { .. }));
/// socket.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Socket(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    served: Arc<Served>,
    status: watch::Sender<SocketStatus>,
    closing: watch::Sender<bool>,
    /// When all are back, nothing of it holds on to the system.
    places: Places,
}

impl Socket {
    /// Of the system whose sessions share `context`, beside `journal`: a file's absolute path without links.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane::socket::{Problem, Socket, SocketStatus, Trees};
    /// # let system = System::builder().start().await?;
    /// let trees = Trees::new(|| async { Err(Problem::new("internal", "there is none")) });
    /// let socket = Socket::new("/tmp/ergane.db", system.context().clone(), trees);
    /// assert_eq!(socket.status(), SocketStatus::Opening);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(journal: impl Into<PathBuf>, context: SessionContext, trees: Trees) -> Self {
        Self(Arc::new(Shared {
            served: Arc::new(Served { journal: journal.into(), context, trees }),
            status: watch::Sender::new(SocketStatus::Opening),
            closing: watch::Sender::new(false),
            places: Places::new(),
        }))
    }

    /// How it is started, for the supervisor of the system.
    ///
    /// See [`Socket`] for an example:
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane::socket::{Problem, Socket, Trees};
    /// # let system = System::builder().start().await?;
    /// # let trees = Trees::new(|| async { Err(Problem::new("internal", "there is none")) });
    /// let socket = Socket::new("/tmp/ergane.db", system.context().clone(), trees);
    /// assert_eq!(socket.child_spec("socket").id, "socket");
    /// # Ok(())
    /// # }
    /// ```
    pub fn child_spec(&self, id: &str) -> ChildSpec {
        let socket = self.clone();
        ChildSpec::tasks(id, move |start| {
            start.scope.spawn("keep the socket beside the journal", socket.clone().keep(start.scope.clone()));
        })
    }

    /// Where it stands.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane::socket::{Problem, Socket, SocketStatus, Trees};
    /// # let system = System::builder().start().await?;
    /// # let trees = Trees::new(|| async { Err(Problem::new("internal", "there is none")) });
    /// let socket = Socket::new("/tmp/ergane.db", system.context().clone(), trees);
    /// assert_eq!(socket.status().to_string(), "it is being made");
    /// # Ok(())
    /// # }
    /// ```
    pub fn status(&self) -> SocketStatus {
        self.0.status.borrow().clone()
    }

    /// Waits until it was made or could not be, but not for long.
    ///
    /// See [`Socket`] for an example:
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane::socket::{Problem, Socket, SocketStatus, Trees};
    /// # let system = System::builder().start().await?;
    /// # let trees = Trees::new(|| async { Err(Problem::new("internal", "there is none")) });
    /// # let socket = Socket::new("/tmp/ergane.db", system.context().clone(), trees);
    /// socket.close().await;
    /// socket.tried().await; // at once
    /// # Ok(())
    /// # }
    /// ```
    pub async fn tried(&self) {
        let mut status = self.0.status.subscribe();
        let tried = status.wait_for(|status| *status != SocketStatus::Opening);
        if timeout(PATIENCE, tried).await.is_err() {
            tracing::warn!(journal = %self.0.served.journal.display(), "the socket beside the journal is not made yet");
        }
    }

    /// Closes it, and waits until nobody is answered any more, but not for long: what somebody had asked for before is done and
    /// told, if that takes no more than a second. A turn that somebody is told of goes on; who listened to it asks the next owner.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane::socket::{Problem, Socket, SocketStatus, Trees};
    /// # let system = System::builder().start().await?;
    /// # let trees = Trees::new(|| async { Err(Problem::new("internal", "there is none")) });
    /// # let socket = Socket::new("/tmp/ergane.db", system.context().clone(), trees);
    /// socket.close().await;
    /// assert_eq!(socket.status(), SocketStatus::Closed);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn close(&self) {
        self.0.closing.send_replace(true);
        if timeout(PATIENCE, self.0.places.all_back()).await.is_err() {
            tracing::warn!("an answer to another process does not end");
        }
        self.0.status.send_replace(SocketStatus::Closed);
    }

    /// Keeps it open until it is closed.
    async fn keep(self, scope: Scope) {
        let mut failures = 0;
        let mut closing = self.0.closing.subscribe();
        loop {
            let (told, why) = oneshot::channel();
            let (socket, below) = (self.clone(), scope.clone());
            scope.spawn("listen beside the journal", async move {
                if let Err(error) = socket.listen(&below).await {
                    drop(told.send(error)); // who keeps it may have been ended
                }
            });
            // Without a word it was closed, or has panicked.
            let why =
                why.await.map_or_else(|_| "who listened has failed".to_owned(), |error| error.to_string());
            if *closing.borrow() {
                return;
            }
            // One that was reached until now is tried again soon.
            failures = if matches!(self.status(), SocketStatus::Open { .. }) { 1 } else { failures + 1 };
            self.failed(&why);
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => return,
                () = sleep(PAUSES.after(failures)) => {}
            }
        }
    }

    /// # Errors
    /// Why it cannot be reached. Without one it was closed.
    async fn listen(&self, scope: &Scope) -> std::io::Result<()> {
        let Shared { served, status, closing, places } = &*self.0;
        let mut closed = closing.subscribe();
        let Ok(_place) = places.asked.clone().acquire_owned().await else { return Ok(()) };
        let open = |path: PathBuf| {
            status.send_replace(SocketStatus::Open { path });
        };
        tokio::select! {
            biased;
            _ = closed.wait_for(|closing| *closing) => Ok(()),
            failed = server::listen(served, scope, closing, places, open) => failed,
        }
    }

    fn failed(&self, reason: &str) {
        let failed = SocketStatus::Failed { reason: reason.to_owned() };
        let is_news = self.0.status.send_if_modified(|status| {
            let is_news = *status != failed && *status != SocketStatus::Closed;
            if is_news {
                *status = failed;
            }
            is_news
        });
        if is_news {
            let journal = self.0.served.journal.display();
            tracing::warn!(%journal, %reason, "other processes cannot reach this one");
        }
    }
}
