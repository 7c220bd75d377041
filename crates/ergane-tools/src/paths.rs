//! Where a tool may go.
//!
//! A path is judged by where it really leads: links and `..` are resolved by the system first, and what comes out must
//! lie in one of the roots, which are resolved the same way. So neither a name such as `a..b` is suspicious nor a harmless
//! looking link is not.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use ergane_tool::{ToolContext, ToolError};

/// The folders a call may enter, resolved.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    cwd: PathBuf,
    roots: Vec<PathBuf>,
}

impl Roots {
    /// The roots of `ctx`. Blocks. A further root that does not exist (any more) is left out.
    pub(crate) fn of(ctx: &ToolContext) -> Result<Self, ToolError> {
        let cwd = ctx.cwd().canonicalize().map_err(|error| {
            ToolError::failed(format!(
                "the session's folder {} cannot be entered: {error}",
                ctx.cwd().display()
            ))
        })?;
        let further = ctx.roots().iter().skip(1).filter_map(|root| root.canonicalize().ok());
        let roots = std::iter::once(cwd.clone()).chain(further).collect();
        Ok(Self { cwd, roots })
    }

    /// The folder that relative paths start from.
    pub(crate) fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// All of them, `cwd` first.
    pub(crate) fn all(&self) -> &[PathBuf] {
        &self.roots
    }

    /// Whether a resolved path lies in a root.
    pub(crate) fn contain(&self, resolved: &Path) -> bool {
        self.roots.iter().any(|root| resolved.starts_with(root))
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
        let roots: Vec<_> = self.roots.iter().map(|root| root.display().to_string()).collect();
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
}
