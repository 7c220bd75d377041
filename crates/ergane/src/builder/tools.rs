//! The tools of a system, who decides about their calls, and what they get of the program.

use std::sync::Arc;

use ergane_core::SessionName;
use ergane_tool::{CanUseTool, ContextFn, Extensions, Permission, PermissionRequest, Tool};
use serde_json::Value;

use super::SystemBuilder;

impl SystemBuilder {
    /// Registers a tool of your own.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// /// The time of day.
    /// #[tool(effect = "read")]
    /// async fn clock() -> &'static str {
    ///     "half past nine"
    /// }
    ///
    /// let script = Scripted::replies([ScriptedReply::call("clock", json!({})), ScriptedReply::text("Half past nine.")]);
    /// let system = System::builder().provider("scripted", script).tool(clock).start().await?;
    /// assert_eq!(system.run("What time is it?").await?.tool_calls_made, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tool(mut self, tool: impl Tool) -> Self {
        self.tools.push(Arc::new(tool));
        self
    }

    /// Registers tools: `Tools::all()` are the builtin ones.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().provider("scripted", Scripted::builtin()).tools(Tools::all()).start().await?;
    /// assert_eq!(system.context().tools().len(), 6);
    ///
    /// let twice = System::builder().tools(Tools::all()).tool(ergane::tools::bash).start().await;
    /// assert!(matches!(twice, Err(SystemError::Tools(_))), "two are named `bash`");
    /// # Ok(())
    /// # }
    /// ```
    pub fn tools(mut self, tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        self.tools.extend(tools);
        self
    }

    /// Decides about calls that no list and no permission mode has decided. It is asked in a task, once for each such
    /// call (and again after a crash), has 30 s, and denies when it panics or takes longer. To ask a human, it says
    /// [`Permission::Ask`]: the call then waits as an approval, for as long as that takes.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// /// Pays money back.
    /// #[tool(effect = "write")]
    /// async fn refund(dollars: u64) -> String {
    ///     format!("paid {dollars}")
    /// }
    ///
    /// let script = Scripted::replies([
    ///     ScriptedReply::call("refund", json!({ "dollars": 9000 })),
    ///     ScriptedReply::text("I may not."),
    /// ]);
    /// let system = System::builder()
    ///     .provider("scripted", script)
    ///     .tool(refund)
    ///     .can_use_tool(async |request: PermissionRequest| match request.arguments["dollars"].as_u64() {
    ///         Some(..=20) => Permission::Allow,
    ///         Some(21..=500) => Permission::Ask, // a human decides
    ///         _ => Permission::deny("that is too much"),
    ///     })
    ///     .start()
    ///     .await?;
    /// let result = system.run("Pay 9000 back.").await?;
    /// let told = result.messages.iter().flat_map(|message| message.results()).next();
    /// assert_eq!(told.map(|told| told.text()).as_deref(), Some("permission denied: that is too much"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn can_use_tool<F, A>(mut self, callback: F) -> Self
    where
        F: Fn(PermissionRequest) -> A + Send + Sync + 'static,
        A: Future<Output = Permission> + Send + 'static,
    {
        self.options.can_use_tool = Some(CanUseTool::new(callback));
        self
    }

    /// What tools get from the program: auth, a tenant, a pool of connections. `extend` is given the session that calls and
    /// the JSON that its program gave with the send ([`SendMessage::meta`]; `Null` when it gave none), so it makes the
    /// same of a turn that another process began. A tool reads it by its type, with [`ToolContext::extension`] or as a
    /// parameter [`Extension<T>`](ergane_tool::Extension). It runs once for each call that asks, as a part of that call: it
    /// may panic or take its time, but should not block; what is expensive is made before and shared by an `Arc`. Default:
    /// nothing.
    ///
    /// [`SendMessage::meta`]: ergane_session::SendMessage::meta
    /// [`ToolContext::extension`]: ergane_tool::ToolContext::extension
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// struct Tenant(String);
    ///
    /// /// Whose shop it is.
    /// #[tool(effect = "read")]
    /// async fn whose(tenant: Extension<Tenant>) -> String {
    ///     format!("the shop of {}", tenant.0)
    /// }
    ///
    /// # let script = Scripted::replies([ScriptedReply::call("whose", json!({})), ScriptedReply::text("Yours.")]);
    /// let system = System::builder()
    ///     .provider("scripted", script)
    ///     .tool(whose)
    ///     .context(|_session, meta| Extensions::new().with(Tenant(meta["tenant"].as_str().unwrap_or("nobody").into())))
    ///     .start()
    ///     .await?;
    /// let result = system.run("Whose shop is it?").meta(json!({ "tenant": "acme" })).await?;
    /// let told = result.messages.iter().flat_map(|message| message.results()).next();
    /// assert_eq!(told.map(|told| told.text()).as_deref(), Some("the shop of acme"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn context(
        mut self,
        extend: impl Fn(&SessionName, &Value) -> Extensions + Send + Sync + 'static,
    ) -> Self {
        self.options.extend = ContextFn::new(extend);
        self
    }
}
