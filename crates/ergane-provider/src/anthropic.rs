//! Anthropic, and all who speak its Messages API.

use std::sync::Arc;

use ergane_core::{ErrorKind, ModelReply, ProviderError, Text};

use crate::http::{KeyHeader, PathRules, Server};
use crate::models::ModelInfo;
use crate::provider::{BoxFuture, Endpoint, Provider, ProviderCall};
use crate::site::{LISTING, Site, only_model, site_answers, site_settings};
use crate::wire::anthropic::{self as wire, API, Decoder};

/// Anthropic's own base URL.
const ANTHROPIC: &str = "https://api.anthropic.com";

/// The model when none is named.
const DEFAULT_MODEL: &str = "claude-sonnet-4-6";

const KEY: &str = "ANTHROPIC_API_KEY";

const KEY_HEADER: KeyHeader = KeyHeader::Named("x-api-key");

const PATHS: PathRules = PathRules { strip: &["/v1/messages", "/v1/models", "/v1"], default: "" };

/// Anthropic, or any server that speaks its Messages API: llama.cpp, Ollama, LiteLLM, DeepSeek, and so on.
///
/// The key is read at each call from `ANTHROPIC_API_KEY` or where the builder says. Anthropic itself needs one. Elsewhere
/// it is optional; there `ANTHROPIC_API_KEY` is used when it is set, but never sent over plain HTTP to another machine.
///
/// ```
/// use ergane_provider::{Anthropic, Provider};
///
/// assert_eq!(Anthropic::default().endpoint(), "https://api.anthropic.com");
/// assert_eq!(Anthropic::new("localhost:8080/v1").endpoint(), "http://localhost:8080");
/// ```
#[derive(Debug, Clone)]
pub struct Anthropic {
    site: Site,
    strict_tools: bool,
}

impl Default for Anthropic {
    /// Anthropic itself, with the key in `ANTHROPIC_API_KEY`.
    fn default() -> Self {
        Self::new(ANTHROPIC).model(DEFAULT_MODEL)
    }
}

impl Anthropic {
    /// The server at `base_url`, which is given without `/v1`. That it is no URL is told by every call.
    ///
    /// ```
    /// use ergane_provider::{Anthropic, Provider};
    ///
    /// assert_eq!(Anthropic::new("https://api.deepseek.com/anthropic").endpoint(), "https://api.deepseek.com/anthropic");
    /// ```
    pub fn new(base_url: impl AsRef<str>) -> Self {
        let mut server = Server::new(base_url.as_ref(), &PATHS).usual_key(KEY);
        server.key_header = KEY_HEADER;
        let needs_key = server.base().is_ok_and(|base| base.host() == "api.anthropic.com");
        let site = Site::new(server, API, needs_key);
        Self { site, strict_tools: false }
    }

    site_settings!(site);

    /// Sends the key as `Authorization: Bearer`, as gateways want it, and not as `x-api-key`.
    ///
    /// ```
    /// use ergane_provider::Anthropic;
    ///
    /// let gateway = Anthropic::new("https://gateway.example.org").api_key_env("GATEWAY_KEY").bearer();
    /// # let _ = gateway;
    /// ```
    pub fn bearer(mut self) -> Self {
        self.site.server.key_header = KeyHeader::Bearer;
        self
    }

    /// Offers tools in the strict mode, in which a model cannot write arguments that do not match; not so by default. A tool
    /// whose schema the mode does not take goes without, and so do those that are too many: with 20 tools, 24 arguments in all that
    /// may be left out, and 16 that may be of several types the mode is full. The structure that an answer is to have counts too.
    ///
    /// It is for few tools. The server makes one grammar of them all, which takes time at first, and refuses the request when it
    /// finds it too large, by a measure that it does not tell. Models older than Claude Sonnet 4.5 and Opus 4.1 do not know
    /// the mode.
    ///
    /// ```
    /// use ergane_provider::Anthropic;
    ///
    /// let exact = Anthropic::default().strict_tools(true);
    /// # let _ = exact;
    /// ```
    pub fn strict_tools(mut self, strict: bool) -> Self {
        self.strict_tools = strict;
        self
    }

    async fn run(self, mut call: Box<ProviderCall>) -> Result<ModelReply, ProviderError> {
        if call.request.model.is_empty() {
            let ask = || async { only_model(&self.list().await?, &self.endpoint()) };
            call.request.model = self.site.usual_model(call.idle_timeout, ask).await?;
        }
        let strict = self.strict_tools;
        let request = |call: &ProviderCall| wire::request(&call.request, &call.provider, strict);
        self.site.call(call, request, Decoder::new).await
    }

    async fn list(&self) -> Result<Vec<ModelInfo>, ProviderError> {
        let models = self.site.pages(wire::models_request, wire::models).await?;
        self.site.learn_windows(&models);
        Ok(models)
    }
}

impl Provider for Anthropic {
    fn api(&self) -> &'static str {
        API
    }

    site_answers!(site);

    /// An empty name leaves the choice to the server, which must then list one model only.
    fn default_model(&self) -> Option<Text> {
        Some(self.site.model.clone())
    }

    /// A key that was named for this server is not carried to another one.
    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        let mut site = self.site.moved(endpoint, |url| Self::new(url).site)?;
        site.server.key_header = self.site.server.key_header;
        Ok(Arc::new(Self { site, ..*self }))
    }

    fn list_models(&self) -> BoxFuture<'static, Result<Vec<ModelInfo>, ProviderError>> {
        let this = self.clone();
        Box::pin(async move { this.list().await })
    }

    /// What the list tells. A model that it does not list is asked for by its name, for that may be an alias (`claude-3-5-haiku-latest`): what
    /// it leads to is told under its own name.
    fn model_info(&self, model: Text) -> BoxFuture<'static, Result<ModelInfo, ProviderError>> {
        let this = self.clone();
        Box::pin(async move {
            let listed = this.list().await?.into_iter().find(|info| info.id == model);
            if let Some(info) = listed {
                return Ok(info);
            }
            match this.site.json(wire::model_info_request(&model), LISTING, wire::model_info).await {
                Ok(info) => {
                    // It is by the alias that it will be asked.
                    this.site.learn_windows([&info, &ModelInfo { id: model, ..info.clone() }]);
                    Ok(info)
                }
                // Not every server that lists its models can be asked for one.
                Err(error) if error.status == Some(404) => {
                    let message = format!("{} neither lists nor knows a model {model:?}", this.endpoint());
                    Err(ProviderError::new(ErrorKind::ModelNotFound, message))
                }
                Err(error) => Err(error),
            }
        })
    }
}
