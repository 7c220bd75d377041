//! A shell under the tool actor: whatever ends the call ends the shell, and the session's scope waits for that.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ergane_core::{CallId, Effect, ToolCall};
use ergane_otp::{Promise, Scope};
use ergane_tool::{ContextParts, ProcessSink, ToolActor, ToolContext, ToolHandle, ToolOutcome, ToolRun};
use ergane_tools::bash;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use serde_json::{Map, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(60);

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

struct Running {
    handle: ToolHandle,
    scope: Scope,
    group: i32,
    report: oneshot::Receiver<Option<ToolOutcome>>,
    _session: ActorCell,
    _folder: tempfile::TempDir,
}

/// A command that ignores being asked to end, has a child that does, too, and has begun.
async fn start(name: &str, limit: Duration) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let (session, _) = Actor::spawn(None, Session, ()).await.unwrap();
    let scope = Scope::new();
    let (sender, report) = oneshot::channel();
    let (group_sender, group) = oneshot::channel();
    let group_sender = std::sync::Mutex::new(Some(group_sender));
    let mut parts = ContextParts::for_test(folder.path());
    parts.processes = ProcessSink::new(move |record| {
        group_sender.lock().unwrap().take().unwrap().send(record.group).unwrap();
        record.recorded.keep(());
    });
    let command = "trap '' TERM HUP INT; (trap '' TERM HUP INT; sleep 1000 & wait) & touch begun; sleep 1000";
    let run = ToolRun {
        call: ToolCall {
            id: CallId::UNNUMBERED,
            wire_id: None,
            name: "bash".into(),
            arguments: "{}".into(),
            complete: true,
            extra: Map::new(),
        },
        tool: Arc::new(bash),
        effect: Effect::Write,
        arguments: json!({ "command": command }).as_object().unwrap().clone(),
        context: ToolContext::new(parts),
        timeout: limit,
        report: Promise::new(move |outcome| sender.send(outcome).unwrap()),
    };
    let session = session.get_cell();
    let handle = ToolActor::spawn(name.to_owned(), run, session.clone(), &scope).unwrap();
    let group = timeout(SOON, group).await.unwrap().unwrap();
    Running { handle, scope, group, report, _session: session, _folder: folder }
}

impl Running {
    /// The world outside tells of itself only when asked.
    async fn begun(&self) {
        let deadline = Instant::now() + SOON;
        while !self._folder.path().join("begun").exists() {
            assert!(Instant::now() < deadline, "the command begins");
            sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Whether any process of the group lives; zombies do not.
fn is_alive(group: i32) -> bool {
    let lives = |path: &Path| {
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        fields.len() > 2 && fields[2].parse() == Ok(group) && !matches!(fields[0], "Z" | "X")
    };
    fs::read_dir("/proc").unwrap().flatten().any(|entry| lives(&entry.path()))
}

#[tokio::test]
async fn a_killed_tool_actor_takes_its_shell_with_it() {
    let running = start("under-actor/kill", SOON).await;
    running.begun().await;
    assert!(is_alive(running.group));
    running.handle.cell.kill();
    assert_eq!(timeout(SOON, running.report).await.unwrap().unwrap(), None);
    timeout(SOON, running.scope.drained()).await.unwrap();
    assert!(!is_alive(running.group));
}

#[tokio::test]
async fn a_drained_scope_takes_the_shell_with_it() {
    let running = start("under-actor/drain", SOON).await;
    running.begun().await;
    assert!(running.scope.drain(SOON).await.is_empty());
    assert!(!is_alive(running.group));
    assert_eq!(timeout(SOON, running.report).await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn the_calls_timeout_ends_the_shell_also_when_its_own_is_longer() {
    let running = start("under-actor/timeout", Duration::from_secs(3)).await;
    let outcome = timeout(SOON, running.report).await.unwrap().unwrap().unwrap();
    assert!(outcome.is_error && outcome.synthetic, "{outcome:?}");
    timeout(SOON, running.scope.drained()).await.unwrap();
    assert!(!is_alive(running.group));
}

#[tokio::test]
async fn an_interrupt_is_reported_by_the_shell_itself() {
    let running = start("under-actor/interrupt", SOON).await;
    running.begun().await;
    running.handle.cancel();
    let outcome = timeout(SOON, running.report).await.unwrap().unwrap().unwrap();
    assert!(outcome.is_error && !outcome.synthetic, "{outcome:?}");
    assert!(!is_alive(running.group));
}
