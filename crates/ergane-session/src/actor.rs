//! The session actor: a list of messages, and what each changes.
//!
//! # Why it never waits
//!
//! The session is the one that everybody asks: callers, watchers, people who want to interrupt. So it does nothing but
//! fold facts and hand out work: the loop asks the model, tool actors run tools, a task loads the log, the journal
//! writes. Each of them answers with a message; only what is merely shown goes straight to those who listen
//! (`subscribers.rs`). Every handler ends with [`State::settle`], which asks the kernel what
//! must happen now and submits what was accepted; that is the whole of the control flow, live and after a crash.

use std::collections::VecDeque;
use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use ergane_core::{Conversation, Durability, Envelope, Epoch, Event, FoldError, Seq, SessionName, Text};
use ergane_journal::{AppendError, JournalError, JournalPort};
use ergane_otp::{IdleTimer, Promise, Scope, StartContext};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::mpsc;

use crate::context::SessionContext;
use crate::drive::Drive;
use crate::error::{SessionError, is_away};
use crate::facts::Facts;
use crate::message::{Internal, Item, Live, Reply, SessionMsg};
use crate::reach::FAILURES;
use crate::snapshots::Snapshots;
use crate::subscribers::Subscribers;
use crate::waiters::{Waiters, answer};

/// So many requests wait for a log that is being loaded; more are refused.
const STASH: usize = 256;

/// A log of more facts is folded off the runtime's workers, where others want to run, and while it is read.
const LONG: u64 = 1000;

/// The session actor.
#[derive(Debug)]
pub struct SessionActor;

/// What it needs to start.
#[derive(Debug)]
pub struct SessionArgs {
    pub(crate) name: SessionName,
    pub(crate) durability: Durability,
    pub(crate) context: SessionContext,
    pub(crate) start: StartContext,
}

/// Where it stands in its own life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The log is being loaded; the reason says why it takes long.
    Loading { delayed: Option<JournalError> },
    /// It works.
    Live,
    /// Its log is damaged: it answers that, and nothing else.
    Damaged(SessionError),
    /// It brings everything to its end, and then ends.
    Stopping(Vec<Reply<()>>),
    /// Everything is at its end; the journal is told.
    Leaving(Vec<Reply<()>>),
    /// It had nothing to do for long: it ends, and who asks next starts its successor.
    Passivating,
}

/// The state of a session.
#[derive(Debug)]
pub struct State {
    pub(crate) name: SessionName,
    pub(crate) me: ActorRef<SessionMsg>,
    pub(crate) context: SessionContext,
    pub(crate) durability: Durability,
    pub(crate) scope: Scope,
    pub(crate) full_name: String,
    pub(crate) phase: Phase,
    pub(crate) facts: Facts,
    pub(crate) drive: Drive,
    pub(crate) waiters: Waiters,
    pub(crate) subscribers: Subscribers,
    /// Why nothing goes on, as it was told to those who listen; until it does.
    pub(crate) told_parked: Option<Text>,
    pub(crate) idle: Option<IdleTimer>,
    pub(crate) snapshots: Snapshots,
    incarnation: u64,
    stash: VecDeque<SessionMsg>,
    /// How often the log could not be loaded.
    failed_loads: u32,
}

impl Actor for SessionActor {
    type Msg = SessionMsg;
    type State = State;
    type Arguments = SessionArgs;

    /// Quick: the log is loaded by a task, and `Starting` can be seen meanwhile.
    async fn pre_start(
        &self,
        me: ActorRef<SessionMsg>,
        arguments: SessionArgs,
    ) -> Result<State, ActorProcessingErr> {
        let SessionArgs { name, durability, context, start } = arguments;
        let state = State {
            me,
            durability,
            scope: start.scope,
            full_name: start.full_name,
            incarnation: start.incarnation,
            phase: Phase::Loading { delayed: None },
            facts: Facts::default(),
            drive: Drive::default(),
            waiters: Waiters::default(),
            subscribers: Subscribers::default(),
            told_parked: None,
            snapshots: Snapshots::default(),
            idle: context.options().passivate_after.map(IdleTimer::new),
            stash: VecDeque::new(),
            failed_loads: 0,
            name,
            context,
        };
        state.load();
        Ok(state)
    }

    /// Nothing here waits for anything. A future that says so is small, and every idle session keeps one.
    fn handle(
        &self,
        _: ActorRef<SessionMsg>,
        message: SessionMsg,
        state: &mut State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        ready(state.handle(message))
    }

    /// Children are the loop and the tools. What comes of them is told by themselves, also how they ended: there is nothing to
    /// decide here.
    fn handle_supervisor_evt(
        &self,
        _: ActorRef<SessionMsg>,
        _: SupervisionEvent,
        _: &mut State,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        ready(Ok(()))
    }
}

impl State {
    pub(crate) fn port(&self) -> &JournalPort {
        self.context.journal(self.durability)
    }

    fn handle(&mut self, message: SessionMsg) -> Result<(), ActorProcessingErr> {
        // Who only looks is no reason to stay.
        let looks = matches!(message, SessionMsg::Status(_));
        self.receive(message)?;
        self.settle()?;
        if !looks {
            self.count_quiet();
        }
        Ok(())
    }

    fn receive(&mut self, message: SessionMsg) -> Result<(), ActorProcessingErr> {
        match (&self.phase, message) {
            (_, SessionMsg::Internal(internal)) => self.on_internal(internal),
            (_, SessionMsg::Status(reply)) => {
                answer(reply, self.status());
                Ok(())
            }
            // The load goes on trying.
            (Phase::Loading { delayed: Some(error) }, message) if self.is_told(error) => {
                let error = error.clone().into();
                refuse(message, error);
                Ok(())
            }
            (Phase::Loading { .. }, message) if self.stash.len() < STASH => {
                self.stash.push_back(message);
                Ok(())
            }
            (Phase::Loading { .. }, message) => {
                let queued = self.stash.len();
                refuse(message, SessionError::Busy { session: self.name.clone(), queued });
                Ok(())
            }
            (Phase::Damaged(error), message) => {
                refuse(message, error.clone());
                Ok(())
            }
            (Phase::Stopping(_) | Phase::Leaving(_), SessionMsg::Stop(reply)) => {
                if let Phase::Stopping(replies) | Phase::Leaving(replies) = &mut self.phase {
                    replies.push(reply);
                }
                Ok(())
            }
            // Dropped: its caller learns of the end, and asks the successor.
            (Phase::Passivating, message) => {
                drop(message);
                Ok(())
            }
            (Phase::Leaving(_), message) => {
                refuse(message, SessionError::Stopped(self.name.clone()));
                Ok(())
            }
            (Phase::Live | Phase::Stopping(_), message) => self.on_request(message),
        }
    }

    fn on_internal(&mut self, internal: Internal) -> Result<(), ActorProcessingErr> {
        match internal {
            Internal::Loaded(Ok(loaded)) => self.on_loaded(*loaded),
            Internal::Loaded(Err(error)) => {
                self.on_load_failed(error);
                Ok(())
            }
            Internal::LoadDelayed(error) => {
                self.on_load_delayed(error);
                Ok(())
            }
            Internal::Damaged(reason) => {
                self.damaged(reason);
                Ok(())
            }
            Internal::Appended(outcome) => self.on_appended(outcome),
            Internal::Resubmit => {
                if let Some(append) = self.facts.retry_append(&self.name) {
                    self.submit(append)?;
                }
                Ok(())
            }
            Internal::Snapshot(made) => {
                self.on_snapshot(made);
                Ok(())
            }
            Internal::ReadBack(position) => self.on_read_back(position),
            Internal::Loop(report) => self.on_report(report),
            Internal::LoopDied(since) => self.on_loop_died(since),
            Internal::Consulted(call, answer) => self.on_consulted(call, answer),
            Internal::ToolDone(call, outcome) => self.on_tool_done(call, outcome),
            Internal::ToolOver(call) => self.on_tool_over(call),
            Internal::ToolOverdue(call) => self.on_tool_overdue(call),
            Internal::ToolProgress(progress) => {
                self.on_tool_progress(progress);
                Ok(())
            }
            Internal::ToolProcess(record) => self.on_tool_process(record),
            Internal::LeftBehindGone { call, gone } => {
                self.on_left_behind(call, gone);
                Ok(())
            }
            Internal::Nudge => {
                self.drive.held_up = None; // what follows every message tries again
                Ok(())
            }
            Internal::Idle(token) => {
                self.on_idle(token);
                Ok(())
            }
            Internal::GraceOver(turn, grace) => {
                self.on_grace_over(turn, grace);
                Ok(())
            }
            Internal::Released => {
                self.leave();
                Ok(())
            }
        }
    }

    /// Asks the kernel what must happen, and submits what was accepted.
    fn settle(&mut self) -> Result<(), ActorProcessingErr> {
        if matches!(self.phase, Phase::Live | Phase::Stopping(_)) {
            self.advance()?;
            // What is durable at once lets more happen at once.
            while let Some(append) = self.facts.take_append(&self.name) {
                if !self.submit(append)? {
                    break;
                }
                self.advance()?;
            }
            self.leave_when_done();
        }
        Ok(())
    }

    /// Loads the log in a task: opening it fences off every earlier incarnation, and nothing is read past that.
    fn load(&self) {
        let (me, context, name, port) =
            (self.me.clone(), self.context.clone(), self.name.clone(), self.port().clone());
        self.scope.spawn("load the log", async move {
            let mut failures = 0;
            loop {
                let outcome = load(&context, &port, &name).await;
                let message = match outcome {
                    Ok(Ok(loaded)) => Internal::Loaded(Ok(Box::new(loaded))),
                    Ok(Err(damage)) => Internal::Damaged(damage),
                    Err(error) if error.is_retryable() && owner(&error).is_none() => {
                        tell(&me, Internal::LoadDelayed(error));
                        failures += 1;
                        tokio::time::sleep(JournalError::BACKOFF.after(failures)).await;
                        continue;
                    }
                    Err(error) => Internal::Loaded(Err(error)),
                };
                return tell(&me, message);
            }
        });
    }

    fn on_loaded(&mut self, (conversation, epoch): (Conversation, Epoch)) -> Result<(), ActorProcessingErr> {
        tracing::debug!(session = %self.name, seq = %conversation.seq(), epoch = epoch.0, "session loaded");
        self.subscribers.set_head(conversation.seq());
        self.facts = Facts::loaded(conversation, epoch);
        self.phase = Phase::Live;
        self.snapshot_when_due();
        if self.facts.conversation().turn().is_some() {
            let restarted = self.incarnation > 1;
            let cause =
                if restarted { "the session's actor was restarted" } else { "the session was opened" };
            self.drive.unrecovered = Some(cause.into());
            // A turn that cannot go on here is not recovered: opening it costs no budget.
            if !self.is_unresolved() {
                self.recover_at_last()?;
            }
        }
        for message in std::mem::take(&mut self.stash) {
            self.receive(message)?;
        }
        Ok(())
    }

    fn on_load_delayed(&mut self, error: JournalError) {
        self.failed_loads = self.failed_loads.saturating_add(1);
        if self.is_told(&error) {
            self.refuse_stash(&error.clone().into());
        }
        self.phase = Phase::Loading { delayed: Some(error) };
    }

    /// Whether who asks something is told why the log cannot be loaded, and not kept waiting: how long it is worth that, only he
    /// knows. A lock was waited for already.
    fn is_told(&self, error: &JournalError) -> bool {
        !is_away(error) || self.failed_loads >= FAILURES
    }

    fn on_load_failed(&mut self, error: JournalError) {
        if let Some(pid) = owner(&error) {
            // Nothing is wrong with the session: it is somebody else's. Nobody may be kept waiting for it here.
            let error = SessionError::OwnedElsewhere { session: self.name.clone(), pid };
            self.refuse_stash(&error);
            self.me.stop(None);
        } else {
            self.damaged(error.to_string());
        }
    }

    fn damaged(&mut self, reason: String) {
        tracing::error!(session = %self.name, %reason, "session quarantined: its log cannot be read");
        let error = SessionError::Quarantined { session: self.name.clone(), reason };
        self.refuse_stash(&error);
        self.phase = Phase::Damaged(error);
    }

    fn refuse_stash(&mut self, error: &SessionError) {
        for message in std::mem::take(&mut self.stash) {
            refuse(message, error.clone());
        }
    }

    /// Hands an append over. True if its outcome is here already, as it is of an instant store; else it comes as a message.
    fn submit(&mut self, append: ergane_journal::Append) -> Result<bool, ActorProcessingErr> {
        match self.port().append_now(append) {
            Ok(outcome) => self.on_appended(Some(outcome)).map(|()| true),
            Err(append) => {
                let me = self.me.clone();
                let done = Promise::new(move |outcome| tell(&me, Internal::Appended(outcome)));
                self.port().submit(append, done);
                Ok(false)
            }
        }
    }

    fn on_appended(&mut self, outcome: Option<Result<(), AppendError>>) -> Result<(), ActorProcessingErr> {
        match outcome {
            Some(Ok(())) => self.on_written(),
            Some(Err(AppendError::NotWritten { reason })) => self.park(reason),
            Some(Err(AppendError::Fenced { epoch })) => self.fenced(epoch),
            Some(Err(AppendError::Unknown { reason })) => self.read_back(reason),
            None => self.read_back("the journal died with the append".into()),
        }
        Ok(())
    }

    fn on_written(&mut self) {
        let (written, due) = self.facts.written();
        self.subscribers.facts(&written);
        // What was left behind still holds everything up, and may not be what was told last.
        match self.drive.parked().map(str::to_owned) {
            Some(why) => self.tell_parked(&why),
            None => self.told_parked = None,
        }
        for action in due {
            action();
        }
        for envelope in &written {
            match &envelope.event {
                Event::TurnStarted { send } => {
                    self.waiters.started(send, ergane_core::TurnId(envelope.seq.0))
                }
                Event::TurnEnded { turn, .. } => self.answer_turn(*turn),
                Event::ToolProcess { call, .. } => {
                    if let Some(recorded) = self.drive.to_begin.remove(call) {
                        recorded.keep(());
                    }
                }
                _ => {}
            }
        }
        self.snapshot_when_due();
    }

    fn park(&mut self, reason: String) {
        tracing::warn!(session = %self.name, %reason, "session parked: the journal cannot take its facts");
        let delay = self.park_facts(reason);
        let me = self.me.clone();
        self.scope.send_after(delay, move || tell(&me, Internal::Resubmit));
    }

    /// The store cannot take facts: how long until the next try.
    fn park_facts(&mut self, reason: String) -> Duration {
        self.tell_parked(&reason);
        self.facts.park(reason)
    }

    /// Tells whoever listens why nothing goes on, when that is another reason than the one told last.
    pub(crate) fn tell_parked(&mut self, reason: &str) {
        if self.told_parked.as_deref() != Some(reason) {
            let turn = self.facts.conversation().turn().map(|turn| turn.id);
            self.subscribers.live(turn, &Live::Parked { reason: reason.into() });
            self.told_parked = Some(reason.into());
        }
    }

    /// What was left behind is gone. A store that takes nothing has been told of, and that holds.
    pub(crate) fn told_parked_is_over(&mut self) {
        if self.drive.parked().is_none() && !self.facts.is_failing() {
            self.told_parked = None;
        }
    }

    /// Tells somebody who begins to listen what the others know.
    pub(crate) fn tell_if_parked(&self, sink: &mpsc::Sender<Item>) {
        if let Some(reason) = &self.told_parked {
            let turn = self.facts.conversation().turn().map(|turn| turn.id);
            let parked = Live::Parked { reason: reason.clone() };
            if sink.try_send(Item::Live(turn, parked, self.facts.durable())).is_err() {
                tracing::trace!(session = %self.name, "who began to listen is gone");
            }
        }
    }

    /// Asks where the log stands: that tells whether the append under way was written.
    fn read_back(&mut self, reason: String) {
        tracing::warn!(session = %self.name, %reason, "append of unknown outcome, reading back");
        let (me, port, name) = (self.me.clone(), self.port().clone(), self.name.clone());
        self.scope.spawn("read back", async move {
            tell(&me, Internal::ReadBack(port.position(&name).await));
        });
    }

    fn on_read_back(
        &mut self,
        position: Result<Option<ergane_journal::Position>, JournalError>,
    ) -> Result<(), ActorProcessingErr> {
        let Some((epoch, first, end)) = self.facts.in_flight() else { return Ok(()) };
        match position {
            Ok(Some(found)) if found.epoch > epoch => self.fenced(found.epoch),
            Ok(Some(found)) if found.next_seq == end => self.on_written(),
            Ok(Some(found)) if found.next_seq == first => self.park("the append was not written".into()),
            Ok(found) => {
                return Err(format!(
                    "the log does not continue where it should: {found:?}, expected {first} or {end}"
                )
                .into());
            }
            Err(error) => {
                // Still unknown; nothing is acted on meanwhile.
                let (delay, me) = (self.park_facts(error.to_string()), self.me.clone());
                self.scope.send_after(delay, move || tell(&me, Internal::Appended(None)));
            }
        }
        Ok(())
    }

    /// Another incarnation, here or in another process, owns the session now: this one ends, and is not restarted.
    fn fenced(&mut self, epoch: Epoch) {
        tracing::warn!(session = %self.name, epoch = epoch.0, "session fenced off by a later incarnation");
        self.me.stop(None);
    }

    pub(crate) fn leave_when_done(&mut self) {
        let Phase::Stopping(replies) = &mut self.phase else { return };
        let conversation = self.facts.conversation();
        let done = conversation.turn().is_none()
            && conversation.queue().is_empty()
            && self.facts.durable() == conversation.seq();
        if !done {
            return;
        }
        self.phase = Phase::Leaving(std::mem::take(replies));
        self.waiters.refuse_all(&SessionError::Stopped(self.name.clone()));
        let (me, port, name) = (self.me.clone(), self.port().clone(), self.name.clone());
        self.scope.spawn("release the session", async move {
            if let Err(error) = port.release(&name).await {
                tracing::warn!(session = %name, %error, "the session's owner could not be cleared; it ends with the process");
            }
            tell(&me, Internal::Released);
        });
    }

    fn leave(&mut self) {
        if matches!(self.phase, Phase::Passivating) {
            self.me.stop(None);
        }
        if let Phase::Leaving(replies) = &mut self.phase {
            for reply in std::mem::take(replies) {
                answer(reply, Ok(()));
            }
            self.me.stop(None);
        }
    }
}

/// The living process that owns the session, when that is what the error says.
fn owner(error: &JournalError) -> Option<u32> {
    match error {
        JournalError::Busy { pid, .. } => Some(*pid),
        _ => None,
    }
}

type Loaded = Result<(Conversation, Epoch), String>;

async fn load(
    context: &SessionContext,
    port: &JournalPort,
    name: &SessionName,
) -> Result<Loaded, JournalError> {
    let opened = port.open(name).await?;
    // Never closed, so the only error cannot happen; without a permit the load is only less polite.
    let _permit = if port.store().is_instant() { None } else { context.loading().acquire().await.ok() };
    let (all, none) = (opened.next_seq, Seq(0));
    let folded = if all.0 > LONG && !port.store().is_instant() {
        // A panic is damage of this log, and no failure of the store.
        let folding = |pieces: Pieces<'_>| catch_unwind(AssertUnwindSafe(|| fold(pieces)));
        port.work_on(name, none, all, folding).await?.map_err(|_| "it panicked".to_owned())
    } else {
        // What an instant store has it shares with everybody, so there is nothing to be read meanwhile.
        let log = port.load(name, none, all).await?;
        let folding = move || Conversation::fold(log.iter().map(Arc::as_ref));
        if all.0 <= LONG {
            Ok(folding())
        } else {
            tokio::task::spawn_blocking(folding).await.map_err(|error| error.to_string())
        }
    };
    Ok(match folded {
        Ok(folded) => folded.map(|folded| (folded, opened.epoch)).map_err(|damage| damage.to_string()),
        Err(panicked) => Err(format!("folding the log failed: {panicked}")),
    })
}

type Pieces<'a> = &'a mut (dyn Iterator<Item = Vec<Envelope>> + 'a);

fn fold(pieces: Pieces<'_>) -> Result<Conversation, FoldError> {
    let mut conversation = Conversation::default();
    for piece in pieces {
        piece.iter().try_for_each(|envelope| conversation.apply(envelope))?;
    }
    Ok(conversation)
}

/// Tells the session something. One that is gone has no use for it: whoever comes next starts from the facts.
pub(crate) fn tell(me: &ActorRef<SessionMsg>, internal: Internal) {
    if me.cast(SessionMsg::Internal(internal)).is_err() {
        tracing::trace!("a session was gone before a message of its own reached it");
    }
}

/// Answers a request with an error.
fn refuse(message: SessionMsg, error: SessionError) {
    match message {
        SessionMsg::Configure { reply, .. }
        | SessionMsg::Approve(_, reply)
        | SessionMsg::Grant { reply, .. }
        | SessionMsg::Stop(reply) => answer(reply, Err(error)),
        SessionMsg::Approvals(reply) => answer(reply, Err(error)),
        SessionMsg::Steer { reply, .. } => answer(reply, Err(error)),
        SessionMsg::Checkpoint { reply, .. } | SessionMsg::Rewind { reply, .. } => answer(reply, Err(error)),
        SessionMsg::Send(_, reply) | SessionMsg::Await(_, reply) => answer(reply, Err(error)),
        SessionMsg::Accept(_, reply) => answer(reply, Err(error)),
        SessionMsg::Messages(reply) => answer(reply, Err(error)),
        SessionMsg::Settings(reply) => answer(reply, Err(error)),
        SessionMsg::Interrupt { reply, .. } => answer(reply, Err(error)),
        SessionMsg::Subscribe { reply, .. } => answer(reply, Err(error)),
        SessionMsg::Status(_) | SessionMsg::Internal(_) => {}
    }
}
