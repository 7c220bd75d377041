//! What the tools of a session may do, and who decides where nothing does.

use ergane_core::{OnUnknown, PermissionMode, Text, Ungranted};

use super::SessionBuilder;

impl SessionBuilder {
    /// The permission mode. Default: [`PermissionMode::Default`].
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").permissions(PermissionMode::Plan).start().await?;
    /// assert_eq!(alice.settings().await?.permissions.mode, PermissionMode::Plan);
    /// # Ok(())
    /// # }
    /// ```
    pub fn permissions(mut self, mode: PermissionMode) -> Self {
        self.patch.permission_mode = Some(mode);
        self
    }

    /// Only these tools may run; in mode `default` they are granted. Default: no such list.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").allow(["read", "glob", "grep", "bash"]).start().await?;
    /// // `write` and `edit` are denied now, and `bash` runs without a question.
    /// assert_eq!(alice.settings().await?.permissions.allow.as_ref().map(Vec::len), Some(4));
    /// # Ok(())
    /// # }
    /// ```
    pub fn allow<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.patch.allow = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// These tools never run. Default: none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").permissions(PermissionMode::Bypass).deny(["bash"]).start().await?;
    /// assert_eq!(alice.settings().await?.permissions.deny, ["bash".into()]); // wins over `Bypass`
    /// # Ok(())
    /// # }
    /// ```
    pub fn deny<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.patch.deny = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// These tools are granted, and nothing is denied to others: unlike [`allow`](Self::allow). Default: none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").ungranted(Ungranted::Ask).grant(["write", "edit"]).start().await?;
    /// // Files are written without a question; about a shell somebody is asked.
    /// assert_eq!(alice.settings().await?.permissions.granted.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn grant<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.patch.granted = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// What happens to a call that nothing granted and no callback decides about. Default: it runs; in mode
    /// `accept_edits` it is asked about at least.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").ungranted(Ungranted::Ask).start().await?;
    /// assert_eq!(alice.settings().await?.permissions.ungranted, Ungranted::Ask);
    /// # Ok(())
    /// # }
    /// ```
    pub fn ungranted(mut self, ungranted: Ungranted) -> Self {
        self.patch.ungranted = Some(ungranted);
        self
    }

    /// What happens to a call that changes the world and was cut off by a crash. Default: the model is told.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").on_unknown(OnUnknown::AskHuman).start().await?;
    /// assert_eq!(alice.settings().await?.on_unknown, OnUnknown::AskHuman);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_unknown(mut self, on_unknown: OnUnknown) -> Self {
        self.patch.on_unknown = Some(on_unknown);
        self
    }
}
