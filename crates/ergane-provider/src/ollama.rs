//! Ollama, local or elsewhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ergane_core::{ErrorKind, ModelReply, ProviderError, Text};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::http::{Exchange, KeySource, PathRules, Server};
use crate::models::ModelInfo;
use crate::provider::{BoxFuture, Endpoint, Provider, ProviderCall};
use crate::wire::CallInfo;
use crate::wire::ollama::{API, Decoder, request};

const LOCAL: &str = "http://localhost:11434";

const PATHS: PathRules = PathRules { strip: &["/api/chat", "/api", "/v1"], default: "" };

/// The context window that models are loaded with when nobody says otherwise, in tokens: room for tools and files, and
/// still within the memory of a small machine. The server's own default is 4096 on most.
const NUM_CTX: u32 = 16_384;

/// Ollama, by its native API.
///
/// Without a named model the server is asked, once, at the first call, which models it has; the first of its list (the
/// one changed last) is used. No key is needed; a hosted one takes the key that the builder names.
///
/// ```
/// use ergane_provider::{Ollama, Provider};
///
/// assert_eq!(Ollama::default().endpoint(), "http://localhost:11434");
/// assert_eq!(Ollama::new("gpu-box:11434/").model("qwen3:8b").endpoint(), "http://gpu-box:11434");
/// ```
#[derive(Debug, Clone)]
pub struct Ollama {
    server: Server,
    model: Text,
    num_ctx: u32,
    first_model: Arc<OnceCell<Text>>,
}

impl Default for Ollama {
    /// The one on this machine.
    fn default() -> Self {
        Self::new(LOCAL)
    }
}

impl Ollama {
    /// The server at `base_url`. That it is no URL is told by every call.
    pub fn new(base_url: impl AsRef<str>) -> Self {
        Self {
            server: Server::new(base_url.as_ref(), &PATHS, KeySource::None),
            model: "".into(),
            num_ctx: NUM_CTX,
            first_model: Arc::default(),
        }
    }

    /// The model to use when a request names none.
    pub fn model(mut self, model: impl Into<Text>) -> Self {
        self.model = model.into();
        self
    }

    /// The context window to load models with, in tokens, 16384. More takes more memory.
    pub fn num_ctx(mut self, tokens: u32) -> Self {
        self.num_ctx = tokens;
        self
    }

    /// The environment variable that holds the key. It must be set when a call is made.
    pub fn api_key_env(mut self, variable: impl Into<Text>) -> Self {
        self.server.key = KeySource::Env(variable.into());
        self
    }

    /// The file that holds the key and nothing else.
    pub fn api_key_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.server.key = KeySource::File(path.into());
        self
    }

    /// Whether a server that speaks this API answers within `limit`.
    pub async fn probe(&self, limit: Duration) -> bool {
        self.list(Some(limit)).await.is_ok()
    }

    /// The models the server has, in its order.
    ///
    /// # Errors
    /// As a call.
    pub async fn models(&self) -> Result<Vec<ModelInfo>, ProviderError> {
        self.list(None).await
    }

    async fn list(&self, limit: Option<Duration>) -> Result<Vec<ModelInfo>, ProviderError> {
        let (key, redactor) = self.server.credentials(false).await?;
        let info = self.info(API.into(), "".into(), redactor);
        let list = self.server.get_json("/api/tags", key, &info, limit).await?;
        match list.get("models") {
            Some(Value::Array(list)) => Ok(ModelInfo::named(list, "name")),
            Some(Value::Null) => Ok(Vec::new()),
            _ => Err(crate::wire::protocol_error(&info, "it is no list of models")),
        }
    }

    fn info(&self, provider: Text, model: Text, redactor: crate::wire::Redactor) -> CallInfo {
        CallInfo {
            provider,
            model,
            endpoint: self.server.shown(),
            key_hint: self.server.key.advice(),
            redactor,
        }
    }

    async fn run(self, call: ProviderCall) -> Result<ModelReply, ProviderError> {
        let ProviderCall { provider, mut request, idle_timeout, deltas } = call;
        if request.model.is_empty() {
            request.model = if self.model.is_empty() {
                self.first_model.get_or_try_init(|| self.ask_for_a_model()).await?.clone()
            } else {
                self.model.clone()
            };
        }
        let bytes = self::request(&request, &provider, self.num_ctx)?;
        let (key, redactor) = self.server.credentials(false).await?;
        let info = self.info(provider, request.model, redactor);
        let exchange = Exchange { info, idle: idle_timeout, stream: request.stream, deltas };
        self.server.exchange(bytes, key, exchange, Decoder::new).await
    }

    async fn ask_for_a_model(&self) -> Result<Text, ProviderError> {
        let first = self.models().await?.into_iter().next();
        first.map(|model| model.name).ok_or_else(|| {
            let message = format!(
                "the Ollama at {} has no model yet; get one with `ollama pull llama3.1`, or name one",
                self.server.shown()
            );
            ProviderError::new(ErrorKind::ModelNotFound, message)
        })
    }
}

impl Provider for Ollama {
    fn api(&self) -> &'static str {
        API
    }

    /// An empty name leaves the choice to the server: the first model of its list.
    fn default_model(&self) -> Option<Text> {
        Some(self.model.clone())
    }

    fn endpoint(&self) -> String {
        self.server.shown()
    }

    /// A key that was named for this server is not carried to another one.
    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        let mut other = match &endpoint.base_url {
            None => self.clone(),
            Some(url) => {
                let mut other = Self { num_ctx: self.num_ctx, model: self.model.clone(), ..Self::new(url) };
                let base = other.server.base()?;
                if self.server.base().is_ok_and(|own| own.same_server(base)) {
                    other.server.key = self.server.key.clone();
                }
                other
            }
        };
        if let Some(variable) = &endpoint.api_key_env {
            other.server.key = KeySource::Env(variable.clone());
        }
        Ok(Arc::new(other))
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        Box::pin(self.clone().run(call))
    }
}
