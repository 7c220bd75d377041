//! How a model is to answer. What is not set is left to its provider.

use ergane_core::{OutputSchema, PromptCache, ReasoningEffort, Sampling, ToolChoice};

use super::SessionBuilder;

impl SessionBuilder {
    /// At most so many tokens of answer from each model call; `None` leaves it to the provider, which is the default.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").max_tokens(2_000).start().await?;
    /// assert_eq!(alice.settings().await?.answering.max_tokens, Some(2_000));
    ///
    /// let alice = system.session("alice").max_tokens(None).start().await?; // the provider's own limit again
    /// assert_eq!(alice.settings().await?.answering.max_tokens, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn max_tokens(mut self, tokens: impl Into<Option<u32>>) -> Self {
        self.patch.max_tokens = Some(tokens.into());
        self
    }

    /// How much a model thinks before it answers; `None` leaves it to the provider, which is the default. An adapter
    /// takes the nearest that its provider knows.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").reasoning(ReasoningEffort::High).start().await?;
    /// assert_eq!(alice.settings().await?.answering.reasoning, Some(ReasoningEffort::High));
    /// # Ok(())
    /// # }
    /// ```
    pub fn reasoning(mut self, effort: impl Into<Option<ReasoningEffort>>) -> Self {
        self.patch.reasoning = Some(effort.into());
        self
    }

    /// How tokens are chosen: temperature and the like, the whole of it. Default: left to the provider.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let sober = Sampling { temperature: Some(0.0), seed: Some(7), ..Sampling::default() };
    /// let alice = system.session("alice").sampling(sober.clone()).start().await?;
    /// assert_eq!(alice.settings().await?.answering.sampling, sober);
    /// # Ok(())
    /// # }
    /// ```
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.patch.sampling = Some(sampling);
        self
    }

    /// Whether and which of the tools must be called. Default: the model decides, as it does once a turn has called one.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").tool_choice(ToolChoice::Required).start().await?;
    /// assert_eq!(alice.settings().await?.answering.tool_choice, ToolChoice::Required);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tool_choice(mut self, choice: ToolChoice) -> Self {
        self.patch.tool_choice = Some(choice);
        self
    }

    /// Whether several tools may be called at once; `None` leaves it to the provider, which is the default.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").parallel_tools(false).start().await?;
    /// assert_eq!(alice.settings().await?.answering.parallel_tools, Some(false));
    /// # Ok(())
    /// # }
    /// ```
    pub fn parallel_tools(mut self, parallel: impl Into<Option<bool>>) -> Self {
        self.patch.parallel_tools = Some(parallel.into());
        self
    }

    /// The structure that the text of answers must have, asked for in the provider's own way; `None` is free text, which
    /// is the default. The text is not checked here: a model that cannot be held to it may write something else.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let verdict = OutputSchema::new(
    ///     "verdict",
    ///     json!({ "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"] }),
    /// );
    /// let judge = system.session("judge").output(verdict).start().await?;
    /// assert!(judge.settings().await?.answering.output.is_some());
    /// // let verdict: Verdict = serde_json::from_str(&judge.send_message("Is 7 a prime?").await?.text)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn output(mut self, schema: impl Into<Option<OutputSchema>>) -> Self {
        self.patch.output = Some(schema.into());
        self
    }

    /// Whether the provider keeps the prompt for the next call. Default: for a short time.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").prompt_cache(PromptCache::Long).start().await?;
    /// assert_eq!(alice.settings().await?.answering.cache, PromptCache::Long);
    /// # Ok(())
    /// # }
    /// ```
    pub fn prompt_cache(mut self, cache: PromptCache) -> Self {
        self.patch.prompt_cache = Some(cache);
        self
    }
}
