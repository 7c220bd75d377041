//! OpenAI by its Responses API, and those who speak it too.

use std::sync::Arc;

use ergane_core::{ModelReply, ProviderError, Text};

use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::openai::OpenAi;
use crate::provider::{BoxFuture, Endpoint, Provider, ProviderCall};
use crate::site::{site_answers, site_settings};
use crate::wire::openai::Compat;
use crate::wire::responses::{API, Decoder, request};

/// OpenAI by its Responses API, or any server that speaks it: reasoning models keep what they thought from one call to
/// the next, which Chat Completions throws away.
///
/// Nothing is kept at the server: the whole history is sent with each call, and the model's reasoning goes back encrypted
/// as it came. Base URL, key and model are those of [`OpenAi`], and so are the list of models and vectors.
///
/// ```
/// use ergane_provider::{OpenAiResponses, Provider};
///
/// assert_eq!(OpenAiResponses::default().endpoint(), "https://api.openai.com/v1");
/// let local = OpenAiResponses::new("localhost:8080").model("gpt-oss-20b");
/// assert_eq!(local.endpoint(), "http://localhost:8080/v1");
/// ```
#[derive(Debug, Clone, Default)]
pub struct OpenAiResponses {
    server: OpenAi,
    /// Where it is said, and not left to the address.
    strict_tools: Option<bool>,
}

impl OpenAiResponses {
    /// The server at `base_url`. That it is no URL is told by every call.
    ///
    /// ```
    /// use ergane_provider::{OpenAiResponses, Provider};
    ///
    /// assert_eq!(OpenAiResponses::new("localhost:8080").endpoint(), "http://localhost:8080/v1");
    /// ```
    pub fn new(base_url: impl AsRef<str>) -> Self {
        Self { server: OpenAi::new(base_url), strict_tools: None }
    }

    site_settings!(server.site);

    /// Whether tools are offered in the server's strict mode, in which a model cannot write arguments that do not match: at
    /// OpenAI they are, elsewhere not, when nothing is said. A tool whose schema the mode does not take goes without.
    ///
    /// ```
    /// use ergane_provider::OpenAiResponses;
    ///
    /// let gateway = OpenAiResponses::new("https://openai.example.org").strict_tools(true);
    /// # let _ = gateway;
    /// ```
    pub fn strict_tools(self, strict: bool) -> Self {
        Self { strict_tools: Some(strict), ..self }
    }

    /// What the server takes.
    fn flags(&self) -> Arc<Compat> {
        let mut flags = self.server.flags.clone();
        if let Some(strict) = self.strict_tools.filter(|strict| *strict != flags.strict_tools) {
            Arc::make_mut(&mut flags).strict_tools = strict;
        }
        flags
    }

    fn moved(&self, endpoint: &Endpoint) -> Result<Self, ProviderError> {
        Ok(Self { server: self.server.moved(endpoint)?, ..*self })
    }

    async fn run(self, mut call: Box<ProviderCall>) -> Result<ModelReply, ProviderError> {
        if call.request.model.is_empty() {
            call.request.model = self.server.usual_model(call.idle_timeout).await?;
        }
        let (site, flags) = (&self.server.site, self.flags());
        let request = |call: &ProviderCall| request(&call.request, &call.provider, &flags);
        site.call(call, request, Decoder::new).await
    }
}

impl Provider for OpenAiResponses {
    fn api(&self) -> &'static str {
        API
    }

    site_answers!(server.site);

    /// An empty name leaves the choice to the server, see [`OpenAi::model`].
    fn default_model(&self) -> Option<Text> {
        self.server.default_model()
    }

    /// A key that was named for this server is not carried to another one.
    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(self.moved(endpoint)?))
    }

    fn list_models(&self) -> BoxFuture<'static, Result<Vec<ModelInfo>, ProviderError>> {
        self.server.list_models()
    }

    fn model_info(&self, model: Text) -> BoxFuture<'static, Result<ModelInfo, ProviderError>> {
        self.server.model_info(model)
    }

    fn embed(&self, request: EmbedRequest) -> BoxFuture<'static, Result<Embeddings, ProviderError>> {
        self.server.embed(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_tools_are_openais_own_unless_it_is_said_and_that_goes_along_to_another_address() {
        let strict = |server: &OpenAiResponses| server.flags().strict_tools;
        let elsewhere = || OpenAiResponses::new("http://127.0.0.1:1");
        assert!(strict(&OpenAiResponses::default()) && !strict(&elsewhere()));
        assert!(!strict(&OpenAiResponses::default().strict_tools(false)));
        let told = elsewhere().strict_tools(true);
        assert!(strict(&told) && !told.flags().cache_key);
        let place = Endpoint { base_url: Some("http://127.0.0.1:2".into()), ..Endpoint::default() };
        assert!(strict(&OpenAiResponses::default().strict_tools(true).moved(&place).unwrap()));
        assert!(!strict(&OpenAiResponses::default().moved(&place).unwrap()));
    }
}
