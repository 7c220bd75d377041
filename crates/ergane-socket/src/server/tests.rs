use std::path::Path;
use std::sync::Mutex;

use ergane::System;
use ergane::journal::{Memory, Sqlite};
use ergane::provider::Scripted;
use ergane_core::{Part, SessionName};
use ergane_otp::{ChildKind, EntryStatus};
use ergane_testkit::{FaultPlan, JournalFault};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::*;
use crate::tree::Node;
use crate::trees::Trees;
use crate::wire::{Heard, Order};

const LONG: Duration = Duration::from_secs(60);

async fn system(plan: &FaultPlan) -> System {
    let journal = plan.journal(Arc::new(Memory::new()));
    System::builder().provider("scripted", Scripted::builtin()).journal(journal).start().await.unwrap()
}

fn served(system: &System, journal: &Path, trees: Trees) -> Arc<Served> {
    Arc::new(Served { journal: journal.to_owned(), context: system.context().clone(), trees })
}

fn no_trees() -> Trees {
    Trees::new(|| async { Err(Problem::new("internal", "nobody looks")) })
}

fn name() -> SessionName {
    SessionName::new("a").unwrap()
}

fn turn() -> Ask {
    Ask::Turn(Box::new(Order::new(name(), vec![Part::text("hello")], "k".into())))
}

async fn line(lines: &mut BufReader<UnixStream>) -> Vec<u8> {
    let mut line = Vec::new();
    timeout(LONG, lines.read_until(b'\n', &mut line)).await.expect("a line comes").unwrap();
    line
}

async fn hear(lines: &mut BufReader<UnixStream>) -> Heard {
    answer_of(lines).await.unwrap()
}

async fn answer_of(lines: &mut BufReader<UnixStream>) -> Result<Heard, Problem> {
    wire::parse_heard(&line(lines).await)
}

/// A conversation, and the end of whoever asks.
async fn asked(
    served: &Arc<Served>,
    closing: &watch::Sender<bool>,
    places: &Places,
    ask: Ask,
) -> (UnixStream, impl Future<Output = io::Result<()>> + use<>) {
    let (there, mut here) = UnixStream::pair().unwrap();
    here.write_all(&wire::request(ask)).await.unwrap();
    let place = places.asked.clone().acquire_owned().await.unwrap();
    let (served, closing, turns) = (served.clone(), closing.subscribe(), places.turns.clone());
    (here, async move { talk(there, &served, closing, place, &turns).await })
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_done() {
    let system = system(&FaultPlan::none()).await;
    let session = system.session("a").start().await.unwrap();
    session.send_message("first").await.unwrap();
    session.checkpoint("begun").await.unwrap();
    session.send_message("second").await.unwrap();
    let before = session.status().await.unwrap();
    let (closing, places) = (watch::Sender::new(false), Places::new());
    let served = served(&system, Path::new("none"), no_trees());
    for ask in [
        turn(),
        Ask::Rewind { session: name(), to: Some("begun".into()) },
        Ask::Checkpoint { session: name(), label: "late".into() },
    ] {
        // Whoever asked gave up while its request lay in the kernel, with a stopped process say.
        let (here, talk) = asked(&served, &closing, &places, ask.clone()).await;
        drop(here);
        assert_eq!(talk.await.unwrap_err().kind(), io::ErrorKind::BrokenPipe, "{ask:?}");
    }
    let now = session.status().await.unwrap();
    assert_eq!((now.durable, now.turns, now.queued), (before.durable, 2, 0));
}

#[tokio::test]
async fn one_turn_too_many_is_refused_as_busy_and_the_others_keep_no_place_of_those_who_ask() {
    let system = system(&FaultPlan::none()).await;
    system.session("a").start().await.unwrap();
    let closing = watch::Sender::new(false);
    let places = Places { turns: Arc::new(Semaphore::new(0)), ..Places::new() };
    let served = served(&system, Path::new("none"), no_trees());
    let (here, talk) = asked(&served, &closing, &places, turn()).await;
    talk.await.unwrap();
    let error = answer_of(&mut BufReader::new(here)).await.unwrap_err();
    assert_eq!((&*error.kind, error.may_pass), ("busy", true), "{error:?}");
    places.turns.add_permits(1);
    let (here, talk) = asked(&served, &closing, &places, turn()).await;
    let talk = tokio::spawn(talk);
    let mut lines = BufReader::new(here);
    assert_eq!(hear(&mut lines).await, Heard::Accepted { accepted: true });
    assert_eq!(places.asked.available_permits(), AT_ONCE + 1);
    while !matches!(hear(&mut lines).await, Heard::Result { .. }) {}
    talk.await.unwrap().unwrap();
    assert_eq!(places.turns.available_permits(), 1);
}

#[tokio::test]
async fn what_is_being_done_when_the_socket_is_closed_is_told() {
    let system = system(&FaultPlan::none()).await;
    let (closing, places) = (Arc::new(watch::Sender::new(false)), Places::new());
    let (begun, has_begun) = oneshot::channel();
    let (begun, closes) = (Arc::new(Mutex::new(Some(begun))), closing.clone());
    let trees = Trees::new(move || {
        let (begun, closes) = (begun.lock().unwrap().take(), closes.clone());
        async move {
            closes.send_replace(true);
            begun.unwrap().send(()).unwrap();
            tokio::task::yield_now().await; // so that everybody hears of it first
            Ok(Node::new("root", ChildKind::Supervisor, &EntryStatus::Live))
        }
    });
    let served = served(&system, Path::new("none"), trees);
    let (here, talk) = asked(&served, &closing, &places, Ask::Tree).await;
    let talk = tokio::spawn(talk);
    has_begun.await.unwrap();
    let process = wire::parse_process(&line(&mut BufReader::new(here)).await).unwrap();
    assert_eq!(process.tree.unwrap().id, "root");
    talk.await.unwrap().unwrap();
    // And whoever asks now is not heard.
    let (here, talk) = asked(&served, &closing, &places, Ask::Tree).await;
    talk.await.unwrap();
    let mut nothing = Vec::new();
    // It is closed with what was asked unread, which is an error or an end.
    drop(timeout(LONG, BufReader::new(here).read_until(b'\n', &mut nothing)).await.expect("it is closed"));
    assert!(nothing.is_empty());
}

#[tokio::test]
async fn there_is_a_sign_of_life_while_something_takes_its_time() {
    let plan = FaultPlan::none();
    let system = system(&plan).await;
    system.session("a").start().await.unwrap();
    plan.break_journal(JournalFault::Delay(AGAIN * 4));
    let (closing, places) = (watch::Sender::new(false), Places::new());
    let served = served(&system, Path::new("none"), no_trees());
    let ask = Ask::Checkpoint { session: name(), label: "here".into() };
    let (here, talk) = asked(&served, &closing, &places, ask).await;
    let talk = tokio::spawn(talk);
    let mut lines = BufReader::new(here);
    assert_eq!(hear(&mut lines).await, Heard::GoesOn { goes_on: true });
    plan.heal();
    let done = loop {
        match hear(&mut lines).await {
            Heard::GoesOn { .. } => {}
            other => break other,
        }
    };
    assert!(matches!(done, Heard::Done { .. }), "{done:?}");
    talk.await.unwrap().unwrap();
}

/// Listens beside a journal of its own.
async fn listening(folder: &Path, places: &Places) -> (System, Scope, PathBuf) {
    let journal = folder.join("j.db");
    let builder = System::builder().provider("scripted", Scripted::builtin());
    let system = builder.journal(Sqlite::open(&journal).unwrap()).socket(false).start().await.unwrap();
    let served = served(&system, &journal.canonicalize().unwrap(), no_trees());
    let (scope, closing) = (Scope::new(), watch::Sender::new(false));
    let (open, opened) = oneshot::channel();
    let (below, places) = (scope.clone(), places.clone());
    scope.spawn("listen", async move {
        let open = |path| open.send(path).unwrap();
        listen(&served, &below, &closing, &places, open).await.unwrap();
    });
    (system, scope, opened.await.unwrap())
}

#[tokio::test]
async fn no_more_are_answered_at_once_than_there_are_places() {
    let (folder, places) = (tempfile::tempdir().unwrap(), Places::new());
    let listens = places.asked.clone().acquire_owned().await.unwrap();
    let (system, scope, path) = listening(folder.path(), &places).await;
    let mut silent = Vec::new();
    for _ in 0..AT_ONCE {
        silent.push(UnixStream::connect(&path).await.unwrap());
    }
    let full = async {
        while places.asked.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), full).await.expect("each of them has a place");
    let mut one_more = UnixStream::connect(&path).await.unwrap();
    one_more.write_all(&wire::request(Ask::Approvals { session: name() })).await.unwrap();
    silent.pop();
    let heard = answer_of(&mut BufReader::new(one_more)).await;
    assert!(matches!(&heard, Err(error) if error.kind == "not_found"), "{heard:?}");
    drop((listens, silent));
    scope.drain(LONG).await;
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_longer_than_the_bound_is_refused_and_not_read() {
    let (folder, places) = (tempfile::tempdir().unwrap(), Places::new());
    let (system, scope, path) = listening(folder.path(), &places).await;
    let (lines, mut said) = UnixStream::connect(&path).await.unwrap().into_split();
    let saying = tokio::spawn(async move {
        // It is cut off in the middle, or just not.
        drop(said.write_all(&vec![b'x'; LONGEST + 1]).await);
        said
    });
    let mut line = Vec::new();
    timeout(LONG, BufReader::new(lines).read_until(b'\n', &mut line)).await.expect("a line comes").unwrap();
    assert_eq!(wire::parse_heard(&line), Err(wire::too_long()));
    drop(saying.await.unwrap());
    scope.drain(LONG).await;
    system.shutdown(LONG).await.unwrap();
}
