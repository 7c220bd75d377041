use std::path::PathBuf;
use std::sync::Arc;

use ergane::System;
use ergane::core::FinishReason;
use ergane::journal::Memory;
use ergane::provider::{Scripted, ScriptedReply};
use ergane_testkit::{FaultPlan, JournalFault};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::task::JoinHandle;

use super::*;
use crate::trees::Trees;
use crate::wire::Heard;

#[tokio::test]
async fn whoever_does_not_listen_is_not_told_for_ever() {
    let (mut here, _there) = tokio::io::duplex(4);
    let written = write(&mut here, b"longer than that", Duration::from_millis(10)).await;
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    let (mut here, _there) = tokio::io::duplex(64);
    write(&mut here, b"shorter than that", PATIENCE).await.unwrap();
}

/// Whoever asked.
struct Asker {
    lines: BufReader<UnixStream>,
    running: JoinHandle<io::Result<()>>,
}

impl Asker {
    fn send(system: &System, input: &str) -> Self {
        let (there, here) = UnixStream::pair().unwrap();
        let (said, key, settings) = (vec![Part::text(input)], input.into(), SettingsPatch::default());
        let order = Order { session: SessionName::new("a").unwrap(), input: said, key, settings };
        let trees = Trees::new(|| async { Err(Problem::new("internal", "nobody looks")) });
        let (journal, context) = (PathBuf::from("none"), system.context().clone());
        let served = Served { journal, context, trees };
        let running = tokio::spawn(async move { run(there, order, &served).await });
        Self { lines: BufReader::new(here), running }
    }

    async fn hear(&mut self) -> Heard {
        let mut line = String::new();
        let read = timeout(Duration::from_secs(60), self.lines.read_line(&mut line)).await;
        read.expect("a line comes").unwrap();
        wire::parse_heard(line.as_bytes()).unwrap()
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
    let mut asker = Asker::send(&system, "first");
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

#[tokio::test]
async fn whoever_asked_is_told_whenever_the_journal_takes_nothing_and_when_it_does_again() {
    let plan = FaultPlan::none();
    let system = system(&plan).await;
    let session = system.session("a").start().await.unwrap();
    let first = session.send_message("first").accepted().await.unwrap();
    plan.break_journal(JournalFault::NotWritten);
    // It waits behind a turn that does not end: of itself nothing happens that would tell.
    let mut asker = Asker::send(&system, "second");
    assert_eq!(asker.hear().await, Heard::Accepted { accepted: true });
    for round in 0..2 {
        let Heard::Parked { parked } = asker.hear().await else { panic!("round {round}: it is not told") };
        assert!(parked.contains("the disk is full"), "{parked}");
        plan.heal();
        assert_eq!(asker.hear().await, Heard::GoesOn { goes_on: true }, "round {round}");
        if round == 0 {
            plan.break_journal(JournalFault::NotWritten);
            session.checkpoint("again").await.unwrap_err();
        }
    }
    session.interrupt("enough").await.unwrap();
    session.turn(first).await.unwrap();
    loop {
        match asker.hear().await {
            Heard::Event { .. } => {}
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
    let plan = FaultPlan::none();
    let system = system(&plan).await;
    let session = system.session("a").start().await.unwrap();
    let first = session.send_message("first").accepted().await.unwrap();
    plan.break_journal(JournalFault::NotWritten);
    session.interrupt("enough").await.unwrap_err();
    // The session has something to write; nothing is begun in it before that is written.
    let mut asker = Asker::send(&system, "second");
    let parked = asker.hear().await;
    assert!(matches!(&parked, Heard::Parked { parked } if parked.contains("the disk is full")), "{parked:?}");
    assert_eq!(asker.hear().await, parked, "it is said again, as a sign of life");
    plan.heal();
    let mut heard = asker.hear_other_than(&parked).await;
    if heard == (Heard::GoesOn { goes_on: true }) {
        heard = asker.hear().await;
    }
    assert_eq!(heard, Heard::Accepted { accepted: true });
    session.turn(first).await.unwrap();
    while !matches!(heard, Heard::Result { .. }) {
        heard = asker.hear().await;
    }
    assert!(matches!(heard, Heard::Result { result } if &*result.text == "two"));
    asker.running.await.unwrap().unwrap();
}
