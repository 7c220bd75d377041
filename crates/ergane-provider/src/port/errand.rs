//! Questions that are no calls: what models there are, what one can do, and the vectors of texts.
//!
//! Whoever asks waits for the answer itself, so they need no actor. But they are requests to the same server: what bounds its calls
//! bounds them.

use std::time::Duration;

use ergane_core::{ErrorKind, ProviderError, Text};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};

use super::lane::Lane;
use crate::provider::{BoxFuture, Provider};

/// How many vectors of texts may be asked for at the same time at one provider, and how many things about its models: many of the
/// former keep nobody from the latter.
const VECTORS: usize = 8;
const LOOKS: usize = 8;

/// A question that is no call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Errand {
    /// What models there are, or what one can do.
    Look,
    /// The vectors of texts, of so many tokens.
    Vectors(u64),
}

/// Those that are open.
#[derive(Debug)]
pub(super) struct Errands {
    vectors: Semaphore,
    looks: Semaphore,
}

impl Default for Errands {
    fn default() -> Self {
        Self { vectors: Semaphore::new(VECTORS), looks: Semaphore::new(LOOKS) }
    }
}

impl Errands {
    /// How many are open.
    pub(super) fn open(&self) -> usize {
        let free = self.vectors.available_permits().saturating_add(self.looks.available_permits());
        (VECTORS + LOOKS).saturating_sub(free)
    }

    /// The turns that `what` takes, and how many tokens.
    fn of(&self, what: Errand) -> (&Semaphore, u64) {
        match what {
            Errand::Look => (&self.looks, 0),
            Errand::Vectors(tokens) => (&self.vectors, tokens),
        }
    }
}

impl Lane {
    /// Asks the provider something that is no call, in the task of whoever asks: a bounded number at a time, and within
    /// `deadline`, the wait for the others included. The limits that were set hold for these questions too, a server that asked to
    /// be left alone, or whose circuit is open, is left alone by them, and one that would have to wait beyond its deadline is
    /// refused at once. When a server asks to wait, that is asked of all; of all who ask for `model`, where its limit is used up. Else what comes of them is no sign of how calls fare, so it
    /// opens and closes no circuit.
    pub(super) async fn errand<T>(
        &self,
        deadline: Duration,
        what: Errand,
        model: Option<Text>,
        ask: impl FnOnce(&dyn Provider) -> BoxFuture<'static, Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let asked = async {
            // One that is beyond the clock's end is none.
            let by = Instant::now().checked_add(deadline);
            loop {
                // It is never closed; if it were, the bound would be gone and nothing else.
                let (turns, tokens) = self.errands.of(what);
                let turn = Turn { lane: self, permit: turns.acquire().await.ok() };
                let now = Instant::now();
                let admitted = self.gate().admit_errand(tokens, model.as_ref(), now);
                let Err(block) = admitted else {
                    let answer = ask(&*self.provider).await;
                    if let Err(error) = &answer {
                        self.gate().take_hint(error, model.as_ref(), Instant::now());
                    }
                    return answer;
                };
                drop(turn);
                match block.until.filter(|until| by.is_none_or(|by| *until <= by)) {
                    Some(until) => sleep_until(until).await,
                    None => return Err(block.refusal(&self.provider_name, now)),
                }
            }
        };
        timeout(deadline, asked).await.unwrap_or_else(|_| {
            let message = format!(
                "{} at {} did not answer within {deadline:?}",
                self.provider_name,
                self.provider.endpoint()
            );
            Err(ProviderError::new(ErrorKind::Timeout, message))
        })
    }
}

/// A question that is no call, open until it is dropped.
struct Turn<'a> {
    lane: &'a Lane,
    permit: Option<SemaphorePermit<'a>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.lane.tell_if_still();
    }
}
