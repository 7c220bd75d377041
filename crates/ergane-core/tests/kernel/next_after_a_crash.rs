//! The recovery tables: what `next` says after a crash, by the last fact and by what is known of each call.

use ergane_core::CallPhase::{CutOff, Fresh, InFlight, Poisoned};
use ergane_core::Effect::{Idempotent, Read, Write};
use ergane_core::*;

use crate::log::{Log, key_of, settings};
use crate::validity::check;

fn again(log: &Log, index: u32) -> CallPhase {
    CallPhase::Again { key: key_of(log.id(index)) }
}

fn left_behind(log: &Log) -> Vec<Option<(i32, u64)>> {
    log.conversation.turn().unwrap().open_calls().into_iter().map(|open| open.left_behind).collect()
}

fn process(log: &mut Log, index: u32, group: i32) {
    let call = log.id(index);
    log.push(Event::ToolProcess { call, group, leader_started: 5 });
}

// By the last fact.

#[test]
fn after_the_end_of_a_turn_the_session_is_idle_or_starts_the_next_send_in_line() {
    let mut log = Log::in_a_turn();
    log.answer("hi");
    log.end(FinishReason::Stop, None, None);
    assert_eq!(log.next(), Next::Idle);
    let first = log.queue(vec!["a".into()]);
    log.queue(vec!["b".into()]);
    assert_eq!(log.next(), Next::StartTurn { send: first });
}

#[test]
fn a_turn_that_only_started_calls_the_model_with_the_same_request() {
    let mut log = Log::in_a_turn();
    let before = log.sent();
    log.recover(1);
    assert_eq!(log.next(), Next::CallModel { iteration: 0 });
    assert_eq!(log.sent(), before);
}

#[test]
fn a_recorded_answer_is_not_asked_for_again() {
    let mut log = Log::in_a_turn();
    log.answer("hi");
    log.recover(1);
    assert_eq!(log.next(), Next::Finish { reason: FinishReason::Stop, error: None });
}

#[test]
fn the_calls_of_a_recorded_answer_run() {
    let mut log = Log::in_a_turn();
    log.ask(&["read", "bash"]);
    log.recover(1);
    assert_eq!(log.phases(), [(1, Fresh), (2, Fresh)]);
}

#[test]
fn only_the_missing_calls_run_and_results_stand_in_call_order_whatever_order_they_came_in() {
    let mut log = Log::in_a_turn();
    log.ask(&["read", "glob", "grep"]);
    log.finish(3, "third");
    log.recover(1);
    log.finish(1, "first");
    assert_eq!(log.phases(), [(2, Fresh)]);
    log.finish(2, "second");
    assert_eq!(log.next(), Next::CallModel { iteration: 1 });
    let sent = log.sent();
    let results: Vec<String> = sent[2].results().map(ToolResult::text).collect();
    assert_eq!(results, ["first", "second", "third"]);
    assert_eq!(check(&sent), Ok(()));
}

#[test]
fn a_requested_interrupt_closes_the_open_calls_and_ends_the_turn() {
    let mut log = Log::in_a_turn();
    log.ask(&["read", "bash"]);
    log.finish(1, "real");
    log.interrupt();
    log.recover(1);
    assert_eq!(log.next(), Next::Finish { reason: FinishReason::Interrupted, error: None });
    log.end(FinishReason::Interrupted, None, None);
    let messages: Vec<_> = log.conversation.messages().iter().cloned().collect();
    let results: Vec<_> = messages[2].results().map(|r| (r.text(), r.is_error, r.synthetic)).collect();
    assert_eq!(results, [("real".to_owned(), false, false), ("closed".to_owned(), true, true)]);
    assert_eq!(check(&messages), Ok(()));
    assert_eq!(log.next(), Next::Idle);
}

// By the call.

#[test]
fn what_happens_to_a_call_without_a_result_after_so_many_recoveries() {
    // The effect of its start fact, if there is one; then where it stands after 0, 1, 2, 3, 4 recoveries.
    let of = |log: &Log, name| match name {
        "fresh" => Fresh,
        "in flight" => InFlight,
        "again" => again(log, 1),
        "cut off" => CutOff,
        "poisoned" => Poisoned,
        _ => panic!("{name}"),
    };
    for (started, phases) in [
        (None, ["fresh", "fresh", "fresh", "poisoned", "poisoned"]),
        (Some(Read), ["in flight", "again", "again", "poisoned", "poisoned"]),
        (Some(Idempotent), ["in flight", "again", "again", "poisoned", "poisoned"]),
        (Some(Write), ["in flight", "cut off", "cut off", "cut off", "cut off"]),
    ] {
        let mut log = Log::in_a_turn();
        log.ask(&["tool"]);
        if let Some(effect) = started {
            log.start(1, effect);
        }
        for (recoveries, phase) in phases.into_iter().enumerate() {
            assert_eq!(log.phases(), [(1, of(&log, phase))], "{started:?} after {recoveries}");
            log.recover(1);
        }
    }
}

#[test]
fn a_write_that_was_cut_off_runs_again_only_where_the_session_says_so_and_is_poisoned_in_the_end() {
    let phases_of = |on_unknown| {
        let mut settings = settings();
        settings.on_unknown = on_unknown;
        let mut log = Log::in_a_turn_with(settings);
        log.ask(&["bash"]);
        log.start(1, Write);
        let mut phases = Vec::new();
        for _ in 0..4 {
            phases.push(log.phases().remove(0).1);
            log.recover(1);
        }
        (log.id(1), phases)
    };
    for on_unknown in [OnUnknown::TellModel, OnUnknown::AskHuman] {
        assert_eq!(phases_of(on_unknown).1, [InFlight, CutOff, CutOff, CutOff], "{on_unknown:?}");
    }
    let (id, phases) = phases_of(OnUnknown::Retry);
    let again = CallPhase::Again { key: key_of(id) };
    assert_eq!(phases, [InFlight, again.clone(), again, Poisoned]);
}

#[test]
fn the_recoveries_of_a_call_count_from_the_fact_that_let_it_run() {
    let mut log = Log::in_a_turn();
    log.recover(1);
    log.recover(1);
    log.ask(&["todo", "bash"]);
    log.recover(1);
    log.recover(1);
    log.start(1, Idempotent);
    log.recover(1);
    log.recover(1);
    assert_eq!(log.phases()[0], (1, again(&log, 1)));
    // The second call waited for the first and was not let run by anything yet.
    log.recover(1);
    assert_eq!(log.phases()[0], (1, Poisoned));
    log.fail(1, "it would kill the process again");
    assert_eq!(log.phases(), [(2, Fresh)]);
}

#[test]
fn a_result_of_one_call_does_not_make_a_started_one_forget_its_recoveries() {
    let mut log = Log::in_a_turn();
    log.ask(&["todo", "todo"]);
    log.start(1, Idempotent);
    log.start(2, Idempotent);
    log.recover(1);
    log.finish(1, "ok");
    assert_eq!(log.phases(), [(2, again(&log, 2))]);
    log.recover(1);
    log.recover(1);
    assert_eq!(log.phases(), [(2, Poisoned)]);
}

#[test]
fn a_result_of_one_call_is_no_reason_to_run_those_beside_it_a_fourth_time() {
    let mut log = Log::in_a_turn();
    log.ask(&["read", "glob", "grep", "bash"]);
    log.recover(1);
    log.finish(2, "it was faster than what killed the process");
    log.recover(1);
    assert_eq!(log.phases(), [(1, Fresh), (3, Fresh), (4, Fresh)]);
    log.recover(1);
    assert_eq!(log.phases(), [(1, Poisoned), (3, Poisoned), (4, Fresh)]);
    log.fail(1, "not run again");
    assert_eq!(log.phases(), [(3, Poisoned), (4, Fresh)], "whoever of them it was");
}

#[test]
fn what_had_no_place_and_what_waited_behind_a_write_is_not_poisoned_by_what_ran_meanwhile() {
    let mut settings = settings();
    settings.limits.max_concurrency = 2;
    let mut log = Log::in_a_turn_with(settings);
    log.ask(&["read", "read", "read", "read", "bash", "read"]);
    (0..3).for_each(|_| log.recover(1));
    let phases = |log: &Log| log.phases().into_iter().map(|(_, phase)| phase).collect::<Vec<_>>();
    assert_eq!(phases(&log), [Poisoned, Poisoned, Fresh, Fresh, Fresh, Fresh]);
    log.fail(1, "not run again");
    (0..3).for_each(|_| log.recover(1));
    assert_eq!(phases(&log), [Poisoned, Poisoned, Fresh, Fresh, Fresh], "the third had a place since then");
    (2..=4).for_each(|index| log.fail(index, "not run again"));
    (0..3).for_each(|_| log.recover(1));
    assert_eq!(phases(&log), [Fresh, Fresh], "the write never ran, and the last waits for it");
    log.start(5, Write);
    log.recover(1);
    log.fail(5, "cut off");
    (0..2).for_each(|_| log.recover(1));
    assert_eq!(phases(&log), [Fresh]);
    log.recover(1);
    assert_eq!(phases(&log), [Poisoned]);
}

#[test]
fn only_a_process_group_of_an_earlier_incarnation_is_left_behind() {
    let mut log = Log::in_a_turn();
    log.ask(&["todo", "read"]);
    log.start(1, Idempotent);
    process(&mut log, 1, 100);
    assert_eq!(left_behind(&log), [None, None]);
    log.recover(1);
    assert_eq!(left_behind(&log), [Some((100, 5)), None]);
    // It runs again, with a process group that must not be taken for the old one.
    process(&mut log, 1, 200);
    assert_eq!(left_behind(&log), [None, None]);
    log.recover(1);
    assert_eq!(left_behind(&log), [Some((200, 5)), None]);
    log.recover(1);
    assert_eq!(left_behind(&log), [Some((200, 5)), None]);
}

// The bounds.

#[test]
fn ten_recoveries_without_progress_end_the_turn_and_nine_do_not() {
    let mut log = Log::in_a_turn();
    (1..RECOVERY_LIMIT).for_each(|_| log.recover(1));
    assert_eq!(log.next(), Next::CallModel { iteration: 0 });
    log.recover(1);
    let Next::Finish { reason: FinishReason::DuringExecution, error: Some(error) } = log.next() else {
        panic!("{:?}", log.next());
    };
    assert_eq!(error.kind, ErrorKind::Internal);
    assert_eq!(&*error.message, "the turn was recovered 10 times without any progress");
}

#[test]
fn every_kind_of_progress_starts_the_count_of_recoveries_anew() {
    let nine = |log: &mut Log| (1..RECOVERY_LIMIT).for_each(|_| log.recover(1));
    let mut log = Log::in_a_turn();
    nine(&mut log);
    log.ask(&["todo"]);
    nine(&mut log);
    log.start(1, Idempotent);
    nine(&mut log);
    log.finish(1, "ok");
    nine(&mut log);
    assert_eq!(log.next(), Next::CallModel { iteration: 1 });
    log.recover(1);
    assert_eq!(log.finish_reason(), FinishReason::DuringExecution);
}

#[test]
fn a_process_group_is_not_progress() {
    let mut log = Log::in_a_turn();
    log.ask(&["read"]);
    for _ in 0..RECOVERY_LIMIT {
        process(&mut log, 1, 100);
        log.recover(1);
    }
    assert_eq!(log.finish_reason(), FinishReason::DuringExecution);
}

#[test]
fn no_length_of_time_ends_a_turn_because_nobody_knows_how_much_of_it_a_process_lived() {
    let night = 15 * 3600 * 1000;
    let mut log = Log::in_a_turn();
    (1..RECOVERY_LIMIT).for_each(|_| log.recover(night));
    assert_eq!(log.next(), Next::CallModel { iteration: 0 });
    log.recover(-2 * night);
    assert_eq!(log.finish_reason(), FinishReason::DuringExecution, "the tenth");
}

#[test]
fn a_turn_that_was_given_up_stays_so_while_its_calls_are_closed() {
    let mut log = Log::in_a_turn();
    log.ask(&["read", "read"]);
    (0..RECOVERY_LIMIT).for_each(|_| log.recover(1));
    for event in log.conversation.close_calls("given up") {
        log.push(event);
        assert_eq!(log.finish_reason(), FinishReason::DuringExecution);
        log.recover(1);
        assert_eq!(log.finish_reason(), FinishReason::DuringExecution);
    }
}

#[test]
fn a_turn_remembers_that_it_was_recovered_and_the_next_one_does_not() {
    let mut log = Log::in_a_turn();
    log.recover(1);
    log.answer("hi");
    log.end(FinishReason::Stop, None, None);
    log.turn("more");
    log.answer("hi again");
    log.end(FinishReason::Stop, None, None);
    let recovered: Vec<bool> = log.conversation.turns().iter().map(|turn| turn.recovered).collect();
    assert_eq!(recovered, [true, false]);
}
