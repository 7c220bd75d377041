//! The registry of providers, and the way a call takes: from whoever asks, through the provider's actor, to an actor of
//! its own.

mod admission;
mod breaker;
mod bucket;
mod call;
mod door;
mod errand;
mod fair;
mod gate;
mod lane;
mod limits;
mod providers;
mod request;
mod told;
mod wait;
mod weight;

pub use breaker::{BreakerPolicy, Circuit};
pub use call::{Call, CallEvent, CallHandle};
pub use limits::Limits;
pub(crate) use limits::limit_setters;
pub use providers::{ProviderStatus, Providers, ProvidersBuilder};
pub use wait::WaitReason;
