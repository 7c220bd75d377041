//! What a provider is to the rest of the house: something that turns one [`ModelRequest`] into one [`ModelReply`].
//!
//! Why a trait with a boxed future and not an actor: limits, queues and supervision are the same for every provider, so
//! they are written once, in the actors of [`Providers`](crate::Providers). What differs is one call. An implementation
//! needs no state but its configuration and its connections, and may be killed at any await.

use std::fmt::{self, Debug};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ergane_core::{ErrorKind, ModelReply, ModelRequest, ProviderError, Text, TypedUrl};

use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::port::Limits;
use crate::price::Pricing;
use crate::wire::Head;

/// A future on the heap that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a model is reached.
///
/// Implementations only carry out a call; they never retry one. Retries belong to the loop, which makes them visible.
pub trait Provider: Send + Sync + Debug + 'static {
    /// The wire format: `openai`, `ollama`, `scripted`. It becomes part of a reply's
    /// [`Origin`](ergane_core::Origin): what is opaque in a reply is replayed within one format only.
    fn api(&self) -> &'static str;

    /// The model to use when nobody names one; `None` when one must be named.
    fn default_model(&self) -> Option<Text>;

    /// Where it is, for people: the base URL, or `a script`. Never holds a key.
    fn endpoint(&self) -> String;

    /// The same kind of provider at another place.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when `endpoint` is no URL, or this provider has no endpoint that could differ.
    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError>;

    /// What tells the place that it is from others; `None`, by default, where nobody knows. Endpoints of one place are one: their calls
    /// share limits, circuit and actor. Without it, each endpoint that is named is a place of its own, however it is shown.
    fn place(&self) -> Option<Place> {
        None
    }

    /// The environment variable that its key is read from; `None`, by default, when there is none. Tools do not get to
    /// see it.
    fn key_env(&self) -> Option<Text> {
        None
    }

    /// The bounds within which its calls are let through. 64 at the same time by default.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// Whose prices hold for a model. By default those of the vendor whose server is at [`endpoint`](Self::endpoint), if
    /// it is a known one; else they are unknown.
    fn pricing(&self, _model: &str) -> Pricing {
        Pricing::at(&self.endpoint())
    }

    /// Makes one call. Dropping the future cancels it and closes its connection.
    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>>;

    /// The models the server lists, in its order. Dropping the future cancels it.
    ///
    /// # Errors
    /// As a call; [`ErrorKind::Unsupported`], by default, when there is no list.
    fn list_models(&self) -> BoxFuture<'static, Result<Vec<ModelInfo>, ProviderError>> {
        ready(unsupported(format!("the provider at {} lists no models", self.endpoint())))
    }

    /// What the server tells of one model: its context window above all. By default what its list tells.
    ///
    /// # Errors
    /// As a call; [`ErrorKind::ModelNotFound`] when the server does not know the model.
    fn model_info(&self, model: Text) -> BoxFuture<'static, Result<ModelInfo, ProviderError>> {
        let (list, at) = (self.list_models(), self.endpoint());
        Box::pin(async move {
            let found = list.await?.into_iter().find(|info| info.id == model);
            found.ok_or_else(|| {
                ProviderError::new(ErrorKind::ModelNotFound, format!("{at} lists no model {model:?}"))
            })
        })
    }

    /// Makes vectors of texts.
    ///
    /// # Errors
    /// As a call; [`ErrorKind::Unsupported`], by default, when it makes none.
    fn embed(&self, request: EmbedRequest) -> BoxFuture<'static, Result<Embeddings, ProviderError>> {
        drop(request);
        ready(unsupported(format!("the provider at {} makes no vectors of texts", self.endpoint())))
    }
}

fn unsupported(message: String) -> ProviderError {
    ProviderError::new(ErrorKind::Unsupported, message)
}

fn ready<T: Send + 'static>(error: ProviderError) -> BoxFuture<'static, Result<T, ProviderError>> {
    Box::pin(std::future::ready(Err(error)))
}

/// A place where a provider is reached, to be compared: the server, and whose account there. Nobody gets to see it, for a key may
/// stand in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Place(Text);

impl Place {
    /// The place that all of `what` tells from others.
    ///
    /// ```
    /// use ergane_provider::Place;
    ///
    /// let place = Place::new("http://lab:8000/v1 with the key in LAB_KEY");
    /// assert_eq!(place, Place::new("http://lab:8000/v1 with the key in LAB_KEY"));
    /// assert_eq!(format!("{place:?}"), "Place");
    /// ```
    pub fn new(what: impl Into<Text>) -> Self {
        Self(what.into())
    }
}

impl Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

/// What a session says about the place of a provider, beside its registered name. Empty fields leave it as registered.
///
/// ```
/// use ergane_provider::{Endpoint, Ollama, Provider};
///
/// let elsewhere = Endpoint { base_url: Some("gpu-box:11434".into()), ..Endpoint::default() };
/// assert_eq!(Ollama::default().with_endpoint(&elsewhere)?.endpoint(), "http://gpu-box:11434");
/// # Ok::<(), ergane_core::ProviderError>(())
/// ```
#[derive(Default, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Another base URL.
    pub base_url: Option<Text>,
    /// The environment variable that holds the key. The key itself is never part of any setting.
    pub api_key_env: Option<Text>,
}

impl Endpoint {
    /// Whether it changes nothing.
    ///
    /// ```
    /// use ergane_provider::Endpoint;
    ///
    /// assert!(Endpoint::default().is_default());
    /// assert!(!Endpoint { api_key_env: Some("TEAM_KEY".into()), ..Endpoint::default() }.is_default());
    /// ```
    pub fn is_default(&self) -> bool {
        self.base_url.is_none() && self.api_key_env.is_none()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.base_url.as_deref().map(|url| TypedUrl::new(url).shown());
        f.debug_struct("Endpoint").field("base_url", &shown).field("api_key_env", &self.api_key_env).finish()
    }
}

/// One call of a [`Provider`].
#[derive(Debug, Clone)]
pub struct ProviderCall {
    /// The provider's registered name, for the reply's origin and for error texts.
    pub provider: Text,
    /// What is asked.
    pub request: ModelRequest,
    /// How long the server may be silent. Every byte counts as a sign of life, keep-alives too.
    pub idle_timeout: Duration,
    /// Where pieces of the answer go while it comes in; used only when `request.stream`.
    pub deltas: DeltaSink,
}

/// A piece of an answer that is still coming in. Not a fact: the reply at the end holds everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delta {
    /// Text for the user.
    Text(Text),
    /// What a reasoning model thinks.
    Reasoning(Text),
    /// The model began to write a tool call.
    ToolCall {
        /// The tool's name.
        name: Text,
    },
}

/// Where [`Delta`]s go, and what a server says beside its answer. Cheap to clone. The functions must be quick and must not
/// block.
#[derive(Clone)]
pub struct DeltaSink {
    deltas: Arc<dyn Fn(Delta) + Send + Sync>,
    listener: Option<Arc<dyn Listener>>,
}

/// Who wants to know what a server says beside its answer.
pub(crate) trait Listener: Send + Sync {
    /// The head of an answer, once it is there.
    fn heard(&self, head: &Head);

    /// Which model answered.
    fn answered_by(&self, model: &str);
}

impl DeltaSink {
    /// Sends every delta to `sink`.
    pub fn new(sink: impl Fn(Delta) + Send + Sync + 'static) -> Self {
        Self { deltas: Arc::new(sink), listener: None }
    }

    /// Tells `listener`, too.
    pub(crate) fn and_tell(self, listener: Arc<dyn Listener>) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// Forgets every delta.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Hands over one delta.
    pub fn send(&self, delta: Delta) {
        (self.deltas)(delta);
    }

    /// The head of an answer is there, whatever it is. A provider over HTTP calls this as soon as it has it: from there on
    /// the server is known to be alive (an answer below 500 by which it refuses counts as no failure), and what its headers tell
    /// of limits of requests and tokens is kept to. Whether it works, its circuit learns when the answer is over: one that
    /// begins with a success and is cut off, falls silent or is no answer at all is a failure. What is never told so is
    /// learned later or not at all: that a server works, from its answers, and from errors that carry its `status`, below 500.
    pub fn heard(&self, head: &Head) {
        if let Some(listener) = &self.listener {
            listener.heard(head);
        }
    }

    /// The model that answers, as the server calls it: what was asked for may have been an alias. A provider says this when an
    /// answer is over, well or badly. What the call cost is reckoned by the price of that model, where it is known.
    pub fn answered_by(&self, model: &str) {
        if let Some(listener) = &self.listener {
            listener.answered_by(model);
        }
    }
}

impl Debug for DeltaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeltaSink")
    }
}

pub(crate) fn invalid(message: impl Into<Text>) -> ProviderError {
    ProviderError::new(ErrorKind::InvalidRequest, message)
}

impl Provider for Arc<dyn Provider> {
    fn api(&self) -> &'static str {
        (**self).api()
    }

    fn default_model(&self) -> Option<Text> {
        (**self).default_model()
    }

    fn endpoint(&self) -> String {
        (**self).endpoint()
    }

    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        (**self).with_endpoint(endpoint)
    }

    fn place(&self) -> Option<Place> {
        (**self).place()
    }

    fn key_env(&self) -> Option<Text> {
        (**self).key_env()
    }

    fn limits(&self) -> Limits {
        (**self).limits()
    }

    fn pricing(&self, model: &str) -> Pricing {
        (**self).pricing(model)
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        (**self).call(call)
    }

    fn list_models(&self) -> BoxFuture<'static, Result<Vec<ModelInfo>, ProviderError>> {
        (**self).list_models()
    }

    fn model_info(&self, model: Text) -> BoxFuture<'static, Result<ModelInfo, ProviderError>> {
        (**self).model_info(model)
    }

    fn embed(&self, request: EmbedRequest) -> BoxFuture<'static, Result<Embeddings, ProviderError>> {
        (**self).embed(request)
    }
}
