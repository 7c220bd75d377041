//! Where a tool may go.
//!
//! A path is judged by where it really leads: links and `..` are resolved by the system first, and what comes out must
//! lie in one of the roots, which are resolved the same way. So neither a name such as `a..b` is suspicious nor a harmless
//! looking link is not. What it leads to is then opened from the handle of a root ([`Folder`]), never by the path once more.
//!
//! A root that lies in another one is judged, too: whoever may write there can put a link in its place. So it counts only
//! as long as it does not lead out of that other one.

use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf, absolute};
use std::sync::Arc;

use ergane_tool::{ToolContext, ToolError};

use crate::handles::Folder;

/// The folders a call may enter, resolved and open.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    cwd: PathBuf,
    /// None of them lies in another.
    roots: Vec<Root>,
    /// Who knows what must not be opened.
    ctx: ToolContext,
}

#[derive(Debug, Clone)]
struct Root {
    path: PathBuf,
    folder: Arc<Folder>,
}

/// A root as it was given, and where that leads.
struct Given {
    path: PathBuf,
    leads_to: PathBuf,
}

impl Given {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: absolute(path)?, leads_to: path.canonicalize()? })
    }

    /// Whether it was given as a folder in `other` and leads out of that.
    fn leads_out_of(&self, other: &Self) -> bool {
        let lies_in = self.path.starts_with(&other.path) || self.path.starts_with(&other.leads_to);
        self.path != other.path && lies_in && !self.leads_to.starts_with(&other.leads_to)
    }
}

impl Roots {
    /// The roots of `ctx`. Blocks. A further root that does not exist (any more), or that leads out of another one it was
    /// given in, is left out.
    pub(crate) fn of(ctx: &ToolContext) -> Result<Self, ToolError> {
        let cannot = |why: &dyn std::fmt::Display| {
            let folder = ctx.cwd().display();
            ToolError::failed(format!("the session's folder {folder} cannot be entered: {why}"))
        };
        let cwd = Given::of(ctx.cwd()).map_err(|error| cannot(&error))?;
        let further = ctx.roots().iter().skip(1).filter_map(|root| Given::of(root).ok());
        let given: Vec<Given> = std::iter::once(cwd).chain(further).collect();
        let is_sound = |one: &&Given| !given.iter().any(|other| one.leads_out_of(other));
        let Some(cwd) = given.first().filter(is_sound) else {
            return Err(cannot(&"it is a link out of another folder of the session"));
        };
        let sound: Vec<&Path> = given.iter().filter(is_sound).map(|one| one.leads_to.as_path()).collect();
        let mut roots: Vec<Root> = Vec::new();
        for path in &sound {
            let is_within = sound.iter().any(|other| path.starts_with(other) && path != other);
            if is_within || roots.iter().any(|root| root.path == **path) {
                continue;
            }
            match Folder::open(path) {
                Ok(folder) => roots.push(Root { path: path.to_path_buf(), folder: Arc::new(folder) }),
                Err(error) if *path == cwd.leads_to => return Err(cannot(&error)),
                Err(error) => tracing::debug!(%error, root = %path.display(), "a root is left out"),
            }
        }
        Ok(Self { cwd: cwd.leads_to.clone(), roots, ctx: ctx.clone() })
    }

    /// The folder that relative paths start from.
    pub(crate) fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// The outermost of them, open.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &Arc<Folder>> {
        self.roots.iter().map(|root| &root.folder)
    }

    /// Whether a resolved path lies in a root.
    pub(crate) fn contain(&self, resolved: &Path) -> bool {
        self.root_of(resolved).is_some()
    }

    fn root_of(&self, resolved: &Path) -> Option<&Root> {
        self.roots.iter().find(|root| resolved.starts_with(&root.path))
    }

    /// Whether a resolved path is of the journal, so that this process must not open it.
    pub(crate) fn is_private(&self, resolved: &Path) -> bool {
        self.ctx.is_private(resolved)
    }

    /// Whether a resolved path is a root itself, so that nothing of it but what is in it may be touched.
    pub(crate) fn is_root(&self, resolved: &Path) -> bool {
        self.roots.iter().any(|root| resolved == root.path)
    }

    /// The folder that a resolved path lies in, reached without following a link, and made if `make`. Blocks.
    pub(crate) fn folder_of(&self, resolved: &Path, make: bool) -> io::Result<Folder> {
        let parent = resolved.parent().filter(|_| !self.is_root(resolved));
        let root = parent.and_then(|parent| self.root_of(parent));
        let below = root.zip(parent).and_then(|(root, parent)| parent.strip_prefix(&root.path).ok());
        match root.zip(below) {
            Some((root, below)) => root.folder.descend(below, make),
            None => Err(io::Error::new(ErrorKind::PermissionDenied, "it lies in no folder of the session")),
        }
    }

    /// Where `path` leads, resolved. It need not exist; then its deepest existing folder is resolved. Blocks.
    pub(crate) fn resolve(&self, path: &str) -> Result<PathBuf, ToolError> {
        if path.contains('\0') {
            return Err(ToolError::failed("the path contains a NUL character"));
        }
        let joined = self.cwd.join(path);
        let mut existing = joined.as_path();
        let mut missing = Vec::new();
        let resolved = loop {
            match existing.canonicalize() {
                Ok(real) => break real,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    if existing.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()) {
                        return Err(ToolError::failed(format!(
                            "{path:?} goes through a link that leads nowhere"
                        )));
                    }
                    match (existing.components().next_back(), existing.parent()) {
                        (Some(Component::Normal(name)), Some(parent)) => {
                            missing.push(name);
                            existing = parent;
                        }
                        _ => {
                            return Err(ToolError::failed(format!(
                                "{path:?} has `..` after a folder that does not exist"
                            )));
                        }
                    }
                }
                Err(error) => return Err(ToolError::failed(format!("{path:?} cannot be resolved: {error}"))),
            }
        };
        if !self.contain(&resolved) {
            return Err(self.outside(path, &joined, &resolved));
        }
        let mut resolved = resolved;
        resolved.extend(missing.into_iter().rev());
        Ok(resolved)
    }

    fn outside(&self, path: &str, joined: &Path, resolved: &Path) -> ToolError {
        let roots: Vec<_> = self.roots.iter().map(|root| root.path.display().to_string()).collect();
        let through_link =
            self.contain(joined) && !joined.components().any(|part| part == Component::ParentDir);
        let how = if through_link {
            format!("leads through a link to {}, which is", resolved.display())
        } else {
            "is".to_owned()
        };
        ToolError::failed(format!(
            "{path:?} {how} outside of the folders this session is confined to ({})",
            roots.join(", ")
        ))
    }

    /// How a resolved path is shown: relative to `cwd` when below it.
    pub(crate) fn show(&self, resolved: &Path) -> String {
        match resolved.strip_prefix(&self.cwd) {
            Ok(relative) if relative.as_os_str().is_empty() => ".".to_owned(),
            Ok(relative) => relative.to_string_lossy().into_owned(),
            Err(_) => resolved.to_string_lossy().into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct House {
        _all: tempfile::TempDir,
        roots: Roots,
        outside: PathBuf,
    }

    /// `all/in` is the root, `all/more` a further one, `all/out` is outside.
    fn house() -> House {
        let all = tempfile::tempdir().unwrap();
        let path = all.path().canonicalize().unwrap();
        for folder in ["in/sub", "more", "out"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        for file in ["in/a..b.txt", "in/sub/x", "more/y", "out/secret"] {
            fs::write(path.join(file), file).unwrap();
        }
        let mut parts = ergane_tool::ContextParts::for_test(path.join("in"));
        parts.extra_roots = vec![path.join("more"), path.join("gone")];
        let roots = Roots::of(&ToolContext::new(parts)).unwrap();
        House { _all: all, roots, outside: path.join("out") }
    }

    fn error(roots: &Roots, path: &str) -> String {
        roots.resolve(path).unwrap_err().to_string()
    }

    #[test]
    fn paths_inside_are_resolved_also_odd_and_missing_ones() {
        let house = house();
        let roots = &house.roots;
        for (path, shown) in [
            ("a..b.txt", "a..b.txt"),
            ("sub/../sub/x", "sub/x"),
            (".", "."),
            ("", "."),
            ("not/yet/there", "not/yet/there"),
            ("a..b.txt/under-a-file", "a..b.txt/under-a-file"),
        ] {
            assert_eq!(roots.show(&roots.resolve(path).unwrap()), shown, "{path}");
        }
        let further = roots.resolve("../more/y").unwrap();
        assert!(further.ends_with("more/y") && roots.show(&further).starts_with('/'));
        let absolute = roots.cwd().join("sub/x");
        assert_eq!(roots.resolve(absolute.to_str().unwrap()).unwrap(), absolute);
    }

    #[test]
    fn paths_that_lead_out_are_refused_however_they_do() {
        let house = house();
        let roots = &house.roots;
        let secret = house.outside.join("secret");
        for path in
            ["../out/secret", "sub/../../out/secret", "../out/not-there", "..", "/", secret.to_str().unwrap()]
        {
            let error = error(roots, path);
            assert!(error.contains("is outside of the folders"), "{path}: {error}");
        }
        assert!(error(roots, "a\0b").contains("NUL"));
        assert!(error(roots, "missing/../../out/secret").contains("`..` after a folder"));
    }

    #[test]
    fn links_are_followed_inside_and_refused_outside() {
        let house = house();
        let roots = &house.roots;
        let link = |name: &str, to: &Path| symlink(to, roots.cwd().join(name)).unwrap();
        link("inner", Path::new("sub"));
        link("file", &house.outside.join("secret"));
        link("folder", &house.outside);
        link("dangling", &house.outside.join("nothing"));
        link("self", Path::new("self"));
        assert_eq!(roots.show(&roots.resolve("inner/x").unwrap()), "sub/x");
        for path in ["file", "folder", "folder/secret", "folder/new", "inner/../folder/secret"] {
            assert!(error(roots, path).contains("outside of the folders"), "{path}");
        }
        assert!(error(roots, "file").contains("through a link to"));
        assert!(error(roots, "dangling").contains("leads nowhere"));
        assert!(error(roots, "dangling/x").contains("leads nowhere"));
        assert!(error(roots, "self").contains("cannot be resolved"));
    }

    #[test]
    fn a_session_folder_that_is_gone_is_an_error_that_names_it() {
        let ctx = ToolContext::for_test("/does/not/exist");
        let error = Roots::of(&ctx).unwrap_err().to_string();
        assert!(error.contains("/does/not/exist"), "{error}");
    }

    /// Between the judgement and the use: nothing that a path is judged by holds still.
    #[test]
    fn a_folder_that_became_a_link_after_its_path_was_judged_leads_nowhere() {
        let house = house();
        let roots = &house.roots;
        let (file, new) = (roots.resolve("sub/x").unwrap(), roots.resolve("sub/new/file").unwrap());
        fs::write(house.outside.join("x"), "secret").unwrap();
        fs::rename(roots.cwd().join("sub"), roots.cwd().join("moved")).unwrap();
        symlink(&house.outside, roots.cwd().join("sub")).unwrap();
        for (path, make) in [(&file, false), (&file, true), (&new, true)] {
            assert!(roots.folder_of(path, make).is_err(), "{path:?}");
        }
        assert!(!house.outside.join("new").exists());
    }

    #[test]
    fn a_file_that_became_a_link_after_its_path_was_judged_is_not_opened() {
        let house = house();
        let roots = &house.roots;
        let file = roots.resolve("a..b.txt").unwrap();
        fs::remove_file(&file).unwrap();
        symlink(house.outside.join("secret"), &file).unwrap();
        let folder = roots.folder_of(&file, false).unwrap();
        assert!(folder.file(file.file_name().unwrap()).is_err());
    }

    #[test]
    fn a_folder_that_is_open_is_that_folder_wherever_its_path_leads_by_now() {
        let house = house();
        let roots = &house.roots;
        let folder = roots.folder_of(&roots.resolve("sub/x").unwrap(), false).unwrap();
        fs::rename(roots.cwd().join("sub"), roots.cwd().join("moved")).unwrap();
        symlink(&house.outside, roots.cwd().join("sub")).unwrap();
        folder.new_file("new".as_ref(), rustix::fs::Mode::RUSR).unwrap();
        assert!(roots.cwd().join("moved/new").exists() && !house.outside.join("new").exists());
    }

    #[test]
    fn a_root_in_another_one_counts_only_while_it_does_not_lead_out() {
        let all = tempfile::tempdir().unwrap();
        let path = all.path().canonicalize().unwrap();
        fs::create_dir_all(path.join("in/deep")).unwrap();
        fs::create_dir(path.join("out")).unwrap();
        let roots = |cwd: &str, more: &str| {
            let mut parts = ergane_tool::ContextParts::for_test(path.join(cwd));
            parts.extra_roots = vec![path.join(more)];
            Roots::of(&ToolContext::new(parts))
        };
        for (cwd, more) in [("in", "in/deep"), ("in/deep", "in")] {
            let sound = roots(cwd, more).unwrap();
            assert_eq!(sound.folders().count(), 1);
            assert!(sound.cwd().ends_with(cwd) && sound.contain(&path.join("in/x")));
        }
        fs::remove_dir(path.join("in/deep")).unwrap();
        symlink(path.join("out"), path.join("in/deep")).unwrap();
        let left = roots("in", "in/deep").unwrap();
        assert!(!left.contain(&path.join("out")) && left.resolve("deep/x").is_err());
        let error = roots("in/deep", "in").unwrap_err().to_string();
        assert!(error.contains("a link out of another folder"), "{error}");
        // On its own nobody but the user made it: a link is as good as a folder.
        assert!(roots("in/deep", "out").unwrap().contain(&path.join("out/x")));
    }
}
