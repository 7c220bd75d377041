//! What can be read of a conversation: for a provider, for people, for a session.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Conversation, History, OpenTurn, QueuedSend, SendRecord, TurnRecord, send_on};
use crate::approval::{Decided, Decision, Verdict};
use crate::ids::{CallId, Identity, SendId, Seq, TurnId};
use crate::message::{Message, Part, Role, Text};
use crate::request::{ModelRequest, ToolChoice, ToolSpec};
use crate::settings::Settings;
use crate::usage::{Cost, Usage};

impl Conversation {
    /// The request for the next model call. Whenever [`next`](Self::next) is a model call it is valid for the
    /// strictest provider: every call answered once, directly after its message, in call order; users' messages that
    /// follow each other merged; no empty answer. (That arguments which are no object are sent as `{}` is the
    /// adapters' rule: [`ToolCall::arguments`](crate::ToolCall::arguments) tells them.)
    pub fn request(&self, tools: Arc<[ToolSpec]>) -> Option<ModelRequest> {
        let turn = self.turn.as_ref()?;
        let settings = &turn.settings;
        let mut messages = self.sent.clone();
        for (_, input) in &turn.steers {
            send_on(&mut messages, Arc::new(Message::user(input.clone())));
        }
        let answering = &settings.answering;
        let mut tool_choice = answering.tool_choice.clone();
        if matches!(tool_choice, ToolChoice::Required | ToolChoice::Tool(_)) && turn.totals.tool_calls > 0 {
            tool_choice = ToolChoice::Auto; // it has called one; forced again it could never answer
        }
        Some(ModelRequest {
            model: settings.model.clone(),
            system: settings.system_prompt.clone(),
            messages,
            tools,
            tool_choice,
            parallel_tools: answering.parallel_tools,
            output: answering.output.clone(),
            reasoning: answering.reasoning,
            sampling: answering.sampling.clone(),
            stream: settings.stream,
            max_tokens: answering.max_tokens,
            cache: answering.cache,
            cache_key: None, // who asks is known to the loop
        })
    }

    /// The position of the last fact.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The settings in force from the next turn on; `None` before the session began.
    pub fn settings(&self) -> Option<&Arc<Settings>> {
        self.settings.as_ref()
    }

    /// What tells the session from every other one of its name; `None` of one that began, or was forked, before there were
    /// identities.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The open turn.
    pub fn turn(&self) -> Option<&OpenTurn> {
        self.turn.as_deref()
    }

    /// The turns that ended, oldest first.
    pub fn turns(&self) -> &[TurnRecord] {
        &self.turns
    }

    /// A turn that ended, by its id.
    pub fn ended(&self, turn: TurnId) -> Option<&TurnRecord> {
        let index = self.turns.binary_search_by_key(&turn, |record| record.id).ok()?;
        self.turns.get(index)
    }

    /// The sends that wait for their turn, oldest first.
    pub fn queue(&self) -> &VecDeque<QueuedSend> {
        &self.queue
    }

    /// What is known of a send.
    pub fn send(&self, send: &SendId) -> Option<SendRecord> {
        self.sends.get(send).copied()
    }

    /// What was decided last about a call that waited for it.
    pub fn decided(&self, call: CallId) -> Option<&Decided> {
        self.decided.range((call, Seq(0))..=(call, Seq(u64::MAX))).next_back().map(|(_, decided)| decided)
    }

    /// What comes of a decision about a call. It answers one question, whose position it should name; one that names none
    /// stands for the only question there was. So a decision that comes late, or once more, answers no question that
    /// nobody had asked when it was made: "it may run" does not become "run it once more".
    pub fn verdict(&self, call: CallId, question: Option<Seq>, decision: &Decision) -> Verdict {
        // A turn that is ending takes no decision any more: its calls are closed.
        let turn = self.turn().filter(|turn| turn.interrupted.is_none());
        let pending = turn.and_then(|turn| turn.question(call));
        let first = match question {
            Some(question) => self.decided.get(&(call, question)),
            None => self.decided(call),
        };
        match (pending, first) {
            (Some(pending), Some(_)) if question.is_none() => Verdict::AskedAgain(pending.0),
            (_, Some(first)) if first.decision.is_same(decision) => Verdict::Same,
            (_, Some(first)) => Verdict::Other(first.clone()),
            (Some((asked, arguments)), None) if question.is_none_or(|named| named == asked) => {
                Verdict::Waits { question: asked, arguments }
            }
            (_, None) => Verdict::NotAsked,
        }
    }

    /// Tokens of all turns.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Cost of all turns.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Everything that was said, oldest first; of a round of tools that still runs, the results that are there, and at
    /// the end what was put in and no reply has seen.
    pub fn messages(&self) -> History {
        let mut messages = self.said.clone();
        if let Some(turn) = &self.turn {
            let results = turn.batch.iter().filter_map(|call| call.result.as_ref());
            let parts: Vec<Part> = results.map(|result| Part::ToolResult((**result).clone())).collect();
            if !parts.is_empty() {
                messages.push(Arc::new(Message { role: Role::Tool, parts, origin: None }));
            }
            let steers = turn.steers.iter().map(|(_, input)| Message::user(input.clone()));
            steers.for_each(|said| messages.push(Arc::new(said)));
        }
        messages
    }

    /// The messages of a turn that ended.
    pub fn messages_of(&self, record: &TurnRecord) -> Vec<Arc<Message>> {
        if let Some(messages) = &record.rewound {
            return messages.to_vec();
        }
        let (first, end) = record.messages;
        self.said.iter_from(first).take(end.saturating_sub(first)).cloned().collect()
    }

    /// The text of a turn that ended: what was shown of an interrupted answer, else the last answer that is not
    /// blank. An error finish has text too.
    pub fn text_of(&self, record: &TurnRecord) -> Text {
        if let Some(partial) = record.partial.as_ref().filter(|text| !text.trim().is_empty()) {
            return partial.clone();
        }
        let messages = self.messages_of(record);
        let answers = messages.iter().rev().filter(|message| message.role == Role::Assistant);
        answers.map(|answer| answer.text()).find(|text| !text.trim().is_empty()).unwrap_or_default().into()
    }
}
