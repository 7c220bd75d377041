//! What a call costs where the server itself does not say it: by the price of the model that answered, over a real socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::Arc;

use common::*;
use ergane_core::{MicroUsd, ModelReply, ProviderError};
use ergane_provider::{Anthropic, Gemini, OpenAi, OpenAiResponses, Price, Provider, Providers};
use serde_json::{Value, json};

/// An answer of four tokens to three, in which the server calls the model `v-1`; whole, or streamed and cut off behind that.
struct Format {
    asks: fn(&str) -> Arc<dyn Provider>,
    whole: fn() -> Value,
    begun: fn() -> Value,
}

const FORMATS: [Format; 4] = [
    Format {
        asks: |url| Arc::new(OpenAi::new(url)),
        whole: || json!({"model": "v-1", "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
        begun: || json!({"model": "v-1", "choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}),
    },
    Format {
        asks: |url| Arc::new(OpenAiResponses::new(url)),
        whole: || json!({"model": "v-1", "status": "completed", "output": [], "usage": {"input_tokens": 3, "output_tokens": 4}}),
        begun: || json!({"type": "response.failed", "response": {"model": "v-1", "error": {"code": "server_error", "message": "m"}, "usage": {"input_tokens": 3, "output_tokens": 4}}}),
    },
    Format {
        asks: |url| Arc::new(Anthropic::new(url)),
        whole: || json!({"type": "message", "model": "v-1", "content": [], "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 4}}),
        begun: || json!({"type": "message_start", "message": {"model": "v-1", "content": [], "usage": {"input_tokens": 3, "output_tokens": 4}}}),
    },
    Format {
        asks: |url| Arc::new(Gemini::new(url)),
        whole: || json!({"modelVersion": "v-1", "candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}}),
        begun: || json!({"modelVersion": "v-1", "candidates": [{"content": {"parts": [{"text": "x"}]}}], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}}),
    },
];

/// What comes of a call for the model `m`, with these prices in dollars for a million tokens of whichever kind.
async fn asked(
    asks: fn(&str) -> Arc<dyn Provider>,
    act: Act,
    prices: &[(&str, u64)],
) -> Result<ModelReply, ProviderError> {
    let server = TestServer::always(vec![act]).await;
    let mut providers = Providers::builder().register("p", asks(&server.url));
    for (model, dollars) in prices {
        providers =
            providers.price("p", *model, Price::per_million(dollars * 1_000_000, dollars * 1_000_000));
    }
    let tree = Tree::start(providers).await;
    let outcome = tree.call("p", "hi").done().await;
    tree.shutdown().await;
    outcome
}

#[tokio::test]
async fn a_call_costs_what_the_model_costs_that_answered() {
    for Format { asks, whole, .. } in FORMATS {
        let answered = || answer("200 OK", &[JSON], whole().to_string());
        let cost = async |prices| asked(asks, answered(), prices).await.unwrap().cost;
        let api = asks("http://127.0.0.1:1").api();
        assert_eq!(
            cost(&[("v-1", 2)]).await,
            Some(MicroUsd(14)),
            "{api}: an alias has the price of what it leads to"
        );
        assert_eq!(
            cost(&[("m", 1), ("v-1", 2)]).await,
            Some(MicroUsd(14)),
            "{api}: who answered goes before who was asked"
        );
        assert_eq!(
            cost(&[("m", 1)]).await,
            Some(MicroUsd(7)),
            "{api}: without a price of its own it has that of its name"
        );
        assert_eq!(cost(&[("other", 1)]).await, None, "{api}: unknown is not free");
    }
}

#[tokio::test]
async fn what_an_answer_took_that_failed_costs_what_the_model_costs_that_had_begun_it() {
    for Format { asks, begun, .. } in FORMATS {
        let cut = || answer("200 OK", &[SSE], format!("data: {}\n\n", begun()));
        let spent = async |prices| asked(asks, cut(), prices).await.unwrap_err().spent.unwrap().cost;
        let api = asks("http://127.0.0.1:1").api();
        assert_eq!(spent(&[("m", 1), ("v-1", 2)]).await.total(), Some(MicroUsd(14)), "{api}");
        assert_eq!(spent(&[("other", 1)]).await.total(), None, "{api}: unknown is not free");
    }
}
