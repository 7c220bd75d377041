//! The checks of an iteration, in their order, and how answers end a turn.

use ergane_core::*;

use crate::log::{Log, call, finished, settings};

fn with(change: impl FnOnce(&mut Limits)) -> Log {
    let mut settings = settings();
    change(&mut settings.limits);
    Log::in_a_turn_with(settings)
}

/// A round of one call that costs 10.
fn costly_round(log: &mut Log, is_error: bool) {
    let index = log.conversation.turn().unwrap().totals.tool_calls + 1;
    let event = log.replied(vec![call("read", "{}", true)], StopReason::ToolCalls, None, Some(MicroUsd(10)));
    log.push(event);
    log.push(finished(log.id(index), vec!["same".into()], is_error));
}

fn go_on(log: &Log) -> bool {
    matches!(log.next(), Next::CallModel { .. })
}

#[test]
fn of_several_limits_met_at_once_the_first_in_the_order_of_checks_is_the_reason() {
    let all = Limits {
        max_iterations: 3,
        max_mistakes: 3,
        max_stalled: 3,
        turn_budget: Some(MicroUsd(30)),
        ..Limits::default()
    };
    type Relax = fn(&mut Limits);
    let relax: [(Relax, FinishReason); 4] = [
        (|_| {}, FinishReason::MaxTurns),
        (|limits| limits.max_iterations = 4, FinishReason::ConsecutiveMistakes),
        (|limits| limits.max_mistakes = 4, FinishReason::MaxBudgetUsd),
        (|limits| limits.turn_budget = Some(MicroUsd(31)), FinishReason::NoProgress),
    ];
    let mut limits = all;
    let three_rounds = |limits: &Limits| {
        let mut log = with(|l| *l = limits.clone());
        for round in 0..3 {
            assert_eq!(log.next(), Next::CallModel { iteration: round });
            costly_round(&mut log, true);
        }
        log
    };
    for (relax, reason) in relax {
        relax(&mut limits);
        let mut log = three_rounds(&limits);
        assert_eq!(log.next(), Next::Finish { reason, error: None });
        log.interrupt();
        assert_eq!(log.finish_reason(), FinishReason::Interrupted, "an interrupt beats {reason}");
    }
    limits.max_stalled = 4;
    assert!(go_on(&three_rounds(&limits)));
}

#[test]
fn an_interrupt_beats_open_calls_a_final_answer_and_a_turn_that_was_given_up() {
    let mut asked = Log::in_a_turn();
    asked.ask(&["bash"]);
    let mut answered = Log::in_a_turn();
    answered.answer("hi");
    let mut given_up = Log::in_a_turn();
    (0..RECOVERY_LIMIT).for_each(|_| given_up.recover(1));
    for mut log in [asked, answered, given_up] {
        log.interrupt();
        assert_eq!(log.finish_reason(), FinishReason::Interrupted);
    }
}

#[test]
fn a_turn_that_was_given_up_runs_no_call_and_no_limit_stops_a_call_that_was_asked_for() {
    let mut log = with(|limits| limits.max_iterations = 1);
    log.round("read", "ok");
    assert_eq!(log.finish_reason(), FinishReason::MaxTurns);
    let mut log = with(|limits| limits.turn_budget = Some(MicroUsd(1)));
    let event = log.replied(vec![call("read", "{}", true)], StopReason::ToolCalls, None, Some(MicroUsd(5)));
    log.push(event);
    assert_eq!(log.phases(), [(1, CallPhase::Fresh)], "the budget is checked before model calls");
    (0..RECOVERY_LIMIT).for_each(|_| log.recover(1));
    assert_eq!(log.finish_reason(), FinishReason::DuringExecution);
}

#[test]
fn no_iterations_at_all_call_no_model() {
    let log = with(|limits| limits.max_iterations = 0);
    assert_eq!(log.finish_reason(), FinishReason::MaxTurns);
}

#[test]
fn a_plain_answer_is_no_iteration_and_a_round_of_tools_with_an_answer_is_one() {
    let mut log = Log::in_a_turn();
    log.answer("hi");
    log.now.0 += 1500;
    log.end(FinishReason::Stop, None, None);
    log.turn("again");
    log.ask(&["read", "glob"]);
    log.finish(2, "b");
    log.finish(1, "a");
    log.answer("done");
    log.now.0 -= 1;
    log.end(FinishReason::Stop, None, None);
    let totals: Vec<_> = log.conversation.turns().iter().map(|turn| turn.totals).collect();
    assert_eq!((totals[0].iterations, totals[0].tool_calls, totals[0].duration_ms), (0, 0, 1500));
    assert_eq!(
        (totals[1].iterations, totals[1].tool_calls, totals[1].duration_ms),
        (1, 2, 0),
        "the clock went back"
    );
}

#[test]
fn the_last_iteration_may_answer_and_one_more_round_is_not_asked_for() {
    let mut log = with(|limits| limits.max_iterations = 2);
    log.round("read", "a");
    log.ask(&["glob"]);
    log.finish(2, "b");
    assert_eq!(log.finish_reason(), FinishReason::MaxTurns);
    let mut log = with(|limits| limits.max_iterations = 2);
    log.round("read", "a");
    log.answer("done");
    assert_eq!(log.finish_reason(), FinishReason::Stop);
}

#[test]
fn a_mistake_is_a_round_in_which_every_call_failed_and_a_success_resets_the_count() {
    let fail = |log: &mut Log, n: u32| {
        let index = log.conversation.turn().unwrap().totals.tool_calls + 1;
        log.ask(&["read"]);
        log.fail(index, &n.to_string());
    };
    let mut log = Log::in_a_turn();
    fail(&mut log, 1);
    fail(&mut log, 2);
    log.ask(&["read", "glob"]);
    log.fail(3, "no");
    log.finish(4, "one of two is a success");
    fail(&mut log, 3);
    fail(&mut log, 4);
    assert!(go_on(&log));
    log.ask(&["read", "glob"]);
    log.fail(7, "no");
    log.fail(8, "all of two is a mistake");
    assert_eq!(log.finish_reason(), FinishReason::ConsecutiveMistakes);
}

#[test]
fn no_mistake_at_all_is_allowed_as_little_as_one() {
    let mut log = with(|limits| limits.max_mistakes = 0);
    assert!(go_on(&log));
    log.round("read", "ok");
    assert!(go_on(&log));
    log.ask(&["read"]);
    log.fail(2, "no");
    assert_eq!(log.finish_reason(), FinishReason::ConsecutiveMistakes);
}

#[test]
fn three_equal_rounds_are_no_progress_and_any_difference_is() {
    // Words beside the call, its tool and arguments, the text and the image of its result.
    type Round = (&'static str, &'static str, &'static str, &'static str, &'static str);
    let same: Round = ("", "see", "{}", "r", "AA==");
    for (different, reason) in [
        (same, Some(FinishReason::NoProgress)),
        (("  \n", "see", "{}", "r", "AA=="), Some(FinishReason::NoProgress)),
        (("Let me see.", "see", "{}", "r", "AA=="), None),
        (("", "see", "{\"a\":1}", "r", "AA=="), None),
        (("", "look", "{}", "r", "AA=="), None),
        (("", "see", "{}", "other", "AA=="), None),
        (("", "see", "{}", "r", "BB=="), None),
    ] {
        for place in 0..3 {
            let mut log = Log::in_a_turn();
            for round in 0..3 {
                assert!(go_on(&log));
                let (text, tool, arguments, result, image) = if round == place { different } else { same };
                log.reply(vec![text.into(), call(tool, arguments, true)], StopReason::ToolCalls);
                let image =
                    Part::Image { mime: "image/png".into(), source: ImageSource::Base64(image.into()) };
                log.push(finished(log.id(round + 1), vec![result.into(), image], false));
            }
            let expected = reason
                .map_or(Next::CallModel { iteration: 3 }, |reason| Next::Finish { reason, error: None });
            assert_eq!(log.next(), expected, "{different:?} in round {place}");
        }
    }
}

#[test]
fn equal_rounds_must_follow_each_other_and_end_with_the_turn() {
    let mut log = Log::in_a_turn();
    for text in ["same", "same", "other", "same", "same"] {
        log.round("read", text);
        assert!(go_on(&log));
    }
    log.end(FinishReason::Stop, None, None);
    log.turn("more");
    log.round("read", "same");
    assert!(go_on(&log));
}

#[test]
fn one_round_alone_is_never_without_progress() {
    for max_stalled in [0, 1, 2] {
        let mut log = with(|limits| limits.max_stalled = max_stalled);
        log.round("read", "same");
        assert!(go_on(&log));
        log.round("read", "same");
        assert_eq!(log.finish_reason(), FinishReason::NoProgress);
    }
}

#[test]
fn a_turns_budget_is_its_own_and_the_sessions_is_shared_by_all_turns() {
    let mut log = with(|limits| {
        limits.turn_budget = Some(MicroUsd(20));
        limits.session_budget = Some(MicroUsd(40));
    });
    costly_round(&mut log, false);
    assert!(go_on(&log));
    costly_round(&mut log, false);
    assert_eq!(log.finish_reason(), FinishReason::MaxBudgetUsd);
    log.end(FinishReason::MaxBudgetUsd, None, None);
    log.turn("a new turn has a new budget");
    costly_round(&mut log, false);
    assert!(go_on(&log));
    costly_round(&mut log, false);
    log.end(FinishReason::MaxBudgetUsd, None, None);
    log.turn("but the session has none left");
    assert_eq!(log.finish_reason(), FinishReason::MaxBudgetUsd);
    assert_eq!(log.conversation.cost().total(), Some(MicroUsd(40)));
}

#[test]
fn an_answer_that_spends_the_budget_is_an_answer_and_an_unknown_cost_spends_nothing() {
    let mut log = with(|limits| limits.turn_budget = Some(MicroUsd(1)));
    let usage = Usage { input_tokens: 7, output_tokens: 2, ..Usage::default() };
    let unknown = log.replied(vec![call("read", "{}", true)], StopReason::ToolCalls, Some(usage), None);
    log.push(unknown);
    log.finish(1, "ok");
    assert!(go_on(&log));
    let event = log.replied(vec!["hi".into()], StopReason::Stop, Some(usage), Some(MicroUsd(5)));
    log.push(event);
    assert_eq!(log.finish_reason(), FinishReason::Stop);
    let totals = log.conversation.turn().unwrap().totals;
    assert_eq!((totals.cost.known, totals.cost.total()), (MicroUsd(5), None));
    assert_eq!((totals.usage, log.conversation.usage()), (usage + usage, usage + usage));
}

#[test]
fn changed_settings_are_in_force_from_the_next_turn() {
    let mut log = Log::in_a_turn();
    let patch = SettingsPatch { max_iterations: Some(0), model: Some("other".into()), ..Default::default() };
    log.push(Event::SettingsChanged { patch: patch.into(), tool: None });
    assert!(go_on(&log));
    assert_eq!(&*log.conversation.request([].into()).unwrap().model, "m");
    assert_eq!(&*log.conversation.settings().unwrap().model, "other");
    log.answer("hi");
    log.end(FinishReason::Stop, None, None);
    log.turn("more");
    assert_eq!(log.finish_reason(), FinishReason::MaxTurns);
    assert_eq!(&*log.conversation.request([].into()).unwrap().model, "other");
}

#[test]
fn the_reason_why_an_answer_stopped_decides_how_the_turn_ends() {
    use ErrorKind::{ContentBlocked, ToolFormat};
    for (stop, reason, kind) in [
        (StopReason::Stop, FinishReason::Stop, None),
        (StopReason::StopSequence, FinishReason::Stop, None),
        (StopReason::ToolCalls, FinishReason::Stop, None),
        (StopReason::Unknown("odd".into()), FinishReason::Stop, None),
        (StopReason::Length, FinishReason::Length, None),
        (StopReason::ContextWindow, FinishReason::Length, None),
        (StopReason::ContentFilter, FinishReason::Refused, Some(ContentBlocked)),
        (StopReason::Refusal, FinishReason::Refused, Some(ContentBlocked)),
        (StopReason::MalformedToolCall, FinishReason::DuringExecution, Some(ToolFormat)),
    ] {
        // In words, without a word, and with nothing but a call that was cut.
        for parts in [vec!["hi".into()], Vec::new(), vec![call("read", "{\"pa", false)]] {
            let mut log = Log::in_a_turn();
            log.reply(parts, stop.clone());
            let Next::Finish { reason: found, error } = log.next() else { panic!("{:?}", log.next()) };
            assert_eq!((found, error.map(|error| error.kind)), (reason, kind), "{stop:?}");
        }
    }
}

#[test]
fn a_call_that_was_cut_never_runs_is_never_sent_and_its_siblings_run() {
    let mut log = Log::in_a_turn();
    let parts = vec!["so".into(), call("read", "{}", true), call("bash", "{\"comm", false)];
    log.reply(parts, StopReason::Length);
    assert_eq!(log.phases(), [(1, CallPhase::Fresh)]);
    log.finish(1, "ok");
    assert!(go_on(&log));
    assert_eq!(log.sent()[1].calls().map(|call| call.id).collect::<Vec<_>>(), [log.id(1)]);
    assert_eq!(log.conversation.messages().iter().nth(1).unwrap().calls().count(), 2, "but it was said");
    log.ask(&["glob"]);
    assert_eq!(log.phases(), [(3, CallPhase::Fresh)], "and it keeps its number");
}
