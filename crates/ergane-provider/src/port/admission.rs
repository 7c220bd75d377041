//! The provider's actor: lets calls in, a bounded number at a time, in the order they came.
//!
//! It never touches a call that runs. Those live under `requests`, so this actor may die and lose none of them; the calls
//! in its queue are answered by their promises.

use std::collections::VecDeque;
use std::sync::Arc;

use ergane_otp::DynamicSupervisorRef;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::lane::{Lane, Ticket};
use super::request;

pub(super) struct Admission;

pub(super) enum AdmissionMsg {
    /// A call wants in.
    Submit(Box<Ticket>),
    /// A call has ended.
    Room,
    /// A call in the queue was cancelled.
    ForgetCancelled,
}

pub(super) struct State {
    lane: Arc<Lane>,
    requests: DynamicSupervisorRef,
    /// Bounded by the places that [`Lane::wait`] gives.
    queue: VecDeque<Box<Ticket>>,
}

impl Actor for Admission {
    type Msg = AdmissionMsg;
    type State = State;
    type Arguments = (Arc<Lane>, DynamicSupervisorRef);

    async fn pre_start(
        &self,
        _: ActorRef<AdmissionMsg>,
        (lane, requests): Self::Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { lane, requests, queue: VecDeque::new() })
    }

    async fn handle(
        &self,
        _: ActorRef<AdmissionMsg>,
        message: AdmissionMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AdmissionMsg::Submit(ticket) => state.queue.push_back(ticket),
            AdmissionMsg::Room => {}
            AdmissionMsg::ForgetCancelled => state.queue.retain(|ticket| ticket.line.is_open()),
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
    fn admit(&mut self) {
        while let Some(ticket) = self.queue.pop_front() {
            if !ticket.line.is_open() {
                continue;
            }
            let Some(running) = self.lane.run() else {
                self.queue.push_front(ticket);
                return;
            };
            request::start(&self.requests, &self.lane, *ticket, running);
        }
    }
}
