//! The builtin tools: `read`, `glob`, `grep`, `write`, `edit` and `bash`, confined to the session's folders.
//!
//! # Why they are built in
//!
//! An agent that works on files needs these, and each is easy to get wrong in a way that only shows later: a path
//! that leaves the folder through a link, a file that fills the context, a shell whose children outlive it. They have no
//! privilege: each is an ordinary `#[tool]` on the public interface, and a program may leave them out or register its own.
//!
//! # What they promise
//!
//! - **Confined.** Every path is resolved first, symbolic links included, and refused outside of the session's roots; then
//!   it is opened from the handle of a root, so that a link put there meanwhile leads nowhere. What a shell *writes* is confined by the kernel (Landlock, where there is one); it may read and execute what its user may.
//! - **Bounded.** Every result has a limit that the model is told of, with how to get at the rest. Memory does not grow
//!   with the size of a file, a tree or an output.
//! - **Whole.** A file is written in one step: whoever looks sees the old content or the new one, after a crash too.
//! - **Interruptible.** Work on files runs on the blocking pool and stops when its call does; a shell is a process group
//!   that dies with its call, its session, or, after a crash, before anything is said of it.
//!
//! ```
//! use ergane_tool::ToolRegistry;
//! use ergane_tools::Tools;
//!
//! let registry = ToolRegistry::new(Tools::all())?;
//! let names: Vec<_> = registry.names().map(AsRef::as_ref).collect();
//! assert_eq!(names, ["read", "glob", "grep", "write", "edit", "bash"]);
//! # Ok::<(), ergane_tool::RegistryError>(())
//! ```

mod blocking;
mod builtin;
mod capture;
mod diff;
mod exact;
mod files;
mod handles;
mod kind;
mod lines;
mod paths;
mod replace;
mod sandbox;
mod walk;

use std::sync::Arc;

use ergane_tool::Tool;

pub use builtin::bash::bash;
pub use builtin::edit::edit;
pub use builtin::glob::glob;
pub use builtin::grep::grep;
pub use builtin::read::read;
pub use builtin::write::write;
pub use sandbox::confines_writes;

/// A set of builtin tools, to be registered with a system: `System::builder().tools(Tools::all())`. A single one is
/// registered like one of your own: `.tool(ergane_tools::read)`.
///
/// ```
/// use ergane_tools::Tools;
///
/// assert_eq!(Tools::all().into_iter().count(), 6);
/// assert_eq!(Tools::none().into_iter().count(), 0);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Tools(Vec<Arc<dyn Tool>>);

impl Tools {
    /// All of them.
    pub fn all() -> Self {
        Self(vec![
            Arc::new(read),
            Arc::new(glob),
            Arc::new(grep),
            Arc::new(write),
            Arc::new(edit),
            Arc::new(bash),
        ])
    }

    /// None of them.
    pub fn none() -> Self {
        Self::default()
    }
}

impl IntoIterator for Tools {
    type Item = Arc<dyn Tool>;
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
