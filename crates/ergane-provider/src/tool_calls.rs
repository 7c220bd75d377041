//! Which models have native calls, and what becomes of tools where they have none.
//!
//! Most servers say nothing of it, so what they do counts: one that refuses the tools is asked again without them, in
//! words (see [`dialect`](crate::wire::dialect)). That second attempt is the caller's, like any other; what is kept here
//! is only what was learned.

use std::sync::Arc;

use ergane_core::{ErrorKind, ModelReply, ProviderError, Text, ToolChoice};
use serde::{Deserialize, Serialize};

use crate::learned::Learned;
use crate::provider::ProviderCall;
use crate::site::Site;
use crate::wire::dialect::{Dialect, offer};
use crate::wire::{CallInfo, Decoder, Head, HttpRequest};

/// How models are told of tools.
///
/// However they are told, an answer without native calls is searched for calls that the model wrote as text, since many
/// a model does that now and then. Without tools nothing is searched.
///
/// ```
/// use ergane_provider::{Ollama, ToolCalls};
///
/// // A small model whose native calls are poor:
/// let model = Ollama::default().model("gemma3:4b").tool_calls(ToolCalls::Text);
/// assert_eq!(ToolCalls::default(), ToolCalls::Auto);
/// # let _ = model;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolCalls {
    /// Natively, unless the server says that the model has no native calls, or refuses the tools. A refusal is remembered,
    /// and its error is worth another attempt, which is then made in words.
    #[default]
    Auto,
    /// Always natively.
    Native,
    /// Always in words, in the system prompt.
    Text,
}

/// Whether the models of a server have calls of their own. Clones learn together.
#[derive(Debug, Clone, Default)]
pub(crate) struct NativeCalls {
    learned: Learned<bool>,
}

impl NativeCalls {
    /// Whether the model has native calls, when that is known.
    pub(crate) fn known(&self, setting: ToolCalls, model: &str) -> Option<bool> {
        match setting {
            ToolCalls::Native => Some(true),
            ToolCalls::Text => Some(false),
            ToolCalls::Auto => self.learned.of(model),
        }
    }

    pub(crate) fn learn(&self, model: &Text, native: bool) {
        self.learned.learn(model, native);
    }

    /// Makes a call, its tools told in the way that the model knows, and finds the calls in its answer.
    pub(crate) async fn call<D: Decoder>(
        &self,
        setting: ToolCalls,
        site: &Site,
        mut call: Box<ProviderCall>,
        request: impl FnOnce(&ProviderCall) -> Result<HttpRequest, ProviderError>,
        decoder: impl FnOnce(CallInfo, Head) -> D,
    ) -> Result<ModelReply, ProviderError> {
        // Where no call is wanted, none is looked for.
        let offered = match call.request.tool_choice {
            ToolChoice::None => Arc::default(),
            _ => call.request.tools.clone(),
        };
        let model = call.request.model.clone();
        let in_words = self.known(setting, &model) == Some(false);
        if in_words {
            call.request = offer(&call.request);
        }
        let native = !in_words && !call.request.tools.is_empty();
        let outcome =
            site.exchange(call, request, |info, head| Dialect::new(decoder(info, head), &offered)).await;
        outcome.map_err(|error| if native { self.judge(setting, &model, error) } else { error })
    }

    /// Looks at how a call with native tools failed. When the server refused the tools, that is remembered, and another
    /// attempt may succeed: it will be made in words.
    fn judge(&self, setting: ToolCalls, model: &Text, error: ProviderError) -> ProviderError {
        if setting != ToolCalls::Auto || !refuses_tools(&error) {
            return error;
        }
        self.learn(model, false);
        tracing::info!(%model, %error, "the server refuses tools; they are told in words from now on");
        ProviderError { retryable: true, ..error }
    }
}

/// What servers say when it is the tools that they refuse: Ollama, vLLM, llama.cpp, OpenRouter.
fn refuses_tools(error: &ProviderError) -> bool {
    let kinds =
        [ErrorKind::Unsupported, ErrorKind::InvalidRequest, ErrorKind::ModelNotFound, ErrorKind::Server];
    let said = error.message.to_lowercase();
    let signs = [
        "does not support tool",
        "support tool use",
        "tool choice requires --enable-auto-tool-choice",
        "tools param requires --jinja",
    ];
    kinds.contains(&error.kind) && signs.iter().any(|sign| said.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: ErrorKind, message: &str) -> ProviderError {
        ProviderError::new(kind, message)
    }

    #[test]
    fn a_refusal_of_tools_is_learned_by_all_clones_and_is_worth_another_attempt() {
        let native = NativeCalls::default();
        let model: Text = "m".into();
        let refusal = refused(ErrorKind::Unsupported, "\"m\" does not support tools");
        assert!(native.clone().judge(ToolCalls::Auto, &model, refusal).retryable);
        let known = |model| native.known(ToolCalls::Auto, model);
        assert_eq!((known("m"), known("other")), (Some(false), None));
    }

    #[test]
    fn other_refusals_are_left_alone_and_a_setting_is_not_overruled() {
        let native = NativeCalls::default();
        let model: Text = "m".into();
        for (kind, message) in [
            (ErrorKind::Unsupported, "\"m\" does not support thinking"),
            (ErrorKind::Auth, "this key does not support tools"),
        ] {
            assert!(!native.judge(ToolCalls::Auto, &model, refused(kind, message)).retryable, "{message}");
        }
        for (setting, expected) in [(ToolCalls::Native, true), (ToolCalls::Text, false)] {
            let error =
                native.judge(setting, &model, refused(ErrorKind::Unsupported, "m does not support tools"));
            assert_eq!((native.known(setting, "m"), error.retryable), (Some(expected), false));
        }
        assert_eq!(native.known(ToolCalls::Auto, "m"), None);
    }
}
