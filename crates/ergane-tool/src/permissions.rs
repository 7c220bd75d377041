//! Whether a call may run, as a function of the settings.

use ergane_core::{Effect, PermissionMode, Permissions, Ungranted};

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
}

/// Decides whether the tool named `tool`, with this effect, may run. The first rule that decides wins: the deny list
/// (it beats everything, `bypass` too); the allow list (when it is set, what is not on it is denied); the mode; and what is
/// left goes by [`Permissions::ungranted`].
///
/// ```
/// use ergane_core::{Effect, Permissions, Ungranted};
/// use ergane_tool::{Verdict, decide};
///
/// let careful = Permissions { ungranted: Ungranted::Deny, ..Permissions::default() };
/// assert_eq!(decide(&careful, "read", Effect::Read), Verdict::Allow);
/// assert!(matches!(decide(&careful, "bash", Effect::Write), Verdict::Deny { .. }));
/// ```
pub fn decide(permissions: &Permissions, tool: &str, effect: Effect) -> Verdict {
    let on = |list: &[ergane_core::Text]| list.iter().any(|name| name.as_ref() == tool);
    if on(&permissions.deny) {
        return deny(format!("`{tool}` is on the session's deny list"));
    }
    let granted = match &permissions.allow {
        Some(allow) if !on(allow) => {
            let allowed = if allow.is_empty() { "empty".to_owned() } else { allow.join(", ") };
            return deny(format!(
                "`{tool}` is not on the session's allow list ({allowed}); add it with --allow"
            ));
        }
        Some(_) => true,
        None => false,
    };
    match permissions.mode {
        PermissionMode::Bypass => Verdict::Allow,
        PermissionMode::Plan if effect == Effect::Read => Verdict::Allow,
        PermissionMode::Plan => deny(format!(
            "the session is in permission mode `plan`, in which only tools that read may run, and `{tool}` does more; \
             describe what you would do instead"
        )),
        PermissionMode::Default if effect == Effect::Read || granted => Verdict::Allow,
        PermissionMode::Default => match permissions.ungranted {
            Ungranted::Allow => Verdict::Allow,
            Ungranted::Deny => deny(format!(
                "`{tool}` changes things and nobody granted it; the user can allow it with --allow {tool} or \
                 --permissions bypass"
            )),
        },
        // A mode that this build does not know was meant to restrict something.
        other => deny(format!("this build does not know the permission mode {other:?}")),
    }
}

fn deny(reason: String) -> Verdict {
    Verdict::Deny { reason: format!("permission denied: {reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFECTS: [Effect; 3] = [Effect::Read, Effect::Idempotent, Effect::Write];
    const MODES: [PermissionMode; 3] =
        [PermissionMode::Default, PermissionMode::Plan, PermissionMode::Bypass];

    /// The rules once more, as a table: every list state, mode, effect and leftover rule.
    #[test]
    fn the_first_rule_that_decides_wins_over_every_combination() {
        let allows =
            [None, Some(vec![]), Some(vec!["tool".into()]), Some(vec!["other".into(), "tool".into()])];
        let mut seen = 0;
        for denied in [false, true] {
            for (index, allow) in allows.iter().enumerate() {
                for mode in MODES {
                    for effect in EFFECTS {
                        for ungranted in [Ungranted::Allow, Ungranted::Deny] {
                            let deny = if denied { vec!["tool".into()] } else { vec!["other".into()] };
                            let permissions = Permissions { mode, allow: allow.clone(), deny, ungranted };
                            let expected = match (denied, index, mode, effect, ungranted) {
                                (true, ..) => false,
                                (_, 1, ..) => false,
                                (_, _, PermissionMode::Bypass, ..) => true,
                                (_, _, _, Effect::Read, _) => true,
                                (_, _, PermissionMode::Plan, ..) => false,
                                (_, 2 | 3, ..) => true,
                                (_, _, _, _, ungranted) => ungranted == Ungranted::Allow,
                            };
                            let verdict = decide(&permissions, "tool", effect);
                            assert_eq!(verdict == Verdict::Allow, expected, "{permissions:?} {effect:?}");
                            seen += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(seen, 2 * 4 * 3 * 3 * 2);
    }

    fn reason(permissions: &Permissions, effect: Effect) -> String {
        match decide(permissions, "bash", effect) {
            Verdict::Deny { reason } => reason,
            Verdict::Allow => panic!("allowed"),
        }
    }

    #[test]
    fn each_denial_says_which_rule_and_what_to_do() {
        let mut permissions = Permissions { ungranted: Ungranted::Deny, ..Default::default() };
        let text = reason(&permissions, Effect::Write);
        assert!(text.contains("--allow bash or --permissions bypass"), "{text}");
        permissions.mode = PermissionMode::Plan;
        assert!(reason(&permissions, Effect::Write).contains("`plan`"));
        permissions.allow = Some(vec!["read".into()]);
        assert!(reason(&permissions, Effect::Read).contains("allow list (read)"));
        permissions.deny = vec!["bash".into()];
        assert!(reason(&permissions, Effect::Read).contains("deny list"));
    }
}
