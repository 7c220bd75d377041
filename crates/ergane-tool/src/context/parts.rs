//! What a context is made of: by a session for its calls, and by a test.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use ergane_core::{CallId, Permissions, SessionName, Text, TurnId};
use ergane_otp::Promise;
use serde_json::Value;

use crate::extensions::ContextFn;
use crate::progress::ProgressSink;

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

    pub(super) fn record(&self, record: ProcessRecord) {
        (self.0)(record);
    }
}

impl fmt::Debug for ProcessSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProcessSink")
    }
}

/// What a [`ToolContext`](crate::ToolContext) is made of.
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

    /// The parts of [`ToolContext::for_test`](crate::ToolContext::for_test), to be changed before a context is made of them.
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
