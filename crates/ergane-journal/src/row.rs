//! One event as bytes: what a store on disk keeps of it, and how damage is noticed.
//!
//! The body is the event's JSON alone; position, epoch, time, kind and version are columns. The checksum covers them
//! all, so a body under another number, or a row moved in time, is damage too and not another truth.

use std::io;

use ergane_core::{Envelope, Epoch, Event, FORMAT_VERSION, Seq, SessionName, Timestamp};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::append::{AppendError, MAX_EVENT_BYTES};
use crate::error::JournalError;

/// So many levels of arrays and objects the reader goes down, for the sake of its stack. Whoever makes events keeps well
/// below; this is so that nothing is ever written that cannot be read.
const READABLE: usize = 127;

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
        let (body, levels) = json(&envelope.event).map_err(|error| {
            AppendError::not_written(format!("event {} cannot be written as JSON: {error}", envelope.seq))
        })?;
        if levels > READABLE {
            return Err(AppendError::not_written(format!(
                "event {} is nested {levels} levels deep, and no deeper than {READABLE} can be read; make it flatter",
                envelope.seq
            )));
        }
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

/// An event as JSON, and how many levels it has.
fn json(event: &Event) -> Result<(Vec<u8>, usize), serde_json::Error> {
    let (mut body, mut deepest) = (Vec::with_capacity(128), 0);
    let levels = Levels { now: 0, deepest: &mut deepest };
    event.serialize(&mut Serializer::with_formatter(&mut body, levels))?;
    Ok((body, deepest))
}

/// Writes as serde_json does by itself, and counts the levels.
struct Levels<'a> {
    now: usize,
    deepest: &'a mut usize,
}

impl Levels<'_> {
    fn down(&mut self) {
        self.now += 1;
        *self.deepest = self.now.max(*self.deepest);
    }
}

impl Formatter for Levels<'_> {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.down();
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.now -= 1;
        writer.write_all(b"]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.down();
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.now -= 1;
        writer.write_all(b"}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::one_of_each;

    fn nested(levels: usize) -> Envelope {
        let ui = (0..levels).fold(serde_json::Value::Null, |inner, _| serde_json::json!([inner]));
        let event = one_of_each().into_iter().find_map(|event| match event {
            Event::ToolFinished { result, denied, .. } => {
                Some(Event::ToolFinished { result, denied, ui: Some(ui.clone()) })
            }
            _ => None,
        });
        let event = event.unwrap();
        Envelope { v: FORMAT_VERSION, seq: Seq(1), epoch: Epoch(1), at: Timestamp(0), event }
    }

    #[test]
    fn an_event_stands_there_as_serde_json_writes_it() {
        for event in one_of_each() {
            let (body, levels) = json(&event).unwrap();
            assert_eq!(body, serde_json::to_vec(&event).unwrap());
            assert!(levels > 0 && levels < 10, "{levels}");
        }
    }

    #[test]
    fn what_is_just_deep_enough_to_be_read_is_written_and_nothing_deeper() {
        let session = SessionName::new("a").unwrap();
        let deepest = nested(READABLE - 1);
        assert_eq!(Row::encode(&deepest).unwrap().decode(&session, Seq(1)).unwrap(), deepest);
        let too_deep = nested(READABLE);
        let json = serde_json::to_vec(&too_deep.event).unwrap();
        assert!(serde_json::from_slice::<Event>(&json).is_err(), "nobody can read it");
        let refused = Row::encode(&too_deep).unwrap_err();
        assert!(refused.to_string().contains("nested 128 levels"), "{refused}");
    }
}
