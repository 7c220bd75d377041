//! Words put in during a turn: when the model sees them, and where they stand.

use ergane_core::*;

use crate::log::{Log, call};
use crate::validity::{check, check_request};

/// What is said, as `role: text`.
fn said(log: &Log) -> Vec<String> {
    log.conversation
        .messages()
        .iter()
        .map(|message| match message.role {
            Role::User => format!("user: {}", message.text()),
            Role::Assistant => format!("model: {}", message.text()),
            _ => format!("tools: {}", message.results().count()),
        })
        .collect()
}

/// The texts of the next request, which must be a valid one.
fn sent(log: &Log) -> Vec<String> {
    assert!(matches!(log.next(), Next::CallModel { .. }), "{:?}", log.next());
    let sent = log.sent();
    assert_eq!(check_request(&sent), Ok(()));
    sent.iter().map(|message| message.text()).collect()
}

#[test]
fn a_word_put_in_before_the_answer_is_said_after_the_answer_that_did_not_see_it() {
    let mut log = Log::in_a_turn();
    let asked = log.conversation.seq();
    log.steer("in French");
    assert_eq!(said(&log), ["user: hello", "user: in French"]);
    let answer = log.replied_to(asked, vec!["hi".into()], StopReason::Stop, None, None);
    log.push(answer);
    // The answer has not seen it, so it is not the last one.
    assert_eq!(log.next(), Next::CallModel { iteration: 1 });
    assert_eq!(sent(&log), ["hello", "hi", "in French"]);
    log.answer("salut");
    assert_eq!(log.finish_reason(), FinishReason::Stop);
    assert_eq!(said(&log), ["user: hello", "model: hi", "user: in French", "model: salut"]);
    log.end(FinishReason::Stop, None, None);
    let record = &log.conversation.turns()[0];
    assert_eq!(log.conversation.messages_of(record).len(), 4);
    assert_eq!(&*log.conversation.text_of(record), "salut");
}

#[test]
fn a_word_that_the_request_had_is_said_before_its_answer() {
    let mut log = Log::in_a_turn();
    log.steer("in French");
    assert_eq!(sent(&log), ["helloin French"], "users' messages that follow each other are sent as one");
    log.answer("salut");
    assert_eq!(log.finish_reason(), FinishReason::Stop);
    assert_eq!(said(&log), ["user: hello", "user: in French", "model: salut"]);
}

#[test]
fn a_word_put_in_while_tools_run_is_said_after_their_results() {
    let mut log = Log::in_a_turn();
    log.ask(&["read", "read"]);
    log.finish(2, "b");
    log.steer("hurry");
    log.finish(1, "a");
    assert_eq!(sent(&log), ["hello", "", "", "hurry"]);
    log.answer("done");
    assert_eq!(said(&log), ["user: hello", "model: ", "tools: 2", "user: hurry", "model: done"]);
}

#[test]
fn a_word_put_in_before_a_reply_with_calls_waits_for_their_results() {
    let mut log = Log::in_a_turn();
    let asked = log.conversation.seq();
    log.steer("hurry");
    let reply = log.replied_to(asked, vec![call("read", "{}", true)], StopReason::ToolCalls, None, None);
    log.push(reply);
    log.finish(1, "a");
    assert_eq!(sent(&log), ["hello", "", "", "hurry"]);
}

#[test]
fn what_no_answer_has_seen_is_kept_when_the_turn_ends_and_the_history_stays_valid() {
    let mut log = Log::in_a_turn();
    log.ask(&["bash"]);
    log.steer("stop that");
    log.interrupt();
    log.end(FinishReason::Interrupted, None, None);
    assert_eq!(said(&log), ["user: hello", "model: ", "tools: 1", "user: stop that"]);
    log.turn("go on");
    assert_eq!(check(&log.sent()), Ok(()));
    assert_eq!(sent(&log).last().unwrap(), "stop thatgo on");
}

#[test]
fn a_word_survives_crashes_at_any_moment_and_is_progress() {
    let mut log = Log::in_a_turn();
    (1..RECOVERY_LIMIT).for_each(|_| log.recover(1));
    log.steer("in French");
    (1..RECOVERY_LIMIT).for_each(|_| log.recover(1));
    assert_eq!(sent(&log), ["helloin French"]);
}

#[test]
fn what_a_user_puts_in_is_new_so_the_same_round_after_it_is_no_stall() {
    let mut log = Log::in_a_turn();
    log.round("read", "same");
    log.round("read", "same");
    log.steer("try again");
    log.round("read", "same");
    assert!(matches!(log.next(), Next::CallModel { .. }), "{:?}", log.next());
}

#[test]
fn a_word_needs_an_open_turn_and_an_id_of_its_own() {
    let steered =
        |send: &str| Event::Steered { send: send.into(), input: vec!["x".into()], hash: Digest::of(b"x") };
    let mut log = Log::in_a_turn();
    log.push(steered("a"));
    assert!(log.try_push(steered("a")).is_err());
    let mut log = Log::in_a_turn();
    log.answer("hi");
    log.end(FinishReason::Stop, None, None);
    assert!(log.try_push(steered("a")).is_err());
}

#[test]
fn a_second_answer_without_a_word_in_between_is_refused() {
    let mut log = Log::in_a_turn();
    let asked = log.conversation.seq();
    log.answer("hi");
    log.steer("more");
    // Its request was built before the word: that was answered already.
    let late = log.replied_to(asked, vec!["hi again".into()], StopReason::Stop, None, None);
    assert!(log.try_push(late).is_err());
}
