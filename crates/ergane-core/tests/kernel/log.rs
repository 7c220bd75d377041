//! A log under construction, with the conversation folded from it so far: what the table tests speak in.

use std::sync::Arc;

use ergane_core::*;
use serde_json::Map;

/// Facts, and their fold.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) facts: Vec<Envelope>,
    pub(crate) conversation: Conversation,
    pub(crate) epoch: Epoch,
    pub(crate) now: Timestamp,
    sends: u32,
}

pub(crate) fn settings() -> Settings {
    Settings::new("scripted", "m", "/w")
}

impl Log {
    /// A session that has begun.
    pub(crate) fn new(settings: Settings) -> Self {
        let mut log = Self::after(Conversation::default(), Epoch(1));
        log.push(Event::SessionStarted { settings: Arc::new(settings), id: None });
        log
    }

    /// What follows a conversation that was folded elsewhere.
    pub(crate) fn after(conversation: Conversation, epoch: Epoch) -> Self {
        Self { facts: Vec::new(), conversation, epoch, now: Timestamp(1_000_000), sends: 0 }
    }

    /// A session with default settings in the middle of its first turn.
    pub(crate) fn in_a_turn() -> Self {
        Self::in_a_turn_with(settings())
    }

    pub(crate) fn in_a_turn_with(settings: Settings) -> Self {
        let mut log = Self::new(settings);
        log.turn("hello");
        log
    }

    pub(crate) fn envelope(&self, event: Event) -> Envelope {
        let seq = self.conversation.seq().next();
        Envelope { v: FORMAT_VERSION, seq, epoch: self.epoch, at: self.now, event }
    }

    pub(crate) fn try_push(&mut self, event: Event) -> Result<(), FoldError> {
        let envelope = self.envelope(event);
        self.conversation.apply(&envelope)?;
        self.facts.push(envelope);
        Ok(())
    }

    pub(crate) fn push(&mut self, event: Event) {
        let shown = format!("{event:?}");
        self.try_push(event).unwrap_or_else(|error| panic!("{error}: {shown}"));
    }

    pub(crate) fn next(&self) -> Next {
        self.conversation.next()
    }

    /// Accepts a send.
    pub(crate) fn queue(&mut self, input: Vec<Part>) -> SendId {
        self.sends += 1;
        let send = SendId::from(&*format!("s{}", self.sends));
        let hash = Digest::of(format!("{input:?}").as_bytes());
        self.push(Event::Queued { send: send.clone(), input, hash, meta: None, settings: None });
        send
    }

    /// Accepts a send and starts its turn.
    pub(crate) fn turn(&mut self, text: &str) {
        let send = self.queue(vec![text.into()]);
        self.push(Event::TurnStarted { send });
    }

    /// The model replies.
    pub(crate) fn reply(&mut self, parts: Vec<Part>, stop: StopReason) {
        let event = self.replied(parts, stop, None, None);
        self.push(event);
    }

    pub(crate) fn replied(
        &self,
        parts: Vec<Part>,
        stop: StopReason,
        usage: Option<Usage>,
        cost: Option<MicroUsd>,
    ) -> Event {
        self.replied_to(self.conversation.seq(), parts, stop, usage, cost)
    }

    /// A reply to a request that was built at that position.
    pub(crate) fn replied_to(
        &self,
        saw: Seq,
        parts: Vec<Part>,
        stop: StopReason,
        usage: Option<Usage>,
        cost: Option<MicroUsd>,
    ) -> Event {
        let origin = Origin {
            provider: "scripted".into(),
            api: "scripted".into(),
            model: "m-1".into(),
            response_id: None,
            stop,
        };
        let message = Message { role: Role::Assistant, parts, origin: Some(origin) };
        let reply = ModelReply { message, usage, cost };
        self.conversation.replied(reply, saw, 1, None).expect("a turn is open")
    }

    /// The model answers in words.
    pub(crate) fn answer(&mut self, text: &str) {
        self.reply(vec![text.into()], StopReason::Stop);
    }

    /// The model asks for these tools, without a word and with empty arguments.
    pub(crate) fn ask(&mut self, tools: &[&str]) {
        self.reply(tools.iter().map(|tool| call(tool, "{}", true)).collect(), StopReason::ToolCalls);
    }

    /// The id of the call with this number in the open turn.
    pub(crate) fn id(&self, index: u32) -> CallId {
        CallId { turn: self.conversation.turn().expect("a turn is open").id, index }
    }

    /// The call starts.
    pub(crate) fn start(&mut self, index: u32, effect: Effect) {
        let call = self.id(index);
        self.push(Event::ToolStarted { call, effect, key: key_of(call) });
    }

    /// The call has its result.
    pub(crate) fn finish(&mut self, index: u32, text: &str) {
        self.push(finished(self.id(index), vec![text.into()], false));
    }

    /// The call failed.
    pub(crate) fn fail(&mut self, index: u32, text: &str) {
        self.push(finished(self.id(index), vec![text.into()], true));
    }

    /// A round of one call of `tool` that succeeds with `text`.
    pub(crate) fn round(&mut self, tool: &str, text: &str) {
        let index = self.conversation.turn().expect("a turn is open").totals.tool_calls + 1;
        self.ask(&[tool]);
        self.finish(index, text);
    }

    /// Somebody puts in a word.
    pub(crate) fn steer(&mut self, text: &str) {
        self.sends += 1;
        let send = SendId::from(&*format!("s{}", self.sends));
        let hash = Digest::of(text.as_bytes());
        self.push(Event::Steered { send, input: vec![text.into()], hash });
    }

    /// The process dies; the session is opened again `after` milliseconds later.
    pub(crate) fn recover(&mut self, after: i64) {
        self.now.0 += after;
        self.epoch.0 += 1;
        self.push(Event::Recovered { cause: "test".into() });
    }

    pub(crate) fn interrupt(&mut self) {
        self.push(Event::InterruptRequested { by: "user".into(), reason: "enough".into() });
    }

    /// Does what `Next::Finish` asks for.
    pub(crate) fn end(&mut self, finish: FinishReason, error: Option<TurnError>, partial: Option<&str>) {
        for event in self.conversation.close_calls("closed") {
            self.push(event);
        }
        let ended = self.conversation.ended_now(finish, error, partial.map(Text::from), None, self.now);
        self.push(ended.expect("a turn is open"));
    }

    /// Where each call without a result stands, by its number.
    pub(crate) fn phases(&self) -> Vec<(u32, CallPhase)> {
        match self.next() {
            Next::RunTools { calls } => {
                let turn = self.conversation.turn().expect("a turn is open");
                turn.judged(&calls, effect_of).into_iter().map(|c| (c.call.id.index, c.phase)).collect()
            }
            other => panic!("no tools to run, but {other:?}"),
        }
    }

    /// Why the turn must end now.
    pub(crate) fn finish_reason(&self) -> FinishReason {
        match self.next() {
            Next::Finish { reason, .. } => reason,
            other => panic!("no end, but {other:?}"),
        }
    }

    /// The messages of the next model call.
    pub(crate) fn sent(&self) -> Vec<Arc<Message>> {
        let request = self.conversation.request([].into()).expect("a turn is open");
        request.messages.iter().cloned().collect()
    }
}

/// What a tool of that name does.
pub(crate) fn effect_of(tool: &str) -> Effect {
    match tool {
        "bash" => Effect::Write,
        "todo" => Effect::Idempotent,
        _ => Effect::Read,
    }
}

pub(crate) fn call(name: &str, arguments: &str, complete: bool) -> Part {
    Part::ToolCall(ToolCall {
        id: CallId::UNNUMBERED,
        wire_id: None,
        name: name.into(),
        arguments: arguments.into(),
        complete,
        extra: Map::new(),
    })
}

pub(crate) fn finished(call: CallId, content: Vec<Part>, is_error: bool) -> Event {
    let result = ToolResult { call, name: "tool".into(), content, is_error, synthetic: false };
    Event::ToolFinished { result: Arc::new(result), denied: false, ui: None }
}

pub(crate) fn key_of(call: CallId) -> Text {
    call.idempotency_key(&SessionName::new("test").unwrap(), None)
}
