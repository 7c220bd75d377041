//! Ollama, local or elsewhere.

use std::sync::Arc;
use std::time::Duration;

use ergane_core::{ErrorKind, ModelReply, ProviderError, Text};

use crate::http::{PathRules, Server};
use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::price::Pricing;
use crate::provider::{BoxFuture, Endpoint, Provider, ProviderCall};
use crate::site::{LISTING, Site, site_answers, site_settings};
use crate::windows::Window;
use crate::wire::ollama::{self as wire, API, Decoder};

const LOCAL: &str = "http://localhost:11434";

const PATHS: PathRules = PathRules { strip: &["/api/chat", "/api", "/v1"], default: "" };

/// The context window that models are loaded with when nobody says otherwise, in tokens: room for tools and files, and
/// still within the memory of a small machine. The server's own default is 4096 on most.
const NUM_CTX: u32 = 16_384;

/// How long the server may take to say what a model can do: it looks it up in a file.
const SHOWING: Duration = Duration::from_secs(5);

/// Ollama, by its native API.
///
/// Without a named model the server is asked, once, at the first call, which models it has; the first of its list (the
/// one changed last) is used. No key is needed; a hosted one takes the key that the builder names. With
/// [`ToolCalls::Auto`](crate::ToolCalls::Auto) the server is asked whether a model has native calls, before each call with
/// tools until it has answered once.
///
/// Its API cannot force a call: of a request with [`ToolChoice::Tool`](ergane_core::ToolChoice::Tool) only that tool is
/// offered, with [`ToolChoice::None`](ergane_core::ToolChoice::None) none, and
/// [`ToolChoice::Required`](ergane_core::ToolChoice::Required) is no more than a wish.
///
/// ```
/// use ergane_provider::{Ollama, Provider};
///
/// assert_eq!(Ollama::default().endpoint(), "http://localhost:11434");
/// assert_eq!(Ollama::new("gpu-box:11434/").model("qwen3:8b").endpoint(), "http://gpu-box:11434");
/// ```
#[derive(Debug, Clone)]
pub struct Ollama {
    site: Site,
    num_ctx: u32,
}

impl Default for Ollama {
    /// The one on this machine.
    fn default() -> Self {
        Self::new(LOCAL)
    }
}

impl Ollama {
    /// The server at `base_url`. That it is no URL is told by every call.
    ///
    /// ```
    /// use ergane_provider::{Ollama, Provider};
    ///
    /// assert_eq!(Ollama::new("gpu-box:11434").endpoint(), "http://gpu-box:11434");
    /// ```
    pub fn new(base_url: impl AsRef<str>) -> Self {
        let server = Server::new(base_url.as_ref(), &PATHS);
        Self { site: Site::new(server, API, false), num_ctx: NUM_CTX }
    }

    site_settings!(site);

    /// The context window to load models with, in tokens, 16384. More takes more memory.
    ///
    /// ```
    /// use ergane_provider::Ollama;
    ///
    /// let roomy = Ollama::default().model("qwen3:8b").num_ctx(32_768);
    /// # let _ = roomy;
    /// ```
    pub fn num_ctx(mut self, tokens: u32) -> Self {
        self.num_ctx = tokens;
        self
    }

    /// Whether a server that speaks this API answers within `limit`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use ergane_provider::Ollama;
    ///
    /// let nobody = Ollama::new("http://127.0.0.1:9");
    /// assert!(!nobody.probe(Duration::from_secs(1)).await);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn probe(&self, limit: Duration) -> bool {
        self.list(limit).await.is_ok()
    }

    async fn list(&self, limit: Duration) -> Result<Vec<ModelInfo>, ProviderError> {
        self.site.json(wire::models_request(), limit, wire::models).await
    }

    async fn run(self, mut call: Box<ProviderCall>) -> Result<ModelReply, ProviderError> {
        if call.request.model.is_empty() {
            call.request.model = self.site.usual_model(call.idle_timeout, || self.ask_for_a_model()).await?;
        }
        if !call.request.tools.is_empty()
            && self.site.native.known(self.site.tool_calls, &call.request.model).is_none()
        {
            self.ask_for_native_calls(&call.request.model).await;
        }
        // It may have given more, as to models that are hosted elsewhere.
        self.site.windows.learn(&call.request.model, Window::Asked(u64::from(self.num_ctx)));
        let request = |call: &ProviderCall| wire::request(&call.request, &call.provider, self.num_ctx);
        self.site.call(call, request, Decoder::new).await
    }

    /// Remembers what the server says of a model's native calls. Where it does not say, they are tried, and a refusal is
    /// remembered; so an error here is none of the call's.
    async fn ask_for_native_calls(&self, model: &Text) {
        let read = |shown: &serde_json::Value| wire::model_info(shown, model);
        match self.site.json(wire::show_request(model), SHOWING, read).await {
            Ok(info) => self.site.native.learn(model, info.tools.unwrap_or(true)),
            Err(error) => tracing::debug!(%model, %error, "whether the model has native calls is not known"),
        }
    }

    async fn ask_for_a_model(&self) -> Result<Text, ProviderError> {
        let first = self.list(LISTING).await?.into_iter().next();
        first.map(|model| model.id).ok_or_else(|| {
            let message = format!(
                "the Ollama at {} has no model yet; get one with `ollama pull llama3.1`, or name one",
                self.endpoint()
            );
            ProviderError::new(ErrorKind::ModelNotFound, message)
        })
    }
}

impl Provider for Ollama {
    fn api(&self) -> &'static str {
        API
    }

    site_answers!(site);

    /// An empty name leaves the choice to the server: the first model of its list.
    fn default_model(&self) -> Option<Text> {
        Some(self.site.model.clone())
    }

    /// A key that was named for this server is not carried to another one.
    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        let mut site = self.site.moved(endpoint, |url| Self::new(url).site)?;
        // A model is a name that every Ollama may know.
        site.model = self.site.model.clone();
        Ok(Arc::new(Self { site, ..self.clone() }))
    }

    /// On this machine it costs nothing, but for the models that are hosted elsewhere under its name.
    fn pricing(&self, model: &str) -> Pricing {
        let is_here = self.site.server.base().is_ok_and(|base| base.is_loopback());
        let is_hosted = model.ends_with("cloud");
        if is_here && !is_hosted { Pricing::Free } else { Pricing::Unknown }
    }

    fn list_models(&self) -> BoxFuture<'static, Result<Vec<ModelInfo>, ProviderError>> {
        let this = self.clone();
        Box::pin(async move { this.list(LISTING).await })
    }

    /// The window is the smaller of the model's own and the one that models are loaded with, [`Ollama::num_ctx`].
    fn model_info(&self, model: Text) -> BoxFuture<'static, Result<ModelInfo, ProviderError>> {
        let (site, num_ctx) = (self.site.clone(), u64::from(self.num_ctx));
        Box::pin(async move {
            let read = |shown: &serde_json::Value| wire::model_info(shown, &model);
            let mut info = site.json(wire::show_request(&model), LISTING, read).await?;
            info.context_window = Some(info.context_window.map_or(num_ctx, |own| own.min(num_ctx)));
            Ok(info)
        })
    }

    fn embed(&self, request: EmbedRequest) -> BoxFuture<'static, Result<Embeddings, ProviderError>> {
        self.site.embed(request, wire::embed_request, wire::embeddings)
    }
}
