//! The settings of a session, as data and names: what a journal can keep.
//!
//! Live things (tools, providers, hooks) are registered by name on a system; settings only name them. A secret is
//! never a setting: the *name* of the variable that holds a key is.

use serde::{Deserialize, Serialize};

use crate::message::Text;
use crate::usage::MicroUsd;

/// How the kernel drives a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// Reason and act: ask the model, run the tools it asks for, ask again, until it answers.
    #[default]
    React,
}

/// What kind of calls need permission.
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

impl OnUnknown {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The permissions of a session.
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

/// The settings of a session, complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(default, skip_serializing_if = "OnUnknown::is_default")]
    pub on_unknown: OnUnknown,
    /// The limits.
    #[serde(default)]
    pub limits: Limits,
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

/// Settings that somebody set explicitly; what is `None` keeps its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// See [`Permissions::granted`]: the whole list. What is granted in mid-turn holds for that turn too.
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
    /// See [`Settings::stream`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
}

impl Settings {
    /// The least a session needs: a provider, a model, a folder; everything else at its default.
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
            stream: true,
            durability: Durability::default(),
        }
    }

    /// These settings with `patch` laid over them.
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
        set(&mut new.stream, &patch.stream);
        new
    }

    /// The patch that makes other settings, at their defaults still, the same as these. The durability is no part of it:
    /// a session has one from its beginning.
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
            stream,
            durability: _,
        } = self.clone();
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
            stream: Some(stream),
        }
    }
}

impl SettingsPatch {
    /// This patch with `later` laid over it: what `later` sets wins, be it the tools by name or all of them; and a
    /// provider that takes the place of another one takes it without the other's endpoint, key and fallbacks.
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

    /// What of this patch would change `settings`; `None` when nothing would. So an equal value writes no fact.
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn what_a_patch_leaves_unset_keeps_its_value_and_an_equal_value_changes_nothing() {
        let settings = Settings::new("ollama", "llama3.1", "/w");
        assert_eq!(settings.patched(&SettingsPatch::default()), settings);
        let same = SettingsPatch { model: Some("llama3.1".into()), ..Default::default() };
        assert_eq!(settings.patched(&same), settings);
        let other =
            SettingsPatch { max_iterations: Some(3), deny: Some(vec!["bash".into()]), ..Default::default() };
        let patched = settings.patched(&other);
        assert_eq!((patched.limits.max_iterations, patched.permissions.deny.len()), (3, 1));
        assert_eq!(patched.model, settings.model);
        assert_eq!(same.against(&settings), None);
        let both = SettingsPatch { model: Some("llama3.1".into()), ..other.clone() };
        assert_eq!(both.against(&settings), Some(other));
    }

    #[test]
    fn another_provider_forgets_the_endpoint_the_key_and_the_fallbacks_of_the_old_one() {
        let mut settings = Settings::new("openai", "m", "/w");
        settings.base_url = Some("http://127.0.0.1:1/v1".into());
        settings.api_key_env = Some("MY_KEY".into());
        settings.fallbacks = vec!["ollama".into()];
        let patch = SettingsPatch { provider: Some("ollama".into()), ..Default::default() };
        let patched = settings.patched(&patch);
        assert_eq!((patched.base_url, patched.api_key_env), (None, None));
        assert!(patched.fallbacks.is_empty());
        let same = SettingsPatch { provider: Some("openai".into()), ..Default::default() };
        assert_eq!(settings.patched(&same), settings);
    }

    proptest! {
        #[test]
        fn settings_as_a_patch_make_new_settings_the_same(settings in any_settings()) {
            let new = Settings { durability: settings.durability, ..Settings::new("other", "none", "/") };
            let patch = settings.as_patch();
            prop_assert_eq!(new.patched(&patch), settings.clone());
            prop_assert_eq!(patch.against(&settings), None);
            prop_assert_eq!(SettingsPatch::default().merged(patch.clone()), patch);
        }
    }

    /// Any value for each field, so that one which a patch leaves out is found.
    fn any_settings() -> impl Strategy<Value = Settings> {
        let names = || vec("[a-c]{1,2}".prop_map(Text::from), 0..3);
        let text = || option::of("[a-c]{0,2}".prop_map(Text::from));
        let money = || option::of((0_u64..9).prop_map(MicroUsd));
        let who = ("[a-c]{1,2}", "[a-c]{0,2}", text(), text(), names(), text(), option::of(names()));
        use PermissionMode as Free;
        let modes = [Free::Default, Free::Plan, Free::AcceptEdits, Free::Bypass];
        let permissions = (
            select(modes.to_vec()),
            option::of(names()),
            names(),
            names(),
            select(vec![Ungranted::Allow, Ungranted::Deny, Ungranted::Ask]),
        );
        let limits = (vec(0_u32..99, 5), vec(0_u64..99, 2), money(), money());
        let rest = ("[a-c]{1,2}", names(), any::<(bool, bool)>());
        let cut_off = select(vec![OnUnknown::TellModel, OnUnknown::AskHuman, OnUnknown::Retry]);
        (who, permissions, limits, rest, cut_off).prop_map(|(who, permissions, limits, rest, on_unknown)| {
            let (provider, model, base_url, api_key_env, fallbacks, system_prompt, tools) = who;
            let (mode, allow, granted, deny, ungranted) = permissions;
            let (counts, times, turn_budget, session_budget) = limits;
            let (cwd, roots, (stream, strict)) = rest;
            Settings {
                provider: provider.into(),
                model: model.into(),
                base_url,
                api_key_env,
                fallbacks,
                system_prompt,
                tools,
                cwd: cwd.into(),
                roots,
                mode: Mode::React,
                permissions: Permissions { mode, allow, granted, deny, ungranted },
                on_unknown,
                limits: Limits {
                    max_iterations: counts[0],
                    max_mistakes: counts[1],
                    max_stalled: counts[2],
                    max_concurrency: counts[3],
                    max_retries: counts[4],
                    tool_timeout_ms: times[0],
                    idle_timeout_ms: times[1],
                    turn_budget,
                    session_budget,
                },
                stream,
                durability: if strict { Durability::Strict } else { Durability::Off },
            }
        })
    }

    #[test]
    fn a_patch_and_the_settings_survive_json_and_old_json_gets_defaults() {
        let settings = Settings::new("ollama", "m", "/w");
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
        let least = r#"{"provider":"ollama","model":"m","cwd":"/w"}"#;
        assert_eq!(serde_json::from_str::<Settings>(least).unwrap(), settings);
        assert_eq!(serde_json::to_string(&SettingsPatch::default()).unwrap(), "{}");
    }
}
