//! Faults by plan: exact ones ("the third append is not written") and drawn ones, all of them from one seed.
//!
//! A [`FaultPlan`] wraps providers, tools and the journal of a system; each asks the plan before it does its work. What the
//! plan did is told ([`FaultPlan::told`]), so that a failing test can say what happened to it; and a plan of the same seed
//! that is asked the same questions in the same order gives the same answers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ergane_core::{Seq, SessionName};
use ergane_journal::{Journal, JournalError};
use ergane_provider::Provider;
use ergane_tool::Tool;

use super::journal::FaultyJournal;
use super::provider::FaultyProvider;
use super::tool::FaultyTool;

/// What a provider does instead of answering.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderFault {
    /// A piece of text is shown, and then the answer is cut off.
    Cut,
    /// 429, with this hint.
    RateLimited(Duration),
    /// 529, without a hint.
    Overloaded,
    /// Silence until the idle timeout of the call.
    Hang,
    /// A panic in the provider's code.
    Panic,
    /// It cannot be reached for good: an error that is not retried.
    Refused,
}

/// What a tool does instead of its work, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolFault {
    /// It fails and has done nothing.
    Fail,
    /// It panics and has done nothing.
    Panic,
    /// It panics when it has done its work: nobody learns of it.
    PanicAfter,
    /// It hangs and has done nothing, until it is ended.
    Hang,
    /// It hangs when it has done its work.
    HangAfter,
}

/// What a store does with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalFault {
    /// The disk is full: nothing is written, and that is told.
    NotWritten,
    /// Nothing is written, and nobody knows whether it was.
    Lost,
    /// It is written, and nobody knows whether it was: a sync whose answer was an error.
    Unsure,
    /// The first half of the commit's appends is written and the rest is not, and nobody knows which.
    Torn,
    /// It is written after this time, which blocks the writer as a slow disk does.
    Delay(Duration),
    /// It is written, and its last row is damaged afterwards: who reads the session is told so.
    Corrupt,
}

/// How often what goes wrong that was not planned to the letter: a probability a question, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Of model calls. 0.15 by default.
    pub provider: f64,
    /// Of tool calls. 0.1 by default.
    pub tool: f64,
    /// Of commits. 0.05 by default. [`JournalFault::Corrupt`] and [`JournalFault::Delay`] are never drawn: the one ends a
    /// session for good, the other blocks a thread.
    pub journal: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { provider: 0.15, tool: 0.1, journal: 0.05 }
    }
}

/// A plan. Clones are the same plan.
///
/// ```
/// use std::sync::Arc;
/// use ergane_journal::Memory;
/// use ergane_provider::{Scripted, ScriptedReply};
/// use ergane_testkit::{FaultPlan, JournalFault, ProviderFault};
///
/// let plan = FaultPlan::none()
///     .provider_at(1, ProviderFault::Cut)
///     .append_at(3, JournalFault::Unsure);
/// let provider = plan.provider(Scripted::replies([ScriptedReply::text("hello")]));
/// let journal = plan.journal(Arc::new(Memory::new()));
/// // … run something with them, then look at what happened:
/// assert!(plan.told().is_empty());
/// # drop((provider, journal));
/// ```
#[derive(Clone)]
pub struct FaultPlan(Arc<Mutex<State>>);

struct State {
    seed: Option<u64>,
    random: Random,
    rates: Rates,
    provider: Exact<ProviderFault>,
    tool: Exact<ToolFault>,
    append: Exact<JournalFault>,
    locked: bool,
    lost: Option<JournalError>,
    held: bool,
    unread: Option<JournalError>,
    no_snapshots: bool,
    before_deletion: Option<BeforeDeletion>,
    /// The most milliseconds that a commit or a read takes; 0 of a store that is as it is.
    slowness: u64,
    told: VecDeque<String>,
}

/// What happens just before a session is deleted.
type BeforeDeletion = Box<dyn FnOnce(&SessionName) + Send>;

/// The faults that are planned for one place, and how often it was asked.
struct Exact<F> {
    asked: u32,
    at: Vec<(u32, F)>,
    from_now: Option<F>,
}

impl<F> Default for Exact<F> {
    fn default() -> Self {
        Self { asked: 0, at: Vec::new(), from_now: None }
    }
}

/// So many of the last things that it did are told.
const TOLD: usize = 1000;

impl FaultPlan {
    /// Nothing goes wrong but what is planned to the letter.
    pub fn none() -> Self {
        Self::new(None, Rates { provider: 0.0, tool: 0.0, journal: 0.0 })
    }

    /// Faults are drawn from a seed, at the default [`Rates`].
    pub fn seeded(seed: u64) -> Self {
        Self::new(Some(seed), Rates::default())
    }

    fn new(seed: Option<u64>, rates: Rates) -> Self {
        Self(Arc::new(Mutex::new(State {
            seed,
            random: Random(seed.unwrap_or_default()),
            rates,
            provider: Exact::default(),
            tool: Exact::default(),
            append: Exact::default(),
            locked: false,
            lost: None,
            held: false,
            unread: None,
            no_snapshots: false,
            before_deletion: None,
            slowness: 0,
            told: VecDeque::new(),
        })))
    }

    /// At other rates.
    #[must_use]
    pub fn rates(self, rates: Rates) -> Self {
        self.lock().rates = rates;
        self
    }

    /// The model call of this number, from 1, goes so.
    #[must_use]
    pub fn provider_at(self, call: u32, fault: ProviderFault) -> Self {
        self.lock().provider.at.push((call, fault));
        self
    }

    /// The tool call of this number, from 1, goes so.
    #[must_use]
    pub fn tool_at(self, call: u32, fault: ToolFault) -> Self {
        self.lock().tool.at.push((call, fault));
        self
    }

    /// The commit of this number, from 1, goes so.
    #[must_use]
    pub fn append_at(self, commit: u32, fault: JournalFault) -> Self {
        self.lock().append.at.push((commit, fault));
        self
    }

    /// Every commit from now on goes so, until [`heal`](Self::heal): a disk that is full, or gone.
    pub fn break_journal(&self, fault: JournalFault) {
        self.lock().append.from_now = Some(fault);
    }

    /// The next commit goes so, whatever else is planned for it.
    pub fn break_next_append(&self, fault: JournalFault) {
        let mut state = self.lock();
        let next = state.append.asked.saturating_add(1);
        // The first plan for a number is the one that is carried out.
        state.append.at.insert(0, (next, fault));
    }

    /// Every commit and every read takes a drawn time from now on, from a millisecond to `most`, by tokio's clock: on one that
    /// stands still a slow disk costs nothing, and is the same every time. (What blocks a thread is
    /// [`JournalFault::Delay`].)
    pub fn slow_journal(&self, most: Duration) {
        self.lock().slowness = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
    }

    /// No session can be opened from now on, until [`heal`](Self::heal): another process has locked the journal. What is
    /// open stays open.
    pub fn lock_journal(&self) {
        self.lock().locked = true;
    }

    /// Whether there is a session, and where it stands, cannot be told from now on, until [`heal`](Self::heal): that is the error.
    pub fn break_positions(&self, error: JournalError) {
        self.lock().lost = Some(error);
    }

    /// No session is given up from now on, until [`heal`](Self::heal): its owner cannot be cleared.
    pub fn hold_sessions(&self) {
        self.lock().held = true;
    }

    /// No facts can be read from now on, until [`heal`](Self::heal): that is the error. What needs no reading goes on.
    pub fn break_reads(&self, error: JournalError) {
        self.lock().unread = Some(error);
    }

    /// No snapshot is made from now on, until [`heal`](Self::heal): the store is away ([`JournalError::Away`]). What is
    /// read and written goes on.
    pub fn break_snapshots(&self) {
        self.lock().no_snapshots = true;
    }

    /// Does this just before the next deletion reaches the store: what somebody else does in between. It may not ask this
    /// journal through its port, which waits for the deletion.
    pub fn before_deletion(&self, then: impl FnOnce(&SessionName) + Send + 'static) {
        self.lock().before_deletion = Some(Box::new(then));
    }

    /// Nothing goes wrong from now on but what is planned to the letter.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.append.from_now = None;
        state.locked = false;
        state.lost = None;
        state.held = false;
        state.unread = None;
        state.no_snapshots = false;
        state.rates = Rates { provider: 0.0, tool: 0.0, journal: 0.0 };
    }

    /// What it did, the last 1,000 things, in order. Also the end of each snapshot that a store behind it was asked for, of
    /// those that went well too: `snapshot of NAME: UPTO`, or `none` when it could not be made.
    pub fn told(&self) -> Vec<String> {
        self.lock().told.iter().cloned().collect()
    }

    /// A number from 0 to below `below`, from the plan's seed: for what a test draws itself. 0 when `below` is 0.
    pub fn draw(&self, below: u64) -> u64 {
        self.lock().random.below(below)
    }

    /// The provider, by this plan.
    pub fn provider<P: Provider>(&self, provider: P) -> impl Provider + use<P> {
        FaultyProvider::new(Arc::new(provider), self.clone())
    }

    /// The tool, by this plan.
    pub fn tool(&self, tool: Arc<dyn Tool>) -> Arc<dyn Tool> {
        Arc::new(FaultyTool::new(tool, self.clone()))
    }

    /// The store, by this plan.
    pub fn journal(&self, store: Arc<dyn Journal>) -> FaultyJournal {
        FaultyJournal::new(store, self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_provider(&self) -> Option<ProviderFault> {
        let mut state = self.lock();
        let State { provider, random, rates, .. } = &mut *state;
        let (number, planned) = provider.next();
        let fault = planned.or_else(|| {
            random.chance(rates.provider).then(|| match random.below(5) {
                0 => ProviderFault::Cut,
                1 => ProviderFault::RateLimited(Duration::from_millis(100 + random.below(2000))),
                2 => ProviderFault::Overloaded,
                3 => ProviderFault::Hang,
                _ => ProviderFault::Panic,
            })
        })?;
        state.tell(format!("model call {number}: {fault:?}"));
        Some(fault)
    }

    pub(super) fn next_tool(&self, name: &str) -> Option<ToolFault> {
        let mut state = self.lock();
        let State { tool, random, rates, .. } = &mut *state;
        let (number, planned) = tool.next();
        let fault = planned.or_else(|| {
            random.chance(rates.tool).then(|| match random.below(5) {
                0 => ToolFault::Fail,
                1 => ToolFault::Panic,
                2 => ToolFault::PanicAfter,
                3 => ToolFault::Hang,
                _ => ToolFault::HangAfter,
            })
        })?;
        state.tell(format!("tool call {number}, {name}: {fault:?}"));
        Some(fault)
    }

    pub(super) fn next_append(&self) -> Option<JournalFault> {
        let mut state = self.lock();
        let State { append, random, rates, .. } = &mut *state;
        let (number, planned) = append.next();
        let fault = planned.or_else(|| {
            random.chance(rates.journal).then(|| match random.below(4) {
                0 => JournalFault::NotWritten,
                1 => JournalFault::Lost,
                2 => JournalFault::Unsure,
                _ => JournalFault::Torn,
            })
        })?;
        state.tell(format!("commit {number}: {fault:?}"));
        Some(fault)
    }

    /// Whether these sessions cannot be opened, since the journal is locked.
    pub(super) fn is_locked(&self, sessions: &[SessionName]) -> bool {
        let mut state = self.lock();
        if state.locked {
            sessions.iter().for_each(|session| state.tell(format!("opening of {session}: locked")));
        }
        state.locked
    }

    /// Why this session's facts cannot be read.
    pub(super) fn unread(&self, session: &SessionName) -> Option<JournalError> {
        let mut state = self.lock();
        let error = state.unread.clone()?;
        state.tell(format!("reading of {session}: {error}"));
        Some(error)
    }

    /// Why it cannot be told where this session stands.
    pub(super) fn lost(&self, session: &SessionName) -> Option<JournalError> {
        let mut state = self.lock();
        let error = state.lost.clone()?;
        state.tell(format!("position of {session}: {error}"));
        Some(error)
    }

    /// Whether this session is not given up.
    pub(super) fn is_held(&self, session: &SessionName) -> bool {
        let mut state = self.lock();
        if state.held {
            state.tell(format!("release of {session}: away"));
        }
        state.held
    }

    pub(super) fn about_to_delete(&self, session: &SessionName) {
        // Not under the lock: it may ask the plan.
        let then = self.lock().before_deletion.take();
        if let Some(then) = then {
            self.lock().tell(format!("deletion of {session}: not before something else"));
            then(session);
        }
    }

    /// Makes a snapshot of this session, unless none are made, and tells how far it reaches.
    pub(super) fn snapshot(
        &self,
        session: &SessionName,
        make: impl FnOnce() -> Result<Seq, JournalError>,
    ) -> Result<Seq, JournalError> {
        // Not under the lock: it takes its time.
        let broken = self.lock().no_snapshots;
        let made = if broken { Err(JournalError::Away) } else { make() };
        let upto = made.as_ref().map_or_else(|_| "none".to_owned(), Seq::to_string);
        self.lock().tell(format!("snapshot of {session}: {upto}"));
        made
    }

    /// How long the next commit or read takes, where they take their time.
    pub(super) fn next_delay(&self) -> Option<Duration> {
        let mut state = self.lock();
        let most = state.slowness;
        (most > 0).then(|| Duration::from_millis(1 + state.random.below(most)))
    }

    /// Whether a commit or a read takes its time, or a commit may be told to block.
    pub(super) fn may_delay(&self) -> bool {
        let state = self.lock();
        let delays = |fault: &JournalFault| matches!(fault, JournalFault::Delay(_));
        state.slowness > 0
            || state.append.at.iter().any(|(_, fault)| delays(fault))
            || state.append.from_now.as_ref().is_some_and(delays)
    }
}

impl State {
    fn tell(&mut self, what: String) {
        if self.told.len() == TOLD {
            self.told.pop_front();
        }
        self.told.push_back(what);
    }
}

impl<F: Clone> Exact<F> {
    /// The number of this question, and what is planned for it.
    fn next(&mut self) -> (u32, Option<F>) {
        self.asked = self.asked.saturating_add(1);
        let planned =
            self.at.iter().find(|(number, _)| *number == self.asked).map(|(_, fault)| fault.clone());
        (self.asked, planned.or_else(|| self.from_now.clone()))
    }
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("FaultPlan")
            .field("seed", &state.seed)
            .field("told", &state.told)
            .finish_non_exhaustive()
    }
}

/// SplitMix64: a few lines, the same everywhere, and good enough to draw faults.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, below: u64) -> u64 {
        self.next().checked_rem(below).unwrap_or_default()
    }

    fn chance(&mut self, probability: f64) -> bool {
        // 53 bits, as many as a double has.
        ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}
