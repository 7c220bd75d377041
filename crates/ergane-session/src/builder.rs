//! Getting, starting or recovering a session: one verb.

use std::path::Path;

use ergane_core::{
    Durability, OnUnknown, OutputSchema, PermissionMode, PromptCache, ReasoningEffort, Sampling, SessionName,
    Settings, SettingsPatch, Text, ToolChoice, Ungranted,
};
use ergane_otp::{ChildSpec, Restart};
use ractor::ActorCell;
use tokio::time::Instant;

use crate::anchor::{Anchor, AnchorRef};
use crate::context::SessionContext;
use crate::error::SessionError;
use crate::handle::{Missing, QUICK, Session};
use crate::message::SessionMsg;

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
    pub fn new(context: SessionContext, name: &str) -> Self {
        let name = SessionName::new(name).map_err(|error| SessionError::BadName(error.to_string()));
        Self { context, name, durability: Durability::default(), patch: SettingsPatch::default() }
    }

    /// The registered name of the provider. Default: the first one registered.
    pub fn provider(mut self, name: impl Into<Text>) -> Self {
        self.patch.provider = Some(name.into());
        self
    }

    /// A provider to be asked when the one before it fails for good: its attempts are used up, or no further one would
    /// help. It is asked for its own usual model. May be said several times; who answered is told by the result and the
    /// events. Another [`provider`](Self::provider) begins with none.
    pub fn or(mut self, name: impl Into<Text>) -> Self {
        self.patch.fallbacks.get_or_insert_default().push(name.into());
        self
    }

    /// The model at the provider. Default: the provider's.
    pub fn model(mut self, model: impl Into<Text>) -> Self {
        self.patch.model = Some(model.into());
        self
    }

    /// Another base URL than the provider was registered with.
    pub fn base_url(mut self, url: impl Into<Text>) -> Self {
        self.patch.base_url = Some(url.into());
        self
    }

    /// The name of the environment variable that holds the key, where it is another than the provider's.
    pub fn api_key_env(mut self, variable: impl Into<Text>) -> Self {
        self.patch.api_key_env = Some(variable.into());
        self
    }

    /// The system prompt. Default: none.
    pub fn system_prompt(mut self, prompt: impl Into<Text>) -> Self {
        self.patch.system_prompt = Some(prompt.into());
        self
    }

    /// The names of the tools offered. Default: all registered.
    pub fn tools<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.patch.tools = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The folder that relative paths start from, and that the builtin tools are confined to. Default: the one the
    /// process runs in.
    pub fn cwd(mut self, folder: impl AsRef<Path>) -> Self {
        self.patch.cwd = Some(absolute(folder.as_ref()));
        self
    }

    /// A further folder that the builtin tools may enter.
    pub fn allow_root(mut self, folder: impl AsRef<Path>) -> Self {
        let folder = absolute(folder.as_ref());
        self.patch.roots.get_or_insert_default().push(folder);
        self
    }

    /// The permission mode. Default: [`PermissionMode::Default`].
    pub fn permissions(mut self, mode: PermissionMode) -> Self {
        self.patch.permission_mode = Some(mode);
        self
    }

    /// Only these tools may run; in mode `default` they are granted. Default: no such list.
    pub fn allow<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.patch.allow = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// These tools never run. Default: none.
    pub fn deny<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.patch.deny = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// These tools are granted, and nothing is denied to others: unlike [`allow`](Self::allow). Default: none.
    pub fn grant<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.patch.granted = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// What happens to a call that nothing granted and no callback decides about. Default: it runs; in mode
    /// `accept_edits` it is asked about at least.
    pub fn ungranted(mut self, ungranted: Ungranted) -> Self {
        self.patch.ungranted = Some(ungranted);
        self
    }

    /// What happens to a call that changes the world and was cut off by a crash. Default: the model is told.
    pub fn on_unknown(mut self, on_unknown: OnUnknown) -> Self {
        self.patch.on_unknown = Some(on_unknown);
        self
    }

    /// At most so many tokens of answer from each model call; `None` leaves it to the provider, which is the default.
    pub fn max_tokens(mut self, tokens: impl Into<Option<u32>>) -> Self {
        self.patch.max_tokens = Some(tokens.into());
        self
    }

    /// How much a model thinks before it answers; `None` leaves it to the provider, which is the default. An adapter
    /// takes the nearest that its provider knows.
    pub fn reasoning(mut self, effort: impl Into<Option<ReasoningEffort>>) -> Self {
        self.patch.reasoning = Some(effort.into());
        self
    }

    /// How tokens are chosen: temperature and the like, the whole of it. Default: left to the provider.
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.patch.sampling = Some(sampling);
        self
    }

    /// Whether and which of the tools must be called. Default: the model decides, as it does once a turn has called one.
    pub fn tool_choice(mut self, choice: ToolChoice) -> Self {
        self.patch.tool_choice = Some(choice);
        self
    }

    /// Whether several tools may be called at once; `None` leaves it to the provider, which is the default.
    pub fn parallel_tools(mut self, parallel: impl Into<Option<bool>>) -> Self {
        self.patch.parallel_tools = Some(parallel.into());
        self
    }

    /// The structure that the text of answers must have, asked for in the provider's own way; `None` is free text, which
    /// is the default. The text is not checked here: a model that cannot be held to it may write something else.
    pub fn output(mut self, schema: impl Into<Option<OutputSchema>>) -> Self {
        self.patch.output = Some(schema.into());
        self
    }

    /// Whether the provider keeps the prompt for the next call. Default: for a short time.
    pub fn prompt_cache(mut self, cache: PromptCache) -> Self {
        self.patch.prompt_cache = Some(cache);
        self
    }

    /// Rounds of tools in one turn. Default: 25.
    pub fn max_iterations(mut self, rounds: u32) -> Self {
        self.patch.max_iterations = Some(rounds);
        self
    }

    /// Whether facts outlive the process. Default: [`Durability::Strict`]. A session that runs with another one is
    /// refused.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Several settings at once, over what was set before.
    pub fn settings(mut self, patch: SettingsPatch) -> Self {
        self.patch = self.patch.merged(patch);
        self
    }

    /// Gets, starts or recovers the session.
    ///
    /// # Errors
    /// [`SessionError`]: a bad name, no provider registered, owned by another process, quarantined, or a journal that
    /// cannot be used.
    pub async fn start(self) -> Result<Session, SessionError> {
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
        let initial = std::sync::Arc::new(initial);
        session.bring_up(Instant::now() + QUICK, Missing::IsFine).await?;
        let configure = |reply| SessionMsg::Configure {
            initial: initial.clone(),
            patch: Box::new(patch.clone()),
            durability,
            reply,
        };
        session.request(QUICK, configure).await?;
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
