//! Whatever ends the call of a shell ends the shell, and before that nothing else happens: no result is told, no stop
//! returns, no successor acts.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::fs;

use common::*;
use ergane::prelude::*;
use tokio::task::JoinHandle;

/// A session whose shell runs: it does not mind being asked to end, and has a child that does not either.
struct Busy {
    system: System,
    alice: Session,
    questions: Questions,
    turn: JoinHandle<Result<TurnResult, SessionError>>,
    group: i32,
    _folder: tempfile::TempDir,
}

const COMMAND: &str = "trap '' TERM HUP INT; (trap '' TERM HUP INT; sleep 1000 & wait) & \
                       touch shell; sleep 1000";

impl Busy {
    async fn new(limit: Option<u32>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (model, mut questions) = model();
        // In memory: what is shown here does not hang on a disk that others keep busy.
        let system = system_with(&model, Tools::all().into_iter().collect()).await;
        let alice = system.session("alice").cwd(folder.path()).start().await.unwrap();
        let turn = sending(&alice, "go");
        questions.next().await.call(&[("bash", json!({ "command": COMMAND, "timeout_ms": limit }))]);
        let fact =
            async || log(&system, &alice).await.into_iter().find(|fact| fact["type"] == "tool_process");
        until("its group is a fact", async || fact().await.is_some()).await;
        let group = fact().await.unwrap()["group"].as_i64().unwrap().try_into().unwrap();
        // One that has a limit may be at it before it has done anything.
        if limit.is_none() {
            let shell = folder.path().join("shell");
            until("the shell runs", async || shell.exists()).await;
        }
        Self { system, alice, questions, turn, group, _folder: folder }
    }
}

/// Whether any process of the group lives; zombies do not.
fn is_alive(group: i32) -> bool {
    let lives = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        fields.len() > 2 && fields[2].parse() == Ok(group) && !matches!(fields[0], "Z" | "X")
    };
    fs::read_dir("/proc").unwrap().flatten().any(lives)
}

#[tokio::test]
async fn a_timeout_is_told_when_the_shell_is_gone() {
    let mut busy = Busy::new(Some(1000)).await;
    let asked = busy.questions.next().await;
    assert!(!is_alive(busy.group));
    assert!(asked.results()[0].contains("timed out after 1000 ms"), "{:?}", asked.results());
    asked.answer("I see");
    assert_eq!(result(busy.turn).await.finish_reason, FinishReason::Stop);
}

#[tokio::test]
async fn an_interrupted_turn_ends_when_its_shell_is_gone() {
    let busy = Busy::new(None).await;
    assert!(busy.alice.interrupt("never mind").await.unwrap());
    assert_eq!(result(busy.turn).await.finish_reason, FinishReason::Interrupted);
    assert!(!is_alive(busy.group));
}

#[tokio::test]
async fn a_stop_returns_when_the_shell_is_gone() {
    let busy = Busy::new(None).await;
    busy.alice.stop().await.unwrap();
    assert!(!is_alive(busy.group));
}

#[tokio::test]
async fn a_shutdown_returns_when_the_shell_is_gone() {
    let busy = Busy::new(None).await;
    busy.system.shutdown(LONG).await.unwrap();
    assert!(!is_alive(busy.group));
}

#[tokio::test]
async fn a_killed_session_is_back_when_the_shell_is_gone_and_the_model_is_told_that_its_effect_is_unknown() {
    let mut busy = Busy::new(None).await;
    busy.alice.actor_ref().unwrap().kill();
    let asked = busy.questions.next().await;
    assert!(!is_alive(busy.group));
    assert!(asked.results()[0].contains("effect is unknown"), "{:?}", asked.results());
    asked.answer("I will look");
    assert!(result(busy.turn).await.recovered);
}

#[tokio::test]
async fn a_killed_call_is_an_error_result_and_its_shell_is_gone_with_its_session_at_the_latest() {
    let mut busy = Busy::new(None).await;
    let names: Vec<String> = ergane::ractor::registry::registered();
    // With the slash: another test's system is named alike, with a number behind.
    let system = format!("{}/", busy.system.name());
    let tool = names.iter().find(|name| name.starts_with(&system) && name.contains("#tool/"));
    ergane::ractor::registry::where_is(tool.unwrap().clone()).unwrap().kill();
    let asked = busy.questions.next().await;
    assert!(asked.results()[0].contains("was killed before it gave a result"), "{:?}", asked.results());
    asked.answer("I see");
    result(busy.turn).await;
    busy.alice.stop().await.unwrap();
    assert!(!is_alive(busy.group));
}
