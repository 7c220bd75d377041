//! `bash` with real shells: what it returns, and what is left of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Folder, text};
use ergane_tool::{
    ContextParts, Effect, ProcessRecord, ProcessSink, ProgressSink, Tool, ToolContext, ToolError,
    kill_left_behind,
};
use ergane_tools::{bash, confines_writes};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(60);

/// Waits for the world outside, which tells of itself only when asked.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(2)).await;
    }
}

fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The number in the file, once it is written whole.
async fn pid_in(path: &Path) -> i32 {
    let read = || fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'));
    until("the command wrote its number", || read().is_some()).await;
    read().unwrap().trim().parse().unwrap()
}

fn arguments(command: &str) -> Map<String, Value> {
    let Value::Object(arguments) = json!({ "command": command }) else { unreachable!() };
    arguments
}

/// A context whose process groups are handed to the test.
fn recorded(folder: &Folder) -> (ToolContext, mpsc::UnboundedReceiver<ProcessRecord>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut parts = ContextParts::for_test(&folder.path);
    parts.processes = ProcessSink::new(move |record| sender.send(record).unwrap());
    (ToolContext::new(parts), receiver)
}

#[tokio::test]
async fn a_command_returns_its_code_and_both_outputs_in_order() {
    let folder = Folder::new();
    let run = async |command: &str| folder.text(&bash, json!({ "command": command })).await;
    assert_eq!(run("echo one; echo two >&2; echo three").await, "exit 0\none\ntwo\nthree\n");
    assert_eq!(run("exit 3").await, "exit 3\n");
    assert_eq!(run("kill -9 $$").await, "exit 137\n[killed by signal 9]");
    assert_eq!(run("no-such-program-here").await.lines().next(), Some("exit 127"));
    assert_eq!(run("[[ abc == a* ]] && printf 'it is bash'").await, "exit 0\nit is bash");
    assert_eq!(run("pwd").await, format!("exit 0\n{}\n", folder.path.display()));
    assert_eq!(run("cat; echo end").await, "exit 0\nend\n", "there is no input");
    assert_eq!(run("echo out > /dev/stdout; echo err > /dev/stderr").await, "exit 0\nout\nerr\n");
    assert_eq!((bash.name(), bash.effect()), ("bash", Effect::Write));
    assert!(bash.timeout().unwrap() > Duration::from_secs(600));
}

#[tokio::test]
async fn a_command_that_makes_no_sense_is_refused() {
    let folder = Folder::new();
    for (arguments, path) in [
        (json!({ "command": " \n" }), "`command`"),
        (json!({ "command": "a\0b" }), "`command`"),
        (json!({ "command": "x", "timeout_ms": 0 }), "`timeout_ms`"),
        (json!({ "command": "x", "timeout_ms": 600_001 }), "`timeout_ms`"),
    ] {
        let error = folder.error(&bash, arguments).await;
        assert!(error.starts_with("bad arguments at ") && error.contains(path), "{error}");
    }
    let long = format!("true {}", "x".repeat(200_000));
    let error = folder.error(&bash, json!({ "command": long })).await;
    assert!(error.contains("the command is too long"), "{error}");
    let gone = ToolContext::for_test("/does/not/exist");
    assert!(bash.call(gone, arguments("true")).await.unwrap_err().to_string().contains("/does/not/exist"));
}

#[tokio::test]
async fn a_flood_keeps_its_head_and_tail_and_a_command_may_end_it() {
    let folder = Folder::new();
    let command = "echo first; yes | head -c 50000000; echo last";
    let text = folder.text(&bash, json!({ "command": command })).await;
    assert!(text.starts_with("exit 0\nfirst\ny\ny\n") && text.ends_with("y\nlast\n"));
    assert!(text.contains("bytes of output were cut here …]"), "{}", text.len());
    assert!(text.chars().count() < 30_200);
}

#[tokio::test]
async fn output_that_is_no_utf8_is_replaced_and_said_so() {
    let folder = Folder::new();
    let text = folder.text(&bash, json!({ "command": r"printf 'caf\351\n'" })).await;
    assert!(text.starts_with("exit 0\ncaf\u{fffd}\n[the output is not all valid UTF-8"), "{text}");
}

#[tokio::test]
async fn output_is_shown_while_it_comes() {
    let folder = Folder::new();
    let seen = Arc::new(Mutex::new(String::new()));
    let seen_too = seen.clone();
    let mut parts = ContextParts::for_test(&folder.path);
    parts.progress = ProgressSink::new(move |piece| seen_too.lock().unwrap().push_str(&piece.text));
    // It goes on when the test has seen its output, so the output came while it ran.
    let command = "echo halfway; until [ -e go ]; do sleep 0.01; done; echo end";
    let running = tokio::spawn(bash.call(ToolContext::new(parts), arguments(command)));
    until("progress is shown", || seen.lock().unwrap().contains("halfway")).await;
    folder.write("go", "");
    let output = timeout(SOON, running).await.unwrap().unwrap().unwrap();
    assert_eq!(text(&output), "exit 0\nhalfway\nend\n");
    assert_eq!(*seen.lock().unwrap(), "halfway\nend\n");
}

/// Whether any process of the group lives.
fn group_is_alive(group: i32) -> bool {
    let in_group = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
        fields.is_some_and(|fields| fields[2].parse() == Ok(group))
    };
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.into_iter().any(|pid: i32| in_group(pid) && is_alive(pid))
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_all_it_started() {
    let folder = Folder::new();
    let (ctx, mut records) = recorded(&folder);
    let mut arguments = arguments("trap '' TERM HUP; (trap '' TERM HUP; sleep 1000 & wait) & sleep 1000");
    arguments.insert("timeout_ms".to_owned(), 700.into());
    let running = tokio::spawn(bash.call(ctx, arguments));
    let record = timeout(SOON, records.recv()).await.unwrap().unwrap();
    let group = record.group;
    record.recorded.keep(());
    let output = timeout(SOON, running).await.unwrap().unwrap().unwrap();
    assert!(output.is_error);
    assert!(text(&output).starts_with("timed out after 700 ms and was killed with its process group"));
    assert!(!group_is_alive(group));
}

#[tokio::test]
async fn an_interrupted_command_is_killed_and_what_it_said_is_kept() {
    let folder = Folder::new();
    let command = "trap '' TERM INT HUP; echo before; echo $$ > pid; sleep 1000";
    let running = tokio::spawn(bash.call(folder.ctx.clone(), arguments(command)));
    let pid = pid_in(&folder.path.join("pid")).await;
    folder.ctx.cancel_token().cancel();
    let output = timeout(SOON, running).await.unwrap().unwrap().unwrap();
    assert!(output.is_error && text(&output).starts_with("interrupted and killed"), "{output:?}");
    assert!(text(&output).ends_with("\nbefore\n"), "{output:?}");
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_dropped_call_takes_its_group_with_it_and_the_scope_waits_for_that() {
    let folder = Folder::new();
    let command = "sleep 1000 & echo $! > child; echo $$ > pid; wait";
    let running = tokio::spawn(bash.call(folder.ctx.clone(), arguments(command)));
    let pid = pid_in(&folder.path.join("pid")).await;
    let child = pid_in(&folder.path.join("child")).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert!(folder.ctx.scope().drain(SOON).await.is_empty());
    assert!(!is_alive(pid) && !is_alive(child));
}

#[tokio::test]
async fn what_a_command_leaves_in_the_background_ends_with_it() {
    let folder = Folder::new();
    for hides in ["sleep 1000 >/dev/null 2>&1 & echo $! > pid", "env -i sleep 1000 & echo $! > pid"] {
        let said = folder.text(&bash, json!({ "command": format!("{hides}; echo started") })).await;
        assert_eq!(said, "exit 0\nstarted\n[processes left in the background were ended]", "{hides}");
        assert!(!is_alive(pid_in(&folder.path.join("pid")).await), "{hides}");
        fs::remove_file(folder.path.join("pid")).unwrap();
    }
}

#[tokio::test]
async fn a_command_does_not_begin_before_its_group_is_recorded() {
    let folder = Folder::new();
    let (ctx, mut records) = recorded(&folder);
    let mut running = tokio::spawn(bash.call(ctx, arguments("touch began; echo $ERGANE_PROCESS_GROUP")));
    let record = timeout(SOON, records.recv()).await.unwrap().unwrap();
    assert!(is_alive(record.group), "the waiting shell is there");
    assert_eq!(ergane_tool::process_started(record.group), Some(record.leader_started));
    // However long the journal takes, it waits; this long is only to give a wrong one time to show itself.
    assert!(timeout(Duration::from_millis(300), &mut running).await.is_err());
    assert!(!folder.path.join("began").exists());
    let identity = format!("{}:{}", record.group, record.leader_started);
    record.recorded.keep(());
    let output = timeout(SOON, running).await.unwrap().unwrap().unwrap();
    assert_eq!(text(&output), format!("exit 0\n{identity}\n"));
    assert!(folder.path.join("began").exists());
}

#[tokio::test]
async fn a_command_whose_group_cannot_be_recorded_is_never_run() {
    let folder = Folder::new();
    let (ctx, mut records) = recorded(&folder);
    let running = tokio::spawn(bash.call(ctx, arguments("touch began")));
    let record = timeout(SOON, records.recv()).await.unwrap().unwrap();
    let group = record.group;
    drop(record);
    let error = timeout(SOON, running).await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains("so it was not run"), "{error}");
    until("the waiting shell is gone", || !is_alive(group)).await;
    assert!(!folder.path.join("began").exists());
}

#[tokio::test]
async fn an_interrupt_before_the_word_runs_nothing() {
    let folder = Folder::new();
    let (ctx, mut records) = recorded(&folder);
    let running = tokio::spawn(bash.call(ctx.clone(), arguments("touch began")));
    let record = timeout(SOON, records.recv()).await.unwrap().unwrap();
    ctx.cancel_token().cancel();
    assert_eq!(timeout(SOON, running).await.unwrap().unwrap().unwrap_err(), ToolError::Cancelled);
    until("the waiting shell is gone", || !is_alive(record.group)).await;
    record.recorded.keep(());
    assert!(!folder.path.join("began").exists());
}

#[tokio::test]
async fn recovery_finds_and_kills_a_running_command_by_its_record() {
    let folder = Folder::new();
    let (ctx, mut records) = recorded(&folder);
    let command = "sleep 1000 & echo $! > pid; wait";
    let running = tokio::spawn(bash.call(ctx, arguments(command)));
    let record = timeout(SOON, records.recv()).await.unwrap().unwrap();
    let (group, started) = (record.group, record.leader_started);
    record.recorded.keep(());
    let pid = pid_in(&folder.path.join("pid")).await;
    assert!(tokio::task::spawn_blocking(move || kill_left_behind(group, started)).await.unwrap());
    assert!(!is_alive(pid) && !is_alive(group));
    let output = timeout(SOON, running).await.unwrap().unwrap().unwrap();
    assert!(text(&output).starts_with("exit 137\n[killed by signal 9]"), "{output:?}");
}

/// The child of the next test: begins a command whose group is never recorded, and says which group.
#[test]
fn child_that_is_killed_before_the_word() {
    let Ok(path) = std::env::var("ERGANE_TEST_KILLED_CHILD") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut parts = ContextParts::for_test(&path);
        let file = Path::new(&path).join("group");
        parts.processes = ProcessSink::new(move |record| {
            fs::write(&file, format!("{}\n", record.group)).unwrap();
            std::mem::forget(record);
        });
        bash.call(ToolContext::new(parts), arguments("touch began")).await.unwrap();
    });
}

#[tokio::test]
async fn when_the_process_is_killed_before_the_word_the_command_never_runs() {
    let folder = Folder::new();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed_before_the_word", "--nocapture"])
        .env("ERGANE_TEST_KILLED_CHILD", &folder.path)
        // What it cannot remove any more goes with the test's folder.
        .env("TMPDIR", folder.outside())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let group = pid_in(&folder.path.join("group")).await;
    assert!(is_alive(group));
    child.kill().unwrap();
    child.wait().unwrap();
    until("the waiting shell ends by itself", || !is_alive(group)).await;
    assert!(!folder.path.join("began").exists());

    // Its temporary folder is nobody's now, and goes when it is old, with the first command of a later process.
    let left = || -> Vec<_> {
        let entries = fs::read_dir(folder.outside()).unwrap().map(|entry| entry.unwrap().path());
        let is_one = |path: &std::path::PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ergane-p"))
        };
        entries.filter(is_one).collect()
    };
    let later = || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_runs_one_command", "--nocapture"])
            .env("ERGANE_TEST_LATER_CHILD", &folder.path)
            .env("TMPDIR", folder.outside())
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap()
    };
    let orphan = left();
    assert_eq!(orphan.len(), 1, "{orphan:?}");
    assert!(later().success());
    assert_eq!(left(), orphan, "it is too young to be surely nobody's");
    let old = std::time::SystemTime::now() - Duration::from_secs(120);
    fs::File::open(&orphan[0]).unwrap().set_modified(old).unwrap();
    assert!(later().success());
    assert_eq!(left(), Vec::<std::path::PathBuf>::new());
}

/// Another child of the test before: what comes after the one that was killed.
#[test]
fn child_that_runs_one_command() {
    let Ok(path) = std::env::var("ERGANE_TEST_LATER_CHILD") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let output = runtime.block_on(bash.call(ToolContext::for_test(&path), arguments("echo done")));
    assert!(text(&output.unwrap()).contains("done"));
}

#[tokio::test]
async fn the_temporary_folder_is_private_writable_and_gone_afterwards() {
    let folder = Folder::new();
    let said = folder
        .text(
            &bash,
            json!({ "command": "echo $TMPDIR; stat -c %a $TMPDIR; echo x > $TMPDIR/x; mktemp; echo $$" }),
        )
        .await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines[2]), ("exit 0", "700"), "{said}");
    assert!(lines[3].starts_with(lines[1]), "{said}");
    assert!(lines[1].contains(&format!("/ergane-{}.", lines[4])), "its name tells whose it is: {said}");
    until("the temporary folder is removed", || !Path::new(lines[1]).exists()).await;
}

#[tokio::test]
async fn a_command_writes_in_the_sessions_folders_only() {
    // The kernel enforces it only where it has Landlock; elsewhere there is nothing to see.
    let enforced = confines_writes();
    let folder = Folder::new();
    let more = folder.outside().join("more");
    fs::create_dir(&more).unwrap();
    fs::write(folder.outside().join("readable"), "still readable\n").unwrap();
    let mut parts = ContextParts::for_test(&folder.path);
    parts.extra_roots = vec![more.clone()];
    let command = "echo a > inside && mkdir -p d/e && mv inside d/e/ && ln -s x d/link && rm d/link && echo a > ../more/a && \
                   echo gone > /dev/null && cat ../readable && bash -c 'echo nested > nested' && ls d/e; \
                   echo a > ../outside; bash -c 'echo a > ../outside'; rm ../readable";
    let output = bash.call(ToolContext::new(parts), arguments(command)).await.unwrap();
    let said = text(&output);
    assert!(said.contains("still readable\ninside\n"), "{said}");
    assert!(folder.path.join("nested").exists() && more.join("a").exists());
    assert_eq!(folder.outside().join("outside").exists(), !enforced, "{said}");
    assert_eq!(folder.outside().join("readable").exists(), enforced, "{said}");
    // This process itself is as free as before: the confinement ended with its thread.
    fs::write(folder.outside().join("outside"), "x").unwrap();
}

#[tokio::test]
async fn people_see_how_a_command_ended_how_long_it_took_and_how_much_it_said() {
    let folder = Folder::new();
    let ui = async |arguments: Value| folder.call(&bash, arguments).await.unwrap().ui.unwrap();
    let shown = ui(json!({ "command": "printf 12345; exit 3" })).await;
    assert_eq!((&shown["kind"], &shown["data"]["ended"]), (&json!("command"), &json!("exit")));
    assert_eq!((&shown["data"]["code"], &shown["data"]["bytes"]), (&json!(3), &json!(5)));
    assert!(shown["data"]["ms"].is_u64());
    let shown = ui(json!({ "command": "sleep 1000", "timeout_ms": 50 })).await;
    assert_eq!((&shown["data"]["ended"], &shown["data"]["code"]), (&json!("timeout"), &Value::Null));
}

#[tokio::test]
async fn a_command_does_not_see_what_the_session_hides() {
    let folder = Folder::new();
    let mut parts = ContextParts::for_test(&folder.path);
    parts.hidden_env = vec!["PATH".to_owned()];
    let output = bash.call(ToolContext::new(parts), arguments("env")).await.unwrap();
    // bash makes up a PATH when it is given none, and does not pass it on.
    assert!(!text(&output).lines().any(|line| line.starts_with("PATH=")), "{}", text(&output));
    assert!(folder.text(&bash, json!({ "command": "env" })).await.contains("\nPATH="));
}
