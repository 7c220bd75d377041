//! Whether a call may run, as a function of the settings.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ergane_core::{CallId, Effect, PermissionMode, Permissions, SessionName, Text, TurnId, Ungranted};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a tool gets its hands on: what an [`Effect`] does not tell, and permission mode `accept_edits` asks for.
///
/// ```
/// use ergane_tool::{Reach, Tool, tool};
///
/// /// Writes the notes of today.
/// #[tool(crate = "ergane_tool", effect = "write", reach = "files")]
/// async fn note(text: String) {}
///
/// assert_eq!(note.reach(), Reach::Files, "runs without a question in mode `accept_edits`");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reach {
    /// Not said: anything.
    #[default]
    Anything,
    /// It changes files inside the session's roots, and does nothing else.
    Files,
    /// It talks to the network.
    Network,
}

/// What is known of a tool when a call of it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its name.
    pub tool: &'a str,
    /// What it does to the world.
    pub effect: Effect,
    /// What it gets its hands on.
    pub reach: Reach,
}

/// Whether a call may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allow,
    /// It may not.
    Deny {
        /// Why, and what would allow it; the model and the user both read it.
        reason: String,
    },
    /// The callback of the system decides: see [`CanUseTool`](crate::CanUseTool).
    Consult,
    /// Somebody must be asked.
    Ask {
        /// Why, for who is asked.
        why: String,
    },
}

/// Decides whether a call of this tool may run. The first rule that decides wins: the deny list (it beats everything,
/// `bypass` too); the allow list (when it is set, what is not on it is denied, and what is on it is granted); the mode;
/// the callback, when there is one (`consults`); and what is left goes by [`Permissions::ungranted`], in mode
/// `accept_edits` never by less than a question.
///
/// ```
/// use ergane_core::{Effect, Permissions, Ungranted};
/// use ergane_tool::{Reach, Subject, Verdict, decide};
///
/// let careful = Permissions { ungranted: Ungranted::Ask, ..Permissions::default() };
/// let read = Subject { tool: "read", effect: Effect::Read, reach: Reach::Anything };
/// let bash = Subject { tool: "bash", effect: Effect::Write, reach: Reach::Anything };
/// assert_eq!(decide(&careful, read, false), Verdict::Allow);
/// assert!(matches!(decide(&careful, bash, false), Verdict::Ask { .. }));
/// assert_eq!(decide(&careful, bash, true), Verdict::Consult);
/// ```
pub fn decide(permissions: &Permissions, subject: Subject<'_>, consults: bool) -> Verdict {
    let Subject { tool, effect, reach } = subject;
    let on = |list: &[Text]| list.iter().any(|name| name.as_ref() == tool);
    if on(&permissions.deny) {
        return deny(format!("`{tool}` is on the session's deny list"));
    }
    let mut granted = on(&permissions.granted);
    if let Some(allow) = &permissions.allow {
        if !on(allow) {
            let allowed = if allow.is_empty() { "empty".to_owned() } else { allow.join(", ") };
            return deny(format!("`{tool}` is not on the session's allow list ({allowed})"));
        }
        granted = true;
    }
    let reads = effect == Effect::Read;
    match permissions.mode {
        PermissionMode::Bypass => Verdict::Allow,
        PermissionMode::Plan if reads => Verdict::Allow,
        PermissionMode::Plan => deny(format!(
            "the session is in permission mode `plan`, in which only tools that read may run, and `{tool}` does more; \
             describe what you would do instead"
        )),
        PermissionMode::Default if reads || granted => Verdict::Allow,
        PermissionMode::AcceptEdits if granted || reach == Reach::Files => Verdict::Allow,
        PermissionMode::AcceptEdits if reads && reach != Reach::Network => Verdict::Allow,
        PermissionMode::Default | PermissionMode::AcceptEdits if consults => Verdict::Consult,
        PermissionMode::Default => match permissions.ungranted {
            Ungranted::Allow => Verdict::Allow,
            Ungranted::Ask => Verdict::Ask { why: format!("`{tool}` {}", what_it_does(subject)) },
            Ungranted::Deny => deny_ungranted(subject),
        },
        PermissionMode::AcceptEdits => match permissions.ungranted {
            Ungranted::Deny => deny_ungranted(subject),
            Ungranted::Allow | Ungranted::Ask => {
                let why =
                    format!("`{tool}` {}; edits of files are accepted, this is more", what_it_does(subject));
                Verdict::Ask { why }
            }
        },
        // A mode that this build does not know was meant to restrict something.
        other => deny(format!("this build does not know the permission mode {other:?}")),
    }
}

fn what_it_does(subject: Subject<'_>) -> &'static str {
    match (subject.reach, subject.effect) {
        (Reach::Network, _) => "goes to the network",
        (Reach::Files, _) => "changes files",
        (_, Effect::Read) => "reads",
        (_, Effect::Idempotent | Effect::Write) => "changes things",
    }
}

fn deny_ungranted(subject: Subject<'_>) -> Verdict {
    let tool = subject.tool;
    deny(format!(
        "`{tool}` {} and nobody granted it; the user can put it on the allow list, or choose another permission mode",
        what_it_does(subject)
    ))
}

/// A call that the system's callback decides about.
///
/// ```
/// use ergane_tool::{Effect, Permission, PermissionRequest};
///
/// // A callback: shells may only build.
/// async fn may(request: PermissionRequest) -> Permission {
///     let command = request.arguments.get("command").and_then(|command| command.as_str());
///     match (&*request.tool, command) {
///         ("bash", Some(command)) if command.starts_with("cargo ") => Permission::Allow,
///         ("bash", _) => Permission::deny("only cargo may be run"),
///         _ if request.effect == Effect::Idempotent => Permission::Allow,
///         _ => Permission::Ask,
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PermissionRequest {
    /// The session.
    pub session: SessionName,
    /// Its turn.
    pub turn: TurnId,
    /// The call.
    pub call: CallId,
    /// The tool.
    pub tool: Text,
    /// What it does to the world.
    pub effect: Effect,
    /// What it gets its hands on.
    pub reach: Reach,
    /// The arguments it would run with.
    pub arguments: Map<String, Value>,
    /// The folder that relative paths start from.
    pub cwd: Text,
}

impl PermissionRequest {
    /// What is asked of a call of this session.
    ///
    /// ```
    /// use ergane_tool::{PermissionRequest, Reach, Subject};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_core::{Effect, SessionName};
    /// # use serde_json::{Map, json};
    /// let arguments: Map<_, _> = serde_json::from_value(json!({ "command": "make" }))?;
    /// let subject = Subject { tool: "bash", effect: Effect::Write, reach: Reach::Anything };
    /// let request = PermissionRequest::new(SessionName::new("alice")?, "812.1".parse()?, subject, arguments);
    /// assert_eq!((&*request.tool, request.arguments["command"].as_str()), ("bash", Some("make")));
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(
        session: SessionName,
        call: CallId,
        subject: Subject<'_>,
        arguments: Map<String, Value>,
    ) -> Self {
        let Subject { tool, effect, reach } = subject;
        let cwd = Text::default();
        Self { session, turn: call.turn, call, tool: tool.into(), effect, reach, arguments, cwd }
    }

    /// The same, with this folder.
    ///
    /// ```
    /// use ergane_tool::{PermissionRequest, Reach, Subject};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_core::{Effect, SessionName};
    /// # use serde_json::{Map, json};
    /// # let arguments: Map<_, _> = serde_json::from_value(json!({ "command": "make" }))?;
    /// # let subject = Subject { tool: "bash", effect: Effect::Write, reach: Reach::Anything };
    /// # let request = PermissionRequest::new(SessionName::new("alice")?, "812.1".parse()?, subject, arguments);
    /// assert_eq!(&*request.cwd("/project".into()).cwd, "/project");
    /// # Ok(())
    /// # }
    /// ```
    pub fn cwd(mut self, cwd: Text) -> Self {
        self.cwd = cwd;
        self
    }
}

/// What a callback says of a call.
///
/// ```
/// use ergane_tool::{Effect, Permission};
///
/// let judge = |effect: Effect, is_night: bool| match effect {
///     Effect::Read | Effect::Idempotent => Permission::Allow,
///     Effect::Write if is_night => Permission::deny("nothing is changed at night; try again after 8"),
///     Effect::Write => Permission::Ask, // a human decides, and may take days
/// };
/// assert_eq!(judge(Effect::Write, false), Permission::Ask);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// It runs.
    Allow,
    /// It does not run; the model is told why.
    Deny {
        /// Why.
        reason: String,
    },
    /// Somebody must be asked: the call waits until approved, for as long as that takes.
    Ask,
}

impl Permission {
    /// A denial.
    ///
    /// ```
    /// use ergane_tool::Permission;
    ///
    /// assert_eq!(Permission::deny("too dear"), Permission::Deny { reason: "too dear".to_owned() });
    /// ```
    pub fn deny(reason: impl Into<String>) -> Self {
        Self::Deny { reason: reason.into() }
    }
}

type Answer = Pin<Box<dyn Future<Output = Permission> + Send>>;

/// The callback of a system that decides about calls which no list and no mode has decided. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ergane_tool::{CanUseTool, Permission, PermissionRequest, Reach, Subject};
/// # use ergane_core::{Effect, SessionName};
///
/// // `SystemBuilder::can_use_tool` makes one of a function; a test asks it.
/// let only_make = CanUseTool::new(|request: PermissionRequest| async move {
///     if request.arguments["command"] == "make" { Permission::Allow } else { Permission::Ask }
/// });
/// # let arguments = serde_json::from_value(serde_json::json!({ "command": "make" }))?;
/// # let subject = Subject { tool: "bash", effect: Effect::Write, reach: Reach::Anything };
/// # let request = PermissionRequest::new(SessionName::new("alice")?, "812.1".parse()?, subject, arguments);
/// assert_eq!(only_make.ask(request).await, Permission::Allow);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CanUseTool(Arc<dyn Fn(PermissionRequest) -> Answer + Send + Sync>);

impl CanUseTool {
    /// Asks `callback`. It is called in a task of the session, at least once for each call that it decides about (and
    /// again after a crash), and has 30 s; one that panics or takes longer denies.
    ///
    /// ```
    /// use ergane_tool::{CanUseTool, Permission};
    ///
    /// let nobody_is_there = CanUseTool::new(|_request| async { Permission::deny("nobody is there to be asked") });
    /// # let _ = nobody_is_there;
    /// ```
    pub fn new<F, A>(callback: F) -> Self
    where
        F: Fn(PermissionRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Permission> + Send + 'static,
    {
        Self(Arc::new(move |request| Box::pin(callback(request))))
    }

    /// What it says. May panic, or never return: call it where that hurts nobody.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_core::{Effect, SessionName};
    /// # use ergane_tool::{CanUseTool, Permission, PermissionRequest, Reach, Subject};
    /// # let subject = Subject { tool: "bash", effect: Effect::Write, reach: Reach::Anything };
    /// # let request = PermissionRequest::new(SessionName::new("alice")?, "812.1".parse()?, subject, Default::default());
    /// let always_ask = CanUseTool::new(|_request| async { Permission::Ask });
    /// assert_eq!(always_ask.ask(request).await, Permission::Ask);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ask(&self, request: PermissionRequest) -> Permission {
        (self.0)(request).await
    }
}

impl fmt::Debug for CanUseTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CanUseTool")
    }
}

fn deny(reason: String) -> Verdict {
    Verdict::Deny { reason: format!("permission denied: {reason}") }
}

#[cfg(test)]
mod tests;
