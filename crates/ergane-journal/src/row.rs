//! One event as bytes: what a store on disk keeps of it, and how damage is noticed.
//!
//! The body is the event's JSON alone; position, epoch, time, kind and version are columns. The checksum covers them
//! all, so a body under another number, or a row moved in time, is damage too and not another truth.

use ergane_core::{Envelope, Epoch, Event, FORMAT_VERSION, Seq, SessionName, Timestamp};

use crate::append::{AppendError, MAX_EVENT_BYTES};
use crate::error::JournalError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) seq: u64,
    pub(crate) epoch: u64,
    pub(crate) kind: u8,
    pub(crate) ver: u32,
    pub(crate) at: i64,
    pub(crate) body: Vec<u8>,
    pub(crate) crc: u32,
}

impl Row {
    pub(crate) fn encode(envelope: &Envelope) -> Result<Self, AppendError> {
        let body = serde_json::to_vec(&envelope.event).map_err(|error| {
            AppendError::not_written(format!("event {} cannot be written as JSON: {error}", envelope.seq))
        })?;
        if body.len() > MAX_EVENT_BYTES {
            return Err(AppendError::not_written(format!(
                "event {} has {} bytes, over the limit of {MAX_EVENT_BYTES}; make it smaller",
                envelope.seq,
                body.len()
            )));
        }
        let mut row = Self {
            seq: envelope.seq.0,
            epoch: envelope.epoch.0,
            kind: envelope.event.kind() as u8,
            ver: envelope.v,
            at: envelope.at.0,
            body,
            crc: 0,
        };
        row.crc = row.checksum();
        Ok(row)
    }

    fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.seq.to_le_bytes());
        hasher.update(&self.epoch.to_le_bytes());
        hasher.update(&self.at.to_le_bytes());
        hasher.update(&self.ver.to_le_bytes());
        hasher.update(&[self.kind]);
        hasher.update(&self.body);
        hasher.finalize()
    }

    /// The event, if the row is whole, not from the future, and the one that must come at `expected`.
    pub(crate) fn decode(&self, session: &SessionName, expected: Seq) -> Result<Envelope, JournalError> {
        let corrupt =
            |reason: String| JournalError::Corrupt { session: session.clone(), seq: expected, reason };
        if self.seq != expected.0 {
            return Err(corrupt(format!("it is missing (the next one there is {})", self.seq)));
        }
        // Before the checksum: a newer version may compute it in another way.
        if self.ver > FORMAT_VERSION {
            let place = format!("event {expected} of session {session}");
            return Err(JournalError::Newer { place, found: self.ver, supported: FORMAT_VERSION });
        }
        let found = self.checksum();
        if found != self.crc {
            return Err(corrupt(format!("its checksum is {found:08x}, and {:08x} was written", self.crc)));
        }
        let event: Event = serde_json::from_slice(&self.body).map_err(|error| corrupt(error.to_string()))?;
        if event.kind() as u8 != self.kind {
            return Err(corrupt(format!("it is marked as kind {} and is of another", self.kind)));
        }
        Ok(Envelope { v: self.ver, seq: expected, epoch: Epoch(self.epoch), at: Timestamp(self.at), event })
    }
}
