//! Google's Gemini.

use std::sync::Arc;

use ergane_core::{ModelReply, ProviderError, Text};

use crate::http::{KeyHeader, PathRules, Server};
use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::provider::{BoxFuture, Endpoint, Provider, ProviderCall, invalid};
use crate::site::{LISTING, Site, site_answers, site_settings};
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
        Self { site: Site::new(server, API, is_google) }
    }

    site_settings!(site);

    async fn run(self, mut call: Box<ProviderCall>) -> Result<ModelReply, ProviderError> {
        if call.request.model.is_empty() {
            call.request.model = self.site.model.clone();
        }
        if call.request.model.is_empty() {
            return Err(invalid(format!("no model was named for {}; name one", self.endpoint())));
        }
        let request = |call: &ProviderCall| Ok(wire::request(&call.request, &call.provider));
        self.site.call(call, request, Decoder::new).await
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

    site_answers!(site);

    fn default_model(&self) -> Option<Text> {
        Some(self.site.model.clone()).filter(|model| !model.is_empty())
    }

    /// A key that was named for this server is not carried to another one.
    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        let site = self.site.moved(endpoint, |url| Self::new(url).site)?;
        Ok(Arc::new(Self { site }))
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
        self.site.embed(request, wire::embed_request, wire::embeddings)
    }
}
