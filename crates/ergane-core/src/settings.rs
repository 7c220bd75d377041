//! The settings of a session, as data and names: what a journal can keep.
//!
//! Live things (tools, providers, hooks) are registered by name on a system; settings only name them. A secret is
//! never a setting: the *name* of the variable that holds a key is.

mod patch;

use serde::{Deserialize, Serialize};

pub use self::patch::SettingsPatch;
use crate::message::Text;
use crate::request::{OutputSchema, PromptCache, ReasoningEffort, Sampling, ToolChoice};
use crate::usage::MicroUsd;

/// How the kernel drives a turn.
///
/// ```
/// use ergane_core::{Mode, Settings};
///
/// assert_eq!(Settings::new("ollama", "qwen3:8b", "/project").mode, Mode::React);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// Reason and act: ask the model, run the tools it asks for, ask again, until it answers.
    #[default]
    React,
}

/// What kind of calls need permission.
///
/// ```
/// use ergane_core::PermissionMode;
///
/// assert_eq!(PermissionMode::default(), PermissionMode::Default);
/// assert_eq!(serde_json::to_string(&PermissionMode::AcceptEdits)?, "\"accept_edits\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PermissionMode {
    /// `Read` is free; what is on the allow list is granted; the rest goes by [`Ungranted`].
    #[default]
    Default,
    /// Only `Read`.
    Plan,
    /// `Read` that stays off the network and tools that only edit files are free, and so is what was granted; a shell,
    /// the network and all else ask.
    AcceptEdits,
    /// Everything, except what is on the deny list or off the allow list.
    Bypass,
}

/// What happens to a call that nothing granted and no callback decides about.
///
/// ```
/// use ergane_core::{Permissions, Ungranted};
///
/// assert_eq!(Ungranted::default(), Ungranted::Allow, "the program stands for its tools");
/// let careful = Permissions { ungranted: Ungranted::Ask, ..Permissions::default() };
/// # let _ = careful;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ungranted {
    /// It runs: the library's default, where the program that registered the tools stands for them.
    #[default]
    Allow,
    /// It is denied with a reason that says how to allow it.
    Deny,
    /// It waits until somebody approves it, for as long as that takes: the command line's default.
    Ask,
}

/// What happens to a call of effect `Write` that a crash cut off: it may have been done, or in part, or not at all.
///
/// ```
/// use ergane_core::{OnUnknown, SettingsPatch};
///
/// assert_eq!(OnUnknown::default(), OnUnknown::TellModel);
/// let ask_me = SettingsPatch { on_unknown: Some(OnUnknown::AskHuman), ..SettingsPatch::default() };
/// # let _ = ask_me;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnUnknown {
    /// It does not run again; the model is told that its effect is unknown, and to check before it repeats the call.
    #[default]
    TellModel,
    /// Somebody is asked: to run it again, to give up, or for the result of what was done. It waits as an approval.
    AskHuman,
    /// It runs again with the same key, as a call of effect `Idempotent` does.
    Retry,
}

/// The permissions of a session.
///
/// ```
/// use ergane_core::{PermissionMode, Permissions, Ungranted};
///
/// let permissions = Permissions {
///     mode: PermissionMode::Default,
///     allow: None,                       // no list: nothing is denied by it
///     granted: vec!["write".into()],     // runs without a question
///     deny: vec!["bash".into()],         // never runs, in mode `bypass` neither
///     ungranted: Ungranted::Ask,         // somebody decides about the rest
/// };
/// # let _ = permissions;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    /// The mode. Default: `default`.
    #[serde(default)]
    pub mode: PermissionMode,
    /// When set, a tool that is not on it is denied, in every mode; one that is on it is granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Text>>,
    /// Tools that were granted, beside those on the allow list: "always" said to a question. Unlike the allow list it
    /// denies nothing to the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub granted: Vec<Text>,
    /// A tool on it is denied, whatever else is set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Text>,
    /// What happens to what is left over. Default: allow.
    #[serde(default)]
    pub ungranted: Ungranted,
}

/// What is kept of a session, and when.
///
/// ```
/// use ergane_core::Durability;
///
/// assert_eq!(Durability::default(), Durability::Strict);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Every fact is in the system's journal before anything depends on it.
    #[default]
    Strict,
    /// Facts live in memory and end with the process.
    Off,
}

/// The limits of a turn and of its calls.
///
/// ```
/// use ergane_core::{Limits, MicroUsd};
///
/// let tight = Limits { max_iterations: 5, turn_budget: Some(MicroUsd(10_000)), ..Limits::default() };
/// assert_eq!((tight.max_retries, tight.tool_timeout_ms), (4, 60_000));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Rounds of tools in one turn. Default 25; 0 calls no model.
    pub max_iterations: u32,
    /// Iterations in a row in which every call failed. Default 3; 0 is taken as 1.
    pub max_mistakes: u32,
    /// Iterations in a row with the same calls, the same results and no new text. Default 3; less than 2 is taken
    /// as 2, for one alone is like no other.
    pub max_stalled: u32,
    /// Money for one turn, checked before every model call. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_budget: Option<MicroUsd>,
    /// Money for the whole session, checked before every model call. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_budget: Option<MicroUsd>,
    /// Time for one tool call, in milliseconds; a tool may ask for its own. Default 60,000.
    pub tool_timeout_ms: u64,
    /// Calls of effect `Read` and `Idempotent` that run at once. Default 4.
    pub max_concurrency: u32,
    /// Further attempts of a model call after the first. Default 4.
    pub max_retries: u32,
    /// Silence on a stream that counts as cut, in milliseconds. Default 120,000.
    pub idle_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_iterations: 25,
            max_mistakes: 3,
            max_stalled: 3,
            turn_budget: None,
            session_budget: None,
            tool_timeout_ms: 60_000,
            max_concurrency: 4,
            max_retries: 4,
            idle_timeout_ms: 120_000,
        }
    }
}

/// How a model is to answer, in every call of a turn. What is left to the provider is so by default.
///
/// ```
/// use ergane_core::{Answering, ReasoningEffort};
///
/// let terse = Answering { max_tokens: Some(200), reasoning: Some(ReasoningEffort::Low), ..Answering::default() };
/// assert!(terse.output.is_none(), "free text");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answering {
    /// At most so many tokens of answer. Default: what the provider gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// How much to think first. Default: as the provider likes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<ReasoningEffort>,
    /// How tokens are chosen. Default: as the provider likes.
    #[serde(skip_serializing_if = "is_default")]
    pub sampling: Sampling,
    /// Whether and which of the tools must be called. Default: the model decides. [`ToolChoice::Required`] and
    /// [`ToolChoice::Tool`] hold for the beginning of a turn: once it has called a tool the model decides, or it could
    /// never answer.
    #[serde(skip_serializing_if = "is_default")]
    pub tool_choice: ToolChoice,
    /// Whether several tools may be called at once. Default: as the provider likes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tools: Option<bool>,
    /// The structure of the answer's text. Default: free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSchema>,
    /// Whether the provider keeps the prompt for the next call. Default: for a short time.
    #[serde(skip_serializing_if = "is_default")]
    pub cache: PromptCache,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The settings of a session, complete.
///
/// ```
/// use ergane_core::{Durability, PermissionMode, Settings};
///
/// let settings = Settings::new("ollama", "qwen3:8b", "/project");
/// assert_eq!((settings.durability, settings.permissions.mode), (Durability::Strict, PermissionMode::Default));
/// assert!(settings.stream && settings.tools.is_none(), "streamed, and every registered tool is offered");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The registered name of the provider.
    pub provider: Text,
    /// The model at that provider.
    pub model: Text,
    /// Another base URL than the registered one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    /// The *name* of the environment variable that holds the key, when it is another than the registered one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<Text>,
    /// The registered names of the providers that are asked, in this order, when the first one fails; each with its own
    /// endpoint and its own usual model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Text>,
    /// The system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<Text>,
    /// The names of the tools offered; `None` is every registered one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Text>>,
    /// The folder that relative paths start from.
    pub cwd: Text,
    /// Further folders that the builtin tools may enter, beside `cwd`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<Text>,
    /// How the kernel drives a turn.
    #[serde(default)]
    pub mode: Mode,
    /// What may run.
    #[serde(default)]
    pub permissions: Permissions,
    /// What happens to a call that changes the world and was cut off by a crash.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_unknown: OnUnknown,
    /// The limits.
    #[serde(default)]
    pub limits: Limits,
    /// How a model is to answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub answering: Answering,
    /// Whether answers are streamed. Default: yes.
    #[serde(default = "yes")]
    pub stream: bool,
    /// What is kept.
    #[serde(default)]
    pub durability: Durability,
}

fn yes() -> bool {
    true
}

impl Settings {
    /// The least a session needs: a provider, a model, a folder; everything else at its default.
    ///
    /// ```
    /// let settings = ergane_core::Settings::new("openai", "gpt-5.4", "/project");
    /// assert_eq!((&*settings.provider, settings.limits.max_iterations), ("openai", 25));
    /// ```
    pub fn new(provider: impl Into<Text>, model: impl Into<Text>, cwd: impl Into<Text>) -> Self {
        Self {
            provider: provider.into(),
            model: model.into(),
            base_url: None,
            api_key_env: None,
            fallbacks: Vec::new(),
            system_prompt: None,
            tools: None,
            cwd: cwd.into(),
            roots: Vec::new(),
            mode: Mode::default(),
            permissions: Permissions::default(),
            on_unknown: OnUnknown::default(),
            limits: Limits::default(),
            answering: Answering::default(),
            stream: true,
            durability: Durability::default(),
        }
    }
}

#[cfg(test)]
mod tests;
