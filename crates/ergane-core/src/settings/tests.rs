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
fn a_base_url_that_may_hold_a_secret_is_known_as_such() {
    let at = |url: &str| SettingsPatch { base_url: Some(url.into()), ..Default::default() };
    assert!(!at("http://host/@team/v1").may_hold_a_secret());
    for secret in ["http://host/v1?key=k", "http://host/v1#k", "me:k@host/v1", "http://me:k/k@host"] {
        assert!(at(secret).may_hold_a_secret(), "{secret}");
    }
    assert!(!SettingsPatch::default().may_hold_a_secret());
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

#[test]
fn what_a_send_says_of_who_is_asked_means_what_it_meant_when_it_was_said() {
    let mut present = Settings::new("openai", "m", "/w");
    present.base_url = Some("http://127.0.0.1:1/v1".into());
    present.fallbacks = vec!["ollama".into()];
    let later = Settings::new("gemini", "flash", "/w");
    let (text, none) = (|text: &str| Some(Text::from(text)), SettingsPatch::default());
    let who = |settings: Settings| (settings.provider, settings.model, settings.base_url, settings.fallbacks);
    for said in [
        SettingsPatch { model: text("small"), ..none.clone() },
        SettingsPatch { provider: text("openai"), ..none.clone() },
        SettingsPatch { provider: text("openai"), model: text("small"), ..none.clone() },
        SettingsPatch { base_url: text("http://127.0.0.1:2"), ..none.clone() },
        SettingsPatch { api_key_env: text("KEY"), fallbacks: Some(Vec::new()), ..none.clone() },
        SettingsPatch { provider: text("ollama"), model: text("qwen3:8b"), ..none.clone() },
    ] {
        let pinned = said.clone().pinned(&present);
        assert_eq!(who(later.patched(&pinned)), who(present.patched(&said)), "{said:?}");
        assert_eq!(present.patched(&pinned), present.patched(&said), "at once it is the same: {said:?}");
    }
    // What says nothing of it is left to what the session is told.
    for said in [SettingsPatch { stream: Some(false), ..none.clone() }, none] {
        assert_eq!(said.clone().pinned(&present), said);
    }
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
        let answering = Answering {
            max_tokens: stream.then_some(counts[0]),
            reasoning: strict.then_some(ReasoningEffort::Tokens(counts[1])),
            sampling: Sampling {
                temperature: stream.then_some(0.25),
                top_k: strict.then_some(counts[2]),
                ..Sampling::default()
            },
            tool_choice: if strict { ToolChoice::Tool(cwd.as_str().into()) } else { ToolChoice::Auto },
            parallel_tools: stream.then_some(strict),
            output: strict.then(|| OutputSchema::new("o", serde_json::json!({"type": "object"}))),
            cache: if stream { PromptCache::Off } else { PromptCache::Long },
        };
        Settings {
            answering,
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

#[test]
fn how_a_model_answers_is_set_and_left_to_the_provider_again() {
    let settings = Settings::new("ollama", "m", "/w");
    let json =
        r#"{"max_tokens":9,"sampling":{"temperature":0.1},"output":{"name":"o","schema":{},"strict":true}}"#;
    let patch: SettingsPatch = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&patch).unwrap(), json);
    let set = settings.patched(&patch);
    assert_eq!((set.answering.max_tokens, set.answering.sampling.temperature), (Some(9), Some(0.1)));
    assert_eq!(patch.against(&set), None);
    let free = SettingsPatch { max_tokens: Some(None), output: Some(None), ..Default::default() };
    let json = serde_json::to_string(&free).unwrap();
    assert_eq!(json, r#"{"max_tokens":null,"output":null}"#);
    assert_eq!(serde_json::from_str::<SettingsPatch>(&json).unwrap(), free);
    assert_eq!(free.against(&settings), None, "it is so already");
    let merged = patch.merged(free.clone());
    assert_eq!((merged.max_tokens, merged.output), (Some(None), Some(None)));
    let left = set.patched(&free);
    assert_eq!((left.answering.max_tokens, left.answering.output), (None, None));
    assert_eq!(left.answering.sampling, set.answering.sampling);
}
