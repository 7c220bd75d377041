//! Calls that wait for somebody's decision: what `next` says of them, before and after crashes.

use ergane_core::CallPhase::{AwaitingApproval, CutOff, Denied, DoneOtherwise, Fresh, InFlight, Poisoned};
use ergane_core::Effect::Write;
use ergane_core::*;

use crate::log::{Log, settings};

impl Log {
    fn request(&mut self, index: u32, cause: ApprovalCause) {
        let event = self.requested(index, cause);
        self.push(event);
    }

    fn requested(&self, index: u32, cause: ApprovalCause) -> Event {
        let arguments = Digest::of(b"{}");
        Event::ApprovalRequested { call: self.id(index), arguments, cause, why: "it writes".into() }
    }

    fn decided(&self, index: u32, decision: Decision) -> Event {
        Event::ApprovalDecided { call: self.id(index), decision, by: "user".into() }
    }

    fn decide(&mut self, index: u32, decision: Decision) {
        let event = self.decided(index, decision);
        self.push(event);
    }

    fn waits(&self) -> bool {
        matches!(self.next(), Next::AwaitApproval { .. })
    }
}

/// A turn with these calls, of which the first waits for permission.
fn waiting(tools: &[&str]) -> Log {
    let mut log = Log::in_a_turn();
    log.ask(tools);
    log.request(1, ApprovalCause::Permission);
    log
}

#[test]
fn a_call_waits_for_its_decision_whatever_it_is_and_each_has_its_consequence() {
    for (decision, phase) in [
        (Decision::Allow, Fresh),
        (Decision::deny("no"), Denied { cause: ApprovalCause::Permission, reason: "no".into() }),
        (Decision::Done { result: "by hand".into() }, DoneOtherwise { result: "by hand".into() }),
    ] {
        let mut log = waiting(&["bash"]);
        assert!(log.waits());
        let pending = log.conversation.turn().unwrap().approvals();
        assert_eq!((pending.len(), &*pending[0].tool, &*pending[0].why), (1, "bash", "it writes"));
        assert_eq!(pending[0].since, log.now);
        log.decide(1, decision.clone());
        assert_eq!(log.phases(), [(1, phase.clone())]);
        assert!(log.conversation.turn().unwrap().approvals().is_empty());
        // A crash in between changes nothing of it.
        log.recover(1);
        assert_eq!(log.phases(), [(1, phase)]);
        assert_eq!(log.conversation.decided(log.id(1)).unwrap().decision, decision);
    }
}

#[test]
fn an_allowed_call_says_that_it_was_allowed() {
    let mut log = waiting(&["bash", "bash"]);
    log.decide(1, Decision::Allow);
    let open = log.conversation.turn().unwrap().open_calls();
    assert_eq!((open[0].approved, open[1].approved), (true, false));
}

#[test]
fn calls_beside_one_that_waits_go_on_and_the_turn_waits_when_only_such_are_left() {
    let mut log = waiting(&["bash", "read"]);
    assert_eq!(log.phases(), [(1, AwaitingApproval), (2, Fresh)]);
    log.finish(2, "read");
    assert!(log.waits());
}

#[test]
fn no_number_of_restarts_and_no_length_of_time_ends_a_turn_that_waits_for_a_human() {
    let mut log = waiting(&["read"]);
    for _ in 0..50 {
        log.recover(24 * 3600 * 1000);
        assert!(log.waits());
    }
    log.decide(1, Decision::Allow);
    assert_eq!(log.phases(), [(1, Fresh)], "and the call is not poisoned by them");
    // What comes after the decision counts as ever.
    (0..CALL_RECOVERY_LIMIT).for_each(|_| log.recover(1));
    assert_eq!(log.phases(), [(1, Poisoned)]);
}

#[test]
fn a_call_that_kills_the_process_beside_one_that_waits_is_poisoned_all_the_same() {
    let mut log = waiting(&["glob", "read"]);
    (0..CALL_RECOVERY_LIMIT).for_each(|_| log.recover(1));
    assert_eq!(log.phases(), [(1, AwaitingApproval), (2, Poisoned)]);
}

#[test]
fn an_interrupt_closes_what_waits_for_a_decision() {
    let mut log = waiting(&["bash"]);
    log.interrupt();
    assert_eq!(log.finish_reason(), FinishReason::Interrupted);
    log.end(FinishReason::Interrupted, None, None);
    assert_eq!(log.next(), Next::Idle);
    assert_eq!(log.conversation.decided(CallId { turn: TurnId(3), index: 1 }), None);
}

#[test]
fn what_was_cut_off_and_is_allowed_runs_as_if_it_had_never_begun() {
    let mut log = Log::in_a_turn();
    log.ask(&["bash"]);
    log.start(1, Write);
    log.recover(1);
    assert_eq!(log.phases(), [(1, CutOff)]);
    log.request(1, ApprovalCause::CutOff);
    assert!(log.waits());
    log.decide(1, Decision::Allow);
    assert_eq!(log.phases(), [(1, Fresh)]);
    log.start(1, Write);
    assert_eq!(log.phases(), [(1, InFlight)]);
    log.recover(1);
    assert_eq!(log.phases(), [(1, CutOff)], "cut off once more, it is asked about once more");
    log.request(1, ApprovalCause::CutOff);
    log.decide(1, Decision::deny(""));
    assert_eq!(log.phases(), [(1, Denied { cause: ApprovalCause::CutOff, reason: "".into() })]);
}

#[test]
fn a_decision_answers_the_question_it_names_and_one_that_names_none_the_only_one_there_was() {
    let (allow, deny) = (Decision::Allow, Decision::deny("no"));
    let mut log = Log::in_a_turn();
    log.ask(&["bash"]);
    let call = log.id(1);
    let verdict = |log: &Log, question: Option<Seq>, decision: &Decision| {
        log.conversation.verdict(call, question, decision)
    };
    assert_eq!(verdict(&log, None, &allow), Verdict::NotAsked);
    log.request(1, ApprovalCause::Permission);
    let first = log.conversation.seq();
    let arguments = Digest::of(b"{}");
    for named in [None, Some(first)] {
        assert_eq!(verdict(&log, named, &allow), Verdict::Waits { question: first, arguments });
    }
    assert_eq!(verdict(&log, Some(Seq(first.0 - 1)), &allow), Verdict::NotAsked);
    log.decide(1, Decision::Allow);
    let by_user = Decided { decision: Decision::Allow, by: "user".into() };
    let answered = |log: &Log, named| {
        assert_eq!(verdict(log, named, &allow), Verdict::Same);
        assert_eq!(verdict(log, named, &deny), Verdict::Other(by_user.clone()));
    };
    [None, Some(first)].into_iter().for_each(|named| answered(&log, named));
    log.start(1, Write);
    log.recover(1);
    [None, Some(first)].into_iter().for_each(|named| answered(&log, named));
    log.request(1, ApprovalCause::CutOff);
    let second = log.conversation.seq();
    answered(&log, Some(first));
    assert_eq!(verdict(&log, None, &allow), Verdict::AskedAgain(second));
    assert_eq!(verdict(&log, Some(second), &deny), Verdict::Waits { question: second, arguments });
    log.interrupt();
    for named in [None, Some(second)] {
        assert_ne!(verdict(&log, named, &deny), Verdict::Waits { question: second, arguments });
    }
    assert_eq!(verdict(&log, Some(second), &allow), Verdict::NotAsked, "a turn that is ending takes none");
    answered(&log, Some(first));
}

#[test]
fn what_cannot_be_asked_or_decided_is_refused() {
    let mut log = Log::in_a_turn();
    log.ask(&["bash", "bash", "read"]);
    log.start(1, Write);
    log.finish(3, "read");
    // It runs; it has its result; nobody asked.
    assert!(log.try_push(log.requested(1, ApprovalCause::Permission)).is_err());
    assert!(log.try_push(log.requested(1, ApprovalCause::CutOff)).is_err());
    assert!(log.try_push(log.requested(3, ApprovalCause::Permission)).is_err());
    assert!(log.try_push(log.decided(2, Decision::Allow)).is_err());
    log.request(2, ApprovalCause::Permission);
    // It waits already.
    assert!(log.try_push(log.requested(2, ApprovalCause::Permission)).is_err());
    log.decide(2, Decision::Allow);
    assert!(log.try_push(log.decided(2, Decision::Allow)).is_err(), "once is enough");
}

#[test]
fn what_is_granted_in_a_turn_holds_in_that_turn_and_other_settings_wait_for_the_next() {
    let mut log = Log::in_a_turn_with(settings());
    let patch = SettingsPatch {
        granted: Some(vec!["bash".into()]),
        max_iterations: Some(1),
        ..SettingsPatch::default()
    };
    log.push(Event::SettingsChanged { patch: patch.into(), tool: None });
    let turn = log.conversation.turn().unwrap();
    assert_eq!(turn.settings.permissions.granted, ["bash".into()]);
    assert_eq!(turn.settings.limits.max_iterations, 25);
}

#[test]
fn a_turn_with_grants_of_its_own_gets_what_is_new_and_loses_what_was_taken_back() {
    let list = |names: &[&str]| Some(names.iter().map(|name| Text::from(*name)).collect::<Vec<_>>());
    let grants = |names: &[&str]| SettingsPatch { granted: list(names), ..SettingsPatch::default() };
    let before = settings().patched(&grants(&["bash", "edit"]));
    let mut log = Log::new(before);
    let (send, settings) = (SendId::from("s"), Some(grants(&["edit", "own"]).into()));
    let (input, hash) = (vec!["hello".into()], Digest::of(b""));
    log.push(Event::Queued { send: send.clone(), input, hash, meta: None, settings });
    log.push(Event::TurnStarted { send });
    let mut change = |names: &[&str], tool: Option<&str>| {
        let (patch, tool) = (grants(names).into(), tool.map(Text::from));
        log.push(Event::SettingsChanged { patch, tool });
        let granted = |settings: &Settings| settings.permissions.granted.clone();
        assert_eq!(log.conversation.settings().map(|settings| granted(settings)), list(names));
        log.conversation.turn().map(|turn| granted(&turn.settings))
    };
    // Somebody grants one tool; the session's list changes; somebody grants what the session grants already.
    assert_eq!(change(&["bash", "edit", "write"], Some("write")), list(&["edit", "own", "write"]));
    assert_eq!(change(&["bash", "write", "todo"], None), list(&["own", "write", "todo"]));
    assert_eq!(change(&["bash", "write", "todo"], Some("bash")), list(&["own", "write", "todo", "bash"]));
}

#[test]
fn a_grant_is_written_with_its_tool_and_one_of_before_is_read_without() {
    let patch: Box<SettingsPatch> = Box::default();
    let old = Event::SettingsChanged { patch: patch.clone(), tool: None };
    assert_eq!(serde_json::to_string(&old).unwrap(), r#"{"type":"settings_changed","patch":{}}"#);
    for event in [old, Event::SettingsChanged { patch, tool: Some("bash".into()) }] {
        let written = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&written).unwrap(), event);
    }
}

#[test]
fn two_denials_are_the_same_whatever_their_reasons_and_two_results_are_not() {
    let done = |result: &str| Decision::Done { result: result.into() };
    assert!(Decision::deny("a").is_same(&Decision::deny("b")));
    assert!(Decision::Allow.is_same(&Decision::Allow));
    assert!(done("a").is_same(&done("a")) && !done("a").is_same(&done("b")));
    assert!(!Decision::Allow.is_same(&Decision::deny("a")));
}
