//! What every provider over HTTP must say of itself, or the actors before it do not know: the bounds that were set, and
//! whose prices hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::sync::Arc;

use ergane_provider::{
    Anthropic, Endpoint, Gemini, Limits, Ollama, OpenAi, OpenAiResponses, Price, Pricing, Provider,
};

/// Each of them with every bound set, whose prices hold, and a model that has one.
fn bounded() -> Vec<(Arc<dyn Provider>, Pricing, &'static str)> {
    macro_rules! bounded {
        ($provider:ident) => {
            Arc::new(
                $provider::default()
                    .max_in_flight(1)
                    .max_waiting(2)
                    .requests_per_minute(3)
                    .tokens_per_minute(4)
                    .breaker(None),
            )
        };
    }
    vec![
        (bounded!(OpenAi), Pricing::Vendor("openai"), "gpt-5"),
        (bounded!(OpenAiResponses), Pricing::Vendor("openai"), "gpt-5"),
        (bounded!(Anthropic), Pricing::Vendor("anthropic"), "claude-haiku-4-5"),
        (bounded!(Gemini), Pricing::Vendor("gemini"), "gemini-2.5-pro"),
        (bounded!(Ollama), Pricing::Free, "llama3.2"),
    ]
}

#[test]
fn a_bound_that_was_set_is_the_one_that_holds_here_and_at_another_address() {
    let expected = Limits {
        max_in_flight: 1,
        max_waiting: 2,
        requests_per_minute: Some(3),
        tokens_per_minute: Some(4),
        breaker: None,
    };
    let elsewhere = Endpoint { base_url: Some("http://127.0.0.1:9".into()), api_key_env: None };
    for (provider, ..) in bounded() {
        assert_eq!(provider.limits(), expected, "{}", provider.api());
        assert_eq!(provider.with_endpoint(&elsewhere).unwrap().limits(), expected, "{}", provider.api());
    }
}

#[test]
fn the_prices_of_a_vendor_hold_at_its_own_address_only() {
    let elsewhere = Endpoint { base_url: Some("http://models.example".into()), api_key_env: None };
    for (provider, pricing, model) in bounded() {
        assert_eq!(provider.pricing(model), pricing, "{}", provider.api());
        let price = provider.pricing(model).price(model).unwrap_or_else(|| panic!("{model} has no price"));
        assert_eq!(price == Price::FREE, pricing == Pricing::Free, "{model}: {price:?}");
        let other = provider.with_endpoint(&elsewhere).unwrap();
        assert_eq!(other.pricing(model).price(model), None, "{}: unknown, not free", provider.api());
    }
}
