//! What a system is made of, and how its tree is put up.
//!
//! Live things are registered here by name, and a session's facts hold names only: so any process with the same lines can take up
//! any session.

mod tools;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ergane_core::Text;
use ergane_journal::{Journal, JournalPort, Memory};
use ergane_otp::{
    Backoff, DynamicOptions, DynamicSupervisor, Intensity, Namespace, RestartBudget, Supervisor,
};
use ergane_provider::{Price, Provider, Providers, ProvidersBuilder};
use ergane_session::{SessionContext, SessionOptions};
use ergane_tool::{Tool, ToolRegistry};

use crate::error::SystemError;
#[cfg(unix)]
use crate::reached;
use crate::recovery::{self, Recovery};
use crate::system::{Running, System};

/// So many systems of this process took the default name.
static UNNAMED: AtomicU64 = AtomicU64::new(0);

/// A system to be started. See [`System::builder`].
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let system = System::builder()
///     .name("office")                              // what its actors' names begin with
///     .provider("scripted", Scripted::builtin())   // the first one is the default
///     .tools(Tools::all())
///     .journal(Memory::new())                      // or Sqlite::open("ergane.db")?
///     .start()
///     .await?;
/// assert_eq!(system.name(), "office");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a system runs when `start` is awaited"]
pub struct SystemBuilder {
    name: Option<String>,
    providers: ProvidersBuilder,
    tools: Vec<Arc<dyn Tool>>,
    journal: Option<Arc<dyn Journal>>,
    recovery: Recovery,
    restart_budget: RestartBudget,
    options: SessionOptions,
    drain: Duration,
    socket: bool,
}

impl SystemBuilder {
    pub(crate) fn new() -> Self {
        Self {
            name: None,
            providers: Providers::builder(),
            tools: Vec::new(),
            journal: None,
            recovery: Recovery::default(),
            restart_budget: RestartBudget {
                max_restarts: 5,
                within: Duration::from_secs(60),
                backoff: Backoff { base: Duration::from_millis(100), max: Duration::from_secs(5) },
            },
            options: SessionOptions::default(),
            drain: Duration::from_secs(1),
            socket: true,
        }
    }

    /// The system's name: what the names of its actors begin with in ractor's registry. Default: `ergane`, and
    /// `ergane-2` and so on for further ones of the process.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let office = System::builder().name("office").start().await?;
    /// assert_eq!(office.name(), "office");
    /// let again = System::builder().name("office").start().await;
    /// assert!(matches!(again, Err(SystemError::Start(_))), "its actors' names are taken");
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Registers a provider. The first one is the default of sessions that name none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder()
    ///     .provider("local", Ollama::default().model("qwen3:8b"))
    ///     .provider("cloud", OpenAi::default())
    ///     .start()
    ///     .await?;
    /// let alice = system.session("alice").start().await?;
    /// assert_eq!(&*alice.settings().await?.provider, "local");
    /// # Ok(())
    /// # }
    /// ```
    pub fn provider(mut self, name: impl Into<Text>, provider: impl Provider) -> Self {
        self.providers = self.providers.register(name, provider);
        self
    }

    /// What a model costs at the provider of that name, where the table of known prices does not know or is wrong. It
    /// counts for budgets and results; without any price the cost of a call is unknown, and never zero.
    ///
    /// ```
    /// # use ergane::System;
    /// use ergane::provider::{OpenAi, Price};
    ///
    /// let builder = System::builder()
    ///     .provider("groq", OpenAi::new("https://api.groq.com/openai/v1"))
    ///     .price("groq", "llama-3.3-70b-versatile", Price::per_million(590_000, 790_000));
    /// # let _ = builder;
    /// ```
    pub fn price(mut self, provider: impl Into<Text>, model: impl Into<Text>, price: Price) -> Self {
        self.providers = self.providers.price(provider, model, price);
        self
    }

    /// After so long without anything to do, a session's actor stops; its name stays findable, and whatever is asked of it
    /// next brings it back. It has something to do while a turn goes on, somebody waits for a result or listens, or it
    /// stands in a tree of yours; one that waits for an approval has not. Default: never.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let system = System::builder()
    ///     .provider("scripted", Scripted::builtin())
    ///     .passivate_after(Duration::from_millis(20)) // minutes, in earnest
    ///     .start()
    ///     .await?;
    /// let alice = system.session("alice").start().await?;
    /// let mut watch = alice.watch();
    /// while !matches!(watch.next().await, Some(Incarnation::Gone) | None) {}
    /// assert_eq!(alice.status().await?.activity, Activity::Stored, "she had nothing to do");
    /// # Ok(())
    /// # }
    /// ```
    pub fn passivate_after(mut self, idle: Duration) -> Self {
        self.options.passivate_after = Some(idle);
        self
    }

    /// Where facts are kept. Default: in memory, so they end with the process.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// for turn in 1..=2 {
    ///     let system = System::builder()
    ///         .provider("scripted", Scripted::builtin())
    ///         .journal(Sqlite::open(&path)?)
    ///         .start()
    ///         .await?;
    ///     let alice = system.session("alice").start().await?;
    ///     assert_eq!(alice.send_message("hello").await?.ordinal, turn, "the second system goes on");
    ///     system.shutdown(std::time::Duration::from_secs(5)).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn journal(self, journal: impl Journal) -> Self {
        self.shared_journal(Arc::new(journal))
    }

    /// The same for a store that the program holds too.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    ///
    /// use ergane::journal::Journal;
    ///
    /// let journal = Arc::new(Memory::new());
    /// let system = System::builder()
    ///     .provider("scripted", Scripted::builtin())
    ///     .shared_journal(journal.clone())
    ///     .start()
    ///     .await?;
    /// system.session("alice").start().await?;
    /// assert_eq!(journal.list(None, 10)?[0].name.as_str(), "alice");
    /// # Ok(())
    /// # }
    /// ```
    pub fn shared_journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// What happens to open turns at the start, and when the supervisor of the sessions died. Default:
    /// [`Recovery::Eager`].
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder()
    ///     .provider("scripted", Scripted::builtin())
    ///     .recovery(Recovery::Lazy) // an open turn goes on when its session is touched
    ///     .start()
    ///     .await?;
    /// # let _ = system;
    /// # Ok(())
    /// # }
    /// ```
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.recovery = recovery;
        self
    }

    /// How often a session's actor may be restarted before that session is quarantined. Default: 5 times within a
    /// minute, with a back-off of 100 ms to 5 s from the second one on.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let system = System::builder()
    ///     .provider("scripted", Scripted::builtin())
    ///     .restart_budget(0, Duration::from_secs(60)) // the first crash is one too many
    ///     .start()
    ///     .await?;
    /// let alice = system.session("alice").start().await?;
    /// let mut watch = alice.watch();
    /// alice.actor_ref().expect("she runs").kill();
    /// while !matches!(watch.next().await, Some(Incarnation::Quarantined { .. }) | None) {}
    /// assert!(matches!(alice.messages().await, Err(SessionError::Quarantined { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn restart_budget(mut self, max_restarts: u32, within: Duration) -> Self {
        self.restart_budget.max_restarts = max_restarts;
        self.restart_budget.within = within;
        self
    }

    /// How long a shutdown lets model calls under way come to their end, while no new ones are made; they are paid for.
    /// Default: 1 s, and never more than half of what the shutdown may take. What has not ended by then is asked again
    /// after the next start.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let system = System::builder()
    ///     .provider("scripted", Scripted::builtin())
    ///     .drain(Duration::from_secs(20)) // answers that are paid for may come to their end
    ///     .start()
    ///     .await?;
    /// system.shutdown(Duration::from_secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn drain(mut self, patience: Duration) -> Self {
        self.drain = patience;
        self
    }

    /// Whether other processes of the same user reach the sessions of this system, by a socket beside its journal: so
    /// `ergane approve`, `send`, `steer`, `interrupt` and `top` work beside a program, and so does
    /// [`RemoteSession`](ergane_socket::RemoteSession). Without it, a session that this process owns is
    /// [`SessionError::OwnedElsewhere`](ergane_session::SessionError::OwnedElsewhere) to all others. Default: true, where the
    /// journal is a file and the system has such sockets (Unix). A socket that cannot be made is no reason not to start: it is
    /// logged, told in [`System::tree`], and tried again.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// let system = System::builder()
    ///     .provider("scripted", Scripted::builtin())
    ///     .journal(Sqlite::open(&path)?)
    ///     .socket(false) // nobody else is to say anything to its sessions
    ///     .start()
    ///     .await?;
    /// assert!(system.tree().await?.find("socket").is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn socket(mut self, serve: bool) -> Self {
        self.socket = serve;
        self
    }

    /// Starts the tree.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// assert_eq!(system.query("hello").await?.finish_reason, FinishReason::Stop);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SystemError`]: two tools of one name, a name of the system that is taken, or a part that does not start.
    pub async fn start(self) -> Result<System, SystemError> {
        let name = self.name.unwrap_or_else(|| match UNNAMED.fetch_add(1, Ordering::Relaxed) {
            0 => "ergane".to_owned(),
            more => format!("ergane-{}", more + 1),
        });
        let namespace = Namespace::new(name);
        let started = SystemTime::now();
        let tools = ToolRegistry::new(self.tools)?;
        let store = self.journal.unwrap_or_else(|| Arc::new(Memory::new()));
        let journal = JournalPort::new(store.clone());
        // Sessions that keep nothing have a store of their own, so that nothing of them meets the disk.
        let memory = JournalPort::new(Arc::new(Memory::new()));
        let providers = self.providers.build(&namespace);
        let context = SessionContext::new(
            namespace.clone(),
            journal.clone(),
            memory.clone(),
            providers.clone(),
            tools,
            self.options,
        );

        let mut volatile = memory.child_spec();
        volatile.id = "journal/volatile".to_owned();
        let mut children = vec![journal.child_spec(), volatile];
        children.extend(providers.child_specs());
        let sessions = DynamicOptions::new().budget(self.restart_budget);
        children.push(DynamicSupervisor::child_spec("sessions", sessions));
        children.push(recovery::child_spec(context.clone(), self.recovery));
        // Last: nobody is let in before all else is there.
        #[cfg(unix)]
        let socket = reached::socket(store.as_ref(), &context, started).filter(|_| self.socket);
        #[cfg(unix)]
        children.extend(socket.as_ref().map(|socket| socket.child_spec(reached::ID)));
        drop(store); // what holds the journal holds its sessions
        let intensity = Intensity { max_restarts: 10, within: Duration::from_secs(60) };
        let root = Supervisor::start(&namespace, "root", intensity, children, None).await?;
        #[cfg(unix)]
        if let Some(socket) = &socket {
            socket.tried().await;
        }
        Ok(System::of(Running {
            context,
            root,
            started,
            drain: self.drain,
            #[cfg(unix)]
            socket,
        }))
    }
}
