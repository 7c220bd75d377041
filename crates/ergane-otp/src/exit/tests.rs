use super::ExitReason;

#[test]
fn a_reason_survives_the_way_through_ractors_text() {
    let reasons = [
        ExitReason::Normal,
        ExitReason::shutdown(),
        ExitReason::Shutdown("by the operator".into()),
        ExitReason::Killed,
        ExitReason::Error("disk: full".into()),
        ExitReason::Error(String::new()),
        ExitReason::Panic { message: "index out of range".into(), location: None },
        ExitReason::NoProc,
    ];
    for reason in reasons {
        assert_eq!(ExitReason::from_stop_reason(reason.to_stop_reason().as_deref()), reason);
    }
}

#[test]
fn a_foreign_text_is_a_shutdown_and_no_crash() {
    let reason = ExitReason::from_stop_reason(Some("had enough"));
    assert_eq!(reason, ExitReason::Shutdown("had enough".into()));
    assert!(!reason.is_crash());
}

#[test]
fn only_normal_and_shutdown_are_no_crashes() {
    assert!(!ExitReason::Normal.is_crash());
    assert!(!ExitReason::Shutdown("x".into()).is_crash());
    assert!(ExitReason::Killed.is_crash());
    assert!(ExitReason::Error("x".into()).is_crash());
    assert!(ExitReason::Panic { message: "x".into(), location: None }.is_crash());
    assert!(ExitReason::NoProc.is_crash());
}

#[test]
fn a_boxed_reason_is_read_back_from_a_failure() {
    let reason = ExitReason::Panic { message: "m".into(), location: Some("f.rs:1:2".into()) };
    let boxed: ractor::ActorProcessingErr = Box::new(reason.clone());
    assert_eq!(ExitReason::from_failure(&boxed), reason);
    let text: ractor::ActorProcessingErr = "plain".into();
    assert_eq!(ExitReason::from_failure(&text), ExitReason::Error("plain".into()));
}
