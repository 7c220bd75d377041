//! Walking a tree: the files that a pattern means, without what `.gitignore` leaves out.
//!
//! A pattern is split: its leading folders without wildcards are a path, resolved and confined like any other; the rest
//! is matched below it. So a pattern cannot lead out of the roots, and only what may match is walked.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ergane_tool::ToolError;
use globset::{GlobBuilder, GlobMatcher};
use ignore::gitignore::Gitignore;
use ignore::{DirEntry, WalkBuilder};
use rustix::fs::Stat;

use crate::blocking::Stop;
use crate::handles::{Folder, is_file};
use crate::paths::Roots;

/// What a pattern means.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// Where the walk begins, resolved. It need not exist.
    base: PathBuf,
    /// What matches below it; everything when `None`.
    matcher: Option<GlobMatcher>,
    /// Whether it names something hidden; otherwise hidden files are left out.
    hidden: bool,
    /// Whether it names `.git`, which no pattern means by accident.
    git: bool,
}

const WILD: [char; 5] = ['*', '?', '[', '{', '\\'];

impl Pattern {
    /// Everything below `folder`.
    pub(crate) fn everything(folder: PathBuf) -> Self {
        Self { base: folder, matcher: None, hidden: false, git: false }
    }

    /// Splits and checks `pattern`; `field` is the argument it came in. Blocks.
    pub(crate) fn parse(roots: &Roots, pattern: &str, field: &str) -> Result<Self, ToolError> {
        let wrong = |reason: String| ToolError::Arguments { path: field.to_owned(), reason };
        let (prefix, rest) = split(pattern);
        if rest.split('/').any(|part| part == "..") {
            return Err(wrong("`..` cannot come after a wildcard".to_owned()));
        }
        let rest = rest.strip_prefix("./").unwrap_or(rest);
        let matcher = GlobBuilder::new(rest)
            .literal_separator(true)
            .build()
            .map_err(|error| wrong(format!("it is no valid pattern: {error}")))?
            .compile_matcher();
        let names = |what: fn(&str) -> bool| pattern.split(['/', '{', ',']).any(what);
        Ok(Self {
            base: roots.resolve(prefix)?,
            matcher: Some(matcher),
            hidden: names(|part| part.starts_with('.') && part != "." && part != ".."),
            git: names(|part| part.trim_end_matches('}') == ".git"),
        })
    }

    /// Calls `visit` with each file the pattern means, in the order of paths when `sorted`. Links to files in the roots
    /// count as files; links to folders are not entered. Ends early when `visit` says `false`.
    ///
    /// The walk itself goes by paths; what it finds is looked for once more from a root's handle, and is nothing if that does
    /// not lead there.
    pub(crate) fn walk(
        &self,
        roots: &Roots,
        sorted: bool,
        stop: &Stop,
        mut visit: impl FnMut(&Found<'_>) -> Result<bool, ToolError>,
    ) -> Result<(), ToolError> {
        if !self.base.exists() {
            return Ok(());
        }
        let mut builder = WalkBuilder::new(&self.base);
        // A folder may have a .gitignore without being a repository, as a copy of one does. What the user ignores
        // everywhere is left out of account: the same folder must look the same on every machine.
        builder.hidden(!self.hidden).git_global(false).follow_links(false);
        // Of a repository all is known up to its top, wherever that is. Elsewhere what the session's own folders ignore holds:
        // somebody's own file further up must not blind it.
        let is_in_repository = self.base.ancestors().any(|folder| folder.join(".git").exists());
        let ignored = (!is_in_repository).then(|| Ignored::within(roots, &self.base));
        if ignored.is_some() {
            builder.standard_filters(false).hidden(!self.hidden);
        }
        if sorted {
            builder.sort_by_file_path(Path::cmp);
        }
        let git = self.git;
        builder.filter_entry(move |entry| {
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            let is_shown = ignored.as_ref().is_none_or(|ignored| !ignored.has(entry.path(), is_folder));
            entry.depth() == 0 || (is_shown && (git || entry.file_name() != OsStr::new(".git")))
        });
        let mut reach = Reach::default();
        for entry in builder.build() {
            stop.check()?;
            // A folder that may not be entered hides what is in it; that is no reason to show nothing.
            let Ok(entry) = entry else { continue };
            if !self.matches(entry.path()) {
                continue;
            }
            if let Some(found) = reach.found(roots, &entry)
                && !visit(&found)?
            {
                break;
            }
        }
        Ok(())
    }

    fn matches(&self, path: &Path) -> bool {
        match (&self.matcher, path.strip_prefix(&self.base)) {
            (None, _) => true,
            (Some(matcher), Ok(relative)) => matcher.is_match(relative),
            (Some(_), Err(_)) => false,
        }
    }
}

/// What the folders of a session ignore where there is no repository: the nearest that says something of a file decides.
#[derive(Debug)]
struct Ignored {
    top: PathBuf,
    known: Mutex<HashMap<PathBuf, [Gitignore; 2]>>,
}

impl Ignored {
    /// As far up from `base` as the session's folders go.
    fn within(roots: &Roots, base: &Path) -> Self {
        let top = base.ancestors().take_while(|folder| roots.contain(folder)).last().unwrap_or(base);
        Self { top: top.to_owned(), known: Mutex::default() }
    }

    fn has(&self, path: &Path, is_folder: bool) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let folders = path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.top));
        for folder in folders {
            // What cannot be read of such a file ignores nothing.
            let files = known
                .entry(folder.to_owned())
                .or_insert_with(|| [".ignore", ".gitignore"].map(|name| Gitignore::new(folder.join(name)).0));
            if let Some(said) =
                files.iter().map(|file| file.matched(path, is_folder)).find(|said| !said.is_none())
            {
                return said.is_ignore();
            }
        }
        false
    }
}

/// The leading folders without wildcards, and the rest, which keeps at least the last part.
fn split(pattern: &str) -> (&str, &str) {
    let wild = pattern.find(WILD).unwrap_or(pattern.len());
    match pattern.get(..wild).unwrap_or_default().rfind('/') {
        Some(0) => ("/", pattern.get(1..).unwrap_or_default()),
        Some(slash) => {
            (pattern.get(..slash).unwrap_or_default(), pattern.get(slash + 1..).unwrap_or_default())
        }
        None => ("", pattern),
    }
}

pub(crate) fn is_wild(pattern: &str) -> bool {
    pattern.contains(WILD)
}

/// A file that was found.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// How it was found: the name of a link, if it is one.
    pub(crate) path: &'a Path,
    /// What is known of the file itself.
    pub(crate) stat: Stat,
    folder: &'a Folder,
    name: OsString,
}

impl Found<'_> {
    /// The file, to be read.
    pub(crate) fn open(&self) -> io::Result<File> {
        self.folder.file(&self.name)
    }
}

/// The way to what is found: files come folder by folder, so the last folder is kept open.
#[derive(Debug, Default)]
struct Reach(Option<(PathBuf, Folder)>);

impl Reach {
    fn found<'a>(&'a mut self, roots: &Roots, entry: &'a DirEntry) -> Option<Found<'a>> {
        let is_link = match entry.file_type() {
            Some(kind) if kind.is_file() => false,
            Some(kind) if kind.is_symlink() => true,
            _ => return None,
        };
        let leads_to = if is_link { entry.path().canonicalize().ok()? } else { entry.path().to_owned() };
        if roots.is_private(&leads_to) {
            return None;
        }
        let (parent, name) = (leads_to.parent()?, leads_to.file_name()?.to_owned());
        if self.0.as_ref().is_none_or(|(path, _)| path != parent) {
            self.0 = Some((parent.to_owned(), roots.folder_of(&leads_to, false).ok()?));
        }
        let (_, folder) = self.0.as_ref()?;
        let stat = folder.stat(&name).ok().filter(is_file)?;
        Some(Found { path: entry.path(), stat, folder, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_split_before_its_first_wildcard() {
        for (pattern, parts) in [
            ("*.rs", ("", "*.rs")),
            ("src/**/*.rs", ("src", "**/*.rs")),
            ("src/lib.rs", ("src", "lib.rs")),
            ("../a/b*/c", ("../a", "b*/c")),
            ("{src,tests}/x", ("", "{src,tests}/x")),
            ("src/{a/b,c}/x", ("src", "{a/b,c}/x")),
            ("/*.txt", ("/", "*.txt")),
            ("/etc/*.conf", ("/etc", "*.conf")),
        ] {
            assert_eq!(split(pattern), parts, "{pattern}");
        }
    }
}
