//! The registry of providers, and the way a call takes: from whoever asks, through the provider's actor, to an actor of
//! its own.

mod admission;
mod call;
mod door;
mod lane;
mod providers;
mod request;

pub use call::{Call, CallEvent, CallHandle};
pub use providers::{Providers, ProvidersBuilder};
