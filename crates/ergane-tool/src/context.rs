//! What a running tool knows and can reach.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ergane_core::{CallId, Permissions, SessionName, Text, TurnId};
use ergane_otp::{Promise, Scope};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::at_work::{AtWork, Working};
use crate::error::ToolError;
use crate::extensions::{ContextFn, Extensions};
use crate::process::ProcessGroup;
use crate::progress::{ProgressSender, ProgressSink};

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

/// The request to make a process group of a call a durable fact, before it does anything.
#[derive(Debug)]
pub struct ProcessRecord {
    /// The call the group works for.
    pub call: CallId,
    /// The process group.
    pub group: i32,
    /// When its leader started, in the kernel's ticks since boot.
    pub leader_started: u64,
    /// Keep it when the fact is durable; dropped, the command is not run.
    pub recorded: Promise<()>,
}

/// Where [`ProcessRecord`]s go: a closure that must be quick and must not block, such as one that sends a message.
#[derive(Clone)]
pub struct ProcessSink(Arc<dyn Fn(ProcessRecord) + Send + Sync>);

impl ProcessSink {
    /// A sink that hands each request to `record`.
    pub fn new(record: impl Fn(ProcessRecord) + Send + Sync + 'static) -> Self {
        Self(Arc::new(record))
    }

    /// A sink that says "recorded" without recording: for tests, and for sessions that keep nothing.
    pub fn unrecorded() -> Self {
        Self::new(|record| record.recorded.keep(()))
    }
}

impl fmt::Debug for ProcessSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessSink")
    }
}

/// What a [`ToolContext`] is made of.
///
/// ```
/// use std::sync::Arc;
///
/// use ergane_tool::{ContextParts, ToolContext};
/// use serde_json::json;
///
/// // To try a tool as a session of yours would call it:
/// let mut parts = ContextParts::for_test("/project");
/// parts.extra_roots = vec!["/shared".into()];
/// parts.meta = Some(Arc::new(json!({ "user": "alice" })));
/// let ctx = ToolContext::new(parts);
/// assert_eq!((ctx.roots().len(), &ctx.meta()["user"]), (2, &json!("alice")));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ContextParts {
    /// The session that calls.
    pub session: SessionName,
    /// The call.
    pub call: CallId,
    /// Its idempotency key. Default: made of the session's name and the call alone.
    pub key: Text,
    /// The folder that relative paths start from.
    pub cwd: PathBuf,
    /// Further folders that builtin tools may enter. Default: none.
    pub extra_roots: Vec<PathBuf>,
    /// The permissions in force. Default: the library's.
    pub permissions: Permissions,
    /// Variables of the environment that no process of the call may see, beside those that are keys by their names.
    /// Default: none.
    pub hidden_env: Vec<String>,
    /// Files and folders that nothing of the call may open within this process: those of the journal. Default: none.
    pub private: Arc<[PathBuf]>,
    /// What was given with the send whose turn this is. Default: nothing.
    pub meta: Option<Arc<Value>>,
    /// Makes what the program gives to its tools. Default: nothing.
    pub extend: ContextFn,
    /// Where progress goes. Default: nowhere.
    pub progress: ProgressSink,
    /// Who makes process groups durable. Default: nobody ([`ProcessSink::unrecorded`]).
    pub processes: ProcessSink,
}

impl ContextParts {
    /// The least: whose call, which, and where; everything else at its default.
    ///
    /// ```
    /// use ergane_tool::{ContextParts, ToolContext};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_core::{CallId, SessionName};
    /// let ctx = ToolContext::new(ContextParts::new(SessionName::new("alice")?, "812.1".parse()?, "/project"));
    /// assert_eq!(ctx.idempotency_key(), "alice#812.1");
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(session: SessionName, call: CallId, cwd: impl Into<PathBuf>) -> Self {
        Self {
            key: call.idempotency_key(&session, None),
            session,
            call,
            cwd: cwd.into(),
            extra_roots: Vec::new(),
            permissions: Permissions::default(),
            hidden_env: Vec::new(),
            private: Arc::default(),
            meta: None,
            extend: ContextFn::default(),
            progress: ProgressSink::none(),
            processes: ProcessSink::unrecorded(),
        }
    }
}

/// What a running tool knows of its call, and what it may reach. Cheap to clone.
///
/// ```
/// use ergane_tool::{ToolContext, tool};
///
/// /// Adds up the sizes of the files of the working folder.
/// #[tool(crate = "ergane_tool", effect = "read")]
/// async fn sizes(ctx: &ToolContext) -> Result<String, std::io::Error> {
///     let mut bytes = 0;
///     for entry in std::fs::read_dir(ctx.cwd())? {
///         if ctx.is_cancelled() {
///             return Ok(format!("at least {bytes} bytes: it was interrupted"));
///         }
///         let entry = entry?;
///         ctx.progress(entry.file_name().to_string_lossy());
///         bytes += entry.metadata()?.len();
///     }
///     Ok(format!("{bytes} bytes"))
/// }
/// ```
#[derive(Clone)]
pub struct ToolContext {
    shared: Arc<Shared>,
    scope: Scope,
    working: Working,
}

struct Shared {
    session: SessionName,
    call: CallId,
    key: Text,
    roots: Vec<PathBuf>,
    permissions: Permissions,
    hidden_env: Vec<String>,
    private: Arc<[PathBuf]>,
    meta: Option<Arc<Value>>,
    extend: ContextFn,
    extensions: OnceLock<Extensions>,
    cancel: CancelToken,
    progress: ProgressSender,
    processes: ProcessSink,
}

impl ToolContext {
    /// A context of `parts`.
    ///
    /// ```
    /// use ergane_tool::{ContextParts, ToolContext};
    ///
    /// let ctx = ToolContext::new(ContextParts::for_test("/project"));
    /// assert_eq!(ctx.session().as_str(), "test");
    /// ```
    pub fn new(parts: ContextParts) -> Self {
        let mut roots = vec![parts.cwd];
        roots.extend(parts.extra_roots);
        let shared = Shared {
            key: parts.key,
            session: parts.session,
            call: parts.call,
            roots,
            permissions: parts.permissions,
            hidden_env: parts.hidden_env,
            private: parts.private,
            meta: parts.meta,
            extend: parts.extend,
            extensions: OnceLock::new(),
            cancel: CancelToken::default(),
            progress: ProgressSender::new(parts.call, parts.progress),
            processes: parts.processes,
        };
        Self { shared: Arc::new(shared), scope: Scope::new(), working: Working::default() }
    }

    /// A context to try a tool with: call 1.1 of a session `test` in `cwd`, everything else at its default.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// let ctx = ToolContext::for_test("/tmp");
    /// assert_eq!(ctx.call_id().to_string(), "1.1");
    /// assert!(!ctx.is_cancelled());
    /// ```
    pub fn for_test(cwd: impl Into<PathBuf>) -> Self {
        Self::new(ContextParts::for_test(cwd))
    }

    /// The folder that relative paths start from.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// let ctx = ToolContext::for_test("/project");
    /// assert_eq!(ctx.cwd().join("src/main.rs").to_str(), Some("/project/src/main.rs"));
    /// ```
    pub fn cwd(&self) -> &Path {
        self.shared.roots.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// The folders that the session is confined to: `cwd`, then the further ones.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// use ergane_tool::ContextParts;
    ///
    /// let mut parts = ContextParts::for_test("/project");
    /// parts.extra_roots.push("/shared".into());
    /// let ctx = ToolContext::new(parts);
    /// let is_inside = |path: &std::path::Path| ctx.roots().iter().any(|root| path.starts_with(root));
    /// assert!(is_inside("/shared/notes".as_ref()) && !is_inside("/etc/passwd".as_ref()));
    /// ```
    pub fn roots(&self) -> &[PathBuf] {
        &self.shared.roots
    }

    /// The session that calls.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// assert_eq!(ToolContext::for_test("/tmp").session().as_str(), "test");
    /// ```
    pub fn session(&self) -> &SessionName {
        &self.shared.session
    }

    /// The turn in which it calls.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// let ctx = ToolContext::for_test("/tmp");
    /// assert_eq!(ctx.turn(), ctx.call_id().turn);
    /// ```
    pub fn turn(&self) -> TurnId {
        self.shared.call.turn
    }

    /// The call.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// let ctx = ToolContext::for_test("/tmp");
    /// println!("call {} of turn {}", ctx.call_id().index, ctx.turn());
    /// # assert_eq!(ctx.call_id().index, 1);
    /// ```
    pub fn call_id(&self) -> CallId {
        self.shared.call
    }

    /// The key under which doing this call again must be doing it once: the same over retries and restarts, and that of no
    /// other call, of whatever session in whatever journal (but for sessions from before they had identities, and a journal's
    /// file that was copied). At most 255 bytes.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// let ctx = ToolContext::for_test("/tmp");
    /// // Sent with a payment as its `Idempotency-Key`, it makes a second attempt the same payment.
    /// assert_eq!(ctx.idempotency_key(), "test#1.1");
    /// ```
    pub fn idempotency_key(&self) -> &str {
        &self.shared.key
    }

    /// The permissions in force.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// let ctx = ToolContext::for_test("/tmp");
    /// let may_use_a_shell = !ctx.permissions().deny.iter().any(|name| &**name == "bash");
    /// assert!(may_use_a_shell);
    /// ```
    pub fn permissions(&self) -> &Permissions {
        &self.shared.permissions
    }

    /// Variables of the environment that a process started for this call must not see: the keys of the session and of the system's providers.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// let ctx = ToolContext::for_test("/tmp");
    /// let mut command = std::process::Command::new("make");
    /// for name in ctx.hidden_env() {
    ///     command.env_remove(name);
    /// }
    /// ```
    pub fn hidden_env(&self) -> &[String] {
        &self.shared.hidden_env
    }

    /// Whether a path, absolute and without links, is or lies in what nothing within this process may open: the files of the
    /// journal. The system drops a process's locks on a file as soon as that process closes the file anywhere, were it only
    /// to search a folder; the journal would lose its own. A process started for the call has locks of its own and may. A hard
    /// link is another path, and not known.
    ///
    /// ```
    /// # use ergane_tool::{ContextParts, ToolContext};
    /// let mut parts = ContextParts::for_test("/project");
    /// parts.private = ["/project/ergane.db".into()].into();
    /// let ctx = ToolContext::new(parts);
    /// assert!(ctx.is_private("/project/ergane.db"));
    /// assert!(!ctx.is_private("/project/notes.txt"));
    /// ```
    pub fn is_private(&self, path: impl AsRef<Path>) -> bool {
        self.shared.private.iter().any(|private| path.as_ref().starts_with(private))
    }

    /// The JSON that the program gave with the send whose turn this is; `Null` when it gave none.
    ///
    /// ```
    /// # use ergane_tool::ToolContext;
    /// use std::sync::Arc;
    ///
    /// use ergane_tool::ContextParts;
    /// use serde_json::json;
    ///
    /// let mut parts = ContextParts::for_test("/tmp");
    /// parts.meta = Some(Arc::new(json!({ "user": "alice" })));
    /// assert_eq!(ToolContext::new(parts).meta()["user"], "alice");
    /// assert!(ToolContext::for_test("/tmp").meta().is_null());
    /// ```
    pub fn meta(&self) -> &Value {
        const NOTHING: &Value = &Value::Null;
        self.shared.meta.as_deref().unwrap_or(NOTHING)
    }

    /// What the program gives to its tools, of this type: a tenant, who asks, a pool of connections. `None` when it gives
    /// none. It is made by the system's `context` function when a call first asks for any, once a call.
    ///
    /// ```
    /// use ergane_tool::{ContextFn, ContextParts, Extensions, ToolContext};
    ///
    /// struct Tenant(String);
    ///
    /// let mut parts = ContextParts::for_test("/tmp");
    /// parts.extend = ContextFn::new(|_session, _meta| Extensions::new().with(Tenant("acme".to_owned())));
    /// let ctx = ToolContext::new(parts);
    /// assert_eq!(ctx.extension::<Tenant>().map(|tenant| tenant.0.as_str()), Some("acme"));
    /// assert!(ctx.extension::<u8>().is_none());
    /// ```
    pub fn extension<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.extensions().get::<T>()
    }

    pub(crate) fn extensions(&self) -> &Extensions {
        let Shared { extensions, extend, session, .. } = &*self.shared;
        extensions.get_or_init(|| extend.make(session, self.meta()))
    }

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
        (self.shared.processes.0)(ProcessRecord { call: self.shared.call, group, leader_started, recorded });
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
        AtWork::new(self.working.call(), &self.scope)
    }

    pub(crate) fn within(mut self, scope: Scope, working: Working) -> Self {
        (self.scope, self.working) = (scope, working);
        self
    }
}

impl ContextParts {
    /// The parts of [`ToolContext::for_test`], to be changed before a context is made of them.
    ///
    /// ```
    /// use ergane_tool::{ContextParts, ToolContext};
    ///
    /// let mut parts = ContextParts::for_test("/project");
    /// parts.hidden_env.push("DEPLOY_TOKEN".to_owned());
    /// assert_eq!(ToolContext::new(parts).hidden_env(), ["DEPLOY_TOKEN"]);
    /// ```
    pub fn for_test(cwd: impl Into<PathBuf>) -> Self {
        let session: Result<SessionName, _> = "test".parse();
        let call = CallId { turn: TurnId(1), index: 1 };
        match session {
            Ok(session) => Self::new(session, call, cwd),
            Err(_) => unreachable!("`test` is a session name"),
        }
    }
}

impl fmt::Debug for ToolContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolContext")
            .field("session", &self.shared.session)
            .field("call", &self.shared.call)
            .field("roots", &self.shared.roots)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}
