//! The system: the tree, and the way to everything in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ergane_core::{Durability, SessionName, Text};
use ergane_journal::{Journal, JournalPort, Memory};
use ergane_otp::{
    Backoff, DynamicOptions, DynamicSupervisor, Intensity, Namespace, RestartBudget, Supervisor,
    SupervisorRef,
};
use ergane_provider::{EmbedRequest, Price, Provider, Providers, ProvidersBuilder};
use ergane_session::{Input, Session, SessionBuilder, SessionContext, SessionOptions};
#[cfg(unix)]
use ergane_socket::Socket;
use ergane_tool::{CanUseTool, ContextFn, Extensions, Permission, PermissionRequest, Tool, ToolRegistry};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::drain::drain;
use crate::errands::{Embed, ListModels};
use crate::error::SystemError;
use crate::one_shot::OneShot;
#[cfg(unix)]
use crate::reached;
use crate::recovery::{self, Recovery};
use crate::sessions::{self, SessionInfo};
use crate::tree::{self, Node};

/// So many systems of this process took the default name.
static UNNAMED: AtomicU64 = AtomicU64::new(0);

/// A running system. Cheap to clone; it runs until [`shutdown`](System::shutdown), or until its runtime ends.
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// system.session("alice").start().await?;
/// assert!(system.whereis("alice").await.is_some() && system.whereis("bob").await.is_none());
/// assert_eq!(system.sessions().await?.len(), 1);
/// println!("{:#?}", system.tree().await?);
///
/// let answer = system.query("hello").await?; // one question, nothing kept
/// assert_eq!(answer.finish_reason, FinishReason::Stop);
/// system.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct System(Arc<Running>);

#[derive(Debug)]
struct Running {
    context: SessionContext,
    root: SupervisorRef,
    started: SystemTime,
    drain: Duration,
    #[cfg(unix)]
    socket: Option<Socket>,
}

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
    session_budget: RestartBudget,
    options: SessionOptions,
    drain: Duration,
    socket: bool,
}

impl SystemBuilder {
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

    /// Registers a tool of your own.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// /// The time of day.
    /// #[tool(effect = "read")]
    /// async fn clock() -> &'static str {
    ///     "half past nine"
    /// }
    ///
    /// let script = Scripted::replies([ScriptedReply::call("clock", json!({})), ScriptedReply::text("Half past nine.")]);
    /// let system = System::builder().provider("scripted", script).tool(clock).start().await?;
    /// assert_eq!(system.run("What time is it?").await?.tool_calls_made, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tool(mut self, tool: impl Tool) -> Self {
        self.tools.push(Arc::new(tool));
        self
    }

    /// Registers tools: `Tools::all()` are the builtin ones.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().provider("scripted", Scripted::builtin()).tools(Tools::all()).start().await?;
    /// assert_eq!(system.context().tools().len(), 6);
    ///
    /// let twice = System::builder().tools(Tools::all()).tool(ergane::tools::bash).start().await;
    /// assert!(matches!(twice, Err(SystemError::Tools(_))), "two are named `bash`");
    /// # Ok(())
    /// # }
    /// ```
    pub fn tools(mut self, tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        self.tools.extend(tools);
        self
    }

    /// Decides about calls that no list and no permission mode has decided. It is asked in a task, once for each such
    /// call (and again after a crash), has 30 s, and denies when it panics or takes longer. To ask a human, it says
    /// [`Permission::Ask`]: the call then waits as an approval, for as long as that takes.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// /// Pays money back.
    /// #[tool(effect = "write")]
    /// async fn refund(dollars: u64) -> String {
    ///     format!("paid {dollars}")
    /// }
    ///
    /// let script = Scripted::replies([
    ///     ScriptedReply::call("refund", json!({ "dollars": 9000 })),
    ///     ScriptedReply::text("I may not."),
    /// ]);
    /// let system = System::builder()
    ///     .provider("scripted", script)
    ///     .tool(refund)
    ///     .can_use_tool(async |request: PermissionRequest| match request.arguments["dollars"].as_u64() {
    ///         Some(..=20) => Permission::Allow,
    ///         Some(21..=500) => Permission::Ask, // a human decides
    ///         _ => Permission::deny("that is too much"),
    ///     })
    ///     .start()
    ///     .await?;
    /// let result = system.run("Pay 9000 back.").await?;
    /// let told = result.messages.iter().flat_map(|message| message.results()).next();
    /// assert_eq!(told.map(|told| told.text()).as_deref(), Some("permission denied: that is too much"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn can_use_tool<F, A>(mut self, callback: F) -> Self
    where
        F: Fn(PermissionRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Permission> + Send + 'static,
    {
        self.options.can_use_tool = Some(CanUseTool::new(callback));
        self
    }

    /// What tools get from the program: auth, a tenant, a pool of connections. `extend` is given the session that calls and
    /// the JSON that its program gave with the send ([`SendMessage::meta`]; `Null` when it gave none), so it makes the
    /// same of a turn that another process began. A tool reads it by its type, with [`ToolContext::extension`] or as a
    /// parameter [`Extension<T>`](ergane_tool::Extension). It runs once for each call that asks, as a part of that call: it
    /// may panic or take its time, but should not block; what is expensive is made before and shared by an `Arc`. Default:
    /// nothing.
    ///
    /// [`SendMessage::meta`]: ergane_session::SendMessage::meta
    /// [`ToolContext::extension`]: ergane_tool::ToolContext::extension
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// struct Tenant(String);
    ///
    /// /// Whose shop it is.
    /// #[tool(effect = "read")]
    /// async fn whose(tenant: Extension<Tenant>) -> String {
    ///     format!("the shop of {}", tenant.0)
    /// }
    ///
    /// # let script = Scripted::replies([ScriptedReply::call("whose", json!({})), ScriptedReply::text("Yours.")]);
    /// let system = System::builder()
    ///     .provider("scripted", script)
    ///     .tool(whose)
    ///     .context(|_session, meta| Extensions::new().with(Tenant(meta["tenant"].as_str().unwrap_or("nobody").into())))
    ///     .start()
    ///     .await?;
    /// let result = system.run("Whose shop is it?").meta(json!({ "tenant": "acme" })).await?;
    /// let told = result.messages.iter().flat_map(|message| message.results()).next();
    /// assert_eq!(told.map(|told| told.text()).as_deref(), Some("the shop of acme"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn context(
        mut self,
        extend: impl Fn(&SessionName, &Value) -> Extensions + Send + Sync + 'static,
    ) -> Self {
        self.options.extend = ContextFn::new(extend);
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
    ///     .session_budget(0, Duration::from_secs(60)) // the first crash is one too many
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
    pub fn session_budget(mut self, max_restarts: u32, within: Duration) -> Self {
        self.session_budget.max_restarts = max_restarts;
        self.session_budget.within = within;
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
        let sessions = DynamicOptions::new().budget(self.session_budget);
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
        Ok(System(Arc::new(Running {
            context,
            root,
            started,
            drain: self.drain,
            #[cfg(unix)]
            socket,
        })))
    }
}

impl System {
    /// A system to be configured and started.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().start().await?; // no provider yet: sessions cannot be started
    /// assert!(matches!(system.session("alice").start().await, Err(SessionError::NoProvider)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> SystemBuilder {
        SystemBuilder {
            name: None,
            providers: Providers::builder(),
            tools: Vec::new(),
            journal: None,
            recovery: Recovery::default(),
            session_budget: RestartBudget {
                max_restarts: 5,
                within: Duration::from_secs(60),
                backoff: Backoff { base: Duration::from_millis(100), max: Duration::from_secs(5) },
            },
            options: SessionOptions::default(),
            drain: Duration::from_secs(1),
            socket: true,
        }
    }

    /// The system's name.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let first = System::builder().start().await?;
    /// let second = System::builder().start().await?;
    /// assert_eq!((first.name(), second.name()), ("ergane", "ergane-2"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> &str {
        self.0.context.namespace().prefix()
    }

    /// The session of that name, to be got, started or recovered by `.start()`.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").system_prompt("Be brief.").start().await?;
    /// assert_eq!(alice.name().as_str(), "alice");
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(&self, name: &str) -> SessionBuilder {
        SessionBuilder::new(self.0.context.clone(), name)
    }

    /// A session with a new name.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let (one, other) = (system.new_session().start().await?, system.new_session().start().await?);
    /// assert_ne!(one.name(), other.name());
    /// # Ok(())
    /// # }
    /// ```
    pub fn new_session(&self) -> SessionBuilder {
        self.session(&format!("s-{}", Uuid::now_v7()))
    }

    /// One model call: no tools, no history, nothing kept. Await it for the result.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let answer = system.query("hello").await?;
    /// assert_eq!((answer.finish_reason, answer.tool_calls_made), (FinishReason::Stop, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn query(&self, prompt: impl Into<Input>) -> OneShot {
        OneShot::new(self.clone(), prompt.into()).tools(Vec::<Text>::new())
    }

    /// One agent run with tools: nothing kept. Await it for the result.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().provider("scripted", Scripted::builtin()).tools(Tools::all()).start().await?;
    /// let answer = system.run("What does this project depend on?").await?;
    /// assert!(answer.tool_calls_made > 0 && answer.text.contains("ractor"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(&self, prompt: impl Into<Input>) -> OneShot {
        OneShot::new(self.clone(), prompt.into())
    }

    /// The models of a provider, by its registered name. Await it for the list.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let models = system.models("scripted").await?;
    /// assert_eq!(&*models[0].id, "scripted");
    /// # Ok(())
    /// # }
    /// ```
    pub fn models(&self, provider: impl Into<Text>) -> ListModels {
        ListModels::new(self.0.context.providers().clone(), provider.into())
    }

    /// Vectors of texts, by a model that is made for it. Await it for the vectors, one for each text.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let made = system.embed("scripted", ["a red fox", "a blue whale"]).dimensions(8).await?;
    /// assert_eq!((made.vectors.len(), made.vectors[0].len()), (2, 8));
    /// # Ok(())
    /// # }
    /// ```
    pub fn embed<T: Into<Text>>(&self, model: impl Into<Text>, texts: impl IntoIterator<Item = T>) -> Embed {
        Embed::new(self.0.context.providers().clone(), EmbedRequest::new(model, texts))
    }

    /// The session of that name, if there is one: live, or stored and brought back by the first thing asked of it.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// assert!(system.whereis("alice").await.is_some());
    /// assert!(system.whereis("nobody").await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn whereis(&self, name: &str) -> Option<Session> {
        let name = SessionName::new(name).ok()?;
        for durability in [Durability::Strict, Durability::Off] {
            match self.0.context.journal(durability).position(&name).await {
                Ok(Some(_)) => return Some(Session::new(self.0.context.clone(), name, durability)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(session = %name, %error, "the journal could not be asked for a session")
                }
            }
        }
        None
    }

    /// Every stored session, by name; those of [`Durability::Off`] are not stored. The live ones are asked whether
    /// their log is damaged; one that does not answer within 2 s is listed as the journal has it.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let listed = system.sessions().await?;
    /// assert_eq!((listed[0].name.as_str(), listed[0].status), ("alice", "idle"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SystemError::Journal`] when the journal cannot be read.
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, SystemError> {
        const PAGE: usize = 1000;
        let port = self.0.context.journal(Durability::Strict);
        let mut sessions: Vec<SessionInfo> = Vec::new();
        loop {
            let page = port.list(sessions.last().map(|last| &last.name), PAGE).await?;
            let is_last = page.len() < PAGE;
            sessions.extend(page.into_iter().map(SessionInfo::from));
            if is_last {
                break;
            }
        }
        sessions::mark_quarantined(&self.0.context, &mut sessions).await;
        Ok(sessions)
    }

    /// The supervision tree as data, with what every session does, how every provider stands, and why what waits does.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// println!("{:#?}", system.tree().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SystemError::Call`] when it does not answer within 5 s.
    pub async fn tree(&self) -> Result<Node, SystemError> {
        let tree = tree::take(&self.0.context, &self.0.root.cell(), self.0.started).await?;
        #[cfg(unix)]
        let tree = self.with_socket(tree);
        Ok(tree)
    }

    #[cfg(unix)]
    fn with_socket(&self, mut tree: Node) -> Node {
        let node = tree.children.iter_mut().find(|child| child.id == reached::ID);
        if let (Some(node), Some(socket)) = (node, &self.0.socket) {
            node.socket = Some(socket.status());
        }
        tree
    }

    /// Lets model calls under way come to their end for a moment ([`SystemBuilder::drain`]), then ends the tree from the
    /// last child to the first. No fact is written: open turns stay open and are gone on with
    /// at the next start. Then nothing of it uses the journal any more, but for a read that hangs beyond the deadline (it
    /// is logged, and lets go when it ends): once the system and its sessions are dropped too, the next one that opens the
    /// journal owns it at once.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").start().await?;
    /// system.shutdown(std::time::Duration::from_secs(5)).await?;
    /// assert!(alice.send_message("still there?").await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SystemError::Call`] when it has not ended within `deadline`.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), SystemError> {
        let begin = Instant::now();
        #[cfg(unix)]
        if let Some(socket) = &self.0.socket {
            // Who asks from now on asks the next owner. It may take as long as all of this.
            drop(tokio::time::timeout(deadline, socket.close()).await);
        }
        drain(&self.0.context, self.0.drain.min(deadline / 2)).await;
        let left = || deadline.saturating_sub(begin.elapsed());
        self.0.root.shutdown(left()).await?;
        if !self.0.context.journal(Durability::Strict).at_rest(left()).await {
            tracing::info!("the journal is still read from; it is let go when that ends");
        }
        Ok(())
    }

    /// What every session of this system shares, for programs that work with the lower crates.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// assert_eq!(system.context().namespace().prefix(), system.name());
    /// assert!(system.context().providers().get("scripted").is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn context(&self) -> &SessionContext {
        &self.0.context
    }
}
