//! Going on from an earlier point: what is the history then, and what is still known.

use ergane_core::*;

use crate::log::{Log, call, settings};
use crate::validity::check;

impl Log {
    /// A turn with this question and answer; returns the position of its end.
    fn talk(&mut self, question: &str, answer: &str) -> Seq {
        self.turn(question);
        self.answer(answer);
        self.end(FinishReason::Stop, None, None);
        self.conversation.seq()
    }

    fn rewind(&mut self, to: Seq) {
        self.push(Event::Rewound { to, id: None });
    }

    fn label(&mut self, label: &str) -> Seq {
        self.push(Event::Checkpointed { label: label.into() });
        self.conversation.seq()
    }
}

fn begun() -> Log {
    Log::new(settings())
}

fn said(log: &Log) -> Vec<String> {
    log.conversation.messages().iter().map(|message| message.text()).collect()
}

#[test]
fn a_rewound_history_is_what_it_was_and_goes_on_from_there() {
    let mut log = begun();
    let first = log.talk("one", "1");
    log.talk("two", "2");
    log.talk("three", "3");
    log.rewind(first);
    assert_eq!(said(&log), ["one", "1"]);
    assert_eq!(log.next(), Next::Idle);
    log.turn("four");
    assert_eq!(log.sent().iter().map(|m| m.text()).collect::<Vec<_>>(), ["one", "1", "four"]);
    log.answer("4");
    log.end(FinishReason::Stop, None, None);
    assert_eq!(said(&log), ["one", "1", "four", "4"]);
    let of_turns: Vec<_> =
        log.conversation.turns().iter().map(|t| (t.ordinal, t.rewound.is_some())).collect();
    assert_eq!(of_turns, [(1, false), (2, true), (3, true), (4, false)], "nobody's number is used again");
}

#[test]
fn a_rewound_turn_keeps_its_messages_its_text_and_what_it_cost() {
    let mut log = begun();
    let first = log.talk("one", "1");
    log.talk("two", "2");
    let (usage, cost) = (log.conversation.usage(), log.conversation.cost());
    log.rewind(first);
    log.talk("three", "3");
    let record = log.conversation.turns()[1].clone();
    assert_eq!(&*log.conversation.text_of(&record), "2");
    let messages = log.conversation.messages_of(&record);
    assert_eq!(messages.iter().map(|m| m.text()).collect::<Vec<_>>(), ["two", "2"]);
    assert_eq!(log.conversation.send(&record.send).unwrap().turn, Some(record.id));
    assert_eq!((log.conversation.usage(), log.conversation.cost()), (usage, cost));
}

#[test]
fn a_point_inside_a_round_of_tools_is_closed_with_results_that_say_so() {
    let mut log = begun();
    log.turn("go");
    log.reply(vec![call("read", "{}", true), call("read", "{", false)], StopReason::ToolCalls);
    let inside = log.conversation.seq();
    log.finish(1, "text");
    log.answer("done");
    log.end(FinishReason::Stop, None, None);
    log.rewind(inside);
    let messages: Vec<_> = log.conversation.messages().iter().cloned().collect();
    let results: Vec<_> = messages[2].results().map(|r| (r.is_error, r.synthetic, r.text())).collect();
    assert_eq!(results.len(), 1);
    assert!(results[0].0 && results[0].1 && results[0].2.contains("rewound"), "{results:?}");
    log.turn("on");
    assert_eq!(check(&log.sent()), Ok(()));
    let record = &log.conversation.turns()[0];
    assert_eq!(log.conversation.messages_of(record).len(), 4, "its own history is whole");
}

#[test]
fn labels_name_points_the_last_of_a_name_counts_and_what_was_rewound_has_none() {
    let mut log = begun();
    log.talk("one", "1");
    let a = log.label("a");
    log.talk("two", "2");
    let moved = log.label("a");
    let b = log.label("b");
    let of = |log: &Log, label: &str| log.conversation.position_of(&label.into());
    assert_eq!((of(&log, "a"), of(&log, "b"), of(&log, "c")), (Some(moved), Some(b), None));
    log.rewind(a);
    assert_eq!((of(&log, "a"), of(&log, "b")), (Some(a), None));
}

#[test]
fn only_points_of_the_present_history_can_be_gone_back_to() {
    let mut log = begun();
    let first = log.talk("one", "1");
    let second = log.talk("two", "2");
    log.rewind(first);
    let rewound = log.conversation.seq();
    let third = log.talk("three", "3");
    let at = |log: &Log, seq: Seq| log.conversation.position_of(&seq.into());
    assert_eq!(at(&log, second), None, "that was rewound");
    assert_eq!(at(&log, Seq(third.0 + 1)), None, "that is not there yet");
    for good in [Seq(0), first, rewound, third] {
        assert_eq!(at(&log, good), Some(good));
    }
    assert!(log.clone().try_push(Event::Rewound { to: second, id: None }).is_err());
    assert!(log.clone().try_push(Event::Rewound { to: Seq(third.0 + 1), id: None }).is_err());
    // Back to the rewind itself is back to what it went back to, and back beyond it is as well possible.
    log.rewind(rewound);
    assert_eq!(said(&log), ["one", "1"]);
    log.rewind(Seq(1));
    assert_eq!(said(&log), [""; 0]);
    assert_eq!(at(&log, first), None);
    assert_eq!(log.conversation.position_of(&Point::Now), Some(log.conversation.seq()));
}

#[test]
fn a_wish_that_was_carried_out_is_known_and_a_fork_does_not_know_it() {
    let mut log = begun();
    let first = log.talk("one", "1");
    let wish = SendId::from("back");
    assert_eq!(log.conversation.rewound(&wish), None);
    let rewound = |id| Event::Rewound { to: first, id };
    for id in [None, Some(wish.clone())] {
        let written = serde_json::to_value(rewound(id.clone())).unwrap();
        assert_eq!(
            written.get("id").is_some(),
            id.is_some(),
            "none is not written, as before there were any"
        );
        assert_eq!(serde_json::from_value::<Event>(written).unwrap(), rewound(id));
    }
    log.push(rewound(Some(wish.clone())));
    let carried_out = Some((log.conversation.seq(), first));
    assert_eq!(log.conversation.rewound(&wish), carried_out);
    log.talk("two", "2");
    log.rewind(Seq(1));
    assert_eq!(log.conversation.rewound(&wish), carried_out, "also when it was rewound itself");
    log.push(Event::Forked { parent: SessionName::new("parent").unwrap(), at: Seq(5), id: None });
    assert_eq!(log.conversation.rewound(&wish), None);
}

#[test]
fn a_turn_in_progress_is_not_rewound() {
    let mut log = begun();
    let first = log.talk("one", "1");
    log.turn("two");
    assert!(log.try_push(Event::Rewound { to: first, id: None }).is_err());
}

#[test]
fn a_fork_is_another_session_and_facts_from_before_identities_are_read_without() {
    let settings = std::sync::Arc::new(settings());
    let (mine, forks) = (Identity(0xa1), Identity(u128::MAX));
    let begun = |id| Event::SessionStarted { settings: settings.clone(), id };
    let forked = |id| Event::Forked { parent: SessionName::new("parent").unwrap(), at: Seq(1), id };
    for (first, then) in [(Some(mine), Some(forks)), (None, Some(forks)), (Some(mine), None), (None, None)] {
        let mut log = Log::after(Conversation::default(), Epoch(1));
        for (event, id) in [(begun(first), first), (forked(then), then)] {
            let written = serde_json::to_value(&event).unwrap();
            let shown = id.map(|id| id.to_string().into());
            assert_eq!(written.get("id"), shown.as_ref(), "none is not written, as before there were any");
            assert_eq!(serde_json::from_value::<Event>(written).unwrap(), event);
            log.push(event);
            assert_eq!(log.conversation.identity(), id);
        }
    }
}

#[test]
fn a_fork_knows_nothing_of_its_parents_sends_and_runs_none_that_waited() {
    let mut log = begun();
    log.talk("one", "1");
    let waiting = log.queue(vec!["two".into()]);
    log.push(Event::Forked { parent: SessionName::new("parent").unwrap(), at: Seq(5), id: None });
    assert_eq!(log.next(), Next::Idle);
    assert_eq!(log.conversation.send(&waiting), None);
    assert_eq!(said(&log), ["one", "1"]);
    log.push(Event::Queued {
        send: waiting.clone(),
        input: vec!["mine".into()],
        hash: Digest::of(b"mine"),
        meta: None,
        settings: None,
    });
    assert_eq!(log.next(), Next::StartTurn { send: waiting });
    let mut log = Log::in_a_turn();
    assert!(
        log.try_push(Event::Forked { parent: SessionName::new("p").unwrap(), at: Seq(1), id: None }).is_err()
    );
}
