//! A file of a session: where a path leads, opened.

use std::ffi::OsString;
use std::fs::{File, FileType, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use ergane_tool::{ToolError, nearest};

use crate::blocking::Stop;
use crate::handles::Folder;
use crate::paths::Roots;
use crate::replace::Beside;

/// So many names of a folder are looked at for the one that was meant.
const MAX_NAMES: usize = 10_000;

/// The place of a file, there or not, in an open folder.
#[derive(Debug)]
pub(crate) struct Place {
    folder: Folder,
    name: OsString,
    /// How it is called in what is told.
    pub(crate) shown: String,
    /// The folder's path, as it is shown, with a slash.
    before: String,
}

/// A file that is there.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) metadata: Metadata,
}

impl Place {
    /// Where `path` leads. Its folder must be there.
    pub(crate) fn of(roots: &Roots, path: &str) -> Result<Self, ToolError> {
        Self::reach(roots, path, false)
    }

    /// The same for a file that is to be written: folders that are missing are made.
    pub(crate) fn to_write(roots: &Roots, path: &str) -> Result<Self, ToolError> {
        if path.ends_with('/') {
            return Err(ToolError::failed(format!("{path} names a folder; a file is to be written")));
        }
        Self::reach(roots, path, true)
    }

    fn reach(roots: &Roots, path: &str, make: bool) -> Result<Self, ToolError> {
        let resolved = roots.resolve(path)?;
        let shown = roots.show(&resolved);
        if roots.is_private(&resolved) {
            return Err(ToolError::failed(format!(
                "{shown} belongs to the journal that this very session is kept in, and no tool opens that"
            )));
        }
        let Some(name) = resolved.file_name().filter(|_| !roots.is_root(&resolved)) else {
            return Err(is_folder(&shown));
        };
        let folder = roots.folder_of(&resolved, make).map_err(|error| match error.kind() {
            ErrorKind::NotFound => ToolError::failed(format!("there is no file {shown}")),
            ErrorKind::NotADirectory => {
                ToolError::failed(format!("{shown} cannot be reached: a part of its path is no folder"))
            }
            _ => ToolError::failed(format!("{shown} cannot be reached: {error}")),
        })?;
        let before = shown.strip_suffix(&*name.to_string_lossy()).unwrap_or_default().to_owned();
        Ok(Self { folder, name: name.to_owned(), shown, before })
    }

    /// The file; an error when there is none.
    pub(crate) fn open(&self) -> Result<Opened, ToolError> {
        self.open_if_there()?.ok_or_else(|| {
            let names = self.folder.names(MAX_NAMES).unwrap_or_default();
            let names: Vec<_> = names.iter().map(|name| name.to_string_lossy()).collect();
            let hint = nearest(&self.name.to_string_lossy(), names.iter().map(AsRef::as_ref))
                .map(|near| format!("; did you mean {}{near}?", self.before))
                .unwrap_or_default();
            ToolError::failed(format!("there is no file {}{hint}", self.shown))
        })
    }

    /// The file, if there is one; an error when something else is in its place.
    pub(crate) fn open_if_there(&self) -> Result<Option<Opened>, ToolError> {
        let name = &self.shown;
        let file = match self.folder.file(&self.name) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            // What a path leads to is no link: it came there a moment ago. And a socket cannot be opened.
            Err(error) => return Err(ToolError::failed(format!("{name} cannot be opened: {error}"))),
        };
        let metadata = file.metadata().map_err(|error| self.cannot("read", &error))?;
        if metadata.is_dir() {
            return Err(is_folder(name));
        }
        if !metadata.is_file() {
            let kind = kind_of_special(metadata.file_type());
            return Err(ToolError::failed(format!("{name} is {kind}, not a file")));
        }
        Ok(Some(Opened { file, metadata }))
    }

    /// What is said when something of it fails.
    pub(crate) fn cannot(&self, what: &str, error: &io::Error) -> ToolError {
        ToolError::failed(format!("{} cannot be {what}: {error}", self.shown))
    }

    /// Puts `content` in its place in one step, at the last moment only if the call is still wanted and the file is still as
    /// `old`.
    pub(crate) fn put(&self, old: Option<&Metadata>, content: &[u8], stop: &Stop) -> Result<(), ToolError> {
        if let Some(old) = old
            && old.mode() & 0o222 == 0
        {
            return Err(ToolError::failed(format!(
                "{} is read-only (mode {:o}), so it was left alone; change its mode first if you must write it",
                self.shown,
                old.mode() & 0o7777
            )));
        }
        let beside =
            Beside::write(&self.folder, old, content).map_err(|error| self.cannot("written", &error))?;
        stop.check()?;
        let now = self.open_if_there()?.map(|now| now.metadata);
        if now.as_ref().map(version) != old.map(version) {
            return Err(ToolError::failed(format!(
                "{} was changed by somebody else at the same time, so it was left alone; read it again",
                self.shown
            )));
        }
        beside.take_the_place_of(&self.name).map_err(|error| self.cannot("written", &error))
    }
}

impl Opened {
    /// All of it, at most `max` bytes.
    pub(crate) fn bytes(&self, max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&self.file).take(max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// What tells one content of a place from another, as far as that can be told.
fn version(metadata: &Metadata) -> (u64, u64, u64, i64, i64) {
    (metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec())
}

fn is_folder(name: &str) -> ToolError {
    let inside = if name == "." { "*".to_owned() } else { format!("{name}/*") };
    ToolError::failed(format!("{name} is a folder; list it with glob {inside:?}"))
}

fn kind_of_special(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something special",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use ergane_tool::ToolContext;

    use super::*;

    /// `in` is the root, with `in/sub/file`; `out` is outside.
    fn house() -> (tempfile::TempDir, Roots, ToolContext) {
        let all = tempfile::tempdir().unwrap();
        fs::create_dir_all(all.path().join("in/sub")).unwrap();
        fs::create_dir(all.path().join("out")).unwrap();
        fs::write(all.path().join("in/sub/file"), "old").unwrap();
        fs::write(all.path().join("out/file"), "secret").unwrap();
        let ctx = ToolContext::for_test(all.path().join("in"));
        let roots = Roots::of(&ctx).unwrap();
        (all, roots, ctx)
    }

    #[test]
    fn a_folder_swapped_for_a_link_before_the_write_takes_nothing_outside() {
        let (all, roots, ctx) = house();
        let place = Place::to_write(&roots, "sub/file").unwrap();
        let old = place.open().unwrap();
        fs::rename(all.path().join("in/sub"), all.path().join("in/moved")).unwrap();
        symlink(all.path().join("out"), all.path().join("in/sub")).unwrap();
        place.put(Some(&old.metadata), b"new", &Stop::of(&ctx)).unwrap();
        assert_eq!(fs::read_to_string(all.path().join("out/file")).unwrap(), "secret");
        assert_eq!(
            fs::read_to_string(all.path().join("in/moved/file")).unwrap(),
            "new",
            "it is that file still"
        );
    }

    #[test]
    fn a_file_swapped_for_a_link_before_the_write_is_left_alone_and_so_is_what_it_leads_to() {
        let (all, roots, ctx) = house();
        let place = Place::to_write(&roots, "sub/file").unwrap();
        let old = place.open().unwrap();
        let path = all.path().join("in/sub/file");
        fs::remove_file(&path).unwrap();
        symlink(all.path().join("out/file"), &path).unwrap();
        assert!(place.put(Some(&old.metadata), b"new", &Stop::of(&ctx)).is_err());
        assert_eq!(fs::read_to_string(all.path().join("out/file")).unwrap(), "secret");
        assert_eq!(fs::read_dir(all.path().join("in/sub")).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_somebody_else_wrote_meanwhile_is_not_lost() {
        let (all, roots, ctx) = house();
        let place = Place::to_write(&roots, "sub/file").unwrap();
        let old = place.open().unwrap();
        fs::write(all.path().join("in/sub/file"), "theirs").unwrap();
        let error = place.put(Some(&old.metadata), b"ours", &Stop::of(&ctx)).unwrap_err().to_string();
        assert!(error.contains("changed by somebody else"), "{error}");
        assert!(place.put(None, b"ours", &Stop::of(&ctx)).is_err(), "nor what was not there a moment ago");
        assert_eq!(fs::read_to_string(all.path().join("in/sub/file")).unwrap(), "theirs");
    }
}
