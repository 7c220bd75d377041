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
use crate::handle::Session;
use crate::message::SessionMsg;
use crate::reach::{Missing, QUICK};

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

    /// The registered name of the provider. Default: the first one registered.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder()
    /// #     .provider("first", Scripted::replies([]))
    /// #     .provider("second", Scripted::builtin())
    /// #     .start()
    /// #     .await?;
    /// let alice = system.session("alice").provider("second").start().await?;
    /// assert_eq!(&*alice.send_message("hello").await?.provider, "second");
    /// # Ok(())
    /// # }
    /// ```
    pub fn provider(mut self, name: impl Into<Text>) -> Self {
        self.patch.provider = Some(name.into());
        self
    }

    /// A provider to be asked when the one before it fails for good: its attempts are used up, or no further one would
    /// help. It is asked for its own usual model. May be said several times; who answered is told by the result and the
    /// events. Another [`provider`](Self::provider) begins with none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ergane::core::ErrorKind;
    /// use ergane::provider::ScriptedError;
    ///
    /// let down = Scripted::replies([ScriptedReply::failing(ScriptedError::new(ErrorKind::Auth))]);
    /// let system = System::builder().provider("cloud", down).provider("local", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").provider("cloud").or("local").start().await?;
    /// assert_eq!(&*alice.send_message("hello").await?.provider, "local");
    /// # Ok(())
    /// # }
    /// ```
    pub fn or(mut self, name: impl Into<Text>) -> Self {
        self.patch.fallbacks.get_or_insert_default().push(name.into());
        self
    }

    /// The model at the provider. Default: the provider's.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").model("qwen3:8b").start().await?;
    /// assert_eq!(&*alice.settings().await?.model, "qwen3:8b");
    /// # Ok(())
    /// # }
    /// ```
    pub fn model(mut self, model: impl Into<Text>) -> Self {
        self.patch.model = Some(model.into());
        self
    }

    /// Another base URL than the provider was registered with. One with a query, or with a user name, may hold a key and is
    /// refused when the session starts ([`SessionError::SecretInUrl`]): settings are kept and shown. Register a provider with
    /// such a URL.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").base_url("http://gpu-box:11434").start().await?;
    /// assert_eq!(alice.settings().await?.base_url.as_deref(), Some("http://gpu-box:11434"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn base_url(mut self, url: impl Into<Text>) -> Self {
        self.patch.base_url = Some(url.into());
        self
    }

    /// The name of the environment variable that holds the key, where it is another than the provider's.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").api_key_env("TEAM_KEY").start().await?;
    /// assert_eq!(alice.settings().await?.api_key_env.as_deref(), Some("TEAM_KEY"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn api_key_env(mut self, variable: impl Into<Text>) -> Self {
        self.patch.api_key_env = Some(variable.into());
        self
    }

    /// The system prompt. Default: none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").system_prompt("You are a senior Rust engineer.").start().await?;
    /// assert!(alice.settings().await?.system_prompt.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn system_prompt(mut self, prompt: impl Into<Text>) -> Self {
        self.patch.system_prompt = Some(prompt.into());
        self
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

    /// The permission mode. Default: [`PermissionMode::Default`].
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").permissions(PermissionMode::Plan).start().await?;
    /// assert_eq!(alice.settings().await?.permissions.mode, PermissionMode::Plan);
    /// # Ok(())
    /// # }
    /// ```
    pub fn permissions(mut self, mode: PermissionMode) -> Self {
        self.patch.permission_mode = Some(mode);
        self
    }

    /// Only these tools may run; in mode `default` they are granted. Default: no such list.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").allow(["read", "glob", "grep", "bash"]).start().await?;
    /// // `write` and `edit` are denied now, and `bash` runs without a question.
    /// assert_eq!(alice.settings().await?.permissions.allow.as_ref().map(Vec::len), Some(4));
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.patch.allow = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// These tools never run. Default: none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").permissions(PermissionMode::Bypass).deny(["bash"]).start().await?;
    /// assert_eq!(alice.settings().await?.permissions.deny, ["bash".into()]); // wins over `Bypass`
    /// # Ok(())
    /// # }
    /// ```
    pub fn deny<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.patch.deny = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// These tools are granted, and nothing is denied to others: unlike [`allow`](Self::allow). Default: none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").ungranted(Ungranted::Ask).grant(["write", "edit"]).start().await?;
    /// // Files are written without a question; about a shell somebody is asked.
    /// assert_eq!(alice.settings().await?.permissions.granted.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn grant<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.patch.granted = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// What happens to a call that nothing granted and no callback decides about. Default: it runs; in mode
    /// `accept_edits` it is asked about at least.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").ungranted(Ungranted::Ask).start().await?;
    /// assert_eq!(alice.settings().await?.permissions.ungranted, Ungranted::Ask);
    /// # Ok(())
    /// # }
    /// ```
    pub fn ungranted(mut self, ungranted: Ungranted) -> Self {
        self.patch.ungranted = Some(ungranted);
        self
    }

    /// What happens to a call that changes the world and was cut off by a crash. Default: the model is told.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").on_unknown(OnUnknown::AskHuman).start().await?;
    /// assert_eq!(alice.settings().await?.on_unknown, OnUnknown::AskHuman);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_unknown(mut self, on_unknown: OnUnknown) -> Self {
        self.patch.on_unknown = Some(on_unknown);
        self
    }

    /// At most so many tokens of answer from each model call; `None` leaves it to the provider, which is the default.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").max_tokens(2_000).start().await?;
    /// assert_eq!(alice.settings().await?.answering.max_tokens, Some(2_000));
    ///
    /// let alice = system.session("alice").max_tokens(None).start().await?; // the provider's own limit again
    /// assert_eq!(alice.settings().await?.answering.max_tokens, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_tokens(mut self, tokens: impl Into<Option<u32>>) -> Self {
        self.patch.max_tokens = Some(tokens.into());
        self
    }

    /// How much a model thinks before it answers; `None` leaves it to the provider, which is the default. An adapter
    /// takes the nearest that its provider knows.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").reasoning(ReasoningEffort::High).start().await?;
    /// assert_eq!(alice.settings().await?.answering.reasoning, Some(ReasoningEffort::High));
    /// # Ok(())
    /// # }
    /// ```
    pub fn reasoning(mut self, effort: impl Into<Option<ReasoningEffort>>) -> Self {
        self.patch.reasoning = Some(effort.into());
        self
    }

    /// How tokens are chosen: temperature and the like, the whole of it. Default: left to the provider.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let sober = Sampling { temperature: Some(0.0), seed: Some(7), ..Sampling::default() };
    /// let alice = system.session("alice").sampling(sober.clone()).start().await?;
    /// assert_eq!(alice.settings().await?.answering.sampling, sober);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.patch.sampling = Some(sampling);
        self
    }

    /// Whether and which of the tools must be called. Default: the model decides, as it does once a turn has called one.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").tool_choice(ToolChoice::Required).start().await?;
    /// assert_eq!(alice.settings().await?.answering.tool_choice, ToolChoice::Required);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tool_choice(mut self, choice: ToolChoice) -> Self {
        self.patch.tool_choice = Some(choice);
        self
    }

    /// Whether several tools may be called at once; `None` leaves it to the provider, which is the default.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").parallel_tools(false).start().await?;
    /// assert_eq!(alice.settings().await?.answering.parallel_tools, Some(false));
    /// # Ok(())
    /// # }
    /// ```
    pub fn parallel_tools(mut self, parallel: impl Into<Option<bool>>) -> Self {
        self.patch.parallel_tools = Some(parallel.into());
        self
    }

    /// The structure that the text of answers must have, asked for in the provider's own way; `None` is free text, which
    /// is the default. The text is not checked here: a model that cannot be held to it may write something else.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let verdict = OutputSchema::new(
    ///     "verdict",
    ///     json!({ "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"] }),
    /// );
    /// let judge = system.session("judge").output(verdict).start().await?;
    /// assert!(judge.settings().await?.answering.output.is_some());
    /// // let verdict: Verdict = serde_json::from_str(&judge.send_message("Is 7 a prime?").await?.text)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn output(mut self, schema: impl Into<Option<OutputSchema>>) -> Self {
        self.patch.output = Some(schema.into());
        self
    }

    /// Whether the provider keeps the prompt for the next call. Default: for a short time.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").prompt_cache(PromptCache::Long).start().await?;
    /// assert_eq!(alice.settings().await?.answering.cache, PromptCache::Long);
    /// # Ok(())
    /// # }
    /// ```
    pub fn prompt_cache(mut self, cache: PromptCache) -> Self {
        self.patch.prompt_cache = Some(cache);
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
        // Before anything of it is brought up; the session looks too.
        if patch.may_hold_a_secret() {
            return Err(SessionError::SecretInUrl(session.name().clone()));
        }
        let mut initial: Settings = context.defaults().ok_or(SessionError::NoProvider)?;
        initial.durability = durability;
        let initial = std::sync::Arc::new(initial);
        let until = Instant::now() + QUICK;
        session.bring_up(until, Missing::IsFine).await?;
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
