//! The loop actor: carries out one turn, one step at a time, by messages only.
//!
//! # Why the loop decides nothing and knows nothing
//!
//! The session owns the facts and asks the kernel what must happen; the loop gets one [`Step`] and carries it out:
//! today, one model call with its attempts: at one provider and, when that fails for good, at the next of its chain
//! (which of it is a pure policy, and the timers are messages). It holds only what is in flight. So it may die at any moment: the session starts another from the facts and gives it the same
//! step, and every answer carries `(turn, step)`, so that what the dead one still had on its way is recognised as
//! stale and dropped.
//!
//! Commands go down as [`LoopMsg`]s, reports come up through the [`Reporter`] that the session gave. With its last word
//! ([`Report::is_last`]) it ends by itself.

mod actor;
mod flight;
mod message;

pub use actor::{LoopActor, LoopArgs};
pub use message::{
    CallProgress, LoopMsg, LoopReport, ModelStep, Report, Reporter, Shown, Step, StepId, Target,
};
