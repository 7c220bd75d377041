//! The one writer, and the way to it.
//!
//! # Why group commit needs no timer
//!
//! While one commit waits for the disk, the appends of other sessions gather in the queue; the next commit takes them
//! all (up to 512 records or 1 MiB) and waits for the disk once. A lone append is committed at once, and the more there
//! is to do, the larger the groups become.
//!
//! # Why a task, with each commit on the blocking pool
//!
//! The queue is awaited by a task of the actor's scope, and only the commit itself takes a thread that may block. So
//! there is one writer, it is drained like everything else a scope holds, and a runtime with a paused clock knows when
//! a commit is under way. A commit cannot be aborted: whoever drains the scope shuts the [`Gate`] and thereby waits for
//! it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ergane_core::SessionName;
use ergane_otp::{Promise, Scope};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::append::{Append, AppendError, Prepared};
use crate::error::JournalError;
use crate::port::Place;
use crate::store::{Journal, Opened};

/// The most records of one commit.
const BATCH_RECORDS: usize = 512;
/// The most bytes of one commit; a single append over it is committed alone.
const BATCH_BYTES: usize = 1 << 20;
/// The most records in the queue.
const QUEUE_RECORDS: usize = 8 * 1024;
/// The most KiB in the queue: 64 MiB.
const QUEUE_KIB: usize = 64 * 1024;
/// The most appends that wait for room in the queue. A session has one outstanding, so it is a number of sessions.
const MAX_WAITING: usize = 256 * 1024;

type Call = Box<dyn FnOnce(&dyn Journal) + Send>;
type Done = Promise<Result<(), AppendError>>;

/// What the writer is asked to do.
pub(super) enum Job {
    Append { prepared: Prepared, done: Done },
    Open { session: SessionName, reply: oneshot::Sender<Result<Opened, JournalError>> },
    Call(Call),
}

impl Job {
    pub(super) fn call<T: Send + 'static>(
        reply: oneshot::Sender<Result<T, JournalError>>,
        call: impl FnOnce(&dyn Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Self {
        Self::Call(Box::new(move |store| {
            // Not for a caller that gave up.
            if !reply.is_closed() {
                // It may give up this very moment; then nobody wants to know.
                drop(reply.send(call(store)));
            }
        }))
    }

    /// Does it alone.
    pub(super) fn run(self, store: &dyn Journal) {
        let mut batch = Batch::default();
        batch.push(self);
        batch.run(store);
    }

    fn size(&self) -> Size {
        // What is larger than the whole room gets the whole room.
        let clamp = |size: usize, most: usize| u32::try_from(size.min(most)).unwrap_or(u32::MAX);
        Size { records: clamp(self.records(), QUEUE_RECORDS), kib: clamp(self.bytes() / 1024 + 1, QUEUE_KIB) }
    }

    fn records(&self) -> usize {
        match self {
            Self::Append { prepared, .. } => prepared.append().events.len().max(1),
            Self::Open { .. } | Self::Call(_) => 1,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Append { prepared, .. } => prepared.bytes(),
            Self::Open { .. } | Self::Call(_) => 0,
        }
    }
}

/// What a job takes of the queue's room.
#[derive(Debug, Clone, Copy)]
struct Size {
    records: u32,
    kib: u32,
}

/// The room in the queue: held by what waits there, given back when the writer takes it.
#[derive(Debug, Clone)]
pub(super) struct Room {
    records: Arc<Semaphore>,
    kib: Arc<Semaphore>,
}

type Held = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Room {
    fn new() -> Self {
        Self { records: Arc::new(Semaphore::new(QUEUE_RECORDS)), kib: Arc::new(Semaphore::new(QUEUE_KIB)) }
    }

    fn try_take(&self, size: Size) -> Option<Held> {
        let records = self.records.clone().try_acquire_many_owned(size.records).ok()?;
        let kib = self.kib.clone().try_acquire_many_owned(size.kib).ok()?;
        Some((records, kib))
    }

    /// Waits in line. `None` never happens: nobody closes these semaphores.
    async fn take(&self, size: Size) -> Option<Held> {
        let records = self.records.clone().acquire_many_owned(size.records).await.ok()?;
        let kib = self.kib.clone().acquire_many_owned(size.kib).await.ok()?;
        Some((records, kib))
    }
}

/// A job in the queue with the room it takes there.
pub(super) struct Queued {
    job: Job,
    room: Held,
}

/// The way to one writer.
pub(super) struct Door {
    pub(super) id: u64,
    scope: Scope,
    room: Room,
    jobs: mpsc::UnboundedSender<Queued>,
}

impl Door {
    pub(super) fn new(id: u64, scope: Scope) -> (Self, mpsc::UnboundedReceiver<Queued>) {
        let (jobs, queue) = mpsc::unbounded_channel();
        (Self { id, scope, room: Room::new(), jobs }, queue)
    }

    pub(super) fn submit(&self, prepared: Prepared, done: Done, waiting: &Arc<AtomicUsize>) {
        let job = Job::Append { prepared, done };
        let size = job.size();
        if let Some(room) = self.room.try_take(size) {
            return put(&self.jobs, Queued { job, room });
        }
        let Some(place) = Place::take(waiting, MAX_WAITING) else {
            return refuse(job, "the journal has more to write than it can; try again");
        };
        let (room, jobs) = (self.room.clone(), self.jobs.clone());
        self.scope.spawn("append waiting for room", async move {
            let _place = place;
            if let Some(room) = room.take(size).await {
                put(&jobs, Queued { job, room });
            }
        });
    }

    /// The same for an append that takes long to encode: not in the time of who submits it. A session has one append
    /// outstanding, so none of its own overtakes it.
    pub(super) fn prepare_and_submit(
        self: &Arc<Self>,
        append: Append,
        done: Done,
        waiting: &Arc<AtomicUsize>,
    ) {
        let (door, waiting) = (self.clone(), waiting.clone());
        self.scope.spawn("append being encoded", async move {
            match tokio::task::spawn_blocking(move || Prepared::new(append)).await {
                Ok(Ok(prepared)) => door.submit(prepared, done, &waiting),
                Ok(Err(error)) => done.keep(Err(error)),
                // The runtime ends.
                Err(_) => done.keep(Err(AppendError::not_written(JournalError::Away.to_string()))),
            }
        });
    }

    /// Queues a call in the caller's own time.
    pub(super) async fn call(&self, job: Job) {
        if let Some(room) = self.room.take(job.size()).await {
            put(&self.jobs, Queued { job, room });
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("id", &self.id).field("room", &self.room).finish_non_exhaustive()
    }
}

fn put(jobs: &mpsc::UnboundedSender<Queued>, queued: Queued) {
    if let Err(mpsc::error::SendError(queued)) = jobs.send(queued) {
        refuse(queued.job, &JournalError::Away.to_string());
    }
}

/// Tells an append that it was not written; a call's reply is dropped, which its caller understands.
fn refuse(job: Job, reason: &str) {
    if let Job::Append { done, .. } = job {
        done.keep(Err(AppendError::not_written(reason)));
    }
}

/// Lets one commit through at a time, and none once it is shut.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    async fn pass(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().acquire_owned().await.ok()
    }

    /// Waits for the commit under way and lets no other begin.
    pub(super) async fn shut(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
        self.0.close();
    }
}

pub(super) struct Writer {
    store: Arc<dyn Journal>,
    jobs: mpsc::UnboundedReceiver<Queued>,
    gate: Gate,
    /// A job that did not fit into the last batch.
    left: Option<Queued>,
}

impl Writer {
    pub(super) fn new(store: Arc<dyn Journal>, jobs: mpsc::UnboundedReceiver<Queued>, gate: Gate) -> Self {
        Self { store, jobs, gate, left: None }
    }

    /// Writes until the gate is shut or a commit panics.
    pub(super) async fn run(mut self) {
        loop {
            let first = match self.left.take() {
                Some(left) => Some(left),
                None => self.jobs.recv().await,
            };
            let Some(first) = first else { return };
            // Passed before the batch is taken: what comes while the last commit runs belongs into this one.
            let Some(pass) = self.gate.pass().await else { return };
            let batch = self.gather(first);
            if let Some(time) = self.store.pretends() {
                tokio::time::sleep(time).await;
                batch.run(self.store.as_ref());
                continue;
            }
            let store = self.store.clone();
            let commit = tokio::task::spawn_blocking(move || {
                batch.run(store.as_ref());
                // First the store, then the pass: whoever shuts the gate may rely on it.
                drop(store);
                drop(pass);
            });
            if let Err(error) = commit.await {
                tracing::error!(%error, "a commit of the journal panicked");
                return;
            }
        }
    }

    fn gather(&mut self, first: Queued) -> Batch {
        let mut batch = Batch::default();
        let (mut records, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some(queued) = next.take() {
            records += queued.job.records();
            bytes += queued.job.bytes();
            if !batch.jobs.is_empty() && (records > BATCH_RECORDS || bytes > BATCH_BYTES) {
                self.left = Some(queued);
                break;
            }
            // The room is free for others as soon as the job is on its way to the disk.
            drop(queued.room);
            batch.push(queued.job);
            next = self.jobs.try_recv().ok();
        }
        batch
    }
}

/// Jobs that are done one after the other; neighbours of a kind in one commit.
#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
}

impl Batch {
    fn push(&mut self, job: Job) {
        self.jobs.push(job);
    }

    fn run(self, store: &dyn Journal) {
        let mut appends = Appends::default();
        let mut opens = Opens::default();
        for job in self.jobs {
            // Appends of several sessions may be committed together, and so may openings. But their order in the queue
            // is kept: what was submitted before an opening is written before it, or never.
            match job {
                Job::Append { prepared, done } => {
                    opens.run(store);
                    appends.push(prepared, done);
                }
                Job::Open { session, reply } => {
                    appends.run(store);
                    opens.push(session, reply);
                }
                Job::Call(call) => {
                    appends.run(store);
                    opens.run(store);
                    call(store);
                }
            }
        }
        appends.run(store);
        opens.run(store);
    }
}

#[derive(Default)]
struct Appends {
    batch: Vec<Prepared>,
    done: Vec<Done>,
}

impl Appends {
    fn push(&mut self, prepared: Prepared, done: Done) {
        self.batch.push(prepared);
        self.done.push(done);
    }

    fn run(&mut self, store: &dyn Journal) {
        if self.batch.is_empty() {
            return;
        }
        let mut outcomes = store.commit(&std::mem::take(&mut self.batch)).into_iter();
        for done in self.done.drain(..) {
            done.keep(outcomes.next().unwrap_or_else(|| Err(AppendError::no_answer())));
        }
    }
}

#[derive(Default)]
struct Opens {
    sessions: Vec<SessionName>,
    replies: Vec<oneshot::Sender<Result<Opened, JournalError>>>,
}

impl Opens {
    fn push(&mut self, session: SessionName, reply: oneshot::Sender<Result<Opened, JournalError>>) {
        // A caller that gave up wants no session opened, and must not fence off who opened it since.
        if !reply.is_closed() {
            self.sessions.push(session);
            self.replies.push(reply);
        }
    }

    fn run(&mut self, store: &dyn Journal) {
        if self.sessions.is_empty() {
            return;
        }
        let outcomes = store.open_sessions(&std::mem::take(&mut self.sessions));
        for (reply, outcome) in self.replies.drain(..).zip(outcomes) {
            // Who gave up this very moment does not want to know.
            drop(reply.send(outcome));
        }
    }
}
