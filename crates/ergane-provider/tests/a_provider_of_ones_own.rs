//! A provider that somebody writes himself has what the adapters have: its server's headers are kept to, a server that
//! refuses is one that works, and who answered is paid.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::*;
use ergane_core::{ErrorKind, Message, MicroUsd, ModelReply, ProviderError, Role, Text, Usage};
use ergane_provider::wire::{Allowance, Head, Quota};
use ergane_provider::{
    BoxFuture, BreakerPolicy, Circuit, Endpoint, Limits, Price, Pricing, Provider, ProviderCall, Providers,
    WaitReason,
};

const LONG: Duration = Duration::from_secs(3600);

/// What its server says to a question that is the status of its answer. Whether it passes on the head, or only an error with
/// the status, or only what kind of error it was.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tells {
    TheHead,
    TheStatus,
    NothingButTheKind,
}

#[derive(Debug)]
struct Own {
    tells: Tells,
    headers: Vec<(String, String)>,
    /// What the server calls the model.
    model: Option<&'static str>,
}

impl Own {
    fn new(tells: Tells) -> Self {
        Self { tells, headers: Vec::new(), model: None }
    }
}

impl Provider for Own {
    fn api(&self) -> &'static str {
        "own"
    }

    fn default_model(&self) -> Option<Text> {
        Some("m".into())
    }

    fn endpoint(&self) -> String {
        "my own protocol".to_owned()
    }

    fn with_endpoint(&self, _: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        Err(ProviderError::new(ErrorKind::InvalidRequest, "it is at one place only"))
    }

    fn limits(&self) -> Limits {
        let breaker = Some(BreakerPolicy { failures: 2, open_for: LONG, at_most: LONG });
        Limits { breaker, ..Limits::default() }
    }

    fn pricing(&self, _: &str) -> Pricing {
        Pricing::Vendor("gemini")
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        let (tells, headers, model) = (self.tells, self.headers.clone(), self.model);
        Box::pin(async move {
            let status: u16 = call.request.messages.last().unwrap().text().parse().unwrap();
            if tells == Tells::TheHead {
                call.deltas.heard(&Head { status, headers, at: SystemTime::now() });
            }
            let kind = match status {
                200 => {
                    let message = Message { role: Role::Assistant, parts: vec!["hi".into()], origin: None };
                    let usage = model.map(|_| Usage { input_tokens: 1_000_000, ..Usage::default() });
                    model.inspect(|model| call.deltas.answered_by(model));
                    return Ok(ModelReply { message, usage, cost: None });
                }
                401 => ErrorKind::Auth,
                _ => ErrorKind::Server,
            };
            let told = Some(status).filter(|_| tells != Tells::NothingButTheKind);
            Err(ProviderError { status: told, ..ProviderError::new(kind, "the test says so") })
        })
    }
}

/// Whether the circuit is open after these answers.
async fn is_open_after(tells: Tells, answers: &[&str]) -> bool {
    let tree = Tree::start(Providers::builder().register("own", Own::new(tells))).await;
    for answer in answers {
        drop(tree.call("own", answer).done().await);
    }
    let status = tree.providers.status().remove(0);
    tree.shutdown().await;
    let is_open = matches!(status.reason, Some(WaitReason::CircuitOpen { .. }));
    assert_eq!((status.circuit == Circuit::Open, status.circuit_for.is_some()), (is_open, is_open));
    is_open
}

#[tokio::test]
async fn one_that_refuses_works_if_it_says_that_its_server_was_heard() {
    for tells in [Tells::TheHead, Tells::TheStatus] {
        assert!(!is_open_after(tells, &["500", "401", "500"]).await, "{tells:?}: no two failures in a row");
        assert!(is_open_after(tells, &["500", "401", "500", "500"]).await, "{tells:?}");
        assert!(!is_open_after(tells, &["500", "200", "500"]).await, "{tells:?}");
    }
    // An error that may have been made before anything was sent says nothing of the server.
    assert!(is_open_after(Tells::NothingButTheKind, &["500", "401", "500"]).await);
}

#[tokio::test]
async fn what_the_headers_say_of_limits_is_kept_to_and_told() {
    let headers = [
        ("x-ratelimit-limit-requests", "10"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "1h"),
        ("x-ratelimit-remaining-tokens", "70000"),
        ("x-ratelimit-reset-tokens", "0s"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let own = Own { headers, ..Own::new(Tells::TheHead) };
    let tree = Tree::start(Providers::builder().register("own", own)).await;
    let untold = tree.call("own", "200").done().await;
    untold.unwrap();
    let mut second = tree.call("own", "200");
    assert_eq!(second.waiting().await, WaitReason::Requests);
    let Quota { requests, tokens } = tree.providers.status()[0].told;
    let requests = requests.unwrap();
    assert_eq!((requests.limit, requests.remaining), (Some(10), 0));
    assert!(requests.reset > LONG - common::DEADLINE && requests.reset <= LONG, "{requests:?}");
    assert_eq!(tokens, Some(Allowance { limit: None, remaining: 70_000, reset: Duration::ZERO }));
    drop(second);
    tree.shutdown().await;
}

#[tokio::test]
async fn a_price_that_somebody_set_goes_before_the_table_whichever_name_it_is_for() {
    let cost = async |model, set: &[&str]| {
        let mut providers =
            Providers::builder().register("own", Own { model: Some(model), ..Own::new(Tells::TheHead) });
        for model in set {
            providers = providers.price("own", *model, Price::per_million(7, 0));
        }
        let tree = Tree::start(providers).await;
        let reply = tree.call("own", "200").done().await.unwrap();
        tree.shutdown().await;
        reply.cost
    };
    let in_table = Pricing::Vendor("gemini").price("gemini-2.5-flash").unwrap().input;
    assert_eq!(cost("gemini-2.5-flash", &[]).await, Some(MicroUsd(in_table)));
    assert_eq!(cost("gemini-2.5-flash", &["gemini-2.5-flash"]).await, Some(MicroUsd(7)));
    assert_eq!(cost("gemini-2.5-flash", &["m"]).await, Some(MicroUsd(7)), "the one that was asked for");
    assert_eq!(cost("gemini-next", &[]).await, None, "unknown is not free");
}
