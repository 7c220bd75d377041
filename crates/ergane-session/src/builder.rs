//! Getting, starting or recovering a session: one verb.
//!
//! Each method sets one thing in a patch, and what is set and differs from what the session has is changed when it starts: so the
//! same lines make a session and find it again. What it may set is told apart by what it is for: who is asked (`builder/asked.rs`),
//! how that is to answer (`builder/answers.rs`), and what its tools may do (`builder/permissions.rs`).

mod answers;
mod asked;
mod permissions;

use std::path::Path;

use ergane_core::{Durability, SessionName, Settings, SettingsPatch, Text};
use ergane_otp::{ChildSpec, Restart};
use ractor::ActorCell;
use tokio::time::Instant;

use crate::anchor::{Anchor, AnchorRef};
use crate::context::SessionContext;
use crate::error::SessionError;
use crate::handle::Session;
use crate::message::SessionMsg;
use crate::reach::{Missing, QUICK};
use crate::requests::refusal_of_settings;

/// A session to be got, started or recovered. What is set here and differs from what the session has is changed, in
/// force from its next turn; what is left unset keeps its value, so the same name without settings is the same session.
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).tools(Tools::all()).start().await?;
/// let alice = system.session("alice").system_prompt("Be brief.").tools(["read", "grep"]).start().await?;
/// let again = system.session("alice").start().await?;
/// assert_eq!(again.settings().await?.system_prompt.as_deref(), Some("Be brief."));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a session is only started by `start`, `start_link` or a supervisor that was given its `child_spec`"]
pub struct SessionBuilder {
    context: SessionContext,
    name: Result<SessionName, SessionError>,
    durability: Durability,
    patch: SettingsPatch,
}

impl SessionBuilder {
    /// For the session of that name. A bad name is told by `start`.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// use ergane::session::SessionBuilder;
    ///
    /// let alice = SessionBuilder::new(system.context().clone(), "alice").start().await?;
    /// assert_eq!(alice.name().as_str(), "alice");
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(context: SessionContext, name: &str) -> Self {
        let name = SessionName::new(name).map_err(|error| SessionError::BadName(error.to_string()));
        Self { context, name, durability: Durability::default(), patch: SettingsPatch::default() }
    }

    /// The names of the tools offered. Default: all registered.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().provider("scripted", Scripted::builtin()).tools(Tools::all()).start().await?;
    /// let reader = system.session("reader").tools(["read", "glob", "grep"]).start().await?;
    /// assert_eq!(reader.settings().await?.tools.as_ref().map(Vec::len), Some(3));
    ///
    /// let typo = system.session("typo").tools(["reed"]).start().await?;
    /// assert!(matches!(typo.send_message("hello").await, Err(SessionError::Unresolved { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn tools<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.patch.tools = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The folder that relative paths start from, and that the builtin tools are confined to. Default: the one the
    /// process runs in.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").cwd("/project").start().await?;
    /// assert_eq!(&*alice.settings().await?.cwd, "/project");
    /// # Ok(())
    /// # }
    /// ```
    pub fn cwd(mut self, folder: impl AsRef<Path>) -> Self {
        self.patch.cwd = Some(absolute(folder.as_ref()));
        self
    }

    /// A further folder that the builtin tools may enter.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").cwd("/project").allow_root("/shared").start().await?;
    /// assert_eq!(alice.settings().await?.roots, ["/shared".into()]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow_root(mut self, folder: impl AsRef<Path>) -> Self {
        let folder = absolute(folder.as_ref());
        self.patch.roots.get_or_insert_default().push(folder);
        self
    }

    /// Rounds of tools in one turn. Default: 25.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let script = Scripted::from_fn(|_, _| ScriptedReply::call("look", json!({}))); // looks, and looks again
    /// # /// Looks around.
    /// # #[tool(effect = "read")]
    /// # async fn look() -> String { format!("{:?}", std::time::Instant::now()) }
    /// let system = System::builder().provider("scripted", script).tool(look).start().await?;
    /// let alice = system.session("alice").max_iterations(2).start().await?;
    /// let result = alice.send_message("What do you see?").await?;
    /// assert_eq!((result.finish_reason, result.iterations), (FinishReason::MaxTurns, 2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_iterations(mut self, rounds: u32) -> Self {
        self.patch.max_iterations = Some(rounds);
        self
    }

    /// Whether facts outlive the process. Default: [`Durability::Strict`]. A session that runs with another one is
    /// refused.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let fleeting = system.session("fleeting").durability(Durability::Off).start().await?;
    /// fleeting.send_message("hello").await?;
    /// assert!(system.sessions().await?.is_empty(), "the journal knows nothing of it");
    /// # Ok(())
    /// # }
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Several settings at once, over what was set before.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// use ergane::core::{MicroUsd, SettingsPatch};
    ///
    /// // For what has no method of its own: a budget of 5 cents for each turn.
    /// let budget = SettingsPatch { turn_budget: Some(MicroUsd(50_000)), ..SettingsPatch::default() };
    /// let alice = system.session("alice").settings(budget).start().await?;
    /// assert_eq!(alice.settings().await?.limits.turn_budget, Some(MicroUsd(50_000)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn settings(mut self, patch: SettingsPatch) -> Self {
        self.patch = self.patch.merged(patch);
        self
    }

    /// Gets, starts or recovers the session.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").start().await?; // made; the next time, got or recovered
    /// alice.send_message("hello").await?;
    /// assert_eq!(system.session("alice").start().await?.messages().await?.len(), 2);
    ///
    /// assert!(matches!(system.session("not a name").start().await, Err(SessionError::BadName(_))));
    /// let unknown = system.session("bob").provider("nobody").start().await;
    /// assert!(matches!(unknown, Err(SessionError::Unresolved { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A quarantine is not lifted by it, but by [`Session::start`]: a program that only opens its sessions undoes none.
    ///
    /// # Errors
    /// [`SessionError`]: a bad name, no provider registered, owned by another process, quarantined, or a journal that
    /// cannot be used.
    pub async fn start(self) -> Result<Session, SessionError> {
        // On the heap: it is large, and what awaits it lies deep in stacks as it is.
        Box::pin(self.begin()).await
    }

    async fn begin(self) -> Result<Session, SessionError> {
        let Self { context, name, durability, patch } = self;
        let session = Session::new(context.clone(), name?, durability);
        let named = patch.provider.iter().chain(patch.fallbacks.iter().flatten());
        let unknown = named.filter(|name| context.providers().get(name).is_none());
        let missing: Vec<String> = unknown.map(|provider| format!("provider {provider}")).collect();
        if !missing.is_empty() {
            return Err(SessionError::Unresolved { session: session.name().clone(), missing });
        }
        let mut initial: Settings = context.defaults().ok_or(SessionError::NoProvider)?;
        initial.durability = durability;
        // Before anything of it is brought up, so that no name is taken by what was refused; the session looks too.
        if let Some(refusal) = refusal_of_settings(session.name(), &initial, &patch) {
            return Err(refusal);
        }
        let initial = std::sync::Arc::new(initial);
        let until = Instant::now() + QUICK;
        Box::pin(session.bring_up(until, Missing::IsFine)).await?;
        let configure = |reply| SessionMsg::Configure {
            initial: initial.clone(),
            patch: Box::new(patch.clone()),
            durability,
            reply,
        };
        session.request_patiently(until, |_| {}, configure).await?;
        Ok(session)
    }

    /// As [`start`](Self::start), and lifts a quarantine.
    async fn start_again(self) -> Result<Session, SessionError> {
        match self.clone().start().await {
            Err(SessionError::Quarantined { .. }) => {
                Session::new(self.context.clone(), self.name.clone()?, self.durability).start().await?;
                self.start().await
            }
            other => other,
        }
    }

    /// Starts the session and puts an anchor for it into a tree of ractor actors: a small actor, linked to
    /// `supervisor`, that ends with the session's real reason (a stop, or a quarantine; not a restart that healed), and
    /// whose end ends the session's process, leaving an open turn to be gone on with at the next start.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # use ergane::ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
    /// # struct Office;
    /// # impl Actor for Office {
    /// #     type Msg = ();
    /// #     type State = ();
    /// #     type Arguments = ();
    /// #     async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> { Ok(()) }
    /// #     async fn handle_supervisor_evt(
    /// #         &self, _: ActorRef<()>, _: SupervisionEvent, (): &mut (),
    /// #     ) -> Result<(), ActorProcessingErr> { Ok(()) }
    /// # }
    /// // `Office` is an actor of yours.
    /// let (office, ended) = Actor::spawn(None, Office, ()).await?;
    /// let (alice, _anchor) = system.session("alice").start_link(&office.get_cell()).await?;
    /// let monitor = alice.monitor();
    /// office.stop(None);
    /// ended.await?;
    /// monitor.await; // her process ends with the office; her facts stay
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`start`](Self::start); and [`SessionError::System`] when the anchor cannot be spawned.
    pub async fn start_link(self, supervisor: &ActorCell) -> Result<(Session, AnchorRef), SessionError> {
        let session = self.start().await?;
        let anchor = Anchor::spawn(session.clone(), None, supervisor.clone()).await;
        let (anchor, _) = anchor.map_err(|error| SessionError::System(error.to_string()))?;
        Ok((session, anchor))
    }

    /// A spec for a supervisor of `ergane-otp`: its child is an anchor (see [`start_link`](Self::start_link)) of this
    /// session. Its id is `anchor/NAME`; it is restarted when the session was quarantined, which lifts
    /// the quarantine (the supervisor's own intensity is the bound), and not when the session was stopped.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// use std::time::Duration;
    ///
    /// use ergane::otp::{Namespace, Supervisor};
    ///
    /// let alice = system.session("alice").child_spec()?;
    /// let office = Supervisor::builder().child(alice).start(&Namespace::new("office"), "root").await?;
    /// assert!(system.whereis("alice").await.is_some());
    /// office.shutdown(Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SessionError::BadName`].
    pub fn child_spec(self) -> Result<ChildSpec, SessionError> {
        let id = format!("anchor/{}", self.name.clone()?);
        let spec = ChildSpec::new(id, move |start| {
            let builder = self.clone();
            async move {
                let session = builder.start_again().await.map_err(Anchor::start_error)?;
                Anchor::start(session, start).await
            }
        });
        Ok(spec.restart(Restart::Transient))
    }
}

/// The folder as every process means it, whichever folder it runs in: that is what is journaled.
fn absolute(folder: &Path) -> Text {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    folder.to_string_lossy().into_owned().into()
}
