//! What a dynamic supervisor knows of its children, and what it decides on.

use std::collections::HashMap;
use std::sync::Arc;

use ractor::{ActorId, ActorRef};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::budget::{RestartWindow, jitter};
use crate::child::{ChildKey, ChildOwner, ChildReport, Early, EndReply, StartReply, Torn, answer};
use crate::child_task::launch;
use crate::children::Row;
use crate::dynamic::DynamicOptions;
use crate::dynamic_actor::{Arguments, DynamicMsg};
use crate::entry::{Claim, Found};
use crate::error::{ChildError, StartError};
use crate::events;
use crate::exit::ExitReason;
use crate::names::Namespace;
use crate::pids::PidMap;
use crate::spec::ChildSpec;
use crate::until::until;

pub(crate) struct State {
    namespace: Namespace,
    name: Arc<str>,
    options: DynamicOptions,
    children: HashMap<Arc<str>, Record>,
    by_pid: PidMap<Arc<str>>,
    early: Early,
    /// The restarts of all children, if they share a budget.
    shared: RestartWindow,
    /// How many starts are under way, and how many children are quarantined: counted, never searched for.
    starting: usize,
    quarantined: usize,
    epochs: u64,
}

struct Record {
    epoch: u64,
    spec: ChildSpec,
    handle: ChildOwner,
    phase: Phase,
    window: RestartWindow,
    restarts: u32,
    /// Its task was told to start it again as soon as it is gone.
    again: bool,
    /// It was asked to end and is not to come back.
    ending: bool,
    enders: Vec<EndReply>,
    /// Starts of the same id that wait for what becomes of this child.
    queued: Vec<(ChildSpec, StartReply)>,
}

enum Phase {
    Starting,
    Live,
    /// Its end is known, its remains are being cleared away.
    Down,
    Stuck(String),
    Backoff {
        claim: Claim,
        timer: AbortHandle,
    },
    Quarantined {
        _claim: Claim,
        reason: String,
    },
}

impl State {
    pub(crate) fn new(arguments: Arguments) -> Self {
        let Arguments { namespace, name, options } = arguments;
        Self {
            namespace,
            name,
            options,
            children: HashMap::new(),
            by_pid: PidMap::default(),
            early: Early::default(),
            shared: RestartWindow::default(),
            starting: 0,
            quarantined: 0,
            epochs: 0,
        }
    }

    /// ractor's event says that an actor ended.
    pub(crate) fn died(&mut self, pid: ActorId, reason: ExitReason, torn: Torn) {
        match self.by_pid.remove(&pid) {
            Some(id) => self.down(&id, pid, reason, torn),
            None if self.starting > 0 => {
                self.early.insert(pid, (reason, torn));
            }
            None => {
                tracing::trace!(supervisor = %self.name, %pid, "an actor ended that is no child any more")
            }
        }
    }

    fn down(&mut self, id: &Arc<str>, pid: ActorId, reason: ExitReason, torn: Torn) {
        let Some(record) = self.children.get_mut(id) else { return };
        if !matches!(record.phase, Phase::Stuck(_)) {
            record.phase = Phase::Down;
        }
        record.handle.down(pid, reason.clone());
        let may = !record.ending && record.spec.restart.wants_restart(&reason);
        let restarts = record.restarts + 1;
        let (options, window, shared, name) =
            (&self.options, &mut record.window, &mut self.shared, &self.name);
        // What needs no wait is decided here, and carried out by the child's task when the remains are cleared away.
        record.again = record.handle.died(torn, || {
            let granted = may
                && match options.shared {
                    Some(intensity) => intensity.admit(shared).is_some(),
                    None => {
                        let budget = options.budget;
                        window.admit_first(Instant::now(), budget.max_restarts, budget.within)
                    }
                };
            if granted {
                // Told here, so that the start comes after it.
                events::restart(name, id, restarts);
            }
            granted
        });
        if record.again {
            self.starting += 1;
            record.restarts = restarts;
        }
    }

    /// Orders all children to end, and returns those to wait for.
    pub(crate) fn end_all(&mut self) -> Vec<ChildOwner> {
        let mut ending = Vec::with_capacity(self.children.len());
        for (_, record) in self.children.drain() {
            match record.phase {
                Phase::Backoff { timer, .. } => timer.abort(),
                Phase::Quarantined { .. } => {}
                _ => {
                    record.handle.order(record.spec.shutdown);
                    ending.push(record.handle);
                }
            }
        }
        ending
    }

    pub(crate) fn start(&mut self, myself: &ActorRef<DynamicMsg>, spec: ChildSpec, reply: StartReply) {
        let id: Arc<str> = spec.id.as_str().into();
        if let Some(record) = self.children.get_mut(&id) {
            let present = match &record.phase {
                Phase::Quarantined { reason, .. } => {
                    return reply.keep(Err(StartError::Quarantined { reason: reason.clone() }));
                }
                Phase::Stuck(reason) => return reply.keep(Err(StartError::Stuck { reason: reason.clone() })),
                Phase::Live if !record.ending => record.handle.entry().map(|entry| entry.find()),
                _ => None,
            };
            return match present {
                Some(Found::Live(cell)) => reply.keep(Err(StartError::AlreadyStarted(cell))),
                // What becomes of it will be known soon.
                _ => record.queued.push((spec, reply)),
            };
        }
        if let Some(limit) = self.options.max_children
            && self.children.len() - self.quarantined >= limit
        {
            return reply.keep(Err(StartError::MaxChildren { limit }));
        }
        let key = self.next_key(id.clone());
        let epoch = key.epoch;
        let handle = self.launch(myself, key, spec.clone(), None, Some(reply));
        self.children.insert(
            id,
            Record {
                epoch,
                spec,
                handle,
                phase: Phase::Starting,
                window: RestartWindow::default(),
                restarts: 0,
                again: false,
                ending: false,
                enders: Vec::new(),
                queued: Vec::new(),
            },
        );
    }

    fn next_key(&mut self, id: Arc<str>) -> ChildKey {
        self.epochs += 1;
        ChildKey { id, epoch: self.epochs }
    }

    fn launch(
        &mut self,
        myself: &ActorRef<DynamicMsg>,
        key: ChildKey,
        spec: ChildSpec,
        claim: Option<Claim>,
        reply: Option<StartReply>,
    ) -> ChildOwner {
        self.starting += 1;
        launch(&self.namespace, myself, key, spec, claim, reply)
    }

    fn record(&mut self, key: &ChildKey) -> Option<&mut Record> {
        self.children.get_mut(&key.id).filter(|record| record.epoch == key.epoch)
    }

    pub(crate) fn terminate(
        &mut self,
        myself: &ActorRef<DynamicMsg>,
        id: &Arc<str>,
        reply: Option<EndReply>,
    ) {
        let Some(record) = self.children.get_mut(id) else {
            if let Some(reply) = reply {
                answer(reply, Err(ChildError::NotFound));
            }
            return;
        };
        match &record.phase {
            Phase::Stuck(reason) if record.handle.revoke() => {
                record.ending = true;
                if let Some(reply) = reply {
                    answer(reply, Err(ChildError::Stuck { reason: reason.clone() }));
                }
            }
            Phase::Backoff { .. } | Phase::Quarantined { .. } => {
                record.enders.extend(reply);
                self.forget(myself, id, None);
            }
            // One that was stuck is gone, and being started again.
            Phase::Starting | Phase::Live | Phase::Down | Phase::Stuck(_) => {
                record.ending = true;
                record.handle.order(record.spec.shutdown);
                record.enders.extend(reply);
            }
        }
    }

    pub(crate) fn release(&mut self, myself: &ActorRef<DynamicMsg>, id: &Arc<str>) -> Result<(), ChildError> {
        match self.children.get(id).map(|record| &record.phase) {
            None => Err(ChildError::NotFound),
            Some(Phase::Quarantined { .. }) => {
                self.forget(myself, id, None);
                tracing::info!(supervisor = %self.name, child = %id, "released from quarantine");
                Ok(())
            }
            Some(_) => Err(ChildError::NotQuarantined),
        }
    }

    pub(crate) fn heard(&mut self, myself: &ActorRef<DynamicMsg>, report: ChildReport) {
        match report {
            ChildReport::Started { key, cell } => {
                let pid = cell.get_id();
                let early = self.early.remove(&pid);
                self.start_is_over();
                let Some(record) = self.record(&key) else { return };
                record.again = false;
                // One that came up only to be ended is nobody's answer: they have their turn when it is gone.
                if !record.ending {
                    for (_, reply) in record.queued.drain(..) {
                        reply.keep(Err(StartError::AlreadyStarted(cell.clone())));
                    }
                }
                record.phase = Phase::Live;
                match early {
                    Some((reason, torn)) => self.down(&key.id, pid, reason, torn),
                    None => drop(self.by_pid.insert(pid, key.id)),
                }
            }
            ChildReport::Failed { key, claim, error } => {
                self.start_is_over();
                if let Some(record) = self.record(&key) {
                    record.again = false;
                }
                match claim {
                    None => self.forget(myself, &key.id, None),
                    // It wants no process now, and a dynamic supervisor keeps no spec without one.
                    Some(claim) if matches!(error, StartError::Ignored) => {
                        if self.record(&key).is_some() {
                            self.forget(myself, &key.id, Some(claim));
                        }
                    }
                    Some(claim) => self.ended(myself, &key, claim, ExitReason::Error(error.to_string())),
                }
            }
            ChildReport::Ended(gone) => {
                let key = gone.key.clone();
                self.by_pid.remove(&gone.pid);
                let record = self.children.get_mut(&key.id).filter(|record| record.epoch == key.epoch);
                let called_off = record.is_some_and(|record| std::mem::take(&mut record.again));
                let record = self.children.get(&key.id).filter(|record| record.epoch == key.epoch);
                let (claim, reason) = gone.conclude(record.map(|record| &*record.handle), &mut self.early);
                if called_off {
                    self.start_is_over();
                }
                self.ended(myself, &key, claim, reason);
            }
            ChildReport::Stuck { key, reason } => {
                let Some(record) = self.record(&key) else { return };
                record.phase = Phase::Stuck(reason.clone());
                for ender in record.enders.drain(..) {
                    answer(ender, Err(ChildError::Stuck { reason: reason.clone() }));
                }
                for (_, reply) in record.queued.drain(..) {
                    reply.keep(Err(StartError::Stuck { reason: reason.clone() }));
                }
            }
        }
    }

    fn start_is_over(&mut self) {
        self.starting = self.starting.saturating_sub(1);
        if self.starting == 0 {
            self.early.clear();
        }
    }

    fn ended(&mut self, myself: &ActorRef<DynamicMsg>, key: &ChildKey, claim: Claim, reason: ExitReason) {
        let budget = self.options.budget;
        let (name, shared) = (self.name.clone(), self.options.shared);
        // A stale report: dropping the claim is all there is to do.
        let Some(record) = self.record(key) else { return };
        if record.ending || !record.spec.restart.wants_restart(&reason) {
            return self.forget(myself, &key.id, Some(claim));
        }
        let now = Instant::now();
        if let Some(intensity) = shared {
            record.restarts += 1;
            return match intensity.admit(&mut self.shared) {
                Some(_) => self.restart(myself, key, claim),
                None => self.give_up(myself, key, claim, &reason),
            };
        }
        let Some(before) = record.window.admit(now, budget.max_restarts, budget.within) else {
            let why = format!(
                "{} restarts within {:?}; the last end was: {reason}",
                budget.max_restarts, budget.within
            );
            events::quarantine(&name, &key.id, &why);
            claim.quarantine(why.clone());
            for (_, reply) in record.queued.drain(..) {
                reply.keep(Err(StartError::Quarantined { reason: why.clone() }));
            }
            record.phase = Phase::Quarantined { _claim: claim, reason: why };
            self.quarantined += 1;
            return;
        };
        record.restarts += 1;
        // To the nanosecond no two children come to their second restart after the same time.
        let fraction = jitter((&name, &key.id, record.restarts, record.window.span()));
        let wait = budget.backoff.wait(before, fraction);
        if wait.is_zero() {
            self.restart(myself, key, claim);
        } else {
            events::backoff(&name, &key.id, record.restarts, wait);
            let due = until(wait);
            claim.backoff(due);
            let (supervisor, key) = (myself.clone(), key.clone());
            let timer = tokio::spawn(async move {
                tokio::time::sleep_until(due).await;
                if supervisor.cast(DynamicMsg::Due(key)).is_err() {
                    tracing::trace!("the supervisor is gone or ending");
                }
            });
            record.phase = Phase::Backoff { claim, timer: timer.abort_handle() };
        }
    }

    /// The budget that all children share is used up: ends with them, as OTP's supervisors do.
    fn give_up(&mut self, myself: &ActorRef<DynamicMsg>, key: &ChildKey, claim: Claim, reason: &ExitReason) {
        let why = ExitReason::Shutdown(format!("too many restarts; the last child was {}: {reason}", key.id));
        tracing::warn!(supervisor = %self.name, child = %key.id, %reason, "too many restarts; giving up");
        self.children.remove(&key.id);
        drop(claim);
        // The children are ended in `post_stop`, which comes next: a stop goes before all messages.
        myself.stop(why.to_stop_reason());
    }

    pub(crate) fn due(&mut self, myself: &ActorRef<DynamicMsg>, key: &ChildKey) {
        let Some(record) = self.record(key) else { return };
        match std::mem::replace(&mut record.phase, Phase::Starting) {
            Phase::Backoff { claim, .. } => self.restart(myself, key, claim),
            other => record.phase = other,
        }
    }

    fn restart(&mut self, myself: &ActorRef<DynamicMsg>, key: &ChildKey, claim: Claim) {
        let Some((spec, restarts)) = self.record(key).map(|record| (record.spec.clone(), record.restarts))
        else {
            return;
        };
        events::restart(&self.name, &key.id, restarts);
        let next = self.next_key(key.id.clone());
        let epoch = next.epoch;
        let handle = self.launch(myself, next, spec, Some(claim), None);
        if let Some(record) = self.record(key) {
            record.epoch = epoch;
            record.handle = handle;
            record.phase = Phase::Starting;
        }
    }

    /// The child is gone and does not come back: frees its name, tells those who waited for that, and lets a start that
    /// waited have its turn.
    fn forget(&mut self, myself: &ActorRef<DynamicMsg>, id: &Arc<str>, claim: Option<Claim>) {
        let Some(record) = self.children.remove(id) else { return };
        match record.phase {
            Phase::Backoff { claim, timer } => {
                timer.abort();
                drop(claim);
            }
            Phase::Quarantined { .. } => self.quarantined -= 1,
            _ => {}
        }
        drop(claim);
        for ender in record.enders {
            answer(ender, Ok(()));
        }
        for (spec, reply) in record.queued {
            self.start(myself, spec, reply);
        }
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        self.children
            .iter()
            .map(|(id, record)| Row {
                id: id.clone(),
                kind: record.spec.kind,
                restarts: record.restarts,
                started_at: record.handle.started_at(),
                entry: record.handle.entry().cloned(),
                ended: None,
            })
            .collect()
    }
}
