//! What all incarnations of one provider's actor share: the gate with its counts, how many calls wait, and the door to
//! the actor.
//!
//! Running calls are counted by guards that live with the calls and not by the actor. So a provider's actor that was
//! killed finds the right number when it comes back, and nobody has to tell it.

use std::cell::OnceCell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ergane_core::{Cost, ErrorKind, MicroUsd, ModelReply, ProviderError, Text, Usage};
use ergane_otp::Promise;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::admission::AdmissionMsg;
use super::call::Line;
use super::door::Door;
use super::errand::Errands;
use super::gate::{Asking, Gate, Permit};
use super::providers::ProviderStatus;
use super::wait::Block;
use super::weight::{Weight, estimate};
use crate::price::{Price, is_of};
use crate::provider::{Place, Provider, ProviderCall};
use crate::wire::{Head, Quota, counts_cached};

/// One provider at one endpoint.
pub(super) struct Lane {
    /// The actor's name: `provider/NAME` or `provider/NAME@URL`.
    pub(super) actor: String,
    pub(super) provider_name: Text,
    /// Whether it is where the provider was registered.
    pub(super) is_usual: bool,
    pub(super) provider: Arc<dyn Provider>,
    /// Which it is, where that is known.
    pub(super) place: Option<Place>,
    pub(super) door: Door,
    gate: Mutex<Gate>,
    waiting: AtomicUsize,
    pub(super) errands: Errands,
    /// Told when nothing is open.
    still: Notify,
    /// What was set for models of this provider.
    prices: Vec<(Text, Price)>,
}

impl Lane {
    pub(super) fn new(
        actor: String,
        (provider_name, is_usual): (Text, bool),
        provider: Arc<dyn Provider>,
        prices: Vec<(Text, Price)>,
    ) -> Self {
        let gate = Mutex::new(Gate::new(provider.limits(), Instant::now()));
        Self {
            actor,
            provider_name,
            is_usual,
            place: provider.place(),
            provider,
            door: Door::default(),
            gate,
            waiting: AtomicUsize::new(0),
            still: Notify::new(),
            prices,
            errands: Errands::default(),
        }
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in the queue. Calls for which there is room to run only pass through it, and take none of its places.
    pub(super) fn wait(self: &Arc<Self>) -> Result<Waiting, ProviderError> {
        let (limit, room) = {
            let gate = self.gate();
            (gate.max_waiting(), gate.room())
        };
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(self.clone());
        if before < limit.saturating_add(room) { Ok(waiting) } else { Err(self.full(limit)) }
    }

    /// Too many calls wait.
    pub(super) fn full(&self, limit: usize) -> ProviderError {
        let message = format!(
            "{limit} calls wait for {} already; let some of them end, or raise how many it may carry out at once",
            self.provider_name
        );
        ProviderError::new(ErrorKind::Overloaded, message)
    }

    /// Whether a call that has its place in the queue is the only one.
    pub(super) fn is_alone(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) <= 1
    }

    /// Whether it matters how many tokens a call will take.
    pub(super) fn counts_tokens(&self) -> bool {
        self.gate().counts_tokens()
    }

    /// Lets a call run, or says why not.
    pub(super) fn admit(self: &Arc<Self>, ticket: &Ticket) -> Result<Running, Block> {
        // Outside of the gate's lock: it may have to be found out.
        let weight = self.weight(ticket);
        let ProviderCall { request, idle_timeout: patience, .. } = &ticket.call;
        let asking = Asking { model: &request.model, asker: &ticket.asker, patience: *patience, weight };
        let permit = self.gate().admit(asking, Instant::now())?;
        Ok(Running { lane: self.clone(), permit: Some(permit) })
    }

    /// Why a call may not run now; `None` when it may.
    pub(super) fn block(&self, ticket: &Ticket) -> Option<Block> {
        let weight = self.weight(ticket);
        self.gate().block(&ticket.call.request.model, weight, Instant::now())
    }

    fn weight(&self, ticket: &Ticket) -> Weight {
        if self.counts_tokens() { ticket.weight() } else { Weight::default() }
    }

    /// A server has begun to answer a call.
    pub(super) fn heard(&self, permit: Permit, head: &Head) {
        self.gate().heard(permit, Quota::of(head), counts_cached(head), Instant::now());
        self.tell_of_room();
    }

    /// A call's answer has begun to come.
    pub(super) fn speaks(&self, permit: Permit) {
        self.gate().speaks(permit, Instant::now());
        self.tell_of_room();
    }

    /// No call is let through any more.
    pub(super) fn drain(&self) {
        self.gate().drain();
        self.tell_of_room();
    }

    /// Calls and other questions that are open.
    pub(super) fn open(&self) -> usize {
        self.running().saturating_add(self.errands.open())
    }

    /// Returns when neither a call nor another question is open.
    pub(super) async fn still(&self) {
        loop {
            let told = self.still.notified();
            tokio::pin!(told);
            // From here on it is told, so an end between the look and the wait is not missed.
            told.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            told.await;
        }
    }

    pub(super) fn running(&self) -> usize {
        self.gate().running()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// How it stands, in one moment.
    pub(super) fn status(&self) -> ProviderStatus {
        let (gate, now) = (self.gate(), Instant::now());
        let block = gate.longest_block(now);
        ProviderStatus {
            actor: self.actor.clone(),
            provider: self.provider_name.clone(),
            endpoint: self.provider.endpoint(),
            running: gate.running(),
            waiting: self.waiting(),
            limits: gate.limits(),
            circuit: gate.circuit(),
            circuit_for: gate.circuit_for(now),
            asked_for: gate.asked_for(now),
            told: gate.told(now),
            wait: block.as_ref().and_then(|block| block.until).map(|until| until.duration_since(now)),
            reason: block.map(|block| block.reason),
        }
    }

    pub(super) fn forget_cancelled(&self) {
        self.door.tell(AdmissionMsg::ForgetCancelled);
    }

    /// Puts the cost of a call to what came of it, where the server did not tell it and the price is known: of the model that
    /// answered, by the server's word or by the reply's, else of the one that was asked for, which may be an alias.
    pub(super) fn price(
        &self,
        result: &mut Result<ModelReply, ProviderError>,
        answered: Option<&str>,
        asked: &str,
    ) {
        match result {
            Ok(reply) => {
                let own = reply.message.origin.as_ref().map(|origin| &*origin.model);
                reply.cost = reply.cost.or_else(|| self.cost(reply.usage, &[answered, own, Some(asked)]));
            }
            Err(error) => {
                if let Some(spent) = error.spent.as_mut().filter(|spent| !spent.cost.complete)
                    && let Some(known) = self.cost(spent.usage, &[answered, Some(asked)])
                {
                    spent.cost = Cost { known, complete: true };
                }
            }
        }
    }

    fn cost(&self, usage: Option<Usage>, names: &[Option<&str>]) -> Option<MicroUsd> {
        match (self.price_of(names), usage) {
            (Some(Price::FREE), None) => Some(MicroUsd(0)),
            (Some(price), Some(usage)) => Some(price.cost(&usage)),
            (_, None) | (None, _) => None,
        }
    }

    /// The price of a model of several names, of which the first that has one counts. What somebody has set goes before the table,
    /// whichever of the names it is for.
    fn price_of(&self, names: &[Option<&str>]) -> Option<Price> {
        let set = |model| self.prices.iter().find(|(name, _)| is_of(model, name)).map(|(_, price)| *price);
        let in_table = |model| self.provider.pricing(model).price(model);
        let mut names = names.iter().copied().flatten();
        names.clone().find_map(set).or_else(|| names.find_map(in_table))
    }

    pub(super) fn tell_if_still(&self) {
        if self.open() == 0 {
            self.still.notify_waiters();
        }
    }

    fn tell_of_room(&self) {
        // A call counts as waiting before its message is sent, so none that the actor left waiting is overlooked here.
        if self.waiting() > 0 {
            self.door.tell(AdmissionMsg::Room);
        }
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("actor", &self.actor)
            .field("waiting", &self.waiting)
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

/// A call on its way, with all that must be told or given back when it is lost.
pub(super) struct Ticket {
    pub(super) call: ProviderCall,
    /// What it will take, as far as can be told, once somebody wanted to know.
    pub(super) weight: OnceCell<Weight>,
    /// Who asks: whoever waits takes turns with the others.
    pub(super) asker: Text,
    /// When it waits no longer.
    pub(super) until: Option<Instant>,
    pub(super) line: Arc<Line>,
    pub(super) promise: Promise<Result<ModelReply, ProviderError>>,
    pub(super) waiting: Waiting,
}

impl Ticket {
    /// What it will take in tokens. Found out once, and only where tokens are counted.
    pub(super) fn weight(&self) -> Weight {
        *self.weight.get_or_init(|| estimate(&self.call.request))
    }

    /// Whether it cannot wait as long as `block` says, or has waited for as long as it may.
    pub(super) fn is_hopeless(&self, block: &Block, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now || block.lasts_until().is_some_and(|then| then > until))
    }

    /// It is not made.
    pub(super) fn refuse(self, block: &Block, now: Instant) {
        let error = block.refusal(&self.call.provider, now);
        self.promise.keep(Err(error));
    }
}

/// A place in a lane's queue, given back when dropped.
pub(super) struct Waiting(Arc<Lane>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A running call, counted until it is finished or dropped; then the next one is let in.
pub(super) struct Running {
    lane: Arc<Lane>,
    permit: Option<Permit>,
}

impl Running {
    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// What it was let through with.
    pub(super) fn permit(&self) -> Permit {
        self.permit.unwrap_or_default()
    }

    /// The call is over, with this result. `answered` says whether the server was heard, and does not say of itself that
    /// it fails.
    pub(super) fn finish(mut self, result: &Result<ModelReply, ProviderError>, answered: bool) {
        self.end(Some(result), answered);
    }

    fn end(&mut self, result: Option<&Result<ModelReply, ProviderError>>, answered: bool) {
        let Some(permit) = self.permit.take() else { return };
        self.lane.gate().ended(permit, result, answered, Instant::now());
        self.lane.tell_if_still();
        self.lane.tell_of_room();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(None, false);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ergane_core::ModelRequest;

    use super::*;
    use crate::OpenAi;
    use crate::provider::DeltaSink;

    #[test]
    fn a_history_is_not_gone_through_where_nobody_counts_tokens() {
        let free = OpenAi::new("http://127.0.0.1:9/v1");
        let limited = free.clone().tokens_per_minute(1_000);
        for (provider, counts) in [(free, false), (limited, true)] {
            let lane =
                Arc::new(Lane::new("l".to_owned(), ("l".into(), true), Arc::new(provider), Vec::new()));
            let request = ModelRequest::new("m", [].into_iter().collect());
            let call = ProviderCall {
                provider: "l".into(),
                request,
                idle_timeout: Duration::from_secs(1),
                deltas: DeltaSink::none(),
            };
            let line = Line::new(|_| {});
            let (weight, promise, waiting) = (OnceCell::new(), line.promise(), lane.wait().unwrap());
            let ticket = Ticket { call, weight, asker: "a".into(), until: None, line, promise, waiting };
            assert!(lane.admit(&ticket).is_ok());
            assert_eq!(ticket.weight.get().is_some(), counts);
        }
    }
}
