//! What goes wrong on purpose: by plan, and by the death of an actor.

mod journal;
mod kill;
mod plan;
mod provider;
mod tool;

pub use journal::FaultyJournal;
pub use kill::Victim;
pub use plan::{FaultPlan, JournalFault, ProviderFault, Rates, ToolFault};
