//! What users test their agents with: scripted provider, cassettes, fault injection, crash points.
//!
//! Everything here is the real thing with one part replaced: a real socket with a server that misbehaves, a real store
//! that fails at the third write, a real tool that is killed half-way. So what is tested is what runs in production.

pub mod cassette;
mod effects;
mod error;
mod faults;
mod server;
mod world;

pub use cassette::{Cassette, Pace, Recorder, Replay, ReplayOptions};
pub use effects::{Done, EffectLog};
pub use ergane_provider::{Scripted, ScriptedCall, ScriptedError, ScriptedReply, ScriptedUsage};
pub use error::TestkitError;
pub use faults::{FaultPlan, FaultyJournal, JournalFault, ProviderFault, Rates, ToolFault, Victim};
pub use server::{Act, FaultServer, Gate, Received, Reply, gzip};
pub use world::{Step, StopAt, World};
