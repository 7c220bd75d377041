//! Folders that belong to one process group alone, found again by whoever ends that group.
//!
//! A tool that gives a group a folder of its own removes it when the call is over. A process that is killed removes nothing.
//! But the group is a recorded fact, so from then on the folder bears the group's identity in its name, and recovery needs no
//! other record of it. Until then it bears that of the process that made it, and as nothing runs in it yet, it may go as soon
//! as that process is no more.

use std::fs::DirEntry;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::process::process_started;

/// A folder of a process that is no more may go when it is older. In a place that several machines share, or several
/// namespaces of processes, nobody sees the others' processes; but in so much time each of them has named its folder.
const OLD: Duration = Duration::from_secs(60);

const MAKERS: &str = "ergane-p";

/// How the name of a folder begins that belongs to this group alone. It goes on with something that nobody can foresee.
///
/// ```
/// assert_eq!(ergane_tool::private_folder_prefix(4711, 99), "ergane-4711.99-");
/// ```
pub fn private_folder_prefix(group: i32, leader_started: u64) -> String {
    format!("ergane-{group}.{leader_started}-")
}

/// How the name of such a folder begins until its group is recorded. It tells the present process, so that another one
/// knows when it is no more.
pub fn unclaimed_folder_prefix() -> String {
    let pid = std::process::id();
    format!("{MAKERS}{pid}.{}-", i32::try_from(pid).ok().and_then(process_started).unwrap_or(0))
}

/// Removes what was left of the group's folders in the folder for temporary files. It blocks.
pub(crate) fn remove_left_behind(group: i32, leader_started: u64) {
    let prefix = private_folder_prefix(group, leader_started);
    remove(&std::env::temp_dir(), |entry| entry.file_name().to_string_lossy().starts_with(&prefix));
}

/// Removes from the folder for temporary files what processes that were killed have left there before any group was
/// recorded. It blocks.
pub fn remove_unclaimed_folders() {
    remove(&std::env::temp_dir(), |entry| is_unclaimed(entry, OLD));
}

fn is_unclaimed(entry: &DirEntry, old: Duration) -> bool {
    let name = entry.file_name().to_string_lossy().into_owned();
    let maker = name.strip_prefix(MAKERS).and_then(|rest| rest.split_once('-')).and_then(|(maker, _)| {
        let (pid, started) = maker.split_once('.')?;
        Some((pid.parse::<i32>().ok()?, started.parse::<u64>().ok()?))
    });
    // 0 is a start that the system does not tell; then nobody knows whether that process lives.
    let is_over = maker.is_some_and(|(pid, started)| started > 0 && process_started(pid) != Some(started));
    let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
    is_over && age().is_some_and(|age| age >= old)
}

/// Removes the folders in `place` that are `meant`. No links, and nothing of another user's: in such a place anybody may
/// make what he likes.
fn remove(place: &Path, meant: impl Fn(&DirEntry) -> bool) {
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries.filter_map(io::Result::ok),
        Err(error) => return tracing::debug!(%error, "the folder for temporary files cannot be looked at"),
    };
    for entry in entries {
        // The type of what is there, not of what it leads to.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder
            && meant(&entry)
            && is_ours(&entry)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::debug!(folder = %entry.path().display(), %error, "a folder left behind stays there");
        }
    }
}

#[cfg(unix)]
fn is_ours(entry: &DirEntry) -> bool {
    use std::os::unix::fs::MetadataExt;
    entry.metadata().is_ok_and(|folder| folder.uid() == rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn is_ours(_: &DirEntry) -> bool {
    false // there are no process groups
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    /// A place with these folders, and what is left there.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str, folders: &[&str]) -> Self {
            let place = std::env::temp_dir().join(format!("private-folders-{name}-{}", std::process::id()));
            folders.iter().for_each(|folder| fs::create_dir_all(place.join(folder)).unwrap());
            Self(place)
        }

        fn left(&self) -> Vec<String> {
            let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name());
            let mut left: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
            left.sort();
            left
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn only_the_folders_of_that_group_are_removed_and_no_link_is_followed() {
        let folders = ["ergane-7.99-abc/deep", "ergane-7.990-abc", "ergane-77.99-abc", "ergane-abc", "kept"];
        let place = Place::new("group", &folders);
        let at = |name: &str| place.0.join(name);
        fs::write(at("ergane-7.99-abc/deep/file"), "x").unwrap();
        fs::write(at("ergane-7.99-file"), "x").unwrap();
        std::os::unix::fs::symlink(at("kept"), at("ergane-7.99-link")).unwrap();
        std::os::unix::fs::symlink(at("kept"), at("ergane-7.99-abc/link")).unwrap();
        fs::write(at("kept/file"), "x").unwrap();
        let prefix = private_folder_prefix(7, 99);
        remove(&place.0, |entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        let expected = [
            "ergane-7.99-file",
            "ergane-7.99-link",
            "ergane-7.990-abc",
            "ergane-77.99-abc",
            "ergane-abc",
            "kept",
        ];
        assert_eq!(place.left(), expected);
        assert!(at("kept/file").exists());
    }

    #[test]
    fn a_folder_without_a_group_goes_when_its_maker_is_no_more_and_it_is_old() {
        let own = format!("{}abc", unclaimed_folder_prefix());
        // That process has another start, so it is another one.
        let dead = format!("ergane-p{}.1-abc", std::process::id());
        let untold = format!("ergane-p{}.0-abc", std::process::id());
        let place =
            Place::new("maker", &[&own, &dead, &untold, "ergane-7.99-abc", "ergane-px.1-abc", "ergane-p7"]);
        remove(&place.0, |entry| is_unclaimed(entry, OLD));
        assert_eq!(place.left().len(), 6, "all are new");
        remove(&place.0, |entry| is_unclaimed(entry, Duration::ZERO));
        assert_eq!(place.left().len(), 5);
        assert!(!place.left().contains(&dead));
    }
}
