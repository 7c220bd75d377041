//! The way to a provider's actor, which may not have been started yet, or be between two incarnations.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ergane_core::{ErrorKind, ProviderError};
use ergane_otp::{ChildSpec, DynamicSupervisorRef, StartError, TaskSupervisorRef};
use ractor::{ActorRef, MessagingErr};
use tokio::time::{Instant, timeout};

use super::admission::{Admission, AdmissionMsg};
use super::call::Line;
use super::lane::{Lane, Ticket};
use super::request;
use super::wait::{Block, WaitReason};

/// How long a provider's actor may take to be (again) alive.
const OPENING: Duration = Duration::from_secs(30);

/// After so long, those who wait for it are told what they wait for, and as often it is looked whether one of them waits no longer.
/// Usually it is there in no time.
const TELLING: Duration = Duration::from_millis(250);

#[derive(Default)]
pub(super) struct Door(Mutex<Leaf>);

#[allow(clippy::vec_box, reason = "boxed they come and boxed they go on")]
type Waiters = Vec<Box<Ticket>>;

/// Tickets never pass one another: those that come while the door is opened go in together, in their order.
#[derive(Default)]
enum Leaf {
    #[default]
    Closed,
    /// With those who wait, and whether they are told so.
    Opening(Waiters, bool),
    Open(ActorRef<AdmissionMsg>),
}

/// The supervisors of providers and of requests.
#[derive(Clone)]
pub(super) struct Supervisors {
    pub(super) providers: DynamicSupervisorRef,
    pub(super) requests: TaskSupervisorRef,
}

impl Door {
    fn leaf(&self) -> MutexGuard<'_, Leaf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries the call out, when it may be and nobody waits before it; else sends it to the lane's actor, which is started
    /// when it is not alive. Never waits. Must be called within a tokio runtime.
    pub(super) fn enter(lane: &Arc<Lane>, supervisors: &Supervisors, ticket: Box<Ticket>) {
        if matches!(&*lane.door.leaf(), Leaf::Opening(_, true)) {
            // Before it is among them, and outside of the lock: from there on its next event may be that it begins.
            ticket.line.waiting(&WaitReason::Starting);
        }
        let mut leaf = lane.door.leaf();
        let ticket = match &mut *leaf {
            Leaf::Opening(tickets, _) => return tickets.push(ticket),
            Leaf::Closed => ticket,
            Leaf::Open(_)
                if lane.is_alone()
                    && let Ok(running) = lane.admit(&ticket) =>
            {
                drop(leaf);
                return request::start(&supervisors.requests, *ticket, running);
            }
            Leaf::Open(actor) => match actor.send_message(AdmissionMsg::Submit(ticket)) {
                Ok(()) => return,
                Err(MessagingErr::SendErr(AdmissionMsg::Submit(ticket))) => ticket,
                // The ticket is gone, and its promise with it, which tells.
                Err(_) => return,
            },
        };
        *leaf = Leaf::Opening(vec![ticket], false);
        drop(leaf);
        tokio::spawn(open(lane.clone(), supervisors.clone()));
    }

    /// Tells those who wait what they wait for, once, and refuses who has waited for as long as he can. Whoever opens the door calls
    /// this, so none of them goes in meanwhile.
    fn tell_that_it_opens(&self) {
        let now = Instant::now();
        let block =
            Block { reason: WaitReason::Starting, until: None, may_end_before: false, of_model: false };
        let (mut late, mut lines) = (Vec::new(), Vec::<Arc<Line>>::new());
        if let Leaf::Opening(tickets, told) = &mut *self.leaf() {
            late.extend(tickets.extract_if(.., |ticket| ticket.is_hopeless(&block, now)));
            if !std::mem::replace(told, true) {
                lines.extend(tickets.iter().map(|ticket| ticket.line.clone()));
            }
        }
        lines.iter().for_each(|line| line.waiting(&block.reason));
        late.into_iter().for_each(|ticket| ticket.refuse(&block, now));
    }

    /// Tells the actor, if it is alive. One that is not has nothing to be told: it begins with an empty queue and counts
    /// anew.
    pub(super) fn tell(&self, message: AdmissionMsg) {
        if let Leaf::Open(actor) = &*self.leaf()
            && actor.send_message(message).is_err()
        {
            tracing::trace!("a provider's actor is between two incarnations");
        }
    }
}

async fn open(lane: Arc<Lane>, supervisors: Supervisors) {
    let (for_actor, requests) = (lane.clone(), supervisors.requests.clone());
    let spec =
        ChildSpec::actor(lane.actor.clone(), move |_| (Admission, (for_actor.clone(), requests.clone())));
    let mut starting = std::pin::pin!(supervisors.providers.start_child(spec, OPENING));
    let started = loop {
        match timeout(TELLING, &mut starting).await {
            Ok(started) => break started,
            Err(_) => lane.door.tell_that_it_opens(),
        }
    };
    let actor = match started {
        Ok(cell) | Err(StartError::AlreadyStarted(cell)) => ActorRef::from(cell),
        Err(error) => return refuse(&lane, &error),
    };
    let mut leaf = lane.door.leaf();
    let before = std::mem::replace(&mut *leaf, Leaf::Open(actor.clone()));
    let Leaf::Opening(tickets, _) = before else { return };
    let submitted = tickets.into_iter().map(AdmissionMsg::Submit);
    // Some may have been cancelled meanwhile, when there was nobody to be told.
    let sent: Vec<_> = submitted
        .chain([AdmissionMsg::ForgetCancelled])
        .map(|message| actor.send_message(message).map_err(Box::new))
        .collect();
    drop(leaf);
    // Outside the lock: if the actor died again, the tickets came back, and their broken promises run callers' code here.
    if sent.iter().any(Result::is_err) {
        tracing::debug!(actor = %lane.actor, "ended while its first calls came in");
    }
}

fn refuse(lane: &Lane, error: &StartError) {
    let before = std::mem::take(&mut *lane.door.leaf());
    let Leaf::Opening(tickets, _) = before else { return };
    let message = format!("the actor {} of the provider is not running: {error}", lane.actor);
    for ticket in tickets {
        let error =
            ProviderError { retryable: true, ..ProviderError::new(ErrorKind::Internal, message.clone()) };
        ticket.promise.keep(Err(error));
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &*self.leaf() {
            Leaf::Closed => "closed",
            Leaf::Opening(..) => "opening",
            Leaf::Open(_) => "open",
        };
        f.write_str(state)
    }
}
