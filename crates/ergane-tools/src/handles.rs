//! Folders and files by handles, so that what a path meant when it was judged is what is opened.
//!
//! A path is judged by resolving it, and used a moment later. In between a command may have put a link where a folder was;
//! opened by its path, the file would then be one outside. So nothing is opened by a path: a walk begins at the handle of a
//! root, takes one plain name at a time, and follows no link. Whatever is moved about meanwhile, it can only end at what
//! lies below the root, or at an error.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Only to go on from: a folder that may be entered but not listed is enough.
#[cfg(target_os = "linux")]
const ENTER: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const ENTER: OFlags = OFlags::RDONLY;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl Folder {
    /// The folder that a path, already resolved, means.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(fs::open(path, ENTER | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// A folder in it; a link is none.
    pub(crate) fn child(&self, name: &OsStr) -> io::Result<Self> {
        let flags = ENTER | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// A folder in it, made when there is none.
    pub(crate) fn child_or_new(&self, name: &OsStr) -> io::Result<Self> {
        match self.child(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o777)) {
                    // Somebody else may have been as quick; whether it is a folder is seen next.
                    Ok(()) | Err(Errno::EXIST) => self.child(name),
                    Err(error) => Err(error.into()),
                }
            }
            other => other,
        }
    }

    /// The folder that `below` leads to from here, made with what is missing of it if `make`. Only plain names count.
    pub(crate) fn descend(&self, below: &Path, make: bool) -> io::Result<Self> {
        let mut folder = Self(self.0.try_clone()?);
        for part in below.components() {
            let Component::Normal(name) = part else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not a resolved one"));
            };
            folder = if make { folder.child_or_new(name)? } else { folder.child(name)? };
        }
        Ok(folder)
    }

    /// A file in it, to be read; a link is refused, and a pipe is not waited for.
    pub(crate) fn file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// A new file in it, to be written; an error when there is something of that name.
    pub(crate) fn new_file(&self, name: &OsStr, mode: Mode) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(fs::openat(&self.0, name, flags, mode)?))
    }

    /// What is known of what is in it under that name; of a link, the link itself.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Gives a file in it another name in it, in place of what had that name.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(&self.0, from, &self.0, to)?)
    }

    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(self.listable()?)?)
    }

    /// The same folder, opened to be read.
    fn listable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::openat(&self.0, ".", flags, Mode::empty())?)
    }

    /// The names in it, at most `max`.
    pub(crate) fn names(&self, max: usize) -> io::Result<Vec<OsString>> {
        let name = |entry: rustix::io::Result<fs::DirEntry>| {
            let entry = entry.ok()?;
            let name = entry.file_name().to_bytes();
            (name != b"." && name != b"..").then(|| OsStr::from_bytes(name).to_owned())
        };
        Ok(Dir::new(self.listable()?)?.filter_map(name).take(max).collect())
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(crate) fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_walk_takes_plain_names_and_follows_no_link() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path();
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/file"), "x").unwrap();
        symlink("b", path.join("a/link")).unwrap();
        symlink("file", path.join("a/b/link")).unwrap();
        let root = Folder::open(path).unwrap();
        let folder = root.descend(Path::new("a/b"), false).unwrap();
        let mut text = String::new();
        folder.file(OsStr::new("file")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert!(root.descend(Path::new("a/link"), false).is_err());
        assert!(root.descend(Path::new("a/link"), true).is_err());
        assert!(root.descend(Path::new("a/.."), false).is_err());
        assert!(root.descend(Path::new("/"), false).is_err());
        assert!(folder.file(OsStr::new("link")).is_err());
        assert!(folder.new_file(OsStr::new("link"), Mode::RUSR).is_err());
        assert!(!is_file(&folder.stat(OsStr::new("link")).unwrap()));
        let mut names = folder.names(10).unwrap();
        names.sort();
        assert_eq!(names, ["file", "link"]);
    }

    #[test]
    fn missing_folders_are_made_only_when_asked_for() {
        let temp = tempfile::tempdir().unwrap();
        let root = Folder::open(temp.path()).unwrap();
        assert_eq!(root.descend(Path::new("x/y"), false).unwrap_err().kind(), io::ErrorKind::NotFound);
        root.descend(Path::new("x/y"), true).unwrap();
        assert!(temp.path().join("x/y").is_dir());
        fs::write(temp.path().join("x/file"), "").unwrap();
        assert!(root.descend(Path::new("x/file/z"), true).is_err());
    }
}
