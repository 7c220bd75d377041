//! A file's content put in its place in one step.
//!
//! A reader sees the old content or the new one, and so does whoever looks after a crash: the new content is written to a
//! file beside it, made durable, and only then gets the name. All of it happens in one open folder, so it cannot end
//! elsewhere; and what has the name is replaced and not written through, should it be a link by now.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Mode;

use crate::handles::Folder;

/// Makes the names of such files differ within this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A durable content that has no place yet. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Beside<'a> {
    folder: &'a Folder,
    /// Taken when it has its place.
    name: Option<OsString>,
}

impl<'a> Beside<'a> {
    /// Writes `content` beside the file that it is for, with the mode and the owner of `old`, which is in that place.
    pub(crate) fn write(folder: &'a Folder, old: Option<&Metadata>, content: &[u8]) -> io::Result<Self> {
        // The mode of a new file is what the process gives to new files. One in place of another may be read by nobody
        // before it has that one's.
        let (name, mut file) =
            new_file(folder, Mode::from_raw_mode(if old.is_some() { 0o600 } else { 0o666 }))?;
        let beside = Self { folder, name: Some(name) };
        file.write_all(content)?;
        if let Some(old) = old {
            make_like(&file, old)?;
        }
        file.sync_all()?;
        Ok(beside)
    }

    /// Puts it in its place.
    pub(crate) fn take_the_place_of(mut self, name: &OsStr) -> io::Result<()> {
        if let Some(own) = &self.name {
            self.folder.rename(own, name)?;
        }
        self.name = None;
        // The content is safe; only the name could still be lost with the power, and only where a folder cannot be synced.
        if let Err(error) = self.folder.sync() {
            tracing::debug!(%error, "a folder could not be synced");
        }
        Ok(())
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name
            && let Err(error) = self.folder.remove(name)
        {
            tracing::debug!(%error, name = %name.display(), "a file that found no place could not be removed");
        }
    }
}

fn new_file(folder: &Folder, mode: Mode) -> io::Result<(OsString, File)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = OsString::from(format!(".ergane-{:x}-{now:x}-{number:x}.tmp", std::process::id()));
        match folder.new_file(&name, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return Ok((name, made?)),
        }
    }
}

fn make_like(file: &File, old: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid())
        && let Err(error) = fchown(file, Some(old.uid()), Some(old.gid()))
    {
        // Only root may give files away. For others it is theirs now, as with every editor that works like this.
        tracing::debug!(%error, "the owner of a file could not be kept");
    }
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn names(path: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_finds_no_place_is_removed_and_the_file_stays_as_it_was() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "old").unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let beside = Beside::write(&folder, None, b"new").unwrap();
        assert_eq!(names(temp.path()).len(), 2);
        drop(beside);
        assert_eq!(names(temp.path()), ["file"]);
        assert_eq!(fs::read_to_string(temp.path().join("file")).unwrap(), "old");
        fs::create_dir(temp.path().join("folder")).unwrap();
        let beside = Beside::write(&folder, None, b"new").unwrap();
        assert!(beside.take_the_place_of(OsStr::new("folder")).is_err());
        assert_eq!(names(temp.path()), ["file", "folder"]);
    }

    #[test]
    fn a_link_that_came_in_its_place_meanwhile_is_replaced_and_not_written_through() {
        let temp = tempfile::tempdir().unwrap();
        let (inside, outside) = (temp.path().join("in"), temp.path().join("out"));
        fs::create_dir_all(&inside).unwrap();
        fs::write(&outside, "untouched").unwrap();
        let folder = Folder::open(&inside).unwrap();
        let beside = Beside::write(&folder, None, b"new").unwrap();
        symlink(&outside, inside.join("file")).unwrap();
        beside.take_the_place_of(OsStr::new("file")).unwrap();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
        assert!(inside.join("file").symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read_to_string(inside.join("file")).unwrap(), "new");
    }
}
