//! OpenAI and all who speak Chat Completions.

use std::sync::Arc;
use std::time::Duration;

use ergane_core::{ErrorKind, ModelReply, ProviderError, Text};

use crate::error::SetupError;
use crate::http::{PathRules, Server};
use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::provider::{BoxFuture, Endpoint, Provider, ProviderCall};
use crate::site::{LISTING, Site, only_model, site_answers, site_settings};
use crate::wire::openai::{self as wire, API, Compat, CompatServer, Decoder};

/// OpenAI's own base URL.
const OPENAI: &str = "https://api.openai.com/v1";

/// The model of [`OpenAi::default`] when none is named.
const DEFAULT_MODEL: &str = "gpt-5.4";

const KEY: &str = "OPENAI_API_KEY";

const PATHS: PathRules =
    PathRules { strip: &["/chat/completions", "/completions", "/responses", "/models"], default: "/v1" };

/// OpenAI, or any server that speaks its Chat Completions: llama.cpp, vLLM, LM Studio, OpenRouter, and so on.
///
/// A base URL may be typed as one remembers it: without a scheme, with or without a slash at the end; without any path
/// it gets `/v1`, and a `/chat/completions` at its end is taken off.
///
/// What differs between the servers is a table of [`Compat`] flags: the address tells which row holds, and
/// [`OpenAi::compat`] gives others.
///
/// The key is read at each call from `OPENAI_API_KEY` or where the builder says. OpenAI itself needs one. The hosted
/// servers of the table need one of their own, such as `GROQ_API_KEY`. Elsewhere it is optional; there `OPENAI_API_KEY`
/// is used when it is set, but never sent over plain HTTP to another machine.
///
/// Without a named model, and elsewhere than at OpenAI, the server is asked once which one it has; with several, one must be
/// named.
///
/// ```
/// use ergane_provider::{OpenAi, Provider};
///
/// let local = OpenAi::new("localhost:8080").model("smollm2");
/// assert_eq!(local.endpoint(), "http://localhost:8080/v1");
/// ```
#[derive(Debug, Clone)]
pub struct OpenAi {
    pub(crate) site: Site,
    pub(crate) flags: Arc<Compat>,
    /// Whether the flags are the user's own, and not those of the address.
    own_flags: bool,
}

impl Default for OpenAi {
    /// OpenAI itself, with the key in `OPENAI_API_KEY`.
    fn default() -> Self {
        Self::new(OPENAI).model(DEFAULT_MODEL)
    }
}

impl OpenAi {
    /// The server at `base_url`. That it is no URL is told by every call.
    ///
    /// ```
    /// use ergane_provider::{OpenAi, Provider};
    ///
    /// assert_eq!(OpenAi::new("localhost:8080").endpoint(), "http://localhost:8080/v1");
    /// assert_eq!(OpenAi::new("https://openrouter.ai/api/v1/chat/completions").endpoint(), "https://openrouter.ai/api/v1");
    /// ```
    pub fn new(base_url: impl AsRef<str>) -> Self {
        let server = Server::new(base_url.as_ref(), &PATHS);
        let known = server.base().ok().and_then(|base| {
            CompatServer::at(base.host(), base.is_loopback().then(|| base.port()).flatten())
        });
        // The table's servers have keys of their own; OpenAI's goes to none of them.
        let own_key = known.map(|server| server.key_env).filter(|variable| !variable.is_empty());
        let needs_key = own_key.is_some();
        let server = server.usual_key(own_key.unwrap_or(KEY));
        let flags = known.map_or_else(Compat::default, |server| (server.flags)());
        Self { site: Site::new(server, API, needs_key), flags: Arc::new(flags), own_flags: false }
    }

    /// A server that is known by name, at its usual address and with its usual variable for the key: `openai`,
    /// `llama.cpp`, `vllm`, `lmstudio`, `groq`, `openrouter`, `together`, `deepseek` or `mistral`.
    ///
    /// ```
    /// use ergane_provider::{OpenAi, Provider};
    ///
    /// assert_eq!(OpenAi::server("groq")?.endpoint(), "https://api.groq.com/openai/v1");
    /// assert!(OpenAi::server("grok").unwrap_err().to_string().contains("groq, openrouter"));
    /// # Ok::<(), ergane_provider::SetupError>(())
    /// ```
    ///
    /// # Errors
    /// [`SetupError::UnknownServer`], which names those that are known.
    pub fn server(name: &str) -> Result<Self, SetupError> {
        let known = || wire::SERVERS.iter().filter(|server| !server.base_url.is_empty());
        match known().find(|server| server.name == name) {
            Some(server) => Ok(Self::new(server.base_url)),
            None => Err(SetupError::UnknownServer {
                name: name.to_owned(),
                known: known().map(|server| server.name).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// What the server takes, where the address alone does not tell. They go along to another address. [`Self::tool_calls`] behind
    /// it overrules its flag of that name.
    ///
    /// ```
    /// use ergane_provider::{Compat, OpenAi};
    ///
    /// let flags: Compat = serde_json::from_str(r#"{"like": "vllm", "parallel_flag": false}"#)?;
    /// let server = OpenAi::new("http://gpu-box:8000").compat(flags);
    /// # let _ = server;
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn compat(mut self, flags: Compat) -> Self {
        self.site.tool_calls = flags.tool_calls;
        (self.flags, self.own_flags) = (Arc::new(flags), true);
        self
    }

    site_settings!(site);

    async fn run(self, mut call: Box<ProviderCall>) -> Result<ModelReply, ProviderError> {
        if call.request.model.is_empty() {
            call.request.model = self.usual_model(call.idle_timeout).await?;
        }
        let flags = self.flags.clone();
        let request = |call: &ProviderCall| wire::request(&call.request, &call.provider, &flags);
        self.site.call(call, request, |info, head| Decoder::of(info, head, &flags)).await
    }

    /// The model to use when a request names none.
    pub(crate) async fn usual_model(&self, patience: Duration) -> Result<Text, ProviderError> {
        self.site.usual_model(patience, || async { only_model(&self.list().await?, &self.endpoint()) }).await
    }

    /// This server, or the one at `endpoint`.
    pub(crate) fn moved(&self, endpoint: &Endpoint) -> Result<Self, ProviderError> {
        let at = |url: &str| Self::new(url);
        let flags = match &endpoint.base_url {
            Some(url) if !self.own_flags => at(url).flags,
            _ => self.flags.clone(),
        };
        let site = self.site.moved(endpoint, |url| at(url).site)?;
        Ok(Self { site, flags, own_flags: self.own_flags })
    }

    async fn list(&self) -> Result<Vec<ModelInfo>, ProviderError> {
        let read = |list: &serde_json::Value| {
            for (model, tokens) in wire::rooms(list) {
                self.site.learn_window(&model.into(), tokens);
            }
            wire::models(list)
        };
        self.site.json(wire::models_request(), LISTING, read).await
    }
}

impl Provider for OpenAi {
    fn api(&self) -> &'static str {
        API
    }

    site_answers!(site);

    /// An empty name leaves the choice to the server, see [`OpenAi::model`].
    fn default_model(&self) -> Option<Text> {
        Some(self.site.model.clone())
    }

    /// A key that was named for this server is not carried to another one.
    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(self.moved(endpoint)?))
    }

    fn list_models(&self) -> BoxFuture<'static, Result<Vec<ModelInfo>, ProviderError>> {
        let this = self.clone();
        Box::pin(async move { this.list().await })
    }

    /// What the list tells; llama.cpp tells its window in another place, and answers by any name.
    fn model_info(&self, model: Text) -> BoxFuture<'static, Result<ModelInfo, ProviderError>> {
        let this = self.clone();
        Box::pin(async move {
            let models = this.list().await?;
            let named = models.iter().find(|info| info.id == model).cloned();
            let mut info = match (named, models.as_slice()) {
                (Some(info), _) => info,
                (None, [_]) => ModelInfo::new(model.clone()),
                (None, _) => {
                    let message = format!("{} lists no model {model:?}", this.endpoint());
                    return Err(ProviderError::new(ErrorKind::ModelNotFound, message));
                }
            };
            // Its list tells what the model was made for, if anything, and not what it was started with.
            if models.len() == 1
                && let Ok(window) = this.site.json(wire::props_request(), LISTING, wire::window).await
            {
                info.context_window = Some(window);
                this.site.learn_windows([&info]);
            }
            Ok(info)
        })
    }

    fn embed(&self, request: EmbedRequest) -> BoxFuture<'static, Result<Embeddings, ProviderError>> {
        self.site.embed(request, wire::embed_request, wire::embeddings)
    }
}
