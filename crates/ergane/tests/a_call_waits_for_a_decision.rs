//! Calls that need somebody's yes: asked durably, decided once, and waited for as long as it takes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane::core::{ApprovalCause, Digest, SettingsPatch};
use ergane::prelude::*;
use ergane_testkit::{FaultPlan, JournalFault};
use serde_json::json;

/// A session whose tools need a yes.
async fn careful(system: &System, name: &str) -> Session {
    system.session(name).ungranted(Ungranted::Ask).start().await.unwrap()
}

fn bash() -> (Vec<Arc<dyn Tool>>, Calls) {
    hand_tools(&[("bash", Effect::Write), ("read", Effect::Read), ("todo", Effect::Idempotent)])
}

/// The call that waits, once one does.
async fn pending(session: &Session) -> PendingApproval {
    until("a call waits", || async { !session.approvals().await.unwrap().is_empty() }).await;
    session.approvals().await.unwrap().remove(0)
}

async fn activity(session: &Session) -> Activity {
    session.status().await.unwrap().activity
}

#[tokio::test]
async fn a_call_that_needs_a_yes_waits_and_runs_once_it_has_it() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let system = system_with(&model, tools).await;
    let session = careful(&system, "a").await;
    let mut events = session.subscribe(None).await.unwrap();
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({"command": "ls"})), ("read", json!({}))]);
    let waits = pending(&session).await;
    assert_eq!((&*waits.tool, &*waits.arguments), ("bash", r#"{"command":"ls"}"#));
    assert_eq!(
        (waits.cause, waits.digest),
        (ApprovalCause::Permission, Digest::of(waits.arguments.as_bytes()))
    );
    assert!(waits.why.contains("`bash` changes things"), "{}", waits.why);
    // The read waits behind the write, and nothing has run.
    assert_eq!(
        activity(&session).await,
        Activity::AwaitingApproval { calls: vec![format!("bash ({})", waits.call)] }
    );
    assert!(calls.is_empty());
    session.approve(waits.call, Decision::Allow).by("tom").arguments(waits.digest).await.unwrap();
    calls.next().await.give("a file");
    calls.next().await.give("its text");
    let again = asked.next().await;
    assert_eq!(again.results(), ["bash: a file", "read: its text"]);
    again.answer("done");
    result(send).await;
    let kinds = kinds(&system, &session).await;
    let from = kinds.iter().position(|kind| kind == "model_replied").unwrap();
    assert_eq!(
        kinds[from..from + 5],
        ["model_replied", "approval_requested", "approval_decided", "tool_started", "tool_finished"]
    );
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match soon("events", events.next()).await.unwrap().unwrap() {
            SessionEvent::ApprovalRequested { call, .. } => seen.push(format!("requested {call}")),
            SessionEvent::ApprovalDecided { call, decision, by, .. } => {
                seen.push(format!("{} {call} by {by}", decision.as_str()));
            }
            _ => {}
        }
    }
    assert_eq!(seen, [format!("requested {}", waits.call), format!("allow {} by tom", waits.call)]);
}

#[tokio::test]
async fn a_denied_call_does_not_run_and_the_model_is_told_why() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let system = system_with(&model, tools).await;
    let session = careful(&system, "a").await;
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({})), ("todo", json!({})), ("bash", json!({}))]);
    until("all three wait", || async { session.approvals().await.unwrap().len() == 3 }).await;
    let waits: Vec<_> = session.approvals().await.unwrap().iter().map(|pending| pending.call).collect();
    session.approve(waits[2], Decision::Done { result: "I did it".into() }).await.unwrap();
    session.approve(waits[0], Decision::deny("not on a Friday")).await.unwrap();
    session.approve(waits[1], Decision::deny("")).await.unwrap();
    let again = asked.next().await;
    assert_eq!(
        again.results(),
        [
            "bash: permission denied: not on a Friday",
            "todo: permission denied: the user said no",
            "bash: I did it"
        ]
    );
    again.answer("well");
    result(send).await;
    assert!(calls.is_empty());
}

#[tokio::test]
async fn deciding_the_same_twice_changes_nothing_and_otherwise_is_an_error_that_names_the_first() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let system = system_with(&model, tools).await;
    let session = careful(&system, "a").await;
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({}))]);
    let waits = pending(&session).await;
    let other = session.approve(waits.call, Decision::Allow).arguments(Digest::of(b"other")).await;
    assert!(matches!(other, Err(SessionError::OtherArguments { .. })), "{other:?}");
    session.approve(waits.call, Decision::Allow).by("ann").await.unwrap();
    session.approve(waits.call, Decision::Allow).by("bob").await.unwrap();
    let late = session.approve(waits.call, Decision::deny("no")).by("bob").await.unwrap_err();
    assert!(late.to_string().contains("was decided before: allow by ann"), "{late}");
    calls.next().await.give("ok");
    asked.next().await.answer("done");
    result(send).await;
    // The same holds when the turn is long over.
    session.approve(waits.call, Decision::Allow).await.unwrap();
    assert!(session.approve(waits.call, Decision::deny("no")).await.is_err());
    let unknown = ergane::core::CallId { turn: waits.call.turn, index: 9 };
    let nothing = session.approve(unknown, Decision::Allow).await;
    assert!(matches!(nothing, Err(SessionError::NotPending { .. })), "{nothing:?}");
    let decided =
        kinds(&system, &session).await.into_iter().filter(|kind| kind == "approval_decided").count();
    assert_eq!(decided, 1);
}

#[tokio::test]
async fn a_call_that_waits_is_found_and_decided_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("j.db");
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let start = || async {
        let sqlite = Sqlite::open(&journal).unwrap();
        System::builder()
            .provider("test", model.clone())
            .tools(tools.clone())
            .journal(sqlite)
            .start()
            .await
            .unwrap()
    };
    let mut system = start().await;
    let mut session = careful(&system, "a").await;
    let turn = soon("accepted", session.send_message("go").accepted()).await.unwrap();
    asked.next().await.call(&[("bash", json!({}))]);
    let waits = pending(&session).await;
    // Many restarts, none of which counts.
    for _ in 0..12 {
        system.shutdown(LONG).await.unwrap();
        drop((session, system)); // the last hold on the store, and so on the session
        system = start().await;
        session = system.whereis("a").await.unwrap();
        assert_eq!(session.approvals().await.unwrap(), std::slice::from_ref(&waits));
    }
    session.approve(waits.call, Decision::Allow).await.unwrap();
    calls.next().await.give("ok");
    let again = asked.next().await;
    assert_eq!(again.results(), ["bash: ok"]);
    again.answer("done");
    let result = soon("the turn", session.turn(turn).into_future()).await.unwrap();
    assert_eq!((&*result.text, result.finish_reason), ("done", FinishReason::Stop));
}

#[tokio::test]
async fn a_killed_session_still_waits_for_its_decision_and_its_callers_for_their_turn() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let system = system_with(&model, tools).await;
    let session = careful(&system, "a").await;
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({}))]);
    let waits = pending(&session).await;
    let mut watch = session.watch();
    actor(&system, "session/a").await.kill();
    soon("it ends", async { while !matches!(watch.next().await, Some(Incarnation::Down { .. })) {} }).await;
    assert_eq!(session.approvals().await.unwrap(), std::slice::from_ref(&waits));
    session.approve(waits.call, Decision::Allow).await.unwrap();
    calls.next().await.give("ok");
    asked.next().await.answer("done");
    assert_eq!(&*result(send).await.text, "done");
}

#[tokio::test]
async fn an_interrupt_and_a_stop_close_what_waits() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let system = system_with(&model, tools).await;
    for how in ["interrupt", "stop"] {
        let session = careful(&system, how).await;
        let send = sending(&session, "go");
        asked.next().await.call(&[("bash", json!({}))]);
        let waits = pending(&session).await;
        match how {
            "interrupt" => assert!(session.interrupt("enough").await.unwrap()),
            _ => soon("it stops", session.stop().into_future()).await.unwrap(),
        }
        assert_eq!(result(send).await.finish_reason, FinishReason::Interrupted, "{how}");
        assert!(session.approvals().await.unwrap().is_empty());
        let late = session.approve(waits.call, Decision::Allow).await;
        assert!(matches!(late, Err(SessionError::NotPending { .. })), "{late:?}");
        let next = sending(&session, "go on");
        let request = asked.next().await;
        assert_eq!(request.results().len(), 1, "the call was closed with a result");
        request.answer("fine");
        result(next).await;
    }
    assert!(calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_what_waits_in_a_session_that_has_passivated_too() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let system =
        System::builder().provider("test", model).tools(tools).passivate_after(Duration::from_secs(60));
    let system = system.start().await.unwrap();
    let session = careful(&system, "a").await;
    let turn = session.send_message("go").accepted().await.unwrap();
    asked.next().await.call(&[("bash", json!({}))]);
    pending(&session).await;
    assert_eq!(session.monitor().await.reason, ExitReason::Normal);
    assert_eq!(activity(&session).await, Activity::Stored);
    soon("it stops", session.stop().into_future()).await.unwrap();
    assert!(session.actor_ref().is_none());
    let ended = soon("the turn has ended", session.turn(turn).into_future()).await.unwrap();
    assert_eq!(ended.finish_reason, FinishReason::Interrupted);
    assert!(session.approvals().await.unwrap().is_empty() && calls.is_empty());
    // Of one that has nothing to do, nothing is brought up.
    soon("it stops", session.stop().into_future()).await.unwrap();
    soon("it stops", session.stop().into_future()).await.unwrap();
    assert!(session.actor_ref().is_none());
}

#[tokio::test]
async fn a_granted_tool_runs_at_once_from_then_on_and_no_other_is_denied_by_that() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let system = system_with(&model, tools).await;
    let session = careful(&system, "a").await;
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({"n": 1})), ("todo", json!({})), ("bash", json!({"n": 2}))]);
    until("all three wait", || async { session.approvals().await.unwrap().len() == 3 }).await;
    session.grant("bash").await.unwrap();
    assert_eq!(calls.next().await.name, "bash");
    let left = session.approvals().await.unwrap();
    assert_eq!(left.iter().map(|p| &*p.tool).collect::<Vec<_>>(), ["todo"]);
    session.approve(left[0].call, Decision::deny("no")).await.unwrap();
    calls.next().await.give("two");
    // The next round of the same turn, and the next turn, need no yes for it.
    asked.next().await.call(&[("bash", json!({"n": 3}))]);
    calls.next().await.give("three");
    asked.next().await.answer("done");
    result(send).await;
    let next = sending(&session, "more");
    asked.next().await.call(&[("bash", json!({"n": 4})), ("todo", json!({}))]);
    calls.next().await.give("four");
    let waits = pending(&session).await;
    assert_eq!(&*waits.tool, "todo");
    assert_eq!(session.settings().await.unwrap().permissions.granted, ["bash".into()]);
    session.interrupt("enough").await.unwrap();
    result(next).await;
}

/// A send may have taken back for its turn what the session grants: who grants another tool meanwhile, or one that the
/// session grants already, means that tool.
#[tokio::test]
async fn a_grant_in_a_turn_with_grants_of_its_own_adds_the_granted_tool_and_no_other() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let system = system_with(&model, tools).await;
    let session = system.session("a").ungranted(Ungranted::Ask).grant(["bash"]).start().await.unwrap();
    let none = SettingsPatch { granted: Some(Vec::new()), ..SettingsPatch::default() };
    let send = tokio::spawn(session.send_message("go").settings(none).into_future());
    let question = asked.next().await;
    session.grant("todo").await.unwrap();
    question.call(&[("todo", json!({})), ("bash", json!({"n": 1}))]);
    let granted = calls.next().await;
    assert_eq!(granted.name, "todo");
    granted.give("noted");
    assert_eq!(&*pending(&session).await.tool, "bash");
    assert!(calls.is_empty());
    // Now that one too, in this turn as well: the call that waits, and the next one.
    session.grant("bash").await.unwrap();
    calls.next().await.give("one");
    asked.next().await.call(&[("bash", json!({"n": 2}))]);
    calls.next().await.give("two");
    asked.next().await.answer("done");
    result(send).await;
    assert_eq!(session.settings().await.unwrap().permissions.granted, ["bash".into(), "todo".into()]);
}

#[tokio::test]
async fn a_grant_beyond_the_last_is_refused_with_the_limit_that_it_met() {
    let (model, _asked) = model();
    let system = system(&model).await;
    let all = (0..1024).map(|tool| format!("tool{tool}"));
    let session = system.session("a").grant(all).start().await.unwrap();
    let full = session.grant("bash").await.unwrap_err();
    assert!(full.to_string().contains("1024 granted tools"), "{full}");
    session.grant("tool7").await.unwrap(); // that is granted already
    let long = session.grant("x".repeat(65)).await.unwrap_err();
    assert!(matches!(long, SessionError::InputTooLarge { bytes: 65, limit: 64 }), "{long}");
}

#[tokio::test]
async fn a_question_is_not_asked_before_it_is_durable() {
    let ((model, mut asked), (tools, calls)) = (model(), bash());
    let dir = tempfile::tempdir().unwrap();
    // Room for the beginning and no more.
    let sqlite = Sqlite::options().max_bytes(64 * 8192).open(dir.path().join("j.db")).unwrap();
    let system =
        System::builder().provider("test", model).tools(tools).journal(sqlite).start().await.unwrap();
    let session = careful(&system, "a").await;
    let send = sending(&session, "go");
    let filler = "x".repeat(600_000);
    asked.next().await.call(&[("bash", json!({"filler": filler}))]);
    until("the store is full", || async { matches!(activity(&session).await, Activity::Parked { .. }) })
        .await;
    assert!(session.approvals().await.unwrap().is_empty());
    send.abort();
    drop(calls);
}

// The callback.

/// A system whose callback says what `say` says of a tool.
async fn consulting(
    model: &Model,
    tools: Vec<Arc<dyn Tool>>,
    say: impl Fn(&PermissionRequest) -> Permission + Send + Sync + 'static,
) -> System {
    let say = Arc::new(say);
    System::builder()
        .provider("test", model.clone())
        .tools(tools)
        .can_use_tool(move |request| {
            let say = say.clone();
            async move {
                tokio::task::yield_now().await;
                say(&request)
            }
        })
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_callback_allows_denies_with_a_reason_or_has_somebody_asked() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let system = consulting(&model, tools, |request| match request.arguments["say"].as_str().unwrap() {
        "allow" => Permission::Allow,
        "ask" => Permission::Ask,
        why => Permission::deny(format!("{} {} {why}", request.session, request.tool)),
    })
    .await;
    let session = system.session("a").start().await.unwrap();
    let send = sending(&session, "go");
    asked.next().await.call(&[
        ("todo", json!({"say": "no"})),
        ("todo", json!({"say": "ask"})),
        ("todo", json!({"say": "allow"})),
        // A read is free, so nobody decides about it.
        ("read", json!({})),
    ]);
    let mut ran = vec![calls.next().await, calls.next().await];
    ran.sort_by_key(|called| called.name);
    assert_eq!(ran.iter().map(|called| called.name).collect::<Vec<_>>(), ["read", "todo"]);
    assert_eq!(ran[1].arguments["say"], "allow");
    ran.into_iter().for_each(|called| called.give("ok"));
    let waits = pending(&session).await;
    assert!(waits.why.contains("the program asks"), "{}", waits.why);
    session.approve(waits.call, Decision::Allow).await.unwrap();
    calls.next().await.give("late");
    let again = asked.next().await;
    assert_eq!(again.results(), ["todo: permission denied: a todo no", "todo: late", "todo: ok", "read: ok"]);
    again.answer("done");
    result(send).await;
}

#[tokio::test]
async fn a_callback_is_not_asked_before_the_answer_that_makes_the_call_is_durable() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let plan = FaultPlan::none();
    let folder = tempfile::tempdir().unwrap();
    let (entered, mut inside) = tokio::sync::mpsc::unbounded_channel();
    let system = System::builder()
        .provider("test", model)
        .tools(tools)
        .journal(plan.journal(Arc::new(Sqlite::open(folder.path().join("j.db")).unwrap())))
        .can_use_tool(move |request| {
            entered.send(request.tool.to_string()).unwrap();
            std::future::ready(Permission::Allow)
        })
        .start()
        .await
        .unwrap();
    let session = system.session("a").start().await.unwrap();
    let send = sending(&session, "go");
    let question = asked.next().await;
    plan.break_journal(JournalFault::NotWritten);
    question.call(&[("bash", json!({}))]);
    until("it is parked", || async { matches!(activity(&session).await, Activity::Parked { .. }) }).await;
    until("it tried again", || async { plan.told().len() >= 3 }).await;
    assert!(inside.try_recv().is_err(), "no one is asked about a call that may never have been made");
    plan.heal();
    assert_eq!(soon("the callback", inside.recv()).await.unwrap(), "bash");
    calls.next().await.give("ok");
    asked.next().await.answer("done");
    result(send).await;
    assert!(inside.try_recv().is_err(), "once");
}

#[tokio::test]
async fn a_callback_that_panics_denies_with_the_reason_and_the_session_goes_on() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let system = consulting(&model, tools, |_| panic!("a bug of the program")).await;
    let session = system.session("a").start().await.unwrap();
    let before = session.actor_ref().unwrap().get_id();
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({}))]);
    let again = asked.next().await;
    assert_eq!(
        again.results(),
        ["bash: permission denied: the callback that decides about `bash` failed: it panicked"]
    );
    again.answer("done");
    result(send).await;
    assert!(calls.is_empty());
    assert_eq!(session.actor_ref().unwrap().get_id(), before);
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_hangs_denies_after_its_deadline_and_the_session_answers_meanwhile() {
    let ((model, mut asked), (tools, _calls)) = (model(), bash());
    let (entered, mut inside) = tokio::sync::mpsc::unbounded_channel();
    let system = System::builder()
        .provider("test", model)
        .tools(tools)
        .can_use_tool(move |_| {
            entered.send(()).unwrap();
            std::future::pending::<Permission>()
        })
        .start()
        .await
        .unwrap();
    let session = system.session("a").start().await.unwrap();
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({}))]);
    soon("the callback", inside.recv()).await.unwrap();
    assert!(matches!(activity(&session).await, Activity::RunningTools { .. }));
    let again = soon("the model", asked.next()).await;
    assert_eq!(
        again.results(),
        ["bash: permission denied: the callback that decides about `bash` failed: it took longer than 30 s"]
    );
    again.answer("done");
    result(send).await;
}

#[tokio::test]
async fn an_interrupt_does_not_wait_for_a_callback() {
    let ((model, mut asked), (tools, mut calls)) = (model(), bash());
    let (entered, mut inside) = tokio::sync::mpsc::unbounded_channel();
    let system = System::builder()
        .provider("test", model)
        .tools(tools)
        .can_use_tool(move |_| {
            entered.send(()).unwrap();
            std::future::pending::<Permission>()
        })
        .start()
        .await
        .unwrap();
    let session = system.session("a").start().await.unwrap();
    let send = sending(&session, "go");
    asked.next().await.call(&[("bash", json!({}))]);
    soon("the callback", inside.recv()).await.unwrap();
    assert!(
        soon("at once", tokio::time::timeout(Duration::from_secs(20), session.interrupt("enough")))
            .await
            .unwrap()
            .unwrap()
    );
    assert_eq!(result(send).await.finish_reason, FinishReason::Interrupted);
    assert!(calls.is_empty());
}

#[tokio::test]
async fn accepted_edits_run_and_all_else_asks() {
    struct Edit(Arc<dyn Tool>);
    impl Tool for Edit {
        fn name(&self) -> &str {
            self.0.name()
        }
        fn description(&self) -> &str {
            self.0.description()
        }
        fn parameters(&self) -> serde_json::Value {
            self.0.parameters()
        }
        fn effect(&self) -> Effect {
            self.0.effect()
        }
        fn reach(&self) -> Reach {
            Reach::Files
        }
        fn call(
            &self,
            context: ToolContext,
            arguments: serde_json::Map<String, serde_json::Value>,
        ) -> ergane::tool_support::ToolFuture {
            self.0.call(context, arguments)
        }
    }
    let (model, mut asked) = model();
    let (mut tools, mut calls) = hand_tools(&[("edit", Effect::Write), ("bash", Effect::Write)]);
    tools[0] = Arc::new(Edit(tools[0].clone()));
    let system = system_with(&model, tools).await;
    let session = system.session("a").permissions(PermissionMode::AcceptEdits).start().await.unwrap();
    let send = sending(&session, "go");
    asked.next().await.call(&[("edit", json!({})), ("bash", json!({}))]);
    calls.next().await.give("edited");
    assert_eq!(&*pending(&session).await.tool, "bash");
    session.interrupt("enough").await.unwrap();
    result(send).await;
    assert!(calls.is_empty());
}
