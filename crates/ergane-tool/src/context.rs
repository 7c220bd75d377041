//! What a running tool knows and can reach.

mod cancel;
mod parts;
mod work;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ergane_core::{CallId, Permissions, SessionName, Text, TurnId};
use ergane_otp::Scope;
use serde_json::Value;

pub use self::cancel::CancelToken;
pub use self::parts::{ContextParts, ProcessRecord, ProcessSink};
use crate::at_work::Working;
use crate::extensions::{ContextFn, Extensions};
use crate::progress::ProgressSender;

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

    pub(crate) fn within(mut self, scope: Scope, working: Working) -> Self {
        (self.scope, self.working) = (scope, working);
        self
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
