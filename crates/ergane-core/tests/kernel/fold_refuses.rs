//! What cannot follow what was folded before: the log is damaged, and says where.

use std::sync::Arc;

use ergane_core::*;

use crate::log::{Log, call, finished, key_of, settings};

fn refusal(log: &mut Log, event: Event) -> String {
    log.try_push(event).expect_err("this cannot follow").to_string()
}

fn ended(log: &Log) -> Event {
    log.conversation.ended_now(FinishReason::Stop, None, None, None, log.now).unwrap()
}

fn queued(send: &str) -> Event {
    Event::Queued {
        send: send.into(),
        input: vec!["hi".into()],
        hash: Digest::of(b"hi"),
        meta: None,
        settings: None,
    }
}

fn started(call: CallId) -> Event {
    Event::ToolStarted { call, effect: Effect::Write, key: key_of(call) }
}

#[test]
fn a_position_that_is_missing_or_double_is_a_gap() {
    for (seq, ok) in [(0, false), (3, false), (4, true), (5, false), (u64::MAX, false)] {
        let mut log = Log::in_a_turn();
        let mut envelope = log.envelope(Event::Recovered { cause: "test".into() });
        envelope.seq = Seq(seq);
        let expected = if ok { Ok(()) } else { Err(FoldError::Gap { after: Seq(3), found: Seq(seq) }) };
        assert_eq!(log.conversation.apply(&envelope), expected);
    }
}

#[test]
fn a_fact_of_an_epoch_that_was_fenced_off_is_refused() {
    let mut log = Log::in_a_turn();
    log.recover(1);
    log.epoch = Epoch(1);
    let error = log.try_push(Event::Recovered { cause: "test".into() }).unwrap_err();
    assert_eq!(error, FoldError::OldEpoch { seq: Seq(5), found: 1, current: 2 });
}

#[test]
fn the_first_damaged_fact_ends_the_fold_of_a_whole_log() {
    let mut facts = Log::in_a_turn().facts;
    assert!(Conversation::fold(&facts).is_ok());
    facts.remove(1);
    assert_eq!(Conversation::fold(&facts), Err(FoldError::Gap { after: Seq(1), found: Seq(3) }));
}

#[test]
fn nothing_can_be_before_the_session_began_and_it_begins_once() {
    let none = Log::after(Conversation::default(), Epoch(1));
    for event in [
        Event::SettingsChanged { patch: Box::default(), tool: None },
        queued("a"),
        Event::TurnStarted { send: "a".into() },
    ] {
        assert!(refusal(&mut none.clone(), event).contains("the session has not begun"));
    }
    let again = Event::SessionStarted { settings: Arc::new(settings()), id: None };
    assert!(refusal(&mut Log::new(settings()), again).contains("the session has begun"));
}

#[test]
fn what_belongs_to_a_turn_cannot_stand_outside_of_one() {
    let mut log = Log::in_a_turn();
    log.ask(&["bash"]);
    let id = log.id(1);
    let reply = log.replied(vec!["hi".into()], StopReason::Stop, None, None);
    let process = Event::ToolProcess { call: id, group: 1, leader_started: 1 };
    let interrupt = Event::InterruptRequested { by: "user".into(), reason: "".into() };
    let recovered = Event::Recovered { cause: "test".into() };
    let end = ended(&log);
    for event in [reply, started(id), process, finished(id, vec![], false), interrupt, recovered, end] {
        let shown = format!("{event:?}");
        assert!(refusal(&mut Log::new(settings()), event).contains("no turn is open"), "{shown}");
    }
    let conversation = Log::new(settings()).conversation;
    assert_eq!(conversation.close_calls("why"), []);
    assert_eq!(conversation.ended_now(FinishReason::Stop, None, None, None, Timestamp(0)), None);
}

#[test]
fn a_send_is_accepted_once_and_turns_follow_each_other_in_line() {
    let mut log = Log::in_a_turn();
    assert!(refusal(&mut log.clone(), queued("s1")).contains("the send was accepted before"));
    let send = log.queue(vec!["next".into()]);
    log.queue(vec!["last".into()]);
    assert!(refusal(&mut log.clone(), Event::TurnStarted { send }).contains("a turn is open"));
    log.end(FinishReason::Stop, None, None);
    for send in ["s3", "s1", "unknown"] {
        let error = refusal(&mut log.clone(), Event::TurnStarted { send: send.into() });
        assert!(error.contains("not the next in line"), "{error}");
    }
}

#[test]
fn an_answer_that_was_not_due_is_refused() {
    let due = |log: &Log| log.replied(vec!["hi".into()], StopReason::Stop, None, None);
    let mut asked = Log::in_a_turn();
    asked.ask(&["read"]);
    let event = due(&asked);
    assert!(refusal(&mut asked, event).contains("no answer was due"), "its calls are open");

    let mut answered = Log::in_a_turn();
    let first = due(&answered);
    answered.push(first.clone());
    let event = due(&answered);
    assert!(refusal(&mut answered.clone(), first).contains("no answer was due"), "the same once more");
    assert!(refusal(&mut answered, event).contains("no answer was due"), "the turn has its answer");

    let mut waiting = Log::in_a_turn();
    let Event::ModelReplied { saw, message, usage, cost, attempts, unanswered, .. } = due(&waiting) else {
        panic!("a reply")
    };
    let event = Event::ModelReplied { iteration: 1, saw, message, usage, cost, attempts, unanswered };
    assert!(refusal(&mut waiting, event).contains("no answer was due"), "one is missing");
}

#[test]
fn an_answer_must_be_an_assistants_and_number_its_calls_from_where_the_turn_stands() {
    let mut log = Log::in_a_turn();
    log.round("read", "ok");
    let Event::ModelReplied { iteration, saw, message, .. } = log.replied(
        vec![call("read", "{}", true), call("read", "{", false)],
        StopReason::ToolCalls,
        None,
        None,
    ) else {
        panic!("a reply");
    };
    let with = |change: fn(&mut Message)| {
        let mut message = Message::clone(&message);
        change(&mut message);
        Event::ModelReplied {
            iteration,
            saw,
            message: Arc::new(message),
            usage: None,
            cost: None,
            attempts: 1,
            unanswered: None,
        }
    };
    assert!(log.clone().try_push(with(|_| {})).is_ok());
    for change in [
        (|message| message.number_calls(TurnId(3), 1)) as fn(&mut Message),
        |message| message.number_calls(TurnId(3), 3),
        |message| message.number_calls(TurnId(4), 2),
        |message| message.parts.reverse(),
        |message| message.parts = vec![call("read", "{", false)],
    ] {
        assert!(refusal(&mut log.clone(), with(change)).contains("numbered wrongly"));
    }
    for role in
        [(|message| message.role = Role::User) as fn(&mut Message), |message| message.role = Role::Tool]
    {
        assert!(refusal(&mut log.clone(), with(role)).contains("not an assistant's"));
    }
}

#[test]
fn a_call_starts_once_finishes_once_and_only_when_it_is_open() {
    let mut log = Log::in_a_turn();
    log.reply(
        vec![call("bash", "{}", true), call("bash", "{", false), call("read", "{}", true)],
        StopReason::Length,
    );
    log.start(1, Effect::Write);
    let id = |index| CallId { turn: TurnId(3), index };
    assert!(refusal(&mut log.clone(), started(id(1))).contains("was started before"));
    log.finish(1, "ok");
    for call in [id(1), id(2), id(4), CallId { turn: TurnId(2), index: 3 }] {
        let process = Event::ToolProcess { call, group: 1, leader_started: 1 };
        for event in [started(call), process, finished(call, vec![], false)] {
            assert!(refusal(&mut log.clone(), event).contains("no such call is open"), "{call}");
        }
    }
}

#[test]
fn a_turn_ends_under_its_own_id_and_not_before_its_calls() {
    let mut log = Log::in_a_turn();
    let Event::TurnEnded { finish, error, partial, unanswered, totals, .. } = ended(&log) else {
        panic!("an end")
    };
    let other = Event::TurnEnded { turn: TurnId(9), finish, error, partial, unanswered, totals };
    assert!(refusal(&mut log.clone(), other).contains("another turn or a call is open"));
    log.ask(&["read"]);
    let event = ended(&log);
    assert!(refusal(&mut log, event).contains("another turn or a call is open"));
}
