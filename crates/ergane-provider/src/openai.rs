//! OpenAI and all who speak Chat Completions.

use std::path::PathBuf;
use std::sync::Arc;

use ergane_core::{ErrorKind, ModelReply, ModelRequest, ProviderError, Text};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::http::{Exchange, KeySource, PathRules, Server};
use crate::models::ModelInfo;
use crate::provider::{BoxFuture, Endpoint, Provider, ProviderCall, invalid};
use crate::wire::CallInfo;
use crate::wire::openai::{API, Decoder, Flavor, request};

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
    server: Server,
    model: Text,
    /// The only model of a server that was asked for it.
    only_model: Arc<OnceCell<Text>>,
}

impl Default for OpenAi {
    /// OpenAI itself, with the key in `OPENAI_API_KEY`.
    fn default() -> Self {
        Self { model: DEFAULT_MODEL.into(), ..Self::new(OPENAI) }
    }
}

impl OpenAi {
    /// The server at `base_url`. That it is no URL is told by every call.
    pub fn new(base_url: impl AsRef<str>) -> Self {
        let mut server = Server::new(base_url.as_ref(), &PATHS, KeySource::UsualEnv(KEY));
        if server.base().is_ok_and(|base| !base.is_https() && !base.is_loopback()) {
            server.key = KeySource::None;
        }
        Self { server, model: "".into(), only_model: Arc::default() }
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

    /// The model to use when a request names none. Without, and elsewhere than at OpenAI, the server is asked once which
    /// one it has; with several, one must be named.
    pub fn model(mut self, model: impl Into<Text>) -> Self {
        self.model = model.into();
        self
    }

    /// The models the server lists, in its order.
    ///
    /// # Errors
    /// As a call.
    pub async fn models(&self) -> Result<Vec<ModelInfo>, ProviderError> {
        let (key, redactor) = self.server.credentials(self.is_openai()).await?;
        let info = self.info(API.into(), "".into(), redactor);
        let list = self.server.get_json("/models", key, &info, None).await?;
        let list = list.get("data").and_then(Value::as_array).or(list.as_array());
        let list = list.ok_or_else(|| crate::wire::protocol_error(&info, "it is no list of models"))?;
        Ok(ModelInfo::named(list, "id"))
    }

    fn is_openai(&self) -> bool {
        self.server.base().is_ok_and(|base| base.host() == "api.openai.com")
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
        self.choose_model(&mut request).await?;
        let (key, redactor) = self.server.credentials(self.is_openai()).await?;
        let flavor = if self.is_openai() { Flavor::OpenAi } else { Flavor::Compatible };
        let bytes = self::request(&request, &provider, flavor);
        let info = self.info(provider, request.model, redactor);
        let exchange = Exchange { info, idle: idle_timeout, stream: request.stream, deltas };
        self.server.exchange(bytes, key, exchange, Decoder::new).await
    }

    async fn choose_model(&self, request: &mut ModelRequest) -> Result<(), ProviderError> {
        if !request.model.is_empty() {
            return Ok(());
        }
        request.model = if self.model.is_empty() {
            self.only_model.get_or_try_init(|| self.ask_for_the_only_model()).await?.clone()
        } else {
            self.model.clone()
        };
        Ok(())
    }

    async fn ask_for_the_only_model(&self) -> Result<Text, ProviderError> {
        let models = self.models().await?;
        match models.as_slice() {
            [one] => Ok(one.name.clone()),
            [] => {
                let message = format!("no model was named, and {} lists none; name one", self.server.shown());
                Err(ProviderError::new(ErrorKind::ModelNotFound, message))
            }
            several => {
                let names: Vec<&str> = several.iter().take(10).map(|model| &*model.name).collect();
                let more = if several.len() > names.len() { ", …" } else { "" };
                Err(invalid(format!(
                    "no model was named, and {} has several; name one of: {}{more}",
                    self.server.shown(),
                    names.join(", ")
                )))
            }
        }
    }
}

impl Provider for OpenAi {
    fn api(&self) -> &'static str {
        API
    }

    /// An empty name leaves the choice to the server, see [`OpenAi::model`].
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
                let mut other = Self::new(url);
                let base = other.server.base()?;
                if self.server.base().is_ok_and(|own| own.same_server(base)) {
                    other.server.key = self.server.key.clone();
                    other.model = self.model.clone();
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
