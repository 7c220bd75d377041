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
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.errand.endpoint = endpoint;
        self
    }

    /// How long it may take in all. Default: 30 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.errand.deadline = deadline;
        self
    }

    /// Asks for one model only: its context window above all.
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
    pub fn provider(mut self, name: impl Into<Text>) -> Self {
        self.errand.provider = Some(name.into());
        self
    }

    /// Another place of the same kind of provider.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.errand.endpoint = endpoint;
        self
    }

    /// How many numbers a vector is to have. Default: as many as the model makes.
    pub fn dimensions(mut self, dimensions: u32) -> Self {
        self.request.dimensions = Some(dimensions);
        self
    }

    /// How long it may take in all. Default: 30 s.
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
