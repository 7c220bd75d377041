//! The tool actor with real actors, tasks and scopes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

use std::future::pending;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ergane_core::{CallId, ToolCall, TurnId};
use ergane_otp::{Promise, Scope};
use ergane_tool::{
    Effect, MAX_TEXT, Part, Tool, ToolActor, ToolContext, ToolFuture, ToolHandle, ToolOutcome, ToolRun,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(30);

/// Stands for the session: it outlives its tools.
struct Session;

impl Actor for Session {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

type Body = Box<dyn Fn(ToolContext) -> ToolFuture + Send + Sync>;

struct TestTool(Body);

impl Tool for TestTool {
    fn name(&self) -> &str {
        "test"
    }

    fn description(&self) -> &str {
        "Does what a test says."
    }

    fn parameters(&self) -> Value {
        json!({ "type": "object" })
    }

    fn effect(&self) -> Effect {
        Effect::Write
    }

    fn call(&self, ctx: ToolContext, _arguments: Map<String, Value>) -> ToolFuture {
        (self.0)(ctx)
    }
}

fn tool(body: impl Fn(ToolContext) -> ToolFuture + Send + Sync + 'static) -> Arc<dyn Tool> {
    Arc::new(TestTool(Box::new(body)))
}

struct Stage {
    session: ActorCell,
    scope: Scope,
}

type Report = oneshot::Receiver<Option<ToolOutcome>>;

impl Stage {
    async fn new() -> Self {
        let (session, _) = Actor::spawn(None, Session, ()).await.unwrap();
        Self { session: session.get_cell(), scope: Scope::new() }
    }

    fn run(&self, tool: Arc<dyn Tool>, limit: Duration) -> (ToolRun, Report) {
        let (sender, receiver) = oneshot::channel();
        let call = ToolCall {
            id: CallId { turn: TurnId(7), index: 1 },
            wire_id: None,
            name: "test".into(),
            arguments: "{}".into(),
            complete: true,
            extra: Map::new(),
        };
        let report = Promise::new(move |outcome| sender.send(outcome).unwrap());
        let context = ToolContext::for_test("/");
        let effect = tool.effect();
        (ToolRun { call, tool, effect, arguments: Map::new(), context, timeout: limit, report }, receiver)
    }

    fn start(&self, tool: Arc<dyn Tool>, limit: Duration) -> (ToolHandle, Report) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tool-test/{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (run, report) = self.run(tool, limit);
        (ToolActor::spawn(name, run, self.session.clone(), &self.scope).unwrap(), report)
    }
}

async fn answer(report: Report) -> Option<ToolOutcome> {
    timeout(SOON, report).await.unwrap().unwrap()
}

fn text(outcome: &ToolOutcome) -> String {
    let text = |part: &Part| match part {
        Part::Text { text } => text.to_string(),
        other => panic!("{other:?}"),
    };
    outcome.content.iter().map(text).collect()
}

/// Notifies when it is dropped: a body that owns one tells of its end.
struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A body that never ends, and tells when it has begun and when it is dropped.
fn hanging() -> (Arc<dyn Tool>, Arc<Notify>, Arc<Notify>) {
    let (begun, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begun_too, dropped_too) = (begun.clone(), dropped.clone());
    let body = tool(move |_| {
        let guard = OnDrop(dropped_too.clone());
        let begun = begun_too.clone();
        Box::pin(async move {
            let _guard = guard;
            begun.notify_one();
            pending().await
        })
    });
    (body, begun, dropped)
}

#[tokio::test]
async fn a_call_reports_once_and_its_actor_ends_by_itself_under_its_name() {
    let stage = Stage::new().await;
    let body = tool(|_| Box::pin(async { Ok("42".into()) }));
    let (handle, report) = stage.start(body, SOON);
    assert!(handle.cell.get_name().unwrap().starts_with("tool-test/"));
    let outcome = answer(report).await.unwrap();
    assert_eq!((text(&outcome).as_str(), outcome.is_error, outcome.synthetic), ("42", false, false));
    timeout(SOON, stage.scope.drained()).await.unwrap();
    assert!(stage.session.get_children().is_empty());
}

#[tokio::test]
async fn the_body_runs_in_the_sessions_scope_and_with_its_own_context() {
    let stage = Stage::new().await;
    let scope = stage.scope.clone();
    let body = tool(move |ctx| {
        let alive = scope.alive();
        Box::pin(
            async move { Ok(format!("{} {} {}", ctx.call_id(), alive > 0, ctx.scope().alive() > 0).into()) },
        )
    });
    let (_, report) = stage.start(body, SOON);
    assert_eq!(text(&answer(report).await.unwrap()), "1.1 true true");
}

#[tokio::test]
async fn a_panic_is_an_error_result_in_whichever_place_it_comes() {
    let stage = Stage::new().await;
    let early = tool(|_| panic!("while starting"));
    let late = tool(|_| {
        Box::pin(async {
            tokio::task::yield_now().await;
            panic!("{} apples", 3)
        })
    });
    for (body, words) in [(early, "the tool panicked: while starting"), (late, "the tool panicked: 3 apples")]
    {
        let (_, report) = stage.start(body, SOON);
        let outcome = answer(report).await.unwrap();
        assert!(outcome.is_error && outcome.synthetic);
        assert_eq!(text(&outcome), words);
    }
    timeout(SOON, stage.scope.drained()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hanging_body_is_dropped_at_its_timeout_before_that_is_reported() {
    let stage = Stage::new().await;
    let (body, _, dropped) = hanging();
    let started = tokio::time::Instant::now();
    let (_, report) = stage.start(body, Duration::from_secs(5));
    let outcome = report.await.unwrap().unwrap();
    assert_eq!(started.elapsed().as_secs(), 5);
    assert!(outcome.is_error && outcome.synthetic && text(&outcome).contains("did not finish within 5s"));
    // Already told: no wait is needed.
    timeout(Duration::ZERO, dropped.notified()).await.unwrap();
    stage.scope.drained().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_yields_is_reported_all_the_same() {
    let stage = Stage::new().await;
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(Some(blocked));
    let body = tool(move |_| {
        let blocked = blocked.lock().unwrap().take().unwrap();
        Box::pin(async move {
            assert!(blocked.recv().is_err());
            Ok("too late".into())
        })
    });
    let (handle, report) = stage.start(body, Duration::from_millis(20));
    let outcome = answer(report).await.unwrap();
    assert!(outcome.is_error && text(&outcome).contains("does not react to being stopped"));
    assert!(stage.scope.alive() >= 1, "the scope still knows of the body");
    assert!(!handle.is_over());
    let (sender, over) = oneshot::channel();
    handle.when_over(Promise::new(move |_| sender.send(()).unwrap()));
    drop(release);
    timeout(SOON, over).await.unwrap().unwrap();
    assert!(handle.is_over());
    timeout(SOON, stage.scope.drained()).await.unwrap();
}

/// A thread that a body gave work to is dropped with nobody.
#[tokio::test]
async fn a_killed_call_is_over_when_its_threads_are_done() {
    let stage = Stage::new().await;
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = std::sync::Mutex::new(Some(blocked));
    let begun = Arc::new(Notify::new());
    let begun_too = begun.clone();
    let body = tool(move |ctx| {
        let (at_work, blocked) = (ctx.at_work(), blocked.lock().unwrap().take().unwrap());
        let begun = begun_too.clone();
        Box::pin(async move {
            std::thread::spawn(move || {
                let _until_it_is_done = at_work;
                blocked.recv().unwrap_err();
            });
            begun.notify_one();
            pending().await
        })
    });
    let (handle, report) = stage.start(body, SOON);
    begun.notified().await;
    handle.cell.kill();
    assert_eq!(answer(report).await, None);
    assert!(!handle.is_over());
    let (sender, over) = oneshot::channel();
    handle.when_over(Promise::new(move |_| sender.send(()).unwrap()));
    let left = stage.scope.drain(Duration::from_millis(20)).await;
    assert_eq!(left.labels(), ["work of a tool"]);
    drop(release);
    timeout(SOON, over).await.unwrap().unwrap();
    timeout(SOON, stage.scope.drained()).await.unwrap();
    // Said of what is over, it is answered at once.
    let (sender, over) = oneshot::channel();
    handle.when_over(Promise::new(move |_| sender.send(()).unwrap()));
    timeout(Duration::ZERO, over).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_interrupted_body_may_finish_and_what_it_says_counts() {
    let stage = Stage::new().await;
    let begun = Arc::new(Notify::new());
    let begun_too = begun.clone();
    let body = tool(move |ctx| {
        let begun = begun_too.clone();
        Box::pin(async move {
            begun.notify_one();
            ctx.cancelled().await;
            assert!(ctx.is_cancelled());
            Ok("stopped half-way, cleaned up".into())
        })
    });
    let (handle, report) = stage.start(body, SOON);
    begun.notified().await;
    handle.cancel();
    assert_eq!(text(&answer(report).await.unwrap()), "stopped half-way, cleaned up");
}

#[tokio::test]
async fn a_killed_actor_answers_none_and_takes_its_body_with_it() {
    let stage = Stage::new().await;
    let (body, begun, dropped) = hanging();
    let (handle, report) = stage.start(body, SOON);
    begun.notified().await;
    handle.cell.kill();
    assert_eq!(answer(report).await, None);
    timeout(SOON, dropped.notified()).await.unwrap();
    timeout(SOON, stage.scope.drained()).await.unwrap();
}

#[tokio::test]
async fn a_drained_scope_ends_body_and_actor_and_answers_none() {
    let stage = Stage::new().await;
    let (body, begun, dropped) = hanging();
    let (_, report) = stage.start(body, SOON);
    begun.notified().await;
    assert!(stage.scope.drain(SOON).await.is_empty());
    assert_eq!(answer(report).await, None);
    timeout(Duration::ZERO, dropped.notified()).await.unwrap();
}

#[tokio::test]
async fn a_scope_that_drains_already_runs_nothing_and_answers_none() {
    let stage = Stage::new().await;
    stage.scope.drain(SOON).await;
    let ran = Arc::new(AtomicU32::new(0));
    let ran_too = ran.clone();
    let body = tool(move |_| {
        ran_too.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok("ran".into()) })
    });
    let (_, report) = stage.start(body, SOON);
    assert_eq!(answer(report).await, None);
    timeout(SOON, stage.scope.drained()).await.unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_taken_name_is_an_error_and_the_promise_is_answered() {
    let stage = Stage::new().await;
    let (body, begun, _) = hanging();
    let (run, _first) = stage.run(body, SOON);
    let name = "tool-test/taken".to_owned();
    let _handle = ToolActor::spawn(name.clone(), run, stage.session.clone(), &stage.scope).unwrap();
    begun.notified().await;
    let (run, report) = stage.run(tool(|_| Box::pin(async { Ok("ran".into()) })), SOON);
    let refused = ToolActor::spawn(name, run, stage.session.clone(), &stage.scope);
    assert!(matches!(refused, Err(SpawnErr::ActorAlreadyRegistered(_))));
    assert_eq!(answer(report).await, None);
    // The first one's report is answered at the drain.
    stage.scope.drain(SOON).await;
    assert_eq!(answer(_first).await, None);
}

#[tokio::test]
async fn a_flood_of_text_is_cut_before_it_is_reported() {
    let stage = Stage::new().await;
    let body = tool(|_| Box::pin(async { Ok(format!("a{}z", "x".repeat(10 * MAX_TEXT)).into()) }));
    let (_, report) = stage.start(body, SOON);
    let text = text(&answer(report).await.unwrap());
    assert!(text.len() < MAX_TEXT + 100 && text.starts_with('a') && text.ends_with('z'));
    assert!(text.contains("bytes of output were cut here"));
}
