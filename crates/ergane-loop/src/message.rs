//! What goes down to a loop, and what comes up from it.
//!
//! Every answer carries its step, and every message of an attempt its number: so what comes late is known as that.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ergane_core::{ModelReply, ModelRequest, ProviderError, Text, TurnId};
use ergane_provider::retry::RetryPolicy;
use ergane_provider::{Endpoint, WaitReason};

/// Which step of which turn: what makes a late answer recognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StepId {
    /// The turn.
    pub turn: TurnId,
    /// The number of the step in this incarnation of the session.
    pub step: u64,
}

/// What the loop is told to do.
#[derive(Debug)]
pub enum Step {
    /// Ask the model.
    CallModel(Box<ModelStep>),
}

/// One model call, with the policy for its attempts.
#[derive(Debug, Clone)]
pub struct ModelStep {
    /// Who is asked: the first one, and when that fails for good, the next.
    pub chain: Vec<Target>,
    /// What to ask: a shared view of the history. Its model is that of whoever is asked.
    pub request: ModelRequest,
    /// Silence that counts as a cut.
    pub idle_timeout: Duration,
    /// How often and after how long to try again.
    pub retry: RetryPolicy,
}

/// One provider that may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The provider's registered name.
    pub provider: Text,
    /// The endpoint, where it differs from the registered one.
    pub endpoint: Endpoint,
    /// The model there; an empty name is the provider's usual one.
    pub model: Text,
}

/// What the loop reports of a step.
#[derive(Debug)]
pub struct LoopReport {
    /// The step it speaks of.
    pub step: StepId,
    /// What happened.
    pub report: Report,
}

/// What happened in a step.
#[derive(Debug)]
pub enum Report {
    /// The call is not made yet. Told again when there is another reason.
    Waiting {
        /// Why.
        reason: WaitReason,
    },
    /// The attempt failed; another follows after `delay`. What it took, its error says.
    Retrying {
        /// The number of the attempt that failed, from 1.
        attempt: u32,
        /// How long until the next.
        delay: Duration,
        /// Why it failed, and what it took.
        error: ProviderError,
    },
    /// A provider failed for good; the next one of the chain is asked. What its last attempt took, its error says.
    FellBack {
        /// Who failed.
        from: Text,
        /// Who is asked now.
        to: Text,
        /// Why, and what the last attempt took.
        error: ProviderError,
    },
    /// The model answered. Without tool calls it is the loop's last word.
    Replied {
        /// The answer. What the attempts before it took was reported with each.
        reply: Box<ModelReply>,
        /// How many attempts it took, at all providers.
        attempts: u32,
    },
    /// The last attempt failed, and the loop has nothing more to do. Of a chain of providers the message names each with its
    /// reason.
    Failed {
        /// Why, and what the last attempt took.
        error: ProviderError,
    },
}

impl Report {
    /// Why an attempt came to nothing, and what it took; `None` of what is no failure.
    pub fn error(&self) -> Option<&ProviderError> {
        match self {
            Self::Retrying { error, .. } | Self::FellBack { error, .. } | Self::Failed { error } => {
                Some(error)
            }
            Self::Waiting { .. } | Self::Replied { .. } => None,
        }
    }

    /// Whether the loop ends with it: nothing is left to ask for. If the turn does go on, it has another loop.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Replied { reply, .. } => reply.message.calls().next().is_none(),
            Self::Failed { .. } => true,
            Self::Waiting { .. } | Self::Retrying { .. } | Self::FellBack { .. } => false,
        }
    }
}

/// What can be seen of a call that is made. There is nothing to decide about it, so it goes straight to whoever shows it, from
/// the task that carries the call out.
#[derive(Debug)]
pub enum Shown {
    /// The provider is asked now: whatever the call waited for is over.
    Asked,
    /// A piece of the answer, not yet a fact.
    Content(Text),
    /// A piece of the model's reasoning, not yet a fact.
    Thinking(Text),
    /// What was shown is void: it is asked again.
    Reset,
}

/// Where what happens in a step is told: quick functions that must not block.
#[derive(Clone)]
pub struct Reporter {
    pub(crate) show: Arc<dyn Fn(StepId, Shown) + Send + Sync>,
    pub(crate) report: Arc<dyn Fn(LoopReport) + Send + Sync>,
}

impl Reporter {
    /// What can be seen of an answer goes to `show`, what is to be decided about to `report`, such as a cast to the session.
    /// Both are called from several threads, but in the order in which things happen: what is shown of an attempt comes
    /// after what is reported of the one before it, and before what is reported of its own end.
    pub fn new(
        show: impl Fn(StepId, Shown) + Send + Sync + 'static,
        report: impl Fn(LoopReport) + Send + Sync + 'static,
    ) -> Self {
        Self { show: Arc::new(show), report: Arc::new(report) }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// The messages of the loop.
#[derive(Debug)]
pub enum LoopMsg {
    /// Carry this out; a step still under way is given up.
    Step(StepId, Step),
    /// An attempt's call has got further.
    Call(StepId, u32, CallProgress),
    /// The pause before an attempt is over.
    Retry(StepId, u32),
}

/// How far an attempt's call is. Pieces of the answer are not among it: they pass the loop by.
#[derive(Debug)]
pub enum CallProgress {
    /// It is not made yet.
    Waiting(WaitReason),
    /// It is over.
    Done(Result<ModelReply, ProviderError>),
}
