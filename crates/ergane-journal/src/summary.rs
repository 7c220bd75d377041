//! What a list shows of a session, kept up to date by every append.
//!
//! It is a fold of the events like any other, but a store keeps its result beside them and changes both in one
//! transaction: so a page of a list costs a page, however long the histories are, and cannot disagree with them.

use ergane_core::{Cost, Envelope, Epoch, Event, Seq, SessionName, Spent, Text, Timestamp, TurnId, Usage};

/// A session as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionSummary {
    /// Its name.
    pub name: SessionName,
    /// The epoch of its last opening.
    pub epoch: Epoch,
    /// The seq of the next event.
    pub next_seq: Seq,
    /// The process that owns it now, if that process lives.
    pub owner_pid: Option<u32>,
    /// The turn that has no end yet.
    pub open_turn: Option<TurnId>,
    /// How many turns were started.
    pub turns: u32,
    /// The time of its first event.
    pub created_at: Timestamp,
    /// The time of its last event.
    pub last_activity: Timestamp,
    /// The tokens of all its model calls, without those that were written to a provider's cache: a store keeps only sums
    /// that a list shows.
    pub usage: Usage,
    /// The cost of all its model calls.
    pub cost: Cost,
    /// The provider in its settings.
    pub provider: Option<Text>,
    /// The model in its settings.
    pub model: Option<Text>,
    /// Where it stands.
    pub status: StoredStatus,
}

/// Where a stored session stands, whether it runs now or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoredStatus {
    /// All its turns have ended and nothing waits.
    Idle,
    /// A turn is open: it runs, or a crash left it to be finished.
    OpenTurn,
    /// A turn is open, and somebody must decide about a call of it.
    AwaitingApproval,
    /// A send was accepted whose turn has not begun.
    Waiting,
}

impl StoredStatus {
    fn of(open_turn: Option<TurnId>, awaiting: bool, waiting: bool) -> Self {
        match (open_turn, waiting) {
            (Some(_), _) if awaiting => Self::AwaitingApproval,
            (Some(_), _) => Self::OpenTurn,
            (None, true) => Self::Waiting,
            (None, false) => Self::Idle,
        }
    }

    /// The status in snake_case, for JSON and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::OpenTurn => "open_turn",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Waiting => "waiting",
        }
    }
}

/// Whether somebody must decide about a call, as the events of the open turn tell: more was asked than decided, and nobody
/// asked for the turn's end, which closes all calls.
pub(crate) fn is_awaiting<'a>(of_turn: impl Iterator<Item = &'a Event>) -> bool {
    let (mut asked, mut decided) = (0_usize, 0_usize);
    for event in of_turn {
        match event {
            Event::ApprovalRequested { .. } => asked += 1,
            Event::ApprovalDecided { .. } => decided += 1,
            Event::InterruptRequested { .. } => return false,
            _ => {}
        }
    }
    asked > decided
}

/// The part of a summary that is folded from events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The newest format version among its events.
    pub(crate) fmt: u32,
    pub(crate) open_turn: Option<TurnId>,
    pub(crate) turns: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) last_activity: Timestamp,
    pub(crate) usage: Usage,
    pub(crate) cost: Cost,
    pub(crate) provider: Option<Text>,
    pub(crate) model: Option<Text>,
}

impl Tally {
    pub(crate) fn apply(&mut self, envelope: &Envelope) {
        if envelope.seq == Seq(1) {
            self.created_at = envelope.at;
        }
        self.last_activity = envelope.at;
        self.fmt = self.fmt.max(envelope.v);
        match &envelope.event {
            Event::SessionStarted { settings, .. } => {
                self.provider = Some(settings.provider.clone());
                self.model = Some(settings.model.clone());
            }
            Event::SettingsChanged { patch, .. } => {
                self.provider = patch.provider.clone().or(self.provider.take());
                self.model = patch.model.clone().or(self.model.take());
            }
            Event::TurnStarted { .. } => {
                self.open_turn = Some(TurnId(envelope.seq.0));
                self.turns = self.turns.saturating_add(1);
            }
            Event::TurnEnded { .. } => self.open_turn = None,
            _ => {}
        }
        self.count(envelope.event.spent());
    }

    fn count(&mut self, Spent { usage, cost }: Spent) {
        // What was written to a provider's cache has no column in the table of sessions; the facts have it.
        let counted =
            Usage { cache_write_tokens: 0, cache_write_long_tokens: 0, ..usage.unwrap_or_default() };
        self.usage += counted;
        self.cost += cost;
    }

    pub(crate) fn summary(
        self,
        name: SessionName,
        epoch: Epoch,
        next_seq: Seq,
        owner_pid: Option<u32>,
        awaiting: bool,
        waiting: bool,
    ) -> SessionSummary {
        SessionSummary {
            name,
            epoch,
            next_seq,
            owner_pid,
            open_turn: self.open_turn,
            turns: self.turns,
            created_at: self.created_at,
            last_activity: self.last_activity,
            usage: self.usage,
            cost: self.cost,
            provider: self.provider,
            model: self.model,
            status: StoredStatus::of(self.open_turn, awaiting, waiting),
        }
    }
}
