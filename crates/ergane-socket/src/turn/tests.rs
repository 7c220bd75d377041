use std::path::PathBuf;
use std::sync::Arc;

use ergane::System;
use ergane::core::{FinishReason, Part, TurnId};
use ergane::journal::Memory;
use ergane::provider::{Scripted, ScriptedReply};
use ergane_testkit::{FaultPlan, JournalFault};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::*;
use crate::trees::Trees;
use crate::wire::{self, Heard};

/// Whoever asked.
struct Asking {
    lines: BufReader<UnixStream>,
    running: JoinHandle<io::Result<()>>,
}

impl Asking {
    fn send(system: &System, input: &str) -> Self {
        Self::send_to(system, "a", input, input)
    }

    fn send_to(system: &System, session: &str, input: &str, key: &str) -> Self {
        let (there, here) = UnixStream::pair().unwrap();
        let order = Order::new(session.parse().unwrap(), vec![Part::text(input)], key.into());
        let trees = Trees::new(|| async { Err(Problem::new("internal", "nobody looks")) });
        let (journal, context) = (PathBuf::from("none"), system.context().clone());
        let served = Served { journal, context, trees };
        let running = tokio::spawn(async move { run(Asker::new(there), &order, &served).await });
        Self { lines: BufReader::new(here), running }
    }

    async fn hear(&mut self) -> Heard {
        self.answer().await.unwrap()
    }

    async fn answer(&mut self) -> Result<Heard, Problem> {
        let mut line = String::new();
        let read = timeout(Duration::from_secs(60), self.lines.read_line(&mut line)).await;
        read.expect("a line comes").unwrap();
        wire::parse_heard(line.as_bytes())
    }

    /// Skips what is said again.
    async fn hear_other_than(&mut self, known: &Heard) -> Heard {
        loop {
            let heard = self.hear().await;
            if heard != *known {
                return heard;
            }
        }
    }
}

#[tokio::test]
async fn whoever_goes_away_gives_its_place_to_others_though_nothing_happens_in_the_turn() {
    let system = system(&FaultPlan::none()).await;
    system.session("a").start().await.unwrap();
    let mut asker = Asking::send(&system, "first");
    while !matches!(asker.hear().await, Heard::Event { event } if event["type"] == "content") {}
    drop(asker.lines);
    let ended = timeout(Duration::from_secs(60), asker.running).await.expect("it is noticed").unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let status = system.session("a").start().await.unwrap().status().await.unwrap();
    assert_eq!(status.activity, Activity::CallingModel, "and the turn goes on");
}

/// A system whose model comes to no end of its first answer.
async fn system(plan: &FaultPlan) -> System {
    let script =
        Scripted::from_fn(|request, _| match request.messages.iter().last().map(|last| last.text()) {
            Some(asked) if asked == "first" => ScriptedReply { hang: true, ..ScriptedReply::text("one") },
            _ => ScriptedReply::text("two"),
        });
    let journal = plan.journal(Arc::new(Memory::new()));
    System::builder().provider("scripted", script).journal(journal).start().await.unwrap()
}

/// In the middle of its first turn, which comes to no end by itself, when the disk is full.
async fn at_work_on_a_full_disk() -> (FaultPlan, System, Session, TurnId) {
    let plan = FaultPlan::none();
    let system = system(&plan).await;
    let session = system.session("a").start().await.unwrap();
    let first = session.send_message("first").accepted().await.unwrap();
    plan.break_journal(JournalFault::NotWritten);
    (plan, system, session, first)
}

#[tokio::test]
async fn whoever_asked_is_told_whenever_the_journal_takes_nothing_and_when_it_does_again() {
    let (plan, system, session, first) = at_work_on_a_full_disk().await;
    // It waits behind a turn that does not end: of itself nothing happens that would tell.
    let mut asker = Asking::send(&system, "second");
    let goes_on = Heard::GoesOn { goes_on: true };
    for round in 0..2 {
        let heard = asker.hear_other_than(&goes_on).await;
        let Heard::Parked { parked } = &heard else { panic!("round {round}: {heard:?}") };
        assert!(parked.contains("the disk is full"), "{parked}");
        plan.heal();
        let mut next = asker.hear_other_than(&heard).await;
        if round == 0 {
            // It is taken when that is a fact, and not before.
            if next == goes_on {
                next = asker.hear_other_than(&goes_on).await;
            }
            assert_eq!(next, Heard::Accepted { accepted: true });
            plan.break_journal(JournalFault::NotWritten);
            session.checkpoint("again").await.unwrap_err();
        } else {
            assert_eq!(next, goes_on);
        }
    }
    session.interrupt("enough").await.unwrap();
    session.turn(first).await.unwrap();
    loop {
        match asker.hear().await {
            Heard::Event { .. } | Heard::GoesOn { .. } => {}
            Heard::Result { result } => {
                assert_eq!((&*result.text, result.finish_reason), ("two", FinishReason::Stop));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    asker.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_turn_that_cannot_begin_on_a_full_disk_is_waited_for_and_that_is_told() {
    let (plan, system, session, first) = at_work_on_a_full_disk().await;
    session.interrupt("enough").await.unwrap_err();
    // The session has something to write; nothing is begun in it before that is written.
    let mut asker = Asking::send(&system, "second");
    let parked = asker.hear().await;
    assert!(matches!(&parked, Heard::Parked { parked } if parked.contains("the disk is full")), "{parked:?}");
    assert_eq!(asker.hear().await, parked, "it is said again, as a sign of life");
    plan.heal();
    let mut heard = asker.hear_other_than(&parked).await;
    if heard == (Heard::GoesOn { goes_on: true }) {
        heard = asker.hear_other_than(&heard).await;
    }
    assert_eq!(heard, Heard::Accepted { accepted: true });
    session.turn(first).await.unwrap();
    while !matches!(heard, Heard::Result { .. }) {
        heard = asker.hear().await;
    }
    assert!(matches!(heard, Heard::Result { result } if &*result.text == "two"));
    asker.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refusal_comes_before_anything_is_accepted_and_no_session_is_made_for_it() {
    let system = system(&FaultPlan::none()).await;
    let session = system.session("a").start().await.unwrap();
    session.send_message("hello").key("k").await.unwrap();
    for (name, input, key, kind) in [
        ("a", "other", "k", "bad_request"),
        ("a", "  ", "l", "bad_request"),
        ("b", "hello", "k", "not_found"),
    ] {
        let mut asker = Asking::send_to(&system, name, input, key);
        let heard = asker.answer().await;
        assert!(matches!(&heard, Err(error) if error.kind == kind), "{name} {input}: {heard:?}");
        asker.running.await.unwrap().unwrap();
    }
    assert!(system.whereis("b").await.is_none());
}

#[tokio::test]
async fn what_the_session_was_handed_is_run_once_also_when_whoever_asked_went_away_before_it_was_durable() {
    let (plan, system, session, first) = at_work_on_a_full_disk().await;
    session.interrupt("enough").await.unwrap_err();
    let mut asker = Asking::send(&system, "second");
    assert!(matches!(asker.hear().await, Heard::Parked { .. }));
    drop(asker.lines);
    let gone = timeout(Duration::from_secs(60), asker.running).await.expect("it is noticed").unwrap();
    assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    plan.heal();
    session.turn(first).await.unwrap();
    let again = session.send_message("second").key("second").await.unwrap();
    assert_eq!((&*again.text, again.ordinal), ("two", 2));
    assert_eq!(session.status().await.unwrap().turns, 2);
}
