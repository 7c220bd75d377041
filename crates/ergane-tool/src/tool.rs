//! The trait.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use ergane_core::Effect;
use serde_json::{Map, Value};

use crate::context::ToolContext;
use crate::error::ToolError;
use crate::output::ToolOutput;
use crate::permissions::Reach;

/// The running body of a tool call: what [`Tool::call`] returns.
///
/// ```
/// use ergane_tool::{ToolFuture, ToolOutput};
///
/// fn says(text: &'static str) -> ToolFuture {
///     Box::pin(async move { Ok(ToolOutput::text(text)) })
/// }
/// # let _ = says("hello");
/// ```
pub type ToolFuture = Pin<Box<dyn Future<Output = Result<ToolOutput, ToolError>> + Send>>;

/// Something a model may ask for. [`#[tool]`](macro@crate::tool) writes this for an async function; write it by hand when
/// name or schema are only known at run time.
///
/// All but [`call`](Tool::call) is asked once, when the tool is registered; later answers would not be heard.
///
/// The body may panic, hang or be dropped at any await: the tool actor handles each. What it starts outside of its
/// future (a process, a thread) it must end when that is dropped, best by a [`ProcessGroup`](crate::ProcessGroup) or a
/// guard with a `Drop`.
///
/// ```
/// use ergane_tool::{Effect, Tool, ToolContext, ToolFuture};
/// use serde_json::{Map, Value, json};
///
/// struct Clock;
///
/// impl Tool for Clock {
///     fn name(&self) -> &str { "clock" }
///     fn description(&self) -> &str { "Tells the seconds since 1970." }
///     fn parameters(&self) -> Value { json!({"type": "object", "properties": {}}) }
///     fn effect(&self) -> Effect { Effect::Read }
///     fn call(&self, _ctx: ToolContext, _arguments: Map<String, Value>) -> ToolFuture {
///         Box::pin(async {
///             let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
///             Ok(now.as_secs().to_string().into())
///         })
///     }
/// }
/// ```
pub trait Tool: Send + Sync + 'static {
    /// Its name: 1 to 64 of `[A-Za-z0-9_-]`, unique in a registry.
    fn name(&self) -> &str;

    /// What it does and when to use it, for the model.
    fn description(&self) -> &str;

    /// The JSON Schema of its arguments: an object with `"type": "object"`.
    fn parameters(&self) -> Value;

    /// What it does to the world.
    fn effect(&self) -> Effect;

    /// What it gets its hands on, for permission mode `accept_edits`. Default: anything.
    fn reach(&self) -> Reach {
        Reach::Anything
    }

    /// How long a call may take. `None` (default) is the session's limit.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Runs one call. Called on a runtime; must return its future quickly.
    fn call(&self, ctx: ToolContext, arguments: Map<String, Value>) -> ToolFuture;
}

impl fmt::Debug for dyn Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool")
            .field("name", &self.name())
            .field("effect", &self.effect())
            .finish_non_exhaustive()
    }
}
