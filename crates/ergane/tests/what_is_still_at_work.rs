//! What a call has begun and nobody can end: nothing that changes the world is begun beside it, and it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{Questions, model, result, sending, soon, until};
use ergane::core::{CallId, SettingsPatch};
use ergane::journal::{Journal, Memory};
use ergane::prelude::*;
use ergane::provider::BoxFuture;
use ergane::session::TurnStream;
use ergane::tool_support::ToolError;
use serde_json::{Map, Value, json};

/// How a stuck tool does not end.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    /// It never comes to an await.
    BlockingItsThread,
    /// It gave its work to a thread.
    AnotherThread,
}

/// A tool that does not listen, and ends when the test lets it.
struct Stuck {
    by: By,
    effect: Effect,
    begun: tokio::sync::mpsc::UnboundedSender<Option<AtWork>>,
    /// How many calls get stuck; those after them end at once.
    calls: AtomicUsize,
    done: Arc<AtomicBool>,
}

/// A stuck call, which ends when this is dropped.
struct AtWork {
    call: CallId,
    release: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Tool for Stuck {
    fn name(&self) -> &str {
        "deploy"
    }

    fn description(&self) -> &str {
        "it does not listen"
    }

    fn parameters(&self) -> Value {
        json!({"type": "object", "properties": {}})
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn call(
        &self,
        context: ToolContext,
        _: Map<String, Value>,
    ) -> BoxFuture<'static, Result<ToolOutput, ToolError>> {
        let one_less = |left: usize| left.checked_sub(1);
        let is_stuck = self.calls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        let (done, begun, by) = (self.done.clone(), self.begun.clone(), self.by);
        Box::pin(async move {
            let tell = |work| assert!(begun.send(work).is_ok(), "the test listens");
            if !is_stuck {
                tell(None);
                return Ok("deployed".into());
            }
            let (release, released) = mpsc::channel();
            let (call, at_work) = (context.call_id(), context.at_work());
            let work = move || {
                let _until_it_is_done = at_work;
                released.recv().unwrap_err();
                done.store(true, Ordering::SeqCst);
            };
            match by {
                By::BlockingItsThread => {
                    tell(Some(AtWork { call, release, thread: None }));
                    work();
                }
                By::AnotherThread => {
                    tell(Some(AtWork { call, release, thread: Some(std::thread::spawn(work)) }));
                    std::future::pending::<()>().await;
                }
            }
            Ok("deployed".into())
        })
    }
}

/// A session with that tool.
struct House {
    system: System,
    alice: Session,
    questions: Questions,
    begun: tokio::sync::mpsc::UnboundedReceiver<Option<AtWork>>,
    /// The calls that are stuck, the first of them first.
    at_work: Vec<AtWork>,
    /// Whether the last that was let go has ended.
    done: Arc<AtomicBool>,
}

impl House {
    /// The first call is stuck.
    async fn new(by: By, effect: Effect) -> Self {
        Self::beside(Memory::new(), by, effect, 1).await
    }

    async fn beside(journal: impl Journal, by: By, effect: Effect, calls: usize) -> Self {
        let (model, questions) = model();
        let (sender, begun) = tokio::sync::mpsc::unbounded_channel();
        let done = Arc::<AtomicBool>::default();
        let tool = Stuck { by, effect, begun: sender, calls: calls.into(), done: done.clone() };
        let system =
            System::builder().provider("test", model).tool(tool).journal(journal).start().await.unwrap();
        let alice = system.session("alice").start().await.unwrap();
        Self { system, alice, questions, begun, at_work: Vec::new(), done }
    }

    /// The model calls the tool, which begins.
    async fn deploys(&mut self) -> tokio::task::JoinHandle<Result<TurnResult, SessionError>> {
        let send = sending(&self.alice, "deploy it");
        self.questions.next().await.call(&[("deploy", json!({}))]);
        self.begins().await;
        send
    }

    async fn begins(&mut self) {
        let begun = soon("the tool begins", self.begun.recv()).await.unwrap();
        self.at_work.extend(begun);
        self.at_work.sort_by_key(|work| work.call);
    }

    async fn parked(&self) -> String {
        let reason = || async {
            match self.alice.status().await.unwrap().activity {
                Activity::Parked { reason } => Some(reason),
                _ => None,
            }
        };
        until("it is parked", || async { reason().await.is_some() }).await;
        reason().await.unwrap()
    }

    /// Lets the first of the stuck calls end. A thread of its own is waited for: on a clock that stands still its end would race
    /// with every deadline.
    fn let_go(&mut self) -> CallId {
        let AtWork { call, release, thread } = self.at_work.remove(0);
        drop(release);
        if let Some(thread) = thread {
            thread.join().unwrap();
        }
        call
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }
}

async fn nothing_starts_beside_an_interrupted_write(by: By) {
    let mut house = House::new(by, Effect::Write).await;
    let first = sending(&house.alice, "deploy it");
    house.questions.next().await.call(&[("deploy", json!({}))]);
    house.begins().await;
    assert!(house.alice.interrupt("enough").await.unwrap());
    // The turn ends, and says how it is.
    let ended = result(first).await;
    assert_eq!(ended.finish_reason, FinishReason::Interrupted);
    let told = ended.messages.iter().flat_map(|message| message.results()).next().unwrap().text();
    assert!(told.contains("enough") && told.contains("still at work"), "{told}");
    // Nothing begins, which is told.
    let mut next = house.alice.send_message("and now?").stream().await.unwrap();
    let event = soon("an event", next.next()).await;
    assert!(
        matches!(&event, Some(SessionEvent::Parked { reason }) if reason.contains("(deploy)")),
        "{event:?}"
    );
    let reason = house.parked().await;
    let way_out = format!("end process {}", std::process::id());
    assert!(reason.contains("still at work") && reason.contains(&way_out), "{reason}");
    assert_eq!(house.alice.messages().await.unwrap().len(), ended.messages.len(), "it answers as ever");
    assert!(house.questions.is_empty() && !house.is_done());
    house.let_go();
    let asked = house.questions.next().await;
    assert!(house.is_done(), "it was over before anything else began");
    asked.answer("all is well");
    assert_eq!(&*next.result().await.unwrap().text, "all is well");
    assert_eq!(house.alice.status().await.unwrap().activity, Activity::Idle);
    house.system.shutdown(common::LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_starts_beside_an_interrupted_write_that_blocks_its_thread() {
    nothing_starts_beside_an_interrupted_write(By::BlockingItsThread).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_beside_an_interrupted_write_that_has_a_thread_of_its_own() {
    nothing_starts_beside_an_interrupted_write(By::AnotherThread).await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_over_in_time_is_waited_for_before_its_turn_ends() {
    let mut house = House::new(By::AnotherThread, Effect::Write).await;
    let mut events = house.alice.subscribe(None).await.unwrap();
    let first = sending(&house.alice, "deploy it");
    house.questions.next().await.call(&[("deploy", json!({}))]);
    house.begins().await;
    house.alice.interrupt("enough").await.unwrap();
    // It is killed after two seconds, and has two more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!first.is_finished());
    house.let_go();
    let ended = result(first).await;
    assert!(house.is_done());
    let told = ended.messages.iter().flat_map(|message| message.results()).next().unwrap().text();
    assert!(told.contains("enough") && !told.contains("still at work"), "{told}");
    house.alice.stop().await.unwrap();
    while let Some(event) = soon("an event", events.next()).await {
        assert!(!matches!(event, Ok(SessionEvent::Parked { .. })), "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_beside_a_write_that_timed_out_and_is_still_at_work() {
    let mut house = House::new(By::AnotherThread, Effect::Write).await;
    let brief = SettingsPatch { tool_timeout_ms: Some(1_000), ..SettingsPatch::default() };
    let house_alice = house.system.session("alice").settings(brief).start().await.unwrap();
    let send = sending(&house_alice, "deploy it twice");
    house.questions.next().await.call(&[("deploy", json!({})), ("deploy", json!({}))]);
    house.begins().await;
    assert!(house.parked().await.contains("(deploy)"));
    assert!(house.begun.try_recv().is_err(), "the second waits for the first");
    house.let_go();
    soon("the second begins", house.begun.recv()).await.unwrap();
    assert!(house.is_done());
    let asked = house.questions.next().await;
    let results = asked.results();
    assert!(results[0].contains("did not finish within 1s"), "{results:?}");
    asked.answer("oh");
    result(send).await;
}

/// The reason that whoever listens is told next.
async fn told(listener: &mut TurnStream) -> String {
    match soon("a reason", listener.next()).await {
        Some(SessionEvent::Parked { reason }) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn once_one_of_two_calls_is_over_the_reason_names_the_other_to_everybody() {
    let mut house = House::beside(Memory::new(), By::AnotherThread, Effect::Idempotent, 2).await;
    let first = sending(&house.alice, "deploy it here and there");
    house.questions.next().await.call(&[("deploy", json!({})), ("deploy", json!({}))]);
    house.begins().await;
    house.begins().await;
    let [one, other] = [0, 1].map(|at| format!("call {} (deploy)", house.at_work[at].call));
    house.alice.interrupt("enough").await.unwrap();
    assert_eq!(result(first).await.finish_reason, FinishReason::Interrupted);
    let mut listener = house.alice.send_message("and now?").stream().await.unwrap();
    assert!(told(&mut listener).await.contains(&one));
    assert!(house.parked().await.contains(&one));
    house.let_go();
    assert!(told(&mut listener).await.contains(&other), "who listened already");
    assert!(house.parked().await.contains(&other), "who asks");
    let mut later = house.alice.send_message("and then?").stream().await.unwrap();
    assert!(told(&mut later).await.contains(&other), "who begins to listen");
    house.let_go();
    house.questions.next().await.answer("all is well");
    assert_eq!(&*listener.result().await.unwrap().text, "all is well");
    house.questions.next().await.answer("still so");
    assert_eq!(&*later.result().await.unwrap().text, "still so");
}

/// What the system itself would tell of processes that it cannot end, for no test can make one.
#[tokio::test(start_paused = true)]
async fn once_one_of_two_processes_that_were_left_behind_is_gone_the_reason_names_the_call_of_the_other() {
    let house = House::new(By::AnotherThread, Effect::Write).await;
    let left_behind = |call: &str, gone: bool| {
        let call = call.parse().unwrap();
        let message = SessionMsg::Internal(ergane::session::Internal::LeftBehindGone { call, gone });
        house.alice.actor_ref().unwrap().cast(message).unwrap();
    };
    left_behind("3.1", false);
    left_behind("3.2", false);
    assert!(house.parked().await.contains("call 3.1 does not end"));
    left_behind("3.1", true);
    assert!(house.parked().await.contains("call 3.2 does not end"));
    let mut listener = house.alice.subscribe(None).await.unwrap();
    let event = soon("it is told", listener.next()).await;
    assert!(
        matches!(&event, Some(Ok(SessionEvent::Parked { reason })) if reason.contains("call 3.2")),
        "{event:?}"
    );
    left_behind("3.2", true);
    assert_eq!(house.alice.status().await.unwrap().activity, Activity::Idle);
}

#[tokio::test(start_paused = true)]
async fn what_only_reads_is_left_behind() {
    let mut house = House::new(By::AnotherThread, Effect::Read).await;
    let first = sending(&house.alice, "look at it");
    house.questions.next().await.call(&[("deploy", json!({}))]);
    house.begins().await;
    house.alice.interrupt("enough").await.unwrap();
    assert_eq!(result(first).await.finish_reason, FinishReason::Interrupted);
    let second = sending(&house.alice, "and now?");
    house.questions.next().await.answer("on we go");
    assert_eq!(&*result(second).await.text, "on we go");
    // Not even the next incarnation waits for it.
    house.alice.actor_ref().unwrap().kill();
    let third = sending(&house.alice, "still there?");
    house.questions.next().await.answer("yes");
    assert_eq!(&*result(third).await.text, "yes");
    assert!(!house.is_done());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_died_comes_back_when_its_write_is_over_and_not_before() {
    let mut house = House::new(By::AnotherThread, Effect::Write).await;
    let send = house.deploys().await;
    house.alice.actor_ref().unwrap().kill();
    let reason = house.parked().await;
    let way_out = format!("end process {}", std::process::id());
    assert!(reason.contains("work of a tool") && reason.contains(&way_out), "{reason}");
    let asked = house.alice.messages().await.unwrap_err();
    assert!(matches!(&asked, SessionError::Stuck { reason, .. } if reason.contains("work of a tool")));
    assert!(asked.to_string().contains(&way_out), "{asked}");
    let listed = &house.system.sessions().await.unwrap()[0];
    assert_eq!(listed.status, "parked");
    assert!(listed.reason.as_ref().is_some_and(|reason| reason.contains("work of a tool")), "{listed:?}");
    let mut next = house.alice.send_message("and now?").stream().await.unwrap();
    let event = soon("an event", next.next()).await;
    assert!(matches!(&event, Some(SessionEvent::Parked { .. })), "{event:?}");
    assert!(!send.is_finished() && house.questions.is_empty() && !house.is_done());
    house.let_go();
    let asked = house.questions.next().await;
    assert!(house.is_done());
    assert!(asked.results()[0].contains("cut off by a crash"), "{:?}", asked.results());
    asked.answer("I see");
    assert_eq!(&*result(send).await.text, "I see");
    house.questions.next().await.answer("done");
    assert_eq!(&*next.result().await.unwrap().text, "done");
}

#[tokio::test(start_paused = true)]
async fn who_listens_to_a_session_that_cannot_begin_again_yet_is_told_so_and_then_what_happens() {
    let mut house = House::new(By::AnotherThread, Effect::Write).await;
    let mut events = house.alice.subscribe(None).await.unwrap();
    let mut turn = house.alice.send_message("deploy it").stream().await.unwrap();
    house.questions.next().await.call(&[("deploy", json!({}))]);
    house.begins().await;
    house.alice.actor_ref().unwrap().kill();
    house.parked().await;
    let told = async {
        loop {
            if let Err(error) = events.next().await.expect("the session has not ended for good") {
                break error;
            }
        }
    };
    let told = soon("who subscribed is told", told).await;
    assert!(matches!(told, SessionError::Stuck { .. }) && told.may_pass(), "{told}");
    let told = async {
        loop {
            if let SessionEvent::Parked { reason } = turn.next().await.expect("the turn is not over") {
                break reason;
            }
        }
    };
    let told = soon("who waits for the turn is told", told).await;
    assert!(told.contains("work of a tool"), "{told}");
    house.let_go();
    house.questions.next().await.answer("I see");
    let done = async {
        loop {
            match events.next().await.expect("the session has not ended for good") {
                Ok(SessionEvent::Done { finish_reason, .. }) => break finish_reason,
                Ok(_) => {}
                Err(error) => assert!(error.may_pass(), "{error}"),
            }
        }
    };
    assert_eq!(soon("the turn is told to the end", done).await, FinishReason::Stop);
    assert_eq!(&*soon("the turn ends", turn.result()).await.unwrap().text, "I see");
}

#[tokio::test]
async fn past_a_thread_that_never_ends_gets_neither_a_stop_nor_a_shutdown_and_nobody_begins_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = || Sqlite::open(folder.path().join("j.db")).unwrap();
    let mut house = House::beside(journal(), By::AnotherThread, Effect::Write, 1).await;
    let send = house.deploys().await;
    for error in [house.alice.stop().await.unwrap_err(), house.alice.start().await.unwrap_err()] {
        assert!(matches!(error, SessionError::Stuck { .. }), "{error}");
    }
    house.system.shutdown(common::LONG).await.unwrap();
    send.abort();
    let (model, mut questions) = model();
    let next = System::builder().provider("test", model).journal(journal()).start().await.unwrap();
    let refused = next.session("alice").start().await.unwrap_err();
    assert!(matches!(refused, SessionError::OwnedElsewhere { .. }), "{refused:?}");
    house.let_go();
    drop((house, send));
    until("she is free", || async { next.session("alice").start().await.is_ok() }).await;
    let later = sending(&next.session("alice").start().await.unwrap(), "and now?");
    let asked = questions.next().await;
    assert!(asked.results()[0].contains("still at work"), "{:?}", asked.results());
    asked.answer("all is well");
    assert_eq!(&*result(later).await.text, "all is well");
    next.shutdown(common::LONG).await.unwrap();
}

#[tokio::test]
async fn a_session_that_was_stopped_is_given_up_when_what_was_at_work_has_ended_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let journal = || Sqlite::open(folder.path().join("j.db")).unwrap();
    let mut house = House::beside(journal(), By::AnotherThread, Effect::Write, 1).await;
    let send = house.deploys().await;
    let stopped = house.alice.stop().await.unwrap_err();
    assert!(matches!(stopped, SessionError::Stuck { .. }), "{stopped}");
    send.abort();
    let (model, _questions) = model();
    let next = System::builder().provider("test", model).journal(journal()).start().await.unwrap();
    let refused = next.session("alice").start().await.unwrap_err();
    assert!(matches!(refused, SessionError::OwnedElsewhere { .. }), "{refused:?}");
    house.let_go();
    until("she is free", || async { next.session("alice").start().await.is_ok() }).await;
    // And who had her lives, and has her no more.
    let refused = house.system.session("alice").start().await.unwrap_err();
    assert!(matches!(refused, SessionError::OwnedElsewhere { .. }), "{refused:?}");
    next.shutdown(common::LONG).await.unwrap();
    house.system.shutdown(common::LONG).await.unwrap();
}
