//! The actor: a step comes in, attempts are made, the outcome goes up.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::future::ready;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ergane_core::{Digest, ErrorKind, ModelReply, ProviderError, Spent, StopReason, Text};
use ergane_otp::{Hold, Scope};
use ergane_provider::retry::{self, Decision, Failed, PlainHistory};
use ergane_provider::{Call, CallEvent, Delta, Providers};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::flight::{Flight, Timer};
use crate::message::{CallProgress, LoopMsg, LoopReport, Report, Reporter, Shown, Step, StepId, Target};

/// What the loop needs to start.
#[derive(Debug)]
pub struct LoopArgs {
    /// How models are reached.
    pub providers: Providers,
    /// Where reports go.
    pub reporter: Reporter,
    /// Who asks, such as the session: where calls wait, those who ask take turns.
    pub asker: Text,
    /// The scope of whoever starts it: it takes itself in.
    pub scope: Scope,
    /// Whoever starts it. It is to be spawned without a supervisor, and links itself with its first step: ractor tells a
    /// supervisor of each start, which would wake the session once more in each turn, for nothing.
    pub supervisor: ActorCell,
}

/// The loop actor.
///
/// What has to outlive it lies with the actor and not with its state: that may travel in an event, and ractor drops the
/// actor last, when the call under way is gone.
pub struct LoopActor {
    /// Its place in the scope of whoever started it.
    hold: OnceLock<Hold>,
    /// Whether it has said its last word.
    over: AtomicBool,
    /// Tells of an end before that.
    died: Box<dyn Fn() + Send + Sync>,
}

impl LoopActor {
    /// A loop. If it ends before its last word ([`Report::is_last`]), `died` is called when it is gone, and after all that it
    /// reported; it must not block.
    pub fn new(died: impl Fn() + Send + Sync + 'static) -> Self {
        Self { hold: OnceLock::new(), over: AtomicBool::new(false), died: Box::new(died) }
    }

    /// Ends a loop that has said its last word. Its session knows by that word, and is not woken for the end as well.
    fn leave(&self, me: &ActorRef<LoopMsg>, supervisor: &ActorCell) {
        self.over.store(true, Ordering::Relaxed);
        me.unlink(supervisor.clone());
        me.stop(None);
    }
}

impl Drop for LoopActor {
    fn drop(&mut self) {
        if !*self.over.get_mut() {
            (self.died)();
        }
    }
}

impl fmt::Debug for LoopActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoopActor")
    }
}

/// What is in flight.
#[derive(Debug)]
pub struct LoopState {
    args: LoopArgs,
    flight: Option<Flight>,
    /// Who refused the history, and what is told there instead. It is known for this turn only: in the next one all of it is
    /// tried again, for the key that it needs may be back.
    plain: Vec<(Target, PlainHistory)>,
    /// Whether it has said its last word.
    over: bool,
}

impl Actor for LoopActor {
    type Msg = LoopMsg;
    type State = LoopState;
    type Arguments = LoopArgs;

    async fn pre_start(
        &self,
        me: ActorRef<LoopMsg>,
        args: LoopArgs,
    ) -> Result<LoopState, ActorProcessingErr> {
        self.hold.get_or_init(|| args.scope.hold(me.get_cell()));
        Ok(LoopState { args, flight: None, plain: Vec::new(), over: false })
    }

    fn handle(
        &self,
        myself: ActorRef<LoopMsg>,
        message: LoopMsg,
        state: &mut LoopState,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        match message {
            LoopMsg::Step(id, Step::CallModel(step)) => {
                if myself.try_get_supervisor().is_none() {
                    myself.link(state.args.supervisor.clone());
                }
                state.flight = Some(Flight::new(id, step));
                state.attempt(&myself);
            }
            LoopMsg::Call(id, attempt, progress) if state.is_current(id, attempt) => {
                state.on_progress(&myself, progress);
            }
            LoopMsg::Retry(id, attempt) if state.is_current(id, attempt) => state.attempt(&myself),
            LoopMsg::Call(..) | LoopMsg::Retry(..) => {} // of an attempt that was given up
        }
        if state.over {
            self.leave(&myself, &state.args.supervisor);
        }
        ready(Ok(()))
    }

    /// The loop supervises nobody; ractor's default would end it with any actor it happened to watch.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<LoopMsg>,
        _: SupervisionEvent,
        _: &mut LoopState,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

impl LoopState {
    fn is_current(&self, id: StepId, attempt: u32) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.id == id && flight.attempt == attempt)
    }

    /// Makes the attempt that is due.
    fn attempt(&mut self, myself: &ActorRef<LoopMsg>) {
        let Some(flight) = &mut self.flight else { return };
        flight.timer = None;
        let (id, attempt, loop_ref) = (flight.id, flight.attempt, myself.clone());
        let Some(target) = flight.asked().cloned() else {
            self.flight = None;
            let error = ProviderError::new(ErrorKind::Internal, "no provider was named to be asked");
            return self.report(id, Report::Failed { error });
        };
        let mut request = flight.step.request.clone();
        if let Some((_, plain)) = self.plain.iter().find(|(refused, _)| *refused == target) {
            request.messages = plain.of(&request.messages);
        }
        let Target { provider, endpoint, model } = target;
        request.model = model;
        request.cache_key = Some(Digest::of(self.args.asker.as_bytes()).to_string().into());
        let max_wait = retry::max_wait(flight.begun.elapsed(), flight.has_next(), &flight.step.retry);
        let call = Call {
            endpoint,
            idle_timeout: flight.step.idle_timeout,
            asker: self.args.asker.clone(),
            max_wait: Some(max_wait),
            ..Call::new(provider, request)
        };
        let (reporter, shown) = (self.args.reporter.clone(), flight.shown.clone());
        flight.call = Some(self.args.providers.call(call, move |event| {
            // From point to point: there is nothing to decide about a piece here. It comes before whatever this loop says of the
            // call's end, but it may come before what the loop still has to say of its wait.
            let show = |piece| {
                shown.store(true, Ordering::Relaxed);
                (reporter.show)(id, piece);
            };
            let progress = match event {
                CallEvent::Delta(Delta::Text(text)) => return show(Shown::Content(text)),
                CallEvent::Delta(Delta::Reasoning(text)) => return show(Shown::Thinking(text)),
                // A tool call is shown when it is a fact.
                CallEvent::Delta(_) => return,
                CallEvent::Waiting { reason } => CallProgress::Waiting(reason),
                // Who carries it out is of no interest, only that somebody does. It is known before anything comes of it, so
                // nobody takes a call that is being paid for for one that waits.
                CallEvent::Started { .. } => return (reporter.show)(id, Shown::Asked),
                CallEvent::Done(result) => CallProgress::Done(result),
            };
            // A loop that is gone has no use for it: its session starts the step anew.
            drop(loop_ref.cast(LoopMsg::Call(id, attempt, progress)));
        }));
    }

    fn on_progress(&mut self, myself: &ActorRef<LoopMsg>, progress: CallProgress) {
        let Some(flight) = &self.flight else { return };
        match progress {
            CallProgress::Waiting(reason) => self.report(flight.id, Report::Waiting { reason }),
            CallProgress::Done(Ok(reply)) => match unreadable(&reply) {
                Some(error) => self.on_failure(myself, error, Some(reply)),
                None => self.replied(reply),
            },
            CallProgress::Done(Err(error)) => self.on_failure(myself, error, None),
        }
    }

    fn replied(&mut self, reply: ModelReply) {
        let Some(flight) = self.flight.take() else { return };
        self.report(flight.id, Report::Replied { reply: Box::new(reply), attempts: flight.attempt });
    }

    /// An attempt failed. With a `reply` it is one that is of no use: what is thrown away if another attempt is made.
    fn on_failure(&mut self, myself: &ActorRef<LoopMsg>, error: ProviderError, reply: Option<ModelReply>) {
        let Some(flight) = &mut self.flight else { return };
        flight.call = None;
        let (id, attempt) = (flight.id, flight.attempt);
        let (asked, all) = (flight.asked().cloned(), flight.step.request.messages.len());
        let failed = Failed {
            error: &error,
            attempt: flight.at_target,
            elapsed: flight.begun.elapsed(),
            has_next: flight.has_next(),
            resampled: flight.resampled,
            repaired: self
                .plain
                .iter()
                .any(|(refused, plain)| asked.as_ref() == Some(refused) && plain.upto() == all),
        };
        let unit = jitter(myself, id, attempt, flight.begun.elapsed());
        let decision = retry::after(failed, unit, &flight.step.retry);
        tracing::debug!(turn = %id.turn, attempt, ?decision, error = %error, "a model call failed");
        let next = attempt.saturating_add(1);
        let (report, delay) = match decision {
            Decision::GiveUp => {
                // Of no use, and still what the model answered: how the turn ends is not decided here.
                if let Some(reply) = reply {
                    return self.replied(reply);
                }
                let error = flight.all_failed(error);
                self.flight = None;
                return self.report(id, Report::Failed { error });
            }
            Decision::Again(delay) => {
                flight.at_target = flight.at_target.saturating_add(1);
                flight.resampled |= error.kind == ErrorKind::ToolFormat;
                (Report::Retrying { attempt, delay, error }, delay)
            }
            Decision::Repaired => {
                flight.at_target = flight.at_target.saturating_add(1);
                if let Some(target) = asked {
                    self.plain.retain(|(refused, _)| *refused != target);
                    self.plain.push((target, PlainHistory::new(&flight.step.request.messages)));
                }
                let delay = Duration::ZERO;
                (Report::Retrying { attempt, delay, error }, delay)
            }
            Decision::Fallback => {
                let from = flight.asked().map_or_else(|| "".into(), |target| target.provider.clone());
                flight.failed.push((from.clone(), error.message.clone()));
                (flight.target, flight.at_target) = (flight.target.saturating_add(1), 1);
                flight.resampled = false;
                let to = flight.asked().map_or_else(|| "".into(), |target| target.provider.clone());
                (Report::FellBack { from, to, error }, Duration::ZERO)
            }
        };
        let timer = myself.send_after(delay, move || LoopMsg::Retry(id, next));
        flight.timer = Some(Timer(timer.abort_handle()));
        flight.attempt = next;
        if flight.shown.swap(false, Ordering::Relaxed) {
            (self.args.reporter.show)(id, Shown::Reset);
        }
        self.report(id, report);
    }

    fn report(&mut self, step: StepId, report: Report) {
        self.over |= report.is_last();
        (self.args.reporter.report)(LoopReport { step, report });
    }
}

/// Why a reply is of no use and another one is worth asking for: its provider could not read the call that the model wrote.
/// With what it took: it is paid for.
/// (Arguments that are no JSON are no such case: the model is told what is wrong with them.)
fn unreadable(reply: &ModelReply) -> Option<ProviderError> {
    let origin = reply.message.origin.as_ref()?;
    let what = || format!("{} could not read the tool call that its model wrote", origin.provider);
    let spent = || Some(Box::new(Spent::of(reply.usage, reply.cost)));
    (origin.stop == StopReason::MalformedToolCall)
        .then(|| ProviderError { spent: spent(), ..ProviderError::new(ErrorKind::ToolFormat, what()) })
}

/// A number in `0.0..1.0` for the jitter. What is hashed differs between any two that fail together: the nanoseconds that
/// their attempts took, if nothing else. And it is no other random number, so that on a clock that a test moves a whole
/// history happens again as it did.
fn jitter(myself: &ActorRef<LoopMsg>, id: StepId, attempt: u32, spent: Duration) -> f64 {
    let mut hasher = DefaultHasher::new();
    (myself.get_name(), id, attempt, spent.as_nanos()).hash(&mut hasher);
    (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64
}
