//! How a model is reached: the Provider trait, one actor per configured endpoint, its request actors, the wire adapters.
//!
//! # One call, and who may die on its way
//!
//! ```text
//! caller ── Providers::call ──► provider/NAME ──► request/N ── HTTP ──► server
//!    ▲                          lets in, queues    one call
//!    └───────────────── CallEvent ──────────────────┘
//! ```
//!
//! Everything that can happen to a call is one of its [`CallEvent`]s, and the last of them, [`CallEvent::Done`], comes
//! exactly once: after an answer, a failure, a panic in the provider, a kill of the request's actor, a kill of the
//! provider's actor with the call still in its queue, or the end of the whole tree. No part on the way has to know of the
//! others for that. The end is a promise that travels inside the call; whoever holds the call and dies, breaks the
//! promise, and a broken promise is an answer too. So a caller needs no monitor and no timer of its own, and
//! [`Providers::call`] never waits: it can be used inside an actor's handler.
//!
//! The provider's actor only lets calls in: so many at a time, within its limits of requests and tokens a minute (those
//! that were set, and those that the server tells of), not while the server asked to wait or fails again and again, and
//! in turns, so that a session with a thousand calls holds nobody up. A call that waits is told why
//! ([`CallEvent::Waiting`]). Those that run live under another supervisor and are counted by guards of
//! their own. So it may die at any moment: it loses none of them, and its successor finds them counted.
//!
//! # A call is made once
//!
//! Nothing in this crate repeats a request. A POST that is sent again by a client that means well, after a lost connection
//! or in the guise of a redirect, bills twice and may answer twice. What failed is reported with what is needed to decide:
//! its kind, whether it may help to try again, how long the server asks to wait, whether a part had been shown.
//! [`retry::delay`] turns that into a wait, purely; the loop that owns the attempts does the waiting.
//!
//! # Formats without I/O
//!
//! A wire format is a function from a request to bytes and a decoder that is fed bytes ([`wire`]). Servers lie in many ways:
//! an error with status 200, a web page, a stream that stops in mid-word and looks finished. Every one of these is a test
//! of bytes in and events out, at every split of the bytes. The I/O around the formats is written once.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use ergane_core::{Message, ModelRequest};
//! use ergane_otp::{Intensity, Namespace, Supervisor};
//! use ergane_provider::{Call, CallEvent, Providers, Scripted, ScriptedReply};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let namespace = Namespace::new("example");
//! let providers = Providers::builder()
//!     .register("scripted", Scripted::replies([ScriptedReply::text("hello")]))
//!     .build(&namespace);
//! let root = Supervisor::start(&namespace, "root", Intensity::default(), providers.child_specs(), None).await?;
//!
//! let request = ModelRequest::new("scripted", [Message::user_text("hi").into()].into_iter().collect());
//! let call = Call::new("scripted", request);
//! let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
//! let _handle = providers.call(call, move |event| drop(sender.send(event)));
//! let reply = loop {
//!     match events.recv().await {
//!         Some(CallEvent::Done(result)) => break result?,
//!         Some(_) => {}
//!         None => unreachable!("the end always comes first"),
//!     }
//! };
//! assert_eq!(reply.message.text(), "hello");
//! root.shutdown(Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Tools for models without native calls
//!
//! A model that has no native calls is told of its tools in words, and what it writes becomes calls ([`ToolCalls`],
//! [`wire::dialect`]), in whichever format it is asked. Whoever uses a provider sees no difference.
//!
//! # Keys
//!
//! A key is named, never given: an environment variable or a file, read at the time of the call. It is a
//! [`SecretString`](secrecy::SecretString) from there to the header, is sent to no other server than it was meant for, and
//! is taken out of whatever a server says back.

mod anthropic;
mod error;
mod gemini;
mod http;
mod learned;
mod models;
mod ollama;
mod openai;
mod openai_responses;
mod port;
mod price;
mod provider;
pub mod retry;
mod scripted;
mod site;
mod tool_calls;
mod windows;
pub mod wire;

pub use anthropic::Anthropic;
pub use error::SetupError;
pub use gemini::Gemini;
pub use models::{EmbedRequest, Embeddings, ModelInfo};
pub use ollama::Ollama;
pub use openai::OpenAi;
pub use openai_responses::OpenAiResponses;
pub use port::{
    BreakerPolicy, Call, CallEvent, CallHandle, Circuit, Limits, ProviderStatus, Providers, ProvidersBuilder,
    WaitReason,
};
pub use price::{LongPrice, Price, Pricing};
pub use provider::{BoxFuture, Delta, DeltaSink, Endpoint, Place, Provider, ProviderCall};
pub use scripted::{Scripted, ScriptedCall, ScriptedError, ScriptedReply, ScriptedUsage};
pub use tool_calls::ToolCalls;
pub use wire::openai::Compat;
