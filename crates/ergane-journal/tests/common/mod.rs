//! What several tests need.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use ergane_core::{
    Digest, Envelope, Epoch, Event, FORMAT_VERSION, Part, SendId, Seq, SessionName, Timestamp,
};
use ergane_journal::{
    Append, AppendError, Journal, JournalError, JournalPort, Opened, Position, Sent, SessionSummary,
};
use ergane_otp::{Intensity, Namespace, Promise, Supervisor, SupervisorRef};
use tokio::sync::oneshot;

/// How long a test waits for what must come: only to end a test that hangs.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}

pub(crate) fn queued(send: &str) -> Event {
    Event::Queued {
        send: send.into(),
        input: vec![Part::text(send)],
        hash: Digest::of(send.as_bytes()),
        meta: None,
        settings: None,
    }
}

pub(crate) fn append(session: &str, epoch: Epoch, expected: Seq, events: Vec<Event>) -> Append {
    let events = (expected.0..).zip(events).map(|(seq, event)| {
        Arc::new(Envelope { v: FORMAT_VERSION, seq: Seq(seq), epoch, at: Timestamp(0), event })
    });
    Append { session: name(session), epoch, expected, events: events.collect() }
}

/// Opens the session and appends one event for each send.
pub(crate) fn fill(journal: &dyn Journal, session: &str, sends: &[&str]) -> Opened {
    let opened = journal.open_session(&name(session)).unwrap();
    let events = sends.iter().map(|send| queued(send)).collect();
    let outcomes = journal.append(&[append(session, opened.epoch, opened.next_seq, events)]);
    assert_eq!(outcomes, [Ok(())]);
    opened
}

/// The ids of the sends that are stored.
pub(crate) fn stored(journal: &dyn Journal, session: &str) -> Vec<String> {
    let events = journal.load(&name(session), Seq(0), Seq(u64::MAX)).unwrap();
    events
        .iter()
        .map(|event| match &event.event {
            Event::Queued { send, .. } => send.to_string(),
            other => panic!("{other:?} was never written"),
        })
        .collect()
}

pub(crate) type Outcome = Option<Result<(), AppendError>>;

/// Submits and gives what the promise will say: `None` inside when it was dropped.
pub(crate) fn submit(port: &JournalPort, append: Append) -> oneshot::Receiver<Outcome> {
    let (told, outcome) = oneshot::channel();
    port.submit(append, Promise::new(move |answer| drop(told.send(answer))));
    outcome
}

/// What must come, comes.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it did not come")
}

/// A supervisor with the journal actor as its child.
pub(crate) async fn supervised(port: &JournalPort, system: &str) -> (Namespace, SupervisorRef) {
    let namespace = Namespace::new(system);
    let intensity = Intensity { max_restarts: 1_000, within: Duration::from_secs(60) };
    let root = Supervisor::start(&namespace, "root", intensity, vec![port.child_spec()], None).await.unwrap();
    (namespace, root)
}

/// A store that waits inside every commit, and while it lists its open turns or makes a snapshot, until the test lets it go on. The test is
/// told when it has arrived there.
#[derive(Debug)]
pub(crate) struct Gated<J> {
    pub(crate) inner: J,
    arrived: mpsc::Sender<usize>,
    go: std::sync::Mutex<mpsc::Receiver<()>>,
    panics: std::sync::atomic::AtomicBool,
}

/// The test's side of a [`Gated`] store.
pub(crate) struct Gate {
    arrived: Option<mpsc::Receiver<usize>>,
    go: mpsc::Sender<()>,
}

impl<J: Journal> Gated<J> {
    pub(crate) fn new(inner: J) -> (Arc<Self>, Gate) {
        let (arrived, arrivals) = mpsc::channel();
        let (go, goes) = mpsc::channel();
        (
            Arc::new(Self { inner, arrived, go: goes.into(), panics: false.into() }),
            Gate { arrived: Some(arrivals), go },
        )
    }

    /// The next commit panics instead of being done.
    pub(crate) fn panic_next(&self) {
        self.panics.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Gate {
    /// Waits for a commit to begin, and tells how many appends it holds.
    pub(crate) async fn arrival(&mut self) -> usize {
        let arrived = self.arrived.take().expect("the one before has come");
        let waiting = tokio::task::spawn_blocking(move || {
            let appends = arrived.recv_timeout(LONG).expect("a commit begins");
            (appends, arrived)
        });
        let (appends, arrived) = waiting.await.unwrap();
        self.arrived = Some(arrived);
        appends
    }

    /// Lets one commit go on: the one that waits, or the next.
    pub(crate) fn let_one_go(&self) {
        self.go.send(()).unwrap();
    }

    /// Lets all commits go on, for ever.
    pub(crate) fn open(self) {
        drop(self.go);
    }
}

impl<J: Journal> Journal for Gated<J> {
    fn kind(&self) -> &'static str {
        "gated"
    }

    fn open_session(&self, session: &SessionName) -> Result<Opened, JournalError> {
        self.inner.open_session(session)
    }

    fn append(&self, batch: &[Append]) -> Vec<Result<(), AppendError>> {
        // An error of either says that the gate is open: nobody listens, and nothing has to be waited for.
        if self.arrived.send(batch.len()).is_ok() {
            self.go.lock().unwrap().recv().unwrap_or_default();
        }
        assert!(
            !self.panics.swap(false, std::sync::atomic::Ordering::SeqCst),
            "a commit that was told to panic"
        );
        self.inner.append(batch)
    }

    fn load(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
    ) -> Result<Vec<Arc<Envelope>>, JournalError> {
        self.inner.load(session, after, below)
    }

    fn snapshot(&self, session: &SessionName) -> Result<Seq, JournalError> {
        if self.arrived.send(0).is_ok() {
            self.go.lock().unwrap().recv().unwrap_or_default();
        }
        self.inner.snapshot(session)
    }

    fn position(&self, session: &SessionName) -> Result<Option<Position>, JournalError> {
        self.inner.position(session)
    }

    fn summary(&self, session: &SessionName) -> Result<Option<SessionSummary>, JournalError> {
        self.inner.summary(session)
    }

    fn list(&self, after: Option<&SessionName>, limit: usize) -> Result<Vec<SessionSummary>, JournalError> {
        self.inner.list(after, limit)
    }

    fn open_turns(&self) -> Result<Vec<SessionName>, JournalError> {
        if self.arrived.send(0).is_ok() {
            self.go.lock().unwrap().recv().unwrap_or_default();
        }
        self.inner.open_turns()
    }

    fn sent(&self, session: &SessionName, send: &SendId) -> Result<Option<Sent>, JournalError> {
        self.inner.sent(session, send)
    }

    fn delete(&self, session: &SessionName) -> Result<bool, JournalError> {
        self.inner.delete(session)
    }

    fn delete_at(&self, session: &SessionName, position: Position) -> Result<bool, JournalError> {
        self.inner.delete_at(session, position)
    }

    fn release(&self, session: &SessionName) -> Result<(), JournalError> {
        self.inner.release(session)
    }
}
