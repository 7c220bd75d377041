//! Who is asked, and what they are told first.

use ergane_core::Text;

use super::SessionBuilder;

impl SessionBuilder {
    /// The registered name of the provider. Default: the first one registered.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder()
    /// #     .provider("first", Scripted::replies([]))
    /// #     .provider("second", Scripted::builtin())
    /// #     .start()
    /// #     .await?;
    /// let alice = system.session("alice").provider("second").start().await?;
    /// assert_eq!(&*alice.send_message("hello").await?.provider, "second");
    /// # Ok(())
    /// # }
    /// ```
    pub fn provider(mut self, name: impl Into<Text>) -> Self {
        self.patch.provider = Some(name.into());
        self
    }

    /// A provider to be asked when the one before it fails for good: its attempts are used up, or no further one would
    /// help. It is asked for its own usual model. May be said several times; who answered is told by the result and the
    /// events. Another [`provider`](Self::provider) begins with none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ergane::core::ErrorKind;
    /// use ergane::provider::ScriptedError;
    ///
    /// let down = Scripted::replies([ScriptedReply::failing(ScriptedError::new(ErrorKind::Auth))]);
    /// let system = System::builder().provider("cloud", down).provider("local", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").provider("cloud").or("local").start().await?;
    /// assert_eq!(&*alice.send_message("hello").await?.provider, "local");
    /// # Ok(())
    /// # }
    /// ```
    pub fn or(mut self, name: impl Into<Text>) -> Self {
        self.patch.fallbacks.get_or_insert_default().push(name.into());
        self
    }

    /// The model at the provider. Default: the provider's.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").model("qwen3:8b").start().await?;
    /// assert_eq!(&*alice.settings().await?.model, "qwen3:8b");
    /// # Ok(())
    /// # }
    /// ```
    pub fn model(mut self, model: impl Into<Text>) -> Self {
        self.patch.model = Some(model.into());
        self
    }

    /// Another base URL than the provider was registered with. One with a query, or with a user name, may hold a key and is
    /// refused when the session starts ([`SessionError::SecretInUrl`](crate::SessionError::SecretInUrl)): settings are kept and shown. Register a provider with
    /// such a URL.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").base_url("http://gpu-box:11434").start().await?;
    /// assert_eq!(alice.settings().await?.base_url.as_deref(), Some("http://gpu-box:11434"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn base_url(mut self, url: impl Into<Text>) -> Self {
        self.patch.base_url = Some(url.into());
        self
    }

    /// The name of the environment variable that holds the key, where it is another than the provider's.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").api_key_env("TEAM_KEY").start().await?;
    /// assert_eq!(alice.settings().await?.api_key_env.as_deref(), Some("TEAM_KEY"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn api_key_env(mut self, variable: impl Into<Text>) -> Self {
        self.patch.api_key_env = Some(variable.into());
        self
    }

    /// The system prompt. Default: none.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").system_prompt("You are a senior Rust engineer.").start().await?;
    /// assert!(alice.settings().await?.system_prompt.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn system_prompt(mut self, prompt: impl Into<Text>) -> Self {
        self.patch.system_prompt = Some(prompt.into());
        self
    }
}
