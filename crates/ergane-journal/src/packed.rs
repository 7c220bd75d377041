//! Many events in one piece, in a form that is read several times faster than their rows: what a snapshot holds.
//!
//! # Why the facts, and not what they fold to
//!
//! Of the time that an opening takes, most goes into finding rows and reading JSON, and a tenth into the fold. So the facts
//! are kept, packed, and folded as always: there is no second way to come to a state, which would have to agree with the
//! first in every turn, approval and rewind, and no change of the fold makes a snapshot wrong.
//!
//! # The form
//!
//! Numbers take as many bytes as they need. Texts that come again (ids, names of models and tools) stand there once and
//! are shared in memory too. What is frequent has a form of its own; all else is the event's JSON. It is a cache and no
//! format to be kept readable: whoever changes it raises [`VERSION`], and snapshots of another are thrown away.

mod read;
mod write;

use ergane_core::{Envelope, Seq};

/// The version of the form.
pub(crate) const VERSION: u32 = 1;

/// Texts up to this length are looked up, in case they come again.
const SHARED: usize = 64;

/// What stands before an event that has a form of its own.
mod form {
    pub(super) const JSON: u8 = 0;
    pub(super) const QUEUED: u8 = 1;
    pub(super) const TURN_STARTED: u8 = 2;
    pub(super) const MODEL_REPLIED: u8 = 3;
    pub(super) const TOOL_STARTED: u8 = 4;
    pub(super) const TOOL_FINISHED: u8 = 5;
    pub(super) const TURN_ENDED: u8 = 6;
}

/// The events as one piece, or `None` when they would not come back as they are.
pub(crate) fn pack(events: &[Envelope]) -> Option<Vec<u8>> {
    let first = events.first()?.seq;
    let packed = write::Writer::default().events(events)?;
    // A snapshot that says something else than the log would be worse than none.
    let same = unpack(&packed, first, events.len()).is_some_and(|read| read == events);
    same.then_some(packed)
}

/// So many events, numbered from `first` on; `None` when the piece is none of that.
pub(crate) fn unpack(packed: &[u8], first: Seq, count: usize) -> Option<Vec<Envelope>> {
    read::Reader::new(packed).events(first, count)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ergane_core::{CallId, Epoch, Event, FORMAT_VERSION, Part, Timestamp, ToolResult, TurnId};

    use super::*;
    use crate::conformance::one_of_each;

    /// One event of each kind, so many times.
    fn events(times: usize) -> Vec<Envelope> {
        let numbered = (7..).zip((0..times).flat_map(|_| one_of_each()));
        let at = |seq: u64| Timestamp(1_735_689_600_000 - i64::try_from(seq * seq).unwrap());
        let envelope = |(seq, event)| Envelope {
            v: FORMAT_VERSION,
            seq: Seq(seq),
            epoch: Epoch(1 + seq / 10),
            at: at(seq),
            event,
        };
        numbered.map(envelope).collect()
    }

    #[test]
    fn every_kind_of_event_comes_back_as_it_was() {
        let events = events(2);
        let packed = pack(&events).unwrap();
        assert_eq!(unpack(&packed, Seq(7), events.len()).unwrap(), events);
        let json: usize = events.iter().map(|event| serde_json::to_vec(&event.event).unwrap().len()).sum();
        assert!(packed.len() < json, "{} of {json} bytes", packed.len());
    }

    #[test]
    fn what_is_no_such_piece_is_none_whatever_it_is() {
        let events = events(1);
        let packed = pack(&events).unwrap();
        let is_none = |bytes: &[u8], first, count| unpack(bytes, first, count).is_none();
        assert!(is_none(&packed, Seq(7), events.len() + 1));
        assert!(is_none(&packed, Seq(7), events.len() - 1));
        for end in 0..packed.len() {
            assert!(is_none(&packed[..end], Seq(7), events.len()), "cut off at {end}");
        }
        // Whatever a bit makes of it, nothing panics, and no number in it makes room for more than there is.
        for at in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 1 << (at % 8);
            drop(unpack(&damaged, Seq(7), events.len()));
        }
        assert!(is_none(&[0xff; 64], Seq(1), 1));
    }

    /// Results in results, so many.
    fn nested(results: usize) -> [Envelope; 1] {
        let result = |content| ToolResult {
            call: CallId { turn: TurnId(1), index: 0 },
            name: "t".into(),
            content,
            is_error: false,
            synthetic: false,
        };
        let inner = (1..results).fold(result(vec![]), |inner, _| result(vec![Part::ToolResult(inner)]));
        let event = Event::ToolFinished { result: Arc::new(inner), denied: false, ui: None };
        [Envelope { v: FORMAT_VERSION, seq: Seq(1), epoch: Epoch(1), at: Timestamp(0), event }]
    }

    #[test]
    fn results_in_results_are_read_to_a_bound_and_are_none_beyond_it() {
        let (deepest, too_deep) = (nested(64), nested(65));
        assert_eq!(unpack(&pack(&deepest).unwrap(), Seq(1), 1).unwrap(), deepest);
        assert_eq!(pack(&too_deep), None);
        let json = serde_json::to_string(&too_deep[0].event).unwrap();
        assert!(serde_json::from_str::<Event>(&json).is_err(), "the log reads no deeper ones either");
        // No stack has room for as many.
        let head = [1, 1, 0, form::TOOL_FINISHED, 0, 0, 0, 0];
        let endless: Vec<u8> = head.into_iter().chain([1, 3, 0, 0, 2].repeat(2_000_000)).collect();
        assert_eq!(unpack(&endless, Seq(1), 1), None);
    }

    #[test]
    fn texts_that_come_again_are_one_in_memory() {
        let events = events(2);
        let read = unpack(&pack(&events).unwrap(), Seq(7), events.len()).unwrap();
        let sends: Vec<_> = read
            .iter()
            .filter_map(|event| match &event.event {
                Event::TurnStarted { send } => Some(send.0.clone()),
                _ => None,
            })
            .collect();
        assert!(Arc::ptr_eq(&sends[0], &sends[1]));
    }
}
