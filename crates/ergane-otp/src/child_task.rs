//! The task that owns one child: it starts it, ends it when ordered, waits until it is truly gone, and reports.
//!
//! One task per child, and outside its supervisor, for three reasons. A supervisor must never wait inside a handler. Ending
//! (ask, deadline, kill, await, drain) is the same for every supervisor and every cause. And a supervisor that is
//! killed kills its children without waiting for them; their tasks still hold the claims on their names until they are
//! gone, so that the next supervisor cannot start a second incarnation beside a dying one.

use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use ractor::{ActorCell, ActorRef, ActorStatus, Message};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::child::{
    ChildHandle, ChildKey, ChildOwner, ChildReport, Obituary, Settle, StartReply, Torn, drop_torn,
};
use crate::entry::{Claim, is_alive};
use crate::error::StartError;
use crate::exit::ExitReason;
use crate::names::Namespace;
use crate::scope::Scope;
use crate::spec::{ChildSpec, Shutdown, StartContext};
use crate::until::until;

/// How often it is said again in the log that a child is stuck.
const AGAIN: Duration = Duration::from_secs(300);

/// All that a child's task needs.
struct Launch<M> {
    key: ChildKey,
    spec: ChildSpec,
    namespace: Namespace,
    supervisor: ActorRef<M>,
    handle: Arc<ChildHandle>,
    /// Held already at a restart; a first start claims the name.
    claim: Option<Claim>,
}

struct Up {
    claim: Claim,
    scope: Scope,
    cell: ActorCell,
    join: JoinHandle<()>,
}

/// Starts the task of a child. `reply` is for a first start only.
pub(crate) fn launch<M: Message + From<ChildReport>>(
    namespace: &Namespace,
    supervisor: &ActorRef<M>,
    key: ChildKey,
    spec: ChildSpec,
    claim: Option<Claim>,
    reply: Option<StartReply>,
) -> ChildOwner {
    let (owner, handle) = ChildOwner::new();
    let (namespace, supervisor) = (namespace.clone(), supervisor.clone());
    tokio::spawn(Launch { key, spec, namespace, supervisor, handle, claim }.run(reply));
    owner
}

impl<M: Message + From<ChildReport>> Launch<M> {
    /// One incarnation after the other, as long as the supervisor granted the next one when it heard of the end.
    async fn run(mut self, mut reply: Option<StartReply>) {
        // Declared first, so dropped last: a child is settled only after its claim is gone or handed over.
        let _settle = Settle(self.handle.clone());
        loop {
            match self.bring_up().await {
                Ok(up) => {
                    let pid = up.cell.get_id();
                    self.report(ChildReport::Started { key: self.key.clone(), cell: up.cell.clone() });
                    if let Some(reply) = reply.take() {
                        reply.keep(Ok(up.cell.clone()));
                    }
                    let (claim, fallback) = self.reap(up).await;
                    if let Some(torn) = self.handle.goes_again(!is_alive(&self.supervisor)) {
                        drop_torn(&self.key.id, torn);
                        self.claim = Some(claim);
                        continue;
                    }
                    let key = self.key.clone();
                    return self.report(ChildReport::Ended(Obituary { key, claim, pid, fallback }));
                }
                Err((claim, error)) => return self.failed(claim, error, reply),
            }
        }
    }

    fn failed(&self, claim: Option<Claim>, error: StartError, reply: Option<StartReply>) {
        tracing::debug!(child = %self.key.id, %error, "did not start");
        // The name is free before anybody hears that a first start failed; a restart keeps it.
        let claim = if reply.is_some() {
            drop(claim);
            None
        } else {
            claim
        };
        self.report(ChildReport::Failed { key: self.key.clone(), claim, error: error.clone() });
        if let Some(reply) = reply {
            reply.keep(Err(error));
        }
    }

    async fn bring_up(&mut self) -> Result<Up, (Option<Claim>, StartError)> {
        let claim = match self.claim.take() {
            Some(claim) => claim,
            None => {
                let owner = Some(self.supervisor.get_cell());
                // A predecessor that is being reaped has its own shutdown and grace; be a little more patient than that.
                let patience = self.spec.grace.saturating_mul(2);
                tokio::select! {
                    biased;
                    claim = self.namespace.claim(&self.key.id, owner, patience) => {
                        claim.map_err(|error| (None, error))?
                    }
                    () = self.handle.ordered() => return Err((None, self.cancelled())),
                }
            }
        };
        self.handle.set_entry(claim.entry());
        let (incarnation, life) = claim.begin();
        let scope = Scope::new();
        let context = StartContext {
            name: self.spec.id.clone(),
            full_name: self.namespace.full_name(&self.spec.id),
            supervisor: self.supervisor.get_cell(),
            scope: scope.clone(),
            namespace: self.namespace.clone(),
            incarnation,
            life,
        };
        let start = guarded(|| self.spec.start(context));
        let outcome = tokio::select! {
            biased;
            outcome = start => outcome,
            () = self.handle.ordered() => Err(self.cancelled()),
        };
        match outcome {
            Ok(started) => {
                self.ensure_linked(&started.cell);
                self.handle.set_started_at(SystemTime::now());
                claim.live(started.cell.clone());
                Ok(Up { claim, scope, cell: started.cell, join: started.join })
            }
            Err(mut error) => {
                if !is_alive(&self.supervisor) {
                    error = self.cancelled();
                }
                claim.stopping();
                self.drain(&claim, &scope).await;
                claim.conclude(match error {
                    StartError::Ignored => ExitReason::Normal,
                    _ => ExitReason::Error(error.to_string()),
                });
                Err((Some(claim), error))
            }
        }
    }

    fn cancelled(&self) -> StartError {
        if is_alive(&self.supervisor) { StartError::Cancelled } else { StartError::NoSupervisor }
    }

    /// A start function may have forgotten the link, without which the end of the supervisor would leave the child alone.
    fn ensure_linked(&self, cell: &ActorCell) {
        let linked =
            cell.try_get_supervisor().is_some_and(|owner| owner.get_id() == self.supervisor.get_id());
        if !linked {
            cell.link(self.supervisor.get_cell());
            if !is_alive(&self.supervisor) {
                cell.kill();
            }
        }
    }

    async fn reap(&self, up: Up) -> (Claim, ExitReason) {
        let Up { claim, scope, cell, mut join } = up;
        let mut end = End { stage: Stage::Alive, deadline: None };
        let mut ordered = false;
        // An actor that ends by itself is told of by ractor's event to its supervisor.
        let mut event = Event::Expected;
        let mut torn = None;
        loop {
            let news = self.handle.news();
            torn = torn.or(news.torn);
            if news.died {
                event = Event::Arrived;
                end.died(self.spec.grace);
            }
            if let Some(shutdown) = news.order {
                if !ordered {
                    ordered = true;
                    // Of one that is stuck it stays known: an order does not make it end.
                    if end.stage != Stage::Stuck {
                        claim.stopping();
                    }
                    if event == Event::Expected {
                        event = self.unlink(&cell);
                    }
                }
                end.order(shutdown, self.spec.grace, &cell);
            }
            tokio::select! {
                biased;
                outcome = &mut join => {
                    if let Err(error) = outcome {
                        tracing::debug!(child = %self.key.id, %error, "its task was aborted");
                    }
                    break;
                }
                () = self.handle.woken() => {}
                () = at(end.deadline) => {
                    if end.passed(self.spec.grace, &cell) {
                        self.stuck(&claim, "its handler or the drop of its state does not end".to_owned());
                    }
                }
            }
        }
        drop(cell);
        let late = self.wait_for_event(event).await;
        let fallback = end.fallback(ordered);
        if ordered {
            claim.conclude(fallback.clone());
        }
        self.bury(&claim, torn.or(late)).await;
        self.drain(&claim, &scope).await;
        (claim, fallback)
    }

    /// An ordered end is this task's to tell. Unlinked, the actor drops its state where it ran, and the state does not lie
    /// in the mailbox of a supervisor that may itself be ending. Says whether an event is to be expected all the same.
    fn unlink(&self, cell: &ActorCell) -> Event {
        let ending = |cell: &ActorCell| cell.get_status() >= ActorStatus::Stopping;
        if ending(cell) && is_alive(&self.supervisor) {
            // Too late: it is ending by itself, and its event is best left to come.
            return Event::Expected;
        }
        cell.unlink(self.supervisor.get_cell());
        // Not ending even now, so its event will find nobody. Otherwise it may have been sent in between.
        if ending(cell) { Event::Possible } else { Event::Unlinked }
    }

    /// The event carries the reason and, after a kill or a stop, the actor's state, which must be gone before a successor
    /// starts. It was sent before the actor's task ended, but that does not mean that it was received: queues of
    /// several senders show a value only when all earlier ones were written too. So it is waited for, and not hoped for.
    /// Returns the state that came with it.
    async fn wait_for_event(&self, event: Event) -> Torn {
        let patience = match event {
            Event::Expected => self.spec.grace,
            Event::Possible => self.spec.grace.min(POSSIBLE),
            Event::Arrived | Event::Unlinked => return None,
        };
        let deadline = Some(until(patience));
        // A supervisor that is ending handles no events any more.
        while is_alive(&self.supervisor) {
            let news = self.handle.news();
            if news.died {
                return news.torn;
            }
            tokio::select! {
                biased;
                () = self.handle.woken() => {}
                () = at(deadline) => {
                    tracing::debug!(child = %self.key.id, "no event told of its end");
                    return None;
                }
            }
        }
        None
    }

    /// Lets the state go that came with the event. On a task of its own: its drop is a stranger's code, and may take for ever.
    async fn bury(&self, claim: &Claim, torn: Torn) {
        if torn.is_none() {
            return;
        }
        let id = self.key.id.clone();
        let mut dropped = tokio::spawn(async move { drop_torn(&id, torn) });
        let outcome = tokio::select! {
            biased;
            outcome = &mut dropped => outcome,
            () = at(Some(until(self.spec.grace))) => {
                self.stuck(claim, "the drop of its state does not end".to_owned());
                dropped.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(child = %self.key.id, %error, "the drop of its state was cut off");
        }
    }

    async fn drain(&self, claim: &Claim, scope: &Scope) {
        let left = scope.drain(self.spec.grace).await;
        if left.abandoned() > 0 {
            tracing::warn!(child = %self.key.id, count = left.abandoned(), "what it started does not end, and may be abandoned");
        }
        if !left.is_empty() {
            self.stuck(claim, format!("what it started does not end: {left}"));
            while timeout(AGAIN, scope.drained()).await.is_err() {
                tracing::warn!(child = %self.key.id, "still stuck: what it started does not end, and only the end of the process ends it");
            }
        }
    }

    fn stuck(&self, claim: &Claim, reason: String) {
        tracing::warn!(child = %self.key.id, %reason, "stuck past its grace; not started again before it is gone");
        claim.stuck(reason.clone());
        self.report(ChildReport::Stuck { key: self.key.clone(), reason });
        self.handle.settle();
    }

    fn report(&self, report: ChildReport) {
        if self.supervisor.cast(report.into()).is_err() {
            tracing::trace!(child = %self.key.id, "its supervisor is gone or ending");
        }
    }
}

async fn guarded<F, T>(start: impl FnOnce() -> F) -> Result<T, StartError>
where
    F: Future<Output = Result<T, StartError>> + Unpin,
{
    let failed = |payload| StartError::Failed { reason: ExitReason::from_panic(payload) };
    let mut future = catch_unwind(AssertUnwindSafe(start)).map_err(failed)?;
    poll_fn(|context| {
        match catch_unwind(AssertUnwindSafe(|| std::pin::Pin::new(&mut future).poll(context))) {
            Ok(poll) => poll,
            Err(payload) => Poll::Ready(Err(failed(payload))),
        }
    })
    .await
}

/// Others run once before a timer is made: what is waited for mostly comes with that, and a timer that is sooner than all
/// others wakes the thread that sleeps in the driver.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => {
            let mut others_ran = false;
            poll_fn(|context| {
                if std::mem::replace(&mut others_ran, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            sleep_until(deadline).await;
        }
        None => pending().await,
    }
}

/// Whether ractor's event of the actor's end reaches the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Expected,
    /// It was unlinked just when it ended.
    Possible,
    Unlinked,
    Arrived,
}

/// How long an event is waited for that may never come.
const POSSIBLE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Alive,
    Asked,
    Killed,
    /// It ended by itself; its task is not done.
    Dying,
    Stuck,
}

/// How far a child's end has come.
struct End {
    stage: Stage,
    deadline: Option<Instant>,
}

impl End {
    fn died(&mut self, grace: Duration) {
        if matches!(self.stage, Stage::Alive | Stage::Asked) {
            self.stage = Stage::Dying;
            self.deadline = Some(until(grace));
        }
    }

    fn order(&mut self, shutdown: Shutdown, grace: Duration, cell: &ActorCell) {
        if !matches!(self.stage, Stage::Alive | Stage::Asked) {
            return;
        }
        match shutdown {
            Shutdown::BrutalKill => self.kill(grace, cell),
            Shutdown::Timeout(limit) => {
                self.ask(cell);
                let deadline = until(limit);
                self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
            }
            Shutdown::Infinity => self.ask(cell),
        }
    }

    fn ask(&mut self, cell: &ActorCell) {
        if self.stage == Stage::Alive {
            self.stage = Stage::Asked;
            cell.stop(ExitReason::shutdown().to_stop_reason());
        }
    }

    fn kill(&mut self, grace: Duration, cell: &ActorCell) {
        cell.kill();
        self.stage = Stage::Killed;
        self.deadline = Some(until(grace));
    }

    /// The deadline passed. True if nothing is left to be done.
    fn passed(&mut self, grace: Duration, cell: &ActorCell) -> bool {
        if self.stage == Stage::Asked {
            self.kill(grace, cell);
            return false;
        }
        self.stage = Stage::Stuck;
        self.deadline = None;
        true
    }

    fn fallback(&self, ordered: bool) -> ExitReason {
        if ordered && matches!(self.stage, Stage::Asked | Stage::Dying) {
            ExitReason::shutdown()
        } else {
            ExitReason::Killed
        }
    }
}
