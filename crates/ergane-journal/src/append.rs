//! One append: what is written together or not at all, and the three ways in which it is not.

use std::sync::Arc;

use ergane_core::{Envelope, Epoch, FORMAT_VERSION, Seq, SessionName};

use crate::row::Row;

/// The most bytes that one event may have as JSON, 16 MiB. What makes events must cut or refuse before.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// From so many bytes on, about, an append is encoded on a thread of its own. What is smaller takes a few milliseconds
/// at most, and keeps its place among the appends of other sessions.
const LARGE: usize = 4 << 20;

/// Events of one session to be written together: all or none. It is a compare-and-swap on `(epoch, expected)`.
#[derive(Debug, Clone)]
pub struct Append {
    /// Whose events.
    pub session: SessionName,
    /// The incarnation that writes: what [`Opened`](crate::Opened) told.
    pub epoch: Epoch,
    /// The `next_seq` the writer expects, which is the seq of the first event.
    pub expected: Seq,
    /// The events, numbered from `expected` without gaps, all of `epoch`.
    pub events: Vec<Arc<Envelope>>,
}

/// Why an append is not known to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another epoch owns the session: whoever tried this is a ghost and must end.
    #[error("the session belongs to another incarnation (epoch {})", .epoch.0)]
    Fenced {
        /// The epoch that owns it; 0 when the session was deleted.
        epoch: Epoch,
    },
    /// Nothing of it was written, and nothing of it will be.
    #[error("not written: {reason}")]
    NotWritten {
        /// Why, and what to do.
        reason: String,
    },
    /// It may be written or not: read back [`Position`](crate::Position), then treat it as one of the others or as
    /// written.
    #[error("it is not known whether it was written: {reason}")]
    Unknown {
        /// Why.
        reason: String,
    },
}

impl AppendError {
    pub(crate) fn not_written(reason: impl Into<String>) -> Self {
        Self::NotWritten { reason: reason.into() }
    }

    /// For a store that breaks its contract by answering too little.
    pub(crate) fn no_answer() -> Self {
        Self::Unknown { reason: "the store did not answer for it".to_owned() }
    }
}

impl Append {
    /// The `next_seq` of the session once this is written.
    pub fn next_seq(&self) -> Seq {
        Seq(self.expected.0.saturating_add(self.events.len() as u64))
    }

    /// Whether encoding it takes so long that it is not done where nobody may wait.
    pub(crate) fn is_large(&self) -> bool {
        self.events.iter().map(|envelope| envelope.event.rough_size()).sum::<usize>() > LARGE
    }

    /// Whether the events are numbered as they claim. What is not is a defect of the writer, never written.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        for (seq, event) in (self.expected.0..).zip(&self.events) {
            if event.seq.0 != seq || event.epoch != self.epoch || event.v != FORMAT_VERSION {
                return Err(AppendError::not_written(format!(
                    "this is a defect of ergane, please report it: event {} of epoch {} and version {} was given as \
                     event {seq} of epoch {} and version {FORMAT_VERSION} of session {}",
                    event.seq, event.epoch.0, event.v, self.epoch.0, self.session
                )));
            }
        }
        Ok(())
    }

    /// The compare of the compare-and-swap; both stores decide by it.
    pub(crate) fn fits(&self, found: Option<(Epoch, Seq)>) -> Result<(), AppendError> {
        match found {
            None => Err(AppendError::Fenced { epoch: Epoch(0) }),
            Some((epoch, _)) if epoch != self.epoch => Err(AppendError::Fenced { epoch }),
            // Same incarnation, other position: the writer lost count, or this very append was written before.
            Some((_, next)) if next != self.expected => Err(AppendError::Unknown {
                reason: format!("session {} stands at event {next}, not {}", self.session, self.expected),
            }),
            Some(_) => Ok(()),
        }
    }
}

/// An append with its events encoded: made in the task of who appends, so that the one writer only writes.
#[derive(Debug)]
pub struct Prepared {
    append: Append,
    rows: Vec<Row>,
    bytes: usize,
}

impl Prepared {
    /// Checks and encodes.
    ///
    /// # Errors
    /// [`AppendError::NotWritten`] when the events are not numbered from `expected` on, or one is over
    /// [`MAX_EVENT_BYTES`] or nested too deep to be read.
    pub fn new(append: Append) -> Result<Self, AppendError> {
        append.check()?;
        let rows = append.events.iter().map(|event| Row::encode(event)).collect::<Result<Vec<_>, _>>()?;
        let bytes = rows.iter().map(|row| row.body.len()).sum();
        Ok(Self { append, rows, bytes })
    }

    /// The append.
    pub fn append(&self) -> &Append {
        &self.append
    }

    /// The bytes of its events as JSON.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }
}
