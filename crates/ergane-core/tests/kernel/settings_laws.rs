//! Patches of settings: what laying them over each other and comparing them with settings must keep.

use ergane_core::*;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use crate::any_history::config;
use crate::log::settings;

fn texts() -> impl Strategy<Value = Option<Vec<Text>>> {
    of(select(vec![vec![], vec!["read".into()], vec!["bash".into(), "read".into()]]))
}

/// Patches that keep to one provider.
fn patches() -> impl Strategy<Value = SettingsPatch> {
    let names = || of(select(vec![Text::from("m"), Text::from("x")]));
    let numbers = || of(select(vec![25u32, 4, 1]));
    let tools = (texts(), any::<bool>(), texts(), texts(), texts());
    (names(), names(), names(), tools, numbers(), numbers(), of(any::<bool>())).prop_map(
        |(
            model,
            base_url,
            system_prompt,
            (tools, all_tools, allow, deny, fallbacks),
            max_iterations,
            max_retries,
            stream,
        )| {
            SettingsPatch {
                model,
                base_url,
                system_prompt,
                tools,
                all_tools,
                allow,
                deny,
                fallbacks,
                max_iterations,
                max_retries,
                stream,
                ..SettingsPatch::default()
            }
        },
    )
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn two_patches_in_one_do_what_they_do_one_after_the_other(
        before in patches(), first in patches(), second in patches(),
    ) {
        let settings = settings().patched(&before);
        let one_by_one = settings.patched(&first).patched(&second);
        prop_assert_eq!(settings.patched(&first.merged(second)), one_by_one);
    }

    #[test]
    fn what_a_patch_changes_is_all_that_it_does_and_nothing_when_it_changes_nothing(
        before in patches(), mut patch in patches(), provider in of(select(vec!["scripted", "ollama"])),
    ) {
        let settings = settings().patched(&before);
        patch.provider = provider.map(Text::from);
        let patched = settings.patched(&patch);
        match patch.against(&settings) {
            None => prop_assert_eq!(patched, settings),
            Some(changes) => {
                prop_assert_ne!(&patched, &settings);
                prop_assert_eq!(settings.patched(&changes), patched);
            }
        }
    }

    #[test]
    fn a_patch_survives_json(patch in patches()) {
        let json = serde_json::to_string(&patch).unwrap();
        prop_assert_eq!(serde_json::from_str::<SettingsPatch>(&json).unwrap(), patch);
    }
}

#[test]
fn a_provider_in_the_place_of_another_one_does_not_take_its_endpoint() {
    let patch = |provider: Option<&str>, base_url: Option<&str>| SettingsPatch {
        provider: provider.map(Text::from),
        base_url: base_url.map(Text::from),
        ..SettingsPatch::default()
    };
    for (first, second, merged) in [
        (patch(Some("a"), Some("http://a")), patch(Some("b"), None), patch(Some("b"), None)),
        (patch(Some("a"), Some("http://a")), patch(Some("a"), None), patch(Some("a"), Some("http://a"))),
        (patch(None, Some("http://b")), patch(Some("b"), None), patch(Some("b"), Some("http://b"))),
        (patch(Some("a"), None), patch(Some("b"), Some("http://b")), patch(Some("b"), Some("http://b"))),
    ] {
        assert_eq!(first.merged(second), merged);
    }
}
