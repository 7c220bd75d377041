//! A part of the settings: what somebody set, as it goes over what a session has.

use serde::{Deserialize, Deserializer, Serialize};

use super::{Answering, Limits, Mode, OnUnknown, PermissionMode, Permissions, Settings, Ungranted};
use crate::message::Text;
use crate::request::{OutputSchema, PromptCache, ReasoningEffort, Sampling, ToolChoice};
use crate::typed_url::TypedUrl;
use crate::usage::MicroUsd;

/// Settings that somebody set explicitly; what is `None` keeps its value.
///
/// ```
/// use ergane_core::{MicroUsd, Settings, SettingsPatch};
///
/// // What the builder has no method for is set by its field.
/// let patch = SettingsPatch {
///     turn_budget: Some(MicroUsd(50_000)), // 5 cents
///     max_retries: Some(1),
///     ..SettingsPatch::default()
/// };
/// let settings = Settings::new("ollama", "qwen3:8b", "/project").patched(&patch);
/// assert_eq!((settings.limits.max_retries, &*settings.model), (1, "qwen3:8b"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SettingsPatch {
    /// See [`Settings::provider`]. Another provider forgets the endpoint, the key and the fallbacks of the old one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Text>,
    /// See [`Settings::model`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Text>,
    /// See [`Settings::base_url`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    /// See [`Settings::api_key_env`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<Text>,
    /// See [`Settings::fallbacks`]: the whole list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallbacks: Option<Vec<Text>>,
    /// See [`Settings::system_prompt`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<Text>,
    /// See [`Settings::tools`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Text>>,
    /// Offer every registered tool again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all_tools: bool,
    /// See [`Settings::cwd`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<Text>,
    /// See [`Settings::roots`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<Vec<Text>>,
    /// See [`Settings::mode`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// See [`Permissions::mode`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission_mode: Option<PermissionMode>,
    /// See [`Permissions::allow`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Text>>,
    /// See [`Permissions::granted`]: the whole list. What it adds or takes back in mid-turn holds for that turn too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<Vec<Text>>,
    /// See [`Permissions::deny`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<Text>>,
    /// See [`Permissions::ungranted`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ungranted: Option<Ungranted>,
    /// See [`Settings::on_unknown`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<OnUnknown>,
    /// See [`Limits::max_iterations`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_iterations: Option<u32>,
    /// See [`Limits::max_mistakes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_mistakes: Option<u32>,
    /// See [`Limits::max_stalled`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stalled: Option<u32>,
    /// See [`Limits::turn_budget`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_budget: Option<MicroUsd>,
    /// See [`Limits::session_budget`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_budget: Option<MicroUsd>,
    /// See [`Limits::tool_timeout_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_timeout_ms: Option<u64>,
    /// See [`Limits::max_concurrency`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// See [`Limits::max_retries`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// See [`Limits::idle_timeout_ms`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    /// See [`Answering::max_tokens`]; `Some(None)` leaves it to the provider again.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "or_nothing")]
    pub max_tokens: Option<Option<u32>>,
    /// See [`Answering::reasoning`]; `Some(None)` leaves it to the provider again.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "or_nothing")]
    pub reasoning: Option<Option<ReasoningEffort>>,
    /// See [`Answering::sampling`]: the whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// See [`Answering::tool_choice`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// See [`Answering::parallel_tools`]; `Some(None)` leaves it to the provider again.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "or_nothing")]
    pub parallel_tools: Option<Option<bool>>,
    /// See [`Answering::output`]; `Some(None)` is free text again.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "or_nothing")]
    pub output: Option<Option<OutputSchema>>,
    /// See [`Answering::cache`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache: Option<PromptCache>,
    /// See [`Settings::stream`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
}

impl Settings {
    /// These settings with `patch` laid over them.
    ///
    /// ```
    /// use ergane_core::{Settings, SettingsPatch};
    ///
    /// let settings = Settings::new("ollama", "qwen3:8b", "/project");
    /// let patch = SettingsPatch { system_prompt: Some("Be brief.".into()), ..SettingsPatch::default() };
    /// let changed = settings.patched(&patch);
    /// assert_eq!((changed.system_prompt.as_deref(), changed.model), (Some("Be brief."), settings.model));
    /// ```
    pub fn patched(&self, patch: &SettingsPatch) -> Self {
        let mut new = self.clone();
        if patch.provider.as_ref().is_some_and(|provider| *provider != self.provider) {
            (new.base_url, new.api_key_env) = (None, None);
            new.fallbacks.clear();
        }
        set(&mut new.provider, &patch.provider);
        set(&mut new.model, &patch.model);
        set_some(&mut new.base_url, &patch.base_url);
        set_some(&mut new.api_key_env, &patch.api_key_env);
        set(&mut new.fallbacks, &patch.fallbacks);
        set_some(&mut new.system_prompt, &patch.system_prompt);
        if patch.all_tools {
            new.tools = None;
        }
        set_some(&mut new.tools, &patch.tools);
        set(&mut new.cwd, &patch.cwd);
        set(&mut new.roots, &patch.roots);
        set(&mut new.mode, &patch.mode);
        set(&mut new.permissions.mode, &patch.permission_mode);
        set_some(&mut new.permissions.allow, &patch.allow);
        set(&mut new.permissions.granted, &patch.granted);
        set(&mut new.permissions.deny, &patch.deny);
        set(&mut new.permissions.ungranted, &patch.ungranted);
        set(&mut new.on_unknown, &patch.on_unknown);
        set(&mut new.limits.max_iterations, &patch.max_iterations);
        set(&mut new.limits.max_mistakes, &patch.max_mistakes);
        set(&mut new.limits.max_stalled, &patch.max_stalled);
        set_some(&mut new.limits.turn_budget, &patch.turn_budget);
        set_some(&mut new.limits.session_budget, &patch.session_budget);
        set(&mut new.limits.tool_timeout_ms, &patch.tool_timeout_ms);
        set(&mut new.limits.max_concurrency, &patch.max_concurrency);
        set(&mut new.limits.max_retries, &patch.max_retries);
        set(&mut new.limits.idle_timeout_ms, &patch.idle_timeout_ms);
        set(&mut new.answering.max_tokens, &patch.max_tokens);
        set(&mut new.answering.reasoning, &patch.reasoning);
        set(&mut new.answering.sampling, &patch.sampling);
        set(&mut new.answering.tool_choice, &patch.tool_choice);
        set(&mut new.answering.parallel_tools, &patch.parallel_tools);
        set(&mut new.answering.output, &patch.output);
        set(&mut new.answering.cache, &patch.prompt_cache);
        set(&mut new.stream, &patch.stream);
        new
    }

    /// The patch that makes other settings, at their defaults still, the same as these. The durability is no part of it:
    /// a session has one from its beginning.
    ///
    /// ```
    /// use ergane_core::Settings;
    ///
    /// let mut settings = Settings::new("ollama", "qwen3:8b", "/project");
    /// settings.limits.max_iterations = 5;
    /// let like_it = Settings::new("openai", "gpt-5.4", "/").patched(&settings.as_patch());
    /// assert_eq!(like_it, settings);
    /// ```
    pub fn as_patch(&self) -> SettingsPatch {
        // Each field by its name: one that is added must be thought of here.
        let Self {
            provider,
            model,
            base_url,
            api_key_env,
            fallbacks,
            system_prompt,
            tools,
            cwd,
            roots,
            mode,
            permissions: Permissions { mode: permission_mode, allow, granted, deny, ungranted },
            on_unknown,
            limits,
            answering,
            stream,
            durability: _,
        } = self.clone();
        let Answering { max_tokens, reasoning, sampling, tool_choice, parallel_tools, output, cache } =
            answering;
        let Limits {
            max_iterations,
            max_mistakes,
            max_stalled,
            turn_budget,
            session_budget,
            tool_timeout_ms,
            max_concurrency,
            max_retries,
            idle_timeout_ms,
        } = limits;
        SettingsPatch {
            provider: Some(provider),
            model: Some(model),
            base_url,
            api_key_env,
            fallbacks: Some(fallbacks),
            system_prompt,
            all_tools: tools.is_none(),
            tools,
            cwd: Some(cwd),
            roots: Some(roots),
            mode: Some(mode),
            permission_mode: Some(permission_mode),
            allow,
            granted: Some(granted),
            deny: Some(deny),
            ungranted: Some(ungranted),
            on_unknown: Some(on_unknown),
            max_iterations: Some(max_iterations),
            max_mistakes: Some(max_mistakes),
            max_stalled: Some(max_stalled),
            turn_budget,
            session_budget,
            tool_timeout_ms: Some(tool_timeout_ms),
            max_concurrency: Some(max_concurrency),
            max_retries: Some(max_retries),
            idle_timeout_ms: Some(idle_timeout_ms),
            max_tokens: Some(max_tokens),
            reasoning: Some(reasoning),
            sampling: Some(sampling),
            tool_choice: Some(tool_choice),
            parallel_tools: Some(parallel_tools),
            output: Some(output),
            prompt_cache: Some(cache),
            stream: Some(stream),
        }
    }
}

impl SettingsPatch {
    /// This patch with `later` laid over it: what `later` sets wins, be it the tools by name or all of them; and a
    /// provider that takes the place of another one takes it without the other's endpoint, key and fallbacks.
    ///
    /// ```
    /// use ergane_core::SettingsPatch;
    ///
    /// let file = SettingsPatch { model: Some("qwen3:8b".into()), stream: Some(false), ..SettingsPatch::default() };
    /// let flags = SettingsPatch { model: Some("llama3.1".into()), ..SettingsPatch::default() };
    /// let both = file.merged(flags);
    /// assert_eq!((both.model.as_deref(), both.stream), (Some("llama3.1"), Some(false)));
    /// ```
    pub fn merged(mut self, later: Self) -> Self {
        if later.all_tools || later.tools.is_some() {
            (self.tools, self.all_tools) = (None, false);
        }
        if self.provider.is_some() && later.provider.is_some() && self.provider != later.provider {
            (self.base_url, self.api_key_env, self.fallbacks) = (None, None, None);
        }
        let fields_of = |patch: Self| match serde_json::to_value(patch) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let mut fields = fields_of(self);
        fields.extend(fields_of(later));
        serde_json::from_value(serde_json::Value::Object(fields)).unwrap_or_default()
    }

    /// This patch as it is to be kept until it holds, when the settings are `present` now: whatever they become meanwhile, it
    /// means what it means now of who is asked.
    ///
    /// A model, an endpoint or a key that is named alone belongs to the provider that there is; a provider that is named
    /// alone, and is the one that there is, is asked for the present model at the present endpoint. What names none of them
    /// says nothing of it, and is asked of whom the settings name by then. (A patch cannot say "no endpoint": one that this
    /// provider is given meanwhile holds.)
    ///
    /// ```
    /// use ergane_core::{Settings, SettingsPatch};
    ///
    /// let present = Settings::new("ollama", "qwen3:8b", "/project");
    /// let small = SettingsPatch { model: Some("qwen3:0.6b".into()), ..SettingsPatch::default() };
    /// let kept = small.pinned(&present);
    /// let later = Settings::new("openai", "gpt-5.4", "/project").patched(&kept);
    /// assert_eq!((&*later.provider, &*later.model), ("ollama", "qwen3:0.6b"));
    /// ```
    pub fn pinned(mut self, present: &Settings) -> Self {
        let speaks_of_it = self.provider.is_some()
            || self.model.is_some()
            || self.base_url.is_some()
            || self.api_key_env.is_some();
        if !speaks_of_it || self.provider.as_ref().is_some_and(|provider| *provider != present.provider) {
            return self;
        }
        self.provider.get_or_insert_with(|| present.provider.clone());
        self.model.get_or_insert_with(|| present.model.clone());
        self.base_url = self.base_url.or_else(|| present.base_url.clone());
        self.api_key_env = self.api_key_env.or_else(|| present.api_key_env.clone());
        self.fallbacks.get_or_insert_with(|| present.fallbacks.clone());
        self
    }

    /// Whether its base URL may hold a secret: something in a query, behind a `#`, or before an `@`. Settings are kept and
    /// shown, so that no session takes such a patch.
    ///
    /// ```
    /// use ergane_core::SettingsPatch;
    ///
    /// let at = |url: &str| SettingsPatch { base_url: Some(url.into()), ..SettingsPatch::default() };
    /// assert!(!at("http://gpu-box:11434/v1").may_hold_a_secret());
    /// assert!(at("https://gateway.example/v1?key=sk-1").may_hold_a_secret());
    /// assert!(at("https://me:secret@gateway.example/v1").may_hold_a_secret());
    /// ```
    pub fn may_hold_a_secret(&self) -> bool {
        self.base_url.as_deref().is_some_and(|url| TypedUrl::new(url).may_hold_a_secret())
    }

    /// What of this patch would change `settings`; `None` when nothing would. So an equal value writes no fact.
    ///
    /// ```
    /// use ergane_core::{Settings, SettingsPatch};
    ///
    /// let settings = Settings::new("ollama", "qwen3:8b", "/project");
    /// let same = SettingsPatch { model: Some("qwen3:8b".into()), ..SettingsPatch::default() };
    /// assert_eq!(same.against(&settings), None);
    /// let other = SettingsPatch { stream: Some(false), ..same };
    /// assert_eq!(other.against(&settings), Some(SettingsPatch { stream: Some(false), ..SettingsPatch::default() }));
    /// ```
    pub fn against(&self, settings: &Settings) -> Option<Self> {
        let moves = self.provider.as_ref().is_some_and(|provider| *provider != settings.provider);
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) else { return None };
        let differs = |name: &str, value: &serde_json::Value| {
            // Tools by name beat all tools.
            if name == "all_tools" && self.tools.is_some() {
                return false;
            }
            let alone = serde_json::json!({ name: value });
            let alone: Self = serde_json::from_value(alone).unwrap_or_default();
            // With another provider these start from nothing, so the old value is news.
            (moves && matches!(name, "base_url" | "api_key_env" | "fallbacks" | "model"))
                || settings.patched(&alone) != *settings
        };
        let changed: serde_json::Map<_, _> =
            fields.into_iter().filter(|(name, value)| differs(name, value)).collect();
        if changed.is_empty() {
            return None;
        }
        serde_json::from_value(serde_json::Value::Object(changed)).ok()
    }
}

fn set<T: Clone>(field: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

fn set_some<T: Clone>(field: &mut Option<T>, value: &Option<T>) {
    if value.is_some() {
        field.clone_from(value);
    }
}

/// A `null` that is there is something that was said, unlike a field that is not.
fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}
