//! Google's Gemini.

use std::sync::Arc;

use ergane_core::{ModelReply, ProviderError, Text};

use crate::http::{KeyHeader, PathRules, Server};
use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::port::Limits;
use crate::provider::{BoxFuture, Endpoint, Provider, ProviderCall, invalid};
use crate::site::{EMBEDDING, LISTING, Site, named_for_embedding, site_settings};
use crate::tool_calls::ToolCalls;
use crate::wire::gemini::{self as wire, API, Decoder};

/// Google's own base URL.
const GOOGLE: &str = "https://generativelanguage.googleapis.com/v1beta";

/// The model of [`Gemini::default`] when none is named: Google's word for its newest of the middle size.
const DEFAULT_MODEL: &str = "gemini-flash-latest";

const KEY: &str = "GEMINI_API_KEY";

const PATHS: PathRules = PathRules { strip: &["/models"], default: "/v1beta" };

/// Gemini by its native API, at Google or at a server that stands in for it.
///
/// The key is read at each call from `GEMINI_API_KEY` or where the builder says, and goes in a header, never in the URL.
/// Google itself needs one; elsewhere `GEMINI_API_KEY` is used when it is set, but never sent over plain HTTP to another
/// machine.
///
/// ```
/// use ergane_provider::{Gemini, Provider};
///
/// let gemini = Gemini::default().model("gemini-3-pro");
/// assert_eq!(gemini.endpoint(), "https://generativelanguage.googleapis.com/v1beta");
/// ```
#[derive(Debug, Clone)]
pub struct Gemini {
    site: Site,
    tool_calls: ToolCalls,
}

impl Default for Gemini {
    /// Google itself, with the key in `GEMINI_API_KEY`.
    fn default() -> Self {
        Self::new(GOOGLE).model(DEFAULT_MODEL)
    }
}

impl Gemini {
    /// The server at `base_url`. That it is no URL is told by every call. Without a path it gets `/v1beta`.
    ///
    /// ```
    /// use ergane_provider::{Gemini, Provider};
    ///
    /// assert_eq!(Gemini::new("localhost:8080").endpoint(), "http://localhost:8080/v1beta");
    /// ```
    pub fn new(base_url: impl AsRef<str>) -> Self {
        let mut server = Server::new(base_url.as_ref(), &PATHS).usual_key(KEY);
        server.key_header = KeyHeader::Named("x-goog-api-key");
        let is_google = server.base().is_ok_and(|base| base.host() == "generativelanguage.googleapis.com");
        Self { site: Site::new(server, API, is_google), tool_calls: ToolCalls::default() }
    }

    site_settings!(site);

    /// The model to use when a request names none.
    ///
    /// ```
    /// use ergane_provider::{Gemini, Provider};
    ///
    /// assert_eq!(Gemini::default().model("gemini-3-pro").default_model().as_deref(), Some("gemini-3-pro"));
    /// ```
    pub fn model(mut self, model: impl Into<Text>) -> Self {
        self.site.model = model.into();
        self
    }

    /// How models are told of tools, [`ToolCalls::Auto`].
    ///
    /// ```
    /// use ergane_provider::{Gemini, ToolCalls};
    ///
    /// let in_words = Gemini::new("localhost:8080").tool_calls(ToolCalls::Text);
    /// # let _ = in_words;
    /// ```
    pub fn tool_calls(mut self, how: ToolCalls) -> Self {
        self.tool_calls = how;
        self
    }

    async fn run(self, mut call: ProviderCall) -> Result<ModelReply, ProviderError> {
        if call.request.model.is_empty() {
            call.request.model = self.site.model.clone();
        }
        if call.request.model.is_empty() {
            return Err(invalid(format!("no model was named for {}; name one", self.endpoint())));
        }
        let request = |call: &ProviderCall| Ok(wire::request(&call.request, &call.provider));
        self.site.native.call(self.tool_calls, &self.site, call, request, Decoder::new).await
    }

    async fn list(self) -> Result<Vec<ModelInfo>, ProviderError> {
        let read = |list: &serde_json::Value| Ok((wire::models(list)?, wire::next_page(list)));
        let models = self.site.pages(wire::models_request, read).await?;
        self.site.learn_windows(&models);
        Ok(models)
    }
}

impl Provider for Gemini {
    fn api(&self) -> &'static str {
        API
    }

    fn default_model(&self) -> Option<Text> {
        Some(self.site.model.clone()).filter(|model| !model.is_empty())
    }

    fn endpoint(&self) -> String {
        self.site.server.shown()
    }

    /// A key that was named for this server is not carried to another one.
    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        let site = self.site.moved(endpoint, |url| Self::new(url).site)?;
        Ok(Arc::new(Self { site, tool_calls: self.tool_calls }))
    }

    fn key_env(&self) -> Option<Text> {
        self.site.server.key.env()
    }

    fn limits(&self) -> Limits {
        self.site.server.limits
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        Box::pin(self.clone().run(call))
    }

    fn list_models(&self) -> BoxFuture<'static, Result<Vec<ModelInfo>, ProviderError>> {
        Box::pin(self.clone().list())
    }

    fn model_info(&self, model: Text) -> BoxFuture<'static, Result<ModelInfo, ProviderError>> {
        let site = self.site.clone();
        Box::pin(async move {
            let info = site.json(wire::model_info_request(&model), LISTING, wire::model_info).await?;
            site.learn_windows([&info]);
            Ok(info)
        })
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
