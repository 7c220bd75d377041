//! A provider whose calls fail by plan.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ergane_core::{ErrorKind, ModelReply, ProviderError, Text};
use ergane_provider::{
    BoxFuture, Delta, EmbedRequest, Embeddings, Endpoint, Limits, ModelInfo, Pricing, Provider, ProviderCall,
};

use super::plan::{FaultPlan, ProviderFault};

pub(super) struct FaultyProvider {
    provider: Arc<dyn Provider>,
    plan: FaultPlan,
}

impl FaultyProvider {
    pub(super) fn new(provider: Arc<dyn Provider>, plan: FaultPlan) -> Self {
        Self { provider, plan }
    }
}

impl fmt::Debug for FaultyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyProvider").field(&self.provider).finish()
    }
}

/// What an error of a plan says.
fn failed(kind: ErrorKind, status: Option<u16>) -> ProviderError {
    ProviderError { status, ..ProviderError::new(kind, format!("the fault plan says {kind} here")) }
}

async fn fail(fault: ProviderFault, call: &ProviderCall) -> ProviderError {
    match fault {
        ProviderFault::Cut => {
            if call.request.stream {
                call.deltas.send(Delta::Text("an answer that is cut ".into()));
            }
            ProviderError { after_output: call.request.stream, ..failed(ErrorKind::StreamCut, Some(200)) }
        }
        ProviderFault::RateLimited(hint) => {
            ProviderError { retry_after: Some(hint), ..failed(ErrorKind::RateLimited, Some(429)) }
        }
        ProviderFault::Overloaded => failed(ErrorKind::Overloaded, Some(529)),
        ProviderFault::Hang => {
            tokio::time::sleep(call.idle_timeout.min(Duration::from_secs(24 * 3600))).await;
            failed(ErrorKind::Timeout, None)
        }
        #[allow(clippy::panic, reason = "it is what was planned")]
        ProviderFault::Panic => panic!("the fault plan says panic here"),
        ProviderFault::Refused => failed(ErrorKind::InvalidRequest, Some(400)),
    }
}

impl Provider for FaultyProvider {
    fn api(&self) -> &'static str {
        self.provider.api()
    }

    fn default_model(&self) -> Option<Text> {
        self.provider.default_model()
    }

    fn endpoint(&self) -> String {
        self.provider.endpoint()
    }

    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(Self { provider: self.provider.with_endpoint(endpoint)?, plan: self.plan.clone() }))
    }

    fn key_env(&self) -> Option<Text> {
        self.provider.key_env()
    }

    fn limits(&self) -> Limits {
        self.provider.limits()
    }

    fn pricing(&self, model: &str) -> Pricing {
        self.provider.pricing(model)
    }

    fn list_models(&self) -> BoxFuture<'static, Result<Vec<ModelInfo>, ProviderError>> {
        self.provider.list_models()
    }

    fn model_info(&self, model: Text) -> BoxFuture<'static, Result<ModelInfo, ProviderError>> {
        self.provider.model_info(model)
    }

    fn embed(&self, request: EmbedRequest) -> BoxFuture<'static, Result<Embeddings, ProviderError>> {
        self.provider.embed(request)
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        let (provider, plan) = (Arc::clone(&self.provider), self.plan.clone());
        Box::pin(async move {
            match plan.next_provider() {
                Some(fault) => Err(fail(fault, &call).await),
                None => provider.call(call).await,
            }
        })
    }
}
