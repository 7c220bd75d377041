//! What the checks write.

use std::sync::Arc;

use ergane_core::{
    Answering, ApprovalCause, CallId, Cost, Decision, Digest, Durability, Effect, Envelope, Epoch, ErrorKind,
    Event, FORMAT_VERSION, FinishReason, Identity, ImageSource, Limits, Message, MicroUsd, Mode, OnUnknown,
    Opaque, Origin, OutputSchema, Part, PermissionMode, Permissions, PromptCache, Reasoning, ReasoningEffort,
    Role, Sampling, SendId, Seq, SessionName, Settings, SettingsPatch, Spent, StopReason, Timestamp,
    ToolCall, ToolChoice, ToolResult, TurnError, TurnId, TurnTotals, Ungranted, Usage,
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

/// One event of every kind, in the order of their numbers, with no field left out that may be: what must be kept.
pub fn one_of_each() -> Vec<Event> {
    let call = CallId { turn: TurnId(4), index: 1 };
    let settings = all_settings();
    let patch = Arc::new(SettingsPatch { all_tools: true, ..settings.as_patch() });
    let unanswered = Spent { usage: Some(usage()), cost: Cost { known: MicroUsd(36), complete: false } };
    let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("iVBORw0KGgo=".into()) };
    let input = vec![Part::text("What is in \"the\" picture?\n\u{1f989} Ἐργάνη"), image];
    vec![
        Event::SessionStarted { settings: Arc::new(settings), id: Some(Identity(0xa1)) },
        Event::SettingsChanged { patch: Box::new(patch.as_ref().clone()), tool: Some("bash".into()) },
        Event::Queued {
            send: SendId("key-1".into()),
            hash: Digest::of(b"picture"),
            input,
            meta: Some(Arc::new(json!({"user": "ann", "rooms": [1, null, 2.5]}))),
            settings: Some(patch),
        },
        turn_started("key-1"),
        Event::ModelReplied {
            iteration: 3,
            saw: Seq(4),
            message: Arc::new(reply(call)),
            usage: Some(usage()),
            cost: Some(MicroUsd(1_250)),
            attempts: 2,
            unanswered: Some(Box::new(unanswered)),
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
            unanswered: Some(Box::new(unanswered)),
            totals: TurnTotals {
                iterations: 1,
                tool_calls: 1,
                usage: usage(),
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
        Event::Rewound { to: Seq(15), id: Some("rewind-1".into()) },
        Event::Forked { parent: name("parent/1"), at: Seq(16), id: Some(Identity(0xa1)) },
    ]
}

fn usage() -> Usage {
    Usage {
        input_tokens: 120,
        output_tokens: 48,
        cached_tokens: 64,
        reasoning_tokens: 16,
        cache_write_tokens: 32,
        cache_write_long_tokens: 8,
    }
}

/// Settings of which none is what it would be by itself.
fn all_settings() -> Settings {
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<_>>();
    let limits = Limits {
        max_iterations: 9,
        max_mistakes: 5,
        max_stalled: 6,
        turn_budget: Some(MicroUsd(50_000)),
        session_budget: Some(MicroUsd(900_000)),
        tool_timeout_ms: 7_000,
        max_concurrency: 8,
        max_retries: 2,
        idle_timeout_ms: 11_000,
    };
    let sampling = Sampling {
        temperature: Some(0.25),
        top_p: Some(0.5),
        top_k: Some(40),
        seed: Some(u64::MAX),
        stop: names(&["\n\n"]),
    };
    let answering = Answering {
        max_tokens: Some(2_000),
        reasoning: Some(ReasoningEffort::Tokens(512)),
        sampling,
        tool_choice: ToolChoice::Tool("bash".into()),
        parallel_tools: Some(true),
        output: Some(OutputSchema::new("verdict", json!({"type": "object", "required": ["ok"]}))),
        cache: PromptCache::Long,
    };
    Settings {
        provider: "openai".into(),
        model: "model-2".into(),
        base_url: Some("http://gpu-box:11434/v1".into()),
        api_key_env: Some("TEAM_KEY".into()),
        fallbacks: names(&["local"]),
        system_prompt: Some("Be brief.".into()),
        tools: Some(names(&["bash", "read"])),
        cwd: "/home/a person/project".into(),
        roots: names(&["/shared"]),
        mode: Mode::React,
        permissions: Permissions {
            mode: PermissionMode::AcceptEdits,
            allow: Some(names(&["bash"])),
            granted: names(&["read"]),
            deny: names(&["web_fetch"]),
            ungranted: Ungranted::Ask,
        },
        on_unknown: OnUnknown::AskHuman,
        limits,
        answering,
        stream: false,
        durability: Durability::Off,
    }
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
        Part::Opaque(Opaque { kind: "block".into(), data: json!({"n": 1.5, "s": "Eo8…"}) }),
        Part::Image {
            mime: "image/png".into(),
            source: ImageSource::Url("https://example.com/a.png".into()),
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each name of a field is said, as people see the value.
    fn shown(event: &Event) -> Vec<(String, usize)> {
        let shown = format!("{event:#?}");
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        // The parts of a call's id, which is written as one text; a turn alone is in no event that can be without it.
        let is_name = |name: &str| is_name(name) && !matches!(name, "turn" | "index");
        let names = shown.lines().filter_map(|line| line.trim().split_once(": ").map(|(name, _)| name));
        let mut names: Vec<_> = names.filter(|name| is_name(name)).map(str::to_owned).collect();
        names.sort();
        names.chunk_by(|a, b| a == b).map(|same| (same[0].clone(), same.len())).collect()
    }

    /// How often a name of a field is written.
    fn written(value: &Value, name: &str) -> usize {
        match value {
            Value::Object(fields) => {
                let here = usize::from(fields.contains_key(name));
                here + fields.values().map(|value| written(value, name)).sum::<usize>()
            }
            Value::Array(values) => values.iter().map(|value| written(value, name)).sum(),
            _ => 0,
        }
    }

    /// The value once for each field that is in it, without that.
    fn each_left_out(value: &Value) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        match value {
            Value::Object(fields) => {
                for (name, inner) in fields {
                    let with = |inner: Option<Value>| {
                        let mut fields = fields.clone();
                        match inner {
                            Some(inner) => fields.insert(name.clone(), inner),
                            None => fields.remove(name),
                        };
                        Value::Object(fields)
                    };
                    all.push((name.clone(), with(None)));
                    all.extend(
                        each_left_out(inner).into_iter().map(|(name, inner)| (name, with(Some(inner)))),
                    );
                }
            }
            Value::Array(values) => {
                for (index, inner) in values.iter().enumerate() {
                    all.extend(each_left_out(inner).into_iter().map(|(name, inner)| {
                        let mut values = values.clone();
                        values[index] = inner;
                        (name, Value::Array(values))
                    }));
                }
            }
            _ => {}
        }
        all
    }

    /// A field that is not written when it says nothing would be no proof that a store keeps it. So whoever adds one comes by
    /// here.
    #[test]
    fn every_field_that_may_be_left_out_is_there() {
        for event in one_of_each() {
            let json = serde_json::to_value(&event).unwrap();
            let names = shown(&event);
            assert!(!names.is_empty());
            for (name, times) in names {
                assert!(written(&json, &name) >= times, "`{name}` is not set in every place: {event:#?}");
            }
        }
    }

    /// Nor would one that is what it would be if it were not kept. (Of modes there is only one yet.)
    #[test]
    fn no_field_is_what_it_would_be_if_it_were_lost() {
        for event in one_of_each() {
            let json = serde_json::to_value(&event).unwrap();
            assert_eq!(serde_json::from_value::<Event>(json.clone()).unwrap(), event);
            for (name, without) in each_left_out(&json).into_iter().filter(|(name, _)| name != "mode") {
                let read = serde_json::from_value::<Event>(without);
                assert!(!read.is_ok_and(|read| read == event), "without `{name}` it is the same: {event:#?}");
            }
        }
    }
}
