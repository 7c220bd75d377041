//! Where events are kept: the [`Journal`] trait, [`Memory`], [`Sqlite`], and a [`conformance`] suite any other store can
//! run.
//!
//! # What it promises
//!
//! What was acknowledged is kept. An append is written completely or not at all, is on the disk before it is
//! acknowledged, and when it fails, the error says which of three things a session must do: end ([`AppendError::Fenced`]),
//! wait and do it again ([`AppendError::NotWritten`]), or read back where it stands ([`AppendError::Unknown`]). There is
//! no fourth answer that hides what happened.
//!
//! # Why an append is a compare-and-swap
//!
//! Actors are restarted, and processes are frozen and thawed. So two incarnations of one session may both believe that
//! they are the one. Every opening raises the session's epoch, and an append names its epoch and the position that it
//! expects: of two writers at most one fits. No lock has to be held for that, and no clock has to be right.
//!
//! # The parts
//!
//! A store is a plain, blocking thing and knows no actor. [`JournalPort`] makes it usable from actors, which must never
//! block: it groups the appends of all sessions into one commit, opens sessions in the same order, reads on a few other
//! threads, and survives the death of its own actor.
//!
//! ```
//! use std::sync::Arc;
//! use ergane_core::{Envelope, Event, FORMAT_VERSION, Seq, SessionName, Timestamp};
//! use ergane_journal::{Append, AppendError, Journal, Memory};
//!
//! let journal = Memory::new();
//! let alice = SessionName::new("alice").unwrap();
//! let opened = journal.open_session(&alice).unwrap();
//! let event = Envelope {
//!     v: FORMAT_VERSION,
//!     seq: opened.next_seq,
//!     epoch: opened.epoch,
//!     at: Timestamp(0),
//!     event: Event::TurnStarted { send: "key".into() },
//! };
//! let append = Append {
//!     session: alice.clone(),
//!     epoch: opened.epoch,
//!     expected: opened.next_seq,
//!     events: vec![Arc::new(event)],
//! };
//! assert_eq!(journal.append(&[append.clone()]), [Ok(())]);
//!
//! // A second incarnation fences off the first.
//! let again = journal.open_session(&alice).unwrap();
//! assert_eq!(again.next_seq, Seq(2));
//! assert_eq!(journal.append(&[append]), [Err(AppendError::Fenced { epoch: again.epoch })]);
//! ```

mod append;
pub mod conformance;
mod error;
mod lock;
mod memory;
mod packed;
mod port;
mod row;
mod sqlite;
mod store;
mod summary;

pub use append::{Append, AppendError, MAX_EVENT_BYTES, Prepared};
pub use error::JournalError;
pub use memory::Memory;
pub use port::JournalPort;
pub use sqlite::{Sqlite, SqliteOptions};
pub use store::{Journal, Opened, Position, Sent};
pub use summary::{SessionSummary, StoredStatus};

/// What crosses threads must be able to.
const _: () = {
    const fn crosses_threads<T: Send + Sync + 'static>() {}
    crosses_threads::<JournalPort>();
    crosses_threads::<Sqlite>();
    crosses_threads::<Memory>();
    crosses_threads::<JournalError>();
    crosses_threads::<AppendError>();
};
