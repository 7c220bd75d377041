use super::*;

const EFFECTS: [Effect; 3] = [Effect::Read, Effect::Idempotent, Effect::Write];
const REACHES: [Reach; 3] = [Reach::Anything, Reach::Files, Reach::Network];
const MODES: [PermissionMode; 4] =
    [PermissionMode::Default, PermissionMode::Plan, PermissionMode::AcceptEdits, PermissionMode::Bypass];
const LEFTOVERS: [Ungranted; 3] = [Ungranted::Allow, Ungranted::Deny, Ungranted::Ask];

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny { .. } => "deny",
        Verdict::Consult => "consult",
        Verdict::Ask { .. } => "ask",
    }
}

/// The rules once more, as a table: every list state, mode, effect, reach, callback and leftover rule.
#[test]
fn the_first_rule_that_decides_wins_over_every_combination() {
    use PermissionMode::{AcceptEdits, Bypass, Default, Plan};
    let allows = [None, Some(vec![]), Some(vec!["tool".into()]), Some(vec!["other".into(), "tool".into()])];
    let mut seen = std::collections::BTreeMap::new();
    for denied in [false, true] {
        for (list, allow) in allows.iter().enumerate() {
            for granted in [false, true] {
                for (mode, effect, reach) in MODES
                    .into_iter()
                    .flat_map(|mode| EFFECTS.map(|effect| (mode, effect)))
                    .flat_map(|(mode, effect)| REACHES.map(|reach| (mode, effect, reach)))
                {
                    for ungranted in LEFTOVERS {
                        for consults in [false, true] {
                            let names =
                                |is: bool| if is { vec!["tool".into()] } else { vec!["other".into()] };
                            let permissions = Permissions {
                                mode,
                                allow: allow.clone(),
                                granted: names(granted),
                                deny: names(denied),
                                ungranted,
                            };
                            let is_granted = granted || list >= 2;
                            let expected = match (denied, list, mode, effect, reach) {
                                (true, ..) => "deny",
                                (_, 1, ..) => "deny",
                                (_, _, Bypass, ..) => "allow",
                                (_, _, Plan, Effect::Read, _) => "allow",
                                (_, _, Plan, ..) => "deny",
                                _ if is_granted => "allow",
                                (_, _, Default, Effect::Read, _) => "allow",
                                (_, _, AcceptEdits, _, Reach::Files) => "allow",
                                (_, _, AcceptEdits, Effect::Read, Reach::Anything) => "allow",
                                _ if consults => "consult",
                                _ if ungranted == Ungranted::Deny => "deny",
                                (_, _, Default, ..) if ungranted == Ungranted::Allow => "allow",
                                _ => "ask",
                            };
                            let subject = Subject { tool: "tool", effect, reach };
                            let verdict = decide(&permissions, subject, consults);
                            assert_eq!(
                                word(&verdict),
                                expected,
                                "{permissions:?} {subject:?} callback: {consults}"
                            );
                            *seen.entry(expected).or_insert(0) += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(seen.values().sum::<i32>(), 2 * 4 * 2 * 4 * 3 * 3 * 3 * 2);
    assert_eq!(seen.len(), 4, "every verdict is reached");
}

fn reason(permissions: &Permissions, effect: Effect) -> String {
    match decide(permissions, Subject { tool: "bash", effect, reach: Reach::Anything }, false) {
        Verdict::Deny { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_denial_says_which_rule_and_what_to_do_in_no_words_of_the_command() {
    let mut permissions = Permissions { ungranted: Ungranted::Deny, ..Default::default() };
    let text = reason(&permissions, Effect::Write);
    assert!(text.contains("nobody granted it; the user can put it on the allow list"), "{text}");
    assert!(!text.contains("--"), "{text}");
    permissions.mode = PermissionMode::Plan;
    assert!(reason(&permissions, Effect::Write).contains("`plan`"));
    permissions.allow = Some(vec!["read".into()]);
    assert!(reason(&permissions, Effect::Read).contains("allow list (read)"));
    permissions.deny = vec!["bash".into()];
    assert!(reason(&permissions, Effect::Read).contains("deny list"));
}

#[test]
fn a_question_says_what_the_tool_does() {
    let permissions = Permissions { mode: PermissionMode::AcceptEdits, ..Default::default() };
    for (effect, reach, words) in [
        (Effect::Read, Reach::Network, "`tool` goes to the network"),
        (Effect::Write, Reach::Anything, "`tool` changes things"),
    ] {
        let verdict = decide(&permissions, Subject { tool: "tool", effect, reach }, false);
        assert!(matches!(&verdict, Verdict::Ask { why } if why.starts_with(words)), "{verdict:?}");
    }
}
