//! A subscription: a snapshot, then every fact once and in order, over any number of restarts.
//!
//! The session sends into a bounded channel and never waits. So a slow reader misses things, and this side makes good
//! what must not be missed: positions have no gaps, and the durable head is known, so a missing fact is seen and read
//! from the journal. When the session's actor ends, this side attaches to its successor at the same position.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ergane_core::{Envelope, Event, Seq, TurnId};
use ergane_otp::Backoff;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::error::SessionError;
use crate::event::SessionEvent;
use crate::handle::Session;
use crate::message::{Attached, Item, Live, Reply, SessionMsg, Snapshot};
use crate::reach::QUICK;

/// So many items may wait for a slow reader.
const BUFFER: usize = 1024;

/// So many facts are read at once when some were missed.
const PAGE: u64 = 512;

/// How long the next try waits after errors.
const PAUSES: Backoff = Backoff { base: Duration::from_millis(10), max: Duration::from_secs(1) };

/// A subscription to a session. See [`Session::subscribe`].
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// let mut events = alice.subscribe(None).await?;
/// alice.send_message("hello").await?;
/// alice.stop().await?;
/// let mut finals = Vec::new();
/// while let Some(event) = events.next().await {
///     if let SessionEvent::Reply { text, .. } = event? {
///         finals.push(text);
///     }
/// }
/// assert_eq!(finals.len(), 1, "the end of the session ends it, and all that happened was told");
///
/// // Whoever kept the cursor goes on from there, in another process too.
/// let later = alice.subscribe(Some(events.cursor())).await?;
/// assert_eq!(later.snapshot().messages.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Subscription {
    session: Session,
    snapshot: Snapshot,
    items: mpsc::Receiver<Item>,
    head: watch::Receiver<Seq>,
    /// How many deltas did not fit and were not told of yet.
    lost: Arc<AtomicU64>,
    /// The last fact of which the events are told or wait in `ready`.
    told: Seq,
    turn: Option<TurnId>,
    /// The turn of which pieces of an answer were told that is not a fact yet.
    shown: Option<TurnId>,
    ready: VecDeque<Ready>,
    /// What happened after a fact that was not told yet.
    waiting: Option<(Option<TurnId>, Live, Seq)>,
    trouble: Trouble,
}

/// What the errors since the last event mean for the next try.
#[derive(Debug, Default)]
struct Trouble {
    errors: u32,
    /// No try before then.
    until: Option<Instant>,
    /// There is no use in trying.
    for_good: bool,
}

impl Trouble {
    fn after(&mut self, error: SessionError) -> SessionError {
        self.errors = self.errors.saturating_add(1);
        self.until = Some(Instant::now() + PAUSES.after(self.errors));
        self.for_good = !error.may_pass();
        error
    }

    /// Dropping the future forgets nothing of the pause.
    async fn pause(&mut self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
            self.until = None;
        }
    }
}

/// An event that waits to be told, with its turn, and the fact that it is of.
#[derive(Debug)]
struct Ready {
    turn: Option<TurnId>,
    event: SessionEvent,
    fact: Option<Seq>,
}

impl Subscription {
    pub(crate) async fn open(session: Session, cursor: Option<Seq>) -> Result<Self, SessionError> {
        let parts = attach(&session).await?;
        Ok(Self::of(session, cursor, parts))
    }

    /// From now on; a journal that is away is waited for until then, and `held_up` is told of it.
    pub(crate) async fn open_patiently(
        session: Session,
        until: Instant,
        held_up: impl Fn(&SessionError),
    ) -> Result<Self, SessionError> {
        let (sink, items) = mpsc::channel(BUFFER);
        let attached = session.request_patiently(until, held_up, subscribe(&sink)).await?;
        Ok(Self::of(session, None, (attached, items)))
    }

    fn of(session: Session, cursor: Option<Seq>, (attached, items): Parts) -> Self {
        let Attached { snapshot, head, lost } = attached;
        let told = cursor.unwrap_or(snapshot.status.durable);
        // From an older position the turn becomes known with its `TurnStarted`.
        let turn = if cursor.is_none() { snapshot.status.turn } else { None };
        let shown = snapshot.status.turn.filter(|_| !snapshot.partial.is_empty());
        Self {
            session,
            snapshot,
            items,
            head,
            lost,
            told,
            turn,
            shown,
            ready: VecDeque::new(),
            waiting: None,
            trouble: Trouble::default(),
        }
    }

    /// What the session was when the subscription began.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let events = alice.subscribe(None).await?;
    /// assert_eq!(events.snapshot().status.activity, Activity::Idle);
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The position of the last fact of which everything was told: the cursor from which a later subscription goes on. A
    /// fact may be several events; while some of them are still to come, a later subscription tells all of them.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let mut events = alice.subscribe(None).await?;
    /// let before = events.cursor();
    /// alice.send_message("hello").await?;
    /// assert_eq!(events.cursor(), before, "what was not read was not told");
    /// while let Some(event) = events.next().await {
    ///     if let SessionEvent::Done { seq, .. } = event? {
    ///         assert_eq!(events.cursor(), seq);
    ///         break;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn cursor(&self) -> Seq {
        let waits = self.ready.iter().find_map(|ready| ready.fact);
        waits.map_or(self.told, |fact| Seq(fact.0.saturating_sub(1)))
    }

    /// The next event; `None` when the session has ended for good (stopped, or quarantined) and everything was told, and after
    /// an error that no further try can mend. Dropping the future loses nothing.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let mut events = alice.subscribe(None).await?;
    /// alice.send_message("hello").await?;
    /// alice.stop().await?;
    /// let mut turns = 0;
    /// while let Some(event) = events.next().await {
    ///     turns += u32::from(matches!(event?, SessionEvent::TurnStarted { .. }));
    /// }
    /// assert_eq!(turns, 1); // and `None`: nothing more comes of a session that was stopped
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A [`SessionError`] when missed facts cannot be read, or the session cannot be attached to again. Where that may pass, such
    /// as with a locked journal, the next call tries again, and waits before it: 10 ms, and twice as long after each further
    /// error, up to a second. So who takes no note of errors goes round in no hot circle. Where it may not (the log is damaged,
    /// the session was deleted), the next call is the end.
    pub async fn next(&mut self) -> Option<Result<SessionEvent, SessionError>> {
        Some(self.next_of_turn().await?.map(|(_, event)| event))
    }

    /// The next event, and the turn it belongs to.
    pub(crate) async fn next_of_turn(
        &mut self,
    ) -> Option<Result<(Option<TurnId>, SessionEvent), SessionError>> {
        loop {
            if let Some(Ready { turn, event, .. }) = self.ready.pop_front() {
                self.trouble.errors = 0;
                return Some(Ok((turn, event)));
            }
            if self.trouble.for_good {
                return None;
            }
            self.trouble.pause().await;
            // Kept while its facts are read, so that a dropped future loses nothing.
            if let Some((_, _, after)) = &self.waiting {
                if let Err(error) = self.read_to(*after).await {
                    return Some(Err(self.trouble.after(error)));
                }
                if let Some((turn, live, _)) = self.waiting.take() {
                    self.tell_live(turn, live);
                }
                continue;
            }
            // All is read that fitted; what did not is told, also when nothing more comes.
            if self.items.is_empty() && self.tell_lost() {
                continue;
            }
            let step = tokio::select! {
                biased;
                item = self.items.recv() => match item {
                    Some(item) => self.take(item).await,
                    None => match self.attach_again().await {
                        Ok(true) => Ok(()),
                        Ok(false) => {
                            let caught_up = self.catch_up_with_the_journal().await;
                            match caught_up {
                                Ok(()) if self.ready.is_empty() => return None,
                                other => other,
                            }
                        }
                        Err(error) => Err(error),
                    },
                },
                // The head moves on after what it is of was sent. So what came since the channel was looked at comes first, and
                // what was shown before a fact is told before it; only what is not there was missed.
                () = behind(&mut self.head, self.told) => match self.items.is_empty() {
                    true => {
                        let head = *self.head.borrow();
                        self.read_to(head).await
                    }
                    false => Ok(()),
                },
            };
            if let Err(error) = step {
                return Some(Err(self.trouble.after(error)));
            }
        }
    }

    async fn take(&mut self, item: Item) -> Result<(), SessionError> {
        match item {
            Item::Fact(fact) if fact.seq <= self.told => {}
            Item::Fact(fact) => {
                if fact.seq > self.told.next() {
                    self.read_to(Seq(fact.seq.0.saturating_sub(1))).await?;
                }
                self.tell(&fact);
            }
            // A store that takes nothing may give nothing either: this does not wait for what was left out.
            Item::Live(turn, live @ Live::Parked { .. }, _) => self.tell_live(turn, live),
            // What was left out because there was no room comes before what happened after it.
            Item::Live(turn, live, after) if after > self.told => self.waiting = Some((turn, live, after)),
            Item::Live(turn, live, _) => self.tell_live(turn, live),
            Item::Lagged(missed) => self.live(self.turn, SessionEvent::Lagged { missed }),
        }
        Ok(())
    }

    /// Tells what is no fact.
    fn live(&mut self, turn: Option<TurnId>, event: SessionEvent) {
        self.ready.push_back(Ready { turn, event, fact: None });
    }

    /// Tells how many deltas were lost, if some were.
    fn tell_lost(&mut self) -> bool {
        let missed = self.lost.swap(0, Ordering::AcqRel);
        if missed > 0 {
            self.live(self.turn, SessionEvent::Lagged { missed });
        }
        missed > 0
    }

    fn tell_live(&mut self, turn: Option<TurnId>, live: Live) {
        match &live {
            Live::Content(_) | Live::Thinking(_) => self.shown = turn,
            Live::StreamReset => self.shown = None,
            _ => {}
        }
        self.live(turn, SessionEvent::of_live(live));
    }

    fn tell(&mut self, fact: &Envelope) {
        if fact.seq != self.told.next() {
            return;
        }
        self.told = fact.seq;
        match &fact.event {
            Event::TurnStarted { .. } => self.turn = Some(TurnId(fact.seq.0)),
            Event::ModelReplied { .. } => self.shown = None,
            // Of a subscription that began in mid-turn.
            Event::ToolFinished { result, .. } => self.turn = Some(result.call.turn),
            _ => {}
        }
        if let Event::TurnEnded { turn, .. } = &fact.event {
            (self.turn, self.shown) = (Some(*turn), None);
        }
        let turn = self.turn;
        let of = |event| Ready { turn, event, fact: Some(fact.seq) };
        self.ready.extend(SessionEvent::of_fact(fact).into_iter().map(of));
        if matches!(fact.event, Event::TurnEnded { .. }) {
            self.turn = None;
        }
    }

    /// Reads the facts after the last told up to `upto` from the journal.
    async fn read_to(&mut self, upto: Seq) -> Result<(), SessionError> {
        while self.told < upto {
            let end = Seq(upto.0.min(self.told.0.saturating_add(PAGE)));
            let facts: Vec<Arc<Envelope>> =
                self.session.port().load(self.session.name(), self.told, end.next()).await?;
            if facts.is_empty() {
                return Ok(());
            }
            for fact in facts {
                self.tell(&fact);
            }
        }
        Ok(())
    }

    async fn catch_up_with_the_journal(&mut self) -> Result<(), SessionError> {
        match self.session.port().position(self.session.name()).await? {
            Some(position) => self.read_to(Seq(position.next_seq.0.saturating_sub(1))).await,
            None => Ok(()),
        }
    }

    /// Attaches to the session's next incarnation, if it has one. One that cannot begin yet, because of what is still at work of
    /// the last, is an error that may pass.
    async fn attach_again(&mut self) -> Result<bool, SessionError> {
        if !self.session.will_live().await? {
            return Ok(false);
        }
        self.tell_lost();
        let (attached, items) = match attach(&self.session).await {
            Ok(parts) => parts,
            Err(SessionError::Stopped(_) | SessionError::Quarantined { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        (self.items, self.head, self.lost) = (items, attached.head, attached.lost);
        // What its predecessor had shown of an answer died with it, whatever has become of the turn since. (If the
        // answer did become a fact, that is read now and says the same once more.)
        if let Some(turn) = self.shown.take() {
            self.live(Some(turn), SessionEvent::StreamReset);
        }
        Ok(true)
    }
}

/// Waits until the durable head is past `told`. Never, when the session has ended: its channel tells that.
async fn behind(head: &mut watch::Receiver<Seq>, told: Seq) {
    if head.wait_for(|head| *head > told).await.is_err() {
        std::future::pending::<()>().await;
    }
}

type Parts = (Attached, mpsc::Receiver<Item>);

async fn attach(session: &Session) -> Result<Parts, SessionError> {
    let (sink, items) = mpsc::channel(BUFFER);
    Ok((session.request(QUICK, subscribe(&sink)).await?, items))
}

fn subscribe(sink: &mpsc::Sender<Item>) -> impl Fn(Reply<Attached>) -> SessionMsg {
    move |reply| SessionMsg::Subscribe { sink: sink.clone(), reply }
}
