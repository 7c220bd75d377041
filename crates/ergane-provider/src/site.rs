//! What all providers that are reached over HTTP have in common: a server, a key, a model, and the same steps from a
//! request to an answer. What differs between them is a pair of pure parts, see [`wire`](crate::wire).

use std::sync::Arc;
use std::time::Duration;

use ergane_core::{ErrorKind, ModelReply, ProviderError, Text};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::http::{Exchange, KeySource, Server};
use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::provider::{BoxFuture, Endpoint, ProviderCall, invalid};
use crate::tool_calls::{NativeCalls, ToolCalls};
use crate::windows::{Window, Windows};
use crate::wire::{CallInfo, Decoder, Head, HttpRequest, Redactor};

/// How long a listing of models may take in all.
pub(crate) const LISTING: Duration = Duration::from_secs(30);

/// A list of models that goes on longer is no list of models.
const MOST_PAGES: usize = 20;

/// How long the vectors of texts may take in all.
const EMBEDDING: Duration = Duration::from_secs(300);

/// A server where one wire format is spoken.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    pub(crate) server: Server,
    /// The format's name.
    pub(crate) api: &'static str,
    /// The model to use when a request names none; may be empty.
    pub(crate) model: Text,
    /// Whether nothing can be had there without a key.
    pub(crate) needs_key: bool,
    /// How models are told of tools.
    pub(crate) tool_calls: ToolCalls,
    /// Which models have native calls.
    pub(crate) native: NativeCalls,
    /// The context windows that are known.
    pub(crate) windows: Windows,
    /// What the server was asked for when nobody named a model: held while it is asked, so that it is asked once.
    found_model: Arc<Mutex<Option<Text>>>,
}

impl Site {
    pub(crate) fn new(server: Server, api: &'static str, needs_key: bool) -> Self {
        Self {
            server,
            api,
            model: "".into(),
            needs_key,
            tool_calls: ToolCalls::Auto,
            native: NativeCalls::default(),
            windows: Windows::default(),
            found_model: Arc::default(),
        }
    }

    fn info(&self, provider: Text, model: Text, redactor: Redactor) -> CallInfo {
        CallInfo {
            provider,
            model,
            endpoint: self.server.shown(),
            key_hint: self.server.key.advice().into(),
            redactor,
        }
    }

    /// Makes a call: `request` makes its bytes, `decoder` reads its answer. Its tools are told in the way that the model knows,
    /// and the calls in its answer are found. (It comes boxed, for each future on its way keeps room for what it is given.)
    pub(crate) async fn call<D: Decoder>(
        &self,
        call: Box<ProviderCall>,
        request: impl FnOnce(&ProviderCall) -> Result<HttpRequest, ProviderError>,
        decoder: impl FnOnce(CallInfo, Head) -> D,
    ) -> Result<ModelReply, ProviderError> {
        self.native.call(self.tool_calls, self, call, request, decoder).await
    }

    /// Sends a call as it is and decodes its answer.
    pub(crate) async fn exchange<D: Decoder>(
        &self,
        call: Box<ProviderCall>,
        request: impl FnOnce(&ProviderCall) -> Result<HttpRequest, ProviderError>,
        decoder: impl FnOnce(CallInfo, Head) -> D,
    ) -> Result<ModelReply, ProviderError> {
        let (key, redactor) = self.server.credentials(self.needs_key).await?;
        let bytes = request(&call)?;
        let ProviderCall { provider, request, idle_timeout: idle, deltas } = *call;
        let (model, stream) = (request.model.clone(), request.stream);
        // The history is not kept until there is an answer.
        drop(request);
        let info = self.info(provider.clone(), model.clone(), redactor);
        let exchange = Exchange { info, idle, stream, deltas };
        let answer = self.server.exchange(bytes, key, exchange, decoder).await;
        let reply = answer.map_err(|error| self.forget_model(&model, error))?;
        match self.windows.of(&model) {
            Some(window) => window.judge(reply, (&provider, &self.server.shown(), &model)),
            None => Ok(reply),
        }
    }

    /// Remembers the windows that a server tells of its models.
    pub(crate) fn learn_windows<'a>(&self, models: impl IntoIterator<Item = &'a ModelInfo>) {
        for model in models {
            if let Some(tokens) = model.context_window {
                self.learn_window(&model.id, tokens);
            }
        }
    }

    pub(crate) fn learn_window(&self, model: &Text, tokens: u64) {
        self.windows.learn(model, Window::Told(tokens));
    }

    /// Asks for a JSON document within `limit`, and makes something of it by `read`, which says what is wrong with it.
    pub(crate) async fn json<T>(
        &self,
        request: HttpRequest,
        limit: Duration,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<T, ProviderError> {
        let (key, redactor) = self.server.credentials(self.needs_key).await?;
        let info = self.info(self.api.into(), "".into(), redactor);
        let document = self.server.json(request, key, &info, limit).await?;
        read(&document).map_err(|what| crate::wire::protocol_error(&info, &what))
    }

    /// Asks for vectors: `ask` makes the request, and `read` makes them of the answer.
    pub(crate) fn embed(
        &self,
        request: EmbedRequest,
        ask: fn(&EmbedRequest) -> HttpRequest,
        read: fn(&Value, &EmbedRequest) -> Result<Embeddings, String>,
    ) -> BoxFuture<'static, Result<Embeddings, ProviderError>> {
        let site = self.clone();
        Box::pin(async move {
            if request.model.is_empty() {
                return Err(invalid("no model was named for the vectors; name one that is made for them"));
            }
            site.json(ask(&request), EMBEDDING, |answer| read(answer, &request)).await
        })
    }

    /// Asks for a list of models that comes in pages: `page` asks for the first one, or for the one that a word names,
    /// and `read` makes of it its models and the word for the next.
    pub(crate) async fn pages(
        &self,
        page: impl Fn(Option<&str>) -> HttpRequest,
        read: impl Fn(&Value) -> Result<(Vec<ModelInfo>, Option<String>), String>,
    ) -> Result<Vec<ModelInfo>, ProviderError> {
        let (mut models, mut from) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let (more, next) = self.json(page(from.as_deref()), LISTING, &read).await?;
            models.extend(more);
            // A server that names the same page again would name it for ever.
            if next.is_none() || next == from {
                break;
            }
            from = next;
        }
        Ok(models)
    }

    /// The model to use when a request names none: the one that was set, else the one that `ask` finds, once. It is part of the
    /// wait for an answer to begin, so it takes no longer than that may (`patience`, where the provider has no other), also for
    /// those who wait for what another has asked.
    pub(crate) async fn usual_model<F>(
        &self,
        patience: Duration,
        ask: impl FnOnce() -> F,
    ) -> Result<Text, ProviderError>
    where
        F: Future<Output = Result<Text, ProviderError>>,
    {
        if !self.model.is_empty() {
            return Ok(self.model.clone());
        }
        let patience = self.server.patience.first_byte.unwrap_or(patience).min(LISTING);
        // On the heap: it is asked once, and every call would have room for the question.
        let found = Box::pin(async {
            let mut found = self.found_model.lock().await;
            match &*found {
                Some(model) => Ok(model.clone()),
                None => Ok(found.insert(ask().await?).clone()),
            }
        });
        timeout(patience, found).await.unwrap_or_else(|_| {
            let (api, at) = (self.api, self.server.shown());
            let message = format!(
                "no model was named, and {api} at {at} did not say within {patience:?} which it has; name one"
            );
            Err(ProviderError::new(ErrorKind::Timeout, message))
        })
    }

    /// A model that was found there and is not there any more is looked for again by the next attempt.
    fn forget_model(&self, model: &Text, mut error: ProviderError) -> ProviderError {
        if error.kind == ErrorKind::ModelNotFound
            && let Ok(mut found) = self.found_model.try_lock()
            && found.take_if(|found| found == model).is_some()
        {
            error.retryable = true;
        }
        error
    }

    /// This site at `endpoint`, by `at` when that is another URL. A key and a model that were named for this server are
    /// not carried to another one, and what was learned of its models is known of this one only. How models are told of
    /// tools is the caller's wish and goes along.
    pub(crate) fn moved(
        &self,
        endpoint: &Endpoint,
        at: impl FnOnce(&str) -> Self,
    ) -> Result<Self, ProviderError> {
        let mut other = match &endpoint.base_url {
            None => self.clone(),
            Some(url) => {
                let mut other = at(url);
                other.server = other.server.bounded_as(&self.server);
                other.tool_calls = self.tool_calls;
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
        Ok(other)
    }
}

/// The model of a server that lists one only. With none or several of them, one must be named.
pub(crate) fn only_model(models: &[ModelInfo], at: &str) -> Result<Text, ProviderError> {
    match models {
        [one] => Ok(one.id.clone()),
        [] => {
            let message = format!("no model was named, and {at} lists none; name one");
            Err(ProviderError::new(ErrorKind::ModelNotFound, message))
        }
        several => {
            let names: Vec<&str> = several.iter().take(10).map(|model| &*model.id).collect();
            let more = if several.len() > names.len() { ", …" } else { "" };
            Err(invalid(format!(
                "no model was named, and {at} has several; name one of: {}{more}",
                names.join(", ")
            )))
        }
    }
}

/// The settings that every provider over HTTP has, for its `impl` block: `$at` is the field that
/// holds its [`Site`].
macro_rules! site_settings {
    ($($at:ident).+) => {
        /// The environment variable that holds the key. It must be set when a call is made.
        ///
        /// ```
        /// # use ergane_provider::{OpenAi, Provider};
        /// let team = OpenAi::new("https://gateway.example.org").api_key_env("TEAM_KEY");
        /// assert_eq!(team.key_env().as_deref(), Some("TEAM_KEY"));
        /// ```
        pub fn api_key_env(mut self, variable: impl Into<ergane_core::Text>) -> Self {
            self.$($at).+.server.key = crate::http::KeySource::Env(variable.into());
            self
        }

        /// The file that holds the key and nothing else.
        ///
        /// ```
        /// # use ergane_provider::OpenAi;
        /// let team = OpenAi::new("https://gateway.example.org").api_key_file("/run/secrets/team-key");
        /// # let _ = team;
        /// ```
        pub fn api_key_file(mut self, path: impl Into<std::path::PathBuf>) -> Self {
            self.$($at).+.server.key = crate::http::KeySource::File(path.into());
            self
        }

        /// The model to use when a request names none.
        ///
        /// ```
        /// # use ergane_provider::{OpenAi, Provider};
        /// let team = OpenAi::new("https://gateway.example.org").model("qwen3:8b");
        /// assert_eq!(team.default_model().as_deref(), Some("qwen3:8b"));
        /// ```
        pub fn model(mut self, model: impl Into<ergane_core::Text>) -> Self {
            self.$($at).+.model = model.into();
            self
        }

        /// How models are told of tools, [`ToolCalls::Auto`](crate::ToolCalls::Auto).
        ///
        /// ```
        /// # use ergane_provider::{OpenAi, ToolCalls};
        /// let in_words = OpenAi::new("localhost:8080").tool_calls(ToolCalls::Text);
        /// # let _ = in_words;
        /// ```
        pub fn tool_calls(mut self, how: crate::tool_calls::ToolCalls) -> Self {
            self.$($at).+.tool_calls = how;
            self
        }

        crate::port::limit_setters!($($at).+);
    };
}

/// What every provider over HTTP answers of itself, for its `impl Provider`; `$at` is as for [`site_settings`]. A call is
/// the type's own `run`.
macro_rules! site_answers {
    ($($at:ident).+) => {
        fn endpoint(&self) -> String {
            self.$($at).+.server.shown().to_string()
        }

        fn place(&self) -> Option<crate::provider::Place> {
            self.$($at).+.server.place()
        }

        fn key_env(&self) -> Option<ergane_core::Text> {
            self.$($at).+.server.key.env()
        }

        fn limits(&self) -> crate::port::Limits {
            self.$($at).+.server.limits
        }

        fn call(
            &self,
            call: ProviderCall,
        ) -> crate::provider::BoxFuture<'static, Result<ergane_core::ModelReply, ergane_core::ProviderError>> {
            Box::pin(self.clone().run(Box::new(call)))
        }
    };
}

pub(crate) use {site_answers, site_settings};
