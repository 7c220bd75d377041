//! What programs ask of a session, and how it answers: always at once.

use std::sync::Arc;

use ergane_core::{
    Event, Identity, Next, OutputSchema, SendId, Seq, SessionName, Settings, SettingsPatch, Text, TurnId,
    is_too_deep,
};
use ergane_journal::MAX_EVENT_BYTES;
use ergane_tool::RegistryError;
use ractor::ActorProcessingErr;
use uuid::Uuid;

use crate::actor::{Phase, State};
use crate::error::SessionError;
use crate::facts::encoded_len;
use crate::message::{Attached, Measured, Reply, Send, SessionMsg, Snapshot, WhenBusy};
use crate::result::TurnResult;
use crate::status::{Activity, Status};
use crate::waiters::answer;

/// So many sends may wait for their turn.
pub const QUEUE_LIMIT: usize = 32;

/// How many bytes an input may have as it stands in an event, together with the settings that its send brings: the cap of
/// one event, less room for what else is in it.
pub const INPUT_LIMIT: usize = MAX_EVENT_BYTES - 128 * 1024;

/// How many bytes of JSON a send may give to the tools of its turn.
const META_LIMIT: usize = 64 * 1024;

/// How many bytes a key may have.
const KEY_LIMIT: usize = 1024;

/// How many bytes the settings of a session may have as they stand in an event.
const SETTINGS_LIMIT: usize = 1024 * 1024;

/// How many characters of a reason are kept.
const REASON_LIMIT: usize = 4096;

impl State {
    pub(crate) fn on_request(&mut self, message: SessionMsg) -> Result<(), ActorProcessingErr> {
        match message {
            SessionMsg::Configure { reply, durability, .. } if durability != self.durability => {
                let (session, running) = (self.name.clone(), self.durability);
                answer(reply, Err(SessionError::OtherDurability { session, running }));
            }
            SessionMsg::Configure { initial, patch, reply, .. } => {
                self.on_configure(&initial, *patch, reply)?
            }
            SessionMsg::Send(send, reply) => match self.accept(&send)? {
                Err(error) => answer(reply, Err(error)),
                Ok(()) => match self.turn_of(&send.id) {
                    Some(turn) if self.is_durably_ended(turn) => self.answer_ended(turn, reply),
                    Some(turn) => self.waiters.for_turn(turn, reply),
                    None => self.waiters.for_result(send.id, reply),
                },
            },
            SessionMsg::Accept(send, reply) => match self.accept(&send)? {
                Err(error) => answer(reply, Err(error)),
                Ok(()) => match self.turn_of(&send.id) {
                    Some(turn) => {
                        let begun = self.accepted_at(&send.id).max(Seq(turn.0));
                        self.facts.when_durable(begun, move || answer(reply, Ok(turn)));
                    }
                    None => self.waiters.for_start(send.id, reply),
                },
            },
            SessionMsg::Take(send, reply) => match self.accept(&send)? {
                Err(error) => answer(reply, Err(error)),
                Ok(()) => {
                    let accepted = self.accepted_at(&send.id);
                    self.facts.when_durable(accepted, move || answer(reply, Ok(())));
                }
            },
            SessionMsg::Await(turn, reply) => self.on_await(turn, reply),
            SessionMsg::Messages(reply) => answer(reply, Ok(self.facts.view().messages.clone())),
            SessionMsg::Settings(reply) => {
                let settings = self.facts.conversation().settings().cloned();
                answer(reply, settings.ok_or_else(|| SessionError::NotFound(self.name.clone())));
            }
            SessionMsg::Interrupt { by, reason, turn, send, reply } => {
                self.on_interrupt(by, reason, turn, send, reply)?
            }
            SessionMsg::Steer { send, cut, reply } => self.on_steer(&send, cut, reply)?,
            SessionMsg::Checkpoint { label, reply } => self.on_checkpoint(label, reply)?,
            SessionMsg::Rewind { id, to, reply } => self.on_rewind(id, &to, reply)?,
            SessionMsg::Approvals(reply) => answer(reply, Ok(self.facts.view().approvals.clone())),
            SessionMsg::Approve(decide, reply) => self.on_approve(decide, reply)?,
            SessionMsg::Grant { tool, reply } => self.on_grant(tool, reply)?,
            SessionMsg::Stop(reply) => self.phase = Phase::Stopping(vec![reply]),
            SessionMsg::Subscribe { sink, reply } => {
                self.tell_if_parked(&sink);
                let (head, lost, partial) = self.subscribers.add(sink);
                let messages = self.facts.view().messages.clone();
                let snapshot = Snapshot { status: self.status(), messages, partial: partial.into() };
                answer(reply, Ok(Attached { snapshot, head, lost }));
            }
            SessionMsg::Status(_) | SessionMsg::Internal(_) => {} // answered before the phase is looked at
        }
        Ok(())
    }

    fn on_configure(
        &mut self,
        initial: &Settings,
        mut patch: SettingsPatch,
        reply: Reply<()>,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(refusal) = refusal_of_settings(&self.name, initial, &patch) {
            answer(reply, Err(refusal));
            return Ok(());
        }
        match self.facts.conversation().settings() {
            None => {
                self.fill_model(&mut patch, &initial.provider);
                let settings = Arc::new(initial.patched(&patch));
                self.facts.record(Event::SessionStarted { settings, id: Some(identity()) })?;
            }
            Some(settings) => {
                let provider = settings.provider.clone();
                self.fill_model(&mut patch, &provider);
                let changed =
                    self.facts.conversation().settings().and_then(|settings| patch.against(settings));
                if let Some(patch) = changed {
                    self.facts.record(Event::SettingsChanged { patch: patch.into(), tool: None })?;
                }
            }
        }
        self.facts.when_durable(self.facts.accepted(), move || answer(reply, Ok(())));
        Ok(())
    }

    /// Another provider without a model means that provider's default model.
    fn fill_model(&self, patch: &mut SettingsPatch, present: &str) {
        let other = patch.provider.as_ref().filter(|provider| ***provider != *present);
        if let (Some(provider), None) = (other, &patch.model) {
            let model = self.context.providers().get(provider).and_then(|provider| provider.default_model());
            patch.model = Some(model.unwrap_or_else(|| "".into()));
        }
    }

    /// Makes sure that the send is a fact, or says why it cannot be one. A known id is not accepted again.
    fn accept(&mut self, send: &Send) -> Result<Result<(), SessionError>, ActorProcessingErr> {
        let conversation = self.facts.conversation();
        let hash = send.measured().hash;
        let session = || self.name.clone();
        if let Some(known) = conversation.send(&send.id) {
            let ended = known.turn.is_some_and(|turn| conversation.ended(turn).is_some());
            let missing = match known.turn {
                _ if ended => Vec::new(),
                Some(_) if !self.is_unresolved() => Vec::new(),
                Some(_) => self.missing(),
                None if self.is_unresolved() => self.missing(),
                None => self.missing_next(),
            };
            return Ok(if known.hash != hash {
                Err(SessionError::KeyReused(send.id.clone()))
            } else if missing.is_empty() {
                Ok(())
            } else {
                Err(SessionError::Unresolved { session: session(), missing })
            });
        }
        if self.steers(send) {
            if let Some(refusal) = self.refusal_of_input(send).or_else(|| self.refusal_of_steer()) {
                return Ok(Err(refusal));
            }
            self.steer(send, hash)?;
            return Ok(Ok(()));
        }
        let queued = conversation.queue().len();
        let busy = conversation.turn().is_some() || queued > 0;
        let refusal = if matches!(self.phase, Phase::Stopping(_)) {
            Some(SessionError::Stopped(session()))
        } else if conversation.settings().is_none() {
            Some(SessionError::NotFound(session()))
        } else if let Some(refusal) = self.refusal_of_input(send) {
            Some(refusal)
        } else if queued >= QUEUE_LIMIT || (busy && send.when_busy == WhenBusy::Reject) {
            Some(SessionError::Busy { session: session(), queued })
        } else {
            // A send behind a turn that cannot go on would wait for nothing.
            let mut missing = if self.is_unresolved() { self.missing() } else { Vec::new() };
            if missing.is_empty() && queued > 0 {
                missing = self.missing_next();
            }
            if missing.is_empty() {
                missing = self.missing_for(send.settings.as_deref());
            }
            (!missing.is_empty()).then(|| SessionError::Unresolved { session: session(), missing })
        };
        if let Some(refusal) = refusal {
            return Ok(Err(refusal));
        }
        let (id, input, meta) = (send.id.clone(), send.input.clone(), send.meta.clone());
        let settings = send.settings.as_deref().map(|patch| {
            let mut patch = patch.clone();
            if let Some(present) = self.facts.conversation().settings() {
                self.fill_model(&mut patch, &present.provider);
                // The session may be told another provider before the turn begins.
                patch = patch.pinned(present);
            }
            Arc::new(patch)
        });
        // What the session brings into them is in the fact too.
        let kept = settings.as_ref().map_or(0, encoded_len);
        let bytes = send.measured().bytes.saturating_add(kept);
        if bytes > INPUT_LIMIT {
            return Ok(Err(SessionError::InputTooLarge { bytes, limit: INPUT_LIMIT }));
        }
        // In one append, so that what is refused, or is known already, changes nothing, and what is taken is not torn apart.
        let kept = settings.as_deref().filter(|_| send.keep);
        let changed =
            kept.and_then(|patch| patch.against(self.facts.conversation().settings()?)).map(Box::new);
        self.facts.record(Event::Queued { send: id, input, hash, meta, settings })?;
        if let Some(patch) = changed {
            self.facts.record(Event::SettingsChanged { patch, tool: None })?;
        }
        Ok(Ok(()))
    }

    /// Why an input is not taken, whatever is to become of it.
    pub(crate) fn refusal_of_input(&self, send: &Send) -> Option<SessionError> {
        let Measured { bytes, meta, settings, .. } = send.measured();
        if send.is_blank() {
            Some(SessionError::EmptyPrompt)
        } else if !send.is_speech() {
            Some(SessionError::NotSpeech)
        } else if send.settings.as_ref().is_some_and(|patch| patch.may_hold_a_secret()) {
            Some(SessionError::SecretInUrl(self.name.clone()))
        } else if send.meta.as_deref().is_some_and(is_too_deep) {
            Some(SessionError::TooDeep { what: "meta" })
        } else if send
            .settings
            .as_ref()
            .and_then(|patch| patch.output.as_ref())
            .is_some_and(is_schema_too_deep)
        {
            Some(SCHEMA_TOO_DEEP)
        } else if bytes > INPUT_LIMIT {
            Some(SessionError::InputTooLarge { bytes, limit: INPUT_LIMIT })
        } else if meta > META_LIMIT {
            Some(SessionError::InputTooLarge { bytes: meta, limit: META_LIMIT })
        } else if settings > SETTINGS_LIMIT {
            Some(SessionError::InputTooLarge { bytes: settings, limit: SETTINGS_LIMIT })
        } else if bytes + settings > INPUT_LIMIT {
            // One fact holds both, and one that no store takes would park the session for good.
            Some(SessionError::InputTooLarge { bytes: bytes + settings, limit: INPUT_LIMIT })
        } else {
            let bytes = send.id.0.len();
            (bytes > KEY_LIMIT).then_some(SessionError::InputTooLarge { bytes, limit: KEY_LIMIT })
        }
    }

    /// The turn that answers that send, begun by it or not: there is one as soon as that is accepted.
    fn turn_of(&self, send: &SendId) -> Option<TurnId> {
        self.facts.conversation().send(send)?.turn
    }

    /// The fact by which that send was accepted; of one that was not, the last that was accepted at all.
    pub(crate) fn accepted_at(&self, send: &SendId) -> Seq {
        self.facts.conversation().send(send).map_or(self.facts.accepted(), |known| known.seq)
    }

    fn is_durably_ended(&self, turn: TurnId) -> bool {
        self.facts.conversation().ended(turn).is_some_and(|record| record.end <= self.facts.durable())
    }

    fn on_await(&mut self, turn: TurnId, reply: Reply<TurnResult>) {
        let conversation = self.facts.conversation();
        let is_open = conversation.turn().is_some_and(|open| open.id == turn);
        if self.is_durably_ended(turn) {
            self.answer_ended(turn, reply);
        } else if is_open && self.is_unresolved() {
            let missing = self.missing();
            answer(reply, Err(SessionError::Unresolved { session: self.name.clone(), missing }));
        } else if is_open || conversation.ended(turn).is_some() {
            self.waiters.for_turn(turn, reply);
        } else {
            answer(reply, Err(SessionError::NoSuchTurn { session: self.name.clone(), turn: turn.0 }));
        }
    }

    fn answer_ended(&self, turn: TurnId, reply: Reply<TurnResult>) {
        let conversation = self.facts.conversation();
        let result = conversation.ended(turn).map(|record| TurnResult::of(&self.name, conversation, record));
        answer(reply, result.ok_or(SessionError::NoSuchTurn { session: self.name.clone(), turn: turn.0 }));
    }

    /// A turn has durably ended: whoever waited for it gets its result.
    pub(crate) fn answer_turn(&mut self, turn: TurnId) {
        let conversation = self.facts.conversation();
        if let Some(record) = conversation.ended(turn) {
            let (name, send) = (&self.name, &record.send);
            self.waiters.ended(send, turn, || TurnResult::of(name, conversation, record));
        }
    }

    /// Answers `value` once all that was accepted is durable; [`SessionError::Parked`] when that cannot be now.
    pub(crate) fn acknowledge<T: std::marker::Send + 'static>(&mut self, reply: Reply<T>, value: T) {
        self.acknowledge_at(self.facts.accepted(), reply, value);
    }

    /// The same, once the fact at `seq` is durable.
    pub(crate) fn acknowledge_at<T>(&mut self, seq: Seq, reply: Reply<T>, value: T)
    where
        T: std::marker::Send + 'static,
    {
        let session = self.name.clone();
        self.facts.tell_when_durable(seq, move |parked| {
            let parked = parked.map(|reason| SessionError::Parked { session, reason: reason.to_owned() });
            answer(reply, parked.map_or(Ok(value), Err));
        });
    }

    /// Whether the open turn cannot go on here: what must happen next needs what this process has not.
    pub(crate) fn is_unresolved(&self) -> bool {
        let conversation = self.facts.conversation();
        let goes_on = matches!(conversation.next(), Next::CallModel { .. } | Next::RunTools { .. });
        goes_on && conversation.turn().is_some_and(|turn| !self.missing_of(&turn.settings).is_empty())
    }

    /// What the next turn needs and this process has not.
    pub(crate) fn missing_next(&self) -> Vec<String> {
        let next = self.facts.conversation().queue().front();
        self.missing_for(next.and_then(|send| send.settings.as_deref()))
    }

    /// What a turn with that over the session's settings needs and this process has not.
    fn missing_for(&self, patch: Option<&SettingsPatch>) -> Vec<String> {
        match (self.facts.conversation().settings(), patch) {
            (None, _) => Vec::new(),
            (Some(settings), None) => self.missing_of(settings),
            (Some(settings), Some(patch)) => self.missing_of(&settings.patched(patch)),
        }
    }

    /// What the open turn needs and this process has not, else the next one.
    pub(crate) fn missing(&self) -> Vec<String> {
        match self.facts.conversation().turn() {
            Some(turn) => self.missing_of(&turn.settings),
            None => self.missing_next(),
        }
    }

    fn missing_of(&self, settings: &Settings) -> Vec<String> {
        let mut missing = Vec::new();
        for provider in std::iter::once(&settings.provider).chain(&settings.fallbacks) {
            if self.context.providers().get(provider).is_none() {
                missing.push(format!("provider {provider}"));
            }
        }
        match self.context.tools().specs(settings.tools.as_deref()) {
            Err(RegistryError::Missing { missing: tools, .. }) => {
                missing.extend(tools.into_iter().map(|tool| format!("tool {tool}")));
            }
            Err(error) => missing.push(error.to_string()),
            Ok(_) => {}
        }
        missing
    }

    /// Nobody may wait for a turn that does not run here.
    pub(crate) fn refuse_unresolved(&mut self) {
        let missing = self.missing();
        let error = SessionError::Unresolved { session: self.name.clone(), missing };
        let open = self.facts.conversation().turn().map(|turn| (turn.send.clone(), Some(turn.id)));
        let queued = self.facts.conversation().queue().iter().map(|queued| (queued.send.clone(), None));
        for (send, turn) in open.into_iter().chain(queued).collect::<Vec<_>>() {
            self.waiters.refuse(&send, turn, &error);
        }
    }

    pub(crate) fn status(&self) -> Status {
        let conversation = self.facts.conversation();
        let settings = conversation.settings();
        Status {
            session: self.name.clone(),
            activity: self.activity(),
            turn: self.facts.view().turn,
            queued: conversation.queue().len(),
            turns: self.facts.view().turns,
            durable: self.facts.durable(),
            accepted: self.facts.accepted(),
            durability: self.durability,
            provider: settings.map(|settings| settings.provider.clone()),
            model: settings.map(|settings| settings.model.clone()),
            usage: self.facts.view().usage,
            cost: self.facts.view().cost,
        }
    }

    fn activity(&self) -> Activity {
        match &self.phase {
            Phase::Loading { delayed: None, .. } => return Activity::Starting,
            Phase::Loading { delayed: Some(error), .. } => {
                return Activity::Parked { reason: error.to_string() };
            }
            Phase::Damaged(SessionError::Quarantined { reason, .. }) => {
                return Activity::Quarantined { reason: reason.clone() };
            }
            Phase::Damaged(error) => return Activity::Quarantined { reason: error.to_string() },
            Phase::Live | Phase::Stopping(_) | Phase::Leaving(_) | Phase::Passivating => {}
        }
        if let Some(reason) = self.parked() {
            return Activity::Parked { reason: reason.to_owned() };
        }
        let Some(turn) = self.facts.conversation().turn() else {
            return if self.facts.view().turn.is_none() { Activity::Idle } else { Activity::Committing };
        };
        if turn.interrupted.is_some() {
            return Activity::Interrupting;
        }
        if self.is_unresolved() {
            return Activity::Unresolved { missing: self.missing() };
        }
        if self.facts.durable().0 < turn.id.0 {
            return Activity::Committing;
        }
        self.drive.activity(turn, self.subscribers.is_asked())
    }
}

/// Why settings are not taken, whatever the session is.
pub(crate) fn refusal_of_settings(
    session: &SessionName,
    initial: &Settings,
    patch: &SettingsPatch,
) -> Option<SessionError> {
    let is_too_deep = || {
        is_schema_too_deep(&initial.answering.output) || patch.output.as_ref().is_some_and(is_schema_too_deep)
    };
    let bytes = encoded_len(&(initial, patch));
    if bytes > SETTINGS_LIMIT {
        Some(SessionError::InputTooLarge { bytes, limit: SETTINGS_LIMIT })
    } else if patch.may_hold_a_secret() {
        Some(SessionError::SecretInUrl(session.clone()))
    } else {
        is_too_deep().then_some(SCHEMA_TOO_DEEP)
    }
}

const SCHEMA_TOO_DEEP: SessionError = SessionError::TooDeep { what: "output schema" };

fn is_schema_too_deep(output: &Option<OutputSchema>) -> bool {
    output.as_ref().is_some_and(|output| is_too_deep(&output.schema))
}

/// An identity that no other session has, in whatever journal: most of it is chance.
pub(crate) fn identity() -> Identity {
    Identity(Uuid::now_v7().as_u128())
}

pub(crate) fn shortened(reason: Text) -> Text {
    match reason.char_indices().nth(REASON_LIMIT) {
        Some((end, _)) => reason.get(..end).unwrap_or_default().into(),
        None => reason,
    }
}
