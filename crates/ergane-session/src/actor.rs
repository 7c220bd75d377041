//! The session actor: a list of messages, and what each changes.
//!
//! # Why it never waits
//!
//! The session is the one that everybody asks: callers, watchers, people who want to interrupt. So it does nothing but
//! fold facts and hand out work: the loop asks the model, tool actors run tools, a task loads the log, the journal
//! writes. Each of them answers with a message; only what is merely shown goes straight to those who listen
//! (`subscribers.rs`). How a session loads, writes, asks, runs tools, ends a turn and ends itself is a file each (`loading.rs`,
//! `writing.rs`, `asking.rs`, `tools.rs`, `ending.rs`, `leaving.rs`). Every handler ends with [`State::settle`], which asks the kernel what
//! must happen now and submits what was accepted; that is the whole of the control flow, live and after a crash.

use std::collections::VecDeque;
use std::future::ready;

use ergane_core::{Durability, SessionName, Text};
use ergane_journal::{JournalError, JournalPort};
use ergane_otp::{IdleTimer, Scope, StartContext};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::context::SessionContext;
use crate::drive::Drive;
use crate::error::SessionError;
use crate::facts::Facts;
use crate::message::{Internal, Reply, SessionMsg};
use crate::snapshots::Snapshots;
use crate::subscribers::Subscribers;
use crate::waiters::{Waiters, answer};

/// So many requests wait for a log that is being loaded; more are refused.
const STASH: usize = 256;

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
    /// The log is being loaded; the reason says why it takes long, and whether who asks something is told it and not kept waiting.
    Loading { delayed: Option<JournalError>, is_told: bool },
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
    pub(crate) incarnation: u64,
    pub(crate) stash: VecDeque<SessionMsg>,
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
            phase: Phase::Loading { delayed: None, is_told: false },
            facts: Facts::default(),
            drive: Drive::default(),
            waiters: Waiters::default(),
            subscribers: Subscribers::default(),
            told_parked: None,
            snapshots: Snapshots::default(),
            idle: context.options().passivate_after.map(IdleTimer::new),
            stash: VecDeque::new(),
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

    pub(crate) fn receive(&mut self, message: SessionMsg) -> Result<(), ActorProcessingErr> {
        match (&self.phase, message) {
            (_, SessionMsg::Internal(internal)) => self.on_internal(internal),
            (_, SessionMsg::Status(reply)) => {
                answer(reply, self.status());
                Ok(())
            }
            // The load goes on trying.
            (Phase::Loading { delayed: Some(error), is_told: true }, message) => {
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
            Internal::LoadDelayed { error, failures } => {
                self.on_load_delayed(error, failures);
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
                self.on_nudge();
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
            while self.submit_accepted()? {
                self.advance()?;
            }
            self.leave_when_done();
        }
        Ok(())
    }
}

/// Tells the session something. One that is gone has no use for it: whoever comes next starts from the facts.
pub(crate) fn tell(me: &ActorRef<SessionMsg>, internal: Internal) {
    if me.cast(SessionMsg::Internal(internal)).is_err() {
        tracing::trace!("a session was gone before a message of its own reached it");
    }
}

/// Answers a request with an error.
pub(crate) fn refuse(message: SessionMsg, error: SessionError) {
    match message {
        SessionMsg::Configure { reply, .. }
        | SessionMsg::Approve(_, reply)
        | SessionMsg::Grant { reply, .. }
        | SessionMsg::Take(_, reply)
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
