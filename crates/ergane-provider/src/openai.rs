//! OpenAI and all who speak Chat Completions.

use std::sync::Arc;

use ergane_core::{ModelReply, ProviderError, Text};

use crate::http::{KeySource, PathRules, Server};
use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::port::Limits;
use crate::provider::{BoxFuture, Endpoint, Provider, ProviderCall};
use crate::site::{EMBEDDING, LISTING, Site, named_for_embedding, only_model, site_settings};
use crate::wire::openai::{self as wire, API, Decoder, Flavor};

/// OpenAI's own base URL.
const OPENAI: &str = "https://api.openai.com/v1";

/// The model of [`OpenAi::default`] when none is named.
const DEFAULT_MODEL: &str = "gpt-5.4";

const KEY: &str = "OPENAI_API_KEY";

const PATHS: PathRules =
    PathRules { strip: &["/chat/completions", "/completions", "/models"], default: "/v1" };

/// OpenAI, or any server that speaks its Chat Completions: llama.cpp, vLLM, LM Studio, OpenRouter, and so on.
///
/// A base URL may be typed as one remembers it: without a scheme, with or without a slash at the end; without any path
/// it gets `/v1`, and a `/chat/completions` at its end is taken off.
///
/// The key is read at each call from `OPENAI_API_KEY` or where the builder says. OpenAI itself needs one. Elsewhere it is
/// optional; there `OPENAI_API_KEY` is used when it is set, but never sent over plain HTTP to another machine.
///
/// ```
/// use ergane_provider::{OpenAi, Provider};
///
/// let local = OpenAi::new("localhost:8080").model("smollm2");
/// assert_eq!(local.endpoint(), "http://localhost:8080/v1");
/// ```
#[derive(Debug, Clone)]
pub struct OpenAi {
    site: Site,
}

impl Default for OpenAi {
    /// OpenAI itself, with the key in `OPENAI_API_KEY`.
    fn default() -> Self {
        Self::new(OPENAI).model(DEFAULT_MODEL)
    }
}

impl OpenAi {
    /// The server at `base_url`. That it is no URL is told by every call.
    pub fn new(base_url: impl AsRef<str>) -> Self {
        let mut server = Server::new(base_url.as_ref(), &PATHS, KeySource::UsualEnv(KEY));
        if server.base().is_ok_and(|base| !base.is_https() && !base.is_loopback()) {
            server.key = KeySource::None;
        }
        let is_openai = server.base().is_ok_and(|base| base.host() == "api.openai.com");
        Self { site: Site::new(server, API, is_openai) }
    }

    site_settings!();

    /// The model to use when a request names none. Without, and elsewhere than at OpenAI, the server is asked once which
    /// one it has; with several, one must be named.
    pub fn model(mut self, model: impl Into<Text>) -> Self {
        self.site.model = model.into();
        self
    }

    fn flavor(&self) -> Flavor {
        if self.site.needs_key { Flavor::OpenAi } else { Flavor::Compatible }
    }

    async fn run(self, mut call: ProviderCall) -> Result<ModelReply, ProviderError> {
        if call.request.model.is_empty() {
            call.request.model =
                self.site.usual_model(|| async { only_model(&self.list().await?, &self.endpoint()) }).await?;
        }
        let flavor = self.flavor();
        self.site
            .call(call, |call| Ok(wire::request(&call.request, &call.provider, flavor)), Decoder::new)
            .await
    }

    async fn list(&self) -> Result<Vec<ModelInfo>, ProviderError> {
        self.site.json(wire::models_request(), LISTING, wire::models).await
    }
}

impl Provider for OpenAi {
    fn api(&self) -> &'static str {
        API
    }

    /// An empty name leaves the choice to the server, see [`OpenAi::model`].
    fn default_model(&self) -> Option<Text> {
        Some(self.site.model.clone())
    }

    fn endpoint(&self) -> String {
        self.site.server.shown()
    }

    /// A key that was named for this server is not carried to another one.
    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(Self { site: self.site.moved(endpoint, |url| Self::new(url).site)? }))
    }

    fn limits(&self) -> Limits {
        self.site.server.limits
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        Box::pin(self.clone().run(call))
    }

    fn list_models(&self) -> BoxFuture<'static, Result<Vec<ModelInfo>, ProviderError>> {
        let this = self.clone();
        Box::pin(async move { this.list().await })
    }

    fn embed(&self, request: EmbedRequest) -> BoxFuture<'static, Result<Embeddings, ProviderError>> {
        let site = self.site.clone();
        Box::pin(async move {
            named_for_embedding(&request.model)?;
            site.json(wire::embed_request(&request), EMBEDDING, |answer| wire::embeddings(answer, &request))
                .await
        })
    }
}
