//! A long session has a snapshot made of its log, in time and out of the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::*;
use ergane::core::{Envelope, SendId, Seq};
use ergane::journal::{Append, AppendError, Journal, JournalError, Opened, Position, Sent, SessionSummary};
use ergane::prelude::*;

/// A store that tells what it was asked to make, and makes none when the test says so.
#[derive(Debug)]
struct Watched {
    store: Sqlite,
    asked: AtomicU64,
    upto: AtomicU64,
    fails: AtomicBool,
}

impl Watched {
    fn new(dir: &Path, fails: bool) -> Arc<Self> {
        let store = Sqlite::open(dir.join("j.db")).unwrap();
        Arc::new(Self { store, asked: 0.into(), upto: 0.into(), fails: fails.into() })
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Journal for Watched {
    fn kind(&self) -> &'static str {
        "watched"
    }

    fn open_session(&self, session: &SessionName) -> Result<Opened, JournalError> {
        self.store.open_session(session)
    }

    fn append(&self, batch: &[Append]) -> Vec<Result<(), AppendError>> {
        self.store.append(batch)
    }

    fn load(
        &self,
        session: &SessionName,
        after: Seq,
        below: Seq,
    ) -> Result<Vec<Arc<Envelope>>, JournalError> {
        self.store.load(session, after, below)
    }

    fn snapshot(&self, session: &SessionName) -> Result<Seq, JournalError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let made = match self.fails.load(Ordering::SeqCst) {
            true => Err(JournalError::Away),
            false => self.store.snapshot(session),
        };
        if let Ok(upto) = &made {
            self.upto.store(upto.0, Ordering::SeqCst);
        }
        made
    }

    fn position(&self, session: &SessionName) -> Result<Option<Position>, JournalError> {
        self.store.position(session)
    }

    fn summary(&self, session: &SessionName) -> Result<Option<SessionSummary>, JournalError> {
        self.store.summary(session)
    }

    fn list(&self, after: Option<&SessionName>, limit: usize) -> Result<Vec<SessionSummary>, JournalError> {
        self.store.list(after, limit)
    }

    fn open_turns(&self) -> Result<Vec<SessionName>, JournalError> {
        self.store.open_turns()
    }

    fn sent(&self, session: &SessionName, send: &SendId) -> Result<Option<Sent>, JournalError> {
        self.store.sent(session, send)
    }

    fn delete(&self, session: &SessionName) -> Result<bool, JournalError> {
        self.store.delete(session)
    }

    fn release(&self, session: &SessionName) -> Result<(), JournalError> {
        self.store.release(session)
    }
}

async fn system_on(store: &Arc<Watched>) -> System {
    System::builder()
        .provider("scripted", Scripted::builtin())
        .shared_journal(store.clone())
        .start()
        .await
        .unwrap()
}

/// So many turns of four facts each, behind the one that begins the session.
async fn talk(session: &Session, turns: usize) {
    for turn in 0..turns {
        session.send_message(turn.to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_has_a_snapshot_made_when_it_has_grown_long_and_goes_on_from_it_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Watched::new(dir.path(), false);
    let system = system_on(&store).await;
    let alice = system.session("alice").start().await.unwrap();
    talk(&alice, 100).await;
    assert_eq!(store.asked(), 0, "401 facts are not many");
    talk(&alice, 40).await;
    until("a snapshot is made", || async { store.upto.load(Ordering::SeqCst) == 512 }).await;
    let (said, usage) = (alice.messages().await.unwrap(), alice.usage().await.unwrap());
    assert_eq!(store.asked(), 1, "and no other so soon");

    alice.stop().await.unwrap();
    assert_eq!(alice.messages().await.unwrap(), said);
    assert_eq!(alice.usage().await.unwrap(), usage);
    until("the next is looked for", || async { store.asked() == 2 }).await;
    let next = alice.send_message("and on").await.unwrap();
    assert_eq!((next.ordinal, alice.messages().await.unwrap().len()), (141, said.len() + 2));
    assert_eq!(
        alice.fork("bob", ergane::core::Point::Now).await.unwrap().messages().await.unwrap().len(),
        282
    );
}

#[tokio::test]
async fn a_session_of_which_no_snapshot_can_be_made_is_none_the_worse_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Watched::new(dir.path(), true);
    let system = system_on(&store).await;
    let alice = system.session("alice").start().await.unwrap();
    talk(&alice, 130).await;
    until("it was asked for", || async { store.asked() == 1 }).await;
    talk(&alice, 2).await;
    alice.stop().await.unwrap();
    assert_eq!(alice.messages().await.unwrap().len(), 264);
}
