//! What a tool is: the [`Tool`] trait, the tool actor, permissions, and the attribute [`#[tool]`](macro@tool).
//!
//! # Why a tool call is an actor
//!
//! A tool is foreign code: it panics, hangs, floods, and starts processes. A session that ran it in a handler would
//! answer nobody meanwhile and would die with it. So each call runs in a task that belongs to one short-lived actor
//! ([`ToolActor`]): it enforces the timeout from outside of the task (a body that never yields cannot hold it up), turns
//! a panic into an error the model can read, cuts what is too long to become a fact, and answers its
//! [`Promise`](ergane_otp::Promise) exactly once, also when it is killed. The task lives in the session's
//! [`Scope`](ergane_otp::Scope), so a successor of the session never meets its predecessor's tools.
//!
//! # Why the decisions are functions
//!
//! Whether a call may run is decided before anything is started, by [`gate`] and [`decide`]: functions of the registry,
//! the permissions and the call, without a clock or a lock. Live and recovered turns ask the same functions.
//!
//! ```
//! use ergane_tool::{ToolContext, ToolRegistry, tool};
//! use std::sync::Arc;
//!
//! /// What the weather is like.
//! #[tool(crate = "ergane_tool", effect = "read")]
//! async fn weather(
//!     /// The name of a city, in English.
//!     city: String,
//! ) -> Result<String, std::io::Error> {
//!     Ok(format!("It rains in {city}."))
//! }
//!
//! let registry = ToolRegistry::new([Arc::new(weather) as _])?;
//! let specs = registry.specs(None)?;
//! assert_eq!(specs[0].description.as_ref(), "What the weather is like.");
//! assert_eq!(specs[0].parameters["properties"]["city"]["description"], "The name of a city, in English.");
//! # Ok::<(), ergane_tool::RegistryError>(())
//! ```

mod actor;
mod arguments;
mod at_work;
mod context;
mod error;
mod extensions;
mod gate;
mod nearest;
mod outcome;
mod output;
mod permissions;
mod private_folder;
mod process;
mod progress;
mod registry;
mod tool;

pub use actor::{ToolActor, ToolHandle, ToolRun};
pub use at_work::AtWork;
pub use context::{CancelToken, ContextParts, ProcessRecord, ProcessSink, ToolContext};
pub use ergane_core::{Effect, ImageSource, Part};
/// Makes a [`Tool`] of an async function; see the crate's own documentation for every attribute.
pub use ergane_macros::tool;
pub use error::{RegistryError, ToolError};
pub use extensions::{ContextFn, Extension, Extensions};
pub use gate::{Gate, gate};
pub use nearest::nearest;
pub use outcome::{MAX_TEXT, ToolOutcome};
pub use output::{IntoToolResult, Json, ToolOutput};
pub use permissions::{CanUseTool, Permission, PermissionRequest, Reach, Subject, Verdict, decide};
pub use private_folder::{private_folder_prefix, remove_unclaimed_folders, unclaimed_folder_prefix};
pub use process::{
    GROUP_VARIABLE, GroupEnd, ProcessGroup, group_identity, kill_left_behind, process_started,
};
pub use progress::{Progress, ProgressSink};
pub use registry::{Registered, ToolRegistry};
pub use tool::{Tool, ToolFuture};

/// What the code that `#[tool]` generates refers to; no part of the public interface.
#[doc(hidden)]
pub mod private {
    pub use crate::arguments::{parse, schema};
    pub use {schemars, serde, serde_json};
}
