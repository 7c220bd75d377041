//! What a running tool knows and can reach.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ergane_core::{CallId, Permissions, SessionName, Text, TurnId};
use ergane_otp::{Promise, Scope};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

use crate::error::ToolError;
use crate::extensions::{ContextFn, Extensions};
use crate::process::ProcessGroup;
use crate::progress::{ProgressSender, ProgressSink};

/// Says "stop" to a running call. All clones are one.
#[derive(Debug, Clone)]
pub struct CancelToken(Arc<watch::Sender<bool>>);

impl Default for CancelToken {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl CancelToken {
    /// Says it. Without effect the second time.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was said.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is said.
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
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ContextParts {
    /// The session that calls.
    pub session: SessionName,
    /// The call.
    pub call: CallId,
    /// The folder that relative paths start from.
    pub cwd: PathBuf,
    /// Further folders that builtin tools may enter. Default: none.
    pub extra_roots: Vec<PathBuf>,
    /// The permissions in force. Default: the library's.
    pub permissions: Permissions,
    /// Variables of the environment that no process of the call may see, beside those that are keys by their names.
    /// Default: none.
    pub hidden_env: Vec<String>,
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
    pub fn new(session: SessionName, call: CallId, cwd: impl Into<PathBuf>) -> Self {
        Self {
            session,
            call,
            cwd: cwd.into(),
            extra_roots: Vec::new(),
            permissions: Permissions::default(),
            hidden_env: Vec::new(),
            meta: None,
            extend: ContextFn::default(),
            progress: ProgressSink::none(),
            processes: ProcessSink::unrecorded(),
        }
    }
}

/// What a running tool knows of its call, and what it may reach. Cheap to clone.
#[derive(Clone)]
pub struct ToolContext {
    shared: Arc<Shared>,
    scope: Scope,
}

struct Shared {
    session: SessionName,
    call: CallId,
    key: Text,
    roots: Vec<PathBuf>,
    permissions: Permissions,
    hidden_env: Vec<String>,
    meta: Option<Arc<Value>>,
    extend: ContextFn,
    extensions: OnceLock<Extensions>,
    cancel: CancelToken,
    progress: ProgressSender,
    processes: ProcessSink,
}

impl ToolContext {
    /// A context of `parts`.
    pub fn new(parts: ContextParts) -> Self {
        let mut roots = vec![parts.cwd];
        roots.extend(parts.extra_roots);
        let shared = Shared {
            key: parts.call.idempotency_key(&parts.session),
            session: parts.session,
            call: parts.call,
            roots,
            permissions: parts.permissions,
            hidden_env: parts.hidden_env,
            meta: parts.meta,
            extend: parts.extend,
            extensions: OnceLock::new(),
            cancel: CancelToken::default(),
            progress: ProgressSender::new(parts.call, parts.progress),
            processes: parts.processes,
        };
        Self { shared: Arc::new(shared), scope: Scope::new() }
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
    pub fn cwd(&self) -> &Path {
        self.shared.roots.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// The folders that the session is confined to: `cwd`, then the further ones.
    pub fn roots(&self) -> &[PathBuf] {
        &self.shared.roots
    }

    /// The session that calls.
    pub fn session(&self) -> &SessionName {
        &self.shared.session
    }

    /// The turn in which it calls.
    pub fn turn(&self) -> TurnId {
        self.shared.call.turn
    }

    /// The call.
    pub fn call_id(&self) -> CallId {
        self.shared.call
    }

    /// The key under which doing this call again must be doing it once: the same over retries and restarts.
    pub fn idempotency_key(&self) -> &str {
        &self.shared.key
    }

    /// The permissions in force.
    pub fn permissions(&self) -> &Permissions {
        &self.shared.permissions
    }

    /// Variables of the environment that a process started for this call must not see: the keys of the session and of the system's providers.
    pub fn hidden_env(&self) -> &[String] {
        &self.shared.hidden_env
    }

    /// The JSON that the program gave with the send whose turn this is; `Null` when it gave none.
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
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancel.is_cancelled()
    }

    /// Waits until the call is interrupted. A tool that can stop half-way should select on it, clean up and return
    /// what it has; it gets a short grace before it is dropped.
    pub async fn cancelled(&self) {
        self.shared.cancel.cancelled().await;
    }

    /// What says "stop" to this call.
    pub fn cancel_token(&self) -> CancelToken {
        self.shared.cancel.clone()
    }

    /// Shows subscribers how far the call is. Never blocks; what a reader is too slow for is lost (`false`), and of
    /// more than 16 KiB the end is kept.
    pub fn progress(&self, text: impl AsRef<str>) -> bool {
        self.shared.progress.send(text.as_ref())
    }

    /// Makes a process group a durable fact of the session, so that recovery finds and ends it if this process is
    /// killed. Returns when it is durable: only then may the group start its work.
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
            Ok(None) | Err(_) => {
                Err(ToolError::failed("the process could not be recorded in the journal, so it was not run"))
            }
        }
    }

    /// Takes responsibility for a process group: it is killed when the guard is dropped, however that comes about, and
    /// the session's scope waits until it is gone. `leader_started` is [`process_started`](crate::process_started) of
    /// the leader. For the group to be found when its leader is gone, its members carry
    /// [`GROUP_VARIABLE`](crate::GROUP_VARIABLE). Must be called within a tokio runtime.
    pub fn guard_group(&self, group: i32, leader_started: u64) -> ProcessGroup {
        ProcessGroup::guard(group, leader_started, &self.scope)
    }

    /// The scope in which the call runs: the session's, when the tool actor started it.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn within(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

impl ContextParts {
    /// The parts of [`ToolContext::for_test`], to be changed before a context is made of them.
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
