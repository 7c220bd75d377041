//! A history as the messages of a wire format, each written once.
//!
//! A request holds the whole history, and all of it but its end was in the request before. So what was written of it is
//! kept with it ([`Kept`](ergane_core::Kept)), as the very bytes, and a request costs what is new in it. The bytes go into
//! the body as they are, without a copy.
//!
//! # What may be kept
//!
//! A format writes messages one after the other, but what it writes of one depends on others: results become part of the
//! user's word that follows them, an id that was given twice is replaced, the last message is marked. So a format says
//! where the list can be *cut*: before a message of the wire that everything before it knows nothing of, and that knows of
//! what came before only the ids that were used ([`Out::push`]). What is kept ends at such a cut. The last
//! two messages of the wire are never kept, for they may still grow and are looked at in more than one way, and only messages
//! in full blocks are, of which a [`Mark`] can be had: another history is only given what was written of messages that it
//! begins with. Two things that depend on what comes later are seen before it comes ([`Later`]); what was written before is
//! then written anew.
//!
//! # What it costs
//!
//! Memory: the bytes of the history once more for each format, model and provider that it is sent to, three of them at
//! most. For a model that is told of tools in words the history as it was told is kept too, with as many again. They live as
//! long as the history.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use ergane_core::{History, Mark, Role, Text};
use serde::Serialize;

use super::history::{Ids, Reader, Turn, turns};

/// A piece is filled until it has so many bytes: few pieces are sent with few calls, and short ones are copied together in no
/// time.
const PIECE: usize = if cfg!(test) { 600 } else { 64 * 1024 };

/// A long list is cut into steps of about so many bytes: what of it is of no use any more is forgotten in whole steps.
const STEP: usize = if cfg!(test) { 200 } else { 4 * 1024 };

/// So many messages at the end of the wire are never kept.
const LAST: usize = 2;

/// The messages of a request as they stand in its body, without the brackets around them.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// Written before; each ends with a comma.
    pub(crate) frozen: Vec<Bytes>,
    /// Written now. Not empty when something stands before it.
    pub(crate) new: Vec<u8>,
}

/// In what the bytes of a message depend on what comes after it, beside its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Later {
    /// In nothing.
    Nothing,
    /// In whether there are calls anywhere.
    Calls,
    /// In whether the user has said something since.
    User,
}

/// How a history is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format<'a> {
    pub(crate) reader: Reader<'a>,
    /// What else the bytes depend on. The same settings are the same value.
    pub(crate) flags: Option<&'a super::openai::Compat>,
    pub(crate) later: Later,
}

/// What of a history matters to messages far from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether there are calls.
    pub(crate) calls: bool,
    /// Where the user spoke last; 0 when never, which makes no difference to anything that stands after it.
    pub(crate) last_user: usize,
}

impl Seen {
    /// With what is in the messages from `from` to before `to`.
    fn and(mut self, messages: &History, from: usize, to: usize) -> Self {
        for (at, message) in (from..to).zip(messages.iter_from(from)) {
            match message.role {
                Role::User => self.last_user = at,
                Role::Assistant => self.calls = self.calls || message.calls().any(|call| call.complete),
                Role::Tool => {}
            }
        }
        self
    }
}

/// What is to be written: turns with their positions in the history.
#[derive(Debug)]
pub(crate) struct Tail<'t, 'a> {
    pub(crate) turns: &'t [(usize, Turn<'a>)],
    /// Whether nothing stands before them.
    pub(crate) is_first: bool,
    /// Of the whole history.
    pub(crate) seen: Seen,
}

/// Where a format writes its messages.
#[derive(Debug, Default)]
pub(crate) struct Out {
    bytes: Vec<u8>,
    messages: usize,
    cuts: Vec<Cut>,
}

/// What was written before it stands for the first `at` messages of the history, whatever comes after it.
#[derive(Debug, Clone, Copy)]
struct Cut {
    at: usize,
    /// Bytes before it, the comma not counted.
    bytes: usize,
    /// Messages of the wire before it.
    messages: usize,
}

impl Out {
    /// Writes a message. `cut` is the position in the history of the turn that it begins with, where the list may be cut before
    /// it: when the turn, written after nothing, would begin with this very message, and what is before it would be the same
    /// without it.
    pub(crate) fn push(&mut self, cut: Option<usize>, message: &impl Serialize) {
        let before = self.bytes.len();
        if before > 0 {
            if let Some(at) = cut {
                self.cuts.push(Cut { at, bytes: before, messages: self.messages });
            }
            self.bytes.push(b',');
        }
        match serde_json::to_writer(&mut self.bytes, message) {
            Ok(()) => self.messages = self.messages.saturating_add(1),
            // It is made of maps with string keys, texts and numbers, of which nothing can fail to become JSON.
            Err(_) => self.bytes.truncate(before),
        }
    }
}

/// What a format has written of a history.
struct Written {
    provider: Text,
    api: &'static str,
    model: Text,
    flags: Option<super::openai::Compat>,
    state: Mutex<State>,
}

impl Written {
    fn new(format: &Format<'_>) -> Self {
        Self {
            provider: format.reader.provider.into(),
            api: format.reader.api,
            model: format.reader.model.into(),
            flags: format.flags.cloned(),
            state: Mutex::default(),
        }
    }

    fn is_of(&self, format: &Format<'_>) -> bool {
        *self.provider == *format.reader.provider
            && self.api == format.reader.api
            && *self.model == *format.reader.model
            && self.flags.as_ref() == format.flags
    }
}

/// What was written, in steps: each is good for a history or not, together with those before it.
#[derive(Default)]
struct State {
    steps: Vec<Step>,
    /// The bytes of the steps, several in a piece. Each step ends with a comma.
    pieces: Vec<Bytes>,
    /// The ids of calls in the steps, and which message brought each.
    ids: HashMap<Box<str>, usize>,
}

/// Bytes that stand for the messages up to `upto` (and from where the step before it ends).
struct Step {
    /// How many bytes of the last piece are before it; 0 when it begins a piece.
    before: usize,
    upto: usize,
    mark: Mark,
    /// What is seen in the history up to its end.
    seen: Seen,
    /// What was seen in all of the history when it was written.
    under: Seen,
}

impl Step {
    /// Whether it would be written so again.
    fn holds(&self, later: Later, now: Seen) -> bool {
        let then = self.under;
        match later {
            Later::Nothing => true,
            Later::Calls => then.calls == now.calls,
            Later::User => then.last_user == now.last_user || self.upto <= then.last_user.min(now.last_user),
        }
    }
}

impl State {
    fn upto(&self) -> usize {
        self.steps.last().map_or(0, |step| step.upto)
    }

    /// What is seen in the messages that the steps stand for.
    fn seen(&self) -> Seen {
        self.steps.last().map(|step| step.seen).unwrap_or_default()
    }

    /// Forgets the last step.
    fn pop(&mut self) -> bool {
        let Some(step) = self.steps.pop() else { return false };
        match self.pieces.last_mut() {
            Some(piece) if step.before > 0 => piece.truncate(step.before),
            _ => drop(self.pieces.pop()),
        }
        true
    }

    /// Forgets steps from the last one on, as long as they are of no use.
    fn pop_while(&mut self, is_void: impl Fn(&Step) -> bool) {
        let mut popped = false;
        while self.steps.last().is_some_and(&is_void) {
            popped = self.pop();
        }
        if popped {
            let upto = self.upto();
            self.ids.retain(|_, at| *at < upto);
        }
    }

    /// Keeps of what was written what is settled, and gives the list.
    fn keep(&mut self, messages: &History, mut out: Out, under: Seen, ids: HashMap<Box<str>, usize>) -> List {
        let settled = messages.settled();
        // The message at the cut, too: were it another, what is before it might not be complete.
        let may_be = |cut: &&Cut| cut.at < settled && cut.messages.saturating_add(LAST) <= out.messages;
        let last = out.cuts.iter().rfind(may_be).map_or(0, |cut| cut.at);
        let mut from = 0;
        if last > 0 {
            let short = self.pieces.pop_if(|piece| piece.len() < PIECE);
            let mut piece = short.map(|piece| piece.to_vec()).unwrap_or_default();
            for cut in out.cuts.iter().take_while(|cut| cut.at <= last) {
                if cut.at < last && cut.bytes.saturating_sub(from) < STEP {
                    continue;
                }
                // With the comma.
                let bytes = out.bytes.get(from..=cut.bytes);
                let (Some(bytes), Some(mark)) = (bytes, messages.mark(cut.at.saturating_add(1))) else {
                    break;
                };
                let seen = self.seen().and(messages, self.upto(), cut.at);
                self.steps.push(Step { before: piece.len(), upto: cut.at, mark, seen, under });
                piece.extend_from_slice(bytes);
                from = cut.bytes.saturating_add(1);
                if piece.len() >= PIECE {
                    self.close(std::mem::take(&mut piece));
                }
            }
            if !piece.is_empty() {
                self.close(piece);
            }
            let upto = self.upto();
            self.ids.extend(ids.into_iter().filter(|(_, at)| *at < upto));
        }
        if from > 0 {
            out.bytes = out.bytes.get(from..).unwrap_or_default().to_vec();
        }
        List { frozen: self.pieces.clone(), new: out.bytes }
    }

    fn close(&mut self, mut piece: Vec<u8>) {
        // As long as the history lives.
        piece.shrink_to_fit();
        self.pieces.push(piece.into());
    }
}

/// The messages of a history, of which `write` is handed what was not written before.
///
/// # Errors
/// Those of `write`.
pub(crate) fn list<E>(
    messages: &History,
    format: &Format<'_>,
    mut write: impl FnMut(&Tail<'_, '_>, &mut Out) -> Result<(), E>,
) -> Result<List, E> {
    let mut nothing = State::default();
    let written = messages
        .kept()
        .map(|kept| kept.value(|written: &Written| written.is_of(format), || Written::new(format)));
    let mut locked =
        written.as_ref().map(|written| written.state.lock().unwrap_or_else(PoisonError::into_inner));
    let state = locked.as_deref_mut().unwrap_or(&mut nothing);
    state.pop_while(|step| !messages.begins_with(&step.mark));
    let seen = state.seen().and(messages, state.upto(), messages.len());
    state.pop_while(|step| !step.holds(format.later, seen));
    loop {
        let upto = state.upto();
        let mut ids = Ids::new(&state.ids);
        let turns = turns(messages, upto, &format.reader, &mut ids);
        let ids = ids.new;
        let tail = Tail { turns: &turns, is_first: upto == 0, seen };
        let mut out = Out::default();
        write(&tail, &mut out)?;
        // A history that was rewound may end where what was kept ends.
        if out.messages < LAST && upto > 0 {
            state.pop_while(|step| step.upto == upto);
            continue;
        }
        return Ok(state.keep(messages, out, seen, ids));
    }
}

#[cfg(test)]
mod tests;
