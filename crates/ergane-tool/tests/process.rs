//! Process groups, with real shells.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ergane_tool::{GROUP_VARIABLE, GroupEnd, ToolContext, group_identity, kill_left_behind, process_started};

/// A group: a shell that starts a sleeping child, says the child's number, and waits or (with `dies`) ends.
struct Group {
    leader: Child,
    id: i32,
    started: u64,
    member: i32,
}

impl Group {
    fn start(dies: bool, marked: bool) -> Self {
        let end = if dies { "exit 0" } else { "wait" };
        let body = format!("sleep 1000 >/dev/null & echo $!; {end}");
        // As the tools do it: the leader itself begins with the variable, so that what it forks has it from the first.
        let mark = format!("export {GROUP_VARIABLE}=$$:$(cut -d' ' -f22 /proc/$$/stat); exec sh -c '{body}'");
        let script = if marked { mark } else { body };
        let mut leader = Command::new("sh")
            .args(["-c", &script])
            .env_remove(GROUP_VARIABLE)
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let id = leader.id().cast_signed();
        // A zombie still tells; it is not waited for before `reap`.
        let started = process_started(id).unwrap();
        let mut line = String::new();
        BufReader::new(leader.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { leader, id, started, member: line.trim().parse().unwrap() }
    }

    fn reap(&mut self) {
        self.leader.wait().unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for pid in [self.member, self.id] {
            Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
        }
        self.reap();
    }
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_group_with_its_leader_is_killed_as_a_whole_and_gone_at_the_return() {
    let group = Group::start(false, false);
    assert!(is_alive(group.id) && is_alive(group.member));
    assert!(kill_left_behind(group.id, group.started));
    assert!(!is_alive(group.id) && !is_alive(group.member));
    assert!(kill_left_behind(group.id, group.started), "nothing left is well, too");
}

#[test]
fn a_process_that_started_at_another_time_is_another_one_and_is_left_alone() {
    let group = Group::start(false, true);
    assert!(kill_left_behind(group.id, group.started + 1));
    assert!(is_alive(group.id) && is_alive(group.member));
}

#[test]
fn members_of_a_dead_leader_are_known_by_their_environment() {
    let mut group = Group::start(true, true);
    group.reap();
    assert_eq!(process_started(group.id), None);
    assert!(is_alive(group.member));
    assert!(kill_left_behind(group.id, group.started + 1), "another group's identity");
    assert!(is_alive(group.member));
    assert!(kill_left_behind(group.id, group.started));
    assert!(!is_alive(group.member));
}

#[test]
fn a_process_that_cannot_be_proven_to_be_of_the_group_is_left_alone() {
    let mut group = Group::start(true, false);
    group.reap();
    assert!(kill_left_behind(group.id, group.started));
    assert!(is_alive(group.member));
}

#[test]
fn numbers_that_are_no_group_are_nothing_to_kill() {
    for group in [i32::MIN, -5, -1, 0, 1, i32::MAX] {
        assert!(kill_left_behind(group, 1));
    }
    assert_eq!(group_identity(7, 99), "7:99");
    assert_eq!(process_started(-1), None);
}

#[tokio::test]
async fn a_guard_kills_its_group_when_dropped_and_the_scope_waits_for_that() {
    let group = Group::start(false, false);
    let ctx = ToolContext::for_test("/");
    drop(ctx.guard_group(group.id, group.started));
    assert!(ctx.scope().drain(Duration::from_secs(30)).await.is_empty());
    assert!(!is_alive(group.id) && !is_alive(group.member));
}

#[tokio::test]
async fn a_drained_scope_kills_the_group_although_its_guard_lives() {
    let group = Group::start(false, false);
    let ctx = ToolContext::for_test("/");
    let guard = ctx.guard_group(group.id, group.started);
    assert!(ctx.scope().drain(Duration::from_secs(30)).await.is_empty());
    assert!(!is_alive(group.id) && !is_alive(group.member));
    drop(guard);
}

#[tokio::test]
async fn ending_a_group_kills_what_its_leader_left_behind_and_says_so() {
    let mut group = Group::start(true, false);
    let ctx = ToolContext::for_test("/");
    let guard = ctx.guard_group(group.id, group.started);
    group.reap();
    assert_eq!(guard.end().await, GroupEnd { lived: true, gone: true });
    assert!(!is_alive(group.member));
    let again = ctx.guard_group(group.id, group.started);
    assert_eq!(again.end().await, GroupEnd { lived: false, gone: true });
    assert_eq!(ctx.scope().alive(), 0, "a guard that has ended leaves nothing in the scope");
}

#[test]
fn a_guard_dropped_outside_of_its_runtime_still_kills() {
    let group = Group::start(false, false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guard = runtime.block_on(async { ToolContext::for_test("/").guard_group(group.id, group.started) });
    drop(runtime);
    drop(guard);
    let deadline = Instant::now() + Duration::from_secs(30);
    while is_alive(group.id) || is_alive(group.member) {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}
