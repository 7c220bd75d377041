//! Questions to a provider that are no model calls: what models there are, and vectors of texts.
//!
//! They are asked in the task that awaits them, so they need no actor, hold up none, and end with whoever asked.

use std::future::IntoFuture;
use std::time::Duration;

use ergane_core::{ProviderError, Text};
use ergane_provider::{BoxFuture, EmbedRequest, Embeddings, Endpoint, ModelInfo, Providers};

use crate::error::SystemError;

/// How long an answer may take when nobody says otherwise.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where a question goes and how long it may take.
#[derive(Debug)]
struct Errand {
    providers: Providers,
    provider: Option<Text>,
    endpoint: Endpoint,
    deadline: Duration,
}

impl Errand {
    fn new(providers: Providers) -> Self {
        Self { providers, provider: None, endpoint: Endpoint::default(), deadline: DEADLINE }
    }

    fn provider(&self) -> Result<Text, SystemError> {
        let none = || {
            let message = "no provider is registered; give the system one with `.provider(name, value)`";
            ProviderError::new(ergane_core::ErrorKind::InvalidRequest, message)
        };
        Ok(self.provider.clone().or_else(|| self.providers.default_name()).ok_or_else(none)?)
    }
}

/// A list of models to be asked for. See [`System::models`](crate::System::models).
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// for model in system.models("scripted").await? {
///     println!("{}: calls tools: {:?}", model.id, model.tools);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct ListModels {
    errand: Errand,
}

impl ListModels {
    pub(crate) fn new(providers: Providers, provider: Text) -> Self {
        Self { errand: Errand { provider: Some(provider), ..Errand::new(providers) } }
    }

    /// Another place of the same kind of provider.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ergane::provider::Endpoint;
    ///
    /// let system = System::builder().provider("ollama", Ollama::default()).start().await?;
    /// let nobody = Endpoint { base_url: Some("http://127.0.0.1:9".into()), ..Endpoint::default() };
    /// let asked = system.models("ollama").endpoint(nobody).await;
    /// assert!(matches!(asked, Err(SystemError::Provider(_))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.errand.endpoint = endpoint;
        self
    }

    /// How long it may take in all. Default: 30 s.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let models = system.models("scripted").deadline(std::time::Duration::from_secs(5)).await?;
    /// assert_eq!(models.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.errand.deadline = deadline;
        self
    }

    /// Asks for one model only: its context window above all.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let model = system.models("scripted").find("scripted").await?;
    /// assert_eq!((&*model.id, model.tools), ("scripted", Some(true)));
    /// assert!(system.models("scripted").find("gpt-5.4").await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SystemError::Provider`].
    pub async fn find(self, model: impl Into<Text>) -> Result<ModelInfo, SystemError> {
        let provider = self.errand.provider()?;
        let Errand { providers, endpoint, deadline, .. } = self.errand;
        Ok(providers.model_info(&provider, &endpoint, model.into(), deadline).await?)
    }
}

impl IntoFuture for ListModels {
    type Output = Result<Vec<ModelInfo>, SystemError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let provider = self.errand.provider()?;
            let Errand { providers, endpoint, deadline, .. } = self.errand;
            Ok(providers.list_models(&provider, &endpoint, deadline).await?)
        })
    }
}

/// Vectors of texts to be asked for. See [`System::embed`](crate::System::embed).
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// let made = system.embed("scripted", ["a red fox", "A red FOX!", "blue whales sing"]).await?;
/// let near = |a: usize, b: usize| -> f32 {
///     made.vectors[a].iter().zip(&made.vectors[b]).map(|(a, b)| a * b).sum()
/// };
/// assert!(near(0, 1) > near(0, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Embed {
    errand: Errand,
    request: EmbedRequest,
}

impl Embed {
    pub(crate) fn new(providers: Providers, request: EmbedRequest) -> Self {
        Self { errand: Errand::new(providers), request }
    }

    /// The registered name of the provider. Default: the first one registered.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder()
    ///     .provider("chat", Anthropic::default())
    ///     .provider("vectors", Scripted::builtin())
    ///     .start()
    ///     .await?;
    /// let made = system.embed("scripted", ["a red fox"]).provider("vectors").await?;
    /// assert_eq!(made.vectors.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn provider(mut self, name: impl Into<Text>) -> Self {
        self.errand.provider = Some(name.into());
        self
    }

    /// Another place of the same kind of provider.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ergane::provider::Endpoint;
    ///
    /// let system = System::builder().provider("ollama", Ollama::default()).start().await?;
    /// let nobody = Endpoint { base_url: Some("http://127.0.0.1:9".into()), ..Endpoint::default() };
    /// let asked = system.embed("nomic-embed-text", ["a red fox"]).endpoint(nobody).await;
    /// assert!(matches!(asked, Err(SystemError::Provider(_))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.errand.endpoint = endpoint;
        self
    }

    /// How many numbers a vector is to have. Default: as many as the model makes.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// assert_eq!(system.embed("scripted", ["a red fox"]).dimensions(8).await?.vectors[0].len(), 8);
    /// # Ok(())
    /// # }
    /// ```
    pub fn dimensions(mut self, dimensions: u32) -> Self {
        self.request.dimensions = Some(dimensions);
        self
    }

    /// How long it may take in all. Default: 30 s.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let made = system.embed("scripted", ["a red fox"]).deadline(std::time::Duration::from_secs(5)).await?;
    /// assert_eq!(made.vectors.len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.errand.deadline = deadline;
        self
    }
}

impl IntoFuture for Embed {
    type Output = Result<Embeddings, SystemError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let provider = self.errand.provider()?;
            let Errand { providers, endpoint, deadline, .. } = self.errand;
            Ok(providers.embed(&provider, &endpoint, self.request, deadline).await?)
        })
    }
}
