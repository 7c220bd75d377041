//! Whatever is appended, in whatever order and batches: memory and SQLite answer the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;

use common::name;
use ergane_core::{
    ApprovalCause, CallId, Decision, Digest, Envelope, Epoch, Event, FORMAT_VERSION, FinishReason, Message,
    MicroUsd, Part, Role, Seq, Spent, Timestamp, TurnId, TurnTotals, Usage,
};
use ergane_journal::{Append, AppendError, Journal, Memory, Sqlite};
use proptest::prelude::*;

/// A thing that a journal is asked to do. Small numbers, so that they often meet.
#[derive(Debug, Clone)]
enum Ask {
    Open(u8),
    Delete(u8),
    Release(u8),
    /// Appends, each with its session, how far it is from where the session stands, and its events.
    Append(Vec<(u8, i8, bool, Vec<Event>)>),
}

const CALL: CallId = CallId { turn: TurnId(1), index: 1 };

fn event() -> impl Strategy<Value = Event> {
    let send = (0_u8..4).prop_map(|n| n.to_string());
    prop_oneof![
        (send.clone(), any::<String>()).prop_map(|(send, text)| Event::Queued {
            send: send.as_str().into(),
            hash: Digest::of(text.as_bytes()),
            input: vec![Part::text(text)],
            meta: None,
            settings: None,
        }),
        send.prop_map(|send| Event::TurnStarted { send: send.as_str().into() }),
        any::<(u16, Option<u16>)>().prop_map(|(tokens, cost)| Event::ModelReplied {
            iteration: 0,
            saw: Seq(0),
            message: Arc::new(Message { role: Role::Assistant, parts: vec![], origin: None }),
            usage: Some(Usage { input_tokens: tokens.into(), ..Usage::default() }),
            cost: cost.map(|cost| MicroUsd(cost.into())),
            attempts: 1,
            unanswered: None,
        }),
        Just(Event::ApprovalRequested {
            call: CALL,
            arguments: Digest::of(b"{}"),
            cause: ApprovalCause::Permission,
            why: "why".into(),
        }),
        Just(Event::ApprovalDecided { call: CALL, decision: Decision::Allow, by: "user".into() }),
        Just(Event::InterruptRequested { by: "user".into(), reason: "why".into() }),
        Just(Event::TurnEnded {
            turn: TurnId(1),
            finish: FinishReason::Stop,
            error: None,
            partial: None,
            unanswered: Some(Box::new(Spent::of(
                Some(Usage { input_tokens: 7, ..Usage::default() }),
                Some(MicroUsd(21)),
            ))),
            totals: TurnTotals::default(),
        }),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let offset = prop_oneof![8 => Just(0_i8), 1 => -2_i8..3];
    let stale = prop::bool::weighted(0.1);
    let append = (0_u8..3, offset, stale, prop::collection::vec(event(), 0..4));
    prop_oneof![
        2 => (0_u8..3).prop_map(Ask::Open),
        1 => (0_u8..3).prop_map(Ask::Delete),
        1 => (0_u8..3).prop_map(Ask::Release),
        8 => prop::collection::vec(append, 1..4).prop_map(Ask::Append),
    ]
}

/// Does it and tells all that was answered.
fn answer(journal: &dyn Journal, ask: &Ask, clock: i64) -> String {
    let session = |n: &u8| name(&format!("s{n}"));
    match ask {
        Ask::Open(n) => format!("{:?}", journal.open_session(&session(n))),
        Ask::Delete(n) => format!("{:?}", journal.delete(&session(n))),
        Ask::Release(n) => format!("{:?}", journal.release(&session(n))),
        Ask::Append(appends) => {
            let batch: Vec<Append> = appends
                .iter()
                .map(|(n, offset, stale, events)| {
                    let position = journal.position(&session(n)).unwrap();
                    let (epoch, next) = position.map_or((1, 1), |at| (at.epoch.0, at.next_seq.0));
                    let expected = Seq(next.saturating_add_signed((*offset).into()).max(1));
                    let epoch = Epoch(if *stale { epoch.saturating_sub(1) } else { epoch });
                    let number = |(seq, event): (u64, &Event)| {
                        let (v, at, event) = (FORMAT_VERSION, Timestamp(clock), event.clone());
                        Arc::new(Envelope { v, seq: Seq(seq), epoch, at, event })
                    };
                    let events = (expected.0..).zip(events).map(number).collect();
                    Append { session: session(n), epoch, expected, events }
                })
                .collect();
            let outcomes: Vec<Result<(), AppendError>> = journal.append(&batch);
            format!("{outcomes:?}")
        }
    }
}

/// All that can be read.
fn contents(journal: &dyn Journal) -> String {
    let sessions: Vec<_> = (0..3).map(|n| name(&format!("s{n}"))).collect();
    let sends =
        |session| (0..4).map(|n| journal.sent(session, &n.to_string().as_str().into())).collect::<Vec<_>>();
    format!(
        "{:?} {:?} {:?}",
        journal.list(None, 99),
        journal.open_turns(),
        sessions
            .iter()
            .map(|session| {
                let events = journal.load(session, Seq(0), Seq(u64::MAX));
                (journal.position(session), journal.summary(session), sends(session), events)
            })
            .collect::<Vec<_>>()
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_and_sqlite_give_the_same_answers(asks in prop::collection::vec(ask(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let (memory, sqlite) = (Memory::new(), Sqlite::open(dir.path().join("j.db")).unwrap());
        for (clock, ask) in (0..).zip(&asks) {
            prop_assert_eq!(answer(&memory, ask, clock), answer(&sqlite, ask, clock), "{:?}", ask);
            prop_assert_eq!(contents(&memory), contents(&sqlite), "after {:?}", ask);
        }
    }
}
