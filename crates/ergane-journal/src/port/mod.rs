//! The port: what sessions hold of a journal, and what stays when the journal actor dies.
//!
//! # Why a port and not the actor
//!
//! A session must be able to hand over an append from its handler, at once, whether the journal actor lives, is being
//! restarted, or has more to do than it can. An `ActorRef` of an actor that died is of no use for that, and a mailbox
//! has no bound. The port is a fixed point: it knows the present writer, if there is one, and says at once when not.
//! Reads do not need the writer at all, so they go on while it is away.
//!
//! # What is promised of an answer
//!
//! The promise of an append is kept by whoever commits it, or dropped when it certainly is not being committed any more.
//! So once it is answered, *however* it is answered, the position read afterwards is the last word.

mod actor;
mod writer;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ergane_core::{Envelope, SendId, Seq, SessionName};
use ergane_otp::{ChildSpec, Promise};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::append::{Append, AppendError, Prepared};
use crate::error::JournalError;
use crate::port::actor::JournalActor;
use crate::port::writer::{Door, Job};
use crate::store::{Journal, Opened, Position, Sent};
use crate::summary::SessionSummary;

/// The name of the journal actor in its namespace.
const NAME: &str = "journal";
/// How long a call of the port waits for its answer, unless said otherwise.
const DEADLINE: Duration = Duration::from_secs(30);
/// How many reads run at once.
const READERS: usize = 4;
/// So many pieces of a log are read ahead of who works on them.
const AHEAD: usize = 4;
/// How long a dead journal actor's last commit may take before the actor counts as stuck. Longer than the wait for
/// another process's lock.
const GRACE: Duration = Duration::from_secs(30);

/// What sessions hold of a journal. Cheap to clone; all clones are the same port.
#[derive(Debug, Clone)]
pub struct JournalPort {
    shared: Arc<Shared>,
    deadline: Duration,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn Journal>,
    /// The way to the present writer; `None` while there is none.
    door: watch::Sender<Option<Arc<Door>>>,
    readers: Arc<Semaphore>,
    /// One snapshot is made at a time.
    snapshots: Arc<Semaphore>,
    /// Appends that wait for room in the queue.
    waiting: Arc<AtomicUsize>,
}

fn away() -> AppendError {
    AppendError::not_written(JournalError::Away.to_string())
}

impl JournalPort {
    /// A port to `store`. Nothing is written before the actor of [`child_spec`](Self::child_spec) lives.
    pub fn new(store: Arc<dyn Journal>) -> Self {
        let shared = Shared {
            store,
            door: watch::Sender::new(None),
            readers: Arc::new(Semaphore::new(READERS)),
            snapshots: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(AtomicUsize::new(0)),
        };
        Self { shared: Arc::new(shared), deadline: DEADLINE }
    }

    /// The same port, whose calls wait at most `deadline` for their answers. Default: 30 s.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn Journal> {
        &self.shared.store
    }

    /// The journal actor, named `journal`, as a permanent child: it owns the writer, of which there is never more than
    /// one.
    pub fn child_spec(&self) -> ChildSpec {
        let port = self.clone();
        ChildSpec::actor(NAME, move |context| (JournalActor, (port.clone(), context.scope))).grace(GRACE)
    }

    /// Whether the journal actor lives.
    pub fn is_alive(&self) -> bool {
        self.shared.door.borrow().is_some()
    }

    /// Waits until the journal actor lives: at once when it does. For sessions that park while it is away.
    pub async fn alive(&self) {
        self.door_other_than(None).await;
    }

    /// Hands over an append and returns at once; `done` gets its outcome, or `None` (by being dropped) when the writer
    /// died before it told it. Must be called within a tokio runtime.
    ///
    /// While the journal is away, that is [`AppendError::NotWritten`]. When its queue is full, the append waits in a task
    /// of the journal's scope; a session has one append outstanding, so its order is kept. An instant store commits
    /// before this returns.
    pub fn submit(&self, append: Append, done: Promise<Result<(), AppendError>>) {
        let append = match self.append_now(append) {
            Ok(outcome) => return done.keep(outcome),
            Err(append) => append,
        };
        let Some(door) = self.shared.door.borrow().clone() else { return done.keep(Err(away())) };
        if append.is_large() {
            return door.prepare_and_submit(append, done, &self.shared.waiting);
        }
        match Prepared::new(append) {
            Ok(prepared) => door.submit(prepared, done, &self.shared.waiting),
            Err(error) => done.keep(Err(error)),
        }
    }

    /// Commits an append to an instant store, and has its outcome at once: a caller needs no message to itself then. To any
    /// other store it has to be [submitted](Self::submit), and comes back.
    ///
    /// # Errors
    /// The append, untouched, if the store takes its time.
    pub fn append_now(&self, append: Append) -> Result<Result<(), AppendError>, Append> {
        if !self.shared.store.is_instant() {
            return Err(append);
        }
        if !self.is_alive() {
            return Ok(Err(away()));
        }
        Ok(self.shared.store.append(&[append]).pop().unwrap_or_else(|| Err(AppendError::no_answer())))
    }

    /// Opens the session after all that was submitted before: see [`Journal::open_session`]. Waits for the journal actor
    /// when it is away, within the deadline.
    ///
    /// # Errors
    /// Those of the store, [`JournalError::Timeout`], and [`JournalError::Away`] when the actor did not come back.
    pub async fn open(&self, session: &SessionName) -> Result<Opened, JournalError> {
        let name = session.clone();
        self.through_writer("open a session", true, move |reply| Job::Open { session: name.clone(), reply })
            .await
    }

    /// Removes the session after all that was submitted before: see [`Journal::delete`].
    ///
    /// # Errors
    /// As [`open`](Self::open). After [`JournalError::Away`] and [`JournalError::Timeout`] it may be removed or not.
    pub async fn delete(&self, session: &SessionName) -> Result<bool, JournalError> {
        let name = session.clone();
        self.through_writer("delete a session", false, move |reply| {
            let name = name.clone();
            Job::call(reply, move |store| store.delete(&name))
        })
        .await
    }

    /// Removes the session after all that was submitted before, if it stands exactly there: see [`Journal::delete_at`].
    ///
    /// # Errors
    /// As [`delete`](Self::delete).
    pub async fn delete_at(&self, session: &SessionName, position: Position) -> Result<bool, JournalError> {
        let name = session.clone();
        self.through_writer("delete a session", false, move |reply| {
            let name = name.clone();
            Job::call(reply, move |store| store.delete_at(&name, position))
        })
        .await
    }

    /// Gives the session up after all that was submitted before: see [`Journal::release`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn release(&self, session: &SessionName) -> Result<(), JournalError> {
        let name = session.clone();
        self.through_writer("release a session", true, move |reply| {
            let name = name.clone();
            Job::call(reply, move |store| store.release(&name))
        })
        .await
    }

    /// See [`Journal::load`].
    ///
    /// # Errors
    /// Those of the store, and [`JournalError::Timeout`].
    pub async fn load(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
    ) -> Result<Vec<Arc<Envelope>>, JournalError> {
        let session = session.clone();
        self.read("load a session", move |store| store.load(&session, after, below)).await
    }

    /// What `work` makes of the events with `after < seq < below`, in pieces and in order: it runs on a thread of its own beside
    /// the reading, which is a few pieces ahead of it at most. When the load fails, that is the outcome, whatever was made of
    /// the pieces so far. See [`Journal::load_in_pieces`].
    ///
    /// # Errors
    /// As [`load`](Self::load); [`JournalError::Away`] also when `work` panicked, or there is no thread for it.
    pub async fn work_on<T, F>(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
        work: F,
    ) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Iterator<Item = Vec<Envelope>>) -> T + Send + 'static,
    {
        let session = session.clone();
        self.read("load a session", move |store| {
            let (told, pieces) = mpsc::sync_channel(AHEAD);
            std::thread::scope(|threads| {
                let working = std::thread::Builder::new()
                    .name("journal pieces".to_owned())
                    .spawn_scoped(threads, move || work(&mut pieces.into_iter()))
                    .map_err(|_| JournalError::Away)?;
                // Who has heard enough does not listen any more.
                let loaded =
                    store.load_in_pieces(&session, after, below, &mut |piece| drop(told.send(piece)));
                drop(told);
                let made = working.join();
                loaded?;
                made.map_err(|_| JournalError::Away)
            })
        })
        .await
    }

    /// See [`Journal::snapshot`]. An append waits for the writing of one row of it at most: it is read and packed where
    /// things are read, and its commit asks for no sync of its own (SQLite may move its log into the file at that
    /// commit, as at any other).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn snapshot(&self, session: &SessionName) -> Result<Seq, JournalError> {
        let session = session.clone();
        // Who opens a session must not wait for those who make snapshots of others: they have one of the places.
        let alone = async { self.shared.snapshots.clone().acquire_owned().await };
        let Ok(place) = tokio::time::timeout(self.deadline, alone).await else {
            return Err(JournalError::Timeout { what: "make a snapshot", after: self.deadline });
        };
        self.read("make a snapshot", move |store| {
            let made = store.snapshot(&session);
            drop(place);
            made
        })
        .await
    }

    /// See [`Journal::position`].
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn position(&self, session: &SessionName) -> Result<Option<Position>, JournalError> {
        let session = session.clone();
        self.read("find a session", move |store| store.position(&session)).await
    }

    /// See [`Journal::summary`].
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn summary(&self, session: &SessionName) -> Result<Option<SessionSummary>, JournalError> {
        let session = session.clone();
        self.read("find a session", move |store| store.summary(&session)).await
    }

    /// See [`Journal::list`].
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn list(
        &self,
        after: Option<&SessionName>,
        limit: usize,
    ) -> Result<Vec<SessionSummary>, JournalError> {
        let after = after.cloned();
        self.read("list its sessions", move |store| store.list(after.as_ref(), limit)).await
    }

    /// See [`Journal::open_turns`].
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn open_turns(&self) -> Result<Vec<SessionName>, JournalError> {
        self.read("list its open turns", |store| store.open_turns()).await
    }

    /// See [`Journal::sent`].
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn sent(&self, session: &SessionName, send: &SendId) -> Result<Option<Sent>, JournalError> {
        let (session, send) = (session.clone(), send.clone());
        self.read("find a send", move |store| store.sent(&session, &send)).await
    }

    /// Waits until no read is under way, not even one that was given up; `false` when one still is at the `deadline`. A read
    /// holds the store, and so the sessions that this process owns by it.
    pub async fn at_rest(&self, deadline: Duration) -> bool {
        let all = u32::try_from(READERS).unwrap_or(u32::MAX);
        tokio::time::timeout(deadline, self.shared.readers.acquire_many(all)).await.is_ok()
    }

    /// Runs `read` off the runtime's workers, a few at a time. One that is given up runs on and keeps its place, so that
    /// a stuck disk does not gather readers without bound.
    async fn read<T, F>(&self, what: &'static str, read: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Journal) -> Result<T, JournalError> + Send + 'static,
    {
        let store = self.shared.store.clone();
        if store.is_instant() {
            return read(store.as_ref());
        }
        let answer = async {
            let place = self.shared.readers.clone().acquire_owned().await;
            if let Some(time) = store.pretends() {
                tokio::time::sleep(time).await;
                let answer = read(store.as_ref());
                drop(store);
                return answer;
            }
            let task = tokio::task::spawn_blocking(move || {
                let answer = read(store.as_ref());
                // First the store, then the place: whoever gets the place may rely on it.
                drop(store);
                drop(place);
                answer
            });
            // An error means that the read panicked or the runtime shuts down.
            task.await.unwrap_or(Err(JournalError::Away))
        };
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(JournalError::Timeout { what, after: self.deadline }),
        }
    }

    /// Gets an answer from the writer, in its order. When the writer dies with the question and `again` allows, the next
    /// one is asked.
    async fn through_writer<T>(
        &self,
        what: &'static str,
        again: bool,
        job: impl Fn(oneshot::Sender<Result<T, JournalError>>) -> Job,
    ) -> Result<T, JournalError> {
        let asking = async {
            let mut asked = None;
            loop {
                let door = self.door_other_than(asked).await;
                let (reply, answer) = oneshot::channel();
                let job = job(reply);
                if self.shared.store.is_instant() {
                    job.run(self.shared.store.as_ref());
                } else {
                    door.call(job).await;
                }
                match answer.await {
                    Ok(answer) => return answer,
                    Err(_) if again => asked = Some(door.id),
                    Err(_) => return Err(JournalError::Away),
                }
            }
        };
        match tokio::time::timeout(self.deadline, asking).await {
            Ok(answer) => answer,
            Err(_) if !self.is_alive() => Err(JournalError::Away),
            Err(_) => Err(JournalError::Timeout { what, after: self.deadline }),
        }
    }

    async fn door_other_than(&self, id: Option<u64>) -> Arc<Door> {
        let mut doors = self.shared.door.subscribe();
        loop {
            let door = doors.borrow_and_update().clone();
            match door {
                Some(door) if Some(door.id) != id => return door,
                // The sender lives in `self`, so this waits; it cannot fail.
                _ => drop(doors.changed().await),
            }
        }
    }

    fn open_door(&self, door: Arc<Door>) {
        self.shared.door.send_replace(Some(door));
    }

    fn shut_door(&self, id: u64) {
        self.shared.door.send_if_modified(|door| {
            let mine = door.as_ref().is_some_and(|door| door.id == id);
            if mine {
                *door = None;
            }
            mine
        });
    }
}

/// Counts one more in `counter` for as long as it lives; `None` when `limit` are there.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(counter: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        counter
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < limit).then_some(count + 1))
            .is_ok()
            .then(|| Self(counter.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
