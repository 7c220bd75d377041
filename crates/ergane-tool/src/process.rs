//! Process groups that do not outlive their call.
//!
//! A shell's grandchildren are nobody's children, so a tool that starts processes owns a *group*. Three things may end
//! the tool before the group: the future is dropped (timeout, interrupt, a killed session), the session's scope drains,
//! or this whole process dies. The first two are [`ProcessGroup`]'s; the third is recovery's, by [`kill_left_behind`].
//!
//! # How a wrong process is never killed
//!
//! Numbers of processes are used again, but not while a process or a group bears them. So while the leader is there (a
//! zombie is, too) and its start time is the recorded one, the group is the recorded one and is killed as a whole. The same
//! goes for a group that this process started and whose leader it has only just waited for: numbers do not come round in
//! an instant. When the leader of a *recorded* group is gone, the number may belong to a later group whose leader is gone as
//! well; then only processes of the group are killed that carry [`GROUP_VARIABLE`] with the recorded identity in their environment, which they inherit from
//! the leader, and each by a handle that cannot come to mean another process. When another process has the leader's
//! number, the kernel has proven that nothing is left of the group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ergane_otp::{DrainGuard, Scope};

use crate::at_work::Work;
use crate::private_folder;

/// The variable that tells a member of a recorded group, so that recovery knows it without its leader. Its value is
/// [`group_identity`]. It must be there when the leader's program is executed: what a program sets for itself later, the
/// kernel does not show.
pub const GROUP_VARIABLE: &str = "ERGANE_PROCESS_GROUP";

/// How long a killed group may take to be gone, 5 s. Only a process stuck in the kernel takes longer than an instant.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// The identity of a group: the number, and when its leader started.
pub fn group_identity(group: i32, leader_started: u64) -> String {
    format!("{group}:{leader_started}")
}

/// When the process started, in the kernel's ticks since boot. `None` when there is no such process, or the system does
/// not tell (only Linux does).
pub fn process_started(pid: i32) -> Option<u64> {
    sys::stat(pid).map(|stat| stat.started)
}

/// Kills a process group that an earlier process recorded and left behind, and waits until it is gone, at most 5 s; then
/// removes its [private folders](crate::private_folder_prefix).
/// Returns whether nothing is left of it, also when nothing was left before. It blocks: call it on a thread that may.
///
/// See the module's text on how a wrong process is never killed. Not found are processes that left the group, and those
/// of a dead leader that cleared their environment. Where the system tells no start times (other than Linux), nothing is
/// killed and the answer is whether a group of that number exists.
pub fn kill_left_behind(group: i32, leader_started: u64) -> bool {
    // 0 and below mean other things to kill(2), and 1 leads no group that was ever recorded.
    if group <= 1 {
        return true;
    }
    let gone = Target { group, leader_started, owned: false }.kill_and_wait();
    if gone {
        private_folder::remove_left_behind(group, leader_started);
    }
    gone
}

/// A group and what is known of it.
#[derive(Debug, Clone, Copy)]
struct Target {
    group: i32,
    leader_started: u64,
    /// Whether this process started it.
    owned: bool,
}

/// What can be proven of a group of that number.
enum Proof {
    /// It is the one, as a whole.
    Ours,
    /// It is not, or nothing is left of it.
    Gone,
    /// Only its members with this identity surely are.
    Members(String),
}

impl Target {
    fn proof(self) -> Proof {
        if !sys::exists(self.group) {
            return Proof::Gone;
        }
        match process_started(self.group) {
            Some(started) if started == self.leader_started => Proof::Ours,
            Some(_) => Proof::Gone,
            None if self.owned => Proof::Ours,
            None => Proof::Members(group_identity(self.group, self.leader_started)),
        }
    }

    /// Kills what is surely of the group, without looking whether any of it is alive.
    fn kill(self) {
        match self.proof() {
            Proof::Ours => sys::kill_group(self.group),
            Proof::Gone => {}
            Proof::Members(identity) => sys::kill_members(self.group, &identity),
        }
    }

    /// Whether any of it is alive; zombies are not.
    fn is_alive(self) -> bool {
        match self.proof() {
            Proof::Ours => sys::any_alive(self.group, None),
            Proof::Gone => false,
            Proof::Members(identity) => sys::any_alive(self.group, Some(&identity)),
        }
    }

    fn kill_and_wait(self) -> bool {
        let deadline = Instant::now() + GONE_WITHIN;
        let mut pause = Duration::from_millis(1);
        while self.is_alive() {
            // Each time: a member that was just being forked may have been missed.
            self.kill();
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        true
    }

    /// As [`Target::kill_and_wait`], on a thread that may block.
    async fn kill_and_wait_aside(self) -> bool {
        // The only error is a runtime that shuts down; the kill itself was sent by whoever waits here.
        tokio::task::spawn_blocking(move || self.kill_and_wait()).await.unwrap_or(false)
    }
}

/// Owns a process group: kills it when dropped, and makes the scope it was made in wait until it is gone.
///
/// Once its leader was waited for, end or drop it soon: what bears the number from then on is taken for the group.
///
/// From [`ToolContext::guard_group`](crate::ToolContext::guard_group).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let ctx = ergane_tool::ToolContext::for_test("/tmp");
/// let mut child = tokio::process::Command::new("sleep").arg("60").process_group(0).spawn()?;
/// let pid = i32::try_from(child.id().expect("it runs"))?;
/// let group = ctx.guard_group(pid, ergane_tool::process_started(pid).unwrap_or(0));
/// // While this is held the group lives; let go of, it is killed with all that it started.
/// drop(group);
/// assert!(!child.wait().await?.success());
/// # Ok(())
/// # }
/// ```
#[must_use = "a dropped guard kills the group at once"]
#[derive(Debug)]
pub struct ProcessGroup {
    target: Target,
    /// Taken when all is known to be gone.
    guard: Option<DrainGuard>,
}

impl ProcessGroup {
    pub(crate) fn guard(group: i32, leader_started: u64, scope: &Scope, work: Option<Arc<Work>>) -> Self {
        let target = Target { group, leader_started, owned: true };
        let cleanup = move || async move {
            let _until_it_is_gone = work;
            if !target.kill_and_wait_aside().await {
                tracing::warn!(group, "a process group of a tool does not end although it was killed");
            }
        };
        Self { target, guard: Some(scope.on_drain("process group", cleanup)) }
    }

    /// Kills every process of the group, at once and without waiting.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ctx = ergane_tool::ToolContext::for_test("/tmp");
    /// let mut child = tokio::process::Command::new("sleep").arg("60").process_group(0).spawn()?;
    /// let pid = i32::try_from(child.id().expect("it runs"))?;
    /// let group = ctx.guard_group(pid, ergane_tool::process_started(pid).unwrap_or(0));
    /// group.kill();
    /// assert!(!child.wait().await?.success());
    /// # Ok(())
    /// # }
    /// ```
    pub fn kill(&self) {
        self.target.kill();
    }

    /// Ends what is left of the group and waits until it is gone, at most 5 s. To be called also after the leader ended
    /// by itself: what it started in the background may live on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let ctx = ergane_tool::ToolContext::for_test("/tmp");
    /// let mut child = tokio::process::Command::new("sleep").arg("60").process_group(0).spawn()?;
    /// let pid = i32::try_from(child.id().expect("it runs"))?;
    /// let group = ctx.guard_group(pid, ergane_tool::process_started(pid).unwrap_or(0));
    /// let ended = group.end().await;
    /// assert!(ended.lived && ended.gone, "it was alive, and is no more");
    /// # child.wait().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn end(mut self) -> GroupEnd {
        let lived = self.target.is_alive();
        let gone = self.target.kill_and_wait_aside().await;
        if gone && let Some(guard) = self.guard.take() {
            guard.release();
        }
        GroupEnd { lived, gone }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if self.guard.is_some() {
            // Here and now: the runtime that would run the scope's cleanup may be going down itself.
            self.target.kill();
        }
    }
}

/// How a group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupEnd {
    /// Whether a process of it was still alive and was killed.
    pub lived: bool,
    /// Whether all of it is gone; if not, a process hangs in the kernel.
    pub gone: bool,
}

#[cfg(target_os = "linux")]
mod sys {
    use std::fs;

    use rustix::process::{self, Pid, PidfdFlags, Signal};

    use super::GROUP_VARIABLE;

    pub(super) struct Stat {
        alive: bool,
        group: i32,
        pub(super) started: u64,
    }

    /// `pid (name) state ppid pgrp …`, the name in parentheses and free to hold any others.
    fn parse(stat: &str) -> Option<Stat> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        Some(Stat {
            alive: !matches!(*fields.first()?, "Z" | "X" | "x"),
            group: fields.get(2)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    pub(super) fn stat(pid: i32) -> Option<Stat> {
        parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))
    }

    pub(super) fn exists(group: i32) -> bool {
        // Not permitted still means that there is one.
        Pid::from_raw(group)
            .is_some_and(|pid| process::test_kill_process_group(pid) != Err(rustix::io::Errno::SRCH))
    }

    pub(super) fn kill_group(group: i32) {
        if let Some(pid) = Pid::from_raw(group)
            && let Err(error) = process::kill_process_group(pid, Signal::KILL)
        {
            tracing::debug!(group, %error, "a process group could not be killed: most likely it is gone");
        }
    }

    /// The living processes of the group; with an identity, only those that carry it.
    fn members(group: i32, identity: Option<&str>) -> impl Iterator<Item = i32> {
        let wanted = identity.map(|identity| format!("{GROUP_VARIABLE}={identity}"));
        let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(move |pid| {
            stat(*pid).is_some_and(|stat| stat.alive && stat.group == group)
                && wanted.as_ref().is_none_or(|wanted| carries(*pid, wanted))
        })
    }

    fn carries(pid: i32, wanted: &str) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    }

    pub(super) fn any_alive(group: i32, identity: Option<&str>) -> bool {
        members(group, identity).next().is_some()
    }

    /// Kills the members that carry the identity, each by a handle.
    pub(super) fn kill_members(group: i32, identity: &str) {
        for pid in members(group, Some(identity)) {
            let Some(handle) =
                Pid::from_raw(pid).and_then(|pid| process::pidfd_open(pid, PidfdFlags::empty()).ok())
            else {
                continue;
            };
            // Looked at again: from here on the handle means this very process.
            let wanted = format!("{GROUP_VARIABLE}={identity}");
            if stat(pid).is_some_and(|stat| stat.group == group)
                && carries(pid, &wanted)
                && let Err(error) = process::pidfd_send_signal(&handle, Signal::KILL)
            {
                tracing::debug!(pid, %error, "a process could not be killed: most likely it is gone");
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
            let stat = parse("7 (a) b (c) S 1 42 42 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 991 0 0").unwrap();
            assert_eq!((stat.alive, stat.group, stat.started), (true, 42, 991));
            assert!(!parse("7 (x) Z 1 42 42 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 991 0 0").unwrap().alive);
            assert!(parse("7 (x) S 1").is_none());
        }
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
mod sys {
    use rustix::process::{self, Pid, Signal};

    pub(super) struct Stat {
        pub(super) started: u64,
    }

    pub(super) fn stat(_pid: i32) -> Option<Stat> {
        None
    }

    pub(super) fn exists(group: i32) -> bool {
        Pid::from_raw(group)
            .is_some_and(|pid| process::test_kill_process_group(pid) != Err(rustix::io::Errno::SRCH))
    }

    pub(super) fn kill_group(group: i32) {
        if let Some(pid) = Pid::from_raw(group)
            && let Err(error) = process::kill_process_group(pid, Signal::KILL)
        {
            tracing::debug!(group, %error, "a process group could not be killed: most likely it is gone");
        }
    }

    pub(super) fn any_alive(group: i32, _identity: Option<&str>) -> bool {
        exists(group)
    }

    pub(super) fn kill_members(_group: i32, _identity: &str) {}
}

#[cfg(not(unix))]
mod sys {
    pub(super) struct Stat {
        pub(super) started: u64,
    }

    pub(super) fn stat(_pid: i32) -> Option<Stat> {
        None
    }

    pub(super) fn exists(_group: i32) -> bool {
        false
    }

    pub(super) fn kill_group(_group: i32) {}

    pub(super) fn any_alive(_group: i32, _identity: Option<&str>) -> bool {
        false
    }

    pub(super) fn kill_members(_group: i32, _identity: &str) {}
}
