//! The provider's actor: holds the calls that may not be made now, and lets them in, in turns.
//!
//! A call that finds the gate open and nobody waiting goes through without it: whether it may is one look at the
//! [`Gate`](super::gate::Gate), which needs no actor. What waits is here, fair between those who ask, told why, and
//! refused when it would wait for longer than it can.
//!
//! It never touches a call that runs. Those live under `requests`, so this actor may die and lose none of them; the calls
//! in its queue are answered by their promises.

use std::collections::HashSet;
use std::sync::Arc;

use ergane_core::Text;
use ergane_otp::TaskSupervisorRef;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::fair::FairQueue;
use super::lane::{Lane, Ticket};
use super::request;
use super::wait::{Block, WaitReason};

/// So many calls of one session wait at one provider.
const OF_ONE: usize = 1024;

/// Where a model's own limit holds up the first of the queue, so many others are asked whether they wait for that too.
const LOOK_AHEAD: usize = 64;

/// Who waits for a model that nobody gets now is passed over without a look; of those there may be so many.
const PASS_OVER: usize = 4096;

pub(super) struct Admission;

pub(super) enum AdmissionMsg {
    /// A call wants in.
    Submit(Box<Ticket>),
    /// The gate may have opened.
    Room,
    /// A call in the queue was cancelled.
    ForgetCancelled,
    /// A wait is over: for the gate, or of a call that waits no longer.
    Wake,
}

pub(super) struct State {
    lane: Arc<Lane>,
    requests: TaskSupervisorRef,
    me: ActorRef<AdmissionMsg>,
    /// Bounded by the places that [`Lane::wait`] gives.
    queue: FairQueue<Text, Box<Ticket>>,
    /// Why the first of the queue waits; those in it were told.
    blocked: Option<Block>,
    /// No call in the queue gives up before.
    earliest: Option<Instant>,
    alarm: Option<Alarm>,
}

/// A timer that ends with its owner.
struct Alarm {
    at: Instant,
    timer: AbortHandle,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

impl Actor for Admission {
    type Msg = AdmissionMsg;
    type State = State;
    type Arguments = (Arc<Lane>, TaskSupervisorRef);

    async fn pre_start(
        &self,
        me: ActorRef<AdmissionMsg>,
        (lane, requests): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let queue = FairQueue::new();
        Ok(State { lane, requests, me, queue, blocked: None, earliest: None, alarm: None })
    }

    async fn handle(
        &self,
        _: ActorRef<AdmissionMsg>,
        message: AdmissionMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AdmissionMsg::Submit(ticket) => state.submit(ticket),
            AdmissionMsg::Room => {}
            AdmissionMsg::ForgetCancelled => drop(state.queue.take_if(|ticket| !ticket.line.is_open())),
            AdmissionMsg::Wake => state.alarm = None,
        }
        state.admit();
        Ok(())
    }

    /// It supervises nobody; ractor's default would end it with any actor it happened to watch.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<AdmissionMsg>,
        _: SupervisionEvent,
        _: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl State {
    fn submit(&mut self, ticket: Box<Ticket>) {
        if self.queue.of(&ticket.asker) >= OF_ONE {
            return ticket.promise.keep(Err(self.lane.full(OF_ONE)));
        }
        // What holds up another model may be nothing to this one.
        let own = self.blocked.as_ref().filter(|block| block.of_model).map(|_| self.lane.block(&ticket));
        if let Some(block) = own.unwrap_or_else(|| self.blocked.clone()) {
            let now = Instant::now();
            if ticket.is_hopeless(&block, now) {
                return ticket.refuse(&block, now);
            }
            ticket.line.waiting(&block.reason);
        }
        self.earliest = earlier(self.earliest, ticket.until);
        self.queue.push(ticket.asker.clone(), ticket);
    }

    fn admit(&mut self) {
        let (mut passed, mut looks, mut held) = (0, 0, None::<Block>);
        let mut used_up = HashSet::new();
        while let Some(ticket) = self.queue.first(passed) {
            if !ticket.line.is_open() {
                drop(self.queue.pop(passed));
                continue;
            }
            let model = &ticket.call.request.model;
            if passed < PASS_OVER && used_up.contains(model) {
                passed += 1;
                continue;
            }
            match self.lane.admit(ticket) {
                Ok(running) => {
                    if let Some(ticket) = self.queue.pop(passed) {
                        request::start(&self.requests, *ticket, running);
                    }
                }
                Err(block) if block.of_model && looks < LOOK_AHEAD && passed < PASS_OVER => {
                    (looks, passed) = (looks + 1, passed + 1);
                    // For want of tokens it may be this call alone that does not get it.
                    if block.reason != WaitReason::Tokens {
                        used_up.insert(model.clone());
                    }
                    let is_sooner = |held: &Block| block.until < held.until;
                    if held.as_ref().is_none_or(is_sooner) {
                        held = Some(block);
                    }
                }
                Err(block) if block.of_model => return self.hold(held.unwrap_or(block)),
                // It holds up all, and a model's own limit only some.
                Err(block) => return self.hold(block),
            }
        }
        match held {
            Some(block) => self.hold(block),
            None => (self.blocked, self.earliest, self.alarm) = (None, None, None),
        }
    }

    /// All that are left wait. Looking at each of them is for when there is something new to tell, or one gives up.
    fn hold(&mut self, block: Block) {
        let now = Instant::now();
        let is_news = self.blocked.as_ref().is_none_or(|before| !before.is_like(&block));
        // A server that shuts for longer than was known is too long for some.
        let is_longer = matches!(block.reason, WaitReason::Asked | WaitReason::CircuitOpen { .. })
            && self.blocked.as_ref().is_some_and(|before| before.lasts_until() < block.lasts_until());
        // What holds up one model may be nothing to another, or hold it up for another time.
        let lane = self.lane.clone();
        let of = |ticket: &Ticket| {
            let own = block.of_model.then(|| lane.block(ticket)).flatten();
            own.unwrap_or_else(|| block.clone())
        };
        if is_news || is_longer || self.earliest.is_some_and(|earliest| earliest <= now) {
            for ticket in self.queue.take_if(|ticket| ticket.is_hopeless(&of(ticket), now)) {
                let own = of(&ticket);
                ticket.refuse(&own, now);
            }
            self.earliest = self.queue.iter().filter_map(|ticket| ticket.until).min();
        }
        if is_news {
            self.queue.iter().for_each(|ticket| ticket.line.waiting(&of(ticket).reason));
        }
        if let Some(at) = earlier(block.until, self.earliest) {
            self.wake_at(at, now);
        }
        self.blocked = Some(block);
    }

    fn wake_at(&mut self, at: Instant, now: Instant) {
        if self.alarm.as_ref().is_some_and(|alarm| alarm.at <= at) {
            return;
        }
        let timer = self.me.send_after(at.saturating_duration_since(now), || AdmissionMsg::Wake);
        self.alarm = Some(Alarm { at, timer: timer.abort_handle() });
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
