//! Checks of what is read back.

use std::sync::Arc;

use ergane_core::{
    ApprovalCause, CallId, Cost, Decision, Digest, Envelope, Event, MicroUsd, Seq, SettingsPatch, Spent,
    Timestamp, TurnId, Usage,
};

use serde_json::{Value, json};

use crate::append::AppendError;
use crate::conformance::facts::{
    Incarnation, name, one_of_each, queued, replied, started, steered, turn_ended, turn_ended_after,
    turn_started,
};
use crate::error::JournalError;
use crate::store::{Journal, Sent};
use crate::summary::StoredStatus;

/// A load gives what lies strictly between its bounds, in order, and ends where the session ends.
pub fn a_load_keeps_its_bounds(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut a = Incarnation::open(&journal, "a");
    assert!(a.stored().is_empty(), "opened and empty is not missing");
    let sends = ["1", "2", "3", "4", "5"];
    a.append(sends.iter().map(|send| queued(send, send)).collect()).unwrap();
    let load = |after: u64, below: u64| -> Vec<u64> {
        let events = journal.load(&a.name, Seq(after), Seq(below)).unwrap();
        events.iter().map(|event| event.seq.0).collect()
    };
    assert_eq!(load(0, 6), [1, 2, 3, 4, 5]);
    assert_eq!(load(0, u64::MAX), [1, 2, 3, 4, 5]);
    assert_eq!(load(2, 5), [3, 4]);
    assert_eq!(load(4, 6), [5]);
    for (after, below) in [(0, 0), (0, 1), (3, 3), (3, 4), (5, 9), (9, 3), (u64::MAX, u64::MAX)] {
        assert_eq!(load(after, below), [0; 0], "after {after}, below {below}");
    }
    let missing = journal.load(&name("b"), Seq(0), Seq(9));
    assert_eq!(missing, Err(JournalError::NotFound { session: name("b") }));
}

/// Every kind of event, with all its fields, its place, epoch and time.
pub fn every_kind_of_event_comes_back_as_it_was(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut a = Incarnation::open(&journal, "a");
    let append = a.append_of(one_of_each());
    a.append(one_of_each()).unwrap();
    assert_eq!(a.stored(), append.events);
}

/// Texts of any length and of any characters.
pub fn any_text_comes_back_as_it_was(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut a = Incarnation::open(&journal, "team/Ergane:1@host._-");
    let megabyte = "Ἀθηνᾶ \u{1f989}".chars().cycle().take(500_000).collect::<String>();
    assert!(megabyte.len() > 1 << 20);
    let texts = ["", "\0\u{1}\u{7f}", "\"quoted\" \\ and\r\n\tmore", "\u{202e}rtl \u{feff}", &megabyte];
    let events: Vec<Event> = texts.iter().map(|text| queued(text, text)).collect();
    for event in &events {
        a.append(vec![event.clone()]).unwrap();
    }
    let stored: Vec<Event> = a.stored().iter().map(|event| event.event.clone()).collect();
    assert!(stored == events, "a text came back changed");
    for text in texts {
        let sent = journal.sent(&a.name, &text.into()).unwrap().expect("a send is found whatever its id");
        assert_eq!(sent.hash, Digest::of(text.as_bytes()));
    }
}

/// What cannot be read back is not written, and hurts nothing that was.
pub fn what_is_nested_deep_comes_back_or_is_not_written(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut a = Incarnation::open(&journal, "a");
    let mut written = vec![queued("first", "text")];
    a.append(written.clone()).unwrap();
    for levels in [100, 126, 127, 200] {
        let nested = (0..levels).fold(Value::Null, |inner, _| json!([inner]));
        let Event::Queued { send, input, hash, settings, .. } = queued("deep", "text") else { continue };
        let deep = Event::Queued { send, input, hash, meta: Some(Arc::new(nested)), settings };
        match a.append(vec![deep.clone()]) {
            Ok(()) => written.push(deep),
            Err(error) => assert!(matches!(error, AppendError::NotWritten { .. }) && levels > 100, "{error}"),
        }
        let stored: Vec<Event> = a.stored().iter().map(|event| event.event.clone()).collect();
        assert!(stored == written, "{levels} levels");
    }
}

/// A send is known from the append that accepted it on, first without and then with its turn.
pub fn a_send_is_found_by_its_id(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut a = Incarnation::open(&journal, "a");
    let mut b = Incarnation::open(&journal, "b");
    a.append(vec![started(), queued("k", "text")]).unwrap();
    b.append(vec![started(), queued("k", "other"), turn_started("k")]).unwrap();
    let sent = |session: &str, send: &str| journal.sent(&name(session), &send.into()).unwrap();
    let hash = Digest::of(b"text");
    assert_eq!(sent("a", "k"), Some(Sent { hash, turn: None }));
    a.append(vec![turn_started("k")]).unwrap();
    assert_eq!(sent("a", "k"), Some(Sent { hash, turn: Some(TurnId(3)) }));
    assert_eq!(sent("b", "k"), Some(Sent { hash: Digest::of(b"other"), turn: Some(TurnId(3)) }));
    assert_eq!(sent("a", "other"), None);
    assert_eq!(sent("never", "k"), None);

    // What was not written left no trace.
    let ghost = Incarnation { next: Seq(9), journal: a.journal.clone(), name: a.name.clone(), ..a };
    assert!(journal.append(&[ghost.append_of(vec![queued("lost", "x")])])[0].is_err());
    assert_eq!(sent("a", "lost"), None);

    // The first of two sends of one id stands.
    a.append(vec![turn_ended(3), queued("k", "again"), turn_started("k")]).unwrap();
    assert_eq!(sent("a", "k"), Some(Sent { hash, turn: Some(TurnId(3)) }));

    // What was put into an open turn is that turn's, also when both come in one append.
    let open = a.next.0 - 1;
    a.append(vec![steered("word", "text")]).unwrap();
    assert_eq!(sent("a", "word"), Some(Sent { hash, turn: Some(TurnId(open)) }));
    let next = TurnId(a.next.0 + 2);
    let events = vec![turn_ended(open), queued("z", "x"), turn_started("z"), steered("other", "text")];
    a.append(events).unwrap();
    assert_eq!(sent("a", "other"), Some(Sent { hash, turn: Some(next) }));

    // A fork knows nothing of the sends that were copied into it, and nothing of them waits.
    let mut fork = Incarnation::open(&journal, "fork");
    let forked = Event::Forked { parent: name("a"), at: Seq(5), id: None };
    let copied = vec![started(), queued("k", "x"), turn_started("k"), turn_ended(3), queued("w", "x")];
    fork.append(copied.into_iter().chain([forked, queued("k", "text")]).collect()).unwrap();
    assert_eq!(sent("fork", "w"), None);
    assert_eq!(sent("fork", "k"), Some(Sent { hash, turn: None }));
    fork.append(vec![turn_started("k"), turn_ended(8)]).unwrap();
    assert!(!journal.open_turns().unwrap().contains(&name("fork")));
}

/// The summary is that of exactly the events that are stored.
pub fn a_summary_follows_the_events(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut a = Incarnation::open(&journal, "a");
    assert_eq!(journal.summary(&a.name).unwrap(), None, "it has no event");
    a.append(vec![started()]).unwrap();
    let summary = |a: &Incarnation| journal.summary(&a.name).unwrap().expect("it has events");
    let first = summary(&a);
    assert_eq!((&first.name, first.epoch, first.next_seq), (&a.name, a.epoch, Seq(2)));
    assert_eq!((first.created_at, first.last_activity), (Timestamp(1_000), Timestamp(1_000)));
    assert_eq!((first.provider.as_deref(), first.model.as_deref()), (Some("scripted"), Some("model-1")));
    assert_eq!((first.turns, first.open_turn, first.status), (0, None, StoredStatus::Idle));
    assert_eq!((first.usage, first.cost), (Usage::default(), Cost::default()));

    a.append(vec![queued("s", "x"), turn_started("s"), replied(10, Some(7))]).unwrap();
    let open = summary(&a);
    assert_eq!((open.turns, open.open_turn, open.status), (1, Some(TurnId(3)), StoredStatus::OpenTurn));
    let patch = SettingsPatch { model: Some("model-2".into()), ..SettingsPatch::default() };
    a.append(vec![
        replied(5, Some(3)),
        turn_ended(3),
        Event::SettingsChanged { patch: patch.into(), tool: None },
    ])
    .unwrap();
    let done = summary(&a);
    assert_eq!((done.turns, done.open_turn, done.status), (1, None, StoredStatus::Idle));
    assert_eq!((done.created_at, done.last_activity), (Timestamp(1_000), Timestamp(7_000)));
    assert_eq!((done.provider.as_deref(), done.model.as_deref()), (Some("scripted"), Some("model-2")));
    let usage = Usage {
        input_tokens: 15,
        output_tokens: 4,
        cached_tokens: 6,
        reasoning_tokens: 2,
        ..Usage::default()
    };
    assert_eq!((done.usage, done.cost.total()), (usage, Some(MicroUsd(10))));

    a.append(vec![replied(1, None), queued("t", "y")]).unwrap();
    let unpriced = summary(&a);
    assert_eq!((unpriced.cost.total(), unpriced.cost.known), (None, MicroUsd(10)));
    assert_eq!(unpriced.status, StoredStatus::Waiting);
    assert_eq!(journal.list(None, 9).unwrap(), [unpriced]);

    // What came to no answer was paid for, too.
    let usage = Some(Usage { input_tokens: 100, ..Usage::default() });
    let unanswered = Some(Spent::of(usage, Some(MicroUsd(90))));
    a.append(vec![turn_started("t"), turn_ended_after(9, unanswered)]).unwrap();
    let last = summary(&a);
    assert_eq!((last.usage.input_tokens, last.cost.known), (116, MicroUsd(100)));
    let mut in_the_end = replied(1, None);
    if let Event::ModelReplied { unanswered, .. } = &mut in_the_end {
        *unanswered = Some(Box::new(Spent::of(usage, Some(MicroUsd(36)))));
    }
    a.append(vec![queued("u", "z"), turn_started("u"), in_the_end]).unwrap();
    let last = summary(&a);
    assert_eq!((last.usage.input_tokens, last.cost.known), (217, MicroUsd(136)));
}

/// Recovery is told of sessions with an open turn or an accepted send, and of no other.
pub fn open_turns_and_waiting_sends_are_found(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut open = Incarnation::open(&journal, "open");
    open.append(vec![started(), queued("s", "x"), turn_started("s")]).unwrap();
    let mut waiting = Incarnation::open(&journal, "waiting");
    waiting.append(vec![started(), queued("s", "x")]).unwrap();
    let mut idle = Incarnation::open(&journal, "idle");
    idle.append(vec![started(), queued("s", "x"), turn_started("s"), turn_ended(3)]).unwrap();
    Incarnation::open(&journal, "empty");
    assert_eq!(journal.open_turns().unwrap(), [name("open"), name("waiting")]);
    waiting.append(vec![turn_started("s")]).unwrap();
    open.append(vec![turn_ended(3)]).unwrap();
    assert_eq!(journal.open_turns().unwrap(), [name("waiting")]);
    waiting.append(vec![queued("t", "y"), turn_ended(3)]).unwrap();
    assert_eq!(journal.open_turns().unwrap(), [name("waiting")], "a send waits behind the turn that ended");
    waiting.append(vec![turn_started("t"), turn_ended(6)]).unwrap();
    assert_eq!(journal.open_turns().unwrap(), []);
}

/// A list tells where somebody must decide.
pub fn a_turn_that_waits_for_a_decision_is_told(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let mut a = Incarnation::open(&journal, "a");
    let call = CallId { turn: TurnId(3), index: 1 };
    let requested = || Event::ApprovalRequested {
        call,
        arguments: Digest::of(b"{}"),
        cause: ApprovalCause::Permission,
        why: "it writes".into(),
    };
    let decided = || Event::ApprovalDecided { call, decision: Decision::Allow, by: "a person".into() };
    let interrupted = Event::InterruptRequested { by: "a person".into(), reason: "enough".into() };
    let status = || {
        let found = journal.summary(&name("a")).unwrap().expect("it has events");
        let listed = journal.list(None, 9).unwrap();
        assert_eq!(listed, std::slice::from_ref(&found));
        found.status
    };
    a.append(vec![started(), queued("s", "x"), turn_started("s"), replied(1, None)]).unwrap();
    assert_eq!(status(), StoredStatus::OpenTurn);
    a.append(vec![requested(), requested()]).unwrap();
    assert_eq!(status(), StoredStatus::AwaitingApproval);
    a.append(vec![decided(), queued("t", "y")]).unwrap();
    assert_eq!(status(), StoredStatus::AwaitingApproval, "one of two is decided");
    a.append(vec![decided()]).unwrap();
    assert_eq!(status(), StoredStatus::OpenTurn);
    a.append(vec![requested(), interrupted]).unwrap();
    assert_eq!(status(), StoredStatus::OpenTurn, "its end closes the call");
    a.append(vec![turn_ended(3)]).unwrap();
    assert_eq!(status(), StoredStatus::Waiting);
    a.append(vec![turn_started("t")]).unwrap();
    assert_eq!(status(), StoredStatus::OpenTurn, "what was asked in an earlier turn is over");
}

/// Pages are by name, bytewise, and leave out what has no event.
pub fn a_list_has_pages_by_name(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    assert_eq!(journal.list(None, 5).unwrap(), []);
    for session in ["b", "a/1", "B", "a", "c", "a.1"] {
        Incarnation::open(&journal, session).append(vec![started()]).unwrap();
    }
    Incarnation::open(&journal, "aa");
    let page = |after: Option<&str>, limit: usize| -> Vec<String> {
        let found = journal.list(after.map(name).as_ref(), limit).unwrap();
        found.iter().map(|summary| summary.name.to_string()).collect()
    };
    assert_eq!(page(None, 99), ["B", "a", "a.1", "a/1", "b", "c"]);
    assert_eq!(page(None, 2), ["B", "a"]);
    assert_eq!(page(Some("a"), 2), ["a.1", "a/1"]);
    assert_eq!(page(Some("aa"), 9), ["b", "c"], "the name to go on from need not exist");
    assert_eq!(page(Some("c"), 9), [""; 0]);
    assert_eq!(page(None, 0), [""; 0]);
}

/// With a snapshot and without, made once or again and again: what is read is what was written.
pub fn a_snapshot_changes_nothing_that_is_read(make: &dyn Fn() -> Arc<dyn Journal>) {
    let journal = make();
    let missing = journal.snapshot(&name("never"));
    assert!(matches!(missing, Ok(Seq(0)) | Err(JournalError::NotFound { .. })), "{missing:?}");
    let mut a = Incarnation::open(&journal, "a");
    assert_eq!(journal.snapshot(&a.name), Ok(Seq(0)), "there is nothing to make one of");
    let mut written = Vec::new();
    for round in 0..3 {
        let texts: Vec<String> = (0..400).map(|n| format!("{round}.{n}")).collect();
        let events = one_of_each().into_iter().chain(texts.iter().map(|text| queued(text, text)));
        let append = a.append_of(events.collect());
        written.extend(append.events.clone());
        a.append(append.events.iter().map(|envelope| envelope.event.clone()).collect()).unwrap();
        let upto = journal.snapshot(&a.name).unwrap();
        assert!(upto < a.next, "it is of what is there");
        assert_eq!(journal.snapshot(&a.name).unwrap(), upto, "and no more is made of the same");
        let end = a.next.0;
        for (after, below) in
            [(0, end), (0, u64::MAX), (0, 300), (0, 700), (0, upto.0), (200, end), (600, 800)]
        {
            let read = journal.load(&a.name, Seq(after), Seq(below)).unwrap();
            let inside = |envelope: &&Arc<Envelope>| after < envelope.seq.0 && envelope.seq.0 < below;
            assert!(read.iter().eq(written.iter().filter(inside)), "after {after}, below {below}");
            let mut pieces = Vec::new();
            let mut take = |piece: Vec<Envelope>| pieces.extend(piece);
            journal.load_in_pieces(&a.name, Seq(after), Seq(below), &mut take).unwrap();
            assert!(
                pieces.iter().eq(read.iter().map(Arc::as_ref)),
                "after {after}, below {below}, in pieces"
            );
        }
    }
    // A session of the same name is another one.
    assert_eq!(journal.delete(&a.name), Ok(true));
    let mut again = Incarnation::open(&journal, "a");
    again.append((0..800).map(|n| queued(&n.to_string(), "another")).collect()).unwrap();
    let stored = again.stored();
    assert_eq!(stored.len(), 800);
    assert!(stored.iter().all(|envelope| matches!(&envelope.event, Event::Queued { .. })));
}
