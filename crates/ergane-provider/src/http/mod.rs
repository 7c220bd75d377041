//! The I/O around the wire formats, written once.
//!
//! A request is sent once. What breaks is reported as what it is, and whether it is sent again is decided elsewhere: a
//! client that repeats a POST by itself, after a lost connection or in the guise of a redirect, bills twice.

mod answer;
mod base;
mod key;
mod upload;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ergane_core::{ErrorKind, ModelReply, ProviderError, Text, TypedUrl};
use reqwest::{Client, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use answer::{Answer, Bounded, Silence, broke_off, receive};
pub(crate) use base::{BaseUrl, PathRules};
pub(crate) use key::KeySource;

use crate::port::Limits;
use crate::provider::{DeltaSink, Place, invalid};
use crate::wire::{CallInfo, Decoder, Head, HttpRequest, MAX_EVENT, Method, Redactor};

/// A server that is to answer in one piece says nothing while the model writes; it gets this many idle timeouts.
const WHOLE_ANSWER_PATIENCE: u32 = 5;

/// The header that carries the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyHeader {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// A header of this name, with nothing but the key.
    Named(&'static str),
}

/// How long a server may take to be there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// To take a connection.
    connect: Duration,
    /// To begin an answer; `None` goes by how long it may be silent.
    pub(crate) first_byte: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), first_byte: None }
    }
}

/// One server: where it is, where its key comes from, and the connections to it.
#[derive(Clone)]
pub(crate) struct Server {
    typed: Text,
    /// Shared: a provider is cloned for each call.
    base: Arc<Result<BaseUrl, ProviderError>>,
    pub(crate) key: KeySource,
    pub(crate) key_header: KeyHeader,
    pub(crate) limits: Limits,
    pub(crate) patience: Patience,
    /// Made at the first call: reading the system's certificates takes a while.
    client: Arc<OnceCell<Client>>,
}

impl Server {
    /// Of a server that needs no key.
    pub(crate) fn new(typed: &str, rules: &PathRules) -> Self {
        Self {
            typed: typed.trim().into(),
            base: Arc::new(BaseUrl::parse(typed, rules)),
            key: KeySource::None,
            key_header: KeyHeader::Bearer,
            limits: Limits::default(),
            patience: Patience::default(),
            client: Arc::default(),
        }
    }

    /// Its key is in that variable, unless another is named. It is never sent over plain HTTP to another machine: there
    /// is none then.
    pub(crate) fn usual_key(mut self, variable: &'static str) -> Self {
        let is_open = self.base().is_ok_and(|base| !base.is_https() && !base.is_loopback());
        self.key = if is_open { KeySource::None } else { KeySource::UsualEnv(variable) };
        self
    }

    /// This one, with the bounds of `other`.
    pub(crate) fn bounded_as(mut self, other: &Self) -> Self {
        self.limits = other.limits;
        self.patience = other.patience;
        self
    }

    pub(crate) fn set_connect_timeout(&mut self, limit: Duration) {
        self.patience.connect = limit;
        // A client has it from its beginning on, and may have been made for a clone of this.
        self.client = Arc::default();
    }

    pub(crate) fn base(&self) -> Result<&BaseUrl, ProviderError> {
        Result::as_ref(&self.base).map_err(Clone::clone)
    }

    pub(crate) fn shown(&self) -> Text {
        match &*self.base {
            Ok(base) => base.shown().clone(),
            Err(_) => TypedUrl::new(&self.typed).shown().into(),
        }
    }

    /// What tells it from other servers, and from the same one with another key.
    pub(crate) fn place(&self) -> Option<Place> {
        let base = Result::as_ref(&self.base).ok()?;
        Some(Place::new(format!("{}\n{:?}", base.join(""), self.key)))
    }

    async fn client(&self, base: &BaseUrl) -> Result<Client, ProviderError> {
        self.client
            .get_or_try_init(|| async {
                let (https, local, connect) = (base.is_https(), base.is_loopback(), self.patience.connect);
                let built = tokio::task::spawn_blocking(move || build_client(https, local, connect)).await;
                match built {
                    Ok(Ok(client)) => Ok(client),
                    Ok(Err(error)) => Err(cannot_build(&root_cause(&error))),
                    Err(error) => Err(cannot_build(&error.to_string())),
                }
            })
            .await
            .cloned()
    }

    /// The key to send, and what a decoder is to know.
    pub(crate) async fn credentials(
        &self,
        needs_key: bool,
    ) -> Result<(Option<SecretString>, Redactor), ProviderError> {
        let key = self.key.resolve(needs_key).await?;
        let base = self.base.iter().filter(|base| base.has_query());
        let in_url = base.flat_map(BaseUrl::secrets);
        Ok((key.clone(), Redactor::new(key.into_iter().chain(in_url))))
    }

    /// Sends a request and decodes its answer as it comes.
    pub(crate) async fn exchange<D: Decoder>(
        &self,
        request: HttpRequest,
        key: Option<SecretString>,
        call: Exchange,
        decoder: impl FnOnce(CallInfo, Head) -> D,
    ) -> Result<ModelReply, ProviderError> {
        let Exchange { info, idle, stream, deltas } = call;
        let builder = self.prepare(request, key.as_ref(), &info).await?;
        let idle = if stream { idle } else { idle.saturating_mul(WHOLE_ANSWER_PATIENCE) };
        let patience = self.patience.first_byte.unwrap_or(idle);
        let begun = Instant::now();
        let response = match timeout(patience, builder.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.not_sent(&error, &info)),
            Err(_) => return Err(silent(&info, patience)),
        };
        let head = head_of(&response);
        deltas.heard(&head);
        if response.status().is_redirection() {
            return Err(redirected(&response, &info));
        }
        // On the heap: else there is room for it in the future of each call.
        let mut decoder = Box::new(decoder(info.clone(), head));
        // A server may send its head at once and only then begin to read the prompt.
        let silence = Silence { first: patience, begun: Some(begun), idle };
        let outcome = receive(
            Bounded::of(Answer { response, info: &info }, &info),
            &mut *decoder,
            silence,
            |for_long| silent(&info, for_long),
            |delta| {
                if stream {
                    deltas.send(delta);
                }
            },
        )
        .await;
        if let Some(model) = decoder.model() {
            deltas.answered_by(model);
        }
        outcome
    }

    /// Asks for a JSON document, such as a list of models, within `limit`.
    pub(crate) async fn json(
        &self,
        request: HttpRequest,
        key: Option<SecretString>,
        info: &CallInfo,
        limit: Duration,
    ) -> Result<serde_json::Value, ProviderError> {
        timeout(limit, self.document(request, key, info)).await.unwrap_or_else(|_| Err(silent(info, limit)))
    }

    async fn prepare(
        &self,
        request: HttpRequest,
        key: Option<&SecretString>,
        info: &CallInfo,
    ) -> Result<reqwest::RequestBuilder, ProviderError> {
        let base = self.base()?;
        let (client, url) = (self.client(base).await?, base.join(&request.path));
        let mut builder = match request.method {
            Method::Get => client.get(url),
            Method::Post => client.post(url).body(upload::body(request.body)),
        };
        for (name, value) in request.headers {
            builder = builder.header(name, &*value);
        }
        if let Some(key) = key {
            let (name, prefix) = match self.key_header {
                KeyHeader::Bearer => (reqwest::header::AUTHORIZATION.as_str(), "Bearer "),
                KeyHeader::Named(name) => (name, ""),
            };
            builder = builder.header(name, key_value(prefix, key, info)?);
        }
        Ok(builder)
    }

    async fn document(
        &self,
        request: HttpRequest,
        key: Option<SecretString>,
        info: &CallInfo,
    ) -> Result<serde_json::Value, ProviderError> {
        let builder = self.prepare(request, key.as_ref(), info).await?;
        let mut response = builder.send().await.map_err(|error| self.not_sent(&error, info))?;
        if response.status().is_redirection() {
            return Err(redirected(&response, info));
        }
        let head = head_of(&response);
        let limit = if head.is_success() { MAX_EVENT } else { crate::wire::MAX_ERROR_BODY };
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(|error| broke_off(&error, info))? {
            let room = limit - body.len();
            body.extend_from_slice(bytes.get(..room).unwrap_or(&bytes));
            if body.len() == limit {
                break;
            }
        }
        crate::wire::json_body(info, &head, &body)
    }

    fn not_sent(&self, error: &reqwest::Error, info: &CallInfo) -> ProviderError {
        let (provider, at) = (&info.provider, &info.endpoint);
        if error.is_timeout() && error.is_connect() {
            let limit = self.patience.connect;
            let message = format!("{provider} at {at} did not accept a connection within {limit:?}");
            return ProviderError::new(ErrorKind::Timeout, message);
        }
        let cause = crate::wire::said(info, &root_cause(error));
        let message = if error.is_connect() {
            format!(
                "{provider} at {at} cannot be reached: {cause}; is the server running, and is this its base URL?"
            )
        } else {
            format!("the connection to {provider} at {at} broke before an answer began: {cause}")
        };
        ProviderError::new(ErrorKind::Network, message)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.shown()).field("key", &self.key).finish()
    }
}

/// What is particular to one exchange.
pub(crate) struct Exchange {
    pub(crate) info: CallInfo,
    pub(crate) idle: Duration,
    pub(crate) stream: bool,
    pub(crate) deltas: DeltaSink,
}

fn build_client(https: bool, local: bool, connect: Duration) -> Result<Client, reqwest::Error> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error says that another thread was faster, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
    let mut builder = Client::builder()
        .user_agent(concat!("ergane/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect)
        .pool_idle_timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false);
    if !https {
        // No certificate is ever looked at, so a machine that has none can do without.
        builder = builder.tls_certs_only([]);
    }
    if local {
        builder = builder.no_proxy();
    }
    builder.build()
}

fn cannot_build(why: &str) -> ProviderError {
    let message =
        format!("no HTTPS connection can be made from this machine: {why}; install its CA certificates");
    ProviderError { retryable: false, ..ProviderError::new(ErrorKind::Network, message) }
}

fn key_value(
    prefix: &str,
    key: &SecretString,
    info: &CallInfo,
) -> Result<reqwest::header::HeaderValue, ProviderError> {
    let text = SecretString::from(format!("{prefix}{}", key.expose_secret()));
    let mut value = reqwest::header::HeaderValue::from_str(text.expose_secret()).map_err(|_| {
        let message = format!(
            "the key for {} has characters that no HTTP header can carry; {}",
            info.provider, info.key_hint
        );
        ProviderError::new(ErrorKind::Auth, message)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn head_of(response: &Response) -> Head {
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    Head { status: response.status().as_u16(), headers, at: SystemTime::now() }
}

/// The innermost reason, which is the one that tells something.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn silent(info: &CallInfo, for_long: Duration) -> ProviderError {
    let message = format!("{} at {} said nothing for {for_long:?}", info.provider, info.endpoint);
    ProviderError::new(ErrorKind::Timeout, message)
}

fn redirected(response: &Response, info: &CallInfo) -> ProviderError {
    let target = response
        .headers()
        .get(reqwest::header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|location| response.url().join(location).ok())
        .map(|url: Url| format!(" to {}", url.origin().ascii_serialization() + url.path()))
        .unwrap_or_default();
    let message = format!(
        "{} at {} redirects{target}; a request with a key is not sent on, so give the base URL that is meant",
        info.provider, info.endpoint
    );
    ProviderError { status: Some(response.status().as_u16()), ..invalid(crate::wire::said(info, &message)) }
}

#[cfg(test)]
mod tests;
