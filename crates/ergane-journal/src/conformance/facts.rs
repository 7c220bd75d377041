//! What the checks write.

use std::sync::Arc;

use ergane_core::{
    ApprovalCause, CallId, Cost, Decision, Digest, Effect, Envelope, Epoch, ErrorKind, Event, FORMAT_VERSION,
    FinishReason, ImageSource, Message, MicroUsd, Origin, Part, Reasoning, Role, SendId, Seq, SessionName,
    Settings, SettingsPatch, Spent, StopReason, Timestamp, ToolCall, ToolResult, TurnError, TurnId,
    TurnTotals, Usage,
};
use serde_json::{Map, Value, json};

use crate::append::{Append, AppendError};
use crate::store::{Journal, Opened};

/// A name that is one.
pub(super) fn name(text: &str) -> SessionName {
    SessionName::new(text).unwrap()
}

/// One incarnation of a session, as a writer sees it.
#[derive(Debug)]
pub(super) struct Incarnation {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) name: SessionName,
    pub(super) epoch: Epoch,
    pub(super) next: Seq,
}

impl Incarnation {
    pub(super) fn open(journal: &Arc<dyn Journal>, session: &str) -> Self {
        let name = name(session);
        let Opened { epoch, next_seq } = journal.open_session(&name).unwrap();
        Self { journal: journal.clone(), name, epoch, next: next_seq }
    }

    /// An append of `events` at the place where this incarnation believes to be.
    pub(super) fn append_of(&self, events: Vec<Event>) -> Append {
        let events = (self.next.0..).zip(events).map(|(seq, event)| {
            // The time tells the position, so that a test can see that it is kept.
            let at = Timestamp(1_000 * i64::try_from(seq).unwrap());
            Arc::new(Envelope { v: FORMAT_VERSION, seq: Seq(seq), epoch: self.epoch, at, event })
        });
        Append {
            session: self.name.clone(),
            epoch: self.epoch,
            expected: self.next,
            events: events.collect(),
        }
    }

    /// Appends and moves on when it was written.
    pub(super) fn append(&mut self, events: Vec<Event>) -> Result<(), AppendError> {
        let append = self.append_of(events);
        let next = append.next_seq();
        let mut outcomes = self.journal.append(&[append]);
        assert_eq!(outcomes.len(), 1, "one append has one outcome");
        let outcome = outcomes.pop().unwrap();
        if outcome.is_ok() {
            self.next = next;
        }
        outcome
    }

    /// All that is stored.
    pub(super) fn stored(&self) -> Vec<Arc<Envelope>> {
        self.journal.load(&self.name, Seq(0), Seq(u64::MAX)).unwrap()
    }
}

pub(super) fn started() -> Event {
    Event::SessionStarted {
        settings: Arc::new(Settings::new("scripted", "model-1", "/home/a person/project")),
        id: None,
    }
}

pub(super) fn queued(send: &str, text: &str) -> Event {
    let input = vec![Part::text(text)];
    Event::Queued { send: send.into(), input, hash: Digest::of(text.as_bytes()), meta: None, settings: None }
}

pub(super) fn steered(send: &str, text: &str) -> Event {
    let input = vec![Part::text(text)];
    Event::Steered { send: send.into(), input, hash: Digest::of(text.as_bytes()) }
}

pub(super) fn turn_started(send: &str) -> Event {
    Event::TurnStarted { send: send.into() }
}

pub(super) fn replied(input_tokens: u64, cost: Option<u64>) -> Event {
    let message = Message { role: Role::Assistant, parts: vec![Part::text("An answer.")], origin: None };
    Event::ModelReplied {
        iteration: 0,
        saw: Seq(1),
        message: Arc::new(message),
        usage: Some(Usage {
            input_tokens,
            output_tokens: 2,
            cached_tokens: 3,
            reasoning_tokens: 1,
            ..Usage::default()
        }),
        cost: cost.map(MicroUsd),
        attempts: 1,
        unanswered: None,
    }
}

pub(super) fn turn_ended(turn: u64) -> Event {
    turn_ended_after(turn, None)
}

/// The end of a turn in which model calls took so much and came to no answer.
pub(super) fn turn_ended_after(turn: u64, unanswered: Option<Spent>) -> Event {
    Event::TurnEnded {
        turn: TurnId(turn),
        finish: FinishReason::Stop,
        error: None,
        partial: None,
        unanswered: unanswered.map(Box::new),
        totals: TurnTotals::default(),
    }
}

/// One event of every kind, in the order of their numbers, with every optional field set: what must be kept.
pub fn one_of_each() -> Vec<Event> {
    let call = CallId { turn: TurnId(4), index: 1 };
    let patch =
        SettingsPatch { model: Some("model-2".into()), max_iterations: Some(9), ..Default::default() };
    let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("iVBORw0KGgo=".into()) };
    let input = vec![Part::text("What is in \"the\" picture?\n\u{1f989} Ἐργάνη"), image];
    vec![
        started(),
        Event::SettingsChanged { patch: patch.into(), tool: None },
        Event::Queued {
            send: SendId("key-1".into()),
            hash: Digest::of(b"picture"),
            input,
            meta: None,
            settings: None,
        },
        turn_started("key-1"),
        Event::ModelReplied {
            iteration: 0,
            saw: Seq(4),
            message: Arc::new(reply(call)),
            usage: Some(Usage {
                input_tokens: 120,
                output_tokens: 48,
                cached_tokens: 64,
                reasoning_tokens: 16,
                ..Usage::default()
            }),
            cost: Some(MicroUsd(1_250)),
            attempts: 2,
            unanswered: None,
        },
        Event::ToolStarted { call, effect: Effect::Write, key: "demo#4.1".into() },
        Event::ToolFinished {
            result: Arc::new(ToolResult {
                call,
                name: "bash".into(),
                content: vec![Part::text("done\n")],
                is_error: true,
                synthetic: true,
            }),
            denied: true,
            ui: Some(json!({"kind": "terminal", "exit": 1})),
        },
        Event::InterruptRequested { by: "a person".into(), reason: "enough".into() },
        Event::Recovered { cause: "the process ended".into() },
        Event::TurnEnded {
            turn: TurnId(4),
            finish: FinishReason::Interrupted,
            error: Some(TurnError::new(ErrorKind::StreamCut, "the stream was cut")),
            partial: Some("As far as I".into()),
            unanswered: None,
            totals: TurnTotals {
                iterations: 1,
                tool_calls: 1,
                usage: Usage { input_tokens: 120, output_tokens: 48, ..Usage::default() },
                cost: Cost { known: MicroUsd(1_250), complete: false },
                duration_ms: 4_321,
            },
        },
        Event::ToolProcess { call, group: 4_711, leader_started: 123_456_789 },
        Event::ApprovalRequested {
            call,
            arguments: Digest::of(b"{}"),
            cause: ApprovalCause::CutOff,
            why: "it may have been done".into(),
        },
        Event::ApprovalDecided {
            call,
            decision: Decision::Deny { reason: "not today".into() },
            by: "a person".into(),
        },
        Event::Steered {
            send: SendId("key-2".into()),
            input: vec![Part::text("No, the other one.")],
            hash: Digest::of(b"other"),
        },
        Event::Checkpointed { label: "before the move".into() },
        Event::Rewound { to: Seq(15), id: None },
        Event::Forked { parent: name("parent/1"), at: Seq(16), id: None },
    ]
}

fn reply(call: CallId) -> Message {
    let mut data = Map::new();
    data.insert("signature".into(), Value::from("Eo8B…=="));
    let mut extra = Map::new();
    extra.insert("thought_signature".into(), Value::from("c2ln"));
    let call = ToolCall {
        id: call,
        wire_id: Some("call_abc".into()),
        name: "bash".into(),
        // Kept byte for byte, the order of keys and the spaces too.
        arguments: "{\"z\": 1,  \"command\":\"ls\"}".into(),
        complete: true,
        extra,
    };
    let parts = vec![
        Part::Reasoning(Reasoning { text: "hm".into(), field: Some("reasoning_content".into()), data }),
        Part::text("I look."),
        Part::Refusal { text: "Not that.".into() },
        Part::ToolCall(call),
    ];
    let origin = Origin {
        provider: "openai".into(),
        api: "openai".into(),
        model: "model-2-0613".into(),
        response_id: Some("resp_1".into()),
        stop: StopReason::Unknown("odd".into()),
    };
    Message { role: Role::Assistant, parts, origin: Some(origin) }
}
