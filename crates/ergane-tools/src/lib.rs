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

/// Runs a shell command: a builtin tool. At the end stands what the model is told of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ergane_tool::{Part, Tool, ToolContext};
/// use ergane_tools::bash;
/// use serde_json::json;
///
/// # let folder = tempfile::tempdir()?;
/// # let ctx = ToolContext::for_test(folder.path());
/// let output = bash.call(ctx, serde_json::from_value(json!({ "command": "echo hello; exit 3" }))?).await?;
/// let Part::Text { text } = &output.content[0] else { panic!("a text") };
/// assert_eq!(&**text, "exit 3\nhello\n");
/// # Ok(())
/// # }
/// ```
pub use builtin::bash::bash;

/// Replaces a text in a file: a builtin tool. At the end stands what the model is told of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ergane_tool::{Tool, ToolContext};
/// use ergane_tools::edit;
/// use serde_json::json;
///
/// # let folder = tempfile::tempdir()?;
/// # let ctx = ToolContext::for_test(folder.path());
/// std::fs::write(folder.path().join("a.txt"), "one two one\n")?;
/// let change = |old: &str| json!({ "path": "a.txt", "old_string": old, "new_string": "three" });
/// let twice = edit.call(ctx.clone(), serde_json::from_value(change("one"))?).await;
/// assert!(twice.is_err(), "it is there twice: which one?");
/// edit.call(ctx, serde_json::from_value(change("two"))?).await?;
/// assert_eq!(std::fs::read_to_string(folder.path().join("a.txt"))?, "one three one\n");
/// # Ok(())
/// # }
/// ```
pub use builtin::edit::edit;

/// Finds files by a pattern: a builtin tool. At the end stands what the model is told of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ergane_tool::{Part, Tool, ToolContext};
/// use ergane_tools::glob;
/// use serde_json::json;
///
/// # let folder = tempfile::tempdir()?;
/// # let ctx = ToolContext::for_test(folder.path());
/// std::fs::create_dir(folder.path().join("src"))?;
/// std::fs::write(folder.path().join("src/main.rs"), "fn main() {}")?;
/// let output = glob.call(ctx, serde_json::from_value(json!({ "pattern": "**/*.rs" }))?).await?;
/// let Part::Text { text } = &output.content[0] else { panic!("a text") };
/// assert!(text.contains("src/main.rs"), "{text}");
/// # Ok(())
/// # }
/// ```
pub use builtin::glob::glob;

/// Searches the contents of files: a builtin tool. At the end stands what the model is told of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ergane_tool::{Part, Tool, ToolContext};
/// use ergane_tools::grep;
/// use serde_json::json;
///
/// # let folder = tempfile::tempdir()?;
/// # let ctx = ToolContext::for_test(folder.path());
/// std::fs::write(folder.path().join("notes"), "milk\nTODO: call home\n")?;
/// let output = grep.call(ctx, serde_json::from_value(json!({ "pattern": "^TODO" }))?).await?;
/// let Part::Text { text } = &output.content[0] else { panic!("a text") };
/// assert!(text.contains("notes:2:TODO: call home"), "{text}");
/// # Ok(())
/// # }
/// ```
pub use builtin::grep::grep;

/// Reads a file, by lines, or shows an image: a builtin tool. At the end stands what the model is told of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ergane_tool::{Part, Tool, ToolContext};
/// use ergane_tools::read;
/// use serde_json::json;
///
/// # let folder = tempfile::tempdir()?;
/// # let ctx = ToolContext::for_test(folder.path());
/// std::fs::write(folder.path().join("poem.txt"), "roses\nviolets\nsugar\n")?;
/// let arguments = serde_json::from_value(json!({ "path": "poem.txt", "offset": 2, "limit": 1 }))?;
/// let output = read.call(ctx, arguments).await?;
/// let Part::Text { text } = &output.content[0] else { panic!("a text") };
/// assert!(text.starts_with("2\tviolets"), "{text}");
/// # Ok(())
/// # }
/// ```
pub use builtin::read::read;

/// Writes a whole file in one step: a builtin tool. At the end stands what the model is told of it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ergane_tool::{Tool, ToolContext};
/// use ergane_tools::write;
/// use serde_json::json;
///
/// # let folder = tempfile::tempdir()?;
/// # let ctx = ToolContext::for_test(folder.path());
/// let arguments = serde_json::from_value(json!({ "path": "new/hello.txt", "content": "hello\n" }))?;
/// let output = write.call(ctx.clone(), arguments).await?;
/// assert_eq!(std::fs::read_to_string(folder.path().join("new/hello.txt"))?, "hello\n");
/// assert_eq!(output.ui.unwrap()["kind"], "diff");
///
/// let outside = serde_json::from_value(json!({ "path": "/etc/hello.txt", "content": "" }))?;
/// assert!(write.call(ctx, outside).await.is_err(), "the session is confined to its folder");
/// # Ok(())
/// # }
/// ```
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
    ///
    /// ```
    /// use ergane_tools::Tools;
    ///
    /// let names: Vec<String> = Tools::all().into_iter().map(|tool| tool.name().to_owned()).collect();
    /// assert_eq!(names, ["read", "glob", "grep", "write", "edit", "bash"]);
    /// ```
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
    ///
    /// ```
    /// assert!(ergane_tools::Tools::none().into_iter().next().is_none());
    /// ```
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
