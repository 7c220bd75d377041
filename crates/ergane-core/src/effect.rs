//! What a tool does to the world, in one word.

use serde::{Deserialize, Serialize};

/// What a tool does to the world. One word decides three things: may it run beside others, does it need permission,
/// may it run again after a crash.
///
/// ```
/// use ergane_core::Effect;
///
/// let run_again_after_a_crash = |effect| match effect {
///     Effect::Read | Effect::Idempotent => true,
///     Effect::Write => false, // the model is told that nobody knows
/// };
/// assert!(run_again_after_a_crash(Effect::Read) && !run_again_after_a_crash(Effect::Write));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It only looks. Runs in parallel, is free in permission mode `default`, runs again after a crash.
    Read,
    /// It changes something, but doing it twice with the same key is doing it once. Runs in parallel, is
    /// asked about where the session asks ([`Ungranted`](crate::Ungranted)), runs again after a crash with the same
    /// idempotency key.
    Idempotent,
    /// It changes the world. Runs alone and in call order, is asked about where the session asks
    /// ([`Ungranted`](crate::Ungranted)), never runs again after a crash.
    Write,
}

impl Effect {
    /// Whether calls with this effect may run beside each other.
    ///
    /// ```
    /// use ergane_core::Effect;
    ///
    /// assert!(Effect::Read.is_parallel() && Effect::Idempotent.is_parallel());
    /// assert!(!Effect::Write.is_parallel());
    /// ```
    pub fn is_parallel(self) -> bool {
        !matches!(self, Self::Write)
    }

    /// Whether a `ToolStarted` fact must be durable before the body runs.
    ///
    /// ```
    /// use ergane_core::Effect;
    ///
    /// assert!(Effect::Write.needs_start_fact());
    /// assert!(!Effect::Read.needs_start_fact(), "it may just be run again");
    /// ```
    pub fn needs_start_fact(self) -> bool {
        !matches!(self, Self::Read)
    }
}
