//! The two heads of a session: what is *accepted* (folded) and what is *durable*.
//!
//! # Why two
//!
//! The kernel works on what is accepted, so a session never waits for a disk before it knows what comes next. But
//! whatever leaves the house (a reply, the start of a tool, an event shown as final) waits until the durable head has
//! reached its fact. One append is outstanding at a time; what is accepted meanwhile goes into the next one, so facts
//! that belong together share a wait, and order never needs a thought.
//!
//! # Why a failed append is sent again as it was
//!
//! Nothing depends on a fact before it is durable. So an append that was not written is a slow disk and no more: the
//! session parks and submits the very same facts again until the store takes them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ergane_core::{
    Conversation, Cost, Envelope, Epoch, Event, FORMAT_VERSION, FoldError, History, MAX_LEVELS, OpenTurn,
    PendingApproval, Seq, SessionName, Timestamp, TurnId, Usage,
};
use ergane_journal::{Append, JournalError, MAX_EVENT_BYTES};
use serde::Serialize;

/// Something that waits for the durable head.
type Action = Box<dyn FnOnce() + Send>;

/// Something that is told when the durable head is there, or why the store cannot take facts now.
type Telling = Box<dyn FnOnce(Option<&str>) + Send>;

/// Who waits for the durable head.
enum Waiting {
    /// For as long as it takes.
    Patient(Action),
    /// Until it is told that the store cannot take facts now.
    Told(Telling),
}

/// What may be told of a session: what its durable facts say.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) messages: History,
    pub(crate) turn: Option<TurnId>,
    pub(crate) approvals: Vec<PendingApproval>,
    pub(crate) turns: usize,
    pub(crate) usage: Usage,
    pub(crate) cost: Cost,
}

impl View {
    fn of(conversation: &Conversation) -> Self {
        Self {
            messages: conversation.messages(),
            turn: conversation.turn().map(|turn| turn.id),
            approvals: conversation.turn().map(OpenTurn::approvals).unwrap_or_default(),
            turns: conversation.turns().len() + usize::from(conversation.turn().is_some()),
            usage: conversation.usage(),
            cost: conversation.cost(),
        }
    }
}

/// The store did not take the append under way.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// How often in a row.
    times: u32,
    /// Whether it has the append again, and has not said yet what became of it.
    tried_again: bool,
}

#[derive(Default)]
pub(crate) struct Facts {
    conversation: Conversation,
    epoch: Epoch,
    durable: Seq,
    view: View,
    /// The view that holds once the append under way is written.
    next_view: View,
    unsent: Vec<Arc<Envelope>>,
    in_flight: Vec<Arc<Envelope>>,
    failure: Option<Failure>,
    waiting: VecDeque<(Seq, Waiting)>,
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("epoch", &self.epoch)
            .field("accepted", &self.conversation.seq())
            .field("durable", &self.durable)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl Facts {
    /// What a load found: everything in it is durable.
    pub(crate) fn loaded(conversation: Conversation, epoch: Epoch) -> Self {
        let view = View::of(&conversation);
        Self { durable: conversation.seq(), view, conversation, epoch, ..Self::default() }
    }

    pub(crate) fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// What may be told: what is accepted and not yet durable is nobody's to see.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    pub(crate) fn accepted(&self) -> Seq {
        self.conversation.seq()
    }

    pub(crate) fn durable(&self) -> Seq {
        self.durable
    }

    /// Why the session waits before it tries the store once more, when it does.
    pub(crate) fn parked(&self) -> Option<&str> {
        self.failure.as_ref().filter(|failure| !failure.tried_again).map(|failure| &*failure.reason)
    }

    /// Why the store could not take the append under way, also while it is tried once more.
    pub(crate) fn failing(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| &*failure.reason)
    }

    /// Accepts a fact. An error is a bug of ours: the fact does not follow from those before it.
    pub(crate) fn record(&mut self, event: Event) -> Result<Seq, FoldError> {
        let seq = self.conversation.seq().next();
        let envelope = Envelope { v: FORMAT_VERSION, seq, epoch: self.epoch, at: now(), event };
        self.conversation.apply(&envelope)?;
        self.unsent.push(Arc::new(envelope));
        Ok(seq)
    }

    /// Does `action` once the fact at `seq` is durable: at once, if it is.
    pub(crate) fn when_durable(&mut self, seq: Seq, action: impl FnOnce() + Send + 'static) {
        if self.durable >= seq {
            action();
        } else {
            self.wait(seq, Waiting::Patient(Box::new(action)));
        }
    }

    /// Tells `None` once the fact at `seq` is durable, or why that cannot be now: nobody is kept waiting for a disk that
    /// may be full for days. A store that fails once is mostly on its way back, so only who comes then is told.
    pub(crate) fn tell_when_durable(&mut self, seq: Seq, tell: impl FnOnce(Option<&str>) + Send + 'static) {
        if self.durable >= seq {
            tell(None);
        } else if let Some(reason) = self.parked() {
            tell(Some(reason));
        } else {
            self.wait(seq, Waiting::Told(Box::new(tell)));
        }
    }

    /// In the order of the facts, and of those who wait for one in the order in which they came.
    fn wait(&mut self, seq: Seq, waiting: Waiting) {
        let place = self.waiting.partition_point(|(earlier, _)| *earlier <= seq);
        self.waiting.insert(place, (seq, waiting));
    }

    /// The append that is due, unless one is under way, or waits to be tried once more.
    pub(crate) fn take_append(&mut self, session: &SessionName) -> Option<Append> {
        if !self.in_flight.is_empty() || self.unsent.is_empty() {
            return None;
        }
        self.in_flight = std::mem::take(&mut self.unsent);
        self.next_view = View::of(&self.conversation);
        self.append_in_flight(session)
    }

    /// The append under way once more, after it was not written.
    pub(crate) fn retry_append(&mut self, session: &SessionName) -> Option<Append> {
        if let Some(failure) = &mut self.failure {
            failure.tried_again = true;
        }
        self.append_in_flight(session)
    }

    fn append_in_flight(&self, session: &SessionName) -> Option<Append> {
        let expected = self.in_flight.first()?.seq;
        Some(Append { session: session.clone(), epoch: self.epoch, expected, events: self.in_flight.clone() })
    }

    /// The range of the append under way: its first position, and the one after its last.
    pub(crate) fn in_flight(&self) -> Option<(Epoch, Seq, Seq)> {
        Some((self.epoch, self.in_flight.first()?.seq, self.in_flight.last()?.seq.next()))
    }

    /// The append under way is written: returns its facts, and the actions that waited for them.
    pub(crate) fn written(&mut self) -> (Vec<Arc<Envelope>>, Vec<Action>) {
        let written = std::mem::take(&mut self.in_flight);
        if let Some(last) = written.last() {
            self.durable = last.seq;
            self.view = std::mem::take(&mut self.next_view);
        }
        self.failure = None;
        let mut due = Vec::new();
        while self.waiting.front().is_some_and(|(seq, _)| *seq <= self.durable) {
            due.extend(self.waiting.pop_front().map(|(_, waiting)| match waiting {
                Waiting::Patient(action) => action,
                Waiting::Told(tell) => Box::new(move || tell(None)),
            }));
        }
        (written, due)
    }

    /// The store could not take the append: says how long to wait before the next try.
    pub(crate) fn park(&mut self, reason: String) -> Duration {
        let before = self.failure.as_ref().map_or(0, |failure| failure.times);
        if before > 0 {
            self.tell_parked(&reason);
        }
        let times = before.saturating_add(1);
        self.failure = Some(Failure { reason, times, tried_again: false });
        JournalError::BACKOFF.after(times)
    }

    fn tell_parked(&mut self, reason: &str) {
        for (seq, waiting) in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Told(tell) => tell(Some(reason)),
                patient @ Waiting::Patient(_) => self.waiting.push_back((seq, patient)),
            }
        }
    }
}

/// Wall time.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Why no store will take the event, when that is so. Encoding it to know is only worth it for a very large one.
pub(crate) fn unstorable(event: &Event) -> Option<String> {
    const SURELY: usize = MAX_EVENT_BYTES / 16;
    if event.is_too_deep() {
        return Some(format!("it is nested deeper than {MAX_LEVELS} levels"));
    }
    if event.rough_size() < SURELY {
        return None;
    }
    let bytes = encoded_len(event);
    (bytes > MAX_EVENT_BYTES).then(|| format!("it has {bytes} bytes, and may have {MAX_EVENT_BYTES}"))
}

/// How many bytes it has as it stands in the log.
pub(crate) fn encoded_len(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |encoded| encoded.len())
}
