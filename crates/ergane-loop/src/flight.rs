//! A step in flight: whom it asks, at which attempt, and what came of those asked before.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ergane_core::{ProviderError, Text};
use ergane_provider::CallHandle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::message::{ModelStep, StepId, Target};

#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) id: StepId,
    pub(crate) step: Box<ModelStep>,
    pub(crate) begun: Instant,
    /// Who of the chain is asked.
    pub(crate) target: usize,
    /// How often that one was asked, this time included.
    pub(crate) at_target: u32,
    /// How often anyone was asked, this time included.
    pub(crate) attempt: u32,
    /// Who has failed for good, and why.
    pub(crate) failed: Vec<(Text, Text)>,
    /// Whether the one who is asked was asked again because a tool call could not be read.
    pub(crate) resampled: bool,
    /// Whether something of the answer was shown. Its pieces pass this loop by.
    pub(crate) shown: Arc<AtomicBool>,
    /// Dropping it cancels the request.
    pub(crate) call: Option<CallHandle>,
    pub(crate) timer: Option<Timer>,
}

impl Flight {
    pub(crate) fn new(id: StepId, step: Box<ModelStep>) -> Self {
        Self {
            id,
            step,
            begun: Instant::now(),
            target: 0,
            at_target: 1,
            attempt: 1,
            failed: Vec::new(),
            resampled: false,
            shown: Arc::default(),
            call: None,
            timer: None,
        }
    }

    /// Who is asked; nobody of an empty chain.
    pub(crate) fn asked(&self) -> Option<&Target> {
        self.step.chain.get(self.target)
    }

    pub(crate) fn has_next(&self) -> bool {
        self.target.saturating_add(1) < self.step.chain.len()
    }

    /// The error of the last of a chain, with what all of them said.
    pub(crate) fn all_failed(&self, last: ProviderError) -> ProviderError {
        if self.failed.is_empty() {
            return last;
        }
        let name = self.asked().map_or("", |target| &target.provider);
        let mut message = "no provider of the chain answered".to_owned();
        for (provider, why) in self.failed.iter().map(|(p, w)| (&**p, &**w)).chain([(name, &*last.message)]) {
            message.push_str(&format!("; {provider}: {why}"));
        }
        ProviderError { message: message.into(), ..last }
    }
}

/// A timer that ends with its owner.
#[derive(Debug)]
pub(crate) struct Timer(pub(crate) AbortHandle);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}
